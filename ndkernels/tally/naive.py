"""The definition of the tally, in NumPy, on label maps as they are read: no codes, no shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndkernels.grid import naive as grid_naive


def concept_planes(
    maps: NDArray[Any],  # [M, H, W]
    whole: Sequence[int],
    *,
    once: bool,
) -> dict[int, NDArray[np.int64]]:
    """How often each concept of an image counts at each pixel: id -> ``[H, W]``, without id 0, "none"."""
    planes: dict[int, NDArray[np.int64]] = {}
    for label_map in maps:
        for concept in np.unique(label_map):
            plane = planes.setdefault(int(concept), np.zeros(label_map.shape, np.int64))
            plane += label_map == concept
    for concept in whole:
        planes.setdefault(int(concept), np.zeros(maps.shape[1:], np.int64))[:] += 1
    planes.pop(0, None)
    return {c: np.minimum(plane, 1) if once else plane for c, plane in planes.items()}


def count_concepts(
    maps: Sequence[NDArray[Any]],  # N times [M, H, W]
    whole: Sequence[Sequence[int]],  # N times
    concepts: int,
    *,
    once: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Concept areas G ``[C]`` and numbers of images with the concept ``[C]``; column j is concept j + 1."""
    area = np.zeros(concepts, np.int64)
    images = np.zeros(concepts, np.int64)
    for stack, marks in zip(maps, whole, strict=True):
        for concept, plane in concept_planes(stack, marks, once=once).items():
            area[concept - 1] += plane.sum()
            images[concept - 1] += 1
    return area, images


def tally(
    activations: NDArray[np.float32],  # [N, U, h, w]
    thresholds: NDArray[np.float32],  # [U]
    tables: Sequence[NDArray[Any]],  # lower and fraction of rows, lower and fraction of columns
    maps: Sequence[NDArray[Any]],  # N times [M, H, W]
    whole: Sequence[Sequence[int]],  # N times
    category: NDArray[np.int32],  # [C], -1 for none
    categories: int,
    *,
    once: bool,
    area: str,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count one image, one unit, one concept after the other.

    Returns
    -------
    intersection : ndarray
        ``[U, C]`` int64.
    unit_area : ndarray
        ``[U, K]`` int64.
    unit_area_all : ndarray
        ``[U]`` int64.
    """
    units, concepts = activations.shape[1], len(category)
    intersection = np.zeros((units, concepts), np.int64)
    unit_area = np.zeros((units, categories), np.int64)
    unit_area_all = np.zeros(units, np.int64)
    for n in range(len(activations)):
        planes = concept_planes(maps[n], whole[n], once=once)
        carried = {int(category[c - 1]) for c in planes}
        for u in range(units):
            mask = grid_naive.upsample(activations[n, u], *tables) > thresholds[u]
            size = int(mask.sum())
            touched = set()
            for c, plane in planes.items():
                both = int(plane[mask].sum())
                intersection[u, c - 1] += both
                if both:
                    touched.add(int(category[c - 1]))
            unit_area_all[u] += size
            for k in range(categories):
                if area == "all" or (area == "category" and k in carried) or (area == "touched" and k in touched):
                    unit_area[u, k] += size
    return intersection, unit_area, unit_area_all
