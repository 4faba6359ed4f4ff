"""Small made-up results for tests: random counts, two layers, awkward names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ndengine.datasets import Vocabulary
from ndengine.result import Dissection, LayerResult, layer_folders, write_layer, write_result
from ndengine.score import score_units, summarise
from ndengine.settings import Settings
from ndengine.tally import Counts

VOCABULARY = Vocabulary(
    names=("lamp", "", "straße", "red"),
    categories=("object", "part", "color"),
    primary=np.array([0, 1, 0, 2]),
)
IMAGES, LABEL_SIZE, TOP = 6, (9, 13), 3


def make_layer(name: str, folder: str, units: int, seed: int) -> LayerResult:
    rng = np.random.default_rng(seed)
    area = rng.integers(0, 900, len(VOCABULARY.names))
    counts = Counts(
        threshold=rng.normal(size=units).astype(np.float32),
        intersection=rng.integers(0, area + 1, (units, len(area))),
        concept_area=area,
        unit_area=rng.integers(0, 900, (units, len(VOCABULARY.categories))),
        unit_area_all=rng.integers(0, 900, units),
        concept_images=rng.integers(0, IMAGES, len(area)),
    )
    dead = rng.random(units) < 0.3
    scores = score_units(
        counts,
        VOCABULARY,
        detector=">",
        iou_threshold=0.04,
        min_images=1,
        categories=("object", "color"),
        dead=dead,
    )
    summary = summarise(
        scores,
        VOCABULARY.categories,
        concept_images=counts.concept_images,
        dead=dead,
        rank=12,
        positions=2_400,
        notes=("A note.",),
    )
    return LayerResult(
        name=name,
        path="features.29",
        folder=folder,
        shape=(13, 7),
        geometry="half-pixel",
        field=((-90, 196, 16), (-90, 196, 16)) if seed else None,
        counts=counts,
        dead=dead,
        top_images=rng.integers(-1, IMAGES, (units, TOP)),
        top_values=rng.normal(size=(units, TOP)).astype(np.float32),
        top_masks=np.packbits(rng.random((units, TOP, *LABEL_SIZE)) < 0.5, axis=-1),
        scores=scores,
        summary=summary,
    )


def make_dissection(folder: Path) -> Dissection:
    names = ("conv5_3", "block/1")
    layers = [
        make_layer(n, f, units, seed)
        for seed, (n, f, units) in enumerate(zip(names, layer_folders(names), (11, 4), strict=True))
    ]
    return Dissection(
        folder=folder,
        settings=Settings(layers=names, categories=("object", "color")).record(),
        min_images=1,
        provenance={"versions": {"torch": "2.6"}, "seconds": {"probe": 1.5}, "weights": None},
        vocabulary=VOCABULARY,
        image_names=tuple(f"a,{i}/é.jpg" for i in range(IMAGES)),
        splits=("train", "val", "") * 2,
        image_size=(18, 26),
        label_size=LABEL_SIZE,
        layers={layer.name: layer for layer in layers},
    )


def write(dissection: Dissection) -> None:
    for layer in dissection.layers.values():
        write_layer(dissection.folder, layer, dissection.vocabulary)
    write_result(dissection)
