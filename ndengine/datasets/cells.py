"""What a cell of a table says, as people, spreadsheets and pandas write it.

Read is what can mean one thing only: ``5.0`` is 5, and ``nan`` is no value. ``1,5``, ``1e3`` or ``-1`` are not, for
programs write them for different numbers, or from numbers that they have rounded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# 18 digits: Python refuses to turn thousands of them into a number; none of ours has more than a few.
WHOLE = re.compile(r"([0-9]{1,18})(?:\.0*)?")
AMOUNT = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
MISSING = frozenset({"nan", "<na>", "none", "null"})  # how NumPy, pandas, Python and JSON write that there is no value
LONGEST = 60  # characters of a cell in a message
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".npy", ".mat")


def as_number(text: str) -> int | None:
    """The whole number of at least 0 that a cell holds, or None."""
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) <= 18:
        return int(text)
    found = WHOLE.fullmatch(text)
    return int(found[1]) if found else None


def as_amount(text: str) -> float | None:
    """The finite number of at least 0 that a cell holds, or None."""
    text = text.strip()
    value = float(text) if AMOUNT.fullmatch(text) else float("inf")
    return value if value < float("inf") else None


def is_missing(text: str) -> bool:
    """Whether a cell says that it has no value."""
    return text.strip().casefold() in MISSING


def shown(text: str) -> str:
    """A cell for a message: in quotes, and no longer than can be read."""
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


class CellError(ValueError):
    """A cell that can't be read.

    Parameters
    ----------
    item : str
        The part of it that can't.
    expected : str
        What that is, or could have been.
    remedy : str
        What to write instead.
    """

    def __init__(self, item: str, expected: str, remedy: str) -> None:
        super().__init__(f"{shown(item)}: {expected}")
        self.item, self.expected, self.remedy = shown(item), expected, remedy


@dataclass(frozen=True)
class CellReader:
    """Reads what ``index.csv`` says of an image's labels in a category.

    Attributes
    ----------
    images : Path
        The folder that paths begin in.
    names : mapping
        Ids of the concepts by name; 0 for a name that several have.
    """

    images: Path
    names: Mapping[str, int]

    def read(self, text: str) -> tuple[list[str], list[int]]:
        """The label maps and whole-image labels of a cell.

        Parameters
        ----------
        text : str
            Nothing, or paths of label maps and ids with ``;`` between them.

        Returns
        -------
        paths : list of str
        whole : list of int

        Raises
        ------
        CellError
            If a part of it is neither.
        """
        paths, whole = [], []
        for item in filter(None, (part.strip() for part in text.split(";"))):
            number = as_number(item)
            if number is not None:
                whole.append(number)
            elif item.lower().endswith(PICTURES) or os.path.isfile(self.images / item):
                paths.append(item)
            elif not is_missing(item) or item in self.names:
                raise self._refusal(item)
        return paths, whole

    def _refusal(self, item: str) -> CellError:
        number = self.names.get(item)
        if number:
            expected = f"the name of {number}, where an id or the path of a label map is expected"
            return CellError(item, expected, f"write {number} instead")
        expected = "neither an id nor the path of a label map in the folder images"
        return CellError(item, expected, "write ids and paths with ; between them, or nothing where there is no label")


def ids_by_name(names: Mapping[int, str]) -> dict[str, int]:
    """Ids by concept name; 0 for a name that several concepts have."""
    ids: dict[str, int] = {}
    for number, name in names.items():
        ids[name] = 0 if name in ids else number
    return ids
