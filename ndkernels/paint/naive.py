"""The definition of pictures, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LINE = (255, 221, 74)  # the contour's red, green and blue


def shrink_images(images: NDArray[np.uint8], divisor: int) -> NDArray[np.uint32]:
    """See :func:`ndkernels.paint.shrink_images`."""
    height, width = (max(1, size // divisor) for size in images.shape[1:3])
    tiles = np.full((len(images), height, width, 4), 255, np.uint8)
    for y in range(height):
        for x in range(width):
            rows, columns = slice(y * divisor, (y + 1) * divisor), slice(x * divisor, (x + 1) * divisor)
            square = images[:, rows, columns].astype(np.int64)
            pixels = square.shape[1] * square.shape[2]
            tiles[:, y, x, :3] = (2 * square.sum(axis=(1, 2)) + pixels) // (2 * pixels)
    return tiles.view(np.uint32)[..., 0]


def unpack_masks(packed: NDArray[np.uint8], width: int, tile: tuple[int, int]) -> NDArray[np.bool_]:
    """Masks ``[..., H, ceil(W / 8)]`` at tile size ``[..., th, tw]``: the mask's pixel under each pixel's centre."""
    masks = np.unpackbits(packed, axis=-1, count=width).view(np.bool_)
    # In whole numbers: floor((i + 1/2) · H / th).
    rows = (2 * np.arange(tile[0]) + 1) * masks.shape[-2] // (2 * tile[0])
    columns = (2 * np.arange(tile[1]) + 1) * width // (2 * tile[1])
    return masks[..., rows[:, None], columns]


def paint_masks(
    tiles: NDArray[np.uint32], place: NDArray[np.int64], masks: NDArray[np.uint8], width: int, gap: int
) -> NDArray[np.uint32]:
    """See :func:`ndkernels.paint.paint_masks`."""
    count, (height, breadth) = len(place), tiles.shape[1:]
    inside = unpack_masks(masks, width, (height, breadth))
    padded = np.pad(inside, ((0, 0), (1, 1), (1, 1)))
    beside = padded[:, :-2, 1:-1] | padded[:, 2:, 1:-1] | padded[:, 1:-1, :-2] | padded[:, 1:-1, 2:]
    colours = np.ascontiguousarray(tiles[place])[..., None].view(np.uint8)
    painted = np.where(inside[..., None], colours, colours // 4)
    painted[beside & ~inside] = (*LINE, 255)
    strip = np.zeros((height, count * (breadth + gap) - gap, 4), np.uint8)
    for t in range(count):
        left = t * (breadth + gap)
        strip[:, left : left + breadth] = painted[t]
    return strip.view(np.uint32)[..., 0]
