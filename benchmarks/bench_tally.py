"""Time the tally on VGG16-conv5_3-like data against a NetDissect-Lite-style loop and a dense matrix product.

Run it from the repository: ``python -m benchmarks.bench_tally``; ``--device cuda`` times the GPU's tally against the
dense product on the same GPU, and against VGG16's forward pass up to conv5_3.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.baselines import dense_matmul, lite_style
from benchmarks.machine import Timing, device_of, machine_line, time_call, write_results
from benchmarks.synthetic import make_activations, make_label_maps
from ndengine.cache import default_cache
from ndengine.devices import exact_arithmetic
from ndengine.models.registry import load_model
from ndengine.probe import Probe
from ndkernels.grid import Grid, make_grid, tables
from ndkernels.labels import LabelBlock, encode_labels
from ndkernels.sieve import naive as sieve_naive
from ndkernels.sieve import rank_above
from ndkernels.tally import UnitCounts, list_maps, naive, tally_units

# One color map, one object map, three part maps and one material map, as in the ADE20K part of Broden.
REGIONS = (40, 12, 15, 10, 8, 8)
CONCEPTS = 1197
CHECKED = 8  # images on which counts are compared with the definition


@dataclass(frozen=True)
class Data:
    """What all ways count: synthetic activations, labels, and the list of the maps that are active."""

    activations: NDArray[np.float32]  # [N, U, h, w]
    thresholds: NDArray[np.float32]  # [U]
    stacks: list[NDArray[np.int64]]  # N times [M, H, W]
    grid: Grid
    labels: LabelBlock
    maps: Tensor  # [A, h, w]
    unit: Tensor  # [A]
    image: Tensor  # [A]

    def tally(self, counts: UnitCounts, threads: int = 1, images: int | None = None) -> UnitCounts:
        """Count the first images, or all, with the kernels."""
        last = len(self.image) if images is None else int((self.image < images).sum())
        device = self.maps.device
        tally_units(
            self.maps[:last], self.unit[:last], self.image[:last], torch.from_numpy(self.thresholds).to(device),
            self.grid, self.labels, torch.zeros(CONCEPTS, dtype=torch.int32, device=device), counts, threads=threads,
        )  # fmt: skip
        return counts


def make_data(args: argparse.Namespace, device: torch.device) -> Data:
    """Synthetic data of the sizes that are asked for."""
    shape, size = (args.maps, args.maps), (args.labels, args.labels)
    activations = make_activations(args.images, args.units, shape)
    stacks = make_label_maps(args.images, size, REGIONS, CONCEPTS)
    thresholds = sieve_naive.thresholds(activations, rank_above("0.005", args.images * args.maps**2))
    maps, unit, image = list_maps(torch.from_numpy(activations))
    active = (maps.amax((1, 2)) > torch.from_numpy(thresholds)[unit.long()]).nonzero()[:, 0]
    return Data(
        activations,
        thresholds,
        stacks,
        make_grid("half-pixel", maps=shape, labels=size).to(device),
        encode_labels(stacks, [[] for _ in stacks], size).to(device),
        *(t[active].to(device) for t in (maps, unit, image)),
    )


def check(data: Data, units: int) -> None:
    """Compare the first images with the definition, and all images with both baselines."""
    device, part = data.maps.device, slice(0, CHECKED)
    stacks = data.stacks[part]
    expected = naive.tally(
        data.activations[part], data.thresholds, tables(data.grid.to("cpu")), stacks, [[] for _ in stacks],
        np.zeros(CONCEPTS, np.int32), 1, once=False, area="category",
    )  # fmt: skip
    counts = data.tally(UnitCounts.zeros(units, CONCEPTS, 1, device), images=CHECKED)
    for found, right in zip((counts.intersection, counts.unit_area, counts.unit_area_all), expected, strict=True):
        np.testing.assert_array_equal(found.cpu().numpy(), right)
    ours = data.tally(UnitCounts.zeros(units, CONCEPTS, 1, device)).unit_area_all.cpu().numpy()
    for name, area in (
        ("NetDissect-Lite style", lite_style(data.activations, data.thresholds, data.stacks, CONCEPTS)[1]),
        ("dense product", dense(data)()[1].cpu().numpy()),
    ):
        # They interpolate with other roundings: single pixels on the boundary may differ, no more.
        off = np.abs(area - ours).sum() / area.sum()
        assert off < 1e-4, f"{name} counts something else: {off:.2e} of the area differs"


def dense(data: Data) -> Callable[[], tuple[Tensor, Tensor]]:
    """The dense product, with its inputs on the device."""
    device = data.maps.device
    activations, thresholds = (
        torch.from_numpy(data.activations).to(device),
        torch.from_numpy(data.thresholds).to(device),
    )
    stacks = [torch.from_numpy(stack).to(device) for stack in data.stacks]
    return lambda: dense_matmul(activations, thresholds, stacks, CONCEPTS)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--maps", type=int, default=14, help="rows and columns of the activation maps")
    parser.add_argument("--labels", type=int, default=113, help="rows and columns of the label maps")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = device_of(args.device, parser)
    data = make_data(args, device)
    check(data, args.units)
    running = UnitCounts.zeros(args.units, CONCEPTS, 1, device)

    def finished(call: Callable[[], object]) -> Callable[[], object]:
        """The call, and a GPU's work with it."""
        return lambda: (call(), torch.cuda.synchronize(device)) if device.type == "cuda" else call()

    few = max(3, args.repeats // 2)
    lite = lambda: lite_style(data.activations, data.thresholds, data.stacks, CONCEPTS)  # noqa: E731
    timings: dict[str, Timing] = {
        "NetDissect-Lite style, 1 CPU thread": time_call(lite, few, warm=0),
        f"dense product, {device.type}": time_call(finished(dense(data)), few),
        **{
            f"tally, {label}": time_call(finished(lambda t=threads: data.tally(running, t)), args.repeats)  # type: ignore[misc]
            for threads, label in (((1, "1 thread"), (2, "2 threads")) if device.type == "cpu" else ((1, "cuda"),))
        },
    }
    if device.type == "cuda":
        timings["VGG16 forward to conv5_3, cuda"] = time_call(finished(forward(args.images, device)), few)
    base = timings["NetDissect-Lite style, 1 CPU thread"].median
    product = timings[f"dense product, {device.type}"].median
    print(machine_line(device))
    print(
        f"{args.units} units, {args.maps}x{args.maps} -> {args.labels}x{args.labels}, {len(REGIONS)} label maps, "
        f"{args.images} images, {len(data.maps) / args.images:.0f} active maps an image; equal to naive"
    )
    print(f"{'way':<38}{'µs an image':>12}{'spread':>9}{'times Lite':>12}{'times dense':>13}")
    rows = []
    for name, timing in timings.items():
        micros = timing.median / args.images * 1e6
        mark = " unstable" if timing.record()["unstable"] else ""
        ratios = base / timing.median, product / timing.median
        print(f"{name:<38}{micros:>12.2f}{timing.spread:>8.1%} {ratios[0]:>11.1f}{ratios[1]:>13.1f}{mark}")
        rows.append(
            {
                "way": name,
                "us_per_image": micros,
                "times_lite": ratios[0],
                "times_dense": ratios[1],
                **timing.record(),
            }
        )
    name = "tally" if device.type == "cpu" else "tally-cuda"
    content = {"arguments": vars(args), "active_maps_per_image": len(data.maps) / args.images, "rows": rows}
    print(write_results(name, content, device))


if __name__ == "__main__":
    main()
