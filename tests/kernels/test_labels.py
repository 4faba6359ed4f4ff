"""Pixel codes against their definition, and back to the labels they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels import cases
from ndkernels.labels import (
    LabelBlock,
    carried_categories,
    check_concepts,
    code_dtype,
    count_concepts,
    cpu,
    decode_labels,
    encode_labels,
    naive,
)
from ndkernels.tally import naive as tally_naive

CONCEPTS = 9


def check_codes(maps: NDArray[np.int32]) -> int:
    """Both encoders agree; returns the number of combinations."""
    dtype = code_dtype(maps.shape[1:])
    (found,) = cpu.encode([maps], maps.shape[1:], dtype)
    cases.assert_identical(found, naive.encode(maps, dtype))
    return len(found[1])


def check_inverse(block: LabelBlock, maps: Sequence[NDArray[Any]], whole: Sequence[Sequence[int]]) -> None:
    """Decoding gives every concept at every pixel as often as it was put there."""
    again, marks = decode_labels(block)
    assert [sorted(c for c in image if c) for image in whole] == marks
    for before, after in zip(maps, again, strict=True):
        one = tally_naive.concept_planes(before, (), once=False)
        other = tally_naive.concept_planes(after, (), once=False)
        assert one.keys() == other.keys()
        assert all((one[c] == other[c]).all() for c in one)


def check_areas(block: LabelBlock, maps: Sequence[Any], whole: Sequence[Sequence[int]], concepts: int) -> None:
    for once in (False, True):
        area, present = count_concepts(block, concepts, once=once)
        expected, images = tally_naive.count_concepts(maps, whole, concepts, once=once)
        cases.assert_identical([area, present.sum(axis=0)], [expected, images])
        assert (area.dtype, present.dtype) == (np.int64, np.bool_)
    for b, row in enumerate(present):
        carried = tally_naive.concept_planes(maps[b], whole[b], once=True)
        assert set(np.flatnonzero(row) + 1) == set(carried)


@settings(cases.SETTINGS, max_examples=100)
@given(
    cases.seeds,
    st.integers(0, 4),
    st.sampled_from(cases.LABELS),
    st.sampled_from([1, 3, 9]),
    st.integers(0, CONCEPTS),
)
def test_blocks(seed: int, images: int, shape: tuple[int, int], block: int, concepts: int) -> None:
    rng = np.random.default_rng(seed)
    maps, whole = cases.images_of_labels(images, shape, concepts, rng, block=block)
    for stack in maps:
        check_codes(stack)
    encoded = encode_labels(maps, whole, shape)
    assert (len(encoded), encoded.shape) == (images, shape)
    check_inverse(encoded, maps, whole)
    check_areas(encoded, maps, whole, CONCEPTS)


@pytest.mark.parametrize(
    ("shape", "block", "concepts"), [((113, 113), 1, 11), ((112, 112), 12, 1200), ((97, 131), 40, 300)], ids=str
)
def test_large_blocks(shape: tuple[int, int], block: int, concepts: int) -> None:
    rng = np.random.default_rng(block)
    maps = [cases.label_maps(depth, shape, concepts, rng, block=block) for depth in (6, 1)]
    whole = [[concepts, 7, concepts], []]
    for stack in maps:
        check_codes(stack)
    encoded = encode_labels(maps, whole, shape)
    check_inverse(encoded, maps, whole)
    check_areas(encoded, maps, whole, concepts)


@pytest.mark.parametrize(("width", "dtype"), [(256, np.uint16), (257, np.int32)])
def test_every_pixel_may_differ(width: int, dtype: type) -> None:
    """65,536 combinations are the most that 16 bits can number."""
    maps = np.random.default_rng(0).permutation(256 * width).reshape(1, 256, width).astype(np.int32)
    assert code_dtype((256, width)) is dtype
    ((codes, area, lengths, concept, times),) = cpu.encode([maps], maps.shape[1:], dtype)
    assert codes.dtype == dtype
    np.testing.assert_array_equal(codes, np.arange(256 * width).reshape(256, width))
    assert (area == 1).all()
    np.testing.assert_array_equal(concept, maps[maps != 0])  # 0 is no concept
    assert (times == 1).all()
    assert lengths.sum() == 256 * width - 1


def test_hundreds_of_concepts_in_an_image() -> None:
    rng = np.random.default_rng(5)
    maps = [(np.arange(400).reshape(1, 20, 20) + 100 * np.arange(3)[:, None, None]) % 700]
    assert check_codes(maps[0].astype(np.int32)) == 400
    whole = [rng.integers(1, 701, 200).tolist()]
    block = encode_labels(maps, whole, (20, 20))
    check_inverse(block, maps, whole)
    check_areas(block, maps, whole, 700)


def test_255_maps_may_agree() -> None:
    maps = np.full((255, 1, 2), 4, np.int32)
    assert check_codes(maps) == 1
    block = encode_labels([maps], [[6] * 255], (1, 2))
    assert (block.entry_times.tolist(), block.whole_times.tolist()) == ([255], [255])
    assert count_concepts(block, 6, once=False)[0].tolist() == [0, 0, 0, 510, 0, 510]
    assert count_concepts(block, 6, once=True)[0].tolist() == [0, 0, 0, 2, 0, 2]


def test_codes_by_hand() -> None:
    maps = np.array([[[2, 2, 0], [0, 3, 2]], [[0, 2, 0], [0, 2, 0]]], np.int32)
    block = encode_labels([maps, maps[:0]], [[5, 0, 5], []], (2, 3))
    assert block.codes.tolist() == [[[0, 1, 2], [2, 3, 0]], [[0, 0, 0], [0, 0, 0]]]
    assert block.codes.dtype == torch.uint16
    assert block.code_start.tolist() == [0, 4, 5]
    assert block.code_area.tolist() == [2, 1, 2, 1, 6]
    assert block.entry_start.tolist() == [0, 1, 2, 2, 4, 4]
    assert (block.entry_concept.tolist(), block.entry_times.tolist()) == ([2, 2, 2, 3], [1, 2, 1, 1])
    assert (block.whole_start.tolist(), block.whole_concept.tolist()) == ([0, 1, 1], [5])
    assert block.whole_times.tolist() == [2]


def test_types_of_a_block() -> None:
    block = encode_labels([np.zeros((1, 300, 300), np.uint8)], [[]], (300, 300))
    assert block.codes.dtype == torch.int32
    assert [t.dtype for t in vars(block).values()] == [
        torch.int32, torch.int64, torch.int64, torch.int64, torch.int32, torch.uint8, torch.int64, torch.int32,
        torch.uint8,
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int64, np.uint64])
def test_integers_of_any_type(dtype: type) -> None:
    maps = np.random.default_rng(1).integers(0, 9, (3, 13, 13)).astype(np.int32)
    turned = maps.astype(dtype).transpose(0, 2, 1).copy().transpose(0, 2, 1)  # not contiguous either
    expected = encode_labels([maps], [[3]], (13, 13))
    found = encode_labels([turned], [np.array([3, 0], dtype)], (13, 13))  # type: ignore[list-item]
    cases.assert_identical(list(vars(found).values()), list(vars(expected).values()))


def test_an_empty_block() -> None:
    block = encode_labels([], [], (5, 7))
    assert (len(block), block.shape, decode_labels(block)) == (0, (5, 7), ([], []))
    area, present = count_concepts(block, 3, once=False)
    assert (area.tolist(), present.shape) == ([0, 0, 0], (0, 3))
    assert carried_categories(block, np.zeros(3, np.int32), 2).shape == (0, 2)


def test_large_ids() -> None:
    most = 2**31 - 1
    block = encode_labels([np.array([[[most, 0]]])], [[most - 1]], (1, 2))
    assert (block.entry_concept.tolist(), block.whole_concept.tolist()) == ([most], [most - 1])


@settings(cases.SETTINGS, max_examples=50)
@given(cases.seeds, st.integers(0, 3))
def test_categories_that_images_carry(seed: int, categories: int) -> None:
    rng = np.random.default_rng(seed)
    maps, whole = cases.images_of_labels(4, (3, 5), CONCEPTS, rng)
    category = rng.integers(-1, categories, CONCEPTS).astype(np.int32)
    found = carried_categories(encode_labels(maps, whole, (3, 5)), category, categories)
    expected = np.zeros((4, categories), np.bool_)
    for b in range(4):
        for concept in tally_naive.concept_planes(maps[b], whole[b], once=True):
            if category[concept - 1] >= 0:
                expected[b, category[concept - 1]] = True
    cases.assert_identical([found], [expected])


def test_labels_that_do_not_fit_are_refused() -> None:
    good = np.ones((1, 2, 3), np.int32)
    for wrong in (good[0], good.reshape(1, 3, 2), np.ones((1, 2, 4), np.int32)):
        with pytest.raises(ValueError, match=r"label maps of image 1 must be \[M, 2, 3\], not \["):
            encode_labels([good, wrong], [[], []], (2, 3))
    for wrong in (good * -1, good.astype(np.int64) * 2**31, good.astype(np.uint64) * 2**63):
        with pytest.raises(ValueError, match="label maps of image 1 hold an id outside 0 … 2"):
            encode_labels([good, wrong], [[], []], (2, 3))
    for wrong in (good * 1.5, good > 0):
        with pytest.raises(ValueError, match=f"label maps of image 1 must hold integers, not {wrong.dtype}"):
            encode_labels([good, wrong], [[], []], (2, 3))
    with pytest.raises(ValueError, match="image 1 has more than 255 label maps"):
        encode_labels([good, good.repeat(256, axis=0)], [[], []], (2, 3))
    with pytest.raises(ValueError, match="image 1 has more than 255 whole-image labels"):
        encode_labels([good, good], [[], [1] * 256], (2, 3))
    for label in (-1, 2**31):
        with pytest.raises(ValueError, match="whole-image labels of image 1 hold an id outside 0 … 2"):
            encode_labels([good, good], [[1], [label]], (2, 3))
    for whole in ([[]], [[], [], []]):
        with pytest.raises(ValueError, match=f"label maps of 2 images, but whole-image labels of {len(whole)}"):
            encode_labels([good, good], whole, (2, 3))


def test_unexpected_concepts_are_refused() -> None:
    for maps, whole in ((4, 1), (1, 4)):
        block = encode_labels([np.full((1, 2, 3), maps)], [[whole]], (2, 3))
        for check in (check_concepts, lambda b, c: count_concepts(b, c, once=False)):
            with pytest.raises(ValueError, match="the labels hold concept 4, above the highest expected one, 3"):
                check(block, 3)
        check_concepts(block, 4)
