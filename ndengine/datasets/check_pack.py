"""The doctor for packs: compares all of a file with its checksums, and what is in it with each other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets.audit import Finding, Tables, audit_tables
from ndengine.datasets.check import Checkup, Published, check_dataset, compare_published, published_pixels
from ndengine.datasets.packed import PackedDataset
from ndengine.errors import DatasetError
from ndengine.progress import SILENT, Progress
from ndkernels.labels import LabelBlock, count_concepts

CHUNK = 32  # images that are in memory at a time


def check_path(path: Path | str, progress: Progress = SILENT) -> Checkup:
    """Check what ``--data`` takes: a pack as :func:`check_pack`, anything else as a folder in Broden's layout."""
    return check_pack(path, progress) if Path(path).is_file() else check_dataset(path, progress)


def check_pack(path: Path | str, progress: Progress = SILENT, published: Published | None = None) -> Checkup:
    """Read a pack from end to end and list everything that is wrong with it.

    Label maps of the categories are one in a pack, so ``whole_zero`` and ``map_zero`` stay empty.

    Parameters
    ----------
    path : Path or str
        The pack.
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
        If the file can't be opened: it is missing, no pack, of another version, in use, or damaged in what comes before
        images and labels.
    """
    with PackedDataset(path) as pack, tempfile.TemporaryDirectory() as scratch:
        for name, data in pack.tables.items():
            (Path(scratch) / name).write_bytes(data)
        tables = audit_tables(Path(scratch))
        _check_index(tables, pack)
        sums = _Sums(pack)
        with progress.stage("checking", len(pack), "images") as advance:
            for start in range(0, len(pack), CHUNK):
                numbers = np.arange(start, min(start + CHUNK, len(pack)))
                tables.findings.extend(_pixel_findings(pack, numbers))
                for part, block in _blocks(pack, numbers, tables.findings):
                    tables.findings.extend(sums.add(part, block))
                advance(len(numbers))
        known = published_pixels(pack.release) if published is None else published
        compared, agreed = compare_published(tables, sums.area, known)
        findings = dict.fromkeys(tables.findings)  # a damaged block is found again by each of its images
        inside = (pack.path / "tables" if f.file.parent == Path(scratch) else f.file.parent for f in findings)
        return Checkup(
            folder=pack.path,
            findings=tuple(replace(f, file=at / f.file.name) for at, f in zip(inside, findings, strict=True)),
            images=len(pack),
            release=pack.release,
            whole_zero={},
            map_zero={},
            unlabelled=sums.unlabelled / max(sums.grid, 1),
            compared=compared,
            agreed=agreed,
        )


def _check_index(tables: Tables, pack: PackedDataset) -> None:
    """The pack's own names and splits against its copy of the index."""
    if tables.index is None:
        return
    rows = [(fields["image"].strip(), fields["split"].strip()) for _, fields in tables.index.rows]
    if rows != list(zip(pack.image_names, pack.splits, strict=True)):
        message = f"has other images or splits ({len(rows)} rows) than the pack ({len(pack)} images)"
        tables.say("tables disagree", "index.csv", message)


def _pixel_findings(pack: PackedDataset, numbers: NDArray[np.int64]) -> Iterator[Finding]:
    """What is wrong with the images; all at once first, as that is faster."""
    try:
        pack.images(numbers)
    except DatasetError as error:
        if len(numbers) == 1:
            yield _finding(pack, error)
        else:
            for number in numbers:
                yield from _pixel_findings(pack, np.array([number]))


def _blocks(
    pack: PackedDataset, numbers: NDArray[np.int64], findings: list[Finding]
) -> Iterator[tuple[NDArray[np.int64], LabelBlock]]:
    """The labels that can be read, with the numbers of their images."""
    try:
        yield numbers, pack.labels(numbers)
    except DatasetError as error:
        if len(numbers) == 1:
            findings.append(_finding(pack, error))
        else:
            for number in numbers:
                yield from _blocks(pack, np.array([number]), findings)


def _finding(pack: PackedDataset, error: DatasetError) -> Finding:
    what = str(error).removeprefix(f"{pack.path} ").split("; ")[0]
    return Finding("damage", pack.path, what)


class _Sums:
    """Totals over the images of a pack, and whether its label maps and its lists of labels go together."""

    def __init__(self, pack: PackedDataset) -> None:
        self._pack = pack
        self.area = np.zeros(len(pack.vocabulary.names) + 1, np.int64)  # pixels by id, given twice counted twice
        self.grid = self.unlabelled = 0

    def add(self, numbers: NDArray[np.int64], block: LabelBlock) -> Iterator[Finding]:
        pack, concepts = self._pack, len(self._pack.vocabulary.names)
        area, present = count_concepts(block, concepts, once=False)
        self.area[1:] += area
        codes, starts, areas = block.codes.numpy(), block.code_start.numpy(), block.code_area.numpy()
        empty = np.diff(block.entry_start.numpy()) == 0
        whole = np.diff(block.whole_start.numpy()) > 0
        unnamed = np.array([not name for name in pack.vocabulary.names])
        pixels = codes[0].size
        self.grid += pixels * len(numbers)
        for b, number in enumerate(numbers):
            own = slice(starts[b], starts[b + 1])
            name = pack.image_names[number]
            if not np.array_equal(np.bincount(codes[b].ravel(), minlength=own.stop - own.start), areas[own]):
                yield Finding("labels disagree", pack.path, f"has other areas of labels than pixels of {name}")
            if not whole[b]:
                self.unlabelled += int(areas[own][empty[own]].sum())
            if (beyond := np.flatnonzero(present[b] & unnamed) + 1).size:
                message = f"gives {name} ids that label.csv lacks: {', '.join(map(str, beyond[:5].tolist()))}"
                yield Finding("id out of range", pack.path, message, blocks=False)
