"""Many results side by side, in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndengine.compare.changes import Changes
from ndengine.compare.curves import Curve
from ndengine.compare.differences import Difference
from ndengine.compare.entries import Entry
from ndengine.errors import ResultError
from ndengine.models.zoo.published import Published
from ndengine.score import CategorySummary

if TYPE_CHECKING:
    import pandas as pd

Cell = int | float | str | None

SCHEMES: tuple[tuple[str, Callable[[CategorySummary], int]], ...] = (
    ("unique-per-category", lambda c: c.unique_per_category),
    ("unique-top-label", lambda c: c.unique_top_label),
    ("detectors-per-category", lambda c: c.detectors_per_category),
    ("detectors-top-label", lambda c: c.detectors_top_label),
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Layers of results, and what there is to say about them together.

    Attributes
    ----------
    title : str
        A heading; that of the series where there is one.
    entries : tuple of Entry
        One for each layer of each result, in the order in which they were named.
    categories : tuple of str
        The categories of all of them, in the order of the first that has them.
    curves : tuple of Curve
        Unique detectors along an axis, one for each layer of each group that has two places or more.
    changes : tuple of Changes
        Units that changed, for each pair of entries that can be compared unit by unit.
    differences : tuple of Difference
        Settings and facts in which the entries differ.
    warnings : tuple of str
        Sentences about what can't be compared, and what was left out.
    folder : Path or None
        Where the comparison is written; None where it was not.
    """

    title: str
    entries: tuple[Entry, ...]
    categories: tuple[str, ...]
    curves: tuple[Curve, ...]
    changes: tuple[Changes, ...]
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]
    folder: Path | None = None

    def table(self) -> dict[str, list[Cell]]:
        """The columns of ``compare.csv``: a row for each entry; a category that one lacks is None there.

        The columns of published figures are there where one of the entries has them.
        """
        rows = [_row(entry, self.place_of(entry), self.categories) for entry in self.entries]
        if any(entry.published for entry in self.entries):
            rows = [{**row, **_published(e, self.categories)} for row, e in zip(rows, self.entries, strict=True)]
        return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}

    def published_after(self) -> dict[int, Published]:
        """What was published, each figure once: by the place of the last entry that it stands beside."""
        last: dict[tuple[str, str], tuple[int, Published]] = {}
        for place, entry in enumerate(self.entries):
            if known := entry.published:
                last[known.network, known.layer] = (place, known)
        return dict(last.values())

    def place_of(self, entry: Entry) -> str:
        """An entry's folder as seen from the comparison's, so that both can be moved together."""
        if self.folder is None:
            return str(entry.folder)
        return Path(os.path.relpath(os.path.realpath(entry.folder), os.path.realpath(self.folder))).as_posix()

    def layer_of(self, changes: Changes) -> str:
        """The layer of a pair of entries, by both of its names where it has two."""
        before, after = self.entries[changes.before].layer, self.entries[changes.after].layer
        return before if before == after else f"{before} → {after}"

    def changed_units(self) -> dict[str, list[Cell]]:
        """The columns of ``changes.csv``: a row for each unit that changed."""
        columns: dict[str, list[Cell]] = {name: [] for name in CHANGE_COLUMNS}
        for pair in self.changes:
            before, after = self.entries[pair.before], self.entries[pair.after]
            for change in pair.rows:
                cells: list[Cell] = [before.label, after.label, before.layer, change.unit, change.kind]
                cells += [*change.before, *change.after, change.size]
                for name, value in zip(CHANGE_COLUMNS, cells, strict=True):
                    columns[name].append(value)
        return columns

    def frame(self) -> pd.DataFrame:
        """``compare.csv`` as a pandas frame.

        Raises
        ------
        ResultError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ResultError("A frame needs pandas, which is not installed; run pip install pandas.") from None
        return pd.DataFrame(self.table())

    def record(self) -> dict[str, Any]:
        """The comparison as plain JSON values, as ``compare.json`` holds it; see FORMAT.md."""
        return {
            "title": self.title,
            "categories": list(self.categories),
            "entries": [
                {
                    "label": e.label,
                    "group": e.group,
                    "x": e.x,
                    "x_name": e.x_name,
                    "folder": self.place_of(e),
                    "model": e.model,
                    "weights": e.weights,
                    "layer": e.layer,
                    "summary": e.summary.record(),
                    "published": None if e.published is None else e.published.record(),
                }
                for e in self.entries
            ],
            "curves": [asdict(curve) for curve in self.curves],
            "changes": [
                {
                    "before": pair.before,
                    "after": pair.after,
                    **{name: getattr(pair, name) for name in ("kept", "changed", "lost", "gained", "other")},
                    "shift": None if pair.shift is None else list(pair.shift),
                    "units": [row.unit for row in pair.rows],
                }
                for pair in self.changes
            ],
            "differences": [asdict(difference) for difference in self.differences],
            "warnings": list(self.warnings),
        }


CHANGE_COLUMNS = (
    "before",
    "after",
    "layer",
    "unit",
    "kind",
    "before-label",
    "before-category",
    "before-iou",
    "after-label",
    "after-category",
    "after-iou",
    "size",
)


def _row(entry: Entry, place: str, categories: tuple[str, ...]) -> dict[str, Cell]:
    summary = entry.summary
    row: dict[str, Cell] = {
        "label": entry.label,
        "layer": entry.layer,
        "group": entry.group,
        "x": entry.x,
        "x_name": entry.x_name,
        "model": entry.model,
        "weights": entry.weights,
        "folder": place,
        "units": summary.units,
        "dead": summary.dead,
        "detectors": summary.detectors,
        "unique-top-label": summary.unique_top_label,
        "unique-per-category": summary.unique_per_category,
    }
    for category in categories:
        found = summary.by_category.get(category)
        for scheme, count in SCHEMES:
            row[f"{category}-{scheme}"] = None if found is None else count(found)
    return row


def _published(entry: Entry, categories: tuple[str, ...]) -> dict[str, Cell]:
    """What was published of an entry, on the whole of Broden and per category."""
    known = entry.published
    row: dict[str, Cell] = {
        "published-detectors": known.detectors if known else None,
        "published-unique-per-category": known.unique if known else None,
    }
    for category in categories:
        unique = known.unique_by_category.get(category) if known else None
        row[f"{category}-published-unique-per-category"] = unique
    return row
