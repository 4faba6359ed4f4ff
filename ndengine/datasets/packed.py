"""A packed dataset: images, pixel codes and tables in one HDF5 file that is read at the speed of the disk.

Layout, version 1. Datasets: ``images [N, ih, iw, 3]`` uint8 and ``codes [N, H, W]``, both contiguous; the other
arrays of :class:`ndkernels.labels.LabelBlock` under their own names, with starts that count through the whole file;
``image_names`` and ``splits`` ``[N]``; ``tables/<file name>`` the bytes of the CSV tables. Attributes: ``format``,
``version``, ``name``, ``source``, ``fingerprint`` and, written last, ``complete``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ndengine.datasets import Vocabulary, recognise_release
from ndengine.datasets.tables import read_vocabulary
from ndengine.errors import DatasetError
from ndkernels.labels import LabelBlock

FORMAT = "ndengine pack"
VERSION = 1
# The ragged arrays of a LabelBlock, each with the array that says where its parts start.
RAGGED = {
    "code_area": np.int64,
    "entry_start": np.int64,
    "entry_concept": np.int32,
    "entry_times": np.uint8,
    "whole_concept": np.int32,
    "whole_times": np.uint8,
}
ARRAYS = ("images", "codes", "code_start", "whole_start", *RAGGED, "image_names", "splits")
# Reading a few images too many is cheaper than another call into HDF5 for these small tables.
LARGEST_GAP = 16


class PackedDataset:
    """A dataset in one file. Two threads may read from it at once.

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
    DatasetError
        If the file is missing, is no pack, is unfinished or is damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            # Nobody writes to a finished pack, and locks fail on some network file systems.
            self._file: Any = h5py.File(self.path, "r", locking=False)
        except FileNotFoundError:
            raise DatasetError(f"{self.path} does not exist; make it with `ndengine data pack`.") from None
        except OSError:
            raise self._damage("is no HDF5 file, or a truncated one") from None
        try:
            self._open()
        except (OSError, KeyError, ValueError, RuntimeError):
            self._file.close()
            raise self._damage("can't be read through") from None
        except DatasetError:
            self._file.close()
            raise

    def _open(self) -> None:
        attrs = self._file.attrs
        if attrs.get("format") != FORMAT:
            raise DatasetError(f"{self.path} is an HDF5 file but no packed dataset; give a pack or a folder.")
        if attrs.get("version") != VERSION:
            raise DatasetError(
                f"{self.path} has version {attrs.get('version')} of the pack format where this program reads {VERSION}; "
                "delete it and pack the dataset again."
            )
        if not attrs.get("complete", False) or any(name not in self._file for name in ARRAYS):
            raise self._damage("was not finished")
        self._arrays: dict[str, Any] = {name: self._file[name] for name in ARRAYS}
        self.name, self.source, self.fingerprint = (str(attrs[key]) for key in ("name", "source", "fingerprint"))
        self.image_names: list[str] = list(self._arrays["image_names"].asstr()[:])
        self.splits: list[str] = list(self._arrays["splits"].asstr()[:])
        self.tables: dict[str, bytes] = {n: d[:].tobytes() for n, d in self._file["tables"].items()}
        self.vocabulary: Vocabulary = read_vocabulary(self.tables, self.path)
        self.image_size: tuple[int, int] = tuple(self._arrays["images"].shape[1:3])
        self.label_size: tuple[int, int] = tuple(self._arrays["codes"].shape[1:3])
        self._code_start: NDArray[np.int64] = self._arrays["code_start"][:]
        self._whole_start: NDArray[np.int64] = self._arrays["whole_start"][:]
        self._check_lengths()

    def _check_lengths(self) -> None:
        images, lengths = len(self.image_names), {n: len(d) for n, d in self._arrays.items()}
        entries = int(self._arrays["entry_start"][-1])
        expected = {
            **dict.fromkeys(("images", "codes", "splits"), images),
            **dict.fromkeys(("code_start", "whole_start"), images + 1),
            "code_area": int(self._code_start[-1]),
            "entry_start": int(self._code_start[-1]) + 1,
            **dict.fromkeys(("entry_concept", "entry_times"), entries),
            **dict.fromkeys(("whole_concept", "whole_times"), int(self._whole_start[-1])),
        }
        if any(lengths[name] != length for name, length in expected.items()) or any(
            start[0] != 0 or (np.diff(start) < 0).any() for start in (self._code_start, self._whole_start)
        ):
            raise self._damage("has arrays that do not go together")

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
        chosen = self._chosen(indices)
        return self._rows("images", chosen)

    def labels(self, indices: ArrayLike) -> LabelBlock:
        """Labels of images; arguments and errors as :meth:`images`.

        Returns
        -------
        LabelBlock
            The encoded labels of the B images.
        """
        chosen = self._chosen(indices)
        codes = self._rows("codes", chosen)
        code_start, code_area = self._ragged(chosen, self._code_start, "code_area")[:2]
        _, entry_ends = self._ragged(chosen, self._code_start, "entry_start", shift=1)
        _, entry_starts = self._ragged(chosen, self._code_start, "entry_start")
        lengths = entry_ends - entry_starts
        first, last = (np.zeros(len(chosen), np.int64) for _ in range(2))
        owned = np.diff(code_start) > 0
        first[owned] = entry_starts[code_start[:-1][owned]]
        last[owned] = entry_ends[code_start[1:][owned] - 1]
        entry_concept = self._spans("entry_concept", first, last)
        entry_times = self._spans("entry_times", first, last)
        whole_start, whole_concept = self._ragged(chosen, self._whole_start, "whole_concept")
        _, whole_times = self._ragged(chosen, self._whole_start, "whole_times")
        concepts = len(self.vocabulary.names)
        # Kernels trust these numbers as addresses, so a damaged file must stop here.
        if (
            (lengths < 0).any()
            or int(lengths.sum()) != len(entry_concept)
            or (len(codes) and (codes.reshape(len(codes), -1).max(axis=1) >= np.diff(code_start)).any())
            or (codes.dtype.kind == "i" and codes.min(initial=0) < 0)
            or any(((ids < 1) | (ids > concepts)).any() for ids in (entry_concept, whole_concept))
        ):
            raise self._damage("holds labels that are out of range")
        entry_start = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        arrays = (
            codes, code_start, code_area, entry_start, entry_concept, entry_times,
            whole_start, whole_concept, whole_times,
        )  # fmt: skip
        return LabelBlock(*(torch.from_numpy(array) for array in arrays))

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        with self._lock:
            self._file.close()

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
        """Rows of a dataset with a row an image."""
        data = self._arrays[name]
        out: NDArray[Any] = np.empty((len(chosen), *data.shape[1:]), data.dtype)
        for start, stop in _runs(chosen, gap=1):
            first = int(chosen[start])
            self._read(data, out, np.s_[first : first + stop - start], np.s_[start:stop])
        return out

    def _ragged(
        self, chosen: NDArray[np.int64], starts: NDArray[np.int64], name: str, shift: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Parts of a ragged array, and where each image's part starts among them."""
        begin, end = starts[chosen], starts[chosen + 1]
        out = np.concatenate([np.zeros(1, np.int64), np.cumsum(end - begin)])
        return out, self._spans(name, begin + shift, end + shift)

    def _spans(self, name: str, begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[Any]:
        """The concatenation of ``begin[i]:end[i]`` of a one-axis dataset, for ascending spans."""
        data, parts = self._arrays[name], []
        if (end < begin).any() or end.max(initial=0) > len(data):
            raise self._damage("holds labels that are out of range")
        filled = np.flatnonzero(end > begin)
        for start, stop in _runs(begin[filled], ends=end[filled], gap=LARGEST_GAP * 256):
            low, high = int(begin[filled[start]]), int(end[filled[stop - 1]])
            span = np.empty(high - low, data.dtype)
            self._read(data, span, np.s_[low:high], np.s_[:])
            parts += [span[b - low : e - low] for b, e in zip(begin[filled[start:stop]], end[filled[start:stop]])]
        return np.concatenate([np.empty(0, data.dtype), *parts])

    def _read(self, data: Any, out: NDArray[Any], source: Any, target: Any) -> None:
        try:
            with self._lock:
                data.read_direct(out, source, target)
        except OSError:
            raise self._damage("can't be read through") from None

    def _damage(self, what: str) -> DatasetError:
        return DatasetError(f"{self.path} {what}; delete it and pack the dataset again with `ndengine data pack`.")
