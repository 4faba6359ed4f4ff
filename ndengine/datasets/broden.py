"""Reader of a folder in Broden's layout (Network Dissection, section 2.1)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets import Vocabulary
from ndengine.datasets.cells import CellError, CellReader, ids_by_name, is_missing, shown
from ndengine.datasets.decode import UPRIGHT, beyond, read_map, read_photo
from ndengine.datasets.tables import (
    INDEX_COLUMNS,
    REMEDY,
    FaultError,
    Table,
    check_table,
    leaves_folder,
    missing_file,
    parse_number,
    parse_table,
    read_bytes,
    read_categories,
    read_vocabulary,
    table_names,
)
from ndengine.errors import DatasetError

MOST_LABELS = 255  # label maps of an image, and its whole-image labels: packs keep how many in a byte
MOST_PIXELS = 178_956_970  # of an image or a label map: Pillow opens no more


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
    turned : set of str
        Images with label maps, of those read so far, that an EXIF orientation has turned.

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
        self.turned: set[str] = set()
        text = read_bytes(self.path / "category.csv")
        categories = read_categories(parse_table(text, self.path / "category.csv"))
        self.tables = {name: read_bytes(self.path / name) for name in table_names(categories)}
        self.vocabulary: Vocabulary = read_vocabulary(self.tables, self.path)
        table = parse_table(self.tables["index.csv"], self.path / "index.csv")
        check_table(table, (*INDEX_COLUMNS, *categories))
        self.image_size, self.label_size = _sizes(table)
        reader = CellReader(self.path / "images", ids_by_name(dict(enumerate(self.vocabulary.names, 1))))
        self.entries = tuple(self._entry(reader, table, line, fields) for line, fields in table.rows)

    def _entry(self, reader: CellReader, table: Table, line: int, fields: dict[str, str]) -> Entry:
        maps: list[str] = []
        whole: list[int] = []
        for category in self.vocabulary.categories:
            paths, numbers = read_labels(reader, table, line, fields, category)
            maps += paths
            whole += [number for number in numbers if number != 0]
        image = fields["image"].strip()
        for fault in entry_faults(table, line, (image, *maps), whole):
            raise fault
        if max(whole, default=0) > len(self.vocabulary.names):
            what = f"line {line} has the label {max(whole)}, above the {len(self.vocabulary.names)} of label.csv"
            raise FaultError("id out of range", table.file, what)
        split = "" if is_missing(fields["split"]) else fields["split"].strip()
        return Entry(line, image, split, tuple(maps), tuple(whole))

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
        entry = self.entries[i]
        photo = read_photo(self.path / "images" / entry.image, self.image_size)
        if photo.orientation != UPRIGHT and entry.maps:
            self.turned.add(entry.image)
        return photo.pixels

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
            If a label map is missing, damaged, of another size, holds an id beyond ``label.csv``, or stores its ids
            in a way in which programs see different numbers.
        """
        entry = self.entries[i]
        maps = np.empty((len(entry.maps), *self.label_size), np.int32)
        for m, name in enumerate(entry.maps):
            file = self.path / "images" / name
            maps[m] = read_map(file, self.label_size)
            if maps[m].max(initial=0) > len(self.vocabulary.names):
                ids, remedy = beyond(maps[m], len(self.vocabulary.names))
                what = f"holds the id {ids[-1]}, above the {len(self.vocabulary.names)} of label.csv"
                raise FaultError("id out of range", file, what, remedy)
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
            except FileNotFoundError:
                raise missing_file(folder / name) from None
            except OSError as error:
                raise FaultError("unreadable file", folder / name, f"can't be read ({error.strerror})") from None
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def read_labels(
    reader: CellReader, table: Table, line: int, fields: dict[str, str], category: str
) -> tuple[list[str], list[int]]:
    """The label maps and whole-image labels that a row of ``index.csv`` gives in a category.

    Raises
    ------
    FaultError
        If its cell holds anything else.
    """
    try:
        return reader.read(fields.get(category, ""))  # a missing column is a fault of the table
    except CellError as error:
        what = f"line {line} has {error.item} as {category}, {error.expected}"
        raise FaultError("bad table", table.file, what, error.remedy) from None


def entry_faults(table: Table, line: int, files: Sequence[str], whole: Sequence[int]) -> Iterator[FaultError]:
    """What is wrong with the files and whole-image labels of a row, the image first among the files."""
    for name in files:
        if leaves_folder(name):
            remedy = "name files by their paths inside that folder, with / between the parts"
            what = f"line {line} names {shown(name)}, no path inside the folder images"
            yield FaultError("path outside", table.file, what, remedy)
    for kind, count in (("label maps", len(files) - 1), ("whole-image labels", len(whole))):
        if count > MOST_LABELS:
            what = f"line {line} has {count} {kind}"
            yield FaultError("too many labels", table.file, what, f"give an image at most {MOST_LABELS} of them")


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
    if max(ih * iw, sh * sw) > MOST_PIXELS:
        what = f"line {line} has a size of {max(ih * iw, sh * sw):,} pixels"
        raise FaultError("bad table", table.file, what, f"resize what has more than {MOST_PIXELS:,}")
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
