"""The sieve against its definition: thresholds, survivors and masks of streams of every temper."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from kernels import cases
from ndkernels.grid import make_grid, tables
from ndkernels.grid import naive as grid_naive
from ndkernels.sieve import (
    LARGEST_ACTIVATION,
    NonFiniteError,
    Sieve,
    Survivors,
    compact_survivors,
    count_batch,
    cpu,
    expand_survivors,
    gather_maps,
    join_survivors,
    naive,
    pack_maps,
    rank_above,
    select_thresholds,
    split_survivors,
    survivors_cpu,
)

QUANTILES = ("0.005", "0.05", "0.5", "0.95")


@dataclass
class Stream:
    """A sieve with a spool around it, as an engine drives it: blocks, compactions, crashes."""

    sieve: Sieve
    blocks: list[Survivors] = field(default_factory=list)
    images: int = 0
    committed: tuple[Tensor, list[Survivors], int] | None = None

    def add(self, batch: NDArray[np.float32]) -> None:
        before = self.sieve.bound.clone()
        survivors, maximum, minimum = self.sieve.add(torch.from_numpy(batch), self.images)
        np.testing.assert_array_equal(maximum, batch.max(axis=(2, 3)))
        np.testing.assert_array_equal(minimum, batch.min(axis=(2, 3)))
        assert (self.sieve.bound >= before).all()
        self.blocks.append(survivors)
        self.images += len(batch)

    def select(self) -> Tensor:
        return select_thresholds(lambda: self.blocks, self.sieve.bound, self.sieve.above, threads=self.sieve.threads)

    def compact(self) -> None:
        bound = torch.maximum(self.sieve.bound, self.select())
        self.sieve.bound = bound
        self.blocks = [compact_survivors(b, bound, threads=self.sieve.threads) for b in self.blocks]

    def commit(self) -> None:
        self.committed = self.sieve.bound.clone(), list(self.blocks), self.images

    def crash(self) -> None:
        """Lose what was not committed; the sieve starts again from the survivors alone."""
        if self.committed is None:
            self.committed = torch.full_like(self.sieve.bound, -torch.inf), [], 0
        bound, blocks, self.images = self.committed
        self.blocks = list(blocks)
        self.sieve = Sieve(len(bound), self.sieve.above, self.sieve.threads)
        self.sieve.restore(bound, self.blocks)


def fields_of(survivors: Survivors) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return survivors.image, survivors.unit, survivors.bitmap, survivors.values


@settings(cases.SETTINGS, max_examples=cases.examples(160))
@given(
    data=st.data(),
    seed=cases.seeds,
    images=st.integers(1, cases.fewer(30)),
    shape=st.sampled_from(cases.MAPS),
    temper=st.sampled_from(cases.TEMPERS),
    quantile=st.sampled_from(QUANTILES),
    threads=st.integers(1, 3),
)
def test_streams(
    data: st.DataObject, seed: int, images: int, shape: tuple[int, int], temper: str, quantile: str, threads: int
) -> None:
    rng = np.random.default_rng(seed)
    activations = cases.activations(temper, (images, 4, *shape), rng)
    above = rank_above(quantile, images * shape[0] * shape[1])
    expected = naive.thresholds(activations, above)
    stream = Stream(Sieve(4, above, threads))
    crashes = 0
    while stream.images < images:
        first = stream.images
        stream.add(activations[first : first + data.draw(st.integers(1, 8))])
        assert (stream.sieve.bound.numpy() <= expected).all()
        events = data.draw(st.sets(st.sampled_from(["compact", "commit", "crash"])))
        if "compact" in events:
            stream.compact()
            assert (stream.sieve.bound.numpy() <= expected).all()
        if "commit" in events:
            stream.commit()
        if "crash" in events and crashes < 3:
            stream.crash()
            crashes += 1
    found = stream.select()
    cases.assert_identical([found], [expected])
    # Raw survivors give the masks of the dense maps, whatever absent cells read as up to the threshold.
    grid = data.draw(cases.grids(shape, data.draw(st.sampled_from(cases.LABELS))))
    fill = data.draw(st.sampled_from([found, stream.sieve.bound.clone()]))
    check_survivor_masks(activations, expected, stream.blocks, fill, tables(grid))
    # Compacted with the thresholds they are the least that is needed.
    least = [compact_survivors(b, found, threads=threads) for b in stream.blocks]
    cases.assert_identical(fields_of(join_survivors(least)), naive.survivors(activations, expected))
    check_survivor_masks(activations, expected, least, found, tables(grid))


def check_survivor_masks(
    activations: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    blocks: list[Survivors],
    fill: Tensor,
    grid: tuple[NDArray[np.int32], ...],
) -> None:
    images, units, h, w = activations.shape
    flat = activations.reshape(images * units, h, w)
    dense = grid_naive.mask_maps(flat, np.tile(thresholds, images), *grid)
    dense = dense.reshape(images, units, *dense.shape[1:])
    survivors = join_survivors(blocks)
    maps = expand_survivors(survivors, fill).numpy()
    image, unit = survivors.image.numpy(), survivors.unit.numpy()
    sparse = np.zeros_like(dense)
    sparse[image, unit] = grid_naive.mask_maps(maps, thresholds[unit], *grid)
    np.testing.assert_array_equal(sparse, dense)


@pytest.mark.parametrize("geometry", cases.GEOMETRIES)
@pytest.mark.parametrize("temper", ["normal", "relu", "steps", "negative", "zeros"])
def test_masks_of_survivors(geometry: str, temper: str) -> None:
    """A real quantile, and both of up- and downsampling: some masks are on, and most cells are gone."""
    activations = cases.activations(temper, (40, 3, 13, 13), np.random.default_rng(8))
    above = rank_above("0.02", 40 * 169)
    stream = Stream(Sieve(3, above))
    for first in range(0, 40, 9):
        stream.add(activations[first : first + 9])
    found = stream.select()
    stream.compact()
    assert sum(len(b.values) for b in stream.blocks) < activations.size / 2
    for labels in ((28, 31), (5, 9)):
        grid = make_grid(
            geometry,  # type: ignore[arg-type]
            maps=(13, 13),
            labels=labels,
            inputs=(227, 227),
            field=(cases.Field(-64, 163, 16), cases.Field(-64, 163, 40)),
        )
        check_survivor_masks(activations, found.numpy(), stream.blocks, found, tables(grid))


@settings(cases.SETTINGS, max_examples=cases.examples(40))
@given(cases.seeds, st.sampled_from(cases.TEMPERS), st.integers(1, 9))
def test_the_order_of_batches_does_not_matter(seed: int, temper: str, batch: int) -> None:
    rng = np.random.default_rng(seed)
    activations = cases.activations(temper, (25, 3, 6, 9), rng)
    above = rank_above("0.05", 25 * 54)
    results = []
    for order in (np.arange(25), rng.permutation(25)):
        stream = Stream(Sieve(3, above))
        for first in range(0, 25, batch):
            stream.add(activations[order[first : first + batch]])
        results.append(stream.select())
    cases.assert_identical(results[:1], results[1:])
    cases.assert_identical(results[:1], [naive.thresholds(activations, above)])


def bin_edges(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The least value of each value's bin: floats that share their sign and their ten next bits."""
    bits = values.view(np.uint32)
    low = np.uint32(2**21 - 1)
    return np.where(bits >> 31, bits | low, bits & ~low).view(np.float32)


@settings(cases.SETTINGS, max_examples=cases.examples(80))
@given(cases.seeds, st.sampled_from(cases.TEMPERS), st.sampled_from([0, 1, 5, 60, 300]))
def test_the_bound_is_the_edge_below_the_best_value_so_far(seed: int, temper: str, above: int) -> None:
    activations = cases.activations(temper, (20, 3, 5, 6), np.random.default_rng(seed))
    stream = Stream(Sieve(3, above))
    for first in range(0, 20, 4):
        stream.add(activations[first : first + 4])
        seen = activations[: stream.images]
        if above >= seen[:, 0].size:
            assert torch.isinf(stream.sieve.bound).all()
            continue
        ranked = np.sort(seen.swapaxes(0, 1).reshape(3, -1), axis=1)[:, -1 - above]
        bound = stream.sieve.bound.numpy()
        # -0 and 0 are neighbours in the order, in different bins, and equal as thresholds.
        assert ((bound == bin_edges(ranked)) | ((ranked == 0) & (bound <= 0) & (bound > -1e-38))).all()


@settings(cases.SETTINGS, max_examples=cases.examples(40))
@given(cases.seeds, st.sampled_from(cases.TEMPERS), st.sampled_from([0, 1, 5, 60]), st.booleans())
def test_a_crash_costs_nothing_that_was_committed(seed: int, temper: str, above: int, compact: bool) -> None:
    """The bound goes on to rise as if nothing had happened, and the same cells survive."""
    activations = cases.activations(temper, (20, 3, 5, 6), np.random.default_rng(seed))
    steady, crashing = Stream(Sieve(3, above)), Stream(Sieve(3, above))
    for first in range(0, 20, 4):
        for stream in (steady, crashing):
            stream.add(activations[first : first + 4])
        cases.assert_identical([crashing.sieve.bound], [steady.sieve.bound])
        cases.assert_identical(fields_of(crashing.blocks[-1]), fields_of(steady.blocks[-1]))
        if compact and first == 8:
            steady.compact()
            crashing.compact()
        crashing.commit()
        crashing.crash()


@settings(cases.SETTINGS, max_examples=cases.examples(100))
@given(cases.seeds, st.sampled_from(cases.TEMPERS), st.sampled_from(cases.MAPS), st.integers(1, 3))
def test_survivors_of_a_batch(seed: int, temper: str, shape: tuple[int, int], threads: int) -> None:
    rng = np.random.default_rng(seed)
    activations = cases.activations(temper, (5, 3, *shape), rng)
    bound = cases.thresholds(activations.swapaxes(0, 1).reshape(3, -1), rng)
    dense = torch.from_numpy(activations)
    found = pack_maps(dense.flatten(0, 1), dense.amax((2, 3)), torch.from_numpy(bound), 100, threads)
    image, unit, bitmap, values = naive.survivors(activations, bound)
    cases.assert_identical(fields_of(found), (image + np.int32(100), unit, bitmap, values))
    assert found.nbytes == sum(part.nbytes for part in (image, unit, bitmap, values))
    maps = expand_survivors(found, torch.full((3,), torch.nan), threads=threads).numpy()
    for a, cells in enumerate(maps):
        expected = activations[image[a], unit[a]].copy()
        expected[~naive.needed_cells(expected, bound[unit[a]])] = np.nan
        np.testing.assert_array_equal(cells, expected)


@pytest.mark.parametrize("shape", [(55, 55), (112, 112), (1, 113)], ids=str)
def test_large_maps(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    activations = cases.activations("normal", (4, 5, *shape), rng)
    above = rank_above("0.005", 4 * shape[0] * shape[1])
    expected = naive.thresholds(activations, above)
    for threads in cases.some((1, 2, 3), 0):
        stream = Stream(Sieve(5, above, threads))
        for image in range(4):
            stream.add(activations[image : image + 1])
        stream.compact()
        cases.assert_identical([stream.sieve.bound], [expected])
        cases.assert_identical(fields_of(join_survivors(stream.blocks)), naive.survivors(activations, expected))


def test_threads_and_strides_do_not_matter() -> None:
    activations = cases.activations("steps", (6, 7, 7, 7), np.random.default_rng(4))
    bound = torch.linspace(-1, 1, 7)
    results = []
    for tensor in (torch.from_numpy(activations), torch.from_numpy(activations).to(memory_format=torch.channels_last)):
        for threads in (1, 2, 3, 9):
            histogram = torch.zeros((7, 2048), dtype=torch.int64)
            extrema = count_batch(tensor, bound, histogram, threads)
            flat = tensor.flatten(0, 1)
            packed = gather_maps(flat, torch.arange(0, 42, 5), torch.linspace(-2, 2, 9), threads)
            results.append([histogram, *extrema, *packed])
    for other in results[1:]:
        cases.assert_identical(other, results[0])
    values = activations.swapaxes(0, 1).reshape(7, -1)
    np.testing.assert_array_equal(results[0][0].sum(1), (values > bound.numpy()[:, None]).sum(axis=1))


def test_everything_is_written() -> None:
    """Poison goes in; none comes out."""
    activations = cases.activations("normal", (2, 3, 4, 5), np.random.default_rng(0))
    maximum, minimum = np.full((2, 2, 3), np.nan, np.float32)
    cpu.count_batch(activations, np.zeros(3, np.float32), np.zeros((3, 2048), np.int64), maximum, minimum, 2)
    np.testing.assert_array_equal([maximum, minimum], [activations.max((2, 3)), activations.min((2, 3))])
    bitmap, values = cpu.gather_maps(activations[0], np.arange(3), np.zeros(3, np.float32), 1)
    out = np.full((3, 4, 5), np.nan, np.float32)
    survivors_cpu.expand(bitmap, values, np.arange(3, dtype=np.int32), np.zeros(3, np.float32), out, 2)
    assert not np.isnan(out).any()


def test_survivors_by_hand() -> None:
    activation = np.zeros((1, 1, 4, 5), np.float32)
    activation[0, 0, 1, 0], activation[0, 0, 3, 4] = 3, 1
    image, unit, bitmap, values = naive.survivors(activation, np.array([0.5], np.float32))
    needed = np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 1, 1], [0, 0, 0, 1, 1]])
    assert (image.tolist(), unit.tolist()) == ([0], [0])
    assert bitmap.tolist() == [[0b01100011, 0b01101100, 0b00001100]]
    np.testing.assert_array_equal(np.unpackbits(bitmap[0], bitorder="little")[:20].reshape(4, 5), needed)
    assert values.tolist() == [0, 0, 3, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("constant", [0.37, -0.37, 0.0, -0.0, 2.0**-149, LARGEST_ACTIVATION])
def test_a_constant_unit_does_not_survive(constant: float) -> None:
    """Off the edges of the bins its values pass the bound as they stream by; a compaction ends that."""
    stream = Stream(Sieve(1, rank_above("0.05", 40 * 9)))
    batch = np.full((10, 1, 3, 3), constant, np.float32)
    stream.add(batch)
    stream.add(batch)
    assert (sum(map(len, stream.blocks)) == 20) == (constant != bin_edges(batch)[0, 0, 0, 0])
    stream.compact()
    stream.add(batch)
    stream.add(batch)
    assert sum(map(len, stream.blocks)) == 0
    assert stream.sieve.bound.item() == np.float32(constant)


def test_values_equal_to_the_bound_are_dropped_as_they_stream_by() -> None:
    stream = Stream(Sieve(1, 4))
    stream.add(np.full((2, 1, 3, 3), 0.5, np.float32))  # on a bin's edge
    assert stream.sieve.bound.item() == 0.5
    assert len(stream.blocks[0]) == 0
    assert stream.select().item() == 0.5


def test_an_empty_batch() -> None:
    stream = Sieve(3, 2)
    survivors, maximum, minimum = stream.add(torch.zeros(0, 3, 4, 5), 7)
    assert (len(survivors), survivors.bitmap.shape, survivors.shape) == (0, (0, 3), (4, 5))
    assert maximum.shape == minimum.shape == (0, 3)
    assert len(compact_survivors(survivors, torch.zeros(3))) == 0
    assert expand_survivors(survivors, torch.zeros(3)).shape == (0, 4, 5)
    assert select_thresholds(list, torch.tensor([1.0, -0.0]), 5).tolist() == [1.0, 0.0]


def test_splitting_and_joining() -> None:
    activations = cases.activations("relu", (12, 3, 5, 6), np.random.default_rng(1))
    dense = torch.from_numpy(activations)
    survivors = pack_maps(dense.flatten(0, 1), dense.amax((2, 3)), torch.ones(3), 0, 1)
    assert 3 < len(survivors) < 36
    for image in (-1, 0, 1, 5, 11, 12, 99):
        before, after = split_survivors(survivors, image)
        assert (before.image < image).all()
        assert (after.image >= image).all()
        cases.assert_identical(fields_of(join_survivors([before, after])), fields_of(survivors))
        maps = torch.cat([expand_survivors(part, torch.zeros(3)) for part in (before, after)])
        cases.assert_identical([maps], [expand_survivors(survivors, torch.zeros(3))])


SPOILT = (np.nan, -np.nan, np.inf, -np.inf, np.nextafter(np.float32(2**126), np.float32(np.inf)), -(2.0**127))


@pytest.mark.parametrize("value", SPOILT, ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_values_that_are_not_finite_are_refused(value: float, threads: int) -> None:
    activations = np.zeros((4, 5, 3, 3), np.float32)
    activations[2, 3, 1, 2] = activations[2, 4, 0, 0] = activations[3, 0, 0, 0] = value
    with pytest.raises(NonFiniteError, match=r"in image 2, unit 3, is not finite or above 2\^126") as caught:
        Sieve(5, 3, threads).add(torch.from_numpy(activations), 100)
    assert (caught.value.image, caught.value.unit) == (2, 3)
    np.testing.assert_array_equal(caught.value.value, np.float32(value))


@pytest.mark.parametrize("value", [LARGEST_ACTIVATION, -LARGEST_ACTIVATION])
def test_the_largest_values_are_accepted(value: float) -> None:
    activations = np.zeros((2, 1, 3, 3), np.float32)
    activations[1, 0, 1, 2] = value
    stream = Stream(Sieve(1, 0))
    stream.add(activations)
    assert stream.select().item() == max(value, 0)


def test_activations_that_do_not_fit_are_refused() -> None:
    sieve = Sieve(3, 2)
    for wrong in (torch.zeros(2, 3, 4), torch.zeros(2, 4, 4, 4), torch.zeros(2, 3, 4, 4).double()):
        with pytest.raises(ValueError, match=r"activations must be float32 \[N, 3, h, w\], not torch"):
            sieve.add(wrong, 0)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_refused(threads: int) -> None:
    survivors, _, _ = Sieve(3, 2).add(torch.ones(2, 3, 4, 4), 0)
    for call in (
        lambda: Sieve(3, 2, threads).add(torch.ones(2, 3, 4, 4), 0),
        lambda: expand_survivors(survivors, torch.zeros(3), threads=threads),
        lambda: compact_survivors(survivors, torch.zeros(3), threads=threads),
        lambda: select_thresholds(lambda: [survivors], torch.zeros(3), 2, threads=threads),
    ):
        with pytest.raises(ValueError, match=f"threads must be at least 1, not {threads}"):
            call()
