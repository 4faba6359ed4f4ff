"""The layers whose tally is timed: what all ways count, synthetic or real, and the proof that they count the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.baselines import lite_style
from benchmarks.equality import NETWORKS, probe_all
from benchmarks.synthetic import CONCEPTS, REGIONS, make_activations, make_label_maps, make_sparse_maps
from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.pack import pack_dataset
from ndkernels.grid import Grid, make_grid, tables
from ndkernels.labels import LabelBlock, encode_labels, tensors
from ndkernels.sieve import naive as sieve_naive
from ndkernels.sieve import rank_above
from ndkernels.tally import UnitCounts, list_maps, naive, tally_finite_units

PAIRS = 4096  # images times units on which counts are compared with the definition


@dataclass(frozen=True)
class Shape:
    """A layer whose activations are made up; ``sparse`` units are active at a position, 0 stands for smooth maps."""

    name: str
    units: int
    maps: tuple[int, int]
    images: int
    labels: tuple[int, int] = (113, 113)
    sparse: int = 0


SHAPES = {
    "conv5_3": Shape("VGG16 conv5_3-like", 512, (14, 14), 64),
    "alexnet": Shape("AlexNet conv5-like", 256, (13, 13), 64),
    "resnet": Shape("ResNet layer4-like", 2048, (7, 7), 32),
    "conv4_3": Shape("VGG16 conv4_3-like", 512, (28, 28), 32),
    "conv1": Shape("first layer-like", 64, (112, 112), 16),
    "sparse": Shape("sparse autoencoder, 64 active a position", 65536, (14, 14), 8, sparse=64),
}
REAL_IMAGES = {"squeezenet": 96, "vgg16": 64}
NAMES = (*SHAPES, *REAL_IMAGES)


@dataclass(frozen=True)
class Case:
    """What all ways count.

    Attributes
    ----------
    activations : Tensor or None
        ``[N, U, h, w]``; None where they are never dense.
    maps, unit, image : Tensor
        The list of active maps: those with a cell above their unit's threshold.
    """

    name: str
    activations: Tensor | None
    thresholds: Tensor  # [U]
    stacks: Sequence[NDArray[np.integer]]  # N times [M, H, W]
    whole: Sequence[Sequence[int]]  # N times
    grid: Grid
    labels: LabelBlock
    category: Tensor  # [C]
    categories: int
    maps: Tensor  # [A, h, w]
    unit: Tensor  # [A]
    image: Tensor  # [A]

    @property
    def images(self) -> int:
        """N."""
        return len(self.stacks)

    @property
    def packed_labels(self) -> tuple[Tensor, ...]:
        """The labels as a tally reads them."""
        return tensors(self.labels)

    def zeros(self) -> UnitCounts:
        """Counts of nothing yet."""
        return UnitCounts.zeros(len(self.thresholds), len(self.category), self.categories, self.maps.device)

    def tally(self, counts: UnitCounts, *, dense: bool, threads: int = 1) -> UnitCounts:
        """Count all images from the dense tensor, of which the kernel finds the active maps, or from their list."""
        listed = list_maps(self.activations) if dense else (self.maps, self.unit, self.image)
        tally_finite_units(*listed, self.thresholds, self.grid, self.labels, self.category, counts, threads=threads)
        return counts

    def facts(self) -> dict[str, object]:
        """The sizes, for the table."""
        codes = len(self.labels.code_area) / self.images
        return {
            "units": len(self.thresholds),
            "maps": list(self.maps.shape[1:]),
            "labels": list(self.labels.shape),
            "images": self.images,
            "label_maps_per_image": sum(len(stack) for stack in self.stacks) / self.images,
            "codes_per_image": codes,
            "active_maps_per_image": len(self.maps) / self.images,
        }

    def to(self, device: torch.device) -> Case:
        """The same on a device."""
        moved = {
            name: getattr(self, name).to(device)
            for name in ("activations", "thresholds", "grid", "labels", "category", "maps", "unit", "image")
            if getattr(self, name) is not None
        }
        return replace(self, **moved)


def shrink(shape: Shape) -> Shape:
    """The same in tiny."""
    maps = (min(shape.maps[0], 9), min(shape.maps[1], 9))
    return replace(shape, units=min(shape.units, 24), maps=maps, images=6, labels=(19, 19), sparse=min(shape.sparse, 2))


def make_case(shape: Shape) -> Case:
    """A case with made-up activations and labels; thresholds are the exact top 0.5 %."""
    stacks = make_label_maps(shape.images, shape.labels, REGIONS, CONCEPTS)
    grid = make_grid("half-pixel", maps=shape.maps, labels=shape.labels)
    labels = encode_labels(stacks, [[]] * len(stacks), shape.labels)
    category = torch.zeros(CONCEPTS, dtype=torch.int32)
    if shape.sparse:
        # A unit that is active on fewer than 0.5 % of all positions has the threshold 0.
        listed = [torch.from_numpy(a) for a in make_sparse_maps(shape.images, shape.units, shape.maps, shape.sparse)]
        thresholds = torch.zeros(shape.units)
        return Case(shape.name, None, thresholds, stacks, [[]] * len(stacks), grid, labels, category, 1, *listed)
    activations = make_activations(shape.images, shape.units, shape.maps)
    return _case(shape.name, activations, stacks, [[]] * len(stacks), grid, labels, category, 1)


def real_case(key: str, shared: Path, folder: Path, images: int | None = None) -> Case:
    """A case with a network's activations on evenly spread images of a labelled set, and their own labels."""
    network = NETWORKS[key]
    with pack_dataset(BrodenFolder(shared / "minibroden"), folder / f"{key}.h5") as pack:
        count = min(images or REAL_IMAGES[key], len(pack))
        indices = np.arange(count) * len(pack) // count
        activations, layer = probe_all(network, shared, pack, indices)
        labels, vocabulary, source = pack.labels(indices), pack.vocabulary, BrodenFolder(pack.source)
        read = [source.labels(int(i)) for i in indices]
    grid = make_grid("half-pixel", maps=layer.shape[1:], labels=labels.shape)
    category = torch.from_numpy(vocabulary.primary.astype(np.int32))
    stacks, whole = [maps for maps, _ in read], [marks for _, marks in read]
    name = f"{network.model} {network.layer}, real images"
    return _case(name, activations, stacks, whole, grid, labels, category, len(vocabulary.categories))


def _case(
    name: str,
    activations: NDArray[np.float32],
    stacks: Sequence[NDArray[np.integer]],
    whole: Sequence[Sequence[int]],
    grid: Grid,
    labels: LabelBlock,
    category: Tensor,
    categories: int,
) -> Case:
    positions = activations[:, 0].size
    thresholds = torch.from_numpy(sieve_naive.thresholds(activations, rank_above("0.005", positions)))
    dense = torch.from_numpy(activations)
    maps, unit, image = list_maps(dense)
    active = (maps.amax((1, 2)) > thresholds[unit.long()]).nonzero()[:, 0]
    listed = maps[active], unit[active], image[active]
    return Case(name, dense, thresholds, stacks, whole, grid, labels, category, categories, *listed)


def check(case: Case, threads: Sequence[int], pairs: int = PAIRS) -> str:
    """Compare counts: some units and images with the definition, and everything between all ways of counting.

    Returns
    -------
    str
        What was compared, as half a sentence.

    Raises
    ------
    AssertionError
        If integers differ, or a baseline counts something else.
    """
    chosen = np.unique(np.linspace(0, len(case.thresholds) - 1, min(512, pairs, len(case.thresholds))).astype(int))
    if case.activations is None:  # units that are active somewhere
        chosen = np.unique(case.unit[case.image == 0].numpy())[: min(512, pairs)]
    images = max(1, min(case.images, pairs // len(chosen)))
    first = case.image < images
    part = case.zeros()
    tally_finite_units(
        case.maps[first], case.unit[first], case.image[first], case.thresholds, case.grid, case.labels, case.category,
        part,
    )  # fmt: skip
    expected = naive.tally(
        _dense(case, chosen, images), case.thresholds[chosen].cpu().numpy(), tables(case.grid.to("cpu")),
        case.stacks[:images], case.whole[:images], case.category.cpu().numpy(), case.categories,
        once=False, area="category",
    )  # fmt: skip
    for found, right in zip(_arrays(part), expected, strict=True):
        np.testing.assert_array_equal(found[chosen], right, err_msg=f"{case.name}: the tally differs from naive")
    ways = [(dense, t) for dense in (True, False) for t in threads if case.activations is not None or not dense]
    totals = [_arrays(case.tally(case.zeros(), dense=dense, threads=t)) for dense, t in ways]
    for total in totals[1:]:
        for found, right in zip(total, totals[0], strict=True):
            np.testing.assert_array_equal(found, right, err_msg=f"{case.name}: two ways of counting differ")
    return f"{images} images × {len(chosen)} units equal to naive; {len(ways)} ways of counting equal on all"


def check_lite(case: Case) -> None:
    """Compare areas with the baseline's, which interpolates with other roundings: boundary pixels may differ."""
    assert case.activations is not None
    _, area = lite_style(
        case.activations.cpu().numpy(), case.thresholds.cpu().numpy(), case.stacks, len(case.category), case.whole
    )
    ours = case.tally(case.zeros(), dense=True).unit_area_all.cpu().numpy()
    off = int(np.abs(area - ours).sum())
    assert off <= 4 + 1e-4 * ours.sum(), f"{case.name}: the baseline counts something else, {off} pixels differ"


def _arrays(counts: UnitCounts) -> list[NDArray[np.int64]]:
    return [t.cpu().numpy() for t in (counts.intersection, counts.unit_area, counts.unit_area_all)]


def _dense(case: Case, chosen: NDArray[np.int64], images: int) -> NDArray[np.float32]:
    """Activations ``[images, len(chosen), h, w]``; a map that is not listed is off everywhere, as zeros are at 0."""
    if case.activations is not None:
        return case.activations[:images].cpu().numpy()[:, chosen]
    dense = np.zeros((images, len(chosen), *case.maps.shape[1:]), np.float32)
    place = {int(u): p for p, u in enumerate(chosen)}
    for a in np.flatnonzero(case.image.numpy() < images):
        if (p := place.get(int(case.unit[a]))) is not None:
            dense[int(case.image[a]), p] = case.maps[a].numpy()
    return dense
