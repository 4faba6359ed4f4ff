"""The doctor finds every kind of fault, goes on after each, and finds nothing where nothing is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tinybroden import CATEGORIES, LABEL_SIZE, edit, make_broden, write_map

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.check import check_dataset, published_pixels
from ndengine.datasets.describe import describe
from ndengine.datasets.pack import pack_dataset
from ndengine.errors import DatasetError
from ndkernels.labels import count_concepts

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


def _map(folder: Path, ids: int) -> None:
    write_map(folder / "images" / "sub" / "000_color_0.png", np.full(LABEL_SIZE, ids, np.int32))


def _replace(folder: Path, name: str, old: str, new: str) -> None:
    edit(folder / name, old, new)


def _shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200])


def _resize(file: Path, size: tuple[int, int]) -> None:
    with Image.open(file) as picture:
        picture.resize(size).save(file)


def _drop_category(folder: Path) -> None:
    lines = (folder / "category.csv").read_text().splitlines()
    (folder / "category.csv").write_text("\n".join(line for line in lines if not line.startswith("part")))


Fault = tuple[Callable[[Path], object], str, str, str, bool]
FAULTS: dict[str, Fault] = {
    "image missing": (lambda f: (f / "images/000.png").unlink(), "missing file", "000.png", "is missing", True),
    "map missing": (
        lambda f: (f / "images/sub/000_part_1.png").unlink(),
        "missing file",
        "000_part_1.png",
        "is missing",
        True,
    ),
    "image cut": (lambda f: _shorten(f / "images/000.png"), "unreadable file", "000.png", "no readable image", True),
    "map cut": (
        lambda f: _shorten(f / "images/sub/000_color_0.png"),
        "unreadable file",
        "000_color_0.png",
        "no readable PNG",
        True,
    ),
    "image size": (
        lambda f: _resize(f / "images/000.png", (56, 39)),
        "wrong size",
        "000.png",
        "is 39x56 pixels (height x width) where index.csv says 40x56",
        True,
    ),
    "map size": (
        lambda f: _resize(f / "images/sub/000_part_1.png", (27, 20)),
        "wrong size",
        "000_part_1.png",
        "is 20x27 pixels (height x width) where index.csv says 20x28",
        True,
    ),
    "map mode": (
        lambda f: Image.new("L", LABEL_SIZE[::-1]).save(f / "images/sub/000_color_0.png"),
        "wrong mode",
        "000_color_0.png",
        "has pixels of mode L",
        True,
    ),
    "map id": (lambda f: _map(f, 555), "id out of range", "000_color_0.png", "holds ids above 300: 555", True),
    "whole id": (
        lambda f: _replace(f, "index.csv", "10;9", "10;900"),
        "id out of range",
        "index.csv",
        "line 7 has the label 900, above the 300 of label.csv",
        True,
    ),
    "huge whole id": (
        lambda f: _replace(f, "index.csv", "10;9", "10;90000"),
        "id out of range",
        "index.csv",
        "line 7 has the label 90000",
        True,
    ),
    "path": (
        lambda f: _replace(f, "index.csv", "sub/000_part_1.png", "../../x.png"),
        "path outside",
        "index.csv",
        "line 2 names '../../x.png'",
        True,
    ),
    "image path": (
        lambda f: _replace(f, "index.csv", "000.png", "/x.png"),
        "path outside",
        "index.csv",
        "line 2 names '/x.png'",
        True,
    ),
    "short row": (
        lambda f: _replace(f, "index.csv", "20,28", "20"),
        "incomplete row",
        "index.csv",
        "line 2 has 11 fields, not 12",
        True,
    ),
    "size word": (
        lambda f: _replace(f, "index.csv", "40,56", "40,x"),
        "bad table",
        "index.csv",
        "line 2 has 'x' as iw",
        True,
    ),
    "mixed sizes": (
        lambda f: _replace(f, "index.csv", "40,56", "41,56"),
        "mixed sizes",
        "index.csv",
        "line 2 has the sizes ((41, 56), (20, 28)) where most have ((40, 56), (20, 28))",
        True,
    ),
    "no index": (lambda f: (f / "index.csv").unlink(), "missing file", "index.csv", "is missing", True),
    "index column": (
        lambda f: _replace(f, "index.csv", ",scene,", ",view,"),
        "bad table",
        "index.csv",
        "lacks the column scene",
        True,
    ),
    "unread column": (_drop_category, "unread column", "index.csv", "has 2 cells in the column part", False),
    "empty index": (lambda f: (f / "index.csv").write_text(""), "bad table", "index.csv", "is empty", True),
    "no label table": (lambda f: (f / "label.csv").unlink(), "missing file", "label.csv", "is missing", True),
    "no category table": (
        lambda f: (f / "category.csv").unlink(),
        "missing file",
        "category.csv",
        "is missing",
        True,
    ),
    "no c_ table": (lambda f: (f / "c_part.csv").unlink(), "missing file", "c_part.csv", "is missing", True),
    "label column": (
        lambda f: _replace(f, "label.csv", "name", "title"),
        "bad table",
        "label.csv",
        "lacks the column name",
        True,
    ),
    "label number": (
        lambda f: _replace(f, "label.csv", "\n3,", "\nthree,"),
        "bad table",
        "label.csv",
        "'three' as number",
        True,
    ),
    "coverage": (
        lambda f: _replace(f, "c_scene.csv", "2.000000", "much"),
        "bad table",
        "c_scene.csv",
        "line 2 has 'much' as coverage",
        True,
    ),
    "category name": (
        lambda f: _replace(f, "category.csv", "part,", "pa/rt,"),
        "bad table",
        "category.csv",
        "line 4 has 'pa/rt' as a category",
        True,
    ),
    "id twice": (
        lambda f: _replace(f, "label.csv", "\n2,", "\n1,"),
        "duplicate",
        "label.csv",
        "line 3 gives the id 1 again",
        True,
    ),
    "name twice": (
        lambda f: _replace(f, "label.csv", "2,blue-c", "2,red-c"),
        "duplicate",
        "label.csv",
        "gives the name 'red-c' to 1 and to 2",
        False,
    ),
    "image twice": (
        lambda f: _replace(f, "index.csv", "002.png", "000.png"),
        "duplicate",
        "index.csv",
        "line 4 names 000.png, as line 2 does",
        False,
    ),
    "map twice": (
        lambda f: _replace(f, "index.csv", "sub/000_part_1.png", "sub/000_part_0.png"),
        "duplicate",
        "index.csv",
        "line 2 names sub/000_part_0.png, as line 2 does",
        False,
    ),
    "label twice": (
        lambda f: _replace(f, "index.csv", "10;9", "9;9"),
        "duplicate",
        "index.csv",
        "line 7 has 9 2 times as scene",
        False,
    ),
    "strays": (
        lambda f: (f / "images" / "sub" / "extra.txt").write_text(""),
        "stray files",
        "images",
        "has 1 files that index.csv does not name, such as sub/extra.txt",
        False,
    ),
    "count": (
        lambda f: _replace(f, "category.csv", "scene,9,10,2,3", "scene,9,10,4,3"),
        "tables disagree",
        "category.csv",
        "line 6 has '4' as count where its c_ table gives 2",
        False,
    ),
    "frequency": (
        lambda f: _replace(f, "category.csv", "scene,9,10,2,3", "scene,9,10,2,5"),
        "tables disagree",
        "category.csv",
        "line 6 has '5' as frequency where its c_ table gives 3",
        False,
    ),
    "first": (
        lambda f: _replace(f, "category.csv", "scene,9,10,2,3", "scene,8,10,2,3"),
        "tables disagree",
        "category.csv",
        "'8' as first where its c_ table gives 9",
        False,
    ),
    "label category": (
        lambda f: _replace(f, "label.csv", "object(1);part(2)", "object(1);part(3)"),
        "tables disagree",
        "label.csv",
        "has object(1);part(3) as category of 6 (door) where the c_ tables give object(1);part(2)",
        False,
    ),
    "label frequency": (
        lambda f: _replace(f, "label.csv", "street-s,scene(2),2", "street-s,scene(2),3"),
        "tables disagree",
        "label.csv",
        "has 3 as frequency of 9 (street-s) where the c_ tables give 2",
        False,
    ),
    "label coverage": (
        lambda f: _replace(f, "label.csv", "scene(2),2,2.000000", "scene(2),2,2.100000"),
        "tables disagree",
        "label.csv",
        "has 2.1 as coverage of 9 (street-s) where the c_ tables give 2",
        False,
    ),
    "other name": (
        lambda f: _replace(f, "c_scene.csv", "street-s", "road-s"),
        "tables disagree",
        "c_scene.csv",
        "names 9 'road-s' where label.csv says 'street-s'",
        False,
    ),
    "unknown label": (
        lambda f: _replace(f, "label.csv", "\n11,", "\n12,"),
        "tables disagree",
        "c_texture.csv",
        "lists 11 (striped), which label.csv lacks",
        False,
    ),
    "listed beyond": (
        lambda f: _replace(f, "c_scene.csv", "1,9,", "1,901,"),
        "id out of range",
        "c_scene.csv",
        "line 2 has the id 901, beyond label.csv",
        True,
    ),
    "unlisted": (
        lambda f: _map(f, 8),
        "tables disagree",
        "c_color.csv",
        "lacks 8, which 1 images carry as color",
        False,
    ),
    "images of a concept": (
        lambda f: _replace(f, "index.csv", "10;9", "10"),
        "tables disagree",
        "c_scene.csv",
        "has 2 images of 9 (street-s) where 1 carry it",
        False,
    ),
    "primary category": (
        lambda f: _replace(f, "c_object.csv", "6,door,1,0.042857", "6,door,1,9.5"),
        "tables disagree",
        "c_object.csv",
        "claims most of 6 (door), but more of its pixels are part",
        False,
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_findings(folder: Path, case: str) -> None:
    damage, kind, name, message, blocks = FAULTS[case]
    damage(folder)
    checkup = check_dataset(folder)
    found = [f for f in checkup.findings if (f.kind, f.file.name) == (kind, name) and message in f.message]
    assert [(f.blocks, f.message.endswith(".")) for f in found] == [(blocks, False)], checkup.findings
    assert checkup.sound == (not any(f.blocks for f in checkup.findings))


@pytest.mark.parametrize("case", FAULTS)
def test_what_blocks_is_what_the_reader_refuses(folder: Path, tmp_path: Path, case: str) -> None:
    FAULTS[case][0](folder)
    checkup = check_dataset(folder)
    try:
        pack_dataset(BrodenFolder(folder), tmp_path / "pack.h5").close()
        refused = False
    except DatasetError:
        refused = True
    assert refused == (not checkup.sound)


def test_stops_at_nothing(folder: Path) -> None:
    (folder / "images/000.png").unlink()
    _shorten(folder / "images/sub/000_color_0.png")
    (folder / "c_part.csv").unlink()
    edit(folder / "index.csv", "10;9", "10;900")
    edit(folder / "label.csv", "\n3,", "\nthree,")
    _resize(folder / "images/sub/004_material_0.png", (5, 6))
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
