"""The results that are compared: where they are found, what they are called, and what is kept of each."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndengine.compare.series_record import COMPARE, Member, read_series_record
from ndengine.datasets import Vocabulary
from ndengine.errors import ResultError
from ndengine.models.zoo.published import Published
from ndengine.models.zoo.rows import find_row, published_for
from ndengine.publish import holds_result
from ndengine.refusals import reason_of
from ndengine.result import Dissection, LayerResult
from ndengine.score import Summary
from ndengine.settings import rotation_of
from ndengine.units_table import concept_name

UNKNOWN = "not known"
DEPTH = 4  # folders below the one that is named, in which results are looked for


@dataclass(frozen=True, eq=False)
class Units:
    """What each unit of a layer detects: all that comparing two layers takes.

    Attributes
    ----------
    concept, category : tuple of str, [U]
        The best concept and its category; empty for a unit without one.
    iou : ndarray of float64, [U]
        Its IoU.
    detector : ndarray of bool, [U]
        Whether it passes.
    """

    concept: tuple[str, ...]
    category: tuple[str, ...]
    iou: NDArray[np.float64]  # [U]
    detector: NDArray[np.bool_]  # [U]

    def __len__(self) -> int:
        return len(self.concept)


@dataclass(frozen=True, eq=False)
class Entry:
    """One layer of one result.

    Attributes
    ----------
    label : str
        What the result is called; no two results that are compared share it.
    group : str
        The curve that it belongs to; empty for none.
    x : float or None
        Its place on that curve.
    x_name : str
        What ``x`` is.
    folder : Path
        The result's folder.
    model, weights, layer : str
        What was dissected; the layer by the name that it was asked for by.
    path : str
        The layer's place in the network, which is the same by whatever name it goes.
    page : str
        The layer's report page, relative to ``folder``.
    geometry : str
        The geometry in force.
    shape : tuple of int
        Height and width of its activation maps.
    summary : Summary
        The layer in numbers.
    units : Units
        What each unit detects.
    min_images : int
        Images that a concept needed to be scored.
    images : int
        Images that were used.
    image_names : str
        Digits of a checksum of their names, in order.
    settings, provenance : dict
        As the result records them.
    published : Published or None
        What was published of this very layer.
    """

    label: str
    group: str
    x: float | None
    x_name: str
    folder: Path
    model: str
    weights: str
    layer: str
    path: str
    page: str
    geometry: str
    shape: tuple[int, int]
    summary: Summary
    units: Units
    min_images: int
    images: int
    image_names: str
    settings: dict[str, Any]
    provenance: dict[str, Any]
    published: Published | None

    @property
    def title(self) -> str:
        """Label and layer in one."""
        return f"{self.label}, {self.layer}"


@dataclass(frozen=True)
class Found:
    """A folder with a result, and what its series calls it.

    Attributes
    ----------
    folder : Path
    member : Member or None
        None where it belongs to no series.
    named : bool
        Whether the user named this very folder.
    """

    folder: Path
    member: Member | None
    named: bool


def find_results(folders: Sequence[Path]) -> tuple[list[Found], str, list[str]]:
    """Results in the folders, a title for them, and the runs of a series that have none yet.

    A folder is a result, a series, or a place in which results lie at most four folders deep. A result that is named
    twice is taken once.

    Raises
    ------
    ResultError
        If there is no result in one of them, or none is named.
    """
    if not folders:
        raise ResultError("There is nothing to compare; name folders of results.")
    found: dict[Path, Found] = {}
    titles: list[str] = []
    missing: list[str] = []
    for folder in folders:
        if not os.path.isdir(folder):
            raise ResultError(f"{folder} is no folder; name the --out of finished runs or of a series.")
        try:
            here = list(_results_in(folder, DEPTH, titles, missing, named=True))
        except OSError as error:
            place = error.filename or folder
            raise ResultError(
                f"{place} can't be read ({reason_of(error)}); allow yourself to, or move it away."
            ) from None
        if not here:
            raise ResultError(f"{folder} holds no finished result; name the --out of finished runs or of a series.")
        for one in here:
            found.setdefault(Path(os.path.realpath(one.folder)), one)
    return list(found.values()), titles[0] if len(titles) == 1 else "", missing


def labels_of(found: Sequence[Found]) -> list[str]:
    """A label for each result: the series' or the folder's name, and so much of the path that no two are alike."""
    labels = [one.member.label if one.member else Path(os.path.abspath(one.folder)).name for one in found]
    paths = [Path(os.path.realpath(one.folder)).parts for one in found]
    told = []
    for label, path in zip(labels, paths, strict=True):
        twins = [other for other, name in zip(paths, labels, strict=True) if name == label]
        depth = 1
        while len(twins) > 1 and len({parts[-depth:] for parts in twins}) < len(twins):
            depth += 1
        own = "/".join(path[-depth:])
        told.append(label if len(twins) == 1 else own if own.endswith(f"/{label}") else f"{label} ({own})")
    return told


def entries_of(dissection: Dissection, found: Found, label: str, layers: Sequence[str] = ()) -> Iterator[Entry]:
    """The layers of a result, all or those that are named, without the arrays that nobody compares."""
    settings, member = dissection.settings, found.member
    x, x_name = (member.x, member.x_name) if member else (None, "")
    names = hashlib.sha256("\n".join(dissection.image_names).encode()).hexdigest()[:12]
    for name, layer in dissection.layers.items():
        if layers and name not in layers:
            continue
        alone = len(dissection.layers) == 1
        yield Entry(
            label=label,
            group=member.group if member else "",
            x=x,
            x_name=x_name,
            folder=found.folder,
            model=settings["model"],
            weights=settings["weights"],
            layer=name,
            path=layer.path,
            page="report/index.html" if alone else f"report/{layer.folder}/index.html",
            geometry=layer.geometry,
            shape=layer.shape,
            summary=layer.summary,
            units=units_of(layer, dissection.vocabulary),
            min_images=dissection.min_images,
            images=len(dissection.image_names),
            image_names=names,
            settings=settings,
            provenance=dissection.provenance,
            published=published_for(settings, name),
        )


def units_of(layer: LayerResult, vocabulary: Vocabulary) -> Units:
    """What each unit of a layer detects."""
    scores = layer.scores
    return Units(
        concept=tuple(concept_name(vocabulary, c) for c in scores.best_concept.tolist()),
        category=tuple(vocabulary.categories[k] if k >= 0 else "" for k in scores.category.tolist()),
        iou=scores.score,
        detector=scores.detector,
    )


def power_of(entry: Entry) -> float:
    """The power of the rotation that a result's units were put through; 0 without one."""
    return rotation_in(entry)[0]


def rotation_in(entry: Entry) -> tuple[float, int]:
    """The power and the seed of the rotation that a result's units were put through; a power of 0 without one."""
    if "rotation" in entry.provenance:
        return rotation_of(entry.provenance)
    row = find_row(entry.model)  # what a result of before there was rotation says of itself, which is its name
    power, seed = entry.settings.get("rotate"), entry.settings.get("rotate_seed")
    return float((row.rotate if row else 0.0) or 0.0 if power is None else power), 1 if seed is None else int(seed)


def base_of(entry: Entry) -> str:
    """The network that a row of the benchmark is a rotation or an early state of; others as they are called."""
    if find_row(entry.model) is None:
        return entry.model
    return re.sub(r"-(rotated|iter)-[0-9]+$", "", entry.model)


def _results_in(folder: Path, depth: int, titles: list[str], missing: list[str], *, named: bool) -> Iterator[Found]:
    """Results in a folder, not looking into results, comparisons or what is hidden.

    Titles of the series that are met, and the names of their runs without a result, are added to the lists.
    """
    if holds_result(folder):
        yield Found(folder, None, named)
    elif series := read_series_record(folder):
        titles.append(series[0])
        for member in series[1]:
            if holds_result(folder / member.name):
                yield Found(folder / member.name, member, False)
            else:
                missing.append(member.name)
    elif depth:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.name.startswith(".") and path.name != COMPARE:
                yield from _results_in(path, depth - 1, titles, missing, named=False)
