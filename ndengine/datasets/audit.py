"""What a dataset's tables say, read without giving up, and where they contradict each other and the data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets.cells import as_amount, as_number, shown
from ndengine.datasets.tables import (
    INDEX_COLUMNS,
    PLAIN,
    REMEDY,
    FaultError,
    Table,
    parse_number,
    parse_table,
    read_bytes,
    read_categories,
    table_faults,
)

SHARE = re.compile(r"([^();]+)\((\d+)\)")  # one of the items of label.csv's column category
ROUNDING = 1e-3  # tables round coverages to four digits and more


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes
    ----------
    kind : str
        What sort of finding it is, in two or three words; findings of a kind can be shown together.
    file : Path
        The file it is about.
    message : str
        The rest of a sentence that begins with the file's name.
    blocks : bool
        Whether a run refuses the dataset because of it.
    remedy : str
        What to do about it, if that needs saying.
    harmless : bool
        Whether it is only worth knowing: its meaning is settled, and Broden itself has it.
    """

    kind: str
    file: Path
    message: str
    blocks: bool = True
    remedy: str = ""
    harmless: bool = False

    def __str__(self) -> str:
        return f"{self.file} {self.message}{self.remedy and f'; {self.remedy}'}."


def finding_of(fault: FaultError) -> Finding:
    """What a reader refuses, as a finding."""
    remedy = fault.remedy.removesuffix(REMEDY).removesuffix(", or ")
    return Finding(fault.kind, fault.file, fault.what, remedy=remedy)


@dataclass(frozen=True)
class Listing:
    """What a table says of one concept."""

    name: str
    frequency: int | None
    coverage: float | None
    shares: dict[str, int]  # label.csv: images by category
    columns: tuple[str, ...]  # of its table: what is not there can't disagree


@dataclass
class Tables:
    """What could be read of a dataset's tables.

    Attributes
    ----------
    folder : Path
        The dataset's folder.
    findings : list of Finding
        What is wrong with them.
    categories : tuple of str
        Categories in order: those of the index where ``category.csv`` can't be read.
    index, category : Table or None
        ``index.csv`` and ``category.csv``.
    labels : dict
        Rows of ``label.csv`` by id.
    listed : dict
        For each category whose table can be read its rows by id.
    """

    folder: Path
    findings: list[Finding] = field(default_factory=list)
    categories: tuple[str, ...] = ()
    index: Table | None = None
    category: Table | None = None
    labels: dict[int, Listing] = field(default_factory=dict)
    listed: dict[str, dict[int, Listing]] = field(default_factory=dict)

    @property
    def concepts(self) -> int:
        """C, the largest id of ``label.csv``."""
        return max(self.labels, default=0)

    def say(self, kind: str, name: str, message: str, *, blocks: bool = False) -> None:
        """Add a finding about a table."""
        self.findings.append(Finding(kind, self.folder / name, message, blocks))


def audit_tables(folder: Path) -> Tables:
    """Read the tables of a folder and compare them with each other."""
    tables = Tables(folder)
    tables.category = _table(tables, "category.csv", ("name",))
    tables.index = _table(tables, "index.csv", INDEX_COLUMNS)
    in_index = tables.index.columns if tables.index else ()
    tables.categories = tuple(name for name in in_index if name not in INDEX_COLUMNS)
    if tables.category:
        try:
            tables.categories = read_categories(tables.category)
        except FaultError as fault:  # missing columns and short rows are in the list already
            if fault.kind not in {f.kind for f in tables.findings if f.file == tables.category.file}:
                tables.findings.append(finding_of(fault))
    labels = _table(tables, "label.csv", ("number", "name"))
    tables.labels = dict(_listings(tables, labels)) if labels else {}
    for category in tables.categories:
        if tables.index and category not in in_index:
            tables.say("bad table", "index.csv", f"lacks the column {category}", blocks=True)
        table = _table(tables, f"c_{category}.csv", ("number", "coverage"))
        if table:
            tables.listed[category] = dict(_listings(tables, table))
    _compare_categories(tables)
    _compare_labels(tables)
    return tables


def _table(tables: Tables, name: str, needed: tuple[str, ...]) -> Table | None:
    try:
        table = parse_table(read_bytes(tables.folder / name), tables.folder / name)
    except FaultError as fault:
        tables.findings.append(finding_of(fault))
        return None
    tables.findings += map(finding_of, table_faults(table, needed))
    return None if set(needed) - set(table.columns) else table


def _listings(tables: Tables, table: Table) -> Iterator[tuple[int, Listing]]:
    seen: set[int] = set()
    name = table.file.name
    is_label = name == "label.csv"
    for line, fields in table.rows:
        try:
            number = parse_number(fields["number"], table, line, "number")
        except FaultError as fault:
            tables.findings.append(finding_of(fault))
            continue
        coverage = as_amount(fields.get("coverage", ""))
        if coverage is None and not is_label:
            what = f"line {line} has {shown(fields['coverage'])} as coverage, no number"
            tables.findings.append(Finding("bad table", table.file, what, remedy=PLAIN))
        if number in seen:
            tables.say("duplicate", name, f"line {line} gives the id {number} again", blocks=is_label)
            continue
        if not is_label and number > tables.concepts > 0:
            tables.say("id out of range", name, f"line {line} has the id {number}, beyond label.csv", blocks=True)
        seen.add(number)
        if number > 0:  # 0 is "none", which some tables list
            shares = {category.strip(): int(images) for category, images in SHARE.findall(fields.get("category", ""))}
            frequency = as_number(fields.get("frequency", ""))
            yield number, Listing(fields.get("name", "").strip(), frequency, coverage, shares, table.columns)


def _compare_categories(tables: Tables) -> None:
    """``category.csv`` against the table of each category."""
    for line, fields in tables.category.rows if tables.category else ():
        listed = tables.listed.get(fields["name"].strip(), {})
        if not listed:
            continue
        facts = {"first": min(listed), "last": max(listed), "count": len(listed)}
        if all("frequency" in listing.columns for listing in listed.values()):
            facts["frequency"] = sum(listing.frequency or 0 for listing in listed.values())
        for column, fact in facts.items():
            if column in fields and as_number(fields[column]) != fact:
                message = f"line {line} has {fields[column]!r} as {column} where its c_ table gives {fact}"
                tables.say("tables disagree", "category.csv", message)


def _compare_labels(tables: Tables) -> None:
    """``label.csv`` against the tables of all categories."""
    if not tables.labels:
        return
    if len(tables.listed) == len(tables.categories):  # else every label would seem to lack a category
        for number in tables.labels:
            _compare_label(tables, number)
    names: dict[str, int] = {}
    for number, label in tables.labels.items():
        if not label.name:
            tables.say("no name", "label.csv", f"gives {number} no name")
        elif names.setdefault(label.name, number) != number:
            message = f"gives the name {label.name!r} to {names[label.name]} and to {number}"
            tables.say("duplicate", "label.csv", message)
    for category, rows in tables.listed.items():
        for number, listing in rows.items():
            known = tables.labels.get(number)
            if known is None:
                message = f"lists {number} ({listing.name}), which label.csv lacks"
                tables.say("tables disagree", f"c_{category}.csv", message)
            elif listing.name != known.name and "name" in listing.columns:
                message = f"names {number} {listing.name!r} where label.csv says {known.name!r}"
                tables.say("tables disagree", f"c_{category}.csv", message)


def _compare_label(tables: Tables, number: int) -> None:
    label = tables.labels[number]
    found = {category: rows[number] for category, rows in tables.listed.items() if number in rows}
    shares = {category: listing.frequency or 0 for category, listing in found.items()}
    covered = sum(listing.coverage or 0.0 for listing in found.values())
    said: list[tuple[str, object, object]] = []
    known = all("frequency" in listing.columns for listing in found.values())
    if known and label.shares != shares:
        said.append(("category", _shares(label.shares), _shares(shares)))
    if known and label.frequency != sum(shares.values()):
        said.append(("frequency", label.frequency, sum(shares.values())))
    if label.coverage is None or not np.isclose(label.coverage, covered, rtol=ROUNDING, atol=ROUNDING):
        said.append(("coverage", label.coverage, f"{covered:g}"))
    for column, mine, theirs in said:
        if column not in label.columns:
            continue
        message = f"has {mine} as {column} of {number} ({label.name}) where the c_ tables give {theirs}"
        tables.say("tables disagree", "label.csv", message)


def _shares(shares: dict[str, int]) -> str:
    return ";".join(f"{category}({images})" for category, images in shares.items()) or "nothing"


def compare_counts(
    tables: Tables,
    images: NDArray[np.int64],  # [K, ids] images that carry an id in a category
    area: NDArray[np.int64],  # [K, ids] pixels of an id in a category
) -> None:
    """Compare the tables with what the index and the label maps hold."""
    for k, category in enumerate(tables.categories):
        if (rows := tables.listed.get(category)) is None:
            continue
        for number in np.flatnonzero(images[k]).tolist():
            if 0 < number <= tables.concepts and number not in rows:
                message = f"lacks {number}, which {images[k, number]} images carry as {category}"
                tables.say("tables disagree", f"c_{category}.csv", message)
        for number, listing in rows.items():
            carried = int(images[k, number]) if number < images.shape[1] else 0
            if listing.frequency not in (None, carried):
                message = f"has {listing.frequency} images of {number} ({listing.name}) where {carried} carry it"
                tables.say("tables disagree", f"c_{category}.csv", message)
    if len(tables.listed) == len(tables.categories):
        _find_unlisted(tables, area.sum(axis=0))
    for number, label in tables.labels.items():
        listed = [(k, tables.listed.get(category, {}).get(number)) for k, category in enumerate(tables.categories)]
        coverage = {k: listing.coverage or 0.0 for k, listing in listed if listing is not None}
        if len(coverage) > 1 and number < area.shape[1]:
            # The later category wins a tie, in the reader too.
            said = max((share, k) for k, share in coverage.items())[1]
            found = max((int(area[k, number]), k) for k in coverage)[1]
            if said != found:
                message = f"claims most of {number} ({label.name}), but more of its pixels are {{}}"
                name = f"c_{tables.categories[said]}.csv"
                tables.say("tables disagree", name, message.format(tables.categories[found]))


def _find_unlisted(tables: Tables, area: NDArray[np.int64]) -> None:
    """Find concepts that have pixels, and no category that they could be scored in."""
    listed = {0}.union(*tables.listed.values())
    for number in np.flatnonzero(area[: tables.concepts + 1]).tolist():
        if number not in listed:
            name = tables.labels[number].name if number in tables.labels else "without a row"
            message = f"has {number} ({name}) with {area[number]:,} pixels that no category's table lists: never scored"
            tables.say("no category", "label.csv", message)
