"""A result folder: written, read back equal, and never believed when it is damaged or unfinished."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace

import h5py
import numpy as np
import pandas as pd
import pytest
from dissections import LABEL_SIZE, VOCABULARY, make_dissection, write

from ndengine.errors import ResultError
from ndengine.result import (
    Dissection,
    layer_folders,
    load,
    write_layer,
    write_result,
)
from ndengine.settings import Settings
from ndengine.tally import Counts
from ndengine.units_table import read_units_csv


@pytest.fixture
def dissection(tmp_path) -> Dissection:
    made = make_dissection(tmp_path / "out")
    write(made)
    return made


def assert_same(one: object, other: object) -> None:
    """Equal in type, dtype, shape and value, all the way down."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif hasattr(one, "__dataclass_fields__"):
        for f in fields(one):
            assert_same(getattr(one, f.name), getattr(other, f.name))
    else:
        assert one == other


def test_round_trip(dissection):
    read = load(str(dissection.folder))
    assert read.settings == dissection.settings
    assert read.provenance == dissection.provenance
    # JSON sorts keys, so the order of these two is not kept
    assert_same(replace(read, settings={}, provenance={}), replace(dissection, settings={}, provenance={}))
    assert read.layers["conv5_3"].notes == ("A note.",)


def test_files(dissection):
    files = sorted(str(p.relative_to(dissection.folder)) for p in dissection.folder.rglob("*") if p.is_file())
    each = ("counts.h5", "examples.h5", "units.csv")
    assert files == sorted(
        [*(f"block_1/{n}" for n in each), *(f"conv5_3/{n}" for n in each), "images.csv", "result.json"]
    )


def test_counts_as_the_format_promises(dissection):
    counts = dissection.layers["conv5_3"].counts
    with h5py.File(dissection.folder / "conv5_3" / "counts.h5") as file:
        for f in fields(Counts):
            assert_same(file[f.name][()], getattr(counts, f.name))
        assert file["threshold"].dtype == np.float32
        assert {file[f.name].dtype for f in fields(Counts)[1:]} == {np.dtype(np.int64)}
        assert file["concept_names"].asstr()[()].tolist() == list(VOCABULARY.names)
        assert file["categories"].asstr()[()].tolist() == list(VOCABULARY.categories)
        assert_same(file["concept_primary"][()], VOCABULARY.primary)


def test_result_json_is_strict_and_holds_both_schemes(dissection):
    def refuse(word: str) -> None:
        raise AssertionError(word)

    record = json.loads((dissection.folder / "result.json").read_text(), parse_constant=refuse)
    assert (record["format"], record["version"]) == ("ndengine-result", 1)
    first = dissection.layers["conv5_3"].summary
    found = record["layers"][0]["summary"]
    for name in ("detectors", "unique_top_label", "unique_per_category", "dead", "rank", "positions"):
        assert found[name] == getattr(first, name)
    assert set(found["by_category"]) == set(VOCABULARY.categories)
    assert first.detectors > 0
    assert Settings().differences(record["settings"]) == ["categories", "layers"]


def test_nan_is_not_written(dissection):
    (dissection.folder / "result.json").unlink()
    with pytest.raises(ValueError, match="JSON"):
        write_result(replace(dissection, provenance={"rate": float("nan")}))
    assert not (dissection.folder / "result.json").exists()


def test_frame_equals_units_csv(dissection):
    for layer in dissection.layers.values():
        path = dissection.folder / layer.folder / "units.csv"
        read = pd.read_csv(path, keep_default_na=False, dtype=str)  # its own parser of floats may be inexact
        frame = dissection.frame(layer.name)
        pd.testing.assert_frame_equal(frame, read.astype(frame.dtypes))
        assert list(frame.columns) == list(read.columns)
        assert frame["score"].is_monotonic_decreasing
        assert read_units_csv(path).columns() == dissection.table(layer.name).columns()


def test_frame_without_pandas(dissection, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ResultError, match=r"needs pandas, which is not installed; run pip install pandas\."):
        dissection.frame("conv5_3")


def test_layer_by_name(dissection):
    one = replace(dissection, layers={"conv5_3": dissection.layers["conv5_3"]})
    assert one.layer() is one.layer("conv5_3")
    with pytest.raises(ResultError, match="holds 2 layers; name one of conv5_3, block/1"):
        dissection.layer()
    with pytest.raises(ResultError, match="has no layer 'conv5_2'; use conv5_3"):
        dissection.frame("conv5_2")


def test_mask_is_unpacked_to_the_label_grid(dissection):
    mask = dissection.mask("conv5_3", 2, 1)
    assert (mask.shape, mask.dtype) == (LABEL_SIZE, bool)
    packed = dissection.layers["conv5_3"].top_masks[2, 1]
    assert_same(np.packbits(mask, axis=-1), packed)


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["conv5_3", "features.12"], ["conv5_3", "features.12"]),
        (["a/b", "a:b", "a b"], ["a_b", "a_b-2", "a_b-3"]),
        (["Conv1", "conv1"], ["Conv1", "conv1-2"]),
        (["..", ".", "report", "Images.csv"], ["layer", "layer-2", "report-2", "Images.csv-2"]),
        (["x", "x-2", "x"], ["x", "x-2", "x-3"]),
        (["../../etc", "é"], ["_.._etc", "_"]),
    ],
)
def test_layer_folders_are_safe_and_distinct(names, folders):
    assert layer_folders(names) == folders


def test_a_long_layer_name_fits_a_folder():
    assert [len(f) for f in layer_folders(["y" * 500, "y" * 500])] == [100, 102]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ResultError, match="nowhere is no folder; name the --out of a finished run"):
        load(tmp_path / "nowhere")


def test_a_folder_in_the_way_is_named(dissection, tmp_path):
    (tmp_path / "file").write_text("")
    layer = dissection.layers["conv5_3"]
    with pytest.raises(ResultError, match=r"counts\.h5 can't be written .*; move the file away that .*, or choose"):
        write_layer(tmp_path / "file", layer, VOCABULARY)


FULL_DISK = """
import resource, sys
import ndengine
from ndengine.errors import ResultError
from ndengine.result import write_layer, write_result
dissection = ndengine.load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
for call in (
    lambda: write_layer(dissection.folder, dissection.layers["conv5_3"], dissection.vocabulary),
    lambda: write_result(dissection),
):
    try:
        call()
    except ResultError as error:
        print(error)
"""


def test_a_full_disk_leaves_the_old_result(dissection):
    before = {p: p.read_bytes() for p in dissection.folder.rglob("*") if p.is_file()}
    # A process of its own: the limit holds for every file that a process writes, pytest's and other tests' included.
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(dissection.folder)], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert "counts.h5 can't be written" in first
    assert "images.csv can't be written" in second
    assert {p: p.read_bytes() for p in dissection.folder.rglob("*") if p.is_file()} == before
