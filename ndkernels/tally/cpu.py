"""The tally on the CPU in Numba, on vectors: list the codes under a mask, count them, add up what they stand for.

*Mark*: compare every cell of a map with the threshold; most maps end here. *List*: interpolate the cells with a corner
above the threshold, 16 pixels at a time; those that are on are nearly always one run, whose codes are copied as one
vector. *Count*: a histogram of the listed codes. *Add*: each code that was met gives its pixels to its concepts.

Threads split the units, so each row of the counts has one writer: no atomics, and the same integers in any order.
Functions that are called for every map take addresses instead of arrays, see ``ndkernels._vector``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndkernels._jit import jit
from ndkernels._vector import (
    FLOATS,
    LANES,
    LONGS,
    add,
    address,
    copy,
    count_bits,
    fill,
    first_bit,
    first_bits,
    larger,
    load,
    multiply,
    nonzero,
    prefetch,
    store,
)
from ndkernels.grid.cpu import (
    WORD,
    active_cells,
    cell_starts,
    draw_edges,
    exceeds,
    find_item,
    mark_cells,
    next_span,
    pad,
    pad_last,
)
from ndkernels.threads import run_parts

COUNTED = 65535  # pixels that are counted before a counter could overflow


def tally_maps(
    maps: NDArray[np.float32],  # [A, h, w]
    unit: NDArray[np.int32],  # [A]
    image: NDArray[np.int32],  # [A]
    thresholds: NDArray[np.float32],  # [U]
    tables: Sequence[NDArray[Any]],
    labels: Sequence[NDArray[Any]],
    category: NDArray[np.int32],  # [C]
    once: bool,
    area: int,
    intersection: NDArray[np.int64],  # [U, C], added to
    unit_area: NDArray[np.int64],  # [U, K], added to
    unit_area_all: NDArray[np.int64],  # [U], added to
    threads: int,
) -> None:
    """Count all maps: :func:`ndkernels.tally.tally_maps`, on contiguous arrays."""
    if len(maps) == 0 or labels[0].size == 0:
        return
    row, row_fraction, column, column_fraction = tables
    codes, code_start, _, entry_start, entry_concept, entry_times, whole_start, whole_concept, whole_times = labels
    rows, columns = cell_starts(row, maps.shape[1]), cell_starts(column, maps.shape[2])
    fraction, last_maps, last_codes = pad(column_fraction), pad_last(maps), pad_last(codes)
    # Units side by side go to one thread, so that it reads whole stretches of a dense tensor.
    together = max(1, min(16, len(thresholds) // (8 * max(threads, 1))))
    owner = np.arange(len(thresholds)) // together % max(threads, 1)  # less than one thread is refused below
    single = once or int(entry_times.max(initial=0)) <= 1
    run_parts(
        lambda p: tally_part(
            maps, last_maps, unit, image, thresholds,
            rows, row_fraction, columns, fraction,
            codes, last_codes, code_start, entry_start, entry_concept, entry_times,
            whole_start, whole_concept, whole_times,
            category, once, single, area,
            intersection, unit_area, unit_area_all,
            owner, p,
        ),
        threads,
    )  # fmt: skip


@jit
def list_codes(
    cells: int,  # [h, w] float32
    h: int,
    w: int,
    limit: np.float32,
    marks: int,  # [h, words + 1] int64
    words: int,
    rows: int,  # [h + 1] int64
    row_fraction: int,  # [H] float32
    columns: int,  # [w + 1] int64
    column_fraction: int,  # [W] float32, padded
    width: int,
    codes: int,  # [H, W], padded
    like: Any,  # a number of the codes' type
    size: int,  # its bytes
    top: int,  # [W] float32, padded; scratch
    rise: int,  # [W] float32, padded; scratch
    out: int,  # [H · W], padded, written
) -> int:
    """List the codes of the pixels that are on in one map; returns how many."""
    limits = fill(FLOATS, limit)
    listed = 0
    for i in range(h):
        first, last = load(np.int64, rows + 8 * i), load(np.int64, rows + 8 * (i + 1))
        below = min(i + 1, h - 1)
        for k in range(words if first < last else 0):
            active = active_cells(marks, words, i, below, k)
            while active != 0:
                start, stop, active = next_span(active)
                start, stop = WORD * k + start, WORD * k + stop
                draw_edges(
                    cells + 4 * i * w, cells + 4 * below * w, w, start, stop, columns, column_fraction, top, rise
                )
                begin, end = load(np.int64, columns + 8 * start), load(np.int64, columns + 8 * stop)
                for x in range(begin, end, LANES):
                    edge, slope = load(FLOATS, top + 4 * x), load(FLOATS, rise + 4 * x)
                    inside = first_bits(end - x)
                    for y in range(first, last):
                        fy = fill(FLOATS, load(np.float32, row_fraction + 4 * y))
                        on = larger(add(edge, multiply(fy, slope)), limits) & inside
                        line = codes + size * (y * width + x)
                        skipped = first_bit(on | (1 << LANES))  # where none is on, an empty run: a jump costs more
                        run = on >> skipped
                        if run & (run + 1) == 0:
                            copy(like, LANES, line + size * skipped, out + size * listed)
                            listed += count_bits(run)
                            continue
                        while on != 0:
                            copy(like, 1, line + size * first_bit(on), out + size * listed)
                            on &= on - 1
                            listed += 1
    return listed


@jit
def count_codes(
    codes: int,  # [pixels]
    like: Any,  # a number of the codes' type
    size: int,  # its bytes
    pixels: int,  # at most COUNTED
    histogram: int,  # [R, 4] uint16, added to
) -> None:
    """Count the listed codes.

    Every fourth pixel has the same counter: neighbours mostly share their code, and an addition that waits for the one
    before it to be stored takes several times as long.
    """
    for p in range(0, pixels - 3, 4):
        for k in range(4):
            place = histogram + 8 * np.int64(load(like, codes + size * (p + k))) + 2 * k
            store(np.uint16(load(np.uint16, place) + 1), place)
    for p in range(pixels & ~3, pixels):
        place = histogram + 8 * np.int64(load(like, codes + size * p))
        store(np.uint16(load(np.uint16, place) + 1), place)


@jit
def add_counts(
    histogram: int,  # [R, 4] uint16, and zeros behind it; zeroed
    combinations: int,  # R
    slots: int,  # [R, depth] int32
    depth: int,
    sums: int,  # [lanes] int64, added to
) -> None:
    """Add the pixels of each combination to the lanes in its slots."""
    for first in range(0, combinations, LANES):
        met = nonzero(load(LONGS, histogram + 8 * first))
        while met != 0:
            r = first + first_bit(met)
            met &= met - 1
            four = load(np.int64, histogram + 8 * r)
            store(np.int64(0), histogram + 8 * r)
            pixels = (four & 65535) + (four >> 16 & 65535) + (four >> 32 & 65535) + (four >> 48 & 65535)
            for k in range(depth):
                place = sums + 8 * np.int64(load(np.int32, slots + 4 * (depth * r + k)))
                store(load(np.int64, place) + pixels, place)


@jit
def write_counts(places: NDArray[np.int64], amounts: NDArray[np.int64], waiting: int) -> None:
    """Add the amounts that wait to the counts at their addresses."""
    for k in range(waiting):
        store(load(np.int64, places[k]) + amounts[k], places[k])


@jit
def name_lanes(
    entry_concept: NDArray[np.int32],
    first: int,
    last: int,
    covered: NDArray[np.bool_],  # [C]: concepts that need no lane
    lane: NDArray[np.int32],  # [C], -1 where a concept has none; written
    concept: NDArray[np.int64],  # written: each lane's concept
) -> int:
    """Give a lane to each concept among the entries ``first`` to ``last``; returns how many."""
    lanes = 0
    for e in range(first, last):
        c = np.uint64(entry_concept[e] - 1)  # unsigned: Numba leaves out the code for indices from the end
        if lane[c] < 0 and not covered[c]:
            lane[c] = lanes
            concept[lanes] = c
            lanes += 1
    return lanes


@jit
def count_slots(
    entry_start: NDArray[np.int64], entry_times: NDArray[np.uint8], first: int, last: int, single: bool
) -> int:
    """The most slots that one of the combinations ``first`` to ``last`` takes."""
    most = 0
    for r in range(first, last):
        slots = entry_start[r + 1] - entry_start[r]
        if not single:
            for e in range(entry_start[r], entry_start[r + 1]):
                slots += entry_times[e] - 1
        most = max(most, slots)
    return most


@jit
def fill_slots(
    entry_start: NDArray[np.int64],
    entry_concept: NDArray[np.int32],
    entry_times: NDArray[np.uint8],
    first: int,
    last: int,
    single: bool,
    lane: NDArray[np.int32],  # [C]
    nowhere: int,  # the lane of a slot that is not used
    depth: int,
    slots: int,  # [R, depth] int32, written
) -> None:
    """Write the lanes of each combination's concepts, a concept as often as it counts.

    All combinations get equally many slots, so that the loop over them never ends unexpectedly.
    """
    for r in range(first, last):
        place = slots + 4 * depth * (r - first)
        end = place + 4 * depth
        for e in range(entry_start[r], entry_start[r + 1]):
            k = lane[np.uint64(entry_concept[e] - 1)]
            for _ in range(0 if k < 0 else 1 if single else np.int64(entry_times[e])):
                store(k, place)
                place += 4
        while place < end:
            store(np.int32(nowhere), place)
            place += 4


@jit
def tally_part(
    maps: NDArray[np.float32],
    last_maps: NDArray[np.float32],  # see pad_last
    unit: NDArray[np.int32],
    image: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    rows: NDArray[np.int64],
    row_fraction: NDArray[np.float32],
    columns: NDArray[np.int64],
    column_fraction: NDArray[np.float32],  # padded
    codes: NDArray[Any],  # [B, H, W]
    last_codes: NDArray[Any],  # see pad_last
    code_start: NDArray[np.int64],
    entry_start: NDArray[np.int64],
    entry_concept: NDArray[np.int32],
    entry_times: NDArray[np.uint8],
    whole_start: NDArray[np.int64],
    whole_concept: NDArray[np.int32],
    whole_times: NDArray[np.uint8],
    category: NDArray[np.int32],
    once: bool,
    single: bool,  # whether each entry counts once
    area: int,
    intersection: NDArray[np.int64],
    unit_area: NDArray[np.int64],
    unit_area_all: NDArray[np.int64],
    owner: NDArray[np.int64],  # [U]
    part: int,
) -> None:
    """Count the maps of the units that ``part`` owns."""
    h, w, words = maps.shape[1], maps.shape[2], (maps.shape[2] + WORD - 1) // WORD
    height, width, like, size = codes.shape[1], codes.shape[2], codes[0, 0, 0], codes.itemsize
    padded_maps = (len(last_maps) - 2 * LANES) // (h * w)
    padded_codes = (len(last_codes) - 2 * LANES) // (height * width)
    concepts, categories = len(category), unit_area.shape[1]
    marks = np.zeros((h, words + 1), np.int64)
    top, rise = np.zeros(width + 2 * LANES, np.float32), np.zeros(width + 2 * LANES, np.float32)
    listed = np.empty(height * width + LANES, codes.dtype)
    most = 0
    for b in range(len(codes)):
        most = max(most, code_start[b + 1] - code_start[b])
    histogram = np.zeros(most + LANES, np.int64)
    # The concepts of one image stand in lanes, side by side; the lane behind the last takes what counts nowhere.
    lane, lane_concept = np.full(concepts, -1, np.int32), np.zeros(concepts + 1, np.int64)
    sums, slots = np.zeros(concepts + 1 + LANES, np.int64), np.empty(0, np.int32)
    places, amounts, waiting = np.empty(concepts, np.int64), np.empty(concepts, np.int64), 0
    covered = np.zeros(concepts, np.bool_)  # concepts that a whole-image label puts on every pixel
    carried, touched = np.zeros(categories + 1, np.bool_), np.zeros(categories + 1, np.bool_)  # the last one: none
    current, first, last, lanes, depth = -1, 0, 0, 0, 0
    here = 0
    for a in range(len(unit)):
        u, b = unit[a], image[a]
        if owner[u] != part:
            continue
        if b != current:
            if current >= 0:
                for e in range(whole_start[current], whole_start[current + 1]):
                    covered[whole_concept[e] - 1] = False
                for k in range(lanes):
                    lane[lane_concept[k]] = -1
            current, first, last = b, code_start[b], code_start[b + 1]
            here = find_item(address(codes), len(codes), address(last_codes), padded_codes, size * height * width, b)
            carried[:] = area == 2
            for e in range(whole_start[b], whole_start[b + 1]):
                c = whole_concept[e] - 1
                covered[c] = once  # it already counts there on every pixel
                carried[category[c]] = True  # in all modes: any mask touches it; -1, none, is the last one
            lanes = name_lanes(entry_concept, entry_start[first], entry_start[last], covered, lane, lane_concept)
            for k in range(lanes if area == 0 else 0):
                carried[category[lane_concept[k]]] = True
            depth = count_slots(entry_start, entry_times, first, last, single)
            if len(slots) < (last - first) * depth:
                slots = np.empty((last - first) * depth, np.int32)
            fill_slots(entry_start, entry_concept, entry_times, first, last, single, lane, lanes, depth, address(slots))
        cells = find_item(address(maps), len(maps), address(last_maps), padded_maps, 4 * h * w, a)
        if not exceeds(cells, h * w, thresholds[u]):
            continue
        mark_cells(cells, h, w, thresholds[u], address(marks), words)
        pixels = list_codes(
            cells, h, w, thresholds[u], address(marks), words, address(rows), address(row_fraction),
            address(columns), address(column_fraction), width, here, like, size,
            address(top), address(rise), address(listed),
        )  # fmt: skip
        for p in range(0, pixels, COUNTED):
            count_codes(address(listed) + size * p, like, size, min(COUNTED, pixels - p), address(histogram))
            add_counts(address(histogram), last - first, address(slots), depth, address(sums))
        # The counts of this map wait until the next one is done: by then their places have come into the cache.
        write_counts(places, amounts, waiting)
        waiting = 0
        sums[lanes] = 0
        for k in range(0, lanes, LANES):
            found = nonzero(load(LONGS, address(sums) + 8 * k))
            while found != 0:
                place = k + first_bit(found)
                found &= found - 1
                c = lane_concept[place]
                touched[category[c]] = True
                places[waiting], amounts[waiting] = address(intersection) + 8 * concepts * u + 8 * c, sums[place]
                prefetch(places[waiting])
                waiting += 1
            store(fill(LONGS, np.int64(0)), address(sums) + 8 * k)
        for e in range(whole_start[b], whole_start[b + 1] if pixels > 0 else 0):
            intersection[u, whole_concept[e] - 1] += pixels if once else pixels * whole_times[e]
        unit_area_all[u] += pixels
        for k in range(categories):
            if carried[k] or (area == 1 and touched[k]):
                unit_area[u, k] += pixels
        touched[:] = False
    write_counts(places, amounts, waiting)
