"""Folders that others made: nothing is read, written or removed beyond them, and no reader waits for ever."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from ndengine.errors import ResultError

WHAT = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def irregular(path: Path) -> str:
    """What lies there if it is no file that can be read from its beginning to its end; empty for one, or nothing."""
    try:
        return WHAT.get(stat.S_IFMT(path.stat().st_mode), "")
    except OSError:
        return ""


def is_relative(path: str) -> bool:
    """Whether a path as a record has it stays below where it begins: no ``..``, no root, no empty part."""
    parts = path.split("/")
    return "\0" not in path and "\\" not in path and all(part not in ("", ".", "..") for part in parts)


def refuse_way_out(folder: Path, path: str, *, writing: bool = False) -> Path:
    """The place of a relative path in a folder, seen to be in it.

    Parameters
    ----------
    folder : Path
        The folder; it may be a link itself.
    path : str
        With ``/`` between its parts.
    writing : bool
        Refuse every link on the way, wherever it leads; else only those that lead out of the folder.

    Raises
    ------
    ResultError
        If the path leads out of the folder.
    """
    if not is_relative(path):
        raise ResultError(f"{folder} names {path!r}, which does not lie in it; don't use the folder, or restore it.")
    place, home = folder, os.path.realpath(folder)
    for part in PurePosixPath(path).parts:
        place = place / part
        if not os.path.islink(place):
            continue
        if writing:
            raise ResultError(
                f"{place} is a symbolic link, and nothing is written through one; put what it leads to in its place."
            )
        if not os.path.realpath(place).startswith(home.rstrip("/") + "/"):
            raise ResultError(
                f"{place} is a symbolic link that leads out of {folder}, from where nothing is read; "
                "put what it leads to in its place."
            )
    return place
