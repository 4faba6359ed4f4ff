"""The counts that Network Dissection rests on, for one layer (paper, section 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ndengine.clock import Clock
from ndengine.datasets import Vocabulary
from ndengine.devices import CPU
from ndengine.progress import SILENT, Progress
from ndengine.settings import Area, Overlap
from ndkernels.grid import Grid, mask_finite_maps
from ndkernels.labels import LabelBlock, count_concepts
from ndkernels.sieve import Survivors, expand_survivors, join_survivors, split_survivors
from ndkernels.tally import UnitCounts, tally_finite_units

BLOCK_IMAGES = 64
# A GPU takes longer to be told than to count; but all maps of a block may be active.
GPU_BLOCK_IMAGES, GPU_BLOCK_BYTES = 256, 1 << 30


@dataclass(frozen=True, eq=False)
class Counts:
    """Exact counts of one layer over all images; concept id c stands in column c - 1.

    Attributes
    ----------
    threshold : ndarray of float32, [U]
        The activation that a unit's mask exceeds.
    intersection : ndarray of int64, [U, C]
        Pixels in which unit and concept coincide.
    concept_area : ndarray of int64, [C]
        Pixels of each concept.
    unit_area : ndarray of int64, [U, K]
        Pixels of each unit's mask over the images that count for a category.
    unit_area_all : ndarray of int64, [U]
        Pixels of each unit's mask over all images.
    concept_images : ndarray of int64, [C]
        Images that carry the concept.
    """

    threshold: NDArray[np.float32]  # [U]
    intersection: NDArray[np.int64]  # [U, C]
    concept_area: NDArray[np.int64]  # [C]
    unit_area: NDArray[np.int64]  # [U, K]
    unit_area_all: NDArray[np.int64]  # [U]
    concept_images: NDArray[np.int64]  # [C]


def tally_layer(
    survivors: Iterable[Survivors],
    thresholds: NDArray[np.float32],  # [U]
    grid: Grid,
    labels: Callable[[int, int], LabelBlock],
    images: int,
    vocabulary: Vocabulary,
    *,
    overlap: Overlap,
    area: Area,
    top_images: NDArray[np.int64],  # [U, T]
    threads: int = 1,
    device: torch.device = CPU,
    progress: Progress = SILENT,
    clock: Clock | None = None,
) -> tuple[Counts, NDArray[np.uint8]]:
    """Count all units against all concepts.

    Parameters
    ----------
    survivors : iterable of Survivors
        A spool's survivors in the order of their images, which are numbered from 0 to N - 1.
    thresholds : ndarray of float32, [U]
        Nowhere below the bound of the survivors.
    grid : Grid
        Interpolation tables for h×w maps on H×W labels.
    labels : callable
        Given the numbers of a first and a last image (exclusive), their encoded labels.
    images : int
        N.
    vocabulary : Vocabulary
        C concepts in K categories.
    overlap, area : str
        The knobs of these names; see ``ndengine.settings.Knobs``.
    top_images : ndarray of int64, [U, T]
        The images on which masks are wanted; -1 for none.
    threads : int
        Threads to count with, on a CPU; the counts do not depend on it.
    device : torch.device
        Where to count; the counts do not depend on it either.
    progress : Progress
        Told of each block of images.
    clock : Clock or None
        Told of the parts: ``read``, ``labels``, ``count`` and ``masks``.

    Returns
    -------
    counts : Counts
    masks : ndarray of uint8, [U, T, H, ceil(W/8)]
        The masks of ``top_images``, packed along columns; empty where the unit is nowhere on.
    """
    units, concepts = len(thresholds), len(vocabulary.names)
    height, width = len(grid.rows.lower), len(grid.columns.lower)
    limits = torch.from_numpy(thresholds).to(device)
    category = torch.from_numpy(vocabulary.primary.astype(np.int32)).to(device)
    counts = UnitCounts.zeros(units, concepts, len(vocabulary.categories), device)
    grid = grid.to(device)
    concept_area = np.zeros(concepts, np.int64)
    concept_images = np.zeros(concepts, np.int64)
    masks = np.zeros((*top_images.shape, height, -(-width // 8)), np.uint8)
    step = BLOCK_IMAGES
    if device.type == "cuda":
        step = max(1, min(GPU_BLOCK_IMAGES, GPU_BLOCK_BYTES // (4 * units * grid.rows.samples * grid.columns.samples)))
    edges = [*range(0, images, step), images]
    clock, once = clock or Clock(), overlap == "once"
    blocks = zip(blocks_of(survivors, edges), edges, edges[1:], strict=False)
    with progress.stage("tally", images, "images") as advance:
        for part, first, last in clock.each(blocks, "read"):
            with clock.part("labels"):
                block = labels(first, last)
            with clock.part("count"):
                block_area, present = count_concepts(block, concepts, once=once)
                concept_area += block_area
                concept_images += present.sum(axis=0)
                if part is not None:
                    # An absent cell lies at or below the threshold; read as the threshold it gives the same mask.
                    part, block = part.to(device), block.to(device)
                    maps = expand_survivors(part, limits, threads=threads)
                    tally_finite_units(
                        maps, part.unit, part.image - first, limits, grid, block, category, counts,
                        once=once, area=area, threads=threads,
                    )  # fmt: skip
            if part is not None:
                with clock.part("masks"):
                    _draw_masks(masks, top_images, part, maps, limits, grid, threads)
            advance(last - first)
    return (
        Counts(
            threshold=thresholds,
            intersection=counts.intersection.cpu().numpy(),
            concept_area=concept_area,
            unit_area=counts.unit_area.cpu().numpy(),
            unit_area_all=counts.unit_area_all.cpu().numpy(),
            concept_images=concept_images,
        ),
        masks,
    )


def blocks_of(survivors: Iterable[Survivors], edges: list[int]) -> Iterator[Survivors | None]:
    """Survivors regrouped: one item for each block of images between neighbouring edges, None where it has no map."""
    stream = iter(survivors)
    rest: Survivors | None = None
    for edge in edges[1:]:
        parts = []
        while True:
            if rest is None or len(rest) == 0:
                rest = next(stream, None)
                if rest is None:
                    break
            before, rest = split_survivors(rest, edge)
            if len(before):
                parts.append(before)
            if len(rest):
                break
        yield join_survivors(parts) if parts else None


def _draw_masks(
    masks: NDArray[np.uint8],  # [U, T, H, ceil(W/8)]
    top_images: NDArray[np.int64],  # [U, T]
    part: Survivors,
    maps: torch.Tensor,  # [A, h, w]
    limits: torch.Tensor,  # [U]
    grid: Grid,
    threads: int,
) -> None:
    unit = part.unit.cpu().numpy()
    wanted, rank = np.nonzero(top_images[unit] == part.image.cpu().numpy()[:, None])
    if len(wanted):
        places = torch.from_numpy(wanted).to(maps.device)
        drawn = mask_finite_maps(maps[places], limits[part.unit[places].long()], grid, threads=threads).cpu().numpy()
        masks[unit[wanted], rank] = np.packbits(drawn, axis=2)
