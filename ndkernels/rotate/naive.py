"""The definition of a rotation of maps, in NumPy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MATRIX_DIGITS = 26  # binary places of the matrix
DIGITS = 27  # and of activations, below a power of two that no position's length exceeds; 53 in all, what float64 holds
LEAST_EXPONENT = -99  # of that power of two
COARSE_DIGITS = 6  # of the activations that the length is taken of: 4,096 squares of 64 or less add up exactly
ROOM = np.float32(1 + 2.0**-10)  # for what rounding adds to the lengths of a row and of a position


def length_exponent(activations: NDArray[np.float64]) -> int:
    """An exponent e such that the activations ``[U]`` of a position, as a vector, are shorter than 2^e."""
    largest = max(int(np.frexp(np.abs(activations).max())[1]), LEAST_EXPONENT)  # all are below 2^largest
    coarse = np.ceil(np.ldexp(np.abs(activations), COARSE_DIGITS - largest)).astype(np.int64)
    squares = np.float32((coarse**2).sum()) * ROOM
    return max(largest, largest - COARSE_DIGITS + math.ceil(int(np.frexp(squares)[1]) / 2))


def rotate_maps(maps: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Maps ``[N, U, h, w]`` turned by a matrix ``[U, U]``, one position after the other, in whole numbers."""
    whole = np.rint(np.ldexp(matrix, MATRIX_DIGITS)).astype(np.int64)
    out = np.full_like(maps, np.nan)
    images, _, height, width = maps.shape
    for n, y, x in np.ndindex(images, height, width):
        activations = maps[n, :, y, x].astype(np.float64)
        if np.isfinite(activations).all():
            exponent = length_exponent(activations)
            rounded = np.rint(np.ldexp(activations, DIGITS - exponent)).astype(np.int64)
            sums = whole @ rounded  # no part of a sum exceeds the product of both lengths, 2^53
            out[n, :, y, x] = np.ldexp(sums.astype(np.float64), exponent - DIGITS - MATRIX_DIGITS)  # here it is rounded
    return out
