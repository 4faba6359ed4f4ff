"""On a real GPU: the same integers as on a CPU, from the kernels' own tests to a run on real images."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from kernels import cases
from kernels.test_gpu_interpreter import ROOT, through_triton
from kernels.test_tally import KNOBS, make_case

from benchmarks import equality
from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.pack import pack_dataset
from ndengine.dissect import dissect_network
from ndengine.errors import ModelError
from ndengine.settings import PRESETS, Knobs, Settings
from ndengine.tally import Counts
from ndkernels.grid import make_grid
from ndkernels.labels import tensors
from ndkernels.sieve import (
    Sieve,
    compact_survivors,
    count_batch,
    expand_survivors,
    gather_maps,
    naive,
    select_thresholds,
)
from ndkernels.tally import tally_maps
from tests.engine.tinybroden import make_broden

pytestmark = pytest.mark.gpu

NETS = Path(__file__).with_name("smallnets.py")
ON_A_CPU = "refused or cpu or beyond_the_edges or everything_is_written or threads"
PARTS = {
    "tally": ["tests/kernels/test_tally.py", "tests/kernels/interpreted_codes.py", "-k", f"not ({ON_A_CPU})"],
    "sieve": ["tests/kernels/test_sieve.py", "tests/kernels/test_compaction.py", "-k", f"not ({ON_A_CPU})"],
    "masks": ["tests/kernels/test_grid.py", "-k", f"mask and not ({ON_A_CPU})"],
}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.usefixtures("cuda")
def test_the_tests_of_the_cpu(part: str) -> None:
    done = through_triton(*PARTS[part], interpret=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.usefixtures("cuda")
def test_tally_of_cuda_tensors() -> None:
    for maps, labels in (((7, 7), (113, 113)), ((13, 13), (112, 112)), ((112, 112), (113, 113)), ((1, 1), (20, 31))):
        grid = make_grid("half-pixel", maps=maps, labels=labels)
        case = make_case(grid, "normal", np.random.default_rng(3), images=5, units=20, block=9)
        for once, area in KNOBS:
            cases.assert_identical(case.found(once, area, device="cuda"), case.found(once, area))


def test_batches_that_overlap(cuda: torch.device) -> None:
    """Survivors are fetched while later batches are under way, from memory that nobody has given away yet."""
    activations = cases.activations("relu", (96, 64, 14, 14), np.random.default_rng(1))
    above = 96 * 196 // 200
    sieve, passing = Sieve(64, above, device=cuda), []
    blocks = []
    for first in range(0, 96, 8):
        passing.append(sieve.start(torch.from_numpy(activations[first : first + 8]).to(cuda), first))
        if len(passing) > 1:
            blocks.append(passing.pop(0).finish(fetch=True)[0])
    blocks.append(passing.pop().finish(fetch=True)[0])
    assert all(block.values.device.type == "cpu" for block in blocks)
    thresholds = select_thresholds(lambda: blocks, sieve.bound, above).cpu()
    cases.assert_identical([thresholds], [naive.thresholds(activations, above)])
    image, unit, bitmap, values = naive.survivors(activations, thresholds.numpy())
    least = [compact_survivors(block, thresholds.to(cuda)) for block in blocks]
    for name, expected in (("image", image), ("unit", unit), ("bitmap", bitmap), ("values", values)):
        np.testing.assert_array_equal(torch.cat([getattr(block, name) for block in least]), expected)
    on_both = [expand_survivors(least[0].to(d), thresholds.to(d)).cpu() for d in (cuda, "cpu")]
    cases.assert_identical(on_both[:1], on_both[1:])


@pytest.mark.usefixtures("cuda")
def test_ops_are_sound_on_cuda() -> None:
    from kernels.test_ops import count_arguments, gather_arguments, label_block, tally_arguments

    def there(value: object) -> object:
        if isinstance(value, list):
            return [there(v) for v in value]
        return value.cuda() if isinstance(value, torch.Tensor) else value

    assert tensors(label_block())
    for op, arguments in (
        (count_batch, count_arguments()),
        (gather_maps, gather_arguments()),
        (tally_maps, tally_arguments()),
    ):
        torch.library.opcheck(op, tuple(there(a) for a in arguments))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_broden(tmp_path / "tiny", images=30)
    return Settings(
        model=f"{NETS}:shared",
        layers=("second",),
        data=str(tmp_path / "tiny"),
        min_images=1,
        knobs=Knobs(quantile="0.02"),
        mean=(0.5, 0.5, 0.5),
        batch_size=4,
        device="cuda",
    )


@pytest.mark.usefixtures("cuda")
def test_a_run_on_cuda(settings: Settings, tmp_path: Path) -> None:
    """Its dense activations, counted on a CPU, give its counts; every spool gives the same ones."""
    found = {
        kind: dissect_network(replace(settings, spool=kind), tmp_path / kind, cache=tmp_path / "cache").layer()
        for kind in ("memory", "disk", "dense")
    }
    for kind in ("memory", "disk"):
        for field in fields(Counts):
            one, other = (getattr(found[k].counts, field.name) for k in (kind, "dense"))
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(found[kind].top_masks, found["dense"].top_masks)
    with h5py.File(tmp_path / "dense" / found["dense"].folder / "activations.h5") as file:
        activations = file["activations"][()]
    thresholds = naive.thresholds(activations, int(0.02 * 30 * 140))
    np.testing.assert_array_equal(found["dense"].counts.threshold, thresholds)


@pytest.mark.usefixtures("cuda")
def test_a_profile_of_bfloat16(settings: Settings, tmp_path: Path) -> None:
    """Waiting for the GPU changes no count, and what was waited for stands in the profile."""
    half = replace(settings, precision="bfloat16")
    plain = dissect_network(half, tmp_path / "plain", cache=tmp_path / "cache")
    found = dissect_network(half, tmp_path / "profiled", cache=tmp_path / "cache", profile=True)
    for field in fields(Counts):
        one, other = (getattr(d.layer().counts, field.name) for d in (plain, found))
        np.testing.assert_array_equal(one, other)
    assert [d.provenance["profile"]["true_borders"] for d in (plain, found)] == [False, True]
    assert found.provenance["profile"]["parts"]["probe"]["forward"] > 0


@pytest.mark.usefixtures("cuda")
def test_a_value_that_is_not_finite(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Layer 1 gives nan in unit 3 on image .*003"):
        dissect_network(
            replace(settings, model=f"{NETS}:breaks", layers=("1",)), tmp_path / "out", cache=tmp_path / "cache"
        )


@pytest.mark.slow
def test_minibroden(cuda: torch.device, shared: Path, tmp_path: Path) -> None:
    with pack_dataset(BrodenFolder(shared / "minibroden"), tmp_path / "pack.h5") as pack:
        lines = equality.check("squeezenet", shared, pack, 60, tmp_path, devices=[cuda])
    assert len(lines) == len(PRESETS) * len(equality.SPOOLS)


@pytest.mark.slow
@pytest.mark.usefixtures("cuda")
def test_the_benchmark() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_tally", "--device", "cuda", "--images", "16", "--repeats", "3"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'cli'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "VGG16 forward to conv5_3" in done.stdout
