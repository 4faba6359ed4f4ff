"""Colours: what things are painted in, and which of eleven names a pixel's colour gets."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets.scenery.vocabulary import NUMBERS

Colour = tuple[float, float, float]

VIVID: tuple[Colour, ...] = (
    (205, 35, 40), (225, 120, 30), (235, 205, 50), (60, 150, 60), (40, 90, 185), (120, 60, 160), (225, 120, 165),
    (120, 75, 45), (235, 235, 235), (35, 35, 38), (130, 130, 135), (50, 160, 170),
)  # fmt: skip
NATURAL: dict[str, tuple[Colour, ...]] = {
    "brick": ((178, 84, 62), (150, 70, 55), (190, 105, 80)),
    "wood": ((150, 100, 55), (120, 76, 42), (190, 145, 95), (170, 120, 70)),
    "metal": ((150, 155, 165), (110, 118, 130), (190, 195, 200)),
    "glass": ((120, 160, 190), (80, 110, 140), (150, 190, 210)),
    "foliage": ((60, 125, 50), (95, 140, 50), (40, 95, 55), (70, 120, 70), (165, 140, 50), (185, 100, 45)),
    "water": ((50, 110, 170), (40, 130, 150), (80, 140, 185), (60, 105, 125)),
    "sand": ((222, 196, 140), (205, 170, 115), (230, 210, 165), (205, 145, 95)),
    "fabric": VIVID,
    "stone": ((140, 135, 128), (115, 105, 98), (160, 150, 140), (150, 120, 98)),
    "tile": ((228, 228, 222), (170, 200, 205), (200, 150, 120), (125, 145, 155), (235, 215, 180)),
    "concrete": ((165, 163, 158), (130, 130, 132), (185, 178, 168)),
    "skin": ((240, 200, 170), (215, 165, 130), (165, 115, 80), (110, 72, 50)),
    "plastic": VIVID,
    "snow": ((238, 242, 248), (222, 230, 242)),
}
# How strongly a material's pattern shows: the share of its colour that a tone of 1 adds.
RELIEF = {
    "brick": 0.32, "wood": 0.2, "metal": 0.34, "glass": 0.24, "foliage": 0.42, "water": 0.2, "sand": 0.13,
    "fabric": 0.2, "stone": 0.34, "tile": 0.2, "concrete": 0.2, "skin": 0.08, "plastic": 0.3, "snow": 0.08,
}  # fmt: skip

# Several prototypes may share a name: brown is many colours. Pixels take the name of the nearest in CIELAB.
PROTOTYPES: tuple[tuple[str, Colour], ...] = (
    ("black", (15, 15, 18)), ("black", (45, 45, 48)),
    ("blue", (30, 60, 160)), ("blue", (70, 120, 200)), ("blue", (140, 185, 230)), ("blue", (40, 110, 140)),
    ("brown", (110, 70, 40)), ("brown", (150, 105, 65)), ("brown", (70, 45, 30)), ("brown", (195, 155, 110)),
    ("green", (50, 110, 45)), ("green", (100, 150, 60)), ("green", (35, 70, 40)), ("green", (60, 160, 110)),
    ("grey", (90, 90, 92)), ("grey", (130, 130, 130)), ("grey", (175, 175, 175)),
    ("orange", (235, 130, 40)), ("orange", (205, 100, 45)),
    ("pink", (230, 130, 170)), ("pink", (245, 190, 200)),
    ("purple", (115, 60, 155)), ("purple", (160, 110, 190)), ("purple", (70, 40, 90)),
    ("red", (200, 35, 40)), ("red", (150, 45, 40)),
    ("white", (250, 250, 250)), ("white", (220, 222, 225)),
    ("yellow", (240, 210, 60)), ("yellow", (225, 205, 130)), ("yellow", (190, 170, 50)),
)  # fmt: skip
LEVELS = 32  # colours are named on a grid of 32 levels a channel


def near(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    """Return a colour that differs a little in lightness and less in hue."""
    lighter = rng.uniform(-spread, spread)
    r, g, b = (float(value + lighter + rng.uniform(-spread / 3, spread / 3)) for value in colour)
    return r, g, b


def natural(rng: np.random.Generator, material: str) -> Colour:
    """Return a colour in which the material is found."""
    colours = NATURAL[material]
    return near(rng, colours[int(rng.integers(len(colours)))], 14)


def vivid(rng: np.random.Generator) -> Colour:
    """Return the colour of a car, a toy or a shirt."""
    return near(rng, VIVID[int(rng.integers(len(VIVID)))], 14)


def contrasting(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Return two vivid colours that can be told apart."""
    first = vivid(rng)
    while True:
        second = vivid(rng)
        if sum(abs(a - b) for a, b in zip(first, second, strict=True)) > 200:
            return first, second


def shaded(colour: Colour, share: float) -> Colour:
    """Return a colour in shadow: this share of its light."""
    return colour[0] * share, colour[1] * share, colour[2] * share


def name_colors(photo: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Name the colour of each 2×2 block of pixels.

    Parameters
    ----------
    photo : ndarray [2 H, 2 W, 3] uint8

    Returns
    -------
    ndarray [H, W] uint16
        Concept ids of the eleven colours; no pixel is without one.
    """
    wide = photo.astype(np.int64)
    total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    level = total * LEVELS // 1024  # four pixels of 256 values
    named: NDArray[np.uint16] = _color_table()[level[..., 0], level[..., 1], level[..., 2]]
    return named


@cache
def _color_table() -> NDArray[np.uint16]:
    """Return the concept id of every colour level, [LEVELS, LEVELS, LEVELS]."""
    values = (np.arange(LEVELS) + 0.5) * 256 / LEVELS
    lab = _cielab(np.stack(np.meshgrid(values, values, values, indexing="ij"), axis=-1))
    names = np.array([NUMBERS[f"{name}-c"] for name, _ in PROTOTYPES], np.uint16)
    targets = _cielab(np.array([colour for _, colour in PROTOTYPES], np.float64))
    distance = ((lab[..., None, :] - targets) ** 2).sum(axis=-1)
    table: NDArray[np.uint16] = names[distance.argmin(axis=-1)]
    return table


def _cielab(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert sRGB from 0 to 255, [..., 3], to CIELAB under D65."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = (linear[..., None, :] * matrix).sum(axis=-1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    lightness = 116 * f[..., 1] - 16
    return np.stack([lightness, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)
