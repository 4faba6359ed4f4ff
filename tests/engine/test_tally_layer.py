"""The tally of a layer from survivors equals the definition on the label maps themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ndengine.datasets import Vocabulary
from ndengine.settings import AREAS, OVERLAPS, Area, Overlap
from ndengine.tally import BLOCK_IMAGES, blocks_of, tally_layer
from ndkernels.grid import make_grid, tables
from ndkernels.grid import naive as grid_naive
from ndkernels.labels import encode_labels
from ndkernels.sieve import Survivors, pack_maps
from ndkernels.tally import naive

N, U, C = BLOCK_IMAGES + 21, 4, 7
VOCABULARY = Vocabulary(tuple("abcdefg"), ("color", "object"), np.array([0, 1, 1, 0, -1, 1, 0]))
GRID = make_grid("half-pixel", maps=(3, 5), labels=(9, 8))


@pytest.fixture
def labels(rng: np.random.Generator) -> tuple[list[np.ndarray], list[list[int]]]:
    maps = [rng.integers(0, C + 1, (int(rng.integers(0, 3)), 9, 8)) for _ in range(N)]
    return maps, [rng.integers(0, C + 1, int(rng.integers(0, 3))).tolist() for _ in range(N)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def sieved(activations: np.ndarray, bound: np.ndarray, step: int) -> list[Survivors]:
    """Survivors in batches of ``step`` images, the maps of images 40 to 69 all gone."""
    activations[40:70] = bound.min() - 1
    values = torch.from_numpy(activations)
    return [
        pack_maps(part.flatten(0, 1), part.amax((2, 3)), torch.from_numpy(bound), start, 1)
        for start in range(0, N, step)
        for part in [values[start : start + step]]
    ]


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("area", AREAS)
@pytest.mark.parametrize("step", [1, 13, 200])
def test_equals_naive(
    overlap: Overlap,
    area: Area,
    step: int,
    rng: np.random.Generator,
    labels: tuple[list[np.ndarray], list[list[int]]],
) -> None:
    maps, whole = labels
    activations = rng.standard_normal((N, U, 3, 5)).astype(np.float32)
    thresholds = np.array([0.5, 1, -0.2, 9], np.float32)  # the last unit is never on
    tops = rng.integers(0, N, (U, 2))
    tops[1] = -1
    survivors = sieved(activations, thresholds - np.float32(0.1), step)
    counts, masks = tally_layer(
        survivors,
        thresholds,
        GRID,
        lambda first, last: encode_labels(maps[first:last], whole[first:last], (9, 8)),
        N,
        VOCABULARY,
        overlap=overlap,
        area=area,
        top_images=tops,
        threads=1 + step % 2,
    )
    category = VOCABULARY.primary.astype(np.int32)
    expected = naive.tally(
        activations, thresholds, tables(GRID), maps, whole, category, 2, once=overlap == "once", area=area
    )
    for name, value in zip(("intersection", "unit_area", "unit_area_all"), expected, strict=True):
        np.testing.assert_array_equal(getattr(counts, name), value)
    concept_area, concept_images = naive.count_concepts(maps, whole, C, once=overlap == "once")
    np.testing.assert_array_equal(counts.concept_area, concept_area)
    np.testing.assert_array_equal(counts.concept_images, concept_images)
    for u in range(U):
        for t in range(2):
            mask = np.unpackbits(masks[u, t], axis=1, count=8).astype(bool)
            up = grid_naive.upsample(activations[tops[u, t], u], *tables(GRID))
            np.testing.assert_array_equal(mask, (up > thresholds[u]) & (tops[u, t] >= 0))


def test_blocks_lose_nothing(rng: np.random.Generator) -> None:
    activations = rng.standard_normal((N, U, 3, 5)).astype(np.float32)
    survivors = sieved(activations, np.ones(U, np.float32), 7)
    edges = [0, 5, 5, 45, 60, N]
    blocks = list(blocks_of(survivors, edges))
    assert len(blocks) == len(edges) - 1
    assert blocks[1] is None
    assert blocks[3] is None  # images 45 to 59 are all off
    found = [(int(i), int(u)) for b in blocks if b for i, u in zip(b.image, b.unit, strict=True)]
    assert found == [(int(i), int(u)) for s in survivors for i, u in zip(s.image, s.unit, strict=True)]
