"""Axes of figures: which numbers stand on them, and where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDE = 30.0  # from this ratio of the largest to the smallest on, an axis is logarithmic
FEW = 8  # as many places on an axis can each have their number


@dataclass(frozen=True)
class Axis:
    """A horizontal axis from 0 to 1.

    Attributes
    ----------
    logarithmic : bool
        Whether equal distances are equal ratios. Zero then stands left of the smallest number, behind a gap.
    low, high : float
        The numbers at its ends; of a logarithmic one the smallest above zero and the largest.
    zero : float
        The part of its length that zero and the gap take; 0 where there is no zero or the axis is linear.
    ticks : tuple of float
        Where numbers stand.
    """

    logarithmic: bool
    low: float
    high: float
    zero: float
    ticks: tuple[float, ...]

    def place(self, x: float) -> float:
        """Where a number is, from 0 to 1."""
        if not self.logarithmic:
            return (x - self.low) / (self.high - self.low)
        if x <= 0:
            return 0.0
        return self.zero + (1 - self.zero) * math.log(x / self.low) / math.log(self.high / self.low)


def axis_for(values: Sequence[float]) -> Axis:
    """An axis for two numbers or more that are not all the same: logarithmic where they span it."""
    positive = [x for x in values if x > 0]
    low, high = min(values), max(values)
    if low >= 0 and positive and high / min(positive) >= WIDE:
        has_zero = low == 0
        return Axis(True, min(positive), high, 0.12 if has_zero else 0.0, (*((0.0,) * has_zero), *_powers(positive)))
    apart = sorted(set(values))
    return Axis(False, low, high, 0.0, tuple(apart) if len(apart) <= FEW else steps(low, high, 5))


def steps(low: float, high: float, most: int) -> tuple[float, ...]:
    """Round numbers from low to high at equal distances, at most about that many."""
    if high <= low:
        return (low,)
    rough = (high - low) / max(1, most - 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return tuple(round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1))


def counts_to(most: int, about: int = 5) -> tuple[int, ...]:
    """Round whole numbers from 0 to at least ``most``, about so many of them, for a vertical axis."""
    found = steps(0, max(most, 1), about)
    step = max(1, math.ceil(found[1] - found[0])) if len(found) > 1 else 1
    return tuple(range(0, step * math.ceil(max(most, 1) / step) + 1, step))


def tick_text(x: float) -> str:
    """A number on an axis in few letters: 1, 0.2, 50k, 2.4M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        shown = float(f"{x / size:.3g}")  # 999,500 is 1M when it is rounded
        if abs(shown) >= (10 if letter == "k" else 1):
            return f"{shown:.3g}{letter}"
    return f"{x:.4g}"


def _powers(values: Sequence[float]) -> list[float]:
    """Powers of ten between values, or every other one and so on where there are many; at least both ends."""
    first = math.ceil(math.log10(min(values)) - 1e-9)
    last = math.floor(math.log10(max(values)) + 1e-9)
    every = max(1, math.ceil((last - first + 1) / FEW))
    found = [10.0**k for k in range(first, last + 1, every)]
    return found if len(found) > 1 else [min(values), max(values)]
