"""Train a small network: ``python -m ndengine.models.small.train NAME [--cache FOLDER]``.

It is trained on one thread from its seed, so that the same versions on the same kind of processor give the same bytes.
A line an epoch tells loss and marks on held-out scenes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ndengine.cache import default_cache
from ndengine.errors import NdengineError
from ndengine.models.download import hash_file
from ndengine.models.small.rows import NETWORKS, Budget, SmallNetwork
from ndengine.models.small.store import RECEIPT, WEIGHTS, Store, write_weights
from ndengine.models.training.lessons import LESSONS
from ndengine.models.training.loop import Epoch, train_network
from ndengine.progress import SILENT, Progress
from ndengine.provenance import describe_machine


def train_small(
    row: SmallNetwork,
    cache: Path,
    budget: Budget,
    *,
    after_epoch: Callable[[Epoch], None],
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train a network in this process, unless the cache has it, and give its receipt.

    Parameters
    ----------
    row : SmallNetwork
        Which.
    cache : Path
        Where it is kept.
    budget : Budget
        How much it learns from.
    after_epoch : callable
        Told of every pass.
    progress : Progress
        Told of the painting.

    Raises
    ------
    ModelError
        If the cache can't be written.
    """
    store = Store(cache)
    pictures, held_out = store.pictures(budget, progress)
    with store.renewing(row, progress) as folder:
        known = store.receipt(row)
        if known and store.has(row, budget):  # made by another process while this one waited
            return known
        started, computed = time.monotonic(), time.process_time()
        epochs: list[Epoch] = []

        def keep(step: int) -> None:
            if step in row.iterations:
                write_weights(folder / store.weights(row, step).name, net)

        def told(epoch: Epoch) -> None:
            epochs.append(epoch)
            after_epoch(epoch)

        course, lesson = budget.course(), LESSONS[row.lesson]
        with _one_thread(), torch.random.fork_rng(devices=[]):
            net = row.first().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            train_network(net, lesson, pictures, held_out, course, after_epoch=told, at_step=keep)
        write_weights(folder / WEIGHTS, net)
        receipt = {
            "network": row.record(),
            "budget": vars(budget),
            "iterations": budget.iterations,
            "epochs": [epoch.record() for epoch in epochs],
            "seconds": round(time.monotonic() - started, 1),
            "processor_seconds": round(time.process_time() - computed, 1),
            **describe_machine(),
            "files": {path.name: hash_file(path) for path in sorted(folder.iterdir())},
        }
        (folder / RECEIPT).write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
    return receipt


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread meanwhile: sums that are shared among several round otherwise."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def _print(name: str, epoch: Epoch) -> None:
    print(f"{name} {epoch.line()}", flush=True)  # a parent that is gone ends this process here


def main() -> None:
    """Train small networks and keep their weights in the cache."""
    usual = Budget()
    parser = argparse.ArgumentParser(prog="python -m ndengine.models.small.train", description=main.__doc__)
    parser.add_argument("names", nargs="+", choices=list(NETWORKS), metavar="NAME", help=", ".join(NETWORKS))
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder to keep them in (%(default)s)")
    parser.add_argument("--images", type=int, default=usual.images, help="scenes to learn from (%(default)s)")
    parser.add_argument("--epochs", type=int, default=usual.epochs, help="passes over them (%(default)s)")
    options = parser.parse_args()
    for name in options.names:
        try:
            receipt = train_small(
                NETWORKS[name],
                options.cache,
                Budget(options.images, options.epochs),
                after_epoch=partial(_print, name),
            )
        except NdengineError as error:
            sys.exit(f"Error: {error}")
        print(f"{name} is in {Store(options.cache).home(NETWORKS[name])} after {receipt['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
