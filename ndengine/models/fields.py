"""Receptive fields, composed from the operations that a forward pass really carries out.

:class:`FieldMode` watches every operation on tensors and keeps for each tensor where its dims lie in the
image (:mod:`ndengine.models.axes`). Convolutions, pools, pads, crops and strided slices change a field;
whatever works element by element keeps it; where branches meet, the larger field wins; reshaping and
permuting only moves it. Statistics and gates taken over a whole map (squeeze-and-excitation, group norm) see
everything, but they do not move a unit, so they leave its field alone. After anything else (attention over
positions, transposed convolution, upsampling, an adaptive pool with unequal cells) the field is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from ndengine.models.axes import (
    Axes,
    Dim,
    Factor,
    image_axes,
    is_plain,
    length,
    merge,
    plain,
    regroup,
    step_dim,
)
from ndkernels.grid import Field


class FieldMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, follows the axes of all tensors that come from the marked input.

    Parameters
    ----------
    on_read : callable
        Called with every tensor that an operation takes.
    on_done : callable, optional
        Called with every operation, its arguments, keyword arguments and result.
    """

    def __init__(self, on_read: Callable[[Tensor], None], on_done: Callable[..., None] = lambda *call: None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._on_read = on_read
        self._on_done = on_done
        self._axes: MutableMapping[Tensor, Axes | None] = WeakTensorKeyDictionary()
        self._bases: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()

    def mark_images(self, images: Tensor) -> None:
        """Make ``images [N, 3, ih, iw]`` the input that fields are measured on."""
        rows, columns = images.shape[2:]
        self._axes[images] = image_axes(len(images), (rows, columns))

    def axes(self, tensor: Tensor) -> Axes | None:
        """Where a tensor lies in the image; None where that got lost on the way."""
        return self._axes.get(tensor, plain(tensor.shape))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Carry out one operation and note the axes of what it gives."""
        kwargs = kwargs or {}
        inputs = list(tensors_in([*args, *kwargs.values()]))
        for tensor in inputs:
            self._on_read(tensor)
        read = inputs[1:] if func._schema.name in _OVERWRITE else inputs
        # Taken before the operation: one that works in place is about to replace them.
        known = [axes for axes in map(self.axes, read) if axes is not None]
        call = _Call(func, args, kwargs, self.axes, known)
        result = func(*args, **kwargs)
        self._on_done(func, args, kwargs, result)
        alias = func._schema.returns[0].alias_info if func._schema.returns else None
        for output in tensors_in([result]):
            if len(known) < len(read):
                axes = None
            elif all(map(is_plain, known)):
                axes = plain(output.shape)
            else:
                axes = call.axes_of(tuple(output.shape))
            if alias is not None and alias.is_write:
                self._change_base(output, axes)
            elif alias is not None and inputs:
                self._bases[output] = self._bases.get(inputs[0], inputs[0])
            self._axes[output] = axes
        return result

    def _change_base(self, view: Tensor, axes: Axes | None) -> None:
        """Lose what a view was cut from when writing into the view gives it other axes."""
        base = self._bases.get(view)
        if base is not None and axes != self.axes(view):
            self._axes[base] = None


@dataclass
class _Call:
    """One operation with its arguments by name."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    lookup: Callable[[Tensor], Axes | None]
    known: list[Axes]  # of all tensor arguments whose axes are known

    def __post_init__(self) -> None:
        self.name = self.func._schema.name.removeprefix("aten::")
        self.name = self.name.removesuffix("_") or self.name  # in place or not, an operation is the same
        formal = self.func._schema.arguments
        self.values = {a.name: a.default_value for a in formal if a.has_default_value()}
        self.values |= {a.name: value for a, value in zip(formal, self.args, strict=False)} | self.kwargs
        self.source: Axes = self.known[0] if self.known else ()

    def axes_of(self, shape: tuple[int, ...]) -> Axes | None:
        """Axes of an output of this shape, given that every tensor argument has known ones."""
        if self.name in _RULES:
            return _RULES[self.name](self, shape)
        if torch.Tag.pointwise in self.func.tags:
            return merge(self.known, shape)
        if "upsample_" in self.name:
            return _upsample(self, shape)
        return None

    def spread(self, name: str, count: int) -> list[int]:
        """An argument with one value a spatial dim, where one value may stand for all."""
        values = list(self.values[name])
        return values * count if len(values) == 1 else values

    def dim(self, name: str = "dim") -> int:
        """A dim argument counted from the front."""
        return int(self.values[name]) % len(self.source)


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """All tensors among the arguments or results of an operation, lists opened."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


def _whole(dims: Sequence[Dim | None]) -> Axes | None:
    """The axes, unless one of the dims has got lost."""
    kept = tuple(dim for dim in dims if dim is not None)
    return kept if len(kept) == len(dims) else None


def _keep(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    return (
        call.source if tuple(map(length, call.source)) == shape else plain(shape)
    )  # side outputs such as a norm's statistics


def _convolution(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    weight: Tensor = call.values["weight"]
    kernel = weight.shape[2:]
    count = len(kernel)
    mixed = [call.source[1], *(call.lookup(weight) or ())]
    if call.values["transposed"] or len(shape) != count + 2 or not is_plain(mixed):
        return None
    numbers = (call.spread(name, count) for name in ("padding", "stride", "dilation"))
    steps = [Field(-p, (k - 1) * e + 1, d) for k, p, d, e in zip(kernel, *numbers, strict=True)]
    return _stepped((call.source[0], (Factor(shape[1]),)), call.source[2:], steps, shape)


def _pool(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    count = int(call.name.split("pool")[1][0])
    kernel = call.spread("kernel_size", count)
    stride = call.spread("stride", count) or kernel
    padding = call.spread("padding", count)
    dilation = call.spread("dilation", count) if "dilation" in call.values else [1] * count
    steps = [Field(-p, (k - 1) * e + 1, d) for k, p, d, e in zip(kernel, padding, stride, dilation, strict=True)]
    return _stepped(call.source[:-count], call.source[-count:], steps, shape)


def _stepped(front: Axes, spatial: Axes, steps: Sequence[Field], shape: tuple[int, ...]) -> Axes | None:
    sizes = shape[-len(steps) :]
    dims = [step_dim(dim, step, n) for dim, step, n in zip(spatial, steps, sizes, strict=True)]
    return _whole([*front, *dims])


def _adaptive_pool(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    dims: list[Dim | None] = []
    for dim, after in zip(call.source, shape, strict=True):
        cell, rest = divmod(length(dim), after)
        pooled = step_dim(dim, Field(0, cell, cell), after) if cell and not rest else None
        dims.append(pooled or _spread(dim, after))
    return _whole(dims)


def _upsample(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    return _whole([_spread(dim, after) for dim, after in zip(call.source, shape, strict=True)])


def _spread(dim: Dim, size: int) -> Dim | None:
    """A dim resized to ``size`` steps: the same, or one value everywhere, or not to be followed."""
    if length(dim) == size:
        return dim
    return (Factor(size),) if length(dim) == 1 else None


def _reduce(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    given = call.values.get("dim")
    listed = [given] if isinstance(given, int) else list(given or range(len(call.source)))
    gone = {dim % len(call.source) for dim in listed}
    if not call.values.get("keepdim", False):
        return tuple(dim for i, dim in enumerate(call.source) if i not in gone)
    dims = []
    for i, dim in enumerate(call.source):
        stepped = step_dim(dim, Field(0, length(dim), length(dim)), 1) or (Factor(1),)
        dims.append(stepped if i in gone else dim)
    return tuple(dims)


def _softmax(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    return call.source if is_plain([call.source[call.dim()]]) else None


def _cat(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    place = int(call.values["dim"]) % len(shape)
    parts = []
    for axes in call.known:
        if len(axes) != len(shape):  # torch lets an empty tensor of any shape join in
            continue
        if not is_plain([axes[place]]):
            return None
        parts.append((*axes[:place], (Factor(shape[place]),), *axes[place + 1 :]))
    return merge(parts, shape)


def _stack(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    place = int(call.values["dim"]) % len(shape)
    return merge([(*a[:place], (Factor(shape[place]),), *a[place:]) for a in call.known], shape)


def _matmul(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    left, right = (call.lookup(t) for t in call.args[-2:])
    if left is None or right is None or not is_plain(right) or not is_plain(left[-1:]):
        return None
    product = (*left[:-1], (Factor(shape[-1]),))
    return merge([*call.known[:-2], product], shape)  # addmm's first argument is added


def _permute(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    return tuple(call.source[d] for d in call.values["dims"])


def _transpose(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    dims = list(call.source)
    first, second = (call.dim("dim0"), call.dim("dim1")) if "dim0" in call.values else (0, -1)
    dims[first], dims[second] = dims[second], dims[first]
    return tuple(dims)


def _unsqueeze(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    place = int(call.values["dim"]) % len(shape)
    return (*call.source[:place], (Factor(1),), *call.source[place:])


def _squeeze(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    given = call.values.get("dim", range(len(call.source)))
    listed = {d % len(call.source) for d in ([given] if isinstance(given, int) else given)}
    gone = {d for d in listed if length(call.source[d]) == 1}
    return tuple(dim for i, dim in enumerate(call.source) if i not in gone)


def _expand(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    return merge([call.source], shape)


def _select(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    place = call.dim()
    if not is_plain([call.source[place]]):
        return None
    return (*call.source[:place], *call.source[place + 1 :])


def _slice(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    place = call.dim()
    dim = call.source[place]
    start = range(length(dim))[call.values["start"] :].start
    cut = step_dim(dim, Field(start, 1, call.values["step"]), shape[place])
    return _whole([*call.source[:place], cut, *call.source[place + 1 :]])


def _split(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    place = call.dim()
    if not is_plain([call.source[place]]):
        return None
    return (*call.source[:place], (Factor(shape[place]),), *call.source[place + 1 :])


def _pad(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    amounts = call.values.get("pad") or call.values["padding"]
    dims: list[Dim | None] = list(call.source)
    for i in range(len(amounts) // 2):  # from the last dim backwards: (before, after) pairs
        before, place = amounts[2 * i], len(shape) - 1 - i
        if any(amounts[2 * i : 2 * i + 2]):
            dims[place] = _shift(call.source[place], before, shape[place])
    return _whole(dims)


def _shift(dim: Dim, before: int, size: int) -> Dim | None:
    if not is_plain([dim]) and (len(dim) != 1 or dim[0].field is None):
        return None
    field = dim[0].field
    if field is None:
        return (Factor(size),)
    moved = Field(field.offset - before * field.stride, field.size, field.stride)
    return (replace(dim[0], size=size, field=moved),)


def _view(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    return regroup(call.source, shape)


def _copy(call: _Call, shape: tuple[int, ...]) -> Axes | None:
    return merge([call.source], shape)


_OVERWRITE = {"aten::copy_", "aten::fill_", "aten::zero_"}  # what their first argument held is gone
_RULES: dict[str, Callable[[_Call, tuple[int, ...]], Axes | None]] = {
    "convolution": _convolution,
    "cat": _cat,
    "stack": _stack,
    "permute": _permute,
    "transpose": _transpose,
    "t": _transpose,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
    "select": _select,
    "unbind": _select,
    "slice": _slice,
    "split": _split,
    "split_with_sizes": _split,
    "copy": _copy,
    **dict.fromkeys(("addmm", "mm", "bmm"), _matmul),
    **dict.fromkeys(("view", "_unsafe_view", "_reshape_alias"), _view),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax"), _softmax),
    **dict.fromkeys((f"{kind}_pool{n}d" for kind in ("avg", "max") for n in (1, 2, 3)), _pool),
    **dict.fromkeys((f"max_pool{n}d_with_indices" for n in (1, 2, 3)), _pool),
    **dict.fromkeys((f"_adaptive_avg_pool{n}d" for n in (2, 3)), _adaptive_pool),
    **dict.fromkeys((f"adaptive_{kind}_pool{n}d" for kind in ("avg", "max") for n in (1, 2, 3)), _adaptive_pool),
    **dict.fromkeys((f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)), _pad),
    "constant_pad_nd": _pad,
    **dict.fromkeys(
        (
            "mean",
            "sum",
            "amax",
            "amin",
            "max",
            "min",
            "var",
            "std",
            "var_mean",
            "logsumexp",
            "linalg_vector_norm",
        ),
        _reduce,
    ),
    **dict.fromkeys(
        (
            "native_batch_norm",
            "_native_batch_norm_legit",
            "_native_batch_norm_legit_no_training",
            "native_group_norm",
            "native_layer_norm",
            "alias",
            "clone",
            "detach",
            "_to_copy",
            "elu",
            "hardswish",
            "hardtanh",
            "leaky_relu",
            "mish",
            "native_channel_shuffle",
            "prelu",
            "_prelu_kernel",
            "softplus",
        ),
        _keep,
    ),
}
