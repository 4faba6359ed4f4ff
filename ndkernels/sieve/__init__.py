"""An exact sieve for streaming activations: keep what can still matter, drop the rest as it passes by.

A unit's threshold T is the (m+1)-th largest of its n activations (Network Dissection, section 2.1: the top
quantile over all spatial positions of all images). The (m+1)-th largest of the values *seen so far* only
grows, so it is a proven lower bound b ≤ T at any time. A value ≤ b can neither be the threshold nor switch a
pixel on; it matters only as a corner of an interpolation cell that has another corner above b. So the sieve
keeps the cells above b and their eight neighbours, and T is selected exactly among them at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import floor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Magnitudes up to here can be interpolated without overflow to infinity.
LARGEST_ACTIVATION = 2.0**126
HISTOGRAM_BINS = 2048
DENSE_BYTES = 16 << 20  # of maps made dense at a time


class NonFiniteError(ValueError):
    """An activation is NaN, infinite or above 2^126 in magnitude.

    Attributes
    ----------
    image, unit : int
        Where it was found; the image counts from the batch's first.
    value : float
    """

    def __init__(self, image: int, unit: int, value: float) -> None:
        super().__init__(f"activation {value} in image {image}, unit {unit}, is not finite or above 2^126")
        self.image, self.unit, self.value = image, unit, value


@dataclass(frozen=True)
class Survivors:
    """The cells that can still matter, of the maps that have any.

    Attributes
    ----------
    image, unit : Tensor
        ``[A]`` int32: where each map belongs, sorted by image, then unit.
    bitmap : Tensor
        ``[A, ceil(h·w / 8)]`` uint8: which cells are kept, row by row, lowest bit first.
    values : Tensor
        ``[V]`` float32: the kept cells, map by map.
    shape : tuple of int
        h and w.
    """

    image: Tensor
    unit: Tensor
    bitmap: Tensor
    values: Tensor
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.image)

    @property
    def nbytes(self) -> int:
        """Bytes of all four tensors."""
        return sum(t.nbytes for t in (self.image, self.unit, self.bitmap, self.values))


def rank_above(quantile: str | Decimal, positions: int) -> int:
    """Give m = floor(q·n) in exact arithmetic: how many of n values may exceed the threshold.

    Parameters
    ----------
    quantile : str or Decimal
        q, strictly between 0 and 1, as decimal digits.
    positions : int
        n, at least 1.

    Raises
    ------
    ValueError
        If q is no decimal number, or q or n is out of range.
    """
    try:
        share = Decimal(quantile)
    except InvalidOperation:
        raise ValueError(f"a quantile must be a decimal number, not {quantile!r}") from None
    if not share.is_finite() or not 0 < share < 1 or positions < 1:
        raise ValueError(f"a quantile between 0 and 1 of at least one value, not {quantile} of {positions}")
    return floor(Fraction(share) * positions)


@torch.library.custom_op("ndkernels::sieve_count", mutates_args=("histogram",), device_types="cpu")
def count_batch(
    activations: Tensor,  # [N, U, h, w] float32
    bound: Tensor,  # [U] float32
    histogram: Tensor,  # [U, 2048] int64, added to
    threads: int,
) -> tuple[Tensor, Tensor]:
    """Count the values above each unit's bound by the top 11 bits of their order.

    Returns
    -------
    maximum, minimum : Tensor
        ``[N, U]`` float32, of every map; NaN where a map holds a value that is not finite or above 2^126.
    """
    from ndkernels.sieve import cpu

    maximum = torch.empty(activations.shape[:2], dtype=torch.float32)
    minimum = torch.empty(activations.shape[:2], dtype=torch.float32)
    cpu.count_batch(
        activations.contiguous().numpy(),
        bound.numpy(),
        histogram.numpy(),
        maximum.numpy(),
        minimum.numpy(),
        threads,
    )
    return maximum, minimum


@count_batch.register_fake
def _(activations: Tensor, bound: Tensor, histogram: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    shape = activations.shape[:2]
    return activations.new_empty(shape, dtype=torch.float32), activations.new_empty(shape, dtype=torch.float32)


@torch.library.custom_op("ndkernels::sieve_gather", mutates_args=(), device_types="cpu")
def gather_maps(
    maps: Tensor,  # [M, h, w] float32
    pick: Tensor,  # [A] int64
    limit: Tensor,  # [A] float32
    threads: int,
) -> tuple[Tensor, Tensor]:
    """Pack the cells above a limit, and their eight neighbours, of the maps that are picked.

    Returns
    -------
    bitmap : Tensor
        ``[A, ceil(h·w / 8)]`` uint8.
    values : Tensor
        ``[V]`` float32.
    """
    from ndkernels.sieve import cpu

    bitmap, values = cpu.gather_maps(maps.contiguous().numpy(), pick.numpy(), limit.numpy(), threads)
    return torch.from_numpy(bitmap), torch.from_numpy(values)


@gather_maps.register_fake
def _(maps: Tensor, pick: Tensor, limit: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    kept = torch.library.get_ctx().new_dynamic_size()
    width = (maps.shape[1] * maps.shape[2] + 7) // 8
    return maps.new_empty((pick.shape[0], width), dtype=torch.uint8), maps.new_empty((kept,))


class Sieve:
    """The running state over a stream of batches of one layer.

    Parameters
    ----------
    units : int
        U.
    above : int
        m, how many values may exceed the threshold: :func:`rank_above` of the whole stream.
    threads : int
        Threads a batch is counted with; the result does not depend on it.
    """

    def __init__(self, units: int, above: int, threads: int = 1) -> None:
        self.above = above
        self.threads = threads
        self.bound = torch.full((units,), -torch.inf)
        self._histogram = torch.zeros((units, HISTOGRAM_BINS), dtype=torch.int64)

    def add(self, activations: Tensor, first_image: int) -> tuple[Survivors, Tensor, Tensor]:
        """Pass one batch through.

        Parameters
        ----------
        activations : Tensor
            ``[N, U, h, w]`` float32.
        first_image : int
            The number of the batch's first image in the whole stream.

        Returns
        -------
        survivors : Survivors
            The cells that can still matter.
        maximum, minimum : Tensor
            ``[N, U]`` float32: of every map.

        Raises
        ------
        NonFiniteError
            If an activation is NaN, infinite or above 2^126; the state is unusable afterwards.
        ValueError
            If the shape or type does not fit.
        """
        units = len(self.bound)
        if activations.dim() != 4 or activations.shape[1] != units or activations.dtype != torch.float32:
            raise ValueError(
                f"activations must be float32 [N, {units}, h, w], not {activations.dtype} {list(activations.shape)}"
            )
        activations = activations.contiguous()
        maximum, minimum = count_batch(activations, self.bound, self._histogram, self.threads)
        check_finite(activations, maximum)
        self.raise_bound()
        return (
            pack_maps(activations.flatten(0, 1), maximum, self.bound, first_image, self.threads),
            maximum,
            minimum,
        )

    def raise_bound(self) -> None:
        """Raise each unit's bound to the highest bin edge that more than m of the values seen reach."""
        from ndkernels.sieve import cpu

        cpu.raise_bound(self._histogram.numpy(), self.above, self.bound.numpy())

    def restore(self, bound: Tensor, blocks: Iterable[Survivors]) -> None:
        """Take up a stream again from the survivors it has left so far.

        Parameters
        ----------
        bound : Tensor
            ``[U]`` float32: proven for the stream so far, and nowhere below the bounds that made the
            survivors.
        blocks : iterable of Survivors
            All survivors of the stream so far, each batch once.
        """
        self.bound = bound.clone()
        self._histogram.zero_()
        for block in blocks:
            _count_survivors(block, self.bound, None, 0, self._histogram, self.threads)


def check_finite(activations: Tensor, maximum: Tensor) -> None:
    """Raise NonFiniteError for the first map that :func:`count_batch` marked."""
    marked = torch.isnan(maximum).nonzero()
    if len(marked):
        image, unit = (int(i) for i in marked[0])
        values = activations[image, unit].flatten()
        bad = values[~(values.abs() <= LARGEST_ACTIVATION)][0]
        raise NonFiniteError(image, unit, float(bad))


def pack_maps(maps: Tensor, maximum: Tensor, bound: Tensor, first_image: int, threads: int) -> Survivors:
    """Survivors of a batch: ``maps [N·U, h, w]`` whose ``maximum [N, U]`` passes ``bound [U]``."""
    active = (maximum > bound).nonzero()
    image, unit = active[:, 0], active[:, 1]
    bitmap, values = gather_maps(maps, image * len(bound) + unit, bound[unit], threads)
    shape = (int(maps.shape[1]), int(maps.shape[2]))
    return Survivors((image + first_image).to(torch.int32), unit.to(torch.int32), bitmap, values, shape)


def expand_survivors(survivors: Survivors, fill: Tensor, *, threads: int = 1) -> Tensor:
    """The maps of survivors as dense arrays.

    Parameters
    ----------
    survivors : Survivors
        A maps.
    fill : Tensor
        ``[U]`` float32: what absent cells of each unit read as. Their true value is at or below the bound
        they were dropped at, so for counting any value from there up to the threshold gives the same mask.
    threads : int

    Returns
    -------
    Tensor
        ``[A, h, w]`` float32.
    """
    from ndkernels.sieve import cpu

    out = torch.empty((len(survivors), *survivors.shape))
    cpu.expand(
        survivors.bitmap.numpy(),
        survivors.values.numpy(),
        survivors.unit.numpy(),
        fill.numpy(),
        out.numpy(),
        threads,
    )
    return out


def compact_survivors(survivors: Survivors, bound: Tensor, *, threads: int = 1) -> Survivors:
    """Drop what a higher bound has ruled out.

    Parameters
    ----------
    survivors : Survivors
    bound : Tensor
        ``[U]`` float32, nowhere below the bound that made the survivors.
    threads : int

    Returns
    -------
    Survivors
        Sorted as before; maps without a cell above the bound are gone.
    """
    parts: list[Survivors] = []
    rest, step = survivors, max(1, DENSE_BYTES // (4 * survivors.shape[0] * survivors.shape[1]))
    while len(rest) or not parts:
        part, rest = _cut(rest, step)
        maps = expand_survivors(part, torch.full_like(bound, -torch.inf), threads=threads)
        limit = bound[part.unit.long()]
        pick = (maps.flatten(1).amax(1) > limit).nonzero()[:, 0]
        bitmap, values = gather_maps(maps, pick, limit[pick], threads)
        parts.append(Survivors(part.image[pick], part.unit[pick], bitmap, values, part.shape))
    return join_survivors(parts)


def split_survivors(survivors: Survivors, image: int) -> tuple[Survivors, Survivors]:
    """The maps of images before ``image``, and the others; nothing is copied."""
    return _cut(survivors, int(np.searchsorted(survivors.image.numpy(), image)))


def _cut(survivors: Survivors, at: int) -> tuple[Survivors, Survivors]:
    kept = int(np.bitwise_count(survivors.bitmap[:at].numpy()).sum(dtype=np.int64))
    before, after = (
        Survivors(survivors.image[m], survivors.unit[m], survivors.bitmap[m], survivors.values[v], survivors.shape)
        for m, v in ((slice(at), slice(kept)), (slice(at, None), slice(kept, None)))
    )
    return before, after


def join_survivors(parts: Sequence[Survivors]) -> Survivors:
    """Several survivors, given in the order of their images, as one."""
    return Survivors(
        torch.cat([p.image for p in parts]),
        torch.cat([p.unit for p in parts]),
        torch.cat([p.bitmap for p in parts]),
        torch.cat([p.values for p in parts]),
        parts[0].shape,
    )


def select_thresholds(
    blocks: Callable[[], Iterable[Survivors]], bound: Tensor, above: int, *, threads: int = 1
) -> Tensor:
    """The (m+1)-th largest value of every unit, exactly.

    Parameters
    ----------
    blocks : callable
        Gives an iterator over all survivors; called three times.
    bound : Tensor
        ``[U]`` float32: a proven lower bound of each threshold, and nowhere below the bounds that made the
        survivors.
    above : int
        m.
    threads : int

    Returns
    -------
    Tensor
        ``[U]`` float32: an element of the data, or the bound where at most m survivors exceed it (which is
        then the threshold itself). Of a stream that is not yet at its end it is the best proven bound.
    """
    from ndkernels.sieve import cpu

    units = len(bound)
    rank = np.full(units, above + 1, np.int64)
    prefix = np.zeros(units, np.int32)
    for level in range(3):
        histogram = torch.zeros((units, HISTOGRAM_BINS), dtype=torch.int64)
        for block in blocks():
            _count_survivors(block, bound, prefix if level else None, level, histogram, threads)
        cpu.narrow(histogram.numpy(), level, rank, prefix)
    return torch.from_numpy(cpu.values_of(prefix, rank, bound.numpy()))


def _count_survivors(
    block: Survivors,
    bound: Tensor,
    prefix: NDArray[np.int32] | None,
    level: int,
    histogram: Tensor,
    threads: int,
) -> None:
    from ndkernels.sieve import cpu

    cpu.count_survivors(
        block.bitmap.numpy(),
        block.values.numpy(),
        block.unit.numpy(),
        bound.numpy(),
        np.zeros(len(bound), np.int32) if prefix is None else prefix,
        level,
        histogram.numpy(),
        threads,
    )
