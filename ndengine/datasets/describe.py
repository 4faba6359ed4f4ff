"""What is in a dataset: the facts that ``ndengine data info`` shows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ndengine.datasets.packed import PackedDataset
from ndengine.progress import SILENT, Progress
from ndkernels.labels import count_concepts

CHUNK = 256  # images whose labels are in memory at a time


def describe(dataset: PackedDataset, progress: Progress = SILENT, *, frequent: int = 10) -> dict[str, Any]:
    """Count what a dataset holds.

    Parameters
    ----------
    dataset : PackedDataset
        The dataset.
    progress : Progress
        Told of every image.
    frequent : int
        How many of the most frequent concepts to list.

    Returns
    -------
    dict
        Plain JSON values: ``name``, ``source``, ``release`` (None unless it is one of Broden's),
        ``fingerprint``, ``images``, ``splits`` (images of each), ``image_size`` and ``label_size`` (height,
        width), ``concepts`` (named ones), ``unlabelled_images``, ``categories`` (a list of ``name``,
        ``concepts`` and ``images`` whose primary category it is, ``labelled``: the share of all pixels that
        have such a concept) and ``frequent`` (a list of ``concept`` id, ``name``, ``category``, ``images``
        and ``pixels``, the most frequent first).

    Raises
    ------
    DatasetError
        If the pack can't be read.
    """
    vocabulary = dataset.vocabulary
    concepts, kinds = len(vocabulary.names), len(vocabulary.categories)
    height, width = dataset.label_size
    images, area = np.zeros(concepts, np.int64), np.zeros(concepts, np.int64)
    kind_images, kind_area = np.zeros(kinds, np.int64), np.zeros(kinds, np.int64)
    unlabelled = 0
    with progress.stage("counting", len(dataset), "images") as advance:
        for start in range(0, len(dataset), CHUNK):
            block = dataset.labels(np.arange(start, min(start + CHUNK, len(dataset))))
            added, present = count_concepts(block, concepts, once=True)
            area += added
            images += present.sum(axis=0)
            unlabelled += int((~present.any(axis=1)).sum())
            whole = np.zeros((len(block), kinds), np.bool_)
            whole[_marked(block.whole_start, block.whole_concept, vocabulary.primary)] = True
            code_image = np.repeat(np.arange(len(block)), np.diff(block.code_start.numpy()))
            code_area = block.code_area.numpy()
            rows, columns = _marked(block.entry_start, block.entry_concept, vocabulary.primary)
            for k in range(kinds):
                carried = np.unique(rows[columns == k])
                carried = carried[~whole[code_image[carried], k]]
                kind_area[k] += int(code_area[carried].sum()) + int(whole[:, k].sum()) * height * width
                kind_images[k] += int(present[:, vocabulary.primary == k].any(axis=1).sum())
            advance(len(block))
    order = np.lexsort((np.arange(concepts), -images))[:frequent]
    return {
        "name": dataset.name,
        "source": dataset.source,
        "release": dataset.release,
        "fingerprint": dataset.fingerprint,
        "images": len(dataset),
        "splits": dict(Counter(dataset.splits)),
        "image_size": list(dataset.image_size),
        "label_size": list(dataset.label_size),
        "concepts": sum(map(bool, vocabulary.names)),
        "unlabelled_images": unlabelled,
        "categories": [
            {
                "name": name,
                "concepts": int((vocabulary.primary == k).sum()),
                "images": int(kind_images[k]),
                "labelled": float(kind_area[k] / (len(dataset) * height * width)),
            }
            for k, name in enumerate(vocabulary.categories)
        ],
        "frequent": [
            {
                "concept": int(j) + 1,
                "name": vocabulary.names[j],
                "category": vocabulary.categories[vocabulary.primary[j]] if vocabulary.primary[j] >= 0 else None,
                "images": int(images[j]),
                "pixels": int(area[j]),
            }
            for j in order
            if images[j]
        ],
    }


def _marked(
    starts: Tensor, concepts: Tensor, primary: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and primary category of every concept of a ragged array, those without a category left out."""
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts.numpy()))
    kinds = primary[concepts.numpy() - 1]
    return rows[kinds >= 0], kinds[kinds >= 0]
