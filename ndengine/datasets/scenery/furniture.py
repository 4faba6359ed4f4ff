"""What stands and hangs in rooms. ``x, y`` is the middle of the foot; ``s`` the height in pixels."""

from __future__ import annotations

from ndengine.datasets.scenery import palette
from ndengine.datasets.scenery.canvas import SIZE, Canvas, Finish, bar, box, disc, oval, polygon
from ndengine.datasets.scenery.nature import DAY_SKIES, NIGHT_SKIES


def room(c: Canvas, seam: float, *, tiled: bool) -> None:
    """Draw the wall down to ``seam`` and the floor below it."""
    if tiled:
        wall = c.made_of("tile", period=9)
    elif c.chance(0.4):
        pale = palette.near(c.rng, (215, 205, 185), 25)
        accent = palette.near(c.rng, (170, 160, 150), 30)
        wall = Finish(pale, "", c.between(7, 11), c.pick(("striped", "dotted", "scaly", "zigzagged")), accent)
    else:
        wall = c.plain(((225, 215, 195), (190, 205, 215), (205, 215, 190), (225, 195, 185))[int(c.rng.integers(4))])
    c.paint("wall", box(0, 0, SIZE, seam), wall)
    c.paint(
        "floor",
        box(0, seam, SIZE, SIZE),
        c.made_of("tile", "stone", period=12) if tiled else c.made_of("wood", period=9),
    )


def window(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a window in the wall, ``x, y`` its centre, with a view of the sky."""
    w = s * c.between(0.7, 1.0)
    frame = c.made_of("wood", period=4, colour=palette.near(c.rng, (228, 222, 210), 18))
    c.paint("window", box(x - w / 2, y - s / 2, x + w / 2, y + s / 2), frame, part="frame")
    sky = DAY_SKIES if c.chance(0.75) else NIGHT_SKIES
    pane = c.made_of("glass", period=9, colour=palette.near(c.rng, sky[int(c.rng.integers(len(sky)))], 12))
    edge, half = s * 0.07, s * 0.025
    for column in (-1, 1):
        for row in (-1, 1):
            inner_x, outer_x = x + column * half, x + column * (w / 2 - edge)
            inner_y, outer_y = y + row * half, y + row * (s / 2 - edge)
            corners = min(inner_x, outer_x), min(inner_y, outer_y), max(inner_x, outer_x), max(inner_y, outer_y)
            c.paint("window", box(*corners), pane, part="pane")


def curtains(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw two curtains at the sides of a window centred on ``x, y``, ``s`` tall."""
    cloth = c.cloth(6) if c.chance(0.6) else c.made_of("fabric", period=7)
    for side in (-1, 1):
        near, far = x + side * s * 0.34, x + side * s * 0.62
        c.paint("curtain", box(min(near, far), y - s * 0.6, max(near, far), y + s * 0.72), cloth)
    c.paint(
        "curtain",
        bar((x - s * 0.68, y - s * 0.61), (x + s * 0.68, y - s * 0.61), 2),
        c.made_of("metal", "wood"),
        part="pole",
    )


def door(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a door in its frame."""
    w = s * 0.44
    wood = c.made_of("wood", period=8)
    c.paint("door", box(x - w * 0.58, y - s * 1.04, x + w * 0.58, y), c.made_of("wood", period=4), part="frame")
    c.paint("door", box(x - w / 2, y - s, x + w / 2, y), wood)
    c.paint(
        "door",
        disc(x + w * 0.34, y - s * 0.45, max(1.8, s * 0.035)),
        c.made_of("metal", colour=(220, 195, 110)),
        part="handle",
    )


def painting(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a framed painting, ``x, y`` its centre."""
    w = s * c.between(0.8, 1.5)
    gold = palette.near(c.rng, (190, 150, 70), 20)
    c.paint(
        "painting",
        box(x - w / 2, y - s / 2, x + w / 2, y + s / 2),
        c.made_of("wood", period=4, colour=gold),
        part="frame",
    )
    edge = s * 0.12
    art = (x - w / 2 + edge, y - s / 2 + edge, x + w / 2 - edge, y + s / 2 - edge)
    if c.chance(0.5):
        cloth = c.cloth(5)
        c.paint("painting", box(*art), Finish(cloth.colour, "", cloth.period, cloth.texture, cloth.accent))
        return
    c.paint("painting", box(*art), c.plain((150, 190, 220), fade=0.1))
    c.paint("painting", box(art[0], y + s * 0.08, art[2], art[3]), c.plain((95, 140, 80)))
    c.paint("painting", disc(x + w * 0.15, y - s * 0.15, s * 0.09), c.plain((235, 175, 70)))


def sofa(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a sofa: back, two seats, arms and feet."""
    w = s * c.between(0.95, 1.2)
    cloth = c.cloth(6) if c.chance(0.35) else c.made_of("fabric", period=9)
    darker = Finish(
        palette.shaded(cloth.colour, 0.86), "fabric", cloth.period, cloth.texture, palette.shaded(cloth.accent, 0.86)
    )
    c.paint(
        "sofa",
        [box(x + k * w * 0.8 - 2, y - s * 0.1, x + k * w * 0.8 + 2, y) for k in (-1, 1)],
        c.made_of("wood"),
        part="leg",
    )
    c.paint(
        "sofa",
        [
            box(x - w * 0.85, y - s * 0.94, x + w * 0.85, y - s * 0.1),
            oval(x - w * 0.9, y - s, x + w * 0.9, y - s * 0.7),
        ],
        cloth,
        part="back",
    )
    for k in (-1, 1):
        c.paint(
            "sofa",
            box(x + min(k, 0) * w * 0.8 + 0.6, y - s * 0.5, x + max(k, 0) * w * 0.8 - 0.6, y - s * 0.1),
            darker,
            part="seat",
        )
    for k in (-1, 1):
        arm = [
            box(x + k * w * 0.88 - s * 0.13, y - s * 0.56, x + k * w * 0.88 + s * 0.13, y - s * 0.06),
            disc(x + k * w * 0.88, y - s * 0.58, s * 0.13),
        ]
        c.paint("sofa", arm, cloth, part="arm")


def chair(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a chair from a little to its side."""
    f, w = (1 if c.chance(0.5) else -1), s * 0.21
    finish = c.made_of("wood", "metal", "plastic", period=4)
    legs = [box(x + k * w - s * 0.03, y - s * 0.45, x + k * w + s * 0.03, y) for k in (-0.85, 0.85)]
    legs += [bar((x + k * w * 0.6, y - s * 0.45), (x + k * w * 0.45, y - s * 0.06), s * 0.05) for k in (-1, 1)]
    c.paint("chair", legs, finish, part="leg")
    if c.chance(0.5):
        back = [box(x - f * w - s * 0.04, y - s, x - f * w + s * 0.05, y - s * 0.45)]
    else:
        back = [
            box(x - w, y - s, x + w, y - s * 0.74),
            *(box(x + k * w - s * 0.03, y - s, x + k * w + s * 0.03, y - s * 0.45) for k in (-0.9, 0, 0.9)),
        ]
    c.paint("chair", back, finish, part="back")
    seat = c.cloth(4) if c.chance(0.3) else finish
    c.paint("chair", box(x - w * 1.15, y - s * 0.51, x + w * 1.15, y - s * 0.42), seat, part="seat")


def table(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a table with a thick top, covered with cloth now and then."""
    w = s * c.between(0.75, 1.1)
    wood = c.made_of("wood", "wood", "metal", period=6)
    c.paint(
        "table",
        [box(x + k * w * 0.85 - s * 0.05, y - s * 0.9, x + k * w * 0.85 + s * 0.05, y) for k in (-1, 1)],
        wood,
        part="leg",
    )
    c.paint(
        "table",
        polygon((x - w, y - s * 0.82), (x - w * 0.88, y - s), (x + w * 0.88, y - s), (x + w, y - s * 0.82)),
        wood,
        part="top",
    )
    if c.chance(0.3):
        c.paint(
            "table",
            polygon(
                (x - w * 0.6, y - s * 0.72), (x - w * 0.55, y - s), (x + w * 0.55, y - s), (x + w * 0.6, y - s * 0.72)
            ),
            c.cloth(4),
            part="top",
        )


def floor_lamp(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a lamp with a cloth shade, standing on the floor or on a table."""
    metal = c.made_of("metal", "wood", period=4)
    c.paint(
        "lamp",
        [
            box(x - s * 0.02 - 0.5, y - s * 0.75, x + s * 0.02 + 0.5, y),
            oval(x - s * 0.13, y - s * 0.05, x + s * 0.13, y + s * 0.03),
        ],
        metal,
        part="pole",
    )
    shade = c.made_of("fabric", period=6, colour=palette.near(c.rng, (240, 215, 150), 18) if c.chance(0.6) else None)
    low, high = s * c.between(0.17, 0.22), s * c.between(0.09, 0.13)
    c.paint(
        "lamp",
        polygon((x - low, y - s * 0.7), (x - high, y - s), (x + high, y - s), (x + low, y - s * 0.7)),
        shade,
        part="shade",
    )


def hanging_lamp(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a lamp that hangs from the ceiling down to ``y``."""
    c.paint("lamp", box(x - 0.6, 0, x + 0.6, y - s * 0.4), c.made_of("metal"), part="pole")
    c.paint("lamp", disc(x, y - s * 0.06, s * 0.16), c.plain((255, 240, 180), spread=6), part="bulb")
    finish = c.made_of("metal", "plastic", colour=palette.vivid(c.rng))
    c.paint(
        "lamp",
        polygon((x - s * 0.5, y), (x - s * 0.16, y - s * 0.45), (x + s * 0.16, y - s * 0.45), (x + s * 0.5, y)),
        finish,
        part="shade",
    )


def cabinet(c: Canvas, x: float, y: float, w: float, s: float, *, doors: int) -> None:
    """Draw a kitchen cabinet with its worktop, ``x`` its left side."""
    wood = c.made_of("wood", period=6, colour=palette.vivid(c.rng) if c.chance(0.3) else None)
    c.paint("cabinet", box(x, y - s, x + w, y), wood)
    step = w / doors
    for k in range(doors):
        left = x + k * step
        leaf = Finish(palette.shaded(wood.colour, 0.9), "wood", wood.period)
        c.paint("cabinet", box(left + 1.2, y - s + 2, left + step - 1.2, y - 2), leaf, part="door")
        grip = left + (step * 0.78 if k % 2 == 0 else step * 0.22)
        c.paint(
            "cabinet",
            box(grip - 0.9, y - s * 0.75, grip + 0.9, y - s * 0.45),
            c.made_of("metal"),
            part="door",
            detail="handle",
        )
    c.paint(
        "cabinet",
        box(x - 1, y - s - 2.5, x + w + 1, y - s + 1),
        c.made_of("stone", "wood", "metal", period=5),
        part="top",
    )


def stove(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a stove with an oven door and a hob of four rings."""
    w = s * c.between(0.85, 1.0)
    metal = c.made_of("metal", colour=palette.near(c.rng, (205, 205, 210), 14) if c.chance(0.6) else (52, 54, 60))
    c.paint("stove", box(x - w / 2, y - s, x + w / 2, y), metal)
    c.paint(
        "stove",
        box(x - w * 0.38, y - s * 0.62, x + w * 0.38, y - s * 0.12),
        c.made_of("glass", period=8, colour=(55, 52, 58)),
        part="door",
    )
    c.paint("stove", box(x - w * 0.36, y - s * 0.72, x + w * 0.36, y - s * 0.66), c.made_of("metal"), part="handle")
    knobs = [disc(x + k * w * 0.2, y - s * 0.83, max(1.2, s * 0.05)) for k in (-1.7, -0.6, 0.6, 1.7)]
    c.paint("stove", knobs, c.made_of("plastic", colour=palette.near(c.rng, (40, 40, 44), 10)), part="handle")
    c.paint("stove", [box(x - w / 2, y - s * 1.05, x + w / 2, y - s * 0.96)], c.made_of("metal"), part="top")
    rings = [
        oval(x + k * w * 0.26 - w * 0.16, y - s * 1.07, x + k * w * 0.26 + w * 0.16, y - s * 0.98) for k in (-1, 1)
    ]
    c.paint("stove", rings, c.plain((35, 32, 34) if c.chance(0.7) else (215, 80, 45)), part="burner")


def pot(c: Canvas, x: float, y: float, s: float) -> None:
    """Draw a pot with two handles and a lid."""
    w = s * c.between(0.5, 0.65)
    colour = palette.vivid(c.rng) if c.chance(0.6) else None
    metal = c.made_of("metal", colour=colour)
    c.paint(
        "pot",
        [
            box(x - w * 1.3, y - s * 0.62, x - w * 0.9, y - s * 0.48),
            box(x + w * 0.9, y - s * 0.62, x + w * 1.3, y - s * 0.48),
        ],
        metal,
        part="handle",
    )
    c.paint("pot", box(x - w, y - s * 0.75, x + w, y), metal, part="body")
    c.paint(
        "pot",
        [oval(x - w * 1.02, y - s * 0.88, x + w * 1.02, y - s * 0.62), disc(x, y - s * 0.92, s * 0.09)],
        metal,
        part="top",
    )


def rug(c: Canvas, x: float, y: float, w: float, h: float) -> None:
    """Draw a printed rug on the floor, ``x, y`` its centre."""
    cloth = c.cloth(7)
    c.paint(
        "rug",
        polygon((x - w / 2, y + h / 2), (x - w * 0.42, y - h / 2), (x + w * 0.42, y - h / 2), (x + w / 2, y + h / 2)),
        cloth,
    )
