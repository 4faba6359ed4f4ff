"""Labelled images: reading them, packing them into one file, checking and describing them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The concepts that a dataset knows.

    Attributes
    ----------
    names : tuple of str
        ``[C]`` name of concept j + 1 at place j; empty where the label table has no such id.
    categories : tuple of str
        ``[K]`` categories in the order of the category table.
    primary : ndarray
        ``[C]`` int64 index into ``categories`` of the category in which the concept covers most (the later
        one on a tie), or -1 for a concept that no category lists.
    """

    names: tuple[str, ...]
    categories: tuple[str, ...]
    primary: NDArray[np.int64]


# Broden's releases differ in their input size alone; all have these many images and concepts.
BRODEN_IMAGES, BRODEN_CONCEPTS = 63_305, 1_197
BRODEN_SIZES = {(224, 224): "broden1_224", (227, 227): "broden1_227", (384, 384): "broden1_384"}


def recognise_release(images: int, concepts: int, image_size: tuple[int, int]) -> str | None:
    """The name of the Broden release that has these many images and concepts, or None."""
    if (images, concepts) != (BRODEN_IMAGES, BRODEN_CONCEPTS):
        return None
    return BRODEN_SIZES.get(image_size)
