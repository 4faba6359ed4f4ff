"""A run of a network as it is: said once, recorded, and the same again after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ndengine.dissect import dissect_network
from ndengine.forward import USUAL, Manner
from ndengine.settings import Knobs, Settings
from tests.engine.test_grey import Listener
from tests.engine.tinybroden import make_broden

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, views):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.out, self.views = nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), views
    def forward(self, x):
        y = self.conv(x)
        return self.out(y.view(1, -1, *y.shape[2:]).view(y.shape) if self.views else y)

def views():
    return Net(True)

def plain():
    return Net(False)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_broden(tmp_path / "data")
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def test_a_run_of_a_network_as_it_is(data: Path) -> None:
    found = {}
    for name in ("views", "plain"):
        listener = Listener()
        settings = Settings(
            model=f"{data / 'net.py'}:{name}",
            layers=("out",),
            data=str(data / "data"),
            knobs=Knobs("0.05"),
            mean=(0,) * 3,
        )
        result = found[name] = dissect_network(settings, data / name, cache=data / "cache", progress=listener)
        said = [note for note in listener.notes if "runs in contiguous memory; the usual way it fails" in note]
        assert len(said) == (name == "views")
        assert [note for note in result.layers["out"].summary.notes if note in said] == said
    manner = {"channels_last": False, "autograd": "inference"}
    assert found["views"].provenance["model"]["manner"] == manner
    assert "manner" not in found["plain"].provenance["model"]
    one, other = (found[name].layers["out"].counts for name in ("views", "plain"))
    np.testing.assert_allclose(one.threshold, other.threshold, rtol=1e-5, atol=1e-6)


def test_how_a_manner_is_told() -> None:
    assert USUAL.is_usual
    assert USUAL.describe() == ""
    assert Manner(channels_last=False).describe() == "in contiguous memory"
    assert Manner(False, "idle").describe() == "in contiguous memory and under torch.no_grad"
