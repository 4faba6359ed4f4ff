"""Every way in which a dataset can be wrong: what does it, and what the doctor must find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tinybroden import LABEL_SIZE, edit, write_map


def _map(folder: Path, ids: int) -> None:
    write_map(folder / "images" / "sub" / "000_color_0.png", np.full(LABEL_SIZE, ids, np.int32))


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200])


def resize(file: Path, size: tuple[int, int]) -> None:
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
    "image cut": (lambda f: shorten(f / "images/000.png"), "unreadable file", "000.png", "no readable image", True),
    "map cut": (
        lambda f: shorten(f / "images/sub/000_color_0.png"),
        "unreadable file",
        "000_color_0.png",
        "no readable PNG",
        True,
    ),
    "image size": (
        lambda f: resize(f / "images/000.png", (56, 39)),
        "wrong size",
        "000.png",
        "is 39x56 pixels (height x width) where index.csv says 40x56",
        True,
    ),
    "map size": (
        lambda f: resize(f / "images/sub/000_part_1.png", (27, 20)),
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
        lambda f: edit(f / "index.csv", "10;9", "10;900"),
        "id out of range",
        "index.csv",
        "line 7 has the label 900, above the 300 of label.csv",
        True,
    ),
    "huge whole id": (
        lambda f: edit(f / "index.csv", "10;9", "10;90000"),
        "id out of range",
        "index.csv",
        "line 7 has the label 90000",
        True,
    ),
    "path": (
        lambda f: edit(f / "index.csv", "sub/000_part_1.png", "../../x.png"),
        "path outside",
        "index.csv",
        "line 2 names '../../x.png'",
        True,
    ),
    "image path": (
        lambda f: edit(f / "index.csv", "000.png", "/x.png"),
        "path outside",
        "index.csv",
        "line 2 names '/x.png'",
        True,
    ),
    "short row": (
        lambda f: edit(f / "index.csv", "20,28", "20"),
        "incomplete row",
        "index.csv",
        "line 2 has 11 fields, not 12",
        True,
    ),
    "size word": (
        lambda f: edit(f / "index.csv", "40,56", "40,x"),
        "bad table",
        "index.csv",
        "line 2 has 'x' as iw",
        True,
    ),
    "mixed sizes": (
        lambda f: edit(f / "index.csv", "40,56", "41,56"),
        "mixed sizes",
        "index.csv",
        "line 2 has the sizes ((41, 56), (20, 28)) where most have ((40, 56), (20, 28))",
        True,
    ),
    "no index": (lambda f: (f / "index.csv").unlink(), "missing file", "index.csv", "is missing", True),
    "index column": (
        lambda f: edit(f / "index.csv", ",scene,", ",view,"),
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
        lambda f: edit(f / "label.csv", "name", "title"),
        "bad table",
        "label.csv",
        "lacks the column name",
        True,
    ),
    "label number": (
        lambda f: edit(f / "label.csv", "\n3,", "\nthree,"),
        "bad table",
        "label.csv",
        "'three' as number",
        True,
    ),
    "coverage": (
        lambda f: edit(f / "c_scene.csv", "2.000000", "much"),
        "bad table",
        "c_scene.csv",
        "line 2 has 'much' as coverage",
        True,
    ),
    "category name": (
        lambda f: edit(f / "category.csv", "part,", "pa/rt,"),
        "bad table",
        "category.csv",
        "line 4 has 'pa/rt' as a category",
        True,
    ),
    "id twice": (
        lambda f: edit(f / "label.csv", "\n2,", "\n1,"),
        "duplicate",
        "label.csv",
        "line 3 gives the id 1 again",
        True,
    ),
    "name twice": (
        lambda f: edit(f / "label.csv", "2,blue-c", "2,red-c"),
        "duplicate",
        "label.csv",
        "gives the name 'red-c' to 1 and to 2",
        False,
    ),
    "image twice": (
        lambda f: edit(f / "index.csv", "002.png", "000.png"),
        "duplicate",
        "index.csv",
        "line 4 names 000.png, as line 2 does",
        False,
    ),
    "map twice": (
        lambda f: edit(f / "index.csv", "sub/000_part_1.png", "sub/000_part_0.png"),
        "duplicate",
        "index.csv",
        "line 2 names sub/000_part_0.png, as line 2 does",
        False,
    ),
    "label twice": (
        lambda f: edit(f / "index.csv", "10;9", "9;9"),
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
        lambda f: edit(f / "category.csv", "scene,9,10,2,3", "scene,9,10,4,3"),
        "tables disagree",
        "category.csv",
        "line 6 has '4' as count where its c_ table gives 2",
        False,
    ),
    "frequency": (
        lambda f: edit(f / "category.csv", "scene,9,10,2,3", "scene,9,10,2,5"),
        "tables disagree",
        "category.csv",
        "line 6 has '5' as frequency where its c_ table gives 3",
        False,
    ),
    "first": (
        lambda f: edit(f / "category.csv", "scene,9,10,2,3", "scene,8,10,2,3"),
        "tables disagree",
        "category.csv",
        "'8' as first where its c_ table gives 9",
        False,
    ),
    "label category": (
        lambda f: edit(f / "label.csv", "object(1);part(2)", "object(1);part(3)"),
        "tables disagree",
        "label.csv",
        "has object(1);part(3) as category of 6 (door) where the c_ tables give object(1);part(2)",
        False,
    ),
    "label frequency": (
        lambda f: edit(f / "label.csv", "street-s,scene(2),2", "street-s,scene(2),3"),
        "tables disagree",
        "label.csv",
        "has 3 as frequency of 9 (street-s) where the c_ tables give 2",
        False,
    ),
    "label coverage": (
        lambda f: edit(f / "label.csv", "scene(2),2,2.000000", "scene(2),2,2.100000"),
        "tables disagree",
        "label.csv",
        "has 2.1 as coverage of 9 (street-s) where the c_ tables give 2",
        False,
    ),
    "other name": (
        lambda f: edit(f / "c_scene.csv", "street-s", "road-s"),
        "tables disagree",
        "c_scene.csv",
        "names 9 'road-s' where label.csv says 'street-s'",
        False,
    ),
    "unknown label": (
        lambda f: edit(f / "label.csv", "\n11,", "\n12,"),
        "tables disagree",
        "c_texture.csv",
        "lists 11 (striped), which label.csv lacks",
        False,
    ),
    "listed beyond": (
        lambda f: edit(f / "c_scene.csv", "1,9,", "1,901,"),
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
        lambda f: edit(f / "index.csv", "10;9", "10"),
        "tables disagree",
        "c_scene.csv",
        "has 2 images of 9 (street-s) where 1 carry it",
        False,
    ),
    "primary category": (
        lambda f: edit(f / "c_object.csv", "6,door,1,0.042857", "6,door,1,9.5"),
        "tables disagree",
        "c_object.csv",
        "claims most of 6 (door), but more of its pixels are part",
        False,
    ),
}
