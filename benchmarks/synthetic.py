"""Activations and labels with the statistics of a convolutional layer over Broden, from a seed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

# One color map, one object map, three part maps and one material map, as in the ADE20K part of Broden.
REGIONS = (40, 12, 15, 10, 8, 8)
CONCEPTS = 1197


def make_activations(images: int, units: int, shape: tuple[int, int], seed: int = 0) -> NDArray[np.float32]:
    """Rectified activations ``[N, U, h, w]``, smooth over space and rare, as behind a ReLU."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(images, units, max(2, shape[0] // 3), max(2, shape[1] // 3), generator=generator)
    fine = torch.randn(images, units, *shape, generator=generator)
    # Images differ in how much they excite a unit: most maps never pass the threshold.
    gain = torch.randn(images, units, 1, 1, generator=generator)
    values = interpolate(coarse, size=shape, mode="bicubic") + 0.5 * fine + 1.5 * gain - 1
    return torch.relu(values).numpy()


def make_sparse_maps(
    images: int, units: int, shape: tuple[int, int], active: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Maps of a sparse autoencoder's units, ``active`` of them at each position; those that are zero are not listed.

    Returns
    -------
    maps : ndarray
        ``[A, h, w]`` float32.
    unit, image : ndarray
        ``[A]`` int32, sorted by image, then unit.
    """
    rng = np.random.default_rng(seed)
    cells = shape[0] * shape[1]
    maps, unit = [], []
    for _ in range(images):
        chosen = np.stack([rng.choice(units, active, replace=False) for _ in range(cells)])
        found, index = np.unique(chosen, return_inverse=True)
        values = np.zeros((len(found), cells), np.float32)
        values[index.reshape(chosen.shape), np.arange(cells)[:, None]] = rng.random(chosen.shape) + 0.1
        maps.append(values.reshape(-1, *shape))
        unit.append(found.astype(np.int32))
    image = np.repeat(np.arange(images, dtype=np.int32), [len(found) for found in unit])
    return np.concatenate(maps), np.concatenate(unit), image


def make_label_maps(
    images: int, shape: tuple[int, int], regions: tuple[int, ...], concepts: int, seed: int = 0
) -> list[NDArray[np.int64]]:
    """For each image ``[len(regions), H, W]`` label maps; map m has about ``regions[m]`` regions of random concepts."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"), -1)
    stacks = []
    for _ in range(images):
        maps = []
        for count in regions:
            centres = rng.uniform(0, max(shape), (count, 2))
            nearest = ((grid[:, :, None] - centres) ** 2).sum(-1).argmin(-1)
            ids = rng.integers(1, concepts + 1, count)
            ids[rng.random(count) < 0.2] = 0
            maps.append(ids[nearest])
        stacks.append(np.stack(maps))
    return stacks
