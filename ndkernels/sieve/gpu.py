"""The sieve on the GPU in Triton.

Floats are compared through *keys*, as on the CPU (:mod:`ndkernels.sieve.cpu`): int32 numbers in the same order as the
floats, with NaN and infinity beyond those of finite numbers. Nothing here waits for the device, save
:func:`gather_maps`, whose result has as many values as it turns out to keep.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ndkernels import _triton

# Keys of ±2^126, the largest magnitudes that interpolation takes without overflow.
LARGEST_KEY = tl.constexpr(0x7E800000)
LEAST_KEY = tl.constexpr(-0x7E800001)
NAN_BITS = tl.constexpr(0x7FC00000)
BINS = tl.constexpr(2048)
LANES = 512  # cells, values or bits of a map that one program looks at together


@triton.jit
def key_of(bits):
    """The order-preserving key of a float's bits, and the other way round: it is its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def keys_of(values: Tensor) -> Tensor:
    """Keys of a tensor of floats."""
    bits = values.view(torch.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def floats_of(keys: Tensor) -> Tensor:
    """The floats of a tensor of keys."""
    return (keys ^ ((keys >> 31) & 0x7FFFFFFF)).view(torch.float32)


@triton.jit(do_not_specialize=["units"])
def count_kernel(
    bits,  # [N, U, SIZE] int32: the activations' bits
    bound_key,  # [U] int32
    histogram,  # [U, 2048] int64, added to
    maximum,  # [N, U] int32, written
    minimum,  # [N, U] int32, written
    units,
    SIZE: tl.constexpr,
    LANES: tl.constexpr,
):
    """Extrema of one map, and a histogram of its values above the bound."""
    m = tl.program_id(0).to(tl.int64)
    u = (tl.program_id(0) % units).to(tl.int64)
    limit = tl.load(bound_key + u)
    high = tl.full([LANES], -0x80000000, tl.int32)
    low = tl.full([LANES], 0x7FFFFFFF, tl.int32)
    for first in range(0, SIZE, LANES):
        i = first + tl.arange(0, LANES)
        key = key_of(tl.load(bits + m * SIZE + i, mask=i < SIZE, other=0))
        high = tl.maximum(high, tl.where(i < SIZE, key, -0x80000000))
        low = tl.minimum(low, tl.where(i < SIZE, key, 0x7FFFFFFF))
    highest, lowest = tl.max(high), tl.min(low)
    finite = (highest <= LARGEST_KEY) & (lowest >= LEAST_KEY)
    tl.store(maximum + m, tl.where(finite, key_of(highest), NAN_BITS))
    tl.store(minimum + m, tl.where(finite, key_of(lowest), NAN_BITS))
    if finite & (highest > limit):
        for first in range(0, SIZE, LANES):
            i = first + tl.arange(0, LANES)
            key = key_of(tl.load(bits + m * SIZE + i, mask=i < SIZE, other=0))
            place = histogram + u * BINS + ((key >> 21) + 1024)
            tl.atomic_add(place, 1, mask=(i < SIZE) & (key > limit), sem="relaxed")


def count_batch(
    activations: Tensor,  # [N, U, h, w] float32
    bound: Tensor,  # [U] float32
    histogram: Tensor,  # [U, 2048] int64, added to
    maximum: Tensor,  # [N, U] float32, written
    minimum: Tensor,  # [N, U] float32, written
) -> None:
    """Count a contiguous batch."""
    images, units = activations.shape[:2]
    size = activations.shape[2] * activations.shape[3]
    _triton.launch(
        count_kernel, (images * units,), activations.view(torch.int32), keys_of(bound), histogram,
        maximum.view(torch.int32), minimum.view(torch.int32), units, SIZE=size, LANES=lanes_for(size),
    )  # fmt: skip


@triton.jit
def find_kernel(
    histogram,  # [U, BINS] int64
    rank,  # [U] int64, from 1
    lowest,  # [U] int32
    found,  # [U] int32, written
    left,  # [U] int64, written
    BINS: tl.constexpr,
):
    """Find the bin that holds the rank-th largest value of one unit, among the bins from ``lowest`` on."""
    u = tl.program_id(0).to(tl.int64)
    bins = tl.arange(0, BINS)
    need = tl.load(rank + u)
    allowed = bins >= tl.load(lowest + u)
    count = tl.load(histogram + u * BINS + bins, mask=allowed, other=0)
    reached = tl.cumsum(count, reverse=True)  # values in this bin and above
    best = tl.max(tl.where(allowed & (reached >= need), bins, -1))
    above = tl.sum(tl.where(bins > best, count, 0))
    tl.store(found + u, best)
    tl.store(left + u, need - above)


def find_bins(histogram: Tensor, rank: Tensor, lowest: Tensor) -> tuple[Tensor, Tensor]:
    """The bin of each unit's rank-th largest value, and the rank within it.

    Of ``histogram [U, 2048]`` int64, ``rank [U]`` int64 from 1, and the bins from ``lowest [U]`` int32 on: ``[U]``
    int32 (-1 where there are fewer values) and ``[U]`` int64.
    """
    found, left = torch.empty_like(lowest), torch.empty_like(rank)
    _triton.launch(find_kernel, (len(rank),), histogram, rank, lowest, found, left, BINS=histogram.shape[1], warps=4)
    return found, left


def raise_bound(histogram: Tensor, above: int, bound: Tensor) -> None:
    """Raise ``bound [U]`` to the lower edge of the bin in which the (m+1)-th largest value lies.

    Bins above the bound are complete counts; the bin that the bound itself lies in may not be, and is not used.
    """
    lowest = (keys_of(bound) >> 21) + 1025
    found, _ = find_bins(histogram, torch.full((len(bound),), above + 1, device=bound.device), lowest)
    bound.copy_(torch.where(found < 0, bound, floats_of((found - 1024) << 21)))


@triton.jit
def mark_kernel(
    maps,  # [M, h, w] float32
    pick,  # [A] int64
    limit,  # [A] float32
    bitmap,  # [A, BYTES] uint8, written
    kept,  # [A] int64, written
    h: tl.constexpr,
    w: tl.constexpr,
    BYTES: tl.constexpr,
    LANES: tl.constexpr,
    CELLS: tl.constexpr,
):
    """Mark one map's cells above the limit and their eight neighbours."""
    a = tl.program_id(0).to(tl.int64)
    cells = maps + tl.load(pick + a) * (h * w)
    edge = tl.load(limit + a)
    above = tl.zeros([CELLS], tl.int32)
    for first in range(0, h * w, CELLS):
        i = first + tl.arange(0, CELLS)
        above |= (tl.load(cells + i, mask=i < h * w, other=float("-inf")) > edge).to(tl.int32)
    active = tl.max(above) != 0  # most maps have nothing above the limit, and need no look at neighbours
    total = 0
    for first in range(0, BYTES, LANES):
        byte = first + tl.arange(0, LANES)
        cell = byte[:, None] * 8 + tl.arange(0, 8)[None, :]
        y, x = cell // w, cell % w
        needed = tl.zeros([LANES, 8], tl.int32)
        if active:
            for dy in tl.static_range(-1, 2):
                for dx in tl.static_range(-1, 2):
                    there = (cell < h * w) & (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
                    value = tl.load(cells + cell + (dy * w + dx), mask=there, other=float("-inf"))
                    needed |= (value > edge).to(tl.int32)
        bits = tl.sum(needed << tl.arange(0, 8)[None, :], axis=1)
        tl.store(bitmap + a * BYTES + byte, bits.to(tl.uint8), mask=byte < BYTES)
        total += tl.sum(needed)
    tl.store(kept + a, tl.cast(total, tl.int64))


def mark_needed(maps: Tensor, pick: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """Bitmaps ``[A, ceil(h·w / 8)]`` of the needed cells of the picked maps, and how many each has, ``[A]`` int64."""
    h, w = maps.shape[1:]
    width = (h * w + 7) // 8
    bitmap = torch.empty((len(pick), width), dtype=torch.uint8, device=maps.device)
    kept = torch.empty(len(pick), dtype=torch.int64, device=maps.device)
    _triton.launch(
        mark_kernel, (len(pick),), maps, pick, limit, bitmap, kept,
        h=h, w=w, BYTES=width, LANES=min(LANES // 8, lanes_for(width)), CELLS=lanes_for(h * w),
    )  # fmt: skip
    return bitmap, kept


@triton.jit
def bit_ranks(bitmap, first, size: tl.constexpr, LANES: tl.constexpr):
    """Of ``LANES`` cells from ``first`` on: their numbers, which are marked, and how many marked ones come before."""
    i = first + tl.arange(0, LANES)
    byte = tl.load(bitmap + i // 8, mask=i < size, other=0).to(tl.int32)
    marked = (byte >> (i % 8)) & 1
    return i, marked, tl.cumsum(marked) - marked


@triton.jit
def copy_kernel(
    maps,  # [M, SIZE] float32
    pick,  # [A] int64
    bitmap,  # [A, BYTES] uint8
    start,  # [A + 1] int64
    values,  # [V] float32, written
    SIZE: tl.constexpr,
    BYTES: tl.constexpr,
    LANES: tl.constexpr,
):
    """Copy one map's marked cells."""
    a = tl.program_id(0).to(tl.int64)
    cells = maps + tl.load(pick + a) * SIZE
    place = tl.load(start + a)
    if place < tl.load(start + a + 1):
        for first in range(0, SIZE, LANES):
            i, marked, rank = bit_ranks(bitmap + a * BYTES, first, SIZE, LANES)
            value = tl.load(cells + i, mask=marked != 0, other=0.0)
            tl.store(values + place + rank, value, mask=marked != 0)
            place += tl.sum(marked)


def copy_needed(maps: Tensor, pick: Tensor, bitmap: Tensor, start: Tensor, values: Tensor) -> None:
    """Write the marked cells of the picked maps to ``values``, map a from ``start[a]`` on."""
    size = maps.shape[1] * maps.shape[2]
    _triton.launch(
        copy_kernel, (len(pick),), maps, pick, bitmap, start, values,
        SIZE=size, BYTES=bitmap.shape[1], LANES=lanes_for(size),
    )  # fmt: skip


def gather_maps(maps: Tensor, pick: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """Bitmaps and values of the needed cells; waits for the device, to learn how many there are."""
    bitmap, kept = mark_needed(maps, pick, limit)
    start = starts_of(kept)
    values = torch.empty(int(start[-1]), device=maps.device)
    copy_needed(maps, pick, bitmap, start, values)
    return bitmap, values


def pack_batch(maps: Tensor, bound: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Survivors of a whole batch without waiting for the device: tensors of the size that would hold everything.

    Parameters
    ----------
    maps : Tensor
        ``[N·U, h, w]`` float32, image by image.
    bound : Tensor
        ``[U]`` float32.

    Returns
    -------
    place : Tensor
        ``[N·U]`` int64: first the numbers of the maps that survive, in ascending order.
    bitmap : Tensor
        ``[N·U, ceil(h·w / 8)]`` uint8: first theirs.
    values : Tensor
        ``[N·U·h·w]`` float32: first theirs.
    totals : Tensor
        ``[2]`` int64: how many maps, and how many values.
    """
    count, device = len(maps), maps.device
    every = torch.arange(count, device=device)
    bitmap, kept = mark_needed(maps, every, bound.repeat(count // len(bound)))
    start = starts_of(kept)
    values = torch.empty(maps.numel(), device=device)
    copy_needed(maps, every, bitmap, start, values)
    rank = starts_of((kept > 0).long())
    place = torch.zeros(count + 1, dtype=torch.int64, device=device)
    place[torch.where(kept > 0, rank[:-1], count)] = every  # the others all go to the row past the end
    place = place[:count]
    return place, bitmap[place], values, torch.stack([rank[-1], start[-1]])


@triton.jit
def expand_kernel(
    bitmap,  # [A, BYTES] uint8
    values,  # [V] float32
    start,  # [A + 1] int64
    unit,  # [A] int32
    fill,  # [U] float32
    out,  # [A, SIZE] float32, written
    SIZE: tl.constexpr,
    BYTES: tl.constexpr,
    LANES: tl.constexpr,
):
    """Write one dense map."""
    a = tl.program_id(0).to(tl.int64)
    absent = tl.load(fill + tl.load(unit + a))
    place = tl.load(start + a)
    for first in range(0, SIZE, LANES):
        i, marked, rank = bit_ranks(bitmap + a * BYTES, first, SIZE, LANES)
        value = tl.load(values + place + rank, mask=marked != 0, other=0.0)
        tl.store(out + a * SIZE + i, tl.where(marked != 0, value, absent), mask=i < SIZE)
        place += tl.sum(marked)


def expand(bitmap: Tensor, values: Tensor, unit: Tensor, fill: Tensor, out: Tensor) -> None:
    """Write dense maps ``out [A, h, w]``."""
    size = out.shape[1] * out.shape[2]
    _triton.launch(
        expand_kernel, (len(unit),), bitmap, values, value_starts(bitmap), unit, fill, out,
        SIZE=size, BYTES=bitmap.shape[1], LANES=lanes_for(size),
    )  # fmt: skip


@triton.jit
def level_kernel(
    bits,  # [V] int32: the values' bits
    start,  # [A + 1] int64
    unit,  # [A] int32
    bound_key,  # [U] int32
    prefix,  # [U] int32
    histogram,  # [U, 2048] int64, added to
    LEVEL: tl.constexpr,
    LANES: tl.constexpr,
):
    """Count the next bits of one map's values above the bound whose higher bits equal the unit's prefix."""
    a = tl.program_id(0).to(tl.int64)
    u = tl.load(unit + a).to(tl.int64)
    limit = tl.load(bound_key + u)
    wanted = tl.load(prefix + u)
    end = tl.load(start + a + 1)
    for first in range(tl.load(start + a), end, LANES):
        v = first + tl.arange(0, LANES)
        key = key_of(tl.load(bits + v, mask=v < end, other=0))
        counts = (v < end) & (key > limit)
        if LEVEL == 0:
            place = (key >> 21) + 1024
        elif LEVEL == 1:
            place = (key >> 10) & 2047
            counts &= (key >> 21) == wanted
        else:
            place = key & 1023
            counts &= (key >> 10) == wanted
        tl.atomic_add(histogram + u * BINS + place, 1, mask=counts, sem="relaxed")


def count_survivors(
    bitmap: Tensor, values: Tensor, unit: Tensor, bound: Tensor, prefix: Tensor, level: int, histogram: Tensor
) -> None:
    """Histogram the survivors; the levels of the radix select read 11, 11 and 10 bits of the key, highest first."""
    _triton.launch(
        level_kernel, (len(unit),), values.view(torch.int32), value_starts(bitmap), unit, keys_of(bound), prefix,
        histogram, LEVEL=level, LANES=128,
    )  # fmt: skip


def narrow(histogram: Tensor, level: int, rank: Tensor, prefix: Tensor) -> None:
    """Find the bin that holds each unit's rank-th largest value, extend its prefix by it, and lower the rank.

    A unit with fewer values than its rank gets rank 0: its bound is the answer.
    """
    found, left = find_bins(histogram, rank.clamp(min=1), torch.zeros_like(prefix))
    there = (rank > 0) & (found >= 0)
    longer = found - 1024 if level == 0 else (prefix << (11 if level == 1 else 10)) | found
    prefix.copy_(torch.where(there, longer, prefix))
    rank.copy_(torch.where(there, left, 0))


def values_of(prefix: Tensor, rank: Tensor, bound: Tensor) -> Tensor:
    """The floats of complete prefixes, or the bound where the rank ran out; -0 becomes 0."""
    return torch.where(rank > 0, floats_of(prefix), bound) + 0.0


@triton.jit
def kept_kernel(
    bitmap,  # [A, BYTES] uint8
    kept,  # [A] int64, written
    BYTES: tl.constexpr,
    LANES: tl.constexpr,
):
    """Count one map's marked cells."""
    a = tl.program_id(0).to(tl.int64)
    total = 0
    for first in range(0, BYTES, LANES):
        i = first + tl.arange(0, LANES)
        byte = tl.load(bitmap + a * BYTES + i, mask=i < BYTES, other=0).to(tl.int32)
        byte = byte - ((byte >> 1) & 0x55)  # sums of two bits, of four, of eight
        byte = (byte & 0x33) + ((byte >> 2) & 0x33)
        total += tl.sum((byte + (byte >> 4)) & 0x0F)
    tl.store(kept + a, tl.cast(total, tl.int64))


def value_starts(bitmap: Tensor) -> Tensor:
    """Where each map's values begin, ``[A + 1]`` int64."""
    kept = torch.empty(len(bitmap), dtype=torch.int64, device=bitmap.device)
    width = bitmap.shape[1]
    _triton.launch(kept_kernel, (len(bitmap),), bitmap, kept, BYTES=width, LANES=lanes_for(width))
    return starts_of(kept)


def starts_of(lengths: Tensor) -> Tensor:
    """Where things of these lengths begin, laid end to end: ``[n + 1]`` int64."""
    start = torch.zeros(len(lengths) + 1, dtype=torch.int64, device=lengths.device)
    torch.cumsum(lengths, 0, out=start[1:])
    return start


def lanes_for(size: int) -> int:
    """How many elements of a row of ``size`` a program takes at a time: a warp's worth at least."""
    return max(32, min(LANES, _triton.power_of_two(size)))
