"""``ndengine sweep`` on a small network and dataset: it runs, resumes, and tells what failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import ndengine
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
