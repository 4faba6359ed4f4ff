"""Pixel codes on the CPU in Numba: a hash table of combinations, asked where a pixel is not like the last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndkernels._jit import jit


def encode(maps: NDArray[np.int32], dtype: Any) -> tuple[NDArray[Any], ...]:
    """Codes of one image; arguments and results as :func:`ndkernels.labels.naive.encode`."""
    codes = np.empty(maps.shape[1:], dtype)
    first = np.empty(codes.size, np.int64)
    area = np.zeros(codes.size, np.int64)
    combinations = number_pixels(maps, codes, first, area)
    concept = np.empty(combinations * len(maps), np.int32)
    times = np.empty(combinations * len(maps), np.uint8)
    lengths = np.empty(combinations, np.int64)
    entries = list_entries(maps, first[:combinations], lengths, concept, times)
    return codes, area[:combinations].copy(), lengths, concept[:entries].copy(), times[:entries].copy()


@jit
def number_pixels(
    maps: NDArray[np.int32],  # [M, H, W]
    codes: NDArray[Any],  # [H, W], written
    first: NDArray[np.int64],  # [H·W], written: the pixel at which a combination was first met
    area: NDArray[np.int64],  # [H·W] zeros, added to
) -> int:
    """Number the combinations of an image; returns how many there are."""
    depth, height, width = maps.shape
    size = 1024
    while size < 2 * height * width:
        size *= 2
    slots = np.full(size, -1, np.int32)
    found = 0
    for y in range(height):
        for x in range(width):
            if x > 0:
                same = True
                for m in range(depth):
                    same &= maps[m, y, x] == maps[m, y, x - 1]
                if same:
                    code = codes[y, x - 1]
                    codes[y, x] = code
                    area[code] += 1
                    continue
            key = np.uint64(1469598103934665603)
            for m in range(depth):
                key = (key ^ np.uint64(maps[m, y, x])) * np.uint64(1099511628211)
                key ^= key >> np.uint64(29)
            slot = np.int64(key & np.uint64(size - 1))
            while True:
                number = slots[slot]
                if number < 0:
                    slots[slot] = found
                    first[found] = y * width + x
                    number = found
                    found += 1
                    break
                fy, fx = first[number] // width, first[number] % width
                same = True
                for m in range(depth):
                    same &= maps[m, y, x] == maps[m, fy, fx]
                if same:
                    break
                slot = (slot + 1) & (size - 1)
            codes[y, x] = number
            area[number] += 1
    return found


@jit
def list_entries(
    maps: NDArray[np.int32],  # [M, H, W]
    first: NDArray[np.int64],  # [R] a pixel of each combination
    lengths: NDArray[np.int64],  # [R], written
    concept: NDArray[np.int32],  # [R·M], written from the start
    times: NDArray[np.uint8],  # [R·M], written from the start
) -> int:
    """List each combination's concepts in ascending order, and how often each; returns how many entries."""
    depth, _, width = maps.shape
    end = 0
    for r in range(len(first)):
        start = end
        for m in range(depth):
            label = maps[m, first[r] // width, first[r] % width]
            if label == 0:
                continue
            e = start
            while e < end and concept[e] < label:
                e += 1
            if e < end and concept[e] == label:
                times[e] += 1
                continue
            for k in range(end, e, -1):
                concept[k], times[k] = concept[k - 1], times[k - 1]
            concept[e], times[e] = label, 1
            end += 1
        lengths[r] = end - start
    return end
