"""The definition of a rotation of maps, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DIGITS = 23  # binary places of an activation, counted from the largest of its position
LEAST_EXPONENT = DIGITS - 127  # of a position's largest activation: below it, places are counted from 2^LEAST_EXPONENT


def matrix_digits(matrix: NDArray[np.float64]) -> int:
    """Binary places of the matrix: as many as keep the sum of a row's magnitudes, times 2^23, at 2^53 or below."""
    longest = np.abs(matrix).sum(1).max() * (1 + len(matrix) * 2.0**-29)  # entries may be rounded up
    return 53 - DIGITS - int(np.frexp(longest)[1])


def rotate_maps(maps: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Maps ``[N, U, h, w]`` turned by a matrix ``[U, U]``, one position after the other, in whole numbers."""
    digits = matrix_digits(matrix)
    whole = np.rint(np.ldexp(matrix, digits)).astype(np.int64)
    out = np.full_like(maps, np.nan)
    images, _, height, width = maps.shape
    for n, y, x in np.ndindex(images, height, width):
        activations = maps[n, :, y, x].astype(np.float64)
        if np.isfinite(activations).all():
            # All are below 2^exponent.
            exponent = max(int(np.frexp(np.abs(activations).max())[1]), LEAST_EXPONENT)
            rounded = np.rint(np.ldexp(activations, DIGITS - exponent)).astype(np.int64)
            sums = whole @ rounded
            out[n, :, y, x] = np.ldexp(sums.astype(np.float64), exponent - DIGITS - digits)  # here it is rounded once
    return out
