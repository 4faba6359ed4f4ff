"""Survivors on disk: one HDF5 file a segment, written under another name and renamed when it is complete.

A file that carries its final name is whole: a kill between two system calls leaves nothing that would be taken for
data. Chunks are written and read directly, which runs at the speed of the raw file; no compressor earns its time on
activations. Every array carries a CRC-32.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from ndengine.errors import SpoolError, UnusableSpoolError
from ndengine.hdf5 import CHECKED, create_hdf5
from ndengine.refusals import cannot_write, reason_of
from ndkernels.sieve import Survivors

FORMAT = 1
CHUNK_BYTES = 4 << 20
PARTS = ("image", "unit", "bitmap", "values")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``, and rename it to ``path`` if all went well.

    Raises
    ------
    SpoolError
        If the disk refuses: full, over quota, read-only.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        with disk(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn what the disk refuses while ``path`` is written into a SpoolError: full, over quota, read-only."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either, by the call that meets it
        raise SpoolError(cannot_write(path, error)) from error


def write_segment(path: Path, survivors: Survivors, state: Mapping[str, NDArray[Any]], last_image: int) -> None:
    """Write one segment.

    Parameters
    ----------
    path : Path
        Its final name; a segment of that name is replaced in one step.
    survivors : Survivors
        What is left of the images of the segment.
    state : mapping
        Arrays that describe the stream up to the end of the segment (bounds, top images …).
    last_image : int
        One past the last image that the segment covers.

    Raises
    ------
    SpoolError
        If the disk refuses.
    """
    with writing(path) as temporary, create_hdf5(temporary, CHECKED) as (file, _):
        file.attrs["format"] = FORMAT
        file.attrs["shape"] = survivors.shape
        file.attrs["last_image"] = last_image
        for name in PARTS:
            write_array(file, name, getattr(survivors, name).numpy())
        for name, array in state.items():
            write_array(file, f"state/{name}", array)


def read_segment(path: Path) -> Survivors:
    """The survivors of a segment.

    Raises
    ------
    SpoolError
        If the file is damaged.
    """
    with reading(path) as file:
        arrays = {name: torch.from_numpy(read_array(file, name)) for name in PARTS}
        h, w = (int(n) for n in file.attrs["shape"])
        return Survivors(shape=(h, w), **arrays)


def read_state(path: Path) -> tuple[dict[str, NDArray[Any]], int]:
    """The state at the end of a segment, and one past its last image."""
    with reading(path) as file:
        return {name: read_array(file, f"state/{name}") for name in file["state"]}, int(file.attrs["last_image"])


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file of a spool; whatever is wrong with it becomes one sentence.

    Raises
    ------
    SpoolError
        If the file is missing, truncated, of another format or fails its checksum.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["format"] != FORMAT:
                raise ValueError(f"format {file.attrs['format']}, expected {FORMAT}")
            yield file
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise UnusableSpoolError(
            f"{path} is damaged ({reason_of(error)}); run again with --overwrite to start afresh."
        ) from error


def write_array(file: h5py.File, name: str, array: NDArray[Any]) -> None:
    """Write an array of one dimension or more as chunks of a few MB along its first axis, with its checksum."""
    rows = max(1, min(len(array), CHUNK_BYTES // max(1, array[:1].nbytes)))
    chunks = (rows, *array.shape[1:]) if array.size else None
    dataset = file.create_dataset(name, array.shape, array.dtype, chunks=chunks)
    dataset.attrs["crc32"] = zlib.crc32(_bytes(array))
    if array.size:
        for start in range(0, len(array), rows):
            write_rows(dataset, start, array[start : start + rows])


def write_rows(dataset: h5py.Dataset, start: int, rows: NDArray[Any]) -> None:
    """Write one whole chunk directly; the last one is padded."""
    whole = dataset.chunks[0]
    if len(rows) < whole:
        padded = np.zeros((whole, *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        rows = padded
    dataset.id.write_direct_chunk((start,) + (0,) * (rows.ndim - 1), _bytes(rows))


def read_array(file: h5py.File, name: str) -> NDArray[Any]:
    """Read an array that :func:`write_array` wrote.

    Raises
    ------
    ValueError
        If it does not match its checksum.
    """
    dataset = file[name]
    array = np.empty(dataset.shape, dataset.dtype)
    if array.size:
        for start in range(0, len(array), dataset.chunks[0]):
            rows = read_rows(dataset, start)
            array[start : start + len(rows)] = rows
        if zlib.crc32(_bytes(array)) != dataset.attrs["crc32"]:
            raise ValueError(f"checksum of {name} does not match")
    return array


def read_rows(dataset: h5py.Dataset, start: int) -> NDArray[Any]:
    """Read one chunk directly; padding is cut off."""
    _, raw = dataset.id.read_direct_chunk((start,) + (0,) * (dataset.ndim - 1))
    rows = np.frombuffer(raw, dataset.dtype).reshape(dataset.chunks)
    return rows[: len(dataset) - start]


def _bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def claim_folder(folder: Path, key: Mapping[str, Any]) -> None:
    """Make a spool folder for the settings in ``key``, or find the one that an interrupted run left.

    Raises
    ------
    SpoolError
        If the folder holds the spool of other settings, or its description is damaged.
    """
    path = folder / "spool.json"
    text = json.dumps({"format": FORMAT, **key}, indent=1, sort_keys=True)
    if path.exists():
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UnusableSpoolError(
                f"{path} is damaged ({error}); run again with --overwrite to start afresh."
            ) from error
        wanted = json.loads(text)
        if not isinstance(found, dict):
            raise UnusableSpoolError(f"{path} is damaged (no object); run again with --overwrite to start afresh.")
        if found.get("format") != FORMAT:
            raise UnusableSpoolError(
                f"{path} was written by another version; run again with --overwrite to start afresh."
            )
        changed = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
        if changed:
            raise UnusableSpoolError(
                f"{folder} holds the spool of an interrupted run with other settings ({', '.join(changed)}); "
                "run it with those to go on, or with --overwrite to start afresh."
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpoolError(cannot_write(folder, error)) from error
    with writing(path) as temporary:
        temporary.write_text(text)
