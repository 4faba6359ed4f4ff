"""Results made by hand whose IoUs are plain numbers, to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ndengine.datasets import Vocabulary
from ndengine.result import Dissection, LayerResult, layer_folders, write_layer, write_result
from ndengine.score import score_units, summarise
from ndengine.settings import Settings
from ndengine.tally import Counts

CONCEPTS = {"lamp": "object", "tree": "object", "door": "part", "red": "color"}
CATEGORIES = ("object", "part", "color")
IMAGES = ("a.jpg", "b.jpg")
AREA = 100  # pixels of every concept and of every unit

Unit = dict[str, int]  # pixels that a unit shares with each concept; h of them make an IoU of h / (200 - h)


def iou(pixels: int) -> float:
    return pixels / (2 * AREA - pixels)


def make_layer(
    name: str, folder: str, units: Sequence[Unit], settings: Settings, dead: Sequence[int] = (), path: str = ""
) -> LayerResult:
    names = list(CONCEPTS)
    intersection = np.array([[unit.get(name, 0) for name in names] for unit in units], np.int64)
    is_dead = np.isin(np.arange(len(units)) + 1, dead)
    counts = Counts(
        threshold=np.ones(len(units), np.float32),
        intersection=intersection,
        concept_area=np.full(len(names), AREA),
        unit_area=np.full((len(units), len(CATEGORIES)), AREA),
        unit_area_all=np.full(len(units), AREA),
        concept_images=np.full(len(names), 20),
    )
    scores = score_units(
        counts,
        vocabulary(),
        detector=settings.knobs.detector,
        iou_threshold=settings.knobs.iou_threshold,
        min_images=0,
        dead=is_dead,
    )
    return LayerResult(
        name=name,
        path=path or name,
        folder=folder,
        shape=(4, 5),
        geometry=settings.knobs.geometry,
        field=None,
        counts=counts,
        dead=is_dead,
        top_images=np.full((len(units), 1), -1),
        top_values=np.zeros((len(units), 1), np.float32),
        top_masks=np.zeros((len(units), 1, 6, 1), np.uint8),
        scores=scores,
        summary=summarise(
            scores, CATEGORIES, concept_images=counts.concept_images, dead=is_dead, rank=500, positions=100_000
        ),
    )


def vocabulary() -> Vocabulary:
    primary = np.array([CATEGORIES.index(category) for category in CONCEPTS.values()])
    return Vocabulary(names=tuple(CONCEPTS), categories=CATEGORIES, primary=primary)


def write(
    folder: Path,
    units: Sequence[Unit],
    *,
    layers: Sequence[str] = ("conv5",),
    dead: Sequence[int] = (),
    paths: Sequence[str] = (),
    provenance: dict[str, Any] | None = None,
    **settings: Any,
) -> Dissection:
    """Write a result whose layers all have these units."""
    asked = Settings(**{"model": "net", "layers": tuple(layers), **settings})
    made = [
        make_layer(name, home, units, asked, dead, path)
        for name, home, path in zip(layers, layer_folders(layers), paths or layers, strict=True)
    ]
    dissection = Dissection(
        folder=folder,
        settings=asked.record(),
        min_images=0,
        provenance=provenance or {},
        vocabulary=vocabulary(),
        image_names=IMAGES,
        splits=("",) * len(IMAGES),
        image_size=(12, 16),
        label_size=(6, 8),
        layers={layer.name: layer for layer in made},
    )
    for layer in made:
        write_layer(folder, layer, dissection.vocabulary)
    write_result(dissection)
    for layer in made:
        page = folder / "report" / ("" if len(made) == 1 else layer.folder) / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("a report")
    return dissection
