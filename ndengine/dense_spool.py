"""The spool that keeps every activation, for whoever wants them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndengine import spool_files
from ndengine.clock import Clock
from ndengine.devices import CPU
from ndengine.errors import SpoolError
from ndengine.hdf5 import CHECKED, DiskFile, close_hdf5
from ndengine.tops import TopImages
from ndkernels.sieve import Sieve, Survivors, pack_maps


class DenseSpool:
    """The spool that keeps every activation: one HDF5 file with the dataset ``activations [N, U, h, w]`` float32.

    All of the file is under checksums. It does not resume: an interrupted run starts it afresh.

    Parameters
    ----------
    path : Path
        The file, complete once :meth:`finish` has renamed it.
    shape : tuple of int
        N, U, h and w.
    above, top_images, threads, device, clock
        As in :class:`SurvivorSpool`.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int, int],
        above: int,
        top_images: int,
        *,
        threads: int = 1,
        device: torch.device = CPU,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self.path = path
        self.tops = TopImages(shape[1], top_images, device)
        self.images = 0
        self._sieve = Sieve(shape[1], above, threads, device)
        self._rows: list[NDArray[np.float32]] = []
        self._image_bytes = 4 * shape[1] * shape[2] * shape[3]
        chunk = max(1, min(shape[0], spool_files.CHUNK_BYTES // self._image_bytes))
        with spool_files.disk(path):
            self._disk = DiskFile(path)
            # A format with checksums in all that HDF5 writes of its own; those of the values are a filter, which every
            # reader undoes.
            self._file = h5py.File(self._disk, "w", libver=CHECKED, rdcc_nbytes=0)
            # However the run ends, HDF5 must not outlive the interpreter with this file open: it would crash.
            self._closed = weakref.finalize(self, close_hdf5, self._file, self._disk)
            self._data = self._file.create_dataset(
                "activations", shape, np.float32, chunks=(chunk, *shape[1:]), fletcher32=True
            )

    @property
    def kept(self) -> int:
        """Nothing of it is taken up by a later run."""
        return 0

    @property
    def bound(self) -> Tensor:
        """``[U]`` float32: the proven lower bound of every threshold."""
        return self._sieve.bound

    @property
    def nbytes(self) -> int:
        """Bytes of the activations written so far."""
        return (self.images - len(self._rows)) * self._image_bytes

    def add(self, activations: Tensor, first_image: int) -> None:
        """Write one batch, and sieve it for the bounds alone."""
        if first_image != self.images:
            raise ValueError(f"images from {self.images} to {first_image} are missing")
        _, maximum, minimum = self._sieve.add(activations, first_image)
        self.tops.add(maximum, minimum, first_image)
        self._rows.extend(activations.contiguous().cpu().numpy())
        self.images += len(activations)
        whole = self._data.chunks[0]
        written = self.images - len(self._rows)
        while len(self._rows) >= whole or (self._rows and self.images == len(self._data)):
            rows, self._rows = self._rows[:whole], self._rows[whole:]
            with self._clock.part("write"), spool_files.disk(self.path):
                self._data[written : written + len(rows)] = np.stack(rows)
                self._disk.check()
            written += len(rows)

    def survivors(self) -> Iterator[Survivors]:
        """Survivors under the present bound, sieved anew from the file."""
        try:
            whole = self._data.chunks[0]
            for start in range(0, self.images, whole):
                with self._clock.part("read"):
                    maps = torch.from_numpy(self._data[start : start + whole]).to(self.bound.device)
                yield pack_maps(maps.flatten(0, 1), maps.amax((2, 3)), self.bound, start, self._sieve.threads)
        except OSError as error:
            raise SpoolError(f"{self.path} can't be read back ({error}); check the disk and run again.") from error

    def compact(self, bound: Tensor) -> None:
        """Raise the bound under which survivors are given; the file keeps everything."""
        self._sieve.bound = torch.maximum(self._sieve.bound, bound)

    def close(self) -> None:
        """Flush the file."""
        with self._clock.part("write"), spool_files.disk(self.path):
            self._file.flush()
            self._disk.check()

    def keep(self) -> None:
        """Leave it at that: half a file is no use."""

    def finish(self) -> None:
        """Close the file for good."""
        with spool_files.disk(self.path):
            self._closed()
            self._disk.check()
