"""A run with --overwrite: what is in its way is told before it computes, and the old result outlives a failure."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ndengine import dissect
from ndengine.compare import compare_results
from ndengine.dissect import dissect_network
from ndengine.errors import ResultError
from ndengine.progress import Silent
from ndengine.publish import JOURNAL
from ndengine.result import Dissection, load
from ndengine.settings import Knobs, Settings
from tests.engine.tinybroden import make_broden

NETS = Path(__file__).with_name("smallnets.py")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_broden(tmp_path / "tiny", images=8)
    return Settings(
        model=f"{NETS}:shared",
        layers=("second",),
        data=str(tmp_path / "tiny"),
        min_images=1,
        knobs=Knobs(quantile="0.02"),
    )


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Dissection]:
    def call(settings: Settings, **more: Any) -> Dissection:
        return dissect_network(settings, tmp_path / "out", cache=tmp_path / "cache", **more)

    return call


def not_reached(*_: object, **__: object) -> None:
    raise AssertionError("it must be refused before anything is computed")


def test_overwriting(settings: Settings, run: Callable[..., Dissection], tmp_path: Path, monkeypatch: Any) -> None:
    out = tmp_path / "out"
    found = run(replace(settings, spool="dense"))
    assert found.folder == out
    home = found.layer().folder
    other = replace(settings, limit=6)
    (out / home / "notes.txt").write_text("precious")

    # Something of the user's where the new result wants to be: nothing is computed, and nothing goes.
    (out / "report" / home / "unit-0004.jpg").unlink(missing_ok=True)
    stranger = out / "unit"
    with monkeypatch.context() as patch:
        patch.setattr(dissect, "fill_spools", not_reached)
        stranger.mkdir()
        (out / home).rename(out / "aside")
        (out / home).symlink_to(stranger)
        (out / home).unlink()
        (out / home).write_text("a file")
        with pytest.raises(ResultError, match=r"is a file where a folder of the result belongs; move it away"):
            run(other, overwrite=True)
        (out / home).unlink()
        (out / "aside").rename(out / home)
    assert load(out).settings["limit"] is None

    # What the disk has is read before the old result goes.
    with monkeypatch.context() as patch:
        patch.setattr(dissect, "load", lambda folder: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(other, overwrite=True)
    assert load(out).settings["limit"] is None

    # A linked folder is told of and replaced; what it leads to stays.
    (out / home).rename(tmp_path / "big")
    (out / home).symlink_to(tmp_path / "big")
    notes: list[str] = []

    class Listener(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    assert run(other, overwrite=True, progress=Listener()).computed
    assert any(f"{home} is a link to {tmp_path / 'big'}" in note for note in notes)
    assert load(out).settings["limit"] == 6
    assert (tmp_path / "big" / "notes.txt").read_text() == "precious"
    assert (tmp_path / "big" / "activations.h5").exists()
    assert not (out / home / "activations.h5").exists()


def test_a_file_in_the_way_of_a_first_result(
    settings: Settings, run: Callable[..., Dissection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out" / "report").mkdir(parents=True)
    (tmp_path / "out" / ".ndengine.lock").touch()
    (tmp_path / "out" / "report" / "index.html").write_text("precious")
    with monkeypatch.context() as patch:
        patch.setattr(dissect, "fill_spools", not_reached)
        for overwrite in (False, True):
            with pytest.raises(ResultError, match=r"report/index\.html is in the way of the result and belongs to no"):
                run(settings, overwrite=overwrite)
    (tmp_path / "out" / "report" / "index.html").rename(tmp_path / "out" / "report" / "mine.html")
    assert run(settings).computed
    assert (tmp_path / "out" / "report" / "mine.html").read_text() == "precious"


def test_a_result_halfway_to_its_place_is_found(
    settings: Settings, run: Callable[..., Dissection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ndengine.publish._apply", stop)
        with pytest.raises(KeyboardInterrupt):
            run(settings)
    shutil.copytree(tmp_path / "out", tmp_path / "again")
    assert (tmp_path / "out" / "unfinished" / JOURNAL).exists()
    assert [entry.label for entry in compare_results([tmp_path]).entries] == ["again", "out"]
    shutil.rmtree(tmp_path / "out")
    shutil.move(tmp_path / "again", tmp_path / "out")
    assert not run(settings).computed
    assert not (tmp_path / "out" / "unfinished").exists()
