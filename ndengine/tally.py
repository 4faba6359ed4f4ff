"""The counts that Network Dissection rests on, for one layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Counts:
    """Exact counts of one layer over all images; concept id c stands in column c - 1.

    Attributes
    ----------
    threshold : ndarray of float32, [U]
        The activation that a unit's mask exceeds.
    intersection : ndarray of int64, [U, C]
        Pixels in which unit and concept coincide.
    concept_area : ndarray of int64, [C]
        Pixels of each concept.
    unit_area : ndarray of int64, [U, K]
        Pixels of each unit's mask over the images that count for a category.
    unit_area_all : ndarray of int64, [U]
        Pixels of each unit's mask over all images.
    concept_images : ndarray of int64, [C]
        Images that carry the concept.
    """

    threshold: NDArray[np.float32]  # [U]
    intersection: NDArray[np.int64]  # [U, C]
    concept_area: NDArray[np.int64]  # [C]
    unit_area: NDArray[np.int64]  # [U, K]
    unit_area_all: NDArray[np.int64]  # [U]
    concept_images: NDArray[np.int64]  # [C]
