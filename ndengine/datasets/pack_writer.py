"""Writing a pack: decoding and encoding many images at once, and the lock that keeps two writers apart."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.checksums import BlockSums, row_sums, write_seal
from ndengine.datasets.packed import FORMAT, RAGGED, STARTS, TEXTS, VERSION
from ndengine.hdf5 import CHECKED, DiskFile, create_hdf5, lock_file, text_array
from ndengine.models.regular import is_irregular
from ndengine.progress import Progress
from ndkernels.labels import code_dtype, encode_labels

Decoded = tuple[NDArray[np.uint8], tuple[NDArray[np.int32], list[int]]]
CHUNK = 32  # images that are decoded, encoded and written together; two chunks are in memory at a time


@contextlib.contextmanager
def claim_part(part: Path, progress: Progress) -> Iterator[None]:
    """Hold the file that a pack grows in, so that no other process writes to it; waits for one that does.

    The lock is the file's own and goes with its writer, however that ends; no lock file is left beside the pack. A file
    that still has this name at the end is deleted.

    Raises
    ------
    OSError
        If the file can't be made, or something else has its name.
    """
    file = _claim(part, progress)
    try:
        yield
    finally:
        if _has_name(file, part):
            part.unlink()
        os.close(file)


def _claim(part: Path, progress: Progress) -> int:
    told = False
    while True:
        if part.is_symlink() or is_irregular(part):
            raise FileExistsError(errno.EEXIST, f"{part.name} is in the way")
        file = os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            if not lock_file(file):
                if not told:
                    progress.note(f"Another program is packing into {part.with_suffix('')}; waiting for it.")
                told = True
                lock_file(file, wait=True)
            if _has_name(file, part):  # else its writer has renamed it, or taken it away
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def drop_part(part: Path) -> None:
    """Delete what a killed writer has left; what another one still writes to stays."""
    if part.is_symlink() or is_irregular(part):
        return
    with contextlib.suppress(OSError):
        file = os.open(part, os.O_RDWR)
        try:
            if lock_file(file):
                part.unlink()
        finally:
            os.close(file)


def _has_name(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def write_pack(source: BrodenFolder, part: Path, fingerprint: str, progress: Progress, workers: int) -> None:
    """Write the pack of a dataset into a file that is held, and see it to the disk.

    Raises
    ------
    DatasetError
        If the dataset is damaged.
    OSError, RuntimeError
        If the disk refuses.
    """
    with create_hdf5(part, CHECKED) as (file, disk):
        _fill(file, disk, source, fingerprint, progress, workers)
    with part.open("rb") as written:
        os.fsync(written.fileno())


def _fill(file: Any, disk: DiskFile, source: BrodenFolder, fingerprint: str, progress: Progress, workers: int) -> None:
    count, shape = len(source), source.label_size
    file.attrs["version"] = VERSION
    facts = {"format": FORMAT, "name": source.name, "source": str(source.path.resolve()), "fingerprint": fingerprint}
    for name, text in facts.items():
        file.attrs[name] = text_array([text])[0]
    for name, data in source.tables.items():
        file[f"tables/{name}"] = np.frombuffer(data, np.uint8)
    for name, texts in zip(TEXTS, (source.image_names, source.splits), strict=True):
        file[name] = text_array(texts)
    images = file.create_dataset("images", (count, *source.image_size, 3), np.uint8)
    codes = file.create_dataset("codes", (count, *shape), code_dtype(shape))
    # The handles stay open to the end: h5py drops the error of a write that happens when one is let go.
    ragged = {
        name: file.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(65536 // np.dtype(dtype).itemsize,))
        for name, (dtype, _) in RAGGED.items()
    }
    starts: dict[str, list[NDArray[np.int64]]] = {name: [np.zeros(1, np.int64)] for name in STARTS}
    rows: dict[str, list[NDArray[np.uint64]]] = {"images": [], "codes": []}
    blocks = {name: BlockSums() for name in RAGGED}
    done = 0
    with progress.stage("packing", count, "images") as advance:
        for chunk in _decoded(source, workers):
            block = encode_labels([maps for _, (maps, _) in chunk], [whole for _, (_, whole) in chunk], shape)
            for name, data, array in (
                ("images", images, np.stack([image for image, _ in chunk])),
                ("codes", codes, block.codes.numpy()),
            ):
                data.write_direct(array, dest_sel=np.s_[done : done + len(chunk)])
                rows[name].append(row_sums(array))
            arrays = {
                "code_entries": np.diff(block.entry_start.numpy()),
                **{name: getattr(block, name).numpy() for name in RAGGED if name != "code_entries"},
            }
            for name, array in arrays.items():
                array = array.astype(RAGGED[name][0], copy=False)
                _append(ragged[name], array)
                blocks[name].add(array)
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
    sums = {name: np.concatenate(found) for name, found in rows.items()}
    write_seal(file, sums | {name: found.finish() for name, found in blocks.items()})


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
