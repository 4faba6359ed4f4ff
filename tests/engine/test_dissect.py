"""The pipeline as a whole, on a dataset small enough to check against the definition."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ndengine
from ndengine import dissect, spool
from ndengine.dissect import dissect_network
from ndengine.errors import ModelError, NdengineError, ResultError, SettingsError, SpoolError
from ndengine.result import Dissection
from ndengine.settings import PRESETS, Knobs, Settings, SpoolKind
from ndengine.tally import Counts
from ndkernels.grid import Field, make_grid, tables
from ndkernels.sieve import naive as sieve_naive
from ndkernels.tally import naive
from tests.engine.tinybroden import LABEL_SIZE, make_broden

NETS = Path(__file__).with_name("smallnets.py")
IMAGES = 30


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
def run(tmp_path: Path) -> Callable[..., Dissection]:
    def call(settings: Settings, out: str = "out", **more: bool) -> Dissection:
        return dissect_network(settings, tmp_path / out, cache=tmp_path / "cache", **more)

    return call


def same(one: Counts, other: Counts) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Counts))


@pytest.mark.parametrize("preset", PRESETS)
def test_counts_equal_the_definition(
    preset: str, settings: Settings, data: tuple[Path, Any, Any], run: Callable[..., Dissection], tmp_path: Path
) -> None:
    _, maps, whole = data
    knobs = replace(PRESETS[preset], quantile="0.02")
    found = run(replace(settings, preset=preset, knobs=knobs, spool="dense"))
    layer = found.layer()
    with h5py.File(tmp_path / "out" / layer.folder / "activations.h5") as file:
        activations = file["activations"][()]
    assert activations.shape == (IMAGES, 8, 10, 14)
    thresholds = sieve_naive.thresholds(activations, int(0.02 * IMAGES * 140))
    np.testing.assert_array_equal(layer.counts.threshold, thresholds)
    assert layer.field is not None
    grid = make_grid(
        knobs.geometry,
        maps=(10, 14),
        labels=LABEL_SIZE,
        inputs=(40, 56),
        field=(Field(*layer.field[0]), Field(*layer.field[1])),
    )
    once = knobs.overlap == "once"
    stacks = [np.stack(m) if m else np.zeros((0, *LABEL_SIZE), int) for m in maps]
    category = found.vocabulary.primary.astype(np.int32)
    inter, area, area_all = naive.tally(
        activations, thresholds, tables(grid), stacks, whole, category, len(found.vocabulary.categories),
        once=once, area=knobs.area,
    )  # fmt: skip
    concept_area, concept_images = naive.count_concepts(stacks, whole, len(category), once=once)
    assert same(layer.counts, Counts(thresholds, inter, concept_area, area, area_all, concept_images))
    assert inter.sum() > 0
    for u in range(8):
        order = sorted(range(IMAGES), key=lambda n: (-activations[n, u].max(), n))[:5]
        if not layer.dead[u]:
            assert layer.top_images[u].tolist() == order


@pytest.mark.parametrize("kind", ["auto", "memory", "disk", "dense"])
def test_how_a_run_is_carried_out_changes_nothing(
    kind: SpoolKind, settings: Settings, run: Callable[..., Dissection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2000)
    monkeypatch.setattr(spool, "LEAST_COMPACTION_BYTES", 5000)
    monkeypatch.setattr(dissect, "available_bytes", lambda: 3000)  # auto goes to the disk in its middle
    plain = run(settings, "plain").layer()
    other = run(replace(settings, spool=kind, threads=2), "other").layer()
    assert same(plain.counts, other.counts)
    np.testing.assert_array_equal(plain.top_masks, other.top_masks)
    np.testing.assert_array_equal(plain.top_images, other.top_images)


def test_several_layers_in_one_pass(settings: Settings, run: Callable[..., Dissection]) -> None:
    both = run(replace(settings, layers=("first", "second")), "both")
    assert list(both.layers) == ["first", "second"]
    assert same(both.layer("second").counts, run(settings, "one").layer().counts)


def test_folder(settings: Settings, run: Callable[..., Dissection], tmp_path: Path) -> None:
    made = run(settings)
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.suffix != ".jpg"}
    expected = {"result.json", "images.csv", "second", "report", "report/index.html"}
    assert expected | {f"second/{name}" for name in ("units.csv", "counts.h5", "examples.h5")} <= found
    assert not any("unfinished" in name for name in found)
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["settings"] == settings.record()
    facts = record["provenance"]
    assert set(facts["seconds"]) >= {"data", "model", "compile", "probe", "threshold", "tally", "report"}
    assert facts["images_probed"] == IMAGES
    assert facts["peak_memory_bytes"] > 1e7
    loaded = ndengine.load(tmp_path / "out")
    assert same(loaded.layer().counts, made.layer().counts)


def test_shown_again(
    settings: Settings, run: Callable[..., Dissection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(settings)
    before = (tmp_path / "out" / "result.json").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(dissect, "Probe", None)  # nothing is computed
        run(replace(settings, batch_size=7, threads=2, spool="memory"))
        with pytest.raises(ResultError, match=r"other settings \(knobs\.quantile, seed\).*--overwrite"):
            run(replace(settings, seed=3, knobs=Knobs(quantile="0.03")))
    assert (tmp_path / "out" / "result.json").stat().st_mtime_ns == before
    changed = run(replace(settings, knobs=Knobs(quantile="0.03")), overwrite=True)
    assert changed.settings["knobs"]["quantile"] == "0.03"


def test_changed_data_is_noticed(run: Callable[..., Dissection], settings: Settings, tmp_path: Path) -> None:
    make_broden(tmp_path / "own", images=8)
    own = replace(settings, data=str(tmp_path / "own"))
    run(own)
    os.utime(tmp_path / "own" / "label.csv", (1, 1))
    (tmp_path / "own" / "label.csv").write_text((tmp_path / "own" / "label.csv").read_text() + "\n")
    with pytest.raises(ResultError, match=r"when the data had another content.*--overwrite"):
        run(own)


def test_split_and_limit(settings: Settings, run: Callable[..., Dissection]) -> None:
    everything = run(settings, "all")
    val = run(replace(settings, split="val", limit=3), "val")
    names = [n for n, s in zip(everything.image_names, everything.splits, strict=True) if s == "val"]
    assert list(val.image_names) == names[:3]
    with pytest.raises(SettingsError, match=r"split is 'vol', which tiny lacks; its splits are: train, val"):
        run(replace(settings, split="vol"), "none")


def test_min_images_and_categories(settings: Settings, run: Callable[..., Dissection]) -> None:
    assert run(replace(settings, min_images=None), "default").min_images == 10
    only = run(replace(settings, categories=("scene",)), "scene").layer()
    assert set(np.unique(only.scores.category)) <= {-1, 4}
    with pytest.raises(SettingsError, match=r"categories names 'scenes'.*use scene"):
        run(replace(settings, categories=("scenes",)), "typo")


def test_non_finite_activations(settings: Settings, run: Callable[..., Dissection], tmp_path: Path) -> None:
    broken = replace(settings, model=f"{NETS}:breaks", layers=("1",))
    with pytest.raises(ModelError, match=r"Layer 1 gives nan in unit 3 on image \S+; check the weights"):
        run(broken)
    assert not (tmp_path / "out" / "result.json").exists()
    with pytest.raises(ResultError, match=r"has no result\.json"):
        ndengine.load(tmp_path / "out")


def test_resumes_after_an_interruption(
    settings: Settings, run: Callable[..., Dissection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1)
    whole = run(settings, "whole").layer()
    disk = replace(settings, spool="disk")
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
            run(disk)
    assert list((tmp_path / "out" / "unfinished" / "spool" / "second").glob("segment-*.h5"))
    with pytest.raises(SpoolError, match=r"interrupted run with other settings \(quantile 0\.02, not 0\.05\)"):
        run(replace(disk, knobs=Knobs(quantile="0.05")))
    resumed = run(disk)
    assert resumed.provenance["images_probed"] == IMAGES - 16
    assert same(whole.counts, resumed.layer().counts)
    np.testing.assert_array_equal(whole.top_images, resumed.layer().top_images)
    assert not (tmp_path / "out" / "unfinished").exists()


def test_overwrite_begins_afresh_and_keeps_the_old_result_until_then(
    settings: Settings, run: Callable[..., Dissection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = run(settings)
    other = replace(settings, knobs=Knobs(quantile="0.05"))
    with monkeypatch.context() as patch:
        patch.setattr(dissect, "find_thresholds", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(other, overwrite=True)
    assert same(ndengine.load(tmp_path / "out").layer().counts, old.layer().counts)
    assert run(other, overwrite=True).settings["knobs"]["quantile"] == "0.05"


def test_an_interrupted_overwrite_goes_on(
    settings: Settings, run: Callable[..., Dissection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1)
    old = run(settings)
    other = replace(settings, knobs=Knobs(quantile="0.05"), spool="disk")
    with monkeypatch.context() as patch:
        patch.setattr(dissect, "find_thresholds", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(other, overwrite=True)
    assert same(ndengine.load(tmp_path / "out").layer().counts, old.layer().counts)
    assert run(other, overwrite=True).provenance["images_probed"] == 0
    assert run(replace(other, seed=4), overwrite=True).provenance["images_probed"] == IMAGES


@pytest.mark.parametrize("change", [{"layers": ("first",)}, {"spool": "memory", "seed": 9, "split": "val"}])
def test_a_spool_of_other_settings_is_never_dropped_in_silence(
    change: dict[str, Any],
    settings: Settings,
    run: Callable[..., Dissection],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(dissect, "find_thresholds", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(replace(settings, spool="disk"))
    with pytest.raises(SpoolError, match=r"interrupted run with other settings .*--overwrite"):
        run(replace(settings, **change))
    assert list((tmp_path / "out" / "unfinished" / "spool" / "second").glob("segment-*"))


def test_shown_when_the_data_is_gone(run: Callable[..., Dissection], settings: Settings, tmp_path: Path) -> None:
    make_broden(tmp_path / "own", images=8)
    own = replace(settings, data=str(tmp_path / "own"))
    made = run(own)
    (tmp_path / "own").rename(tmp_path / "moved")
    assert same(run(own).layer().counts, made.layer().counts)


def test_settings_take_what_people_give() -> None:
    found = Settings(data=Path("a/b"), layers=["x"], knobs=Knobs(quantile=0.3))  # type: ignore[arg-type]
    assert (found.data, found.layers, found.knobs.quantile) == ("a/b", ("x",), "0.3")
    with pytest.raises(SettingsError, match="layers is the text 'conv5'; use a tuple"):
        Settings(layers="conv5")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["unfinished", "result.json", "report"])
def test_a_folder_that_only_looks_like_ours(
    name: str, settings: Settings, run: Callable[..., Dissection], tmp_path: Path
) -> None:
    (tmp_path / "out" / name).parent.mkdir()
    if name == "result.json":
        (tmp_path / "out" / name).write_text('{"my": 1}')
    else:
        (tmp_path / "out" / name).mkdir()
        (tmp_path / "out" / name / "mine.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(ResultError, match="is not empty and holds no dissection"):
            run(settings, overwrite=overwrite)
    assert len(list((tmp_path / "out").rglob("*.*"))) == 1


def test_a_folder_of_something_else(settings: Settings, run: Callable[..., Dissection], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(ResultError, match="is not empty and holds no dissection; choose another --out"):
            run(settings, overwrite=overwrite)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "precious"


HOLD = """
import sys, time
from pathlib import Path
from ndengine.workspace import claim
with claim(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_runs_on_one_folder(settings: Settings, run: Callable[..., Dissection], tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ResultError, match="is in use by another run; wait for it"):
            run(settings)
    finally:
        other.kill()
        other.communicate()
    for _ in range(50):  # the system lets go of the lock when the process is gone
        try:
            run(settings)
            break
        except ResultError:
            time.sleep(0.1)
    assert (tmp_path / "out" / "result.json").exists()


def test_unwritable_out(settings: Settings, run: Callable[..., Dissection], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NdengineError, match=r"file/out can't be written .*--out"):
        run(settings, "file/out")
