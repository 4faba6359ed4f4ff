"""The tally on the CPU in Numba: a histogram over pixel codes for every active map.

Only interpolation cells with a corner above the threshold are visited: no interpolated value exceeds its
corners' maximum, so the others are off, exactly. Where a pixel is on, its code is counted; after the map the
codes are expanded to concepts. Threads split the units, so each row of the counts has one writer: no atomics,
and the same integers in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndkernels._jit import jit
from ndkernels.threads import run_parts


def tally_maps(
    maps: NDArray[np.float32],  # [A, h, w]
    unit: NDArray[np.int32],  # [A]
    image: NDArray[np.int32],  # [A]
    thresholds: NDArray[np.float32],  # [U]
    tables: Sequence[NDArray[Any]],
    labels: Sequence[NDArray[Any]],
    category: NDArray[np.int32],  # [C]
    carried: NDArray[np.bool_],  # [B, K]
    once: bool,
    area: int,
    intersection: NDArray[np.int64],  # [U, C], added to
    unit_area: NDArray[np.int64],  # [U, K], added to
    unit_area_all: NDArray[np.int64],  # [U], added to
    threads: int,
) -> None:
    """Count all maps: :func:`ndkernels.tally.tally_maps`, plus the categories that each image carries."""
    row, row_fraction, column, column_fraction = tables
    codes, code_start, _, entry_start, entry_concept, entry_times, whole_start, whole_concept, whole_times = labels
    most = int(np.diff(code_start).max(initial=0))
    rows = cell_starts(row, maps.shape[1])
    columns = cell_starts(column, maps.shape[2])
    run_parts(
        lambda p: tally_part(
            maps, unit, image, thresholds,
            rows, row_fraction, columns, column_fraction,
            codes, code_start, entry_start, entry_concept, entry_times,
            whole_start, whole_concept, whole_times,
            category, carried, once, area, most,
            intersection, unit_area, unit_area_all,
            p, threads,
        ),
        threads,
    )  # fmt: skip


def cell_starts(lower: NDArray[np.int32], samples: int) -> NDArray[np.uint64]:
    """First position of each interpolation cell: cell k covers ``starts[k] : starts[k + 1]``, ``[n + 1]``.

    Unsigned, for what counts from them is then known not to be negative: Numba leaves out the code for indices from
    the end, a fifth of the time.
    """
    return np.searchsorted(lower, np.arange(samples + 1)).astype(np.uint64)


@jit
def count_codes(
    cells: NDArray[np.float32],  # [h, w]
    limit: np.float32,
    rows: NDArray[np.uint64],  # [h + 1]
    row_fraction: NDArray[np.float32],  # [H]
    columns: NDArray[np.uint64],  # [w + 1]
    column_fraction: NDArray[np.float32],  # [W]
    codes: NDArray[Any],  # [H, W]
    histogram: NDArray[np.int64],  # [R], added to
    top: NDArray[np.float32],  # [W] scratch
    rise: NDArray[np.float32],  # [W] scratch
) -> None:
    """Count the codes of the pixels that are on in one map."""
    h, w = cells.shape
    for i in range(h):
        if rows[i] == rows[i + 1]:
            continue
        below = min(i + 1, h - 1)
        for j in range(w):
            right = min(j + 1, w - 1)
            a00, a01, a10, a11 = cells[i, j], cells[i, right], cells[below, j], cells[below, right]
            if not (a00 > limit or a01 > limit or a10 > limit or a11 > limit):
                continue
            for x in range(columns[j], columns[j + 1]):
                fx = column_fraction[x]
                top[x] = a00 + fx * (a01 - a00)
                rise[x] = (a10 + fx * (a11 - a10)) - top[x]
            for y in range(rows[i], rows[i + 1]):
                fy = row_fraction[y]
                for x in range(columns[j], columns[j + 1]):
                    if top[x] + fy * rise[x] > limit:
                        histogram[codes[y, x]] += 1


@jit
def tally_part(
    maps: NDArray[np.float32],
    unit: NDArray[np.int32],
    image: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    rows: NDArray[np.uint64],
    row_fraction: NDArray[np.float32],
    columns: NDArray[np.uint64],
    column_fraction: NDArray[np.float32],
    codes: NDArray[Any],  # [B, H, W]
    code_start: NDArray[np.int64],
    entry_start: NDArray[np.int64],
    entry_concept: NDArray[np.int32],
    entry_times: NDArray[np.uint8],
    whole_start: NDArray[np.int64],
    whole_concept: NDArray[np.int32],
    whole_times: NDArray[np.uint8],
    category: NDArray[np.int32],
    carried: NDArray[np.bool_],
    once: bool,
    area: int,
    most: int,
    intersection: NDArray[np.int64],
    unit_area: NDArray[np.int64],
    unit_area_all: NDArray[np.int64],
    part: int,
    parts: int,
) -> None:
    """Count the maps of the units whose number leaves ``part`` when divided by ``parts``."""
    categories = unit_area.shape[1]
    histogram = np.zeros(max(most, 1), np.int64)
    top = np.empty(codes.shape[2], np.float32)
    rise = np.empty(codes.shape[2], np.float32)
    touched = np.zeros(categories + 1, np.bool_)  # the last one takes concepts without a category
    covered = np.zeros(len(category) + 1, np.bool_)  # concepts that a whole-image label puts on every pixel
    current = -1
    for a in range(len(unit)):
        u, b = unit[a], image[a]
        if u % parts != part:
            continue
        if b != current:
            if current >= 0:
                for e in range(whole_start[current], whole_start[current + 1]):
                    covered[whole_concept[e]] = False
            current = b
            for e in range(whole_start[b], whole_start[b + 1]):
                covered[whole_concept[e]] = True
        count_codes(
            maps[a],
            thresholds[u],
            rows,
            row_fraction,
            columns,
            column_fraction,
            codes[b],
            histogram,
            top,
            rise,
        )
        size = 0
        touched[:] = False
        for r in range(code_start[b], code_start[b + 1]):
            pixels = histogram[r - code_start[b]]
            if pixels == 0:
                continue
            histogram[r - code_start[b]] = 0
            size += pixels
            for e in range(entry_start[r], entry_start[r + 1]):
                concept = entry_concept[e]
                touched[category[concept - 1]] = True
                if not once:
                    intersection[u, concept - 1] += pixels * entry_times[e]
                elif not covered[concept]:
                    intersection[u, concept - 1] += pixels
        if size == 0:
            continue
        for e in range(whole_start[b], whole_start[b + 1]):
            concept = whole_concept[e]
            touched[category[concept - 1]] = True
            intersection[u, concept - 1] += size if once else size * whole_times[e]
        unit_area_all[u] += size
        for k in range(categories):
            if area == 2 or (area == 0 and carried[b, k]) or (area == 1 and touched[k]):
                unit_area[u, k] += size
