"""The last step of a run: its files take their places, those of an older result go, and a kill changes nothing of that.

The new result lies whole in ``unfinished/result``. Before anything else is touched, ``unfinished/publish.json`` says
which files of the old result go. From then on the new one counts: whoever looks at the folder next, ``show`` as well as
``run``, carries the step to its end. Nobody else's files are touched: only names that the journal has.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from filelock import Timeout

from ndengine.errors import ResultError
from ndengine.inside import is_relative, refuse_way_out
from ndengine.locks import take_lock
from ndengine.refusals import reason_of, remedy_for
from ndengine.result_files import json_text, write_text
from ndengine.strict_json import decode, read_json

LOCK = ".ndengine.lock"
UNFINISHED = "unfinished"
STAGING = f"{UNFINISHED}/result"
JOURNAL = "publish.json"
RECORD = "result.json"
FORMAT = "ndengine-publish"
VERSION = 1
PATIENCE = 20.0  # seconds; to put a result in its place takes a fraction of one


@dataclass(frozen=True)
class Journal:
    """What is left to do for a result in ``unfinished/result`` besides moving it up.

    Attributes
    ----------
    remove : tuple of str
        Files of the old result that the new one does not replace, relative to the folder.
    unlink : tuple of str
        Links where the old result's folders were, and the new one's will be; what they lead to stays.
    """

    remove: tuple[str, ...]
    unlink: tuple[str, ...]
    format: str = FORMAT
    version: int = VERSION


def publish(out: Path, remove: Collection[str], unlink: Collection[str]) -> None:
    """Put the result in ``unfinished/result`` in its place; the caller holds the folder's lock.

    Raises
    ------
    ResultError
        If the journal can't be written: then the old result stays as it was.
    OSError
        If the disk refuses later: the next command goes on.
    """
    for path in _files(out / STAGING):
        if path.suffix != ".jpg":  # a power cut may cost pictures, which can be drawn again
            _sync(path)
    staged = {path.relative_to(out / STAGING).as_posix() for path in _files(out / STAGING)}
    journal = Journal(tuple(sorted({*remove} - staged)), tuple(sorted(unlink)))
    write_text(out / UNFINISHED / JOURNAL, json_text(asdict(journal)))
    _apply(out, journal)


def holds_result(folder: Path) -> bool:
    """Whether a folder has a result, or one that is about to take its place."""
    return os.path.exists(folder / RECORD) or os.path.lexists(folder / UNFINISHED / JOURNAL)


def finish_publishing(folder: Path) -> None:
    """Carry to its end what a run was killed in the middle of; without that, do nothing.

    Raises
    ------
    ResultError
        If it can't be done: the disk refuses, the journal is damaged or leads out of the folder.
    """
    if not os.path.lexists(folder / UNFINISHED / JOURNAL):
        return
    try:
        lock = take_lock(folder / LOCK, PATIENCE)
    except Timeout:
        raise ResultError(f"{folder} is in use by another run, which puts its result there; try again soon.") from None
    except OSError as error:
        raise _stuck(folder, error) from None
    try:
        resume(folder)
    finally:
        lock.release()


def resume(folder: Path) -> None:
    """What :func:`finish_publishing` does, for those who hold the folder's lock."""
    path = folder / UNFINISHED / JOURNAL
    if not os.path.lexists(path):
        return
    refuse_way_out(folder, f"{STAGING}/{RECORD}", writing=True)
    refuse_way_out(folder, f"{UNFINISHED}/{JOURNAL}", writing=True)
    try:
        journal: Journal = decode(Journal, read_json(path), "it")
        if (journal.format, journal.version) != (FORMAT, VERSION):
            raise ValueError("it is of another format")
        if bad := [name for name in (*journal.remove, *journal.unlink) if not is_relative(name)]:
            raise ValueError(f"it names {bad[0]!r}")
    except (OSError, ValueError) as error:
        raise ResultError(f"{path} is damaged ({error}); remove it, and run the dissection again.") from None
    try:
        _apply(folder, journal)
    except OSError as error:
        raise _stuck(folder, error) from None


def _apply(out: Path, journal: Journal) -> None:
    """Each step can be done twice, and leaves what the next one needs."""
    staging = out / STAGING
    if (staging / RECORD).exists():
        (out / RECORD).unlink(missing_ok=True)  # until the end nothing here is to be taken for a result
        for name in journal.unlink:
            if (out / name).is_symlink():
                (out / name).unlink()
        homes = {out}
        for path in _files(staging):
            name = path.relative_to(staging).as_posix()
            if name != RECORD:
                target = refuse_way_out(out, _parent(name), writing=True) if "/" in name else out
                target.mkdir(parents=True, exist_ok=True)
                os.replace(path, target / path.name)
                homes.add(target)
        _remove(out, journal.remove)
        for home in homes:
            _sync(home)
        os.replace(staging / RECORD, out / RECORD)
        _sync(out)
    (out / UNFINISHED / JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(out / UNFINISHED)


def _remove(out: Path, names: Collection[str]) -> None:
    """Remove files, and the folders that are empty then."""
    homes = set()
    for name in names:
        home = refuse_way_out(out, _parent(name), writing=True) if "/" in name else out
        (home / PurePosixPath(name).name).unlink(missing_ok=True)
        homes |= {str(parent) for parent in PurePosixPath(name).parents} - {"."}
    for name in sorted(homes, key=len, reverse=True):
        home = out / name
        if home.is_dir() and not any(home.iterdir()):
            home.rmdir()


def _files(staging: Path) -> Iterator[Path]:
    """Regular files below a folder; links are none."""
    for place, _, names in os.walk(staging):
        for name in sorted(names):
            path = Path(place) / name
            if path.is_file() and not path.is_symlink():
                yield path


def _parent(name: str) -> str:
    return PurePosixPath(name).parent.as_posix()


def _sync(path: Path) -> None:
    """See that a file, or the names in a folder, outlive a power cut; some file systems know no such thing."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if path.is_file():
            raise
    finally:
        os.close(handle)


def _stuck(folder: Path, error: OSError) -> ResultError:
    return ResultError(
        f"{folder} holds a new result that its run did not put in place before it ended, and that can't be done now "
        f"({reason_of(error)}); {remedy_for(error)}, and use the folder again."
    )
