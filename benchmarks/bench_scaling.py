"""Time the tally and the sieve on more and more units, images and cells, to see how their cost grows.

Run it from the repository: ``python -m benchmarks.bench_scaling``. One of the three is varied at a time, with labels of
113×113; the exponents are slopes of straight lines through the logarithms, so 1 is linear growth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.bench_sieve import check_sieve
from benchmarks.harness import Way, begin, finish, make_parser, measure
from benchmarks.plot import Panel, draw
from benchmarks.tables import Shown, Table, number, spread, warning
from benchmarks.tally_cases import Case, Shape, check, make_case
from ndkernels.sieve import Sieve, rank_above

DENSE, ACTIVE, SIEVE = "tally, dense tensor", "tally, active maps", "sieve"
END = 3  # so many of the largest sizes, where costs that do not grow no longer show
BATCH = 32  # images that pass the sieve at a time


def sweeps(quick: bool) -> dict[str, dict[int, Shape]]:
    """For each axis, the shapes at its values."""
    if quick:
        small = (19, 19)
        return {
            "units": {n: Shape("", n, (5, 5), 8, small) for n in (4, 8)},
            "images": {n: Shape("", 4, (5, 5), n, small) for n in (8, 16)},
            "rows": {n: Shape("", 4, (n, n), 8, small) for n in (5, 8)},
        }
    return {
        "units": {n: Shape("", n, (14, 14), 16) for n in (64, 256, 512, 1024, 2048, 4096)},
        "images": {n: Shape("", 128, (14, 14), n) for n in (8, 16, 32, 64, 128, 256)},
        "rows": {n: Shape("", 64, (n, n), 16) for n in (7, 14, 28, 56, 112)},
    }


AXES = {
    "units": ("units", "units"),
    "images": ("images", "images"),
    "rows": ("cells of a map", "cells of an activation map"),
}


def ways_of(case: Case, threads: int) -> list[Way]:
    """The tally both ways, and one pass of the sieve from its start."""
    activations, running = case.activations, case.zeros()
    assert activations is not None
    units, positions = activations.shape[1], activations[:, 0].numel()

    def sieve() -> None:
        state = Sieve(units, rank_above("0.005", positions), threads)
        for first in range(0, case.images, BATCH):
            state.add(activations[first : first + BATCH], first)

    return [
        Way(DENSE, lambda: case.tally(running, dense=True, threads=threads), 1),
        Way(ACTIVE, lambda: case.tally(running, dense=False, threads=threads), 1),
        Way(SIEVE, sieve, 1),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, repeats=7)
    parser.set_defaults(threads=1)
    args = begin(parser, argv, "bench_scaling")
    found: dict[str, list[dict[str, Any]]] = {}
    for axis, shapes in sweeps(args.quick).items():
        found[axis] = []
        for value, shape in shapes.items():
            case = make_case(shape)
            check(case, [args.threads], pairs=256)
            check_sieve(case.activations, args.threads, maps=256)
            rows = measure(ways_of(case, args.threads), args.repeats)
            at = value**2 if axis == "rows" else value
            found[axis].append({"at": at, **case.facts(), "rows": rows})
    exponents = {
        axis: {way: {"all": slope(points, way), "end": slope(points[-END:], way)} for way in (DENSE, ACTIVE, SIEVE)}
        for axis, points in found.items()
    }
    finish(args, "scaling", {"axes": found, "exponents": exponents}, show)


def slope(points: Sequence[Mapping[str, Any]], way: str) -> float:
    """The exponent of the power of the axis that the cost follows best."""
    seconds = [row["median_seconds"] for point in points for row in point["rows"] if row["way"] == way]
    return float(np.polyfit(np.log([point["at"] for point in points]), np.log(seconds), 1)[0])


def show(content: Mapping[str, Any]) -> Shown:
    """A table an axis, the exponents, and the drawing."""
    tables, panels, rows = [], [], []
    for axis, points in content["axes"].items():
        heading, across = AXES[axis]
        ways = [row["way"] for row in points[0]["rows"]]
        series = [
            (way, [(p["at"], row["median_seconds"] * 1e3) for p in points for row in p["rows"] if row["way"] == way])
            for way in ways
        ]
        panels.append(Panel(f"More {heading}", across, "milliseconds", series))
        cells = [
            (f"{p['at']:,}", *(c for row in p["rows"] for c in (number(row["median_seconds"] * 1e3), spread(row))))
            for p in points
        ]
        rows += [row for p in points for row in p["rows"]]
        first = points[0]
        fixed = {
            "units": f"{first['units']:,} units",
            "images": f"{first['images']} images",
            "rows": f"{first['maps'][0]}×{first['maps'][1]} maps",
        }
        caption = f"{heading[0].upper()}{heading[1:]}, with {' and '.join(t for a, t in fixed.items() if a != axis)}:"
        tables.append(Table(caption, (heading, *(h for way in ways for h in (f"{way}, ms", "spread"))), cells))
    return Shown(tables, _reading(content["exponents"]) + warning(rows), draw("Cost against size", panels))


def _reading(exponents: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    parts = [
        f"in {axis if axis != 'rows' else 'cells'} "
        + ", ".join(f"{slope['all']:.2f} and {slope['end']:.2f} ({way})" for way, slope in slopes.items())
        for axis, slopes in exponents.items()
    ]
    largest = max(slope["all"] for slopes in exponents.values() for slope in slopes.values())
    verdict = "nothing grows faster than linearly" if largest <= 1.05 else "something grows faster than linearly"
    return (
        f"Powers with which the cost grows, over all sizes and over the {END} largest: {'; '.join(parts)}. Over all "
        f"sizes the largest is {largest:.2f}: {verdict}."
    )


if __name__ == "__main__":
    main()
