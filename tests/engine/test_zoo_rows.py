"""The benchmark's rows as data: all of them, under their names, with what was published."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ndengine.errors import ModelError
from ndengine.models.caffe.definition import CaffeDefinition
from ndengine.models.zoo import alexnet
from ndengine.models.zoo.published import CATEGORIES, find_published
from ndengine.models.zoo.resnet152 import STAGES, block_names, resnet152_torch, sums
from ndengine.models.zoo.row import FAMILIES, Row
from ndengine.models.zoo.rows import ITERATIONS, find_row, known_row, rows

ROWS = pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)


def blobs(definition: CaffeDefinition) -> set[str]:
    return {top for layer in definition.layers for top in layer.tops}


def test_all_57_networks_have_a_row() -> None:
    count = {
        "alexnet": 13,
        "googlenet": 3,
        "vgg16": 4,
        "resnet152": 2,
        "self-supervised": 10,
        "rotated": 5,
        "iterations": 20,
    }
    assert Counter(row.family for row in rows()) == count
    assert tuple(count) == FAMILIES == tuple(dict.fromkeys(row.family for row in rows()))
    assert len({row.name for row in rows()}) == 57 == len(rows())
    assert find_row("alexnet-places205").name == "alexnet-places205"  # type: ignore[union-attr]
    assert find_row("alexnet") is None


def test_an_unknown_name_is_told_close_ones() -> None:
    assert known_row("audio") is find_row("audio")
    with pytest.raises(ModelError, match=r"no network 'vgg16-place205': close names are vgg16-places205, .*`ndengine"):
        known_row("vgg16-place205")
    with pytest.raises(ModelError, match="no name comes close"):
        known_row("qqq")


@ROWS
def test_a_definition_is_whole(row: Row) -> None:
    """Every blob is written before it is read, layers have names of their own, and the row's layers are there."""
    for naming in row.definers:
        definition = row.definition(naming)
        written = set(definition.inputs)
        for layer in definition.layers:
            assert written.issuperset(layer.bottoms), layer.name
            written.update(layer.tops)
        names = [layer.name for layer in definition.layers]
        assert len(set(names)) == len(names)
        assert written | definition.synonyms.keys() >= set(row.layers)
        assert written.issuperset(definition.synonyms.values())
        assert not written & definition.synonyms.keys()
    side = {"googlenet": 224, "vgg16": 224, "resnet152": 224}.get(row.family, 227)
    channels = 1 if row.name == "colorization" else 3
    assert row.definition().inputs == {"data": (1, channels, side, side)}
    assert row.size == side
    assert row.mean == (109.5388, 118.6897, 124.6901)


@ROWS
def test_a_row_says_where_its_weights_are(row: Row) -> None:
    files = [edition.weights for edition in row.editions]
    assert len({file.name for file in files}) == len(files)
    for file in (file for edition in row.editions for file in edition.files()):
        assert file.name.endswith((".caffemodel", ".prototxt", ".pt"))
        assert all(url.endswith(f"/{file.name}") or file.name in url or "deploy_" in url for url in file.urls)
    record = row.record(Path("nowhere"))
    assert record["weights_published"] is any(file.urls for file in files)
    assert record["weights_cached"] is None


def test_what_was_never_published_says_so() -> None:
    published = {row.name for row in rows() if row.is_published}
    kept = {f"alexnet-{name}" for name in ("imagenet", "places205", "places365")}
    kept |= {f"vgg16-{name}" for name in ("imagenet", "places205", "places365", "hybrid")}
    kept |= {f"googlenet-{name}" for name in ("imagenet", "places205", "places365")}
    kept |= {"resnet152-imagenet", "resnet152-places365"}
    kept |= {row.name for row in rows() if row.family in ("rotated", "self-supervised")}
    assert published == kept - {"colorization", "crosschannel"}
    reconstructed = {row.name for row in rows() if "Reconstructed" in row.note}
    resnets = {"resnet152-imagenet", "resnet152-places365"}
    assert reconstructed == {"alexnet-places365-gapplus", "alexnet-places205-bn", "crosschannel"} | resnets
    assert all(row.note.startswith("Reconstructed: ") for row in rows() if row.name in reconstructed)


def test_rows_of_a_series_differ_in_one_thing() -> None:
    rotated = {row.name: row.rotate for row in rows() if row.family == "rotated"}
    assert rotated == {f"alexnet-places205-rotated-{int(100 * a):03}": a for a in (0.2, 0.4, 0.6, 0.8, 1.0)}
    plain = find_row("alexnet-places205")
    assert plain is not None
    for row in rows():
        if row.family == "rotated":
            assert (row.editions, row.definition(), row.rotate_seed) == (plain.editions, plain.definition(), 1)
        else:
            assert (row.rotate, row.rotate_seed) == (None, None)
    kept = [row.iteration for row in rows() if row.family == "iterations"]
    assert kept == list(ITERATIONS) == sorted(kept)
    assert all(row.iteration is None for row in rows() if row.family != "iterations")


def test_published_figures_are_those_of_the_released_table(shared: Path) -> None:
    text = (shared / "reference" / "published_detectors.csv").read_text()
    table = list(csv.DictReader(text.splitlines()))
    known = {row.published.network: row.published for row in rows() if row.published}
    assert known.keys() == {line["network"] for line in table} - {"ResNet-50-model_imagenet"}
    for line in table:
        found = known.get(line["network"])
        if found is not None:
            assert (found.layer, found.units) == (line["layer"], int(line["units"]))
            assert (found.detectors, found.unique) == (int(line["detectors_all"]), int(line["unique_all"]))
            for kind in CATEGORIES:
                assert found.detectors_by_category[kind] == int(line[f"detectors_{kind}"])
                assert found.unique_by_category[kind] == int(line[f"unique_{kind}"])


def test_published_figures_add_up() -> None:
    found = [row.published for row in rows() if row.published]
    assert len(found) == 26
    for published in found:
        assert published.unique == sum(published.unique_by_category.values())
        assert max(published.detectors_by_category.values()) <= published.detectors <= published.units
    assert find_published("nothing") is None


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("alexnet-places205", "conv5"),
        ("vgg16-hybrid", "conv5_3"),
        ("googlenet-places205", "inception_5b/output"),
        ("googlenet-places205", "inception_5b-output"),
        ("resnet152-imagenet", "res5c"),
        ("resnet152-imagenet", "caffe.Eltwise_510"),
        ("egomotion", "cls_conv5"),
        ("egomotion", "conv5"),
        ("puzzle", "conv5"),
        ("alexnet-random", "relu5"),
        ("alexnet-places205-bn", "relu5"),
        ("vgg16-hybrid", "relu5_3"),
        ("resnet152-imagenet", "caffe_ReLU_511"),
        ("resnet152-imagenet", "res5c_relu"),
        ("egomotion", "cls_relu5"),
        ("puzzle", "relu5_s1"),
    ],
)
def test_published_figures_belong_to_one_layer_by_any_of_its_names(name: str, layer: str) -> None:
    row = find_row(name)
    assert row is not None
    assert row.published_at(layer) is row.published is not None
    assert row.published_at(row.layers[-1]) is row.published
    for other in ("conv4", "conv4_3", "res4b35", "caffe.Eltwise_478", "inception_4e/output", "fc7", "relu4", "pool5"):
        assert row.published_at(other) is None


def test_figures_of_a_network_with_two_versions_name_the_one() -> None:
    for name, words in (
        ("resnet152-imagenet", "Published for resnet152-imagenet (resnet-152-torch-imagenet), caffe.Eltwise_510: "),
        ("vgg16-imagenet", "Published for vgg16-imagenet, conv5_3: "),
    ):
        published = known_row(name).published
        assert published is not None
        assert published.sentence(name).startswith(words)


def test_rows_without_figures_have_none_anywhere() -> None:
    row = find_row("alexnet-places205-rotated-100")
    assert row is not None
    assert row.published_at("conv5") is None


def test_sums_of_the_converted_resnet_are_numbered_as_published() -> None:
    numbers = {name: int(blob.rpartition("_")[2]) for name, blob in sums().items()}
    last = {f"res{stage}": [n for s, n, _ in block_names() if s == stage][-1] for stage in range(2, 6)}
    assert [numbers[name] for name in last.values()] == [34, 116, 478, 510]
    assert len(numbers) == sum(STAGES)
    layers = {layer.name: layer for layer in resnet152_torch(365).layers}
    assert all(layers[name].kind == "Eltwise" for name in sums().values())
    five = ("res3b7", "res4b12", "res4b24", "res4b35", "res5c")
    assert [numbers[name] for name in five] == [116, 248, 368, 478, 510]


def test_the_converted_resnet_has_torchs_first_pool() -> None:
    pool = next(layer for layer in resnet152_torch(365).layers if layer.kind == "Pooling")
    assert (pool.options["pad"], pool.options["round_mode"]) == (1, "FLOOR")


def test_alexnet_itself_has_its_norms_before_its_pools() -> None:
    orders = []
    for norm_first in (False, True):
        kinds = [layer.name for layer in alexnet.caffenet(1000, norm_first=norm_first).layers]
        orders.append(kinds[2:4] + kinds[6:8])
    assert orders == [["pool1", "norm1", "pool2", "norm2"], ["norm1", "pool1", "norm2", "pool2"]]


def test_reading_the_rows_loads_no_array_library() -> None:
    code = "import sys; from ndengine.models.zoo.rows import rows; rows(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "PIL"} & set(done.stdout.split())
