"""Pictures on the CPU in Numba: a row at a time, in loops that compile to vector instructions."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from ndkernels._jit import jit

QUARTER = np.uint32(0x3F3F3F3F)  # what a shift by two bits leaves of each byte of a word
ON, OFF = np.uint32(0xFFFFFFFF), np.uint32(0)
LINE = np.frombuffer(bytes((255, 221, 74, 255)), np.uint32)[0]  # the contour's red, green, blue, and the idle byte
# Where red, green, blue and the idle byte lie in a word.
RED, GREEN, BLUE, IDLE = (0, 8, 16, 24) if sys.byteorder == "little" else (24, 16, 8, 0)
FRACTION = 40  # bits


@jit
def shrink(
    images: NDArray[np.uint8],  # [B, ih, iw, 3]
    divisor: int,
    tiles: NDArray[np.uint32],  # [B, th, tw], written
    first: int,
    last: int,
) -> None:
    """Write the tiles ``first`` to ``last``."""
    high, wide = min(divisor, images.shape[1]), min(divisor, images.shape[2])  # of a square
    pixels = high * wide
    # Division is slow. A sum of up to 255 · 255² times this inverse is off by less than a 255²-th, so never by one.
    inverse = (1 << FRACTION) // pixels + 1
    lines = images.reshape(images.shape[0], images.shape[1], 3 * images.shape[2])
    columns = 3 * wide * tiles.shape[2]  # bytes of a row that are used
    sums = np.zeros(columns, np.uint16)  # of columns of squares: at most 255 · 255
    whole = np.zeros(columns, np.uint32)  # of squares, wherever they may begin
    for b in range(first, last):
        for y in range(tiles.shape[1]):
            line = lines[b, y * divisor]
            for i in range(columns):
                sums[i] = line[i]
            for k in range(1, high):
                line = lines[b, y * divisor + k]
                for i in range(columns):
                    sums[i] += line[i]
            for i in range(columns):
                whole[i] = sums[i] + pixels // 2
            for k in range(1, wide):
                for i in range(columns - 3 * k):
                    whole[i] += sums[i + 3 * k]
            for x in range(tiles.shape[2]):
                i = 3 * wide * x
                tiles[b, y, x] = np.uint32(
                    (whole[i] * inverse >> FRACTION) << RED
                    | (whole[i + 1] * inverse >> FRACTION) << GREEN
                    | (whole[i + 2] * inverse >> FRACTION) << BLUE
                    | 255 << IDLE
                )


@jit
def paint(
    tiles: NDArray[np.uint32],  # [B, th, tw]
    place: NDArray[np.int64],  # [T]
    masks: NDArray[np.uint8],  # [T, H, ceil(W / 8)]
    width: int,
    gap: int,
    strip: NDArray[np.uint32],  # [th, T·tw + (T - 1)·gap], written
) -> None:
    """Write the strip."""
    height, breadth = tiles.shape[1], tiles.shape[2]
    columns = np.empty(breadth, np.int64)
    for x in range(breadth):
        columns[x] = (2 * x + 1) * width // (2 * breadth)
    # Three rows of the mask in turn, all bits of a word on or off; beyond the borders everything is off.
    rows = np.zeros((3, breadth + 2), np.uint32)
    for t in range(len(place)):
        tile, left = tiles[place[t]], t * (breadth + gap)
        above, here, below = rows[0], rows[1], rows[2]
        above[:] = OFF
        unpack_row(masks[t], 0, height, columns, here)
        for y in range(height):
            if y + 1 < height:
                unpack_row(masks[t], y + 1, height, columns, below)
            else:
                below[:] = OFF
            source, target = tile[y], strip[y, left : left + breadth]
            for x in range(breadth):
                inside = here[x + 1]
                beside = above[x + 1] | below[x + 1] | here[x] | here[x + 2]
                outside = beside & LINE | ~beside & (source[x] >> np.uint32(2) & QUARTER)
                target[x] = inside & source[x] | ~inside & outside
            if t + 1 < len(place):
                strip[y, left + breadth : left + breadth + gap] = OFF
            above, here, below = here, below, above


@jit
def unpack_row(
    mask: NDArray[np.uint8],  # [H, ceil(W / 8)]
    y: int,
    height: int,
    columns: NDArray[np.int64],  # [tw]: the mask's column of each column of the tile
    row: NDArray[np.uint32],  # [tw + 2], written but for its ends
) -> None:
    """One row of a tile's mask."""
    bits = mask[(2 * y + 1) * mask.shape[0] // (2 * height)]
    whole = 0
    if columns[len(columns) - 1] == len(columns) - 1:  # a column each: eight of them from a byte
        whole = len(columns) // 8
        for b in range(whole):
            byte = np.uint32(bits[b])
            for k in range(8):
                row[8 * b + k + 1] = OFF - (byte >> np.uint32(7 - k) & np.uint32(1))
    for x in range(8 * whole, len(columns)):
        bit = bits[columns[x] >> 3] >> (7 - (columns[x] & 7)) & 1
        row[x + 1] = ON if bit else OFF
