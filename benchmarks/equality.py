"""Show on real networks and images that every spool, preset and number of threads gives the integers of ``naive``.

One forward pass serves all. ``python -m benchmarks.equality squeezenet --shared FOLDER`` checks all images of a
labelled set; the test suite checks 60 of them with the same code.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness import begin, finish, make_parser
from benchmarks.machine import device_of
from benchmarks.tables import Shown, Table
from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.pack import pack_dataset
from ndengine.datasets.packed import PackedDataset
from ndengine.devices import CPU
from ndengine.models.layers import Layer
from ndengine.models.preprocess import Preprocessing, resolve_preprocessing
from ndengine.models.registry import load_model
from ndengine.probe import Probe, read_batches
from ndengine.result_files import read_counts, write_counts
from ndengine.settings import PRESETS, Knobs
from ndengine.spool import DenseSpool, Spool, SurvivorSpool
from ndengine.tally import Counts, tally_layer
from ndengine.threshold import find_thresholds
from ndkernels.grid import Grid, make_grid, tables
from ndkernels.sieve import naive as sieve_naive
from ndkernels.sieve import rank_above
from ndkernels.tally import naive as tally_naive

SPOOLS = ("memory", "disk", "dense")
TOPS = 5


@dataclass(frozen=True)
class Network:
    """A network whose weights and preprocessing are known."""

    model: str
    layer: str
    weights: str
    mean: tuple[float, float, float]


NETWORKS = {
    "squeezenet": Network("squeezenet1_1", "features.12", "squeezenet1_1_ndf.pth", (103.939, 116.779, 123.68)),
    "vgg16": Network("vgg16", "conv5_3", "vgg16_features_hed_bsds500.pth", (104.007, 116.669, 122.679)),
}


def open_network(
    network: Network, shared: Path, cache: Path, size: tuple[int, int] = (224, 224)
) -> tuple[Probe, Layer, Preprocessing]:
    """The network's probe, layer and preprocessing."""
    model = load_model(
        network.model,
        str(shared / "weights" / network.weights),
        layers=(network.layer,),
        size=size,
        cache=cache,
    )
    preprocessing = resolve_preprocessing(model.preprocessing, network.mean, None, "bgr", 255.0)
    return Probe(model.module, model.layers), model.layers[0], preprocessing


def probe_all(
    network: Network, shared: Path, pack: PackedDataset, indices: NDArray[np.int64]
) -> tuple[NDArray[np.float32], Layer]:
    """Activations ``[N, U, h, w]`` of some images, from one forward pass."""
    probe, layer, preprocessing = open_network(network, shared, pack.path.parent)
    batches = read_batches(pack.images, indices, preprocessing, size=(224, 224), batch_size=16)
    return np.concatenate([probe.activations(batch)[layer.name].numpy() for _, batch in batches]), layer


def fill(
    kind: str, activations: NDArray[np.float32], above: int, threads: int, folder: Path, device: torch.device = CPU
) -> Spool:
    """A spool of a kind with all activations in it, from a device."""
    units = activations.shape[1]
    spool: Spool
    if kind == "dense":
        shape = (len(activations), units, activations.shape[2], activations.shape[3])
        spool = DenseSpool(folder / "activations.h5", shape, above, TOPS, threads=threads, device=device)
    else:
        home = folder if kind == "disk" else None
        spool = SurvivorSpool(units, above, TOPS, threads=threads, device=device, folder=home)
    for start in range(0, len(activations), 32):
        spool.add(torch.from_numpy(activations[start : start + 32]).to(device), start)
    spool.close()
    return spool


def all_counts(
    activations: NDArray[np.float32], layer: Layer, pack: PackedDataset, scratch: Path, device: torch.device = CPU
) -> Iterator[tuple[str, str, Counts]]:
    """``counts.h5`` by every spool and number of threads, for every preset: its name, how it was made, the counts."""
    images, vocabulary = len(activations), pack.vocabulary
    for kind in SPOOLS:
        for threads in (1, 2) if device.type == "cpu" else (1,):
            folder = scratch / f"{device.type}-{kind}-{threads}"
            folder.mkdir()
            above = rank_above("0.005", activations[:, 0].size)
            spool = fill(kind, activations, above, threads, folder, device)
            thresholds = find_thresholds(spool, above, threads=threads)
            for name, knobs in PRESETS.items():
                counts, _ = tally_layer(
                    spool.survivors(),
                    thresholds,
                    grid_of(knobs, layer, pack),
                    lambda first, last: pack.labels(np.arange(first, last)),
                    images,
                    vocabulary,
                    overlap=knobs.overlap,
                    area=knobs.area,
                    top_images=spool.tops.images.cpu().numpy(),
                    threads=threads,
                    device=device,
                )
                path = folder / f"{name}.h5"
                write_counts(path, counts, spool.tops.dead.cpu().numpy(), vocabulary)
                where = f"{threads} threads" if device.type == "cpu" else device.type
                yield name, f"{kind} spool, {where}", read_counts(path)[0]


def grid_of(knobs: Knobs, layer: Layer, pack: PackedDataset, inputs: tuple[int, int] = (224, 224)) -> Grid:
    """The grid that a preset asks for."""
    return make_grid(knobs.geometry, maps=layer.shape[1:], labels=pack.label_size, inputs=inputs, field=layer.field)


def naive_counts(
    activations: NDArray[np.float32], layer: Layer, source: BrodenFolder, knobs: Knobs, grid: Grid, processes: int = 1
) -> Counts:
    """The definition, on the label maps as their files hold them; processes split the images."""
    thresholds = sieve_naive.thresholds(activations, rank_above("0.005", activations[:, 0].size))
    edges = [len(activations) * p // processes for p in range(processes + 1)]
    parts = [
        (activations[a:b], thresholds, [np.array(t) for t in tables(grid)], source, (a, b), knobs)
        for a, b in itertools.pairwise(edges)
    ]
    if processes == 1:
        done = [naive_part(*parts[0])]
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            done = list(pool.map(naive_part, *zip(*parts, strict=True)))
    inter, area, area_all, concept_area, concept_images = (sum(p) for p in zip(*done, strict=True))  # type: ignore[misc]
    return Counts(thresholds, inter, concept_area, area, area_all, concept_images)


def naive_part(
    activations: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    grid: Sequence[NDArray[np.float32]],
    source: BrodenFolder,
    span: tuple[int, int],
    knobs: Knobs,
) -> tuple[NDArray[np.int64], ...]:
    """The definition on a span of images."""
    labels = [source.labels(i) for i in range(*span)]
    maps, whole = [m for m, _ in labels], [w for _, w in labels]
    category = source.vocabulary.primary.astype(np.int32)
    once = knobs.overlap == "once"
    counts = tally_naive.tally(
        activations, thresholds, grid, maps, whole, category, len(source.vocabulary.categories),
        once=once, area=knobs.area,
    )  # fmt: skip
    return (*counts, *tally_naive.count_concepts(maps, whole, len(category), once=once))


def differences(one: Counts, other: Counts) -> list[str]:
    """Names of the arrays in which two counts differ, in value, shape or type."""
    return [
        f.name
        for f in fields(Counts)
        if getattr(one, f.name).dtype != getattr(other, f.name).dtype
        or not np.array_equal(getattr(one, f.name), getattr(other, f.name))
    ]


def compare(
    name: str,
    shared: Path,
    pack: PackedDataset,
    images: int,
    scratch: Path,
    processes: int = 1,
    devices: Sequence[torch.device] = (CPU,),
) -> Iterator[dict[str, Any]]:
    """Compare everything: a row a comparison; raises AssertionError where integers differ."""
    source = BrodenFolder(pack.source)
    activations, layer = probe_all(NETWORKS[name], shared, pack, np.arange(images))
    expected = {
        preset: naive_counts(activations, layer, source, knobs, grid_of(knobs, layer, pack), processes)
        for preset, knobs in PRESETS.items()
    }
    for device in devices:
        for preset, how, counts in all_counts(activations, layer, pack, scratch, device):
            wrong = differences(counts, expected[preset])
            assert not wrong, f"{name}, preset {preset}, {how}: {', '.join(wrong)} differ from naive"
            yield {"preset": preset, "how": how, "sum_of_intersections": int(counts.intersection.sum())}


def check(
    name: str,
    shared: Path,
    pack: PackedDataset,
    images: int,
    scratch: Path,
    processes: int = 1,
    devices: Sequence[torch.device] = (CPU,),
) -> list[str]:
    """Compare everything; gives one line a comparison, and raises AssertionError where integers differ."""
    return [line_of_row(name, row) for row in compare(name, shared, pack, images, scratch, processes, devices)]


def line_of_row(name: str, row: Mapping[str, Any]) -> str:
    """A comparison in a line."""
    total = row["sum_of_intersections"]
    return f"{name}, preset {row['preset']}, {row['how']}: counts.h5 equals naive (sum of intersections {total:,})"


def show(content: Mapping[str, Any]) -> Shown:
    """A row a preset."""
    ways: dict[str, list[Mapping[str, Any]]] = {}
    for row in content["rows"]:
        ways.setdefault(row["preset"], []).append(row)
    cells = [
        (preset, ", ".join(sorted({f"{r['sum_of_intersections']:,}" for r in rows})), f"{len(rows)} of {len(rows)}",
         _ways([r["how"] for r in rows]))
        for preset, rows in ways.items()
    ]  # fmt: skip
    caption = f"{content['network']}, {content['images']} images, {content['seconds']:.0f} s"
    reading = f"All {len(content['rows'])} comparisons are equal, integer for integer."
    headings = ("preset", "sum of intersections", "equal to naive", "ways")
    return Shown([Table(caption, headings, cells)], " ".join([reading, *content.get("notes", ())]))


def _ways(hows: Sequence[str]) -> str:
    """The ways of counting, shorter where every spool went every way."""
    kinds, ways = (list(dict.fromkeys(how.split(" spool, ")[i] for how in hows)) for i in range(2))
    full = len(kinds) * len(ways) == len(hows)
    return f"{', '.join(kinds)} spools × {', '.join(ways)}" if full else "; ".join(hows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, repeats=1, device=True)
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--images", type=int, help="the first images alone")
    args = begin(parser, argv, "equality")
    if not args.shared:
        parser.error("--shared is needed: the folder with minibroden/ and weights/")
    devices = [CPU] if args.device == "cpu" else [CPU, device_of(args.device, parser)]
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with pack_dataset(BrodenFolder(args.shared / "minibroden"), scratch / "pack.h5") as pack:
            start = time.perf_counter()
            images = args.images or (4 if args.quick else len(pack))
            rows = []
            for row in compare(args.network, args.shared, pack, images, scratch, os.cpu_count() or 1, devices):
                print(line_of_row(args.network, row), flush=True)
                rows.append(row)
    content = {"network": args.network, "images": images, "seconds": time.perf_counter() - start, "rows": rows}
    finish(args, f"equality-{args.network}", content, show, devices[-1])


if __name__ == "__main__":
    main()
