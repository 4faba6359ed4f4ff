"""The folder a run writes to: one run at a time, and a result only once it is whole.

Everything is made in ``unfinished/`` and moved up at the end, ``result.json`` last. A run that is interrupted leaves
its spool there, and the same command goes on from it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from ndengine.errors import ResultError
from ndengine.locks import take_lock
from ndengine.owned import Owned, owned_by, refuse_what_is_in_the_way
from ndengine.publish import LOCK, RECORD, STAGING, UNFINISHED, publish, resume
from ndengine.refusals import cannot_write
from ndengine.result_record import REPORT, is_result

__all__ = ["REPORT", "UNFINISHED", "Workspace", "claim"]


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
    refusal : OSError, optional
        Why nothing can be written, where a finished result lies on a disk that can only be read.
    """

    def __init__(self, out: Path, refusal: OSError | None = None) -> None:
        self.out = out
        self.staging = out / STAGING
        self.spools = out / UNFINISHED / "spool"
        self._refusal = refusal

    @property
    def finished(self) -> bool:
        """Whether the folder holds a finished result."""
        return (self.out / RECORD).exists()

    def refuse_reading_only(self) -> None:
        """Raise ResultError if nothing can be written here, so that nothing is computed for it."""
        if self._refusal:
            raise ResultError(cannot_write(self.out, self._refusal)) from self._refusal

    def refuse_strangers(self, files: Collection[str], *, overwrite: bool) -> list[str]:
        """See, before anything is computed, that the result's files will find their places.

        Parameters
        ----------
        files : collection of str
            The files that the run will write, relative to the folder.
        overwrite : bool
            Whether an older result is given up.

        Returns
        -------
        list of str
            Sentences about links that will be replaced.

        Raises
        ------
        ResultError
            If something is in the way that the older result does not name, or can't be replaced.
        """
        links = refuse_what_is_in_the_way(self.out, files, self._owned(overwrite))
        return [
            f"{self.out / name} is a link to {os.path.realpath(self.out / name)}: the new files will lie in "
            f"{self.out} itself, and the old ones stay where they are."
            for name in links
        ]

    def prepare(self, *, afresh: bool) -> None:
        """Make room for a new result; ``afresh`` drops what an interrupted run left."""
        with _guard(self.out):
            _remove(self.out / UNFINISHED if afresh else self.staging)
            self.staging.mkdir(parents=True)

    def sweep(self) -> None:
        """Remove what an interrupted run left beside a finished result, if the disk allows it."""
        if not self._refusal:
            with _guard(self.out):
                _remove(self.out / UNFINISHED)

    def publish(self) -> None:
        """Put the staged result, which is whole, in the place of an older one, of which nothing stays.

        Raises
        ------
        ResultError
            If something has come in the way meanwhile, or the disk refuses.
        """
        owned = self._owned(overwrite=True)
        files = [path.relative_to(self.staging).as_posix() for path in self.staging.rglob("*") if path.is_file()]
        links = refuse_what_is_in_the_way(self.out, files, owned)
        with _guard(self.out):
            publish(self.out, owned.files, links)

    def _owned(self, overwrite: bool) -> Owned:
        return owned_by(self.out) if overwrite and self.finished else Owned(frozenset(), certain=True)


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
    if not empty and not os.path.lexists(out / LOCK) and not is_result(out):
        raise ResultError(f"{out} is not empty and holds no dissection; choose another --out.")
    try:
        lock = take_lock(out / LOCK)
    except Timeout:
        raise ResultError(f"{out} is in use by another run; wait for it, or choose another --out.") from None
    except OSError as error:
        if not is_result(out):
            raise ResultError(cannot_write(out, error)) from error
        yield Workspace(out, error)
        return
    try:
        _refuse_links(out)
        resume(out)
        yield Workspace(out)
    finally:
        lock.release()  # the file stays: removing it would let two runs hold two files of one name


def _refuse_links(out: Path) -> None:
    """A run makes none in ``unfinished``; through one that others put there it would write elsewhere."""
    places = [out / UNFINISHED, *(Path(home) / name for home, folders, files in os.walk(out / UNFINISHED)
                                  for name in (*folders, *files))]  # fmt: skip
    for place in places:
        if place.is_symlink():
            raise ResultError(f"{place} is a symbolic link, and nothing is written through one; remove {place}.")


@contextmanager
def _guard(out: Path) -> Iterator[None]:
    try:
        yield
    except Timeout:
        raise
    except OSError as error:
        raise ResultError(cannot_write(out, error)) from error


def _remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
