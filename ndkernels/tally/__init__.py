"""The tally: intersections of all units' masks with all concepts, and the units' areas.

The contract is a *list of maps*, not a dense block: A activation maps, each with the unit and the image it
belongs to. A sieve's survivors, another tool's attribution maps and the few active units of a sparse
autoencoder all have this shape; a dense ``[N, U, h, w]`` tensor is the case of :func:`list_maps`. Counts are
int64, exact, and the same for any number of threads (Network Dissection, section 2.3; IoU itself is left to
the caller).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ndkernels import devices
from ndkernels.arrays import Array, as_integers, as_tensor, refuse_nan, refuse_non_finite_maps
from ndkernels.devices import check_devices
from ndkernels.grid import Grid, check_maps
from ndkernels.labels import LabelBlock, check_concepts, tensors

Area = Literal["category", "touched", "all"]
AREAS: tuple[Area, ...] = ("category", "touched", "all")


@dataclass(frozen=True)
class UnitCounts:
    """Running counts of U units over C concepts in K categories; a tally adds to them.

    Attributes
    ----------
    intersection : Tensor
        ``[U, C]`` int64 pixels in which the unit is on and the concept is; column j is concept j + 1.
    unit_area : Tensor
        ``[U, K]`` int64 pixels in which the unit is on, over the images that count for the category.
    unit_area_all : Tensor
        ``[U]`` int64 pixels in which the unit is on, over all images.
    """

    intersection: Tensor
    unit_area: Tensor
    unit_area_all: Tensor

    @staticmethod
    def zeros(units: int, concepts: int, categories: int, device: torch.device | str = "cpu") -> UnitCounts:
        """Counts of nothing yet."""
        return UnitCounts(
            torch.zeros((units, concepts), dtype=torch.int64, device=device),
            torch.zeros((units, categories), dtype=torch.int64, device=device),
            torch.zeros(units, dtype=torch.int64, device=device),
        )


def list_maps(activations: Array) -> tuple[Tensor, Tensor, Tensor]:
    """A dense ``[N, U, h, w]`` array as a list: ``maps [N·U, h, w]``, ``unit`` and ``image [N·U]`` int32."""
    if not isinstance(activations, Tensor):
        activations = as_tensor("activations", activations)
    n, u = activations.shape[:2]
    return (
        activations.flatten(0, 1),
        torch.arange(u, dtype=torch.int32, device=activations.device).repeat(n),
        torch.arange(n, dtype=torch.int32, device=activations.device).repeat_interleave(u),
    )


def tally_units(
    maps: Array,  # [A, h, w]
    unit: Array,  # [A]
    image: Array,  # [A]
    thresholds: Array,  # [U]
    grid: Grid,
    labels: LabelBlock,
    category: Array,  # [C]
    counts: UnitCounts,
    *,
    once: bool = False,
    area: Area = "category",
    threads: int = 1,
) -> None:
    """Add the counts of a list of maps.

    Each map is upsampled by the grid's tables and compared, strictly greater, with its unit's threshold;
    nothing upsampled is ever stored. All tensors lie on one device, whose kernels do the work; only the grid may
    come from another. NumPy arrays do as well as tensors, in any memory layout.

    Parameters
    ----------
    maps : Tensor or ndarray
        ``[A, h, w]`` float32, finite, magnitudes up to 2^126.
    unit, image : Tensor or ndarray
        ``[A]`` integers: each map's unit, and its image's place in ``labels``; sorted by image.
    thresholds : Tensor or ndarray
        ``[U]`` float32, no NaN.
    grid : Grid
        Tables for h×w on H×W.
    labels : LabelBlock
        B encoded images on H×W.
    category : Tensor or ndarray
        ``[C]`` integers: the primary category of concept j + 1, from 0 to K - 1, or -1 for none.
    counts : UnitCounts
        Added to.
    once : bool
        Whether a concept that is given twice at a pixel counts there once.
    area : str
        Over which images a unit's area counts for a category: those that carry a label of the ``category``,
        those where the mask ``touched`` one, or ``all``.
    threads : int
        Threads, which split the units, on a CPU.

    Raises
    ------
    NonFiniteError
        If a map holds a value that is not finite or above 2^126.
    ValueError
        If shapes, types, ranges or devices do not fit each other.
    """
    maps, thresholds = as_tensor("maps", maps), as_tensor("thresholds", thresholds)
    unit, image, category = (
        as_integers(name, values) for name, values in (("unit", unit), ("image", image), ("category", category))
    )
    _check(maps, unit, image, thresholds, grid, labels, category, counts, area)
    refuse_nan("thresholds", thresholds)
    refuse_non_finite_maps(maps, unit, image)
    _tally(maps, unit, image, thresholds, grid, labels, category, counts, once, area, threads)


def tally_finite_units(
    maps: Tensor,  # [A, h, w]
    unit: Tensor,  # [A]
    image: Tensor,  # [A]
    thresholds: Tensor,  # [U]
    grid: Grid,
    labels: LabelBlock,
    category: Tensor,  # [C]
    counts: UnitCounts,
    *,
    once: bool = False,
    area: Area = "category",
    threads: int = 1,
) -> None:
    """The same for float32 and int32 tensors that are known to be finite, such as a sieve's: nobody looks again."""
    _check(maps, unit, image, thresholds, grid, labels, category, counts, area)
    _tally(maps, unit, image, thresholds, grid, labels, category, counts, once, area, threads)


def _tally(
    maps: Tensor,
    unit: Tensor,
    image: Tensor,
    thresholds: Tensor,
    grid: Grid,
    labels: LabelBlock,
    category: Tensor,
    counts: UnitCounts,
    once: bool,
    area: Area,
    threads: int,
) -> None:
    grid = grid.to(maps.device)
    devices.run_op(
        tally_maps,
        tally_maps_cpu,
        tally_maps_gpu,
        maps.contiguous(),
        unit.contiguous(),
        image.contiguous(),
        thresholds.contiguous(),
        [grid.rows.lower, grid.rows.fraction, grid.columns.lower, grid.columns.fraction],
        list(tensors(labels)),
        category.contiguous(),
        once,
        AREAS.index(area),
        threads,
        counts.intersection,
        counts.unit_area,
        counts.unit_area_all,
    )


def tally_maps_cpu(
    maps: Tensor,
    unit: Tensor,
    image: Tensor,
    thresholds: Tensor,
    tables: list[Tensor],  # lower and fraction of rows, lower and fraction of columns
    labels: list[Tensor],  # the nine tensors of a LabelBlock
    category: Tensor,
    once: bool,
    area: int,  # index into AREAS
    threads: int,
    intersection: Tensor,
    unit_area: Tensor,
    unit_area_all: Tensor,
) -> None:
    """The op behind :func:`tally_units`; its arguments are not checked."""
    from ndkernels.tally import cpu

    written = intersection, unit_area, unit_area_all
    counts = [t.contiguous() for t in written]
    cpu.tally_maps(
        maps.contiguous().numpy(),
        unit.contiguous().numpy(),
        image.contiguous().numpy(),
        thresholds.contiguous().numpy(),
        [t.contiguous().numpy() for t in tables],
        [t.contiguous().numpy() for t in labels],
        category.contiguous().numpy(),
        once,
        area,
        counts[0].numpy(),
        counts[1].numpy(),
        counts[2].numpy(),
        threads,
    )
    copy_back(counts, written)


def copy_back(counts: Sequence[Tensor], written: Sequence[Tensor]) -> None:
    """Copy contiguous counts to where they are wanted, unless they lie there already."""
    for count, tensor in zip(counts, written, strict=True):
        if count is not tensor:
            tensor.copy_(count)


tally_maps = torch.library.custom_op(
    "ndkernels::tally_maps",
    tally_maps_cpu,
    mutates_args=("intersection", "unit_area", "unit_area_all"),
    device_types="cpu",
)


@tally_maps.register_kernel("cuda")
def tally_maps_gpu(
    maps: Tensor,
    unit: Tensor,
    image: Tensor,
    thresholds: Tensor,
    tables: list[Tensor],
    labels: list[Tensor],
    category: Tensor,
    once: bool,
    area: int,
    threads: int,
    intersection: Tensor,
    unit_area: Tensor,
    unit_area_all: Tensor,
) -> None:
    """The same on a GPU, which has no use for threads."""
    from ndkernels.tally import gpu

    written = intersection, unit_area, unit_area_all
    counts = [t.contiguous() for t in written]
    gpu.tally_maps(
        maps, unit, image, thresholds, tables, LabelBlock(*(t.contiguous() for t in labels)), category, once, area,
        *counts,
    )  # fmt: skip
    copy_back(counts, written)


@tally_maps.register_fake
def _(
    maps: Tensor,
    unit: Tensor,
    image: Tensor,
    thresholds: Tensor,
    tables: list[Tensor],
    labels: list[Tensor],
    category: Tensor,
    once: bool,
    area: int,
    threads: int,
    intersection: Tensor,
    unit_area: Tensor,
    unit_area_all: Tensor,
) -> None:
    return None


def _check(
    maps: Tensor,
    unit: Tensor,
    image: Tensor,
    thresholds: Tensor,
    grid: Grid,
    labels: LabelBlock,
    category: Tensor,
    counts: UnitCounts,
    area: str,
) -> None:
    check_maps(maps, grid)
    units, concepts = counts.intersection.shape
    categories = counts.unit_area.shape[1]
    if labels.shape != (len(grid.rows.lower), len(grid.columns.lower)):
        raise ValueError(f"labels are {labels.shape}, the grid is for {len(grid.rows.lower)}×{len(grid.columns.lower)}")
    for name, tensor, shape, dtype in (
        ("unit", unit, (len(maps),), torch.int32),
        ("image", image, (len(maps),), torch.int32),
        ("thresholds", thresholds, (units,), torch.float32),
        ("category", category, (concepts,), torch.int32),
        ("intersection", counts.intersection, (units, concepts), torch.int64),
        ("unit_area", counts.unit_area, (units, categories), torch.int64),
        ("unit_area_all", counts.unit_area_all, (units,), torch.int64),
    ):
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            raise ValueError(f"{name} must be {dtype} {list(shape)}, not {tensor.dtype} {list(tensor.shape)}")
    if area not in AREAS:
        raise ValueError(f"area must be one of {', '.join(AREAS)}, not {area!r}")
    check_devices(
        maps=maps, unit=unit, image=image, thresholds=thresholds, labels=labels.codes, category=category, **vars(counts)
    )
    check_concepts(labels, concepts)
    for name, tensor, least, most in (
        ("unit", unit, 0, units),
        ("image", image, 0, len(labels)),
        ("category", category, -1, categories),
    ):
        if len(tensor) and not least <= int(tensor.min()) <= int(tensor.max()) < most:
            raise ValueError(f"{name} must lie between {least} and {most - 1}")
    if bool((image[1:] < image[:-1]).any()):
        raise ValueError("maps must be sorted by image")
