"""The definition of the pixel table, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def look_up_pixels(
    images: NDArray[np.uint8],  # [B, H, W, 3]
    table: NDArray[np.float32],  # [3, 256]
    order: Sequence[int],
) -> NDArray[np.float32]:
    """The batch as ``[B, H, W, 3]`` float32: channel c is the table's row c at the images' channel ``order[c]``."""
    return np.stack([table[c][images[..., order[c]]] for c in range(3)], axis=-1)
