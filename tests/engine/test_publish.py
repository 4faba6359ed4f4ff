"""Putting a result in its place: a kill leaves the old or the new one whole, and nobody else's file goes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dissections import make_dissection, write

from benchmarks.edit_results import same
from ndengine.errors import ResultError
from ndengine.progress import Silent
from ndengine.report import write_report
from ndengine.result import Dissection, load
from ndengine.result_files import sha256
from ndengine.result_record import read_record
from ndengine.workspace import claim
from tests.records import age_record, edit_record

MINE = ("mine.txt", "conv5_3/notes.txt", "backup/counts.h5", "own/units.csv", "report/talk.txt", "report/unit-mine.jpg")
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")


def report(dissection: Dissection) -> None:
    """A report with pictures of some units."""
    write_report(dissection, dissection.folder / "report", None, Silent())
    for layer in dissection.layers.values():
        (dissection.folder / "report" / layer.folder / "unit-0001.jpg").write_bytes(b"picture")


def put(out: Path, seed: int, layers: slice = slice(None), *, publish: bool = True) -> Dissection:
    """Put a result together in ``out/unfinished/result``, and in its place."""
    with claim(out) as workspace:
        workspace.prepare(afresh=True)
        made = make_dissection(workspace.staging)
        kept = dict(list(made.layers.items())[layers])
        made = replace(made, layers=kept, provenance={"seed": seed})
        report(made)
        write(made)
        if publish:
            workspace.publish()
        return replace(made, folder=out)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with a result, and files of the user's own in every corner."""
    put(tmp_path / "out", 1)
    for name in MINE:
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("precious")
    return tmp_path / "out"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def forked(action: Callable[[], object], out: Path, kill_at: int) -> bool:
    """Do something in a process that is killed before its n-th change in a folder; whether it came to its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, which the child does not use
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    left = kill_at

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in CHANGES and not (event == "open" and arguments[1] in ("r", "rb")):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(count)
        action()
        os._exit(0)
    finally:
        os._exit(1)


def fits_its_record(folder: Path) -> bool:
    """Whether all files are those of ``result.json``, if there is one: other programs read them as they lie there."""
    if not (folder / "result.json").exists():
        return True
    record = json.loads((folder / "result.json").read_text())
    sums = {
        f"{layer['folder']}/{name}": digest for layer in record["layers"] for name, digest in layer["sha256"].items()
    }
    return all(sha256(folder / name) == digest for name, digest in {**record["sha256"], **sums}.items())


def publish(out: Path) -> None:
    with claim(out) as workspace:
        workspace.publish()


def test_a_kill_leaves_the_old_or_the_new_result_whole(out: Path, tmp_path: Path) -> None:
    old = load(out)
    new = put(out, 2, slice(1, 2), publish=False)
    seen, ended, kill_at = [], False, 0
    while not ended:
        shutil.copytree(out, tmp_path / "try")
        ended = forked(lambda: publish(tmp_path / "try"), tmp_path / "try", kill_at)
        assert fits_its_record(tmp_path / "try")
        found = load(tmp_path / "try")
        is_new = same(replace(found, folder=out), new)
        assert is_new or same(replace(found, folder=out), old)
        seen.append(is_new)
        expected = files(out) if not is_new else {*MINE, ".ndengine.lock", "result.json", "images.csv"} | {
            *(f"block_1/{name}" for name in ("counts.h5", "examples.h5", "units.csv")),
            *("report/index.html", "report/block_1/unit-0001.jpg"),
        }  # fmt: skip
        assert {name for name in files(tmp_path / "try") if not name.endswith(".part")} == expected
        assert all((tmp_path / "try" / name).read_text() == "precious" for name in MINE)
        shutil.rmtree(tmp_path / "try")
        kill_at += 1
    assert seen == sorted(seen), "once it counts, it counts"
    assert seen.count(False) > 1
    assert seen.count(True) > 10
    assert ended


def test_a_reader_that_is_killed_while_it_helps_does_no_harm(out: Path, tmp_path: Path) -> None:
    new = put(out, 2, publish=False)
    halfway = 0
    for first in range(3, 40, 5):
        for second in (2, 7):
            shutil.copytree(out, tmp_path / "try")
            forked(lambda: publish(tmp_path / "try"), tmp_path / "try", first)
            if (tmp_path / "try" / "unfinished" / "publish.json").exists():
                halfway += not forked(lambda: load(tmp_path / "try"), tmp_path / "try", second)
                assert same(replace(load(tmp_path / "try"), folder=out), new)
            shutil.rmtree(tmp_path / "try")
    assert halfway >= 4


@pytest.mark.parametrize("aged", [False, True], ids=["new record", "record of an older version"])
def test_a_result_goes_with_all_its_files_and_with_no_others(out: Path, aged: bool) -> None:
    if aged:
        edit_record(out, age_record, seal=False)
    put(out, 2, slice(1, 2))
    assert not [name for name in files(out) if name.startswith("conv5_3/") and name not in MINE]
    assert not (out / "report" / "conv5_3").exists()
    assert {name for name in MINE if (out / name).read_text() == "precious"} == set(MINE)
    assert load(out).provenance == {"seed": 2}


def test_files_of_a_damaged_result_are_known_by_their_names(out: Path) -> None:
    edit_record(out, lambda record: record.update(images=None))
    put(out, 2, slice(1, 2))
    assert {name for name in files(out) if name.startswith("conv5_3/")} == {"conv5_3/notes.txt"}
    (out / "result.json").write_text("{")
    put(out, 3)
    assert load(out).provenance == {"seed": 3}
    assert {name for name in MINE if (out / name).read_text() == "precious"} == set(MINE)


def test_what_is_in_the_way_is_seen_before_anything_goes(out: Path) -> None:
    old = load(out)
    (out / "report" / "conv5_3" / "unit-0002.jpg").write_text("precious")
    with claim(out) as workspace, pytest.raises(ResultError, match=r"unit-0002\.jpg is in the way .*move it away"):
        workspace.refuse_strangers(["report/conv5_3/unit-0002.jpg"], overwrite=True)
    with claim(out) as workspace, pytest.raises(ResultError, match=r"units\.csv is in the way"):
        workspace.refuse_strangers(["own/units.csv"], overwrite=True)
    with claim(out) as workspace, pytest.raises(ResultError, match=r"own is a folder where a file"):
        workspace.refuse_strangers(["own"], overwrite=True)
    with claim(out) as workspace, pytest.raises(ResultError, match=r"mine\.txt is a file where a folder"):
        workspace.refuse_strangers(["mine.txt/units.csv"], overwrite=True)
    assert same(load(out), old)


@pytest.mark.parametrize("name", ["conv5_3", "report", "report/conv5_3"])
def test_a_linked_folder_of_the_old_result_is_replaced(out: Path, name: str, tmp_path: Path) -> None:
    (out / name).rename(tmp_path / "big")
    (out / name).symlink_to(tmp_path / "big")
    before = files(tmp_path / "big")
    with claim(out) as workspace:
        (note,) = workspace.refuse_strangers([f"{name}/index.html", f"{name}/units.csv"], overwrite=True)
    assert f"{name} is a link to {tmp_path / 'big'}: the new files will lie in {out} itself" in note
    put(out, 2)
    assert load(out).provenance == {"seed": 2}
    assert not (out / name).is_symlink()
    assert files(tmp_path / "big") == before


def test_a_link_that_is_the_users_is_refused(out: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (out / "conv1").symlink_to(tmp_path / "elsewhere")
    with claim(out) as workspace, pytest.raises(ResultError, match="conv1 is a symbolic link, and nothing is written"):
        workspace.refuse_strangers(["conv1/units.csv"], overwrite=True)


def test_an_output_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    put(tmp_path / "out", 1)
    put(tmp_path / "out", 2)
    assert load(tmp_path / "real").provenance == {"seed": 2}
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("remove", ["../precious"]), ("remove", ["/etc/passwd"]), ("unlink", ["a/../../precious"]),
        ("remove", [""]), ("remove", "precious"), ("format", "other"), ("version", True), ("unlink", None),
    ],
)  # fmt: skip
def test_a_journal_that_leads_elsewhere_is_not_followed(out: Path, name: str, value: object, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    put(out, 2, publish=False)
    journal = {"remove": [], "unlink": [], "format": "ndengine-publish", "version": 1, name: value}
    (out / "unfinished" / "publish.json").write_text(json.dumps(journal))
    with pytest.raises(ResultError, match=r"publish\.json is damaged .*; remove it"):
        read_record(out)
    assert (tmp_path / "precious").read_text() == "precious"
    assert (out / "result.json").exists()


@pytest.mark.parametrize("name", ["unfinished", "unfinished/result", "unfinished/publish.json", "conv5_3", "report"])
def test_a_journal_does_not_write_through_links(out: Path, name: str, tmp_path: Path) -> None:
    put(out, 2, publish=False)
    journal = {"remove": ["conv5_3/units.csv", "report/index.html"], "unlink": []}
    (out / "unfinished" / "publish.json").write_text(json.dumps(journal))
    (out / name).rename(tmp_path / "elsewhere")
    (out / name).symlink_to(tmp_path / "elsewhere")
    before = files(tmp_path / "elsewhere") if (tmp_path / "elsewhere").is_dir() else set()
    with pytest.raises(ResultError, match="is a symbolic link, and nothing is written through one"):
        load(out)
    assert not before or files(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("name", ["unfinished", "unfinished/spool", "unfinished/result", "unfinished/spool/conv5_3/x"])
def test_a_run_does_not_write_through_links_that_lie_in_wait(out: Path, name: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ResultError, match=f"{name} is a symbolic link, and nothing is written through one"):
        put(out, 2)
    assert load(out).provenance == {"seed": 1}


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
def test_a_lock_that_is_none_is_left_alone(out: Path, what: str, tmp_path: Path) -> None:
    (out / ".ndengine.lock").unlink()
    if what == "link":
        (tmp_path / "thesis").write_text("precious")
        (out / ".ndengine.lock").symlink_to(tmp_path / "thesis")
    else:
        (os.mkfifo if what == "pipe" else os.mkdir)(out / ".ndengine.lock")
    with pytest.raises(ResultError, match="should be a lock, an empty file, and is something else; remove it"):
        put(out, 2)
    assert what != "link" or (tmp_path / "thesis").read_text() == "precious"
