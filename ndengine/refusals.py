"""What a disk says when it refuses, and what helps against it: the one place that knows."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

REMEDIES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some of your quota there",
    errno.EACCES: "allow yourself to write there",
    errno.EPERM: "allow yourself to write there",
    errno.EROFS: "make that disk writable",
    errno.ENOTDIR: "move the file away that stands where a folder is needed",
    errno.EISDIR: "move the folder away that stands where a file is needed",
    errno.EEXIST: "move away what lies there",
    errno.ENOTEMPTY: "move away what lies there",
    errno.ENOENT: "see that its folder exists and is not removed meanwhile",
    errno.ENAMETOOLONG: "use shorter names",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "close programs that hold many files open",
    errno.EFBIG: "allow larger files (ulimit -f; FAT takes 4 GB at most)",
    errno.ELOOP: "mend the symbolic links, which lead in a circle",
    errno.EIO: "see whether the disk is sound",
    errno.ENODEV: "connect the disk again",
    errno.ENXIO: "connect the disk again",
    errno.ESTALE: "mount the network's disk again",
    errno.EBUSY: "end the program that holds it",
    errno.ETXTBSY: "end the program that holds it",
    errno.EXDEV: "keep the folder and all in it on one disk",
    errno.ENOTSUP: "use a disk that can do this",
    errno.ENOLCK: "use a disk that has locks",
}


def reason_of(error: BaseException) -> str:
    """Why a disk refused, in the system's words and on one line."""
    number = number_of(error)
    if number:
        return os.strerror(number)
    return " ".join(str(error).split()) or type(error).__name__


def number_of(error: BaseException) -> int | None:
    """The system's number of a refusal; HDF5 tells it in its text alone."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = re.search(r"errno = (\d+)", str(error))
    return int(found[1]) if found else None


def remedy_for(error: BaseException) -> str:
    """What helps against a refusal, as the second half of a sentence; "free some space" only where space is short."""
    return REMEDIES.get(number_of(error) or 0, "see that the disk is sound and may be written")


def cannot_write(path: Path | str, error: BaseException, instead: str = "choose another --out") -> str:
    """A sentence about a file or folder that a disk refuses to write.

    Parameters
    ----------
    path : Path
        What was to be written.
    error : Exception
        The refusal.
    instead : str
        The other way out.
    """
    return f"{path} can't be written ({reason_of(error)}); {remedy_for(error)}, or {instead}."
