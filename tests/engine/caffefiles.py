"""Files as Caffe writes them, from a definition and tensors; and OpenCV's answer to what they hold.

The spelling of the files is written down here once more, apart from the readers that it tests.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ndengine.models.caffe import modules
from ndengine.models.caffe.bn import BN
from ndengine.models.caffe.caffemodel import parse_caffemodel
from ndengine.models.caffe.definition import CaffeDefinition, CaffeLayer, Value
from ndengine.models.caffe.network import CaffeNetwork, build_network
from ndengine.models.caffe.prototxt import parse_prototxt

BRANCH = 0.1  # the size of what a block of a ResNet adds, as training leaves it: then rounding does not grow with depth
Arrays = list[NDArray[np.float32]]

# Type: the number of its message in a layer's bytes is not needed; its name in text, and the type's of 2014.
SPELLINGS = {
    "AbsVal": ("", "ABSVAL", 35),
    "BN": ("bn_param", "", 0),
    "BNLL": ("", "BNLL", 2),
    "BatchNorm": ("batch_norm_param", "", 0),
    "Bias": ("bias_param", "", 0),
    "Concat": ("concat_param", "CONCAT", 3),
    "Convolution": ("convolution_param", "CONVOLUTION", 4),
    "Dropout": ("dropout_param", "DROPOUT", 6),
    "ELU": ("elu_param", "", 0),
    "Eltwise": ("eltwise_param", "ELTWISE", 25),
    "Exp": ("exp_param", "EXP", 38),
    "Flatten": ("flatten_param", "FLATTEN", 8),
    "InnerProduct": ("inner_product_param", "INNER_PRODUCT", 14),
    "LRN": ("lrn_param", "LRN", 15),
    "PReLU": ("prelu_param", "", 0),
    "Pooling": ("pooling_param", "POOLING", 17),
    "Power": ("power_param", "POWER", 26),
    "ReLU": ("relu_param", "RELU", 18),
    "Scale": ("scale_param", "", 0),
    "Sigmoid": ("sigmoid_param", "SIGMOID", 19),
    "Softmax": ("softmax_param", "SOFTMAX", 20),
    "Split": ("", "SPLIT", 22),
    "TanH": ("tanh_param", "TANH", 23),
}
WORDS = {"MAX", "AVE", "SUM", "PROD", "CEIL", "FLOOR", "ACROSS_CHANNELS", "WITHIN_CHANNEL", "STOCHASTIC"}


@dataclass(frozen=True)
class Style:
    """How files are written: ``legacy`` as in 2014, inputs in one of three ways, numbers packed or as doubles."""

    legacy: bool = False
    inputs: str = "input_shape"
    packed: bool = True
    doubles: bool = False
    four_axes: bool = False


STYLES = {
    "as today": Style(inputs="layer"),
    "as in 2014": Style(legacy=True, inputs="input_dim", four_axes=True),
    "unpacked": Style(packed=False),
    "doubles": Style(doubles=True),
    "unpacked doubles of four axes": Style(packed=False, doubles=True, four_axes=True),
}


def prototxt_text(definition: CaffeDefinition, style: Style = Style()) -> str:
    """A definition as a prototxt."""
    lines = [f'name: "{definition.name}"']
    for name, shape in definition.inputs.items():
        dims = " ".join(f"dim: {side}" for side in shape)
        if style.inputs == "layer":
            lines.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}')
        elif style.inputs == "input_dim":
            lines += [f'input: "{name}"', *(f"input_dim: {side}" for side in shape)]
        else:
            lines += [f'input: "{name}"', f"input_shape {{ {dims} }}"]
    return "\n".join([*lines, *(_layer_text(layer, style.legacy) for layer in definition.layers), ""])


def _layer_text(layer: CaffeLayer, legacy: bool) -> str:
    message, old, _ = SPELLINGS.get(layer.kind, ("", "", 0))
    kind = old if legacy else f'"{layer.kind}"'
    assert kind, f"{layer.kind} is younger than the format"
    lines = [f'  name: "{layer.name}"', f"  type: {kind}"]
    lines += [f'  bottom: "{bottom}"' for bottom in layer.bottoms] + [f'  top: "{top}"' for top in layer.tops]
    if layer.options:
        values = [
            f"{name}: {_value_text(value)}"
            for name, given in layer.options.items()
            for value in (given if isinstance(given, tuple) else (given,))
        ]
        lines.append(f"  {message} {{ {' '.join(values)} }}")
    return "\n".join(["layers {" if legacy else "layer {", *lines, "}"])


def _value_text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value if value in WORDS else f'"{value}"'
    return repr(value)


def caffemodel_bytes(definition: CaffeDefinition, blobs: Mapping[str, Arrays], style: Style = Style()) -> bytes:
    """A network's weights, by layer, as a caffemodel."""
    content = [field(1, definition.name.encode())]
    for layer in definition.layers:
        found = [blob_bytes(blob, style) for blob in blobs.get(layer.name, ())]
        names = [*((b, True) for b in layer.bottoms), *((t, False) for t in layer.tops)]
        if style.legacy:
            parts = [field(2 if is_bottom else 3, name.encode()) for name, is_bottom in names]
            parts += [field(4, layer.name.encode()), number(5, SPELLINGS[layer.kind][2])]
            parts += [field(6, blob) for blob in found]
        else:
            parts = [field(1, layer.name.encode()), field(2, layer.kind.encode())]
            parts += [field(3 if is_bottom else 4, name.encode()) for name, is_bottom in names]
            parts += [field(7, blob) for blob in found] + [number(10, 1)]
        content.append(field(2 if style.legacy else 100, b"".join(parts)))
    return b"".join(content)


def blob_bytes(blob: NDArray[np.float32], style: Style = Style()) -> bytes:
    """One blob with its shape."""
    with np.errstate(invalid="ignore"):  # of NaNs that signal
        values = blob.ravel().astype("<f8" if style.doubles else "<f4")
    tag = 8 if style.doubles else 5
    if style.packed:
        data = field(tag, values.tobytes())
    else:
        key = varint(tag << 3 | (1 if style.doubles else 5))
        data = b"".join(key + value.tobytes() for value in values)
    if style.four_axes:
        sides = (1,) * (4 - blob.ndim) + blob.shape
        return b"".join(number(i, side) for i, side in enumerate(sides, 1)) + data
    dims = field(1, b"".join(map(varint, blob.shape))) if style.packed else b"".join(number(1, n) for n in blob.shape)
    return data + field(7, dims)


def varint(value: int) -> bytes:
    """A number in groups of seven bits."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(tag: int, value: int) -> bytes:
    """A field that holds a whole number."""
    return varint(tag << 3) + varint(value)


def field(tag: int, content: bytes) -> bytes:
    """A field that holds bytes."""
    return varint(tag << 3 | 2) + varint(len(content)) + content


def calibrate(network: CaffeNetwork, seed: int, images: Tensor) -> None:
    """Draw every weight so that what each layer puts out on these images has a size of about 1."""
    draw = torch.Generator().manual_seed(seed)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=draw)

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        return torch.rand(like.shape, generator=draw) * (high - low) + low

    def settle(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        if isinstance(module, modules.Convolution | modules.InnerProduct):
            size = float(x.square().mean().sqrt()) or 1.0
            module.weight.copy_(normal(module.weight) / module.weight[0].numel() ** 0.5 / size)
        elif isinstance(module, modules.Scale):
            module.weight.copy_(uniform(module.weight, 0.5, 1.5) * normal(module.weight).sign())
        elif isinstance(module, modules.PReLU):
            module.weight.copy_(uniform(module.weight, 0.05, 0.5))
        elif isinstance(module, modules.BatchNorm):
            axes = [axis for axis in range(x.dim()) if axis != 1]
            module.running_mean.copy_(x.mean(axes) + 0.1 * normal(module.running_mean))
            module.running_var.copy_((x.var(axes) + 0.01) * uniform(module.running_var, 0.7, 1.4))
        elif isinstance(module, BN):
            module.running_mean.copy_(0.1 * normal(module.running_mean))
            module.running_var.copy_(uniform(module.running_var, 0.7, 1.4))
            module.weight.copy_(uniform(module.weight, 0.5, 1.5))
        bias = getattr(module, "bias", None)
        if bias is not None:
            bias.copy_(0.2 * normal(bias))
        if module in branches and hasattr(module, "weight"):
            module.weight.mul_(BRANCH)

    aliases = network.aliases()
    branches = {network.get_submodule(aliases[blob]) for blob in branches_of(network.definition)}

    handles = [module.register_forward_pre_hook(settle) for module in network.children()]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()


def branches_of(definition: CaffeDefinition) -> set[str]:
    """What the blocks of a ResNet add to what goes by: of the blobs of a sum, the one behind the most convolutions."""
    depths = dict.fromkeys(definition.inputs, 0)
    found = set()
    for layer in definition.layers:
        before = [depths[bottom] for bottom in layer.bottoms]
        if layer.kind == "Eltwise" and len(set(before)) > 1:
            found.add(layer.bottoms[before.index(max(before))])
        if layer.kind == "Eltwise":
            before = [0]
        depths |= dict.fromkeys(layer.tops, max(before) + (layer.kind == "Convolution"))
    return found


def blobs_of(network: CaffeNetwork) -> dict[str, Arrays]:
    """A network's weights as Caffe files them, by layer."""
    found = {}
    for name, path in network.paths.items():
        module = network.get_submodule(path)
        if isinstance(module, modules.BatchNorm):
            factor = torch.tensor([998.7])
            tensors = [module.running_mean * factor, module.running_var * factor, factor]
        elif isinstance(module, BN):
            tensors = [tensor[None] for tensor in module.state_dict().values()]
        else:
            tensors = [t for t in (getattr(module, "weight", None), getattr(module, "bias", None)) if t is not None]
        if isinstance(module, modules.InnerProduct) and module.transposed:
            tensors[0] = tensors[0].T
        if tensors:
            found[name] = [tensor.numpy().copy() for tensor in tensors]
    return found


def shrink(definition: CaffeDefinition, most: int = 32) -> CaffeDefinition:
    """The same with fully connected layers of no more than so many units."""
    return replace(
        definition,
        layers=tuple(
            replace(layer, options={**layer.options, "num_output": min(int(layer.options["num_output"]), most)})  # type: ignore[arg-type]
            if layer.kind == "InnerProduct"
            else layer
            for layer in definition.layers
        ),
    )


def draw_images(definition: CaffeDefinition, seed: int, images: int = 1) -> Tensor:
    """Smooth noise in a network's input shape, as large as an image without its mean."""
    shape = next(iter(definition.inputs.values()))
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(images, shape[1], *(max(side // 8, 2) for side in shape[2:]), generator=draw)
    smooth = nn.functional.interpolate(coarse, size=tuple(shape[2:]), mode="bilinear")
    return 50 * smooth + 10 * torch.randn(smooth.shape, generator=draw)


def blobs_from(network: CaffeNetwork, names: Sequence[str], images: Tensor) -> dict[str, NDArray[np.float32]]:
    """What blobs hold in the end, by our network."""
    kept: dict[str, NDArray[np.float32]] = {}

    def keeper(name: str) -> Any:
        def keep(module: nn.Module, inputs: object, output: object) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            assert isinstance(tensor, Tensor)
            kept[name] = tensor.numpy().copy()

        return keep

    aliases = network.aliases()
    handles = [network.get_submodule(aliases[name]).register_forward_hook(keeper(name)) for name in names]
    with torch.inference_mode():
        network(images)
    for handle in handles:
        handle.remove()
    return kept


def blobs_by_opencv(
    text: str, model: bytes, layers: Mapping[str, str], images: Tensor
) -> dict[str, NDArray[np.float32]]:
    """What blobs hold, by OpenCV's reader and layers; ``layers`` names the layer that writes each."""
    dnn = pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'opencv-python-headless<5'").dnn
    network = dnn.readNetFromCaffe(*(np.frombuffer(content, np.uint8) for content in (text.encode(), model)))
    network.setPreferableBackend(dnn.DNN_BACKEND_OPENCV)
    network.enableFusion(False)  # else a layer's output is that of those fused into it
    network.setInput(images.numpy())
    wanted = list(dict.fromkeys(layers.values()))
    outputs = dict(zip(wanted, network.forward(wanted), strict=True))
    return {blob: np.array(outputs[layer]) for blob, layer in layers.items()}


def compare_with_opencv(
    definition: CaffeDefinition,
    names: Sequence[str] = (),
    *,
    seed: int = 0,
    style: Style = Style(),
    images: int = 1,
) -> dict[str, float]:
    """Write a network with drawn weights, read it twice, and compare what its blobs hold.

    Returns
    -------
    dict
        By blob, the largest difference as a share of the blob's largest absolute value; of all blobs where none
        are named.
    """
    inputs = draw_images(definition, seed, images)
    source = build_network(definition, random=True)
    calibrate(source, seed, inputs)
    text = prototxt_text(definition, style)
    model = caffemodel_bytes(definition, blobs_of(source), style)

    network = build_network(parse_prototxt(text, "text").definition, random=False)
    state = network.state_of(parse_caffemodel(np.frombuffer(bytearray(model), np.uint8), "model"))
    network.load_state_dict(state)

    aliases = network.aliases()
    names = names or [name for name in network.shapes if name in aliases]
    layers = {path: name for name, path in network.paths.items()}
    if style.doubles:  # which OpenCV does not read
        model = caffemodel_bytes(definition, blobs_of(source), replace(style, doubles=False))
    theirs = blobs_by_opencv(text, model, {name: layers[aliases[name]] for name in names}, inputs)
    ours = blobs_from(network, names, inputs)
    return {name: difference(ours[name], theirs[name]) for name in names}


def difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """The largest difference, as a share of the largest absolute value; that must be of a sane size."""
    assert ours.shape == theirs.shape
    largest = float(np.abs(theirs).max())
    assert 1e-6 < largest < 1e6
    return float(np.abs(ours - theirs).max()) / largest


def one_layer(kind: str, *, shape: tuple[int, ...] = (1, 3, 9, 11), **options: Any) -> CaffeDefinition:
    """A network of one layer behind a convolution."""
    words = CaffeLayer("conv", "Convolution", ("data",), ("conv",), {"num_output": 4, "kernel_size": 1})
    assert re.fullmatch(r"\w+", kind)
    return CaffeDefinition("one", {"data": shape}, (words, CaffeLayer("it", kind, ("conv",), ("it",), options)))


def float_bits(value: float) -> bytes:
    """A float's four bytes."""
    return struct.pack("<f", value)
