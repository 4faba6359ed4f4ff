"""The small networks: what each differs in from the base, and what they are called."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ndengine.models.small.network import UNITS, SmallNet
from ndengine.models.training.lessons import LESSONS
from ndengine.models.training.loop import Course

ITERATIONS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # steps of the base after which its weights are kept
SNAPSHOT = re.compile(r"(.+)-iter-(\d+)")


@dataclass(frozen=True)
class Budget:
    """How much a network learns from.

    Attributes
    ----------
    images : int
        Scenes that are painted for it, besides a tenth as many that are held out.
    epochs : int
        Passes over them.
    """

    images: int = 2048
    epochs: int = 8

    def course(self) -> Course:
        """The course of this length."""
        return Course(self.epochs, batch=32)

    @property
    def iterations(self) -> int:
        """Steps of the whole course."""
        return self.course().steps(self.images) * self.epochs


@dataclass(frozen=True)
class SmallNetwork:
    """A network that is trained here.

    Attributes
    ----------
    name : str
        What ``--model`` takes.
    about : str
        What it is, for people.
    seed : int
        Of its first weights, of the order of the pictures and of whatever a lesson draws.
    lesson : str
        What it learns: a key of ``LESSONS``.
    units : int
        Of ``conv5``.
    norm : bool
        Whether batch norm stands behind each convolution.
    dropout : float
        Share of the means of ``conv5`` that are dropped before the last layer.
    iterations : tuple of int
        Steps after which its weights are kept; the last ones always are.
    """

    name: str
    about: str
    seed: int = 0
    lesson: str = "tags"
    units: int = UNITS
    norm: bool = True
    dropout: float = 0.0
    iterations: tuple[int, ...] = ()

    def build(self) -> SmallNet:
        """The network with first weights from torch's generator, in training mode."""
        head = LESSONS[self.lesson].head(self.units, self.dropout)
        return SmallNet(head, self.units, norm=self.norm, grey=self.lesson == "coloring")

    def first(self) -> SmallNet:
        """The network with the first weights of its seed; torch's generator goes on from there."""
        torch.manual_seed(self.seed)
        return self.build()

    def record(self) -> dict[str, Any]:
        """What decides its weights, besides the budget, as plain JSON values."""
        plain = asdict(self)
        del plain["about"]
        return {**plain, "iterations": list(self.iterations)}


_ROWS = (
    SmallNetwork("small-base", "batch norm, no dropout, learns what scenes show", iterations=ITERATIONS),
    SmallNetwork("small-repeat1", "the base from another seed", seed=1),
    SmallNetwork("small-repeat2", "the base from another seed", seed=2),
    SmallNetwork("small-repeat3", "the base from another seed", seed=3),
    SmallNetwork("small-nonorm", "the base without batch norm", norm=False),
    SmallNetwork("small-dropout", "the base with dropout before the last layer", dropout=0.5),
    SmallNetwork("small-wide", "the base with twice the units in conv5", units=2 * UNITS),
    SmallNetwork("small-turning", "learns by how much a scene has been turned", lesson="turning"),
    SmallNetwork("small-puzzle", "learns how the quarters of a scene have been shuffled", lesson="puzzle"),
    SmallNetwork("small-coloring", "learns the colours of a scene that it sees in grey", lesson="coloring"),
)
NETWORKS: dict[str, SmallNetwork] = {row.name: row for row in _ROWS}


def find_network(model: str) -> tuple[SmallNetwork, int | None] | None:
    """The network that a name stands for, and the step of training; None for the last one, and for other names."""
    if model in NETWORKS:
        return NETWORKS[model], None
    found = SNAPSHOT.fullmatch(model)
    row = NETWORKS.get(found[1]) if found else None
    if found and row and int(found[2]) in row.iterations and model == snapshot_name(row, int(found[2])):
        return row, int(found[2])
    return None


def snapshot_name(row: SmallNetwork, iteration: int) -> str:
    """What ``--model`` takes for a network as it was after so many steps."""
    return f"{row.name}-iter-{iteration}"


def network_names() -> list[str]:
    """All names, snapshots included."""
    snapshots = [snapshot_name(row, iteration) for row in _ROWS for iteration in row.iterations]
    return [*NETWORKS, *snapshots]
