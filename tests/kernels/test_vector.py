"""The vector layer against NumPy, on other processors' instructions, and what its change does to Numba's cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from ndkernels import _jit
from ndkernels._vector import (
    FLOATS,
    INTEGERS,
    LANES,
    LONGS,
    add,
    address,
    copy,
    count_bits,
    differ,
    fill,
    first_bit,
    first_bits,
    highest,
    larger,
    load,
    lowest,
    maximum,
    minimum,
    multiply,
    nonzero,
    order,
    store,
    subtract,
)
from ndkernels.tally import cpu


@numba.njit
def of_floats(left, right, out):  # type: ignore[no-untyped-def]
    a, b = load(FLOATS, address(left)), load(FLOATS, address(right))
    for k, value in enumerate((add(a, b), subtract(a, b), multiply(a, b))):
        store(value, address(out) + 4 * LANES * k)
    return larger(a, b), larger(a, fill(FLOATS, left[3]))


@numba.njit
def of_integers(left, right, out):  # type: ignore[no-untyped-def]
    a, b = load(INTEGERS, address(left)), load(INTEGERS, address(right))
    for k, value in enumerate((maximum(a, b), minimum(a, b), order(a), differ(fill(INTEGERS, np.int32(0)), a, b))):
        store(value, address(out) + 4 * LANES * k)
    return larger(a, b), nonzero(differ(fill(INTEGERS, np.int32(0)), a, b)), highest(a), lowest(a)


@numba.njit
def of_places(numbers, out):  # type: ignore[no-untyped-def]
    copy(numbers[0], LANES, address(numbers) + 2 * numbers.itemsize, address(out))
    return load(np.uint16, address(numbers) + 2), nonzero(fill(LONGS, np.int64(-1)))


@numba.njit
def of_bits(bits):  # type: ignore[no-untyped-def]
    return first_bit(bits), count_bits(bits), first_bits(bits)


def as_bits(lanes: np.ndarray) -> int:
    return int((lanes.astype(np.int64) << np.arange(len(lanes))).sum())


def test_floats_round_lane_by_lane() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, LANES)).astype(np.float32) * np.float32(1e20)
    right[:4] = left[0], np.nan, 0, -0.0
    left[2] = -0.0
    out = np.full((3, LANES), np.nan, np.float32)
    found = of_floats(left, right, out)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(out, [left + right, left - right, left * right])
    assert found == (as_bits(left > right), as_bits(left > left[3]))


def test_integers_lane_by_lane() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.integers(-(2**31), 2**31, (2, LANES)).astype(np.int32)
    right[5] = left[5]
    out = np.zeros((4, LANES), np.int32)
    found = of_integers(left, right, out)
    np.testing.assert_array_equal(out[:2], [np.maximum(left, right), np.minimum(left, right)])
    np.testing.assert_array_equal(out[2], np.where(left < 0, left ^ 0x7FFFFFFF, left))
    np.testing.assert_array_equal(out[3] == 0, left == right)
    assert found == (as_bits(left > right), as_bits(left != right), left.max(), left.min())
    floats = np.sort(rng.normal(size=LANES).astype(np.float32))
    of_integers(floats.view(np.int32), right, out)
    assert (np.diff(out[2].astype(np.int64)) > 0).all()


def test_places_and_bits() -> None:
    numbers, out = np.arange(40, dtype=np.uint16), np.zeros(LANES + 1, np.uint16)
    assert of_places(numbers, out) == (1, 65535)
    np.testing.assert_array_equal(out, [*numbers[2 : LANES + 2], 0])
    assert of_bits(0) == (64, 0, 0)
    assert of_bits(40) == (3, 2, 65535)
    assert of_bits(5) == (0, 2, 31)


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},  # no AVX-512
        {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""},  # no AVX, no conversions of half floats
        {"NUMBA_DEBUG_NRT": "1"},  # what is freed is overwritten
    ],
    ids=lambda setting: "-".join(setting.values()),
)
def test_other_processors_and_freed_memory(setting: dict[str, str], tmp_path: Path) -> None:
    environment = {**os.environ, **setting, "NUMBA_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("guarded.py")
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("equal") == 4  # beside what the memory says of itself


def test_a_change_in_any_source_is_another_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba itself sees changes in a function's own file alone."""
    (tmp_path / "op").mkdir()
    for name in ("_jit.py", "_vector.py", "op/cpu.py"):
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(_jit, "__file__", str(tmp_path / "_jit.py"))
    before = _jit._stamp_sources()
    assert _jit._stamp_sources() == before
    (tmp_path / "op" / "cpu.py").write_text("2")
    assert _jit._stamp_sources() != before
    assert _jit._STAMP in cpu.tally_part._cache._impl.filename_base  # type: ignore[attr-defined]
