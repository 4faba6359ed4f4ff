"""Tables that are printed by scripts and rendered on the page, and how a number is written in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, log10
from typing import Any


@dataclass(frozen=True)
class Table:
    """A table of finished cells.

    Attributes
    ----------
    caption : str
        What it is about; one line above it.
    headings : sequence of str
    rows : sequence of sequence of str
        The first column is aligned to the left, the others to the right.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """For a terminal."""
        lines = [tuple(self.headings), *map(tuple, self.rows)]
        first, *others = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
        aligned = [
            [line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], others, strict=True))]
            for line in lines
        ]
        return "\n".join([self.caption, *("  ".join(line).rstrip() for line in aligned)])

    def markdown(self) -> str:
        """For the page."""
        marks = ["---", *["---:"] * (len(self.headings) - 1)]
        lines = [self.headings, marks, *self.rows]
        return "\n".join([f"{self.caption}\n", *("| " + " | ".join(line) + " |" for line in lines)])


@dataclass(frozen=True)
class Shown:
    """What a script has to say: tables, and what they mean in a sentence or two, computed from the same figures."""

    tables: list[Table] = field(default_factory=list)
    reading: str = ""
    plot: str = ""  # a drawing, as SVG


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, never in powers of ten; a dash for None."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - floor(log10(abs(value))))
    return f"{value:,.{places}f}"


def share(value: float | None) -> str:
    """A share in per cent; a dash for None."""
    return "–" if value is None else f"{number(100 * value, 2)} %"


def spread(row: Mapping[str, Any]) -> str:
    """A row's spread, with a mark where it makes the row's figures unreliable."""
    return f"{share(row['spread'])}{' unstable' if row['unstable'] else ''}"


def warning(rows: Sequence[Mapping[str, Any]]) -> str:
    """A sentence that names how many rows are unstable; empty where none is."""
    count = sum(row["unstable"] for row in rows)
    return f" {count} of {len(rows)} timings are unstable: read those as orders of magnitude." if count else ""


def find(rows: Sequence[Mapping[str, Any]], way: str) -> Mapping[str, Any] | None:
    """The row of a way whose name begins so, or None."""
    return next((row for row in rows if row["way"].startswith(way)), None)
