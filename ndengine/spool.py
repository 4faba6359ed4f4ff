"""The spool: what a layer's activations leave behind between the forward pass and the tally.

The usual spool keeps the sieve's survivors, in memory or as HDF5 segments; the dense one keeps every activation.
Either gives survivors to whoever asks, so the stages after it see no difference.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from ndengine import spool_files
from ndengine.clock import Clock
from ndengine.devices import CPU
from ndengine.errors import UnusableSpoolError
from ndengine.spool_files import AFRESH, Span
from ndengine.stream import Stored, Stream
from ndengine.tops import TopImages
from ndkernels.sieve import (
    Passing,
    Sieve,
    Survivors,
    compact_survivors,
    join_survivors,
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
    kept : int
        How many of them a later run would find.
    """

    @property
    def bound(self) -> Tensor:
        """``[U]`` float32."""
        ...

    @property
    def tops(self) -> TopImages:
        """Top images and ranges so far."""
        ...

    @property
    def images(self) -> int:
        """N so far."""
        ...

    @property
    def kept(self) -> int:
        """N on the disk."""
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

    def keep(self) -> None:
        """Write out all that a later run can go on from, whatever was interrupted."""
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
        self._stream = Stream(self._sieve.bound.clone(), TopImages(units, top_images, device))
        self._passing: Passing | None = None  # the last batch, as long as a GPU is at work on it
        self._started = 0
        self._folder = folder
        self._memory_bytes = memory_bytes if folder else None
        self._compacted = LEAST_COMPACTION_BYTES // 2
        self._opened = time.monotonic()
        if folder is not None:
            self._resume(folder)

    @property
    def bound(self) -> Tensor:
        """``[U]`` float32: the proven lower bound of every threshold, from the images that have been taken in alone.

        What a GPU is at work on does not count yet: after a crash its images come again, and may round otherwise.
        """
        return self._stream.bound

    @property
    def tops(self) -> TopImages:
        """Top images and ranges of the images that have been taken in."""
        return self._stream.tops

    @property
    def images(self) -> int:
        """How many images have been taken in."""
        return self._stream.images

    @property
    def kept(self) -> int:
        """How many images a later run would find on the disk."""
        return self._stream.files[-1].last_image if self._stream.files else 0

    @property
    def nbytes(self) -> int:
        """Bytes of all survivors, in memory and on disk."""
        return self.memory_nbytes + sum(s.nbytes for s in self._stream.files)

    @property
    def memory_nbytes(self) -> int:
        """Bytes of the survivors in memory."""
        return self._stream.pending_bytes + sum(s.nbytes for s in self._stream.held)

    @property
    def _files(self) -> list[Path]:
        return [segment.path for segment in self._stream.files if segment.path]

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
        stream = self._stream
        self._stream = replace(
            stream,
            bound=torch.maximum(stream.bound, self._passing.bound),
            tops=stream.tops.followed_by(maximum, minimum, stream.images),
            images=self._started,
            pending=(*stream.pending, survivors),
            pending_bytes=stream.pending_bytes + survivors.nbytes,
        )
        self._passing = None
        late = self._folder is not None and time.monotonic() - self._opened > SEGMENT_SECONDS
        if late or self._stream.pending_bytes >= SEGMENT_BYTES:
            self._close(write=late)
        if self.nbytes >= 2 * self._compacted:
            self.compact(select_thresholds(self.survivors, self.bound, self._sieve.above, threads=self._sieve.threads))
            self._compacted = max(self.nbytes, LEAST_COMPACTION_BYTES // 2)

    def survivors(self) -> Iterator[Survivors]:
        """All survivors, in the order of their images."""
        for segment in (*self._stream.files, *self._stream.held):
            yield self._read(segment)
        yield from self._stream.pending

    def compact(self, bound: Tensor) -> None:
        """Drop what the higher bound rules out; each segment on disk is replaced in one step."""
        self._close()
        bound = torch.maximum(self.bound, bound)
        self._sieve.bound = torch.maximum(self._sieve.bound, bound)
        self._stream = replace(self._stream, bound=bound)
        self._stream = replace(self._stream, files=tuple(map(self._compact_segment, self._stream.files)))
        self._stream = replace(self._stream, held=tuple(map(self._compact_segment, self._stream.held)))

    def close(self, *, write: bool = False) -> None:
        """Take in what is on its way, and close the segment that is being filled.

        Parameters
        ----------
        write : bool
            Take what is in memory to the disk, if there is one.
        """
        self.settle()
        self._close(write=write)

    def keep(self) -> None:
        """Take all that has been taken in to the disk, if there is one; what was under way when it failed is left out.

        Raises
        ------
        SpoolError
            If the disk refuses; :attr:`kept` says what is there.
        """
        if self._folder is not None:
            self._close(write=True)

    def _close(self, *, write: bool = False) -> None:
        self._opened = time.monotonic()
        stream = self._stream
        if stream.pending:
            segment = join_survivors(stream.pending)
            held = (*stream.held, Stored(segment, None, segment.nbytes, stream.images))
            stream = self._stream = replace(stream, held=held, pending=(), pending_bytes=0)
        full = self._memory_bytes is not None and self.memory_nbytes > self._memory_bytes
        if stream.held and (self._memory_bytes == 0 or stream.files or write or full):
            # Their states tell of the stream up to now, so they count together: the first one is written last, and
            # those behind a gap hold nothing.
            written: list[Stored] = []
            group = len(stream.files)
            firsts = [stream.files[-1].last_image if stream.files else 0, *(s.last_image for s in stream.held)]
            for place in reversed(range(len(stream.held))):
                span = Span(firsts[place], firsts[place + 1], stream.images, group)
                written.insert(0, self._write(group + place, stream.held[place], span))
            self._stream = replace(stream, files=(*stream.files, *written), held=())

    def _read(self, segment: Stored) -> Survivors:
        if segment.survivors is not None:
            return segment.survivors
        assert segment.path is not None
        with self._clock.part("read"):
            return spool_files.read_survivors(segment.path)

    def _write(self, number: int, segment: Stored, span: Span) -> Stored:
        assert self._folder is not None
        assert segment.survivors is not None
        path = self._folder / f"segment-{number:06d}.h5"
        state: dict[str, NDArray[Any]] = {"bound": self.bound.cpu().numpy(), **self.tops.state()}
        with self._clock.part("write"):
            spool_files.write_segment(path, segment.survivors, state, span)
        return Stored(None, path, segment.nbytes, segment.last_image)

    def _compact_segment(self, segment: Stored) -> Stored:
        if segment.path is None:
            assert segment.survivors is not None
            survivors = compact_survivors(segment.survivors, self.bound, threads=self._sieve.threads)
            return replace(segment, survivors=survivors, nbytes=survivors.nbytes)
        with self._clock.part("read"):
            found = spool_files.read_segment(segment.path)
        survivors = compact_survivors(found.survivors, self.bound, threads=self._sieve.threads)
        state = {**found.state, "bound": self.bound.cpu().numpy()}
        with self._clock.part("write"):
            spool_files.write_segment(segment.path, survivors, state, found.span)
        return replace(segment, nbytes=survivors.nbytes)

    def _resume(self, folder: Path) -> None:
        bound, files, end = self.bound.cpu(), [], 0
        for path in spool_files.segments(folder):
            found = spool_files.read_segment(path)
            if found.span.first_image != end:
                raise UnusableSpoolError(f"{path} does not begin at image {end}; {AFRESH}.")
            end = found.span.last_image
            if len(found.state["bound"]) != len(bound):
                raise UnusableSpoolError(f"{path} has {len(found.state['bound'])} units, not {len(bound)}; {AFRESH}.")
            bound = torch.maximum(bound, torch.from_numpy(found.state["bound"]))
            files.append(Stored(None, path, found.survivors.nbytes, end))
        if not files:
            return
        if found.span.state_image != end:  # the others of its group are gone
            raise UnusableSpoolError(f"{folder} lacks segment {len(files)}; {AFRESH}.")
        tops = self.tops.restored(found.state)
        self._stream = replace(self._stream, tops=tops, images=end, files=tuple(files))
        self._sieve.restore(bound, self.survivors())
        self._stream = replace(self._stream, bound=self._sieve.bound.clone())


def available_bytes() -> int:
    """Memory that may be used for a spool: a quarter of what is free now, at least 256 MB."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # macOS does not tell
        free = 4 << 30
    return max(free // 4, 256 << 20)
