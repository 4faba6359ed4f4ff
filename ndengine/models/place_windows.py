"""Places after what slides along dims: convolutions, pools, resizing, padding, patches."""

from __future__ import annotations

import torch
from torch import Tensor

from ndengine.models.place_call import PlaceCall
from ndengine.models.places import NONE, Places, collapse, lost, sample, simplify, spread, varies


def convolution(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """The middle of each kernel, over all channels."""
    weight: Tensor = call.named["weight"]
    if not call.places(weight).nowhere:
        return lost(shape, "a convolution's weights depend on the image")
    kernel = weight.shape[2:]
    count = len(kernel)
    if len(shape) != count + 2:
        return lost(shape, "a convolution without a batch")
    padding, stride, dilation = (call.spread_argument(n, count) for n in ("padding", "stride", "dilation"))
    result = collapse(call.source, [1], keepdim=True)
    for i, (k, p, s, e) in enumerate(zip(kernel, padding, stride, dilation, strict=True)):
        middle = e * (k - 1) / 2 - p
        steps = torch.arange(shape[2 + i], dtype=torch.float32)
        if call.named["transposed"]:
            result = sample(result, 2 + i, (steps - middle) / s)
        else:
            result = sample(result, 2 + i, steps * s + middle, s)
    return lost(shape, result.lost) if result.lost else spread(result, 1, shape[1])


def pool(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """The middle of each window."""
    count = int(call.name.split("pool")[1][0])
    kernel = call.spread_argument("kernel_size", count)
    stride = call.spread_argument("stride", count) or kernel
    padding = call.spread_argument("padding", count)
    dilation = call.spread_argument("dilation", count) if "dilation" in call.named else [1] * count
    result = call.source
    for i, (k, s, p, e) in enumerate(zip(kernel, stride, padding, dilation, strict=True)):
        dim = len(shape) - count + i
        steps = torch.arange(shape[dim], dtype=torch.float32)
        result = sample(result, dim, steps * s + e * (k - 1) / 2 - p, s)
    return result


def resize(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """Adaptive pools: each cell stands for an equal share."""
    result = call.source
    for dim, (before, after) in enumerate(zip(call.source.shape, shape, strict=True)):
        if before != after:
            at = (torch.arange(after, dtype=torch.float32) + 0.5) * (before / after) - 0.5
            result = sample(result, dim, at, max(1.0, before / after))
    return simplify(result)


def upsample(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """The same share of the image, in other steps."""
    if not call.named.get("align_corners"):
        return resize(call, shape)
    result = call.source
    for dim, (before, after) in enumerate(zip(call.source.shape, shape, strict=True)):
        if before != after:
            at = torch.arange(after, dtype=torch.float32) * ((before - 1) / max(1, after - 1))
            result = sample(result, dim, at, max(1.0, before / after))
    return simplify(result)


def pad(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """What lies around: carried on where the places stand evenly."""
    amounts = call.named.get("pad") or call.named["padding"]
    result = call.source
    for i in range(len(amounts) // 2):  # from the last dim backwards: (before, after) pairs
        before, dim = amounts[2 * i], len(shape) - 1 - i
        if any(amounts[2 * i : 2 * i + 2]):
            result = _pad_dim(result, dim, before, shape[dim])
    return result


def _pad_dim(places: Places, dim: int, before: int, size: int) -> Places:
    """Carry an even row of places on into the padding; elements put beside any other row have no place."""
    count = places.shape[dim]
    at = torch.arange(size, dtype=torch.float32) - before
    inside = (at >= 0) & (at < count)
    rows = [values for values in places.of if values is not None and varies(values, dim)]
    if all(_is_even(values, dim) for values in rows):
        return sample(places, dim, at)
    near = at.clamp(0, count - 1).long()
    mask = inside.view([-1 if d == dim else 1 for d in range(len(places.shape))])
    shape = [*places.shape]
    shape[dim] = size
    return places.map(lambda c: torch.where(mask, c.index_select(dim, near), NONE), shape)


def _is_even(values: Tensor, dim: int) -> bool:
    steps = values.diff(dim=dim)
    return bool((steps - steps.narrow(dim, 0, 1)).abs().nan_to_num(float("inf")).max() < 1e-2)


def unfold(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """Patches as columns (im2col); what a patch has beyond the border has no place."""

    def work(values: Tensor) -> Tensor:
        marked: Tensor = call.func(values.contiguous() + 1, *call.args[1:], **call.kwargs)
        return torch.where(marked == 0, NONE, marked - 1)

    if any(c is not None and (bool(c.isnan().any()) or bool((c < -0.5).any())) for c in call.source.of):
        return lost(shape, "patches of elements without a place")
    return call.source.map(work, shape)


def fold(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """Overlapping patches added up (col2im): the mean of what meets."""

    def work(values: Tensor) -> Tensor:
        summed: Tensor = call.func(values.contiguous(), *call.args[1:], **call.kwargs)
        count: Tensor = call.func(torch.ones_like(values), *call.args[1:], **call.kwargs)
        return summed / count

    folded = call.source.map(work, shape)
    image = folded.of[0]
    if image is not None and bool(((image - image.round()).abs() > 1e-3).any()):
        return lost(shape, "images of one batch are mixed")
    return folded
