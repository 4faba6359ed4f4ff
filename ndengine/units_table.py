"""The per-unit table ``units.csv`` in the column layout of the tables released with the paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets import Vocabulary
from ndengine.errors import ResultError
from ndengine.result_files import refuse_irregular, write_text
from ndengine.score import Scores

FIRST = ("unit", "category", "label", "score")
EACH = ("label", "truth", "activation", "intersect", "iou")


@dataclass(frozen=True, eq=False)
class UnitsTable:
    """Rows of ``units.csv``: R units with their best concept of each category.

    Attributes
    ----------
    categories : tuple of str
        The K categories in the order of their columns.
    unit : ndarray of int64, [R]
        Number of the unit, counted from 1.
    category, label : tuple of str, [R]
        The best concept and its category, empty for a unit without one.
    score : ndarray of float64, [R]
        Its IoU.
    labels : tuple of tuple of str, [R][K]
        The best concept of each category, empty where there is none.
    concept : ndarray of int64, [R, K]
        Its id, 0 where there is none. A table that was read numbers the names in order of appearance.
    truth, activation, intersection : ndarray of int64, [R, K]
        Pixels of that concept, of the unit over the category's images, and of both at once.
    iou : ndarray of float64, [R, K]
        Its IoU.
    """

    categories: tuple[str, ...]
    unit: NDArray[np.int64]  # [R]
    category: tuple[str, ...]
    label: tuple[str, ...]
    score: NDArray[np.float64]  # [R]
    labels: tuple[tuple[str, ...], ...]
    concept: NDArray[np.int64]  # [R, K]
    truth: NDArray[np.int64]  # [R, K]
    activation: NDArray[np.int64]  # [R, K]
    intersection: NDArray[np.int64]  # [R, K]
    iou: NDArray[np.float64]  # [R, K]

    def __len__(self) -> int:
        return len(self.unit)

    def columns(self) -> dict[str, list[int] | list[float] | list[str]]:
        """The columns by their header, in order, as plain values."""
        out: dict[str, list[int] | list[float] | list[str]] = {
            "unit": self.unit.tolist(),
            "category": list(self.category),
            "label": list(self.label),
            "score": self.score.tolist(),
        }
        for k, name in enumerate(self.categories):
            out[f"{name}-label"] = [row[k] for row in self.labels]
            out[f"{name}-truth"] = self.truth[:, k].tolist()
            out[f"{name}-activation"] = self.activation[:, k].tolist()
            out[f"{name}-intersect"] = self.intersection[:, k].tolist()
            out[f"{name}-iou"] = self.iou[:, k].tolist()
        return out


def concept_name(vocabulary: Vocabulary, concept: int) -> str:
    """A concept's name; ``concept 7`` for an id that the dataset does not name, and nothing for id 0."""
    if concept == 0:
        return ""
    return vocabulary.names[concept - 1] or f"concept {concept}"


def make_units_table(scores: Scores, vocabulary: Vocabulary) -> UnitsTable:
    """The table of a layer's scores: best unit first, equal scores by unit."""
    order = np.lexsort((np.arange(len(scores.score)), -scores.score))
    return UnitsTable(
        categories=vocabulary.categories,
        unit=order + 1,
        category=tuple(vocabulary.categories[k] if k >= 0 else "" for k in scores.category[order]),
        label=tuple(concept_name(vocabulary, c) for c in scores.best_concept[order].tolist()),
        score=scores.score[order],
        labels=tuple(tuple(concept_name(vocabulary, c) for c in row) for row in scores.concept[order].tolist()),
        concept=scores.concept[order],
        truth=scores.truth[order],
        activation=scores.activation[order],
        intersection=scores.intersection[order],
        iou=scores.iou[order],
    )


def write_units_csv(path: Path, table: UnitsTable) -> None:
    """Write a table; every number is printed so that reading it gives the same number back.

    Raises
    ------
    ResultError
        If the file can't be written.
    """
    columns = table.columns()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))  # str of a float is its shortest exact form
    write_text(path, text.getvalue())


def read_units_csv(path: Path) -> UnitsTable:
    """Read a table that this engine, NetDissect or NetDissect-Lite wrote.

    A cell without a label has concept 0, so it has no IoU once it is scored; its numbers stay as they stand.
    (The tables released with the paper have such cells: the label there is the "none" of whole-image labels.)

    Raises
    ------
    ResultError
        If the file is missing or not such a table.
    """
    try:
        refuse_irregular(path)
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file, strict=True)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultError(f"{path} can't be read as a table of units ({error}); name a units.csv.") from None
    categories = tuple(h.removesuffix("-label") for h in header[len(FIRST) :: len(EACH)])
    if header != [*FIRST, *(f"{c}-{e}" for c in categories for e in EACH)]:
        raise ResultError(f"{path} lacks the columns of a table of units; name a units.csv.")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ResultError(f"{path}, row {line} has {len(row)} cells for {len(header)} columns; restore it.")
    try:
        return _parse(categories, rows)
    except (ValueError, OverflowError) as error:
        raise ResultError(f"{path} has a cell that is no number ({error}); restore the file.") from None


def _parse(categories: tuple[str, ...], rows: Sequence[Sequence[str]]) -> UnitsTable:
    labels = tuple(tuple(row[len(FIRST) :: len(EACH)]) for row in rows)
    ids = {"": 0}
    concept = [[ids.setdefault(name, len(ids)) for name in row] for row in labels]
    shape = (len(rows), len(categories))

    def counts(place: int) -> NDArray[np.int64]:
        cells = [[_count(cell) for cell in row[len(FIRST) + place :: len(EACH)]] for row in rows]
        return np.array(cells, np.int64).reshape(shape)

    truth, activation, intersection = counts(1), counts(2), counts(3)
    ious = [[float(cell) for cell in row[len(FIRST) + 4 :: len(EACH)]] for row in rows]
    return UnitsTable(
        categories=categories,
        unit=np.array([int(row[0]) for row in rows], np.int64),
        category=tuple(row[1] for row in rows),
        label=tuple(row[2] for row in rows),
        score=np.array([float(row[3]) for row in rows], np.float64),
        labels=labels,
        concept=np.array(concept, np.int64).reshape(shape),
        truth=truth,
        activation=activation,
        intersection=intersection,
        iou=np.array(ious, np.float64).reshape(shape),
    )


def _count(cell: str) -> int:
    if cell.isdecimal():
        return int(cell)
    value = float(cell)  # the released tables print some counts as 123.0
    if not value.is_integer():
        raise ValueError(f"{cell!r} is no count")
    return int(value)
