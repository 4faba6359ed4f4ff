"""Time the tally on VGG16-conv5_3-like data against a NetDissect-Lite-style loop.

Run it from the repository: ``python -m benchmarks.bench_tally``.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from benchmarks.baselines import lite_style
from benchmarks.machine import Timing, machine_line, time_call, write_results
from benchmarks.synthetic import make_activations, make_label_maps
from ndkernels.grid import make_grid, tables
from ndkernels.labels import encode_labels
from ndkernels.sieve import naive as sieve_naive
from ndkernels.sieve import rank_above
from ndkernels.tally import UnitCounts, list_maps, naive, tally_units

# One color map, one object map, three part maps and one material map, as in the ADE20K part of Broden.
REGIONS = (40, 12, 15, 10, 8, 8)
CONCEPTS = 1197


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--maps", type=int, default=14, help="rows and columns of the activation maps")
    parser.add_argument("--labels", type=int, default=113, help="rows and columns of the label maps")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)

    shape, size = (args.maps, args.maps), (args.labels, args.labels)
    activations = make_activations(args.images, args.units, shape)
    stacks = make_label_maps(args.images, size, REGIONS, CONCEPTS)
    whole: list[list[int]] = [[] for _ in stacks]
    thresholds = sieve_naive.thresholds(activations, rank_above("0.005", args.images * args.maps**2))
    grid = make_grid("half-pixel", maps=shape, labels=size)
    labels = encode_labels(stacks, whole, size)
    category = np.zeros(CONCEPTS, np.int32)
    limits = torch.from_numpy(thresholds)
    maps, unit, image = list_maps(torch.from_numpy(activations))
    active = (maps.amax((1, 2)) > limits[unit.long()]).nonzero()[:, 0]
    maps, unit, image = maps[active], unit[active], image[active]

    def tally(counts: UnitCounts, threads: int = 1) -> UnitCounts:
        tally_units(maps, unit, image, limits, grid, labels, torch.from_numpy(category), counts, threads=threads)
        return counts

    check = min(args.images, 8)
    expected = naive.tally(
        activations[:check], thresholds, tables(grid), stacks[:check], whole[:check], category, 1,
        once=False, area="category",
    )  # fmt: skip
    part = image < check
    counts = UnitCounts.zeros(args.units, CONCEPTS, 1)
    tally_units(
        maps[part], unit[part], image[part], limits, grid, encode_labels(stacks[:check], whole[:check], size),
        torch.from_numpy(category), counts,
    )  # fmt: skip
    for found, right in zip((counts.intersection, counts.unit_area, counts.unit_area_all), expected, strict=True):
        np.testing.assert_array_equal(found.numpy(), right)

    _, baseline_area = lite_style(activations, thresholds, stacks, CONCEPTS)
    running = UnitCounts.zeros(args.units, CONCEPTS, 1)
    ours = tally(running)
    # PIL interpolates with other roundings: single pixels on the boundary may differ, no more.
    off = np.abs(baseline_area - ours.unit_area_all.numpy()).sum() / baseline_area.sum()
    assert off < 1e-4, f"the baseline counts something else: {off:.2e} of the area differs"

    timings: dict[str, Timing] = {
        "NetDissect-Lite style": time_call(
            lambda: lite_style(activations, thresholds, stacks, CONCEPTS), max(3, args.repeats // 2), warm=0
        ),
        "tally, 1 thread": time_call(lambda: tally(running), args.repeats),
        "tally, 2 threads": time_call(lambda: tally(running, 2), args.repeats),
    }
    base = timings["NetDissect-Lite style"].median
    print(machine_line())
    print(
        f"{args.units} units, {args.maps}x{args.maps} -> {args.labels}x{args.labels}, {len(REGIONS)} label maps, "
        f"{args.images} images, {len(maps) / args.images:.0f} active maps an image; equal to naive"
    )
    print(f"{'way':<24}{'µs an image':>12}{'spread':>9}{'times Lite':>12}")
    rows = []
    for name, timing in timings.items():
        micros = timing.median / args.images * 1e6
        mark = " unstable" if timing.record()["unstable"] else ""
        print(f"{name:<24}{micros:>12.0f}{timing.spread:>8.1%}{base / timing.median:>12.1f}{mark}")
        rows.append({"way": name, "us_per_image": micros, "times_lite": base / timing.median, **timing.record()})
    print(
        write_results(
            "tally", {"arguments": vars(args), "active_maps_per_image": len(maps) / args.images, "rows": rows}
        )
    )


if __name__ == "__main__":
    main()
