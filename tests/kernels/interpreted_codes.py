"""Codes without limit, in Triton's interpreter: more of them than one pass counts, and of either type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from triton.runtime.errors import InterpreterError

from kernels import cases
from kernels.test_tally import KNOBS, make_case
from ndkernels import _triton
from ndkernels.grid import make_grid
from ndkernels.labels import encode_labels
from ndkernels.tally import UnitCounts, gpu, list_maps, tally_units


@pytest.mark.parametrize(("once", "area"), [KNOBS[1], KNOBS[3]])
def test_more_codes_than_bins(once: bool, area: str) -> None:
    """Every pixel has its own: 560 codes are counted in three passes, the last one not full."""
    rng = np.random.default_rng(7)
    case = make_case(make_grid("half-pixel", maps=(3, 4), labels=(20, 28)), "normal", rng, images=2, units=2)
    case.thresholds[:] = 0
    bits = np.arange(560).reshape(20, 28)
    case.maps = [np.stack([(bits >> k & 1) * (k % 9 + 1) for k in range(10)]), rng.integers(0, 10, (1, 20, 28))]
    assert 2 * gpu.MANY_BINS < 560
    expected = case.expected(once, area)
    assert expected[0].all(axis=1).any()
    cases.assert_identical(case.found(once, area), expected)


def test_a_grid_of_more_pixels_than_16_bits_can_number() -> None:
    rng = np.random.default_rng(8)
    case = make_case(make_grid("half-pixel", maps=(2, 2), labels=(3, 22000)), "normal", rng, images=1, units=1, block=1)
    case.thresholds[:] = case.activations.min()
    case.maps = [rng.integers(0, 10, (2, 3, 22000))]
    assert encode_labels(case.maps, case.whole, (3, 22000)).codes.dtype == torch.int32
    cases.assert_identical(case.found(False, "category"), case.expected(False, "category"))


@pytest.mark.parametrize("categories", [1, 33, 300])
def test_many_categories(categories: int) -> None:
    rng = np.random.default_rng(9)
    case = make_case(make_grid("half-pixel", maps=(3, 3), labels=(9, 9)), "normal", rng, concepts=90)
    case.category = rng.integers(-1, categories, 90).astype(np.int32)
    case.categories = categories
    for area in ("category", "touched"):
        cases.assert_identical(case.found(False, area), case.expected(False, area))


@pytest.mark.parametrize("category", [-1, 0, 31, 32, 255, 299])
def test_one_category_of_300(category: int) -> None:
    grid = make_grid("half-pixel", maps=(2, 2), labels=(3, 3))
    case = make_case(grid, "normal", np.random.default_rng(9), images=1, units=1, concepts=1, categories=300)
    case.thresholds[:], case.category[:] = -9, category
    case.maps, case.whole = [np.ones((1, 3, 3), np.int32)], [[]]
    expected = case.expected(False, "touched")
    assert expected[1].sum() == (0 if category < 0 else 9)
    cases.assert_identical(case.found(False, "touched"), expected)


def test_counts_of_more_than_2_to_the_31_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places in the counts are 64-bit: told of more concepts than there are, a kernel misses them, not the sign."""
    plain = _triton.launch

    def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **rest: Any) -> None:
        *others, concepts, categories = arguments
        assert concepts == 9
        plain(kernel, grid, *others, 100_000, categories, **rest)

    monkeypatch.setattr(_triton, "launch", launch)
    grid = make_grid("half-pixel", maps=(2, 2), labels=(3, 3))
    counts, unit = UnitCounts.zeros(30_001, 9, 1), torch.tensor([30_000], dtype=torch.int32)
    block = encode_labels([np.ones((1, 3, 3), np.int32)], [[]], (3, 3))
    with pytest.raises(InterpreterError, match="addresses lie outside every argument"):
        tally_units(
            torch.ones(1, 2, 2), unit, torch.zeros_like(unit), torch.zeros(30_001), grid, block,
            torch.zeros(9, dtype=torch.int32), counts,
        )  # fmt: skip


def test_a_concept_on_255_maps() -> None:
    case = make_case(make_grid("half-pixel", maps=(2, 2), labels=(3, 3)), "normal", np.random.default_rng(1), images=1)
    case.thresholds[:] = -9
    case.maps, case.whole = [np.full((255, 3, 3), 9)], [[9] * 255]
    for once, area in KNOBS[::3]:
        cases.assert_identical(case.found(once, area), case.expected(once, area))


def test_units_far_apart() -> None:
    """A list of maps of a few of very many units, as of a sparse autoencoder."""
    rng = np.random.default_rng(3)
    grid, labels = make_grid("half-pixel", maps=(3, 3), labels=(5, 7)), rng.integers(0, 6, (2, 1, 5, 7))
    maps, _, _ = list_maps(torch.from_numpy(cases.activations("normal", (2, 3, 3, 3), rng)))
    unit = torch.tensor([0, 40_000, 65_535, 7, 40_000, 65_534], dtype=torch.int32)
    image = torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.int32)
    counts = UnitCounts.zeros(65_536, 5, 1)
    block = encode_labels(list(labels), [[], []], (5, 7))
    tally_units(maps, unit, image, torch.zeros(65_536), grid, block, torch.zeros(5, dtype=torch.int32), counts)
    for u in unit.unique().tolist():
        expected = make_case(grid, "normal", rng, images=2, units=1, concepts=5, categories=1)
        expected.activations = np.full((2, 1, 3, 3), -1, np.float32)
        for a in (unit == u).nonzero()[:, 0].tolist():
            expected.activations[image[a], 0] = maps[a]
        expected.thresholds[:], expected.category[:] = 0, 0
        expected.maps, expected.whole = list(labels), [[], []]
        found = (counts.intersection[u : u + 1], counts.unit_area[u : u + 1], counts.unit_area_all[u : u + 1])
        cases.assert_identical(found, expected.expected(False, "category"))
    assert counts.unit_area_all.count_nonzero() <= 5
