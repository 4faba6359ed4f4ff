"""The page of a comparison: what it shows, worked out for ``compare.html`` among the report's templates."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ndengine.compare.changes import Change, Changes
from ndengine.compare.comparison import Comparison
from ndengine.compare.differences import Block, Difference, results_to_show
from ndengine.compare.entries import Entry
from ndengine.compare.figures import Side, curve_figure, sides_figure
from ndengine.models.zoo.published import Published
from ndengine.report.figures import colours
from ndengine.report.templates import render_page
from ndengine.score import CategorySummary

ROWS = 50  # changed units shown of a pair; changes.csv has all
SIDE_BY_SIDE = 4  # results whose differing settings stand beside each other; of more, each has a row
BLOCKS: dict[Block, str] = {
    "numbers": "What decides the numbers",
    "network": "What decides the activations",
    "how": "Versions, machines and how runs were carried out",
}


class Cell(NamedTuple):
    """Unique detectors of a category under both schemes; ``top_label`` is None where it is not known."""

    per_category: int | None
    top_label: int | None


class Line(NamedTuple):
    """A row of the tables of results: an entry, or what was published of it."""

    label: str
    href: str
    layer: str
    x: str
    unique: Cell
    detectors: int
    units: int
    dead: int | None
    cells: list[Cell]
    published: bool


class Unit(NamedTuple):
    """A unit that changed."""

    change: Change
    before: str
    after: str
    colours: tuple[str, str]


class Pair(NamedTuple):
    """Two entries compared unit by unit."""

    changes: Changes
    before: str
    after: str
    layer: str
    shift: str
    units: list[Unit]
    hidden: int


def render_comparison(comparison: Comparison, folder: Path) -> str:
    """The page of a comparison that lies in ``folder``, from where its links lead to the results' own reports."""
    entries = comparison.entries
    most = _tallest(comparison)
    shades = colours(comparison.categories)
    page = {
        "title": comparison.title,
        "heading": comparison.title,
        "facts": _facts(entries),
        "version": version("ndengine"),
        "sentences": comparison.warnings,
        "axis": _axis_name(entries),
        "lines": _lines(comparison, folder),
        "categories": [(name, shades[name]) for name in comparison.categories],
        "sides": sides_figure(_sides(comparison), comparison.categories) if any(_detects(e) for e in entries) else None,
        "curves": [
            {
                "group": curve.group,
                "layer": curve.layer,
                "figure": curve_figure(curve, comparison.categories, number, most[curve.group, curve.x_name]),
            }
            for number, curve in enumerate(comparison.curves, start=1)
        ],
        "any_published": any(entry.published for entry in entries),
        "blocks": _blocks(comparison.differences, entries),
        "pairs": [_pair(comparison, changes, folder, shades) for changes in comparison.changes],
        "records": [],
    }
    return render_page("compare.html", page, "", styles=("report.css", "compare.css"))


def link_to(entry: Entry, folder: Path, anchor: str = "") -> str:
    """A relative link from a page in ``folder`` to an entry's report; empty where it has none."""
    # Both ends resolved, so that the way between them holds wherever the two are moved together.
    target = Path(os.path.realpath(entry.folder)) / entry.page
    if not target.is_file():
        return ""
    return quote(Path(os.path.relpath(target, os.path.realpath(folder))).as_posix()) + anchor


def _facts(entries: Sequence[Entry]) -> list[tuple[str, str, str]]:
    """What the results have in common, or how many they have of it."""
    folders = {os.path.realpath(entry.folder) for entry in entries}
    facts = [("results", str(len(folders)), str(len(folders)))]
    kinds: tuple[tuple[str, str, Callable[[Entry], str]], ...] = (
        ("network", "networks", lambda e: e.model),
        ("layer", "layers", lambda e: e.layer),
        ("dataset", "datasets", lambda e: str(e.settings["data"])),
        ("images", "numbers of images", lambda e: f"{e.images:,}"),
        ("preset", "presets", lambda e: str(e.settings["preset"])),
    )
    for one, many, value in kinds:
        found = list(dict.fromkeys(value(entry) for entry in entries))
        if len(found) == 1:
            facts.append((one, _last(found[0]), found[0]))
        else:
            facts.append((many, str(len(found)), ", ".join(found)))
    return facts


def _axis_name(entries: Sequence[Entry]) -> str:
    names = list(dict.fromkeys(entry.x_name for entry in entries if entry.x is not None))
    return names[0] if len(names) == 1 else "x" if names else ""


def _lines(comparison: Comparison, folder: Path) -> list[Line]:
    lines, published = [], comparison.published_after()
    for place, entry in enumerate(comparison.entries):
        summary = entry.summary
        lines.append(
            Line(
                entry.label,
                link_to(entry, folder),
                entry.layer,
                "" if entry.x is None else f"{entry.x:,.10g}",
                Cell(summary.unique_per_category, summary.unique_top_label),
                summary.detectors,
                summary.units,
                summary.dead,
                [_cell(summary.by_category.get(name)) for name in comparison.categories],
                published=False,
            )
        )
        if place in published:
            lines.append(_published_line(published[place], comparison.categories))
    return lines


def _published_line(published: Published, categories: Sequence[str]) -> Line:
    return Line(
        f"published: {published.network}",
        "",
        published.layer,
        "",
        Cell(published.unique, None),
        published.detectors,
        published.units,
        None,
        [Cell(published.unique_by_category.get(name), None) for name in categories],
        published=True,
    )


def _cell(found: CategorySummary | None) -> Cell:
    return Cell(found.unique_per_category, found.unique_top_label) if found else Cell(None, None)


def _sides(comparison: Comparison) -> list[Side]:
    sides, published = [], comparison.published_after()
    for place, entry in enumerate(comparison.entries):
        by_category = entry.summary.by_category
        sides.append(
            Side(
                entry.label,
                entry.layer,
                {name: found.unique_per_category for name, found in by_category.items()},
                {name: found.unique_top_label for name, found in by_category.items()},
            )
        )
        if known := published.get(place):
            sides.append(Side(f"published: {known.network}", known.layer, known.unique_by_category, None))
    return sides


def _detects(entry: Entry) -> bool:
    return entry.summary.detectors > 0 or entry.published is not None


def _tallest(comparison: Comparison) -> dict[tuple[str, str], tuple[int, int]]:
    """The highest totals and the highest counts of a category in the curves of a group, which share their axes."""
    tallest: dict[tuple[str, str], tuple[int, int]] = {}
    for curve in comparison.curves:
        key = (curve.group, curve.x_name)
        all_of, kind = tallest.get(key, (0, 0))
        kinds = [count for counts in curve.by_category.values() for count in counts]
        tallest[key] = (max(all_of, *curve.total, *curve.top_label), max([kind, *kinds]))
    return tallest


def _blocks(differences: Sequence[Difference], entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Tables of the settings that differ: a column a result where there are few of them, else a row."""
    blocks = []
    for key, heading in BLOCKS.items():
        rows = [difference for difference in differences if difference.block == key]
        if not rows:
            continue
        titles, places = results_to_show(rows, entries)
        if len(titles) <= SIDE_BY_SIDE:
            head, body = ["", *titles], [[row.name, *(row.values[place] for place in places)] for row in rows]
        else:
            head = ["result", *(row.name for row in rows)]
            body = [[title, *(row.values[p] for row in rows)] for title, p in zip(titles, places, strict=True)]
        blocks.append({"heading": heading, "head": head, "body": body, "folded": key == "how"})
    return blocks


def _pair(comparison: Comparison, changes: Changes, folder: Path, colours: Mapping[str, str]) -> Pair:
    before, after = comparison.entries[changes.before], comparison.entries[changes.after]
    links = [link_to(entry, folder) for entry in (before, after)]
    units = []
    for change in changes.rows[:ROWS]:
        hrefs = [f"{link}#unit-{change.unit}" if link else "" for link in links]
        shades = (colours.get(change.before[1], "none"), colours.get(change.after[1], "none"))
        units.append(Unit(change, hrefs[0], hrefs[1], shades))
    shift = "" if changes.shift is None else f"{changes.shift[0]:.2g} in the median, {changes.shift[1]:.2g} at most"
    layer = comparison.layer_of(changes)
    return Pair(changes, before.label, after.label, layer, shift, units, len(changes.rows) - len(units))


def _last(text: str) -> str:
    """The last part of a path; other text as it is."""
    return text.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1] or text
