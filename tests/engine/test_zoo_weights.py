"""Weights of the benchmark's networks: from caffemodels, from PyTorch's conversions, from the cache or a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from caffefiles import Style, blobs_of, caffemodel_bytes, calibrate, draw_images, prototxt_text, shrink
from torch import Tensor, nn

from ndengine.errors import ModelError
from ndengine.models import list_layers, registry
from ndengine.models.caffe.modules import InnerProduct
from ndengine.models.caffe.network import CaffeNetwork, build_network
from ndengine.models.caffe.prototxt import read_prototxt
from ndengine.models.download import hash_file
from ndengine.models.registry import load_model
from ndengine.models.source import Asked
from ndengine.models.zoo.build import build_row, name_by_position, refuse_strange_layers
from ndengine.models.zoo.fetch import get_weights
from ndengine.models.zoo.files import Edition, RemoteFile
from ndengine.models.zoo.resnet152 import resnet152, resnet152_torch
from ndengine.models.zoo.row import Row
from ndengine.models.zoo.rows import known_row
from ndengine.progress import SILENT

CONV, RELU, POOL, NORM, BN, HALF = "conv", "relu", "pool", "norm", "bn", "half"
PLAIN = [CONV, RELU, POOL, NORM, CONV, RELU, POOL, NORM, CONV, RELU, CONV, RELU, CONV, RELU, POOL]
NORMED = [CONV, BN, RELU, POOL, NORM] * 2 + [CONV, BN, RELU] * 3 + [POOL]
CONVERTED = {  # the orders of the published conversions, layer by layer, and where their conv5 ends
    "audio": (NORMED, 18),
    "context": (PLAIN, 13),
    "egomotion": (
        [CONV, RELU, POOL, BN, NORM, CONV, RELU, POOL, NORM, BN, *[CONV, RELU, BN] * 2, CONV, RELU, POOL, BN, HALF],
        17,
    ),
    "frameorder": ([*PLAIN[:8], *[CONV, BN, RELU] * 3, POOL], 16),
    "moving": (PLAIN, 13),
    "objectcentric": (PLAIN, 13),
    "puzzle": (PLAIN, 13),
    "tracking": (PLAIN, 13),
}


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def converted(name: str) -> nn.Sequential:
    """What the conversion of a self-supervised AlexNet is, in PyTorch's own layers."""
    groups, pad = (1, 5) if name == "context" else (2, 0)
    convolutions = iter(
        (
            nn.Conv2d(3, 96, 11, 4, pad),
            nn.Conv2d(96, 256, 5, padding=2, groups=groups),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.Conv2d(384, 384, 3, padding=1, groups=groups),
            nn.Conv2d(384, 256, 3, padding=1, groups=groups),
        )
    )
    layers: list[nn.Module] = []
    channels = 0
    for kind in CONVERTED[name][0]:
        if kind == CONV:
            layers.append(next(convolutions))
            channels = int(layers[-1].out_channels)
        elif kind == BN:
            layers.append(nn.BatchNorm2d(channels, affine=False))
        else:
            made = {RELU: nn.ReLU(), POOL: nn.MaxPool2d(3, 2, ceil_mode=True), HALF: Half()}
            layers.append(made.get(kind) or nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0))
    return nn.Sequential(*layers)


@pytest.mark.parametrize("name", CONVERTED)
def test_a_conversion_computes_what_it_does_in_pytorch(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    features = converted(name)
    images = 60 * torch.randn(2, 3, 227, 227)
    features.train()(images)  # batch norm gets statistics of its own
    file = tmp_path / "net.pt"
    torch.save({f"features.{key}": tensor for key, tensor in features.state_dict().items()}, file)
    model = load_model(name, str(file), cache=tmp_path)
    assert (model.weights, model.weights_sha256) == (str(file), hash_file(file))
    (layer,) = model.layers
    found: list[Tensor] = []
    model.module.get_submodule(layer.path).register_forward_hook(lambda part, given, out: found.append(out.clone()))
    with torch.inference_mode():
        model.module(images)
        expected = features.eval()[: CONVERTED[name][1] + 1](images)
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_fully_connected_layers_of_a_conversion_are_counted_on(tmp_path: Path) -> None:
    """``classifier.0`` is the first of them, whatever lies in front."""
    definition = shrink(known_row("objectcentric").definition(), 8)
    network = build_network(definition, random=True)
    fully = {"classifier.0": "fc6", "classifier.2": "fc7"}
    state = {
        f"{ours}.{end}": network.state_dict()[f"{path}.{end}"]
        for ours, path in fully.items()
        for end in ("weight", "bias")
    }
    assert name_by_position(state, network).keys() == {"fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias"}
    assert name_by_position({"features.99.weight": torch.zeros(1)}, network).keys() == {"features.99.weight"}
    assert name_by_position({"conv1.weight": torch.zeros(1)}, network).keys() == {"conv1.weight"}


def test_a_conversion_of_another_network_is_refused(tmp_path: Path) -> None:
    state = {f"features.{key}": tensor for key, tensor in converted("context").state_dict().items()}
    torch.save(state, tmp_path / "context.pt")
    with pytest.raises(
        ModelError, match=r"context.pt does not fit conv5 of tracking: .*conv2.weight \[256, 96, 5, 5\]"
    ):
        load_model("tracking", str(tmp_path / "context.pt"), cache=tmp_path)
    with pytest.raises(ModelError, match=r"context.pt does not fit conv5 of audio: it lacks bn1.running_mean"):
        load_model("audio", str(tmp_path / "context.pt"), cache=tmp_path)


def write_caffe(row: Row, weights: Path, prototxt: Path | None = None, seed: int = 0) -> CaffeNetwork:
    """A caffemodel of a row as Caffe writes it, its classifier made small; and the network that is in it."""
    definition = shrink(row.definition(), 8)
    network = build_network(definition, random=False)
    calibrate(network, seed, draw_images(definition, seed, 2))
    weights.parent.mkdir(exist_ok=True, parents=True)
    weights.write_bytes(caffemodel_bytes(definition, blobs_of(network)))
    if prototxt is not None:
        prototxt.write_text(prototxt_text(replace(definition, name="as published"), Style(inputs="input_dim")))
    return network


def same_weights(found: nn.Module, expected: nn.Module, until: str) -> bool:
    """Whether all of a network's tensors but the classifier's are the other's, those of a layer among them."""
    ours, theirs = found.state_dict(), expected.state_dict()
    names = [name for name in theirs if not isinstance(expected.get_submodule(name.rpartition(".")[0]), InnerProduct)]
    assert any(name.startswith(until) for name in names)
    return all(torch.allclose(ours[name], theirs[name], rtol=1e-6) for name in names if "bn6" not in name)


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("alexnet-places205", "conv5"),
        ("alexnet-places205-bn", "conv5"),
        ("alexnet-places365-gap-wide", "conv5"),
        ("crosschannel", "conv5"),
        ("colorization", "conv5"),
        ("egomotion", "cls_conv5"),
        pytest.param("googlenet-imagenet", "inception_5b/5x5", marks=pytest.mark.slow),
        pytest.param("vgg16-hybrid", "conv5_3", marks=pytest.mark.slow),
        pytest.param("resnet152-imagenet", "caffe_SpatialConvolution_508", marks=pytest.mark.slow),
    ],
)
def test_a_caffemodel_is_taken_by_a_row(name: str, last: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.caffemodel"
    expected = write_caffe(known_row(name), file)
    model = load_model(name, str(file), cache=tmp_path / "cache")
    assert same_weights(model.module, expected, last)
    assert (model.weights, model.weights_sha256) == (f"{file} with ndengine's definition", hash_file(file))
    assert not (tmp_path / "cache").exists()


def test_a_caffemodel_of_another_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.caffemodel"
    write_caffe(known_row("alexnet-places205-bn"), file)
    with pytest.raises(
        ModelError, match=r"net.caffemodel has layers that .* of alexnet-places205 lacks \(bn1, scale1, bn2"
    ):
        load_model("alexnet-places205", str(file), cache=tmp_path)
    write_caffe(known_row("crosschannel"), file)
    with pytest.raises(ModelError, match=r"of colorization lacks \(data_lab\); put its prototxt beside it"):
        load_model("colorization", str(file), cache=tmp_path)
    write_caffe(known_row("alexnet-places205"), file)
    with pytest.raises(
        ModelError, match=r"net.caffemodel with ndengine's definition does not fit .*: it lacks bn1.runn"
    ):
        load_model("alexnet-places205-bn", str(file), cache=tmp_path)
    with pytest.raises(ModelError, match=r"definition of vgg16-imagenet lacks \(conv1, conv2, conv3 and 2 more\)"):
        load_model("vgg16-imagenet", str(file), cache=tmp_path)


def test_auxiliary_classifiers_in_a_file_do_no_harm() -> None:
    network = build_network(known_row("googlenet-imagenet").definition(), random=False)
    blobs = {name: [torch.zeros(4, 3, 1, 1)] for name in ("conv1/7x7_s2", "loss1/conv", "inception_5b/1x1", "more")}
    refuse_strange_layers(blobs, network, "googlenet", "net.caffemodel")
    with pytest.raises(ModelError, match=r"lacks \(norm\)"):
        refuse_strange_layers({**blobs, "norm": [torch.zeros(4)], "conv2/3x3": blobs["more"]}, network, "", "")


@pytest.mark.parametrize("prototxt", ["net.prototxt", "deploy_net.prototxt"])
def test_a_prototxt_beside_a_caffemodel_decides(prototxt: str, tmp_path: Path) -> None:
    expected = write_caffe(known_row("alexnet-places205"), tmp_path / "net.caffemodel", tmp_path / prototxt)
    model = load_model("alexnet-places205", str(tmp_path / "net.caffemodel"), cache=tmp_path)
    assert isinstance(model.module, CaffeNetwork)
    assert model.module.definition.name == "as published"
    assert model.weights == f"{tmp_path / 'net.caffemodel'} with {prototxt}"
    assert model.file_sha256 == hash_file(tmp_path / prototxt)
    assert same_weights(model.module, expected, "conv5")
    assert model.module.state_dict()["fc8.weight"].shape == (8, 8)


def test_weights_in_the_cache_folder_are_the_default_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("a download"))
    row = known_row("alexnet-places365")
    file = tmp_path / "weights" / "alexnet_places365.caffemodel"  # of the Places365 release
    expected = write_caffe(row, file, file.with_name("deploy_alexnet_places365.prototxt"))
    model = load_model(row.name, cache=tmp_path)
    assert same_weights(model.module, expected, "conv5")
    assert (model.weights, model.weights_sha256) == (
        f"{file} with deploy_alexnet_places365.prototxt",
        hash_file(file),
    )
    preferred = write_caffe(row, tmp_path / "weights" / "caffe_reference_places365.caffemodel", seed=1)
    assert same_weights(load_model(row.name, cache=tmp_path).module, preferred, "conv5")


def test_layers_are_listed_as_the_weights_in_the_cache_folder_call_them(tmp_path: Path) -> None:
    row = known_row("resnet152-places365")
    assert {edition.naming for edition in row.editions} == {"torch", "caffe"}

    def listed(cache: Path) -> set[str]:
        return {
            name for found in list_layers(row.name, (64, 64), cache=cache) for name in (found["layer"], found["alias"])
        }

    own = listed(tmp_path)
    for edition in row.editions:
        file = tmp_path / edition.origin / "weights" / edition.weights.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()  # listing reads no weights
        known = {name for layer in row.definition(edition.naming).layers for name in (*layer.tops, layer.name)}
        found = listed(file.parent.parent)
        assert found - {""} <= known | {name.replace(".", "_") for name in known}
        assert (found == own) == (edition.naming == row.editions[0].naming)
    prototxt = tmp_path / "x" / "weights" / f"deploy_{Path(row.editions[0].weights.name).stem}.prototxt"
    write_caffe(known_row("alexnet-places205"), prototxt.with_name(row.editions[0].weights.name), prototxt)
    assert "conv5" in listed(tmp_path / "x")


def test_a_network_that_was_never_trained_takes_a_file_if_there_is_one(tmp_path: Path) -> None:
    drawn = load_model("alexnet-random", cache=tmp_path)
    expected = write_caffe(known_row("alexnet-random"), tmp_path / "weights" / "caffenet_random.caffemodel")
    found = load_model("alexnet-random", cache=tmp_path)
    assert same_weights(found.module, expected, "conv5")
    assert load_model("alexnet-random", "random", cache=tmp_path).weights_sha256 == drawn.weights_sha256


def test_rotated_rows_have_the_weights_of_the_plain_one(tmp_path: Path) -> None:
    write_caffe(known_row("alexnet-places205"), tmp_path / "weights" / "caffe_reference_places205.caffemodel")
    plain, rotated = (load_model(f"alexnet-places205{end}", cache=tmp_path) for end in ("", "-rotated-060"))
    assert plain.weights_sha256 == rotated.weights_sha256
    assert same_weights(plain.module, rotated.module, "conv5")


def test_a_resnets_file_says_which_version_it_is() -> None:
    row = known_row("resnet152-places365")
    for define in (resnet152, resnet152_torch):
        names = [layer.name for layer in define(365).layers if layer.kind == "Convolution"]
        blobs = {name: [torch.zeros(1, 1, 1, 1)] for name in names}
        built = build_row(row, Asked("some.caffemodel", blobs=blobs), 0, Path("nowhere"), SILENT)
        assert isinstance(built.module, CaffeNetwork)
        assert built.module.definition.name == define(365).name
        state = {f"module.{name.replace('.', '_')}.weight": torch.zeros(1) for name in names}
        built = build_row(row, Asked("some.pth", state), 0, Path("nowhere"), SILENT)
        assert isinstance(built.module, CaffeNetwork)
        assert built.module.definition.name == define(365).name


def test_weights_that_were_never_published_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError,
        match=r"alexnet-hybrid were never published; put yours into .* with --weights FILE, or --weights random",
    ):
        load_model("alexnet-hybrid", cache=tmp_path)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A server on this machine: its URL, and the folder whose files it gives."""
    folder = tmp_path / "server"
    folder.mkdir()
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *a: None)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
        thread.join()


def published_at(url: str, row: Row, *names: str) -> Row:
    files = [RemoteFile(name, (f"{url}/gone/{name}", f"{url}/{name}")) for name in names]
    return replace(row, editions=(Edition(files[0], files[1] if files[1:] else None, "this test"),))


def test_published_weights_are_fetched_with_their_prototxt(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = server
    row = known_row("alexnet-places205")
    expected = write_caffe(row, folder / "net.caffemodel", folder / "net.prototxt")
    there = published_at(url, row, "net.caffemodel", "net.prototxt")
    monkeypatch.setattr(registry, "find_row", lambda name: there)
    model = load_model(row.name, cache=tmp_path / "cache")
    assert same_weights(model.module, expected, "conv5")
    assert model.weights == f"{tmp_path / 'cache' / 'weights' / 'net.caffemodel'} with net.prototxt"
    for file in folder.iterdir():
        file.unlink()
    assert load_model(row.name, cache=tmp_path / "cache").weights_sha256 == model.weights_sha256


def test_a_file_that_is_not_what_its_name_says_is_fetched_again(server: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = server
    (folder / "new").write_bytes(b"weights")
    name = f"net-{hash_file(folder / 'new')[:8]}.pt"
    (folder / "new").rename(folder / name)
    row = published_at(url, known_row("audio"), name)
    spoilt = tmp_path / "weights" / name
    spoilt.parent.mkdir()
    spoilt.write_bytes(b"weigh")
    found = get_weights(row, tmp_path)
    assert (found.weights, found.weights.read_bytes(), found.prototxt) == (spoilt, b"weights", None)


BN_TEXT = """
name: "with BN"
input: "data" input_dim: 1 input_dim: 3 input_dim: 5 input_dim: 4
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "bn" type: "BN" bottom: "conv" top: "bn"
  bn_param { slope_filler { type: "constant" } bias_filler { } eps: 0.001 momentum: 0.9 frozen: true } }
"""


def test_batch_norm_in_one_layer(tmp_path: Path) -> None:
    """The BN of Caffe's forks: factor, offset, mean and variance, each as one row of a matrix in the file."""
    draw = np.random.default_rng(0)
    blobs = [draw.uniform(0.5, 2, (1, 4)).astype(np.float32) for _ in range(4)]
    convolution = [draw.normal(size=(4, 3, 1, 1)).astype(np.float32), np.zeros(4, np.float32)]
    (tmp_path / "net.prototxt").write_text(BN_TEXT)
    definition = read_prototxt(tmp_path / "net.prototxt").definition
    file = tmp_path / "net.caffemodel"
    file.write_bytes(caffemodel_bytes(definition, {"conv": convolution, "bn": blobs}))
    model = load_model(str(tmp_path / "net.prototxt"), str(file), ["bn"], cache=tmp_path)
    images = torch.randn(2, 3, 5, 4)
    before = np.einsum("uc,nchw->nuhw", convolution[0][:, :, 0, 0], images.numpy())
    factor, offset, mean, variance = (blob.reshape(1, 4, 1, 1) for blob in blobs)
    expected = (before - mean) / np.sqrt(variance + 0.001) * factor + offset
    with torch.inference_mode():
        np.testing.assert_allclose(model.module(images).numpy(), expected, rtol=1e-4, atol=1e-5)
    random = load_model(str(tmp_path / "net.prototxt"), "random", ["bn"], cache=tmp_path).module
    assert isinstance(random, CaffeNetwork)
    assert torch.equal(random.state_dict()["bn.weight"], torch.ones(4))
