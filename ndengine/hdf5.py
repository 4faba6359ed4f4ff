"""HDF5 files that can be closed on a full disk: left to itself, HDF5 then fails again and again, and may crash."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py


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
def create_hdf5(path: Path, **options: Any) -> Iterator[tuple[h5py.File, DiskFile]]:
    """Open a new HDF5 file for writing and close it at the end, whatever the disk says.

    Long writers should call ``check()`` of the second object now and then, lest they fill a full disk to the end.

    Raises
    ------
    OSError
        If the disk refuses: full, over quota, read-only.
    """
    with DiskFile(path) as disk:
        with h5py.File(disk, "w", **options) as file:
            yield file, disk
        disk.check()
