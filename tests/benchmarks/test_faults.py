"""The scripts that flip bytes and kill runs notice what is wrong, and say what is right."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks import flip_bytes, kill_runs
from benchmarks.contents import VOLATILE, contents_of, differences
from benchmarks.flip_bytes import Flip, Rooms, apart, classify, vital_spans
from benchmarks.flip_kinds import KINDS, ROOMS, Kind
from benchmarks.flip_readers import Desk, Reading, read
from benchmarks.flip_rooms import put_back
from benchmarks.kill_plans import make_plan, make_works
from ndengine.errors import ResultError
from ndengine.result import load
from tests.engine.dissections import make_dissection, write

# Newer Pythons warn where a process with threads forks; the children here call nothing that needs the others.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _same_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # rooms change it, and this puts it back


def test_contents_tell_every_change_but_dates(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, seconds in ((one, 1.5), (other, 2.5)):
        folder.mkdir()
        (folder / "a.json").write_text(json.dumps({"seconds": {"probe": seconds}, "units": [3, 4], "x": {"y": 1}}))
        (folder / "a.html").write_text(f"<div><dt>seconds.probe</dt><dd>{seconds}</dd></div><p>7")
        with h5py.File(folder / "a.h5", "w") as file:
            file["counts"], file["counts"].attrs["crc"] = np.arange(3), 7
        (folder / ".a.lock").write_text(str(seconds))
    assert differences(contents_of(one, VOLATILE), contents_of(other, VOLATILE)) == []
    assert len(differences(contents_of(one), contents_of(other))) == 2
    (other / "a.json").write_text(json.dumps({"units": [3, 5], "x": {"y": 1}}))
    (other / "a.html").write_text("<p>8")
    with h5py.File(other / "a.h5", "r+") as file:
        file["counts"][1] = 9
        file["counts"].attrs["crc"] = 8
    (other / "more").write_bytes(b"")
    found = differences(contents_of(one, VOLATILE), contents_of(other, VOLATILE))
    assert [line.partition(" became ")[0].split(": ")[:2] for line in found] == [
        ["a.h5", "counts"],
        ["a.h5", "counts@crc"],
        ["a.html", found[2].split(": ")[1].split(" ")[0]],
        ["a.json", "units"],
        ["more", "nothing"],
    ]


USUAL = Reading({"a": "1"}, told="reading x.h5")


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (USUAL, "harmless"),
        (Reading({"a": "1"}, told="reading x.h5; x.h5 is damaged and made again"), "mended"),
        (Reading({"a": "2"}, told="reading x.h5"), "silent"),
        (Reading({}, told="reading x.h5"), "silent"),
        (Reading({"a": "2"}, told="reading x.h5; x.h5 is damaged and left out"), "found"),
        (Reading(refusal="Error: x.h5 is damaged.", exit_code=1), "found"),
        (Reading(refusal="Error: x.h5 is damaged.", exit_code=2), "unnamed"),
        (Reading(refusal="Error: a file is damaged.", exit_code=1), "unnamed"),
        (Reading(refusal="x.h5", exit_code=1), "unnamed"),
        (Reading(bug="KeyError: 'x.h5'"), "traceback"),
        (Reading(bug="hang of 3 s"), "hang"),
    ],
)
def test_outcomes(found: Reading, outcome: str) -> None:
    assert classify(found, USUAL, Path("out/x.h5"))[0] == outcome


def test_what_is_always_refused_must_stay_so() -> None:
    usual = Reading(refusal="Error: no folder.", exit_code=1)
    assert classify(usual, usual, Path("x"))[0] == "harmless"
    assert classify(USUAL, usual, Path("x"))[0] == "silent"


def test_a_folder_is_put_back_as_it_was(tmp_path: Path) -> None:
    kept, live = tmp_path / "kept", tmp_path / "live"
    for name in ("a", "b/c", "b/d", "e/f"):
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        (kept / name).write_text(name)
    put_back(kept, live)
    state = (live / "a").stat()
    (live / "a").write_text("x")
    os.utime(live / "a", ns=(state.st_atime_ns, state.st_mtime_ns))  # as a flip leaves it
    (live / "b/c").write_text("other")
    (live / "b/d").unlink()
    (live / "e/f").unlink()
    (live / "e").rmdir()
    (live / "e").write_text("a file")
    (live / "new/folder").mkdir(parents=True)
    (live / "link").symlink_to(kept)
    put_back(kept, live, Path("a"))
    assert contents_of(live) == contents_of(kept)
    assert sorted(path.name for path in live.iterdir()) == ["a", "b", "e"]
    assert (live / "b/c").stat().st_mtime_ns == (kept / "b/c").stat().st_mtime_ns


def test_a_flip_changes_one_byte_and_no_date(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(100))
    before = file.stat().st_mtime_ns
    Flip(0, KINDS[0], file, 40, 3).make()
    assert file.read_bytes() == bytes(40) + b"\3" + bytes(59)
    assert file.stat().st_mtime_ns == before


def test_vital_places_of_hdf5_are_those_outside_its_arrays(tmp_path: Path) -> None:
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as opened:
        opened["whole"] = np.full(50_000, 255, np.uint8)
        opened.create_dataset("chunks", data=np.full(30_000, 255, np.uint8), chunks=(10_000,))
        opened.attrs["bound"] = 3
    content, spans = file.read_bytes(), list(vital_spans(file))
    assert sum(stop - start for start, stop in spans) == len(content) - 80_000
    assert not any(bytes([255]) * 1000 in content[start:stop] for start, stop in spans)
    file.write_bytes(content[:700])
    assert list(vital_spans(file)) == [(0, 700)]


def test_crashes_and_hangs_are_seen() -> None:
    assert "died with -9" in apart(lambda: os.kill(os.getpid(), signal.SIGKILL), 60).bug  # type: ignore[arg-type,return-value]
    assert apart(lambda: time.sleep(60), 0.2).bug.startswith("hang")  # type: ignore[arg-type,return-value]
    assert apart(lambda: Reading({"a": "1"}), 60) == Reading({"a": "1"})


def naming(desk: Desk) -> None:
    """Read a file with a checksum and be sure."""
    content, _, checksum = Path("data.txt").read_text("latin1").rpartition("\n")
    if hashlib.sha256(content.encode("latin1")).hexdigest() != checksum:
        raise ResultError("data.txt is damaged; write it again.")
    desk.keep("content", content)


def trusting(desk: Desk) -> None:
    """Read it and believe it."""
    desk.keep("content", Path("data.txt").read_text("latin1"))


def careless(desk: Desk) -> None:
    """Read it and give up where it is not understood."""
    content, _, checksum = Path("data.txt").read_text("latin1").rpartition("\n")
    desk.keep("content", {hashlib.sha256(content.encode("latin1")).hexdigest(): content}[checksum])


@pytest.mark.parametrize(
    ("reader", "outcome"), [(naming, "found"), (trusting, "silent"), (careless, "traceback"), (print, "traceback")]
)
def test_readers_are_judged(
    reader: Callable[[Desk], None], outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> None:
        Path("data.txt").write_text("abc\n" + hashlib.sha256(b"abc").hexdigest())

    monkeypatch.setitem(ROOMS, "toy", build)
    kind = Kind("toy", "toy", ("*.txt",), {"good": naming, "other": reader if reader is not print else broken})
    rooms = Rooms(tmp_path)
    verdicts = [rooms.judge(rooms.flip(1, number, [kind]), 60) for number in range(3)]
    assert {verdict.outcome for verdict in verdicts} == {outcome}
    assert [verdict.offset for verdict in verdicts] == [rooms.flip(1, number, [kind]).offset for number in range(3)]
    assert len({(verdict.offset, verdict.xor) for verdict in verdicts}) == 3


def broken(desk: Desk) -> None:
    """End the process where the file is damaged."""
    if read(naming).refusal:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_changed_result_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "other"):
        dissection = make_dissection(tmp_path / name)
        write(dissection)
    usual = kill_runs.Usual(kill_runs.all_of(tmp_path / "one"), 0, 0)
    assert kill_runs.check_result(tmp_path / "other", usual) == ""
    older = {"result.json": "another"}
    assert kill_runs.check_older(tmp_path / "other", older, usual) == ""
    (tmp_path / "other" / "unfinished" / "spool").mkdir(parents=True)
    assert kill_runs.check_older(tmp_path / "other", older, usual) == ""
    assert "unfinished" in kill_runs.check_result(tmp_path / "other", usual)
    (tmp_path / "other" / "images.csv").unlink()
    assert "can't be read" in kill_runs.check_older(tmp_path / "other", older, usual)
    with pytest.raises(ResultError):
        load(tmp_path / "other")


def test_stages_of_what_a_run_has_said(tmp_path: Path) -> None:
    said = "Note: what is new.\ncompile: 9 kernels\ncompile: done in 0.1 s (90.0 kernels/s)\n"
    assert kill_runs.stage_of(tmp_path, said) == "before the probe"
    assert kill_runs.stage_of(tmp_path, said + "probe: 1,240 images\n") == "probe"
    done = said + "probe: 1,240 images\nprobe: done in 2.0 s (620.0 images/s)\ntally: 1,240 images\n"
    assert kill_runs.stage_of(tmp_path, done) == "after the probe"
    (tmp_path / "out/unfinished/result").mkdir(parents=True)
    (tmp_path / "out/unfinished/result/result.json").write_text("")
    assert kill_runs.stage_of(tmp_path, done) == "publishing"


def test_plans_come_from_their_number() -> None:
    works = make_works(Path("home"), Path("shared"))
    plans = [make_plan(0, number, works) for number in range(100)]
    assert plans == [make_plan(0, number, works) for number in range(100)]
    assert {plan.spool for plan in plans} == {"disk", "auto", "memory", "dense"}
    assert {plan.work.name for plan in plans} == {work.name for work in works}
    assert {len(plan.kills) for plan in plans} == {1, 2, 3}
    assert {kill.signal for plan in plans for kill in plan.kills} == {signal.SIGKILL, signal.SIGTERM, signal.SIGINT}
    for what in (lambda p: p.overwrite, lambda p: p.cold, lambda p: any(kill.publishing for kill in p.kills)):
        assert 3 < sum(map(what, plans)) < 60


def test_what_went_wrong_is_told() -> None:
    outcome = {
        "number": 0, "work": "scenes", "spool": "disk", "overwrite": True, "signals": ["SIGKILL"], "stages": ["probe"],
        "went_on": True, "runs": 1, "wrong": "",
    }  # fmt: skip
    good = kill_runs.show({"seed": 0, "outcomes": [outcome]}).reading
    assert "**" not in good
    assert (
        "**1 of 2 runs went wrong.**"
        in kill_runs.show({"seed": 0, "outcomes": [outcome, {**outcome, "wrong": "x"}]}).reading
    )
    assert "**" not in flip_bytes.show({"seed": 0, "outcomes": {"a": {"found": 3}}}).reading
    assert "**1 were not" in flip_bytes.show({"seed": 0, "outcomes": {"a": {"found": 3, "silent": 1}}}).reading


def script(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.{name}", *map(str, words)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.slow
def test_some_flips(tmp_path: Path) -> None:
    done = script("flip_bytes", "--flips", len(KINDS), "--results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "flip-bytes.json").read_text())
    assert content["flips"] == len(KINDS)
    assert content["bad"] == []


@pytest.mark.slow
def test_some_kills(tmp_path: Path) -> None:
    done = script("kill_runs", "--kills", 3, "--seed", 1, "--results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads((tmp_path / "kill-runs.json").read_text())["outcomes"]) == 3
