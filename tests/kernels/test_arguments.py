"""What callers hand to the kernels: any array, any layout, any integers give the naive counts; NaN is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from kernels import cases
from ndkernels.arrays import as_integers
from ndkernels.grid import make_grid, mask_maps, tables
from ndkernels.labels import carried_categories, count_concepts, decode_labels, encode_labels
from ndkernels.paint import paint_masks, shrink_images
from ndkernels.pixels import look_up_pixels
from ndkernels.rotate import Rotation
from ndkernels.sieve import NonFiniteError, Sieve, expand_survivors, select_thresholds
from ndkernels.tally import UnitCounts, list_maps, naive, tally_units

RNG = np.random.default_rng(4)
SHAPE, LABELS, CONCEPTS, CATEGORIES = (3, 4, 5, 6), (13, 17), 9, 2
ACTIVATIONS = cases.activations("normal", SHAPE, RNG)
LIMITS = np.array([0.1, -0.2, 0.3, 0.5], np.float32)
STACKS, WHOLE = cases.images_of_labels(3, LABELS, CONCEPTS, RNG, block=2)
CATEGORY = (np.arange(CONCEPTS) % 3 - 1).astype(np.int32)
GRID = make_grid("half-pixel", maps=SHAPE[2:], labels=LABELS)


def strided(array: np.ndarray) -> np.ndarray:
    """The same values, every second item of something larger."""
    wide = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def reversed_memory(array: np.ndarray) -> np.ndarray:
    return array[::-1].copy()[::-1]


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def swapped(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder(">"))


def wanting_gradient(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).clone().requires_grad_(array.dtype.kind == "f")


KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "numpy": np.array,
    "torch": lambda a: torch.from_numpy(a.copy()),
    "strided numpy": strided,
    "strided torch": lambda a: torch.from_numpy(strided(a)),
    "reversed": reversed_memory,
    "read-only": read_only,
    "big-endian": swapped,
    "wanting a gradient": wanting_gradient,
}


def tallied(kind: Callable[[np.ndarray], Any], integers: Any = np.int32, labels: Any = np.int32) -> UnitCounts:
    maps, unit, image = (t.numpy() for t in list_maps(torch.from_numpy(ACTIVATIONS)))
    counts = UnitCounts.zeros(SHAPE[1], CONCEPTS, CATEGORIES)
    block = encode_labels([kind(stack.astype(labels)) for stack in STACKS], WHOLE, LABELS)
    category = CATEGORY if np.dtype(integers).kind == "u" else CATEGORY.astype(integers)
    given = [kind(a) for a in (maps, unit.astype(integers), image.astype(integers), LIMITS)]
    tally_units(*given, GRID, block, kind(category), counts)
    return counts


def expected() -> tuple[np.ndarray, ...]:
    return naive.tally(
        ACTIVATIONS, LIMITS, tables(GRID), STACKS, WHOLE, CATEGORY, CATEGORIES, once=False, area="category"
    )


def assert_expected(counts: UnitCounts) -> None:
    found = (counts.intersection, counts.unit_area, counts.unit_area_all)
    assert found[0].any()
    for one, other in zip(found, expected(), strict=True):
        np.testing.assert_array_equal(one.numpy(), other)


@pytest.mark.parametrize("kind", KINDS)
def test_any_array_gives_the_naive_counts(kind: str) -> None:
    assert_expected(tallied(KINDS[kind]))


INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("integers", INTEGERS)
def test_any_integers_give_the_naive_counts(integers: str, kind: str) -> None:
    assert_expected(tallied(KINDS[kind], integers, integers))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e38])
@pytest.mark.parametrize("kind", ["numpy", "strided torch"])
def test_maps_that_are_not_finite_are_named(kind: str, value: float) -> None:
    activations = ACTIVATIONS.copy()
    activations[2, 1, 4, 3] = value
    maps, unit, image = list_maps(KINDS[kind](activations))
    counts = UnitCounts.zeros(SHAPE[1], CONCEPTS, CATEGORIES)
    block = encode_labels(STACKS, WHOLE, LABELS)
    with pytest.raises(NonFiniteError, match=r"image 2, unit 1, is not finite or above 2\^126") as caught:
        tally_units(maps, unit, image, LIMITS, GRID, block, CATEGORY, counts)
    assert (caught.value.image, caught.value.unit) == (2, 1)
    assert not counts.intersection.any(), "nothing has been counted"
    with pytest.raises(ValueError, match=r"map 9 holds .*, which is not finite"):
        mask_maps(maps, np.zeros(12, np.float32), GRID)
    with pytest.raises(NonFiniteError, match="image 2, unit 1"):
        Rotation(np.eye(4)).apply(activations)
    assert (activations == ACTIVATIONS).sum() == activations.size - 1, "nothing has been turned"
    with pytest.raises(NonFiniteError, match="image 2, unit 1"):
        Sieve(4, 3).add(KINDS[kind](activations), 0)


def test_the_largest_magnitudes_are_counted() -> None:
    maps = np.full((1, *SHAPE[2:]), 2.0**126, np.float32)
    assert mask_maps(maps, np.zeros(1, np.float32), GRID).all()
    assert not mask_maps(-maps, np.zeros(1, np.float32), GRID).any()


def test_thresholds_of_nan_are_refused() -> None:
    limits = LIMITS.copy()
    limits[2] = np.nan
    counts, block = UnitCounts.zeros(SHAPE[1], CONCEPTS, CATEGORIES), encode_labels(STACKS, WHOLE, LABELS)
    with pytest.raises(ValueError, match="thresholds hold nan at place 2"):
        tally_units(*list_maps(ACTIVATIONS), limits, GRID, block, CATEGORY, counts)
    with pytest.raises(ValueError, match="thresholds hold nan at place 2"):
        mask_maps(ACTIVATIONS[0], limits, GRID)


@pytest.mark.parametrize("kind", KINDS)
def test_the_others_take_any_array(kind: str) -> None:
    make = KINDS[kind]
    above = 30
    sieve = Sieve(4, above)
    survivors, _, _ = sieve.add(make(ACTIVATIONS), 0)
    limits = select_thresholds(lambda: [survivors], make(sieve.bound.numpy()), above)
    np.testing.assert_array_equal(limits, np.sort(ACTIVATIONS.swapaxes(0, 1).reshape(4, -1))[:, ::-1][:, above])
    assert len(expand_survivors(survivors, make(limits.numpy()))) == len(survivors)
    masks = mask_maps(make(ACTIVATIONS[0]), make(LIMITS), GRID)
    np.testing.assert_array_equal(masks, mask_maps(torch.from_numpy(ACTIVATIONS[0]), torch.from_numpy(LIMITS), GRID))
    whole = [make(np.array(labels, np.int16)) for labels in WHOLE]
    block = encode_labels([make(stack) for stack in STACKS], whole, LABELS)
    plain = encode_labels(STACKS, WHOLE, LABELS)
    np.testing.assert_array_equal(decode_labels(block)[0][0], decode_labels(plain)[0][0])
    assert decode_labels(block)[1] == decode_labels(plain)[1]
    for one, other in zip(count_concepts(block, 9, once=True), count_concepts(plain, 9, once=True), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(carried_categories(block, make(CATEGORY), 2), carried_categories(plain, CATEGORY, 2))
    images = RNG.integers(0, 256, (2, 6, 8, 3), np.uint8)
    table = RNG.standard_normal((3, 256)).astype(np.float32)
    np.testing.assert_array_equal(look_up_pixels(make(images), make(table)), look_up_pixels(images, table))
    tiles = shrink_images(images, 2)
    np.testing.assert_array_equal(shrink_images(make(images), 2), tiles)
    drawn = RNG.integers(0, 256, (2, 3, 1), np.uint8)
    np.testing.assert_array_equal(
        paint_masks(make(tiles), make(np.array([1, 0], np.int16)), make(drawn), 4),
        paint_masks(tiles, np.array([1, 0]), drawn, 4),
    )


def test_arrays_are_turned_in_place() -> None:
    matrix = np.linalg.qr(RNG.standard_normal((4, 4)))[0]
    array, tensor = ACTIVATIONS.copy(), torch.from_numpy(ACTIVATIONS.copy())
    Rotation(matrix).apply(array)
    Rotation(matrix).apply(tensor)
    np.testing.assert_array_equal(array, tensor)
    assert (array != ACTIVATIONS).any()
    with pytest.raises(ValueError, match="read-only; give a copy"):
        Rotation(matrix).apply(read_only(ACTIVATIONS))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1.0, 2.0], "x must hold integers, not torch.float64"),
        ([True], "x must hold integers, not torch.bool"),
        ([2**31], "x must be numbers of 32 bits"),
        (np.array([2**63], np.uint64), "x must be numbers of 32 bits"),
        (torch.tensor([-(2**31) - 1]), "x must be numbers of 32 bits"),
        (["a"], "x must hold numbers"),
        (np.ma.masked_array([1, 2], [True, False]), "x must not be masked"),
        (torch.eye(2).to_sparse(), "x must be a dense tensor"),
    ],
    ids=str,
)
def test_what_is_no_integer_is_refused(values: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        as_integers("x", values)


@pytest.mark.parametrize("whole", [[1.5], [1.0], ["1"], [None], np.array([1.0]), torch.tensor([2.5])], ids=str)
def test_whole_image_labels_are_integers(whole: Any) -> None:
    with pytest.raises(ValueError, match="whole-image labels of image 0 must be integers"):
        encode_labels([np.zeros((0, 2, 2), int)], [whole], (2, 2))


@pytest.mark.parametrize(
    "stack", [np.zeros((1, 2, 2)), torch.zeros((1, 2, 2)), torch.zeros((1, 2, 2), dtype=torch.bool)]
)
def test_label_maps_are_integers(stack: Any) -> None:
    with pytest.raises(ValueError, match="label maps of image 0 must hold integers"):
        encode_labels([stack], [[]], (2, 2))
