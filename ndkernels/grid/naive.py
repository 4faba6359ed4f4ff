"""The definition of upsampling and masking, in NumPy.

Horizontal first, three roundings a step and no fused multiply-add, so that every back end agrees bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def upsample(
    activation: NDArray[np.float32],  # [h, w]
    row: NDArray[np.int32],  # [H]
    row_fraction: NDArray[np.float32],  # [H]
    column: NDArray[np.int32],  # [W]
    column_fraction: NDArray[np.float32],  # [W]
) -> NDArray[np.float32]:
    """Bilinear interpolation of one map to ``[H, W]`` in float32."""
    next_row = np.minimum(row + 1, activation.shape[0] - 1)
    next_column = np.minimum(column + 1, activation.shape[1] - 1)
    fx, fy = column_fraction[None, :], row_fraction[:, None]
    # A huge map may overflow to infinity in a difference: so it does in every back end.
    with np.errstate(over="ignore", invalid="ignore"):
        a00, a01 = activation[row][:, column], activation[row][:, next_column]
        a10, a11 = activation[next_row][:, column], activation[next_row][:, next_column]
        top = a00 + fx * (a01 - a00)
        bottom = a10 + fx * (a11 - a10)
        up: NDArray[np.float32] = top + fy * (bottom - top)
    return up


def mask_maps(
    maps: NDArray[np.float32],  # [A, h, w]
    thresholds: NDArray[np.float32],  # [A]
    row: NDArray[np.int32],
    row_fraction: NDArray[np.float32],
    column: NDArray[np.int32],
    column_fraction: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Masks ``[A, H, W]``: upsampled, then strictly greater than the map's threshold."""
    out = np.empty((len(maps), len(row), len(column)), np.bool_)
    for a, activation in enumerate(maps):
        out[a] = upsample(activation, row, row_fraction, column, column_fraction) > thresholds[a]
    return out
