"""Time the tally on layers of many shapes against a NetDissect-Lite-style loop and a dense matrix product.

Run it from the repository: ``python -m benchmarks.bench_tally [--shared FOLDER]``; ``--device cuda`` times the GPU's
tally against the dense product on the same GPU, and against VGG16's forward pass up to conv5_3.

The kernels count from the dense activations, of which they find the active maps themselves, as the baselines do; and
from the list of active maps, which is what the sieve leaves. The floor is a memcpy of what must be read: activations
(or active maps) and packed labels.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.baselines import dense_matmul, lite_style
from benchmarks.harness import Way, begin, copying, finish, make_parser, measure
from benchmarks.machine import device_of
from benchmarks.tables import Shown, Table, find, number, share, spread, warning
from benchmarks.tally_cases import NAMES, SHAPES, Case, check, check_lite, make_case, real_case, shrink
from ndengine.cache import default_cache
from ndengine.devices import exact_arithmetic
from ndengine.models.registry import load_model
from ndengine.probe import Probe

HEADLINE = "conv5_3"
FEW = 4  # images of the dense product, which costs the same on every image
LITE, PRODUCT = "NetDissect-Lite style", "dense product"
ALL, ACTIVE = "memcpy: activations + labels", "memcpy: active maps + labels"
BASES = {"times_lite": LITE, "times_dense": PRODUCT}


def ways_of(case: Case, threads: Sequence[int], *, product: bool) -> list[Way]:
    """The ways of one case on a CPU, baselines first."""
    running, ways = case.zeros(), []
    numbers, copies = [copying(ACTIVE, case.images, case.maps, *case.packed_labels)], {False: ACTIVE, True: ALL}
    if case.activations is not None:
        numbers.append(copying(ALL, case.images, case.activations, *case.packed_labels))
        arrays = case.activations.numpy(), case.thresholds.numpy()
        ways.append(
            Way(LITE, lambda: lite_style(*arrays, case.stacks, len(case.category), case.whole), case.images)
        )  # fmt: skip
        if product:
            ways.append(Way(PRODUCT, dense_product(case), min(FEW, case.images)))
    bytes_of = {way.name: way.bytes for way in numbers}
    for dense in (True, False):
        if dense and case.activations is None:
            continue
        for t in threads:
            name = f"tally from {'the dense tensor' if dense else 'active maps'}, {count(t)}"
            floor = copies[dense]
            call = tallying(case, running, dense, t)
            ways.append(Way(name, call, case.images, bytes=bytes_of[floor], floor=floor))
    return ways + numbers


def tallying(case: Case, running: Any, dense: bool, threads: int) -> Callable[[], object]:
    """A call that adds all images to running counts."""
    return lambda: case.tally(running, dense=dense, threads=threads)


def dense_product(case: Case) -> Callable[[], object]:
    """The dense product of a few images, with its inputs on the case's device."""
    assert case.activations is not None
    device, activations = case.activations.device, case.activations[:FEW]
    stacks = [torch.from_numpy(stack).to(device) for stack in case.stacks[:FEW]]
    return lambda: dense_matmul(activations, case.thresholds, stacks, len(case.category))


def count(threads: int) -> str:
    """So many threads, in words."""
    return "1 thread" if threads == 1 else f"{threads} threads"


def ways_on_gpu(case: Case, device: torch.device) -> list[Way]:
    """The headline's ways with a GPU: the loop on the CPU, all else there."""
    assert case.activations is not None
    there, running = case.to(device), case.to(device).zeros()
    host = case.activations.numpy(), case.thresholds.numpy()
    pairs = [(t, torch.empty_like(t)) for t in (there.activations, *there.packed_labels)]

    def finished(call: Callable[[], object]) -> Callable[[], object]:
        return lambda: (call(), torch.cuda.synchronize(device))

    size, images = sum(t.nbytes for t, _ in pairs), case.images
    tally = finished(tallying(there, running, False, 1))
    return [
        Way(LITE, lambda: lite_style(*host, case.stacks, len(case.category)), images),
        Way(PRODUCT, finished(dense_product(there)), min(FEW, images)),
        Way("tally from active maps, cuda", tally, images),
        Way("tally from the dense tensor, cuda", finished(tallying(there, running, True, 1)), images, size, ALL),
        Way("VGG16 forward to conv5_3, cuda", finished(forward(images, device)), images),
        Way(ALL, finished(lambda: [spare.copy_(t) for t, spare in pairs]), images, size),
    ]


def forward(images: int, device: torch.device) -> Callable[[], object]:
    """VGG16's pass up to conv5_3 over so many images of 224×224, in full float32; random weights cost the same."""
    model = load_model("vgg16", "random", layers=("conv5_3",), size=(224, 224), cache=default_cache())
    probe = Probe(model.module, model.layers, device)
    batch = torch.randn(32, 3, 224, 224, device=device).contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with exact_arithmetic(device):
            for first in range(0, images, 32):
                probe.activations(batch[: images - first])

    return run


def cases(args: Namespace, scratch: Path) -> Iterator[tuple[str, Case]]:
    """The cases that were asked for, one in memory at a time."""
    for key in args.cases:
        if key in SHAPES:
            shape = SHAPES[key]
            shape = replace(shape, images=args.images) if args.images and key == HEADLINE else shape
            yield key, make_case(shrink(shape) if args.quick else shape)
        elif args.shared:
            yield key, real_case(key, args.shared, scratch, 3 if args.quick else None)


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, repeats=9, device=True)
    parser.add_argument("--cases", default=",".join(NAMES), help=f"of {', '.join(NAMES)}, separated by commas")
    parser.add_argument("--images", type=int, help=f"images of {HEADLINE} (default {SHAPES[HEADLINE].images})")
    args = begin(parser, argv, "bench_tally")
    device, args.cases = device_of(args.device, parser), args.cases.split(",")
    if unknown := set(args.cases) - set(NAMES):
        parser.error(f"--cases knows {', '.join(NAMES)}, not {', '.join(sorted(unknown))}")
    if device.type == "cuda":
        args.cases = [HEADLINE]
    threads, found = sorted({1, args.threads}), []
    with tempfile.TemporaryDirectory() as folder:
        for key, case in cases(args, Path(folder)):
            gpu = device.type == "cuda"
            checked = check(case, threads)
            if gpu:
                check(case.to(device), [1])
            if case.activations is not None:
                check_lite(case)
            ways = ways_on_gpu(case, device) if gpu else ways_of(case, threads, product=key == HEADLINE)
            rows = measure(ways, args.repeats, BASES)
            found.append({"case": key, "name": case.name, **case.facts(), "checked": checked, "rows": rows})
    finish(args, "tally-cuda" if device.type == "cuda" else "tally", {"cases": found}, show, device)


def show(content: Mapping[str, Any]) -> Shown:
    """A table a case, and the headline in words."""
    tables = []
    for case in content["cases"]:
        (h, w), (height, width) = case["maps"], case["labels"]
        caption = (
            f"{case['name']}: {case['units']:,} units, {h}×{w} → {height}×{width}, {case['images']} images, "
            f"{number(case['label_maps_per_image'], 2)} label maps and {number(case['active_maps_per_image'])} active "
            f"maps an image; {case['checked']}"
        )
        rows = [
            (
                row["way"], number(row["us_per_item"]), spread(row), number(row.get("times_lite")),
                number(row.get("times_dense")), share(row.get("share_of_floor")),
                number(row["bytes_per_item"] / 1e3) if "bytes_per_item" in row else "–",
            )
            for row in case["rows"]
        ]  # fmt: skip
        headings = ("way", "µs an image", "spread", "times Lite", "times dense", "share of floor", "KB an image")
        tables.append(Table(caption, headings, rows))
    return Shown(tables, _reading(content["cases"]))


def _reading(found: Sequence[Mapping[str, Any]]) -> str:
    sentences = []
    for case in found:
        dense, listed = (find(case["rows"], f"tally from {what}") for what in ("the dense tensor", "active maps"))
        if case["case"] == HEADLINE and dense and listed:
            sentences.append(
                f"On {case['name']} data the kernel takes {number(dense['us_per_item'])} µs an image from the dense "
                f"tensor ({number(dense['times_lite'])} times faster than the Lite-style loop, "
                f"{number(dense['times_dense'])} times than the dense product), and {number(listed['us_per_item'])} µs "
                f"from the active maps ({number(listed['times_lite'])} times)."
            )
    shares = [
        row["share_of_floor"]
        for case in found
        for row in case["rows"]
        if row["way"] == "tally from the dense tensor, 1 thread"
    ]
    if shares:
        sentences.append(
            f"Over these layers a memcpy of activations and labels takes between {share(min(shares))} and "
            f"{share(max(shares))} of the time of the tally from the dense tensor on one thread."
        )
    return " ".join(sentences) + warning([row for case in found for row in case["rows"]])


if __name__ == "__main__":
    main()
