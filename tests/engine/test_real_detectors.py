"""On real images, a trained network detects far more concepts than the same network with random weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ndengine.dissect import dissect_network
from ndengine.settings import Settings

SEEDS = (0, 1, 2)


@pytest.mark.slow
def test_trained_against_random(shared: Path, tmp_path: Path) -> None:
    def unique(weights: str, seed: int = 0) -> int:
        settings = Settings(
            model="squeezenet1_1",
            weights=weights,
            layers=("features.12",),
            data=str(shared / "minibroden"),
            channels="bgr",
            mean=(103.939, 116.779, 123.68),
            scale=255.0,
            seed=seed,
            top_images=1,
            threads=os.cpu_count() or 1,
        )
        result = dissect_network(settings, tmp_path / f"{Path(weights).stem}-{seed}", cache=tmp_path / "cache")
        assert result.min_images == 10
        return result.layer().summary.unique_top_label

    trained = unique(str(shared / "weights" / "squeezenet1_1_ndf.pth"))
    untrained = [unique("random", seed) for seed in SEEDS]
    assert trained >= 3 * max(untrained), (trained, untrained)
    assert trained >= 15
