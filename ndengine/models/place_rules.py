"""What operations do to the places of their elements: one rule an operation of torch.

Operations that only move elements move the places with them. Those that work element by element join them; sums
collapse them; convolutions and pools sample them at the middle of each window. A product of matrices has the places
of the rows of the first and the columns of the second; where both have some (a query and a key), it relates two
places. Attention so answers at the place of its query. Whatever has no rule loses them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ndengine.models.place_call import PlaceCall, tensors_among
from ndengine.models.place_products import attention, linear, matmul, multi_head
from ndengine.models.place_windows import convolution, fold, pad, pool, resize, unfold, upsample
from ndengine.models.places import NONE, Places, collapse, join, lost, nowhere

Rule = Callable[[PlaceCall, tuple[int, ...]], Places]


def _join(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    return join([call.places(tensor) for tensor in call.tensors], shape)


def _keep(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    if call.source.shape != shape:  # side outputs such as a norm's statistics
        return lost(shape, f"a side output of {call.name}")
    return call.source


def _move(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """Carry the operation out on the coordinates of its only tensor."""

    def work(values: Tensor) -> Tensor:
        moved: Tensor = call.func(values, *call.args[1:], **call.kwargs)
        return moved

    try:
        return call.source.map(work, shape)
    except RuntimeError:  # a view that the expanded numbers have no strides for
        return call.source.map(lambda values: work(values.contiguous()), shape)


def _view(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    return call.source.map(lambda values: thin_view(values, shape), shape)


def thin_view(values: Tensor, shape: Sequence[int]) -> Tensor:
    """A view in another shape that copies only what dims with different numbers are regrouped for."""
    before, after, old, new = list(values.shape), list(shape), [1] * values.dim(), [1] * len(shape)
    i = j = 0
    while i < len(before) or j < len(after):
        first, second = i, j
        left = right = 1
        while first == i or left != right:  # the shortest group of dims that both shapes have
            if i < len(before) and (left <= right or j == len(after)):
                left, i = left * before[i], i + 1
            elif j < len(after):
                right, j = right * after[j], j + 1
            else:
                break
            if left == right and i > first and j > second:
                break
        if any(values.stride(d) and before[d] > 1 for d in range(first, i)):
            old[first:i], new[second:j] = before[first:i], after[second:j]
    cut = values[tuple(slice(0, n) for n in old)]
    return cut.reshape(new).expand(tuple(after))


def _stay(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    return call.source


def _shift(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """Roll or flip some dims; the others need not be copied out."""
    count = len(shape)
    dims = call.named.get("dims") or range(count)
    if call.name == "roll" and not call.named.get("dims"):
        return _move(call, shape)  # of the flattened tensor
    moved = {dim % count for dim in dims}

    def work(values: Tensor) -> Tensor:
        for dim in set(range(count)) - moved:
            values = values.narrow(dim, 0, 1) if values.stride(dim) == 0 else values
        shifted: Tensor = call.func(values, *call.args[1:], **call.kwargs)
        return shifted.expand(shape)

    return call.source.map(work, shape)


def _gate(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """One half of a dim times a function of the other (glu)."""
    dim = int(call.named.get("dim", -1))
    halves = [call.source.map(lambda c, half=half: c.chunk(2, dim)[half], shape) for half in (0, 1)]
    return join(halves, shape)


def follow_parts(call: PlaceCall, shapes: Sequence[tuple[int, ...]]) -> list[Places]:
    """Places of what one tensor is cut into."""
    source = call.source
    if source.lost or source.nowhere:
        return [replace(source, shape=shape) for shape in shapes]
    cut = [None if c is None else call.func(c, *call.args[1:], **call.kwargs) for c in source.of]
    return [
        replace(source, shape=shape, of=tuple(None if parts is None else parts[i] for parts in cut))
        for i, shape in enumerate(shapes)
    ]


def _cat(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    parts = [call.places(t) for t in call.tensors]
    if call.name == "cat":
        parts = [p for p in parts if len(p.shape) == len(shape)]  # torch lets an empty tensor of any shape join in
    dim = int(call.named["dim"])
    work = torch.cat if call.name == "cat" else torch.stack
    joined: list[Tensor | None] = []
    for which in range(5):
        of = [part.of[which] for part in parts]
        if all(values is None for values in of):
            joined.append(None)
            continue
        filled = [
            torch.full((), NONE).expand(part.shape) if values is None else values
            for part, values in zip(parts, of, strict=True)
        ]
        joined.append(_join_thin(filled, dim, work))
    placed = [part for part in parts if not part.nowhere]
    return replace(placed[0], shape=shape, of=tuple(joined), blur=max(part.blur for part in placed))


def _join_thin(parts: list[Tensor], dim: int, work: Callable[..., Tensor]) -> Tensor:
    """Join tensors, leaving out dims along which all of them are expanded, other than the one that they join along."""
    shape = parts[0].shape
    place = dim % (len(shape) + (work is torch.stack))
    along = None if work is torch.stack else place
    thin = [d for d in range(len(shape)) if d != along and shape[d] > 1 and all(p.stride(d) == 0 for p in parts)]
    cut = []
    for part in parts:
        for d in thin:
            part = part.narrow(d, 0, 1)
        cut.append(part)
    whole = work(cut, place)
    full = list(whole.shape)
    for d in thin:
        full[d + (work is torch.stack and d >= place)] = shape[d]
    return whole.expand(full)


def _reduce(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    if isinstance(call.named.get("other"), Tensor):  # max and min of two tensors
        return _join(call, shape)
    given = call.named.get("dim")
    count = len(call.source.shape)
    listed = [given] if isinstance(given, int) else list(given or range(count))
    whole = collapse(call.source, listed, bool(call.named.get("keepdim", False)))
    return whole if whole.shape == shape else lost(shape, f"a side output of {call.name}")


def _index(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """Pick elements by numbers that do not depend on the image."""
    picked = []
    for value in call.args[1:]:
        tensors = tensors_among([value])
        if any(not call.places(t).nowhere for t in tensors):
            return lost(shape, "the image decides which elements are taken")
        numbers = {id(t): call.values(t) for t in tensors}
        if any(n is None for n in numbers.values()):
            return lost(shape, NEEDS_NUMBERS)
        picked.append(_replaced(value, numbers))
    return call.source.map(lambda c: call.func(c.contiguous(), *picked, **call.kwargs), shape)


def _replaced(value: Any, numbers: dict[int, Tensor | None]) -> Any:
    if isinstance(value, Tensor):
        return numbers[id(value)]
    return [_replaced(v, numbers) for v in value] if isinstance(value, list | tuple) else value


def _copy(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    return join([call.places(call.tensors[1])], shape)


def _clear(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    return nowhere(shape)


NEEDS_NUMBERS = "numbers that decide which elements are taken are not known"
PARTS = {"split", "split_with_sizes", "unbind", "chunk", "unsafe_split", "unsafe_chunk", "tensor_split"}
KEPT = """
    _log_softmax _native_batch_norm_legit _native_batch_norm_legit_no_training _prelu_kernel _safe_softmax _softmax
    _to_copy _fused_rms_norm celu elu hardswish hardtanh leaky_relu mish native_batch_norm native_group_norm
    native_layer_norm prelu rms_norm softplus tril triu
"""
MOVED = """
    channel_shuffle diagonal expand native_channel_shuffle permute pixel_shuffle pixel_unshuffle repeat select slice
    squeeze t transpose unfold unsqueeze
"""
CLEARED = """
    bernoulli empty_like fill full_like new_empty new_empty_strided new_full new_ones new_zeros normal ones_like
    rand_like randn_like uniform zero zeros_like
"""
REDUCED = "all amax amin any linalg_vector_norm logsumexp max mean min norm prod std sum var var_mean"
RULES: dict[str, Rule] = {
    **dict.fromkeys(KEPT.split(), _keep),
    **dict.fromkeys(MOVED.split(), _move),
    **dict.fromkeys(CLEARED.split(), _clear),
    **dict.fromkeys(REDUCED.split(), _reduce),
    **dict.fromkeys(("view", "_unsafe_view", "_reshape_alias", "reshape"), _view),
    **dict.fromkeys(("alias", "detach", "clone", "lift_fresh", "contiguous"), _stay),
    **dict.fromkeys(("masked_fill", "dropout", "native_dropout"), _join),
    **dict.fromkeys(("roll", "flip"), _shift),
    **dict.fromkeys(("cat", "stack"), _cat),
    **dict.fromkeys(("index", "index_select", "gather", "take_along_dim"), _index),
    **dict.fromkeys(("addmm", "mm", "bmm", "baddbmm", "matmul"), matmul),
    **dict.fromkeys(("_native_multi_head_attention", "_transformer_encoder_layer_fwd"), multi_head),
    **dict.fromkeys((f"{kind}_pool{n}d" for kind in ("avg", "max") for n in (1, 2, 3)), pool),
    **dict.fromkeys((f"max_pool{n}d_with_indices" for n in (1, 2, 3)), pool),
    **dict.fromkeys((f"_adaptive_avg_pool{n}d" for n in (2, 3)), resize),
    **dict.fromkeys((f"adaptive_{kind}_pool{n}d" for kind in ("avg", "max") for n in (1, 2, 3)), resize),
    **dict.fromkeys((f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)), pad),
    "constant_pad_nd": pad,
    "convolution": convolution,
    "linear": linear,
    "copy": _copy,
    "glu": _gate,
    "as_strided": _keep,  # as the same shape; in another one nothing is known
    "im2col": unfold,
    "col2im": fold,
}


def follow_call(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """Places of an output of this shape."""
    known = [call.places(tensor) for tensor in call.tensors]
    if all(part.nowhere for part in known):
        return nowhere(shape)
    why = next((part.lost for part in known if part.lost), "")
    if why:
        return lost(shape, why)
    rule = RULES.get(call.name)
    if rule is None and torch.Tag.pointwise in call.func.tags:
        rule = _join
    if rule is None and "upsample_" in call.name:
        rule = upsample
    if rule is None and call.name.startswith("_scaled_dot_product"):
        rule = attention
    if rule is None:
        return lost(shape, f"torch's {call.name} can't be followed")
    return rule(call, shape)
