"""What moves through a scene, and what stands beside the road. ``x, y`` is the foot; ``s`` the height in pixels."""

from __future__ import annotations

import numpy as np

from ndengine.datasets.scenery import palette
from ndengine.datasets.scenery.canvas import Canvas, Outline, bar, box, disc, oval, polygon


def _wheel(c: Canvas, thing: str, x: float, y: float, radius: float) -> None:
    c.paint(thing, disc(x, y, radius), c.made_of("plastic", colour=palette.near(c.rng, (32, 32, 36), 8)), part="wheel")
    c.paint(thing, disc(x, y, radius * 0.5), c.made_of("metal"), part="wheel", detail="rim")


def car(c: Canvas, x: float, y: float, s: float, *, night: bool = False) -> None:
    """Draw a car from its side."""
    f, w, r = (1 if c.chance(0.5) else -1), s * c.between(1.05, 1.25), s * 0.2  # f: which way it faces
    coat = c.made_of("metal", colour=palette.vivid(c.rng))
    hull = polygon(
        (x - f * w, y - r),
        (x - f * w, y - s * 0.52),
        (x - f * w * 0.62, y - s * 0.58),
        (x - f * w * 0.42, y - s),
        (x + f * w * 0.25, y - s),
        (x + f * w * 0.52, y - s * 0.58),
        (x + f * w * 0.95, y - s * 0.5),
        (x + f * w, y - r),
    )
    c.paint("car", hull, coat, part="body")
    glass = c.made_of("glass", period=6)
    rear = polygon(
        (x - f * w * 0.5, y - s * 0.6),
        (x - f * w * 0.36, y - s * 0.92),
        (x - f * w * 0.1, y - s * 0.92),
        (x - f * w * 0.1, y - s * 0.6),
    )
    front = polygon(
        (x - f * w * 0.02, y - s * 0.6),
        (x - f * w * 0.02, y - s * 0.92),
        (x + f * w * 0.2, y - s * 0.92),
        (x + f * w * 0.4, y - s * 0.6),
    )
    c.paint("car", [rear, front], glass, part="window")
    c.paint(
        "car",
        box(x - f * w * 0.16 - 1, y - s * 0.5, x - f * w * 0.16 + 2.5, y - s * 0.44),
        c.made_of("metal"),
        part="door",
        detail="handle",
    )
    lamp = c.plain((255, 245, 190) if night else (245, 235, 200), spread=6)
    c.paint("car", disc(x + f * w * 0.92, y - s * 0.4, max(1.6, s * 0.1)), lamp, part="headlight")
    for place in (-0.58, 0.56):
        _wheel(c, "car", x + f * place * w, y - r * 0.9, r)


def bus(c: Canvas, x: float, y: float, s: float, *, night: bool = False) -> None:
    """Draw a bus from its side."""
    f, w, r = (1 if c.chance(0.5) else -1), s * c.between(1.05, 1.3), s * 0.15
    coat = c.made_of("metal", "plastic", colour=palette.vivid(c.rng))
    c.paint("bus", box(x - w, y - s, x + w, y - r), coat, part="body")
    count = int(c.rng.integers(4, 6))
    step = 2 * w * 0.8 / count
    panes = [
        box(x - w * 0.92 + k * step, y - s * 0.85, x - w * 0.92 + (k + 0.8) * step, y - s * 0.52) for k in range(count)
    ]
    if f < 0:
        panes = [Outline(tuple((2 * x - px, py) for px, py in pane.points)) for pane in panes]
    c.paint("bus", panes, c.made_of("glass", period=6), part="window")
    c.paint(
        "bus",
        box(*_ordered(x + f * w * 0.74, x + f * w * 0.92, y - s * 0.85, y - r)),
        c.made_of("glass", period=5),
        part="door",
    )
    c.paint("bus", disc(x + f * w * 0.96, y - s * 0.28, max(1.5, s * 0.06)), c.plain((255, 245, 190)), part="headlight")
    for place in (-0.6, 0.5):
        _wheel(c, "bus", x + f * place * w, y - r, r)


def _ordered(x0: float, x1: float, y0: float, y1: float) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom whichever way the thing faces."""
    return min(x0, x1), y0, max(x0, x1), y1


def boat(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a sailing boat on the water line ``y``."""
    f, w = (1 if c.chance(0.5) else -1), s * c.between(0.5, 0.65)
    c.paint(
        "boat",
        box(x - s * 0.018 - 0.5, y - s, x + s * 0.018 + 0.5, y - s * 0.2),
        c.made_of("wood", "metal"),
        part="mast",
    )
    if c.chance(0.85):
        cloth = c.cloth(6) if c.chance(0.35) else c.made_of("fabric", colour=palette.near(c.rng, (236, 232, 220), 12))
        main = polygon(
            (x + f * s * 0.05, y - s * 0.95), (x + f * s * 0.05, y - s * 0.28), (x + f * w * 0.9, y - s * 0.28)
        )
        jib = polygon(
            (x - f * s * 0.05, y - s * 0.85), (x - f * s * 0.05, y - s * 0.28), (x - f * w * 0.65, y - s * 0.28)
        )
        c.paint("boat", [main, jib], cloth, part="sail")
    hull = polygon(
        (x - w, y - s * 0.22), (x + w, y - s * 0.22), (x + w * 0.7, y + s * 0.03), (x - w * 0.7, y + s * 0.03)
    )
    c.paint("boat", hull, c.made_of("wood", "plastic", period=4, colour=palette.vivid(c.rng)), part="hull")


def person(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a person: legs, torso, arms, head and hair."""
    skin = c.made_of("skin")
    trousers = c.made_of("fabric", period=5)
    stance = s * c.between(0.04, 0.1)
    legs = [
        bar((x - s * 0.05, y - s * 0.45), (x - stance, y), s * 0.1),
        bar((x + s * 0.05, y - s * 0.45), (x + stance, y), s * 0.1),
    ]
    c.paint("person", legs, trousers, part="leg")
    reach = [s * c.between(0.15, 0.3) for _ in range(2)]
    drop = [s * c.between(-0.1, 0.3) for _ in range(2)]
    arms = [
        bar((x + side * s * 0.09, y - s * 0.77), (x + side * reach[k], y - s * 0.75 + drop[k]), s * 0.07)
        for k, side in enumerate((-1, 1))
    ]
    c.paint("person", arms, skin, part="arm")
    shirt = c.cloth(4) if c.chance(0.5) else c.made_of("fabric", period=5)
    c.paint(
        "person",
        polygon(
            (x - s * 0.13, y - s * 0.82),
            (x + s * 0.13, y - s * 0.82),
            (x + s * 0.1, y - s * 0.42),
            (x - s * 0.1, y - s * 0.42),
        ),
        shirt,
        part="torso",
    )
    hair = c.plain(((45, 32, 25), (105, 70, 40), (215, 180, 105), (150, 60, 35))[int(c.rng.integers(4))], spread=10)
    c.paint("person", disc(x, y - s * 0.93, s * 0.105), hair, part="head", detail="hair")
    c.paint("person", oval(x - s * 0.075, y - s * 0.95, x + s * 0.075, y - s * 0.81), skin, part="head")


def cow(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a spotted cow from its side."""
    f = 1 if c.chance(0.5) else -1
    coat = c.plain((238, 234, 228) if c.chance(0.6) else (140, 90, 60), spread=10)
    spots = c.plain((40, 36, 36) if c.chance(0.6) else (120, 70, 45), spread=10)
    legs = [
        box(x + k * s * 0.6 - s * 0.06, y - s * 0.5, x + k * s * 0.6 + s * 0.06, y) for k in (-0.85, -0.55, 0.55, 0.85)
    ]
    c.paint("cow", legs, coat, part="leg")
    trunk = [oval(x - s * 0.7, y - s * 0.95, x + s * 0.7, y - s * 0.3)]
    c.paint("cow", trunk, coat, part="body")
    marks = [
        oval(x + k * s - s * 0.15, y - s * 0.82, x + k * s + s * 0.13, y - s * c.between(0.45, 0.6))
        for k in (-0.35, 0.05, 0.4)
    ]
    c.paint("cow", marks, spots, part="body")
    head = (x + f * s * 0.78, y - s * 0.88)
    c.paint(
        "cow", [disc(*head, s * 0.19), disc(head[0] + f * s * 0.1, head[1] + s * 0.12, s * 0.13)], coat, part="head"
    )
    horns = [
        bar((head[0] + k * s * 0.1, head[1] - s * 0.12), (head[0] + k * s * 0.18, head[1] - s * 0.28), s * 0.06)
        for k in (-1, 1)
    ]
    c.paint("cow", horns, c.plain((215, 200, 165)), part="head")


def ball(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a beach ball in coloured sectors."""
    r = s / 2
    colour, accent = palette.contrasting(c.rng)
    c.paint("ball", disc(x, y - r, r), c.made_of("plastic", colour=colour))
    for k in range(3):
        a = c.between(0, 0.3) + k * 2 * np.pi / 3
        rim = [
            (x + r * 0.94 * float(np.cos(a + t)), y - r + r * 0.94 * float(np.sin(a + t))) for t in (0, 0.35, 0.7, 1.05)
        ]
        c.paint("ball", polygon((x, y - r), *rim), c.made_of("plastic", colour=accent))


def street_lamp(c: Canvas, x: float, y: float, s: float, *, night: bool = False) -> None:
    """Draw a street lamp with a curved arm."""
    f = 1 if c.chance(0.5) else -1
    w = max(1.8, s * 0.035)
    post = [box(x - w / 2, y - s, x + w / 2, y), bar((x, y - s + w / 2), (x + f * s * 0.22, y - s + w / 2), w)]
    c.paint("street lamp", post, c.made_of("metal", colour=palette.near(c.rng, (95, 100, 105), 20)), part="pole")
    glow = c.plain((255, 235, 150) if night else (235, 232, 215), spread=8)
    c.paint("street lamp", oval(*_ordered(x + f * s * 0.12, x + f * s * 0.3, y - s, y - s * 0.91)), glow, part="bulb")


def traffic_light(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a traffic light; one of its three lamps is on."""
    c.paint("traffic light", box(x - s * 0.03, y - s * 0.6, x + s * 0.03, y), c.made_of("metal"), part="pole")
    w = s * 0.11
    case = c.made_of("metal", "plastic", colour=palette.near(c.rng, (50, 52, 50), 10))
    c.paint("traffic light", box(x - w, y - s, x + w, y - s * 0.5), case, part="body")
    on = int(c.rng.integers(3))
    for k, colour in enumerate(((235, 45, 40), (245, 190, 50), (60, 205, 95))):
        shown = colour if k == on else tuple(value * 0.3 for value in colour)
        c.paint(
            "traffic light",
            disc(x, y - s * (0.92 - k * 0.165), w * 0.68),
            c.plain((shown[0], shown[1], shown[2]), spread=5),
            part="bulb",
        )
