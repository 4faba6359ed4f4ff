"""Houses and other buildings. ``x, y`` is the middle of the foot; ``s`` is the height in pixels."""

from __future__ import annotations

import numpy as np

from ndengine.datasets.scenery import palette
from ndengine.datasets.scenery.canvas import Canvas, Finish, bar, box, disc, polygon

LIT: palette.Colour = (250, 215, 120)


def window(c: Canvas, thing: str, x: float, y: float, w: float, h: float, *, lit: bool = False) -> None:
    """Draw a window of a building, ``x, y`` its centre: a frame with a pane of glass in it."""
    frame = c.made_of("wood", "plastic", period=4, colour=palette.near(c.rng, (225, 220, 210), 20))
    c.paint(thing, box(x - w / 2, y - h / 2, x + w / 2, y + h / 2), frame, part="window", detail="frame")
    pane = c.made_of("glass", period=6, colour=palette.near(c.rng, LIT, 15) if lit else None)
    edge = max(1.0, min(w, h) * 0.14)
    c.paint(thing, box(x - w / 2 + edge, y - h / 2 + edge, x - edge / 3, y + h / 2 - edge), pane, "window", "pane")
    c.paint(thing, box(x + edge / 3, y - h / 2 + edge, x + w / 2 - edge, y + h / 2 - edge), pane, "window", "pane")


def door(c: Canvas, thing: str, x: float, y: float, w: float, h: float) -> None:
    """Draw a door of a building standing on ``x, y``."""
    colour = palette.vivid(c.rng) if c.chance(0.6) else None
    c.paint(thing, box(x - w / 2, y - h, x + w / 2, y), c.made_of("wood", period=5, colour=colour), part="door")
    knob = disc(x + w * 0.28, y - h * 0.45, max(1.3, w * 0.12))
    c.paint(thing, knob, c.made_of("metal", colour=(215, 190, 110)), part="door", detail="handle")


def house(c: Canvas, x: float, y: float, s: float, *, night: bool = False) -> None:
    """Draw a house: walls, a gabled or hipped roof, door, windows and a chimney."""
    w, eaves = s * c.between(0.85, 1.15), s * c.between(0.5, 0.6)
    roof = Finish(
        palette.near(c.rng, ((165, 75, 60), (110, 80, 70), (85, 90, 105), (175, 110, 70))[int(c.rng.integers(4))], 14),
        "tile",
        4.0,
    )
    if c.chance(0.7):
        side = x + w * c.between(0.18, 0.3) * (1 if c.chance(0.5) else -1)
        c.paint(
            "house",
            box(side - s * 0.05, y - s * 1.02, side + s * 0.05, y - eaves),
            c.made_of("brick", period=5),
            part="chimney",
        )
    walls = c.made_of("brick", "brick", "wood", "stone", "concrete", period=8)
    c.paint("house", box(x - w / 2, y - eaves, x + w / 2, y), walls, part="wall")
    inset = c.between(0.0, 0.28) * w
    c.paint(
        "house",
        polygon((x - w * 0.58, y - eaves), (x - inset, y - s), (x + inset, y - s), (x + w * 0.58, y - eaves)),
        roof,
        part="roof",
    )
    slot = c.between(-0.25, 0.25) if c.chance(0.5) else 0.0
    door(c, "house", x + slot * w, y, s * 0.17, s * 0.36)
    for place in (-0.32, 0.32):
        if abs(place - slot) > 0.2:
            window(c, "house", x + place * w, y - eaves * 0.55, s * 0.2, s * 0.22, lit=night and c.chance(0.7))


def building(c: Canvas, x: float, y: float, s: float, *, night: bool = False) -> None:
    """Draw a tall building with rows of windows."""
    w = s * c.between(0.36, 0.6)
    dark = palette.near(c.rng, (62, 64, 78), 14) if night else None
    wall = c.made_of("concrete", "brick", "stone", "tile", period=7, colour=dark)
    c.paint("building", box(x - w / 2, y - s, x + w / 2, y), wall, part="wall")
    if c.chance(0.6):
        c.paint(
            "building",
            box(x - w * 0.56, y - s - 2.5, x + w * 0.56, y - s + 2),
            c.made_of("metal", "concrete"),
            part="roof",
        )
    columns, rows = max(2, int(w / 9)), max(2, int(s / 13))
    step = w / columns
    for row in range(rows):
        for column in range(columns):
            cx, cy = x - w / 2 + step * (column + 0.5), y - s + (row + 0.6) * s / (rows + 0.6)
            if cy < y - 9:
                bright = night and c.chance(0.65)
                tall = min(7.0, s / rows * 0.55)
                pane = c.made_of("glass", period=5, colour=palette.near(c.rng, LIT, 18) if bright else None)
                c.paint(
                    "building",
                    box(cx - step * 0.3, cy - tall / 2, cx + step * 0.3, cy + tall / 2),
                    pane,
                    part="window",
                    detail="pane",
                )
    door(c, "building", x, y, min(w * 0.3, 8.0), 9)


def barn(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a wooden barn with a broken roof and a wide door."""
    w, eaves = s * c.between(0.9, 1.2), s * 0.55
    red = palette.near(c.rng, (160, 52, 44), 14) if c.chance(0.65) else None
    c.paint("barn", box(x - w / 2, y - eaves, x + w / 2, y), c.made_of("wood", period=5, colour=red), part="wall")
    roof = polygon(
        (x - w * 0.56, y - eaves),
        (x - w * 0.36, y - s * 0.84),
        (x, y - s),
        (x + w * 0.36, y - s * 0.84),
        (x + w * 0.56, y - eaves),
    )
    c.paint("barn", roof, c.made_of("metal", "wood", "tile", period=5), part="roof")
    white = palette.near(c.rng, (222, 214, 200), 12)
    c.paint(
        "barn",
        box(x - w * 0.2, y - eaves * 0.8, x + w * 0.2, y),
        c.made_of("wood", period=5, colour=white),
        part="door",
    )
    cross = [
        bar((x - w * 0.19, y - eaves * 0.78), (x + w * 0.19, y), 1.4),
        bar((x + w * 0.19, y - eaves * 0.78), (x - w * 0.19, y), 1.4),
    ]
    c.paint("barn", cross, c.plain((150, 50, 45)), part="door")
    window(c, "barn", x, y - s * 0.72, s * 0.16, s * 0.14)


def lighthouse(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a lighthouse: a tapering banded tower with a lamp house."""
    w = s * 0.13
    colour, accent = ((238, 236, 230), (195, 45, 45)) if c.chance(0.7) else ((238, 236, 230), (40, 70, 140))
    for k in range(5):
        low, high = k * 0.16, (k + 1) * 0.16
        a, b = w * (1 - low * 0.5), w * (1 - high * 0.5)
        band = polygon((x - a, y - s * low), (x - b, y - s * high), (x + b, y - s * high), (x + a, y - s * low))
        c.paint("lighthouse", band, c.made_of("concrete", colour=accent if k % 2 else colour), part="wall")
    c.paint(
        "lighthouse",
        box(x - w * 0.5, y - s * 0.9, x + w * 0.5, y - s * 0.8),
        c.made_of("glass", period=4, colour=LIT),
        part="bulb",
    )
    c.paint(
        "lighthouse",
        polygon((x - w * 0.7, y - s * 0.9), (x, y - s), (x + w * 0.7, y - s * 0.9)),
        c.made_of("metal", colour=accent),
        part="roof",
    )
    door(c, "lighthouse", x, y, s * 0.08, s * 0.14)


def fence(c: Canvas, y: float, s: float, left: float, right: float) -> None:
    """Draw a wooden fence along a stretch of ground."""
    finish = c.made_of("wood", period=3, colour=palette.near(c.rng, (225, 220, 210), 14) if c.chance(0.4) else None)
    gap = s * 0.55
    posts = [box(x, y - s, x + s * 0.18, y) for x in _steps(left, right, gap)]
    rails = [box(left, y - s * level - s * 0.07, right, y - s * level + s * 0.07) for level in (0.3, 0.72)]
    c.paint("fence", posts + rails, finish)


def pier(c: Canvas, y: float, left: float, right: float, depth: float) -> None:
    """Draw a wooden pier on posts over water."""
    finish = c.made_of("wood", period=5)
    posts = [box(x, y, x + 2.5, y + depth * 2.2) for x in _steps(left + 2, right, 12)]
    c.paint("pier", posts, c.made_of("wood", period=4), part="pole")
    c.paint("pier", box(left, y - depth / 2, right, y + depth / 2), finish)


def tent(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a tent of printed cloth with a dark way in."""
    w = s * c.between(0.8, 1.0)
    c.paint("tent", polygon((x - w, y), (x, y - s), (x + w, y)), c.cloth(5))
    c.paint("tent", polygon((x - w * 0.25, y), (x, y - s * 0.6), (x + w * 0.25, y)), c.plain((45, 42, 48)), part="door")


def umbrella(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a parasol: a pole and a canopy of printed cloth."""
    c.paint("umbrella", box(x - 0.9, y - s * 0.8, x + 0.9, y), c.made_of("metal", "wood"), part="pole")
    w = s * c.between(0.55, 0.7)
    dome = [(x + w * float(np.cos(a)), y - s * 0.66 - s * 0.34 * float(np.sin(a))) for a in np.linspace(0, np.pi, 13)]
    c.paint("umbrella", polygon(*dome), c.cloth(5), part="canopy")


def _steps(start: float, stop: float, gap: float) -> list[float]:
    """Return evenly spaced positions."""
    return [start + k * gap for k in range(max(1, int((stop - start) / gap) + 1))]
