"""``ndengine sweep`` on a small network and dataset: it runs, resumes, and tells what failed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import ndengine
from ndengine.series.expand import count_choices, expand_grids
from ndengine.series.read import MOST_RUNS
from tests.cli.conftest import Invoke

Fails = Callable[..., str]


@pytest.fixture
def series(tmp_path: Path, network: Path, broden: Path) -> Path:
    """Three runs of that network on that dataset."""
    file = tmp_path / "series.toml"
    file.write_text(
        f"""
        title = "Three seeds"
        model = "{network.name}:build"
        data = "{broden.name}"
        layer = "relu2"
        batch-size = 4
        threads = 1
        min-images = 0
        spool = "disk"

        [[run]]
        name = "seed-{{seed}}"
        x = "seed"
        over.seed = [0, 1, 2]
        """
    )
    return file


@pytest.fixture
def sweep(tmp_path: Path, series: Path) -> list[object]:
    """The words of that sweep, into ``swept``."""
    return ["sweep", series, "--out", tmp_path / "swept", "--cache", tmp_path / "cache"]


def test_a_sweep_leaves_results_and_their_comparison(invoke: Invoke, sweep: list[object], tmp_path: Path) -> None:
    done = invoke("sweep", *sweep[1:])
    assert done.exit_code == 0, done.output
    out = tmp_path / "swept"
    for seed in range(3):
        assert ndengine.load(out / f"seed-{seed}").settings["seed"] == seed
        assert f"Run {seed + 1} of 3: seed-{seed}" in done.stderr.splitlines()
    assert done.stderr.count("packing: 12 images") == 1
    assert (out / "compare" / "compare.csv").is_file()
    lines = done.stdout.splitlines()
    assert lines[0] == "3 runs"
    assert "Three seeds" in lines
    assert any(line.split()[:3] == ["seed-1", "relu2", "1"] for line in lines)


def test_a_sweep_again_takes_what_is_finished(
    invoke: Invoke, sweep: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke(*sweep).exit_code == 0
    monkeypatch.setenv("TEST_INTERRUPT_AFTER", "0")  # the network must not be asked
    done = invoke(*sweep, "--json", "--quiet", "--threads", 2)
    assert (done.exit_code, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert [run["fate"] for run in record["runs"]] == ["taken"] * 3
    assert len(record["comparison"]["entries"]) == 3


def test_what_nobody_foresaw_shows_where(invoke: Invoke, sweep: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndengine.series.run.dissect_network", lambda *a, **k: 1 / 0)
    done = invoke(*sweep, "--quiet")
    assert done.exit_code == 1
    assert done.stderr.count("Traceback (most recent call last)") == 3
    assert "Error: 3 of 3 runs failed (seed-0: ZeroDivisionError: division by zero; " in done.stderr


def test_an_interrupted_sweep_goes_on(
    invoke: Invoke, sweep: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ndengine.spool.SEGMENT_BYTES", 1)  # a segment a batch
    out = tmp_path / "swept"
    monkeypatch.setenv("TEST_INTERRUPT_AFTER", "8")
    assert invoke(*sweep).exit_code == 130
    done = invoke(*sweep, "--dry-run", "--json")
    assert [run["state"] for run in json.loads(done.stdout)["runs"]] == ["interrupted", "new", "new"]
    monkeypatch.delenv("TEST_INTERRUPT_AFTER")
    assert invoke(*sweep).exit_code == 0
    assert 0 < ndengine.load(out / "seed-0").provenance["images_probed"] < 12
    assert ndengine.load(out / "seed-1").provenance["images_probed"] == 12


def test_a_dry_run_lists_and_does_nothing(invoke: Invoke, sweep: list[object], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = invoke(*sweep, "--dry-run")
    assert done.exit_code == 0
    assert [line.split() for line in done.stdout.splitlines()[4:7]] == [
        [f"seed-{seed}", f"seed-{seed}", "new"] for seed in range(3)
    ]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def poisoned(series: Path, sweep: list[object]) -> list[object]:
    """That sweep with a second run whose unit 3 gives NaN."""
    text = series.read_text()
    series.write_text(f'{text}\n[[run]]\nname = "bad"\nmodel = "net.py:poisoned"\n[[run]]\nname = "last"\nseed = 7\n')
    return sweep


def test_a_run_that_fails_does_not_stop_the_others(invoke: Invoke, poisoned: list[object], tmp_path: Path) -> None:
    done = invoke(*poisoned, "--json")
    assert done.exit_code == 1
    record = json.loads(done.stdout)
    assert [run["fate"] for run in record["runs"]] == ["computed"] * 3 + ["failed", "computed"]
    assert "unit 3" in record["runs"][3]["error"]
    assert len(record["comparison"]["entries"]) == 4
    lines = done.stderr.splitlines()
    assert f"Note: bad failed: {record['runs'][3]['error']}" in lines
    assert lines[-1].startswith("Error: 1 of 5 runs failed (bad: Layer relu2 gives nan in unit 3 on image ")
    assert lines[-1].endswith(".")


def test_quiet_prints_nothing_but_what_failed(invoke: Invoke, poisoned: list[object]) -> None:
    done = invoke(*poisoned, "--quiet")
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: 1 of 5 runs failed (bad: ")


def test_a_failure_may_stop_the_others(invoke: Invoke, poisoned: list[object], tmp_path: Path) -> None:
    done = invoke(*poisoned, "--fail-fast", "--json", "--quiet")
    assert done.exit_code == 1
    assert [run["fate"] for run in json.loads(done.stdout)["runs"]][3:] == ["failed", "not reached"]
    assert not (tmp_path / "swept" / "last").exists()


def test_what_the_command_says_goes_for_all_runs(
    invoke: Invoke, fails: Fails, sweep: list[object], tmp_path: Path
) -> None:
    assert invoke(*sweep, "--limit", 5, "--quiet").exit_code == 0
    assert [len(ndengine.load(tmp_path / "swept" / f"seed-{seed}").image_names) for seed in range(3)] == [5] * 3
    said = fails(*sweep, "--limit", 6)
    assert "seed-0 holds a dissection with other settings (limit)" in said
    assert invoke(*sweep, "--limit", 6, "--overwrite", "--quiet").exit_code == 0
    assert len(ndengine.load(tmp_path / "swept" / "seed-2").image_names) == 6


def test_the_folder_is_named_after_the_file_by_default(
    invoke: Invoke, sweep: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke(*sweep[:2], *sweep[4:], "--dry-run", "--json")
    assert json.loads(done.stdout)["runs"][0]["folder"] == "dissections/series/seed-0"


def test_a_wrong_file_is_a_wrong_call(fails: Fails, series: Path, sweep: list[object], tmp_path: Path) -> None:
    assert "can't be read" in fails("sweep", tmp_path / "nowhere.toml", code=2)
    series.write_text("[[run]]\nlayers = 'conv1'")
    assert fails(*sweep, code=2).startswith(f"{series}, [[run]] 1: There is no key 'layers' here; use layer")
    assert not (tmp_path / "swept").exists()


@pytest.mark.parametrize("dry", [True, False])
def test_a_grid_is_counted_before_it_is_made(dry: bool, fails: Fails, tmp_path: Path) -> None:
    file = tmp_path / "huge.toml"
    values = list(range(1, 1001))
    keys = ("seed", "top-images", "limit", "min-images")
    grid = "\n".join(f"over.{key} = {values}" for key in keys)
    file.write_text(f'[[run]]\nname = "a"\n[[run]]\nname = "{{seed}}-{{limit}}"\n{grid}\n')
    message = fails("sweep", file, "--out", tmp_path / "out", *(["--dry-run"] if dry else []), code=2)
    assert message == f"{file} describes 1,000,000,000,001 runs; use 10,000 at most, or several files."
    assert not (tmp_path / "out").exists()


def test_the_largest_series_is_taken() -> None:
    over = [{"a": list(range(100)), "b": list(range(99))}, {"a": list(range(100))}]
    assert count_choices(over) == len(list(expand_grids(over))) == MOST_RUNS
    assert count_choices(None) == count_choices({}) == count_choices({"a": 3}) == 1


def test_a_pipe_is_no_series(fails: Fails, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "series.toml")
    assert fails("sweep", tmp_path / "series.toml", "--dry-run", code=2).endswith(
        "is a named pipe, not a file; name a series file."
    )
