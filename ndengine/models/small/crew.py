"""Training what is missing: one process a network, as many at once as there are threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import ndengine
from ndengine.errors import ModelError
from ndengine.models.small.rows import Budget, SmallNetwork
from ndengine.models.small.store import Store
from ndengine.progress import SILENT, Progress

SCRIPT = "ndengine.models.small.train"


def train_missing(
    rows: Sequence[SmallNetwork],
    cache: Path,
    *,
    threads: int,
    budget: Budget | None = None,
    progress: Progress = SILENT,
) -> list[SmallNetwork]:
    """Train the networks that a cache lacks; what is there and whole is never trained again.

    Each is trained on one thread, in a process of its own: so its weights don't depend on how many there are, and
    two threads train two networks in the time of one, which they don't when they share one.

    Parameters
    ----------
    rows : sequence of SmallNetwork
        Which.
    cache : Path
        Where they are kept.
    threads : int
        Networks that are trained at once.
    budget : Budget, optional
        How much each learns from; one that has learned from something else is trained anew. Without it, whatever is
        there is taken, and what is not gets the usual budget.
    progress : Progress
        Told of the painting, of every pass, and of what was damaged.

    Returns
    -------
    list of SmallNetwork
        Those that were trained.

    Raises
    ------
    ModelError
        If the cache can't be written or a training fails.
    """
    store = Store(cache)
    missing = [row for row in rows if not store.has(row, budget)]
    if not missing:
        return []
    for row in missing:
        if store.is_damaged(row):
            progress.note(f"{store.home(row)} is damaged or from another version; {row.name} is trained again.")
    amount = budget or Budget()
    store.pictures(amount, progress)  # before the processes, which would wait for each other
    stop = Event()
    with (
        progress.stage("training", amount.epochs * len(missing), "epochs") as advance,
        ThreadPoolExecutor(max(1, threads)) as pool,
    ):
        jobs = [pool.submit(_train, row, cache, amount, advance, stop) for row in missing]
        try:
            for job in jobs:
                job.result()
        finally:
            stop.set()  # whatever ended this, no process goes on without somebody who waits for it
    return missing


def _train(row: SmallNetwork, cache: Path, budget: Budget, advance: Callable[[int], None], stop: Event) -> None:
    """Run the script for one network and pass on its epochs."""
    if stop.is_set():
        return
    command = [sys.executable, "-m", SCRIPT, row.name, "--cache", str(cache)]
    command += ["--images", str(budget.images), "--epochs", str(budget.epochs)]
    here = str(Path(ndengine.__file__).resolve().parents[1])  # the very package that is running
    paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if stop.is_set():
                process.terminate()
            elif " epoch " in line:
                advance(1)
        complaint = process.stderr.read().strip().splitlines()
    if process.returncode and not stop.is_set():
        reason = complaint[-1].removeprefix("Error: ") if complaint else f"exit code {process.returncode}"
        raise ModelError(f"{row.name} could not be trained: {reason.rstrip('.')}; try python -m {SCRIPT} {row.name}.")
