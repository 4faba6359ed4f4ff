"""Upsampling on the GPU in Triton: the interpolation that the tally shares, and masks to look at."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ndkernels import _triton

LANES = 128  # label columns at a time


@triton.jit
def load_columns(
    column,  # [W] int32
    fraction,  # [W] float32
    first,
    w: tl.constexpr,
    W: tl.constexpr,
    LANES: tl.constexpr,
):
    """Of ``LANES`` label columns from ``first`` on: which exist, their samples on either side, and the fraction."""
    x = first + tl.arange(0, LANES)
    inside = x < W
    left = tl.load(column + x, mask=inside, other=0)
    return inside, left, tl.minimum(left + 1, w - 1), tl.load(fraction + x, mask=inside, other=0.0)


@triton.jit
def interpolate(cells, i, left, right, fx, inside, h: tl.constexpr, w: tl.constexpr):
    """Along one pair of sample rows: the value on the upper one, and the rise to the one below, at each column.

    Horizontal first, as in ``naive.py``; what is left for each label row is ``top + fy·rise``.
    """
    upper = cells + i * w
    lower = cells + tl.minimum(i + 1, h - 1) * w
    a00 = tl.load(upper + left, mask=inside, other=0.0)
    a01 = tl.load(upper + right, mask=inside, other=0.0)
    a10 = tl.load(lower + left, mask=inside, other=0.0)
    a11 = tl.load(lower + right, mask=inside, other=0.0)
    top = a00 + fx * (a01 - a00)
    return top, (a10 + fx * (a11 - a10)) - top


@triton.jit
def mask_kernel(
    maps,  # [A, h, w] float32
    thresholds,  # [A] float32
    row,  # [H] int32
    row_fraction,  # [H] float32
    column,  # [W] int32
    column_fraction,  # [W] float32
    out,  # [A, H, W] uint8, written
    h: tl.constexpr,
    w: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    LANES: tl.constexpr,
):
    """Write one label row of one map's mask."""
    a = (tl.program_id(0) // H).to(tl.int64)
    y = tl.program_id(0) % H
    limit = tl.load(thresholds + a)
    i = tl.load(row + y)
    fy = tl.load(row_fraction + y)
    for first in tl.static_range(0, W, LANES):
        inside, left, right, fx = load_columns(column, column_fraction, first, w, W, LANES)
        top, rise = interpolate(maps + a * (h * w), i, left, right, fx, inside, h, w)
        on = (top + fy * rise > limit).to(tl.uint8)
        tl.store(out + (a * H + y) * W + first + tl.arange(0, LANES), on, mask=inside)


def mask_maps(
    maps: Tensor,  # [A, h, w] float32
    thresholds: Tensor,  # [A] float32
    row: Tensor,  # [H] int32
    row_fraction: Tensor,
    column: Tensor,  # [W] int32
    column_fraction: Tensor,
) -> Tensor:
    """Masks ``[A, H, W]`` bool of contiguous maps."""
    (h, w), height, width = maps.shape[1:], len(row), len(column)
    out = torch.empty((len(maps), height, width), dtype=torch.uint8, device=maps.device)
    _triton.launch(
        mask_kernel, (len(maps) * height,), maps, thresholds, row, row_fraction, column, column_fraction, out,
        h=h, w=w, H=height, W=width, LANES=min(LANES, _triton.power_of_two(width)),
    )  # fmt: skip
    return out.view(torch.bool)
