"""``rotate``: rotated activations are counted as exactly as any others, and nobody takes one for the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ndengine
from ndcli.summary import print_summary
from ndengine import dissect, plan, spool
from ndengine.dissect import dissect_network
from ndengine.errors import ModelError, ResultError, SettingsError, SpoolError
from ndengine.models.layers import resolve_layers
from ndengine.models.registry import LoadedModel
from ndengine.probe import Probe
from ndengine.result import Dissection
from ndengine.result_record import read_record
from ndengine.rotation import rotation_power
from ndengine.settings import Knobs, Settings, rotation_label, rotation_of
from ndengine.tally import Counts
from ndkernels.grid import Field, make_grid, tables
from ndkernels.rotate import naive as rotate_naive
from ndkernels.sieve import naive as sieve_naive
from ndkernels.tally import naive
from tests.engine.smallnets import shared as build
from tests.engine.tinybroden import LABEL_SIZE, make_broden

NETS = Path(__file__).with_name("smallnets.py")
IMAGES = 30
Run = Callable[..., Dissection]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    folder = tmp_path_factory.mktemp("data") / "tiny"
    maps, whole = make_broden(folder, images=IMAGES)
    return folder, maps, whole


@pytest.fixture
def settings(data: tuple[Path, Any, Any]) -> Settings:
    return Settings(
        model=f"{NETS}:shared",
        layers=("second",),
        data=str(data[0]),
        min_images=1,
        knobs=Knobs(quantile="0.02"),
        mean=(0.5, 0.5, 0.5),
        batch_size=4,
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(settings: Settings, out: str = "out", **more: bool) -> Dissection:
        return dissect_network(settings, tmp_path / out, cache=tmp_path / "cache", **more)

    return call


@pytest.fixture
def own_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the network have a rotation of its own, as the benchmark's rotated networks do."""

    def load(*arguments: Any, **named: Any) -> LoadedModel:
        return replace(original(*arguments, **named), rotate=0.2, rotate_seed=5)

    original = plan.load_model
    monkeypatch.setattr(plan, "load_model", load)


def same(one: Counts, other: Counts) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Counts))


def activations_of(folder: Path, layer: str = "second") -> NDArray[np.float32]:
    with h5py.File(folder / layer / "activations.h5") as file:
        found: NDArray[np.float32] = file["activations"][()]
    return found


def counts_file(folder: Path, layer: str = "second") -> dict[str, tuple[str, bytes]]:
    with h5py.File(folder / layer / "counts.h5") as file:
        return {name: (str(d.dtype), np.asarray(d[()]).tobytes()) for name, d in file.items() if d.dtype != object}


def test_counts_equal_the_definition_on_rotated_activations(
    settings: Settings, data: tuple[Path, Any, Any], run: Run, tmp_path: Path
) -> None:
    """A run that keeps the plain activations; the definitions of rotation, sieve and tally on them; a rotated run."""
    _, maps, whole = data
    run(replace(settings, spool="dense"), "plain")
    rotated = rotate_naive.rotate_maps(activations_of(tmp_path / "plain"), rotation_power(8, 0.6, 3))
    dense = run(replace(settings, spool="dense", rotate=0.6, rotate_seed=3), "dense")
    kept = activations_of(tmp_path / "dense")
    np.testing.assert_array_equal(kept.view(np.int32), rotated.view(np.int32))

    found = run(replace(settings, rotate=0.6, rotate_seed=3, threads=2), "rotated")
    layer = found.layer()
    thresholds = sieve_naive.thresholds(rotated, int(0.02 * IMAGES * 140))
    assert layer.field is not None
    grid = make_grid(
        settings.knobs.geometry,
        maps=(10, 14),
        labels=LABEL_SIZE,
        inputs=(40, 56),
        field=(Field(*layer.field[0]), Field(*layer.field[1])),
    )
    stacks = [np.stack(m) if m else np.zeros((0, *LABEL_SIZE), int) for m in maps]
    category = found.vocabulary.primary.astype(np.int32)
    inter, area, area_all = naive.tally(
        rotated, thresholds, tables(grid), stacks, whole, category, len(found.vocabulary.categories),
        once=False, area="category",
    )  # fmt: skip
    concept_area, concept_images = naive.count_concepts(stacks, whole, len(category), once=False)
    assert same(layer.counts, Counts(thresholds, inter, concept_area, area, area_all, concept_images))
    assert same(layer.counts, dense.layer().counts)
    assert inter.sum() > 0
    assert not same(layer.counts, ndengine.load(tmp_path / "plain").layer().counts)


def test_no_rotation_is_as_before(settings: Settings, run: Run, tmp_path: Path) -> None:
    """A power of 0 gives the same files as no option, and either is shown for the other."""
    run(settings, "plain")
    zero = replace(settings, rotate=0.0, rotate_seed=9)
    found = run(zero, "zero")
    assert counts_file(tmp_path / "plain") == counts_file(tmp_path / "zero")
    assert "rotation" not in found.provenance["seconds"]
    assert "rotate" not in found.provenance["profile"]["parts"]["probe"]
    assert not run(zero, "plain").computed
    assert not run(settings, "zero").computed


@pytest.mark.parametrize("how", [{"threads": 2, "spool": "memory"}, {"threads": 2, "spool": "disk"}], ids=str)
def test_how_a_run_is_carried_out_changes_nothing(how: dict[str, Any], settings: Settings, run: Run) -> None:
    """In batches of another size the network itself may round otherwise; a rotation does not (test_rotate.py)."""
    rotated = replace(settings, rotate=1.0)
    assert same(run(rotated, "one").layer().counts, run(replace(rotated, **how), "other").layer().counts)


def test_two_layers_each_with_a_rotation_of_its_own(settings: Settings, run: Run, tmp_path: Path) -> None:
    both = replace(settings, layers=("first", "second"), spool="dense")
    run(both, "plain")
    found = run(replace(both, rotate=1.0), "rotated")
    assert list(found.layers) == ["first", "second"]
    for name, units in (("first", 6), ("second", 8)):
        expected = rotate_naive.rotate_maps(activations_of(tmp_path / "plain", name), rotation_power(units, 1.0, 1))
        np.testing.assert_array_equal(activations_of(tmp_path / "rotated", name), expected)


def test_an_interrupted_run_goes_on(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1)
    rotated = replace(settings, rotate=0.6, spool="disk")
    whole = run(rotated, "whole").layer()
    seen: list[int] = []
    add = spool.SurvivorSpool.add

    def interrupted(self: spool.SurvivorSpool, activations: Any, first: int) -> None:
        seen.append(first)
        if len(seen) == 5:
            raise KeyboardInterrupt
        add(self, activations, first)

    with monkeypatch.context() as patch:
        patch.setattr(spool.SurvivorSpool, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(rotated)
    key = json.loads((tmp_path / "out" / "unfinished" / "spool" / "second" / "spool.json").read_text())["key"]
    assert (key["rotate"], key["rotate_seed"]) == (0.6, 1)
    for other, names in (
        ({"rotate": 0.4}, r"rotate 0\.6, not 0\.4\)"),
        ({"rotate_seed": 2}, r"rotate_seed 1, not 2\)"),
        ({"rotate": None}, r"rotate 0\.6, not 0\.0; rotate_seed 1, not none; versions"),
    ):
        with pytest.raises(SpoolError, match=rf"interrupted run with other settings \({names}"):
            run(replace(rotated, **other))
    resumed = run(rotated)
    assert resumed.provenance["images_probed"] == IMAGES - 16
    assert same(whole.counts, resumed.layer().counts)


def test_a_spool_without_a_rotation_is_not_one_with_it(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1)
    disk = replace(settings, spool="disk", rotate=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(dissect, "find_thresholds", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(disk)
    key = json.loads((tmp_path / "out" / "unfinished" / "spool" / "second" / "spool.json").read_text())["key"]
    assert (key["rotate"], key["rotate_seed"]) == (0.0, None)
    with pytest.raises(SpoolError, match=r"other settings \(rotate 0\.0, not 0\.2; rotate_seed none, not 1; "):
        run(replace(disk, rotate=0.2))
    assert run(disk).provenance["images_probed"] == 0


def test_a_result_of_one_power_is_not_shown_for_another(settings: Settings, run: Run, tmp_path: Path) -> None:
    made = run(replace(settings, rotate=0.6))
    assert rotation_of(made.provenance) == (0.6, 1)
    assert not run(replace(settings, rotate=0.6, rotate_seed=1)).computed
    for change, names in (
        ({}, "rotate, rotate_seed"),
        ({"rotate": 0.0}, "rotate, rotate_seed"),
        ({"rotate": 0.4}, "rotate"),
        ({"rotate": 0.6, "rotate_seed": 2}, "rotate_seed"),
    ):
        with pytest.raises(ResultError, match=rf"other settings \({names}\).*--overwrite"):
            run(replace(settings, **change))
    old = read_record(tmp_path / "out")
    settings_of_old = {n: value for n, value in old.settings.items() if not n.startswith("rotate")}
    assert settings.differences(settings_of_old, {}) == [], "a result of before there were rotations has none"
    assert replace(settings, rotate=0.6).differences(settings_of_old) == ["rotate", "rotate_seed"]


@pytest.mark.usefixtures("own_rotation")
def test_a_network_with_a_rotation_of_its_own(settings: Settings, run: Run) -> None:
    own = run(settings, "own")
    assert rotation_of(own.provenance) == (0.2, 5)
    assert own.provenance["model"]["rotate"] == 0.2
    assert own.settings["rotate"] is None, "settings are what was asked for"
    assert not run(replace(settings, rotate=0.2, rotate_seed=5), "own").computed
    for change, names in (({"rotate": 0.0}, "rotate, rotate_seed"), ({"rotate_seed": 1}, "rotate_seed")):
        with pytest.raises(ResultError, match=rf"other settings \({names}\)"):
            run(replace(settings, **change), "own")
    explicit = run(replace(settings, rotate=0.2), "explicit")  # the seed is the network's own
    assert rotation_of(explicit.provenance) == (0.2, 5)
    assert not run(settings, "explicit").computed
    assert same(own.layer().counts, explicit.layer().counts)
    assert rotation_of(run(replace(settings, rotate=0.0), "plain").provenance)[0] == 0


def test_the_rotation_is_named_where_it_matters(
    settings: Settings, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out, change, label in (("plain", {}, ""), ("one", {"rotate": 0.6}, "0.6"), ("two", {"rotate": 1}, "1")):
        found = run(replace(settings, **change), out)
        assert rotation_label(found.provenance) == label
        print_summary(found)
        title = capsys.readouterr().out.splitlines()[0]
        assert title.endswith(f", rotated {label}" if label else "preset netdissect, quantile 0.02")
        page = (tmp_path / out / "report" / "index.html").read_text()
        assert ("<dt>rotated</dt>" in page) == bool(label)
        assert "rotation.power" in page
    assert rotation_label({"rotation": {"power": 0.6, "seed": 7}}) == "0.6, seed 7"
    assert rotation_label({}) == ""


def test_where_the_time_went(settings: Settings, run: Run) -> None:
    record = run(replace(settings, rotate=1.0)).provenance
    assert record["seconds"]["rotation"] >= 0
    assert record["profile"]["parts"]["probe"].keys() >= {"forward", "rotate", "sieve"}


def test_activations_that_are_not_finite(settings: Settings, run: Run) -> None:
    """All units of a position are lost with one of them; the one that the network lost is named."""
    broken = replace(settings, model=f"{NETS}:breaks", layers=("1",), rotate=0.5)
    said = r"Layer 1 gives {} in unit 3 on image \S+; check the weights"
    with pytest.raises(ModelError, match=said.format("nan")):
        run(broken)
    with pytest.raises(ModelError, match=said.format("inf")):
        run(replace(broken, model=f"{NETS}:overflows"), "infinite")


def test_activations_that_only_a_rotation_takes_too_far(settings: Settings, run: Run) -> None:
    large = replace(settings, model=f"{NETS}:nearly_overflows", layers=("1",))
    run(large, "plain")
    with pytest.raises(
        ModelError, match=r"Layer 1 has activations on image \S+ that are too large to be rotated"
    ) as error:
        run(replace(large, rotate=1.0), "rotated")
    assert "weights" not in str(error.value)


def test_vectors_and_tokens_and_bfloat16(tmp_path: Path) -> None:
    """Whatever a layer's output looks like, its maps are turned; the network's own precision makes no difference."""
    batch = torch.randn(3, 3, 24, 32, generator=torch.Generator().manual_seed(0))

    class Tokens(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(2).transpose(1, 2)

    first = build().first
    for tail, shape in (
        (torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), (1, 1)),
        (Tokens(), (12, 16)),
    ):
        network = torch.nn.Sequential(first, tail).eval().requires_grad_(False)
        layers = resolve_layers(network, ["1"], "net", (24, 32))
        assert layers[0].shape == (6, *shape)
        matrix = rotation_power(6, 0.7, 1)
        for precision in ("float32", "bfloat16"):
            plain = Probe(network, layers, precision=precision).activations(batch)["1"]
            probe = Probe(network, layers, precision=precision, rotations={"1": dissect.Rotation(matrix)})
            expected = rotate_naive.rotate_maps(plain.numpy(), matrix)
            np.testing.assert_array_equal(probe.activations(batch)["1"].numpy(), expected)


def test_too_many_units(settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MOST_UNITS", 7)
    with pytest.raises(ModelError, match=r"Layer second has 8 units, and a rotation takes 7 at most; leave the layer"):
        run(replace(settings, rotate=0.5))
    run(settings)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan"), float("inf")])
def test_powers_that_are_refused(alpha: float) -> None:
    with pytest.raises(SettingsError, match=r"rotate is \S+; use a number from 0 to 1"):
        Settings(rotate=alpha)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_are_refused(seed: int) -> None:
    with pytest.raises(SettingsError, match=r"rotate_seed is \S+; use a whole number from 0 to 4294967295"):
        Settings(rotate_seed=seed)


def test_a_seed_without_a_rotation_is_refused(settings: Settings, run: Run) -> None:
    lone = replace(settings, rotate_seed=3)
    with pytest.raises(SettingsError, match="rotate_seed is 3 and nothing is rotated; use it with --rotate"):
        run(lone)
    run(settings)
    with pytest.raises(SettingsError, match="nothing is rotated"):
        run(lone)


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
def test_on_a_gpu(settings: Settings, run: Run, tmp_path: Path) -> None:
    there = replace(settings, spool="dense", device="cuda")
    run(there, "plain")
    run(replace(there, rotate=0.6), "rotated")
    expected = rotate_naive.rotate_maps(activations_of(tmp_path / "plain"), rotation_power(8, 0.6, 1))
    np.testing.assert_array_equal(activations_of(tmp_path / "rotated"), expected)


@pytest.mark.slow
def test_rotation_loses_concepts(shared: Path, tmp_path: Path) -> None:
    """Network Dissection, section 3.2: interpretability is tied to the axes (of 40 unique detectors 17 are left)."""
    settings = Settings(
        model="squeezenet1_1",
        weights=str(shared / "weights" / "squeezenet1_1_ndf.pth"),
        layers=("features.12",),
        data=str(shared / "minibroden"),
        channels="bgr",
        mean=(103.939, 116.779, 123.68),
        scale=255.0,
        top_images=1,
        threads=2,
    )

    def unique(alpha: float) -> int:
        out = tmp_path / str(alpha)
        found = dissect_network(replace(settings, rotate=alpha), out, cache=tmp_path / "cache")
        return found.layer().summary.unique_top_label

    assert unique(1.0) <= 0.6 * unique(0.0)
