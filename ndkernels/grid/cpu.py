"""Masks on the CPU in Numba: rows whose samples all stay at or below the threshold are skipped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ndkernels._jit import jit


@jit
def mask_maps(
    maps: NDArray[np.float32],  # [A, h, w]
    thresholds: NDArray[np.float32],  # [A]
    row: NDArray[np.int32],  # [H]
    row_fraction: NDArray[np.float32],
    column: NDArray[np.int32],  # [W]
    column_fraction: NDArray[np.float32],
    out: NDArray[np.bool_],  # [A, H, W], written
) -> None:
    """Write the masks of all maps."""
    h, w = maps.shape[1], maps.shape[2]
    for a in range(maps.shape[0]):
        limit = thresholds[a]
        for y in range(len(row)):
            upper = row[y]
            lower = min(upper + 1, h - 1)
            fy = row_fraction[y]
            any_on = False
            for k in range(w):
                any_on |= maps[a, upper, k] > limit or maps[a, lower, k] > limit
            if not any_on:  # exact: no interpolated value exceeds its corners' maximum
                out[a, y] = False
                continue
            for x in range(len(column)):
                left = column[x]
                right = min(left + 1, w - 1)
                fx = column_fraction[x]
                top = maps[a, upper, left] + fx * (maps[a, upper, right] - maps[a, upper, left])
                bottom = maps[a, lower, left] + fx * (maps[a, lower, right] - maps[a, lower, left])
                out[a, y, x] = top + fy * (bottom - top) > limit
