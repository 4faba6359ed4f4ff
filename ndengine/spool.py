"""The spool: what a layer's activations leave behind between the forward pass and the tally.

The usual spool keeps the sieve's survivors, in memory or as HDF5 segments; the dense one keeps every activation.
Either gives survivors to whoever asks, so the stages after it see no difference.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndengine import spool_files
from ndengine.clock import Clock
from ndengine.devices import CPU
from ndengine.errors import SpoolError, UnusableSpoolError
from ndengine.hdf5 import READ_WIDELY, DiskFile, close_hdf5
from ndengine.tops import TopImages
from ndkernels.sieve import (
    Passing,
    Sieve,
    Survivors,
    compact_survivors,
    join_survivors,
    pack_maps,
    select_thresholds,
)

SEGMENT_BYTES = 32 << 20
SEGMENT_SECONDS = 30.0
LEAST_COMPACTION_BYTES = 64 << 20


class Spool(Protocol):
    """Activations of one layer over N images, sieved.

    Attributes
    ----------
    bound : Tensor
        ``[U]`` float32: a proven lower bound of every threshold.
    tops : TopImages
        The top images and the range of each unit.
    images : int
        How many images have been added.
    """

    tops: TopImages
    images: int

    @property
    def bound(self) -> Tensor:
        """``[U]`` float32."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that the spool takes, in memory and on disk."""
        ...

    def add(self, activations: Tensor, first_image: int) -> None:
        """Add ``[N, U, h, w]`` float32 of the images from ``first_image`` on, in order; images held are skipped."""
        ...

    def survivors(self) -> Iterator[Survivors]:
        """All survivors, in the order of their images."""
        ...

    def compact(self, bound: Tensor) -> None:
        """Drop what the higher ``bound [U]`` rules out."""
        ...

    def close(self) -> None:
        """Write out what is pending."""
        ...


class SurvivorSpool:
    """The spool of the sieve's survivors.

    Parameters
    ----------
    units, above : int
        U, and m of the whole stream.
    top_images : int
        T.
    threads : int
        Threads of the sieve, on a CPU.
    device : torch.device
        Where the activations are. Of a GPU's, the survivors are fetched while it computes the next batch.
    folder : Path or None
        Where segments go on disk; None keeps them in memory.
    memory_bytes : int
        How much may stay in memory before everything goes to ``folder``; 0 writes from the start, which is what
        makes a run resumable.
    clock : Clock or None
        Told of what the disk takes: ``read`` and ``write``.

    Raises
    ------
    SpoolError
        If the folder's segments are damaged, or the disk refuses.
    """

    def __init__(
        self,
        units: int,
        above: int,
        top_images: int,
        *,
        threads: int = 1,
        device: torch.device = CPU,
        folder: Path | None = None,
        memory_bytes: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._sieve = Sieve(units, above, threads, device)
        self._bound = self._sieve.bound.clone()
        self.tops = TopImages(units, top_images, device)
        self.images = 0
        self._passing: Passing | None = None  # the last batch, as long as a GPU is at work on it
        self._started = 0
        self._folder = folder
        self._memory_bytes = memory_bytes if folder else None
        self._pending: list[Survivors] = []
        self._held: list[tuple[Survivors, int]] = []  # closed segments in memory, each with its end
        self._files: list[Path] = []
        self._file_bytes: list[int] = []
        self._compacted = LEAST_COMPACTION_BYTES // 2
        self._opened = time.monotonic()
        if folder is not None:
            self._resume(folder)

    @property
    def bound(self) -> Tensor:
        """``[U]`` float32: the proven lower bound of every threshold, from the images that have been taken in alone.

        What a GPU is at work on does not count yet: after a crash its images come again, and may round otherwise.
        """
        return self._bound

    @property
    def nbytes(self) -> int:
        """Bytes of all survivors, in memory and on disk."""
        return self.memory_nbytes + sum(self._file_bytes)

    @property
    def memory_nbytes(self) -> int:
        """Bytes of the survivors in memory."""
        return sum(s.nbytes for s in self._pending) + sum(s.nbytes for s, _ in self._held)

    def add(self, activations: Tensor, first_image: int) -> None:
        """Sieve one batch; a GPU may still be at work on it when this returns.

        Raises
        ------
        ndkernels.sieve.NonFiniteError
            If an activation of this batch, or of the one before, is not finite; its image counts from ``images``.
        SpoolError
            If the disk refuses.
        """
        skip = max(self.images, self._started) - first_image
        if skip >= len(activations):
            return
        if skip < 0:
            raise ValueError(f"images from {first_image + skip} to {first_image} are missing")
        activations, first_image = activations[skip:], first_image + skip
        passing = self._sieve.start(activations, first_image)
        self.settle()
        self._passing, self._started = passing, first_image + len(activations)
        if not passing.queued:
            self.settle()

    def settle(self) -> None:
        """Take in the batch that a GPU was at work on, if there is one; raises what :meth:`add` does."""
        if self._passing is None:
            return
        survivors, maximum, minimum = self._passing.finish(fetch=True)
        self._bound = torch.maximum(self._bound, self._passing.bound)
        self._passing = None
        self.tops.add(maximum, minimum, self.images)
        self.images = self._started
        self._pending.append(survivors)
        late = self._folder is not None and time.monotonic() - self._opened > SEGMENT_SECONDS
        if late or sum(s.nbytes for s in self._pending) >= SEGMENT_BYTES:
            self._close(write=late)
        if self.nbytes >= 2 * self._compacted:
            self.compact(select_thresholds(self.survivors, self.bound, self._sieve.above, threads=self._sieve.threads))
            self._compacted = max(self.nbytes, LEAST_COMPACTION_BYTES // 2)

    def survivors(self) -> Iterator[Survivors]:
        """All survivors, in the order of their images."""
        for path in self._files:
            yield self._read(path)
        for survivors, _ in self._held:
            yield survivors
        yield from self._pending

    def compact(self, bound: Tensor) -> None:
        """Drop what the higher bound rules out; each segment on disk is replaced in one step."""
        self._close()
        self._bound = torch.maximum(self._bound, bound)
        self._sieve.bound = torch.maximum(self._sieve.bound, bound)
        for i, path in enumerate(self._files):
            survivors = compact_survivors(self._read(path), self.bound, threads=self._sieve.threads)
            state, last = spool_files.read_state(path)
            with self._clock.part("write"):
                spool_files.write_segment(path, survivors, {**state, "bound": self.bound.cpu().numpy()}, last)
            self._file_bytes[i] = survivors.nbytes
        self._held = [(compact_survivors(s, self.bound, threads=self._sieve.threads), last) for s, last in self._held]

    def close(self, *, write: bool = False) -> None:
        """Take in what is on its way, and close the segment that is being filled.

        Parameters
        ----------
        write : bool
            Take what is in memory to the disk, if there is one.
        """
        self.settle()
        self._close(write=write)

    def _close(self, *, write: bool = False) -> None:
        self._opened = time.monotonic()
        if self._pending:
            segment = join_survivors(self._pending)
            self._pending = []
            self._held.append((segment, self.images))
        if self._writes or write or (self._memory_bytes is not None and self.memory_nbytes > self._memory_bytes):
            # Their states tell of the stream up to now, so they count together: the first one is written last, and
            # a folder without it holds nothing.
            for place in reversed(range(len(self._held))):
                self._write(len(self._files) + place, *self._held[place])
            self._files += [self._path(len(self._files) + place) for place in range(len(self._held))]
            self._file_bytes += [segment.nbytes for segment, _ in self._held]
            self._held = []

    @property
    def _writes(self) -> bool:
        return bool(self._files) or self._memory_bytes == 0

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"segment-{number:06d}.h5"

    def _read(self, path: Path) -> Survivors:
        with self._clock.part("read"):
            return spool_files.read_segment(path)

    def _write(self, number: int, segment: Survivors, last: int) -> None:
        state: dict[str, NDArray[Any]] = {"bound": self.bound.cpu().numpy(), **self.tops.state()}
        with self._clock.part("write"):
            spool_files.write_segment(self._path(number), segment, state, last)

    def _resume(self, folder: Path) -> None:
        with spool_files.disk(folder):
            for path in folder.glob("*.part"):
                path.unlink()
            if not self._path(0).exists():
                for path in sorted(folder.glob("segment-*.h5"), reverse=True):
                    path.unlink()
        self._files = sorted(folder.glob("segment-*.h5"))
        if not self._files:
            return
        bound = self.bound.cpu()
        for i, path in enumerate(self._files):
            if path.name != f"segment-{i:06d}.h5":
                raise UnusableSpoolError(f"{folder} lacks segment {i}; run again with --overwrite to start afresh.")
            state, self.images = spool_files.read_state(path)
            if len(state["bound"]) != len(bound):
                raise UnusableSpoolError(
                    f"{path} has {len(state['bound'])} units, not {len(bound)}; run with --overwrite."
                )
            bound = torch.maximum(bound, torch.from_numpy(state["bound"]))
        self.tops.restore(state)
        self._file_bytes = [spool_files.read_segment(path).nbytes for path in self._files]
        self._sieve.restore(bound, self.survivors())
        self._bound = self._sieve.bound.clone()


class DenseSpool:
    """The spool that keeps every activation: one HDF5 file with the dataset ``activations [N, U, h, w]`` float32.

    It does not resume: an interrupted run starts it afresh.

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
            self._file = h5py.File(self._disk, "w", libver=READ_WIDELY)
            # However the run ends, HDF5 must not outlive the interpreter with this file open: it would crash.
            self._closed = weakref.finalize(self, close_hdf5, self._file, self._disk)
            self._data = self._file.create_dataset("activations", shape, np.float32, chunks=(chunk, *shape[1:]))

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
                spool_files.write_rows(self._data, written, np.stack(rows))
                self._disk.check()
            written += len(rows)

    def survivors(self) -> Iterator[Survivors]:
        """Survivors under the present bound, sieved anew from the file."""
        try:
            for start in range(0, self.images, self._data.chunks[0]):
                with self._clock.part("read"):
                    maps = torch.from_numpy(spool_files.read_rows(self._data, start).copy()).to(self.bound.device)
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

    def finish(self) -> None:
        """Close the file for good."""
        with spool_files.disk(self.path):
            self._closed()
            self._disk.check()


def available_bytes() -> int:
    """Memory that may be used for a spool: a quarter of what is free now, at least 256 MB."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # macOS does not tell
        free = 4 << 30
    return max(free // 4, 256 << 20)
