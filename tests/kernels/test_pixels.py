"""The pixel table gives the definition's values, and says what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ndkernels.pixels import gpu, look_up_pixels, naive

RNG = np.random.default_rng(4)
TABLE = RNG.standard_normal((3, 256)).astype(np.float32)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 1, 0)])
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 7, 5, 3), (0, 4, 4, 3), (3, 33, 20, 3)])
def test_equals_naive(shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    images = RNG.integers(0, 256, shape, dtype=np.uint8)
    batch = look_up_pixels(images, TABLE, order)
    assert batch.shape == (shape[0], 3, shape[1], shape[2])
    assert batch.is_contiguous(memory_format=torch.channels_last) or shape[0] == 0
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).numpy(), naive.look_up_pixels(images, TABLE, order))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 1, 0)])
@pytest.mark.parametrize("shape", [(2, 7, 5, 3), (0, 4, 4, 3)])
def test_the_lookup_of_a_gpu_equals_naive(shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    images = RNG.integers(0, 256, shape, dtype=np.uint8)
    batch = gpu.look_up_pixels(torch.from_numpy(images), torch.from_numpy(TABLE), order)
    assert batch.is_contiguous(memory_format=torch.channels_last) or shape[0] == 0
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).numpy(), naive.look_up_pixels(images, TABLE, order))


def test_a_part_of_an_array() -> None:
    images = RNG.integers(0, 256, (4, 10, 12, 3), dtype=np.uint8)[::2, 1:9:2, ::-1]
    found = look_up_pixels(images, TABLE, (2, 0, 1)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found, naive.look_up_pixels(images, TABLE, (2, 0, 1)))


@pytest.mark.parametrize(
    ("images", "table", "order", "words"),
    [
        (np.zeros((2, 2, 3), np.uint8), TABLE, (0, 1, 2), r"images must be uint8 \[B, H, W, 3\]"),
        (np.zeros((1, 2, 2, 4), np.uint8), TABLE, (0, 1, 2), "images must be"),
        (np.zeros((1, 2, 2, 3), np.int16), TABLE, (0, 1, 2), "images must be"),
        (np.zeros((1, 2, 2, 3), np.uint8), TABLE[:, :255], (0, 1, 2), r"the table must be float32 \[3, 256\]"),
        (np.zeros((1, 2, 2, 3), np.uint8), TABLE.astype(float), (0, 1, 2), "the table must be"),
        (np.zeros((1, 2, 2, 3), np.uint8), TABLE, (0, 1, 3), "the order must be three numbers"),
        (np.zeros((1, 2, 2, 3), np.uint8), TABLE, (0, 1), "the order must be"),
    ],
)
def test_bad_input(images: Any, table: Any, order: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        look_up_pixels(images, table, order)
