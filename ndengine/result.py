"""A finished dissection, in memory and as a folder on disk; the folder's format is described in FORMAT.md."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets import Vocabulary
from ndengine.errors import ResultError, SettingsError
from ndengine.inside import refuse_way_out
from ndengine.owned import ACTIVATIONS, UNITS
from ndengine.result_files import (
    AGAIN,
    COUNTS,
    EXAMPLES,
    IMAGES,
    Examples,
    read_counts,
    read_examples,
    read_images,
    sha256,
    write_counts,
    write_examples,
    write_images,
)
from ndengine.result_record import (
    RECORD,
    REPORT,
    RESERVED,
    FieldAxis,
    LayerRecord,
    ResultRecord,
    read_record,
    write_record,
)
from ndengine.score import Scores, Summary, score_units, summarise
from ndengine.tally import Counts
from ndengine.units_table import UnitsTable, make_units_table, write_units_csv

if TYPE_CHECKING:
    import pandas as pd

QUICK = 1 << 30  # bytes; activations of more are not looked at by `load`, which does not need them


@dataclass(frozen=True, eq=False)
class LayerResult:
    """All that is known of one layer.

    Attributes
    ----------
    name, path : str
        The layer's public name and its place in the module: ``conv5_3`` and ``features.29``.
    folder : str
        Name of its folder in the result.
    shape : tuple of int
        Height and width h, w of its activation maps.
    geometry : str
        The geometry in force, which a fallback may have changed from the one asked for.
    field : pair of (offset, size, stride) or None
        Its receptive field along rows and along columns, in input pixels; None where it is not known.
    counts : Counts
        The exact counts.
    dead : ndarray of bool, [U]
        Units that never vary.
    top_images : ndarray of int64, [U, T]
        The images that excite each unit most, best first, as positions in ``Dissection.image_names``; -1
        where there are fewer than T.
    top_values : ndarray of float32, [U, T]
        The highest activation in each of them; 0 where there is none.
    top_masks : ndarray of uint8, [U, T, H, ceil(W/8)]
        The unit's mask on them, packed along columns as by ``numpy.packbits``; see ``Dissection.mask``.
    scores : Scores
        Best concepts and detectors.
    summary : Summary
        The layer in numbers.
    """

    name: str
    path: str
    folder: str
    shape: tuple[int, int]
    geometry: str
    field: tuple[FieldAxis, FieldAxis] | None
    counts: Counts
    dead: NDArray[np.bool_]  # [U]
    top_images: NDArray[np.int64]  # [U, T]
    top_values: NDArray[np.float32]  # [U, T]
    top_masks: NDArray[np.uint8]  # [U, T, H, ceil(W/8)]
    scores: Scores
    summary: Summary

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should see about this layer."""
        return self.summary.notes


@dataclass(frozen=True, eq=False)
class Dissection:
    """A network dissected on a dataset.

    Attributes
    ----------
    folder : Path
        Where the result lies.
    settings : dict
        What was asked for, as ``Settings.record()`` gives it.
    min_images : int
        Images that a concept needed to be scored, the default worked out.
    provenance : dict
        How it came about: versions, fingerprints, timings; plain JSON values.
    vocabulary : Vocabulary
        Concepts and categories.
    image_names, splits : tuple of str, [N]
        The images that were used, and the split of each.
    image_size, label_size : tuple of int
        Height and width of the dataset's images and of its segmentations H, W.
    layers : dict of str to LayerResult
        The layers by public name, in the order in which they were asked for.
    computed : bool
        Whether it has just been computed, rather than read from its folder.
    """

    folder: Path
    settings: dict[str, Any]
    min_images: int
    provenance: dict[str, Any]
    vocabulary: Vocabulary
    image_names: tuple[str, ...]
    splits: tuple[str, ...]
    image_size: tuple[int, int]
    label_size: tuple[int, int]
    layers: dict[str, LayerResult]
    computed: bool = False

    def layer(self, name: str | None = None) -> LayerResult:
        """The layer of that name; without one, the only layer there is.

        Raises
        ------
        ResultError
            If there is no such layer, or several and none was named.
        """
        names = list(self.layers)
        if name is None and len(names) == 1:
            return self.layers[names[0]]
        if name is None:
            raise ResultError(f"{self.folder} holds {len(names)} layers; name one of {', '.join(names)}.")
        if name not in self.layers:
            near = get_close_matches(name, names) or names
            raise ResultError(f"{self.folder} has no layer {name!r}; use {' or '.join(near)}.")
        return self.layers[name]

    def table(self, layer: str | None = None) -> UnitsTable:
        """The rows of a layer's ``units.csv``: best unit first, equal scores by unit."""
        return make_units_table(self.layer(layer).scores, self.vocabulary)

    def frame(self, layer: str | None = None) -> pd.DataFrame:
        """A layer's ``units.csv`` as a pandas frame, cells without a concept being empty text.

        Raises
        ------
        ResultError
            If pandas is not installed, or there is no such layer.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ResultError("A frame needs pandas, which is not installed; run pip install pandas.") from None
        return pd.DataFrame(self.table(layer).columns())

    def mask(self, layer: str | None, unit: int, rank: int) -> NDArray[np.bool_]:
        """Where a unit (0-based) fires on its top image number ``rank`` (0 is the best): [H, W]."""
        packed = self.layer(layer).top_masks[unit, rank]
        return np.unpackbits(packed, axis=-1, count=self.label_size[1]).astype(bool)


def layer_folders(names: Sequence[str]) -> list[str]:
    """A folder name for each layer: its own name where a file system takes it, and no two alike."""
    taken = set(RESERVED)
    folders = []
    for name in names:
        stem = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip(".")[:100].rstrip(".") or "layer"
        folder, copy = stem, 2
        while folder.lower() in taken:  # some file systems take conv1 and Conv1 for one
            folder, copy = f"{stem}-{copy}", copy + 1
        taken.add(folder.lower())
        folders.append(folder)
    return folders


def write_layer(folder: Path, layer: LayerResult, vocabulary: Vocabulary) -> None:
    """Write a layer's ``units.csv``, ``counts.h5`` and ``examples.h5`` into its folder in ``folder``.

    Raises
    ------
    ResultError
        If a file can't be written.
    """
    home = folder / layer.folder
    write_counts(home / COUNTS, layer.counts, layer.dead, vocabulary)
    write_examples(home / EXAMPLES, Examples(layer.top_images, layer.top_values, layer.top_masks))
    write_units_csv(home / UNITS, make_units_table(layer.scores, vocabulary))


def write_result(dissection: Dissection) -> None:
    """Write ``images.csv``, then ``result.json``, which makes the result a finished one and names all its files.

    The layers must have been written with :func:`write_layer`, and the report if there is one.

    Raises
    ------
    ResultError
        If a file can't be written, or a layer's files are missing.
    """
    folder = dissection.folder
    write_images(folder / IMAGES, dissection.image_names, dissection.splits)
    layers = tuple(
        LayerRecord(
            name=layer.name,
            path=layer.path,
            folder=layer.folder,
            shape=layer.shape,
            geometry=layer.geometry,
            field=layer.field,
            summary=layer.summary,
            sha256={
                name: sha256(folder / layer.folder / name)
                for name in (COUNTS, EXAMPLES, UNITS, ACTIVATIONS)
                if name != ACTIVATIONS or (folder / layer.folder / name).exists()
            },
        )
        for layer in dissection.layers.values()
    )
    write_record(
        folder,
        ResultRecord(
            settings=dissection.settings,
            min_images=dissection.min_images,
            provenance=dissection.provenance,
            image_size=dissection.image_size,
            label_size=dissection.label_size,
            images=len(dissection.image_names),
            sha256={IMAGES: sha256(folder / IMAGES)},
            layers=layers,
            report=_files_below(folder / REPORT),
        ),
    )


def _files_below(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))


def load(folder: Path | str) -> Dissection:
    """Read a finished result and check that its parts belong together, and that none has changed.

    Every file is compared with its checksum, but for kept activations of more than a gigabyte. Scores and summaries
    are computed anew from the counts and compared with the recorded ones. Nothing outside of the folder is read.

    Raises
    ------
    ResultError
        If the folder is missing, unfinished, damaged or of another version; the sentence names the file.
    """
    folder = Path(folder)
    record = read_record(folder)
    _verify(folder, "", record.sha256)
    names, splits = read_images(folder / IMAGES)
    if len(names) != record.images or not record.layers:
        raise ResultError(f"{folder / RECORD} does not fit {IMAGES} or names no layer; {AGAIN}.")
    layers = {}
    shared: Vocabulary | None = None
    for found in record.layers:
        layer, vocabulary = _read_layer(folder, record, found)
        shared = shared or vocabulary
        if not _same(vocabulary, shared):
            path = folder / found.folder / COUNTS
            raise ResultError(f"{path} has other concepts than {record.layers[0].folder}; {AGAIN}.")
        layers[found.name] = layer
    assert shared is not None
    return Dissection(
        folder=folder,
        settings=record.settings,
        min_images=record.min_images,
        provenance=record.provenance,
        vocabulary=shared,
        image_names=names,
        splits=splits,
        image_size=record.image_size,
        label_size=record.label_size,
        layers=layers,
    )


def _read_layer(folder: Path, record: ResultRecord, found: LayerRecord) -> tuple[LayerResult, Vocabulary]:
    home = refuse_way_out(folder, found.folder)
    _verify(folder, f"{found.folder}/", found.sha256)
    counts, dead, vocabulary = read_counts(home / COUNTS, found.summary.units)
    examples = read_examples(home / EXAMPLES, len(dead), record.images, record.label_size)
    try:
        scores = score_units(
            counts,
            vocabulary,
            detector=record.settings["knobs"]["detector"],
            iou_threshold=float(record.settings["knobs"]["iou_threshold"]),
            min_images=record.min_images,
            categories=record.settings["categories"],
            dead=dead,
        )
    except SettingsError as error:
        raise ResultError(f"{folder / RECORD} is damaged ({str(error).rstrip('.')}); {AGAIN}.") from None
    summary = summarise(
        scores,
        vocabulary.categories,
        concept_images=counts.concept_images,
        dead=dead,
        rank=found.summary.rank,
        positions=found.summary.positions,
        notes=found.summary.notes,
    )
    if summary != found.summary:
        raise ResultError(f"{folder / RECORD} tells other detectors than {home / COUNTS}; {AGAIN}.")
    layer = LayerResult(
        name=found.name,
        path=found.path,
        folder=found.folder,
        shape=found.shape,
        geometry=found.geometry,
        field=found.field,
        counts=counts,
        dead=dead,
        top_images=examples.top_images,
        top_values=examples.top_values,
        top_masks=examples.top_masks,
        scores=scores,
        summary=summary,
    )
    return layer, vocabulary


def _verify(folder: Path, home: str, sums: Mapping[str, str]) -> None:
    """Compare files with their checksums; those that are read are read in any case."""
    needed = (COUNTS, EXAMPLES) if home else (IMAGES,)
    if missing := [name for name in needed if name not in sums]:
        raise ResultError(f"{folder / RECORD} has no checksum of {home}{missing[0]}; {AGAIN}.")
    for name, expected in sums.items():
        path = refuse_way_out(folder, f"{home}{name}")
        if name == ACTIVATIONS and path.is_file() and os.path.getsize(path) > QUICK:
            continue
        if sha256(path) != expected:
            raise ResultError(f"{path} has changed since the run ended; restore it, or {AGAIN}.")


def _same(one: Vocabulary, other: Vocabulary) -> bool:
    return (one.names, one.categories) == (other.names, other.categories) and np.array_equal(one.primary, other.primary)
