"""The paper in small: train what is missing, carry out the series, compare, and tell what came out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import Timeout

from ndengine.compare import Comparison
from ndengine.errors import ResultError
from ndengine.experiments.chapters import Experiment, choose_experiments
from ndengine.experiments.findings import Finding, find_all
from ndengine.experiments.page import INDEX, render_paper
from ndengine.locks import take_lock
from ndengine.models.download import hash_file
from ndengine.models.small.crew import train_missing
from ndengine.models.small.rows import Budget, SmallNetwork, find_network
from ndengine.models.small.store import Store
from ndengine.progress import SILENT, Progress
from ndengine.provenance import describe_machine
from ndengine.refusals import cannot_write
from ndengine.result_files import write_text
from ndengine.result_record import read_record
from ndengine.series import RunOutcome, Series, sweep_series

RECORD = "paper.json"
LOCK = ".ndengine-paper.lock"  # not that of a run or a series, which would take the folder for their own
FORMAT = "ndengine-paper"
VERSION = 1


@dataclass(frozen=True)
class Chapter:
    """An experiment that has been carried out.

    Attributes
    ----------
    experiment : Experiment
    outcomes : tuple of RunOutcome
        What became of each run.
    comparison : Comparison or None
        Of its results; None where there are none.
    findings : tuple of Finding
        What the paper found, beside what came out.
    """

    experiment: Experiment
    outcomes: tuple[RunOutcome, ...]
    comparison: Comparison | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Paper:
    """The paper in small, carried out.

    Attributes
    ----------
    folder : Path
        Where everything lies.
    chapters : tuple of Chapter
        The experiments.
    trainings : dict of str to dict
        What is known of each network's training, by the network's name: the receipts beside the weights.
    trained : tuple of str
        The networks that were trained by this call; the others were there.
    seconds : dict of str to float
        How long this call took: for the ``training`` and for ``dissecting`` and comparing.
    provenance : dict
        Machine, versions and date.
    """

    folder: Path
    chapters: tuple[Chapter, ...]
    trainings: dict[str, dict[str, Any]]
    trained: tuple[str, ...]
    seconds: dict[str, float]
    provenance: dict[str, Any]

    @property
    def outcomes(self) -> tuple[RunOutcome, ...]:
        """What became of all runs."""
        return tuple(outcome for chapter in self.chapters for outcome in chapter.outcomes)

    def record(self) -> dict[str, Any]:
        """Everything that is told, as plain JSON values; the results themselves lie beside it."""
        return {
            "experiments": [
                {
                    "name": chapter.experiment.name,
                    "title": chapter.experiment.title,
                    "findings": [finding.record() for finding in chapter.findings],
                    "runs": [
                        {
                            "name": o.run.name,
                            "label": o.run.label,
                            "fate": o.fate,
                            "seconds": round(o.seconds, 3),
                            "error": o.error,
                            "layers": {name: summary.record() for name, summary in o.summaries.items()},
                        }
                        for o in chapter.outcomes
                    ],
                }
                for chapter in self.chapters
            ],
            "trainings": self.trainings,
            "trained": list(self.trained),
            "seconds": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
            "provenance": self.provenance,
        }


def reproduce_paper(
    out: Path,
    *,
    cache: Path,
    only: Sequence[str] = (),
    threads: int = 1,
    overwrite: bool = False,
    budget: Budget | None = None,
    limit: int | None = None,
    progress: Progress = SILENT,
) -> Paper:
    """Repeat the paper's experiments on small networks and drawn scenes.

    What is trained already, and results that are there, are taken; so the same call goes on after an interruption.

    Parameters
    ----------
    out : Path
        Folder of the page, ``paper.json``, and a series for each experiment.
    cache : Path
        Folder of the trained networks, the built-in data and packed datasets.
    only : sequence of str
        Names of experiments; empty means all.
    threads : int
        Networks that are trained at once, and threads to dissect on.
    overwrite : bool
        Replace results of other settings or other weights, and damaged ones.
    budget : Budget, optional
        How much each network learns from; snapshots that a shorter training does not reach are left out.
    limit : int, optional
        Use only the first images of the scenes.
    progress : Progress
        Told of everything.

    Raises
    ------
    NdengineError
        If a name is unknown, a training fails, or a folder can't be written or holds something else. A run that
        fails is reported in the outcomes.
    """
    out, budget = Path(out), budget or Budget()
    experiments = choose_experiments(tuple(only))
    instead = {"threads": threads, "limit": limit}
    plans = [(experiment, _reached(experiment.series(instead), budget)) for experiment in experiments]
    with _claimed(out):
        rows = _networks([series for _, series in plans])
        started = time.monotonic()
        trained = train_missing(rows, cache, threads=threads, budget=budget, progress=progress)
        dissecting = time.monotonic()
        store = Store(cache)
        chapters = []
        for experiment, series in plans:
            folder = out / experiment.name
            stale = _of_other_weights(series, folder, store, overwrite)
            progress.heading(experiment.title)
            swept = sweep_series(series, folder, cache=cache, overwrite=overwrite, anew=stale, progress=progress)
            found = find_all(swept.comparison, experiment.finders) if swept.comparison else []
            chapters.append(Chapter(experiment, swept.outcomes, swept.comparison, tuple(found)))
        paper = Paper(
            folder=out,
            chapters=tuple(chapters),
            trainings={row.name: {"about": row.about, **(store.receipt(row) or {})} for row in rows},
            trained=tuple(row.name for row in trained),
            seconds={"training": dissecting - started, "dissecting": time.monotonic() - dissecting},
            provenance=describe_machine(),
        )
        _write(paper)
    return paper


def _write(paper: Paper) -> None:
    content = {"format": FORMAT, "version": VERSION, **paper.record()}
    write_text(paper.folder / INDEX, render_paper(paper))
    write_text(paper.folder / RECORD, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _reached(series: Series, budget: Budget) -> Series:
    """A series without the snapshots that a training of this length does not reach."""

    def is_reached(model: str) -> bool:
        found = find_network(model)
        return found is None or (found[1] or 0) <= budget.iterations

    return replace(series, runs=tuple(run for run in series.runs if is_reached(run.settings.model)))


def _networks(many: Sequence[Series]) -> list[SmallNetwork]:
    """The networks that series need trained, each once."""
    rows: dict[str, SmallNetwork] = {}
    for run in (run for series in many for run in series.runs):
        found = find_network(run.settings.model)
        if found and run.settings.weights == "default":
            rows.setdefault(found[0].name, found[0])
    return list(rows.values())


def _of_other_weights(series: Series, folder: Path, store: Store, overwrite: bool) -> list[str]:
    """Runs with results of weights that have been trained anew since; without ``overwrite`` they raise ResultError."""
    stale = []
    for run in series.runs:
        found = find_network(run.settings.model)
        if not found or run.settings.weights != "default":
            continue
        try:
            known = read_record(folder / run.name).provenance["model"]["weights_sha256"]
        except (ResultError, KeyError, TypeError):  # not there, or damaged: the series sees to it
            continue
        if known == hash_file(store.weights(*found)):
            continue
        if not overwrite:
            raise ResultError(
                f"{folder / run.name} was made when {run.settings.model} had other weights; choose another --out, or "
                "replace it with --overwrite."
            )
        stale.append(run.name)
    return stale


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Hold the folder; one that holds something else is refused."""
    try:
        if out.is_dir() and any(out.iterdir()) and not (out / LOCK).exists() and not (out / RECORD).exists():
            raise ResultError(f"{out} is not empty and holds nothing of ndengine paper; choose another --out.")
        out.mkdir(parents=True, exist_ok=True)
        lock = take_lock(out / LOCK)
    except Timeout:
        raise ResultError(f"{out} is in use by another process; wait for it, or choose another --out.") from None
    except OSError as error:
        raise ResultError(cannot_write(out, error)) from None
    try:
        yield
    finally:
        lock.release()
