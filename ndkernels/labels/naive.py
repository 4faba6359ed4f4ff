"""The definition of pixel codes, pixel by pixel."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ndkernels.labels import LabelBlock


def encode(maps: NDArray[np.int32], dtype: Any) -> tuple[NDArray[Any], ...]:
    """Codes of one image, and what they stand for.

    Parameters
    ----------
    maps : ndarray
        ``[M, H, W]`` int32 label maps.
    dtype : type
        Type of the codes.

    Returns
    -------
    codes : ndarray
        ``[H, W]``, numbered in the order in which a row-by-row scan meets the combinations.
    area : ndarray
        ``[R]`` int64 pixels of each combination.
    lengths : ndarray
        ``[R]`` int64 entries of each combination.
    concept, times : ndarray
        ``[E]`` int32 and uint8, ascending by concept within a combination.
    """
    height, width = maps.shape[1:]
    codes = np.empty((height, width), dtype)
    numbers: dict[tuple[int, ...], int] = {}
    area: list[int] = []
    for y in range(height):
        for x in range(width):
            combination = tuple(int(c) for c in maps[:, y, x])
            number = numbers.setdefault(combination, len(numbers))
            if number == len(area):
                area.append(0)
            area[number] += 1
            codes[y, x] = number
    entries = [sorted(Counter(c for c in combination if c != 0).items()) for combination in numbers]
    flat = [entry for combination in entries for entry in combination]
    return (
        codes,
        np.array(area, np.int64),
        np.array([len(combination) for combination in entries], np.int64),
        np.array([concept for concept, _ in flat], np.int32),
        np.array([times for _, times in flat], np.uint8),
    )


def decode(block: LabelBlock) -> tuple[list[NDArray[np.int32]], list[list[int]]]:
    """Label maps and whole-image labels of every image of a block."""
    maps, whole = [], []
    for b in range(len(block)):
        first, last = int(block.code_start[b]), int(block.code_start[b + 1])
        combinations: list[list[int]] = []
        for r in range(first, last):
            entries = range(int(block.entry_start[r]), int(block.entry_start[r + 1]))
            combinations.append(
                [int(block.entry_concept[e]) for e in entries for _ in range(int(block.entry_times[e]))]
            )
        depth = max(map(len, combinations), default=0)
        table = np.array([c + [0] * (depth - len(c)) for c in combinations], np.int32).reshape(last - first, depth)
        maps.append(np.ascontiguousarray(table[block.codes[b].numpy().astype(np.int64)].transpose(2, 0, 1)))
        entries = range(int(block.whole_start[b]), int(block.whole_start[b + 1]))
        whole.append([int(block.whole_concept[e]) for e in entries for _ in range(int(block.whole_times[e]))])
    return maps, whole
