"""The files inside a result folder, each written under a temporary name and renamed when it is complete."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
from numpy.typing import NDArray

from ndengine.datasets import Vocabulary
from ndengine.errors import ResultError
from ndengine.hdf5 import Trouble, create_hdf5, find_trouble, text_array
from ndengine.inside import irregular
from ndengine.refusals import cannot_write, reason_of
from ndengine.tally import Counts

COUNTS = "counts.h5"
EXAMPLES = "examples.h5"
IMAGES = "images.csv"
VERSION = 1
CHUNK_BYTES = 1 << 18  # of an array, before it is compressed
MOST_COUNTED = 2**61  # two of them can be added

AGAIN = "run the dissection again with --overwrite"


@dataclass(frozen=True, eq=False)
class Examples:
    """The images that excite each unit most, best first; see ``LayerResult`` for the arrays.

    Attributes
    ----------
    top_images : ndarray of int64, [U, T]
    top_values : ndarray of float32, [U, T]
    top_masks : ndarray of uint8, [U, T, H, ceil(W/8)]
    """

    top_images: NDArray[np.int64]  # [U, T]
    top_values: NDArray[np.float32]  # [U, T]
    top_masks: NDArray[np.uint8]  # [U, T, H, ceil(W/8)]


def write_counts(path: Path, counts: Counts, dead: NDArray[np.bool_], vocabulary: Vocabulary) -> None:
    """Write ``counts.h5`` of a layer.

    Raises
    ------
    ResultError
        If the file can't be written.
    """
    with _new_hdf5(path, "ndengine-counts") as file:
        for name in (
            "threshold",
            "intersection",
            "concept_area",
            "unit_area",
            "unit_area_all",
            "concept_images",
        ):
            _put(file, name, getattr(counts, name))
        _put(file, "dead", dead)
        file.create_dataset("concept_names", data=text_array(vocabulary.names))
        file.create_dataset("categories", data=text_array(vocabulary.categories))
        _put(file, "concept_primary", vocabulary.primary)


def read_counts(path: Path, units: int) -> tuple[Counts, NDArray[np.bool_], Vocabulary]:
    """Read ``counts.h5`` of a layer of U units: its counts, dead units and the vocabulary.

    Raises
    ------
    ResultError
        If the file is missing, damaged or of another format, or has another number of units.
    """
    with _old_hdf5(path, "ndengine-counts") as file:
        names, categories = _take_texts(file, "concept_names"), _take_texts(file, "categories")
        concepts, kinds = len(names), len(categories)
        if len(set(categories)) < kinds or not all(categories):
            raise ValueError("categories has a name twice, or an empty one")
        counts = Counts(
            threshold=_take(file, "threshold", np.float32, units),
            intersection=_take(file, "intersection", np.int64, units, concepts),
            concept_area=_take(file, "concept_area", np.int64, concepts),
            unit_area=_take(file, "unit_area", np.int64, units, kinds),
            unit_area_all=_take(file, "unit_area_all", np.int64, units),
            concept_images=_take(file, "concept_images", np.int64, concepts),
        )
        dead = _take(file, "dead", np.bool_, units)
        primary = _take(file, "concept_primary", np.int64, concepts)
        if concepts and not (primary.min() >= -1 and primary.max() < kinds):
            raise ValueError("concept_primary names a category that is not there")
        _check_counts(counts)
    return counts, dead, Vocabulary(names=names, categories=categories, primary=primary)


def write_examples(path: Path, examples: Examples) -> None:
    """Write ``examples.h5`` of a layer.

    Raises
    ------
    ResultError
        If the file can't be written.
    """
    with _new_hdf5(path, "ndengine-examples") as file:
        _put(file, "top_images", examples.top_images)
        _put(file, "top_values", examples.top_values)
        _put(file, "top_masks", examples.top_masks)


def read_examples(path: Path, units: int, images: int, label_size: tuple[int, int]) -> Examples:
    """Read ``examples.h5`` of a layer of U units, made from N images with H×W segmentations.

    Raises
    ------
    ResultError
        If the file is missing, damaged or of another format, or does not fit the numbers given.
    """
    with _old_hdf5(path, "ndengine-examples") as file:
        shown = _dataset(file, "top_images").shape[-1]
        masks = (units, shown, label_size[0], -(-label_size[1] // 8))
        examples = Examples(
            top_images=_take(file, "top_images", np.int64, units, shown),
            top_values=_take(file, "top_values", np.float32, units, shown),
            top_masks=_take(file, "top_masks", np.uint8, *masks),
        )
        found = examples.top_images
        if found.size and not (found.min() >= -1 and found.max() < images):
            raise ValueError(f"top_images points outside the {images} images")
        if not np.isfinite(examples.top_values).all():
            raise ValueError("top_values is not finite")
    return examples


def _check_counts(counts: Counts) -> None:
    """See that counts can be counts: an edited file must not be scored as if it were."""
    for name in ("intersection", "concept_area", "unit_area", "unit_area_all", "concept_images"):
        array = getattr(counts, name)
        if array.size and not (array.min() >= 0 and array.max() <= MOST_COUNTED):
            raise ValueError(f"{name} holds what is no count")
    if (counts.intersection > counts.concept_area).any():
        raise ValueError("intersection is larger than concept_area")
    if not np.isfinite(counts.threshold).all():
        raise ValueError("threshold is not finite")


def write_images(path: Path, names: Sequence[str], splits: Sequence[str]) -> None:
    """Write ``images.csv``: the names and splits of the images that were used, in order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "split"))
    writer.writerows(zip(names, splits, strict=True))
    write_text(path, text.getvalue())


def read_images(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read ``images.csv``: names and splits.

    Raises
    ------
    ResultError
        If the file is missing or not such a table.
    """
    try:
        refuse_irregular(path)
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file, strict=True)) or [[]]
    except OSError as error:
        raise ResultError(f"{path} can't be read ({reason_of(error)}); {AGAIN}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ResultError(f"{path} can't be read ({error}); {AGAIN}.") from None
    if header != ["image", "split"] or any(len(row) != 2 for row in rows):
        raise ResultError(f"{path} is no list of images and splits; {AGAIN}.")
    return tuple(row[0] for row in rows), tuple(row[1] for row in rows)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises
    ------
    ResultError
        If it can't be written, or the text holds a file's name that is no UTF-8; what lay there before is still there.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with temporary.open("x", encoding="utf-8", newline="") as file:  # anew: what lay there might be a link
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # the name must not outlive a power cut that the content did not
        temporary.replace(path)
    except UnicodeEncodeError:  # a file's or folder's name, as Python reads one that is no UTF-8
        temporary.unlink(missing_ok=True)
        raise ResultError(
            f"{_printable(path)} can't be written: a name in it is no UTF-8; rename that file or folder."
        ) from None
    except OSError as error:
        _give_up(path, temporary, error)


def json_text(content: Any) -> str:
    """Strict JSON, laid out for people and with a line's end.

    Raises
    ------
    ValueError, TypeError
        If it holds what strict JSON can't: NaN, infinity or an object.
    """
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def refuse_irregular(path: Path) -> None:
    """Raise ResultError if a pipe, device, socket or folder lies where a file is to be read: it might never end."""
    if what := irregular(path):
        raise ResultError(f"{path} is {what}, not a file; restore it, or {AGAIN}.")


def _printable(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "replace")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises
    ------
    ResultError
        If the file is missing or unreadable.
    """
    refuse_irregular(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ResultError(f"{path} can't be read ({reason_of(error)}); {AGAIN}.") from None


@contextmanager
def _new_hdf5(path: Path, form: str) -> Iterator[Any]:
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with create_hdf5(temporary) as (file, _):
            file.attrs["format"], file.attrs["version"] = form, VERSION
            yield file
        temporary.replace(path)
    except OSError as error:
        _give_up(path, temporary, error)


@contextmanager
def _old_hdf5(path: Path, form: str) -> Iterator[Any]:
    refuse_irregular(path)
    try:
        with h5py.File(path, "r") as file:
            found = (file.attrs.get("format"), int(file.attrs.get("version", 0)))
            if found != (form, VERSION):
                raise ResultError(f"{path} is of another format ({found[0]} {found[1]}); {AGAIN}.")
            yield file
    except FileNotFoundError:
        raise ResultError(f"{path} is missing; {AGAIN}.") from None
    except ResultError:
        raise
    except MemoryError:
        raise ResultError(f"{path} holds more than the memory can take; {AGAIN}.") from None
    except Exception as error:  # what h5py raises of a file that was made or damaged on purpose, nobody can list
        trouble, text = find_trouble(path, error)
        if trouble is not Trouble.DAMAGED:
            raise ResultError(f"{path} {text}.") from None
        raise ResultError(f"{path} is damaged ({' '.join(str(error).split())}); {AGAIN}.") from None


def _put(file: Any, name: str, array: NDArray[Any]) -> None:
    packing: dict[str, Any] = {}
    if array.size:  # HDF5 can't chunk an empty array
        # Counts and masks are mostly zeros and shrink tenfold. Whole rows, a unit's, make a chunk: h5py's own choice
        # cuts every axis, and takes twice as long to read.
        rows = max(1, CHUNK_BYTES // max(1, array[0].nbytes))
        chunks = (min(len(array), rows), *array.shape[1:])
        packing = {"chunks": chunks, "compression": "gzip", "compression_opts": 1, "shuffle": array.itemsize > 1}
    file.create_dataset(name, data=array, **packing)


def _dataset(file: Any, name: str) -> Any:
    """An array of this very file: HDF5 can also show pieces of other files as if they lay in one."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is missing or lies in another file")
    data = file[name]
    if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external:
        raise ValueError(f"{name} is no array of this file")
    return data


def _take_texts(file: Any, name: str) -> tuple[str, ...]:
    data = _dataset(file, name)
    if data.ndim != 1:
        raise ValueError(f"{name} is no list of texts")
    return tuple(data.asstr()[()].tolist())


def _take(file: Any, name: str, dtype: type[np.generic], *shape: int) -> NDArray[Any]:
    data = _dataset(file, name)
    if data.dtype != dtype or data.shape != shape:
        raise ValueError(f"{name} is {data.dtype} {list(data.shape)}, not {np.dtype(dtype)} {list(shape)}")
    return np.asarray(data[()])


def _give_up(path: Path, temporary: Path, error: Exception) -> NoReturn:
    if os.path.isfile(temporary):  # of a name that no disk takes, Path's own methods raise
        temporary.unlink()
    raise ResultError(cannot_write(path, error)) from None
