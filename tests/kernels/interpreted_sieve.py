"""Every step of the sieve on a GPU, in Triton's interpreter, against the same step on a CPU: bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kernels import cases
from ndkernels.sieve import cpu, gpu, survivors_cpu


@pytest.mark.parametrize("shape", [(5, 7), (13, 13)], ids=str)
@pytest.mark.parametrize("temper", cases.TEMPERS)
def test_steps(temper: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(shape))
    array = cases.activations(temper, (3, 4, *shape), rng)
    activations, maps = torch.from_numpy(array), torch.from_numpy(array).flatten(0, 1)
    bound = torch.from_numpy(cases.thresholds(array.swapaxes(0, 1).reshape(4, -1), rng))

    # A batch is counted above the bound, which rises.
    counted = []
    for device in (cpu, gpu):
        histogram, raised = torch.zeros((4, 2048), dtype=torch.int64), bound.clone()
        extrema = torch.full((2, 3, 4), torch.nan)
        if device is cpu:
            cpu.count_batch(array, raised.numpy(), histogram.numpy(), *extrema.numpy(), 1)
            cpu.raise_bound(histogram.numpy(), 3, raised.numpy())
        else:
            gpu.count_batch(activations, raised, histogram, *extrema)
            gpu.raise_bound(histogram, 3, raised)
        counted.append([histogram, *extrema, raised])
    cases.assert_identical(counted[1], counted[0])

    # Some of its maps are packed, and expanded again.
    pick, unit = torch.tensor([0, 3, 5, 11]), torch.tensor([0, 3, 1, 3], dtype=torch.int32)
    limit = bound[unit.long()]
    bitmap, values = gpu.gather_maps(maps, pick, limit)
    cases.assert_identical((bitmap, values), cpu.gather_maps(maps.numpy(), pick.numpy(), limit.numpy(), 1))
    dense = torch.empty(4, *shape), torch.empty(4, *shape)
    gpu.expand(bitmap, values, unit, bound, dense[0])
    survivors_cpu.expand(bitmap.numpy(), values.numpy(), unit.numpy(), bound.numpy(), dense[1].numpy(), 1)
    cases.assert_identical(dense[:1], dense[1:])

    # The fourth-largest of their values, and the largest, level by level.
    for low, first in ((torch.full((4,), -torch.inf), 4), (bound, 1)):
        rank, prefix = torch.full((4,), first), torch.zeros(4, dtype=torch.int32)
        other_rank, other_prefix = rank.clone().numpy(), prefix.clone().numpy()
        for level in range(3):
            found, expected = (torch.zeros((4, 2048), dtype=torch.int64) for _ in range(2))
            gpu.count_survivors(bitmap, values, unit, low, prefix, level, found)
            survivors_cpu.count_survivors(
                bitmap.numpy(), values.numpy(), unit.numpy(), low.numpy(), other_prefix, level, expected.numpy(), 1
            )
            gpu.narrow(found, level, rank, prefix)
            survivors_cpu.narrow(expected.numpy(), level, other_rank, other_prefix)
            cases.assert_identical([found, rank, prefix], [expected, other_rank, other_prefix])
        selected = survivors_cpu.values_of(other_prefix, other_rank, low.numpy())
        cases.assert_identical([gpu.values_of(prefix, rank, low)], [selected])


@pytest.mark.parametrize("shape", [(1, 1), (5, 7)], ids=str)
def test_a_map_with_one_cell_above_the_limit(shape: tuple[int, int]) -> None:
    """Wherever it is, the map is packed."""
    cells = shape[0] * shape[1]
    maps = torch.eye(cells).reshape(cells, *shape)
    pick, limit = torch.arange(cells), torch.full((cells,), 0.5)
    found = gpu.gather_maps(maps, pick, limit)
    assert (found[0] != 0).any(dim=1).all()
    cases.assert_identical(found, cpu.gather_maps(maps.numpy(), pick.numpy(), limit.numpy(), 1))
