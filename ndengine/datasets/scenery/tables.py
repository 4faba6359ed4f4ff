"""The CSV tables of a dataset in Broden's layout, counted while its images are written."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets.scenery.vocabulary import CATEGORIES, NUMBERS

INDEX_COLUMNS = ("image", "split", "ih", "iw", "sh", "sw", *CATEGORIES)


class Census:
    """Counts of every concept in every category.

    Attributes
    ----------
    frequency : ndarray [K, C + 1] int64
        Images that carry the concept in the category, by category and concept id.
    area : ndarray [K, C + 1] int64
        Its pixels; a whole-image label counts every pixel of its image.
    """

    def __init__(self, pixels: int):
        self.pixels = pixels
        self.frequency = np.zeros((len(CATEGORIES), len(NUMBERS) + 1), np.int64)
        self.area = np.zeros_like(self.frequency)

    def add(self, category: str, maps: Iterable[NDArray[np.uint16]], whole: int) -> None:
        """Count one image's label maps and its whole-image label (0 is none) of a category."""
        row = CATEGORIES.index(category)
        area = np.zeros(self.area.shape[1], np.int64)
        for each in maps:
            area += np.bincount(each.ravel(), minlength=len(area))
        area[whole] += self.pixels
        area[0] = 0
        self.frequency[row] += area > 0
        self.area[row] += area

    def write(self, folder: Path) -> None:
        """Write category.csv, label.csv and one c_<category>.csv each; concepts never seen are left out."""
        names = {number: name for name, number in NUMBERS.items()}
        categories = []
        for row, category in enumerate(CATEGORIES):
            seen = [int(n) for n in np.flatnonzero(self.frequency[row])]
            seen.sort(key=lambda n: (-int(self.frequency[row, n]), n))
            table = [
                (code, n, names[n], self.frequency[row, n], self._coverage(self.area[row, n]))
                for code, n in enumerate(seen, start=1)
            ]
            _write(folder / f"c_{category}.csv", ("code", "number", "name", "frequency", "coverage"), table)
            total = int(self.frequency[row].sum())
            categories.append((category, min(seen, default=0), max(seen, default=0), len(seen), total))
        _write(folder / "category.csv", ("name", "first", "last", "count", "frequency"), categories)
        labels = []
        for n in np.flatnonzero(self.frequency.sum(axis=0)):
            shares = [f"{cat}({f})" for cat, f in zip(CATEGORIES, self.frequency[:, n], strict=True) if f]
            coverage = self._coverage(self.area[:, n].sum())
            labels.append((n, names[int(n)], ";".join(shares), self.frequency[:, n].sum(), coverage, ""))
        _write(folder / "label.csv", ("number", "name", "category", "frequency", "coverage", "syns"), labels)

    def _coverage(self, area: np.int64) -> str:
        return f"{int(area) / self.pixels:.4f}"


def write_index(folder: Path, rows: Iterable[tuple[object, ...]]) -> None:
    """Write index.csv, one row of INDEX_COLUMNS an image."""
    _write(folder / "index.csv", INDEX_COLUMNS, rows)


def _write(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
