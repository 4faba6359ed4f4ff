"""Whole runs through the GPU's kernels, in Triton's interpreter."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kernels.as_gpu import cpu_kernels

from ndengine import dissect, spool
from ndengine.dissect import dissect_network
from ndengine.errors import ModelError
from ndengine.settings import PRESETS, Settings, SpoolKind
from ndengine.tally import Counts
from ndkernels import _triton, sieve, warm
from tests.engine.tinybroden import LABEL_SIZE, make_broden

NETS = Path(__file__).with_name("smallnets.py")
IMAGES = 7


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_broden(tmp_path / "tiny", images=IMAGES)
    return Settings(
        model=f"{NETS}:shared",
        layers=("second",),
        data=str(tmp_path / "tiny"),
        min_images=1,
        knobs=replace(PRESETS["lite"], quantile="0.02"),
        mean=(0.5, 0.5, 0.5),
        batch_size=3,
    )


@pytest.mark.parametrize("kind", ["disk", "dense"])
def test_the_run_of_a_cpu_and_of_a_gpu(
    kind: SpoolKind, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    monkeypatch.setattr(spool, "LEAST_COMPACTION_BYTES", 5000)
    settings = replace(settings, spool=kind)
    with cpu_kernels():
        expected = dissect_network(settings, tmp_path / "cpu", cache=tmp_path / "cache").layer()
    launched = []
    plain = _triton.launch

    def launch(kernel: Any, *rest: Any, **constants: Any) -> None:
        launched.append(kernel.__name__)
        plain(kernel, *rest, **constants)

    monkeypatch.setattr(_triton, "launch", launch)
    found = dissect_network(settings, tmp_path / "gpu", cache=tmp_path / "cache").layer()
    assert {"count_kernel", "find_kernel", "level_kernel", "expand_kernel", "tally_kernel", "mask_kernel"} <= {
        *launched
    }
    for field in fields(Counts):
        np.testing.assert_array_equal(getattr(found.counts, field.name), getattr(expected.counts, field.name))
    for name in ("dead", "top_images", "top_values", "top_masks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.counts.intersection.any()


@pytest.mark.parametrize("batch", [3, 7])
def test_a_value_that_is_not_finite_is_named_though_it_is_found_later(
    batch: int, settings: Settings, tmp_path: Path
) -> None:
    """The batch is finished while the next one is on its way, or at the very end."""
    settings = replace(settings, model=f"{NETS}:breaks", layers=("1",), batch_size=batch)
    with cpu_kernels(), pytest.raises(ModelError) as expected:
        dissect_network(settings, tmp_path / "cpu", cache=tmp_path / "cache")
    with pytest.raises(ModelError, match=r"Layer 1 gives nan in unit 3 on image") as found:
        dissect_network(settings, tmp_path / "gpu", cache=tmp_path / "cache")
    assert str(found.value) == str(expected.value)
    assert f"{batch - 1:03}" in str(found.value)


def test_nothing_is_compiled_in_the_middle_of_a_run(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every form of a kernel that a run launches has been launched by the warm-up."""
    forms: set[Any] = set()

    def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, warps: int = 1, **constants: Any) -> None:
        types = tuple(str(getattr(a, "dtype", "int")) for a in arguments)
        forms.add((kernel.__name__, types, warps, *sorted(constants.items())))
        plain(kernel, grid, *arguments, warps=warps, **constants)

    plain = _triton.launch
    monkeypatch.setattr(_triton, "launch", launch)
    warm.warm_up_gpu((10, 14), LABEL_SIZE, 6, "touched", device=dissect.open_device("cpu"))
    warmed = set(forms)
    monkeypatch.setattr(dissect, "warm_up", lambda advance, labels: None)  # that of a CPU
    dissect_network(settings, tmp_path / "out", cache=tmp_path / "cache")
    assert forms == warmed


def test_what_is_under_way_does_not_count_yet(settings: Settings, tmp_path: Path) -> None:
    """The bound on the disk is that of the images taken in: the next batch may come again, rounded otherwise."""
    activations = torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    activations[3:] += 50
    filled = spool.SurvivorSpool(2, 10, 1, folder=tmp_path)
    for first in (0, 3):
        filled.add(activations[first : first + 3], first)
    assert filled.images == 3
    assert (filled.bound < 10).all()
    filled.close()
    assert filled.images == 6
    assert (filled.bound > 10).all()


def test_totals_are_complete_before_they_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy of a batch's three numbers is queued behind what makes them; the mark for the survivors comes after."""
    order: list[str] = []

    class Recorded(sieve.Transfer):
        def __init__(self, tensors: Any, after: Any = None) -> None:
            order.append(f"{len(tensors)} behind {after}")
            super().__init__(tensors, None)

    monkeypatch.setattr(sieve, "Transfer", Recorded)
    monkeypatch.setattr(sieve, "record_point", lambda device: order.append("mark") or "the mark")
    passing = sieve.Sieve(2, 3).start(torch.randn(3, 2, 5, 5), 0)
    assert order == ["1 behind None", "mark"]
    passing.finish(fetch=True)
    assert order == ["1 behind None", "mark", "3 behind the mark"]
    found = sieve.Sieve(2, 3).start(torch.randn(3, 2, 5, 5), 0).finish()[0]
    assert found.values.untyped_storage().nbytes() == found.values.nbytes, "the large buffers are let go"
