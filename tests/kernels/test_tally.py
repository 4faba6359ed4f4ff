"""The tally against its definition, integer for integer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from kernels import cases
from ndkernels.grid import Grid, make_grid, tables
from ndkernels.labels import encode_labels
from ndkernels.tally import AREAS, UnitCounts, list_maps, naive, tally_units

KNOBS = [(once, area) for once in (False, True) for area in AREAS]


@dataclass
class Case:
    """What a tally is given."""

    activations: NDArray[np.float32]  # [N, U, h, w]
    thresholds: NDArray[np.float32]  # [U]
    grid: Grid
    maps: Sequence[NDArray[Any]]
    whole: Sequence[Sequence[int]]
    category: NDArray[np.int32]  # [C]
    categories: int

    def expected(self, once: bool, area: str) -> tuple[NDArray[np.int64], ...]:
        return naive.tally(
            self.activations, self.thresholds, tables(self.grid), self.maps, self.whole, self.category,
            self.categories, once=once, area=area,
        )  # fmt: skip

    def found(
        self, once: bool, area: Any, threads: int = 1, pick: Tensor | None = None, device: str = "cpu"
    ) -> tuple[Tensor, ...]:
        shape = len(self.grid.rows.lower), len(self.grid.columns.lower)
        maps, unit, image = list_maps(torch.from_numpy(self.activations))
        if pick is not None:
            maps, unit, image = maps[pick], unit[pick], image[pick]
        counts = UnitCounts.zeros(self.activations.shape[1], len(self.category), self.categories, device)
        tally_units(
            maps.to(device), unit.to(device), image.to(device), torch.from_numpy(self.thresholds).to(device), self.grid,
            encode_labels(self.maps, self.whole, shape).to(device), torch.from_numpy(self.category).to(device), counts,
            once=once, area=area, threads=threads,
        )  # fmt: skip
        return counts.intersection.cpu(), counts.unit_area.cpu(), counts.unit_area_all.cpu()


def make_case(
    grid: Grid,
    temper: str,
    rng: np.random.Generator,
    *,
    images: int = 3,
    units: int = 4,
    concepts: int = 9,
    categories: int = 3,
    block: int = 1,
) -> Case:
    shape = len(grid.rows.lower), len(grid.columns.lower)
    activations = cases.activations(temper, (images, units, grid.rows.samples, grid.columns.samples), rng)
    maps, whole = cases.images_of_labels(images, shape, concepts, rng, block=block)
    return Case(
        activations,
        cases.thresholds(activations.swapaxes(0, 1).reshape(units, -1), rng),
        grid,
        maps,
        whole,
        rng.integers(-1, categories, concepts).astype(np.int32),
        categories,
    )


@settings(cases.SETTINGS, max_examples=cases.examples(150))
@given(data=st.data(), seed=cases.seeds)
def test_all_modes(data: st.DataObject, seed: int) -> None:
    grid = data.draw(cases.grids(data.draw(st.sampled_from(cases.MAPS)), data.draw(st.sampled_from(cases.LABELS))))
    case = make_case(
        grid,
        data.draw(st.sampled_from(cases.TEMPERS)),
        np.random.default_rng(seed),
        images=data.draw(st.integers(1, 4)),
        categories=data.draw(st.integers(0, 3)),
        block=data.draw(st.sampled_from([1, 3])),
    )
    threads = data.draw(st.integers(1, 3))
    for once, area in cases.some(KNOBS, seed):
        cases.assert_identical(case.found(once, area, threads), case.expected(once, area))


@pytest.mark.parametrize("labels", cases.LARGE_LABELS, ids=str)
@pytest.mark.parametrize("maps", cases.LARGE_MAPS, ids=str)
def test_large_shapes(maps: tuple[int, int], labels: tuple[int, int]) -> None:
    rng = np.random.default_rng(maps[0] * labels[1])
    grid = make_grid("half-pixel", maps=maps, labels=labels)
    case = make_case(grid, "steps", rng, images=2, units=3, concepts=12, block=7)
    for threads, (once, area) in enumerate(cases.some(KNOBS[::2], maps[0] + labels[1]), 1):
        expected = case.expected(once, area)
        assert expected[2].any()
        cases.assert_identical(case.found(once, area, threads), expected)


@pytest.mark.parametrize("once", [False, True])
def test_hundreds_of_concepts_in_an_image(once: bool) -> None:
    rng = np.random.default_rng(6)
    grid = make_grid("align-corners", maps=(13, 13), labels=(112, 112))
    case = make_case(grid, "normal", rng, images=2, units=2, concepts=1200, categories=6, block=5)
    squares = rng.integers(1, 1201, (2, 2, 23, 23))
    case.maps = [m.repeat(5, axis=1).repeat(5, axis=2)[:, :112, :112] for m in squares]
    case.whole = [rng.integers(0, 1201, 60).tolist(), []]
    assert all(len(np.unique(stack)) > 400 for stack in case.maps)
    cases.assert_identical(case.found(once, "touched", 2), case.expected(once, "touched"))


@pytest.mark.parametrize("width", [256, 257], ids=["uint16 codes", "int32 codes"])
def test_every_pixel_has_its_own_code(width: int) -> None:
    rng = np.random.default_rng(7)
    grid = make_grid("half-pixel", maps=(14, 14), labels=(256, width))
    case = make_case(grid, "normal", rng, images=2, units=3)
    case.thresholds = np.array([0, 1, -1], np.float32)
    bits = np.arange(256 * width).reshape(256, width)  # 17 maps spell each pixel's number in concepts 1 to 9 and 0
    case.maps = [np.stack([(bits >> k & 1) * (k % 9 + 1) for k in range(17)]) for _ in range(2)]
    for once, area in KNOBS:
        cases.assert_identical(case.found(once, area, 2), case.expected(once, area))


@settings(cases.SETTINGS, max_examples=cases.examples(20))
@given(cases.seeds, st.sampled_from(cases.TEMPERS))
def test_threads_and_inactive_maps_do_not_matter(seed: int, temper: str) -> None:
    grid = make_grid("half-pixel", maps=(7, 7), labels=(20, 31))
    case = make_case(grid, temper, np.random.default_rng(seed), images=4, units=7)
    active = (case.activations.max((2, 3)) > case.thresholds).ravel()
    expected = case.found(False, "touched")
    for threads in (1, 2, 3, 8):
        cases.assert_identical(case.found(False, "touched", threads), expected)
        cases.assert_identical(case.found(False, "touched", threads, torch.from_numpy(active.nonzero()[0])), expected)


@pytest.mark.parametrize("temper", ["relu", "zeros", "negative", "dead"])
def test_a_threshold_of_zero(temper: str) -> None:
    """As of a unit that rarely fires; neither zero is above it, nor what lies between two of them."""
    grid = make_grid("align-corners", maps=(6, 9), labels=(20, 31))
    case = make_case(grid, temper, np.random.default_rng(9))
    for zero in (0.0, -0.0):
        case.thresholds = np.full(4, zero, np.float32)
        for once, area in cases.some(KNOBS, len(temper)):
            expected = case.expected(once, area)
            cases.assert_identical(case.found(once, area), expected)
            assert expected[2].any() == (temper != "negative")


def by_hand() -> Case:
    """One unit, on in the left half of 2×4 pixels; concept 1 on two maps, 2 on a map and whole, 3 right, 4 and 5 whole.

    Concepts 1 and 3 are of category 0, 2 and 4 of category 1, 5 has none, 6 is of category 2 and nowhere.
    """
    first = np.array([[1, 1, 0, 3], [1, 2, 0, 3]])
    second = np.array([[1, 0, 0, 3], [0, 2, 1, 0]])
    return Case(
        np.array([[[[1, 1, 0, 0]]]], np.float32),
        np.zeros(1, np.float32),
        make_grid("half-pixel", maps=(1, 4), labels=(2, 4)),
        [np.stack([first, second])],
        [[2, 4, 4, 5, 0]],
        np.array([0, 1, 0, 1, -1, 2], np.int32),
        3,
    )


TWICE, ONCE = [4, 4 + 2, 0, 8, 4, 0], [3, 4, 0, 4, 4, 0]


@pytest.mark.parametrize("area", AREAS)
@pytest.mark.parametrize(("once", "intersection"), [(False, TWICE), (True, ONCE)])
def test_counts_by_hand(once: bool, intersection: list[int], area: str) -> None:
    case = by_hand()
    for counts in (case.expected(once, area), case.found(once, area)):
        assert counts[0].tolist() == [intersection]
        assert counts[1].tolist() == [[4, 4, 4 if area == "all" else 0]]
        assert counts[2].tolist() == [4]


def test_touched_is_less_than_carried() -> None:
    case = by_hand()
    case.maps, case.whole = [np.array([[[0, 0, 0, 3], [0, 0, 0, 0]]])], [[]]
    for once in (False, True):
        for area, expected in (("category", [4, 0, 0]), ("touched", [0, 0, 0]), ("all", [4, 4, 4])):
            assert case.expected(once, area)[1].tolist() == [expected]
            assert case.found(once, area)[1].tolist() == [expected]


def test_whole_labels_belong_to_their_image_alone() -> None:
    """What covers one image must not cover the next, nor be forgotten when units alternate."""
    rng = np.random.default_rng(11)
    grid = make_grid("half-pixel", maps=(7, 7), labels=(13, 13))
    case = make_case(grid, "normal", rng, images=4, units=5, concepts=3)
    case.thresholds[:] = 0
    case.maps = [cases.label_maps(3, (13, 13), 3, rng) for _ in range(4)]
    case.whole = [[1, 1, 2], [], [2, 3, 2], [3]]
    for threads in (1, 2, 3):
        for once, area in cases.some(KNOBS, threads):
            cases.assert_identical(case.found(once, area, threads), case.expected(once, area))


def test_no_labels_no_maps_no_images() -> None:
    grid = make_grid("half-pixel", maps=(7, 7), labels=(13, 13))
    case = make_case(grid, "normal", np.random.default_rng(0))
    case.thresholds[:] = 0
    case.maps, case.whole = [stack[:0] for stack in case.maps], [[0], [], [0, 0]]
    intersection, unit_area, unit_area_all = case.found(False, "category")
    assert not intersection.any()
    assert not unit_area.any()
    assert (unit_area_all > 0).all()
    for once, area in KNOBS:
        cases.assert_identical(case.found(once, area), case.expected(once, area))
        assert not any(t.any() for t in case.found(once, area, 2, torch.zeros(0, dtype=torch.int64)))
    case.activations, case.maps, case.whole = case.activations[:0], [], []
    assert [tuple(t.shape) for t in case.found(True, "all", 2)] == [(4, 9), (4, 3), (4,)]


def test_counts_are_added_to() -> None:
    """Block by block, into counts that are strided: the sum is that of one call."""
    case = make_case(make_grid("half-pixel", maps=(7, 7), labels=(20, 31)), "normal", np.random.default_rng(2))
    counts = UnitCounts(
        torch.zeros((9, 4), dtype=torch.int64).T,
        torch.zeros((3, 4), dtype=torch.int64).T,
        torch.zeros(8, dtype=torch.int64)[::2],
    )
    assert not counts.intersection.is_contiguous()
    for n in range(3):
        maps, unit, image = list_maps(torch.from_numpy(case.activations[n : n + 1]))
        tally_units(
            maps, unit, image, torch.from_numpy(case.thresholds), case.grid,
            encode_labels(case.maps[n : n + 1], case.whole[n : n + 1], (20, 31)), torch.from_numpy(case.category),
            counts,
        )  # fmt: skip
    expected = case.expected(False, "category")
    assert expected[0].any()
    cases.assert_identical([counts.intersection, counts.unit_area, counts.unit_area_all], expected)


def test_strided_tensors() -> None:
    case = make_case(make_grid("half-pixel", maps=(7, 7), labels=(20, 31)), "steps", np.random.default_rng(3))
    maps, unit, image = (cases.strided(t.numpy()) for t in list_maps(torch.from_numpy(case.activations)))
    counts = UnitCounts.zeros(4, 9, 3)
    tally_units(
        maps, unit, image, cases.strided(case.thresholds), case.grid,
        encode_labels(case.maps, case.whole, (20, 31)), cases.strided(case.category), counts,
    )  # fmt: skip
    expected = case.expected(False, "category")
    assert expected[0].any()
    cases.assert_identical([counts.intersection, counts.unit_area, counts.unit_area_all], expected)


@pytest.mark.parametrize("maps", [(1, 1), (3, 5), (6, 9), (2, 40)], ids=str)
def test_what_lies_around_a_map_does_not_matter(maps: tuple[int, int]) -> None:
    """Vectors are read past the end of a row: into the next row, the next map, or what was put behind the last."""
    rng = np.random.default_rng(5)
    grid = make_grid("half-pixel", maps=maps, labels=(20, 31))
    case = make_case(grid, "normal", rng, images=3, units=3)
    loud = np.array([False, True, False, True, False, True, False, True, False]).reshape(3, 3)
    case.activations[loud] = 2.0**126
    case.thresholds[:] = 0
    expected = case.expected(False, "category")
    assert expected[2].any()
    cases.assert_identical(case.found(False, "category"), expected)
    cases.assert_identical(
        case.found(False, "category", pick=torch.from_numpy((~loud).ravel().nonzero()[0])),
        Case(np.where(loud[..., None, None], -1, case.activations).astype(np.float32), *list(vars(case).values())[1:])
        .expected(False, "category"),
    )  # fmt: skip


def test_more_pixels_of_one_code_than_counters_hold() -> None:
    grid = make_grid("half-pixel", maps=(2, 2), labels=(600, 900))
    case = make_case(grid, "normal", np.random.default_rng(8), images=1, units=2)
    case.maps, case.whole = [np.full((1, 600, 900), 3)], [[]]
    case.activations[:], case.thresholds[:] = 1, (0, 2)
    found = case.found(False, "all")
    assert found[0][0, 2] == 600 * 900
    cases.assert_identical(found, case.expected(False, "all"))


def test_nothing_beyond_the_arrays_is_read() -> None:
    """Maps, labels and masks end where the process may not read on: it would be killed."""
    script = Path(__file__).with_name("guarded.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["equal"] * 4


def test_a_list_of_maps() -> None:
    activations = torch.arange(2 * 3 * 4.0).reshape(2, 3, 2, 2)
    maps, unit, image = list_maps(activations)
    assert (unit.dtype, image.dtype) == (torch.int32, torch.int32)
    for a in range(6):
        assert torch.equal(maps[a], activations[image[a], unit[a]])
    assert image.tolist() == [0, 0, 0, 1, 1, 1]


def arguments() -> dict[str, Any]:
    """Of a tally that is right: 2 images, 3 units, 4 concepts, 2 categories."""
    maps, unit, image = list_maps(torch.zeros(2, 3, 7, 7))
    return {
        "maps": maps,
        "unit": unit,
        "image": image,
        "thresholds": torch.zeros(3),
        "grid": make_grid("half-pixel", maps=(7, 7), labels=(5, 6)),
        "labels": encode_labels([np.full((1, 5, 6), 4)] * 2, [[], []], (5, 6)),
        "category": torch.tensor([0, 1, -1, 0], dtype=torch.int32),
        "counts": UnitCounts.zeros(3, 4, 2),
    }


def replaced(name: str, value: Any) -> UnitCounts:
    return UnitCounts(**{**vars(UnitCounts.zeros(3, 4, 2)), name: value})


INT32, INT64 = {"dtype": torch.int32}, {"dtype": torch.int64}
WRONG = [
    ("maps", torch.zeros(6, 7, 8), r"maps must be float32 \[A, 7, 7\], not torch.float32 \[6, 7, 8\]"),
    ("maps", torch.zeros(6, 7, 7).half(), r"maps must be float32 \[A, 7, 7\], not torch.float16"),
    ("unit", torch.zeros(5, **INT32), r"unit must be torch.int32 \[6\], not torch.int32 \[5\]"),
    ("unit", torch.zeros(6), "unit must hold integers, not torch.float32"),
    ("unit", torch.full((6,), 3, **INT32), "unit must lie between 0 and 2"),
    ("unit", torch.full((6,), -1, **INT32), "unit must lie between 0 and 2"),
    ("image", torch.zeros(7, **INT32), r"image must be torch.int32 \[6\], not torch.int32 \[7\]"),
    ("image", torch.full((6,), 2, **INT32), "image must lie between 0 and 1"),
    ("image", torch.full((6,), -1, **INT32), "image must lie between 0 and 1"),
    ("image", torch.tensor([0, 0, 1, 0, 1, 1], **INT32), "maps must be sorted by image"),
    ("thresholds", torch.zeros(4), r"thresholds must be torch.float32 \[3\], not torch.float32 \[4\]"),
    ("thresholds", torch.zeros(3).double(), r"thresholds must be torch.float32 \[3\], not torch.float64"),
    ("labels", encode_labels([np.ones((1, 6, 5), int)] * 2, [[], []], (6, 5)), r"labels are \(6, 5\), the grid is f"),
    ("labels", encode_labels([np.full((1, 5, 6), 5)] * 2, [[], []], (5, 6)), "the labels hold concept 5, above"),
    ("labels", encode_labels([np.ones((1, 5, 6), int)] * 2, [[5], []], (5, 6)), "the labels hold concept 5, above"),
    ("category", torch.zeros(5, **INT32), r"category must be torch.int32 \[4\], not torch.int32 \[5\]"),
    ("category", torch.full((4,), 2, **INT32), "category must lie between -1 and 1"),
    ("category", torch.full((4,), -2, **INT32), "category must lie between -1 and 1"),
    ("counts", replaced("intersection", torch.zeros(3, 4)), r"intersection must be torch.int64 \[3, 4\], not"),
    ("counts", replaced("unit_area", torch.zeros(2, 2, **INT64)), r"unit_area must be torch.int64 \[3, 2\], not"),
    ("counts", replaced("unit_area_all", torch.zeros(1, **INT64)), r"unit_area_all must be torch.int64 \[3\]"),
    ("area", "everything", "area must be one of category, touched, all, not 'everything'"),
    ("threads", 0, "threads must be at least 1, not 0"),
    ("threads", -2, "threads must be at least 1, not -2"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "message"), WRONG, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(WRONG)])
def test_what_does_not_fit_is_refused(name: str, value: Any, message: str) -> None:
    tally_units(**arguments())
    with pytest.raises(ValueError, match=message):
        tally_units(**{**arguments(), name: value})
