"""Time masks of activation maps against torch's interpolation and a comparison.

Run it from the repository: ``python -m benchmarks.bench_grid``. Both give one byte a pixel. The floor is a memcpy of as
many bytes as the masks have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.baselines import interpolated_masks
from benchmarks.harness import Way, begin, copying, finish, make_parser, measure
from benchmarks.synthetic import make_activations
from benchmarks.tables import Shown, Table, find, number, share, spread, warning
from ndkernels.grid import Grid, make_grid, mask_finite_maps, naive, tables

SIZES = (((14, 14), (113, 113)), ((7, 7), (112, 112)), ((28, 28), (112, 112)))  # maps, labels
MAPS = 512  # as many as a batch of a report's pictures
CHECKED = 64
FLOOR, TORCH = "memcpy of the masks", "torch interpolate and compare"


def make_maps(count: int, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps that pass their thresholds somewhere, ``[A, h, w]`` and ``[A]``, as the pictures of a report have them."""
    maps = torch.from_numpy(make_activations(1, 8 * count, shape)[0])
    maps = maps[maps.flatten(1).amax(1).argsort(descending=True)[:count]].contiguous()
    return maps, 0.6 * maps.amax((1, 2))


def check(maps: torch.Tensor, limits: torch.Tensor, grid: Grid, size: tuple[int, int], threads: Sequence[int]) -> str:
    """Compare masks with the definition, on all threads, and the baseline's with ours."""
    expected = naive.mask_maps(maps[:CHECKED].numpy(), limits[:CHECKED].numpy(), *tables(grid))
    for t in threads:
        found = mask_finite_maps(maps, limits, grid, threads=t)
        np.testing.assert_array_equal(found[:CHECKED].numpy(), expected, err_msg="masks differ from naive")
    off = int((found != interpolated_masks(maps, limits, size)).sum())
    assert off <= 4 + 1e-4 * int(found.sum()), f"the baseline draws other masks: {off} pixels differ"
    return f"{len(expected)} masks equal to naive"


def masking(
    maps: torch.Tensor, limits: torch.Tensor, grid: Grid, threads: int
) -> Callable[[], object]:  # fmt: skip
    """A call that draws all masks."""
    return lambda: mask_finite_maps(maps, limits, grid, threads=threads)


def main(argv: Sequence[str] | None = None) -> None:
    args = begin(make_parser(__doc__, repeats=9), argv, "bench_grid")
    threads, count, found = sorted({1, args.threads}), 8 if args.quick else MAPS, []
    for shape, size in SIZES[: 1 if args.quick else None]:
        maps, limits = make_maps(count, shape)
        grid = make_grid("half-pixel", maps=shape, labels=size)
        checked = check(maps, limits, grid, size, threads)
        floor = copying(FLOOR, count, mask_finite_maps(maps, limits, grid))
        ways = [
            Way(TORCH, lambda m=maps, t=limits, s=size: interpolated_masks(m, t, s), count, floor.bytes, FLOOR),
            *(
                Way(
                    f"masks, {t} thread{'s' if t > 1 else ''}",
                    masking(maps, limits, grid, t),
                    count,
                    floor.bytes,
                    FLOOR,
                )
                for t in threads
            ),
            floor,
        ]
        rows = measure(ways, args.repeats, {"times_torch": TORCH})
        found.append({"maps": shape, "labels": size, "count": count, "checked": checked, "rows": rows})
    finish(args, "grid", {"cases": found}, show)


def show(content: Mapping[str, Any]) -> Shown:
    """A table a size."""
    tables_, sentences = [], []
    for case in content["cases"]:
        (h, w), (height, width) = case["maps"], case["labels"]
        caption = f"{case['count']} maps of {h}×{w} → {height}×{width}; {case['checked']}"
        rows = [
            (
                row["way"], number(row["us_per_item"]), spread(row), number(row["times_torch"]),
                share(row.get("share_of_floor")),
            )
            for row in case["rows"]
        ]  # fmt: skip
        tables_.append(Table(caption, ("way", "µs a mask", "spread", "times torch", "share of floor"), rows))
        row = find(case["rows"], "masks, 1 thread")
        assert row
        sentences.append(f"{number(row['times_torch'])} times at {h}×{w}")
    rows = [row for case in content["cases"] for row in case["rows"]]
    return Shown(tables_, f"On one thread masks are faster than torch's by {', '.join(sentences)}." + warning(rows))


if __name__ == "__main__":
    main()
