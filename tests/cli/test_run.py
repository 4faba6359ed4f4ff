from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ndengine
from ndengine import dissect
from ndengine.report import write_report
from tests.cli.conftest import Invoke


def counts(folder: Path, layer: str = "relu2") -> dict[str, np.ndarray]:
    with h5py.File(folder / layer / "counts.h5") as file:
        return {name: data[()] for name, data in file.items()}


def assert_same_counts(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_a_run_leaves_a_result_and_prints_a_summary(invoke: Invoke, arguments: list[str], tmp_path: Path) -> None:
    done = invoke("run", *arguments[1:])
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    lines = done.stdout.splitlines()
    assert lines[0].endswith("preset netdissect")
    assert any(line.split()[:1] == ["relu2"] and line.split()[-2:] == ["6", "0"] for line in lines)
    assert lines[-1] == f"Report: {out / 'report' / 'index.html'}"
    for name in ("result.json", "images.csv", "relu2/units.csv", "relu2/counts.h5", "report/index.html"):
        assert (out / name).is_file(), name
    assert "12 images" in done.stderr
    dissection = ndengine.load(out)
    assert dissection.layer("relu2").scores.score.shape == (6,)


def test_json_is_one_object_on_standard_output(invoke: Invoke, arguments: list[str], tmp_path: Path) -> None:
    done = invoke(*arguments, "--json", "--quiet")
    assert done.exit_code == 0
    assert done.stderr == ""
    record = json.loads(done.stdout)
    assert record["out"] == str(tmp_path / "out")
    assert Path(record["report"]).is_file()
    assert record["settings"]["knobs"]["quantile"] == "0.005"
    assert record["provenance"]["dataset"]["images"] == 12
    layer = record["layers"]["relu2"]
    assert layer["units"] == 6
    assert layer["detectors"] == sum(c["detectors_top_label"] for c in layer["by_category"].values())


def test_quiet_prints_nothing(invoke: Invoke, arguments: list[str], tmp_path: Path) -> None:
    done = invoke(*arguments, "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "out" / "result.json").is_file()


def test_the_same_run_again_is_shown_without_computing(
    invoke: Invoke, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = invoke(*arguments)
    monkeypatch.setenv("TEST_INTERRUPT_AFTER", "0")  # the network must not be asked
    again = invoke(*arguments, "--threads", 2, "--batch-size", 3)
    assert again.exit_code == 0
    assert again.stdout == first.stdout
    assert "shown without computing" in again.stderr


def test_other_settings_need_overwrite(
    invoke: Invoke, fails: Callable[..., str], arguments: list[str], tmp_path: Path
) -> None:
    invoke(*arguments)
    before = counts(tmp_path / "out")
    message = fails(*arguments, "--quantile", "0.02")
    assert "other settings (knobs.quantile)" in message
    assert "--overwrite" in message
    assert_same_counts(counts(tmp_path / "out"), before)
    assert invoke(*arguments, "--quantile", "0.02", "--overwrite").exit_code == 0
    assert (counts(tmp_path / "out")["threshold"] <= before["threshold"]).all()
    assert (counts(tmp_path / "out")["threshold"] < before["threshold"]).any()


def test_several_layers_in_one_run(invoke: Invoke, arguments: list[str], tmp_path: Path) -> None:
    done = invoke(*arguments, "--layer", "conv?")
    assert done.exit_code == 0, done.output
    assert list(ndengine.load(tmp_path / "out").layers) == ["relu2", "conv1", "conv2"]
    assert sum(line.split()[:1] == ["conv2"] for line in done.stdout.splitlines()) > 1


@pytest.mark.parametrize("how", [("--batch-size", 1), ("--batch-size", 5, "--threads", 2), ("--spool", "memory")])
def test_how_a_run_is_carried_out_changes_no_count(
    invoke: Invoke, arguments: list[str], tmp_path: Path, how: tuple[object, ...]
) -> None:
    assert invoke(*arguments).exit_code == 0
    assert invoke(*arguments, *how, "--out", tmp_path / "other").exit_code == 0
    mine, other = counts(tmp_path / "out"), counts(tmp_path / "other")
    assert mine["intersection"].sum() > 0
    np.testing.assert_allclose(mine.pop("threshold"), other.pop("threshold"), rtol=1e-5)
    assert_same_counts(mine, other)


def test_the_folder_is_named_after_the_run_by_default(
    invoke: Invoke, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = arguments.index("--out")
    done = invoke(*arguments[:place], *arguments[place + 2 :])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "dissections" / "net.py_build-relu2-tiny" / "result.json").is_file()


def test_an_interrupted_run_goes_on(
    invoke: Invoke, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ndengine.spool.SEGMENT_BYTES", 1)  # a segment a batch
    monkeypatch.setenv("TEST_INTERRUPT_AFTER", "11")
    done = invoke(*arguments)
    assert done.exit_code == 130
    assert "nterrupted at image " in done.stderr
    assert "of 12; the same command goes on there." in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out" / "result.json").exists()
    monkeypatch.delenv("TEST_INTERRUPT_AFTER")
    assert invoke(*arguments).exit_code == 0
    assert 0 < ndengine.load(tmp_path / "out").provenance["images_probed"] < 12
    assert invoke(*arguments, "--out", tmp_path / "whole").exit_code == 0
    assert_same_counts(counts(tmp_path / "out"), counts(tmp_path / "whole"))
    assert not (tmp_path / "out" / "unfinished").exists()


def test_the_report_is_written_again(
    invoke: Invoke, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any) -> Path:  # so that the clock shows another second when the result is written
        time.sleep(1.1)
        return write_report(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(dissect, "write_report", slow)
        assert invoke(*arguments).exit_code == 0
    report = tmp_path / "out" / "report"
    page = (report / "index.html").read_text()
    pictures = {path: path.read_bytes() for path in report.rglob("*.jpg")}
    assert pictures
    for path in [report / "index.html", *pictures]:
        path.unlink()
    done = invoke("report", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (0, f"Report: {report / 'index.html'}\n")
    assert (report / "index.html").read_text() == page
    assert {path: path.read_bytes() for path in report.rglob("*.jpg")} == pictures
    done = invoke("report", tmp_path / "out", "--json", "--quiet")
    assert json.loads(done.stdout) == {"out": str(tmp_path / "out"), "report": str(report / "index.html")}


def test_a_report_without_its_data_keeps_its_pictures(invoke: Invoke, arguments: list[str], tmp_path: Path) -> None:
    assert invoke(*arguments).exit_code == 0
    report = tmp_path / "out" / "report"
    page = (report / "index.html").read_text()
    assert invoke("cache", "clear", "--cache", tmp_path / "cache").exit_code == 0
    done = invoke("report", tmp_path / "out")
    assert done.exit_code == 0
    assert "No new pictures: " in done.stderr
    assert (report / "index.html").read_text() == page


def test_a_limited_split_reports_its_own_images(invoke: Invoke, arguments: list[str], tmp_path: Path) -> None:
    """The report written again takes its pictures by name: numbers of a split are not those of the dataset."""
    assert invoke(*arguments, "--split", "val", "--limit", 3).exit_code == 0
    assert len(ndengine.load(tmp_path / "out").image_names) == 3
    pictures = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.jpg")}
    assert invoke("report", tmp_path / "out", "-q").exit_code == 0
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.jpg")} == pictures


def test_a_packed_dataset_gives_the_same_counts(
    invoke: Invoke, arguments: list[str], broden: Path, tmp_path: Path
) -> None:
    pack = tmp_path / "tiny.h5"
    assert invoke("data", "pack", broden, "--out", pack).exit_code == 0
    assert invoke(*arguments).exit_code == 0
    assert invoke(*arguments, "--data", pack, "--out", tmp_path / "packed").exit_code == 0
    assert_same_counts(counts(tmp_path / "out"), counts(tmp_path / "packed"))


def test_a_rotated_run(
    invoke: Invoke, fails: Callable[..., str], arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = arguments.index("--out")
    unnamed = [*arguments[:place], *arguments[place + 2 :]]
    done = invoke(*unnamed, "--rotate", 0.6, "--profile")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].endswith("preset netdissect, rotated 0.6")
    assert any(line.split()[:1] == ["rotating"] for line in done.stdout.splitlines())
    assert "rotation: 1 matrices" in done.stderr
    assert invoke(*unnamed).exit_code == 0
    assert invoke(*unnamed, "--rotate", 0).stderr.endswith("it is shown without computing.\n")
    plain, rotated = (tmp_path / "dissections" / f"net.py_build-relu2-tiny{end}" for end in ("", "-rotated-0.6"))
    assert (counts(plain)["threshold"] != counts(rotated)["threshold"]).all()
    again = json.loads(invoke(*unnamed, "--rotate", 0.6, "--json", "-q").stdout)
    assert again["provenance"]["rotation"] == {"power": 0.6, "seed": 1}
    message = fails(*arguments, "--out", rotated, "--rotate", 0.8)
    assert "other settings (rotate)" in message
    message = fails(*arguments, "--rotate-seed", 2, code=2)
    assert message == "rotate_seed is 2 and nothing is rotated; use it with --rotate."


@pytest.mark.slow
def test_a_run_without_arguments_dissects_what_is_built_in(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NDENGINE_CACHE", str(tmp_path / "cache"))
    done = invoke("run", "--json")
    assert done.exit_code == 0, done.output
    (layer,) = json.loads(done.stdout)["layers"].values()
    assert layer["unique_top_label"] >= 5
    assert (tmp_path / "dissections" / "scenesnet-scenes" / "report" / "index.html").is_file()


def test_a_seed_that_torch_does_not_take_is_refused(fails: Callable[..., str]) -> None:
    message = fails("run", "--seed", 10**26, "--weights", "random", code=2)
    assert message.startswith(f"seed is {10**26}; use a whole number from -9223372036854775808 to ")
