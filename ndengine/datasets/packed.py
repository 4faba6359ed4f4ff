"""A packed dataset: images, pixel codes and tables in one HDF5 file that is read at the speed of the disk.

Layout, version 2 (FORMAT.md tells others of it); N images, R combinations of labels, E entries and L whole-image labels
in the whole file:

- ``images [N, ih, iw, 3]`` uint8 RGB and ``codes [N, H, W]``, both contiguous and uncompressed;
- ``code_start``, ``entry_start`` and ``whole_start`` ``[N + 1]`` int64: where the part of an image starts;
- ``code_area [R]`` int64 and ``code_entries [R]`` int32: pixels and number of entries of each combination;
- ``entry_concept [E]``, ``entry_times [E]``, ``whole_concept [L]``, ``whole_times [L]`` as in
  :class:`ndkernels.labels.LabelBlock`;
- ``image_names [N]``, ``splits [N]``, and ``tables/<file name>``: the bytes of the CSV tables;
- ``checksums/``: see :mod:`ndengine.datasets.checksums`;
- attributes ``format``, ``version``, ``name``, ``source``, ``fingerprint`` and, written last, ``checksum``.

Whatever is read is compared with its checksum first.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ndengine.datasets import Vocabulary, recognise_release
from ndengine.datasets.checksums import (
    BLOCK,
    GROUP,
    SEAL,
    Manifest,
    MismatchError,
    attribute_text,
    check_array,
    check_attribute,
    check_blocks,
    check_rows,
    read_manifest,
)
from ndengine.datasets.tables import read_vocabulary
from ndengine.errors import DatasetError, UnusablePackError
from ndengine.hdf5 import Trouble, find_trouble
from ndengine.models.regular import is_irregular
from ndkernels.labels import LabelBlock

FORMAT, VERSION = "ndengine pack", 2
# Each ragged array, its type, and the array that says where an image's part of it starts.
RAGGED: dict[str, tuple[type[np.generic], str]] = {
    "code_area": (np.int64, "code_start"),
    "code_entries": (np.int32, "code_start"),
    "entry_concept": (np.int32, "entry_start"),
    "entry_times": (np.uint8, "entry_start"),
    "whole_concept": (np.int32, "whole_start"),
    "whole_times": (np.uint8, "whole_start"),
}
STARTS = ("code_start", "entry_start", "whole_start")
TEXTS = ("image_names", "splits")
SUMMED = ("images", "codes", *RAGGED)  # arrays with a checksum for each row or block
ARRAYS = (*SUMMED, *STARTS, *TEXTS)
ROW_GAP = 4  # a call into HDF5 takes longer than reading these rows more
GIVE = "give a folder in Broden's layout, or a file that `ndengine data pack` has made"
# What h5py raises on damaged files, and what the readers of their contents do.
DAMAGE = (OSError, KeyError, ValueError, RuntimeError, AttributeError, TypeError, IndexError, OverflowError)


class PackedDataset:
    """A dataset in one file. Several threads may read from it at once.

    Parameters
    ----------
    path : Path or str
        A file that :func:`ndengine.datasets.pack.pack_dataset` wrote.

    Attributes
    ----------
    path : Path
        The file.
    name, source, fingerprint : str
        Name, path and fingerprint of the folder that was packed.
    image_names, splits : list of str
        ``[N]`` paths inside ``images/``, and the split of each image.
    image_size, label_size : tuple of int
        Height and width in pixels of the images, and of the label maps.
    vocabulary : Vocabulary
        Concepts and categories.
    tables : dict
        Bytes of each CSV table by file name, the index included.

    Raises
    ------
    UnusablePackError
        If the file is damaged, unfinished or of an older format.
    DatasetError
        If it is missing, is no pack, is open in another program, or is of a newer format.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._identity: tuple[int, int] | None = None
        if is_irregular(self.path):
            raise DatasetError(f"{self.path} is no file (a folder, a pipe or a device); {GIVE}.")
        try:
            self._file: Any = _open(self.path)
        except FileNotFoundError:
            raise DatasetError(f"{self.path} does not exist; make it with `ndengine data pack`.") from None
        except OSError as error:
            trouble, text = find_trouble(self.path, error)
            if trouble is not Trouble.DAMAGED:
                raise DatasetError(f"{self.path} {text}.") from None
            raise self._unusable(f"is no HDF5 file, or a truncated one; {GIVE}") from None
        # The same open file, whatever happens to its name meanwhile.
        self._raw = io.FileIO(os.dup(self._file.id.get_vfd_handle()), "rb")
        state = os.fstat(self._raw.fileno())
        self._identity = state.st_dev, state.st_ino
        try:
            self._open()
        except DAMAGE as error:
            self.close()
            trouble, text = find_trouble(self.path, error)
            if trouble is not Trouble.DAMAGED:
                raise DatasetError(f"{self.path} {text}.") from None
            what = f": {error}" if isinstance(error, MismatchError) else ""
            raise self._damage(f"has arrays that are damaged or do not go together{what}") from None
        except DatasetError:
            self.close()
            raise

    def _open(self) -> None:
        attrs = self._file.attrs
        # `in` tells what is there from what can't be read, `get` does not.
        if "format" not in attrs or attribute_text(self._file, "format") != FORMAT:
            raise DatasetError(f"{self.path} is an HDF5 file but no packed dataset; {GIVE}.")
        version = int(attrs["version"])
        if version > VERSION:
            raise DatasetError(
                f"{self.path} has version {version} of the pack format where this program reads {VERSION}: it was "
                "written by a newer version of ndengine; update this one, or choose another --cache."
            )
        if version < VERSION:
            raise self._unusable(
                f"has version {version} of the pack format, without checksums, where this program reads {VERSION}; "
                f"pack the dataset again with `ndengine data pack {attribute_text(self._file, 'source')}`",
                older=True,
            )
        if SEAL not in attrs:
            raise self._damage("was not finished")
        manifest = read_manifest(self._file)
        self._arrays: dict[str, Any] = {name: self._file[name] for name in ARRAYS}
        self._sums: dict[str, NDArray[np.uint64]] = {name: self._file[f"{GROUP}/{name}"][:] for name in SUMMED}
        self._check(manifest)
        self._places = {name: _place(self._arrays[name]) for name in ("images", "codes")}
        self.image_names: list[str] = list(self._arrays["image_names"].asstr(errors="surrogateescape")[:])
        self.splits: list[str] = list(self._arrays["splits"].asstr(errors="surrogateescape")[:])
        self.tables: dict[str, bytes] = {n: d[:].tobytes() for n, d in self._file["tables"].items()}
        self.vocabulary: Vocabulary = read_vocabulary(self.tables, self.path)
        (_, ih, iw, _), (_, height, width) = self._arrays["images"].shape, self._arrays["codes"].shape
        self.image_size: tuple[int, int] = (ih, iw)
        self.label_size: tuple[int, int] = (height, width)
        self._starts: dict[str, NDArray[np.int64]] = {name: self._arrays[name][:] for name in STARTS}
        self._windows: dict[str, tuple[int, NDArray[Any]]] = {}  # what was read last of each ragged array, and where
        images = len(self.image_names)
        lengths = dict.fromkeys(("images", "codes", "splits"), images)
        lengths |= {name: int(self._starts[start][-1]) for name, (_, start) in RAGGED.items()}
        if any(len(self._arrays[name]) != length for name, length in lengths.items()) or any(
            len(start) != images + 1 or start[0] != 0 or (np.diff(start) < 0).any() for start in self._starts.values()
        ):
            raise ValueError("lengths")

    def _check(self, manifest: Manifest) -> None:
        """See that all but the images, the codes and the ragged arrays is what was written."""
        for name in ("format", "version"):
            check_attribute(self._file, name, manifest)
        self.name, self.source, self.fingerprint = (
            check_attribute(self._file, name, manifest) for name in ("name", "source", "fingerprint")
        )
        for name in ARRAYS:
            check_array(self._file, name, manifest, self._sums.get(name))
        for name in self._file["tables"]:
            check_array(self._file, f"tables/{name}", manifest)

    def __len__(self) -> int:
        return len(self.image_names)

    @property
    def release(self) -> str | None:
        """``broden1_224``, ``broden1_227`` or ``broden1_384`` where this is one of them, else None."""
        return recognise_release(len(self), len(self.vocabulary.names), self.image_size)

    def images(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """Images by number.

        Parameters
        ----------
        indices : array_like
            ``[B]`` numbers from 0, strictly ascending.

        Returns
        -------
        ndarray
            ``[B, ih, iw, 3]`` uint8, RGB.

        Raises
        ------
        DatasetError
            If the file can't be read.
        """
        return self._rows("images", self._chosen(indices))

    def labels(self, indices: ArrayLike) -> LabelBlock:
        """Labels by image number; arguments and errors as :meth:`images`.

        Returns
        -------
        LabelBlock
            The encoded labels of the B images.
        """
        chosen = self._chosen(indices)
        codes = self._rows("codes", chosen)
        parts = {name: self._parts(name, chosen) for name in RAGGED}
        starts = {name: _counted(np.diff(start)[chosen]) for name, start in self._starts.items()}
        combinations = np.diff(starts["code_start"])
        entry_start = _counted(parts["code_entries"])
        concepts = len(self.vocabulary.names)
        # Kernels use these numbers as addresses without another look, so a damaged file must stop here.
        if (
            (parts["code_entries"] < 0).any()
            or (entry_start[starts["code_start"]] != starts["entry_start"]).any()
            or codes.min(initial=0) < 0
            or (codes.max(axis=(1, 2), initial=0) >= combinations).any()
            or any(((parts[n] < 1) | (parts[n] > concepts)).any() for n in ("entry_concept", "whole_concept"))
        ):
            raise self._damage("holds labels that are out of range")
        arrays = {
            "codes": codes,
            "code_start": starts["code_start"],
            "entry_start": entry_start,
            "whole_start": starts["whole_start"],
            **{name: parts[name] for name in RAGGED if name != "code_entries"},
        }
        return LabelBlock(**{name: torch.from_numpy(array) for name, array in arrays.items()})

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        with self._lock:
            self._file.close()
            self._raw.close()

    def __enter__(self) -> PackedDataset:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chosen(self, indices: ArrayLike) -> NDArray[np.int64]:
        chosen = np.asarray(indices, np.int64)
        if chosen.ndim != 1 or (np.diff(chosen) <= 0).any():
            raise ValueError("indices must be one axis of strictly ascending image numbers")
        if len(chosen) and (chosen[0] < 0 or chosen[-1] >= len(self)):
            raise ValueError(f"indices must lie in 0 … {len(self) - 1}")
        return chosen

    def _rows(self, name: str, chosen: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of an array that has one an image."""
        data = self._arrays[name]
        rows: NDArray[Any] = np.empty((len(chosen), *data.shape[1:]), data.dtype)
        place = self._places[name]
        for start, stop in _runs(chosen, chosen + 1, gap=0 if place is not None else ROW_GAP):
            first, last = int(chosen[start]), int(chosen[stop - 1]) + 1
            if place is not None:
                self._read_bytes(rows[start:stop], place + first * rows[0].nbytes)
            elif last - first == stop - start:
                self._read(data, rows, np.s_[first:last], np.s_[start:stop])
            else:
                span = np.empty((last - first, *data.shape[1:]), data.dtype)
                self._read(data, span, np.s_[first:last], np.s_[:])
                rows[start:stop] = span[chosen[start:stop] - first]
        wrong = check_rows(rows, self._sums[name][chosen])
        if wrong is not None:
            what = "pixels" if name == "images" else "labels"
            raise self._damage(f"holds damaged {what} of the image {self.image_names[chosen[wrong]]}")
        return rows

    def _read_bytes(self, rows: NDArray[Any], place: int) -> None:
        """Fill rows from a place in the file: HDF5 takes ten times as long, and lets one thread read at a time."""
        left = rows.reshape(-1).view(np.uint8).data
        try:
            while left:
                count = os.preadv(self._raw.fileno(), [left], place)
                if count == 0:
                    raise OSError("the file ends before its time")
                left, place = left[count:], place + count
        except OSError as error:
            raise self._unreadable(error) from None

    def _parts(self, name: str, chosen: NDArray[np.int64]) -> NDArray[Any]:
        """The parts of a ragged array that belong to the chosen images, end to end."""
        data, start = self._arrays[name], self._starts[RAGGED[name][1]]
        begin, end = start[chosen], start[chosen + 1]
        parts = [np.empty(0, data.dtype)]
        for i, j in _runs(begin, end, gap=0):
            if begin[i] < end[j - 1]:
                parts.append(self._span(name, data, int(begin[i]), int(end[j - 1])))
        return np.concatenate(parts)

    def _span(self, name: str, data: Any, begin: int, end: int) -> NDArray[Any]:
        """A piece of a ragged array: of what was read last, where that has it, or of the blocks that it lies in."""
        start, window = self._windows.get(name, (0, np.empty(0, data.dtype)))
        if not start <= begin <= end <= start + len(window):
            first, last = begin // BLOCK, -(-end // BLOCK)
            start = first * BLOCK
            window = np.empty(min(last * BLOCK, len(data)) - start, data.dtype)
            self._read(data, window, np.s_[start : start + len(window)], np.s_[:])
            try:
                check_blocks(name, window, self._sums[name][first:last])
            except MismatchError as error:
                raise self._damage(f"holds damaged labels: {error}") from None
            self._windows[name] = start, window  # in one piece, whatever other threads do
        return window[begin - start : end - start]

    def _read(self, data: Any, out: NDArray[Any], source: slice, target: slice) -> None:
        try:
            with self._lock:
                data.read_direct(out, source, target)
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> DatasetError:
        damage = self._damage("can't be read through")
        # A disk or a network that fails need not do so again: that alone is no reason to give the file up.
        return DatasetError(str(damage)) if error.errno else damage

    def _damage(self, what: str) -> UnusablePackError:
        return self._unusable(
            f"{what}; delete it and pack the dataset again with `ndengine data pack` (in the cache, the next run does)"
        )

    def _unusable(self, what: str, *, older: bool = False) -> UnusablePackError:
        error = UnusablePackError(f"{self.path} {what}.")
        error.path, error.identity, error.older = self.path, self._identity, older
        return error


def _open(path: Path) -> h5py.File:
    try:
        # Nobody writes to a finished pack, and locks fail on some network file systems.
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
        return h5py.File(path, "r")  # this process has it open already, and HDF5 wants both alike


def _place(data: Any) -> int | None:
    """Where an array lies in its file, if it lies there in one piece as memory would have it."""
    if not hasattr(os, "preadv") or not data.dtype.isnative:  # no such call on Windows
        return None
    offset: int | None = data.id.get_offset()
    return offset


def _counted(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Where parts of these lengths start when they lie end to end, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _runs(begin: NDArray[np.int64], end: NDArray[np.int64], gap: int) -> Iterator[tuple[int, int]]:
    """Cut ascending spans into runs, first and one past the last, with at most ``gap`` between neighbours."""
    if len(begin):
        cuts = [0, *(np.flatnonzero(begin[1:] - end[:-1] > gap) + 1).tolist(), len(begin)]
        yield from pairwise(cuts)
