"""On real networks and real images, counts.h5 equals the definition, integer for integer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import equality
from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.pack import pack_dataset
from ndengine.datasets.packed import PackedDataset
from ndengine.settings import PRESETS

IMAGES = 60


@pytest.fixture(scope="module")
def pack(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackedDataset]:
    folder = tmp_path_factory.mktemp("pack")
    with pack_dataset(BrodenFolder(shared / "minibroden"), folder / "pack.h5") as pack:
        yield pack


@pytest.mark.slow
@pytest.mark.parametrize("network", ["squeezenet", "vgg16"])
def test_equals_naive(network: str, shared: Path, pack: PackedDataset, tmp_path: Path) -> None:
    lines = equality.check(network, shared, pack, IMAGES, tmp_path)
    assert len(lines) == len(PRESETS) * len(equality.SPOOLS) * 2
