"""Pictures: the kernels give the definition's pixels, and the definition is what the report promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ndkernels.paint import naive, paint_masks, shrink_images

RNG = np.random.default_rng(8)


def words(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Pixels ``[..., 3]`` as words."""
    idle = np.full((*pixels.shape[:-1], 1), 255, np.uint8)
    return np.concatenate([pixels, idle], axis=-1).view(np.uint32)[..., 0]


def colours(pixels: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Words as pixels ``[..., 3]``."""
    return np.ascontiguousarray(pixels)[..., None].view(np.uint8)[..., :3]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("divisor", [1, 2, 3, 5, 17, 255])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (9, 14), (40, 51), (1, 300), (530, 4)], ids=str)
def test_shrinking_equals_naive(shape: tuple[int, int], divisor: int, threads: int) -> None:
    images = RNG.integers(0, 256, (4, *shape, 3), dtype=np.uint8)
    images[0], images[1] = 255, 0
    expected = naive.shrink_images(images, divisor)
    np.testing.assert_array_equal(shrink_images(images, divisor, threads=threads), expected)


def test_every_sum_of_a_square_is_rounded_as_the_definition_says() -> None:
    for divisor in (2, 3, 7):
        sums = np.arange(255 * divisor**2 + 1)
        squares = np.zeros((len(sums), divisor * divisor, 3), np.uint8)
        for k in range(divisor * divisor):
            squares[:, k] = np.clip(sums - 255 * k, 0, 255)[:, None]
        found = colours(shrink_images(squares.reshape(len(sums), divisor, divisor, 3), divisor))[:, 0, 0]
        np.testing.assert_array_equal(found, np.floor(sums / divisor**2 + 0.5).astype(np.uint8)[:, None].repeat(3, 1))


def test_no_images() -> None:
    assert shrink_images(np.zeros((0, 8, 8, 3), np.uint8), 2).shape == (0, 4, 4)


def test_a_part_of_an_array_is_shrunk_too() -> None:
    images = RNG.integers(0, 256, (4, 10, 12, 3), dtype=np.uint8)[::2, 1:9, ::-1]
    np.testing.assert_array_equal(shrink_images(images, 2), naive.shrink_images(images, 2))


@pytest.mark.parametrize("gap", [0, 1, 4])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize(
    ("tile", "mask"),
    [
        ((1, 1), (1, 1)),
        ((5, 9), (5, 9)),
        ((18, 26), (9, 13)),
        ((7, 11), (20, 31)),
        ((3, 40), (8, 8)),
        ((112, 112), (113, 113)),
    ],
    ids=str,
)
def test_painting_equals_naive(tile: tuple[int, int], mask: tuple[int, int], count: int, gap: int) -> None:
    tiles = words(RNG.integers(0, 256, (6, *tile, 3), dtype=np.uint8))
    place = RNG.integers(0, 6, count)
    # Blobs as well as noise, an empty one and a full one among them.
    masks = RNG.random((count, *mask)) < RNG.choice([0.0, 0.1, 0.5, 0.9, 1.0], (count, 1, 1))
    packed = np.packbits(masks, axis=-1)
    found = paint_masks(tiles, place, packed, mask[1], gap=gap)
    assert found.shape == (tile[0], count * (tile[1] + gap) - gap)
    np.testing.assert_array_equal(found, naive.paint_masks(tiles, place, packed, mask[1], gap))


def test_idle_bits_at_the_end_of_a_row_of_a_mask_mean_nothing() -> None:
    tiles = words(RNG.integers(0, 256, (1, 4, 5, 3), dtype=np.uint8))
    place, masks = np.zeros(1, np.int64), np.full((1, 4, 1), 0b10101111, np.uint8)
    other = masks & 0b11111000
    np.testing.assert_array_equal(paint_masks(tiles, place, masks, 5), paint_masks(tiles, place, other, 5))


def test_the_inside_is_kept_the_outside_dark_and_a_line_lies_between() -> None:
    tiles = RNG.integers(0, 256, (1, 6, 7, 3)).astype(np.uint8)
    mask = np.zeros((1, 6, 7), bool)
    mask[0, 2:4, 3:5] = True
    line = np.zeros_like(mask)
    line[0, 1, 3:5] = line[0, 4, 3:5] = line[0, 2:4, 2] = line[0, 2:4, 5] = True
    painted = colours(paint_masks(words(tiles), np.zeros(1, np.int64), np.packbits(mask, axis=-1), 7))
    outside = ~mask & ~line
    assert np.array_equal(painted[mask[0]], tiles[mask])
    assert (painted[line[0]] == (255, 221, 74)).all()
    assert np.array_equal(painted[outside[0]], tiles[outside] // 4)


@pytest.mark.parametrize("fill", [0, 255], ids=["empty mask", "full mask"])
def test_without_a_border_there_is_no_line(fill: int) -> None:
    tiles = np.full((2, 3, 4, 3), 200, np.uint8)
    painted = colours(paint_masks(words(tiles), np.arange(2), np.full((2, 3, 1), fill, np.uint8), 4))
    assert (painted == (200 if fill else 50)).all()


def test_tiles_stand_side_by_side_with_black_gaps() -> None:
    tiles = np.stack([np.full((2, 3, 3), v, np.uint8) for v in (10, 20, 30)])
    strip = colours(paint_masks(words(tiles), np.array([2, 0]), np.full((2, 1, 1), 255, np.uint8), 1, gap=4))
    assert strip.shape == (2, 10, 3)
    assert (strip[:, :3] == 30).all()
    assert (strip[:, 3:7] == 0).all()
    assert (strip[:, 7:] == 10).all()


def test_masks_are_scaled_by_the_nearest_pixel() -> None:
    masks = RNG.random((2, 9, 13)) < 0.5
    packed = np.packbits(masks, axis=-1)
    assert np.array_equal(naive.unpack_masks(packed, 13, (9, 13)), masks)
    twice = naive.unpack_masks(packed, 13, (18, 26))
    assert np.array_equal(twice, masks.repeat(2, axis=1).repeat(2, axis=2))
    thrice = naive.unpack_masks(packed, 13, (3, 13))
    assert np.array_equal(thrice, masks[:, 1::3])


TILES = np.zeros((2, 3, 4), np.uint32)
PLACE, MASKS = np.array([0, 1]), np.zeros((2, 5, 1), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((TILES[0], PLACE, MASKS, 5, 0), r"tiles must be uint32 \[B, th, tw\]"),
        ((TILES.astype(np.int32), PLACE, MASKS, 5, 0), "tiles must be"),
        ((TILES[:, :0], PLACE, MASKS, 5, 0), "tiles must be"),
        ((TILES, PLACE[:0], MASKS[:0], 5, 0), "of at least one tile"),
        ((TILES, PLACE.astype(float), MASKS, 5, 0), "place must hold integers, not torch.float64"),
        ((TILES, PLACE - 1, MASKS, 5, 0), "places must lie in 0 … 1"),
        ((TILES, PLACE + 1, MASKS, 5, 0), "places must lie in 0 … 1"),
        ((TILES, PLACE, MASKS[:1], 5, 0), r"masks must be uint8 \[2, H, 1\] for a width of 5"),
        ((TILES, PLACE, MASKS, 9, 0), r"masks must be uint8 \[2, H, 2\] for a width of 9"),
        ((TILES, PLACE, MASKS.astype(bool), 5, 0), "masks must be"),
        ((TILES, PLACE, MASKS[:, :0], 5, 0), "at least one pixel"),
        ((TILES, PLACE, MASKS, 5, -1), "a gap of at least 0"),
    ],
)
def test_what_cannot_be_painted_is_said(arguments: Any, says: str) -> None:
    *arrays, gap = arguments
    with pytest.raises(ValueError, match=says):
        paint_masks(*arrays, gap=gap)


@pytest.mark.parametrize(
    ("images", "divisor", "says"),
    [
        (np.zeros((2, 2, 3), np.uint8), 1, r"images must be uint8 \[B, ih, iw, 3\]"),
        (np.zeros((1, 2, 2, 4), np.uint8), 1, "images must be"),
        (np.zeros((1, 0, 2, 3), np.uint8), 1, "images must be"),
        (np.zeros((1, 2, 2, 3), np.int16), 1, "images must be"),
        (np.zeros((1, 2, 2, 3), np.uint8), 0, "the divisor must lie in 1 … 255, not 0"),
        (np.zeros((1, 2, 2, 3), np.uint8), 256, "the divisor must lie"),
    ],
)
def test_what_cannot_be_shrunk_is_said(images: Any, divisor: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        shrink_images(images, divisor)
