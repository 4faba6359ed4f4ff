"""``ndengine paper``, with little to learn from and few scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ndengine.datasets import open as opening
from ndengine.datasets.scenes import scenes_folder
from ndengine.experiments import paper as engine
from ndengine.models.small.rows import NETWORKS, Budget
from ndengine.models.small.train import train_small
from ndengine.series import run as series
from tests.cli.conftest import Invoke

TINY = Budget(images=64, epochs=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the base has been trained, a little."""
    folder = tmp_path_factory.mktemp("cache")
    train_small(NETWORKS["small-base"], folder, TINY, after_epoch=lambda epoch: None)
    return folder


@pytest.fixture
def words(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The words of one experiment on few scenes, into ``out``."""
    monkeypatch.setattr(opening, "scenes_folder", lambda cache, progress: scenes_folder(cache, progress, images=40))
    monkeypatch.setattr(engine, "Budget", lambda: TINY)
    return ["paper", "--only", "iterations", "--out", tmp_path / "out", "--cache", cache, "--threads", 1]


def test_the_outcome_is_printed_beside_the_paper_s(invoke: Invoke, words: list[object], tmp_path: Path) -> None:
    done = invoke("paper", *words[1:])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert "Training iterations" in lines
    assert sum(line.split()[:2] == ["after", "2"] for line in lines) == 1
    assert sum(line.startswith("paper: ") for line in lines) == 2
    assert sum(line.startswith("here:  ") for line in lines) == 2
    assert any(line.split()[:1] == ["small-base"] for line in lines)
    assert lines[-1] == f"Page: {tmp_path / 'out' / 'index.html'}"
    assert "Training iterations" in done.stderr.splitlines()


def test_json_is_one_object(invoke: Invoke, words: list[object], tmp_path: Path) -> None:
    done = invoke(*words, "--json", "-q")
    assert (done.exit_code, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert Path(record["page"]).is_file()
    assert [experiment["name"] for experiment in record["experiments"]] == ["iterations"]
    assert record["trainings"]["small-base"]["iterations"] == 2


def test_an_unknown_experiment_is_a_wrong_call(fails: Callable[..., str], tmp_path: Path) -> None:
    message = fails("paper", "--only", "iteration", "--out", tmp_path / "out", code=2)
    assert message == "There is no experiment 'iteration'; use layers, rotation, iterations, conditions, supervision."
    assert not (tmp_path / "out").exists()


def test_failed_runs_are_told_and_end_with_1(fails: Callable[..., str], words: list[object], tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "iterations" / "after-001").mkdir(parents=True)
    (out / engine.LOCK).touch()
    (out / "iterations" / series.LOCK).touch()
    (out / "iterations" / "after-001" / "mine.txt").write_text("in the way")
    assert fails(*words, "-q").startswith("1 of 3 runs failed (after-001: ")


@pytest.mark.parametrize("name", ["layers", "rotation", "iterations", "conditions", "supervision"])
def test_every_experiment_is_a_sweep_too(invoke: Invoke, tmp_path: Path, name: str) -> None:
    file = Path(engine.__file__).with_name(f"{name}.toml")
    done = invoke("sweep", file, "--dry-run", "--json", "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert {run["state"] for run in json.loads(done.stdout)["runs"]} == {"new"}
