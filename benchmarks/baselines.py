"""Published ways to count, written plainly; what each leaves out of the original is said where it is defined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def lite_style(
    activations: NDArray[np.float32],  # [N, U, h, w]
    thresholds: NDArray[np.float32],  # [U]
    maps: Sequence[NDArray[np.int64]],  # N times [M, H, W]
    concepts: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count as NetDissect-Lite does: skip a unit on its maximum, resize with PIL, count labels with bincount.

    The loop over categories, which only costs time, is left out.

    Returns
    -------
    intersection : ndarray
        ``[U, C + 1]``, column c is concept c.
    unit_area : ndarray
        ``[U]``.
    """
    units = activations.shape[1]
    intersection = np.zeros((units, concepts + 1), np.int64)
    unit_area = np.zeros(units, np.int64)
    for image, stack in zip(activations, maps, strict=True):
        height, width = stack.shape[1:]
        for u in range(units):
            activation = image[u]
            if activation.max() <= thresholds[u]:
                continue
            up = np.asarray(Image.fromarray(activation).resize((width, height), Image.Resampling.BILINEAR))
            rows, columns = np.nonzero(up > thresholds[u])
            if len(rows) == 0:
                continue
            counted = np.bincount(stack[:, rows, columns].ravel(), minlength=concepts + 1)
            counted[0] = 0
            intersection[u] += counted
            unit_area[u] += len(rows)
    return intersection, unit_area
