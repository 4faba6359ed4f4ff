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
from ndkernels.threads import run_parts, split_range

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
    edges = split_range(units, threads)
    run_parts(lambda p: count_units(cells, bound, histogram, *extrema, edges[p], edges[p + 1]), threads)


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
    edges = split_range(len(pick), threads)
    run_parts(lambda p: mark_needed(maps, last_maps, pick, limit, bitmap, kept, edges[p], edges[p + 1]), threads)
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
    values = np.empty(int(start[-1]), np.float32)
    run_parts(lambda p: copy_needed(maps, last_maps, pick, bitmap, start, values, edges[p], edges[p + 1]), threads)
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
    h, w, words = maps.shape[1], maps.shape[2], (maps.shape[2] + WORD - 1) // WORD
    padded = (len(last_maps) - 2 * LANES) // (h * w)
    stride = 8 * (words + 1)
    marks = np.zeros((h + 2, words + 1), np.int64)  # with an empty row on either side
    for a in range(first, last):
        cells = find_item(address(maps), len(maps), address(last_maps), padded, 4 * h * w, pick[a])
        for k in range(0, 4 * h * w if a + AHEAD < last else 0, LINE):
            prefetch(address(maps) + 4 * h * w * pick[a + AHEAD] + k)
        mark_cells(cells, h, w, limit[a], address(marks) + stride, words)
        place: int = address(bitmap) + bitmap.shape[1] * a
        count, waiting, bits = 0, 0, 0
        for y in range(h):
            row = address(marks) + stride * y
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
        kept[a] = count


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
    """Copy the marked cells, run by run.

    A run is read as 32 cells where as many values are still to come, which may be past the end of its map.
    """
    nbytes = 4 * maps.shape[1] * maps.shape[2]
    padded = 4 * (len(last_maps) - 2 * LANES) // nbytes
    stop = address(values) + 4 * start[last]
    for a in range(first, last):
        cells = find_item(address(maps), len(maps), address(last_maps), padded, nbytes, pick[a])
        target = address(values) + 4 * start[a]
        for b in range(0, bitmap.shape[1], 4):
            needed: Any = 0
            for k in range(b, min(b + 4, bitmap.shape[1])):
                needed |= np.int64(bitmap[a, k]) << 8 * (k - b)
            while needed != 0:
                begin, end, needed = next_span(needed)
                source = cells + 4 * (8 * b + begin)
                if target + 4 * WORD <= stop:  # a run has at most 32 cells; what is written beyond it is written again
                    copy(np.float32(0), WORD, source, target)
                else:
                    for i in range(end - begin):
                        copy(np.float32(0), 1, source + 4 * i, target + 4 * i)
                target += 4 * (end - begin)


def value_starts(bitmap: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where each map's values begin, ``[A + 1]``."""
    start = np.zeros(len(bitmap) + 1, np.int64)
    add_kept(np.ascontiguousarray(bitmap), start)
    return start


@jit
def add_kept(bitmap: NDArray[np.uint8], start: NDArray[np.int64]) -> None:
    """Add up how many cells the maps keep."""
    for a in range(len(bitmap)):
        kept, place = 0, address(bitmap) + bitmap.shape[1] * a
        end = place + bitmap.shape[1]
        while place + 8 <= end:
            kept += count_bits(load(np.int64, place))
            place += 8
        while place < end:
            kept += count_bits(np.int64(load(np.uint8, place)))
            place += 1
        start[a + 1] = start[a] + kept


def expand(
    bitmap: NDArray[np.uint8],  # [A, ceil(h·w / 8)]
    values: NDArray[np.float32],  # [V]
    unit: NDArray[np.int32],  # [A]
    fill: NDArray[np.float32],  # [U]
    out: NDArray[np.float32],  # [A, h, w], written
    threads: int,
) -> None:
    """Write dense maps; threads split the maps."""
    start = value_starts(bitmap)
    edges = split_range(len(unit), threads)
    flat = out.reshape(len(out), out.shape[1] * out.shape[2])
    run_parts(lambda p: expand_maps(bitmap, values, start, unit, fill, flat, edges[p], edges[p + 1]), threads)


@jit
def expand_maps(
    bitmap: NDArray[np.uint8],
    values: NDArray[np.float32],
    start: NDArray[np.int64],  # [A + 1]
    unit: NDArray[np.int32],
    fill: NDArray[np.float32],
    out: NDArray[np.float32],  # [A, h·w]
    first: int,
    last: int,
) -> None:
    """Write the maps ``first`` to ``last``."""
    for a in range(first, last):
        v = start[a]
        out[a] = fill[unit[a]]
        for b in range(bitmap.shape[1]):
            byte = bitmap[a, b]
            if byte == 0:
                continue
            for k in range(8):
                if (byte >> k) & 1:
                    out[a, 8 * b + k] = values[v]
                    v += 1


def count_survivors(
    bitmap: NDArray[np.uint8],  # [A, ceil(h·w / 8)]
    values: NDArray[np.float32],  # [V]
    unit: NDArray[np.int32],  # [A]
    bound: NDArray[np.float32],  # [U]
    prefix: NDArray[np.int32],  # [U]
    level: int,
    histogram: NDArray[np.int64],  # [U, 2048], added to
    threads: int,
) -> None:
    """Histogram the next bits of the survivors above the bound whose higher bits equal the unit's prefix."""
    start = value_starts(bitmap)
    keys = keys_of(bound)
    run_parts(
        lambda p: count_values(values.view(np.int32), start, unit, keys, prefix, level, histogram, p, threads),
        threads,
    )


@jit
def count_values(
    bits: NDArray[np.int32],  # [V]
    start: NDArray[np.int64],  # [A + 1]
    unit: NDArray[np.int32],  # [A]
    bound_key: NDArray[np.int32],  # [U]
    prefix: NDArray[np.int32],  # [U]
    level: int,
    histogram: NDArray[np.int64],  # [U, 2048]
    part: int,
    parts: int,
) -> None:
    """Count the units whose number leaves ``part`` when divided by ``parts``.

    The levels of the radix select read 11, 11 and 10 bits of the key, highest first.
    """
    for a in range(len(unit)):
        u = unit[a]
        if u % parts != part:
            continue
        for v in range(start[a], start[a + 1]):
            key = np.int32(key_of(bits[v]))
            if key <= bound_key[u]:
                continue
            if level == 0:
                histogram[u, (key >> 21) + 1024] += 1
            elif level == 1:
                if (key >> 21) == prefix[u]:
                    histogram[u, (key >> 10) & 2047] += 1
            elif (key >> 10) == prefix[u]:
                histogram[u, key & 1023] += 1


@jit
def narrow(histogram: NDArray[np.int64], level: int, rank: NDArray[np.int64], prefix: NDArray[np.int32]) -> None:
    """Find the bin that holds each unit's rank-th largest value, extend its prefix by it, and lower the rank.

    A unit with fewer values than its rank gets rank 0: its bound is the answer.
    """
    for u in range(len(rank)):
        if rank[u] == 0:
            continue
        left = rank[u]
        found = -1
        for b in range(2047, -1, -1):
            if histogram[u, b] >= left:
                found = b
                break
            left -= histogram[u, b]
        if found < 0:
            rank[u] = 0
            continue
        rank[u] = left
        if level == 0:
            prefix[u] = found - 1024
        elif level == 1:
            prefix[u] = (prefix[u] << 11) | found
        else:
            prefix[u] = (prefix[u] << 10) | found


def values_of(prefix: NDArray[np.int32], rank: NDArray[np.int64], bound: NDArray[np.float32]) -> NDArray[np.float32]:
    """The floats of complete prefixes, or the bound where the rank ran out; -0 becomes 0."""
    return np.where(rank > 0, floats_of(prefix), bound).astype(np.float32) + np.float32(0)
