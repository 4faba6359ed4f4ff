"""Which runs are killed, when and how: every plan comes from its number and a seed."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SPOOLS = ("disk", "disk", "disk", "disk", "auto", "auto", "auto", "memory", "dense", "disk")  # ten plans in turn
SIGNALS = (signal.SIGKILL,) * 7 + (signal.SIGTERM, signal.SIGTERM, signal.SIGINT)
PICTURES = 240  # of the drawn scenes
FEW = 80  # of the real images


@dataclass(frozen=True)
class Work:
    """A run that is killed again and again.

    Attributes
    ----------
    name : str
    words : tuple of str
        Its command, without the options of a plan.
    images : int
        How many it uses.
    """

    name: str
    words: tuple[str, ...]
    images: int


@dataclass(frozen=True)
class Kill:
    """The end of a process before its time.

    Attributes
    ----------
    signal : signal.Signals
    from_first_line : bool
        Whether ``share`` counts from the first line that the run prints, and not from the start of the process.
    share : float
        Of the processor time that the whole run takes.
    publishing : bool
        Whether it waits until the result is about to be moved to its place instead.
    """

    signal: signal.Signals
    from_first_line: bool
    share: float
    publishing: bool


@dataclass(frozen=True)
class Plan:
    """What is done to one run.

    Attributes
    ----------
    number : int
    work : Work
    spool : str
    kills : tuple of Kill
        One after another, each of the same command.
    overwrite : bool
        Whether an older result lies in the folder, which stays until the new one is there.
    cold : bool
        Whether the run packs its data, too.
    """

    number: int
    work: Work
    spool: str
    kills: tuple[Kill, ...]
    overwrite: bool
    cold: bool


def make_works(home: Path, shared: Path | None) -> list[Work]:
    """The runs: drawn scenes and, where they are there, real images."""
    options = ("--threads", "1", "--batch-size", "16", "--data", str(home / "photos"))
    works = [
        Work("scenes", ("--model", "scenesnet", "--layer", "conv5", *options), PICTURES),
        Work(
            "scenes, two layers", ("--model", "scenesnet", "--layer", "conv3", "--layer", "conv5", *options), PICTURES
        ),
    ]
    if shared:
        weights = ("--model", "squeezenet1_1", "--weights", str(shared / "weights" / "squeezenet1_1_ndf.pth"))
        data = ("--data", str(shared / "minibroden"), "--limit", str(FEW), "--threads", "1", "--batch-size", "16")
        works.append(Work("real images", (*weights, "--layer", "features.12", *data), FEW))
    return works


def make_plan(seed: int, number: int, works: Sequence[Work]) -> Plan:
    """The plan of a number."""
    rng = np.random.default_rng((seed, number))
    spool = SPOOLS[number % len(SPOOLS)]
    work = works[min(int(rng.choice((0, 0, 1, 2))), len(works) - 1)]
    count = int(rng.choice((1, 1, 1, 2, 3)))
    return Plan(
        number,
        work,
        spool,
        tuple(_make_kill(rng) for _ in range(count)),
        overwrite=bool(rng.random() < 0.2),
        cold=bool(rng.random() < 0.1) and work.name != "real images",
    )


def _make_kill(rng: np.random.Generator) -> Kill:
    return Kill(
        SIGNALS[rng.integers(len(SIGNALS))],
        from_first_line=bool(rng.random() < 0.8),  # before it, Python is loading libraries
        share=float(rng.random()),
        publishing=bool(rng.random() < 0.08),
    )
