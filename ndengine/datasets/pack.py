"""Packing a dataset into one file, once, and finding the pack again in the cache."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.notes import turned_images
from ndengine.datasets.pack_writer import claim_part, drop_part, write_pack
from ndengine.datasets.packed import PackedDataset
from ndengine.errors import DatasetError, UnusablePackError
from ndengine.progress import SILENT, Progress
from ndkernels.labels import code_dtype

__all__ = ["CacheEntry", "PackedDataset", "cache_entries", "cached_pack", "clear_cache", "pack_dataset"]

PACK_NAME = re.compile(r".+-[0-9a-f]{16}\.h5(\.part)?")


def pack_dataset(
    source: BrodenFolder, path: Path, progress: Progress = SILENT, workers: int | None = None
) -> PackedDataset:
    """Write a dataset into one HDF5 file.

    The file grows under a temporary name, ``path`` with ``.part`` appended, and gets its own when complete. Where
    another program is writing it, this one waits, and writes it again.

    Parameters
    ----------
    source : BrodenFolder
        What is packed.
    path : Path
        Where to; a file of that name is replaced.
    progress : Progress
        Told of every image.
    workers : int, optional
        Threads that decode; by default one for each processor, up to 8.

    Returns
    -------
    PackedDataset
        The pack, open.

    Raises
    ------
    DatasetError
        If the dataset is damaged, or the file can't be written.
    """
    with _claimed(source, path, progress):
        _pack(source, path, progress, workers)
    return PackedDataset(path)


@contextlib.contextmanager
def _claimed(source: BrodenFolder, path: Path, progress: Progress) -> Iterator[None]:
    """Hold what a pack grows in; what the disk refuses meanwhile becomes one sentence."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with claim_part(_part(path), progress):
            yield
    except (OSError, RuntimeError) as error:  # RuntimeError: h5py when the last, buffered bytes don't fit
        full = "No space left" in str(error)  # somewhere in a paragraph of HDF5's own
        what = "the disk is full" if full else getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DatasetError(
            f"{path.parent} can't take the pack of {source.path} ({what}); make room there or choose another "
            "folder with --cache (--out where you pack by hand)."
        ) from None


def _pack(source: BrodenFolder, path: Path, progress: Progress, workers: int | None = None) -> None:
    fingerprint = source.fingerprint()  # before reading: a file that changes meanwhile must make the pack stale
    _check_space(source, path.parent)
    write_pack(source, _part(path), fingerprint, progress, workers or min(8, os.cpu_count() or 1))
    os.replace(_part(path), path)
    for note in turned_images(source.turned):
        progress.note(note)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def pack_file(source: BrodenFolder, path: Path, progress: Progress = SILENT) -> tuple[PackedDataset, bool]:
    """Pack a dataset by hand: a pack that is up to date is kept, an older one is replaced, nothing else ever is.

    Of two programs that pack into one file, one waits, and then finds it up to date.

    Parameters
    ----------
    source : BrodenFolder
        The dataset.
    path : Path
        The file.
    progress : Progress
        Told of each image packed.

    Returns
    -------
    PackedDataset
        The pack, open.
    bool
        Whether it was written.

    Raises
    ------
    DatasetError
        If the file is there and is no pack or open in another program, the dataset is damaged, or the file can't be
        written.
    """
    if (pack := _current(source, path)) is not None:
        return pack, False
    with _claimed(source, path, progress):
        if (pack := _current(source, path)) is not None:  # another program may have made it while we waited
            return pack, False
        _pack(source, path, progress)
    return PackedDataset(path), True


def _current(source: BrodenFolder, path: Path) -> PackedDataset | None:
    """The pack of that name if it is up to date, None if it may be replaced or is not there."""
    if not path.exists():
        return None
    try:
        pack = PackedDataset(path)
    except UnusablePackError as error:
        if error.older:
            return None
        raise DatasetError(f"{path} exists and is no whole pack; delete it, or choose another --out.") from None
    if pack.fingerprint == source.fingerprint():
        return pack
    pack.close()
    return None


def _check_space(source: BrodenFolder, folder: Path) -> None:
    """Raise the error of a full disk before an hour is spent on filling it."""
    (ih, iw), (height, width) = source.image_size, source.label_size
    needed = len(source) * (3 * ih * iw + height * width * np.dtype(code_dtype((height, width))).itemsize)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"it needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free")


def cached_pack(path: Path | str, cache: Path, progress: Progress = SILENT) -> PackedDataset:
    """The pack of a dataset, made on first use and whenever the dataset has changed.

    Parameters
    ----------
    path : Path or str
        A folder in Broden's layout, or a pack, which is opened as it is.
    cache : Path
        The folder that keeps packs.
    progress : Progress
        Told of the packing, if any.

    Returns
    -------
    PackedDataset
        The pack, open.

    Raises
    ------
    DatasetError
        If the dataset or the pack is missing or damaged, or the cache can't be written.
    """
    path = Path(path)
    if path.is_file():
        return PackedDataset(path)
    source = BrodenFolder(path)
    target = cache / f"{source.name}-{source.fingerprint()[:16]}.h5"
    if (pack := _reusable(target, progress)) is not None:
        return pack
    with _locked(cache, progress):
        if (pack := _reusable(target, progress)) is not None:  # another run may have made it while we waited
            return pack
        for stale in cache.glob("*.h5.part"):  # no run packs while we hold the lock
            drop_part(stale)
        pack = pack_dataset(source, target, progress)
        for entry in cache_entries(cache):
            if entry.path != target and entry.source == pack.source:
                entry.path.unlink(missing_ok=True)
    return pack


def _reusable(target: Path, progress: Progress) -> PackedDataset | None:
    if not target.exists():
        return None
    try:
        return PackedDataset(target)
    except UnusablePackError as error:  # any other trouble passes, and packing takes hours
        progress.note(f"{error} Packing again.")
        return None


@contextlib.contextmanager
def _locked(cache: Path, progress: Progress) -> Iterator[None]:
    lock = FileLock(cache / ".lock")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.note(f"Another run is packing into {cache}; waiting for it.")
            lock.acquire()
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        reason = getattr(error, "strerror", None) or "no locks there"
        raise DatasetError(
            f"{cache} can't be used as the cache ({reason}); choose another folder with --cache."
        ) from None
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class CacheEntry:
    """A pack in the cache.

    Attributes
    ----------
    path : Path
        The file.
    size : int
        Its size in bytes.
    name, source : str
        Name and path of the dataset; empty where the pack is unfinished or damaged.
    images : int
        Number of images; 0 where the pack is unfinished or damaged.
    """

    path: Path
    size: int
    name: str = ""
    source: str = ""
    images: int = 0


def cache_entries(cache: Path) -> list[CacheEntry]:
    """The packs in a cache folder by name, unfinished and damaged ones included."""
    entries = []
    for path in sorted(cache.glob("*.h5*")):
        if PACK_NAME.fullmatch(path.name) is None:  # the folder may hold other people's files
            continue
        entry = CacheEntry(path, path.stat().st_size)
        with contextlib.suppress(DatasetError), PackedDataset(path) as pack:
            entry = CacheEntry(path, entry.size, pack.name, pack.source, len(pack))
        entries.append(entry)
    return entries


def clear_cache(cache: Path, progress: Progress = SILENT) -> list[CacheEntry]:
    """Delete every pack in a cache folder and return what was deleted; other files stay.

    Raises
    ------
    DatasetError
        If a pack can't be deleted.
    """
    if not cache.is_dir():
        return []
    with _locked(cache, progress):
        entries = cache_entries(cache)
        for entry in entries:
            try:
                entry.path.unlink(missing_ok=True)
            except OSError as error:
                raise DatasetError(f"{entry.path} can't be deleted ({error.strerror}); delete it by hand.") from None
    return entries
