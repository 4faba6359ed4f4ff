"""Names and patterns to layers, and what layers put out to maps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ndengine.errors import ModelError
from ndengine.models.aliases import layer_aliases
from ndengine.models.layers import Layer, layer_maps, list_layers, resolve_layers
from ndengine.models.torchvision_import import torchvision_models
from ndengine.probe import Probe
from ndkernels.grid import Field

SIZE = (64, 48)


def torchvision(name: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        network: nn.Module = torchvision_models().get_model_builder(name)(weights=None, **arguments)
    return network.eval()


def small() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 7)),
    ).eval()


def outputs(network: nn.Module, path: str, images: Tensor) -> tuple[object, ...]:
    kept: list[object] = []
    handle = network.get_submodule(path).register_forward_hook(lambda m, i, out: kept.append(out))
    with torch.no_grad():
        network(images)
    handle.remove()
    return tuple(kept)


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("norm", ["", "_bn"])
def test_vgg_aliases_are_after_the_relu_of_their_convolution(depth: int, norm: str) -> None:
    network = torchvision(f"vgg{depth}{norm}", init_weights=False)
    aliases = layer_aliases(network)
    counts = {11: (1, 1, 2, 2, 2), 13: (2,) * 5, 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}[depth]
    names = [f"conv{block}_{i}" for block, count in enumerate(counts, 1) for i in range(1, count + 1)]
    assert [alias for alias in aliases if alias.startswith("conv")] == names
    convolutions = [int(p.split(".")[1]) for p, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    for name, place in zip(names, convolutions, strict=True):
        assert aliases[name] == f"features.{place + (2 if norm else 1)}"
        assert isinstance(network.get_submodule(aliases[name]), nn.ReLU)
    assert all(isinstance(network.get_submodule(aliases[f"pool{i}"]), nn.MaxPool2d) for i in range(1, 6))
    assert [aliases[name] for name in ("fc6", "fc7", "fc8")] == ["classifier.1", "classifier.4", "classifier.6"]


def test_the_aliases_that_people_know() -> None:
    assert layer_aliases(torchvision("vgg16", init_weights=False))["conv5_3"] == "features.29"
    assert layer_aliases(torchvision("vgg16_bn", init_weights=False))["conv5_3"] == "features.42"
    alexnet = layer_aliases(torchvision("alexnet"))
    assert {f"conv{i}": alexnet[f"conv{i}"] for i in range(1, 6)} == {
        "conv1": "features.1",
        "conv2": "features.4",
        "conv3": "features.7",
        "conv4": "features.9",
        "conv5": "features.11",
    }
    assert [alexnet[name] for name in ("pool1", "pool5", "fc6", "fc7", "fc8")] == [
        *("features.2", "features.12", "classifier.2", "classifier.5", "classifier.6")
    ]
    squeezenets = [layer_aliases(torchvision(f"squeezenet1_{i}")) for i in (0, 1)]
    assert [names["fire9"] for names in squeezenets] == ["features.12", "features.12"]
    assert [names["fire4"] for names in squeezenets] == ["features.5", "features.6"]
    assert list(squeezenets[1])[:2] == ["conv1", "pool1"]
    assert layer_aliases(torchvision("resnet50"))["res4f"] == "layer3.5"
    deep = layer_aliases(torchvision("resnet152"))
    assert [deep[name] for name in ("res2c", "res3b7", "res4a", "res4b35", "res5c")] == [
        *("layer1.2", "layer2.7", "layer3.0", "layer3.35", "layer4.2")
    ]
    assert layer_aliases(torchvision("googlenet", init_weights=False))["inception_5b"] == "inception5b"
    assert layer_aliases(small()) == {}


def test_every_alias_is_a_layer_that_runs() -> None:
    for name in ("vgg11", "alexnet", "squeezenet1_0", "googlenet", "resnet34"):
        extra = {"init_weights": False} if name in ("vgg11", "googlenet") else {}
        network = torchvision(name, **extra)
        aliases = layer_aliases(network)
        layers = resolve_layers(network, list(aliases), name)
        assert {layer.name: layer.path for layer in layers} == aliases


def test_layers_come_in_the_order_of_asking_each_once() -> None:
    network = torchvision("vgg16", init_weights=False)
    layers = resolve_layers(network, ["conv5_3", "features.4", "features.29", "conv3_*", "features.1[0-2]"], "vgg16")
    assert [(layer.name, layer.path) for layer in layers] == [
        ("conv5_3", "features.29"),
        ("features.4", "features.4"),
        ("conv3_1", "features.11"),
        ("conv3_2", "features.13"),
        ("conv3_3", "features.15"),
        ("features.10", "features.10"),
        ("features.12", "features.12"),
    ]
    first = layers[0]
    assert (first.kind, first.shape, first.axes, first.calls) == ("ReLU", (512, 14, 14), "nuhw", 1)
    assert first.field == (Field(-90, 196, 16), Field(-90, 196, 16))


def test_a_convolution_and_its_relu_are_two_layers_of_one_field() -> None:
    before, after = resolve_layers(torchvision("vgg16", init_weights=False), ["features.28", "features.29"], "vgg16")
    assert (before.kind, after.kind) == ("Conv2d", "ReLU")
    assert before.field == after.field


def test_shapes_follow_the_input_size() -> None:
    (layer,) = resolve_layers(small(), ["2"], "small", (30, 22))
    assert layer.shape == (4, 15, 11)


@pytest.mark.parametrize(
    ("wanted", "parts"),
    [
        ("conv5_4", ["vgg16 has no layer 'conv5_4'", "conv5_3", "ndengine layers --model vgg16"]),
        ("features.31", ["no layer 'features.31'", "features.3"]),
        ("zzz*", ["no layer 'zzz*'", "no name comes close"]),
        ("", ["no layer ''"]),
    ],
)
def test_unknown_layers_name_close_ones(wanted: str, parts: list[str]) -> None:
    with pytest.raises(ModelError) as error:
        resolve_layers(torchvision("vgg16", init_weights=False), [wanted], "vgg16")
    assert all(part in str(error.value) for part in parts)


class Odd(nn.Module):
    """Modules that do not run, run often, or put out something else than maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU()
        self.unused = nn.Conv2d(4, 4, 1)
        self.pair = Lambda(lambda x: (x, x.mean()))
        self.listed = Lambda(lambda x: [x])
        self.mapping = Lambda(lambda x: {"out": x})
        self.empty = Lambda(lambda x: ())
        self.video = Lambda(lambda x: x[:, :, None])
        self.scalar = Lambda(lambda x: x.mean())
        self.transposed = Lambda(lambda x: x.transpose(0, 1))
        self.channels_first = Lambda(lambda x: x.flatten(2))
        self.odd_tokens = Lambda(lambda x: x.flatten(2).mT[:, :131].roll(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv(x))
        x = self.relu(x + 1)
        for part in (self.pair, self.listed, self.mapping, self.empty, self.video):
            part(x)
        for part in (self.scalar, self.transposed, self.channels_first, self.odd_tokens):
            part(x)
        return x


class Lambda(nn.Module):
    def __init__(self, work: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.work = work

    def forward(self, x: Tensor) -> object:
        return self.work(x)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "puts out no tensor"),
        ("scalar", r"puts out \[\], which is not shown to be maps"),
        ("odd_tokens", "not shown to be maps: the 131 tokens that have a place fill no grid .*--axes"),
        ("pair", "several the tensors that it puts out; ask for one of pair/0, pair/1"),
        ("pair/2", "no '2' among the tensors that it puts out; ask for one of pair/0, pair/1"),
    ],
)
def test_outputs_that_are_no_maps_are_errors(name: str, said: str) -> None:
    with pytest.raises(ModelError, match=f"Layer {name} of odd .*{said}"):
        resolve_layers(Odd().eval(), [name], "odd", SIZE)


@pytest.mark.parametrize(
    ("name", "part", "axes"),
    [
        ("mapping", "out", "nuhw"),
        ("mapping/out", "out", "nuhw"),
        ("pair/0", "0", "nuhw"),
        ("listed", "", "nuhw"),
        ("video", "", "nu1hw"),
        ("transposed", "", "unhw"),
        ("channels_first", "", "nut"),
    ],
)
def test_outputs_are_arranged_as_they_were_shown_to_be(name: str, part: str, axes: str) -> None:
    network = Odd().eval()
    (layer,) = resolve_layers(network, [name], "odd", SIZE)
    assert (layer.part, layer.axes, layer.shape) == (part, axes, (4, 62, 46))
    images = torch.rand(2, 3, *SIZE)
    (output,), (_, right) = outputs(network, layer.path, images), outputs(network, "relu", images)
    assert isinstance(right, Tensor)
    assert torch.equal(layer_maps(output, layer), right)


def test_a_layer_that_never_runs_is_an_error() -> None:
    with pytest.raises(ModelError, match="Layer unused of odd never runs"):
        resolve_layers(Odd().eval(), ["conv", "unused"], "odd", SIZE)


def test_a_pattern_takes_what_runs_and_has_maps() -> None:
    left: list[str] = []
    layers = resolve_layers(Odd().eval(), ["*"], "odd", SIZE, tell=left.append)
    names = ["conv", "relu", "pair/0", "pair/1", "listed", "mapping/out", "video", "transposed", "channels_first"]
    assert [layer.name for layer in layers] == [name for name in names if name != "pair/1"]
    assert len(left) == 1
    assert "* leaves out pair/1, scalar, odd_tokens, not shown to be maps" in left[0]
    with pytest.raises(ModelError, match="Layer unused of odd never runs"):
        resolve_layers(Odd().eval(), ["unus*"], "odd", SIZE)


def test_the_last_of_several_calls_counts() -> None:
    relu, conv = resolve_layers(Odd().eval(), ["relu", "conv"], "odd", SIZE)
    assert (relu.calls, conv.calls) == (2, 1)
    (relu,) = resolve_layers(torchvision("resnet18"), ["layer2.0.relu"], "resnet18", (64, 64))
    assert relu.calls == 2
    assert relu.field == (Field(-33, 67, 8), Field(-33, 67, 8))


def test_a_module_with_two_names_is_found_by_both() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3)
            self.second = self.first

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.second(self.first(x))
            return out

    layers = resolve_layers(Shared().eval(), ["second", "first"], "shared", SIZE)
    assert [(layer.path, layer.calls, layer.shape) for layer in layers] == [
        ("second", 2, (3, 60, 44)),
        ("first", 2, (3, 60, 44)),
    ]


def test_a_network_may_fail_behind_the_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(10, 2)).eval()
    (layer,) = resolve_layers(network, ["0"], "tied", SIZE)
    assert layer.shape == (4, 62, 46)
    with pytest.raises(ModelError, match=r"tied stopped before layer 2 on an input of 64x48 \(RuntimeError: "):
        resolve_layers(network, ["2"], "tied", SIZE)
    with pytest.raises(ModelError, match="vit stopped before layer encoder on an input of 64x48"):
        resolve_layers(torchvision("vit_b_32"), ["encoder"], "vit", SIZE)


@pytest.mark.parametrize("path", ["0", "1", "2", "5", "6", "7"])
def test_maps_hold_the_outputs_values(path: str) -> None:
    network = small()
    (layer,) = resolve_layers(network, [path], "small", SIZE)
    (output,) = outputs(network, path, torch.rand(3, 3, *SIZE))
    assert isinstance(output, Tensor)
    maps = layer_maps(output, layer)
    assert maps.shape == (3, *layer.shape)
    assert torch.equal(maps.flatten(), output.flatten())
    assert maps.untyped_storage().data_ptr() == output.untyped_storage().data_ptr()


def test_one_of_several_calls_is_picked_by_its_number() -> None:
    network = Odd().eval()
    images = torch.rand(1, 3, *SIZE)
    right = outputs(network, "relu", images)
    for name, call in (("relu", 2), ("relu@1", 1), ("relu@2", 2)):
        (layer,) = resolve_layers(network, [name], "odd", SIZE)
        assert (layer.call, layer.calls) == (call, 2)
        torch.testing.assert_close(Probe(network, [layer]).activations(images)[name], right[call - 1])
        assert ("runs 2 times in a pass and the last one is taken" in layer.note) == (name == "relu")
    for name in ("relu@0", "relu@3"):
        with pytest.raises(ModelError, match=f"Layer {name} of odd: the module runs 2 times .* use @1 to @2"):
            resolve_layers(network, [name], "odd", SIZE)
    both = resolve_layers(network, ["relu@1", "relu@2"], "odd", SIZE)
    found = Probe(network, both).activations(images)
    for call in (1, 2):
        torch.testing.assert_close(found[f"relu@{call}"], right[call - 1])


class Tokens(nn.Module):
    """Patches of 8 pixels as tokens, with class tokens in front, moved to and fro so that no field can be followed."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 5, 8, 8)
        self.extra = extra
        self.mix = Lambda(lambda x: x.roll(2, 1).roll(-2, 1))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).mT
        tokens = torch.cat([tokens.new_full((len(x), self.extra, 5), 9.0), tokens], 1)
        out: Tensor = self.mix(tokens)
        return out


@pytest.mark.parametrize("extra", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [(112, 112), (64, 96), (96, 64), (64, 32)], ids=str)
def test_tokens_become_a_grid_without_class_tokens(extra: int, size: tuple[int, int]) -> None:
    network = Tokens(extra).eval()
    (layer,) = resolve_layers(network, ["mix"], "tokens", size)
    assert (layer.shape, layer.axes, layer.field) == ((5, size[0] // 8, size[1] // 8), "ntu", None)
    assert layer.tokens == ((extra, extra + size[0] * size[1] // 64),)
    images = torch.rand(2, 3, *size)
    (patches,), (output,) = outputs(network, "patches", images), outputs(network, "mix", images)
    assert torch.equal(layer_maps(output, layer), patches)


def test_tokens_that_can_be_followed_keep_their_field() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 8, 8), Lambda(lambda x: x.flatten(2).mT), nn.Linear(5, 6)).eval()
    (layer,) = resolve_layers(network, ["2"], "tokens", (48, 80))
    assert (layer.shape, layer.axes, layer.tokens) == ((6, 6, 10), "ntu", ((0, 60),))
    (output,) = outputs(network, "2", torch.rand(2, 3, 48, 80))
    assert isinstance(output, Tensor)
    assert torch.equal(layer_maps(output, layer).flatten(2).mT, output)


def test_a_vision_transformer_has_maps() -> None:
    (layer,) = resolve_layers(torchvision("vit_b_16"), ["encoder.layers.encoder_layer_3"], "vit")
    assert layer.shape == (768, 14, 14)
    output = torch.rand(2, 197, 768)
    maps = layer_maps(output, layer)
    assert torch.equal(maps[1, :, 2, 5], output[1, 1 + 2 * 14 + 5])


@pytest.mark.parametrize("size", [(64, 64), (64, 96)], ids=str)
def test_channels_last_are_told_by_the_trace(size: tuple[int, int]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 4, 4), Lambda(lambda x: x.permute(0, 2, 3, 1))).eval()
    (layer,) = resolve_layers(network, ["1"], "last", size)
    assert (layer.shape, layer.axes) == ((6, size[0] // 4, size[1] // 4), "nhwu")
    assert layer.field == (Field(0, 4, 4), Field(0, 4, 4))
    (output,) = outputs(network, "1", torch.rand(2, 3, *size))
    assert torch.equal(layer_maps(output, layer), outputs(network, "0", torch.rand(2, 3, *size))[0]) is False
    assert isinstance(output, Tensor)
    assert torch.equal(layer_maps(output, layer), output.permute(0, 3, 1, 2))


@pytest.mark.parametrize("size", [(224, 224), (96, 192)], ids=str)
def test_channels_last_are_told_through_windows(size: tuple[int, int]) -> None:
    (layer,) = resolve_layers(torchvision("swin_t"), ["features.3"], "swin_t", size)
    assert (layer.shape, layer.axes, layer.field) == ((192, size[0] // 8, size[1] // 8), "nhwu", None)


def test_an_output_of_another_shape_is_an_error() -> None:
    layer = Layer("conv", "conv", "Conv2d", (4, 5, 6), None)
    assert layer_maps(torch.zeros(2, 4, 5, 6), layer).shape == (2, 4, 5, 6)
    for output, said in ((torch.zeros(2, 4, 5, 7), "2x4x5x7"), (torch.zeros(2, 4), "2x4 "), ({}, "no such tensor")):
        with pytest.raises(ModelError, match=f"Layer conv put out {said}"):
            layer_maps(output, layer)
    tokens = Layer("t", "t", "Linear", (4, 5, 6), None, axes="ntu", tokens=((0, 30),))
    with pytest.raises(ModelError, match="Layer t put out 2x7x4"):
        layer_maps(torch.zeros(2, 7, 4), tokens)


def test_the_list_of_layers() -> None:
    rows = list_layers(small(), SIZE)
    assert [(row.layer, row.kind, row.shape) for row in rows] == [
        ("0", "Conv2d", (4, 64, 48)),
        ("1", "ReLU", (4, 64, 48)),
        ("2", "MaxPool2d", (4, 32, 24)),
        ("3", "Conv2d", (5, 30, 22)),
        ("4", "ReLU", (5, 30, 22)),
        ("5", "AdaptiveAvgPool2d", (5, 1, 1)),
        ("6", "Flatten", (5, 1, 1)),
        ("7", "Linear", (7, 1, 1)),
    ]
    assert rows[3].record() == {
        "layer": "3",
        "alias": "",
        "kind": "Conv2d",
        "shape": [5, 30, 22],
        "field": [[-1, 8, 2], [-1, 8, 2]],
        "calls": 1,
        "axes": "nuhw",
        "tokens": [],
    }
    assert rows[7].record()["field"] is None
    aliases = {row.layer: row.alias for row in list_layers(torchvision("vgg16", init_weights=False), (64, 64))}
    assert (aliases["features.29"], aliases["features.28"]) == ("conv5_3", "")


def test_nothing_to_list_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"vit has no layers at an input of 64x48 \(AssertionError: "):
        list_layers(torchvision("vit_b_32"), SIZE, "vit")
