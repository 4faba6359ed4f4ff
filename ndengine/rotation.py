"""A random rotation of a layer's units and its fractional powers: the same activations, seen along other axes.

Where units stand for concepts, a rotation Q of all units loses them, though the layer as a whole knows what it knew
before; ``Q^α`` goes there by degrees (Network Dissection, section 3.2, "axis-aligned interpretability").
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndkernels.rotate import MOST_UNITS

COUPLED = 1e-13  # entries of V'QV above it tie two vectors to one block


@dataclass(frozen=True, eq=False)
class Planes:
    """A rotation as turns of planes at right angles to each other; what lies in none of them stays where it is.

    Attributes
    ----------
    first, second : Tensor
        ``[U, P]`` float64: two unit vectors at right angles span each plane.
    angle : Tensor
        ``[P]`` float64, in (-π, π]: how far the plane turns from its first vector towards its second.
    """

    first: Tensor
    second: Tensor
    angle: Tensor

    def power(self, alpha: float) -> NDArray[np.float64]:
        """The rotation by α times each angle, ``[U, U]``: orthogonal to rounding, and for α = 0 exactly the identity.

        Summed up from the identity, so that no vector needs to be found for what stays.
        """
        half = self.angle * (alpha / 2)
        back, aside = -2 * torch.sin(half) ** 2, torch.sin(2 * half)  # cos - 1 without cancellation, and sin
        moved = torch.cat([self.first * back + self.second * aside, self.second * back - self.first * aside], 1)
        with _one_thread():
            turned = moved @ torch.cat([self.first, self.second], 1).T
        turned.diagonal().add_(1)
        return turned.numpy()


def random_rotation(units: int, seed: int) -> NDArray[np.float64]:
    """A rotation drawn evenly from all of them: Q of the QR decomposition of normal numbers.

    Parameters
    ----------
    units : int
        U, from 1 to 4096.
    seed : int
        From 0 to 2^32 - 1.

    Returns
    -------
    ndarray of float64, [U, U]
        Orthogonal, with determinant 1. The normal numbers are those of ``numpy.random.RandomState(seed)``, which numpy
        has frozen; their decomposition is unique once R has a positive diagonal. So a seed gives one matrix everywhere,
        up to the last bits, which depend on the linear algebra library, but not on the number of threads.

    Raises
    ------
    ValueError
        If there are no or too many units.
    """
    if not 1 <= units <= MOST_UNITS:
        raise ValueError(f"a rotation takes 1 to {MOST_UNITS} units, not {units}")
    drawn = torch.from_numpy(np.random.RandomState(seed).normal(size=(units, units)))
    with _one_thread():
        q, r = torch.linalg.qr(drawn)
        # Householder's reflections leave signs as they come; with a positive diagonal of R, Q is evenly distributed.
        q *= torch.where(r.diagonal() < 0, -1.0, 1.0)
        if torch.linalg.slogdet(q).sign < 0:
            q[0].neg_()
    rotation: NDArray[np.float64] = q.contiguous().numpy()
    return rotation


def rotation_power(units: int, alpha: float, seed: int) -> NDArray[np.float64]:
    """The power α of the random rotation of a seed, ``[U, U]`` float64.

    All powers of one rotation come from one decomposition, of which the last two are kept: ``Q^a Q^b = Q^(a+b)`` to
    rounding, ``Q^0`` is the identity itself and ``Q^1`` is :func:`random_rotation` to 1e-12.

    Parameters
    ----------
    units : int
        U, from 1 to 4096.
    alpha : float
        α; the paper goes from 0 to 1.
    seed : int
        From 0 to 2^32 - 1.

    Raises
    ------
    ValueError
        If there are no or too many units.
    """
    return _planes(units, seed).power(alpha)


@lru_cache(maxsize=2)  # layers of as many units, and several powers; 134 MB each at 4,096 units
def _planes(units: int, seed: int) -> Planes:
    return find_planes(random_rotation(units, seed))


def find_planes(rotation: NDArray[np.float64]) -> Planes:
    """The planes that a rotation turns, and the angle of each.

    That is its real Schur form, whose blocks are turns of planes. It is found by a shorter way, for a rotation commutes
    with its transpose: the symmetric part ``(Q + Q')/2`` has the planes as its eigenspaces, with the cosines of the
    angles as eigenvalues. Planes whose angles the rounding can't tell apart, or that differ in sense alone, come out
    mixed; what ties them together shows in ``V'QV``, and such small blocks are brought into Schur form themselves. That
    takes a half (4,096 units) to a sixth (512) of the time of the Schur form of the whole, and agrees with it to 1e-12.

    Parameters
    ----------
    rotation : ndarray of float64, [U, U]
        Orthogonal, with determinant 1.

    Returns
    -------
    Planes
        Eigenvalues -1 come in pairs, each of which turns a plane by π, in a sense that is arbitrary.

    Raises
    ------
    ValueError
        If the determinant is -1: a reflection has no real powers.
    """
    given = torch.from_numpy(rotation)
    with _one_thread():
        _, vectors = torch.linalg.eigh((given + given.T) / 2)
        image = (vectors.T @ (given @ vectors)).numpy()
    basis = vectors.numpy()
    pairs: list[tuple[NDArray[np.float64], NDArray[np.float64], float]] = []
    reflected: list[NDArray[np.float64]] = []
    for start, stop in _blocks(image):
        block, columns = image[start:stop, start:stop], basis[:, start:stop]
        if stop - start > 1:
            from scipy.linalg import schur

            block, inner = schur(block, output="real")
            columns = columns @ inner
        at = 0
        while at < stop - start:
            if at + 1 < stop - start and block[at + 1, at] != 0:
                # Of both off-diagonal entries: an arccos of the diagonal, as in the 2017 code, loses the sense of the
                # turn, and half of the planes would turn the wrong way round.
                sine = (block[at + 1, at] - block[at, at + 1]) / 2
                cosine = (block[at, at] + block[at + 1, at + 1]) / 2
                pairs.append((columns[:, at], columns[:, at + 1], math.atan2(sine, cosine)))
                at += 2
                continue
            if block[at, at] < 0:
                reflected.append(columns[:, at])
            at += 1
    if len(reflected) % 2:
        raise ValueError("the matrix is no rotation: its determinant is -1")
    pairs += [(one, other, math.pi) for one, other in zip(reflected[::2], reflected[1::2], strict=True)]
    empty = np.empty((len(rotation), 0))
    return Planes(
        torch.from_numpy(np.stack([pair[0] for pair in pairs], 1) if pairs else empty),
        torch.from_numpy(np.stack([pair[1] for pair in pairs], 1) if pairs else empty),
        torch.tensor([pair[2] for pair in pairs], dtype=torch.float64),
    )


def _blocks(image: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Borders of the smallest diagonal blocks outside which a matrix is 0 but for rounding."""
    coupled = np.abs(image) > COUPLED
    coupled |= coupled.T
    np.fill_diagonal(coupled, True)
    last = len(coupled) - 1 - np.argmax(coupled[:, ::-1], axis=1)  # of each row
    start = 0
    for stop in (np.flatnonzero(np.maximum.accumulate(last) == np.arange(len(coupled))) + 1).tolist():
        yield start, stop
        start = stop


@contextmanager
def _one_thread() -> Iterator[None]:
    """Linear algebra on one thread: with several, the order of sums depends on their number, and so do last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
