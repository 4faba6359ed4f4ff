"""Outputs of layers, arranged as maps ``[N, U, h, w]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt, prod

import torch
from torch import Tensor

from ndengine.errors import ModelError
from ndengine.models.readings import Ranges, Reading


@dataclass(frozen=True)
class Layout:
    """How somebody says that layers put out their maps, where it can't be shown.

    Attributes
    ----------
    axes : str
        A letter a dim, as in :class:`ndengine.models.readings.Reading`.
    tokens : tuple of (int or None, int or None) or None
        First and one past the last token of the grid, counted like a slice's; None for all.
    grid : tuple of int or None
        Rows and columns that the tokens fill, row by row; None for a grid of the image's proportions.
    """

    axes: str
    tokens: tuple[int | None, int | None] | None = None
    grid: tuple[int, int] | None = None

    @classmethod
    def of(cls, axes: str, tokens: str, grid: tuple[int, int] | None) -> Layout | None:
        """The layout that settings ask for, which have been checked; None where they ask for none."""
        if not axes:
            return None
        first, last = (int(end) if end else None for end in (tokens or ":").split(":"))
        return cls(axes, (first, last), grid)


def lay_out(layout: Layout, shape: Sequence[int], size: tuple[int, int], name: str) -> Reading:
    """How an output of this shape is read by a layout.

    Parameters
    ----------
    layout : Layout
    shape : sequence of int
        The output's, images included.
    size : tuple of int
        Rows and columns of the images.
    name : str
        What errors call the layer.

    Raises
    ------
    ModelError
        If the layout does not fit.
    """
    said = f"Layer {name} puts out {list(shape)}"
    if len(shape) != len(layout.axes):
        raise ModelError(f"{said}, {len(shape)} dims, and --axes {layout.axes} names {len(layout.axes)}.")
    lengths = dict(zip(layout.axes, shape, strict=True))
    if any(length != 1 for letter, length in zip(layout.axes, shape, strict=True) if letter == "1"):
        raise ModelError(f"{said}; --axes {layout.axes} says 1 of a dim that is longer.")
    if "t" not in lengths:
        return Reading(layout.axes, (lengths["u"], lengths.get("h", 1), lengths.get("w", 1)))
    first, last, _ = slice(*(layout.tokens or (None, None))).indices(lengths["t"])
    count = last - first
    grid = layout.grid or _proportional(count, size)
    if count < 1 or grid is None or prod(grid) != count:
        wanted = (
            f"a grid of {grid[0]}x{grid[1]}" if grid else f"a grid of the image's proportions ({size[0]}x{size[1]})"
        )
        raise ModelError(
            f"{said}; the {max(count, 0)} tokens of --tokens fill no {wanted.removeprefix('a ')}; "
            "give --tokens FIRST:LAST and --grid HxW that fit together."
        )
    return Reading(layout.axes, (lengths["u"], *grid), ((first, last),))


def _proportional(count: int, size: tuple[int, int]) -> tuple[int, int] | None:
    square, rest = divmod(count * size[0], size[1])
    rows = isqrt(max(square, 0))
    return None if rest or rows < 1 or rows * rows != square else (rows, count // rows)


def arrange(tensor: Tensor, axes: str, tokens: Ranges, shape: tuple[int, int, int]) -> Tensor | None:
    """A layer's output as maps ``[N, U, h, w]``, mostly a view.

    Parameters
    ----------
    tensor : Tensor
        The output.
    axes : str
        A letter a dim.
    tokens : tuple of (int, int)
        The stretches of tokens that make up the grid.
    shape : tuple of int
        U, h and w.

    Returns
    -------
    Tensor or None
        None where the tensor has another shape.
    """
    if tensor.dim() != len(axes):
        return None
    for dim in reversed(range(len(axes))):
        if axes[dim] == "1":
            if tensor.shape[dim] != 1:
                return None
            tensor = tensor.squeeze(dim)
    letters = axes.replace("1", "")
    if "t" in letters:
        tensor = tensor.permute([letters.index(letter) for letter in "ntu"])
        if tokens and tokens[-1][1] > tensor.shape[1]:
            return None
        parts = [tensor[:, first:last] for first, last in tokens]
        tensor = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        if tuple(tensor.shape[1:]) != (shape[1] * shape[2], shape[0]):
            return None
        return tensor.reshape(len(tensor), *shape[1:], shape[0]).permute(0, 3, 1, 2)
    present = [letter for letter in "nuhw" if letter in letters]
    tensor = tensor.permute([letters.index(letter) for letter in present])
    for place, letter in enumerate("nuhw"):
        if letter not in present:
            tensor = tensor.unsqueeze(place)
    return tensor if tuple(tensor.shape[1:]) == shape else None
