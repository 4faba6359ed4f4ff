"""What a sieve leaves of a batch, and all that is done with it: packing, expanding, compacting, selecting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndkernels import devices
from ndkernels.arrays import Array, as_tensor
from ndkernels.sieve.ops import gather_maps, gather_maps_cpu, gather_maps_gpu

HISTOGRAM_BINS = 2048
DENSE_BYTES = 16 << 20  # of maps made dense at a time


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

    def to(self, device: torch.device | str) -> Survivors:
        """The same on a device."""
        image, unit, bitmap, values = (t.to(device) for t in (self.image, self.unit, self.bitmap, self.values))
        return Survivors(image, unit, bitmap, values, self.shape)


def pack_maps(maps: Tensor, maximum: Tensor, bound: Tensor, first_image: int, threads: int) -> Survivors:
    """Survivors of a batch: ``maps [N·U, h, w]`` whose ``maximum [N, U]`` passes ``bound [U]``."""
    shape = (int(maps.shape[1]), int(maps.shape[2]))
    if devices.on_gpu(bound):
        pick = (maximum > bound).flatten().nonzero()[:, 0]
        image, unit = pick // len(bound), pick % len(bound)
    else:  # in NumPy, which takes a tenth of torch's time for such short arrays
        found = np.flatnonzero(maximum.numpy() > bound.numpy())
        pick, image, unit = (torch.from_numpy(of) for of in (found, found // len(bound), found % len(bound)))
    bitmap, values = _gather(maps, pick, bound[unit], threads)
    return Survivors((image + first_image).to(torch.int32), unit.to(torch.int32), bitmap, values, shape)


def _gather(maps: Tensor, pick: Tensor, limit: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    bitmap, values = devices.run_op(gather_maps, gather_maps_cpu, gather_maps_gpu, maps, pick, limit, threads)
    return bitmap, values


def expand_survivors(survivors: Survivors, fill: Array, *, threads: int = 1) -> Tensor:
    """The maps of survivors as dense arrays.

    Parameters
    ----------
    survivors : Survivors
        A maps.
    fill : Tensor or ndarray
        ``[U]`` float32, on the survivors' device: what absent cells of each unit read as. Their true value is at or
        below the bound they were dropped at, so for counting any value from there up to the threshold gives the same
        mask.
    threads : int
        Threads, on a CPU.

    Returns
    -------
    Tensor
        ``[A, h, w]`` float32.
    """
    fill = as_tensor("fill", fill)
    out = torch.empty((len(survivors), *survivors.shape), device=fill.device)
    if devices.on_gpu(fill):
        from ndkernels.sieve import gpu

        gpu.expand(survivors.bitmap, survivors.values, survivors.unit, fill, out)
        return out
    from ndkernels.sieve import survivors_cpu

    survivors_cpu.expand(
        *_arrays(survivors),
        fill.contiguous().numpy(),
        out.numpy(),
        threads,
    )
    return out


def compact_survivors(survivors: Survivors, bound: Array, *, threads: int = 1) -> Survivors:
    """Drop what a higher bound has ruled out.

    Parameters
    ----------
    survivors : Survivors
    bound : Tensor or ndarray
        ``[U]`` float32, nowhere below the bound that made the survivors. Its device does the work, a GPU portion by
        portion, wherever the survivors are.
    threads : int
        Threads, on a CPU.

    Returns
    -------
    Survivors
        Sorted as before and on the same device; maps without a cell above the bound are gone.
    """
    bound = as_tensor("bound", bound)
    if not devices.on_gpu(bound):
        return _compact_on_cpu(survivors.to("cpu"), bound, threads).to(survivors.image.device)
    parts: list[Survivors] = []
    rest, step = survivors, max(1, DENSE_BYTES // (4 * survivors.shape[0] * survivors.shape[1]))
    while len(rest) or not parts:
        head, rest = _cut(rest, step)
        part = head.to(bound.device)
        maps = expand_survivors(part, torch.full_like(bound, -torch.inf))
        limit = bound[part.unit.long()]
        pick = (maps.flatten(1).amax(1) > limit).nonzero()[:, 0]
        bitmap, values = _gather(maps, pick, limit[pick], threads)
        compact = Survivors(part.image[pick], part.unit[pick], bitmap, values, part.shape)
        parts.append(compact.to(survivors.image.device))
    return join_survivors(parts)


def _compact_on_cpu(survivors: Survivors, bound: Tensor, threads: int) -> Survivors:
    from ndkernels.sieve import survivors_cpu

    pick, bitmap, values = survivors_cpu.compact(
        *_arrays(survivors),
        bound.contiguous().numpy(),
        survivors.shape,
        threads,
    )
    image, unit = (torch.from_numpy(of.numpy()[pick]) for of in (survivors.image, survivors.unit))
    return Survivors(image, unit, torch.from_numpy(bitmap), torch.from_numpy(values), survivors.shape)


def _arrays(survivors: Survivors) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32]]:
    """Bitmap, values and unit, in one piece each: the kernels go by addresses."""
    return (
        survivors.bitmap.contiguous().numpy(),
        survivors.values.contiguous().numpy(),
        survivors.unit.contiguous().numpy(),
    )


def split_survivors(survivors: Survivors, image: int) -> tuple[Survivors, Survivors]:
    """The maps of images before ``image``, and the others; nothing is copied."""
    return _cut(survivors, int(torch.searchsorted(survivors.image, image)))


def _cut(survivors: Survivors, at: int) -> tuple[Survivors, Survivors]:
    bitmap = survivors.bitmap[:at]
    if devices.on_gpu(bitmap):
        from ndkernels.sieve import gpu

        kept = int(gpu.value_starts(bitmap)[-1])
    else:
        kept = int(np.bitwise_count(bitmap.numpy()).sum(dtype=np.int64))
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
    blocks: Callable[[], Iterable[Survivors]], bound: Array, above: int, *, threads: int = 1
) -> Tensor:
    """The (m+1)-th largest value of every unit, exactly.

    Parameters
    ----------
    blocks : callable
        Gives an iterator over all survivors; called three times.
    bound : Tensor or ndarray
        ``[U]`` float32: a proven lower bound of each threshold, and nowhere below the bounds that made the
        survivors. Its device does the work, wherever the survivors are.
    above : int
        m.
    threads : int
        Threads, on a CPU.

    Returns
    -------
    Tensor
        ``[U]`` float32: an element of the data, or the bound where at most m survivors exceed it (which is
        then the threshold itself). Of a stream that is not yet at its end it is the best proven bound.
    """
    bound = as_tensor("bound", bound)
    units, device = len(bound), bound.device
    rank = torch.full((units,), above + 1, device=device)
    prefix = torch.zeros(units, dtype=torch.int32, device=device)
    for level in range(3):
        histogram = torch.zeros((units, HISTOGRAM_BINS), dtype=torch.int64, device=device)
        for block in blocks():
            count_survivors(block.to(device), bound, prefix, level, histogram, threads)
        if devices.on_gpu(bound):
            from ndkernels.sieve import gpu

            gpu.narrow(histogram, level, rank, prefix)
        else:
            from ndkernels.sieve import survivors_cpu

            survivors_cpu.narrow(histogram.numpy(), level, rank.numpy(), prefix.numpy())
    if devices.on_gpu(bound):
        return gpu.values_of(prefix, rank, bound)
    return torch.from_numpy(survivors_cpu.values_of(prefix.numpy(), rank.numpy(), bound.numpy()))


def count_survivors(
    block: Survivors,
    bound: Tensor,  # [U]
    prefix: Tensor,  # [U] int32
    level: int,
    histogram: Tensor,  # [U, 2048], added to
    threads: int,
) -> None:
    """Histogram the bits of a level of the survivors above the bound whose higher bits equal the unit's prefix."""
    if devices.on_gpu(bound):
        from ndkernels.sieve import gpu

        gpu.count_survivors(block.bitmap, block.values, block.unit, bound, prefix, level, histogram)
        return
    from ndkernels.sieve import survivors_cpu

    survivors_cpu.count_survivors(
        *_arrays(block),
        bound.contiguous().numpy(),
        prefix.numpy(),
        level,
        histogram.numpy(),
        threads,
    )
