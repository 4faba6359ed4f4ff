"""The PTX that Triton compiles for sm_80, run on an emulator: values, bounds, shared memory and barriers."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed on this system")

from benchmarks.gpu_compile import launching
from kernels import cases
from kernels.as_gpu import gpu_kernels
from kernels.emulator import SCHEDULES, Emulated
from kernels.test_sieve import fields_of
from kernels.test_tally import KNOBS, Case, make_case
from ndkernels.grid import make_grid, mask_maps, tables
from ndkernels.grid import naive as grid_naive
from ndkernels.sieve import (
    NonFiniteError,
    Sieve,
    compact_survivors,
    cpu,
    expand_survivors,
    gpu,
    join_survivors,
    naive,
    select_thresholds,
)

BARRIER = re.compile(r"^\s*bar\.(?:warp\.)?sync[^\n]*\n", re.MULTILINE)


def run(emulated: Emulated, check: Callable[[], None]) -> None:
    """Carry out a check with every launch emulated."""
    with launching(emulated), gpu_kernels():
        check()


def labelled(maps: tuple[int, int], labels: tuple[int, int], codes: int, **more: int) -> Case:
    """A case in which about half of the pixels are on, under many codes of which each has two concepts."""
    rng = np.random.default_rng(5)
    case = make_case(make_grid("half-pixel", maps=maps, labels=labels), "normal", rng, **more)
    case.thresholds[:] = 0
    low, high = rng.integers(0, codes, (2, len(case.maps), *labels))
    case.maps = [np.stack([a % 10, b % 10 // 2]) for a, b in zip(low, high, strict=True)]
    assert (case.expected(False, "touched")[0] > 0).sum() > 4
    return case


def check_tally(case: Case, once: bool, area: str) -> None:
    cases.assert_identical(case.found(once, area), case.expected(once, area))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    ("maps", "labels", "images"),
    [((7, 7), (20, 31), 2), ((1, 1), (3, 5), 3), ((14, 14), (13, 13), 2), ((6, 9), (3, 140), 1)],
    ids=str,
)
@pytest.mark.slow
def test_tally(maps: tuple[int, int], labels: tuple[int, int], images: int, schedule: str) -> None:
    """Up- and downsampling, one cell, and more columns than one pass takes."""
    for once, area in KNOBS[1:4:2] if schedule != "lanes" else KNOBS[1:2]:
        emulated = Emulated(schedule, seed=3)
        run(emulated, lambda o=once, a=area: check_tally(labelled(maps, labels, 10, images=images, units=2), o, a))  # type: ignore[misc]
        assert emulated.names == ["tally_kernel"]


@pytest.mark.parametrize("schedule", SCHEDULES[:2])
def test_tally_of_more_codes_than_bins(schedule: str) -> None:
    case = labelled((3, 4), (20, 28), 10, images=1, units=2)
    case.maps = [np.stack([(np.arange(560).reshape(20, 28) >> k & 1) * (k % 9 + 1) for k in range(10)])]
    run(Emulated(schedule), lambda: check_tally(case, False, "touched"))


@pytest.mark.parametrize("temper", ["tiny", "any", "steps"])
def test_rounding(temper: str) -> None:
    """Denormal numbers, every magnitude beside every other, and values exactly at the threshold."""
    case = make_case(make_grid("half-pixel", maps=(5, 6), labels=(9, 31)), temper, np.random.default_rng(2))
    expected = case.expected(False, "category")
    assert expected[0].any()
    run(Emulated(), lambda: check_tally(case, False, "category"))


def moving() -> Case:
    """A case in which one rounding more or less moves pixels: thresholds are interpolated values themselves."""
    rng = np.random.default_rng(4)
    case = labelled((5, 6), (9, 31), 10, images=2, units=6)
    case.activations = rng.standard_normal(case.activations.shape).astype(np.float32)
    for u in range(6):
        up = grid_naive.upsample(case.activations[0, u], *tables(case.grid))
        case.thresholds[u] = up[4, 3 + 4 * u]
    return case


def test_fusion_moves_pixels() -> None:
    run(Emulated(), lambda: check_tally(moving(), False, "category"))
    with pytest.raises(AssertionError):
        run(Emulated(enable_fp_fusion=True), lambda: check_tally(moving(), False, "category"))


def check_sieve() -> None:
    """A stream of five images, from the first batch to thresholds and masks; with negative and positive units."""
    rng = np.random.default_rng(3)
    tempers = [cases.activations(temper, (5, 1, 6, 9), rng) for temper in ("normal", "negative", "steps")]
    activations = np.concatenate([*tempers, 1 - tempers[1]], axis=1)
    units = activations.shape[1]
    sieve = Sieve(units, 10)
    blocks = [sieve.add(torch.from_numpy(activations[i : i + 2]), i)[0] for i in (0, 2, 4)]
    thresholds = select_thresholds(lambda: blocks, sieve.bound, 10)
    cases.assert_identical([thresholds], [naive.thresholds(activations, 10)])
    least = join_survivors([compact_survivors(block, thresholds) for block in blocks])
    assert 0 < len(least.values) < activations.size / 2
    cases.assert_identical(fields_of(least), naive.survivors(activations, thresholds.numpy()))
    maps = expand_survivors(least, thresholds).numpy()
    for a, (n, u) in enumerate(zip(least.image.tolist(), least.unit.tolist(), strict=True)):
        expected = activations[n, u].copy()
        expected[~naive.needed_cells(expected, thresholds[u].numpy())] = thresholds[u]
        np.testing.assert_array_equal(maps[a], expected)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_sieve(schedule: str) -> None:
    emulated = Emulated(schedule, seed=1)
    run(emulated, check_sieve)
    names = {"count_kernel", "find_kernel", "mark_kernel", "copy_kernel", "level_kernel", "expand_kernel"}
    assert names <= {*emulated.names}


def test_what_is_not_finite_is_found() -> None:
    activations = torch.zeros(2, 3, 5, 5)
    activations[1, 2, 4, 4] = torch.inf

    def check() -> None:
        with pytest.raises(NonFiniteError, match="activation inf in image 1, unit 2"):
            Sieve(3, 2).add(activations, 0)

    run(Emulated(), check)


def check_masks() -> None:
    activations = cases.activations("normal", (2, 5, 6), np.random.default_rng(0))
    for labels in ((4, 100), (7, 135)):
        grid, limits = make_grid("align-corners", maps=(5, 6), labels=labels), np.zeros(2, np.float32)
        found = mask_maps(torch.from_numpy(activations), torch.from_numpy(limits), grid)
        cases.assert_identical([found], [grid_naive.mask_maps(activations, limits, *tables(grid))])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_masks(schedule: str) -> None:
    run(Emulated(schedule), check_masks)


def check_marks() -> None:
    activations = cases.activations("normal", (3, 9, 13), np.random.default_rng(0))
    pick, limit = torch.arange(3), torch.ones(3)
    found = gpu.gather_maps(torch.from_numpy(activations), pick, limit)
    cases.assert_identical(found, cpu.gather_maps(activations, pick.numpy(), limit.numpy(), 1))


def check_bins() -> None:
    histogram = np.random.default_rng(1).integers(0, 3, (3, 2048))
    rank, lowest = np.array([1, 700, 1500]), np.array([0, 5, 9], np.int32)
    found, left = gpu.find_bins(*(torch.from_numpy(array) for array in (histogram, rank, lowest)))
    for u in range(3):
        reached = np.cumsum(histogram[u, ::-1])[::-1]
        expected = np.flatnonzero((reached >= rank[u]) & (np.arange(2048) >= lowest[u])).max()
        assert found[u] == expected
        assert left[u] == rank[u] - histogram[u, expected + 1 :].sum()


def check_narrow_labels() -> None:
    check_tally(labelled((3, 3), (6, 31), 10, images=1, units=1), False, "touched")


def check_wide_labels() -> None:
    check_tally(labelled((3, 3), (4, 100), 6, images=1, units=1), False, "touched")


# For each kernel with barriers: a check that runs it, how many it has, and those whose absence can't show, because all
# lanes meet in a reduction between the last use of shared memory before them and the first one behind them.
BARRIERS = {
    "tally_kernel, 32 columns": (check_narrow_labels, 3, {1}),
    "tally_kernel, 128 columns": (check_wide_labels, 13, {1, 3, 5}),
    "mark_kernel": (check_marks, 1, set()),
    "find_kernel": (check_bins, 5, set()),
}


def without_barrier(kernel: str, number: int) -> Callable[[str, str], str]:
    """PTX of one kernel with one of its barriers deleted."""

    def edit(name: str, ptx: str) -> str:
        if name != kernel:
            return ptx
        barrier = list(BARRIER.finditer(ptx))[number]
        return ptx[: barrier.start()] + ptx[barrier.end() :]

    return edit


@pytest.mark.slow
@pytest.mark.parametrize("place", BARRIERS)
def test_every_barrier_is_needed(place: str) -> None:
    check, count, redundant = BARRIERS[place]
    kernel = place.split(",")[0]
    found: list[int] = []

    def count_barriers(name: str, ptx: str) -> str:
        if name == kernel:
            found.append(len(BARRIER.findall(ptx)))
        return ptx

    run(Emulated("lanes", edit=count_barriers), check)
    assert {*found} == {count}
    for number in sorted({*range(count)} - redundant):
        shown = False
        for seed in range(8):
            try:
                run(Emulated("lanes", seed=seed, edit=without_barrier(kernel, number)), check)
            except Exception:  # a wrong count, or what the emulator says of memory that nobody has written
                shown = True
                break
        assert shown, f"barrier {number} of {kernel} can be deleted unnoticed"
