"""Reader of a folder in Broden's layout (Network Dissection, section 2.1)."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ndengine.datasets import Vocabulary
from ndengine.datasets.tables import (
    INDEX_COLUMNS,
    REMEDY,
    FaultError,
    Table,
    check_table,
    leaves_folder,
    parse_cell,
    parse_number,
    parse_table,
    read_bytes,
    read_categories,
    read_vocabulary,
    table_names,
)
from ndengine.errors import DatasetError

# What Pillow's decoders are known to raise on damaged files.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of the index.

    Attributes
    ----------
    line : int
        Its line in ``index.csv``.
    image, split : str
        Path inside ``images/``, and the split it belongs to.
    maps : tuple of str
        Paths of its label maps inside ``images/``, in the order of categories.
    whole : tuple of int
        Its whole-image labels, 0 left out.
    """

    line: int
    image: str
    split: str
    maps: tuple[str, ...]
    whole: tuple[int, ...]


class BrodenFolder:
    """A dataset in Broden's layout; images and label maps are read when asked for.

    Parameters
    ----------
    path : Path or str
        The folder with ``index.csv``.

    Attributes
    ----------
    path : Path
        The folder.
    name : str
        Its name.
    tables : dict
        Bytes of each CSV table by file name.
    vocabulary : Vocabulary
        Concepts and categories.
    entries : tuple of Entry
        The rows of the index.
    image_size, label_size : tuple of int
        Height and width in pixels of every image, and of every label map.

    Raises
    ------
    DatasetError
        If a table is missing or damaged, or images differ in size.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise DatasetError(f"{self.path} is no folder; give a folder in Broden's layout, with index.csv.")
        self.name = self.path.resolve().name or "dataset"
        text = read_bytes(self.path / "category.csv")
        categories = read_categories(parse_table(text, self.path / "category.csv"))
        self.tables = {name: read_bytes(self.path / name) for name in table_names(categories)}
        self.vocabulary: Vocabulary = read_vocabulary(self.tables, self.path)
        table = parse_table(self.tables["index.csv"], self.path / "index.csv")
        check_table(table, (*INDEX_COLUMNS, *categories))
        self.image_size, self.label_size = _sizes(table)
        self.entries = tuple(self._entry(table, line, fields) for line, fields in table.rows)

    def _entry(self, table: Table, line: int, fields: dict[str, str]) -> Entry:
        cells = [parse_cell(fields[category]) for category in self.vocabulary.categories]
        image, maps = fields["image"].strip(), [path for paths, _ in cells for path in paths]
        for name in (image, *maps):
            if leaves_folder(name):
                what = f"line {line} names {name!r}, no path inside the folder images"
                raise FaultError("path outside", table.file, what)
        whole = [number for _, numbers in cells for number in numbers if number != 0]
        if max(whole, default=0) > len(self.vocabulary.names):
            what = f"line {line} has the label {max(whole)}, above the {len(self.vocabulary.names)} of label.csv"
            raise FaultError("id out of range", table.file, what)
        return Entry(line, image, fields["split"].strip(), tuple(maps), tuple(whole))

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def image_names(self) -> list[str]:
        """``[N]`` paths of the images inside ``images/``."""
        return [entry.image for entry in self.entries]

    @property
    def splits(self) -> list[str]:
        """``[N]`` split of each image."""
        return [entry.split for entry in self.entries]

    def image(self, i: int) -> NDArray[np.uint8]:
        """Image ``i`` as ``[ih, iw, 3]`` RGB, turned upright.

        Raises
        ------
        DatasetError
            If the file is missing, damaged or of another size.
        """
        return read_image(self.path / "images" / self.entries[i].image, self.image_size)

    def labels(self, i: int) -> tuple[NDArray[np.int32], list[int]]:
        """Labels of image ``i``.

        Returns
        -------
        maps : ndarray
            ``[M, H, W]`` int32 concept ids, 0 where a map has none.
        whole : list of int
            Concepts that cover the whole image; 0 is left out.

        Raises
        ------
        DatasetError
            If a label map is missing, damaged, of another size or holds an id that ``label.csv`` lacks.
        """
        entry = self.entries[i]
        maps = np.empty((len(entry.maps), *self.label_size), np.int32)
        for m, name in enumerate(entry.maps):
            file = self.path / "images" / name
            maps[m] = read_map(file, self.label_size)
            highest = int(maps[m].max(initial=0))
            if highest > len(self.vocabulary.names):
                what = f"holds the id {highest}, above the {len(self.vocabulary.names)} of label.csv"
                raise FaultError("id out of range", file, what)
        return maps, list(entry.whole)

    def fingerprint(self) -> str:
        """A digest that changes with any table, and with any file's path, size or modification time.

        Raises
        ------
        DatasetError
            If a file of the index is missing.
        """
        digest = hashlib.sha256()
        for name, data in self.tables.items():
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
        folder = self.path / "images"
        for name in dict.fromkeys(name for entry in self.entries for name in (entry.image, *entry.maps)):
            try:
                state = os.stat(f"{folder}/{name}")
            except OSError as error:
                raise FaultError("missing file", folder / name, f"is missing ({error.strerror})") from None
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def read_image(file: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode an image to ``[ih, iw, 3]`` RGB; arguments and errors as :meth:`BrodenFolder.image`."""
    try:
        with Image.open(file) as picture:
            if picture.mode[0] in "IF":  # Pillow would clip its values at 255
                what = f"has pixels of mode {picture.mode}"
                raise FaultError("wrong mode", file, what, "save it with 8 bits a channel")
            pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except FileNotFoundError:
        raise FaultError("missing file", file, "is missing") from None
    except DAMAGE as error:
        raise FaultError("unreadable file", file, f"is no readable image ({_reason(error)})") from None
    _check_size(file, pixels.shape[:2], size)
    return pixels


def read_map(file: Path, size: tuple[int, int]) -> NDArray[np.int32]:
    """Decode a label map to ``[H, W]`` ids R + 256·G; arguments and errors as :meth:`BrodenFolder.labels`."""
    try:
        with Image.open(file, formats=("PNG",)) as picture:
            # Tools read grey and palette maps in different ways, so an id in them would be a guess.
            if picture.mode not in ("RGB", "RGBA"):
                what = f"has pixels of mode {picture.mode}"
                raise FaultError("wrong mode", file, what, "save label maps as RGB with id = red + 256·green")
            pixels = np.asarray(picture)
    except FileNotFoundError:
        raise FaultError("missing file", file, "is missing") from None
    except DAMAGE as error:
        raise FaultError("unreadable file", file, f"is no readable PNG ({_reason(error)})") from None
    _check_size(file, pixels.shape[:2], size)
    return pixels[..., 0].astype(np.int32) + 256 * pixels[..., 1].astype(np.int32)


def _check_size(file: Path, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    if shape != size:
        is_, said = (f"{height}x{width}" for height, width in (shape, size))
        raise FaultError("wrong size", file, f"is {is_} pixels (height x width) where index.csv says {said}")


def _reason(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "no format that Pillow knows" if text.startswith("cannot identify") else text


def row_sizes(table: Table, line: int, fields: dict[str, str]) -> tuple[int, int, int, int]:
    """The sizes ``ih, iw, sh, sw`` of a row of ``index.csv``.

    Raises
    ------
    FaultError
        If one is no positive number.
    """
    ih, iw, sh, sw = (parse_number(fields[name], table, line, name) for name in ("ih", "iw", "sh", "sw"))
    if min(ih, iw, sh, sw) < 1:
        raise FaultError("bad table", table.file, f"line {line} has a size of 0 pixels")
    return ih, iw, sh, sw


def _sizes(table: Table) -> tuple[tuple[int, int], tuple[int, int]]:
    expected: tuple[int, ...] = ()
    for line, fields in table.rows:
        sizes = row_sizes(table, line, fields)
        expected = expected or sizes
        if sizes != expected:
            what = f"line {line} has the sizes {sizes} (ih, iw, sh, sw) where the rows before have {expected}"
            raise FaultError("mixed sizes", table.file, what, f"resize all images and label maps alike, or {REMEDY}")
    ih, iw, sh, sw = expected
    return (ih, iw), (sh, sw)
