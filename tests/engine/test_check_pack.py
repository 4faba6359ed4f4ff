"""``ndengine data check`` of a pack: sound packs pass, and everything that is wrong with others is listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sealed import reseal
from tinybroden import edit, make_broden

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.check import Checkup, check_dataset
from ndengine.datasets.check_pack import check_pack, check_path
from ndengine.datasets.pack import pack_dataset
from ndengine.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_broden(tmp_path / "tiny", images=70)
    return tmp_path / "tiny"


@pytest.fixture
def path(folder: Path, tmp_path: Path) -> Path:
    with pack_dataset(BrodenFolder(folder), tmp_path / "tiny.h5") as pack:
        return pack.path


def said(checkup: Checkup) -> list[str]:
    return [str(finding) for finding in checkup.findings if finding.blocks]


def change(path: Path, name: str, edit: Callable[[Any], Any]) -> None:
    with h5py.File(path, "r+") as file:
        file[name][...] = edit(file[name][()])


def test_a_sound_pack(path: Path, folder: Path) -> None:
    checkup, of_folder = check_path(path), check_path(folder)
    assert checkup.findings == ()
    assert checkup.sound
    assert (checkup.folder, checkup.images, checkup.release) == (path, 70, None)
    assert checkup.unlabelled == of_folder.unlabelled > 0
    assert of_folder.folder == folder


def test_pixel_totals_are_those_of_the_folder(path: Path, folder: Path) -> None:
    published = {("scene", "street-s"): 66 * 560, ("texture", "striped"): 2 * 560, ("object", "tower"): 1}
    mine, theirs = check_pack(path, published=published), check_dataset(folder, published=published)
    assert (mine.compared, mine.agreed) == (theirs.compared, theirs.agreed) == (3, 2)
    (message,) = {f.message for f in mine.findings if f.kind == "pixel totals"}
    assert message in {f.message for f in theirs.findings if f.kind == "pixel totals"}


def test_every_damaged_image_is_listed(path: Path) -> None:
    def spoil(images: Any) -> Any:
        images[[3, 40, 69], 0, 0, 0] ^= 1
        return images

    change(path, "images", spoil)
    change(path, "codes", lambda codes: np.where(np.arange(70)[:, None, None] == 7, codes ^ 1, codes))
    names = BrodenFolder(path.with_suffix("")).image_names
    checkup = check_pack(path)
    assert said(checkup) == [
        f"{path} holds damaged pixels of the image {names[3]}.",
        f"{path} holds damaged labels of the image {names[7]}.",
        f"{path} holds damaged pixels of the image {names[40]}.",
        f"{path} holds damaged pixels of the image {names[69]}.",
    ]
    assert not checkup.sound


def test_a_damaged_block_is_listed_once(path: Path) -> None:
    change(path, "entry_times", lambda times: times ^ 2)
    assert said(check_pack(path)) == [f"{path} holds damaged labels: entry_times does not match its checksum."]


@pytest.mark.parametrize(
    ("name", "edit_array", "message"),
    [
        ("code_area", lambda a: np.r_[a[0] + 1, a[1:]], "has other areas of labels than pixels of 000.png"),
        ("codes", lambda a: np.r_[np.full_like(a[:1], 999), a[1:]], "holds labels that are out of range"),
        ("entry_concept", lambda a: np.r_[a[:-1], 301], "holds labels that are out of range"),
    ],
)
def test_labels_that_do_not_go_together(path: Path, name: str, edit_array: Callable[[Any], Any], message: str) -> None:
    change(path, name, edit_array)
    reseal(path)
    assert said(check_pack(path)) == [f"{path} {message}."]


def test_ids_without_a_name_are_told(path: Path) -> None:
    change(path, "entry_concept", lambda a: np.r_[a[:-1], 299])
    reseal(path)
    checkup = check_pack(path)
    assert checkup.sound
    assert [f.message.split(" gives ")[-1] for f in checkup.findings if f.kind == "id out of range"] == [
        f"gives {BrodenFolder(path.with_suffix('')).image_names[69]} ids that label.csv lacks: 299"
    ]


def test_tables_that_disagree_are_told_as_of_a_folder(folder: Path, tmp_path: Path) -> None:
    edit(folder / "label.csv", "2,blue-c", "2,red-c")
    with pack_dataset(BrodenFolder(folder), tmp_path / "odd.h5") as pack:
        path = pack.path
    (finding,) = [f for f in check_pack(path).findings if f.kind == "duplicate"]
    assert str(finding) == f"{path}/tables/label.csv gives the name 'red-c' to 1 and to 2."


def test_names_that_are_not_those_of_the_index(path: Path) -> None:
    change(path, "splits", lambda splits: splits[::-1])
    reseal(path)
    (finding,) = check_pack(path).findings
    assert finding.message == "has other images or splits (70 rows) than the pack (70 images)"


def test_what_does_not_open(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DatasetError, match=r"tiny\.h5 is no HDF5 file, or a truncated one"):
        check_path(path)
    with pytest.raises(DatasetError, match="is no folder"):
        check_path(path / "nowhere")
