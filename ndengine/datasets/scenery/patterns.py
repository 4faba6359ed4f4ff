"""Procedural patterns: what makes brick look like brick and a chequered cloth chequered.

A pattern is a function of a generator, a shape and a period in pixels; it returns tones [h, w] from about -1 (dark, or
the accent colour of a texture) to 1 (light, or its main colour).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Tones: TypeAlias = NDArray[np.floating[Any]]
Shape: TypeAlias = tuple[int, int]
Pattern: TypeAlias = Callable[[np.random.Generator, Shape, float], Tones]

TAU = np.float32(2 * np.pi)


def _axes(rng: np.random.Generator, shape: Shape, period: float, angle: float) -> tuple[Tones, Tones]:
    """Give turned coordinates in periods: along the pattern, and across it."""
    rows = np.arange(shape[0], dtype=np.float32)[:, None] / np.float32(period)
    columns = np.arange(shape[1], dtype=np.float32)[None, :] / np.float32(period)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    shift = rng.random(2, dtype=np.float32) * 8
    return columns * cosine + rows * sine + shift[0], rows * cosine - columns * sine + shift[1]


def _turned(rng: np.random.Generator, shape: Shape, period: float) -> tuple[Tones, Tones]:
    return _axes(rng, shape, period, float(rng.uniform(0, np.pi)))


def _level(rng: np.random.Generator, shape: Shape, period: float) -> tuple[Tones, Tones]:
    return _axes(rng, shape, period, 0.0)


def _wave(turns: Tones) -> Tones:
    heights: Tones = np.sin(turns * TAU)
    return heights


def _saw(turns: Tones) -> Tones:
    return turns - np.floor(turns)


def _crisp(tones: Tones, slope: float = 4.0) -> Tones:
    steep: Tones = np.clip(tones * np.float32(slope), -1, 1)
    return steep


def noise(rng: np.random.Generator, shape: Shape, cell: tuple[float, float]) -> Tones:
    """Return smooth noise from -1 to 1 with features of about ``cell`` = (rows, columns) pixels."""
    coarse = tuple(int(np.ceil(length / size)) + 2 for length, size in zip(shape, cell, strict=True))
    values = rng.random(coarse, dtype=np.float32) * 2 - 1
    height, width = (max(length, round(n * size)) for n, size, length in zip(coarse, cell, shape, strict=True))
    smooth = Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32)[: shape[0], : shape[1]]


# Textures


def striped(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw parallel bands."""
    along, _ = _turned(rng, shape, period)
    return _crisp(_wave(along))


def dotted(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw discs on a lattice."""
    x, y = _turned(rng, shape, period)
    distance = np.hypot(_saw(x) - np.float32(0.5), _saw(y) - np.float32(0.5))
    return _crisp(distance - np.float32(rng.uniform(0.24, 0.36)), 12)


def chequered(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw a chess board."""
    x, y = _turned(rng, shape, period * 1.6)
    return _crisp(_wave(x) * _wave(y), 8)


def zigzagged(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw bands that turn sharply back and forth."""
    x, y = _turned(rng, shape, period)
    return _crisp(_wave(y + np.abs(_saw(x / np.float32(1.6)) - np.float32(0.5)) * 2))


def grid(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw thin lines that cross at right angles."""
    x, y = _turned(rng, shape, period)
    nearest = np.minimum(np.abs(_saw(x) - np.float32(0.5)), np.abs(_saw(y) - np.float32(0.5)))
    return _crisp(nearest - np.float32(0.1), 16)


def honeycombed(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw hexagonal cells with thin walls."""
    x, y = _turned(rng, shape, period * 1.2)
    tall = np.float32(3**0.5)

    def inside(u: Tones, v: Tones) -> Tones:  # distance to the wall of the cell centred in its rectangle
        u, v = np.abs(_saw(u) - np.float32(0.5)), np.abs(_saw(v / tall) - np.float32(0.5)) * tall
        return np.float32(0.5) - np.maximum(u, u / 2 + v * tall / 2)

    wall = np.maximum(inside(x, y), inside(x + np.float32(0.5), y + tall / 2))
    return _crisp(wall - np.float32(0.09), 16)


def swirly(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw spirals round a few centres."""
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    columns = np.arange(shape[1], dtype=np.float32)[None, :]
    centres = rng.random((4, 2), dtype=np.float32) * np.float32(max(shape))
    nearest = np.full(shape, np.inf, np.float32)
    tones = np.zeros(shape, np.float32)
    for cy, cx in centres:
        distance = np.hypot(rows - cy, columns - cx)
        spiral = _wave(distance / np.float32(period) + np.arctan2(rows - cy, columns - cx) / TAU)
        tones = np.where(distance < nearest, spiral, tones)
        nearest = np.minimum(distance, nearest)
    return _crisp(tones, 3)


def marbled(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw veins that wander."""
    along, _ = _turned(rng, shape, period * 2.2)
    wander = noise(rng, shape, (period * 2, period * 2)) + noise(rng, shape, (period, period)) / 2
    return 1 - 2 * np.abs(_wave((along + wander) / 2)) ** np.float32(0.6)


def flecked(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw irregular flecks."""
    return _crisp(np.float32(0.28) - noise(rng, shape, (period / 2.6, period / 2.6)), 6)


def woven(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw broad strands that go over and under each other."""
    x, y = _axes(rng, shape, period, float(rng.choice([0.0, np.pi / 4])))
    over = (np.floor(x) + np.floor(y)) % 2 < 1
    strand = np.where(over, _saw(y), _saw(x)) - np.float32(0.5)
    length = np.where(over, _saw(x), _saw(y)) - np.float32(0.5)
    return 1 - np.abs(strand) * np.float32(3.4) - length * length * np.float32(1.6) + np.where(over, 0.25, -0.25)


def scaly(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw rows of overlapping scales."""
    x, y = _axes(rng, shape, period, float(rng.choice([0.0, np.pi / 2, np.pi])))
    row = np.floor(y * 2)
    across = _saw(x + row / 2) - np.float32(0.5)
    depth = _saw(y * 2)
    edge = depth / 2 + across * across * 2
    return _crisp(np.abs(edge - np.float32(0.5)) - np.float32(0.09), 9)


def crosshatched(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw two sets of fine hand-drawn lines."""
    angle = float(rng.uniform(0, np.pi))
    wobble = noise(rng, shape, (period * 2, period * 2)) / 6
    first, _ = _axes(rng, shape, period * 0.55, angle)
    second, _ = _axes(rng, shape, period * 0.55, angle + float(rng.uniform(0.9, 1.3)))
    return _crisp(np.minimum(_wave(first + wobble), _wave(second - wobble)) + np.float32(0.55), 2.5)


# Materials


def brick(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw courses of bricks; the mortar is light."""
    x, y = _level(rng, shape, period)
    y = y * 2
    x = x + np.floor(y) / 2
    mortar = (_saw(x) < 0.12) | (_saw(y) < 0.22)
    shades = rng.random(64, dtype=np.float32) - np.float32(0.7)
    each = shades[(np.floor(x) * 7 + np.floor(y) * 13).astype(np.int64) % 64]
    return np.where(mortar, np.float32(1), each)


def wood(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw planks with grain."""
    _, y = _axes(rng, shape, period, float(rng.choice([0.0, np.pi / 2])))
    grain = noise(rng, shape, (2, 14)) if shape[1] >= shape[0] else noise(rng, shape, (14, 2))
    seam = np.where(_saw(y) < 0.12, np.float32(-1), np.float32(0.1))
    shades = rng.random(32, dtype=np.float32) - np.float32(0.5)
    each = shades[np.floor(y).astype(np.int64) % 32]
    tones: Tones = seam + each * np.float32(0.7) + grain * np.float32(0.6)
    return tones


def metal(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw smooth reflections in long bands."""
    along, _ = _axes(rng, shape, max(shape) * 0.9 + period, float(rng.uniform(1.1, 2.0)))
    shine = _wave(along)
    return shine * np.float32(0.5) + np.where(shine > 0.86, np.float32(0.9), np.float32(0))


def glass(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw slanting glints."""
    along, _ = _axes(rng, shape, period * 2, float(rng.uniform(0.5, 0.9)))
    glint = _saw(along)
    return np.where(glint < 0.22, np.float32(1), np.where((glint > 0.3) & (glint < 0.36), 0.7, -0.25))


def foliage(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw clumps of leaves."""
    return _crisp(noise(rng, shape, (2.6, 2.6)), 1.3) * np.float32(0.8) + noise(rng, shape, (period, period)) / 2


def water(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw ripples that lie flat."""
    _, y = _level(rng, shape, period / 2)
    return _wave(y + noise(rng, shape, (period / 3, period * 1.5))) * np.float32(0.7) + noise(rng, shape, (1.6, 9)) / 2


def sand(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw fine grains on soft dunes."""
    grains = rng.random(shape, dtype=np.float32) * 2 - 1
    return grains * np.float32(0.8) + noise(rng, shape, (period, period * 3)) * np.float32(0.6)


def fabric(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw a fine weave in soft folds."""
    x, y = _level(rng, shape, 3.0)
    folds = noise(rng, shape, (period * 3, period))
    return _wave(x) * _wave(y) * np.float32(0.55) + folds * np.float32(0.7)


def stone(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw rough facets with dark cracks."""
    rough = noise(rng, shape, (period, period * 1.4))
    cracks = np.abs(noise(rng, shape, (period * 0.8, period * 0.8)))
    return rough * np.float32(0.7) + noise(rng, shape, (2, 2)) * np.float32(0.35) - np.where(cracks < 0.07, 0.9, 0)


def tile(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw square tiles with dark joints and a bevel."""
    x, y = _level(rng, shape, period)
    u, v = _saw(x), _saw(y)
    joint = (u < 0.11) | (v < 0.11)
    return np.where(joint, np.float32(-1), (u < 0.24) * np.float32(0.4) + (v < 0.24) * np.float32(0.4))


def concrete(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw dull blotches and specks."""
    specks = rng.random(shape, dtype=np.float32)
    return noise(rng, shape, (period * 1.5, period * 1.5)) * np.float32(0.5) - np.where(specks > 0.93, 0.8, 0)


def skin(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw soft shading."""
    return noise(rng, shape, (period * 1.5, period * 1.5))


def plastic(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw an even surface with a highlight at its upper left."""
    rows = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None] - np.float32(0.25)
    columns = np.linspace(0, 1, shape[1], dtype=np.float32)[None, :] - np.float32(rng.uniform(0.2, 0.4))
    distance = np.hypot(rows, columns)
    spot = np.clip(np.float32(0.14) - distance, 0, 0.1)
    tones: Tones = np.float32(0.3) - distance * np.float32(1.1) + spot * 12
    return tones


def snow(rng: np.random.Generator, shape: Shape, period: float) -> Tones:
    """Draw soft drifts with glitter."""
    glitter = rng.random(shape, dtype=np.float32)
    return noise(rng, shape, (period, period * 2.5)) * np.float32(0.8) + np.where(glitter > 0.96, 0.8, 0)


TEXTURE_PATTERNS: dict[str, Pattern] = {
    each.__name__: each
    for each in (
        striped, dotted, chequered, zigzagged, grid, honeycombed, swirly, marbled, flecked, woven, scaly,
        crosshatched,
    )
}  # fmt: skip
MATERIAL_PATTERNS: dict[str, Pattern] = {
    each.__name__: each
    for each in (
        brick, wood, metal, glass, foliage, water, sand, fabric, stone, tile, concrete, skin, plastic, snow,
    )
}  # fmt: skip
