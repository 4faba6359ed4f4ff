"""Where the time went: stages, the parts of each, and that they add up."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ndengine import clock, dissect, spool
from ndengine.clock import Clock
from ndengine.dissect import dissect_network
from ndengine.result import load
from ndengine.settings import Knobs, Settings, SpoolKind
from tests.engine.tinybroden import make_broden

NETS = Path(__file__).with_name("smallnets.py")
IMAGES = 14


class Time:
    """A clock that goes on only when it is told to."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock, "time", time)
    return time


def test_a_part_inside_a_part_counts_for_itself(time: Time) -> None:
    measured = Clock()
    time.pass_by(1)
    with measured.stage("probe"):
        time.pass_by(2)
        for _ in range(2):
            with measured.part("sieve"):
                time.pass_by(4)
                with measured.part("write"):
                    time.pass_by(8)
                time.pass_by(16)
        with measured.part("write"):
            time.pass_by(32)
    with measured.stage("report"):
        time.pass_by(64)
    record = measured.record()
    assert record["seconds"] == {"probe": 90, "report": 64}
    assert record["profile"]["parts"] == {"probe": {"sieve": 40, "write": 48}}
    assert record["profile"]["whole_seconds"] == 155
    assert record["profile"]["true_borders"] is True


def test_waiting_for_items_and_what_a_reader_does(time: Time) -> None:
    measured, found = Clock(), []

    def items() -> Any:
        for item in range(3):
            with measured.reading("read"):
                time.pass_by(2)
            yield item

    with measured.stage("probe"):
        for item in measured.each(items(), "wait"):
            time.pass_by(5)
            found.append(item)
    assert found == [0, 1, 2]
    assert measured.record()["profile"]["parts"] == {"probe": {"wait": 6}}
    assert measured.record()["profile"]["reader"] == {"read": 6}
    assert measured.seconds == {"probe": 21}


def test_an_error_leaves_the_clock_in_order(time: Time) -> None:
    measured = Clock()

    def fail() -> None:
        time.pass_by(3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), measured.stage("probe"), measured.part("sieve"):
        fail()
    with measured.part("write"):  # of no stage, and so of none's parts
        time.pass_by(7)
    with measured.stage("tally"), measured.part("count"):
        time.pass_by(1)
    assert measured.parts == {"probe": {"sieve": 3}, "tally": {"count": 1}}
    assert measured.seconds == {"probe": 3, "tally": 1}


def test_what_is_under_way_counts_where_it_was_begun(time: Time) -> None:
    """``wait`` stands for a GPU: work that is queued takes its time when somebody waits for it."""
    measured, queued = Clock(), [0.0]

    def wait() -> None:
        time.pass_by(queued[0])
        queued[0] = 0

    measured.wait = wait
    with measured.stage("probe"):
        with measured.part("forward"):
            queued[0] += 5
        with measured.part("sieve"):
            queued[0] += 3
            with measured.part("write"):
                time.pass_by(1)
        queued[0] += 11
    assert measured.parts == {"probe": {"forward": 5, "sieve": 3, "write": 1}}
    assert measured.seconds == {"probe": 20}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_broden(tmp_path / "tiny", images=IMAGES)
    return Settings(
        model=f"{NETS}:shared",
        layers=("first", "second"),
        data=str(tmp_path / "tiny"),
        min_images=1,
        knobs=Knobs(quantile="0.02"),
        mean=(0.5, 0.5, 0.5),
        batch_size=4,
    )


@pytest.mark.parametrize("kind", ["memory", "disk", "dense"])
def test_the_parts_of_a_run_add_up(
    kind: SpoolKind, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1)
    out = tmp_path / "out"
    found = dissect_network(replace(settings, spool=kind), out, cache=tmp_path / "cache")
    assert found.computed
    seconds, profile = found.provenance["seconds"], found.provenance["profile"]
    assert set(seconds) == {
        "data", "model", "compile", "spool", "probe", "threshold", "tally", "score", "result", "report",
    }  # fmt: skip
    assert 0 <= profile["whole_seconds"] - sum(seconds.values()) + 0.01 < 1
    written = set() if kind == "memory" else {"write"}
    assert set(profile["parts"]["probe"]) - {"read"} == {"wait", "normalise", "forward", "sieve"} | written
    assert set(profile["parts"]["tally"]) == {"read", "labels", "count", "masks"}
    for stage, parts in profile["parts"].items():
        assert 0 <= sum(parts.values()) <= seconds[stage] + 0.01
    assert set(profile["reader"]) == {"read", "prepare"}
    again = dissect_network(replace(settings, spool=kind), out, cache=tmp_path / "cache")
    assert not again.computed
    recorded = json.loads((out / "result.json").read_text())["provenance"]
    assert again.provenance == recorded
    assert recorded["profile"]["parts"] == profile["parts"]
    assert recorded["profile"]["whole_seconds"] <= profile["whole_seconds"]


def test_a_resumed_run_tells_of_what_it_did(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1)
    disk = replace(settings, spool="disk")
    with monkeypatch.context() as patch:
        patch.setattr(dissect, "find_thresholds", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            dissect_network(disk, tmp_path / "out", cache=tmp_path / "cache")
    profile = dissect_network(disk, tmp_path / "out", cache=tmp_path / "cache").provenance["profile"]
    assert "forward" not in profile["parts"]["probe"], "all images had been probed"
    assert profile["parts"]["tally"]["count"] >= 0


@pytest.mark.parametrize("profile", [False, True])
def test_a_device_is_waited_for_only_where_that_was_asked_for(
    profile: bool, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []
    monkeypatch.setattr(dissect, "finish_work", lambda device: waited.append(threading.current_thread()))
    dissect_network(settings, tmp_path / "out", cache=tmp_path / "cache", profile=profile)
    assert bool(waited) is profile
    assert set(waited) <= {threading.main_thread()}


@pytest.mark.skipif(sys.platform != "linux", reason="only there does getrusage count what started a process")
def test_the_peak_of_memory_is_the_process_own() -> None:
    held = np.ones(300 << 20, np.uint8)
    code = "from ndengine.clock import peak_memory_bytes; print(peak_memory_bytes())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert clock.peak_memory_bytes() > len(held)  # type: ignore[operator]
    assert 1e6 < int(found.stdout) < 200e6


def test_a_run_holds_one_copy_of_its_counts(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was computed is let go before what was written is read back, whose peak is told, too."""
    alive: list[Any] = []
    score, seen = dissect.score_layer, []
    peak = clock.peak_memory_bytes() or 0

    def watch(run: Any, layer: Any, counts: Any, *more: Any) -> Any:
        seen.append(weakref.ref(counts.intersection))
        return score(run, layer, counts, *more)

    def reading(folder: Path) -> Any:
        alive.extend(ref() for ref in seen)
        monkeypatch.setattr(dissect, "peak_memory_bytes", lambda: 3 * peak)
        return load(folder)

    monkeypatch.setattr(dissect, "score_layer", watch)
    monkeypatch.setattr(dissect, "load", reading)
    found = dissect_network(settings, tmp_path / "out", cache=tmp_path / "cache")
    assert alive == [None, None]
    assert (found.folder, found.computed) == (tmp_path / "out", True)
    monkeypatch.undo()
    again = load(tmp_path / "out")
    for name, layer in again.layers.items():
        np.testing.assert_array_equal(layer.counts.intersection, found.layers[name].counts.intersection)
        assert layer.summary == found.layers[name].summary
        assert (layer.field, layer.shape, layer.folder) == (
            found.layers[name].field, found.layers[name].shape, found.layers[name].folder,
        )  # fmt: skip
    assert again.settings == found.settings
    assert again.provenance["peak_memory_bytes"] == found.provenance["peak_memory_bytes"] == 3 * peak
    for once in ("profile", "seconds"):
        assert again.provenance.pop(once)
        assert found.provenance.pop(once)
    assert again.provenance == found.provenance
