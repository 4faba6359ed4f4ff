"""Survivors on disk: one HDF5 file a segment, written under another name and renamed when it is complete.

A file that carries its final name is whole: a kill between two system calls leaves nothing that would be taken for
data. Behind the HDF5 lies a CRC-32 of all of it, attributes and HDF5's own tables too, which is verified before HDF5
sees the file. Chunks are written and read directly, which runs at the speed of the raw file; no compressor earns its
time on activations.
"""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from ndengine.errors import SpoolError, UnusableSpoolError
from ndengine.hdf5 import CHECKED
from ndengine.refusals import cannot_write, reason_of
from ndkernels.sieve import Survivors

FORMAT = 2
CHUNK_BYTES = 4 << 20
PARTS = ("image", "unit", "bitmap", "values")
MARK = b"ndengine"  # before the eight hexadecimal digits of the checksum at the end of a file
TAIL_BYTES = len(MARK) + 8
BLOCK_BYTES = 1 << 20
AFRESH = "run again with --overwrite to start afresh"
NAME = re.compile(r"segment-[0-9]{6,}\.h5")


@dataclass(frozen=True)
class Span:
    """Which part of the stream a segment covers.

    Attributes
    ----------
    first_image, last_image : int
        Its first image, and one past its last.
    state_image : int
        One past the last image that its state tells of; more than ``last_image`` in a group.
    group : int
        Number of the first of the segments that were written with it, and count only together. That one is written
        last.
    """

    first_image: int
    last_image: int
    state_image: int
    group: int


@dataclass(frozen=True)
class Segment:
    """A segment as it was read.

    Attributes
    ----------
    survivors : Survivors
        What is left of its images.
    state : dict of str to ndarray
        Arrays that describe the stream up to ``span.state_image`` (bounds, top images …).
    span : Span
    """

    survivors: Survivors
    state: dict[str, NDArray[Any]]
    span: Span


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


def write_segment(path: Path, survivors: Survivors, state: Mapping[str, NDArray[Any]], span: Span) -> None:
    """Write one segment.

    Parameters
    ----------
    path : Path
        Its final name; a segment of that name is replaced in one step.
    survivors : Survivors
        What is left of the images of the segment.
    state : mapping
        Arrays that describe the stream up to ``span.state_image`` (bounds, top images …).
    span : Span
        Which images it covers.

    Raises
    ------
    SpoolError
        If the disk refuses.
    """
    # Made in memory: HDF5 would call back into Python to write, where an interruption leaves the library in disorder.
    made = io.BytesIO()
    with h5py.File(made, "w", libver=CHECKED) as file:
        file.attrs["format"] = FORMAT
        file.attrs["shape"] = survivors.shape
        for name, number in vars(span).items():
            file.attrs[name] = number
        for name in PARTS:
            write_array(file, name, getattr(survivors, name).numpy())
        for name, array in state.items():
            write_array(file, f"state/{name}", array)
    with made.getbuffer() as content, writing(path) as temporary:
        write_checked(temporary, content)


def segments(folder: Path) -> list[Path]:
    """The segments in a folder in their order, once it is rid of what an interruption left half done.

    Raises
    ------
    SpoolError
        If a segment is missing, or the disk refuses.
    """
    found = {path.name: path for path in sorted(folder.glob("segment-*.h5")) if NAME.fullmatch(path.name)}
    whole: list[Path] = []
    while (name := f"segment-{len(whole):06d}.h5") in found:
        whole.append(found.pop(name))
    for path in found.values():
        if read_span(path).group != len(whole):
            raise UnusableSpoolError(f"{folder} lacks segment {len(whole)}; {AFRESH}.")
    with disk(folder):
        for path in [*folder.glob("*.part"), *reversed(found.values())]:
            path.unlink()
    return whole


def write_checked(path: Path, content: memoryview) -> None:
    """Write bytes and their checksum behind them."""
    with open(path, "wb", buffering=0) as file:
        for part in (content, memoryview(MARK + b"%08x" % zlib.crc32(content))):
            written = 0
            while written < len(part):
                written += file.write(part[written:])


def read_segment(path: Path) -> Segment:
    """Read a segment.

    Raises
    ------
    SpoolError
        If the file is damaged.
    """
    with reading(path) as file:
        h, w = (int(n) for n in file.attrs["shape"])
        return Segment(
            Survivors(shape=(h, w), **{name: torch.from_numpy(read_array(file, name)) for name in PARTS}),
            {name: read_array(file, f"state/{name}") for name in file["state"]},
            _span(file),
        )


def read_survivors(path: Path) -> Survivors:
    """The survivors of a segment alone; errors are those of :func:`read_segment`."""
    with reading(path) as file:
        h, w = (int(n) for n in file.attrs["shape"])
        return Survivors(shape=(h, w), **{name: torch.from_numpy(read_array(file, name)) for name in PARTS})


def read_span(path: Path) -> Span:
    """Which images a segment covers; errors are those of :func:`read_segment`."""
    with reading(path) as file:
        return _span(file)


def _span(file: h5py.File) -> Span:
    return Span(**{name: int(file.attrs[name]) for name in Span.__dataclass_fields__})


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """Open a segment that is as it was written; whatever is wrong with it becomes one sentence.

    Raises
    ------
    SpoolError
        If the file is missing, truncated, of another format or fails its checksum.
    """
    try:
        verify(path)
        with h5py.File(path, "r") as file:
            if file.attrs["format"] != FORMAT:
                raise ValueError(f"format {file.attrs['format']}, expected {FORMAT}")
            yield file
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UnusableSpoolError(f"{path} is damaged ({reason_of(error)}); {AFRESH}.") from error


def verify(path: Path) -> None:
    """See that a file is what :func:`write_checked` wrote.

    Raises
    ------
    OSError
        If it can't be read.
    ValueError
        If it has changed, or is no file.
    """
    if not path.is_file() and path.exists():  # a pipe would keep a reader waiting
        raise ValueError("it is no file")
    with open(path, "rb", buffering=0) as file:
        left = os.fstat(file.fileno()).st_size - TAIL_BYTES
        found = 0
        while left > 0:
            block = file.read(min(left, BLOCK_BYTES))
            if not block:
                break
            found, left = zlib.crc32(block, found), left - len(block)
        if left != 0 or file.read(TAIL_BYTES + 1) != MARK + b"%08x" % found:
            raise ValueError("its checksum does not match")


def write_array(file: h5py.File, name: str, array: NDArray[Any]) -> None:
    """Write an array of one dimension or more as chunks of a few MB along its first axis."""
    rows = max(1, min(len(array), CHUNK_BYTES // max(1, array[:1].nbytes)))
    chunks = (rows, *array.shape[1:]) if array.size else None
    dataset = file.create_dataset(name, array.shape, array.dtype, chunks=chunks)
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
    """Read an array that :func:`write_array` wrote."""
    dataset = file[name]
    array = np.empty(dataset.shape, dataset.dtype)
    if array.size:
        for start in range(0, len(array), dataset.chunks[0]):
            rows = read_rows(dataset, start)
            array[start : start + len(rows)] = rows
    return array


def read_rows(dataset: h5py.Dataset, start: int) -> NDArray[Any]:
    """Read one chunk directly; padding is cut off."""
    _, raw = dataset.id.read_direct_chunk((start,) + (0,) * (dataset.ndim - 1))
    rows = np.frombuffer(raw, dataset.dtype).reshape(dataset.chunks)
    return rows[: len(dataset) - start]


def _bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
