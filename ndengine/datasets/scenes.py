"""The built-in dataset: small painted scenes in Broden's layout, made from a seed.

A demonstration and a test bed: every picture comes with exact labels of all six categories, and nothing has to be
downloaded. Of ten pictures seven are scenes, two are textures and one is a close-up of materials, as Broden mixes
ADE20K, DTD and OpenSurfaces. Picture ``i`` of a seed is the same whatever the number of pictures.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from ndengine.datasets.scenery import views
from ndengine.datasets.scenery.canvas import SIZE, Canvas
from ndengine.datasets.scenery.palette import name_colors
from ndengine.datasets.scenery.tables import Census, write_index
from ndengine.datasets.scenery.vocabulary import CATEGORIES, NUMBERS, SCENES, TEXTURES
from ndengine.errors import DatasetError
from ndengine.progress import SILENT, Progress

VERSION = 1  # counts up whenever the pictures of a seed change
IMAGES = 1000
SEED = 0
SHEETS = ("scene", "scene", "texture", "scene", "scene", "closeup", "scene", "scene", "texture", "scene")
TRAIN_SHARE = 0.7
RECEIPT = "scenes.json"  # written last; what a finished folder must hold


@dataclass(frozen=True)
class Scene:
    """One picture with its labels.

    Attributes
    ----------
    photo : ndarray [SIZE, SIZE, 3] uint8
    maps : dict of str to list of ndarray [SIZE // 2, SIZE // 2] uint16
        Label maps by category, concept ids, 0 = none; a map without any label is left out.
    whole : dict of str to int
        Label of the whole image by category, 0 = none.
    split : str
        "train" or "val".
    """

    photo: NDArray[np.uint8]
    maps: dict[str, list[NDArray[np.uint16]]]
    whole: dict[str, int]
    split: str


def make_scene(index: int, seed: int = SEED) -> Scene:
    """Paint picture number ``index`` of a seed."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((VERSION, seed, index))))
    split = "train" if rng.random() < TRAIN_SHARE else "val"
    canvas, whole = Canvas(rng), dict.fromkeys(CATEGORIES, 0)
    turn, place = divmod(index, len(SHEETS))
    sheet = SHEETS[place]
    earlier = turn * SHEETS.count(sheet) + SHEETS[:place].count(sheet)  # sheets of this kind before this one
    light = canvas.between(0.78, 1.15)
    if sheet == "scene":
        name = SCENES[earlier % len(SCENES)]
        views.SCENE_VIEWS[name](canvas)
        whole["scene"] = NUMBERS[f"{name}-s"]
    elif sheet == "texture":
        name = TEXTURES[earlier % len(TEXTURES)]
        views.texture_sheet(canvas, name)
        whole["texture"] = NUMBERS[name]
    else:
        views.material_closeup(canvas)
    tint = (canvas.between(0.93, 1.07), 1.0, canvas.between(0.93, 1.07))
    photo = canvas.develop(light=light, tint=tint)
    maps = {
        "color": [name_colors(photo)],
        "object": [canvas.maps["object"]],
        "part": [canvas.maps["part"], canvas.maps["detail"]],
        "material": [canvas.maps["material"]],
        "scene": [],
        "texture": [canvas.maps["texture"]],
    }
    return Scene(photo, {cat: [each for each in maps[cat] if each.any()] for cat in CATEGORIES}, whole, split)


def write_scenes(folder: Path, images: int = IMAGES, seed: int = SEED, progress: Progress = SILENT) -> None:
    """Write a dataset of scenes in Broden's layout.

    The files are the same, byte for byte, whenever version, ``seed``, ``images`` and the installed NumPy and
    Pillow are the same.

    Parameters
    ----------
    folder : Path
        Made if it does not exist; must be empty.
    images : int
        How many pictures; at least 10 make all six categories appear.
    seed : int
        Any number from 0; another seed gives other pictures.
    progress : Progress
        Told of every picture written.

    Raises
    ------
    DatasetError
        If the folder holds something already, or the numbers make no sense.
    """
    if images < 1 or seed < 0:
        raise DatasetError(f"scenes need at least one image and a seed from 0, not {images} and {seed}: choose others")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is in the way of new scenes: choose an empty folder")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    census = Census((SIZE // 2) ** 2)
    rows: list[tuple[object, ...]] = []

    def paint(index: int) -> Scene:
        scene = make_scene(index, seed)
        _write_pictures(folder / "images", f"{index:05d}", scene)
        return scene

    stage = progress.stage("Painting scenes", images, "images")
    with stage as advance, ThreadPoolExecutor(2) as pool:
        for index, scene in enumerate(pool.map(paint, range(images))):
            stem, cells = f"{index:05d}", []
            for category in CATEGORIES:
                maps, whole = scene.maps[category], scene.whole[category]
                census.add(category, maps, whole)
                cells.append(";".join([*_map_names(stem, category, len(maps)), *([str(whole)] if whole else [])]))
            rows.append((f"{stem}.png", scene.split, SIZE, SIZE, SIZE // 2, SIZE // 2, *cells))
            advance(1)
    census.write(folder)
    write_index(folder, rows)
    receipt = {"version": VERSION, "seed": seed, "images": images, "content": _content(folder)}
    (folder / RECEIPT).write_text(json.dumps(receipt) + "\n", encoding="utf-8")


def scenes_folder(cache: Path, progress: Progress = SILENT, images: int = IMAGES, seed: int = SEED) -> Path:
    """Return the folder of the built-in scenes, painting them on first use.

    A folder is taken only if it is whole: it is painted under another name and renamed when finished, and one that
    lost or changed a file since is painted again.

    Parameters
    ----------
    cache : Path
        Where the folder is kept; made if missing.
    progress : Progress
        Told of the painting.
    images, seed : int
        Which scenes; both are part of the folder's name.

    Raises
    ------
    DatasetError
        If the cache folder can't be written.
    """
    folder = cache / f"scenes-v{VERSION}-{images}-seed{seed}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not _is_whole(folder):
                _replace(folder, images, seed, progress)
    except OSError as error:
        raise DatasetError(
            f"the built-in scenes can't be kept in {cache} ({error.strerror or error}): "
            "choose a cache folder that can be written"
        ) from error
    return folder


def _replace(folder: Path, images: int, seed: int, progress: Progress) -> None:
    """Paint next to the folder and put the result in its place."""
    fresh = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    try:
        write_scenes(fresh / folder.name, images, seed, progress)
        if folder.exists():
            shutil.rmtree(folder)
        (fresh / folder.name).rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write_pictures(folder: Path, stem: str, scene: Scene) -> None:
    """Write a photograph and its label maps as PNG files."""
    Image.fromarray(scene.photo).save(folder / f"{stem}.png", compress_level=1)
    for category, maps in scene.maps.items():
        for name, labels in zip(_map_names(stem, category, len(maps)), maps, strict=True):
            codes = np.stack([labels % 256, labels // 256, np.zeros_like(labels)], axis=-1).astype(np.uint8)
            Image.fromarray(codes).save(folder / name, compress_level=3)


def _map_names(stem: str, category: str, count: int) -> list[str]:
    """Name the label maps of an image's category."""
    return [f"{stem}_{category}.png"] if count == 1 else [f"{stem}_{category}_{k}.png" for k in range(count)]


def _content(folder: Path) -> dict[str, object]:
    """Sum up what a dataset folder holds: its tables' digest, and the number and total size of its pictures."""
    digest = hashlib.sha256()
    for table in sorted(folder.glob("*.csv")):
        digest.update(table.name.encode() + b"\0" + table.read_bytes())
    with os.scandir(folder / "images") as pictures:
        sizes = [picture.stat().st_size for picture in pictures]
    return {"tables": digest.hexdigest(), "pictures": len(sizes), "bytes": sum(sizes)}


def _is_whole(folder: Path) -> bool:
    """Tell whether a folder still holds what was written to it."""
    try:
        receipt = json.loads((folder / RECEIPT).read_text(encoding="utf-8"))
        return bool(receipt["version"] == VERSION and receipt["content"] == _content(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return False
