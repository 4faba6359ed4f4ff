"""More ways in which a dataset can be wrong: how files store their pixels, and what nobody meant."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from faults import Fault
from PIL import Image
from tinybroden import IMAGE_SIZE, LABEL_SIZE, edit, write_table

MAP = "images/sub/000_color_0.png"


def _store(pixels: np.ndarray, dtype: type[np.generic] = np.uint8) -> Callable[[Path], None]:
    return lambda folder: (folder / MAP).write_bytes(cv2.imencode(".png", pixels.astype(dtype))[1].tobytes())


def _turn(name: str, orientation: int) -> Callable[[Path], None]:
    def turn(folder: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        with Image.open(folder / "images" / name) as picture:
            picture.save(folder / "images" / name, exif=exif)

    return turn


def _flip(folder: Path) -> None:
    data = bytearray((folder / MAP).read_bytes())
    data[data.index(b"IDAT") + 12] ^= 1
    (folder / MAP).write_bytes(bytes(data))


def _pipe(name: str) -> Callable[[Path], None]:
    def pipe(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return pipe


def _nobodys(folder: Path) -> None:
    write_table(folder / "c_texture.csv", ("number", "coverage"), [])


ZERO = np.zeros(LABEL_SIZE, np.int32)
FILE_FAULTS: dict[str, Fault] = {
    "16 bits of colour": (
        _store(np.dstack([ZERO, ZERO, ZERO + 300]), np.uint16),
        "wrong mode",
        "000_color_0.png",
        "has 16 bits a channel",
        True,
    ),
    "16 bits of grey": (
        _store(ZERO + 300, np.uint16),
        "wrong mode",
        "000_color_0.png",
        "has pixels of mode I;16",
        True,
    ),
    "blue": (
        _store(np.dstack([ZERO + 1, ZERO, ZERO + 2])),
        "id out of range",
        "000_color_0.png",
        "holds ids above 300: 65538",
        True,
    ),
    "hidden labels": (
        _store(np.dstack([ZERO, ZERO, ZERO + 2, ZERO])),
        "wrong mode",
        "000_color_0.png",
        "has 560 pixels that are not opaque",
        True,
    ),
    "flipped bit": (_flip, "unreadable file", "000_color_0.png", "the checksum of its chunk b'IDAT' is wrong", True),
    "map as a pipe": (_pipe(MAP), "unreadable file", "000_color_0.png", "is no readable PNG (it is no file)", True),
    "image as a pipe": (_pipe("images/000.png"), "unreadable file", "000.png", "it is no file", True),
    "table as a pipe": (_pipe("index.csv"), "unreadable file", "index.csv", "can't be read (it is no file)", True),
    "turned map": (_turn("sub/000_color_0.png", 3), "orientation", "000_color_0.png", "an EXIF orientation of 3", True),
    "turned image": (
        _turn("000.png", 3),
        "orientation",
        "000.png",
        "has an EXIF orientation of 3 and is turned upright, but its label maps are read as they are stored",
        False,
    ),
    "deep image": (
        lambda f: (f / "images/000.png").write_bytes(
            cv2.imencode(".png", np.zeros((*IMAGE_SIZE, 3), np.uint16))[1].tobytes()
        ),
        "deep image",
        "000.png",
        "has 16 bits a channel, of which the upper 8 are read",
        False,
    ),
    "nobody's concept": (
        _nobodys,
        "no category",
        "label.csv",
        "has 11 (striped) with 1,120 pixels that no category's table lists: never scored",
        False,
    ),
    "nameless concept": (
        lambda f: edit(f / "label.csv", "striped", ""),
        "no name",
        "label.csv",
        "gives 11 no name",
        False,
    ),
    "image twice by detour": (
        lambda f: edit(f / "index.csv", "002.png", "./000.png"),
        "duplicate",
        "index.csv",
        "line 4 names 000.png, as line 2 does",
        False,
    ),
    "backslashes": (
        lambda f: edit(f / "index.csv", "sub/001.png", "sub\\001.png"),
        "missing file",
        "sub\\001.png",
        "is missing",
        True,
    ),
}
