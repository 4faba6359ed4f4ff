"""What callers hand over: NumPy arrays or tensors, of any memory layout; and whether maps can be counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

# Magnitudes up to here can be interpolated without overflow to infinity.
LARGEST_ACTIVATION = 2.0**126

Array = Tensor | NDArray[Any]  # what every public function takes


class NonFiniteError(ValueError):
    """An activation is NaN, infinite or above 2^126 in magnitude.

    Attributes
    ----------
    image, unit : int
        Where it was found; the image counts from the batch's first.
    value : float
    """

    def __init__(self, image: int, unit: int, value: float) -> None:
        super().__init__(f"activation {value} in image {image}, unit {unit}, is not finite or above 2^126")
        self.image, self.unit, self.value = image, unit, value


def as_tensor(name: str, values: Array | ArrayLike) -> Tensor:
    """An array as a tensor, of the same memory where that is possible.

    Raises
    ------
    ValueError
        If it is no array of numbers, or a masked or sparse one.
    """
    if isinstance(values, Tensor):
        if values.layout is not torch.strided:
            raise ValueError(f"{name} must be a dense tensor, not {values.layout}; use .to_dense()")
        return values.detach().resolve_neg()
    array = as_numpy(name, values)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch warns of the one and refuses the other
    return torch.from_numpy(array)


def as_numpy(name: str, values: Array | ArrayLike) -> NDArray[Any]:
    """An array as one of NumPy's in the machine's byte order, of the same memory where that is possible.

    Raises
    ------
    ValueError
        If it is no array of numbers, or a masked or sparse one.
    """
    if isinstance(values, Tensor):
        return as_tensor(name, values).cpu().numpy()
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} must not be masked; fill it first")
    array = np.asarray(values)
    if array.dtype.kind not in "biufc":
        raise ValueError(f"{name} must hold numbers, not {array.dtype}")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_integers(name: str, values: Array | ArrayLike) -> Tensor:
    """Integers of any type as int32.

    Raises
    ------
    ValueError
        If they are no integers, or 32 bits don't hold them.
    """
    tensor = as_tensor(name, values)
    if tensor.dtype == torch.int32:
        return tensor
    if tensor.dtype == torch.bool or tensor.is_floating_point() or tensor.is_complex():
        if tensor.numel():  # an empty list has no type of its own
            raise ValueError(f"{name} must hold integers, not {tensor.dtype}")
        return tensor.to(torch.int32)
    if tensor.dtype == torch.uint64:  # which torch can't compare
        tensor = as_tensor(name, as_numpy(name, tensor).clip(max=2**31).astype(np.int64)).to(tensor.device)
    wide = tensor.to(torch.int64)
    if wide.numel() and not -(2**31) <= int(wide.min()) <= int(wide.max()) < 2**31:
        raise ValueError(f"{name} must be numbers of 32 bits")
    return wide.to(torch.int32)


def find_non_finite(maps: Tensor) -> tuple[int, float] | None:
    """The first map of ``[A, …]`` that can't be counted, and its value that is NaN, infinite or above 2^126."""
    if not maps.numel():
        return None
    least, most = torch.aminmax(maps)
    if bool((least >= -LARGEST_ACTIVATION) & (most <= LARGEST_ACTIVATION)):  # neither holds of NaN
        return None
    for place, values in enumerate(maps):
        bad = values[~(values.abs() <= LARGEST_ACTIVATION)]
        if len(bad):
            return place, float(bad[0])
    raise AssertionError("unreachable: one of the values was out of range")


def refuse_non_finite_maps(maps: Tensor, unit: Tensor, image: Tensor) -> None:
    """Raise NonFiniteError for the first map that can't be counted, with the unit and the image ``[A]`` it is of."""
    if found := find_non_finite(maps):
        place, value = found
        raise NonFiniteError(int(image[place]), int(unit[place]), value)


def refuse_nan(name: str, values: Tensor) -> None:
    """Raise ValueError if one of ``values [U]`` is NaN: nothing exceeds it, and nobody would notice."""
    bad = torch.isnan(values).nonzero()
    if len(bad):
        raise ValueError(f"{name} hold nan at place {int(bad[0, 0])}")
