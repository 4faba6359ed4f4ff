"""Time the packing of label maps against NumPy's unique, and reading a pack against decoding its files.

Run it from the repository: ``python -m benchmarks.bench_labels [--shared FOLDER]``. Packing starts from decoded label
maps; its floor is a memcpy of them. Reading gives images and encoded labels, batch by batch on one thread, from files
that the system holds in memory; decoding gives the same images and the label maps, not yet encoded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import unique_codes, unique_keys
from benchmarks.harness import Way, begin, copying, finish, make_parser, measure
from benchmarks.synthetic import CONCEPTS, REGIONS, make_label_maps
from benchmarks.tables import Shown, Table, find, number, share, spread, warning
from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.pack import pack_dataset
from ndengine.datasets.packed import PackedDataset
from ndkernels.labels import code_dtype, encode_labels, naive

BATCH = 32
CHECKED = 8  # images that the definition encodes, pixel by pixel
OURS, FLOOR = "encode_labels", "memcpy of the label maps"
UNIQUE, KEYS = "np.unique over combinations", "np.unique over one number a pixel"
PACKED, DECODED, READ_FLOOR = "packed file", "decoding the files", "memcpy of what is read"


def check_codes(stacks: Sequence[NDArray[np.integer]], whole: Sequence[Sequence[int]]) -> str:
    """Compare some images with the definition, and the combinations of all with the baseline's."""
    shape = stacks[0].shape[1:]
    block, most = encode_labels(stacks, whole, shape), highest(stacks)
    for b, stack in enumerate(stacks):
        first, last = int(block.code_start[b]), int(block.code_start[b + 1])
        start, end = int(block.entry_start[first]), int(block.entry_start[last])
        entries = block.entry_start[first : last + 1].diff()
        found = block.codes[b], block.code_area[first:last], entries
        found = (*found, block.entry_concept[start:end], block.entry_times[start:end])
        if b < CHECKED:
            for part, right in zip(found, naive.encode(stack.astype(np.int32), code_dtype(shape)), strict=True):
                np.testing.assert_array_equal(part.numpy(), right, err_msg=f"labels of image {b} differ from naive")
        for area in (unique_codes(stack)[2], *([unique_keys(stack, most)[1]] if fits(stacks, most) else [])):
            np.testing.assert_array_equal(np.sort(area), np.sort(found[1].numpy()), err_msg="np.unique finds others")
    return f"{min(CHECKED, len(stacks))} images equal to naive, combinations of {len(stacks)} to np.unique's"


def highest(stacks: Sequence[NDArray[np.integer]]) -> int:
    """The highest concept id of all maps."""
    return max(int(stack.max(initial=0)) for stack in stacks)


def fits(stacks: Sequence[NDArray[np.integer]], concepts: int) -> bool:
    """Whether the labels of every pixel fit into one number."""
    return (concepts + 1) ** max(map(len, stacks)) < 2**63


def check_pack(pack: PackedDataset, source: BrodenFolder) -> str:
    """Compare what is read from the pack with the files, for all images."""
    for start in range(0, len(pack), BATCH):
        indices = np.arange(start, min(start + BATCH, len(pack)))
        read = [source.labels(int(i)) for i in indices]
        right = encode_labels([maps for maps, _ in read], [marks for _, marks in read], pack.label_size)
        for name, tensor in vars(pack.labels(indices)).items():
            np.testing.assert_array_equal(tensor.numpy(), getattr(right, name).numpy(), err_msg="the pack differs")
        images = np.stack([source.image(int(i)) for i in indices])
        np.testing.assert_array_equal(pack.images(indices), images, err_msg="the pack's images differ")
    return f"images and labels of all {len(pack)} images equal to the files"


def packing_ways(stacks: Sequence[NDArray[np.integer]], whole: Sequence[Sequence[int]], floor: Way) -> list[Way]:
    """All images by the kernel and by NumPy."""
    most, count = highest(stacks), len(stacks)
    ways = [
        Way(UNIQUE, lambda: [unique_codes(stack) for stack in stacks], count, floor.bytes, FLOOR),
        Way(OURS, lambda: encode_labels(stacks, whole, stacks[0].shape[1:]), count, floor.bytes, FLOOR),
    ]
    if fits(stacks, most):
        ways.append(Way(KEYS, lambda: [unique_keys(stack, most) for stack in stacks], count, floor.bytes, FLOOR))
    return ways


def reading_ways(pack: PackedDataset, source: BrodenFolder, count: int) -> list[Way]:
    """All images and labels from the pack, and some from the files."""
    starts = range(0, len(pack), BATCH)
    batches = [np.arange(start, min(start + BATCH, len(pack))) for start in starts]

    def load() -> None:
        for indices in batches:
            pack.images(indices)
            pack.labels(indices)

    def decode() -> None:
        for i in range(0, len(pack), max(1, len(pack) // count)):
            source.image(i)
            source.labels(i)

    decoded = len(range(0, len(pack), max(1, len(pack) // count)))
    images, codes = pack.images(batches[0]), pack.labels(batches[0]).codes
    floor = copying(READ_FLOOR, len(batches[0]), images, codes)
    size = floor.bytes // floor.items * len(pack)
    return [Way(DECODED, decode, decoded), Way(PACKED, load, len(pack), size, READ_FLOOR), floor]


def main(argv: Sequence[str] | None = None) -> None:
    args = begin(make_parser(__doc__, repeats=9), argv, "bench_labels")
    count = 4 if args.quick else 64
    shape = (19, 19) if args.quick else (113, 113)
    found = []
    stacks: Sequence[NDArray[np.integer]] = make_label_maps(count, shape, REGIONS, CONCEPTS)
    sets = [("synthetic label maps", stacks, [[]] * count)]
    with tempfile.TemporaryDirectory() as folder:
        checked = []
        if args.shared:
            source = BrodenFolder(args.shared / "minibroden")
            pack = pack_dataset(source, Path(folder) / "pack.h5")
            read = [source.labels(i * len(source) // count) for i in range(count)]
            sets.append(("real label maps", [maps for maps, _ in read], [marks for _, marks in read]))
            checked.append(check_pack(pack, source))
        for name, maps, whole in sets:
            codes = check_codes(maps, whole)
            floor = copying(FLOOR, len(maps), *maps)
            rows = measure([*packing_ways(maps, whole, floor), floor], args.repeats, {"times_base": UNIQUE})
            depth = sum(map(len, maps)) / len(maps)
            facts = {"images": len(maps), "label_maps_per_image": depth, "checked": codes}
            found.append({"name": f"packing {name}", **facts, "rows": rows})
        if args.shared:
            rows = measure(reading_ways(pack, source, count), args.repeats, {"times_base": DECODED})
            facts = {"images": len(pack), "checked": checked[0]}
            found.append({"name": "reading real images and labels", **facts, "rows": rows})
            pack.close()
    finish(args, "labels", {"cases": found}, show)


def show(content: Mapping[str, Any]) -> Shown:
    """A table a set, and what is gained."""
    tables, sentences = [], []
    for case in content["cases"]:
        reading = find(case["rows"], PACKED)
        row, base = reading or find(case["rows"], OURS), DECODED if reading else UNIQUE
        assert row
        depth = f", {number(case['label_maps_per_image'], 2)} label maps each" if not reading else ""
        caption = f"{case['name'][0].upper()}{case['name'][1:]}: {case['images']} images{depth}; {case['checked']}"
        rows = [
            (row["way"], number(row["us_per_item"]), spread(row), number(row["times_base"]),
             share(row.get("share_of_floor")))
            for row in case["rows"]
        ]  # fmt: skip
        headings = ("way", "µs an image", "spread", "times files" if reading else "times np.unique", "share of floor")
        tables.append(Table(caption, headings, rows))
        ratio, name = number(row["times_base"]), "the pack" if reading else OURS
        sentences.append(f"{case['name'].capitalize()}, {name} is {ratio} times as fast as {base}.")
    return Shown(tables, " ".join(sentences) + warning([row for case in content["cases"] for row in case["rows"]]))


if __name__ == "__main__":
    main()
