"""Time a whole run against the bare forward pass of the same network over the same images.

Run it from the repository: ``python -m benchmarks.bench_run squeezenet --shared FOLDER``. Imports, compilation and
packing are reported apart; everything else a run does, the report included, counts against it. Bare passes and whole
runs take turns, in one process with one allocator setting and one number of threads. ``--memory`` also watches the peak
memory of runs in processes of their own.
"""

from __future__ import annotations

import contextlib
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.equality import NETWORKS, Network, differences, grid_of, naive_counts, open_network
from benchmarks.harness import begin, finish, make_parser
from benchmarks.machine import UNSTABLE, Timing, spread_of, write_results
from benchmarks.tables import Shown, Table, find, number, spread, warning
from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.pack import cached_pack
from ndengine.datasets.packed import PackedDataset
from ndengine.dissect import dissect_network
from ndengine.settings import PRESETS, Settings
from ndkernels.pixels import look_up_pixels

BATCH = 32
CHECKED = 4  # images of the run that is compared with the definition
BARE, WHOLE = "bare forward pass", "whole run"


class Stop(Exception):  # noqa: N818 - no error
    """Ends a forward pass behind the layer."""


def bare_forward(network: Network, shared: Path, pack: PackedDataset, images: int, threads: int) -> tuple[float, float]:
    """Seconds of a bare pass over decoded images in memory: bytes to a batch, and the network up to the layer.

    Returns
    -------
    whole, batches : float
        All of it, and the first half alone.
    """
    probe, layer, preprocessing = open_network(network, shared, pack.path.parent, pack.image_size)
    module, table = probe.module, preprocessing.table()
    decoded = pack.images(np.arange(images))

    def stop(*args: object) -> None:
        raise Stop

    handle = module.get_submodule(layer.path).register_forward_hook(stop)
    batches, start = 0.0, time.perf_counter()
    with torch.inference_mode():
        for first in range(0, images, BATCH):
            began = time.perf_counter()
            batch = look_up_pixels(decoded[first : first + BATCH], table, preprocessing.order, threads=threads)
            batches += time.perf_counter() - began
            with contextlib.suppress(Stop):
                module(batch)
    seconds = time.perf_counter() - start
    handle.remove()
    return seconds, batches


def settings_of(network: Network, shared: Path, threads: int, images: int) -> Settings:
    """The settings of the run that is timed."""
    return Settings(
        model=network.model,
        weights=str(shared / "weights" / network.weights),
        layers=(network.layer,),
        data=str(shared / "minibroden"),
        limit=images,
        mean=network.mean,
        channels="bgr",
        scale=255.0,
        batch_size=BATCH,
        threads=threads,
    )


def check_run(network: Network, shared: Path, pack: PackedDataset, scratch: Path, threads: int) -> str:
    """Compare the counts of a run over the first images with the definition.

    Returns
    -------
    str
        What was compared, as half a sentence.
    """
    images = min(CHECKED, len(pack))
    result = dissect_network(settings_of(network, shared, threads, images), scratch / "checked", cache=scratch)
    probe, layer, preprocessing = open_network(network, shared, scratch, pack.image_size)
    batch = look_up_pixels(pack.images(np.arange(images)), preprocessing.table(), preprocessing.order)
    activations = probe.activations(batch)[layer.name].numpy()
    knobs = PRESETS["netdissect"]
    grid = grid_of(knobs, layer, pack, pack.image_size)
    expected = naive_counts(activations, layer, BrodenFolder(pack.source), knobs, grid)
    (counts,) = (found.counts for found in result.layers.values())
    wrong = differences(counts, expected)
    assert not wrong, f"a run over {images} images: {', '.join(wrong)} differ from naive"
    return f"counts of a run over {images} images equal to naive"


def time_runs(args: Namespace, network: Network, pack: PackedDataset, scratch: Path) -> dict[str, Any]:
    """Bare passes and whole runs by turns."""
    images = min(args.images or len(pack), len(pack))
    settings = settings_of(network, args.shared, args.threads, images)
    rounds = []
    besides = []  # seconds of a run less those of its own forward pass, and of making batches as a bare pass does
    compiling = 0.0
    stages: dict[str, float] = {}
    for turn in range(args.repeats + 1):  # the first turn warms up: it compiles and fills caches
        bare, batches = bare_forward(network, args.shared, pack, images, args.threads)
        start = time.perf_counter()
        result = dissect_network(settings, scratch / f"out-{turn}", cache=scratch)
        whole = time.perf_counter() - start
        stages = result.provenance["seconds"]
        whole -= stages["compile"]
        compiling = compiling or stages["compile"]
        name = "warm-up" if turn == 0 else f"turn {turn}"
        print(f"{name}: bare {bare:.2f} s, whole run {whole:.2f} s, ratio {whole / bare:.3f}", flush=True)
        if turn:
            rounds.append((bare, whole))
            besides.append(whole - result.provenance["profile"]["parts"]["probe"]["forward"] - batches)
    ratios = tuple(whole / bare for bare, whole in rounds)
    rows = []
    for way, seconds in zip((BARE, WHOLE), zip(*rounds, strict=True), strict=True):
        timing = Timing(seconds)
        rows.append({"way": way, "items": images, "us_per_item": timing.median / images * 1e6, **timing.record()})
    return {
        "images": images,
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "ratio_spread": spread_of(ratios),
        "ratios": list(ratios),
        "beside_forward_seconds": besides,
        "compile_seconds": compiling,
        "last_run_seconds": stages,
        "rows": rows,
    }


def import_seconds() -> float:
    """What a process needs to import the command and the pipeline."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import ndcli.main, ndengine.dissect"], check=True)
    return time.perf_counter() - start


def repeat_dataset(source: Path, target: Path, times: int) -> None:
    """A dataset of ``times`` as many images: the same files under several names."""
    (target / "images").mkdir(parents=True)
    for table in source.glob("*.csv"):
        if table.name != "index.csv":
            (target / table.name).write_bytes(table.read_bytes())
    for path in (source / "images").iterdir():
        for t in range(times):
            (target / "images" / f"{t}_{path.name}").symlink_to(path.resolve())
    with (source / "index.csv").open(newline="") as text, (target / "index.csv").open("w", newline="") as out:
        rows = list(csv.reader(text))
        writer = csv.writer(out)
        writer.writerow(rows[0])
        for t in range(times):
            for row in rows[1:]:
                cells = [[f"{t}_{p}" if p.endswith(".png") else p for p in c.split(";")] for c in row]
                writer.writerow([f"{t}_{row[0]}", *row[1:6], *(";".join(c) for c in cells[6:])])


def watch_memory(args: Namespace, network: Network, scratch: Path) -> list[dict[str, Any]]:
    """Peak memory of runs in processes of their own, with the disk spool, at one, two and four times the images."""
    rows = []
    for times in (1, 2, 4):
        data = scratch / f"repeated-{times}"
        repeat_dataset(args.shared / "minibroden", data, times)
        cached_pack(data, scratch).close()  # packing is not part of what is watched
        out = scratch / f"memory-{times}"
        command = [
            sys.executable, "-m", "ndcli", "run", "--model", network.model, "--layer", network.layer,
            "--weights", str(args.shared / "weights" / network.weights), "--data", str(data),
            "--channels", "bgr", "--mean", ",".join(map(str, network.mean)), "--scale", "255",
            "--spool", "disk", "--threads", str(args.threads), "--out", str(out), "--cache", str(scratch), "--quiet",
        ]  # fmt: skip
        subprocess.run(command, check=True)
        record = json.loads((out / "result.json").read_text())
        images = record["images"]
        peak = record["provenance"]["peak_memory_bytes"]
        rows.append({"images": images, "peak_memory_bytes": peak, "spool_bytes": record["provenance"]["spool_bytes"]})
        print(f"{images} images: peak {peak / 2**20:.0f} MiB", flush=True)
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--images", type=int, help="time the first images alone")
    parser.add_argument("--memory", action="store_true", help="also watch the peak memory")
    args = begin(parser, argv, "bench_run")
    if not args.shared:
        parser.error("--shared is needed: the folder with minibroden/ and weights/")
    args.images = args.images or (CHECKED if args.quick else None)
    torch.set_num_threads(args.threads)  # of the bare pass, too
    network = NETWORKS[args.network]
    facts = {"network": network.model, "layer": network.layer}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        start = time.perf_counter()
        with cached_pack(args.shared / "minibroden", scratch) as pack:
            packing = time.perf_counter() - start
            checked = check_run(network, args.shared, pack, scratch, args.threads)
            case = time_runs(args, network, pack, scratch)
        apart = {"packing_seconds": packing, "import_seconds": None if args.quick else import_seconds()}
        case = {"name": f"{network.model} {network.layer}", "checked": checked, **case, **apart}
        finish(args, f"run-{args.network}", {**facts, "cases": [case]}, show)
        if args.memory:
            content = {**facts, "command": args.command, "rows": watch_memory(args, network, scratch)}
            print(write_results(f"memory-{args.network}", content, folder=args.results))


def show(content: Mapping[str, Any]) -> Shown:
    """The two times, and what lies between them."""
    (case,) = content["cases"]
    threads = content["threads"]
    caption = (
        f"{case['name']}: {case['images']} images, {threads} thread{'s' if threads > 1 else ''}; "
        f"{case.get('checked', 'counts compared elsewhere')}"
    )
    rows = [(row["way"], number(row["us_per_item"] / 1e3), spread(row)) for row in case["rows"]]
    low, high = case["ratio_range"]
    turns = f"{len(case['ratios'])} turns{', unstable' if case['ratio_spread'] > UNSTABLE else ''}"
    parts = {"imports": "import_seconds", "compilation": "compile_seconds", "packing": "packing_seconds"}
    apart = ", ".join(f"{what} {number(case[key], 2)} s" for what, key in parts.items() if case.get(key) is not None)
    stages = ", ".join(f"{stage} {number(seconds, 2)} s" for stage, seconds in case["last_run_seconds"].items())
    reading = (
        f"A whole run takes {case['ratio']:.3f} times the bare forward pass ({low:.3f} to {high:.3f} in "
        f"{turns}).{beside(case)} Not counted: {apart}. The last run by stage: {stages}."
    )
    return Shown([Table(caption, ("what", "ms an image", "spread"), rows)], reading + warning(case["rows"]))


def beside(case: Mapping[str, Any]) -> str:
    """What a run adds to its own forward pass; in the ratio the processor may change its pace from pass to pass."""
    seconds = case.get("beside_forward_seconds")
    if not seconds:
        return ""
    bare = find(case["rows"], BARE)
    assert bare
    middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
    share = middle / (bare["us_per_item"] * 1e-6 * case["images"])
    return (
        " Beside its own forward pass (with the copy of the layer's maps) and making batches, a run takes "
        f"{middle:.2f} s ({low:.2f} to {high:.2f}): {share:.1%} of a bare pass."
    )


def show_memory(content: Mapping[str, Any]) -> Shown:
    """Peaks at several numbers of images."""
    rows = [
        (f"{row['images']:,}", f"{row['peak_memory_bytes'] / 2**20:,.0f}", number(megabytes(row.get("spool_bytes"))))
        for row in content["rows"]
    ]
    peaks = [row["peak_memory_bytes"] for row in content["rows"]]
    counts = [row["images"] for row in content["rows"]]
    more, higher = number(counts[-1] / counts[0], 2), number(peaks[-1] / peaks[0])
    reading = f"With {more} times the images the peak is {higher} times as high."
    caption = f"{content['network']} {content['layer']}, disk spool"
    return Shown([Table(caption, ("images", "peak memory, MiB", "spool, MB"), rows)], reading)


def megabytes(size: float | None) -> float | None:
    """Bytes in millions, if known."""
    return None if size is None else size / 1e6


if __name__ == "__main__":
    main()
