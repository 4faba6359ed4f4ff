"""A result folder that a stranger hands over: nothing beyond it is touched, and what was edited is found."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from dissections import make_dissection, write

from benchmarks.edit_results import Tried
from benchmarks.edits import edits_of
from ndengine.compare import compare_results
from ndengine.compare.series_record import read_series_record
from ndengine.errors import NdengineError, ResultError, SeriesError
from ndengine.report import write_report
from ndengine.report.rewrite import rewrite_report
from ndengine.result import load
from ndengine.result_files import sha256
from ndengine.result_record import is_result, read_record
from ndengine.series import read_series
from ndengine.units_table import read_units_csv
from tests.records import age_record, edit_record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make_dissection(tmp_path / "out")
    write_report(made, tmp_path / "out" / "report", None)
    write(made)
    return tmp_path / "out"


def first_layer(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["layers"][0].update(changes)


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "/tmp", "../out/conv5_3", "conv5_3/", "conv5_3/../conv5_3", "a\\b", "report", "Report",
     "unfinished", "result.json", "images.csv", ".hidden", "x.", "con\x1b[31m", "é", "y" * 200, "block_1", "BLOCK_1"],
)  # fmt: skip
@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_a_layer_has_a_folder_of_its_own_beside_the_record(folder: Path, name: str, old: bool) -> None:
    def change(record: dict[str, Any]) -> None:
        if old:
            age_record(record)
        first_layer(folder=name)(record)

    edit_record(folder, change, seal=not old)
    for reader in (load, rewrite_report, read_record):
        with pytest.raises(ResultError, match=r"result\.json is damaged \((layer conv5_3 has the folder|two layers)"):
            reader(folder)


def test_a_setting_that_was_edited_is_noticed(folder: Path) -> None:
    for change in (
        lambda r: r["settings"].update(seed=1),
        lambda r: r["provenance"]["versions"].update(torch="2.7"),
        lambda r: r["layers"][0].update(path="features.28"),
        lambda r: r["layers"][0]["summary"].update(notes=[]),
        lambda r: r.pop("record_sha256"),
        lambda r: r.pop("report"),
        lambda r: r.update(more=1),
    ):
        before = (folder / "result.json").read_bytes()
        edit_record(folder, change, seal=False)
        with pytest.raises(
            ResultError, match=r"result\.json is damaged \((it was changed after it was written|of record)"
        ):
            load(folder)
        (folder / "result.json").write_bytes(before)
    edit_record(folder, lambda record: None, seal=False)  # laid out otherwise, it says the same
    assert load(folder).settings["seed"] == 0


def test_a_result_of_before_there_were_checksums_of_all(folder: Path) -> None:
    new = load(folder)
    edit_record(folder, age_record, seal=False)
    old = load(folder)
    assert (old.settings, old.provenance) == (new.settings, new.provenance)
    assert read_record(folder).report is None


def test_the_record_names_every_file(folder: Path) -> None:
    record = read_record(folder)
    assert record.report is not None
    named = {"result.json", *record.sha256, *(f"report/{name}" for name in record.report)}
    named |= {f"{layer.folder}/{name}" for layer in record.layers for name in layer.sha256}
    assert named == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name", ["conv5_3", "conv5_3/counts.h5", "conv5_3/units.csv", "images.csv", "result.json", "block_1/examples.h5"]
)
def test_nothing_is_read_through_a_link_that_leads_out(folder: Path, name: str, tmp_path: Path) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ResultError, match=f"{name} is a symbolic link that leads out of .*put what it leads to in its"):
        load(folder)


def test_a_link_inside_of_the_folder_is_followed(folder: Path) -> None:
    (folder / "conv5_3" / "counts.h5").rename(folder / "stored")
    (folder / "conv5_3" / "counts.h5").symlink_to("../stored")
    assert len(load(folder).layers) == 2


@pytest.mark.parametrize("name", ["report", "report/conv5_3", "report/block_1"])
def test_a_report_is_not_written_through_a_link(folder: Path, name: str, tmp_path: Path) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "unit-0001.jpg").write_text("precious")
    (tmp_path / "elsewhere" / "index.html").write_text("precious")
    with pytest.raises(ResultError, match=f"{name} is a symbolic link, and nothing is written through one"):
        rewrite_report(folder)
    assert {path.read_text() for path in (tmp_path / "elsewhere").glob("*.*")} == {"precious"}


def test_linked_pages_and_half_written_ones_are_replaced_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    for name in ("index.html", ".index.html.part", "conv5_3/.index.html.part"):
        (folder / "report" / name).unlink(missing_ok=True)
        (folder / "report" / name).symlink_to(tmp_path / "precious")
    rewrite_report(folder)
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (folder / "report" / "index.html").is_symlink()


def test_a_report_keeps_what_it_did_not_write(folder: Path) -> None:
    (folder / "report" / "conv5_3" / "unit-mine.jpg").write_text("precious")
    found = load(folder)
    write_report(found, folder / "report", lambda numbers: np.zeros((len(numbers), 18, 26, 3), np.uint8))
    assert (folder / "report" / "conv5_3" / "unit-mine.jpg").read_text() == "precious"


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "socket"])
@pytest.mark.parametrize("name", ["result.json", "images.csv", "conv5_3/counts.h5", "conv5_3/units.csv"])
def test_what_is_no_file_keeps_nobody_waiting(folder: Path, name: str, kind: str) -> None:
    replace_by(kind, folder / name)
    for reader in (load, rewrite_report, lambda place: compare_results([place])):
        with pytest.raises(
            ResultError, match=r"(is|it is) (a named pipe|a folder|a device|a socket), not a file|leads out"
        ):
            reader(folder)
    assert not is_result(folder) or name != "result.json"


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_series_and_tables_that_are_no_files(tmp_path: Path, kind: str) -> None:
    replace_by(kind, tmp_path / "units.csv")
    with pytest.raises(ResultError, match=r"units\.csv is a .*, not a file"):
        read_units_csv(tmp_path / "units.csv")
    with pytest.raises(SeriesError, match=r"units\.csv is a .*, not a file; name a series file"):
        read_series(tmp_path / "units.csv")
    replace_by(kind, tmp_path / "series.json")
    with pytest.raises(ResultError, match=r"series\.json is (damaged .it is a|a symbolic link that leads out)"):
        read_series_record(tmp_path)
    (tmp_path / "out").mkdir()
    replace_by(kind, tmp_path / "out" / "compare.json")
    with pytest.raises(ResultError, match="is not empty and holds no comparison"):
        compare_results([tmp_path], tmp_path / "out")


def replace_by(kind: str, path: Path) -> None:
    path.unlink(missing_ok=True)
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        os.mknod(path, 0o140644)
    else:
        (os.mkfifo if kind == "pipe" else os.mkdir)(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"a": 1, "a": 1}', "'a' stands there twice"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": 1e999}', "Out of range float"),
        ('{"a": "\\ud800"}', "surrogates not allowed"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "Exceeds the limit"),
    ],
)
def test_json_that_python_takes_and_others_do_not(folder: Path, content: str, why: str) -> None:
    (folder / "result.json").write_text(content)
    with pytest.raises(ResultError, match=rf"result\.json can't be read as JSON \(.*{why}"):
        load(folder)


@pytest.mark.parametrize("kind", ["external link", "external bytes", "soft link", "virtual", "endless"])
def test_hdf5_shows_nothing_of_other_files(folder: Path, kind: str, tmp_path: Path) -> None:
    path = folder / "conv5_3" / "counts.h5"
    with h5py.File(path, "r+") as file:
        area = file["concept_area"][()]
        with h5py.File(tmp_path / "other.h5", "w") as other:
            other["concept_area"] = area
        (tmp_path / "bytes").write_bytes(area.tobytes())
        del file["concept_area"]
        if kind == "external link":
            file["concept_area"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "concept_area")
        elif kind == "external bytes":
            file.create_dataset(
                "concept_area", area.shape, area.dtype, external=[(str(tmp_path / "bytes"), 0, area.nbytes)]
            )
        elif kind == "soft link":
            file["hidden"], file["concept_area"] = area, h5py.SoftLink("/hidden")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(area.shape, area.dtype)
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "concept_area", area.shape)
            file.create_virtual_dataset("concept_area", layout)
        else:
            file.create_dataset("concept_area", (2**50,), area.dtype, chunks=(1,))
    edit_record(folder, lambda r: r["layers"][0]["sha256"].update({"counts.h5": sha256(path)}))
    with pytest.raises(ResultError, match=r"counts\.h5 is damaged \(concept_area is"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("intersection", -1), ("unit_area", -5), ("concept_area", 2**62), ("threshold", np.nan), ("concept_area", 0)],
)
def test_what_is_no_count_is_not_scored(folder: Path, name: str, value: float) -> None:
    path = folder / "conv5_3" / "counts.h5"
    with h5py.File(path, "r+") as file:
        file[name][...] = value
    edit_record(folder, lambda r: r["layers"][0]["sha256"].update({"counts.h5": sha256(path)}))
    with pytest.raises(ResultError, match=r"counts\.h5 is damaged"):
        load(folder)


def test_a_run_of_a_series_lies_in_its_folder(tmp_path: Path) -> None:
    run = {"name": "a", "label": "a", "group": "", "x": None, "x_name": ""}
    record = {"format": "ndengine-series", "version": 1, "title": "t"}
    for runs in (
        [{**run, "name": "../a"}], [{**run, "name": ".."}], [{**run, "name": "/a"}], [{**run, "name": ""}],
        [run, {**run, "name": "A"}], [{**run, "x": "1"}], [{**run, "x": True}], [{**run, "label": 3}], [1], {"a": run},
    ):  # fmt: skip
        (tmp_path / "series.json").write_text(json.dumps({**record, "runs": runs}))
        with pytest.raises(ResultError, match=r"series\.json is damaged \(.*\); run ndengine sweep again"):
            read_series_record(tmp_path)
    (tmp_path / "series.json").write_text(json.dumps({**record, "runs": [run]}))
    assert read_series_record(tmp_path) is not None


def test_a_comparison_takes_only_its_own_folder(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "compared").mkdir()
    (tmp_path / "compared" / "compare.json").write_text('{"mine": 1}')
    with pytest.raises(ResultError, match="is not empty and holds no comparison"):
        compare_results([folder], tmp_path / "compared")
    assert (tmp_path / "compared" / "compare.json").read_text() == '{"mine": 1}'


def test_edits_end_in_a_sentence_or_change_nothing(folder: Path, tmp_path: Path) -> None:
    """A sample of benchmarks/edit_results.py, another one each time the results' files change."""
    tried = Tried(folder, tmp_path)
    edits = list(edits_of(tried.copy))
    step = len(edits) // 40
    found = {}
    for number, edit in enumerate(edits[3::step]):
        forged = bool(number % 2)
        found[edit.name, forged] = tried.outcome(edit, forged=forged)
    assert {name: told for name, told in found.items() if told[0] not in ("sentence", "harmless", "accepted")} == {}
    assert sum(kind == "sentence" for kind, _ in found.values()) > 20


def test_the_sample_would_tell(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Tried(folder, tmp_path)
    edit = next(edit for edit in edits_of(tried.copy) if edit.name == "settings.seed = 7")
    assert tried.outcome(edit, forged=False)[0] == "sentence"
    assert tried.outcome(edit, forged=True)[0] == "accepted"
    monkeypatch.setattr("ndengine.result_record._check_seal", lambda content: None)
    assert tried.outcome(edit, forged=False)[0] == "silent"
    monkeypatch.setattr("benchmarks.edit_results.load", lambda folder: 1 / 0)
    assert tried.outcome(edit, forged=False)[0] == "traceback"
    assert issubclass(ResultError, NdengineError)
