"""What ends a run in its probe costs nothing of what went before; and who may go on from what is left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ndengine import dissect, plan, spool, spool_files, spool_key
from ndengine.datasets.packed import PackedDataset
from ndengine.dissect import dissect_network
from ndengine.errors import DatasetError, Interruption, ModelError, SpoolError
from ndengine.progress import Silent
from ndengine.settings import Knobs, Settings
from tests.engine.tinybroden import make_broden

NETS = Path(__file__).with_name("smallnets.py")
IMAGES = 30


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "tiny"
    make_broden(folder, images=IMAGES)
    return folder


@pytest.fixture
def settings(data: Path) -> Settings:
    return Settings(
        model=f"{NETS}:shared",
        layers=("first", "second"),
        data=str(data),
        min_images=1,
        knobs=Knobs(quantile="0.02"),
        mean=(0.5, 0.5, 0.5),
        batch_size=4,
    )


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Callable[..., Any]:
    def call(settings: Settings, out: str = "out", **more: Any) -> Any:
        return dissect_network(settings, tmp_path / out, cache=data.parent / "cache", **more)

    return call


def fail_at(patch: pytest.MonkeyPatch, calls: int, error: BaseException) -> None:
    """Let the spools' ``calls``-th batch end the run."""
    add, seen = spool.SurvivorSpool.add, [0]

    def failing(self: spool.SurvivorSpool, activations: torch.Tensor, first: int) -> None:
        seen[0] += 1
        if seen[0] == calls:
            raise error
        add(self, activations, first)

    patch.setattr(spool.SurvivorSpool, "add", failing)


ERRORS = [KeyboardInterrupt(), MemoryError(), DatasetError("x is damaged."), ModelError("nan"), ZeroDivisionError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_ends_a_run_keeps_what_there_is(
    error: BaseException, settings: Settings, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, listener = run(settings, "whole"), Notes()
    with monkeypatch.context() as patch:
        fail_at(patch, 8, error)  # the second layer's fourth batch: the first layer is a batch ahead
        with pytest.raises(type(error)) as caught:
            run(settings, progress=listener)
    if isinstance(error, KeyboardInterrupt):
        assert isinstance(caught.value, Interruption)
        assert str(caught.value) == "Interrupted at image 12 of 30; the same command goes on there."
        assert listener.notes == []
    else:
        (note,) = listener.notes
        assert note.startswith("Image 12 of 30 is where the same command goes on")
    resumed = run(settings, progress=listener)
    assert listener.notes[-1] == "The run goes on at image 12 of 30, where it was interrupted."
    assert resumed.provenance["images_probed"] == IMAGES - 12
    for name, layer in whole.layers.items():
        np.testing.assert_array_equal(layer.counts.intersection, resumed.layer(name).counts.intersection)
        np.testing.assert_array_equal(layer.counts.threshold, resumed.layer(name).counts.threshold)
        np.testing.assert_array_equal(layer.top_images, resumed.layer(name).top_images)


def test_an_interruption_behind_the_probe_keeps_all(
    settings: Settings, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    listener = Notes()
    with monkeypatch.context() as patch:
        patch.setattr(dissect, "write_report", interrupt)
        with pytest.raises(Interruption, match="at the last of 30 images; the same command goes on there"):
            run(settings)
    assert run(settings, progress=listener).provenance["images_probed"] == 0
    assert listener.notes == [
        "All 30 images had gone through the network when the run was interrupted; it goes on there."
    ]


def test_a_disk_that_takes_nothing_more(
    settings: Settings, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write, written = spool_files.write_checked, [0]

    def full(path: Path, content: memoryview) -> None:
        written[0] += 1
        if written[0] > 4:
            raise OSError(28, "full")
        write(path, content)

    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(spool_files, "write_checked", full)
        fail_at(patch, 99, KeyboardInterrupt())
        with pytest.raises(
            SpoolError, match=r"segment-000002\.h5 can't be written \(No space left on device\); free some"
        ):
            run(replace(settings, spool="disk"))
    assert run(replace(settings, spool="disk")).provenance["images_probed"] == IMAGES - 8
    with monkeypatch.context() as patch:
        written[0] = 3
        patch.setattr(spool_files, "write_checked", full)
        fail_at(patch, 6, KeyboardInterrupt())
        with pytest.raises(Interruption) as caught:
            run(replace(settings, layers=("first",)), "other")
    assert str(caught.value).startswith("Interrupted at image 20 of 30; the same command goes on at image ") or (
        "nothing is kept, and the same command begins anew" in str(caught.value)
    )
    assert "No space left on device" in str(caught.value)


@pytest.fixture
def cut(settings: Settings, run: Callable[..., Any]) -> Settings:
    """A run that was interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        fail_at(patch, 8, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run(settings)
    return settings


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 5}, "batch_size 4, not 5"),
        ({"threads": 2}, "threads 1, not 2"),
        ({"top_images": 3, "batch_size": 8}, "batch_size 4, not 8; top_images 5, not 3"),
        ({"mean": (0.25, 0.5, 0.5)}, r"preprocessing\.mean \[0\.5, 0\.5, 0\.5\], not \[0\.25, 0\.5, 0\.5\]"),
        (
            {"rotate": 0.5},
            r"rotate 0\.0, not 0\.5; rotate_seed none, not 1; versions\.numpy none, not .*scipy none, not ",
        ),
    ],
    ids=str,
)
def test_other_settings_do_not_go_on(change: dict[str, Any], says: str, cut: Settings, run: Callable[..., Any]) -> None:
    with pytest.raises(SpoolError, match=rf"interrupted run with other settings \({says}.*--overwrite"):
        run(replace(cut, **change))
    assert run(cut).provenance["images_probed"] == IMAGES - 12


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("processor_name", lambda: "Z80", "processor .*, not Z80"),
        (
            "versions_of",
            lambda names: dict.fromkeys(names, "9.9"),
            r"versions\.ndengine .*, not 9\.9; versions\.pillow .*torch",
        ),
    ],
)
def test_other_machines_and_versions_do_not_go_on(
    name: str, value: Any, says: str, cut: Settings, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(plan, name, value)
        with pytest.raises(SpoolError, match=rf"other settings \({says}.*--overwrite"):
            run(cut)
        assert run(cut, overwrite=True).provenance["images_probed"] == IMAGES


def test_other_instructions_do_not_go_on(
    cut: Settings, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "VSX")
    with pytest.raises(SpoolError, match=r"other settings \(instructions .*, not VSX\)"):
        run(cut)


def test_a_key_names_what_activations_depend_on(cut: Settings, tmp_path: Path) -> None:
    key = spool_key.read_key(tmp_path / "out" / "unfinished" / "spool" / "first")
    assert {"batch_size", "threads", "device", "processor", "instructions", "precision", "preprocessing"} <= set(key)
    assert set(key["versions"]) == {"ndengine", "torch", "torchvision", "timm", "transformers", "pillow"}
    assert key["versions"]["torch"] == torch.__version__.split("+")[0] or key["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("kind", ["memory", "dense"])
def test_what_was_kept_is_not_dropped_in_silence(kind: Any, cut: Settings, run: Callable[..., Any]) -> None:
    listener = Notes()
    assert run(replace(cut, spool=kind), progress=listener).provenance["images_probed"] == IMAGES
    assert sum(f"--spool {kind} begins anew without it" in note for note in listener.notes) == 2


def test_a_spool_that_holds_nothing_is_in_nobodys_way(
    settings: Settings, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_at(patch, 1, ModelError("nan"))
        with pytest.raises(ModelError):
            run(settings)
    assert run(replace(settings, seed=4)).provenance["images_probed"] == IMAGES


def test_an_image_that_can_not_be_read(
    settings: Settings, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = PackedDataset.images

    def failing(self: PackedDataset, numbers: np.ndarray) -> np.ndarray:
        if 13 in numbers:
            raise DatasetError("image 13 is damaged.")
        return read(self, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(PackedDataset, "images", failing)
        with pytest.raises(DatasetError, match="image 13"):
            run(settings)
    assert run(settings).provenance["images_probed"] == IMAGES - 12


def test_paths_and_memory_in_a_result(
    settings: Settings, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    found = dissect_network(settings, tmp_path / "out", cache=Path("cache"))
    recorded = json.loads((tmp_path / "out" / "result.json").read_text())["provenance"]
    assert os.path.isabs(recorded["dataset"]["pack"])
    assert os.path.samefile(recorded["dataset"]["pack"], found.provenance["dataset"]["pack"])
    assert os.path.isabs(recorded["dataset"]["source"])
    assert found.provenance.keys() == recorded.keys()
    assert (
        found.provenance["peak_memory_bytes"]
        >= recorded["peak_memory_bytes"]
        > 0.97 * found.provenance["peak_memory_bytes"]
    )
