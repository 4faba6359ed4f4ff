"""Packing label maps on the CPU in Numba: a hash table of combinations, asked only where a run begins.

Sixteen pixels at a time are compared with those to their left and above, in all maps at once. A run of equal pixels has
one code; where its first pixel is like the one above, that one's code is taken, and few pixels are left to look up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndkernels._jit import jit
from ndkernels._vector import (
    INTEGERS,
    LANES,
    address,
    differ,
    fill,
    first_bit,
    first_bits,
    load,
    lowest,
    minimum,
    nonzero,
    store,
)


def encode(stacks: Sequence[NDArray[Any]], shape: tuple[int, int], dtype: Any) -> list[tuple[NDArray[Any], ...]]:
    """Encode each of some images' label maps ``[M, H, W]``: results as of :func:`ndkernels.labels.naive.encode`.

    Raises
    ------
    ValueError
        If an id, as a 32-bit number, is negative; the message names the image by its place.
    """
    height, width = shape
    pixels, deepest = height * width, max((len(stack) for stack in stacks), default=0)
    # Memory is allocated once: to be handed fresh pages for every image would take as long as all the rest.
    margin = width + LANES  # vectors are read from a row above the first pixel to one behind the last
    maps = np.zeros(margin + deepest * pixels + LANES, np.int32)
    codes = np.empty(pixels + LANES, np.int32)
    first, place, area = np.empty(pixels, np.int64), np.empty(pixels, np.int64), np.zeros(pixels, np.int64)
    slots = np.zeros(1 << max(2 * pixels - 1, 1).bit_length(), np.int32)
    parts: list[tuple[NDArray[Any], ...]] = []
    for b, stack in enumerate(stacks):
        depth = len(stack)
        values = maps[margin : margin + depth * pixels]
        values.reshape(stack.shape)[:] = stack
        combinations = number_pixels(values, depth, height, width, codes, first, place, area, slots)
        if combinations < 0:
            raise ValueError(f"label maps of image {b} hold an id outside 0 … 2^31 - 1")
        concept, times = np.empty(combinations * depth + 1, np.int32), np.empty(combinations * depth + 1, np.uint8)
        lengths = np.empty(combinations, np.int64)
        entries = list_entries(values, pixels, depth, first[:combinations], lengths, concept, times)
        parts.append(
            (
                codes[:pixels].astype(dtype).reshape(shape),
                area[:combinations].copy(),
                lengths,
                concept[:entries].copy(),
                times[:entries].copy(),
            )
        )
        clear_table(combinations, place, area, slots)
    return parts


@jit
def number_pixels(
    maps: NDArray[np.int32],  # [M · H · W], with readable memory around it
    depth: int,
    height: int,
    width: int,
    codes: NDArray[np.int32],  # [H · W + 16], written
    first: NDArray[np.int64],  # [H · W], written: the pixel at which a combination was first met
    place: NDArray[np.int64],  # [H · W], written: its place in the table
    area: NDArray[np.int64],  # [H · W] zeros, added to: its pixels
    slots: NDArray[np.int32],  # zeros, a power of two of them, more than H · W: the table
) -> int:
    """Number the combinations of an image; returns how many there are, or -1 if an id is negative."""
    pixels = height * width
    found: Any = np.int64(0)  # a constant 0 would be a type of its own, for which all would be compiled again
    code: Any = np.int64(0)
    least = fill(INTEGERS, np.int32(0))
    for y in range(height):
        for x in range(0, width, LANES):
            start = y * width + x
            count = min(width - x, LANES)
            from_left = from_above = fill(INTEGERS, np.int32(0))
            for m in range(depth):
                pixel = address(maps) + 4 * (m * pixels + start)
                here = load(INTEGERS, pixel)
                least = minimum(least, here)  # beyond the maps are zeros, or another image's ids, which were in order
                from_left = differ(from_left, here, load(INTEGERS, pixel - 4))
                from_above = differ(from_above, here, load(INTEGERS, pixel - 4 * width))
            left = ~nonzero(from_left) & first_bits(count) & (-1 if x > 0 else ~1)
            above = ~nonzero(from_above) if y > 0 else 0
            k = 0
            while k < count:
                if (left >> k) & 1 == 0:
                    if (above >> k) & 1:
                        code = codes[start + k - width]
                    else:
                        code = find_code(maps, depth, pixels, start + k, first, place, slots, found)
                        found = max(found, code + 1)
                end = k + 1 + first_bit(~(left >> (k + 1)))  # bits beyond the count are not set
                # Lanes beyond the run are written again with the next one.
                store(fill(INTEGERS, np.int32(code)), address(codes) + 4 * (start + k))
                area[code] += end - k
                k = end
    if lowest(least) < 0:
        clear_table(found, place, area, slots)
        return -1
    return int(found)


@jit
def clear_table(found: int, place: NDArray[np.int64], area: NDArray[np.int64], slots: NDArray[np.int32]) -> None:
    """Make the table ready for another image."""
    for code in range(found):
        slots[place[code]] = 0
        area[code] = 0


@jit
def find_code(
    maps: NDArray[np.int32],  # [M · H · W]
    depth: int,
    pixels: int,
    p: int,
    first: NDArray[np.int64],
    place: NDArray[np.int64],
    slots: NDArray[np.int32],
    found: int,
) -> int:
    """The number of pixel p's combination; ``found``, the next one, if it is new."""
    # A sum of products: the labels' multiplications need not wait for each other.
    key, factor = np.uint64(0), np.uint64(0x9E3779B97F4A7C15)
    for m in range(depth):
        key += np.uint64(maps[m * pixels + p]) * factor
        factor *= np.uint64(0xD1342543DE82EF95)
    slot = np.int64((key ^ (key >> np.uint64(29))) >> np.uint64(16) & np.uint64(len(slots) - 1))
    while slots[slot] > 0:
        number = slots[slot] - 1
        same = True
        for m in range(depth):
            same &= maps[m * pixels + p] == maps[m * pixels + first[number]]
        if same:
            return int(number)
        slot = (slot + 1) & (len(slots) - 1)
    slots[slot] = found + 1
    first[found], place[found] = p, slot
    return int(found)


@jit
def list_entries(
    maps: NDArray[np.int32],  # [M · H · W]
    pixels: int,  # H · W
    depth: int,  # M
    first: NDArray[np.int64],  # [R] a pixel of each combination
    lengths: NDArray[np.int64],  # [R], written
    concept: NDArray[np.int32],  # [R·M + 1], written from the start
    times: NDArray[np.uint8],  # [R·M + 1], written from the start
) -> int:
    """List each combination's concepts in ascending order, and how often each; returns how many entries.

    Sorted by counting what is smaller: the outcome of comparisons can't be guessed, so there should be no jumps on it.
    """
    labels, new = np.empty(depth, np.int32), np.empty(depth, np.int64)
    end = 0
    for r in range(len(first)):
        for m in range(depth):
            labels[m] = maps[m * pixels + first[r]]
        distinct = 0
        for m in range(depth):
            seen: Any = np.int64(labels[m] == 0)
            for k in range(m):
                seen |= labels[k] == labels[m]
            new[m] = 1 - seen
            distinct += 1 - seen
        for m in range(depth):
            smaller: Any = 0
            same: Any = 0
            for k in range(depth):
                smaller += new[k] & (labels[k] < labels[m])
                same += labels[k] == labels[m]
            # The last place takes what is none.
            target = end + smaller if labels[m] > 0 else len(concept) - 1
            concept[target], times[target] = labels[m], same
        end += distinct
        lengths[r] = distinct
    return end
