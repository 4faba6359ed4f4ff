"""The doctor: reads every file of a dataset, stops at nothing, and lists what it finds."""

from __future__ import annotations

import csv
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets import recognise_release
from ndengine.datasets.audit import Finding, Tables, audit_tables, compare_counts, finding_of
from ndengine.datasets.broden import BrodenFolder, entry_faults, read_labels, row_sizes
from ndengine.datasets.cells import CellReader, ids_by_name
from ndengine.datasets.decode import UPRIGHT, Photo, beyond, read_map, read_photo
from ndengine.datasets.tables import (
    HIGHEST_ID,
    FaultError,
    filled_columns,
    leaves_folder,
    plain_path,
    read_bytes,
    read_vocabulary,
    table_names,
)
from ndengine.errors import DatasetError
from ndengine.progress import SILENT, Progress

AHEAD = 64  # images that are being read while the results of earlier ones are added up

Published = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Checkup:
    """What the doctor found.

    Attributes
    ----------
    folder : Path
        The dataset.
    findings : tuple of Finding
        All findings: tables first, then files in the order of the index.
    images : int
        Usable rows of the index.
    release : str or None
        The Broden release that this is.
    whole_zero : dict
        For each category the images with whole-image label 0, which means "none".
    map_zero : dict
        For each category the share of its label maps' pixels that is 0; None where it has no maps.
    unlabelled : float
        Share of all pixels without any label.
    compared, agreed : int
        Concepts whose pixels were compared with the release's published totals, and those that are equal.
    """

    folder: Path
    findings: tuple[Finding, ...]
    images: int
    release: str | None
    whole_zero: dict[str, int]
    map_zero: dict[str, float | None]
    unlabelled: float
    compared: int
    agreed: int

    @property
    def sound(self) -> bool:
        """Whether a run accepts the dataset."""
        return not any(finding.blocks for finding in self.findings)

    @property
    def doubts(self) -> int:
        """Findings that a run accepts and its user may not have meant; ``--strict`` refuses them."""
        return sum(not finding.blocks and not finding.harmless for finding in self.findings)


@dataclass(frozen=True)
class Row:
    """A row of the index in pieces; ``maps`` and ``whole`` come with the number of their category."""

    line: int
    image: str
    image_size: tuple[int, int]
    label_size: tuple[int, int]
    maps: tuple[tuple[int, str], ...]
    whole: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Examined:
    """What an image's files hold: pixels of each id in the maps of each category, and those without label."""

    findings: list[Finding]
    pixels: dict[int, Counter[int]]
    unlabelled: int


def check_dataset(path: Path | str, progress: Progress = SILENT, published: Published | None = None) -> Checkup:
    """Read a folder in Broden's layout from end to end and list everything that is wrong with it.

    Parameters
    ----------
    path : Path or str
        The folder.
    progress : Progress
        Told of every image.
    published : mapping, optional
        Pixels by category and concept to compare with; by default those of the Broden release that this is.

    Returns
    -------
    Checkup

    Raises
    ------
    DatasetError
        If there is no such folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; give a folder in Broden's layout, with index.csv.")
    tables = audit_tables(folder)
    rows = _rows(tables)
    _check_names(tables, rows)
    sums = _Sums(tables)
    with progress.stage("checking", len(rows), "images") as advance:
        for row, result in _examined(rows, partial(_examine, folder, tables.concepts)):
            sums.add(row, result)
            advance(1)
    _ask_the_reader(tables)
    compare_counts(tables, sums.images, sums.area)
    whole_zero = dict(zip(tables.categories, sums.whole_zero.tolist(), strict=True))
    for category, images in whole_zero.items():
        if images:
            message = f"gives {images} images 0 as {category}, which means none and is ignored"
            tables.findings.append(Finding("label 0", folder / "index.csv", message, blocks=False, harmless=True))
    release = recognise_release(len(rows), tables.concepts, rows[0].image_size) if rows else None
    known = published_pixels(release) if published is None else published
    compared, agreed = compare_published(tables, sums.area.sum(axis=0), known)
    return Checkup(
        folder=folder,
        findings=tuple(tables.findings),
        images=len(rows),
        release=release,
        whole_zero=whole_zero,
        map_zero=sums.zero_shares(),
        unlabelled=sums.unlabelled / max(sums.grid, 1),
        compared=compared,
        agreed=agreed,
    )


def published_pixels(release: str | None) -> dict[tuple[str, str], int]:
    """Published pixels by category and concept of a Broden release; empty where none are."""
    text = (files("ndengine.datasets") / "broden_pixels.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {(row["category"], row["concept"]): int(row[release]) for row in rows if release and row.get(release)}


def _ask_the_reader(tables: Tables) -> None:
    """Where nothing in the tables blocks, let the reader of a run judge them: it must not know more than we do."""
    if any(finding.blocks for finding in tables.findings):
        return
    try:
        BrodenFolder(tables.folder)
    except FaultError as fault:
        tables.findings.append(finding_of(fault))


def _rows(tables: Tables) -> list[Row]:
    """The usable rows of the index, with findings about the others."""
    rows: list[Row] = []
    if tables.index is None:
        return rows
    names = {number: label.name for number, label in tables.labels.items()}
    reader = CellReader(tables.folder / "images", ids_by_name(names))
    for line, fields in tables.index.rows:
        try:
            row = _row(tables, reader, line, fields)
        except FaultError as fault:
            tables.findings.append(finding_of(fault))
            continue
        if not leaves_folder(row.image):
            rows.append(row)
    usual = Counter((row.image_size, row.label_size) for row in rows).most_common(1)
    for row in rows:
        sizes = (row.image_size, row.label_size)
        if sizes != usual[0][0]:
            message = f"line {row.line} has the sizes {sizes} where most have {usual[0][0]}"
            tables.say("mixed sizes", "index.csv", message, blocks=True)
    return rows


def _row(tables: Tables, reader: CellReader, line: int, fields: dict[str, str]) -> Row:
    """A row of the index, without what is wrong with it but for its sizes; that is added to the findings."""
    index = tables.index
    assert index is not None
    maps: list[tuple[int, str]] = []
    whole: list[tuple[int, int]] = []
    for k, category in enumerate(tables.categories):
        try:
            paths, numbers = read_labels(reader, index, line, fields, category)
        except FaultError as fault:
            tables.findings.append(finding_of(fault))
            continue
        maps += ((k, path) for path in paths)
        whole += ((k, number) for number in numbers)
    image = fields["image"].strip()
    faults = entry_faults(index, line, (image, *(path for _, path in maps)), [n for _, n in whole if n])
    tables.findings += map(finding_of, faults)
    size = row_sizes(index, line, fields)
    inside = tuple((k, path) for k, path in maps if not leaves_folder(path))
    return Row(line, image, size[:2], size[2:], inside, tuple(whole))


def _check_names(tables: Tables, rows: list[Row]) -> None:
    """Find files that are named twice, columns that nobody reads and files that nobody names."""
    seen: dict[str, int] = {}
    for row in rows:
        for name in map(plain_path, (row.image, *(name for _, name in row.maps))):
            if name in seen:
                message = f"line {row.line} names {name}, as line {seen[name]} does"
                tables.say("duplicate", "index.csv", message)
            seen.setdefault(name, row.line)
        for (k, number), times in Counter(row.whole).items():
            if times > 1:
                message = f"line {row.line} has {number} {times} times as {tables.categories[k]}"
                tables.say("duplicate", "index.csv", message)
    for column, filled in (filled_columns(tables.index, tables.categories) if tables.index else {}).items():
        message = f"has {filled} cells in the column {column}, which is no category of category.csv: not read"
        tables.say("unread column", "index.csv", message)
    strays = [name for name in _files(tables.folder / "images") if name not in seen]
    if strays and seen:
        message = f"has {len(strays)} files that index.csv does not name, such as {min(strays)}"
        tables.say("stray files", "images", message)


def _files(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        inside = Path(place).relative_to(folder)
        yield from ((inside / name).as_posix() for name in names)


def _examined(rows: list[Row], examine: Callable[[Row], Examined]) -> Iterator[tuple[Row, Examined]]:
    """Every row with what its files hold, in order, read by several threads."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    ahead: deque[tuple[Row, Future[Examined]]] = deque()
    try:
        for row in rows:
            ahead.append((row, pool.submit(examine, row)))
            if len(ahead) > AHEAD:
                first, result = ahead.popleft()
                yield first, result.result()
        while ahead:
            first, result = ahead.popleft()
            yield first, result.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _examine(folder: Path, concepts: int, row: Row) -> Examined:
    """Read the files of one image."""
    findings: list[Finding] = []
    pixels: dict[int, Counter[int]] = {}
    labelled = np.zeros(row.label_size, np.bool_)
    file = folder / "images" / row.image
    try:
        photo = read_photo(file, row.image_size)
        findings += _doubts(file, photo, bool(row.maps))
    except FaultError as fault:
        findings.append(finding_of(fault))
    for k, name in row.maps:
        file = folder / "images" / name
        try:
            ids = read_map(file, row.label_size)
        except FaultError as fault:
            findings.append(finding_of(fault))
            continue
        limit = concepts or HIGHEST_ID
        if ids.max() > limit:
            above, remedy = beyond(ids, limit)
            message = f"holds ids above {limit}: {', '.join(map(str, above[:5]))}"
            findings.append(Finding("id out of range", file, message, remedy=remedy))
        counts = np.bincount(ids[ids <= HIGHEST_ID])  # an id that blue is part of has no place in the sums
        held = np.flatnonzero(counts)
        pixels.setdefault(k, Counter()).update(dict(zip(held.tolist(), counts[held].tolist(), strict=True)))
        labelled |= ids > 0
    for _, number in row.whole:
        if concepts and number > concepts:
            message = f"line {row.line} has the label {number}, above the {concepts} of label.csv"
            findings.append(Finding("id out of range", folder / "index.csv", message))
        labelled |= number > 0
    return Examined(findings, pixels, int((~labelled).sum()))


def _doubts(file: Path, photo: Photo, has_maps: bool) -> Iterator[Finding]:
    """What a run accepts in an image, though nobody can tell whether it is right."""
    if photo.orientation != UPRIGHT and has_maps:
        message = (
            f"has an EXIF orientation of {photo.orientation} and is turned upright, but its label maps are read as "
            "they are stored"
        )
        remedy = "see that they were drawn on the upright image, and save the image without an orientation"
        yield Finding("orientation", file, message, blocks=False, remedy=remedy)
    if photo.depth == 16:
        message = "has 16 bits a channel, of which the upper 8 are read"
        yield Finding("deep image", file, message, blocks=False, remedy="save it with 8 bits a channel")


class _Sums:
    """Totals over the images, and the findings about their files."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        kinds = len(tables.categories)
        self.images = np.zeros((kinds, HIGHEST_ID + 1), np.int64)  # images with an id in a category
        self.area = np.zeros((kinds, HIGHEST_ID + 1), np.int64)  # pixels of an id in a category
        self.whole_zero = np.zeros(kinds, np.int64)
        self.map_zero, self.map_pixels = np.zeros(kinds, np.int64), np.zeros(kinds, np.int64)
        self.grid = self.unlabelled = 0

    def add(self, row: Row, result: Examined) -> None:
        self.tables.findings.extend(result.findings)
        grid = row.label_size[0] * row.label_size[1]
        self.grid += grid
        self.unlabelled += result.unlabelled
        carried: set[tuple[int, int]] = set()
        for k, pixels in result.pixels.items():
            for number, count in pixels.items():
                self.area[k, number] += count
            self.map_zero[k] += pixels[0]
            self.map_pixels[k] += pixels.total()
            carried |= {(k, number) for number in pixels}
        for k, number in row.whole:
            if number <= HIGHEST_ID:
                self.area[k, number] += grid
                carried.add((k, number))
        for k, number in carried:
            self.images[k, number] += 1
        for k in {k for k, number in row.whole if number == 0}:
            self.whole_zero[k] += 1

    def zero_shares(self) -> dict[str, float | None]:
        """For each category the share of its maps' pixels that is 0."""
        return {
            name: float(self.map_zero[k] / self.map_pixels[k]) if self.map_pixels[k] else None
            for k, name in enumerate(self.tables.categories)
        }


def compare_published(tables: Tables, area: NDArray[np.int64], published: Published) -> tuple[int, int]:
    """Compare pixels with published ones; returns how many were compared and how many agree."""
    if not published:
        return 0, 0
    try:
        texts = {name: read_bytes(tables.folder / name) for name in table_names(tables.categories)}
        vocabulary = read_vocabulary(texts, tables.folder)
    except FaultError:  # listed already
        return 0, 0
    numbers = {
        (vocabulary.categories[k], name): number
        for number, (name, k) in enumerate(zip(vocabulary.names, vocabulary.primary.tolist(), strict=True), 1)
        if k >= 0
    }
    agreed = 0
    for (category, concept), pixels in published.items():
        number = numbers.get((category, concept))
        found = int(area[number]) if number else None
        agreed += found == pixels
        if found is None:
            tables.say("pixel totals", "label.csv", f"lacks {concept} of {category}, which the release has")
        elif found != pixels:
            message = f"gives {found:,} pixels of {concept} ({category}) where the release has {pixels:,}"
            tables.say("pixel totals", "index.csv", message)
    return len(published), agreed
