"""The benchmark's networks as they run: layers, receptive fields and where those lie on Broden's label grid."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ndengine.datasets.scenes import write_scenes
from ndengine.dissect import dissect_network
from ndengine.errors import ModelError
from ndengine.models import list_layers
from ndengine.models.aliases import layer_aliases
from ndengine.models.caffe.network import CaffeNetwork, build_network
from ndengine.models.layers import Layer, resolve_layers
from ndengine.models.registry import load_model
from ndengine.models.trace import Trace, trace_model
from ndengine.models.zoo.row import Row
from ndengine.models.zoo.rows import known_row, rows
from ndengine.settings import Settings, knobs_of
from ndkernels.grid import Field, centres

ROWS = pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
LABELS = {227: 113, 224: 112}  # rows and columns of Broden's label maps by those of its images

# Receptive field, units, samples; the last two numbers are the first and the last centre in label pixels.
ALEXNET = {
    "conv1": (Field(0, 11, 4), 96, 55, 2, 110),
    "conv2": (Field(-16, 51, 8), 256, 27, 4, 108),
    "conv3": (Field(-32, 99, 16), 384, 13, 8, 104),
    "conv4": (Field(-48, 131, 16), 384, 13, 8, 104),
    "conv5": (Field(-64, 163, 16), 256, 13, 8, 104),
}
ALEXNETS = {**ALEXNET, "cls_conv5": ALEXNET["conv5"], "conv5_s1": ALEXNET["conv5"]}
OTHERS = {
    "conv3_3": (Field(-18, 40, 4), 256, 56, 1, 111),
    "conv4_3": (Field(-42, 92, 8), 512, 28, 2, 110),
    "conv5_3": (Field(-90, 196, 16), 512, 14, 4, 108),
    "conv2/norm2": (Field(-7, 19, 4), 192, 56, 1, 111),
    "inception_3b/output": (Field(-39, 91, 8), 480, 28, 3, 111),
    "inception_4e/output": (Field(-199, 427, 16), 832, 14, 7, 111),
    "inception_5b/output": (Field(-327, 715, 32), 1024, 7, 15, 111),
}
RESNETS = {
    "caffe": {
        "res3b7": (Field(-79, 163, 8), 512, 28, 1, 109),
        "res4b12": (Field(-287, 579, 16), 1024, 14, 1, 105),
        "res4b24": (Field(-479, 963, 16), 1024, 14, 1, 105),
        "res4b35": (Field(-655, 1315, 16), 1024, 14, 1, 105),
        "res5c": (Field(-751, 1507, 32), 2048, 7, 1, 97),
    },
    # A stage begins at its first block's 3x3 convolution, so that fields are narrower and lie elsewhere.
    "torch": {
        "res3b7": (Field(-77, 155, 8), 512, 28, 0, 108),
        "res4b12": (Field(-277, 555, 16), 1024, 14, 0, 104),
        "res4b24": (Field(-469, 939, 16), 1024, 14, 0, 104),
        "res4b35": (Field(-645, 1291, 16), 1024, 14, 0, 104),
        "res5c": (Field(-725, 1451, 32), 2048, 7, 0, 96),
    },
}


@lru_cache(maxsize=1)
def network(name: str, naming: str = "") -> tuple[CaffeNetwork, Trace]:
    """A row's network, and how it runs."""
    row = known_row(name)
    built = build_network(row.definition(naming), random=False)
    return built, trace_model(built, (row.size, row.size))


def layers(name: str, naming: str, *names: str) -> list[Layer]:
    """Layers of a row's network."""
    built, trace = network(name, naming)
    return resolve_layers(built, names, name, built.size, trace)


@ROWS
def test_published_figures_belong_to_every_name_of_their_layer(row: Row) -> None:
    """And to no other that ``ndengine layers`` knows: a blob's name is that of what its last layer leaves there."""
    for naming in row.definers:
        built, _ = network(row.name, naming)
        paths = {path: path for path, _ in built.named_modules() if path} | layer_aliases(built)
        found = {name for name in paths if row.published_at(name)}
        where = {paths[row.layers[-1]]} if row.published else set()
        assert found == {name for name, path in paths.items() if path in where}


@ROWS
def test_fields_and_their_centres_are_the_published_ones(row: Row) -> None:
    for naming in row.definers:
        built, trace = network(row.name, naming)
        assert (built.size, built.missing, trace.failure) == ((row.size, row.size), {}, "")
        expected = RESNETS[naming] if naming else ALEXNETS if row.size == 227 else OTHERS
        for name, layer in zip(row.layers, layers(row.name, naming, *row.layers), strict=True):
            if name == "conv6":
                continue  # of a network that was never published
            field, units, samples, first, last = expected[name]
            if row.name == "context":
                field, samples, first = Field(-69, 163, 16), 14, 6  # its conv1 is padded
                last = first + 8 * 13
            if row.name == "alexnet-places365-gap-wide" or row.name == "alexnet-places365-gapplus":
                units = 768
            assert layer.shape == (units, samples, samples)
            assert layer.field == (field, field)
            found = centres("receptive-field-floor", samples, LABELS[row.size], row.size, field)
            assert (found[0], found[-1]) == (first, last)
            assert len({after - before for before, after in pairwise(found)}) == 1


@pytest.mark.parametrize(
    ("name", "layer", "path"),
    [
        ("alexnet-places205", "conv5", "relu5"),
        ("alexnet-places205-bn", "conv1", "relu1"),
        ("vgg16-imagenet", "conv5_3", "relu5_3"),
        ("googlenet-imagenet", "inception_5b-output", "inception_5b/output"),
        ("egomotion", "conv5", "cls_relu5"),
        ("puzzle", "conv5", "relu5_s1"),
        ("resnet152-places365", "res5c", "caffe_ReLU_511"),
        ("resnet152-places365", "caffe.Eltwise_34", "caffe_ReLU_35"),
        ("resnet152-places365", "res2c", "caffe_ReLU_35"),
    ],
)
def test_a_layer_is_what_its_blob_holds_in_the_end(name: str, layer: str, path: str) -> None:
    (found,) = layers(name, "", layer)
    assert (found.name, found.path) == (layer, path)


def test_either_version_of_the_resnet_takes_the_names_of_both() -> None:
    for naming in ("caffe", "torch"):
        by_name = layers("resnet152-imagenet", naming, "res3b7", "res5c")
        by_number = layers("resnet152-imagenet", naming, "caffe.Eltwise_116", "caffe.Eltwise_510")
        assert [layer.path for layer in by_name] == [layer.path for layer in by_number]
        assert len(by_name) == 2


def test_layers_of_a_row_are_listed_under_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("a download"))
    found = {row["alias"]: row for row in list_layers("alexnet-places205")}
    assert found["conv5"]["shape"] == [256, 13, 13]
    assert found["conv5"]["field"] == [[-64, 163, 16], [-64, 163, 16]]


def test_a_row_brings_its_input_size_and_preprocessing(tmp_path: Path) -> None:
    model = load_model("alexnet-places205", "random", usual_size=(224, 224), seed=3, cache=tmp_path)
    assert (model.size, model.input_size) == ((227, 227), (227, 227))  # whatever the size of the dataset's images
    assert (model.weights, model.name) == ("random, seed 3", "alexnet-places205")
    own = model.preprocessing
    assert (own.mean, own.std, own.channels, own.scale) == ((109.5388, 118.6897, 124.6901), (1, 1, 1), "bgr", 255)
    assert own.note == ""
    assert (model.default_layers, [layer.name for layer in model.layers]) == (("conv5",), ["conv5"])
    assert load_model("vgg16-imagenet", "random", size=(64, 48), cache=tmp_path).input_size == (64, 48)
    assert not [path for path in tmp_path.iterdir() if path.name != "proofs"]


def test_rotated_rows_carry_their_rotation(tmp_path: Path) -> None:
    found = [load_model(f"alexnet-places205{end}", "random", cache=tmp_path) for end in ("", "-rotated-020")]
    assert [(model.rotate, model.rotate_seed) for model in found] == [(None, None), (0.2, 1)]
    assert found[0].weights_sha256 == found[1].weights_sha256


def test_a_network_that_was_never_trained_draws_its_weights(tmp_path: Path) -> None:
    first, again, other = (load_model("alexnet-random", "default", seed=seed, cache=tmp_path) for seed in (0, 0, 1))
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256
    assert (first.weights, other.weights) == ("random, seed 0", "random, seed 1")


@pytest.mark.parametrize(
    ("model", "close"),
    [("alexnet-place205", "alexnet-places205"), ("vgg16-places", "vgg16-places205"), ("colourization", "colorization")],
)
def test_unknown_models_name_rows_that_are_close(tmp_path: Path, model: str, close: str) -> None:
    with pytest.raises(ModelError, match=rf"There is no model '{model}': close names are .*{close}"):
        load_model(model, "random", cache=tmp_path)


def dissect(row: Row, tmp_path: Path, scenes: Path) -> None:
    settings = Settings(
        model=row.name,
        layers=row.layers,
        weights="random",
        data=str(scenes),
        knobs=knobs_of("netdissect", quantile="0.05"),  # of the few positions of four images
        min_images=0,
        threads=2,
        batch_size=4,
    )
    found = dissect_network(settings, tmp_path / "out", cache=tmp_path / "cache")
    assert tuple(found.layers) == row.layers
    for layer in found.layers.values():
        assert layer.geometry == "receptive-field-floor"
        assert layer.summary.units > layer.summary.dead
        assert layer.counts.unit_area_all.any()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of the built-in pictures."""
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(folder, images=4)
    return folder


QUICK = (
    "alexnet-places205",
    "alexnet-places365-gapplus",
    "googlenet-places365",
    "colorization",
    "egomotion",
    "context",
)


@pytest.mark.parametrize("name", QUICK)
def test_a_run_with_random_weights(name: str, tmp_path: Path, scenes: Path) -> None:
    dissect(known_row(name), tmp_path, scenes)


def test_a_rotated_row_is_the_plain_one_rotated(tmp_path: Path, scenes: Path) -> None:
    found = {}
    for name, rotate in (("alexnet-places205-rotated-080", None), ("alexnet-places205", 0.8), ("alexnet-places205", 0)):
        settings = Settings(
            model=name,
            layers=("conv5",),
            weights="random",
            data=str(scenes),
            knobs=knobs_of("netdissect", quantile="0.05"),
            min_images=0,
            rotate=rotate,
        )
        out = tmp_path / f"{name}-{rotate}"
        found[name, rotate] = dissect_network(settings, out, cache=tmp_path / "cache").layer().counts
    row, same, plain = found.values()
    assert np.array_equal(row.intersection, same.intersection)
    assert np.array_equal(row.threshold, same.threshold)
    assert not np.array_equal(row.threshold, plain.threshold)


SLOW = [row for row in rows() if row.name not in QUICK]


@pytest.mark.slow
@pytest.mark.parametrize("row", SLOW, ids=lambda row: row.name)
def test_a_run_of_every_row_with_random_weights(row: Row, tmp_path: Path, scenes: Path) -> None:
    dissect(row, tmp_path, scenes)
