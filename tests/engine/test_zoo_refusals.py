"""Files of other networks than the one that was named: they are refused, or told of."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from caffefiles import caffemodel_bytes, prototxt_text, shrink
from safetensors.torch import save_file
from test_zoo_weights import CONVERTED, write_caffe

from ndengine.errors import ModelError
from ndengine.models.caffe.definition import CaffeDefinition, CaffeLayer
from ndengine.models.caffe.network import build_network
from ndengine.models.registry import load_model
from ndengine.models.weights import strange_layers
from ndengine.models.zoo.rows import known_row, rows


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_state_dict_of_another_network_is_refused(suffix: str, tmp_path: Path) -> None:
    """Its batch norms stand beside the convolutions, so that all tensors of the plain network are there."""
    file, prototxt = tmp_path / f"net{suffix}", tmp_path / "net.prototxt"
    normed = build_network(shrink(known_row("alexnet-places205-bn").definition(), 8), random=True).state_dict()
    plain = shrink(known_row("alexnet-places205").definition(), 8)
    prototxt.write_text(prototxt_text(plain))
    save = torch.save if suffix == ".pth" else save_file
    layers = {"": (("conv1",), ("conv5",), ()), "fc": ((), ("conv5",))}
    for ending, asked in layers.items():
        save({key: t for key, t in normed.items() if not ending or not key.startswith(ending)}, file)
        for model in ("alexnet-places205", str(prototxt)):
            for names in asked:
                with pytest.raises(ModelError, match=r"does not fit .*it also has bn1, .*no place"):
                    load_model(model, str(file), names or ("conv5",), cache=tmp_path)
    save(build_network(plain, random=True).state_dict(), file)
    load_model(str(prototxt), str(file), ("conv5",), cache=tmp_path)


def test_what_a_state_dict_has_beside_the_way_does_no_harm() -> None:
    filters, channels = [torch.zeros(4, 3, 1, 1), torch.zeros(4)], [torch.zeros(4), torch.zeros(4)]
    known = ["conv1", "conv2", "conv3"]
    file = {"conv1": filters, "aux": filters, "conv2": filters, "bn2": channels, "conv3": filters, "bn3": channels}
    assert strange_layers(file, known) == ["bn2"]
    assert strange_layers(file, known, {"conv1"}) == []
    assert strange_layers(file, known, {"conv1", "conv2"}) == ["bn2"]
    assert strange_layers(file, known, set(known)) == ["bn2", "bn3"]
    assert strange_layers({"data": filters, **file}, known, {"conv1"}) == ["data"]
    assert strange_layers({"data": filters, **dict(reversed(file.items()))}, known) == ["bn3", "bn2"]  # by the alphabet
    assert strange_layers({"other": filters}, known) == []


def test_names_by_position_are_those_of_conversions_alone(tmp_path: Path) -> None:
    """torchvision's VGG16 has the shapes of Caffe's, and gets other images."""
    state = {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)}
    torch.save(state, tmp_path / "vgg16.pth")
    with pytest.raises(
        ModelError, match=r"vgg16.pth names its layers by position \(features.0.weight\), .* other ones than vgg16-imag"
    ):
        load_model("vgg16-imagenet", str(tmp_path / "vgg16.pth"), cache=tmp_path)
    assert {row.name for row in rows() if any(edition.is_converted for edition in row.editions)} == CONVERTED.keys()


def test_names_of_a_file_are_printed_without_what_disturbs_a_terminal(tmp_path: Path) -> None:
    evil = "\x1b[31mevil\nError: " + "x" * 500
    definition = CaffeDefinition("net", {}, (CaffeLayer(evil, "Scale", (), ()), CaffeLayer("conv1", "Scale", (), ())))
    blobs = {evil: [np.zeros(3, np.float32)], "conv1": [np.zeros(3, np.float32)]}
    (tmp_path / "net.caffemodel").write_bytes(caffemodel_bytes(definition, blobs))
    torch.save({f"{evil}.weight": torch.zeros(3), "more": torch.zeros(1)}, tmp_path / "net.pth")
    for name, why in (("net.caffemodel", "has layers that"), ("net.pth", "does not fit")):
        with pytest.raises(ModelError, match=why) as caught:
            load_model("alexnet-places205", str(tmp_path / name), cache=tmp_path)
        assert str(caught.value).isprintable()
        assert "31mevil" in str(caught.value)
        assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("transform", "note"),
    [
        (
            "mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5",
            "another mean (104, 117, 123) and a factor (0.5)",
        ),
        ("mean_value: 109.54 mean_value: 118.69 mean_value: 124.69", ""),
        ("mean_file: 'mean.binaryproto'", "a file with the mean (mean.binaryproto)"),
        ("", ""),
    ],
)
def test_a_prototxt_with_another_mean_is_told_of(transform: str, note: str, tmp_path: Path) -> None:
    """The row's mean is kept, for with it the published figures were counted."""
    write_caffe(known_row("alexnet-places205"), tmp_path / "net.caffemodel", tmp_path / "net.prototxt")
    text = (tmp_path / "net.prototxt").read_text()
    data = f"layer {{ name: 'd' type: 'Data' top: 'images' transform_param {{ {transform} }} }}\n"
    (tmp_path / "net.prototxt").write_text(text + data)
    found = load_model("alexnet-places205", str(tmp_path / "net.caffemodel"), cache=tmp_path).preprocessing
    assert (found.mean, found.std) == ((109.5388, 118.6897, 124.6901), (1, 1, 1))
    assert (
        (f"names {note} for the images; those of alexnet-places205 are kept" in found.note) if note else not found.note
    )


def test_a_prototxt_with_another_size_is_told_of(tmp_path: Path) -> None:
    """It decides, for a network's fully connected layers are made for one size."""
    write_caffe(known_row("alexnet-places205"), tmp_path / "net.caffemodel", tmp_path / "net.prototxt")
    text = (tmp_path / "net.prototxt").read_text()
    load = partial(load_model, "alexnet-places205", str(tmp_path / "net.caffemodel"), ("conv5",), cache=tmp_path)
    assert not load().preprocessing.note
    (tmp_path / "net.prototxt").write_text(text.replace("227", "224"))
    found = load()
    assert found.input_size == (224, 224)
    assert "takes images of 224x224 where alexnet-places205 takes 227x227" in found.preprocessing.note
    assert "give --size 227" in found.preprocessing.note


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base_lr: 1", "holds the settings of a training"),
        ("layer {", "can't be read at line 1"),
        ("input: 'data' input_dim: [1, 3, 8, 8] layer { name: 'a' type: 'Convolution' bottom: 'x' top: 'a' }", "a"),
    ],
)
def test_a_prototxt_beside_the_weights_that_is_no_network(text: str, said: str, tmp_path: Path) -> None:
    """Whoever gave --model a name must hear of the file that was found beside the weights."""
    write_caffe(known_row("alexnet-places205"), tmp_path / "net.caffemodel")
    (tmp_path / "net.prototxt").write_text(text)
    with pytest.raises(ModelError) as error:
        load_model("alexnet-places205", str(tmp_path / "net.caffemodel"), ("conv5",), cache=tmp_path)
    told = str(error.value)
    assert said in told
    assert "net.prototxt" in told
    beside = f"lying beside {tmp_path / 'net.caffemodel'}, it decides what alexnet-places205 is"
    assert told.endswith(f"; {beside}: correct it, or put it elsewhere.")


def test_a_prototxt_of_another_network_beside_the_weights_is_named(tmp_path: Path) -> None:
    write_caffe(known_row("vgg16-places205"), tmp_path / "net.caffemodel", tmp_path / "net.prototxt")
    with pytest.raises(ModelError, match=f"has no layer 'conv5': .*`ndengine layers --model {tmp_path}/net.prototxt`"):
        load_model("alexnet-places205", str(tmp_path / "net.caffemodel"), ("conv5",), cache=tmp_path)
