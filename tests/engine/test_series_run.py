"""A series carried out: every run once, whatever interrupts it, and what is known before the first one begins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

import ndengine
from ndengine import dissect
from ndengine.compare.series_record import read_series_record
from ndengine.errors import (
    DatasetError,
    ModelError,
    NdengineError,
    ResultError,
    SpoolError,
    UnusableSpoolError,
)
from ndengine.progress import Silent
from ndengine.series import Series, SeriesRun, failures, plan_series, run_series, sweep_series
from ndengine.series import run as run_module
from ndengine.series.run import LOCK
from ndengine.settings import Settings
from tests.engine.tinybroden import make_broden

ROOT = Path(__file__).resolve().parents[2]

NETWORK = """
import os
import time
from collections import OrderedDict

from torch import nn


class Slow(nn.Module):
    def forward(self, images):
        time.sleep(float(os.environ.get("TEST_SLOW", 0)))
        return images


def build():
    layers = dict(slow=Slow(), conv=nn.Conv2d(3, 6, 3, padding=1), relu=nn.ReLU())
    return nn.Sequential(OrderedDict(layers))


def failing():
    raise ValueError("this one never works")
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "net.py").write_text(NETWORK)
    make_broden(tmp_path / "data", images=12)
    return Settings(
        model=f"{tmp_path / 'net.py'}:build",
        layers=("relu",),
        data=str(tmp_path / "data"),
        min_images=0,
        batch_size=2,
        spool="disk",
    )


@pytest.fixture
def series(settings: Settings) -> Series:
    """Three seeds."""
    runs = tuple(SeriesRun(f"s{k}", replace(settings, seed=k), f"seed {k}", "net", float(k), "seed") for k in range(3))
    return Series(runs, "Three seeds")


class Listener(Silent):
    def __init__(self) -> None:
        self.headings: list[str] = []
        self.notes: list[str] = []

    def heading(self, text: str) -> None:
        self.headings.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


def broken(settings: Settings) -> SeriesRun:
    return SeriesRun("broken", replace(settings, model=settings.model.replace("build", "failing")))


def test_every_run_is_computed_once(series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, listener = tmp_path / "out", Listener()
    assert [plan.state for plan in plan_series(series, out)] == ["new"] * 3
    assert not out.exists()
    outcomes = run_series(series, out, cache=tmp_path / "cache", progress=listener)
    assert [outcome.fate for outcome in outcomes] == ["computed"] * 3
    assert listener.headings == [f"Run {k + 1} of 3: seed {k}" for k in range(3)]
    for k, outcome in enumerate(outcomes):
        dissection = ndengine.load(out / f"s{k}")
        assert outcome.folder == out / f"s{k}"
        assert outcome.summaries == {"relu": dissection.layer().summary}
        assert dissection.settings["seed"] == k
    record = read_series_record(out)
    assert record is not None
    assert record[0] == "Three seeds"
    assert [(m.name, m.label, m.group, m.x, m.x_name) for m in record[1]] == [
        (f"s{k}", f"seed {k}", "net", float(k), "seed") for k in range(3)
    ]
    assert [plan.state for plan in plan_series(series, out)] == ["finished"] * 3
    monkeypatch.setattr(dissect, "Probe", None)  # nothing is computed
    again = run_series(series, out, cache=tmp_path / "cache")
    assert [outcome.fate for outcome in again] == ["taken"] * 3
    assert [outcome.summaries for outcome in again] == [outcome.summaries for outcome in outcomes]


def test_a_longer_series_takes_what_is_there(series: Series, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_series(Series(series.runs[1:2]), out, cache=tmp_path / "cache")
    outcomes = run_series(series, out, cache=tmp_path / "cache")
    assert [outcome.fate for outcome in outcomes] == ["computed", "taken", "computed"]
    record = read_series_record(out)
    assert record is not None
    assert [member.name for member in record[1]] == ["s0", "s1", "s2"]


def test_the_results_are_compared(series: Series, tmp_path: Path) -> None:
    swept = sweep_series(series, tmp_path / "out", cache=tmp_path / "cache")
    assert swept.comparison is not None
    assert swept.comparison.title == "Three seeds"
    assert [entry.label for entry in swept.comparison.entries] == ["seed 0", "seed 1", "seed 2"]
    assert [curve.x for curve in swept.comparison.curves] == [(0.0, 1.0, 2.0)]
    assert (tmp_path / "out" / "compare" / "index.html").is_file()
    assert not failures(swept.outcomes)


def test_one_failure_does_not_stop_the_others(series: Series, settings: Settings, tmp_path: Path) -> None:
    mixed = Series((series.runs[0], broken(settings), series.runs[1]))
    listener = Listener()
    swept = sweep_series(mixed, tmp_path / "out", cache=tmp_path / "cache", progress=listener)
    assert [outcome.fate for outcome in swept.outcomes] == ["computed", "failed", "computed"]
    error = swept.outcomes[1].error
    assert "ValueError: this one never works" in error
    assert f"broken failed: {error}" in listener.notes
    assert failures(swept.outcomes) == (
        f"1 of 3 runs failed (broken: {error.rstrip('.')}); mend that, and the same command goes on."
    )
    assert swept.comparison is not None
    assert len(swept.comparison.entries) == 2
    assert swept.comparison.warnings[0] == "1 run of the series has no result yet: broken."


def test_an_older_result_does_not_stand_for_a_run_that_failed(
    series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run_series(series, out, cache=tmp_path / "cache")
    runs = tuple(replace(run, settings=replace(run.settings, limit=5)) for run in series.runs)
    original = run_module.dissect_network

    def dissect_some(settings: Settings, *arguments: Any, **named: Any) -> Any:
        if settings.seed == 1:
            raise ModelError("The disk is on fire.")
        return original(settings, *arguments, **named)

    monkeypatch.setattr(run_module, "dissect_network", dissect_some)
    swept = sweep_series(Series(runs), out, cache=tmp_path / "cache", overwrite=True)
    assert [outcome.fate for outcome in swept.outcomes] == ["computed", "failed", "computed"]
    assert swept.comparison is not None
    assert [entry.label for entry in swept.comparison.entries] == ["seed 0", "seed 2"]
    assert swept.comparison.warnings == ("seed 1 is left out: its run failed.",)
    swept = sweep_series(Series(runs), out, cache=tmp_path / "cache", overwrite=True, fail_fast=True)
    assert [outcome.fate for outcome in swept.outcomes] == ["taken", "failed", "not reached"]
    assert swept.comparison is not None
    assert swept.comparison.warnings[1] == "seed 2 is left out: its run was not reached."


def test_what_nobody_foresaw_costs_one_run(series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = run_module.dissect_network

    def dissect_some(settings: Settings, *arguments: Any, **named: Any) -> Any:
        return 1 / 0 if settings.seed == 1 else original(settings, *arguments, **named)

    monkeypatch.setattr(run_module, "dissect_network", dissect_some)
    outcomes = run_series(series, tmp_path / "out", cache=tmp_path / "cache")
    assert [outcome.fate for outcome in outcomes] == ["computed", "failed", "computed"]
    assert outcomes[1].error.startswith("ZeroDivisionError: division by zero; ")
    assert "in dissect_some" in outcomes[1].traceback
    assert not outcomes[0].traceback


def test_weights_of_another_content_are_known_before_anything_runs(
    series: Series, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, weights = tmp_path / "out", tmp_path / "w.pth"
    namespace: dict[str, Any] = {}
    exec(NETWORK, namespace)
    torch.save(namespace["build"]().state_dict(), weights)
    one = Series((series.runs[0], SeriesRun("w", replace(settings, weights=str(weights)))))
    run_series(one, out, cache=tmp_path / "cache")
    assert [plan.state for plan in plan_series(one, out)] == ["finished", "finished"]
    torch.save(namespace["build"]().state_dict(), weights)
    with pytest.raises(ResultError, match=r"out/w was made when the weights had another content.*--overwrite"):
        run_series(one, out, cache=tmp_path / "cache")
    assert [plan.state for plan in plan_series(one, out, overwrite=True)] == ["finished", "other content"]
    outcomes = run_series(one, out, cache=tmp_path / "cache", overwrite=True)
    assert [outcome.fate for outcome in outcomes] == ["taken", "computed"]


def test_a_full_disk_costs_no_spool(series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--overwrite`` gives up spools of other settings, not what a run would go on from."""
    asked: list[bool] = []
    errors: list[NdengineError] = []

    def fail(settings: Settings, *arguments: Any, overwrite: bool, **named: Any) -> Any:
        asked.append(overwrite)
        raise errors[-1]

    monkeypatch.setattr(run_module, "dissect_network", fail)
    for error, expected in (
        (SpoolError("The disk is full."), [False]),
        (ResultError("The disk is full."), [False]),
        (UnusableSpoolError("Other settings."), [False, True]),
    ):
        asked.clear()
        errors.append(error)
        run_series(Series(series.runs[:1]), tmp_path / "out", cache=tmp_path / "cache", overwrite=True)
        assert asked == expected


def test_results_of_another_series_are_told_of(series: Series, tmp_path: Path) -> None:
    out, listener = tmp_path / "out", Listener()
    run_series(series, out, cache=tmp_path / "cache")
    run_series(Series(series.runs[:1]), out, cache=tmp_path / "cache", progress=listener)
    assert (
        f"{out} also holds runs that this series has not (s1, s2); they stay there, and are not compared with it."
        in (listener.notes)
    )


def test_a_failure_may_stop_the_others(series: Series, settings: Settings, tmp_path: Path) -> None:
    mixed = Series((broken(settings), series.runs[0]))
    swept = sweep_series(mixed, tmp_path / "out", cache=tmp_path / "cache", fail_fast=True)
    assert [outcome.fate for outcome in swept.outcomes] == ["failed", "not reached"]
    assert swept.comparison is None
    assert not (tmp_path / "out" / "compare").exists()


def test_other_settings_are_known_before_anything_runs(series: Series, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_series(series, out, cache=tmp_path / "cache")
    runs = (*series.runs[:2], replace(series.runs[2], settings=replace(series.runs[2].settings, limit=5)))
    changed = Series((SeriesRun("new", replace(series.runs[0].settings, seed=9)), *runs))
    with pytest.raises(ResultError, match=r"out/s2 holds a dissection with other settings \(limit\).*--overwrite"):
        run_series(changed, out, cache=tmp_path / "cache")
    assert not (out / "new").exists()
    assert [plan.state for plan in plan_series(changed, out, overwrite=True)] == [
        "new",
        "finished",
        "finished",
        "other settings",
    ]
    outcomes = run_series(changed, out, cache=tmp_path / "cache", overwrite=True)
    assert [outcome.fate for outcome in outcomes] == ["computed", "taken", "taken", "computed"]
    assert len(ndengine.load(out / "s2").image_names) == 5


def test_a_damaged_result_fails_unless_it_may_be_replaced(series: Series, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_series(series, out, cache=tmp_path / "cache")
    (out / "s0" / "relu" / "counts.h5").write_bytes(b"")
    (out / "s1" / "result.json").write_text("{")
    assert [plan.state for plan in plan_series(series, out)] == ["finished", "damaged", "finished"]
    outcomes = run_series(series, out, cache=tmp_path / "cache")
    assert [outcome.fate for outcome in outcomes] == ["failed", "failed", "taken"]
    outcomes = run_series(series, out, cache=tmp_path / "cache", overwrite=True)
    assert [outcome.fate for outcome in outcomes] == ["computed", "computed", "taken"]


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"weights": "/nowhere/a.pth"}, ModelError, r"run s1: weights names /nowhere/a\.pth, which does not exist"),
        ({"data": "/nowhere/data"}, DatasetError, "run s1: data names /nowhere/data, which does not exist"),
        ({"model": "/nowhere/a.py:f"}, ModelError, r"run s1: model names /nowhere/a\.py, which does not exist"),
        ({"model": "vgg61"}, ModelError, r"run s1: There is no model 'vgg61': close names are .*vgg16"),
    ],
    ids=["weights", "data", "model", "name"],
)
def test_missing_files_and_networks_are_known_before_anything_runs(
    series: Series, tmp_path: Path, change: dict[str, str], kind: type[NdengineError], said: str
) -> None:
    spoilt = replace(series.runs[1], settings=replace(series.runs[1].settings, **change))  # type: ignore[arg-type]
    with pytest.raises(kind, match=said):
        run_series(Series((series.runs[0], spoilt)), tmp_path / "out", cache=tmp_path / "cache")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_left_alone(series: Series, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").touch()
    with pytest.raises(ResultError, match="is not empty and holds no series; choose another --out"):
        run_series(series, out, cache=tmp_path / "cache")
    one = tmp_path / "one"
    dissect.dissect_network(series.runs[0].settings, one, cache=tmp_path / "cache")
    with pytest.raises(ResultError, match="one holds a dissection; choose another --out for the series"):
        run_series(series, one, cache=tmp_path / "cache")


def test_a_run_does_not_take_the_folder_of_a_series(series: Series, tmp_path: Path) -> None:
    run_series(Series(series.runs[:1]), tmp_path / "out", cache=tmp_path / "cache")
    with pytest.raises(ResultError, match="is not empty and holds no dissection"):
        dissect.dissect_network(series.runs[0].settings, tmp_path / "out", cache=tmp_path / "cache")


def test_a_folder_has_one_sweep_at_a_time(series: Series, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / LOCK), pytest.raises(ResultError, match="is in use by another sweep"):
        run_series(series, out, cache=tmp_path / "cache")


KILLED = """
import sys
from pathlib import Path

from ndengine import spool
from ndengine.series import read_series, run_series

spool.SEGMENT_BYTES = 1  # a segment a batch
file, out, cache = map(Path, sys.argv[1:])
run_series(read_series(file), out, cache=cache)
"""


def test_a_killed_series_goes_on(
    series: Series, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill -9 in the middle of the second run: the first is taken, the second goes on, the third begins."""
    file, out = tmp_path / "series.toml", tmp_path / "out"
    file.write_text(
        f"model = '{settings.model}'\ndata = 'data'\nlayer = 'relu'\nmin-images = 0\nbatch-size = 2\nspool = 'disk'\n"
        "threads = 1\n[[run]]\nname = 's{seed}'\nover.seed = [0, 1, 2]\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(file), str(out), str(tmp_path / "cache")],
        env={**os.environ, "TEST_SLOW": "0.4", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    try:
        end = time.monotonic() + 240
        while len(list((out / "s1").glob("unfinished/spool/relu/*.h5"))) < 2:
            assert process.poll() is None, "the series ended before it could be killed"
            assert time.monotonic() < end, "no spool appeared"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (out / "s1" / "result.json").exists()
    before = (out / "s0" / "result.json").stat().st_mtime_ns
    assert [plan.state for plan in plan_series(ndengine.read_series(file), out)] == ["finished", "interrupted", "new"]
    outcomes = run_series(ndengine.read_series(file), out, cache=tmp_path / "cache")
    assert [outcome.fate for outcome in outcomes] == ["taken", "computed", "computed"]
    assert (out / "s0" / "result.json").stat().st_mtime_ns == before
    probed = [json.loads((out / f"s{k}" / "result.json").read_text())["provenance"]["images_probed"] for k in range(3)]
    assert 0 < probed[1] < 12
    assert (probed[0], probed[2]) == (12, 12)
    whole = run_series(series, tmp_path / "whole", cache=tmp_path / "cache")
    assert [outcome.summaries for outcome in outcomes] == [outcome.summaries for outcome in whole]
