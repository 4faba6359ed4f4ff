"""What is done with survivors on the CPU in Numba: making them dense, compacting them, selecting among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ndkernels._jit import jit
from ndkernels._vector import (
    INTEGERS,
    LANES,
    address,
    count_bits,
    fill,
    first_bit,
    first_bits,
    larger,
    load,
    order,
    store,
)
from ndkernels.grid.cpu import exceeds, pad
from ndkernels.sieve.cpu import copy_map, floats_of, key_of, keys_of, make_marks, mark_map
from ndkernels.threads import run_parts, run_work


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
    flat = out.reshape(len(out), out.shape[1] * out.shape[2])
    run_work(len(unit), threads, lambda i, j: expand_maps(bitmap, values, start, unit, fill, flat, i, j))


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
        out[a] = fill[unit[a]]
        expand_map(
            address(bitmap) + bitmap.shape[1] * a,
            bitmap.shape[1],
            address(values) + 4 * start[a],
            address(out) + 4 * out.shape[1] * a,
        )


@jit
def expand_map(
    bitmap: int,  # [nbytes] uint8
    nbytes: int,
    values: int,  # [...] float32
    out: int,  # [h · w] float32, written where the bitmap says
) -> None:
    """Put the kept cells of one map into their places."""
    for b in range(nbytes):
        bits = np.int64(load(np.uint8, bitmap + b))
        while bits != 0:
            store(load(np.float32, values), out + 4 * (8 * b + first_bit(bits)))
            bits &= bits - 1
            values += 4


def compact(
    bitmap: NDArray[np.uint8],  # [A, ceil(h·w / 8)]
    values: NDArray[np.float32],  # [V]
    unit: NDArray[np.int32],  # [A]
    bound: NDArray[np.float32],  # [U]
    shape: tuple[int, int],  # h, w
    threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float32]]:
    """Keep what a higher bound leaves: the numbers of the maps that are left, their bitmaps and their values."""
    start = value_starts(bitmap)
    # Vectors are read past the values of a map, so those of the last maps are copied to where more can be read.
    last_from = int(np.searchsorted(start, start[-1] - shape[0] * shape[1] - LANES))
    last_values = pad(values[start[last_from] :])
    needed, kept = np.zeros_like(bitmap), np.zeros(len(bitmap), np.int64)
    run_work(
        len(bitmap),
        threads,
        lambda i, j: mark_again(
            bitmap, values, start, last_from, last_values, unit, bound, *shape, needed, kept, i, j
        ),
    )  # fmt: skip
    pick = np.flatnonzero(kept)
    needed, target = needed[pick], np.concatenate([np.zeros(1, np.int64), np.cumsum(kept[pick])])
    left = np.empty(int(target[-1]), np.float32)
    run_work(
        len(pick),
        threads,
        lambda i, j: copy_again(bitmap, values, start, pick, needed, target, shape[0] * shape[1], left, i, j),
    )
    return pick, needed, left


@jit
def mark_again(
    bitmap: NDArray[np.uint8],  # [A, ceil(h·w / 8)]
    values: NDArray[np.float32],  # [V]
    start: NDArray[np.int64],  # [A + 1]
    last_from: int,
    last_values: NDArray[np.float32],  # of the maps from there on, padded
    unit: NDArray[np.int32],  # [A]
    bound: NDArray[np.float32],  # [U]
    h: int,
    w: int,
    needed: NDArray[np.uint8],  # [A, ceil(h·w / 8)] zeros, written
    kept: NDArray[np.int64],  # [A] zeros, written
    first: int,
    last: int,
) -> None:
    """Mark the cells above the bound and their neighbours, in the maps that have any."""
    dense, marks = np.empty(h * w + LANES, np.float32), make_marks(h, w)
    for a in range(first, last):
        place = address(values) + 4 * start[a]
        if a >= last_from:
            place = address(last_values) + 4 * (start[a] - start[last_from])
        limit = bound[unit[a]]
        if exceeds(place, start[a + 1] - start[a], limit):
            dense[:] = -np.inf
            expand_map(address(bitmap) + bitmap.shape[1] * a, bitmap.shape[1], place, address(dense))
            marked = address(needed) + needed.shape[1] * a
            kept[a] = mark_map(address(dense), h, w, limit, address(marks), marked)


@jit
def copy_again(
    bitmap: NDArray[np.uint8],  # [A, ceil(h·w / 8)]
    values: NDArray[np.float32],  # [V]
    start: NDArray[np.int64],  # [A + 1]
    pick: NDArray[np.int64],  # [P]
    needed: NDArray[np.uint8],  # [P, ceil(h·w / 8)]
    target: NDArray[np.int64],  # [P + 1]
    cells: int,  # h · w
    left: NDArray[np.float32],  # [target[P]], written
    first: int,
    last: int,
) -> None:
    """Copy the marked cells of the maps that are picked; a marked cell was marked before, for bounds only rise."""
    dense = np.empty(cells + 2 * LANES, np.float32)
    stop = address(left) + 4 * target[last]
    for p in range(first, last):
        marked, nbytes = address(bitmap) + bitmap.shape[1] * pick[p], bitmap.shape[1]
        expand_map(marked, nbytes, address(values) + 4 * start[pick[p]], address(dense))
        copy_map(address(dense), address(needed) + nbytes * p, nbytes, address(left) + 4 * target[p], stop)


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
    """Histogram the next bits of the survivors above the bound whose higher bits equal the unit's prefix.

    The levels of the radix select read 11, 11 and 10 bits of the key, highest first. A prefix is a range of keys.
    """
    start = value_starts(bitmap)
    shift = (21, 10, 0)[level]
    over, most = keys_of(bound), np.full(len(bound), np.iinfo(np.int32).max, np.int32)
    if level > 0:
        below = (21, 10)[level - 1]
        over = np.maximum(over, (prefix << below) - 1)
        most = (prefix << below) | ((1 << below) - 1)
    if len(values) < LANES:
        values = pad(values)
    offset, mask = (1024, 2047) if level == 0 else (0, (1 << 11) - 1 if level == 1 else (1 << 10) - 1)
    run_parts(
        lambda p: count_values(values, start, unit, over, most, shift, offset, mask, histogram, p, threads),
        threads,
    )


@jit
def count_values(
    values: NDArray[np.float32],  # [V], of at least a vector
    start: NDArray[np.int64],  # [A + 1]
    unit: NDArray[np.int32],  # [A]
    over: NDArray[np.int32],  # [U]
    most: NDArray[np.int32],  # [U]
    shift: int,
    offset: int,
    mask: int,
    histogram: NDArray[np.int64],  # [U, 2048]
    part: int,
    parts: int,
) -> None:
    """Count keys above ``over`` and up to ``most``, of units whose number leaves ``part`` when divided by ``parts``."""
    for a in range(len(unit)):
        u = unit[a]
        if u % parts != part:
            continue
        least, highest = fill(INTEGERS, over[u]), fill(INTEGERS, most[u])
        row = address(histogram) + 8 * histogram.shape[1] * u
        for v in range(start[a], start[a + 1], LANES):
            begin = min(v, len(values) - LANES)
            keys = order(load(INTEGERS, address(values) + 4 * begin))
            found = larger(keys, least) & ~larger(keys, highest)
            found &= first_bits(start[a + 1] - begin) & (-1 << (v - begin))
            while found != 0:
                key = np.int64(key_of(load(np.int32, address(values) + 4 * (begin + first_bit(found)))))
                found &= found - 1
                place = row + 8 * (((key >> shift) + offset) & mask)
                store(load(np.int64, place) + 1, place)


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
