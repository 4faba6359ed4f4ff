"""Which dims of a tensor run along the image's rows and columns, and what each step along them sees.

A dim's length is written as a product of factors, so that flattening a map and folding it up again loses
nothing. A factor either runs along one axis of the image and has a receptive field there, or has no place in
the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

from ndkernels.grid import Field

ROWS, COLUMNS = 0, 1


@dataclass(frozen=True)
class Factor:
    """A factor of a dim's length.

    Attributes
    ----------
    size : int
        How many steps it has.
    axis : int or None
        ``ROWS`` or ``COLUMNS`` of the image, or None where its steps have no place in the image.
    field : Field or None
        What a step sees of that axis, in input pixels; None where there is no axis.
    """

    size: int
    axis: int | None = None
    field: Field | None = None


Dim = tuple[Factor, ...]
Axes = tuple[Dim, ...]  # one entry a dim of the tensor


def image_axes(images: int, size: tuple[int, int]) -> Axes:
    """Axes of a batch of input images ``[N, 3, ih, iw]``: a pixel sees itself."""
    pixel = Field(0, 1, 1)
    rows, columns = (Factor(n, axis, pixel) for axis, n in enumerate(size))
    return ((Factor(images),), (Factor(3),), (rows,), (columns,))


def plain(shape: Iterable[int]) -> Axes:
    """Axes of a tensor that has no place in the image: a parameter, a constant, a global mean."""
    return tuple((Factor(n),) for n in shape)


def length(dim: Dim) -> int:
    """How many steps a dim has."""
    return prod(factor.size for factor in dim)


def is_plain(dims: Iterable[Dim]) -> bool:
    """Whether no dim runs along the image."""
    return all(factor.axis is None for dim in dims for factor in dim)


def compose(first: Field, then: Field) -> Field:
    """The field of a step of size and stride ``then`` on top of ``first``."""
    return Field(
        then.offset * first.stride + first.offset,
        (then.size - 1) * first.stride + first.size,
        first.stride * then.stride,
    )


def step_dim(dim: Dim, step: Field, size: int) -> Dim | None:
    """A dim after a convolution or pool along it, ``size`` steps long; None where that has no field."""
    if is_plain([dim]):
        return (Factor(size),)
    if step == Field(0, 1, 1) and length(dim) == size:
        return dim
    if len(dim) != 1 or dim[0].field is None:
        return None
    return (replace(dim[0], size=size, field=compose(dim[0].field, step)),)


def widest(fields: Sequence[Field]) -> Field | None:
    """The field where branches meet: the larger one's, or what they see together where they are equally large.

    None where the branches advance by different strides.
    """
    if len({field.stride for field in fields}) != 1:
        return None
    size = max(field.size for field in fields)
    offsets = [field.offset for field in fields if field.size == size]
    return Field(min(offsets), max(offsets) - min(offsets) + size, fields[0].stride)


def merge(parts: Sequence[Axes], shape: Sequence[int]) -> Axes | None:
    """Axes of what tensors give together, element by element, with broadcasting to ``shape``.

    A dim that is spread from length one (the gate of a squeeze-and-excitation block) says nothing about where
    a unit sits, so the other tensors decide. None where the tensors do not lie on one grid.
    """
    merged: list[Dim] = []
    for place in range(-len(shape), 0):
        dims = [part[place] for part in parts if len(part) >= -place]
        dims = [dim for dim in dims if length(dim) == shape[place] and not is_plain([dim])]
        joined = _join(dims) if dims else (Factor(shape[place]),)
        if joined is None:
            return None
        merged.append(joined)
    return tuple(merged)


def _join(dims: Sequence[Dim]) -> Dim | None:
    """One dim out of equally long ones, each field the widest; None where their factors differ."""
    if len({tuple((f.size, f.axis) for f in dim) for dim in dims}) != 1:
        return None
    joined: list[Factor] = []
    for factors in zip(*dims, strict=True):
        field = widest([f.field for f in factors if f.field is not None]) if factors[0].field else None
        if factors[0].field and field is None:
            return None
        joined.append(replace(factors[0], field=field))
    return tuple(joined)


def regroup(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """Axes of a tensor after a view with another shape; None where a view cuts through an axis of the image."""
    if is_plain(axes):
        return plain(shape)
    if tuple(map(length, axes)) == tuple(shape):
        return axes
    rest = _factors(axes)[::-1]
    grouped: list[Dim] = []
    for size in shape:
        dim: list[Factor] = []
        need = size
        while need > 1:
            if not rest:
                return None
            factor = rest.pop()
            if need % factor.size == 0:
                dim.append(factor)
                need //= factor.size
            elif factor.axis is None and factor.size % need == 0:
                dim.append(Factor(need))
                rest.append(Factor(factor.size // need))
                need = 1
            else:
                return None
        grouped.append(tuple(dim) or (Factor(size),))
    return tuple(grouped)


def _factors(axes: Axes) -> list[Factor]:
    """All factors in order, ones left out and neighbours without an axis multiplied, so that they can be recut."""
    factors: list[Factor] = []
    for factor in (f for dim in axes for f in dim if f.size != 1):
        if factors and factor.axis is None and factors[-1].axis is None:
            factors[-1] = Factor(factors[-1].size * factor.size)
        else:
            factors.append(factor)
    return factors


def places(axes: Axes | None) -> tuple[int, int] | None:
    """The dims that run along rows and columns and along nothing else; None unless there is just one of each."""
    found: list[int] = []
    for axis in (ROWS, COLUMNS):
        dims = [i for i, dim in enumerate(axes or ()) if any(f.axis == axis for f in dim)]
        if len(dims) != 1 or axes is None or len(axes[dims[0]]) != 1:
            return None
        found += dims
    return found[0], found[1]
