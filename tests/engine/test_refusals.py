"""What a disk refuses is told with a remedy of its own: space is asked for only where space is short."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
from dissections import make_dissection, write

import ndengine
from ndengine import locks, workspace
from ndengine.errors import ResultError, SpoolError
from ndengine.refusals import REMEDIES, cannot_write, number_of, reason_of, remedy_for
from ndengine.result import load
from ndengine.result_files import write_text
from ndengine.spool_files import disk

SHORT = (errno.ENOSPC, errno.EDQUOT)


@pytest.mark.parametrize("number", sorted(REMEDIES), ids=lambda number: errno.errorcode[number])
def test_each_refusal_has_its_remedy(number: int) -> None:
    error = OSError(number, os.strerror(number), "x")
    text = cannot_write("out", error)
    assert text == f"out can't be written ({os.strerror(number)}); {REMEDIES[number]}, or choose another --out."
    assert ("free some" in text) == (number in SHORT)


def test_hdf5_tells_a_refusal_in_its_text() -> None:
    full = OSError("Can't write data (file write failed: time = …, errno = 28, error message = 'No space left')")
    assert (number_of(full), reason_of(full)) == (errno.ENOSPC, "No space left on device")
    assert "free some space" in remedy_for(full)
    odd = RuntimeError("Unspecified error in\nH5Dwrite")
    assert reason_of(odd) == "Unspecified error in H5Dwrite"
    assert "free some" not in remedy_for(odd)
    assert reason_of(OSError()) == "OSError"


def test_only_one_place_speaks_of_space() -> None:
    """A sentence with a remedy of its own would give it whatever the reason."""
    root = Path(ndengine.__file__).parent
    speak = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"can't be (written|made) \(.*free (some|up)|free some space", path.read_text(), re.IGNORECASE)
    }
    assert speak == {"refusals.py"}


def test_files_and_spools_use_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match=r"File exists\); move away what lies there, or choose another --out\.$"):
        write_text(tmp_path / "file" / "a.json", "")
    with pytest.raises(ResultError, match=r"File name too long\); use shorter names"):
        write_text(tmp_path / ("x" * 300), "")
    with pytest.raises(SpoolError, match=r"Too many open files\); allow more open files .ulimit -n."), disk(tmp_path):
        raise OSError(errno.EMFILE, "")
    with pytest.raises(SpoolError, match=r"No space left on device\); free some space there"), disk(tmp_path):
        raise OSError(errno.ENOSPC, "")
    with (
        pytest.raises(ResultError, match=r"file can't be written \(File exists\); move away what lies there"),
        workspace.claim(tmp_path / "file"),
    ):
        pass


def test_a_result_on_a_disk_that_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(make_dissection(tmp_path / "out"))
    (tmp_path / "out" / "unfinished").mkdir()  # of a run with --overwrite that was interrupted
    (tmp_path / "empty").mkdir()

    def refuse(path: Path, timeout: float = 0.0) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(workspace, "take_lock", refuse)
    with workspace.claim(tmp_path / "out") as found:
        assert found.finished
        found.sweep()
        with pytest.raises(
            ResultError, match=r"out can't be written \(Read-only file system\); make that disk writable"
        ):
            found.refuse_reading_only()
    assert load(tmp_path / "out").layers
    with pytest.raises(ResultError, match="Read-only file system"), workspace.claim(tmp_path / "empty"):
        pass


def test_a_disk_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, **_: object) -> None:
        raise NotImplementedError("no flock here")

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    with (
        pytest.raises(ResultError, match=r"No locks available\); use a disk that has locks"),
        workspace.claim(tmp_path / "out"),
    ):
        pass
