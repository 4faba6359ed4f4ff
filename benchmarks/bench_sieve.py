"""Time the sieve once it has settled, and weigh the spool that it leaves.

Run it from the repository: ``python -m benchmarks.bench_sieve [--shared FOLDER]``. The last quarter of a stream passes
a sieve that has seen the rest, again and again; figures are bytes of float32 activations that go in. The baselines
keep the m+1 largest values of each unit, as one would to find its threshold in a stream: once with ``torch.topk`` over
these and the batch (unsorted, one call a batch for all units), once with ``np.partition``. They give nothing but
thresholds, where the sieve also gives what the tally needs. The floor is a memcpy of the same activations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.baselines import running_partition, running_topk
from benchmarks.equality import NETWORKS, probe_all
from benchmarks.harness import Way, begin, copying, finish, make_parser, measure
from benchmarks.synthetic import make_activations
from benchmarks.tables import Shown, Table, find, number, share, spread, warning
from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.pack import pack_dataset
from ndengine.spool import SurvivorSpool
from ndengine.threshold import find_thresholds
from ndkernels.sieve import Sieve, Survivors, naive, rank_above, select_thresholds

BATCH = 32  # images, as in a run
TIMED = 0.25  # the share of the stream, at its end, that is timed
TOPS = 5
FLOOR, TOPK, PARTITION = "memcpy of the activations", "torch.topk, running", "np.partition, running"
BASES = {"times_topk": TOPK, "times_partition": PARTITION}


def batches_of(activations: Tensor, first: int = 0, last: int | None = None) -> list[tuple[int, Tensor]]:
    """Batches of the images from ``first`` to ``last``, each with the number of its first image."""
    last = len(activations) if last is None else last
    return [(start, activations[start : min(start + BATCH, last)]) for start in range(first, last, BATCH)]


def sift(sieve: Sieve, batches: Sequence[tuple[int, Tensor]]) -> list[Survivors]:
    """What a sieve leaves of batches."""
    return [sieve.add(batch, first)[0] for first, batch in batches]


def check_sieve(activations: Tensor, threads: int, maps: int = 1 << 15) -> str:
    """Compare thresholds of all units, and the survivors of some images, with the definition.

    Returns
    -------
    str
        What was compared, as half a sentence.
    """
    units = activations.shape[1]
    above = rank_above("0.005", activations[:, 0].numel())
    sieve = Sieve(units, above, threads)
    blocks = sift(sieve, batches_of(activations))
    found = select_thresholds(lambda: blocks, sieve.bound, above, threads=threads).numpy()
    expected = naive.thresholds(activations.numpy(), above)
    np.testing.assert_array_equal(found, expected, err_msg="the sieve's thresholds differ from naive")
    images = max(1, min(len(activations), BATCH, maps // units))
    last = Sieve(units, above, threads)
    left, *_ = last.add(activations[:images], 0)
    parts = left.image, left.unit, left.bitmap, left.values
    for part, right in zip(parts, naive.survivors(activations[:images].numpy(), last.bound.numpy()), strict=True):
        np.testing.assert_array_equal(part.numpy(), right, err_msg="survivors differ from naive")
    running, kept = torch.empty((units, 0)), np.empty((units, 0), np.float32)
    for _, batch in batches_of(activations):
        running = running_topk(running, batch, above + 1)
        kept = running_partition(kept, batch.numpy(), above + 1)
    np.testing.assert_array_equal(running.amin(1).numpy() + 0, expected, err_msg="torch.topk finds other thresholds")
    np.testing.assert_array_equal(kept.min(1) + 0, expected, err_msg="np.partition finds other thresholds")
    return f"thresholds of {units} units and survivors of {images} images equal to naive; baselines' thresholds too"


def ways_of(activations: Tensor, threads: Sequence[int]) -> list[Way]:
    """The sieve on one thread and on several, the baselines and the floor, on the end of the stream."""
    units, images = activations.shape[1], len(activations)
    above = rank_above("0.005", activations[:, 0].numel())
    seen = images - max(1, int(TIMED * images))
    before, timed = batches_of(activations, 0, seen), batches_of(activations, seen)
    end = activations[seen:]
    ways = [copying(FLOOR, images - seen, end)]
    for t in threads:
        sieve = Sieve(units, above, t)
        blocks = sift(sieve, before)
        bound = sieve.bound.clone()
        name = f"sieve, {t} thread{'s' if t > 1 else ''}"
        restore, call = restoring(sieve, bound, blocks), sifting(sieve, timed)
        ways.append(Way(name, call, images - seen, end.nbytes, FLOOR, before=restore))
    running, kept = torch.empty((units, 0)), np.empty((units, 0), np.float32)
    for _, batch in before:
        running = running_topk(running, batch, above + 1)
    kept = running.numpy()

    def topk() -> None:
        values = running
        for _, batch in timed:
            values = running_topk(values, batch, above + 1)

    def partition() -> None:
        values = kept
        for _, batch in timed:
            values = running_partition(values, batch.numpy(), above + 1)

    ways.append(Way(TOPK, topk, images - seen, end.nbytes, FLOOR))
    ways.append(Way(PARTITION, partition, images - seen, end.nbytes, FLOOR))
    return ways


def restoring(sieve: Sieve, bound: Tensor, blocks: Sequence[Survivors]) -> Callable[[], object]:
    """A call that takes a sieve back to where the timed batches begin."""
    return lambda: sieve.restore(bound, blocks)


def sifting(sieve: Sieve, batches: Sequence[tuple[int, Tensor]]) -> Callable[[], object]:
    """A call that passes batches through a sieve."""
    return lambda: sift(sieve, batches)


def weigh_spool(activations: Tensor, threads: int) -> dict[str, Any]:
    """Bytes of the spool as the engine fills it: at its peak, and finished (compacted against the thresholds)."""
    units = activations.shape[1]
    above = rank_above("0.005", activations[:, 0].numel())
    spool, peak = SurvivorSpool(units, above, TOPS, threads=threads), 0
    for first, batch in batches_of(activations):
        spool.add(batch, first)
        peak = max(peak, spool.nbytes)
    spool.close()
    peak = max(peak, spool.nbytes)
    thresholds = find_thresholds(spool, above, threads=threads)
    np.testing.assert_array_equal(thresholds, naive.thresholds(activations.numpy(), above))
    dense = activations.nbytes
    return {
        "images": len(activations),
        "units": units,
        "dense_bytes": dense,
        "peak_bytes": peak,
        "finished_bytes": spool.nbytes,
        "peak_share": peak / dense,
        "finished_share": spool.nbytes / dense,
        "maps_share": sum(len(s) for s in spool.survivors()) / (len(activations) * units),
    }


def streams(shared: Path | None, quick: bool) -> dict[str, Tensor]:
    """The activations that pass, by name."""
    images, units, side = (40, 8, 6) if quick else (512, 512, 14)
    found = {f"VGG16 conv5_3-like, {side}×{side}": torch.from_numpy(make_activations(images, units, (side, side)))}
    if shared:
        network = NETWORKS["squeezenet"]
        with (
            tempfile.TemporaryDirectory() as folder,
            pack_dataset(BrodenFolder(shared / "minibroden"), Path(folder) / "pack.h5") as pack,
        ):
            activations, layer = probe_all(network, shared, pack, np.arange(min(len(pack), 8) if quick else len(pack)))
        found[f"{network.model} {layer.name}, all real images"] = torch.from_numpy(activations)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    args = begin(make_parser(__doc__, repeats=9), argv, "bench_sieve")
    threads, found = sorted({1, args.threads}), []
    for name, activations in streams(args.shared, args.quick).items():
        for t in threads:
            checked = check_sieve(activations, t)
        spool = weigh_spool(activations, args.threads)
        rows = measure(ways_of(activations, threads), args.repeats, BASES)
        found.append({"name": name, "shape": list(activations.shape), "checked": checked, "rows": rows, "spool": spool})
    finish(args, "sieve", {"cases": found}, show)


def show(content: Mapping[str, Any]) -> Shown:
    """The speeds, and the spools."""
    tables, spools = [], []
    for case in content["cases"]:
        n, u, h, w = case["shape"]
        caption = f"{case['name']}: {n} images, {u} units, {h}×{w}, the last {TIMED:.0%} timed; {case['checked']}"
        rows = [
            (
                row["way"], number(row["gb_per_second"]), spread(row), number(row["times_topk"]),
                number(row["times_partition"]), share(row.get("share_of_floor")), number(row["us_per_item"]),
            )
            for row in case["rows"]
        ]  # fmt: skip
        headings = ("way", "GB/s", "spread", "times topk", "times partition", "share of floor", "µs an image")
        tables.append(Table(caption, headings, rows))
        spool = case["spool"]
        sizes = [number(spool[f"{what}_bytes"] / 1e6) for what in ("dense", "peak", "finished")]
        spools.append((case["name"], *sizes, *(share(spool[f"{what}_share"]) for what in ("peak", "finished", "maps"))))
    caption = "Spools of survivors in memory, against all activations as float32; thresholds equal to naive:"
    headings = ("stream", "dense, MB", "peak, MB", "finished, MB", "peak", "finished", "maps kept")
    tables.append(Table(caption, headings, spools))
    return Shown(tables, _reading(content["cases"]))


def _reading(cases: Sequence[Mapping[str, Any]]) -> str:
    sentences = []
    for case in cases:
        row, floor = find(case["rows"], "sieve, 1 thread"), find(case["rows"], FLOOR)
        assert row
        assert floor
        spool = case["spool"]
        sentences.append(
            f"{case['name']}: one thread sieves {number(row['gb_per_second'])} GB/s where a memcpy copies "
            f"{number(floor['gb_per_second'])}, {number(row['times_topk'])} times as fast as torch.topk; the finished "
            f"spool is {number(1 / spool['finished_share'])} times smaller than the activations, at its peak "
            f"{number(1 / spool['peak_share'])} times."
        )
    return " ".join(sentences) + warning([row for case in cases for row in case["rows"]])


if __name__ == "__main__":
    main()
