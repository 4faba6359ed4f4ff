"""The sieve on the CPU in Numba.

Floats are compared through *keys*: int32 numbers in the same order as the floats, made by flipping the lower
bits of negative ones. NaN and infinity have keys beyond those of finite numbers, so one integer maximum and
one minimum a map (which compile to vector instructions, where a float maximum does not) find them along the
way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndkernels._jit import jit
from ndkernels._vector import (
    INTEGERS,
    LANES,
    address,
    copy,
    count_bits,
    fill,
    first_bit,
    first_bits,
    highest,
    larger,
    load,
    lowest,
    maximum,
    minimum,
    order,
    prefetch,
    store,
)
from ndkernels.grid.cpu import WORD, find_item, mark_cells, next_span, pad_last
from ndkernels.threads import run_work

# Bytes of a cache line; and of how many maps later the bytes are asked for, where those that are picked lie scattered.
LINE, AHEAD = 64, 4
# Keys of ±2^126, the largest magnitudes that interpolation takes without overflow.
_LARGEST_KEY = 0x7E800000
_LEAST_KEY = -0x7E800001


@jit
def key_of(bits: Any) -> Any:
    """The order-preserving key of a float's bits, and the other way round: it is its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def keys_of(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """Keys of an array of floats."""
    bits = values.view(np.int32)
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


def floats_of(keys: NDArray[np.int32]) -> NDArray[np.float32]:
    """The floats of an array of keys."""
    return (keys ^ ((keys >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)


def count_batch(
    activations: NDArray[np.float32],  # [N, U, h, w]
    bound: NDArray[np.float32],  # [U]
    histogram: NDArray[np.int64],  # [U, 2048], added to
    maximum: NDArray[np.float32],  # [N, U], written
    minimum: NDArray[np.float32],  # [N, U], written
    threads: int,
) -> None:
    """Count a batch; threads split the units, so each histogram row has one writer."""
    images, units = activations.shape[:2]
    cells = activations.reshape(images, units, activations.shape[2] * activations.shape[3])
    extrema = maximum.view(np.int32), minimum.view(np.int32)
    run_work(units, threads, lambda i, j: count_units(cells, bound, histogram, *extrema, i, j))


@jit
def count_units(
    cells: NDArray[np.float32],  # [N, U, h·w]
    bound: NDArray[np.float32],  # [U]
    histogram: NDArray[np.int64],  # [U, 2048], added to
    largest: NDArray[np.int32],  # [N, U], written: bits of the maximum
    smallest: NDArray[np.int32],  # [N, U], written: bits of the minimum
    first: int,
    last: int,
) -> None:
    """Count units ``first`` to ``last``: extrema of each map, and a histogram of the values above bound."""
    few = np.empty(LANES, np.float32)  # for a map of fewer cells than a vector has lanes: its last one again and again
    size = max(cells.shape[2], LANES)
    for n in range(cells.shape[0]):
        for u in range(first, last):
            here = address(cells) + 4 * cells.shape[2] * (n * cells.shape[1] + u)
            if cells.shape[2] < LANES:
                for i in range(LANES):
                    few[i] = cells[n, u, min(i, cells.shape[2] - 1)]
                here = address(few)
            for k in range(0, 4 * size, LINE):
                prefetch(here + 2 * 4 * size + k)  # the map after the next
            # The last vector ends with the map; what is read twice changes no extremum.
            highs = order(load(INTEGERS, here))
            lows = highs
            for i in range(LANES, size, LANES):
                keys = order(load(INTEGERS, here + 4 * min(i, size - LANES)))
                highs, lows = maximum(highs, keys), minimum(lows, keys)
            high, low = highest(highs), lowest(lows)
            if high > _LARGEST_KEY or low < _LEAST_KEY:
                largest[n, u] = smallest[n, u] = 0x7FC00000  # NaN
                continue
            largest[n, u], smallest[n, u] = key_of(high), key_of(low)
            limit = key_of(load(np.int32, address(bound) + 4 * u))
            if high <= limit:
                continue
            limits, row = fill(INTEGERS, limit), address(histogram) + 8 * histogram.shape[1] * u
            for i in range(0, cells.shape[2], LANES):
                start = min(i, size - LANES)
                above = larger(order(load(INTEGERS, here + 4 * start)), limits) & (-1 << (i - start))
                if cells.shape[2] < LANES:
                    above &= first_bits(cells.shape[2])
                while above != 0:
                    key = np.int64(key_of(load(np.int32, here + 4 * (start + first_bit(above)))))
                    above &= above - 1
                    place = row + 8 * ((key >> 21) + 1024)
                    store(load(np.int64, place) + 1, place)


@jit
def raise_bound(histogram: NDArray[np.int64], above: int, bound: NDArray[np.float32]) -> None:
    """Raise ``bound [U]`` to the lower edge of the bin in which the (m+1)-th largest value lies.

    Bins above the bound are complete counts; the bin that the bound itself lies in may not be, and is not
    used.
    """
    bits = bound.view(np.int32)
    for u in range(len(bound)):
        limit = np.int32(key_of(bits[u]))
        seen = 0
        for b in range(2047, (limit >> 21) + 1024, -1):
            seen += histogram[u, b]
            if seen > above:
                bits[u] = key_of(np.int32((b - 1024) << 21))
                break


def gather_maps(
    maps: NDArray[np.float32],  # [M, h, w]
    pick: NDArray[np.int64],  # [A]
    limit: NDArray[np.float32],  # [A]
    threads: int,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Bitmaps and values of the needed cells; threads split the picked maps."""
    h, w = maps.shape[1:]
    if len(pick) == 0:
        return np.empty((0, (h * w + 7) // 8), np.uint8), np.empty(0, np.float32)
    last_maps = pad_last(maps)
    bitmap = np.empty((len(pick), (h * w + 7) // 8), np.uint8)
    kept = np.empty(len(pick), np.int64)
    run_work(len(pick), threads, lambda i, j: mark_needed(maps, last_maps, pick, limit, bitmap, kept, i, j))
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
    values = np.empty(int(start[-1]), np.float32)
    run_work(len(pick), threads, lambda i, j: copy_needed(maps, last_maps, pick, bitmap, start, values, i, j))
    return bitmap, values


@jit
def mark_needed(
    maps: NDArray[np.float32],  # [M, h, w]
    last_maps: NDArray[np.float32],  # see pad_last
    pick: NDArray[np.int64],  # [A]
    limit: NDArray[np.float32],  # [A]
    bitmap: NDArray[np.uint8],  # [A, ceil(h·w / 8)], written
    kept: NDArray[np.int64],  # [A], written
    first: int,
    last: int,
) -> None:
    """Mark the cells above the limit and their eight neighbours."""
    h, w = maps.shape[1], maps.shape[2]
    padded = (len(last_maps) - 2 * LANES) // (h * w)
    marks = make_marks(h, w)
    for a in range(first, last):
        cells = find_item(address(maps), len(maps), address(last_maps), padded, 4 * h * w, pick[a])
        for k in range(0, 4 * h * w if a + AHEAD < last else 0, LINE):
            prefetch(address(maps) + 4 * h * w * pick[a + AHEAD] + k)
        kept[a] = mark_map(cells, h, w, limit[a], address(marks), address(bitmap) + bitmap.shape[1] * a)


@jit
def make_marks(h: int, w: int) -> NDArray[np.int64]:
    """Room for the marks of a map: 32 cells a word, a word more in each row and an empty row on either side."""
    return np.zeros((h + 2, (w + WORD - 1) // WORD + 1), np.int64)


@jit
def mark_map(
    cells: int,  # [h, w] float32, padded
    h: int,
    w: int,
    limit: np.float32,
    marks: int,  # of make_marks; scratch
    bitmap: int,  # [ceil(h·w / 8)] bytes, written
) -> int:
    """Mark the cells above the limit and their eight neighbours in one map; returns how many they are."""
    words = (w + WORD - 1) // WORD
    stride = 8 * (words + 1)
    mark_cells(cells, h, w, limit, marks + stride, words)
    place: int = bitmap
    count, waiting, bits = 0, 0, 0
    for y in range(h):
        row = marks + stride * y
        before, here = 0, marked_around(row, stride)
        for k in range(words):
            beyond = marked_around(row + 8 * (k + 1), stride)
            columns = min(w - WORD * k, WORD)
            needed = here | (here << 1) | (here >> 1) | before >> (WORD - 1) | (beyond & 1) << (WORD - 1)
            needed &= (1 << columns) - 1
            before, here = here, beyond
            count += count_bits(needed)
            # Rows follow each other without a gap, four bytes at a time.
            bits |= needed << waiting
            waiting += columns
            if waiting >= 32:
                store(np.uint32(bits), place)
                place, bits, waiting = place + 4, bits >> 32, waiting - 32
    while waiting > 0:
        store(np.uint8(bits), place)
        place, bits, waiting = place + 1, bits >> 8, waiting - 8
    return count


@jit
def marked_around(marks: int, stride: int) -> int:
    """A word of marks together with those of the next two rows."""
    word: int = load(np.int64, marks) | load(np.int64, marks + stride) | load(np.int64, marks + 2 * stride)
    return word


@jit
def copy_needed(
    maps: NDArray[np.float32],  # [M, h, w]
    last_maps: NDArray[np.float32],  # see pad_last
    pick: NDArray[np.int64],  # [A]
    bitmap: NDArray[np.uint8],  # [A, ceil(h·w / 8)]
    start: NDArray[np.int64],  # [A + 1]
    values: NDArray[np.float32],  # [V], written
    first: int,
    last: int,
) -> None:
    """Copy the marked cells."""
    nbytes = 4 * maps.shape[1] * maps.shape[2]
    padded = 4 * (len(last_maps) - 2 * LANES) // nbytes
    stop = address(values) + 4 * start[last]
    for a in range(first, last):
        cells = find_item(address(maps), len(maps), address(last_maps), padded, nbytes, pick[a])
        marked = address(bitmap) + bitmap.shape[1] * a
        copy_map(cells, marked, bitmap.shape[1], address(values) + 4 * start[a], stop)


@jit
def copy_map(
    cells: int,  # [h · w] float32, padded
    bitmap: int,  # [nbytes] uint8
    nbytes: int,
    target: int,  # [...] float32, written
    stop: int,  # where the values of other threads' maps begin
) -> None:
    """Copy the marked cells of one map, run by run.

    A run is read as 32 cells where as many values are still to come, which may be past the end of its map.
    """
    for b in range(0, nbytes, 4):
        needed: Any = 0
        for k in range(b, min(b + 4, nbytes)):
            needed |= np.int64(load(np.uint8, bitmap + k)) << 8 * (k - b)
        while needed != 0:
            begin, end, needed = next_span(needed)
            source = cells + 4 * (8 * b + begin)
            if target + 4 * WORD <= stop:  # a run has at most 32 cells; what is written beyond it is written again
                copy(np.float32(0), WORD, source, target)
            else:
                for i in range(end - begin):
                    copy(np.float32(0), 1, source + 4 * i, target + 4 * i)
            target += 4 * (end - begin)
