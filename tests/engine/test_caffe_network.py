"""Caffe's networks as modules: shapes, names, order, and what is refused."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from ndengine.errors import ModelError
from ndengine.models.caffe.definition import CaffeDefinition, CaffeLayer, Option
from ndengine.models.caffe.network import CaffeNetwork, build_network
from ndengine.models.layers import list_layers, resolve_layers
from ndengine.models.trace import trace_model
from ndkernels.grid import Field


def layer(name: str, kind: str, bottoms: str, tops: str = "", **options: Option) -> CaffeLayer:
    return CaffeLayer(name, kind, tuple(bottoms.split()), tuple((tops or name).split()), options)


def conv(name: str, bottom: str, outputs: int, kernel: int, **options: Option) -> CaffeLayer:
    return layer(name, "Convolution", bottom, num_output=outputs, kernel_size=kernel, **options)


def relu(number: str, blob: str) -> CaffeLayer:
    return layer(f"relu{number}", "ReLU", blob, blob)


def pool(name: str, bottom: str) -> CaffeLayer:
    return layer(name, "Pooling", bottom, pool="MAX", kernel_size=3, stride=2)


def alexnet() -> CaffeDefinition:
    return CaffeDefinition(
        "CaffeNet",
        {"data": (10, 3, 227, 227)},
        (
            *(conv("conv1", "data", 8, 11, stride=4), relu("1", "conv1"), pool("pool1", "conv1")),
            layer("norm1", "LRN", "pool1", local_size=5, alpha=0.0001, beta=0.75),
            *(conv("conv2", "norm1", 8, 5, pad=2, group=2), relu("2", "conv2"), pool("pool2", "conv2")),
            layer("norm2", "LRN", "pool2", local_size=5, alpha=0.0001, beta=0.75),
            *(conv("conv3", "norm2", 12, 3, pad=1), relu("3", "conv3")),
            *(conv("conv4", "conv3", 12, 3, pad=1, group=2), relu("4", "conv4")),
            *(conv("conv5", "conv4", 8, 3, pad=1, group=2), relu("5", "conv5"), pool("pool5", "conv5")),
            *(layer("fc6", "InnerProduct", "pool5", num_output=16), relu("6", "fc6")),
            layer("drop6", "Dropout", "fc6", "fc6", dropout_ratio=0.5),
            layer("fc8", "InnerProduct", "fc6", num_output=5),
            layer("prob", "Softmax", "fc8"),
        ),
    )


def build(*layers: CaffeLayer, shape: tuple[int, ...] = (1, 3, 16, 16)) -> CaffeNetwork:
    return build_network(CaffeDefinition("net", {"data": shape}, layers), random=True)


def test_alexnet_has_the_published_fields_and_shapes() -> None:
    network = build_network(alexnet(), random=False)
    fields = {"conv1": (0, 11, 4), "conv2": (-16, 51, 8), "conv5": (-64, 163, 16)}
    for found in resolve_layers(network, list(fields), "net", (227, 227)):
        assert found.path == found.name.replace("conv", "relu")
        assert found.field == (Field(*fields[found.name]),) * 2
        assert found.shape == network.shapes[found.name]
    assert [network.shapes[name] for name in ("conv1", "pool5", "fc6", "prob")] == [(8, 55, 55), (8, 6, 6), (16,), (5,)]
    assert network.default_layer() == "conv5"


def test_the_default_layer_is_the_last_that_a_relu_leaves() -> None:
    """And not a detector's head; batch norms may stand between it and the convolution."""
    head = conv("head", "data", 2, 1)
    assert build(conv("a", "data", 2, 1), relu("1", "a"), head).default_layer() == "a"
    assert build(conv("a", "data", 2, 1), head).default_layer() == "head"
    norms = (layer("bn", "BatchNorm", "a", "n"), layer("s", "Scale", "n", "n"), layer("r", "PReLU", "n", "r"))
    assert build(conv("a", "data", 2, 1), *norms, head).default_layer() == "r"
    other = (conv("a", "data", 2, 1), conv("b", "a", 2, 1), conv("a", "b", 2, 1), relu("1", "a"), conv("c", "b", 2, 1))
    assert build(*other).default_layer() == "a"
    again = (conv("a", "data", 2, 1), relu("1", "a"), conv("b", "a", 2, 1), relu("2", "b"), conv("b", "a", 2, 1))
    assert build(*again).default_layer() == "a"  # what is called b in the end has no ReLU
    assert build(conv("a", "data", 2, 16), relu("1", "a"), head).default_layer() == "head"  # a has no positions
    dropped = (conv("a", "data", 2, 1), relu("1", "a"), layer("drop", "Dropout", "a", "a"))
    assert build(*dropped, head).default_layer() == "a"


def test_the_default_layer_is_the_end_of_a_block() -> None:
    branches = (conv("a", "data", 2, 1), relu("1", "a"), conv("b", "data", 2, 1), relu("2", "b"))
    assert build(*branches, layer("sum", "Eltwise", "a b"), relu("3", "sum")).default_layer() == "sum"
    assert build(*branches, layer("out", "Concat", "a b"), pool("p", "out")).default_layer() == "out"
    assert build(*branches, layer("out", "Concat", "a data")).default_layer() == "b"  # a part of it has no ReLU


def test_a_blobs_name_means_what_it_holds_in_the_end() -> None:
    network = build_network(alexnet(), random=False)
    aliases = network.aliases()
    assert (aliases["conv5"], aliases["fc6"], aliases["pool5"]) == ("relu5", "drop6", "pool5")
    rows = {row.layer: row.alias for row in list_layers(network, (227, 227))}
    assert rows["relu5"] == "conv5"
    assert rows["pool5"] == ""
    assert "conv5" not in rows  # the layer of that name is not what the name means
    (found,) = resolve_layers(network, ["conv5"], "net", (227, 227))
    assert (found.name, found.path) == ("conv5", "relu5")
    assert {layer.name for layer in resolve_layers(network, ["conv*"], "net", (227, 227))} == {
        f"conv{i}" for i in range(1, 6)
    }


def test_state_dict_keys_are_the_layers_names() -> None:
    network = build(
        *(conv("conv1.a", "data", 4, 3), layer("bn", "BatchNorm", "conv1.a"), layer("scale", "Scale", "bn")),
        layer("type", "PReLU", "scale"),
        layer("scale", "Bias", "type", "out/b"),
    )
    assert list(network.state_dict()) == [
        *("conv1_a.weight", "conv1_a.bias", "bn.running_mean", "bn.running_var", "scale.weight", "type_2.weight"),
        "scale_2.bias",
    ]
    assert network.aliases()["out-b"] == network.aliases()["out/b"] == "scale_2"


def test_in_place_layers_spare_what_others_read() -> None:
    definition = CaffeDefinition(
        "net",
        {"data": (1, 3, 8, 8)},
        (
            conv("a", "data", 2, 3),
            layer("pre", "Power", "a"),
            relu("1", "a"),
            layer("sum", "Eltwise", "pre a", operation="SUM"),
            layer("r", "ReLU", "data"),
        ),
    )
    network = build_network(definition, random=True)
    images = torch.randn(2, 3, 8, 8)
    kept = images.clone()
    before = torch.nn.functional.conv2d(images, network.get_parameter("a.weight"), network.get_parameter("a.bias"))
    outputs: dict[str, Tensor] = {}
    for path in ("a", "relu1", "sum"):
        network.get_submodule(path).register_forward_hook(lambda m, i, out, path=path: outputs.update({path: out}))
    network(images)
    torch.testing.assert_close(outputs["a"], before, rtol=0, atol=1e-5)
    torch.testing.assert_close(outputs["sum"], before + before.relu(), rtol=0, atol=1e-5)
    assert torch.equal(images, kept)


def test_a_layer_of_unknown_type_matters_to_those_behind_it_alone() -> None:
    network = build(
        *(conv("conv1", "data", 4, 3), layer("norm", "Normalize", "conv1"), conv("conv2", "norm", 4, 3)),
        *(conv("conv3", "conv1", 4, 3), layer("odd", "Odd", "conv3", "conv3"), conv("conv4", "conv3", 4, 3)),
    )
    size = (16, 16)
    assert [found.name for found in resolve_layers(network, ["conv1"], "net", size)] == ["conv1"]
    assert [row.layer for row in list_layers(network, size)] == ["conv1"]
    for name, culprit in (
        ("norm", "norm of type Normalize"),
        ("conv2", "norm of type Normalize"),
        ("conv3", "odd"),
        ("conv4", "odd"),
    ):
        with pytest.raises(ModelError, match=f"Layer {name} of net depends on layer {culprit}"):
            resolve_layers(network, [name], "net", size)


def test_a_network_of_grey_images_gets_the_mean_of_the_channels() -> None:
    network = build(conv("conv1", "data", 4, 3), shape=(1, 1, 8, 8))
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(network(images), network(images.mean(1, keepdim=True)))
    step = trace_model(network, (8, 8)).steps["conv1"]
    assert step.shape == (2, 4, 6, 6)
    (found,) = resolve_layers(network, ["conv1"], "net", (8, 8))
    assert found.field == (Field(0, 3, 1),) * 2


HOSTILE = {
    "parameters": (layer("fc", "InnerProduct", "data", num_output=2**31 - 1), "parameters"),
    "kernel": (conv("c", "data", 2**31 - 1, 2**31 - 1, pad=2**30), "parameters"),
    "padding": (conv("c", "data", 1, 1, pad=2**30, stride=2**30), "values"),
    "pool": (layer("p", "Pooling", "data", kernel_size=2**30, pad=2**29, stride=2**30), "values"),
    "kernel too large": (conv("c", "data", 1, 17), "kernel of 17x17 on maps of 16x16"),
    "stride": (conv("c", "data", 1, 1, stride=0), "stride: 0"),
    "outputs": (conv("c", "data", -1, 1), "num_output: -1"),
    "group": (conv("c", "data", 4, 1, group=2), "group: 2"),
    "no kernel": (layer("c", "Convolution", "data", num_output=1), "no kernel_size"),
    "text": (conv("c", "data", 1, 1, pad="x"), "pad: x"),
    "nan": (layer("r", "ReLU", "data", negative_slope=float("nan")), "negative_slope: nan"),
    "empty windows": (layer("p", "Pooling", "data", kernel_size=1, stride=14), "window"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_too_large_or_senseless_is_refused_by_name(name: str) -> None:
    bad, why = HOSTILE[name]
    with pytest.raises(ModelError, match=why) as caught:
        build(bad)
    assert f"Layer {bad.name} ({bad.kind}) of net" in str(caught.value)


def test_the_parameters_count_in_all() -> None:
    layers = [layer(f"fc{i}", "InnerProduct", "data", num_output=2**27 // 768) for i in range(3)]
    with pytest.raises(ModelError, match=r"Layer fc1 .* brings the parameters to"):
        build(*layers)


def test_blobs_in_use_at_once_count_in_all() -> None:
    layers = [conv(name, "data", 1, 1) for name in "abcd"]
    with pytest.raises(ModelError, match="in use at once"):
        build(*layers, layer("sum", "Eltwise", "a b c d"), shape=(1, 1, 8192, 8192))


def test_layers_and_what_they_read_are_limited() -> None:
    with pytest.raises(ModelError, match="12,000 blobs, more than 10,000"):
        build(*(relu(str(i), "data") for i in range(12_000)))
    with pytest.raises(ModelError, match="12,000 blobs, more than 10,000"):
        build(layer("s", "Split", "data", " ".join(f"b{i}" for i in range(12_000))))


def test_a_blob_is_dropped_when_nobody_reads_it_any_more() -> None:
    network = build(
        *(conv("a", "data", 2, 3), conv("b", "a", 2, 3), layer("c", "ELU", "b"), layer("d", "Eltwise", "b c")),
        *(layer("unread", "TanH", "d"), layer("e", "TanH", "d"), layer("f", "TanH", "e")),
    )
    blobs: dict[str, weakref.ref[Tensor]] = {}
    alive: dict[str, set[str]] = {}
    for path, part in network.named_children():
        part.register_forward_pre_hook(
            lambda m, i, path=path: alive.update({path: {n for n, blob in blobs.items() if blob() is not None}})
        )
        part.register_forward_hook(lambda m, i, out, path=path: blobs.update({path: weakref.ref(out)}))
    with torch.no_grad():
        network(torch.randn(1, 3, 16, 16))
    assert alive == {
        "a": set(),
        "b": {"a"},
        "c": {"b"},
        "d": {"b", "c"},
        "unread": {"d"},
        "e": {"d"},
        "f": {"e"},
    }


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({}, "it has none"),
        ({"data": (1, 2, 8, 8)}, "1x2x8x8"),
        ({"data": (1, 3, 2**20, 2**20)}, "Input data .* values"),
    ],
)
def test_a_network_needs_images(inputs: dict[str, tuple[int, ...]], why: str) -> None:
    with pytest.raises(ModelError, match=why):
        build_network(CaffeDefinition("net", inputs, (conv("c", "data", 1, 1),)), random=False)
