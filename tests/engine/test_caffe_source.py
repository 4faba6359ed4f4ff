"""``--model net.prototxt`` with every kind of ``--weights``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from caffefiles import blobs_of, caffemodel_bytes, prototxt_text
from safetensors.torch import save_file
from test_caffe_network import alexnet, conv, layer, relu

from ndengine.errors import ModelError
from ndengine.models import list_layers
from ndengine.models.caffe.definition import CaffeDefinition
from ndengine.models.caffe.network import CaffeNetwork, build_network
from ndengine.models.caffe.source import MEAN_BGR
from ndengine.models.download import hash_file
from ndengine.models.registry import LoadedModel, load_model
from ndengine.models.weights import hash_state

SMALL = CaffeDefinition(
    "small",
    {"data": (1, 3, 20, 24)},
    (
        *(conv("conv1", "data", 4, 3), relu("1", "conv1"), layer("odd", "Normalize", "conv1")),
        *(layer("bn", "BatchNorm", "conv1"), conv("head", "bn", 2, 18), layer("end", "Softmax", "head")),
    ),
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A prototxt and its caffemodel."""
    source = build_network(SMALL, random=True)
    for tensor in source.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) + 0.5)
    prototxt, model = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    prototxt.write_text(prototxt_text(SMALL))
    model.write_bytes(caffemodel_bytes(SMALL, blobs_of(source)))
    torch.save(source.state_dict(), tmp_path / "net.pth")
    save_file(source.state_dict(), tmp_path / "net.safetensors")
    return prototxt, model


def load(model: Path | str, weights: Path | str, *layers: str, size: tuple[int, int] | None = None) -> LoadedModel:
    return load_model(str(model), str(weights), layers, size=size, usual_size=(64, 64), cache=Path())


@pytest.mark.parametrize("suffix", [".caffemodel", ".pth", ".safetensors"])
def test_a_caffemodel_and_a_state_dict_give_the_same_network(files: tuple[Path, Path], suffix: str) -> None:
    weights = files[1].with_suffix(suffix)
    found = load(files[0], weights)
    assert isinstance(found.module, CaffeNetwork)
    assert [(layer.name, layer.path, layer.shape) for layer in found.layers] == [("conv1", "relu1", (4, 18, 22))]
    assert found.default_layers == ("conv1",)  # what a ReLU leaves
    assert (found.size, found.input_size) == ((20, 24), (20, 24))  # not the dataset's
    assert (found.weights, found.weights_sha256) == (str(weights), hash_file(weights))
    assert found.file_sha256 == hash_file(files[0])
    expected = torch.load(files[0].with_suffix(".pth"))
    for name, tensor in found.module.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=0)
    preprocessing = found.preprocessing
    assert (preprocessing.mean, preprocessing.std) == (MEAN_BGR, (1.0, 1.0, 1.0))
    assert (preprocessing.channels, preprocessing.scale) == ("bgr", 255.0)
    assert "does not say which mean" in preprocessing.note


def test_another_size_is_taken_where_it_is_asked_for(files: tuple[Path, Path]) -> None:
    assert load(files[0], files[1], "conv1", size=(30, 40)).layers[0].shape == (4, 28, 38)


def test_random_weights_follow_the_seed(files: tuple[Path, Path]) -> None:
    first, other = (load_model(str(files[0]), "random", ["conv1"], seed=seed, cache=Path()) for seed in (0, 1))
    assert first.weights == "random, seed 0"
    assert hash_state(first.module) == first.weights_sha256 != other.weights_sha256
    assert torch.equal(first.module.state_dict()["conv1.bias"], torch.zeros(4))
    assert float(first.module.state_dict()["conv1.weight"].std()) == pytest.approx((2 / 27) ** 0.5, rel=0.3)


def test_a_prototxt_has_no_weights_of_its_own(files: tuple[Path, Path]) -> None:
    with pytest.raises(ModelError, match=r"net\.prototxt has no weights of its own; give --weights FILE\.caffemodel"):
        load(files[0], "default")


def test_a_caffemodel_is_for_caffe_networks(files: tuple[Path, Path]) -> None:
    for model in ("alexnet", "scenesnet"):
        with pytest.raises(ModelError, match=rf"net\.caffemodel holds a Caffe network's weights and {model} is none"):
            load(model, files[1])


def test_the_mean_of_a_prototxt_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "Net.PROTOTXT.txt"
    path.write_text(
        """
        layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
                transform_param { crop_size: 24 mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5 } }
        layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
                convolution_param { num_output: 4 kernel_size: 3 } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv1" bottom: "label" top: "loss" }
        """
    )
    found = load(path, "random")
    assert (found.preprocessing.mean, found.preprocessing.std) == ((104.0, 117.0, 123.0), (2.0, 2.0, 2.0))
    assert (found.preprocessing.channels, found.preprocessing.scale, found.preprocessing.note) == ("bgr", 255.0, "")
    assert found.input_size == (24, 24)
    assert [layer.name for layer in found.layers] == ["conv1"]


@pytest.mark.parametrize(
    "data",
    [
        'type: "Data" transform_param { crop_size: 24 mean_file: "mean.binaryproto" }',
        'type: "Data" data_param { crop_size: 24 mean_file: "mean.binaryproto" }',
    ],
)
def test_a_file_of_the_mean_is_not_read_and_that_is_said(data: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    convolution = 'type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 }'
    path.write_text(f'layer {{ name: "d" top: "data" {data} }} layer {{ name: "c" {convolution} }}')
    found = load(path, "random").preprocessing
    assert found.mean == MEAN_BGR
    assert found.note.startswith("The prototxt names mean.binaryproto for the mean")
    assert "that file is not read" in found.note
    assert "give --mean" in found.note


def test_weights_need_to_fit_up_to_the_layer_alone(files: tuple[Path, Path], tmp_path: Path) -> None:
    blobs = blobs_of(build_network(SMALL, random=True))
    del blobs["head"]
    path = tmp_path / "part.caffemodel"
    path.write_bytes(caffemodel_bytes(SMALL, blobs))
    assert load(files[0], path, "bn").layers[0].name == "bn"
    with pytest.raises(
        ModelError, match=r"part\.caffemodel does not fit head of .*: it lacks head\.weight, head\.bias"
    ):
        load(files[0], path, "head")
    blobs["conv1"] = [blobs["conv1"][0][:, :2], blobs["conv1"][1]]
    path.write_bytes(caffemodel_bytes(SMALL, blobs))
    with pytest.raises(ModelError, match=r"conv1\.weight \[4, 2, 3, 3\] instead of \[4, 3, 3, 3\]"):
        load(files[0], path, "bn")
    blobs["conv1"] = [blobs["bn"][0]] * 3
    path.write_bytes(caffemodel_bytes(SMALL, blobs))
    with pytest.raises(ModelError, match=r"conv1\.weight \[4\] instead of"):
        load(files[0], path, "bn")
    other = tmp_path / "other.caffemodel"
    other.write_bytes(caffemodel_bytes(alexnet(), {"conv2": blobs["bn"]}))
    with pytest.raises(ModelError, match=r"it has conv2\.blobs, the network conv1\.weight"):
        load(files[0], other, "bn")


def test_more_blobs_than_a_layer_has_are_another_networks(files: tuple[Path, Path], tmp_path: Path) -> None:
    blobs = blobs_of(build_network(SMALL, random=True))
    blobs["conv1"].append(blobs["conv1"][1])
    path = tmp_path / "more.caffemodel"
    path.write_bytes(caffemodel_bytes(SMALL, blobs))
    with pytest.raises(ModelError, match=r"it also has conv1\.blob 2"):
        load(files[0], path, "bn")


def test_layers_of_a_prototxt_are_listed_without_weights(files: tuple[Path, Path]) -> None:
    rows = {row["layer"]: row for row in list_layers(str(files[0]))}
    assert list(rows) == ["relu1", "bn", "head", "end"]
    assert rows["relu1"]["alias"] == "conv1"
    assert rows["relu1"]["kind"] == "ReLU"
    assert rows["relu1"]["field"] == [[0, 3, 1], [0, 3, 1]]
    with pytest.raises(ModelError, match=r"Layer odd of .*net\.prototxt depends on layer odd of type Normalize"):
        load(files[0], files[1], "odd")


def test_a_prototxt_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.prototxt can't be read"):
        load(tmp_path / "absent.prototxt", "random")
