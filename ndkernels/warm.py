"""Compile every kernel before it is needed, so that no run stalls in its middle."""

from __future__ import annotations

import numpy as np
import torch

from ndkernels.grid import Grid, make_grid, mask_maps
from ndkernels.labels import LabelBlock, encode_labels
from ndkernels.pixels import look_up_pixels
from ndkernels.sieve import Sieve, compact_survivors, expand_survivors, rank_above, select_thresholds
from ndkernels.tally import Area, UnitCounts, list_maps, tally_units


def warm_up() -> None:
    """Call every CPU kernel on a tiny input: seconds the first time, from Numba's cache on disk later."""
    look_up_pixels(np.zeros((1, 1, 1, 3), np.uint8), np.zeros((3, 256), np.float32))
    grid = make_grid("half-pixel", maps=(2, 2), labels=(3, 3))
    labels = encode_labels([np.ones((1, 3, 3), np.int32)], [[1]], (3, 3))
    _call_all((2, 2), grid, labels, 1, "category", torch.device("cpu"))


def warm_up_gpu(
    maps: tuple[int, int],  # h, w
    labels: tuple[int, int],  # H, W
    categories: int,
    area: Area,
    *,
    device: torch.device,
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
    """
    grid = make_grid("half-pixel", maps=maps, labels=labels)
    few = np.ones((1, *labels), np.int32)
    many = np.arange(labels[0] * labels[1]).reshape(1, *labels) % 1000  # as of richly labelled images
    for stack in (few, many):
        block = encode_labels([stack], [[1]], labels).to(device)
        _call_all(maps, grid, block, categories, area, device)


def _call_all(
    maps: tuple[int, int], grid: Grid, labels: LabelBlock, categories: int, area: Area, device: torch.device
) -> None:
    size = maps[0] * maps[1]
    activations = torch.arange(float(size), device=device).reshape(1, 1, *maps)
    above = rank_above("0.5", size)
    sieve = Sieve(1, above, device=device)
    survivors, _, _ = sieve.start(activations, 0).finish(fetch=True)
    thresholds = select_thresholds(lambda: [survivors], sieve.bound, above)
    least = compact_survivors(survivors, thresholds).to(device)
    expand_survivors(least, thresholds)
    mask_maps(activations[0], thresholds, grid)
    concepts = 1000
    counts = UnitCounts.zeros(1, concepts, categories, device)
    category = torch.zeros(concepts, dtype=torch.int32, device=device)
    tally_units(*list_maps(activations), thresholds, grid, labels, category, counts, area=area)
