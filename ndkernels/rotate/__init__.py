"""Maps of a layer seen along other axes: a matrix product over units that rounds the same everywhere.

A product in floating point adds in an order that depends on the batch, the threads and the device, and the last bit of
an activation decides whether a pixel exceeds its unit's threshold. Here both factors become whole numbers first, such
that no sum can exceed 2^53: a product in float64 is then exact in whatever order it adds, and is rounded once.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndkernels.arrays import Array, NonFiniteError, as_tensor, find_non_finite
from ndkernels.devices import on_gpu
from ndkernels.rotate.naive import COARSE_DIGITS, DIGITS, LEAST_EXPONENT, MATRIX_DIGITS, ROOM

MOST_UNITS = 4096
LONGEST = 1 + 1e-9  # a row of a rotation, but for rounding
BUFFER_BYTES = 8 << 20  # what a processor's cache holds
GPU_BUFFER_BYTES = 128 << 20  # fewer launches


class Rotation:
    """A matrix that maps are turned by.

    Parameters
    ----------
    matrix : ndarray
        ``[U, U]`` float64 of at most 4,096 units, with rows of length 1 or less.
    device : torch.device or str
        Where the maps are.

    Raises
    ------
    ValueError
        If the matrix is not such a one.

    Notes
    -----
    The matrix is rounded to 26 binary places, the activations of a position to 27 places below their length as a
    vector. By the inequality of Cauchy and Schwarz no part of a sum then exceeds 2^53. Both roundings together change
    the result about as much as those of a float32 product do: by 1e-7 of its length with 512 units, where that changes
    it by 1.5e-7, and by 3e-7 with 4,096.
    """

    def __init__(self, matrix: NDArray[np.float64], device: torch.device | str = "cpu") -> None:
        if matrix.dtype != np.float64 or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"the matrix must be float64 [U, U], not {matrix.dtype} {list(matrix.shape)}")
        if not 1 <= len(matrix) <= MOST_UNITS:
            raise ValueError(f"the matrix must have 1 to {MOST_UNITS} rows, not {len(matrix)}")
        if not np.linalg.norm(matrix, axis=1).max() <= LONGEST:  # nor NaN
            raise ValueError("the matrix must have rows of length 1 or less")
        # Whole numbers but for a power of two, which changes no rounding; so are the activations.
        rounded = np.ldexp(np.rint(np.ldexp(matrix, MATRIX_DIGITS)), -MATRIX_DIGITS)
        self._matrix = torch.from_numpy(rounded).to(device)

    def apply(self, maps: Array) -> None:
        """Turn maps in place; beside them it takes 20 MB, on a GPU 16 times as much.

        Parameters
        ----------
        maps : Tensor or ndarray
            ``[N, U, h, w]`` float32, contiguous, finite.

        Raises
        ------
        NonFiniteError
            If an activation is not finite or above 2^126; nothing has been turned then.
        ValueError
            If shape or type do not fit.
        """
        if isinstance(maps, np.ndarray) and not maps.flags.writeable:
            raise ValueError("maps are turned in place, and these are read-only; give a copy")
        if not isinstance(maps, Tensor):
            maps = as_tensor("maps", maps)
        if maps.dim() == 4 and (found := find_non_finite(maps.flatten(0, 1))):
            place, value = found
            raise NonFiniteError(place // maps.shape[1], place % maps.shape[1], value)
        self.turn(maps)

    def turn(self, maps: Tensor) -> None:
        """The same without looking for what is not finite: where one activation of a position is not, none will be."""
        units = len(self._matrix)
        if maps.dim() != 4 or maps.shape[1] != units or maps.dtype != torch.float32 or not maps.is_contiguous():
            raise ValueError(
                f"maps must be contiguous float32 [N, {units}, h, w], not {maps.dtype} {list(maps.shape)} "
                f"with strides {list(maps.stride())}"
            )
        if not maps.numel():
            return
        flat = maps.flatten(2)
        cells = flat.shape[2]
        columns = max(1, (GPU_BUFFER_BYTES if on_gpu(maps) else BUFFER_BYTES) // (8 * units))
        images, stretch = max(1, columns // cells), min(columns, cells)
        for image in range(0, len(flat), images):
            for cell in range(0, cells, stretch):
                self._turn(flat[image : image + images, :, cell : cell + stretch])

    def _turn(self, part: Tensor) -> None:
        places = DIGITS - _length_exponent(part)
        part.mul_(_power_of_two(places)).round_().mul_(_power_of_two(-places))
        columns = part.new_empty(part.transpose(0, 1).shape, dtype=torch.float64).copy_(part.transpose(0, 1))
        turned = (self._matrix @ columns.flatten(1)).view(columns.shape)
        part.copy_(turned.transpose(0, 1)).add_(0)  # a sum of zeros is -0 in some orders


def _length_exponent(part: Tensor) -> Tensor:
    """For each position of ``[B, U, k]`` an exponent ``[B, 1, k]`` int32; see ``naive.py``."""
    coarse = part.abs()
    largest = _exponent(coarse.amax(1, keepdim=True)).clamp_(min=LEAST_EXPONENT)
    coarse.mul_(_power_of_two(COARSE_DIGITS - largest)).ceil_().square_()
    # Zeros give no exponent to speak of, NaN one that is out of range.
    squares = _exponent(coarse.sum(1, keepdim=True) * float(ROOM)).clamp_(0, 2 * COARSE_DIGITS + 13)
    return torch.maximum(largest, largest - COARSE_DIGITS + (squares + 1 >> 1))


def _exponent(values: Tensor) -> Tensor:
    """The exponents that 2 takes to exceed values of 0 or more; of subnormal ones, at least -126."""
    return (values.view(torch.int32) >> 23) - 126


def _power_of_two(exponent: Tensor) -> Tensor:
    """2 to an exponent from -126 to 127, of its bits: a GPU's ``pow`` may round."""
    return (exponent + 127 << 23).view(torch.float32)
