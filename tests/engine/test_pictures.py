"""The report's pictures, pixel by pixel: bright and untouched inside the mask, darkened outside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dissections import make_layer
from numpy.typing import NDArray
from PIL import Image

from ndengine.report import pictures
from ndengine.report.pictures import (
    GAP,
    shown,
    shrink_to,
    strip_name,
    strip_size,
    tile_size,
    write_strips,
)
from ndkernels.paint.naive import unpack_masks

SIZE = (18, 26)  # of the images that the made-up results speak of


@pytest.mark.parametrize(
    ("image", "tile"),
    [
        ((224, 224), (112, 112)),
        ((227, 227), (113, 113)),
        ((384, 384), (128, 128)),
        ((128, 96), (128, 96)),
        ((129, 40), (64, 20)),
        ((32, 64), (64, 128)),
        ((1, 1), (128, 128)),
        ((1, 1000), (1, 125)),
    ],
    ids=str,
)
def test_tile_size(image: tuple[int, int], tile: tuple[int, int]) -> None:
    assert tile_size(image) == tile


def colours(pixels: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Words as pixels ``[..., 3]``."""
    return np.ascontiguousarray(pixels)[..., None].view(np.uint8)[..., :3]


@pytest.mark.parametrize(
    "size",
    [
        (224, 224),
        (227, 227),
        (384, 300),
        (40, 64),
        (1, 1),
        (1, 1000),
        (1023, 4096),
        (255, 2048),
        (63, 1024),
        (3, 200),
        (2, 33000),
    ],
    ids=str,
)
def test_shrink_gives_the_size_that_tile_size_promised(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 77, np.uint8)
    small = colours(shrink_to(tile_size(size), image[None], 1)[0])
    assert small.shape == (*tile_size(size), 3)
    assert (small == 77).all()


def test_shrink_takes_means_and_cuts_the_odd_row() -> None:
    image = np.zeros((227, 227, 3), np.uint8)
    image[0, 0] = 200
    image[226] = 255
    small = colours(shrink_to((113, 113), image[None], 1)[0])
    assert small[0, 0].tolist() == [50, 50, 50]
    assert small.sum() == 150


class Reader:
    """Images that are each of one colour; it notes what was asked of it."""

    def __init__(self, size: tuple[int, int] = SIZE) -> None:
        self.size = size
        self.asked: list[list[int]] = []

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        self.asked.append(indices.tolist())
        shades = (40 + 30 * indices).astype(np.uint8)
        return np.broadcast_to(shades[:, None, None, None], (len(indices), *self.size, 3)).copy()


def check_strips(folder: Path, seed: int) -> None:
    layer = make_layer("a", "a", 11, seed)
    drawn = shown(layer)
    assert drawn.any(axis=1).sum() == len(list(folder.iterdir())) > 2
    for u in np.flatnonzero(drawn.any(axis=1)).tolist():
        with Image.open(folder / strip_name(u + 1)) as picture:
            pixels = np.asarray(picture).astype(int)
        tile = tile_size(SIZE)
        assert pixels.shape == (*strip_size(tile, int(drawn[u].sum())), 3)
        masks = unpack_masks(layer.top_masks[u, drawn[u]], 13, tile)
        for place, index in enumerate(layer.top_images[u, drawn[u]].tolist()):
            left = place * (tile[1] + GAP)
            part = pixels[:, left : left + tile[1]]
            bright = part[masks[place]].mean()
            assert bright == pytest.approx(40 + 30 * index, abs=12)  # JPEG smears the line a little


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tiles", [10**6, 7, 1], ids=lambda n: f"{n} tiles at a time")
def test_strips_show_the_right_images_however_they_are_grouped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, tiles: int
) -> None:
    height, width = tile_size(SIZE)
    monkeypatch.setattr(pictures, "TILE_BYTES", tiles * height * width * 4)
    monkeypatch.setattr(pictures, "READ", 4)
    reader = Reader()
    layer = make_layer("a", "a", 11, 3)
    write_strips(layer, tmp_path, reader, image_size=SIZE, label_width=13, threads=threads)
    check_strips(tmp_path, 3)
    assert all(asked == sorted(set(asked)) and 0 < len(asked) <= 4 for asked in reader.asked)
    if tiles == 10**6:
        flat = [i for asked in reader.asked for i in asked]
        assert len(flat) == len(set(flat)), "each image is read once"


def test_dead_units_and_missing_images_are_not_drawn(tmp_path: Path) -> None:
    layer = make_layer("a", "a", 4, 0)
    top = np.array([[0, 1, 2], [0, 1, -1], [-1, -1, -1], [0, 1, 2]])
    layer = replace(layer, top_images=top, dead=np.array([False, False, False, True]))
    (tmp_path / strip_name(4)).write_bytes(b"of a run before")
    write_strips(layer, tmp_path, Reader(), image_size=SIZE, label_width=13)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["unit-0001.jpg", "unit-0002.jpg"]
    with Image.open(tmp_path / "unit-0002.jpg") as picture:
        assert picture.size == strip_size(tile_size(SIZE), 2)[::-1]


def test_a_layer_without_any_picture_asks_for_none(tmp_path: Path) -> None:
    layer = make_layer("a", "a", 4, 0)
    layer = replace(layer, top_images=np.full_like(layer.top_images, -1))
    reader = Reader()
    write_strips(layer, tmp_path, reader, image_size=SIZE, label_width=13)
    assert not reader.asked
    assert not list(tmp_path.iterdir())


def test_an_image_that_cannot_be_read_stops_the_drawing(tmp_path: Path) -> None:
    def broken(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        raise ValueError("no image")

    with pytest.raises(ValueError, match="no image"):
        write_strips(make_layer("a", "a", 4, 1), tmp_path, broken, image_size=SIZE, label_width=13)
