"""An exact sieve for streaming activations: keep what can still matter, drop the rest as it passes by.

A unit's threshold T is the (m+1)-th largest of its n activations (Network Dissection, section 2.1: the top
quantile over all spatial positions of all images). The (m+1)-th largest of the values *seen so far* only
grows, so it is a proven lower bound b ≤ T at any time. A value ≤ b can neither be the threshold nor switch a
pixel on; it matters only as a corner of an interpolation cell that has another corner above b. So the sieve
keeps the cells above b and their eight neighbours, and T is selected exactly among them at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import floor

import torch
from torch import Tensor

from ndkernels import devices
from ndkernels.arrays import LARGEST_ACTIVATION, Array, NonFiniteError, as_tensor
from ndkernels.devices import Transfer, check_devices, record_point
from ndkernels.sieve.ops import count_batch, count_batch_cpu, count_batch_gpu, gather_maps
from ndkernels.sieve.survivors import (
    HISTOGRAM_BINS,
    Survivors,
    compact_survivors,
    count_survivors,
    expand_survivors,
    join_survivors,
    pack_maps,
    select_thresholds,
    split_survivors,
)

__all__ = [
    "LARGEST_ACTIVATION",
    "NonFiniteError",
    "Passing",
    "Sieve",
    "Survivors",
    "check_finite",
    "compact_survivors",
    "count_batch",
    "expand_survivors",
    "gather_maps",
    "join_survivors",
    "pack_maps",
    "rank_above",
    "select_thresholds",
    "split_survivors",
]

# The bound is raised when the stream has grown by a sixteenth: later it hardly moves, and looking for it takes time.
RAISE_EVERY = 16


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


class Sieve:
    """The running state over a stream of batches of one layer.

    Parameters
    ----------
    units : int
        U.
    above : int
        m, how many values may exceed the threshold: :func:`rank_above` of the whole stream.
    threads : int
        Threads a batch is counted with, on a CPU; the result does not depend on it.
    device : torch.device or str
        Where the stream's activations are, and the state is kept.
    """

    def __init__(self, units: int, above: int, threads: int = 1, device: torch.device | str = "cpu") -> None:
        self.above = above
        self.threads = threads
        self.bound = torch.full((units,), -torch.inf, device=device)
        self._histogram = torch.zeros((units, HISTOGRAM_BINS), dtype=torch.int64, device=device)
        self._images = 0  # passed through
        self._raised_at = 0  # so many images

    def add(self, activations: Array, first_image: int) -> tuple[Survivors, Tensor, Tensor]:
        """Pass one batch through.

        Parameters
        ----------
        activations : Tensor or ndarray
            ``[N, U, h, w]`` float32, on the sieve's device.
        first_image : int
            The number of the batch's first image in the whole stream.

        Returns
        -------
        survivors : Survivors
            The cells that can still matter, on the sieve's device.
        maximum, minimum : Tensor
            ``[N, U]`` float32: of every map.

        Raises
        ------
        NonFiniteError
            If an activation is NaN, infinite or above 2^126; the state is unusable afterwards.
        ValueError
            If the shape, type or device does not fit.
        """
        return self.start(activations, first_image).finish()

    def start(self, activations: Array, first_image: int) -> Passing:
        """Begin to pass one batch through; on a GPU its work is queued, and nobody waits for it yet.

        Parameters and errors are those of :meth:`add`, but for NonFiniteError, which the batch raises when it is
        finished. Batches may be started while earlier ones are on their way.
        """
        units = len(self.bound)
        activations = as_tensor("activations", activations)
        if activations.dim() != 4 or activations.shape[1] != units or activations.dtype != torch.float32:
            raise ValueError(
                f"activations must be float32 [N, {units}, h, w], not {activations.dtype} {list(activations.shape)}"
            )
        check_devices(activations=activations, bound=self.bound)
        activations = activations.contiguous()
        maximum, minimum = devices.run_op(
            count_batch, count_batch_cpu, count_batch_gpu, activations, self.bound, self._histogram, self.threads
        )
        if not devices.on_gpu(activations):
            check_finite(activations, maximum)
        self._images += len(activations)
        if RAISE_EVERY * (self._images - self._raised_at) >= self._images:
            self.raise_bound()
            self._raised_at = self._images
        return Passing(activations, self.bound.clone(), maximum, minimum, first_image, self.threads)

    def raise_bound(self) -> None:
        """Raise each unit's bound to the highest bin edge that more than m of the values seen reach."""
        if devices.on_gpu(self.bound):
            from ndkernels.sieve import gpu

            gpu.raise_bound(self._histogram, self.above, self.bound)
            return
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
        self.bound = bound.clone().to(self._histogram.device)
        self._histogram.zero_()
        prefix = torch.zeros(len(bound), dtype=torch.int32, device=self.bound.device)
        for block in blocks:
            count_survivors(block.to(self.bound.device), self.bound, prefix, 0, self._histogram, self.threads)


class Passing:
    """A batch on its way through a sieve.

    Attributes
    ----------
    bound : Tensor
        ``[U]`` float32: the bound behind this batch, before any later one.
    queued : bool
        Whether a GPU is (or may be) still at work on it.
    """

    def __init__(
        self,
        activations: Tensor,  # [N, U, h, w]
        bound: Tensor,  # [U]
        maximum: Tensor,  # [N, U]
        minimum: Tensor,  # [N, U]
        first_image: int,
        threads: int,
    ) -> None:
        self.queued = devices.on_gpu(activations)
        self.bound = bound
        self._extrema = maximum, minimum
        self._first_image = first_image
        maps = activations.flatten(0, 1)
        if not self.queued:
            self._survivors = pack_maps(maps, maximum, bound, first_image, threads)
            return
        from ndkernels.sieve import gpu

        self._activations = activations
        self._packed = gpu.pack_batch(maps, bound)
        bad = torch.isnan(maximum).any().long()
        # The three numbers travel right behind the kernels, so that they never wait for a later batch; the mark is for
        # the survivors, whose copy must not wait for it either.
        self._totals = Transfer([torch.cat([self._packed[-1], bad[None]])])
        self._after = record_point(activations.device)

    def finish(self, *, fetch: bool = False) -> tuple[Survivors, Tensor, Tensor]:
        """Wait for the batch: what :meth:`Sieve.add` gives.

        Parameters
        ----------
        fetch : bool
            Bring the survivors to host memory. On a GPU they are copied beside whatever was queued after the batch,
            such as the next forward pass, so that it need not wait.
        """
        if not self.queued:
            return self._survivors, *self._extrema
        maps, values, bad = self._totals.wait()[0].tolist()
        if bad:
            check_finite(self._activations, self._extrema[0])
        place, bitmap, packed, _ = self._packed
        units, shape = self._activations.shape[1], self._activations.shape[2:]
        parts = [place[:maps], bitmap[:maps], packed[:values]]
        # Either way the buffers of the largest possible size are let go.
        parts = Transfer(parts, self._after).wait() if fetch else [part.clone() for part in parts]
        image = (parts[0] // units + self._first_image).to(torch.int32)
        unit = (parts[0] % units).to(torch.int32)
        return Survivors(image, unit, parts[1], parts[2], (int(shape[0]), int(shape[1]))), *self._extrema


def check_finite(activations: Tensor, maximum: Tensor) -> None:
    """Raise NonFiniteError for the first map that :func:`count_batch` marked."""
    if maximum.numel() and bool(torch.isnan(maximum.amax())):  # which a NaN anywhere is
        marked = torch.isnan(maximum).nonzero()
        image, unit = (int(i) for i in marked[0])
        values = activations[image, unit].flatten()
        bad = values[~(values.abs() <= LARGEST_ACTIVATION)][0]
        raise NonFiniteError(image, unit, float(bad))
