"""The state of a stream of activations on its way through a sieve: what a spool has taken in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ndengine.tops import TopImages
from ndkernels.sieve import Survivors


@dataclass(frozen=True)
class Stored:
    """A closed segment, in memory or on the disk.

    Attributes
    ----------
    survivors : Survivors or None
        None where it is on the disk.
    path : Path or None
        None where it is in memory.
    nbytes : int
        Of its survivors.
    last_image : int
        One past its last image.
    """

    survivors: Survivors | None
    path: Path | None
    nbytes: int
    last_image: int


@dataclass(frozen=True)
class Stream:
    """All that is known of the images taken in. It is replaced as a whole: an interruption finds the old or the new.

    Attributes
    ----------
    bound : Tensor
        ``[U]`` float32.
    tops : TopImages
    images : int
        N so far.
    files, held : tuple of Stored
        Closed segments: first those on the disk, then those in memory.
    pending : tuple of Survivors
        Batches of the segment that is being filled.
    pending_bytes : int
    """

    bound: Tensor
    tops: TopImages
    images: int = 0
    files: tuple[Stored, ...] = ()
    held: tuple[Stored, ...] = ()
    pending: tuple[Survivors, ...] = ()
    pending_bytes: int = 0

    @property
    def closed(self) -> int:
        """One past the last image of a closed segment."""
        segments = self.held or self.files
        return segments[-1].last_image if segments else 0
