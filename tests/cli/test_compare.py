"""``ndengine compare`` on results made by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from ndengine.result import Dissection
from tests.cli.conftest import Invoke, write_hand_made

Fails = Callable[..., str]


def test_results_side_by_side(invoke: Invoke, result: Dissection, two_layers: Dissection, tmp_path: Path) -> None:
    out = tmp_path / "compared"
    done = invoke("compare", result.folder, two_layers.folder, "--out", out)
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    summary = result.layer().summary
    counts = [summary.unique_per_category, summary.unique_top_label, summary.detectors, summary.units, summary.dead]
    for label, layer in (("out", "conv3"), ("two", "conv3"), ("two", "conv4")):
        assert [label, layer, *map(str, counts)] in lines
    with (out / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["layer"]) for row in rows] == [("out", "conv3"), ("two", "conv3"), ("two", "conv4")]
    assert {row["detectors"] for row in rows} == {str(summary.detectors)}


def test_json_is_one_object(invoke: Invoke, result: Dissection, tmp_path: Path) -> None:
    done = invoke("compare", result.folder, "--out", tmp_path / "compared", "--json", "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert record["out"] == str(tmp_path / "compared")
    assert [entry["layer"] for entry in record["entries"]] == ["conv3"]


def test_a_folder_without_result_is_named(fails: Fails, tmp_path: Path) -> None:
    assert fails("compare", tmp_path) == (
        f"{tmp_path} holds no finished result; name the --out of finished runs or of a series."
    )


def test_a_folder_that_holds_something_else_is_left_alone(fails: Fails, result: Dissection, tmp_path: Path) -> None:
    write_hand_made(tmp_path / "other", "conv3")
    said = fails("compare", result.folder, "--out", tmp_path / "other")
    assert said == f"{tmp_path / 'other'} is not empty and holds no comparison; choose another --out."
