"""From a layer's options and the shapes it reads to its module and the shapes it writes; nothing is allocated.

Shapes are those of one image: Caffe's without their first axis. Modules are made on torch's device ``meta``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from torch import nn

from ndengine.models.caffe import modules
from ndengine.models.caffe.bn import BN
from ndengine.models.caffe.options import InvalidLayer, Options, UnsupportedLayer
from ndengine.models.caffe.pooling import GlobalPooling, Pooling

Shape = tuple[int, ...]
Made = tuple[nn.Module, Shape]
Maker = Callable[[Options, Sequence[Shape]], Made]

MOST_PARAMETERS = 2**28  # of a network; VGG16 has 2^27
MOST_VALUES = 2**26  # of a blob, for one image; VGG16's largest has 2^22


def make_layer(kind: str, options: Options, bottoms: Sequence[Shape], tops: int) -> tuple[nn.Module, list[Shape]]:
    """The module of a layer, and the shapes of what it writes.

    Parameters
    ----------
    kind : str
        Caffe's type.
    options : Options
    bottoms : sequence of Shape
        What it reads.
    tops : int
        How many blobs it writes.

    Raises
    ------
    InvalidLayer
        If Caffe would refuse it, or it is too large.
    UnsupportedLayer
        If its type, or an option, is not known.
    """
    if kind == "Split":
        _count(bottoms, 1)
        return modules.Split(tops), [bottoms[0]] * tops
    if kind not in _MAKERS:
        raise UnsupportedLayer("")
    if tops != 1:
        raise InvalidLayer(f"writes {tops} blobs where it has one")
    module, shape = _MAKERS[kind](options, bottoms)
    options.finish()
    check_values(shape)
    return module, [shape]


def check_values(shape: Shape) -> None:
    """Refuse a blob that is empty or too large."""
    if any(side < 1 for side in shape):
        raise InvalidLayer(f"puts out {_text(shape)}, which is empty")
    if prod(shape) > MOST_VALUES:
        raise InvalidLayer(f"needs {_text(shape)} values an image, more than {MOST_VALUES:,}")


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "one value"


def _count(bottoms: Sequence[Shape], *counts: int) -> None:
    if len(bottoms) not in counts:
        raise InvalidLayer(f"reads {len(bottoms)} blobs where it takes {' or '.join(map(str, counts))}")


def _map(bottoms: Sequence[Shape]) -> tuple[int, int, int]:
    _count(bottoms, 1)
    if len(bottoms[0]) != 3:
        raise InvalidLayer(f"reads {_text(bottoms[0])} where it takes maps, channels x rows x columns")
    return bottoms[0][0], bottoms[0][1], bottoms[0][2]


def _channels(bottoms: Sequence[Shape]) -> int:
    if not bottoms[0]:
        raise UnsupportedLayer("a blob without channels")
    return bottoms[0][0]


def _check_parameters(count: int) -> None:
    if count > MOST_PARAMETERS:
        raise InvalidLayer(f"has {count:,} parameters, more than {MOST_PARAMETERS:,}")


def _axis_one(options: Options, bottoms: Sequence[Shape]) -> None:
    """Take an axis that must be the channels'."""
    if options.axis("axis", 1, len(bottoms[0]) + 1) != 1:
        raise UnsupportedLayer("an axis other than 1")


def _convolution(options: Options, bottoms: Sequence[Shape]) -> Made:
    channels, *size = _map(bottoms)
    _axis_one(options, bottoms)
    outputs = options.integer("num_output", None, 1)
    groups = options.integer("group", 1, 1)
    kernel, stride = options.pair("kernel_size", None, 1), options.pair("stride", 1, 1)
    padding, dilation = options.pair("pad", 0, 0, alone=True), options.pair("dilation", 1, 1)
    bias = options.flag("bias_term", True)
    if channels % groups or outputs % groups:
        raise InvalidLayer(f"has group: {groups}, which does not divide {channels} and {outputs} channels")
    _check_parameters(outputs * (channels // groups) * prod(kernel))
    padded = [n + 2 * p for n, p in zip(size, padding, strict=True)]
    check_values((channels, *padded))
    sizes = zip(padded, kernel, dilation, stride, strict=True)
    counts = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in sizes]
    if min(counts) < 1:
        raise InvalidLayer(f"has a kernel of {_text(kernel)} on maps of {_text(tuple(padded))}")
    shape = (outputs, *counts)
    check_values(shape)
    return modules.Convolution(channels, outputs, kernel, stride, padding, dilation, groups, bias), shape


def _inner_product(options: Options, bottoms: Sequence[Shape]) -> Made:
    _count(bottoms, 1)
    _axis_one(options, bottoms)
    inputs, outputs = prod(bottoms[0]), options.integer("num_output", None, 1)
    _check_parameters(inputs * outputs)
    bias, transposed = options.flag("bias_term", True), options.flag("transpose", False)
    return modules.InnerProduct(inputs, outputs, bias, transposed), (outputs,)


def _pooling(options: Options, bottoms: Sequence[Shape]) -> Made:
    channels, *size = _map(bottoms)
    mean = options.word("pool", ("MAX", "AVE", "STOCHASTIC"))
    if mean == "STOCHASTIC":
        raise UnsupportedLayer("pool: STOCHASTIC")
    # Forks of Caffe say it in ways of their own, one of them for networks converted from Torch.
    forks = (options.flag("ceil_mode", True), not options.flag("torch_pooling", False))
    ceil = options.word("round_mode", ("CEIL", "FLOOR")) == "CEIL" and all(forks)
    is_global = options.flag("global_pooling", False)
    kernel = options.pair("kernel_size", 0 if is_global else None, 0 if is_global else 1)
    stride, padding = options.pair("stride", 1, 1), options.pair("pad", 0, 0)
    if is_global:
        if any(kernel) or any(padding) or stride != (1, 1):
            raise InvalidLayer("has global_pooling and a kernel, padding or stride")
        return GlobalPooling(mean == "AVE"), (channels, 1, 1)
    if padding[0] >= kernel[0] or padding[1] >= kernel[1]:
        raise InvalidLayer(f"has padding {_text(padding)}, which a kernel of {_text(kernel)} does not reach beyond")
    check_values((channels, *(n + 2 * p for n, p in zip(size, padding, strict=True))))
    pooling = Pooling(mean == "AVE", kernel, stride, padding, ceil)
    if pooling.is_empty((size[0], size[1])):
        raise InvalidLayer(f"has no window, or an empty one, on maps of {_text(tuple(size))}")
    return pooling, (channels, *pooling.count((size[0], size[1])))


def _lrn(options: Options, bottoms: Sequence[Shape]) -> Made:
    shape = _map(bottoms)
    if options.word("norm_region", ("ACROSS_CHANNELS", "WITHIN_CHANNEL")) != "ACROSS_CHANNELS":
        raise UnsupportedLayer("norm_region: WITHIN_CHANNEL")
    size = options.integer("local_size", 5, 1)
    if size % 2 == 0:
        raise InvalidLayer(f"has local_size: {size}, which is even")
    alpha, beta, k = (options.number(name, default) for name, default in (("alpha", 1), ("beta", 0.75), ("k", 1)))
    return modules.LRN(size, alpha, beta, k), shape


def _batch_norm(options: Options, bottoms: Sequence[Shape]) -> Made:
    _count(bottoms, 1)
    if not options.flag("use_global_stats", True):
        raise UnsupportedLayer("use_global_stats: false")
    eps = options.number("eps", 1e-5)
    if eps <= 0:
        raise InvalidLayer(f"has eps: {eps:g} where a positive number is needed")
    return modules.BatchNorm(_channels(bottoms), eps), bottoms[0]


def _bn(options: Options, bottoms: Sequence[Shape]) -> Made:
    _count(bottoms, 1)
    options.number("momentum", 0.9)  # only training has a use for it, and for the next one
    options.flag("frozen", False)
    eps = options.number("eps", 1e-5)
    if eps <= 0:
        raise InvalidLayer(f"has eps: {eps:g} where a positive number is needed")
    return BN(_channels(bottoms), eps), bottoms[0]


def _scale(options: Options, bottoms: Sequence[Shape]) -> Made:
    if len(bottoms) == 2:
        return _combination(options, bottoms, product=True)
    bias = options.flag("bias_term", False)
    return modules.Scale(_one_axis(options, bottoms), bias), bottoms[0]


def _bias(options: Options, bottoms: Sequence[Shape]) -> Made:
    if len(bottoms) == 2:
        return _combination(options, bottoms, product=False)
    return modules.Bias(_one_axis(options, bottoms)), bottoms[0]


def _one_axis(options: Options, bottoms: Sequence[Shape]) -> int:
    """The length of the only axis along which parameters differ."""
    _count(bottoms, 1, 2)
    _axis_one(options, bottoms)
    if options.integer("num_axes", 1, -1) != 1:
        raise UnsupportedLayer("num_axes other than 1")
    return _channels(bottoms)


def _combination(options: Options, bottoms: Sequence[Shape], product: bool) -> Made:
    """With a second blob the axis says where in the first one that begins; ours have the images in front."""
    axis = options.axis("axis", 1, len(bottoms[0]) + 1)
    options.integer("num_axes", 1, -1)  # Caffe has no use for it here, either
    if options.flag("bias_term", False) or axis:
        raise UnsupportedLayer("a second blob, with bias_term or axis other than 0")
    if bottoms[1] != bottoms[0][: len(bottoms[1])]:
        raise InvalidLayer(f"reads {_text(bottoms[0])} and {_text(bottoms[1])}, which don't go together")
    return modules.Combination(product), bottoms[0]


def _eltwise(options: Options, bottoms: Sequence[Shape]) -> Made:
    operation = options.word("operation", ("PROD", "SUM", "MAX")) if "operation" in options else "SUM"
    coefficients = options.numbers("coeff")
    if len(bottoms) < 2:
        raise InvalidLayer("reads one blob where it takes several")
    if len(set(bottoms)) > 1:
        raise InvalidLayer(f"reads blobs of several shapes, {_text(bottoms[0])} and others")
    if coefficients and (operation == "PROD" or len(coefficients) != len(bottoms)):
        raise InvalidLayer(f"has {len(coefficients)} times coeff for {operation} of {len(bottoms)} blobs")
    return modules.Eltwise(operation, coefficients or (1.0,) * len(bottoms)), bottoms[0]


def _concat(options: Options, bottoms: Sequence[Shape]) -> Made:
    if not bottoms:
        raise InvalidLayer("reads nothing")
    names = [name for name in ("axis", "concat_dim") if name in options]
    if len(names) == 2:
        raise InvalidLayer("has both axis and concat_dim")
    axis = options.axis(names[0] if names else "axis", 1, len(bottoms[0]) + 1)
    if axis == 0:
        raise UnsupportedLayer("axis: 0")
    place = axis - 1
    if len({(len(b), b[:place], b[place + 1 :]) for b in bottoms}) > 1:
        raise InvalidLayer("reads blobs that differ along other axes than the one on which it joins them")
    joined = sum(b[place] for b in bottoms)
    return modules.Concat(axis), (*bottoms[0][:place], joined, *bottoms[0][place + 1 :])


def _flatten(options: Options, bottoms: Sequence[Shape]) -> Made:
    _count(bottoms, 1)
    axes = len(bottoms[0]) + 1
    first, last = options.axis("axis", 1, axes), options.axis("end_axis", -1, axes)
    if first == 0:
        raise UnsupportedLayer("axis: 0")
    if last < first:
        raise InvalidLayer(f"has end_axis: {last} before axis: {first}")
    shape = bottoms[0]
    return modules.Flatten(first, last), (*shape[: first - 1], prod(shape[first - 1 : last]), *shape[last:])


def _softmax(options: Options, bottoms: Sequence[Shape]) -> Made:
    _count(bottoms, 1)
    axis = options.axis("axis", 1, len(bottoms[0]) + 1)
    if axis == 0:
        raise UnsupportedLayer("axis: 0")
    return modules.Softmax(axis), bottoms[0]


def _prelu(options: Options, bottoms: Sequence[Shape]) -> Made:
    _count(bottoms, 1)
    shared = options.flag("channel_shared", False)
    return modules.PReLU(1 if shared else _channels(bottoms)), bottoms[0]


def _exp(options: Options, bottoms: Sequence[Shape]) -> Made:
    base = options.number("base", -1)
    if base <= 0 and base != -1:
        raise InvalidLayer(f"has base: {base:g} where a positive number or -1 is needed")
    return modules.Exp(base, options.number("scale", 1), options.number("shift", 0)), bottoms[0]


def _power(options: Options, bottoms: Sequence[Shape]) -> Made:
    numbers = (options.number(name, default) for name, default in (("power", 1), ("scale", 1), ("shift", 0)))
    return modules.Power(*numbers), bottoms[0]


def _by_value(make: Callable[[Options], nn.Module]) -> Maker:
    """A layer that works value by value."""

    def maker(options: Options, bottoms: Sequence[Shape]) -> Made:
        _count(bottoms, 1)
        return make(options), bottoms[0]

    return maker


def _counted(maker: Maker) -> Maker:
    def counted(options: Options, bottoms: Sequence[Shape]) -> Made:
        _count(bottoms, 1)
        return maker(options, bottoms)

    return counted


_MAKERS: dict[str, Maker] = {
    "Convolution": _convolution,
    "InnerProduct": _inner_product,
    "Pooling": _pooling,
    "LRN": _lrn,
    "BatchNorm": _batch_norm,
    "BN": _bn,
    "Scale": _scale,
    "Bias": _bias,
    "Eltwise": _eltwise,
    "Concat": _concat,
    "Flatten": _flatten,
    "Softmax": _softmax,
    "PReLU": _prelu,
    "Exp": _counted(_exp),
    "Power": _counted(_power),
    "ReLU": _by_value(lambda options: modules.ReLU(options.number("negative_slope", 0))),
    "ELU": _by_value(lambda options: modules.ELU(options.number("alpha", 1))),
    "Dropout": _by_value(lambda options: modules.Dropout()),
    "Sigmoid": _by_value(lambda options: modules.Sigmoid()),
    "TanH": _by_value(lambda options: modules.TanH()),
    "AbsVal": _by_value(lambda options: modules.AbsVal()),
    "BNLL": _by_value(lambda options: modules.BNLL()),
}
