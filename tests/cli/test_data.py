from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.packed import PackedDataset
from tests.cli.conftest import Invoke
from tests.engine.tinybroden import LABEL_SIZE, write_map


def test_pack_writes_one_file(invoke: Invoke, broden: Path, tmp_path: Path) -> None:
    path = tmp_path / "packed" / "set.h5"
    done = invoke("data", "pack", broden, "--out", path)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"Packed 12 images into {path} (")
    assert "12 images" in done.stderr
    with PackedDataset(path) as packed:
        assert len(packed) == 12
    assert [file.name for file in path.parent.iterdir()] == ["set.h5"]


def test_pack_keeps_what_is_up_to_date_and_what_is_not_its_own(
    invoke: Invoke, fails: Callable[..., str], broden: Path, tmp_path: Path
) -> None:
    path = tmp_path / "set.h5"
    invoke("data", "pack", broden, "--out", path)
    before = path.stat().st_mtime_ns
    assert invoke("data", "pack", broden, "--out", path).stdout.startswith(f"12 images in {path} (")
    assert path.stat().st_mtime_ns == before
    os.utime(broden / "images" / BrodenFolder(broden).image_names[0], (1, 1))
    assert invoke("data", "pack", broden, "--out", path).stdout.startswith("Packed 12 images")
    path.write_text("precious")
    assert "exists and is no whole pack; delete it" in fails("data", "pack", broden, "--out", path)
    assert path.read_text() == "precious"


def test_pack_names_the_file_after_the_folder(
    invoke: Invoke, broden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    done = invoke("data", "pack", broden, "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert (folder / "tiny.h5").is_file()


def test_pack_refuses_what_is_no_dataset(fails: Callable[..., str], tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in fails("data", "pack", tmp_path / "nowhere")


def test_info_describes_a_folder(invoke: Invoke, broden: Path, tmp_path: Path) -> None:
    done = invoke("data", "info", broden, "--cache", tmp_path / "cache")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "tiny: 12 images, 12 concepts"
    assert "  image size: 40x56 pixels, labels 20x28" in lines
    assert "  splits: 8 train, 4 val" in lines
    assert "  images without a label: 1" in lines
    rows = [line.split() for line in lines]
    assert ["street-s", "scene", "8", "4,480"] in rows
    assert "packing" in done.stderr


def test_info_json_of_a_packed_file(invoke: Invoke, broden: Path, tmp_path: Path) -> None:
    pack = tmp_path / "tiny.h5"
    assert invoke("data", "pack", broden, "--out", pack).exit_code == 0
    done = invoke("data", "info", pack, "--json", "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert (record["images"], record["label_size"], record["splits"]) == (12, [20, 28], {"train": 8, "val": 4})
    assert [c["name"] for c in record["categories"]] == ["color", "object", "part", "material", "scene", "texture"]


def test_info_quiet_prints_nothing(invoke: Invoke, broden: Path, tmp_path: Path) -> None:
    done = invoke("data", "info", broden, "--cache", tmp_path / "cache", "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


def test_info_of_nothing(fails: Callable[..., str], tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert str(nowhere) in fails("data", "info", nowhere, "--cache", tmp_path / "cache")


def test_check_accepts_a_sound_dataset(invoke: Invoke, broden: Path) -> None:
    done = invoke("data", "check", broden)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "A run accepts this dataset."
    assert "12 images" in done.stdout
    assert any(line.split()[:2] == ["texture", "1"] for line in done.stdout.splitlines())  # the whole-image label 0


def spoil(broden: Path, images: int) -> list[str]:
    """Take images away, and give one map an id that no concept has."""
    rows = (broden / "index.csv").read_text().splitlines()[1:]
    gone = [row.split(",")[0] for row in rows[:images]]
    for name in gone:
        (broden / "images" / name).unlink()
    write_map(broden / "images" / "sub" / "000_color_0.png", np.full(LABEL_SIZE, 301, np.int32))
    return gone


def test_check_lists_everything_that_is_wrong(invoke: Invoke, broden: Path) -> None:
    gone = spoil(broden, images=2)
    done = invoke("data", "check", broden)
    assert done.exit_code == 1
    for name in [*gone, "000_color_0.png"]:
        assert name in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.endswith(" findings that a run refuses.")
    assert int(last.split()[0]) >= 3


def test_check_caps_each_kind_unless_asked_for_all(invoke: Invoke, broden: Path) -> None:
    gone = spoil(broden, images=12)
    capped = invoke("data", "check", broden).stdout
    everything = invoke("data", "check", broden, "--all").stdout
    assert "… and 2 more; --all shows them." in capped
    assert "--all" not in everything
    assert not all(name in capped for name in gone)
    assert all(name in everything for name in gone)


def test_check_json(invoke: Invoke, broden: Path) -> None:
    gone = spoil(broden, images=1)
    done = invoke("data", "check", broden, "--json", "-q")
    assert (done.exit_code, done.stderr) == (1, "")
    record = json.loads(done.stdout)
    assert record["sound"] is False
    assert record["images"] == 12
    assert record["images_with_whole_label_0"]["texture"] == 1
    assert str(broden / "images" / gone[0]) in [f["file"] for f in record["findings"] if f["blocks"]]


def test_check_quiet_tells_by_its_exit_code_alone(invoke: Invoke, broden: Path) -> None:
    spoil(broden, images=1)
    done = invoke("data", "check", broden, "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "")


def test_check_takes_a_pack(invoke: Invoke, broden: Path, tmp_path: Path) -> None:
    pack = tmp_path / "tiny.h5"
    assert invoke("data", "pack", broden, "--out", pack).exit_code == 0
    share = json.loads(invoke("data", "check", pack, "--json").stdout)["share_of_pixels_unlabelled"]
    done = invoke("data", "check", pack)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"{pack}: 12 images, {share:.1%} of pixels unlabelled",
        "A run accepts this dataset.",
    ]
    with h5py.File(pack, "r+") as file:
        file["images"][4, 0, 0, 0] ^= 1
    done = invoke("data", "check", pack, "-q", "--json")
    assert (done.exit_code, done.stderr) == (1, "")
    record = json.loads(done.stdout)
    assert [(f["kind"], f["blocks"]) for f in record["findings"]] == [("damage", True)]
    assert "pixels of the image 004.png" in record["findings"][0]["message"]


def test_check_needs_a_folder(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "is no folder" in fails("data", "check", tmp_path / "nowhere")
