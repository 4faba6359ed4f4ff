"""The reader of Broden's layout, on a tiny dataset and on a real one."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tinybroden import CATEGORIES, IMAGE_SIZE, LABEL_SIZE, NAMES, edit, make_broden, write_map

from ndengine.datasets import recognise_release
from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.tables import leaves_folder
from ndengine.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_broden(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_reads_what_was_written(tmp_path: Path) -> None:
    maps, whole = make_broden(tmp_path / "tiny", images=9)
    dataset = BrodenFolder(tmp_path / "tiny")
    assert len(dataset) == 9
    assert dataset.name == "tiny"
    assert dataset.image_size == IMAGE_SIZE
    assert dataset.label_size == LABEL_SIZE
    assert dataset.splits[:3] == ["train", "train", "val"]
    assert dataset.image_names[:2] == ["000.png", "sub/001.png"]
    for i in range(9):
        found, labels = dataset.labels(i)
        assert found.dtype == np.int32
        assert found.shape == (len(maps[i]), *LABEL_SIZE)
        assert np.array_equal(found, np.array(maps[i]).reshape(found.shape))
        assert labels == whole[i]
        with Image.open(tmp_path / "tiny" / "images" / dataset.image_names[i]) as picture:
            assert np.array_equal(dataset.image(i), np.asarray(picture))
    assert dataset.labels(0)[0].max() == 300
    assert whole[5] == [10, 9, 11]


def test_vocabulary(folder: Path) -> None:
    vocabulary = BrodenFolder(folder).vocabulary
    assert vocabulary.categories == CATEGORIES
    assert len(vocabulary.names) == len(vocabulary.primary) == 300
    assert {c: n for c, n in enumerate(vocabulary.names, 1) if n} == NAMES
    primary = {name: vocabulary.primary[number - 1] for number, name in NAMES.items()}
    assert primary["sky"] == CATEGORIES.index("object")
    assert primary["door"] == CATEGORIES.index("part")  # in both, mostly a part
    assert primary["tower"] == CATEGORIES.index("object")
    assert vocabulary.primary[20] == -1
    assert vocabulary.names[20] == ""


def test_later_category_wins_a_tie(folder: Path) -> None:
    number = 6
    for category in ("object", "part"):
        rows = list(csv.DictReader((folder / f"c_{category}.csv").read_text().splitlines()))
        (row,) = [row for row in rows if int(row["number"]) == number]
        edit(folder / f"c_{category}.csv", row["coverage"], "0.5")
    assert BrodenFolder(folder).vocabulary.primary[number - 1] == CATEGORIES.index("part")
    edit(folder / "category.csv", "part,", "swap,")
    edit(folder / "category.csv", "object,", "part,")
    edit(folder / "category.csv", "swap,", "object,")
    vocabulary = BrodenFolder(folder).vocabulary
    assert vocabulary.categories[vocabulary.primary[number - 1]] == "object"


def test_index_may_have_a_column_that_is_no_category(folder: Path) -> None:
    lines = (folder / "category.csv").read_text().splitlines()
    (folder / "category.csv").write_text("\n".join(line for line in lines if not line.startswith("part")))
    (folder / "c_part.csv").unlink()
    dataset = BrodenFolder(folder)
    assert "part" not in dataset.vocabulary.categories
    assert len(dataset.labels(0)[0]) == 3


def test_rgba_maps_and_byte_order_mark(folder: Path) -> None:
    dataset = BrodenFolder(folder)
    before = dataset.labels(0)[0]
    file = folder / "images" / dataset.entries[0].maps[1]
    with Image.open(file) as picture:
        picture.convert("RGBA").save(file)
    (folder / "label.csv").write_bytes(b"\xef\xbb\xbf" + (folder / "label.csv").read_bytes())
    assert np.array_equal(BrodenFolder(folder).labels(0)[0], before)


def test_exif_orientation_is_applied(folder: Path) -> None:
    dataset = BrodenFolder(folder)
    upright = dataset.image(0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    lying = Image.fromarray(np.rot90(upright).copy())
    lying.save(folder / "images" / "000.png", exif=exif)
    assert np.array_equal(dataset.image(0), upright)


def test_grey_images_get_three_channels(folder: Path) -> None:
    dataset = BrodenFolder(folder)
    grey = dataset.image(0)[..., 0]
    Image.fromarray(grey).save(folder / "images" / "000.png")
    assert np.array_equal(dataset.image(0), np.stack([grey] * 3, axis=-1))


def test_fingerprint_follows_size_and_time_and_tables(folder: Path) -> None:
    def fingerprint() -> str:
        return BrodenFolder(folder).fingerprint()

    first = fingerprint()
    assert first == fingerprint()
    assert int(first, 16) >= 0
    file = folder / "images" / "sub" / "000_object_0.png"
    state = file.stat()
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    second = fingerprint()
    assert second != first
    file.write_bytes(file.read_bytes() + b"\0")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    third = fingerprint()
    assert third not in (first, second)
    file.write_bytes(file.read_bytes()[:-1])
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert fingerprint() == first
    edit(folder / "c_object.csv", "house", "House")
    assert fingerprint() != first
    (folder / "images" / "000.png").unlink()
    with pytest.raises(DatasetError, match=r"000\.png is missing"):
        fingerprint()


def test_fingerprint_moves_with_the_folder(folder: Path) -> None:
    before = BrodenFolder(folder).fingerprint()
    folder.rename(folder.with_name("moved"))
    assert BrodenFolder(folder.with_name("moved")).fingerprint() == before


def _drop_column(folder: Path) -> None:
    text = (folder / "index.csv").read_text()
    (folder / "index.csv").write_text(text.replace(",scene,", ",scenery,", 1))


TABLE_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda f: (f / "index.csv").unlink(), r"index\.csv is missing"),
    "no categories": (lambda f: (f / "category.csv").unlink(), r"category\.csv is missing"),
    "no labels": (lambda f: (f / "label.csv").unlink(), r"label\.csv is missing"),
    "no category table": (lambda f: (f / "c_part.csv").unlink(), r"c_part\.csv is missing"),
    "empty file": (lambda f: (f / "index.csv").write_text(""), r"index\.csv is empty"),
    "no rows": (lambda f: (f / "index.csv").write_text(_header(f) + "\n"), r"index\.csv has no rows"),
    "missing column": (_drop_column, r"index\.csv lacks the column scene"),
    "short row": (lambda f: edit(f / "index.csv", "20,28", "20"), r"index\.csv line 2 has 11 fields, not 12"),
    "not UTF-8": (lambda f: (f / "label.csv").write_bytes(b"number,name\n1,\xff\n"), "not UTF-8"),
    "not CSV": (lambda f: (f / "label.csv").write_text('number,name\n1,"a" b\n'), "no CSV table"),
    "twice a column": (lambda f: edit(f / "label.csv", "name", "number"), "names a column twice"),
    "word for a number": (lambda f: edit(f / "label.csv", "\n1,", "\none,"), "'one' as number"),
    "id twice": (lambda f: edit(f / "label.csv", "\n2,", "\n1,"), "gives the id 1 again"),
    "huge id": (lambda f: edit(f / "label.csv", "\n2,", "\n70000,"), "id 70000, beyond 65535"),
    "coverage": (lambda f: edit(f / "c_scene.csv", "1,9,street-s,2,2.000000", "1,9,street-s,2,nan"), "'nan'"),
    "id beyond labels": (lambda f: edit(f / "c_scene.csv", "1,9,", "1,901,"), "id 901, beyond label.csv"),
    "category twice": (lambda f: edit(f / "category.csv", "part,", "object,"), "category object twice"),
    "category path": (lambda f: edit(f / "category.csv", "part,", "../part,"), "'../part' as a category"),
    "size 0": (lambda f: edit(f / "index.csv", "40,56", "0,56"), "line 2 has a size of 0 pixels"),
    "size word": (lambda f: edit(f / "index.csv", "40,56", "big,56"), "line 2 has 'big' as ih"),
    "mixed sizes": (lambda f: edit(f / "index.csv", "40,56", "40,57"), r"line 3 has the sizes \(40, 56"),
    "path outside": (lambda f: edit(f / "index.csv", "000.png", "../000.png"), "names '../000.png', no path"),
    "absolute path": (lambda f: edit(f / "index.csv", "000.png", "/etc/000.png"), "names '/etc/000.png'"),
    "whole label": (lambda f: edit(f / "index.csv", "10;9", "301;9"), "label 301, above the 300"),
}


def _header(folder: Path) -> str:
    return (folder / "index.csv").read_text().splitlines()[0]


@pytest.mark.parametrize("case", TABLE_FAULTS)
def test_damaged_tables(folder: Path, case: str) -> None:
    damage, message = TABLE_FAULTS[case]
    damage(folder)
    with pytest.raises(DatasetError, match=message) as caught:
        BrodenFolder(folder)
    assert str(folder) in str(caught.value)
    assert str(caught.value).endswith(".")
    assert "; " in str(caught.value)  # a remedy


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere is no folder"):
        BrodenFolder(tmp_path / "nowhere")


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _garble(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))


FILE_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "is missing"),
    "empty": (lambda f: f.write_bytes(b""), "is no readable"),
    "truncated": (_truncate, "is no readable"),
    "garbled": (_garble, "is no readable"),
    "text": (lambda f: f.write_text("not a picture"), "no format that Pillow knows"),
    "folder": (lambda f: (f.unlink(), f.mkdir()), "is no readable"),
    "other size": (lambda f: Image.new("RGB", (9, 7)).save(f), r"is 7x9 pixels \(height x width\) where"),
}


@pytest.mark.parametrize("case", FILE_FAULTS)
@pytest.mark.parametrize("kind", ["image", "map"])
def test_damaged_files(folder: Path, case: str, kind: str) -> None:
    dataset = BrodenFolder(folder)
    file = folder / "images" / ("000.png" if kind == "image" else dataset.entries[0].maps[1])
    damage, message = FILE_FAULTS[case]
    damage(file)
    with pytest.raises(DatasetError, match=message) as caught:
        dataset.image(0) if kind == "image" else dataset.labels(0)
    assert str(file) in str(caught.value)
    assert "data check" in str(caught.value)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "I;16"])
def test_maps_of_other_modes_are_refused(folder: Path, mode: str) -> None:
    dataset = BrodenFolder(folder)
    file = folder / "images" / dataset.entries[0].maps[0]
    Image.new(mode, (LABEL_SIZE[1], LABEL_SIZE[0])).save(file)
    with pytest.raises(DatasetError, match=rf"mode {mode}; save label maps as RGB"):
        dataset.labels(0)


def test_maps_in_a_lossy_format_are_refused(folder: Path) -> None:
    dataset = BrodenFolder(folder)
    Image.new("RGB", (LABEL_SIZE[1], LABEL_SIZE[0])).save(folder / "images" / dataset.entries[0].maps[0], format="JPEG")
    with pytest.raises(DatasetError, match="no readable PNG"):
        dataset.labels(0)


def test_deep_images_are_refused(folder: Path) -> None:
    Image.new("I;16", (IMAGE_SIZE[1], IMAGE_SIZE[0])).save(folder / "images" / "000.png")
    with pytest.raises(DatasetError, match="mode I;16"):
        BrodenFolder(folder).image(0)


def test_id_beyond_the_labels(folder: Path) -> None:
    dataset = BrodenFolder(folder)
    file = folder / "images" / dataset.entries[0].maps[0]
    ids = np.zeros(LABEL_SIZE, np.int32)
    ids[3, 5] = 301
    write_map(file, ids)
    with pytest.raises(DatasetError, match=r"000_color_0\.png holds the id 301, above the 300 of label"):
        dataset.labels(0)
    ids[3, 5] = 20  # a gap in label.csv is no fault
    write_map(file, ids)
    assert dataset.labels(0)[0][0, 3, 5] == 20


def test_paths() -> None:
    assert [leaves_folder(n) for n in ("a/b.png", "a..b.png", ".hidden.png")] == [False] * 3
    assert all(leaves_folder(n) for n in ("", "../a", "a/../../b", "/a", "\\a", "..\\a", "C:/a", "a\0b"))


def test_releases() -> None:
    assert recognise_release(63_305, 1_197, (227, 227)) == "broden1_227"
    assert recognise_release(63_305, 1_197, (100, 100)) is None
    assert recognise_release(63_304, 1_197, (227, 227)) is None


def test_minibroden(shared: Path) -> None:
    dataset = BrodenFolder(shared / "minibroden")
    assert len(dataset) == 952
    assert dataset.image_size == (224, 224)
    assert dataset.label_size == (112, 112)
    assert dataset.vocabulary.categories == ("color", "material", "object", "scene", "texture")
    assert len(dataset.vocabulary.names) == 338
    # No concept is in two categories here, so the primary one is the only one.
    for k, category in enumerate(dataset.vocabulary.categories):
        rows = csv.DictReader((shared / "minibroden" / f"c_{category}.csv").read_text().splitlines())
        numbers = sorted(int(row["number"]) for row in rows)
        assert (np.flatnonzero(dataset.vocabulary.primary == k) + 1).tolist() == numbers
    maps, whole = dataset.labels(2)
    assert maps.shape == (4, 112, 112)
    assert whole == [19]
    assert dataset.vocabulary.names[18] == "coffee shop-s"
    with Image.open(shared / "minibroden" / "images" / dataset.entries[2].maps[0]) as picture:
        red, green, _ = np.moveaxis(np.asarray(picture).astype(int), -1, 0)
    assert np.array_equal(maps[0], red + 256 * green)
    assert dataset.image(2).shape == (224, 224, 3)
