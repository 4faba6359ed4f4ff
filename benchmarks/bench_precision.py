"""Dissect a real network in float32 and in bfloat16: what the forward pass takes, and what becomes of the detectors.

Run it from the repository: ``python -m benchmarks.bench_precision squeezenet --shared FOLDER``.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.equality import NETWORKS
from benchmarks.machine import machine_line, write_results
from ndcli.process import tune_process
from ndengine.datasets.pack import cached_pack
from ndengine.devices import CPU, multiplies_bfloat16
from ndengine.dissect import dissect_network
from ndengine.result import LayerResult
from ndengine.settings import PRECISIONS, Settings

WARM_UP = 32  # images that each precision sees before the clock counts


def measure(settings: Settings, scratch: Path) -> tuple[dict[str, Any], LayerResult]:
    """Figures of one run, and its layer."""
    name = settings.precision
    dissect_network(replace(settings, limit=WARM_UP), scratch / f"warm-{name}", cache=scratch)
    found = dissect_network(settings, scratch / name, cache=scratch)
    layer, profile = found.layer(), found.provenance["profile"]
    seconds = profile["parts"]["probe"]["forward"]
    figures = {
        "forward_seconds": seconds,
        "forward_ms_per_image": seconds / len(found.image_names) * 1e3,
        "whole_seconds": profile["whole_seconds"],
        "detectors": layer.summary.detectors,
        "unique_top_label": layer.summary.unique_top_label,
        "unique_per_category": layer.summary.unique_per_category,
        "mask_pixels": int(layer.counts.unit_area_all.sum()),
    }
    return figures, layer


def compare(full: LayerResult, half: LayerResult) -> dict[str, Any]:
    """What changes for the units: their best concepts, their verdicts and the IoUs of their best concepts."""
    one, other = full.scores, half.scores
    difference = np.abs(one.score - other.score)
    before, after = (layer.counts.threshold for layer in (full, half))
    threshold = np.abs(after - before)[before != 0] / np.abs(before[before != 0])
    return {
        "units": len(difference),
        "units_with_another_concept": int((one.best_concept != other.best_concept).sum()),
        "detectors_gained": int((~one.detector & other.detector).sum()),
        "detectors_lost": int((one.detector & ~other.detector).sum()),
        "detectors_with_another_concept": int(
            (one.detector & other.detector & (one.best_concept != other.best_concept)).sum()
        ),
        "largest_iou_difference": float(difference.max()),
        "median_iou_difference": float(np.median(difference)),
        "median_relative_threshold_difference": float(np.median(threshold)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--shared", type=Path, required=True, help="folder with minibroden/ and weights/")
    parser.add_argument("--images", type=int, help="the first images alone")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    tune_process()
    torch.set_num_threads(args.threads)
    network = NETWORKS[args.network]
    print(machine_line())
    with tempfile.TemporaryDirectory() as folder:
        scratch, data = Path(folder), args.shared / "minibroden"
        with cached_pack(data, scratch) as pack:
            images = args.images or len(pack)
        settings = Settings(
            model=network.model,
            weights=str(args.shared / "weights" / network.weights),
            layers=(network.layer,),
            data=str(data),
            limit=images,
            mean=network.mean,
            channels="bgr",
            scale=255.0,
            threads=args.threads,
        )
        found = {p: measure(replace(settings, precision=p), scratch) for p in PRECISIONS}
    (full, layer), (half, half_layer) = (found[p] for p in ("float32", "bfloat16"))
    changes = compare(layer, half_layer)
    ratio = half["forward_seconds"] / full["forward_seconds"]
    for precision, (figures, _) in found.items():
        print(
            f"{precision}: forward pass {figures['forward_seconds']:.1f} s "
            f"({figures['forward_ms_per_image']:.1f} ms an image), {figures['detectors']} detectors, "
            f"{figures['unique_top_label']} unique by top label, {figures['unique_per_category']} by category"
        )
    has = {True: "with", False: "without", None: "perhaps with"}[multiplies_bfloat16(CPU)]
    print(
        f"{network.model} {network.layer}, {images} images, {args.threads} threads, a processor {has} bfloat16: the "
        f"forward pass takes {ratio:.2f} times as long in bfloat16; of {changes['units']} units, "
        f"{changes['units_with_another_concept']} change their best concept "
        f"({changes['detectors_with_another_concept']} of those that are detectors in both), "
        f"{changes['detectors_gained']} become detectors and {changes['detectors_lost']} cease to be; best IoUs differ "
        f"by up to {changes['largest_iou_difference']:.4f}, in the median by {changes['median_iou_difference']:.5f}"
    )
    content = {
        "network": network.model,
        "layer": network.layer,
        "images": images,
        "threads": args.threads,
        "multiplies_bfloat16": multiplies_bfloat16(CPU),
        "float32": full,
        "bfloat16": half,
        "bfloat16_per_float32_seconds": ratio,
        "changes": changes,
    }
    print(write_results(f"precision-{args.network}", content))


if __name__ == "__main__":
    main()
