"""The tally on the GPU in Triton: one warp a map, a histogram over pixel codes, atomics for what was touched.

A map is skipped on its maximum, a pair of sample rows on theirs, a label row where no pixel is on: no interpolated
value exceeds its corners' maximum, so all of it is exact. Where pixels are on, their codes are counted in shared
memory, and at the end of the map the codes that occurred are expanded to concepts. Nothing upsampled is ever stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ndkernels import _triton
from ndkernels.grid.gpu import LANES, interpolate, load_columns
from ndkernels.labels import LabelBlock
from ndkernels.tally.layout import carry_categories, pack_entries, pad_codes

CELLS = 256  # of a map, looked at together when its maximum is sought
FEW_BINS, MANY_BINS = 128, 256  # codes counted in one pass over a map: of most images, or of richly labelled ones
REGISTERS = 128  # a thread, with many bins


@triton.jit
def any_above(values, size: tl.constexpr, limit, LANES: tl.constexpr):
    """Whether one of ``size`` values in a row exceeds the limit: 1 or 0."""
    found = tl.zeros([LANES], tl.int32)
    for first in range(0, size, LANES):
        i = first + tl.arange(0, LANES)
        value = tl.load(values + i, mask=i < size, other=float("-inf"))
        found |= (value > limit).to(tl.int32)
    return tl.max(found)


@triton.jit
def count_codes(
    cells,  # [h, w]
    limit,
    rows,  # [h + 1] int32
    row_fraction,  # [H]
    column,  # [W] int32
    column_fraction,  # [W]
    codes,  # [H, CODE_WIDTH] of the image
    first_code,
    h: tl.constexpr,
    w: tl.constexpr,
    W: tl.constexpr,
    CODE_WIDTH: tl.constexpr,
    BINS: tl.constexpr,
    LANES: tl.constexpr,
    CELL_LANES: tl.constexpr,
):
    """Histogram ``[BINS]`` of the codes from ``first_code`` on, over the pixels that are on in one map."""
    histogram = tl.zeros([BINS], tl.int32)
    for first in tl.static_range(0, W, LANES):
        inside, left, right, fx = load_columns(column, column_fraction, first, w, W, LANES)
        upper = any_above(cells, w, limit, CELL_LANES)
        for i in range(h):
            lower = any_above(cells + tl.minimum(i + 1, h - 1) * w, w, limit, CELL_LANES)
            y = tl.load(rows + i)
            end = tl.load(rows + i + 1)
            if ((upper | lower) != 0) & (y < end):
                top, rise = interpolate(cells, i, left, right, fx, inside, h, w)
                for line in range(y, end):
                    on = (top + tl.load(row_fraction + line) * rise > limit) & inside
                    if tl.max(on.to(tl.int32)) != 0:
                        # Rows are padded to CODE_WIDTH, a multiple of the lanes, so that codes load as vectors.
                        code = tl.load(codes + line * CODE_WIDTH + first + tl.arange(0, LANES)).to(tl.int32)
                        code -= first_code
                        histogram += tl.histogram(code, BINS, mask=on & (code >= 0) & (code < BINS))
            upper = lower
    return histogram


@triton.jit
def add_entries(
    pixels,  # [BINS] int32: pixels of each code
    entry_start,  # [R + 1] int64, from the first code on
    entries,  # [E] int64
    out,  # [C] of the unit, from concept 0 on
    touched,  # [CATEGORIES] int32
    categories,
    BINS: tl.constexpr,
    CATEGORIES: tl.constexpr,
    TOUCHED: tl.constexpr,
):
    """Add the pixels of every code to each of its concepts; gives the categories touched so far."""
    codes = entry_start + tl.arange(0, BINS)
    seen = pixels > 0
    base = tl.load(entry_start)
    entry = (tl.load(codes, mask=seen, other=base) - base).to(tl.int32)
    end = (tl.load(codes + 1, mask=seen, other=base) - base).to(tl.int32)
    for _ in range(tl.max(end - entry)):
        there = entry < end
        packed = tl.load(entries + base + entry, mask=there, other=0)
        times = packed & 255
        tl.atomic_add(out + (packed >> 32), pixels * times, mask=there & (times > 0), sem="relaxed")
        if TOUCHED:
            category = tl.where(there, (packed >> 8).to(tl.int32) & 0xFFFFFF, categories)
            for c in range(categories):
                here = tl.max((category == c).to(tl.int32))
                touched |= (tl.arange(0, CATEGORIES) == c).to(tl.int32) * here
        entry += 1
    return touched


@triton.jit(do_not_specialize=["concepts", "categories"])
def tally_kernel(
    maps,  # [A, h, w] float32
    unit,  # [A] int32
    image,  # [A] int32
    thresholds,  # [U] float32
    rows,  # [h + 1] int32: the first label row of each pair of sample rows
    row_fraction,  # [H] float32
    column,  # [W] int32
    column_fraction,  # [W] float32
    codes,  # [B, H, CODE_WIDTH] uint16 or int32
    starts,  # [B + 1, 2] int64: of an image's codes, and of its whole-image labels
    entry_start,  # [R + 1] int64
    entries,  # [E] int64: concept, category and times
    wholes,  # [L] int64: the same of whole-image labels
    carried,  # [B, K] uint8: categories for which the area on an image counts, whatever the mask touches
    intersection,  # [U, C] int64, added to
    unit_area,  # [U, K] int64, added to
    unit_area_all,  # [U] int64, added to
    concepts,
    categories,
    h: tl.constexpr,
    w: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    CODE_WIDTH: tl.constexpr,
    BINS: tl.constexpr,
    LANES: tl.constexpr,
    CELLS: tl.constexpr,
    CELL_LANES: tl.constexpr,
    CATEGORIES: tl.constexpr,
    TOUCHED: tl.constexpr,
):
    """Count one map a program."""
    a = tl.program_id(0).to(tl.int64)
    u = tl.load(unit + a).to(tl.int64)
    limit = tl.load(thresholds + u)
    cells = maps + a * (h * w)
    if any_above(cells, h * w, limit, CELLS) != 0:
        b = tl.load(image + a).to(tl.int64)
        start = tl.load(starts + 2 * b)
        out = intersection + u * concepts - 1  # concept c stands in column c - 1
        size = 0
        k = tl.arange(0, CATEGORIES)
        touched = tl.load(carried + b * categories + k, mask=k < categories, other=0).to(tl.int32)
        # An image of more codes than bins is gone through again: no limit on how many it has.
        for first in range(0, (tl.load(starts + 2 * b + 2) - start).to(tl.int32), BINS):
            pixels = count_codes(
                cells, limit, rows, row_fraction, column, column_fraction, codes + b * (H * CODE_WIDTH), first,
                h, w, W, CODE_WIDTH, BINS, LANES, CELL_LANES,
            )  # fmt: skip
            size += tl.sum(pixels)
            touched = add_entries(
                pixels, entry_start + start + first, entries, out, touched, categories, BINS, CATEGORIES, TOUCHED
            )
        if size > 0:
            area = tl.cast(size, tl.int64)
            for e in range(tl.load(starts + 2 * b + 1), tl.load(starts + 2 * b + 3)):
                packed = tl.load(wholes + e)
                tl.atomic_add(out + (packed >> 32), area * (packed & 255), sem="relaxed")
            tl.atomic_add(unit_area_all + u, area, sem="relaxed")
            everywhere = tl.zeros([CATEGORIES], tl.int64) + area
            mask = (touched != 0) & (k < categories)
            tl.atomic_add(unit_area + u * categories + k, everywhere, mask=mask, sem="relaxed")


def tally_maps(
    maps: Tensor,  # [A, h, w] float32
    unit: Tensor,  # [A] int32
    image: Tensor,  # [A] int32
    thresholds: Tensor,  # [U] float32
    tables: Sequence[Tensor],
    labels: LabelBlock,
    category: Tensor,  # [C] int32
    once: bool,
    area: int,
    intersection: Tensor,  # [U, C] int64, added to
    unit_area: Tensor,  # [U, K] int64, added to
    unit_area_all: Tensor,  # [U] int64, added to
) -> None:
    """Count all maps: :func:`ndkernels.tally.tally_maps` on a GPU, all tensors contiguous."""
    row, row_fraction, column, column_fraction = tables
    (h, w), height, width = maps.shape[1:], len(row), len(column)
    concepts, categories = intersection.shape[1], unit_area.shape[1]
    lanes = min(LANES, _triton.power_of_two(width))
    rows = torch.searchsorted(row, torch.arange(h + 1, dtype=torch.int32, device=maps.device), out_int32=True)
    entries, wholes = pack_entries(labels, category, once)
    carried = carry_categories(labels, category, categories, area)
    codes = pad_codes(labels.codes, lanes)
    few = len(labels.code_area) <= FEW_BINS * len(labels)  # on average; the device need not be asked for the most
    _triton.launch(
        tally_kernel, (len(maps),), maps, unit, image, thresholds,
        rows, row_fraction, column, column_fraction, codes,
        torch.stack([labels.code_start, labels.whole_start], dim=1), labels.entry_start, entries, wholes, carried,
        intersection, unit_area, unit_area_all, concepts, categories,
        h=h, w=w, H=height, W=width, CODE_WIDTH=codes.shape[2], BINS=FEW_BINS if few else MANY_BINS, LANES=lanes,
        CELLS=min(CELLS, _triton.power_of_two(h * w)), CELL_LANES=min(CELLS, _triton.power_of_two(w)),
        CATEGORIES=_triton.power_of_two(max(categories, 1)), TOUCHED=area == 1, registers=None if few else REGISTERS,
    )  # fmt: skip
