"""A dataset in Broden's layout, small enough to count by hand, with every oddity that the layout allows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

IMAGE_SIZE = (40, 56)
LABEL_SIZE = (20, 28)
CATEGORIES = ("color", "object", "part", "material", "scene", "texture")
NAMES = {
    1: "red-c",
    2: "blue-c",
    3: "sky",
    4: "house",
    5: "tree",
    6: "door",  # an object and a part, mostly a part
    7: "roof",
    8: "brick",
    9: "street-s",
    10: "forest-s",
    11: "striped",
    300: "tower",  # needs the green channel
}
HEADER = ("image", "split", "ih", "iw", "sh", "sw", *CATEGORIES)

Map = np.ndarray[Any, np.dtype[np.int32]]


def make_broden(folder: Path, images: int = 6, seed: int = 0) -> tuple[list[list[Map]], list[list[int]]]:
    """Write the dataset and return, for each image, its label maps in order and its whole-image labels without 0.

    Image 0 has overlapping maps, with one concept in two of them at the same pixels; 1 has a whole-image scene and
    label 0 as texture; 2 has two object maps and a texture; 3 has nothing at all; 4 has the concept of two
    categories in both; 5 has only whole-image labels. Further images are drawn at random.
    """
    rng = np.random.default_rng(seed)
    (folder / "images" / "sub").mkdir(parents=True)
    height, width = LABEL_SIZE
    blank = np.zeros(LABEL_SIZE, np.int32)
    colors = rng.integers(1, 3, LABEL_SIZE).astype(np.int32)
    house, sky, door, tower = blank.copy(), blank.copy(), blank.copy(), blank.copy()
    house[8:, 4:20] = 4
    sky[:6] = 3
    door[14:, 10:14] = 6
    tower[2:18, 22:26] = 300
    roof = blank.copy()
    roof[8:10, 4:20] = 7
    everything: list[dict[str, list[Any]]] = [
        {"color": [colors], "object": [house + tower, np.where(house > 0, 4, sky)], "part": [door, roof]},
        {"color": [colors.T.copy().reshape(LABEL_SIZE)], "scene": [9], "texture": [0]},
        {"object": [sky, tower], "texture": [11]},
        {},
        {
            "object": [np.where(door > 0, 6, sky // 3 * 5)],
            "part": [np.roll(door, 1, axis=1), door],
            "material": [house * 2],
        },
        {"scene": [10, 9], "texture": [11]},
    ]
    while len(everything) < images:
        objects = rng.choice([0, 3, 4, 5, 6, 300], (height // 4, width // 4)).repeat(4, 0).repeat(4, 1)
        everything.append({"color": [rng.integers(1, 3, LABEL_SIZE)], "object": [objects], "scene": [9]})
    rows, all_maps, all_whole = [], [], []
    for i, labels in enumerate(everything[:images]):
        name = f"sub/{i:03}.png" if i % 2 else f"{i:03}.png"  # lossless, so that tests can compare pixels
        Image.fromarray(rng.integers(0, 256, (*IMAGE_SIZE, 3), np.uint8)).save(folder / "images" / name)
        row: dict[str, Any] = {"image": name, "split": "val" if i % 3 == 2 else "train"}
        row |= dict(zip(("ih", "iw", "sh", "sw"), (*IMAGE_SIZE, *LABEL_SIZE), strict=True))
        maps, whole = [], []
        for category in CATEGORIES:
            cell = []
            for m, label in enumerate(labels.get(category, [])):
                if isinstance(label, int):
                    cell.append(str(label))
                    whole += [label] if label else []
                else:
                    cell.append(f"sub/{i:03}_{category}_{m}.png")
                    write_map(folder / "images" / cell[-1], label)
                    maps.append(label.astype(np.int32))
            row[category] = ";".join(cell)
        rows.append(row)
        all_maps.append(maps)
        all_whole.append(whole)
    write_table(folder / "index.csv", HEADER, [[row[column] for column in HEADER] for row in rows])
    _write_tables(folder, everything[:images])
    return all_maps, all_whole


def write_map(file: Path, ids: Map) -> None:
    """Write a label map as red + 256·green."""
    Image.fromarray(np.stack([ids % 256, ids // 256, np.zeros_like(ids)], axis=-1).astype(np.uint8)).save(file)


def write_table(file: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV table."""
    with file.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([header, *rows])


def edit(file: Path, old: str, new: str) -> None:
    """Replace the first occurrence of a text in a table, which must have it."""
    text = file.read_text()
    assert old in text, (file, old)
    file.write_text(text.replace(old, new, 1))


def _write_tables(folder: Path, everything: list[dict[str, list[Any]]]) -> None:
    pixels = LABEL_SIZE[0] * LABEL_SIZE[1]
    frequency = {category: dict.fromkeys(NAMES, 0) for category in CATEGORIES}
    coverage = {category: dict.fromkeys(NAMES, 0.0) for category in CATEGORIES}
    for labels in everything:
        for category, given in labels.items():
            found = [np.full(LABEL_SIZE, label) if isinstance(label, int) else label for label in given]
            for number in NAMES:
                area = sum(int((label == number).sum()) for label in found)
                frequency[category][number] += area > 0
                coverage[category][number] += area / pixels
    listed = {category: [n for n in NAMES if frequency[category][n]] for category in CATEGORIES}
    rows: list[list[object]] = []
    for category in CATEGORIES:
        numbers, images = listed[category], frequency[category]
        table = [[c, n, NAMES[n], images[n], f"{coverage[category][n]:.6f}"] for c, n in enumerate(numbers, 1)]
        write_table(folder / f"c_{category}.csv", ("code", "number", "name", "frequency", "coverage"), table)
        if numbers:
            rows.append([category, min(numbers), max(numbers), len(numbers), sum(images.values())])
        else:
            rows.append([category, 0, 0, 0, 0])
    write_table(folder / "category.csv", ("name", "first", "last", "count", "frequency"), rows)
    rows = []
    for number, name in NAMES.items():
        shares = {c: frequency[c][number] for c in CATEGORIES if number in listed[c]}
        if shares:
            covered = sum(coverage[c][number] for c in CATEGORIES)
            text = ";".join(f"{c}({images})" for c, images in shares.items())
            rows.append([number, name, text, sum(shares.values()), f"{covered:.6f}", ""])
    write_table(folder / "label.csv", ("number", "name", "category", "frequency", "coverage", "syns"), rows)
