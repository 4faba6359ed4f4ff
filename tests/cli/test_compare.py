"""``ndengine compare`` on results made by hand."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ndengine.compare.series_record import Member, write_series_record
from ndengine.result import Dissection
from tests.cli.conftest import Invoke, write_hand_made
from tests.records import edit_record

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


def test_a_place_on_an_axis_has_all_its_digits(invoke: Invoke, tmp_path: Path) -> None:
    members = []
    for step in (1, 2_400_818):
        write_hand_made(tmp_path / "all" / f"s{step}", "conv3")
        members.append(Member(f"s{step}", f"s{step}", "g", step, "training iteration"))
    write_series_record(tmp_path / "all", "", members)
    done = invoke("compare", tmp_path / "all")
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[:3] for row in rows if row[1:2] == ["conv3"]][:2] == [
        ["s1", "conv3", "1"],
        ["s2400818", "conv3", "2,400,818"],
    ]
    with (tmp_path / "all" / "compare" / "compare.csv").open(newline="") as file:
        assert {row["x_name"] for row in csv.DictReader(file)} == {"training iteration"}


def test_a_name_that_is_no_utf_8_is_told_of(fails: Fails, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        write_hand_made(folder, "conv3")
    except OSError:
        pytest.skip("this file system takes no such name")
    said = fails("compare", folder, "--out", tmp_path / "compared")
    assert "can't be written: a name in it is no UTF-8; rename that file or folder" in said


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


def test_quiet_prints_nothing_and_writes_the_page(invoke: Invoke, result: Dissection, tmp_path: Path) -> None:
    done = invoke("compare", result.folder, "--out", tmp_path / "compared", "-q", "--title", "My <title>")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert "<h1>My &lt;title&gt;</h1>" in (tmp_path / "compared" / "index.html").read_text("utf-8")


def test_one_folder_of_several_results_holds_their_comparison(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_hand_made(tmp_path / "all" / name, "conv3")
    done = invoke("compare", "all")
    assert done.stdout.splitlines()[-1] == "Page: all/compare/index.html"
    assert (tmp_path / "all" / "compare" / "index.html").is_file()
    assert invoke("compare", "all/a", "all/b").stdout.splitlines()[-1] == "Page: compare/index.html"
    assert invoke("compare", "all/a", "--json", "-q").exit_code == 0


def test_settings_that_differ_and_units_that_changed(invoke: Invoke, two_layers: Dissection, tmp_path: Path) -> None:
    for number in range(1, 5):
        folder = tmp_path / f"r{number}"
        write_hand_made(folder, "conv3")
        edit_record(folder, lambda r, n=number: r["settings"].update(seed=n, preset="paper"))
    few = invoke("compare", *(tmp_path / f"r{k}" for k in range(1, 5)), "--out", tmp_path / "few")
    assert ["seed", "1", "2", "3", "4"] in [line.split() for line in few.stdout.splitlines()]
    assert ["r1", "r4", "conv3", "2", "0", "0", "0", "0"] in [line.split() for line in few.stdout.splitlines()]
    many = invoke("compare", two_layers.folder, *(tmp_path / f"r{k}" for k in range(1, 5)), "--out", tmp_path / "many")
    assert "Settings that differ: preset, seed." in many.stdout.splitlines()


def test_published_figures_are_named(invoke: Invoke, result: Dissection, tmp_path: Path) -> None:
    edit_record(result.folder, lambda r: r["settings"].update(model="alexnet-places205"))
    edit_record(result.folder, lambda r: r["layers"][0].update(name="conv5"))
    done = invoke("compare", result.folder, "--out", tmp_path / "compared")
    words = ["published,", "on", "the", "whole", "of", "Broden", "conv5", "79", "107", "256"]
    assert words in [line.split() for line in done.stdout.splitlines()]
    assert [*words[:7], "36", "2"] in [line.split() for line in done.stdout.splitlines()]
