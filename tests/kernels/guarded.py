"""Run in a process of its own by test_tally.py and test_vector.py: the arrays end where reading is forbidden."""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kernels import cases
from ndkernels.grid import make_grid, mask_maps, naive, tables
from ndkernels.labels import LabelBlock, encode_labels, tensors
from ndkernels.paint import naive as paint_naive
from ndkernels.paint import paint_masks, shrink_images
from ndkernels.sieve import Sieve, Survivors, compact_survivors, join_survivors, rank_above, select_thresholds
from ndkernels.sieve import naive as sieve_naive
from ndkernels.tally import UnitCounts, list_maps, tally_units
from ndkernels.tally import naive as tally_naive

LIBC = ctypes.CDLL(None, use_errno=True)
KEPT: list[Any] = []
IMAGES = 20


def at_the_edge(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that ends where a page begins that can't be read."""
    pages = -(-array.nbytes // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if LIBC.mprotect(ctypes.c_void_p(start + pages * mmap.PAGESIZE), mmap.PAGESIZE, 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    KEPT.append(memory)
    copy = np.frombuffer(memory, array.dtype, array.size, pages * mmap.PAGESIZE - array.nbytes).reshape(array.shape)
    copy[:] = array
    return copy


def tensor(found: Tensor) -> Tensor:
    """The same, at the edge."""
    return torch.from_numpy(at_the_edge(found.numpy())) if found.numel() else found


def main() -> None:
    rng = np.random.default_rng(0)
    for maps, labels in (((7, 9), (20, 31)), ((1, 1), (3, 2)), ((5, 40), (10, 129)), ((2, 2), (1, 17))):
        grid = make_grid("half-pixel", maps=maps, labels=labels)
        activations = rng.normal(size=(IMAGES, 3, *maps)).astype(np.float32)
        stacks, whole = cases.images_of_labels(IMAGES, labels, 5, rng)
        thresholds = np.array([-9, 0, 1.5], np.float32)
        category = np.zeros(5, np.int32)
        counts = UnitCounts.zeros(3, 5, 1)
        block = LabelBlock(*(tensor(t) for t in tensors(encode_labels(stacks, whole, labels))))
        listed = [tensor(t) for t in list_maps(torch.from_numpy(activations))]
        limits = torch.from_numpy(at_the_edge(thresholds))
        tally_units(*listed, limits, grid, block, torch.from_numpy(at_the_edge(category)), counts)
        expected = tally_naive.tally(
            activations, thresholds, tables(grid), stacks, whole, category, 1, once=False, area="category"
        )
        cases.assert_identical([counts.intersection, counts.unit_area, counts.unit_area_all], expected)
        masks = mask_maps(listed[0], tensor(limits.repeat(IMAGES)), grid).numpy()
        np.testing.assert_array_equal(
            masks, naive.mask_maps(listed[0].numpy(), np.tile(thresholds, IMAGES), *tables(grid))
        )
        check_sieve(activations)
        check_pictures(rng.integers(0, 256, (2, *labels, 3), dtype=np.uint8), masks)
        print("equal")


def check_pictures(images: NDArray[np.uint8], masks: NDArray[np.bool_]) -> None:
    """Two images scaled down, and all masks painted over them in turn."""
    tiles = shrink_images(at_the_edge(images), 2)
    np.testing.assert_array_equal(tiles, paint_naive.shrink_images(images, 2))
    packed, place = np.packbits(masks, axis=-1), np.arange(len(masks)) % 2
    painted = paint_masks(at_the_edge(tiles), at_the_edge(place), at_the_edge(packed), masks.shape[2], gap=1)
    np.testing.assert_array_equal(painted, paint_naive.paint_masks(tiles, place, packed, masks.shape[2], 1))


def at_edges(survivors: Survivors) -> Survivors:
    """The same, each array at the edge."""
    arrays = (survivors.image, survivors.unit, survivors.bitmap, survivors.values)
    return Survivors(*(tensor(t) for t in arrays), survivors.shape)


def check_sieve(activations: NDArray[np.float32]) -> None:
    """Thresholds and survivors of a stream, image by image."""
    above = rank_above("0.3", activations[:, 0].size)
    sieve = Sieve(activations.shape[1], above)
    parts = [sieve.add(tensor(torch.from_numpy(batch[None])), n)[0] for n, batch in enumerate(activations)]
    ends = at_edges(join_survivors(parts))
    thresholds = select_thresholds(lambda: [ends], sieve.bound, above)
    np.testing.assert_array_equal(thresholds.numpy(), sieve_naive.thresholds(activations, above))
    apart = select_thresholds(lambda: map(at_edges, parts), sieve.bound, above)  # some of a few values each
    np.testing.assert_array_equal(apart.numpy(), thresholds.numpy())
    least = compact_survivors(ends, thresholds, threads=2)
    expected = sieve_naive.survivors(activations, thresholds.numpy())
    cases.assert_identical([least.image, least.unit, least.bitmap, least.values], expected)


if __name__ == "__main__":
    main()
