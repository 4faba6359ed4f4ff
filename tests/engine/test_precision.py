"""``precision``: what the network computes in decides the numbers, so nobody may take one for the other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ndengine import dissect, spool
from ndengine.dissect import dissect_network
from ndengine.errors import ModelError, ResultError, SettingsError, SpoolError
from ndengine.models.layers import resolve_layers
from ndengine.probe import Probe
from ndengine.result_record import read_record
from ndengine.settings import Knobs, Precision, Settings
from ndkernels.sieve import naive
from tests.engine.smallnets import shared
from tests.engine.tinybroden import make_broden

NETS = Path(__file__).with_name("smallnets.py")
SIZE = (24, 32)
IMAGES = 12


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_broden(tmp_path / "tiny", images=IMAGES)
    return Settings(
        model=f"{NETS}:shared",
        layers=("second",),
        data=str(tmp_path / "tiny"),
        min_images=1,
        knobs=Knobs(quantile="0.02"),
        mean=(0.5, 0.5, 0.5),
        batch_size=4,
    )


def activations(precision: Precision, batch: Tensor) -> Tensor:
    network = shared().eval().requires_grad_(False)
    probe = Probe(network, resolve_layers(network, ["second"], "net", SIZE), precision=precision)
    return probe.activations(batch)["second"]


def test_bfloat16_is_close_and_not_the_same() -> None:
    batch = torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    full, half = activations("float32", batch), activations("bfloat16", batch)
    assert half.dtype == torch.float32
    assert half.is_contiguous()
    assert 0 < (full - half).norm() / full.norm() < 0.02
    assert torch.equal(half, half.bfloat16().float()), "the values are those of bfloat16"
    assert not torch.is_autocast_enabled("cpu"), "nothing stays behind"
    assert torch.equal(activations("float32", batch), full)


class NeedsFloat32(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for BFloat16")
        return x


def test_a_network_that_fails_in_bfloat16_is_told_what_to_do() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), NeedsFloat32()).eval()
    probe = Probe(network, resolve_layers(network, ["1"], "net", SIZE), precision="bfloat16")
    with pytest.raises(ModelError, match=r"not implemented for BFloat16\); it runs with --precision float32\.$"):
        probe.activations(torch.zeros(1, 3, *SIZE))


def test_the_result_is_that_of_its_activations(settings: Settings, tmp_path: Path) -> None:
    """What is counted are the bfloat16 network's activations, as exactly as any others; and the record says so."""
    stored, thresholds = {}, {}
    for precision in ("float32", "bfloat16"):
        out = tmp_path / precision
        found = dissect_network(replace(settings, precision=precision, spool="dense"), out, cache=tmp_path / "cache")
        with h5py.File(out / "second" / "activations.h5") as file:
            stored[precision] = file["activations"][()]
        thresholds[precision] = found.layer().counts.threshold
        assert json.loads((out / "result.json").read_text())["settings"]["precision"] == precision
    assert not np.array_equal(stored["float32"], stored["bfloat16"])
    np.testing.assert_allclose(stored["bfloat16"], stored["float32"], atol=0.02 * np.abs(stored["float32"]).max())
    above = int(0.02 * IMAGES * 140)
    np.testing.assert_array_equal(thresholds["bfloat16"], naive.thresholds(stored["bfloat16"], above))
    pages = {name: (tmp_path / name / "report" / "index.html").read_text() for name in stored}
    assert {name: page.count("<dt>precision</dt>") for name, page in pages.items()} == {
        "float32": 1,  # among the settings
        "bfloat16": 2,  # and at the top, where what is unusual stands
    }


def test_a_result_of_one_is_not_shown_for_the_other(settings: Settings, tmp_path: Path) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    dissect_network(settings, out, cache=cache)
    half = replace(settings, precision="bfloat16")
    with pytest.raises(ResultError, match=r"other settings \(precision\).*--overwrite"):
        dissect_network(half, out, cache=cache)
    old = {name: value for name, value in read_record(out).settings.items() if name != "precision"}
    assert settings.differences(old) == [], "a result of before there was a choice is float32"
    assert half.differences(old) == ["precision"]


def test_a_spool_is_not_shared(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1)
    disk = replace(settings, spool="disk")
    half = replace(disk, precision="bfloat16")

    def leave(one: Settings, out: Path) -> Path:
        with monkeypatch.context() as patch:
            patch.setattr(dissect, "find_thresholds", lambda *a, **k: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                dissect_network(one, out, cache=tmp_path / "cache")
        return out / "unfinished" / "spool" / "second" / "spool.json"

    for one, other in ((disk, half), (half, disk)):
        out = tmp_path / one.precision
        assert json.loads(leave(one, out).read_text())["key"]["precision"] == one.precision
        changed = rf"precision {one.precision}, not {other.precision}"
        with pytest.raises(SpoolError, match=rf"interrupted run with other settings \({changed}\)"):
            dissect_network(other, out, cache=tmp_path / "cache")
        assert dissect_network(one, out, cache=tmp_path / "cache").provenance["images_probed"] == 0


def test_a_precision_that_does_not_exist() -> None:
    with pytest.raises(SettingsError, match="precision is 'half'; use one of float32, bfloat16"):
        Settings(precision="half")  # type: ignore[arg-type]
