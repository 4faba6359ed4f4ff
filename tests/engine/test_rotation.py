"""Random rotations and their powers: what they must be, and that they are those of the real Schur form."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from hashlib import sha256

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import fractional_matrix_power, schur
from scipy.stats import kstest

from ndengine.rotation import find_planes, random_rotation, rotation_power
from ndkernels.rotate import MOST_UNITS

Matrix = NDArray[np.float64]
ALPHAS = (0.2, 0.4, 0.6, 0.8, 1.0)


@pytest.fixture(autouse=True)
def torch_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def schur_power(rotation: Matrix, alpha: float) -> Matrix:
    """The definition: the real Schur form, its blocks turned by α times their angles."""
    form, basis = schur(rotation, output="real")
    powers, at = np.eye(len(form)), 0
    while at < len(form):
        if at + 1 < len(form) and form[at + 1, at] != 0:
            angle = alpha * math.atan2(form[at + 1, at], form[at, at])
            cosine, sine = math.cos(angle), math.sin(angle)
            powers[at : at + 2, at : at + 2] = [[cosine, -sine], [sine, cosine]]
            at += 2
        else:
            assert form[at, at] > 0, "a half turn has no plane of its own"
            at += 1
    power: Matrix = basis @ powers @ basis.T
    return power


def rotation_of_angles(angles: Sequence[float], ones: int, seed: int, *, mixed: bool) -> Matrix:
    """Turns of so many planes and axes that stay, seen along random axes, or along the given ones in random order."""
    rng, units = np.random.default_rng(seed), 2 * len(angles) + ones
    turns = np.eye(units)
    for i, angle in enumerate(angles):
        cosine, sine = math.cos(angle), math.sin(angle)
        turns[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[cosine, -sine], [sine, cosine]]
    axes = np.linalg.qr(rng.normal(size=(units, units)))[0] if mixed else np.eye(units)[rng.permutation(units)]
    rotation: Matrix = axes @ turns @ axes.T
    return rotation


def check_powers(rotation: Matrix, tolerance: float = 1e-12) -> None:
    """All that holds for the powers of any rotation."""
    planes, identity = find_planes(rotation), np.eye(len(rotation))
    powers = {alpha: planes.power(alpha) for alpha in (0.0, 0.3, 0.5, 0.7, 1.0)}
    np.testing.assert_array_equal(powers[0.0], identity)
    np.testing.assert_allclose(powers[1.0], rotation, rtol=0, atol=tolerance)
    np.testing.assert_allclose(powers[0.3] @ powers[0.7], rotation, rtol=0, atol=tolerance)
    np.testing.assert_allclose(powers[0.5] @ powers[0.5], rotation, rtol=0, atol=tolerance)
    for power in powers.values():
        np.testing.assert_allclose(power @ power.T, identity, rtol=0, atol=1e-12)
        assert np.linalg.slogdet(power).sign == 1
    # The principal power: no plane turns by more than half of π.
    assert np.abs(np.angle(np.linalg.eigvals(powers[0.5]))).max() <= math.pi / 2 + 1e-6


@pytest.mark.parametrize("units", [*range(1, 13), 63, 64, 255, 256])
def test_a_random_rotation_and_its_powers(units: int) -> None:
    rotation = random_rotation(units, 1)
    assert rotation.dtype == np.float64
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(units), rtol=0, atol=1e-13)
    assert np.linalg.slogdet(rotation).sign == 1
    check_powers(rotation)
    np.testing.assert_array_equal(rotation_power(units, 0.7, 1), find_planes(rotation).power(0.7))


@pytest.mark.parametrize("units", [2, 3, 6, 7])
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_it_is_the_one_that_is_defined(units: int, seed: int) -> None:
    drawn = np.random.RandomState(seed).normal(size=(units, units))
    q, r = np.linalg.qr(drawn)
    q = q @ np.diag(np.sign(np.diag(r)))
    if np.linalg.det(q) < 0:
        q[0] = -q[0]
    np.testing.assert_allclose(random_rotation(units, seed), q, rtol=0, atol=1e-13)


def test_all_rotations_are_equally_likely() -> None:
    """A column is a point drawn evenly from the sphere, where a coordinate has, in four dimensions, a density of
    2/π sqrt(1 - x²).
    """
    entries = np.array([random_rotation(4, seed)[0, 0] for seed in range(400)])
    assert kstest(entries, lambda x: 0.5 + (np.arcsin(x) + x * np.sqrt(1 - x * x)) / math.pi).pvalue > 1e-3


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("units", [2, 5, 8, 33, 64])
def test_powers_are_those_of_the_schur_form(units: int, alpha: float) -> None:
    rotation = random_rotation(units, 3)
    found = rotation_power(units, alpha, 3)
    np.testing.assert_allclose(found, schur_power(rotation, alpha), rtol=0, atol=1e-11)
    np.testing.assert_allclose(found, np.real(fractional_matrix_power(rotation, alpha)), rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("units", "alphas"), [(512, (0.2, 0.6, 1.0)), (1023, (0.2, 0.6, 1.0)), (2048, (0.6,))])
def test_powers_of_large_rotations_are_those_of_the_schur_form(units: int, alphas: tuple[float, ...]) -> None:
    rotation = random_rotation(units, 1)
    for alpha in alphas:
        np.testing.assert_allclose(rotation_power(units, alpha, 1), schur_power(rotation, alpha), rtol=0, atol=1e-11)


@pytest.mark.slow
def test_the_largest_rotation() -> None:
    rotation = random_rotation(MOST_UNITS, 1)
    one, other = (rotation_power(MOST_UNITS, alpha, 1) for alpha in (0.4, 0.6))
    for power in (one, other):
        np.testing.assert_allclose(power @ power.T, np.eye(MOST_UNITS), rtol=0, atol=1e-12)
    np.testing.assert_allclose(one @ other, rotation, rtol=0, atol=1e-12)


@pytest.mark.parametrize("angle", [2.0, -2.0])
def test_a_turn_keeps_its_sense(angle: float) -> None:
    """An arccos of the diagonal alone would turn one of the two the wrong way."""

    def turn(angle: float) -> Matrix:
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    np.testing.assert_allclose(find_planes(turn(angle)).power(0.25), turn(angle / 4), rtol=0, atol=1e-15)


ANGLES = st.one_of(
    st.floats(-math.pi + 1e-3, math.pi - 1e-3),
    st.sampled_from([0.0, math.pi, math.pi / 2, -math.pi / 2, 1.1, -1.1, 1.1 + 1e-9, 1.1 + 1e-12, 1.1 + 1e-14, 1e-9]),
)


@given(st.lists(ANGLES, max_size=12), st.integers(0, 3), st.integers(0, 999), st.booleans())
@settings(max_examples=150, deadline=None)
def test_powers_of_any_rotation(angles: list[float], ones: int, seed: int, mixed: bool) -> None:
    """Equal and nearly equal angles, of one sense or both, right angles, half turns, and what stays."""
    if angles or ones:
        check_powers(rotation_of_angles(angles, ones, seed, mixed=mixed))


@pytest.mark.parametrize("units", [1, 2, 3, 8])
def test_the_identity(units: int) -> None:
    np.testing.assert_array_equal(find_planes(np.eye(units)).power(0.7), np.eye(units))


def test_a_pair_of_minus_ones_is_a_half_turn() -> None:
    half = find_planes(-np.eye(4)).power(0.5)
    np.testing.assert_allclose(half @ half, -np.eye(4), rtol=0, atol=1e-15)
    np.testing.assert_allclose(np.linalg.eigvals(half).real, 0, atol=1e-15)


@given(st.permutations(range(8)))
@settings(max_examples=50, deadline=None)
def test_permutations_have_powers_if_they_are_even(order: list[int]) -> None:
    matrix = np.eye(8)[order]
    if np.linalg.det(matrix) > 0:
        check_powers(matrix)
    else:
        with pytest.raises(ValueError, match="determinant is -1"):
            find_planes(matrix)


def test_threads_change_no_bit() -> None:
    found = set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        rotation_power(8, 0.5, 1), rotation_power(9, 0.5, 1)  # the cache forgets
        found.add(sha256(random_rotation(200, 5).tobytes() + rotation_power(200, 0.6, 5).tobytes()).digest())
        assert torch.get_num_threads() == threads
    assert len(found) == 1


def test_seeds_and_units_give_other_rotations() -> None:
    assert np.abs(random_rotation(16, 1) - random_rotation(16, 2)).max() > 0.1
    assert np.abs(random_rotation(16, 1)[:15, :15] - random_rotation(15, 1)).max() > 0.1


@pytest.mark.parametrize("units", [0, -1, MOST_UNITS + 1])
def test_too_few_or_too_many_units(units: int) -> None:
    with pytest.raises(ValueError, match=f"takes 1 to 4096 units, not {units}"):
        rotation_power(units, 0.5, 1)
