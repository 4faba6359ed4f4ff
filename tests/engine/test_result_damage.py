"""Each way in which a result folder can be damaged is an error that names the file and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import pytest
from dissections import IMAGES, make_dissection, write

from ndengine.errors import ResultError
from ndengine.result import Dissection, load
from ndengine.result_files import sha256
from tests.records import edit_record


@pytest.fixture
def dissection(tmp_path) -> Dissection:
    made = make_dissection(tmp_path / "out")
    write(made)
    return made


def damage_json(key, value):
    return lambda folder: edit_record(folder, lambda record: record.update({key: value}))


def truncate(name):
    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return change


def remove(name):
    return lambda folder: (folder / name).unlink()


def rewrite(name):
    return lambda folder: (folder / name).write_text("{} nonsense")


def recount(folder: Path) -> None:
    """Change a count and its checksum, so that only the summary can tell."""
    with h5py.File(folder / "conv5_3" / "counts.h5", "r+") as file:
        file["intersection"][...] = 0
    reseal(folder, "counts.h5")


def reshape(folder: Path) -> None:
    with h5py.File(folder / "conv5_3" / "counts.h5", "r+") as file:
        data = file["concept_area"][1:]
        del file["concept_area"]
        file["concept_area"] = data
    reseal(folder, "counts.h5")


def drop(folder: Path) -> None:
    with h5py.File(folder / "conv5_3" / "examples.h5", "r+") as file:
        del file["top_values"]
    reseal(folder, "examples.h5")


def misplace(folder: Path) -> None:
    with h5py.File(folder / "conv5_3" / "examples.h5", "r+") as file:
        file["top_images"][0, 0] = IMAGES
    reseal(folder, "examples.h5")


def age(folder: Path) -> None:
    with h5py.File(folder / "conv5_3" / "examples.h5", "r+") as file:
        file.attrs["version"] = 99
    reseal(folder, "examples.h5")


def spoil(folder: Path) -> None:
    truncate("conv5_3/counts.h5")(folder)
    reseal(folder, "counts.h5")


def rename(folder: Path) -> None:
    with h5py.File(folder / "block_1" / "counts.h5", "r+") as file:
        file["concept_names"][0] = "torch"
    reseal(folder, "counts.h5", layer=1)


def reseal(folder: Path, name: str, layer: int = 0) -> None:
    def change(record: dict[str, Any]) -> None:
        found = record["layers"][layer]
        found["sha256"][name] = sha256(folder / found["folder"] / name)

    edit_record(folder, change)


@pytest.mark.parametrize(
    ("change", "file", "message"),
    [
        (remove("result.json"), "", r"has no result\.json: .* did not finish; run the same command again"),
        (rewrite("result.json"), "result.json", "can't be read as JSON"),
        (truncate("result.json"), "result.json", "can't be read as JSON"),
        (lambda folder: (folder / "result.json").write_text("[1]"), "result.json", "no result of ndengine"),
        (damage_json("format", "other"), "result.json", "no result of ndengine"),
        (damage_json("version", 99), "result.json", "format version 99 and this ndengine reads 1"),
        (damage_json("layers", [{}]), "result.json", "damaged .*no entry 'name'"),
        (damage_json("layers", []), "result.json", "names no layer"),
        (damage_json("label_size", [1, 2, 3]), "result.json", "damaged"),
        (damage_json("label_size", None), "result.json", "damaged"),
        (damage_json("label_size", [4, 4]), "conv5_3/examples.h5", "top_masks is uint8"),
        (damage_json("settings", {}), "result.json", "damaged .settings has no entry 'model'"),
        (damage_json("images", 7), "result.json", r"does not fit images\.csv"),
        (damage_json("min_images", 4), "result.json", "tells other detectors than"),
        (rewrite("images.csv"), "images.csv", "has changed since the run ended"),
        (remove("images.csv"), "images.csv", "can't be read .No such file"),
        (truncate("conv5_3/counts.h5"), "conv5_3/counts.h5", "has changed since the run ended"),
        (remove("conv5_3/counts.h5"), "conv5_3/counts.h5", "can't be read .No such file"),
        (truncate("conv5_3/units.csv"), "conv5_3/units.csv", "has changed since the run ended"),
        (truncate("block_1/examples.h5"), "block_1/examples.h5", "has changed since the run ended"),
        (spoil, "conv5_3/counts.h5", "is damaged"),
        (recount, "result.json", "tells other detectors than"),
        (reshape, "conv5_3/counts.h5", r"damaged .concept_area is int64 \[3\], not int64 \[4\]"),
        (drop, "conv5_3/examples.h5", "damaged .*top_values"),
        (misplace, "conv5_3/examples.h5", "points outside the 6 images"),
        (age, "conv5_3/examples.h5", "of another format"),
        (rename, "block_1/counts.h5", "has other concepts than conv5_3"),
    ],
)  # fmt: skip
def test_a_damaged_result_is_an_error_that_names_the_file(dissection, change, file, message):
    change(dissection.folder)
    with pytest.raises(ResultError, match=message) as error:
        load(dissection.folder)
    text = str(error.value)
    assert text.startswith(str(dissection.folder / file))
    assert text.endswith(".")
    assert "\n" not in text
