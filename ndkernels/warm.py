"""Compile every kernel before it is needed, so that no run stalls in its middle."""

from __future__ import annotations

import numpy as np
import torch

from ndkernels.grid import make_grid, mask_maps
from ndkernels.labels import encode_labels
from ndkernels.pixels import look_up_pixels
from ndkernels.sieve import Sieve, compact_survivors, expand_survivors, select_thresholds
from ndkernels.tally import UnitCounts, list_maps, tally_units


def warm_up() -> None:
    """Call every CPU kernel on a tiny input: seconds the first time, from Numba's cache on disk later."""
    look_up_pixels(np.zeros((1, 1, 1, 3), np.uint8), np.zeros((3, 256), np.float32))
    grid = make_grid("half-pixel", maps=(2, 2), labels=(3, 3))
    labels = encode_labels([np.ones((1, 3, 3), np.int32)], [[1]], (3, 3))
    activations = torch.arange(4.0).reshape(1, 1, 2, 2)
    sieve = Sieve(1, 1)
    survivors, _, _ = sieve.add(activations, 0)
    thresholds = select_thresholds(lambda: [survivors], sieve.bound, 1)
    expand_survivors(compact_survivors(survivors, thresholds), thresholds)
    mask_maps(activations[0], thresholds, grid)
    counts = UnitCounts.zeros(1, 1, 1)
    tally_units(*list_maps(activations), thresholds, grid, labels, torch.zeros(1, dtype=torch.int32), counts)
