"""The pixel table on the CPU in Numba: one pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ndkernels._jit import jit


@jit
def look_up_pixels(
    images: NDArray[np.uint8],  # [B, H, W, 3]
    table: NDArray[np.float32],  # [3, 256]
    order: NDArray[np.int64],  # [3]
    out: NDArray[np.float32],  # [B, H, W, 3], written
    begin: int,
    end: int,
) -> None:
    """Write the images ``begin`` to ``end``."""
    pixels, values = images.reshape(-1, 3), out.reshape(-1, 3)
    size = images.shape[1] * images.shape[2]
    first, second, third = order[0], order[1], order[2]
    for p in range(begin * size, end * size):
        values[p, 0] = table[0, pixels[p, first]]
        values[p, 1] = table[1, pixels[p, second]]
        values[p, 2] = table[2, pixels[p, third]]
