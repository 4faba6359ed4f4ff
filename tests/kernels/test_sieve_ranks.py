"""The rank of a threshold: exact in the decimal digits of the quantile."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import cases
from ndkernels.sieve import naive, rank_above


@pytest.mark.parametrize(
    ("quantile", "positions", "above"),
    [
        ("0.005", 200, 1),
        ("0.005", 199, 0),
        ("0.005", 1, 0),
        ("0.005", 63305 * 169, 53492),
        ("0.1", 30, 3),  # 0.1 * 30 is 3.0000000000000004 in binary, and 0.7 * 10 just short of 7
        ("0.7", 10, 7),
        ("0.29", 100, 29),
        ("0.999999", 1000, 999),
        (Decimal("1e-3"), 5000, 5),
        ("0.3333333333333333333333333", 3 * 10**12, 999999999999),
    ],
)
def test_ranks_are_exact(quantile: str, positions: int, above: int) -> None:
    assert rank_above(quantile, positions) == above


@settings(cases.SETTINGS, max_examples=cases.examples(80))
@given(st.integers(1, 999), st.integers(1, 400), cases.seeds)
def test_thresholds_are_inverted_cdf_quantiles(thousandths: int, positions: int, seed: int) -> None:
    quantile = Decimal(thousandths) / 1000
    rank = Fraction(quantile) * positions
    values = cases.activations("steps", (positions, 1, 1, 1), np.random.default_rng(seed))
    found = naive.thresholds(values, rank_above(quantile, positions))
    assert (values > found).sum() <= rank < (values >= found).sum()
    if rank.denominator > 1:  # whole ranks are where NumPy's float rank may be one off
        expected = np.quantile(values, 1 - float(quantile), method="inverted_cdf")
        assert found == expected


@pytest.mark.parametrize("quantile", ["0", "1", "-0.1", "1.5", "nan", "inf"])
def test_quantiles_out_of_range_are_refused(quantile: str) -> None:
    with pytest.raises(ValueError, match="a quantile between 0 and 1 of at least one value, not"):
        rank_above(quantile, 100)


def test_ranks_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one value, not 0\.5 of 0"):
        rank_above("0.5", 0)
    with pytest.raises(ValueError, match="a quantile must be a decimal number, not 'half'"):
        rank_above("half", 100)
