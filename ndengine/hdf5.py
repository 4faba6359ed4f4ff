"""HDF5 files: in a format that every reader knows, closed on a full disk too, and a true word where one can't be read.

Left to itself, HDF5 fails again and again on a full disk, and may crash.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

if sys.platform != "win32":
    import fcntl

# Bounds of the file format. HDF5's own choice follows the library that writes, and what 2.0 writes, 1.14 can't read.
# Both have checksums in the headers of objects; CHECKED has them in the indices of chunks too, and tells who writes.
READ_WIDELY = ("v108", "v110")
CHECKED = ("v110", "v110")


class Trouble(Enum):
    """Why an HDF5 file can't be read."""

    HELD = "held"  # another program has it open for writing
    LEFT_OPEN = "left open"  # a program that wrote to it did not end properly
    NEWER = "newer"  # this HDF5 does not know its format
    REFUSED = "refused"  # the system does not hand it out
    DAMAGED = "damaged"  # anything else


def find_trouble(path: Path, error: Exception) -> tuple[Trouble, str]:
    """Say why an HDF5 file can't be read.

    Parameters
    ----------
    path : Path
        The file.
    error : Exception
        What h5py has raised.

    Returns
    -------
    trouble : Trouble
    text : str
        The rest of a sentence that begins with the file's name, remedy included; empty where the file is damaged, for
        what then helps depends on what it is.
    """
    text = str(error)
    if "unable to lock file" in text or "already open for" in text:
        # The mark in the file tells of a writer, its lock that the writer lives.
        if "unable to lock file" in text or _locked_by_another(path):
            return Trouble.HELD, "is open in another program, which may write to it; close it there and try again"
        return Trouble.LEFT_OPEN, (
            "was left open by a program that was killed (or is open on another machine); if nothing writes to it, run "
            f"`h5clear -s {path}` (of the HDF5 tools), or delete it and make it again"
        )
    # Headers of objects have had one version since 1.8: another one is damage, as is most that fails its checksum.
    if any(word in text for word in ("bad", "unknown", "range")) and "version" in text and "header" not in text:
        return Trouble.NEWER, (
            f"can't be read by HDF5 {h5py.version.hdf5_version} ({_one_line(text)}): it was written by a newer "
            "version, or is damaged; update h5py (`pip install -U h5py`) and try again"
        )
    number = getattr(error, "errno", None)
    if number:
        return Trouble.REFUSED, f"can't be read ({os.strerror(number)}); see to the disk, or to who may read it"
    return Trouble.DAMAGED, ""


def _locked_by_another(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return not lock_file(file.fileno(), shared=True)
    return False


def lock_file(file: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file as HDF5 does; the lock goes with the file.

    Returns
    -------
    bool
        False if another program has it locked and this one does not wait; True also where there are no locks.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _one_line(text: str) -> str:
    return " ".join(text.split())


def text_array(texts: Sequence[str]) -> NDArray[np.bytes_]:
    """Texts as HDF5's plainest kind: UTF-8 of one length, filled up with zeros; other readers know no other."""
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    return np.array(encoded, h5py.string_dtype("utf-8", max(1, *map(len, encoded), 1)))


class DiskFile(io.FileIO):
    """What HDF5 writes into: the first refusal of the disk is kept for :meth:`check`, what comes after is dropped.

    Parameters
    ----------
    path : Path
        The file, which is replaced.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._refusal: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of ``data``, or drop it if the disk has refused before."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while self._refusal is None and len(rest):
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self._refusal = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file, unless the disk has refused before."""
        if self._refusal is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self._refusal = error
        return size or 0

    def check(self) -> None:
        """See that the disk took everything.

        Raises
        ------
        OSError
            If it did not: the first refusal, with its number.
        """
        if self._refusal is not None:
            raise self._refusal


def close_hdf5(file: h5py.File, disk: DiskFile) -> None:
    """Close both, in the order in which neither complains."""
    if file:
        file.close()
    disk.close()


@contextmanager
def create_hdf5(path: Path, libver: tuple[str, str] = READ_WIDELY) -> Iterator[tuple[h5py.File, DiskFile]]:
    """Open a new HDF5 file for writing and close it at the end, whatever the disk says.

    Long writers should call ``check()`` of the second object now and then, lest they fill a full disk to the end.

    Parameters
    ----------
    path : Path
        The file, which is replaced.
    libver : tuple of str
        Lower and upper bound of the file format.

    Raises
    ------
    OSError
        If the disk refuses: full, over quota, read-only.
    """
    with DiskFile(path) as disk:
        with h5py.File(disk, "w", libver=libver) as file:
            yield file, disk
        disk.check()
