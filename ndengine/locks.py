"""Locks of folders: whoever holds one may write there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from filelock import FileLock

from ndengine.errors import ResultError


def take_lock(path: Path, timeout: float = 0.0) -> FileLock:
    """Take the lock that a file stands for; the file stays, as removing it would let two hold files of one name.

    Raises
    ------
    filelock.Timeout
        If another process holds it.
    OSError
        If the file can't be made.
    ResultError
        If something else lies there: to lock a file empties it, also the one that a link leads to.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ResultError(f"{path} should be a lock, an empty file, and is something else; remove it.")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except NotImplementedError:  # of a file system without locks
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(path)) from None
    return lock
