"""Whole pictures: ten scenes, flat textures and material close-ups."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ndengine.datasets.scenery import buildings, furniture, nature, palette, traffic
from ndengine.datasets.scenery.canvas import SIZE, Canvas, Finish, box, polygon
from ndengine.datasets.scenery.vocabulary import MATERIALS

View: TypeAlias = Callable[[Canvas], None]


def _spread(c: Canvas, count: int, margin: float = 8.0) -> list[float]:
    """Return ``count`` places from left to right that keep some distance."""
    step = (SIZE - 2 * margin) / max(count, 1)
    return [margin + step * (k + c.between(0.25, 0.75)) for k in range(count)]


def _some(c: Canvas, low: int, high: int) -> int:
    return int(c.rng.integers(low, high + 1))


def _crowd(c: Canvas, y: float, count: int, low: float = 22, high: float = 34) -> None:
    for x in _spread(c, count):
        traffic.person(c, x, y + c.between(-2, 4), c.between(low, high))


def street(c: Canvas) -> None:
    """Houses and trees along a road with traffic."""
    kerb, road = c.between(58, 70), c.between(72, 84)
    nature.sky(c, kerb)
    nature.ground(c, "pavement" if c.chance(0.6) else "grass", kerb)
    for x in _spread(c, _some(c, 2, 4), 0):
        kind = c.rng.random()
        if kind < 0.5:
            buildings.house(c, x, kerb + c.between(0, 5), c.between(34, 52))
        elif kind < 0.8:
            buildings.building(c, x, kerb + c.between(0, 4), c.between(44, 66))
        else:
            nature.tree(c, x, kerb + c.between(2, 7), c.between(34, 52))
    nature.ground(c, "road", road)
    if c.chance(0.6):
        y = (road + SIZE) / 2 + c.between(-3, 3)
        c.paint("road", [box(x, y, x + 9, y + 2) for x in range(-4, SIZE, 18)], c.plain((230, 228, 215)))
    if c.chance(0.5):
        traffic.street_lamp(c, c.between(8, 104), road, c.between(44, 62))
    if c.chance(0.45):
        traffic.traffic_light(c, c.between(8, 104), road + 1, c.between(38, 54))
    _crowd(c, road, _some(c, 0, 3))
    for x in _spread(c, _some(c, 1, 2), 4):
        draw = traffic.bus if c.chance(0.35) else traffic.car
        draw(c, x, c.between(road + 10, SIZE - 4), c.between(27, 40) if draw is traffic.bus else c.between(17, 28))


def night_city(c: Canvas) -> None:
    """Lit buildings under a dark sky."""
    kerb = c.between(74, 88)
    nature.sky(c, kerb, night=True)
    nature.ground(c, "road", kerb)
    for x in _spread(c, _some(c, 3, 5), -6):
        if c.chance(0.85):
            buildings.building(c, x, kerb, c.between(44, 78), night=True)
        else:
            buildings.house(c, x, kerb, c.between(34, 46), night=True)
    if c.chance(0.7):
        traffic.street_lamp(c, c.between(8, 104), kerb + 3, c.between(42, 60), night=True)
    if c.chance(0.35):
        traffic.traffic_light(c, c.between(8, 104), kerb + 3, c.between(36, 50))
    _crowd(c, kerb + 4, _some(c, 0, 2))
    for x in _spread(c, _some(c, 1, 2), 4):
        draw = traffic.bus if c.chance(0.3) else traffic.car
        draw(
            c,
            x,
            c.between(kerb + 10, SIZE - 3),
            c.between(26, 36) if draw is traffic.bus else c.between(16, 26),
            night=True,
        )


def beach(c: Canvas) -> None:
    """Sand, sea, palms and people."""
    horizon, shore = c.between(34, 52), c.between(60, 76)
    nature.sky(c, horizon)
    nature.ground(c, "sea", horizon)
    for x in _spread(c, _some(c, 0, 2)):
        traffic.boat(c, x, horizon + c.between(4, 14), c.between(16, 28))
    nature.ground(c, "sand", shore)
    for x in _spread(c, _some(c, 0, 2), 4):
        nature.palm(c, x, c.between(shore + 4, 100), c.between(50, 78))
    for x in _spread(c, _some(c, 0, 2)):
        buildings.umbrella(c, x, c.between(shore + 8, 108), c.between(30, 46))
    _crowd(c, c.between(shore + 10, 104), _some(c, 0, 3), 26, 40)
    if c.chance(0.55):
        traffic.ball(c, c.between(10, 102), c.between(shore + 12, 110), c.between(10, 20))


def harbor(c: Canvas) -> None:
    """Boats, a pier and a lighthouse."""
    horizon = c.between(42, 58)
    nature.sky(c, horizon)
    if c.chance(0.4):
        nature.mountain(c, c.between(0, SIZE), horizon, c.between(14, 26), snowy=False)
    nature.ground(c, "sea", horizon)
    if c.chance(0.55):
        x = c.between(12, 100)
        nature.rock(c, x, horizon + 8, c.between(12, 20))
        buildings.lighthouse(c, x, horizon + 2, c.between(40, 56))
    for x in _spread(c, _some(c, 0, 2)):
        buildings.house(c, x, horizon + 2, c.between(16, 24))
    for x in _spread(c, _some(c, 1, 3)):
        traffic.boat(c, x, c.between(horizon + 12, 92), c.between(30, 56))
    if c.chance(0.6):
        left = c.between(-20, 40)
        y = c.between(90, 104)
        buildings.pier(c, y, left, left + c.between(60, 100), c.between(6, 11))
        if c.chance(0.5):
            traffic.person(c, left + c.between(20, 50), y, c.between(26, 36))


def forest(c: Canvas) -> None:
    """Many trees, some flowers, perhaps a tent."""
    horizon = c.between(44, 64)
    nature.sky(c, horizon)
    nature.ground(c, "grass", horizon)
    for depth in (0.0, 0.35, 0.7):
        y = horizon + 3 + depth * (100 - horizon)
        for x in _spread(c, _some(c, 2, 4) - (depth > 0.5), -4):
            draw = nature.pine if c.chance(0.4) else nature.tree
            draw(c, x, y + c.between(-3, 5), c.between(34, 48) * (1 + depth * 0.7))
    if c.chance(0.4):
        buildings.tent(c, c.between(20, 92), c.between(88, 106), c.between(20, 32))
    if c.chance(0.35):
        nature.rock(c, c.between(10, 100), c.between(92, 108), c.between(8, 16))
    for x in _spread(c, _some(c, 0, 4)):
        nature.flower(c, x, c.between(96, 112), c.between(16, 28))
    _crowd(c, 100, _some(c, 0, 1), 28, 40)


def farm(c: Canvas) -> None:
    """A barn, cows and a fence in the fields."""
    horizon = c.between(42, 58)
    nature.sky(c, horizon)
    nature.ground(c, "grass", horizon)
    places = _spread(c, 3, 0)
    if c.chance(0.8):
        buildings.barn(c, places[_some(c, 0, 2)], horizon + c.between(3, 12), c.between(34, 52))
    if c.chance(0.4):
        nature.tree(c, places[_some(c, 0, 2)], horizon + c.between(6, 14), c.between(34, 52))
    if c.chance(0.65):
        left = c.between(-20, 30)
        buildings.fence(c, c.between(horizon + 16, 90), c.between(10, 15), left, left + c.between(60, 130))
    for x in _spread(c, _some(c, 0, 3)):
        traffic.cow(c, x, c.between(horizon + 24, 106), c.between(18, 30))
    for x in _spread(c, _some(c, 0, 4)):
        nature.flower(c, x, c.between(98, 112), c.between(16, 28))
    _crowd(c, 98, _some(c, 0, 1), 26, 38)


def desert(c: Canvas) -> None:
    """Sand, cacti and bare rock."""
    horizon = c.between(40, 62)
    nature.sky(c, horizon)
    for x in _spread(c, _some(c, 0, 2), 0):
        nature.mountain(c, x, horizon + 1, c.between(14, 30), snowy=False)
    nature.ground(c, "sand", horizon)
    for x in _spread(c, _some(c, 0, 2)):
        nature.rock(c, x, c.between(horizon + 10, 104), c.between(7, 16))
    for x in _spread(c, _some(c, 1, 3)):
        nature.cactus(c, x, c.between(horizon + 12, 108), c.between(28, 54))
    if c.chance(0.3):
        traffic.car(c, c.between(20, 92), c.between(86, 106), c.between(17, 26))
    if c.chance(0.25):
        buildings.tent(c, c.between(20, 92), c.between(84, 104), c.between(20, 32))


def mountains(c: Canvas) -> None:
    """Snowy peaks, pines and a hut."""
    horizon = c.between(58, 74)
    nature.sky(c, horizon)
    for x in _spread(c, _some(c, 2, 3), -4):
        nature.mountain(c, x, horizon + 2, c.between(32, 56), snowy=c.chance(0.85))
    nature.ground(c, "snow" if c.chance(0.7) else "grass", horizon)
    if c.chance(0.45):
        buildings.house(c, c.between(20, 92), c.between(horizon + 8, 92), c.between(28, 40))
    for x in _spread(c, _some(c, 1, 4)):
        nature.pine(c, x, c.between(horizon + 6, 106), c.between(32, 54))
    if c.chance(0.3):
        nature.rock(c, c.between(10, 100), c.between(92, 108), c.between(8, 16))
    _crowd(c, 100, _some(c, 0, 1), 26, 38)


def kitchen(c: Canvas) -> None:
    """Cabinets, a stove, pots and a table."""
    seam = c.between(74, 86)
    furniture.room(c, seam, tiled=True)
    counter, top = c.between(28, 36), seam + 4
    if c.chance(0.6):
        furniture.window(c, c.between(24, 88), c.between(20, 28), c.between(26, 36))
    elif c.chance(0.7):
        furniture.cabinet(c, c.between(0, 50), c.between(26, 32), c.between(36, 54), 22, doors=_some(c, 2, 3))
    x = c.between(-10, 10)
    furniture.cabinet(c, x, top, c.between(46, 60), counter, doors=_some(c, 2, 3))
    hob = x + c.between(62, 88)
    if c.chance(0.8):
        furniture.stove(c, hob, top, counter + 1)
        if c.chance(0.7):
            furniture.pot(c, hob + c.between(-8, 8), top - counter - 2, c.between(11, 16))
    else:
        furniture.cabinet(c, hob - 10, top, c.between(26, 40), counter, doors=2)
    for place in _spread(c, _some(c, 0, 1), 24):
        furniture.pot(c, place - 20, top - counter - 2.5, c.between(10, 15))
    if c.chance(0.6):
        middle = c.between(26, 86)
        for side in (-1, 1):
            if c.chance(0.7):
                furniture.chair(c, middle + side * c.between(26, 34), c.between(100, 110), c.between(34, 42))
        furniture.table(c, middle, c.between(102, 111), c.between(26, 32))
    if c.chance(0.4):
        furniture.hanging_lamp(c, c.between(20, 92), c.between(22, 36), c.between(14, 20))
    _crowd(c, 106, _some(c, 0, 1), 46, 60)


def living_room(c: Canvas) -> None:
    """A sofa, a rug, pictures and curtains."""
    seam = c.between(70, 82)
    furniture.room(c, seam, tiled=False)
    left, right = (c.between(22, 34), c.between(76, 92)) if c.chance(0.5) else (c.between(76, 92), c.between(22, 34))
    if c.chance(0.65):
        size, y = c.between(30, 40), c.between(26, 34)
        furniture.window(c, left, y, size)
        if c.chance(0.75):
            furniture.curtains(c, left, y, size)
    else:
        furniture.door(c, left, seam + 1, c.between(54, 64))
    if c.chance(0.75):
        furniture.painting(c, right, c.between(22, 34), c.between(18, 28))
    if c.chance(0.65):
        furniture.rug(c, c.between(36, 76), c.between(96, 104), c.between(56, 92), c.between(12, 20))
    if c.chance(0.75):
        furniture.sofa(c, c.between(34, 80), c.between(88, 100), c.between(30, 40))
    else:
        furniture.chair(c, left, c.between(92, 104), c.between(38, 48))
        furniture.table(c, c.between(50, 70), c.between(94, 106), c.between(26, 34))
    if c.chance(0.6):
        furniture.floor_lamp(c, c.between(8, 104), c.between(84, 104), c.between(52, 70))
    if c.chance(0.3):
        furniture.hanging_lamp(c, c.between(20, 92), c.between(20, 32), c.between(14, 20))
    _crowd(c, 107, _some(c, 0, 1), 48, 62)


SCENE_VIEWS: dict[str, View] = {
    "street": street, "night city": night_city, "beach": beach, "harbor": harbor, "forest": forest, "farm": farm,
    "desert": desert, "mountain": mountains, "kitchen": kitchen, "living room": living_room,
}  # fmt: skip


def texture_sheet(c: Canvas, texture: str) -> None:
    """Fill the picture with one texture; it carries no labels but its name and its colours."""
    colour, accent = palette.contrasting(c.rng)
    c.paint("", box(0, 0, SIZE, SIZE), Finish(colour, "", c.between(8, 20), texture, accent))
    c.maps["texture"][:] = 0  # the name of the texture holds for the whole image instead


def material_closeup(c: Canvas) -> None:
    """Show one to three materials side by side, in larger pattern than in scenes."""
    period = c.between(10, 18)
    c.paint("", box(0, 0, SIZE, SIZE), c.made_of(*MATERIALS, period=period))
    for _ in range(_some(c, 0, 2)):
        a, b = c.between(10, 102), c.between(10, 102)
        half = [(a, 0.0), (SIZE + 2.0, 0.0), (SIZE + 2.0, SIZE + 2.0), (b, SIZE + 2.0)]
        if c.chance(0.5):
            half = [(y, x) for x, y in half]
        c.paint("", polygon(*half), c.made_of(*MATERIALS, period=period))
