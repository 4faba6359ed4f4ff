"""Skies, grounds, plants and mountains. ``x, y`` is where a thing meets the ground; ``s`` is its height in pixels."""

from __future__ import annotations

import numpy as np

from ndengine.datasets.scenery import palette
from ndengine.datasets.scenery.canvas import SIZE, Canvas, Outline, bar, box, disc, oval, polygon

DAY_SKIES = ((120, 175, 230), (150, 195, 235), (95, 150, 215), (180, 195, 205), (225, 170, 140), (160, 150, 200))
NIGHT_SKIES = ((14, 18, 40), (22, 22, 48), (10, 12, 24), (34, 24, 52))
# What grounds are made of: the object, its materials, and colours where the material's own would not do.
GROUNDS: dict[str, tuple[str, tuple[str, ...], tuple[palette.Colour, ...]]] = {
    "grass": ("grass", ("foliage",), ((90, 150, 60), (120, 160, 70), (75, 130, 60), (150, 155, 80))),
    "road": ("road", ("concrete",), ((85, 85, 90), (105, 103, 104), (70, 70, 78))),
    "pavement": ("ground", ("stone", "tile", "concrete"), ((165, 160, 152), (140, 138, 135))),
    "sand": ("ground", ("sand",), ()),
    "snow": ("ground", ("snow",), ()),
    "sea": ("sea", ("water",), ()),
}


def sky(c: Canvas, horizon: float, *, night: bool = False) -> None:
    """Fill the picture down to the horizon with sky and what hangs in it."""
    skies = NIGHT_SKIES if night else DAY_SKIES
    colour = skies[int(c.rng.integers(len(skies)))]
    c.paint("sky", box(0, 0, SIZE, horizon), c.plain(colour, fade=c.between(0.02, 0.2)))
    x, y = c.between(10, SIZE - 10), c.between(8, max(12.0, horizon * 0.45))
    if night:
        stars = [disc(c.between(0, SIZE), c.between(0, horizon), 0.5) for _ in range(24)]
        c.paint("sky", stars, c.plain((230, 230, 210)))
        if c.chance(0.7):
            c.paint("moon", disc(x, y, c.between(5, 10)), c.plain((240, 236, 205), spread=10))
        return
    if c.chance(0.45):
        radius = c.between(5, 11)
        c.paint("sun", disc(x, y, radius), c.plain((250, 225, 110) if c.chance(0.7) else (245, 150, 70)))
    for _ in range(int(c.rng.integers(0, 4))):
        cloud(c, c.between(0, SIZE), c.between(6, max(10.0, horizon * 0.7)), c.between(8, 18))


def cloud(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a heap of soft discs."""
    puffs = [oval(x - s, y - s * 0.25, x + s, y + s * 0.35)]
    puffs += [disc(x + k * s * 0.45, y - c.between(0, 0.25) * s, s * c.between(0.3, 0.5)) for k in (-1, 0, 1)]
    c.paint("cloud", puffs, c.plain((238, 238, 240), spread=14))


def ground(c: Canvas, kind: str, top: float, bottom: float = SIZE) -> None:
    """Cover the picture between two heights with a ground of GROUNDS."""
    thing, materials, colours = GROUNDS[kind]
    colour = palette.near(c.rng, colours[int(c.rng.integers(len(colours)))], 12) if colours else None
    c.paint(thing, box(0, top, SIZE, bottom), c.made_of(*materials, colour=colour))


def mountain(c: Canvas, x: float, y: float, s: float, *, snowy: bool) -> None:
    """Draw a stone peak, with snow on top of some."""
    w, lean = s * c.between(0.8, 1.3), c.between(-0.2, 0.2)
    top = (x + lean * w, y - s)
    c.paint("mountain", polygon((x - w, y), top, (x + w, y)), c.made_of("stone", period=14))
    if snowy:
        d = c.between(0.28, 0.45)  # how far down the snow lies

        def on_edge(side: float, share: float) -> tuple[float, float]:
            return top[0] + (x + side * w - top[0]) * share, top[1] + s * share

        jag = (top[0] + c.between(-0.1, 0.1) * w * d, top[1] + s * d * c.between(0.5, 0.75))
        cap = polygon(top, on_edge(1, d), (on_edge(1, d * 0.5)[0], top[1] + s * d), jag, on_edge(-1, d))
        c.paint("mountain", cap, c.made_of("snow"), part="peak")


def rock(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a boulder."""
    angles = np.sort(c.rng.uniform(0, np.pi, 6))
    rim = [(x + s * float(np.cos(a)) * c.between(0.8, 1.1), y - s * float(np.sin(a))) for a in angles]
    c.paint("rock", polygon((x + s, y), *rim, (x - s, y)), c.made_of("stone", period=6))


def tree(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a tree with a round crown of leaves."""
    w = s * c.between(0.07, 0.11)
    c.paint(
        "tree",
        polygon((x - w, y), (x - w / 2, y - s * 0.6), (x + w / 2, y - s * 0.6), (x + w, y)),
        c.made_of("wood", period=4, colour=palette.near(c.rng, (105, 72, 45), 14)),
        part="trunk",
    )
    r = s * c.between(0.24, 0.32)
    leaves = [disc(x, y - s + r, r), disc(x - r * 0.8, y - s * 0.55, r * 0.8), disc(x + r * 0.8, y - s * 0.55, r * 0.8)]
    c.paint("tree", leaves, c.made_of("foliage"), part="crown")


def pine(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a pine of three tiers, snowed on now and then."""
    w = s * c.between(0.2, 0.28)
    c.paint("pine tree", box(x - s * 0.04, y - s * 0.2, x + s * 0.04, y), c.made_of("wood", period=4), part="trunk")
    tiers = [
        polygon(
            (x - w * (1 - k * 0.25), y - s * (0.12 + k * 0.25)),
            (x, y - s * (0.52 + k * 0.24)),
            (x + w * (1 - k * 0.25), y - s * (0.12 + k * 0.25)),
        )
        for k in range(3)
    ]
    colour = palette.near(c.rng, (38, 92, 58), 14)
    c.paint("pine tree", tiers, c.made_of("foliage", period=6, colour=colour), part="crown")


def palm(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a palm: a leaning trunk and arched fronds."""
    lean = c.between(-0.25, 0.25) * s
    top = (x + lean, y - s * 0.85)
    trunk = [bar((x, y), (x + lean * 0.4, y - s * 0.45), s * 0.08), bar((x + lean * 0.4, y - s * 0.42), top, s * 0.06)]
    c.paint("palm", trunk, c.made_of("wood", period=3), part="trunk")
    fronds: list[Outline] = []
    for angle in np.linspace(0.1, np.pi - 0.1, int(c.rng.integers(5, 8))):
        reach = s * c.between(0.32, 0.42)
        bend = (top[0] + reach * 0.6 * float(np.cos(angle)), top[1] - reach * 0.45 * float(np.sin(angle)) - reach * 0.1)
        tip = (top[0] + reach * float(np.cos(angle)), top[1] - reach * 0.25 * float(np.sin(angle)) + reach * 0.25)
        fronds += [bar(top, bend, s * 0.07), bar(bend, tip, s * 0.05)]
    colour = palette.near(c.rng, (75, 140, 55), 16)
    c.paint("palm", fronds, c.made_of("foliage", period=5, colour=colour), part="frond")


def cactus(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a cactus with two raised arms."""
    w, skin = s * 0.1, c.made_of("foliage", period=4, colour=palette.near(c.rng, (70, 130, 80), 14))
    for side, low in ((-1, c.between(0.3, 0.5)), (1, c.between(0.3, 0.5))):
        if c.chance(0.85):
            elbow = (x + side * s * 0.28, y - s * low)
            arm = [bar((x, y - s * low), elbow, w * 1.5), disc(*elbow, w * 0.75)]
            arm += [bar(elbow, (elbow[0], y - s * (low + 0.3)), w * 1.5), disc(elbow[0], y - s * (low + 0.3), w * 0.75)]
            c.paint("cactus", arm, skin, part="arm")
    c.paint("cactus", [box(x - w, y - s * 0.92, x + w, y), disc(x, y - s * 0.92, w)], skin, part="stem")


def flower(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a flower with petals round its heart."""
    c.paint("flower", bar((x, y), (x, y - s * 0.7), max(1.4, s * 0.08)), c.plain((70, 130, 50)), part="stem")
    r, centre = s * 0.17, (x, y - s * 0.72)
    turn = c.between(0, 1)
    petals = [
        disc(centre[0] + r * 1.15 * float(np.cos(a + turn)), centre[1] + r * 1.15 * float(np.sin(a + turn)), r)
        for a in np.arange(6) * np.pi / 3
    ]
    c.paint("flower", petals, c.plain(palette.vivid(c.rng), spread=4), part="petal")
    c.paint("flower", disc(*centre, r * 0.8), c.plain((235, 195, 60)))
