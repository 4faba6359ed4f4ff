"""Time a whole run against the bare forward pass of the same network over the same images, and watch its memory.

Run it from the repository: ``python -m benchmarks.bench_run squeezenet --shared FOLDER``. Imports, compilation and
packing are reported apart; everything else a run does, the report included, counts against it.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.equality import NETWORKS, Network, open_network
from benchmarks.machine import machine_line, write_results
from ndcli.allocator import keep_memory
from ndengine.datasets.pack import cached_pack
from ndengine.datasets.packed import PackedDataset
from ndengine.dissect import dissect_network
from ndengine.settings import Settings
from ndkernels.pixels import look_up_pixels

BATCH = 32


class Stop(Exception):  # noqa: N818 - no error
    """Ends a forward pass behind the layer."""


def bare_forward(network: Network, shared: Path, pack: PackedDataset, images: int) -> float:
    """Seconds of a bare pass over decoded images in memory: bytes to a batch, and the network up to the layer."""
    probe, layer, preprocessing = open_network(network, shared, pack.path.parent)
    module, table = probe.module, preprocessing.table()
    decoded = pack.images(np.arange(images))

    def stop(*args: object) -> None:
        raise Stop

    handle = module.get_submodule(layer.path).register_forward_hook(stop)
    start = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, images, BATCH):
            with contextlib.suppress(Stop):
                module(look_up_pixels(decoded[first : first + BATCH], table, preprocessing.order))
    seconds = time.perf_counter() - start
    handle.remove()
    return seconds


def settings_of(network: Network, shared: Path, data: Path, threads: int, images: int) -> Settings:
    """The settings of the run that is timed."""
    return Settings(
        model=network.model,
        weights=str(shared / "weights" / network.weights),
        layers=(network.layer,),
        data=str(data),
        limit=images,
        mean=network.mean,
        channels="bgr",
        scale=255.0,
        batch_size=BATCH,
        threads=threads,
    )


def time_runs(args: argparse.Namespace, network: Network, scratch: Path) -> dict[str, Any]:
    """Bare passes and whole runs by turns."""
    data = args.shared / "minibroden"
    start = time.perf_counter()
    pack = cached_pack(data, scratch)
    packing = time.perf_counter() - start
    images = args.images or len(pack)
    settings = settings_of(network, args.shared, data, args.threads, images)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import ndcli.main, ndengine.dissect"], check=True)
    importing = time.perf_counter() - start
    rounds = []
    compiling = 0.0
    stages: dict[str, float] = {}
    for turn in range(args.repeats + 1):  # the first turn warms up: it compiles and fills caches
        bare = bare_forward(network, args.shared, pack, images)
        start = time.perf_counter()
        result = dissect_network(settings, scratch / f"out-{turn}", cache=scratch)
        whole = time.perf_counter() - start
        stages = result.provenance["seconds"]
        whole -= stages["compile"]
        compiling = compiling or stages["compile"]
        print(
            f"{'warm-up' if turn == 0 else f'turn {turn}'}: bare {bare:.2f} s, whole run {whole:.2f} s, "
            f"ratio {whole / bare:.3f}"
        )
        if turn:
            rounds.append((bare, whole))
    ratios = sorted(whole / bare for bare, whole in rounds)
    return {
        "images": images,
        "bare_ms_per_image": statistics.median(b for b, _ in rounds) / images * 1e3,
        "whole_ms_per_image": statistics.median(w for _, w in rounds) / images * 1e3,
        "ratio": statistics.median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
        "packing_seconds": packing,
        "import_seconds": importing,
        "compile_seconds": compiling,
        "last_run_seconds": stages,
    }


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


def watch_memory(args: argparse.Namespace, network: Network, scratch: Path) -> list[dict[str, Any]]:
    """Peak memory of runs in processes of their own, with the disk spool, at one, two and four times the images."""
    rows = []
    for times in (1, 2, 4):
        data = scratch / f"repeated-{times}"
        repeat_dataset(args.shared / "minibroden", data, times)
        cached_pack(data, scratch)  # packing is not part of what is watched
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
        print(f"{images} images: peak {peak / 2**20:.0f} MiB")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--shared", type=Path, required=True, help="folder with minibroden/ and weights/")
    parser.add_argument("--images", type=int, help="time the first images alone")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true", help="also watch the peak memory")
    args = parser.parse_args()
    keep_memory()
    torch.set_num_threads(args.threads)
    network = NETWORKS[args.network]
    print(machine_line())
    with tempfile.TemporaryDirectory() as folder:
        content: dict[str, Any] = {"network": network.model, "layer": network.layer, "threads": args.threads}
        content["time"] = time_runs(args, network, Path(folder))
        found = content["time"]
        print(
            f"{network.model} {network.layer}, {found['images']} images, {args.threads} threads: bare forward "
            f"{found['bare_ms_per_image']:.1f} ms an image, whole run {found['whole_ms_per_image']:.1f}, ratio "
            f"{found['ratio']:.3f} ({found['ratio_range'][0]:.3f} to {found['ratio_range'][1]:.3f}); "
            f"apart from that: imports {found['import_seconds']:.1f} s, compilation (or loading what is compiled) "
            f"{found['compile_seconds']:.1f} s, packing {found['packing_seconds']:.1f} s; "
            f"last run by stage: {found['last_run_seconds']}"
        )
        if args.memory:
            content["memory"] = watch_memory(args, network, Path(folder))
    print(write_results(f"run-{args.network}", content))


if __name__ == "__main__":
    main()
