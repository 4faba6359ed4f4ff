"""Rotated maps have the bits of the definition, whatever the order in which a product adds."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ndkernels import rotate
from ndkernels.rotate import Rotation, naive

Maps = NDArray[np.float32]
Matrix = NDArray[np.float64]


@pytest.fixture(autouse=True)
def torch_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def orthogonal(units: int, seed: int = 0) -> Matrix:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(units, units)))[0]


def draw_maps(shape: tuple[int, ...], kind: str, seed: int = 0) -> Maps:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape).astype(np.float32)
    match kind:
        case "relu":
            return np.maximum(values, 0)
        case "wide":  # from subnormal numbers to huge ones, also at one position
            return np.ldexp(values, rng.integers(-148, 100, shape)).astype(np.float32)
        case "small":  # every position below what its places are counted from
            return np.ldexp(values, rng.integers(-148, -110, shape)).astype(np.float32)
        case "zeros":
            return np.where(rng.random(shape) < 0.5, np.float32(0), np.float32(-0.0)).astype(np.float32)
    return values


def rotated(maps: Maps, matrix: Matrix) -> Maps:
    given = torch.from_numpy(maps.copy())
    Rotation(matrix).apply(given)
    return given.numpy()


def assert_same_bits(one: Maps, other: Maps) -> None:
    np.testing.assert_array_equal(one.view(np.int32), other.view(np.int32))


@pytest.mark.parametrize("kind", ["normal", "relu", "wide", "small", "zeros"])
@pytest.mark.parametrize("shape", [(3, 7, 4, 5), (2, 16, 1, 1), (1, 1, 3, 2), (2, 65, 6, 7)], ids=str)
def test_equals_naive(shape: tuple[int, ...], kind: str) -> None:
    maps, matrix = draw_maps(shape, kind), orthogonal(shape[1])
    assert_same_bits(rotated(maps, matrix), naive.rotate_maps(maps, matrix))


@given(st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from(["normal", "relu", "wide"]))
@settings(max_examples=60, deadline=None)
def test_equals_naive_for_any_draw(units: int, seed: int, kind: str) -> None:
    maps, matrix = draw_maps((2, units, 2, 3), kind, seed), orthogonal(units, seed)
    assert_same_bits(rotated(maps, matrix), naive.rotate_maps(maps, matrix))


def test_batches_threads_and_buffers_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, matrix = draw_maps((13, 96, 9, 11), "relu"), orthogonal(96)
    expected = rotated(maps, matrix)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for batch in (1, 4, 13):
            parts = [rotated(maps[first : first + batch], matrix) for first in range(0, 13, batch)]
            assert_same_bits(np.concatenate(parts), expected)
    for buffer in (1, 96 * 8 * 50, 96 * 8 * 250):  # a position, half a map and two maps at once
        monkeypatch.setattr(rotate, "BUFFER_BYTES", buffer)
        assert_same_bits(rotated(maps, matrix), expected)


def test_the_order_of_the_sum_changes_no_bit() -> None:
    maps, matrix = draw_maps((2, 200, 5, 5), "normal"), orthogonal(200)
    order = np.random.default_rng(1).permutation(200)
    assert_same_bits(rotated(maps[:, order], matrix[:, order]), rotated(maps, matrix))
    plain = [
        np.einsum("uv,nvyx->nuyx", m.astype(np.float32), a)
        for m, a in ((matrix, maps), (matrix[:, order], maps[:, order]))
    ]
    assert (plain[0] != plain[1]).any(), "which is not so of a float32 product"


@pytest.mark.parametrize("units", [1, 2, 64, 4096])
def test_the_largest_sums_are_exact(units: int) -> None:
    """Every entry as large as rows of length 1 allow, every activation the largest of its position, all of one sign."""
    matrix = np.full((units, units), units**-0.5)
    maps = np.full((1, units, 1, 1), np.nextafter(np.float32(2), np.float32(0)))
    whole = np.rint(np.ldexp(matrix[0], Rotation(matrix).digits))
    digits = Rotation(matrix).digits
    total = sum(int(w) * 2**naive.DIGITS for w in whole)
    assert 2**50 < total <= 2**53
    found = rotated(maps, matrix)[0, :, 0, 0]
    exact = Fraction(total, 2 ** (digits + naive.DIGITS - 1))
    assert (found == np.float32(float(exact))).all()


@pytest.mark.parametrize("units", [8, 512])
def test_as_close_as_a_float32_product(units: int) -> None:
    maps, matrix = draw_maps((2, units, 7, 7), "relu"), orthogonal(units)
    exact = np.einsum("uv,nvyx->nuyx", matrix, maps.astype(np.float64))
    plain = np.einsum("uv,nvyx->nuyx", matrix.astype(np.float32), maps)
    error, usual = (np.linalg.norm(found - exact) / np.linalg.norm(exact) for found in (rotated(maps, matrix), plain))
    assert error < 5e-7
    assert error < 3 * usual


def test_the_identity_keeps_what_has_23_digits() -> None:
    maps = np.arange(-60, 60, dtype=np.float32).reshape(2, 3, 4, 5) / 8
    assert_same_bits(rotated(maps, np.eye(3)), maps + np.float32(0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(value: float) -> None:
    maps, matrix = draw_maps((2, 6, 3, 3), "normal"), orthogonal(6)
    maps[1, 4, 2, 0] = value
    found, expected = rotated(maps, matrix), naive.rotate_maps(maps, matrix)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    assert not np.isfinite(found[1, :, 2, 0]).any()
    assert np.isfinite(found).sum() == found.size - 6


def test_nothing_to_turn() -> None:
    assert rotated(np.zeros((0, 3, 2, 2), np.float32), np.eye(3)).shape == (0, 3, 2, 2)
    assert rotated(np.zeros((2, 3, 0, 2), np.float32), np.eye(3)).shape == (2, 3, 0, 2)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3)[:2], r"must be float64 \[U, U\], not float64 \[2, 3\]"),
        (np.eye(3, dtype=np.float32), r"must be float64 \[U, U\], not float32 \[3, 3\]"),
        (np.empty((0, 0)), r"must be float64 \[U, U\], not float64 \[0, 0\]"),
        (np.full((2, 2), np.nan), "must be finite"),
        (np.eye(2) * 1e-300, r"longest row of the matrix must be from 5\.42101e-20 to 1\.84467e\+19, not 1e-300"),
        (np.eye(2) * 1e300, "longest row of the matrix must be"),
    ],
    ids=["not square", "float32", "empty", "nan", "tiny", "huge"],
)
def test_a_matrix_that_does_not_do(matrix: Matrix, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rotation(matrix)


@pytest.mark.parametrize(
    "maps",
    [torch.zeros(2, 4, 3, 3), torch.zeros(2, 3, 3), torch.zeros(2, 3, 3, 3).double(), torch.zeros(2, 3, 3, 4)[..., :3]],
    ids=["units", "dimensions", "type", "strides"],
)
def test_maps_that_do_not_fit(maps: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"maps must be contiguous float32 \[N, 3, h, w\]"):
        Rotation(np.eye(3)).apply(maps)


@pytest.mark.gpu
def test_a_gpu_has_the_same_bits(cuda: torch.device) -> None:
    for shape, kind in (((5, 512, 13, 13), "relu"), ((3, 64, 30, 31), "wide"), ((40, 1000, 1, 1), "normal")):
        maps, matrix = draw_maps(shape, kind), orthogonal(shape[1])
        there = torch.from_numpy(maps).to(cuda)
        Rotation(matrix, cuda).apply(there)
        assert_same_bits(there.cpu().numpy(), rotated(maps, matrix))
