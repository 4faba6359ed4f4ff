"""Where in the image every element of a tensor lies, followed through a forward pass.

A :class:`Places` holds, for each element of a tensor, the image of the batch and the pixel row and column that it
stands for. Operations that only move elements (reshaping, permuting, rolling, cutting, joining, windows and their
reverse) are carried out on these numbers themselves, so an order that a network scrambles is scrambled here, too.
What an element has no place for (a class token, a parameter, a mean over the whole image) is NaN, what got lost on
the way infinite. Where places meet, they must agree to within a cell; the sharper one counts
(:mod:`ndengine.models.place_rules` has the operations).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

NONE, LOST = float("nan"), float("inf")
SLACK = 1.01  # cells by which places may differ where branches meet

# The coordinates: image of the batch, row and column, and those of the second place that an element relates the first
# one to (a weight of attention belongs to a query and a key).
IMAGE, ROW, COLUMN, KEY_ROW, KEY_COLUMN = range(5)
PIXELS = (ROW, COLUMN, KEY_ROW, KEY_COLUMN)


@dataclass(frozen=True)
class Places:
    """The places of a tensor's elements.

    Attributes
    ----------
    shape : tuple of int
        The tensor's.
    of : tuple of (Tensor or None)
        The five coordinates, each float32 of the tensor's shape (mostly expanded, so of a few numbers), in pixels;
        None where no element has one.
    blur : float
        By how many pixels an element's parts may lie around its place, and how far apart neighbours are.
    lost : str
        Why the places are not known any more; empty where they are.
    """

    shape: tuple[int, ...]
    of: tuple[Tensor | None, ...] = (None,) * 5
    blur: float = 1.0
    lost: str = ""

    @property
    def nowhere(self) -> bool:
        """Whether no element has a place."""
        return not self.lost and all(c is None for c in self.of)

    def map(self, work: object, shape: Sequence[int]) -> Places:
        """The places after an operation that only moves elements, which ``work`` does to one coordinate."""
        moved = tuple(None if c is None else work(c) for c in self.of)  # type: ignore[operator]
        return replace(self, shape=tuple(shape), of=moved)


def nowhere(shape: Sequence[int]) -> Places:
    """Places of a tensor that does not depend on the image."""
    return Places(tuple(shape))


def lost(shape: Sequence[int], why: str) -> Places:
    """Places that are not known."""
    return Places(tuple(shape), lost=why)


def image_places(images: int, channels: int, size: tuple[int, int]) -> Places:
    """Places of a batch of input images ``[N, channels, ih, iw]``."""
    shape = (images, channels, *size)
    image = torch.arange(images, dtype=torch.float32)[:, None, None, None].expand(shape)
    row = torch.arange(size[0], dtype=torch.float32)[:, None].expand(shape)
    column = torch.arange(size[1], dtype=torch.float32).expand(shape)
    return Places(shape, (image, row if size[0] > 1 else None, column if size[1] > 1 else None, None, None))


def core(values: Tensor) -> Tensor:
    """The numbers behind an expanded tensor: dims along which nothing changes are cut to one."""
    for dim, stride in enumerate(values.stride()):
        if stride == 0 and values.shape[dim] > 1:
            values = values.narrow(dim, 0, 1)
    return values


def varies(values: Tensor | None, dim: int) -> bool:
    """Whether a coordinate changes along a dim, elements without one aside."""
    if values is None or values.shape[dim] < 2 or values.stride(dim) == 0:
        return False
    numbers = core(values)
    if not bool(numbers.isnan().any()):
        return not bool((numbers == numbers.narrow(dim, 0, 1)).all())
    least, most = (known(numbers, dim, sign) for sign in (-1, 1))
    return bool((most > least).any())


def known(numbers: Tensor, dim: int | list[int], sign: int = 1) -> Tensor:
    """The largest (or with -1, smallest) number along dims, NaN left out; infinite where there are only such."""
    return torch.where(numbers.isnan(), -float("inf"), sign * numbers).amax(dim, keepdim=True) * sign


def simplify(places: Places) -> Places:
    """Drop coordinates that say nothing: the same for all elements, or none at all; tell what got lost."""
    if places.lost:
        return places
    kept: list[Tensor | None] = []
    for which, values in enumerate(places.of):
        if values is None or values.numel() == 0:
            kept.append(None)
            continue
        numbers = core(values)
        if bool(torch.isinf(numbers).any()):
            return lost(places.shape, "parts of different places meet")
        placed = numbers[~numbers.isnan()]
        constant = which != IMAGE and placed.numel() and float(placed.max() - placed.min()) < 1e-3
        kept.append(None if constant or not placed.numel() else values)
    return replace(places, of=tuple(kept))


def join(parts: Sequence[Places], shape: Sequence[int]) -> Places:
    """Places of what tensors give together, element by element, broadcast to ``shape``."""
    shape = tuple(shape)
    result: Places | None = None
    for part in parts:
        if part.lost:
            return lost(shape, part.lost)
        if part.nowhere:
            continue
        part = part.map(lambda c: c.expand(shape), shape)
        result = part if result is None else _meet(result, part)
        if result.lost:
            return result
    return result or nowhere(shape)


def _meet(first: Places, second: Places) -> Places:
    if all(a is b for a, b in zip(first.of, second.of, strict=True)):
        return first
    sharp, dull = (first, second) if first.blur <= second.blur else (second, first)
    merged, blur = [], 1.0
    for which, (a, b) in enumerate(zip(sharp.of, dull.of, strict=True)):
        if which != IMAGE and (a is not None or b is not None):
            blur = max(blur, dull.blur if a is None else sharp.blur)
        if a is None or b is None or _same(a, b):
            merged.append(b if a is None else a)
            continue
        tolerance = 1e-3 if which == IMAGE else SLACK * dull.blur
        x, y = torch.broadcast_tensors(core(a), core(b))  # type: ignore[no-untyped-call]
        met = torch.where(x.isnan(), y, x)
        met = torch.where((x - y).abs() > tolerance, LOST, met)  # never for NaN
        if bool(torch.isinf(met).any()):
            return lost(first.shape, "different places of the image are added up")
        merged.append(met.expand(first.shape))
    return replace(sharp, of=tuple(merged), blur=blur)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() and a.stride() == b.stride()


def collapse(places: Places, dims: Sequence[int], keepdim: bool = False) -> Places:
    """Places after a sum, a mean or a maximum over some dims: the middle of what went in.

    What covers everything that there is has no place any more; what covers a part (a window, a patch) has its middle,
    and is blurred by its extent.
    """
    gone = sorted({dim % len(places.shape) for dim in dims}, reverse=True)
    shape = [n for d, n in enumerate(places.shape) if d not in gone or keepdim]
    if keepdim:
        shape = [1 if d in gone else n for d, n in enumerate(places.shape)]
    if places.lost:
        return lost(shape, places.lost)
    blur = places.blur
    left: list[Tensor | None] = []
    for which, values in enumerate(places.of):
        if values is None:
            left.append(None)
            continue
        spread = 0.0
        changed = False
        for dim in gone:
            if values.stride(dim) == 0 or values.shape[dim] == 1:
                values = values.narrow(dim, 0, 1)
                continue
            numbers = core(values)
            least = torch.where(numbers.isnan(), float("inf"), numbers).amin(dim, keepdim=True)
            most = torch.where(numbers.isnan(), float("-inf"), numbers).amax(dim, keepdim=True)
            middle = torch.where(most == float("-inf"), NONE, (least + most) / 2)
            extent = torch.where(most == float("-inf"), 0.0, most - least)
            spread += float(extent.max()) / 2 if extent.numel() else 0.0
            changed = changed or spread > 0
            cut = list(values.shape)
            cut[dim] = 1
            values = middle.expand(cut)
        if which == IMAGE and spread:
            return lost(shape, "images of one batch are mixed")
        if which in (KEY_ROW, KEY_COLUMN) and changed:
            left.append(None)  # what was attended to has been added up
            continue
        left.append(values if keepdim else _without(values, gone))
        if which in (ROW, COLUMN):
            blur = max(blur, places.blur + spread)
    return _local(replace(places, shape=tuple(shape), of=tuple(left)), blur)


def _local(places: Places, blur: float) -> Places:
    """Places after a sum, without coordinates that are all alike now; those that are left are blurred by it."""
    simple = simplify(places)
    if simple.lost:
        return simple
    return replace(simple, blur=blur if any(simple.of[c] is not None for c in (ROW, COLUMN)) else 1.0)


def _without(values: Tensor, gone: Sequence[int]) -> Tensor:
    for dim in gone:
        values = values.squeeze(dim)
    return values


def spread(places: Places, dim: int, size: int) -> Places:
    """Places after a dim of length one has been made ``size`` long."""
    shape = list(places.shape)
    shape[dim] = size
    return places.map(lambda c: c.expand(shape), shape)


def sample(places: Places, dim: int, at: Tensor, cell: float = 1.0) -> Places:
    """Places along a dim at fractional indices: in between interpolated, beyond the ends carried on.

    Parameters
    ----------
    places : Places
    dim : int
    at : Tensor of float32
        Index of each new element's middle, in steps of the dim.
    cell : float
        By how many old steps neighbours lie apart now.
    """
    shape = list(places.shape)
    count, shape[dim] = shape[dim], len(at)
    if places.lost or places.nowhere:
        return replace(places, shape=tuple(shape))
    if count == len(at) and bool((at == torch.arange(count)).all()):
        return places
    low = at.floor().clamp(0, max(count - 2, 0)).long()
    share = at - low
    moved: list[Tensor | None] = []
    blur = places.blur
    for which, values in enumerate(places.of):
        if values is None:
            moved.append(None)
        elif values.stride(dim) == 0 or count == 1:
            moved.append(values.narrow(dim, 0, 1).expand(shape))
        else:
            numbers = core(values)
            a, b = numbers.index_select(dim, low), numbers.index_select(dim, low + 1)
            f = share.view([-1 if d == dim else 1 for d in range(len(shape))])
            step = b - a
            between = torch.where(step.isnan(), torch.where(a.isnan(), b, a), a + f * step)
            between = torch.where(f == 0, a, torch.where(f == 1, b, between))
            wide = (step.abs() > 1e-3 if which == IMAGE else step.abs() > 2 * SLACK * places.blur) & (f != 0) & (f != 1)
            moved.append(torch.where(wide, LOST, between).expand(shape))
            if which in (ROW, COLUMN) and cell > 1:
                steps = step.abs()[step.abs() > 1e-3]
                blur = max(blur, float(steps.min()) * cell if steps.numel() else 0.0)
    return simplify(replace(places, shape=tuple(shape), of=tuple(moved), blur=blur))
