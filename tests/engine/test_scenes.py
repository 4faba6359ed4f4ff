"""The built-in scenes: the same from the same seed, dense in all six categories, with tables that tell the truth."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.check import check_dataset
from ndengine.datasets.scenery.canvas import SIZE, Canvas, Finish, box, disc, polygon
from ndengine.datasets.scenery.palette import PROTOTYPES, name_colors
from ndengine.datasets.scenery.patterns import MATERIAL_PATTERNS, TEXTURE_PATTERNS
from ndengine.datasets.scenery.vocabulary import CATEGORIES, MATERIALS, NAMES, NUMBERS, SCENES, TEXTURES
from ndengine.datasets.scenes import IMAGES, VERSION, make_scene, scenes_folder, write_scenes
from ndengine.errors import DatasetError

FEW = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty scenes on disk."""
    path = tmp_path_factory.mktemp("scenes") / "dataset"
    write_scenes(path, images=FEW, seed=5)
    return path


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _labels(folder: Path, cell: str) -> list[NDArray[np.int64]]:
    """Read the label maps and the whole-image labels of a cell, each as a map."""
    maps = []
    for item in filter(None, cell.split(";")):
        if item.isdecimal():
            maps.append(np.full((SIZE // 2, SIZE // 2), int(item)))
        else:
            codes = np.asarray(Image.open(folder / "images" / item)).astype(np.int64)
            maps.append(codes[..., 0] + 256 * codes[..., 1])
    return maps


def test_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "again", images=FEW, seed=5)
    assert _contents(tmp_path / "again") == _contents(folder)


def test_another_seed_gives_other_pictures(folder: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "other", images=10, seed=6)
    for stem in ("00000", "00009"):
        assert (tmp_path / f"other/images/{stem}.png").read_bytes() != (folder / f"images/{stem}.png").read_bytes()


def test_a_picture_does_not_depend_on_how_many_there_are(folder: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "few", images=3, seed=5)
    few = {name: data for name, data in _contents(tmp_path / "few").items() if name.startswith("images")}
    assert few.items() <= _contents(folder).items()


def test_drawing_order_is_not_shared_between_pictures() -> None:
    alone = make_scene(7, 5).photo
    make_scene(3, 5)
    assert (make_scene(7, 5).photo == alone).all()


def test_the_reader_and_the_doctor_accept_it(folder: Path) -> None:
    source = BrodenFolder(folder)
    assert len(source) == FEW
    assert source.vocabulary.categories == CATEGORIES
    assert source.image(0).shape == (SIZE, SIZE, 3)
    maps, whole = source.labels(0)
    assert maps.shape[1:] == (SIZE // 2, SIZE // 2)
    assert whole == [NUMBERS["street-s"]]
    assert not check_dataset(folder).findings


def test_all_six_categories_are_dense(folder: Path) -> None:
    index = _rows(folder / "index.csv")
    share = {category: sum(bool(row[category]) for row in index) / FEW for category in CATEGORIES}
    assert share["color"] == 1
    assert share["scene"] == 0.7
    least = {"object": 0.7, "part": 0.65, "material": 0.75, "texture": 0.45}
    assert all(share[category] >= floor for category, floor in least.items()), share
    assert {len(row["part"].split(";")) for row in index if row["part"]} >= {1, 2}, "parts of parts are missing"
    assert {row["split"] for row in index} == {"train", "val"}


def test_color_maps_leave_no_pixel_out(folder: Path) -> None:
    for row in _rows(folder / "index.csv"):
        (colors,) = _labels(folder, row["color"])
        assert colors.min() >= 1
        assert colors.max() <= len(NAMES["color"])


def test_tables_agree_with_the_pixels(folder: Path) -> None:
    index = _rows(folder / "index.csv")
    total: dict[int, list[str]] = {}
    for category, summary in zip(CATEGORIES, _rows(folder / "category.csv"), strict=True):
        images, area = np.zeros(len(NUMBERS) + 1, np.int64), np.zeros(len(NUMBERS) + 1, np.int64)
        for row in index:
            maps = _labels(folder, row[category])
            counts = sum((np.bincount(each.ravel(), minlength=len(area)) for each in maps), np.zeros_like(area))
            area += counts
            images += counts > 0
        table = _rows(folder / f"c_{category}.csv")
        listed = {int(row["number"]): row for row in table}
        assert sorted(listed) == [n for n in np.flatnonzero(images) if n]
        assert [int(row["code"]) for row in table] == list(range(1, len(table) + 1))
        for number, row in listed.items():
            assert NUMBERS[row["name"]] == number
            assert row["name"] in NAMES[category]
            assert int(row["frequency"]) == images[number]
            assert float(row["coverage"]) == pytest.approx(area[number] / (SIZE // 2) ** 2, abs=6e-5)
            total.setdefault(number, []).append(f"{category}({images[number]})")
        expected = (min(listed), max(listed), len(listed), images[1:].sum())
        assert tuple(int(summary[key]) for key in ("first", "last", "count", "frequency")) == expected
        assert summary["name"] == category
    labels = {int(row["number"]): row["category"] for row in _rows(folder / "label.csv")}
    assert labels == {number: ";".join(places) for number, places in total.items()}


def test_every_file_is_listed_and_every_listed_file_exists(folder: Path) -> None:
    listed = set()
    for row in _rows(folder / "index.csv"):
        listed.add(row["image"])
        listed.update(item for category in CATEGORIES for item in row[category].split(";") if item.endswith(".png"))
    assert listed == {path.name for path in (folder / "images").iterdir()}


def test_an_image_has_no_concept_twice_at_a_pixel(folder: Path) -> None:
    for row in _rows(folder / "index.csv"):
        maps = np.stack([each for category in CATEGORIES for each in _labels(folder, row[category])])
        ordered = np.sort(maps, axis=0)
        assert not ((ordered[1:] == ordered[:-1]) & (ordered[1:] > 0)).any(), row["image"]


def test_ids_count_from_one_without_a_gap() -> None:
    assert sorted(NUMBERS.values()) == list(range(1, len(NUMBERS) + 1))
    assert {name for names in NAMES.values() for name in names} == set(NUMBERS)
    assert {"wall", "door", "window"} <= set(NAMES["object"]) & set(NAMES["part"])
    assert set(MATERIAL_PATTERNS) == set(MATERIALS)
    assert set(TEXTURE_PATTERNS) == set(TEXTURES)


def test_a_hundred_pictures_show_every_scene_and_texture() -> None:
    seen = {max(scene.whole.values()) for scene in (make_scene(index) for index in range(100))}
    assert seen == {0, *(NUMBERS[f"{name}-s"] for name in SCENES), *(NUMBERS[name] for name in TEXTURES)}


@pytest.mark.slow
def test_every_concept_is_in_ten_pictures() -> None:
    """The least that a concept needs to be scored."""
    images = np.zeros(len(NUMBERS) + 1, np.int64)
    for scene in map(make_scene, range(IMAGES)):
        ids = [np.unique(each) for maps in scene.maps.values() for each in maps]
        images[np.unique(np.concatenate([*ids, list(scene.whole.values())]))] += 1
    assert not [name for name, number in NUMBERS.items() if images[number] < 10]


@pytest.mark.parametrize("name", [*TEXTURE_PATTERNS, *MATERIAL_PATTERNS])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (112, 112), (14, 9)], ids=str)
def test_patterns_cover_any_shape(name: str, shape: tuple[int, int]) -> None:
    pattern = (TEXTURE_PATTERNS | MATERIAL_PATTERNS)[name]
    tones = pattern(np.random.default_rng(0), shape, 8.0)
    assert tones.shape == shape
    assert np.isfinite(tones).all()
    assert np.abs(tones).max() <= 2.5
    if min(shape) > 1 and name != "skin":
        assert tones.std() > 0.05


def test_a_canvas_labels_what_it_paints() -> None:
    canvas = Canvas(np.random.default_rng(0))
    canvas.paint("sky", box(0, 0, SIZE, SIZE), Finish((0, 0, 255)))
    canvas.paint("car", box(10, 20, 30, 40), Finish((255, 0, 0), "metal"), part="wheel", detail="rim")
    canvas.paint("sun", disc(300, 300, 20), Finish((255, 255, 0)))  # outside the picture
    inside = np.zeros((SIZE // 2, SIZE // 2), bool)
    inside[10:20, 5:15] = True
    assert (canvas.maps["object"] == np.where(inside, NUMBERS["car"], NUMBERS["sky"])).all()
    for layer, name in (("part", "wheel"), ("detail", "rim"), ("material", "metal")):
        assert (canvas.maps[layer] == np.where(inside, NUMBERS[name], 0)).all()
    assert not canvas.maps["texture"].any()
    assert (canvas.pixels[~inside.repeat(2, 0).repeat(2, 1)] == (0, 0, 255)).all()
    canvas.paint("tent", polygon((0, 0), (0, SIZE), (SIZE, 0)), Finish((0, 0, 0)))
    assert (canvas.maps["object"] == NUMBERS["tent"]).sum() == pytest.approx((SIZE // 2) ** 2 / 2, rel=0.03)
    assert canvas.maps["part"][10:15, 5:10].max() == 0, "what is painted over must lose its labels"


@pytest.mark.parametrize(("name", "colour"), PROTOTYPES)
def test_prototypes_carry_their_own_color(name: str, colour: tuple[float, float, float]) -> None:
    photo = np.broadcast_to(np.array(colour, np.uint8), (4, 6, 3))
    assert (name_colors(photo) == NUMBERS[f"{name}-c"]).all()


def test_folder_is_painted_once(tmp_path: Path) -> None:
    first = scenes_folder(tmp_path / "cache", images=5, seed=3)
    assert f"v{VERSION}" in first.name
    assert first.name.endswith("seed3")
    stamps = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    assert scenes_folder(tmp_path / "cache", images=5, seed=3) == first
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == stamps
    assert scenes_folder(tmp_path / "cache", images=4, seed=3) != first
    assert not [path for path in first.parent.iterdir() if path.is_dir() and not (path / "index.csv").exists()]


@pytest.mark.parametrize("harm", ["picture lost", "picture cut", "table changed", "receipt lost", "receipt garbled"])
def test_a_damaged_folder_is_painted_again(tmp_path: Path, harm: str) -> None:
    folder = scenes_folder(tmp_path, images=3)
    whole = _contents(folder)
    match harm:
        case "picture lost":
            (folder / "images/00001.png").unlink()
        case "picture cut":
            (folder / "images/00001.png").write_bytes(whole["images/00001.png"][:100])
        case "table changed":
            (folder / "index.csv").write_bytes(whole["index.csv"][:-20])
        case "receipt lost":
            (folder / "scenes.json").unlink()
        case _:
            (folder / "scenes.json").write_text("[")
    assert _contents(scenes_folder(tmp_path, images=3)) == whole


def test_an_interrupted_painting_leaves_nothing_to_be_taken_for_a_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ndengine.datasets.scenes.write_index", stop)
        with pytest.raises(KeyboardInterrupt):
            scenes_folder(tmp_path, images=3)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(BrodenFolder(scenes_folder(tmp_path, images=3))) == 3


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DatasetError, match=r"scenes can't be kept in .*cache .*choose a cache folder"):
        scenes_folder(tmp_path / "cache", images=3)


def test_scenes_do_not_overwrite(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(DatasetError, match="mine is in the way"):
        write_scenes(tmp_path / "mine", images=3)
    shutil.rmtree(tmp_path / "mine")
    with pytest.raises(DatasetError, match="at least one image"):
        write_scenes(tmp_path / "mine", images=0)
