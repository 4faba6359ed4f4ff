"""Drawn scenes to learn from, and what they show; their seeds are others than the built-in dataset's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndengine.datasets.scenery.vocabulary import CATEGORIES, NAMES, NUMBERS
from ndengine.datasets.scenes import Scene, make_scene
from ndengine.models.scenesnet import TAGS
from ndengine.progress import SILENT, Progress

TRAIN_SEED, HELD_OUT_SEED = 1001, 1002  # the built-in dataset is seed 0
SEEN_FROM = 10  # label pixels from which a picture shows a concept
SHOWN_COLOR = 0.1  # a colour is somewhere in every picture: it counts from this share of the pixels
SCENE, TEXTURE = (slice(NUMBERS[NAMES[key][0]] - 1, NUMBERS[NAMES[key][-1]]) for key in ("scene", "texture"))


class Pictures(NamedTuple):
    """Scenes and what they show.

    Attributes
    ----------
    photos : Tensor [N, 3, 112, 112] uint8
        Red, green, blue.
    tags : Tensor [N, TAGS] float32
        1 where the picture shows concept j + 1.
    whole : Tensor [N] int64
        The tag that holds for the whole picture, a scene or a texture; TAGS for a close-up.
    """

    photos: Tensor
    tags: Tensor
    whole: Tensor


def paint(seed: int, images: int, progress: Progress = SILENT) -> Pictures:
    """Paint scenes and say what they show."""
    scenes = []
    stage = progress.stage("painting scenes to learn from", images, "images")
    with stage as advance, ThreadPoolExecutor(2) as pool:
        for scene in pool.map(lambda index: make_scene(index, seed), range(images)):
            scenes.append(scene)
            advance(1)
    photos = torch.from_numpy(np.stack([scene.photo for scene in scenes])).permute(0, 3, 1, 2)
    tags = torch.from_numpy(np.stack([_tags(scene) for scene in scenes]))
    whole = torch.tensor([(max(scene.whole.values()) - 1) % (TAGS + 1) for scene in scenes])
    return Pictures(photos.contiguous(), tags, whole)


def held_out_count(images: int) -> int:
    """How many scenes are held out beside those that are learned from."""
    return max(100, images // 10)


def _tags(scene: Scene) -> NDArray[np.float32]:
    """Return 1 for every concept that the picture shows, [TAGS]."""
    shown = np.zeros(TAGS + 1, np.bool_)
    for category in CATEGORIES:
        shown[scene.whole[category]] = True
        for labels in scene.maps[category]:
            least = labels.size * SHOWN_COLOR if category == "color" else SEEN_FROM
            shown |= np.bincount(labels.ravel(), minlength=TAGS + 1) >= least
    return shown[1:].astype(np.float32)
