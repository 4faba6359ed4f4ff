"""Train ScenesNet: ``python -m ndengine.models.train_scenesnet [--out FILE] [--seed N]``.

The network learns, from whole images only, which concepts a picture shows: no label map is ever compared with its
activations, so where its units fire is its own doing. Its scenes come from other seeds than the built-in dataset.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ndengine.datasets.scenes import Scene, make_scene
from ndengine.datasets.scenery.vocabulary import CATEGORIES, NUMBERS
from ndengine.models.scenesnet import PREPROCESSING, TAGS, WEIGHTS, ScenesNet, scenesnet

TRAIN_SEED, HELD_OUT_SEED = 1001, 1002  # the built-in dataset is seed 0
TRAIN_IMAGES, HELD_OUT_IMAGES = 10_000, 1_000
SEEN_FROM = 10  # label pixels from which a picture shows a concept
SHOWN_COLOR = 0.1  # a colour is in every picture somewhere: it counts from this share of the pixels


def paint(seed: int, images: int) -> tuple[Tensor, Tensor]:
    """Paint scenes for training.

    Returns
    -------
    photos : Tensor [N, 3, 112, 112] uint8
    tags : Tensor [N, TAGS] float32
        1 where the picture shows concept j + 1.
    """
    with ThreadPoolExecutor(2) as pool:
        scenes = list(pool.map(lambda index: make_scene(index, seed), range(images)))
    photos = torch.from_numpy(np.stack([scene.photo for scene in scenes])).permute(0, 3, 1, 2)
    return photos.contiguous(), torch.from_numpy(np.stack([_tags(scene) for scene in scenes]))


def _tags(scene: Scene) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    tags = np.zeros(TAGS + 1, np.float32)
    for category in CATEGORIES:
        tags[scene.whole[category]] = 1
        for labels in scene.maps[category]:
            least = labels.size * SHOWN_COLOR if category == "color" else SEEN_FROM
            tags[: TAGS + 1][np.bincount(labels.ravel(), minlength=TAGS + 1) >= least] = 1
    return tags[1:]
