"""The folder a run writes to: one run at a time, and a result only once it is whole.

Everything is made in ``unfinished/`` and moved up at the end, ``result.json`` last. A run that is interrupted leaves
its spool there, and the same command goes on from it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ndengine.errors import ResultError
from ndengine.result import discard_result
from ndengine.result_record import is_result

LOCK = ".ndengine.lock"
UNFINISHED = "unfinished"
RECORD = "result.json"
REPORT = "report"


class Workspace:
    """An output folder while a run holds it.

    Attributes
    ----------
    out : Path
        The folder that the user named.
    staging : Path
        Where the new result is put together.
    spools : Path
        Where spools live; it survives an interruption.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.staging = out / UNFINISHED / "result"
        self.spools = out / UNFINISHED / "spool"

    @property
    def finished(self) -> bool:
        """Whether the folder holds a finished result."""
        return (self.out / RECORD).exists()

    def prepare(self, *, afresh: bool) -> None:
        """Make room for a new result; ``afresh`` drops what an interrupted run left."""
        with _guard(self.out):
            _remove(self.out / UNFINISHED if afresh else self.staging)
            self.staging.mkdir(parents=True)

    def sweep(self) -> None:
        """Remove what a run left that was killed between its last two steps."""
        with _guard(self.out):
            _remove(self.out / UNFINISHED)

    def publish(self, folders: Sequence[str]) -> None:
        """Move the staged result up, in place of an older one; ``folders`` are the layers'."""
        with _guard(self.out):
            discard_result(self.out)
            for entry in [*folders, REPORT]:
                _remove(self.out / entry)
            entries = sorted(self.staging.iterdir(), key=lambda path: path.name == RECORD)
            for entry_path in entries:
                os.replace(entry_path, self.out / entry_path.name)
            shutil.rmtree(self.out / UNFINISHED)


@contextmanager
def claim(out: Path) -> Iterator[Workspace]:
    """Hold an output folder for one run.

    Raises
    ------
    ResultError
        If it is in use by another run, can't be made, or holds something that is no dissection.
    """
    with _guard(out):
        out.mkdir(parents=True, exist_ok=True)
        empty = not any(out.iterdir())
    # The lock file says that a run has begun here; a result that was copied may come without it.
    if not empty and not (out / LOCK).exists() and not is_result(out):
        raise ResultError(f"{out} is not empty and holds no dissection; choose another --out.")
    lock = FileLock(out / LOCK)
    try:
        with _guard(out):
            lock.acquire(blocking=False)
    except Timeout:
        raise ResultError(f"{out} is in use by another run; wait for it, or choose another --out.") from None
    try:
        yield Workspace(out)
    finally:
        lock.release()  # the file stays: removing it would let two runs hold two files of one name


@contextmanager
def _guard(out: Path) -> Iterator[None]:
    try:
        yield
    except Timeout:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ResultError(
            f"{out} can't be written ({reason}); free some space there, or choose another --out."
        ) from error


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
