"""The launches of the GPU's kernels for given shapes, recorded from their own host code and not carried out."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.gpu_compile import Launch, launching
from ndkernels.grid import gpu as grid_gpu
from ndkernels.grid import make_grid
from ndkernels.labels import encode_labels
from ndkernels.sieve import gpu as sieve_gpu
from ndkernels.tally import AREAS, Area, UnitCounts
from ndkernels.tally import gpu as tally_gpu


@dataclass(frozen=True)
class Shapes:
    """What decides how kernels are compiled.

    Attributes
    ----------
    maps, labels : tuple of int
        h and w, H and W.
    rich : bool
        Whether images have many combinations of labels on average.
    area : str
        How a unit's area counts.
    """

    maps: tuple[int, int]
    labels: tuple[int, int]
    rich: bool = False
    area: Area = "category"


CATEGORIES = 6  # as in Broden
UNITS = 4  # of no account


def record(shapes: Shapes) -> list[Launch]:
    """All launches of a run with these shapes, each form once, the sieve's first."""
    h, w = shapes.maps
    activations = torch.zeros(2, UNITS, h, w)
    maps, pick = activations.flatten(0, 1), torch.arange(2 * UNITS)
    limit, unit = torch.zeros(2 * UNITS), torch.arange(UNITS, dtype=torch.int32).repeat(2)
    image, bound = torch.arange(2, dtype=torch.int32).repeat_interleave(UNITS), torch.zeros(UNITS)
    histogram = torch.zeros(UNITS, 2048, dtype=torch.int64)
    start, values = torch.zeros(len(pick) + 1, dtype=torch.int64), torch.zeros(8)
    grid = make_grid("half-pixel", maps=shapes.maps, labels=shapes.labels)
    tables = [grid.rows.lower, grid.rows.fraction, grid.columns.lower, grid.columns.fraction]
    stack = torch.arange(shapes.labels[0] * shapes.labels[1]).reshape(1, *shapes.labels) % (1000 if shapes.rich else 2)
    labels = encode_labels([stack.numpy()] * 2, [[1]] * 2, shapes.labels)
    counts = UnitCounts.zeros(UNITS, 1000, CATEGORIES)
    launches: list[Launch] = []
    with launching(launches.append):
        sieve_gpu.count_batch(activations, bound, histogram, torch.zeros(2, UNITS), torch.zeros(2, UNITS))
        sieve_gpu.find_bins(histogram, torch.ones(UNITS, dtype=torch.int64), torch.zeros(UNITS, dtype=torch.int32))
        bitmap, _ = sieve_gpu.mark_needed(maps, pick, limit)
        sieve_gpu.copy_needed(maps, pick, bitmap, start, values)
        sieve_gpu.expand(bitmap, values, unit, bound, maps)
        for level in range(3):
            prefix = torch.zeros(UNITS, dtype=torch.int32)
            sieve_gpu.count_survivors(bitmap, values, unit, bound, prefix, level, histogram)
        grid_gpu.mask_maps(maps, limit, *tables)
        tally_gpu.tally_maps(
            maps, unit, image, bound, tables, labels, torch.zeros(1000, dtype=torch.int32), False,
            AREAS.index(shapes.area), counts.intersection, counts.unit_area, counts.unit_area_all,
        )  # fmt: skip
    forms = {(launch.name, *sorted(launch.constants.items())): launch for launch in launches}
    return list(forms.values())
