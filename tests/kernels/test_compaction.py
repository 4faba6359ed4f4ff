"""Compacted survivors are those that a fresh sieve would have left; a GPU goes in portions, and nobody can tell."""

from __future__ import annotations

import pytest
import torch

import ndkernels.sieve.survivors
from ndkernels.sieve import compact_survivors, pack_maps


def check_compaction(shape: tuple[int, int], threads: int) -> None:
    maps = torch.randn(6 * 4, *shape, generator=torch.Generator().manual_seed(1))
    maximum = maps.amax((1, 2)).reshape(6, 4)
    low, high = torch.tensor([0.0, 1.0, -1.0, 2.0]), torch.tensor([1.5, 1.0, 2.0, 9.0])
    survivors = pack_maps(maps, maximum, low, 0, 1)
    expected = pack_maps(maps, maximum, high, 0, 1)
    found = compact_survivors(survivors, high, threads=threads)
    assert 0 < len(found) < len(survivors)
    for name in ("image", "unit", "bitmap", "values"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (1, 40), (3, 33), (7, 64), (20, 31)], ids=str)
def test_shapes(shape: tuple[int, int], threads: int) -> None:
    check_compaction(shape, threads)


@pytest.mark.parametrize("portion", [1, 4 * 35, 3 * 4 * 35, 1 << 20], ids=lambda n: f"{n} bytes")
def test_portions(portion: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run again as on a GPU by test_gpu_interpreter.py; a CPU knows no portions."""
    monkeypatch.setattr(ndkernels.sieve.survivors, "DENSE_BYTES", portion)
    check_compaction((5, 7), 1)
