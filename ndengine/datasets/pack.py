"""Packing a dataset into one file, once, and finding the pack again in the cache."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.notes import turned_images
from ndengine.datasets.packed import FORMAT, RAGGED, STARTS, VERSION, PackedDataset
from ndengine.errors import DatasetError
from ndengine.hdf5 import DiskFile, create_hdf5
from ndengine.progress import SILENT, Progress
from ndkernels.labels import code_dtype, encode_labels

__all__ = ["CacheEntry", "PackedDataset", "cache_entries", "cached_pack", "clear_cache", "pack_dataset"]

Decoded = tuple[NDArray[np.uint8], tuple[NDArray[np.int32], list[int]]]
CHUNK = 32  # images that are decoded, encoded and written together; two chunks are in memory at a time
PACK_NAME = re.compile(r".+-[0-9a-f]{16}\.h5(\.part)?")


def pack_dataset(
    source: BrodenFolder, path: Path, progress: Progress = SILENT, workers: int | None = None
) -> PackedDataset:
    """Write a dataset into one HDF5 file.

    The file grows under a temporary name, ``path`` with ``.part`` appended, and gets its own when complete.

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
    fingerprint = source.fingerprint()  # before reading: a file that changes meanwhile must make the pack stale
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_space(source, path.parent)
        _write(source, part, fingerprint, progress, workers or min(8, os.cpu_count() or 1))
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # RuntimeError: h5py when the last, buffered bytes don't fit
        full = "No space left" in str(error)  # somewhere in a paragraph of HDF5's own
        what = "the disk is full" if full else getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DatasetError(
            f"{path.parent} can't take the pack of {source.path} ({what}); make room there or choose another "
            "folder with --cache (--out where you pack by hand)."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    for note in turned_images(source.turned):
        progress.note(note)
    return PackedDataset(path)


def pack_file(source: BrodenFolder, path: Path, progress: Progress = SILENT) -> tuple[PackedDataset, bool]:
    """Pack a dataset by hand: a pack that is up to date is kept, an older one is replaced, nothing else ever is.

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
        If the file is there and is no pack, the dataset is damaged, or the file can't be written.
    """
    if path.exists():
        try:
            pack = PackedDataset(path)
        except DatasetError:
            raise DatasetError(f"{path} exists and is no whole pack; delete it, or choose another --out.") from None
        if pack.fingerprint == source.fingerprint():
            return pack, False
        pack.close()
    return pack_dataset(source, path, progress), True


def _check_space(source: BrodenFolder, folder: Path) -> None:
    """Raise the error of a full disk before an hour is spent on filling it."""
    (ih, iw), (height, width) = source.image_size, source.label_size
    needed = len(source) * (3 * ih * iw + height * width * np.dtype(code_dtype((height, width))).itemsize)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"it needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free")


def _write(source: BrodenFolder, part: Path, fingerprint: str, progress: Progress, workers: int) -> None:
    with create_hdf5(part, libver="latest") as (file, disk):
        _fill(file, disk, source, fingerprint, progress, workers)
    with part.open("rb") as written:
        os.fsync(written.fileno())


def _fill(file: Any, disk: DiskFile, source: BrodenFolder, fingerprint: str, progress: Progress, workers: int) -> None:
    count, shape = len(source), source.label_size
    file.attrs.update({"format": FORMAT, "version": VERSION, "name": source.name, "fingerprint": fingerprint})
    file.attrs["source"] = str(source.path.resolve())
    for name, data in source.tables.items():
        file[f"tables/{name}"] = np.frombuffer(data, np.uint8)
    text = h5py.string_dtype()
    file.create_dataset("image_names", data=np.array(source.image_names, object), dtype=text)
    file.create_dataset("splits", data=np.array(source.splits, object), dtype=text)
    images = file.create_dataset("images", (count, *source.image_size, 3), np.uint8)
    codes = file.create_dataset("codes", (count, *shape), code_dtype(shape))
    # The handles stay open to the end: h5py drops the error of a write that happens when one is let go.
    ragged = {
        name: file.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(65536 // np.dtype(dtype).itemsize,))
        for name, (dtype, _) in RAGGED.items()
    }
    starts: dict[str, list[NDArray[np.int64]]] = {name: [np.zeros(1, np.int64)] for name in STARTS}
    done = 0
    with progress.stage("packing", count, "images") as advance:
        for chunk in _decoded(source, workers):
            block = encode_labels([maps for _, (maps, _) in chunk], [whole for _, (_, whole) in chunk], shape)
            images.write_direct(np.stack([image for image, _ in chunk]), dest_sel=np.s_[done : done + len(chunk)])
            codes.write_direct(block.codes.numpy(), dest_sel=np.s_[done : done + len(chunk)])
            arrays = {
                "code_entries": np.diff(block.entry_start.numpy()),
                **{name: getattr(block, name).numpy() for name in RAGGED if name != "code_entries"},
            }
            for name, array in arrays.items():
                _append(ragged[name], array)
            for name, start in {
                "code_start": block.code_start.numpy(),
                "entry_start": block.entry_start.numpy()[block.code_start.numpy()],
                "whole_start": block.whole_start.numpy(),
            }.items():
                starts[name].append(start[1:] + starts[name][-1][-1])
            disk.check()
            done += len(chunk)
            advance(len(chunk))
    for name, pieces in starts.items():
        file[name] = np.concatenate(pieces)
    file.flush()
    file.attrs["complete"] = True


def _decoded(source: BrodenFolder, workers: int) -> Iterator[list[Decoded]]:
    """Chunks of decoded images and labels in order, the next one already in the making."""

    def decode(i: int) -> Decoded:
        return source.image(i), source.labels(i)

    pool = ThreadPoolExecutor(workers)
    try:
        ahead: deque[list[Future[Decoded]]] = deque()
        for start in range(0, len(source), CHUNK):
            ahead.append([pool.submit(decode, i) for i in range(start, min(start + CHUNK, len(source)))])
            if len(ahead) > 1:
                yield [future.result() for future in ahead.popleft()]
        while ahead:
            yield [future.result() for future in ahead.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _append(data: Any, array: NDArray[Any]) -> None:
    if len(array):
        data.resize(len(data) + len(array), axis=0)
        data[-len(array) :] = array


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
        for stale in cache.glob("*.h5.part"):  # nobody packs while we hold the lock
            stale.unlink(missing_ok=True)
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
    except DatasetError as error:
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
    except OSError as error:
        raise DatasetError(
            f"{cache} can't be used as the cache ({error.strerror}); choose another folder with --cache."
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
