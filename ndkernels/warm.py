"""Compile every kernel before it is needed, so that no run stalls in its middle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ndkernels.grid import Grid, make_grid, mask_maps
from ndkernels.labels import LabelBlock, code_dtype, encode_labels
from ndkernels.paint import paint_masks, shrink_images
from ndkernels.pixels import look_up_pixels
from ndkernels.sieve import Sieve, compact_survivors, expand_survivors, rank_above, select_thresholds
from ndkernels.tally import Area, UnitCounts, list_maps, tally_units

STEPS = 9  # of each warming up; they take from one second to eight


def warm_up(
    advance: Callable[[int], object] = lambda steps: None,
    *,
    labels: tuple[int, int] = (3, 3),  # H, W
) -> None:
    """Call every CPU kernel on a tiny input: seconds the first time, from Numba's cache on disk later.

    Parameters
    ----------
    labels : tuple of int
        Rows and columns of the label maps that will come: large ones have codes of another type.
    advance : callable
        Called with 1 after each of the ``STEPS``.
    """
    look_up_pixels(np.zeros((1, 1, 1, 3), np.uint8), np.zeros((3, 256), np.float32))
    advance(1)
    warm_up_pictures()
    advance(1)
    grid = make_grid("half-pixel", maps=(2, 2), labels=(3, 3))
    block = encode_labels([np.ones((1, 3, 3), np.int32)], [[1]], (3, 3))
    block = replace(block, codes=torch.from_numpy(block.codes.numpy().astype(code_dtype(labels))))
    advance(1)
    _call_all((2, 2), grid, block, 1, "category", torch.device("cpu"), advance)


def warm_up_pictures() -> None:
    """Call the kernels of pictures, which are the CPU's whatever the device."""
    tiles = shrink_images(np.zeros((1, 1, 1, 3), np.uint8), 1)
    paint_masks(tiles, np.zeros(1, np.int64), np.zeros((1, 1, 1), np.uint8), 1)


def warm_up_gpu(
    maps: tuple[int, int],  # h, w
    labels: tuple[int, int],  # H, W
    categories: int,
    area: Area,
    *,
    device: torch.device,
    advance: Callable[[int], object] = lambda steps: None,
) -> None:
    """Call every GPU kernel in the form that a layer's run will use.

    Kernels are compiled for the shapes and not for the numbers of units, images and concepts: seconds the first
    time, from Triton's cache on disk later.

    Parameters
    ----------
    maps, labels : tuple of int
        Rows and columns of the layer's maps and of the label maps.
    categories : int
        K.
    area : str
        As in :func:`ndkernels.tally.tally_units`.
    device : torch.device
        The GPU.
    advance : callable
        Called with 1 after each of the ``STEPS``.
    """
    grid = make_grid("half-pixel", maps=maps, labels=labels)
    few = np.ones((1, *labels), np.int32)
    many = np.arange(labels[0] * labels[1]).reshape(1, *labels) % 1000  # as of richly labelled images
    advance(1)
    warm_up_pictures()
    advance(1)
    _call_all(maps, grid, encode_labels([few], [[1]], labels).to(device), categories, area, device, advance)
    _call_all(maps, grid, encode_labels([many], [[1]], labels).to(device), categories, area, device, lambda steps: None)
    advance(1)


def _call_all(
    maps: tuple[int, int],
    grid: Grid,
    labels: LabelBlock,
    categories: int,
    area: Area,
    device: torch.device,
    advance: Callable[[int], object],
) -> None:
    size = maps[0] * maps[1]
    activations = torch.arange(float(size), device=device).reshape(1, 1, *maps)
    above = rank_above("0.5", size)
    sieve = Sieve(1, above, device=device)
    passing = sieve.start(activations, 0)
    advance(1)
    survivors, _, _ = passing.finish(fetch=True)
    advance(1)
    thresholds = select_thresholds(lambda: [survivors], sieve.bound, above)
    advance(1)
    least = compact_survivors(survivors, thresholds).to(device)
    expand_survivors(least, thresholds)
    advance(1)
    mask_maps(activations[0], thresholds, grid)
    advance(1)
    concepts = 1000
    counts = UnitCounts.zeros(1, concepts, categories, device)
    category = torch.zeros(concepts, dtype=torch.int32, device=device)
    tally_units(*list_maps(activations), thresholds, grid, labels, category, counts, area=area)
    advance(1)
