"""The definition of thresholds and survivors, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def thresholds(activations: NDArray[np.float32], above: int) -> NDArray[np.float32]:
    """The (m+1)-th largest of each unit's values, ``[U]``: m is ``above``, ``activations [N, U, h, w]``."""
    values = np.sort(activations.swapaxes(0, 1).reshape(activations.shape[1], -1), axis=1)[:, ::-1]
    return values[:, above] + np.float32(0)  # -0 becomes 0


def needed_cells(activation: NDArray[np.float32], bound: np.float32) -> NDArray[np.bool_]:
    """Cells ``[h, w]`` above the bound, and their neighbours: the corners of every cell that can be on."""
    h, w = activation.shape
    needed = np.zeros((h, w), np.bool_)
    for y, x in np.argwhere(activation > bound):
        needed[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
    return needed


def survivors(
    activations: NDArray[np.float32],  # [N, U, h, w]
    bound: NDArray[np.float32],  # [U]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8], NDArray[np.float32]]:
    """Image, unit, bitmap and values of the maps that have a cell above their unit's bound."""
    images, units, bitmaps, values = [], [], [], []
    for n, maps in enumerate(activations):
        for u, activation in enumerate(maps):
            needed = needed_cells(activation, bound[u])
            if needed.any():
                images.append(n)
                units.append(u)
                bitmaps.append(np.packbits(needed.ravel(), bitorder="little"))
                values.append(activation[needed])
    width = (activations.shape[2] * activations.shape[3] + 7) // 8
    return (
        np.array(images, np.int32),
        np.array(units, np.int32),
        np.array(bitmaps, np.uint8).reshape(len(images), width),
        np.concatenate([np.zeros(0, np.float32), *values]),
    )
