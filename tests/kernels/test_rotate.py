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
    torch.set_num_threads(1)
    found: Matrix = torch.linalg.qr(torch.from_numpy(np.random.default_rng(seed).normal(size=(units, units))))[
        0
    ].numpy()
    return found


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
    Rotation(matrix).turn(given)
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


@pytest.mark.parametrize("value", [1.0, 1.999999, 1.03, 1e-37])
@pytest.mark.parametrize("units", [1, 2, 63, 64, 4096])
def test_the_largest_sums_are_exact(units: int, value: float) -> None:
    """Every activation and every entry of the matrix as large as the other, so that Cauchy and Schwarz are met."""
    matrix = np.full((units, units), units**-0.5)
    maps = np.full((1, units, 1, 1), value, np.float32)
    exponent = naive.length_exponent(maps[0, :, 0, 0].astype(np.float64))
    entry = int(np.rint(np.ldexp(matrix[0, 0], naive.MATRIX_DIGITS)))
    activation = int(np.rint(np.ldexp(np.float64(maps[0, 0, 0, 0]), naive.DIGITS - exponent)))
    total = units * entry * activation
    assert total <= 2**53
    assert total > 2**50 or value < 1e-30
    found = rotated(maps, matrix)[0, :, 0, 0]
    exact = Fraction(total) * Fraction(2) ** (exponent - naive.DIGITS - naive.MATRIX_DIGITS)
    assert (found == np.float32(float(exact))).all()


@given(st.integers(1, 4096), st.integers(0, 2**32 - 1), st.floats(0, 6))
@settings(max_examples=60, deadline=None)
def test_the_length_of_a_position(units: int, seed: int, spread: float) -> None:
    """The exponent is that of the length, or one or two more, whatever share of it a few activations have."""
    activations = np.exp(spread * np.random.default_rng(seed).normal(size=units)).astype(np.float32)
    exponent = naive.length_exponent(activations.astype(np.float64))
    length = float(np.linalg.norm(activations.astype(np.float64)))
    assert length < 2.0**exponent <= 8 * length
    assert length * (1 + 2.0**-14) < 2.0**exponent, "with room for the roundings"


def test_there_is_room_for_the_roundings() -> None:
    """A length just below a power of two, of activations that the coarse ones do not round up."""
    activations = np.array([63] * 16 + [45, 2, 1, 1]) / 64
    assert (64 * activations**2 * 64).sum() == 4**8 - 1
    assert naive.length_exponent(activations) == 3, "which is 2^2 but for 2^-16 of it"


@pytest.mark.parametrize("kind", ["normal", "relu", "wide", "small", "edge"])
def test_the_length_is_that_of_naive(kind: str) -> None:
    maps = draw_maps((2, 20, 3, 5), kind)
    if kind == "edge":
        maps[:] = (np.array([63] * 16 + [45, 2, 1, 1], np.float32) / 64)[None, :, None, None]
    found = rotate._length_exponent(torch.from_numpy(maps).flatten(2))
    expected = [[naive.length_exponent(a.astype(np.float64)) for a in image.reshape(20, -1).T] for image in maps]
    np.testing.assert_array_equal(found[:, 0], expected)


def test_the_length_of_what_is_not_finite_is_a_power_that_there_is() -> None:
    values = torch.tensor([torch.nan, -torch.nan, torch.inf, -torch.inf])
    found = rotate._length_exponent(torch.stack([values, torch.ones(4)])[None])
    assert ((found > naive.DIGITS - 127) & (found <= naive.DIGITS + 126)).all()


@pytest.mark.parametrize(("units", "ratio"), [(8, 1.5), (64, 1.5), (512, 1.5), (1024, 2.0)])
@pytest.mark.parametrize("kind", ["normal", "relu"])
def test_as_close_as_a_float32_product(units: int, ratio: float, kind: str) -> None:
    maps, matrix = draw_maps((4, units, 7, 7), kind), orthogonal(units)
    columns = np.concatenate(list(maps.reshape(4, units, -1)), axis=1)
    exact = matrix @ columns.astype(np.float64)
    ours = np.concatenate(list(rotated(maps, matrix).reshape(4, units, -1)), axis=1)
    plain = (torch.from_numpy(matrix).float() @ torch.from_numpy(columns)).numpy()
    error, usual = (np.linalg.norm(found - exact) / np.linalg.norm(exact) for found in (ours, plain))
    assert error < ratio * usual
    assert error < 4e-7


def test_the_identity_keeps_what_has_few_digits() -> None:
    maps = np.arange(-60, 60, dtype=np.float32).reshape(2, 3, 4, 5) / 8
    assert_same_bits(rotated(maps, np.eye(3)), maps)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(value: float) -> None:
    maps, matrix = draw_maps((2, 6, 3, 3), "normal"), orthogonal(6)
    maps[1, 4, 2, 0] = value
    found, expected = rotated(maps, matrix), naive.rotate_maps(maps, matrix)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    assert not np.isfinite(found[1, :, 2, 0]).any()
    assert np.isfinite(found).sum() == found.size - 6


def test_a_sum_of_zeros_has_no_sign() -> None:
    """Linear algebra that begins with a product, and not with 0, adds zeros of negative factors up to -0."""

    class BeginsWithAProduct(torch.Tensor):
        def __matmul__(self, columns: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return torch.full_like(columns, -0.0)

    rotation, maps = Rotation(-np.eye(3)), torch.zeros(2, 3, 4, 5)
    rotation._matrix = rotation._matrix.as_subclass(BeginsWithAProduct)
    rotation.apply(maps)
    assert not maps.signbit().any()


def test_nothing_to_turn() -> None:
    assert rotated(np.zeros((0, 3, 2, 2), np.float32), np.eye(3)).shape == (0, 3, 2, 2)
    assert rotated(np.zeros((2, 3, 0, 2), np.float32), np.eye(3)).shape == (2, 3, 0, 2)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3)[:2], r"must be float64 \[U, U\], not float64 \[2, 3\]"),
        (np.eye(3, dtype=np.float32), r"must be float64 \[U, U\], not float32 \[3, 3\]"),
        (np.empty((0, 0)), "must have 1 to 4096 rows, not 0"),
        (np.empty((4097, 4097)), "must have 1 to 4096 rows, not 4097"),
        (np.full((2, 2), np.nan), "must have rows of length 1 or less"),
        (np.eye(2) * 1.001, "must have rows of length 1 or less"),
    ],
    ids=["not square", "float32", "empty", "large", "nan", "long"],
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
