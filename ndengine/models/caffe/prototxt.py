"""A network's definition from its prototxt: as it runs behind training, in any of Caffe's spellings but the first."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from ndengine.errors import ModelError
from ndengine.models.caffe.definition import CaffeDefinition, CaffeLayer
from ndengine.models.caffe.options import MOST
from ndengine.models.caffe.state import read_state
from ndengine.models.caffe.text import LARGEST, Message, fail, parse_text
from ndengine.models.regular import is_irregular

SUFFIXES = (".prototxt", ".prototxt.txt")
MOST_LAYERS = 10_000
MOST_INPUTS = 1000  # blobs that a layer of data puts out
MOST_AXES = 32  # Caffe's own limit
UNLABELLED = ("Input", "DummyData")  # of other layers of data the second blob holds labels
_TRAINING = ("Accuracy", "ArgMax", "SoftmaxWithLoss", "HDF5Output", "Silence")  # and everything that ends in Loss

# The types of 2014, by which layers were told before they had names of their own, each at the place of its number.
_V1_NUMBERS = (
    *("NONE", "ACCURACY", "BNLL", "CONCAT", "CONVOLUTION", "DATA", "DROPOUT", "EUCLIDEAN_LOSS", "FLATTEN"),
    *("HDF5_DATA", "HDF5_OUTPUT", "IM2COL", "IMAGE_DATA", "INFOGAIN_LOSS", "INNER_PRODUCT", "LRN"),
    *("MULTINOMIAL_LOGISTIC_LOSS", "POOLING", "RELU", "SIGMOID", "SOFTMAX", "SOFTMAX_LOSS", "SPLIT", "TANH"),
    *("WINDOW_DATA", "ELTWISE", "POWER", "SIGMOID_CROSS_ENTROPY_LOSS", "HINGE_LOSS", "MEMORY_DATA", "ARGMAX"),
    *("THRESHOLD", "DUMMY_DATA", "SLICE", "MVN", "ABSVAL", "SILENCE", "CONTRASTIVE_LOSS", "EXP", "DECONVOLUTION"),
)
# Those of them whose present spelling is not that of their words.
_V1_TYPES = {
    "ABSVAL": "AbsVal",
    "BNLL": "BNLL",
    "DUMMY_DATA": "DummyData",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
    "ARGMAX": "ArgMax",
}
# A layer's own options stand in a message of this name; where none is given, in its type's with small letters.
_OPTIONS = {
    "InnerProduct": "inner_product_param",
    "BatchNorm": "batch_norm_param",
    "TanH": "tanh_param",
    "MemoryData": "memory_data_param",
    "DummyData": "dummy_data_param",
    "ImageData": "image_data_param",
    "WindowData": "window_data_param",
}


@dataclass(frozen=True)
class Prototxt:
    """What a prototxt says.

    Attributes
    ----------
    definition : CaffeDefinition
        The network of the phase TEST, without losses and labels; layers of data have become inputs. Stages and level
        are those of the file's ``state``; in a file without one, ``deploy`` is the stage if a rule names it.
    mean : tuple of float
        Of each input channel, in the units of pixels of 0 to 255; empty where it is not given.
    factor : float
        What the difference of pixel and mean is multiplied with.
    mean_file : str
        The file that has the mean, as the prototxt names it; empty where it names none.
    """

    definition: CaffeDefinition
    mean: tuple[float, ...] = ()
    factor: float = 1.0
    mean_file: str = ""


def read_prototxt(path: Path) -> Prototxt:
    """Read a prototxt.

    Raises
    ------
    ModelError
        If the file is missing or no regular one, breaks the text format (the line is named), is in Caffe's first
        format, or holds no network.
    """
    if is_irregular(path):
        raise ModelError(f"{path} can't be read (it is no regular file); give --model an existing prototxt.")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ModelError(f"{path} can't be read ({error.strerror}); give --model an existing prototxt.") from None
    if len(content) > LARGEST:
        raise ModelError(f"{path} has more than {LARGEST:,} bytes; give --model a network's definition.")
    return parse_prototxt(content.decode(errors="replace").removeprefix("\ufeff"), str(path))


def parse_prototxt(text: str, source: str) -> Prototxt:
    """The network in a prototxt's text.

    Parameters
    ----------
    text : str
    source : str
        What errors call it.

    Raises
    ------
    ModelError
        As :func:`read_prototxt`.
    """
    net = parse_text(text, source)
    layers = _layers(net)
    state = read_state(net, [message for message, _ in layers])
    inputs = _net_inputs(net)
    transform = Message(source, 1)
    mean_file = ""
    kept, other_stages = [], []
    for message, kind in layers:
        if not state.has_layer(message):
            if "bottom" not in message.fields and state.lacks_stage_of(message):
                other_stages.append(message.text("name") or kind)
            continue
        layer = _layer(message, kind)
        if kind == "Input" or (kind.endswith("Data") and not layer.bottoms):
            shapes = _data_shapes(message, layer)
            for top, shape in zip(layer.tops, shapes, strict=False):
                inputs.setdefault(top, shape)
            if "transform_param" in message.fields and not transform.fields:
                transform = message.message("transform_param")
            own = message.message(_options_name(kind))  # which had the mean before there was a transform_param
            mean_file = mean_file or message.message("transform_param").text("mean_file") or own.text("mean_file")
            if shapes:
                continue
        elif kind in _TRAINING or kind.endswith("Loss"):
            continue
        kept.append(layer)
    mean, factor = _mean(transform)
    definition = CaffeDefinition(net.text("name"), inputs, tuple(kept), other_stages=tuple(other_stages))
    return Prototxt(definition, mean, factor, mean_file)


def _layers(net: Message) -> list[tuple[Message, str]]:
    """All layers with their types."""
    new, old = net.messages("layer"), net.messages("layers")
    if new and old:
        fail(net.source, old[0].line, "it has both `layer` and `layers`, of two of Caffe's formats")
    if not new and not old:
        what = "the settings of a training" if "base_lr" in net.fields else "no layers"
        raise ModelError(f"{net.source} holds {what}; give --model the definition of a network.")
    if len(new) + len(old) > MOST_LAYERS:
        raise ModelError(f"{net.source} has {len(new) + len(old):,} layers, more than {MOST_LAYERS:,}; use another.")
    for message in old:
        if "layer" in message.fields:
            raise ModelError(
                f"{net.source} is in Caffe's first format, of 2013, at line {message.line}; bring it up to date with "
                "Caffe's tool upgrade_net_proto_text."
            )
    kinds = [message.text("type") for message in new] + [_modern(_old_type(message)) for message in old]
    return list(zip([*new, *old], kinds, strict=True))


def _old_type(message: Message) -> str:
    """The type of a layer of 2014, which was an enumeration's word and may so be given by its number."""
    number = message.value("type")
    if isinstance(number, str) or number is None:
        return message.text("type")
    return _V1_NUMBERS[message.whole_number("type", 0, 0, len(_V1_NUMBERS) - 1)]


def _modern(kind: str) -> str:
    """A type of 2014 in today's spelling: INNER_PRODUCT is InnerProduct."""
    return _V1_TYPES.get(kind) or ("".join(map(str.capitalize, kind.split("_"))) if kind.isupper() else kind)


def _layer(message: Message, kind: str) -> CaffeLayer:
    options = message.message(_options_name(kind)).options()
    return CaffeLayer(message.text("name"), kind, message.texts("bottom"), message.texts("top"), options)


def _options_name(kind: str) -> str:
    return _OPTIONS.get(kind, f"{kind.lower()}_param")


def _net_inputs(net: Message) -> dict[str, tuple[int, ...]]:
    """Inputs that the network has beside its layers; their shapes are all given in one of two ways."""
    names, shapes = net.texts("input"), [_dims(shape) for shape in net.messages("input_shape")]
    dims = net.whole_numbers("input_dim", 1, MOST)
    if dims and shapes:
        fail(net.source, net.fields["input_dim"][0][1], "it has both input_dim and input_shape")
    if len(dims) != 4 * len(names) and dims:
        fail(net.source, net.fields["input_dim"][0][1], f"it has {len(dims)} input_dim for {len(names)} inputs of 4")
    shapes = shapes or [dims[i : i + 4] for i in range(0, len(dims), 4)]
    if len(shapes) != len(names):
        line = net.fields.get("input", [("", 1)])[0][1]
        fail(net.source, line, f"it has {len(names)} inputs and {len(shapes)} shapes of them")
    return dict(zip(names, shapes, strict=True))


def _dims(shape: Message) -> tuple[int, ...]:
    dims = shape.whole_numbers("dim", 1, MOST)
    if len(dims) > MOST_AXES:
        fail(shape.source, shape.line, f"a shape has {len(dims):,} times dim, more than {MOST_AXES}")
    return dims


def _data_shapes(message: Message, layer: CaffeLayer) -> list[tuple[int, ...]]:
    """The shapes of a data layer's blobs, labels left out; none where the file does not say them."""
    own = message.message(_options_name(layer.kind))
    if len(layer.tops) > MOST_INPUTS:
        fail(message.source, message.line, f"a layer of data has {len(layer.tops):,} blobs, more than {MOST_INPUTS:,}")
    if layer.kind in UNLABELLED:
        shapes = [_dims(shape) for shape in own.messages("shape")]
        if not shapes:
            sides = [own.whole_numbers(name, 1, MOST) for name in ("num", "channels", "height", "width")]
            shapes = list(zip(*sides, strict=False))
        return shapes * len(layer.tops) if len(shapes) == 1 else shapes
    if layer.kind == "MemoryData":
        channels, *size = (own.whole_number(name, 0, 0, MOST) for name in ("channels", "height", "width"))
    else:
        transform = message.message("transform_param")
        crop = max(place.whole_number("crop_size", 0, 0, MOST) for place in (transform, own))
        size = [crop or own.whole_number(name, 0, 0, MOST) for name in ("new_height", "new_width")]
        is_grey = transform.value("force_gray") is True or own.value("is_color") is False
        channels = 1 if is_grey else 3
    return [(1, channels, *size)] if channels and all(size) else []


def _mean(transform: Message) -> tuple[tuple[float, ...], float]:
    """The mean and the factor that a layer of data would apply."""
    numbers = []
    for name in ("mean_value", "scale"):
        found = transform.values(name)
        for (_, line), value in zip(transform.fields.get(name, ()), found, strict=True):
            if isinstance(value, bool | str) or not isfinite(value):
                fail(transform.source, line, f"{name} is {value!r:.40} where a number is needed")
        numbers.append(tuple(float(value) for value in found))
    mean, factors = numbers
    if len(factors) > 1 or any(factor <= 0 for factor in factors):
        fail(transform.source, transform.line, "scale is there twice or is not positive")
    if len(mean) not in (0, 1, 3):
        fail(transform.source, transform.line, f"it has {len(mean)} times mean_value, where 3 channels need 1 or 3")
    return mean, next(iter(factors), 1.0)
