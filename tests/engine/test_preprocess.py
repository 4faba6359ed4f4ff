"""Pixels to input, and what the command line may change about it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from ndengine.errors import SettingsError
from ndengine.models.preprocess import ASSUMED, IMAGENET, Preprocessing, resize_images, resolve_preprocessing

CAFFE = (104.007, 116.669, 122.679)


@pytest.mark.parametrize(
    "own", [IMAGENET, Preprocessing(CAFFE, channels="bgr", scale=255.0), Preprocessing((0.5,) * 3, (0.25,) * 3)]
)
def test_the_table_is_the_formula_rounded_once(own: Preprocessing) -> None:
    table = own.table()
    assert table.dtype == np.float32
    assert table.shape == (3, 256)
    for channel in range(3):
        for pixel in (0, 1, 37, 128, 254, 255):
            scaled = Fraction(pixel, 255) * Fraction(own.scale)
            exact = (scaled - Fraction(own.mean[channel])) / Fraction(own.std[channel])
            # float64 on the way is far finer than the last rounding
            assert table[channel, pixel] == pytest.approx(float(exact), rel=2**-24, abs=1e-15)


def test_a_scale_of_255_takes_the_mean_off_the_pixels() -> None:
    table = Preprocessing((100.0, 0.0, 0.0), scale=255.0).table()
    assert table[1].tolist() == pytest.approx(list(range(256)), rel=1e-7)
    assert table[0, 100] == 0


def test_the_order_of_channels() -> None:
    assert IMAGENET.order == (0, 1, 2)
    assert replace(IMAGENET, channels="bgr").order == (2, 1, 0)


def test_nothing_given_leaves_the_networks_own() -> None:
    assert resolve_preprocessing(IMAGENET) == IMAGENET
    assert resolve_preprocessing(ASSUMED) == ASSUMED
    assert ASSUMED.note


def test_all_given_replaces_it_and_is_recorded() -> None:
    found = resolve_preprocessing(ASSUMED, CAFFE, (1.0, 2.0, 3.0), "bgr", 255)
    assert found == Preprocessing(CAFFE, (1.0, 2.0, 3.0), "bgr", 255.0, ("mean", "std", "channels", "scale"))
    assert found.record() == {
        "mean": list(CAFFE),
        "std": [1.0, 2.0, 3.0],
        "channels": "bgr",
        "scale": 255.0,
        "given": ["mean", "std", "channels", "scale"],
        "note": "",
    }


def test_a_mean_alone_has_std_one_and_no_note() -> None:
    found = resolve_preprocessing(ASSUMED, (0.5, 0.4, 0.3))
    assert (found.mean, found.std, found.scale, found.channels) == ((0.5, 0.4, 0.3), (1.0, 1.0, 1.0), 1.0, "rgb")
    assert (found.given, found.note) == (("mean",), "")


def test_another_order_keeps_each_colours_mean() -> None:
    found = resolve_preprocessing(ASSUMED, channels="bgr")
    assert (found.mean, found.std) == (IMAGENET.mean[::-1], IMAGENET.std[::-1])
    assert found.note == ASSUMED.note
    own, other = IMAGENET.table(), found.table()
    assert all(np.array_equal(other[i], own[found.order[i]]) for i in range(3))
    assert resolve_preprocessing(found, channels="bgr").mean == found.mean


def test_a_std_alone_keeps_the_mean() -> None:
    found = resolve_preprocessing(IMAGENET, std=(2, 2, 2))
    assert (found.mean, found.std, found.given) == (IMAGENET.mean, (2.0, 2.0, 2.0), ("std",))


def test_the_networks_own_scale_may_be_repeated() -> None:
    assert resolve_preprocessing(IMAGENET, scale=1).given == ("scale",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mean": (1.0, 2.0)}, "mean has 2 values"),
        ({"mean": (0.1,)}, "mean has 1 values"),
        ({"std": (1.0, 1.0, 1.0, 1.0)}, "std has 4 values"),
        ({"std": (1.0, 0.0, 1.0)}, "std is 1,0,1; it divides"),
        ({"std": (1.0, -1.0, 1.0)}, "std is 1,-1,1; it divides"),
        ({"mean": (0.0, float("nan"), 0.0)}, "mean is 0,nan,0; use finite"),
        ({"std": (0.0, float("inf"), 0.0)}, "std is 0,inf,0; use finite"),
        ({"mean": CAFFE}, "mean 104.007,116.669,122.679 lies above white, which is 1; give --scale too"),
        ({"scale": 255.0}, "scale 255 is given without a mean"),
        ({"scale": 255.0, "std": (1.0, 1.0, 1.0)}, "scale 255 is given without a mean"),
        ({"scale": 0.0, "mean": (0.0, 0.0, 0.0)}, "scale is 0;"),
        ({"scale": float("nan")}, "scale is nan;"),
        ({"channels": "gbr"}, "channels is 'gbr'; use one of rgb, bgr"),
    ],
    ids=str,
)
def test_what_can_not_be_meant_is_an_error(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as error:
        resolve_preprocessing(IMAGENET, **arguments)  # type: ignore[arg-type]
    assert said in str(error.value)


def test_images_are_resized_whole_by_pillow() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 11, 17, 3), np.uint8)
    for size in ((22, 9), (5, 40), (11, 17)):
        resized = resize_images(images, size)
        assert resized.dtype == np.uint8
        assert resized.shape == (3, *size, 3)
        for image, found in zip(images, resized, strict=True):
            wanted = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
            assert np.array_equal(found, np.asarray(wanted))
    assert resize_images(images, (11, 17)) is images
    assert resize_images(images[:0], (4, 5)).shape == (0, 4, 5, 3)
