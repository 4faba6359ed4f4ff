"""Compaction goes through survivors in portions, and nobody can tell."""

from __future__ import annotations

import pytest
import torch

import ndkernels.sieve.survivors
from ndkernels.sieve import compact_survivors, pack_maps


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("portion", [1, 4 * 35, 3 * 4 * 35, 1 << 20], ids=lambda n: f"{n} bytes")
def test_portions(portion: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.randn(6 * 4, 5, 7, generator=torch.Generator().manual_seed(1))
    maximum = maps.amax((1, 2)).reshape(6, 4)
    low, high = torch.tensor([0.0, 1.0, -1.0, 2.0]), torch.tensor([1.5, 1.0, 2.0, 9.0])
    survivors = pack_maps(maps, maximum, low, 0, 1)
    expected = pack_maps(maps, maximum, high, 0, 1)
    monkeypatch.setattr(ndkernels.sieve.survivors, "DENSE_BYTES", portion)
    found = compact_survivors(survivors, high, threads=threads)
    assert 0 < len(found) < len(survivors)
    for name in ("image", "unit", "bitmap", "values"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
