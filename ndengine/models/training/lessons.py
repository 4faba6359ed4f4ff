"""What a network can learn from drawn scenes: what they show, or a task that needs no labels.

A lesson poses questions (pictures as the network takes them, and the goal), tells how wrong the answers are, and gives
marks. On held-out scenes it poses the same questions every time; elsewhere it draws them from torch's generator.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import permutations
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from ndengine.models.scenesnet import TAGS, normalise
from ndengine.models.training.pictures import SCENE, TEXTURE, Pictures

Goal = tuple[Tensor, ...]  # each [B, …]
WHOLE_WEIGHT = 0.3  # of the loss of scene and texture against that of all tags
BLOCK = 8  # pixels of the input, on each axis, to one position of conv5
TILE, TILE_SHOWN = 56, 48  # pixels of a quarter of a picture on each axis, and those of them that a puzzle shows
ORDERS = torch.tensor(list(permutations(range(4))))  # [24, 4]: which quarter of the picture is where


class Lesson(Protocol):
    """A task to learn."""

    def pose(self, pictures: Pictures, rows: Tensor, *, held_out: bool) -> tuple[Tensor, Goal]:
        """Return pictures of those rows as the network takes them, [B, 3, ih, iw] float32, and the goal."""
        ...

    def loss(self, answers: Tensor, goal: Goal) -> Tensor:
        """Return the mean loss of a batch's answers."""
        ...

    def marks(self, answers: Tensor, goal: Goal) -> dict[str, float]:
        """Return how good answers are, by name; 1 is perfect."""
        ...

    def head(self, units: int, dropout: float) -> nn.Module:
        """Return layers from the maps of a last convolution, [B, units, h, w], to answers."""
        ...


class Tagging:
    """Which concepts a picture shows; no label map is ever compared with the network's activations."""

    def pose(self, pictures: Pictures, rows: Tensor, *, held_out: bool) -> tuple[Tensor, Goal]:
        """Show half of the batches mirrored."""
        return _mirrored(normalise(pictures.photos[rows]), held_out), (pictures.tags[rows], pictures.whole[rows])

    def loss(self, answers: Tensor, goal: Goal) -> Tensor:
        """Return the loss of every tag by itself, and of the choice among scenes, textures and neither."""
        return loss_of(answers, *goal)

    def marks(self, answers: Tensor, goal: Goal) -> dict[str, float]:
        """Return how often the scene and the texture are right, over the pictures that have one."""
        return {"scene": accuracy(answers, goal[1], SCENE), "texture": accuracy(answers, goal[1], TEXTURE)}

    def head(self, units: int, dropout: float) -> nn.Module:
        """Return a global mean and one linear layer: a unit helps by firing where its concept is."""
        return _pooled(1, dropout, tags=nn.Linear(units, TAGS))


class Turning:
    """By how many quarter turns a picture has been turned (Gidaris et al. 2018)."""

    def pose(self, pictures: Pictures, rows: Tensor, *, held_out: bool) -> tuple[Tensor, Goal]:
        """Turn each picture."""
        turns = rows % 4 if held_out else torch.randint(0, 4, (len(rows),))
        photos = _mirrored(normalise(pictures.photos[rows]), held_out)
        turned = [torch.rot90(photo, int(turn), (1, 2)) for photo, turn in zip(photos, turns, strict=True)]
        return torch.stack(turned), (turns,)

    def loss(self, answers: Tensor, goal: Goal) -> Tensor:
        """Return the cross entropy of four choices."""
        return functional.cross_entropy(answers, goal[0])

    def marks(self, answers: Tensor, goal: Goal) -> dict[str, float]:
        """Return how often the turn is right; chance is 1/4."""
        return {"turn": _share_right(answers, goal[0])}

    def head(self, units: int, dropout: float) -> nn.Module:
        """Return a global mean and one linear layer."""
        return _pooled(1, dropout, turn=nn.Linear(units, 4))


class Puzzle:
    """How the four quarters of a picture have been shuffled (after Noroozi and Favro 2016).

    Each quarter shows a part of itself on grey, at a place that is drawn, so that edges don't simply fit together.
    """

    def pose(self, pictures: Pictures, rows: Tensor, *, held_out: bool) -> tuple[Tensor, Goal]:
        """Shuffle the quarters of each picture."""
        count, slack = len(rows), TILE - TILE_SHOWN
        order = rows % len(ORDERS) if held_out else torch.randint(0, len(ORDERS), (count,))
        shift = (
            torch.full((count, 4, 2), slack // 2) if held_out else torch.randint(0, slack + 1, (count, 4, 2))
        ).tolist()
        photos = normalise(pictures.photos[rows])
        shuffled, edge = torch.zeros_like(photos), slack // 2  # 0 is grey
        for image, (photo, which) in enumerate(zip(photos, ORDERS[order].tolist(), strict=True)):
            for place, quarter in enumerate(which):
                (row, column), (down, right) = divmod(quarter, 2), shift[image][place]
                top, left = TILE * row + down, TILE * column + right
                y, x = (TILE * part + edge for part in divmod(place, 2))
                shown = photo[:, top : top + TILE_SHOWN, left : left + TILE_SHOWN]
                shuffled[image, :, y : y + TILE_SHOWN, x : x + TILE_SHOWN] = shown
        return shuffled, (order,)

    def loss(self, answers: Tensor, goal: Goal) -> Tensor:
        """Return the cross entropy of 24 choices."""
        return functional.cross_entropy(answers, goal[0])

    def marks(self, answers: Tensor, goal: Goal) -> dict[str, float]:
        """Return how often the order is right; chance is 1/24."""
        return {"order": _share_right(answers, goal[0])}

    def head(self, units: int, dropout: float) -> nn.Module:
        """Return means of the four quarters and two linear layers."""
        layers = OrderedDict(hidden=nn.Linear(4 * units, 128), relu=nn.ReLU(), order=nn.Linear(128, len(ORDERS)))
        return _pooled(2, dropout, order=nn.Sequential(layers))


class Coloring:
    """The colours of a picture that is shown in grey (after Zhang et al. 2016); see ``SmallNet.grey``."""

    def pose(self, pictures: Pictures, rows: Tensor, *, held_out: bool) -> tuple[Tensor, Goal]:
        """Ask for what red and blue have more than the mean of all channels, [B, 2, h, w], by blocks of pixels."""
        photos = _mirrored(normalise(pictures.photos[rows]), held_out)
        means = functional.avg_pool2d(photos, BLOCK)
        return photos, (means[:, [0, 2]] - means.mean(1, keepdim=True),)

    def loss(self, answers: Tensor, goal: Goal) -> Tensor:
        """Return the mean squared error."""
        return functional.mse_loss(answers, goal[0])

    def marks(self, answers: Tensor, goal: Goal) -> dict[str, float]:
        """Return the share of the colours' variance that is explained."""
        colors = goal[0]
        spread = (colors - colors.mean((0, 2, 3), keepdim=True)).square().sum()
        return {"explained": float(1 - (answers - colors).square().sum() / spread)}

    def head(self, units: int, dropout: float) -> nn.Module:
        """Return one linear layer for each position."""
        return nn.Sequential(OrderedDict(drop=nn.Dropout(dropout), color=nn.Conv2d(units, 2, 1)))


LESSONS: dict[str, Lesson] = {
    "tags": Tagging(),
    "turning": Turning(),
    "puzzle": Puzzle(),
    "coloring": Coloring(),
}


def loss_of(logits: Tensor, tags: Tensor, whole: Tensor) -> Tensor:
    """Return the loss of a batch: every tag by itself, and the choice among scenes, textures and neither."""
    rivals = torch.cat([logits[:, SCENE], logits[:, TEXTURE], logits.new_zeros(len(logits), 1)], dim=1)
    choice = whole - (TAGS + 1 - rivals.shape[1])  # scenes and textures are the last tags
    return functional.binary_cross_entropy_with_logits(logits, tags) + WHOLE_WEIGHT * functional.cross_entropy(
        rivals, choice
    )


def accuracy(logits: Tensor, whole: Tensor, tags: slice) -> float:
    """Return how often the strongest of some tags is the right one, over the pictures that have one of them."""
    rows = (whole >= tags.start) & (whole < tags.stop)
    return float((logits[rows, tags].argmax(dim=1) + tags.start == whole[rows]).float().mean())


def _mirrored(photos: Tensor, held_out: bool) -> Tensor:
    """Mirror a batch, left for right, every other time; held-out pictures never."""
    return photos.flip(3) if not held_out and torch.rand(()) < 0.5 else photos


def _share_right(answers: Tensor, choice: Tensor) -> float:
    return float((answers.argmax(dim=1) == choice).float().mean())


def _pooled(size: int, dropout: float, **last: nn.Module) -> nn.Module:
    """Means over ``size`` by ``size`` parts of the maps, dropout, and a last layer."""
    start = OrderedDict(pool=nn.AdaptiveAvgPool2d(size), flat=nn.Flatten(), drop=nn.Dropout(dropout))
    return nn.Sequential(OrderedDict(**start, **last))
