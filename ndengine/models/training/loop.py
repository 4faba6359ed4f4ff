"""The loop in which every network of this package is trained."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ndengine.models.training.lessons import Goal, Lesson
from ndengine.models.training.pictures import Pictures
from ndengine.settings import Precision

PART = 100  # held-out pictures that are shown at once


@dataclass(frozen=True)
class Course:
    """How long and how fast a network learns: AdamW with one cycle of its rate.

    Attributes
    ----------
    epochs : int
        Passes over the pictures.
    batch : int
        Pictures a step; those left over at the end of a pass are not shown in it.
    rate : float
        The highest learning rate.
    warm_up : float
        Share of the steps on which the rate rises.
    decay : float
        Of the weights.
    precision : str
        What the network computes in while it learns.
    """

    epochs: int
    batch: int = 64
    rate: float = 4e-3
    warm_up: float = 0.15
    decay: float = 0.01
    precision: Precision = "float32"

    def steps(self, images: int) -> int:
        """Steps of one pass."""
        return max(1, images // self.batch)


@dataclass(frozen=True)
class Epoch:
    """One pass over the pictures.

    Attributes
    ----------
    number, of : int
        Which one, from 1, of how many.
    loss : float
        Mean loss of its batches while the network learned.
    held_out : float
        Loss on held-out pictures after it.
    marks : dict of str to float
        The lesson's marks there.
    seconds : float
        Since the first pass began.
    """

    number: int
    of: int
    loss: float
    held_out: float
    marks: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def line(self) -> str:
        """The pass as one line of text."""
        marks = "".join(f"  {name} {mark:.1%}" for name, mark in self.marks.items())
        return (
            f"epoch {self.number}/{self.of}  loss {self.loss:.4f}  held out: loss {self.held_out:.4f}"
            f"{marks}  after {self.seconds:.0f} s"
        )

    def record(self) -> dict[str, Any]:
        """The pass as plain JSON values."""
        return asdict(self)


def train_network(
    net: nn.Module,
    lesson: Lesson,
    pictures: Pictures,
    held_out: Pictures,
    course: Course,
    *,
    after_epoch: Callable[[Epoch], None],
    at_step: Callable[[int], None] | None = None,
) -> None:
    """Train a network in place; it draws from torch's generator, so that a seed and one thread decide every bit.

    Parameters
    ----------
    net : nn.Module
        Takes the lesson's pictures and gives its answers.
    lesson : Lesson
        What it learns.
    pictures, held_out : Pictures
        What it learns from, and what it is tried on.
    course : Course
        How.
    after_epoch : callable
        Told of every pass.
    at_step : callable, optional
        Told of every number of steps that have been taken, from 0.
    """
    started = time.monotonic()
    steps = course.steps(len(pictures.photos))
    optimiser = torch.optim.AdamW(net.parameters(), lr=course.rate, weight_decay=course.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, course.rate, total_steps=steps * course.epochs, pct_start=course.warm_up
    )
    rounded = course.precision == "bfloat16"
    if at_step:
        at_step(0)
    for number in range(1, course.epochs + 1):
        net.train()
        total = 0.0
        order = torch.randperm(len(pictures.photos))
        for place, rows in enumerate(order[: steps * course.batch].chunk(steps), start=1):
            batch, goal = lesson.pose(pictures, rows, held_out=False)
            with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
                answers = net(batch.contiguous(memory_format=torch.channels_last))
            loss = lesson.loss(answers.float(), goal)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
            if at_step:
                at_step((number - 1) * steps + place)
        answers, goal = examine(net, lesson, held_out)
        unseen, marks = float(lesson.loss(answers, goal)), lesson.marks(answers, goal)
        after_epoch(Epoch(number, course.epochs, total / steps, unseen, marks, time.monotonic() - started))


def examine(net: nn.Module, lesson: Lesson, pictures: Pictures) -> tuple[Tensor, Goal]:
    """Answers of a network to the questions of a lesson on held-out pictures, and the goal."""
    batch, goal = lesson.pose(pictures, torch.arange(len(pictures.photos)), held_out=True)
    return answer(net, batch), goal


def answer(net: nn.Module, batch: Tensor) -> Tensor:
    """Answers of a network in evaluation mode to pictures, [B, 3, ih, iw] float32."""
    net.eval()
    with torch.inference_mode():
        return torch.cat([net(part) for part in torch.split(batch, PART)])
