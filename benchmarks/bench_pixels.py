"""Time the table that turns pixels into a network's input against the usual arithmetic in torch and NumPy.

Run it from the repository: ``python -m benchmarks.bench_pixels [--shared FOLDER]``. All give a batch of float32 in
channels-last memory, on one thread. The floor is a memcpy of as many bytes as the batch has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import normalise_numpy, normalise_torch
from benchmarks.harness import Way, begin, copying, finish, make_parser, measure
from benchmarks.tables import Shown, Table, find, number, share, spread, warning
from ndengine.datasets.broden import BrodenFolder
from ndengine.models.preprocess import Preprocessing
from ndkernels.pixels import look_up_pixels, naive

PREPARED = Preprocessing((103.939, 116.779, 123.68), channels="bgr", scale=255.0)
TABLE, TORCH, NUMPY, FLOOR = (
    "table of 256 values",
    "torch, a channel at a time",
    "NumPy, a channel at a time",
    "memcpy of the batch",
)


def read_images(shared: Path | None, count: int) -> tuple[str, NDArray[np.uint8]]:
    """Real images where there are some, else noise, ``[B, H, W, 3]``."""
    if shared:
        source = BrodenFolder(shared / "minibroden")
        return "real images", np.stack([source.image(i) for i in range(min(count, len(source)))])
    return "noise", np.random.default_rng(0).integers(0, 256, (count, 224, 224, 3), np.uint8)


def check(images: NDArray[np.uint8]) -> str:
    """Compare the batch with the definition, bit for bit, and the baselines with it, to their roundings."""
    table, order = PREPARED.table(), PREPARED.order
    expected = naive.look_up_pixels(images, table, order)
    found = look_up_pixels(images, table, order).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found, expected, err_msg="the batch differs from naive")
    for other in (
        normalise_torch(images, PREPARED.mean, order).permute(0, 2, 3, 1).numpy(),
        normalise_numpy(images, PREPARED.mean, order),
    ):
        np.testing.assert_allclose(other, expected, rtol=0, atol=1e-4, err_msg="a baseline gives another batch")
    return f"{len(images)} images equal to naive, bit for bit"


def main(argv: Sequence[str] | None = None) -> None:
    args = begin(make_parser(__doc__, repeats=9), argv, "bench_pixels")
    name, images = read_images(args.shared, 2 if args.quick else 32)
    checked, count = check(images), len(images)
    table, order, mean = PREPARED.table(), PREPARED.order, PREPARED.mean
    floor = copying(FLOOR, count, look_up_pixels(images, table, order).permute(0, 2, 3, 1))
    ways = [
        Way(TORCH, lambda: normalise_torch(images, mean, order), count, floor.bytes, FLOOR),
        Way(NUMPY, lambda: normalise_numpy(images, mean, order), count, floor.bytes, FLOOR),
        Way(TABLE, lambda: look_up_pixels(images, table, order), count, floor.bytes, FLOOR),
        floor,
    ]
    rows = measure(ways, args.repeats, {"times_torch": TORCH, "times_numpy": NUMPY})
    case = {"name": name, "shape": list(images.shape), "checked": checked, "rows": rows}
    finish(args, "pixels", {"cases": [case]}, show)


def show(content: Mapping[str, Any]) -> Shown:
    """The table, and what it means."""
    (case,) = content["cases"]
    caption = f"{case['shape'][0]} {case['name']} of {case['shape'][1]}×{case['shape'][2]}; {case['checked']}"
    rows = [
        (
            row["way"], number(row["us_per_item"]), spread(row), number(row["times_torch"]), number(row["times_numpy"]),
            share(row.get("share_of_floor")),
        )
        for row in case["rows"]
    ]  # fmt: skip
    headings = ("way", "µs an image", "spread", "times torch", "times NumPy", "share of floor")
    row = find(case["rows"], TABLE)
    assert row
    reading = (
        f"The table is {number(row['times_torch'])} times as fast as torch's arithmetic and "
        f"{number(row['times_numpy'])} times as NumPy's."
    )
    return Shown([Table(caption, headings, rows)], reading + warning(case["rows"]))


if __name__ == "__main__":
    main()
