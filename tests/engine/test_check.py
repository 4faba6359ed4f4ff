"""The doctor finds every kind of fault, goes on after each, and finds nothing where nothing is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faults import FAULTS, resize, shorten
from faults_of_files import FILE_FAULTS
from tinybroden import CATEGORIES, LABEL_SIZE, edit, make_broden

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.check import check_dataset, published_pixels
from ndengine.datasets.describe import describe
from ndengine.datasets.pack import pack_dataset
from ndengine.errors import DatasetError
from ndkernels.labels import count_concepts

ALL_FAULTS = FAULTS | FILE_FAULTS
PIXELS = LABEL_SIZE[0] * LABEL_SIZE[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_broden(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_sound_dataset(folder: Path) -> None:
    checkup = check_dataset(folder)
    assert [str(finding) for finding in checkup.findings] == [
        f"{folder / 'index.csv'} gives 1 images 0 as texture, which means none and is ignored."
    ]
    assert checkup.sound
    assert checkup.doubts == 0
    assert checkup.images == 6
    assert checkup.release is None
    assert checkup.compared == checkup.agreed == 0
    assert checkup.whole_zero == dict.fromkeys(CATEGORIES, 0) | {"texture": 1}


def test_shares_of_unlabelled_pixels(tmp_path: Path) -> None:
    maps, whole = make_broden(tmp_path / "tiny")
    checkup = check_dataset(tmp_path / "tiny")
    empty = sum(
        0 if labels else int((~np.any([m > 0 for m in stack], axis=0)).sum()) if stack else PIXELS
        for stack, labels in zip(maps, whole, strict=True)
    )
    assert checkup.unlabelled == pytest.approx(empty / (6 * PIXELS), abs=0)
    assert PIXELS < empty < 2 * PIXELS  # image 3, and some of image 4
    assert checkup.map_zero["color"] == 0
    assert checkup.map_zero["scene"] is None
    assert checkup.map_zero["material"] == pytest.approx(1 - 12 * 16 / PIXELS)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere is no folder"):
        check_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize("case", ALL_FAULTS)
def test_findings(folder: Path, case: str) -> None:
    damage, kind, name, message, blocks = ALL_FAULTS[case]
    damage(folder)
    checkup = check_dataset(folder)
    found = [f for f in checkup.findings if (f.kind, f.file.name) == (kind, name) and message in f.message]
    assert [(f.blocks, f.message.endswith(".")) for f in found] == [(blocks, False)], checkup.findings
    assert checkup.sound == (not any(f.blocks for f in checkup.findings))
    assert checkup.doubts > 0 or not checkup.sound


@pytest.mark.parametrize("case", ALL_FAULTS)
def test_what_blocks_is_what_the_reader_refuses(folder: Path, tmp_path: Path, case: str) -> None:
    ALL_FAULTS[case][0](folder)
    checkup = check_dataset(folder)
    try:
        pack_dataset(BrodenFolder(folder), tmp_path / "pack.h5").close()
        refused = False
    except DatasetError:
        refused = True
    assert refused == (not checkup.sound)


def test_stops_at_nothing(folder: Path) -> None:
    (folder / "images/000.png").unlink()
    shorten(folder / "images/sub/000_color_0.png")
    (folder / "c_part.csv").unlink()
    edit(folder / "index.csv", "10;9", "10;900")
    edit(folder / "label.csv", "\n3,", "\nthree,")
    resize(folder / "images/sub/004_material_0.png", (5, 6))
    kinds = {(finding.kind, finding.file.name) for finding in check_dataset(folder).findings}
    assert kinds >= {
        ("missing file", "000.png"),
        ("unreadable file", "000_color_0.png"),
        ("missing file", "c_part.csv"),
        ("id out of range", "index.csv"),
        ("bad table", "label.csv"),
        ("wrong size", "004_material_0.png"),
    }


def test_a_missing_category_table_does_not_accuse_the_labels(folder: Path) -> None:
    (folder / "c_part.csv").unlink()
    assert [f.file.name for f in check_dataset(folder).findings if f.kind != "label 0"] == ["c_part.csv"]


def test_an_empty_folder(tmp_path: Path) -> None:
    checkup = check_dataset(tmp_path)
    assert {finding.file.name for finding in checkup.findings} == {"index.csv", "label.csv", "category.csv"}
    assert not checkup.sound
    assert checkup.images == 0
    assert checkup.unlabelled == 0


def test_published_pixels_are_compared(folder: Path, tmp_path: Path) -> None:
    with pack_dataset(BrodenFolder(folder), tmp_path / "tiny.h5") as pack:
        area, _ = count_concepts(pack.labels(np.arange(6)), 300, once=False)
    door, house = int(area[5]), int(area[3])
    assert door == 4 * 24  # three of part and one of object
    right = {("part", "door"): door, ("object", "house"): house, ("texture", "striped"): 2 * PIXELS}
    checkup = check_dataset(folder, published=right)
    assert (checkup.compared, checkup.agreed) == (3, 3)
    assert [f for f in checkup.findings if f.kind == "pixel totals"] == []
    wrong = {("part", "door"): door + 1, ("object", "door"): door, ("object", "house"): house, ("part", "x"): 0}
    checkup = check_dataset(folder, published=wrong)
    assert (checkup.compared, checkup.agreed) == (4, 1)
    assert [f.message for f in checkup.findings if f.kind == "pixel totals"] == [
        "gives 96 pixels of door (part) where the release has 97",
        "lacks door of object, which the release has",
        "lacks x of part, which the release has",
    ]
    assert checkup.sound


def test_published_tables() -> None:
    assert published_pixels(None) == {}
    assert published_pixels("broden1_384") == {}
    small, large = published_pixels("broden1_224"), published_pixels("broden1_227")
    assert (len(small), len(large)) == (674, 379)
    assert small["color", "black-c"] == 139_916_835
    assert large["color", "black-c"] == 142_117_568
    # A texture covers whole images: a multiple of the label map's pixels, unless an object shares its name.
    assert small["texture", "banded"] % 112**2 == 0
    assert large["texture", "banded"] % 113**2 == 0


def test_published_tables_match_the_reference(shared: Path) -> None:
    lines = (shared / "reference" / "broden_truth_pixels.csv").read_text().splitlines()[1:]
    given = {(f"broden1_{size}", *rest) for size, *rest in (line.split(",") for line in lines)}
    ours = {
        (release, category, concept, str(pixels))
        for release in ("broden1_224", "broden1_227")
        for (category, concept), pixels in published_pixels(release).items()
    }
    assert ours == given


def test_a_release_is_compared_by_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndengine.datasets.BRODEN_IMAGES", 6)
    monkeypatch.setattr("ndengine.datasets.BRODEN_CONCEPTS", 300)
    monkeypatch.setattr("ndengine.datasets.BRODEN_SIZES", {(40, 56): "broden1_227"})
    checkup = check_dataset(folder)
    assert checkup.release == "broden1_227"
    assert checkup.compared == 379
    assert checkup.agreed == 0


def test_info(folder: Path, tmp_path: Path) -> None:
    maps, whole = make_broden(tmp_path / "same")
    with pack_dataset(BrodenFolder(folder), tmp_path / "tiny.h5") as pack:
        facts = describe(pack, frequent=3)
        primary = pack.vocabulary.primary
        assert facts["fingerprint"] == pack.fingerprint
    assert (facts["name"], facts["source"], facts["release"]) == ("tiny", str(folder), None)
    assert facts["images"] == 6
    assert facts["splits"] == {"train": 4, "val": 2}
    assert facts["image_size"] == [40, 56]
    assert facts["label_size"] == [20, 28]
    assert facts["concepts"] == 12
    assert facts["unlabelled_images"] == 1
    for k, category in enumerate(facts["categories"]):
        covered = np.zeros((6, *LABEL_SIZE), np.bool_)
        for i, (stack, labels) in enumerate(zip(maps, whole, strict=True)):
            for label_map in stack:
                covered[i] |= np.isin(label_map, np.flatnonzero(primary == k) + 1)
            covered[i] |= any(primary[number - 1] == k for number in labels)
        assert category == {
            "name": CATEGORIES[k],
            "concepts": int((primary == k).sum()),
            "images": int(covered.any(axis=(1, 2)).sum()),
            "labelled": covered.mean(),
        }
    counts = [
        sum(n in labels or any((m == n).any() for m in stack) for stack, labels in zip(maps, whole, strict=True))
        for n in range(1, 301)
    ]
    assert [c["images"] for c in facts["frequent"]] == sorted(counts, reverse=True)[:3]
    assert all(counts[c["concept"] - 1] == c["images"] for c in facts["frequent"])
    assert facts["frequent"][0].keys() == {"concept", "name", "category", "images", "pixels"}


def test_minibroden_is_sound(shared: Path) -> None:
    checkup = check_dataset(shared / "minibroden")
    assert checkup.findings == ()
    assert checkup.images == 952
    assert checkup.map_zero["object"] == pytest.approx(0.804788, abs=1e-6)


def test_a_damaged_minibroden(shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "minibroden"
    folder.mkdir()
    (folder / "images").symlink_to(shared / "minibroden" / "images")
    for table in (shared / "minibroden").glob("*.csv"):
        shutil.copyfile(table, folder / table.name)
    lines = (folder / "index.csv").read_text().splitlines(keepends=True)
    (folder / "index.csv").write_text("".join(lines[:31]))
    edit(folder / "index.csv", "00007_color.png", "00007_colour.png")
    checkup = check_dataset(folder)
    assert [f.file.name for f in checkup.findings if f.blocks] == ["00007_colour.png"]
    assert {"tables disagree", "stray files"} <= {f.kind for f in checkup.findings}


def test_columns_that_a_run_does_not_need_may_be_missing(folder: Path) -> None:
    """Who writes tables by hand need not write counts that nobody reads."""
    for file in folder.glob("*.csv"):
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        needed = [c for c in table.columns if c in ("number", "name") or (c == "coverage" and file.name[0] == "c")]
        if file.name != "index.csv":
            table[needed].to_csv(file, index=False)
    assert [f.kind for f in check_dataset(folder).findings] == ["label 0"]
    edit(folder / "label.csv", "striped", "stripes")
    assert check_dataset(folder).doubts == 1
