"""The commands that people will type, on real networks and images; few images, so that minutes become seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

import ndengine
from tests.cli.conftest import Invoke

VGG16 = (
    "run", "--model", "vgg16", "--layer", "conv5_3", "--channels", "bgr",
    "--mean", "104.007,116.669,122.679", "--scale", "255",
)  # fmt: skip


@pytest.mark.slow
def test_vgg16(invoke: Invoke, shared: Path, tmp_path: Path) -> None:
    weights = shared / "weights" / "vgg16_features_hed_bsds500.pth"
    more = ("--weights", weights, "--data", shared / "minibroden", "--cache", tmp_path / "cache", "--limit", 16)
    done = invoke(*VGG16, *more, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    layer = ndengine.load(tmp_path / "out").layer("conv5_3")
    assert (layer.path, layer.shape, layer.field) == ("features.29", (14, 14), ((-90, 196, 16), (-90, 196, 16)))
    assert layer.counts.intersection.sum() > 0
    assert (layer.counts.threshold > 0).mean() > 0.9
    assert "At most 15 of 3136 positions" in done.stdout  # m = floor(0.005 * 16 * 196)
