"""Masks on the CPU in Numba, on vectors, and the steps of interpolation that the tally takes, too.

Only interpolation cells with a corner above the threshold are looked at: no interpolated value exceeds its corners'
maximum, so the others are off, exactly. Cells side by side are one span; its two edges are interpolated along the rows
of samples first, then 16 pixels at a time between them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndkernels._jit import jit
from ndkernels._vector import (
    FLOATS,
    LANES,
    add,
    address,
    fill,
    first_bit,
    first_bits,
    larger,
    load,
    maximum,
    multiply,
    store,
    subtract,
)

WORD = 32  # columns of cells in one word of marks


def cell_starts(lower: NDArray[np.int32], samples: int) -> NDArray[np.int64]:
    """First position of each interpolation cell: cell k covers ``starts[k] : starts[k + 1]``, ``[n + 1]``."""
    return np.searchsorted(lower, np.arange(samples + 1)).astype(np.int64)


def pad(array: NDArray[Any]) -> NDArray[Any]:
    """A flat copy with zeros behind it, for vectors are read past the end of what they begin in."""
    return np.concatenate([array.ravel(), np.zeros(2 * LANES, array.dtype)])


def pad_last(items: NDArray[Any]) -> NDArray[Any]:
    """Those of the items ``[N, ...]`` from whose end a vector would reach beyond the array, padded."""
    return pad(items[-(2 * LANES // items[0].size + 1) :])


@jit
def find_item(items: int, count: int, last: int, padded: int, nbytes: int, place: int) -> int:
    """The address of item ``place``, from where vectors may be read.

    The ``count`` items of so many bytes lie at ``items``; the ``padded`` last of them also at ``last``, padded.
    """
    if place < count - padded:
        return items + nbytes * place
    return last + nbytes * (place - (count - padded))


@jit
def exceeds(
    cells: int,  # [size] float32, padded
    size: int,
    limit: np.float32,
) -> bool:
    """Whether any cell of a map is above the limit: for most maps, all that is asked."""
    tops = fill(FLOATS, limit)
    for k in range(0, size - LANES + 1, LANES):
        tops = maximum(tops, load(FLOATS, cells + 4 * k))
    left = size % LANES
    rest: int = larger(load(FLOATS, cells + 4 * (size - left)), fill(FLOATS, limit)) & first_bits(left)
    most: int = larger(tops, fill(FLOATS, limit))
    return (most | rest) != 0


@jit
def mark_cells(
    cells: int,  # [h, w] float32, padded
    h: int,
    w: int,
    limit: np.float32,
    marks: int,  # [h, words + 1] int64, written; the last column stays zero
    words: int,
) -> None:
    """Set a bit for each cell above the limit, 32 columns a word."""
    limits = fill(FLOATS, limit)
    for i in range(h):
        for k in range(words):
            bits = 0
            for j in range(WORD * k, min(WORD * (k + 1), w), LANES):
                above = larger(load(FLOATS, cells + 4 * (i * w + j)), limits) & first_bits(w - j)
                bits |= above << (j - WORD * k)
            store(bits, marks + 8 * (i * (words + 1) + k))


@jit
def active_cells(marks: int, words: int, i: int, below: int, k: int) -> int:
    """A bit for each cell of a word that has a corner above the limit, in the rows of samples ``i`` and ``below``.

    A cell's corners are its own column and the next.
    """
    here, under = marks + 8 * (i * (words + 1) + k), marks + 8 * (below * (words + 1) + k)
    corners: int = load(np.int64, here) | load(np.int64, under)
    beyond: int = load(np.int64, here + 8) | load(np.int64, under + 8)
    return corners | (corners >> 1) | ((beyond & 1) << (WORD - 1))


@jit
def next_span(cells: int) -> tuple[int, int, int]:
    """The first run of bits, from one place to before another, and the bits that are left."""
    start = first_bit(cells)
    stop = start + first_bit(~(cells >> start))
    return start, stop, cells & (-1 << stop)


@jit
def draw_edges(
    upper: int,  # [w] float32: the row of samples above
    lower: int,  # [w] float32: the row of samples below
    w: int,
    start: int,
    stop: int,
    columns: int,  # [w + 1] int64
    fraction: int,  # [W] float32, padded
    top: int,  # [W] float32, padded, written: interpolated along the upper row
    rise: int,  # [W] float32, padded, written: how far it is from there to the lower row
) -> None:
    """Interpolate along the rows of samples above and below the cells ``start`` to ``stop``."""
    for j in range(start, stop):
        right = min(j + 1, w - 1)
        a00, a01 = load(np.float32, upper + 4 * j), load(np.float32, upper + 4 * right)
        a10, a11 = load(np.float32, lower + 4 * j), load(np.float32, lower + 4 * right)
        upper_left, upper_step = fill(FLOATS, a00), fill(FLOATS, a01 - a00)
        lower_left, lower_step = fill(FLOATS, a10), fill(FLOATS, a11 - a10)
        # Lanes beyond the cell are written again with the next one.
        for x in range(load(np.int64, columns + 8 * j), load(np.int64, columns + 8 * (j + 1)), LANES):
            fx = load(FLOATS, fraction + 4 * x)
            above = add(upper_left, multiply(fx, upper_step))
            below = add(lower_left, multiply(fx, lower_step))
            store(above, top + 4 * x)
            store(subtract(below, above), rise + 4 * x)


def mask_maps(
    maps: NDArray[np.float32],  # [A, h, w]
    thresholds: NDArray[np.float32],  # [A]
    row: NDArray[np.int32],  # [H]
    row_fraction: NDArray[np.float32],
    column: NDArray[np.int32],  # [W]
    column_fraction: NDArray[np.float32],
    out: NDArray[np.bool_],  # [A, H, W], written
) -> None:
    """Write the masks of all maps; all arrays are contiguous."""
    if len(maps) == 0:
        return
    rows, columns = cell_starts(row, maps.shape[1]), cell_starts(column, maps.shape[2])
    draw_masks(maps, pad_last(maps), thresholds, rows, row_fraction, columns, pad(column_fraction), out)


@jit
def draw_masks(
    maps: NDArray[np.float32],
    last_maps: NDArray[np.float32],  # see pad_last
    thresholds: NDArray[np.float32],
    rows: NDArray[np.int64],  # [h + 1]
    row_fraction: NDArray[np.float32],  # [H]
    columns: NDArray[np.int64],  # [w + 1]
    column_fraction: NDArray[np.float32],  # [W], padded
    out: NDArray[np.bool_],  # [A, H, W], written
) -> None:
    """Write the masks of all maps."""
    h, w, words, width = maps.shape[1], maps.shape[2], (maps.shape[2] + WORD - 1) // WORD, out.shape[2]
    padded = (len(last_maps) - 2 * LANES) // (h * w)
    marks = np.zeros((h, words + 1), np.int64)
    top, rise = np.zeros(width + 2 * LANES, np.float32), np.zeros(width + 2 * LANES, np.float32)
    for a in range(len(maps)):
        out[a] = False
        limits = fill(FLOATS, thresholds[a])
        cells = find_item(address(maps), len(maps), address(last_maps), padded, 4 * h * w, a)
        if not exceeds(cells, h * w, thresholds[a]):
            continue
        mark_cells(cells, h, w, thresholds[a], address(marks), words)
        for i in range(h):
            below = min(i + 1, h - 1)
            for k in range(words if rows[i] < rows[i + 1] else 0):
                active = active_cells(address(marks), words, i, below, k)
                while active != 0:
                    start, stop, active = next_span(active)
                    start, stop = WORD * k + start, WORD * k + stop
                    draw_edges(
                        cells + 4 * i * w, cells + 4 * below * w, w, start, stop, address(columns),
                        address(column_fraction), address(top), address(rise),
                    )  # fmt: skip
                    for x in range(columns[start], columns[stop], LANES):
                        edge, slope = load(FLOATS, address(top) + 4 * x), load(FLOATS, address(rise) + 4 * x)
                        inside = first_bits(columns[stop] - x)
                        for y in range(rows[i], rows[i + 1]):
                            on = larger(add(edge, multiply(fill(FLOATS, row_fraction[y]), slope)), limits) & inside
                            while on != 0:
                                out[a, y, x + first_bit(on)] = True
                                on &= on - 1
