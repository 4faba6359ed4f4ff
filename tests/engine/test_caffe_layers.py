"""Caffe's layers against their definitions, written with loops: what OpenCV leaves out or takes otherwise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import ceil

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_caffe_network import build, conv, layer
from torch import Tensor

from ndengine.errors import ModelError
from ndengine.models.caffe import modules
from ndengine.models.caffe.blobs import tensors_of
from ndengine.models.caffe.bn import BN
from ndengine.models.caffe.definition import CaffeLayer
from ndengine.models.caffe.makers import make_layer
from ndengine.models.caffe.options import Options, UnsupportedLayer
from ndengine.models.layers import resolve_layers
from ndkernels.grid import Field

Map = NDArray[np.float64]


def windows_of(n: int, k: int, s: int, p: int, rounded: Callable[[float], float], clipped: bool) -> list[range]:
    """The places that Caffe's windows begin and end at, the padding among them, what is beyond it not."""
    count = int(rounded((n + 2 * p - k) / s)) + 1
    if clipped and (count - 1) * s >= n + p:
        count -= 1
    return [range(i * s - p, min(i * s - p + k, n + p)) for i in range(count)]


def pool_by_definition(x: Map, mean: bool, rows: list[range], columns: list[range]) -> Map:
    h, w = x.shape
    out = np.empty((len(rows), len(columns)))
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        inside = x[max(row.start, 0) : min(row.stop, h), max(column.start, 0) : min(column.stop, w)]
        out[i, j] = inside.sum() / (len(row) * len(column)) if mean else inside.max()
    return out


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("round_mode", ["CEIL", "FLOOR"])
def test_pooling_of_any_geometry(seed: int, pool: str, round_mode: str) -> None:
    draw = np.random.default_rng(seed)
    kernel, stride = draw.integers(1, 6, 2), draw.integers(1, 5, 2)
    padding = [int(draw.integers(0, k)) for k in kernel]
    size = [int(draw.integers(max(k - 2 * p, 1), 14)) for k, p in zip(kernel, padding, strict=True)]
    options = {
        **{f"kernel_{side}": int(n) for side, n in zip("hw", kernel, strict=True)},
        **{f"stride_{side}": int(n) for side, n in zip("hw", stride, strict=True)},
        **{f"pad_{side}": n for side, n in zip("hw", padding, strict=True)},
    }
    rounded = ceil if round_mode == "CEIL" else np.floor
    sides = zip(size, kernel, stride, padding, strict=True)
    rows, columns = (windows_of(n, int(k), int(s), p, rounded, any(padding)) for n, k, s, p in sides)
    asked = CaffeLayer("it", "Pooling", ("data",), ("it",), {"pool": pool, "round_mode": round_mode, **options})
    if any(places[-1].start >= n for places, n in zip((rows, columns), size, strict=True)):
        with pytest.raises(ModelError, match="empty"):
            build(asked, shape=(1, 3, *size))
        return
    network = build(asked, shape=(1, 3, *size))
    images = draw.normal(size=(2, 3, *size))
    found = network(torch.from_numpy(images).float())
    assert found.shape[1:] == network.shapes["it"]
    for image, channel in product(range(2), range(3)):
        expected = pool_by_definition(images[image, channel], pool == "AVE", rows, columns)
        np.testing.assert_allclose(found[image, channel].numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 4, 30])
@pytest.mark.parametrize(
    ("size", "beta", "k"), [(1, 0.75, 1.0), (3, 0.6, 2.0), (5, 0.75, 0.5), (9, 1.0, 1.0), (27, 0.75, 2.0)]
)
def test_local_response_norm(channels: int, size: int, beta: float, k: float) -> None:
    x = torch.randn(2, channels, 3, 3)
    found = modules.LRN(size, 0.7, beta, k)(x)
    for c in range(channels):
        window = x[:, max(c - size // 2, 0) : c + size // 2 + 1]
        expected = x[:, c] / (k + 0.7 / size * window.square().sum(1)) ** beta
        torch.testing.assert_close(found[:, c], expected)


def test_a_transposed_inner_product() -> None:
    network = build(layer("fc", "InnerProduct", "data", num_output=5, transpose=True), shape=(1, 3, 2, 2))
    matrix, bias = torch.randn(12, 5), torch.randn(5)
    state = network.state_of({"fc": [matrix.view(1, 1, 12, 5), bias.view(1, 1, 1, 5)]})
    network.load_state_dict(state)
    x = torch.randn(2, 3, 2, 2)
    torch.testing.assert_close(network(x), x.flatten(1) @ matrix + bias)


@pytest.mark.parametrize("factor", [0.0, 4.0])
def test_batch_norm_divides_its_sums_by_their_weight(factor: float) -> None:
    network = build(layer("bn", "BatchNorm", "data", eps=0.01))
    mean, var = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([4.0, 8.0, 2.0])
    network.load_state_dict(network.state_of({"bn": [mean, var, torch.tensor([factor])]}))
    x = torch.randn(2, 3, 4, 4)
    divided = 0 if factor == 0 else 1 / factor
    shape = (1, 3, 1, 1)
    expected = (x - (mean * divided).view(shape)) / ((var * divided).view(shape) + 0.01).sqrt()
    torch.testing.assert_close(network(x), expected)


def test_bias_and_combinations_of_two_blobs() -> None:
    network = build(layer("it", "Bias", "data"))
    network.load_state_dict(network.state_of({"it": [torch.tensor([1.0, 2.0, 3.0])]}))
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(network(x) - x, torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).expand_as(x))
    gate = torch.randn(2, 3)
    torch.testing.assert_close(modules.Combination(True)(x, gate), x * gate[:, :, None, None])
    torch.testing.assert_close(modules.Combination(False)(x, x), x + x)


BY_VALUE: dict[str, tuple[CaffeLayer, Callable[[Tensor], Tensor]]] = {
    "power": (layer("it", "Power", "data", power=3.0, scale=0.5, shift=2.0), lambda x: (2 + 0.5 * x) ** 3),
    "exp": (layer("it", "Exp", "data", base=3.0, scale=0.5, shift=0.2), lambda x: 3 ** (0.2 + 0.5 * x)),
    "elu": (layer("it", "ELU", "data", alpha=0.3), lambda x: torch.where(x > 0, x, 0.3 * (x.exp() - 1))),
    "bnll": (layer("it", "BNLL", "data"), lambda x: (1 + x.exp()).log()),
    "softmax": (layer("it", "Softmax", "data", axis=-1), lambda x: x.exp() / x.exp().sum(3, keepdim=True)),
    "relu with a filler": (layer("it", "ReLU", "data", some_filler="{…}"), lambda x: x.clamp(min=0)),
    "relu by number": (layer("it", "ReLU", "data", engine=1), lambda x: x.clamp(min=0)),
}


@pytest.mark.parametrize("name", BY_VALUE)
def test_value_by_value(name: str) -> None:
    asked, expected = BY_VALUE[name]
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(build(asked)(x), expected(x), rtol=1e-5, atol=1e-5)


def test_options_for_rows_and_columns() -> None:
    network = build(conv("it", "data", 2, 1, stride=(1, 2), pad=(0, 3), dilation=(2, 1)))
    found = network.get_submodule("it")
    assert (found.kernel_size, found.stride, found.padding, found.dilation) == ((1, 1), (1, 2), (0, 3), (2, 1))
    assert network.shapes["it"] == (2, 16, 11)
    network = build(layer("it", "Convolution", "data", num_output=2, kernel_size=(3, 5), pad_w=1))
    assert network.shapes["it"] == (2, 14, 14)


def test_enumerations_by_number() -> None:
    network = build(layer("it", "Pooling", "data", pool=1, kernel_size=2))
    assert network.get_submodule("it").mean is True
    network = build(layer("it", "Eltwise", "data data", operation=2))
    assert network.get_submodule("it").operation == "MAX"


def test_forks_say_in_their_ways_that_a_pool_rounds_down() -> None:
    ways = ({}, 9), ({"torch_pooling": False}, 9), ({"torch_pooling": True}, 8), ({"ceil_mode": False}, 8)
    for options, side in ways:
        found = build(layer("it", "Pooling", "data", kernel_size=3, stride=2, pad=1, **options))
        assert found.shapes["it"] == (3, side, side)


def test_coefficients_of_a_maximum_are_ignored() -> None:
    """As in Caffe, which only asks for one of each blob."""
    network = build(layer("it", "Eltwise", "data data", operation="MAX", coeff=(-1.0, 2.0)))
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(network(images), images)


UNSUPPORTED: dict[str, tuple[CaffeLayer, str]] = {
    "within channel": (layer("it", "LRN", "data", norm_region="WITHIN_CHANNEL"), "norm_region: WITHIN_CHANNEL"),
    "stochastic": (layer("it", "Pooling", "data", pool="STOCHASTIC", kernel_size=2), "pool: STOCHASTIC"),
    "statistics of the batch": (layer("it", "BatchNorm", "data", use_global_stats=False), "use_global_stats: false"),
    "axis": (layer("it", "InnerProduct", "data", num_output=2, axis=2), "an axis other than 1"),
    "axis of images": (layer("it", "Concat", "data data", axis=0), "axis: 0"),
    "softmax over images": (layer("it", "Softmax", "data", axis=-4), "axis: 0"),
    "volumes": (layer("it", "Convolution", "data", num_output=2, kernel_size=(1, 2, 3)), "3 times kernel_size"),
    "of another Caffe": (layer("it", "Convolution", "data", num_output=2, kernel_size=1, rank=3), "the option rank"),
    "axes": (layer("it", "Scale", "data", num_axes=2), "num_axes other than 1"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_options_that_are_not_known_are_named_and_not_ignored(name: str) -> None:
    asked, why = UNSUPPORTED[name]
    with pytest.raises(UnsupportedLayer, match=why):
        make_layer(asked.kind, Options(asked.options), [(3, 16, 16)] * len(asked.bottoms), 1)
    network = build(conv("conv", "data", 2, 1), asked)
    with pytest.raises(ModelError, match=f"depends on layer it of type {asked.kind} with .*{why}"):
        resolve_layers(network, ["it"], "net", (16, 16))


INVALID: dict[str, tuple[CaffeLayer, str]] = {
    "sum of shapes": (layer("s", "Eltwise", "data small"), "several shapes"),
    "coefficients": (layer("s", "Eltwise", "data data", coeff=(1.0, 2.0, 3.0)), "3 times coeff"),
    "coefficients of a product": (layer("s", "Eltwise", "data data", operation="PROD", coeff=(1.0, 2.0)), "2 times"),
    "joined": (layer("s", "Concat", "data small"), "differ along other axes"),
    "coefficients of a maximum": (layer("s", "Eltwise", "data data", operation="MAX", coeff=2.0), "1 times coeff"),
    "axis twice": (layer("s", "Concat", "data data", axis=1, concat_dim=1), "both axis and concat_dim"),
    "one row of two": (layer("s", "Pooling", "data", kernel_h=2), "no kernel_w"),
    "both ways": (layer("s", "Convolution", "data", num_output=1, kernel_size=1, kernel_h=1), "both kernel_size"),
    "padding": (layer("s", "Pooling", "data", kernel_size=2, pad=2), "does not reach beyond"),
    "even": (layer("s", "LRN", "data", local_size=4), "local_size: 4, which is even"),
    "global and a kernel": (layer("s", "Pooling", "data", global_pooling=True, kernel_size=2), "global_pooling and"),
    "vectors": (layer("s", "Convolution", "flat", num_output=1, kernel_size=1), "reads 768"),
    "end before the beginning": (layer("s", "Flatten", "data", axis=2, end_axis=1), "end_axis: 1 before axis: 2"),
    "two values": (layer("s", "ReLU", "data", negative_slope=(1.0, 2.0)), "2 values of negative_slope"),
    "two blobs": (layer("s", "ReLU", "data data"), "reads 2 blobs"),
    "no blob": (layer("s", "Concat", ""), "reads nothing"),
    "two outputs": (layer("s", "ReLU", "data", "a b"), "writes 2 blobs"),
    "gate": (layer("s", "Scale", "data small", axis=0), "don't go together"),
    "base": (layer("s", "Exp", "data", base=-2.0), "base: -2"),
    "eps": (layer("s", "BatchNorm", "data", eps=0.0), "eps: 0"),
}


@pytest.mark.parametrize("name", INVALID)
def test_what_caffe_refuses(name: str) -> None:
    asked, why = INVALID[name]
    others = (conv("small", "data", 3, 2), layer("flat", "Flatten", "data"))
    with pytest.raises(ModelError, match=why) as caught:
        build(*others, asked)
    assert f"Layer s ({asked.kind}) of net" in str(caught.value)


def test_fields_go_through_every_kind_of_layer() -> None:
    layers = [
        *(conv("a", "data", 4, 3, stride=2), layer("bn", "BatchNorm", "a"), layer("scale", "Scale", "bn", "bn")),
        *(layer("bias", "Bias", "bn", "bn"), layer("prelu", "PReLU", "bn", "bn"), layer("elu", "ELU", "bn")),
        *(
            layer("lrn", "LRN", "elu"),
            layer("power", "Power", "lrn", power=2.0),
            layer("split", "Split", "power", "x y"),
        ),
        *(layer("sum", "Eltwise", "x y"), layer("all", "Concat", "sum x"), layer("drop", "Dropout", "all", "all")),
        *(layer("mean", "Pooling", "all", pool="AVE", global_pooling=True), layer("flat", "Flatten", "mean")),
        *(layer("gated", "Scale", "all flat", axis=0), layer("exp", "Exp", "gated"), layer("end", "Softmax", "exp")),
    ]
    network = build(*layers)
    names = ["bn", "elu", "lrn", "power", "x", "sum", "all", "gated", "exp", "end"]
    for found in resolve_layers(network, names, "net", (16, 16)):
        assert found.field == (Field(0, 3, 2),) * 2, found.name
        assert found.shape == network.shapes[found.name]


@pytest.mark.parametrize("pad", [0, 1, 2])
@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_fields_of_pools_that_torch_does_not_lay_itself(pad: int, pool: str) -> None:
    network = build(layer("it", "Pooling", "data", pool=pool, kernel_size=3, stride=2, pad=pad))
    (found,) = resolve_layers(network, ["it"], "net", (16, 16))
    assert found.field == (Field(-pad, 3, 2),) * 2


@pytest.mark.parametrize("sides", [(1, 1, 1, 4), (4,), (1, 4), (1, 4, 1, 1), (4, 1, 1, 1)])
def test_shapes_of_four_axes_fit(sides: tuple[int, ...]) -> None:
    blob = torch.randn(sides)
    assert tensors_of(modules.Bias(4), [blob])["bias"].shape == (4,)
    for part, count in ((modules.BatchNorm(4, 1e-5), 2), (modules.Scale(4, True), 2), (BN(4, 1e-5), 4)):
        factor = [torch.ones(1, 1, 1, 1)] * isinstance(part, modules.BatchNorm)
        found = tensors_of(part, [blob] * count + factor)
        assert {key: tensor.shape for key, tensor in found.items()} == dict.fromkeys(part.state_dict(), (4,))
    assert tensors_of(modules.Bias(4), [torch.randn(2, 2)])["bias"].shape == (2, 2)
    assert tensors_of(modules.PReLU(1), [torch.randn(())])["weight"].shape == (1,)
    matrix = tensors_of(modules.InnerProduct(4, 2, False, False), [torch.randn(1, 1, 2, 4)])
    assert matrix["weight"].shape == (2, 4)
    wrong = tensors_of(modules.InnerProduct(4, 2, False, False), [torch.randn(2, 4, 1, 1)])
    assert wrong["weight"].shape == (2, 4, 1, 1)  # for the comparison to complain about
