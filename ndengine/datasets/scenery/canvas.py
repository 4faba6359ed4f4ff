"""A picture that knows, while it is being painted, what every pixel shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ndengine.datasets.scenery import palette
from ndengine.datasets.scenery.palette import Colour
from ndengine.datasets.scenery.patterns import MATERIAL_PATTERNS, TEXTURE_PATTERNS
from ndengine.datasets.scenery.vocabulary import NUMBERS

SIZE = 112  # image pixels a side; label maps have half as many, as in Broden
LAYERS = ("object", "part", "detail", "material", "texture")  # "detail": the parts of parts
SUPERSAMPLING = 3  # outlines are rasterised this much finer, then averaged: soft edges


@dataclass(frozen=True)
class Outline:
    """A polygon or an ellipse (two corners of its box) in image pixels."""

    points: tuple[tuple[float, float], ...]
    round: bool = False


def box(left: float, top: float, right: float, bottom: float) -> Outline:
    """Outline an upright rectangle."""
    return Outline(((left, top), (right, top), (right, bottom), (left, bottom)))


def oval(left: float, top: float, right: float, bottom: float) -> Outline:
    """Outline the ellipse that fills a rectangle."""
    return Outline(((left, top), (right, bottom)), round=True)


def disc(x: float, y: float, radius: float) -> Outline:
    """Outline a circle."""
    return oval(x - radius, y - radius, x + radius, y + radius)


def polygon(*points: tuple[float, float]) -> Outline:
    """Outline a polygon."""
    return Outline(points)


def bar(start: tuple[float, float], end: tuple[float, float], width: float) -> Outline:
    """Outline a straight stroke of a given width."""
    (x0, y0), (x1, y1) = start, end
    length = max(float(np.hypot(x1 - x0, y1 - y0)), 1e-6)
    dx, dy = -(y1 - y0) / length * width / 2, (x1 - x0) / length * width / 2
    return Outline(((x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)))


@dataclass(frozen=True)
class Finish:
    """What a surface is made of.

    Attributes
    ----------
    colour : Colour
        Main colour, red, green and blue from 0 to 255.
    material : str
        Its material; "" is a plain surface without a material label.
    period : float
        Size of the material's or texture's pattern in pixels.
    texture : str
        A texture printed on it in ``accent``, or "".
    accent : Colour
        The second colour of the texture.
    fade : float
        Light added towards the lower edge, -1 to 1: the sky fades to the horizon.
    """

    colour: Colour
    material: str = ""
    period: float = 8.0
    texture: str = ""
    accent: Colour = (0.0, 0.0, 0.0)
    fade: float = 0.0


class Canvas:
    """A square picture and its label maps.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where every decision about the picture comes from.

    Attributes
    ----------
    pixels : ndarray [SIZE, SIZE, 3] float32
        Red, green and blue from 0 to 255 before the light of the scene falls on them.
    maps : dict of str to ndarray [SIZE // 2, SIZE // 2] uint16
        One label map for each of LAYERS; 0 is none.
    """

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.pixels = np.zeros((SIZE, SIZE, 3), np.float32)
        self.maps = {layer: np.zeros((SIZE // 2, SIZE // 2), np.uint16) for layer in LAYERS}

    def between(self, low: float, high: float) -> float:
        """Draw a number between two."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Decide something that happens now and then."""
        return bool(self.rng.random() < probability)

    def pick(self, names: Sequence[str]) -> str:
        """Choose one of several names."""
        return names[int(self.rng.integers(len(names)))]

    def made_of(self, *materials: str, period: float = 8.0, colour: Colour | None = None) -> Finish:
        """Choose one of the materials, in a colour that it comes in unless one is given."""
        material = self.pick(materials)
        return Finish(colour or palette.natural(self.rng, material), material, period * self.between(0.8, 1.25))

    def plain(self, colour: Colour, *, spread: float = 18.0, fade: float = 0.0) -> Finish:
        """Return a surface without material in about this colour."""
        return Finish(palette.near(self.rng, colour, spread), fade=fade)

    def cloth(self, period: float = 6.0) -> Finish:
        """Return fabric printed with some texture in two vivid colours."""
        colour, accent = palette.contrasting(self.rng)
        period *= self.between(0.8, 1.3)
        return Finish(colour, "fabric", period, self.pick(tuple(TEXTURE_PATTERNS)), accent)

    def paint(
        self, thing: str, outlines: Outline | Sequence[Outline], finish: Finish, part: str = "", detail: str = ""
    ) -> None:
        """Paint the union of outlines and label it, covering whatever was there.

        Parameters
        ----------
        thing : str
            The object, or "" for none.
        outlines : Outline or sequence of Outline
            Where, in pixels; may reach over the edge of the picture.
        finish : Finish
            How it looks.
        part, detail : str
            The part of the object, and the part of that part.
        """
        shapes = [outlines] if isinstance(outlines, Outline) else list(outlines)
        window = _window(shapes)
        if window is None:
            return
        left, top, right, bottom = window
        cover = _rasterise(shapes, window)
        area = self.pixels[top:bottom, left:right]
        area += cover[:, :, None] * (self._surface(finish, cover.shape) - area)
        cells = cover[::2, ::2] + cover[1::2, ::2] + cover[::2, 1::2] + cover[1::2, 1::2] >= 2  # half of a label pixel
        names = (thing, part, detail, finish.material, finish.texture)
        for layer, name in zip(LAYERS, names, strict=True):
            labels = self.maps[layer][top // 2 : bottom // 2, left // 2 : right // 2]
            labels[cells] = NUMBERS[name] if name else 0

    def _surface(self, finish: Finish, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Render a finish as [h, w, 3] float32."""
        height, width = shape
        surface = np.empty((height, width, 3), np.float32)
        surface[:] = finish.colour
        if finish.texture:
            tones = TEXTURE_PATTERNS[finish.texture](self.rng, (height, width), finish.period)
            mix = (np.float32(0.5) - np.clip(tones, -1, 1) * np.float32(0.5)).astype(np.float32)[:, :, None]
            surface += mix * (np.asarray(finish.accent, np.float32) - surface)
        if finish.material:
            tones = MATERIAL_PATTERNS[finish.material](self.rng, (height, width), finish.period)
            relief = palette.RELIEF[finish.material] * (0.4 if finish.texture else 1.0)
            surface *= (1 + np.float32(relief) * tones).astype(np.float32)[:, :, None]
        if finish.fade:
            ramp = np.linspace(0, 255 * finish.fade, height, dtype=np.float32)
            surface += ramp[:, None, None]
        return surface

    def develop(self, *, light: float, tint: Colour = (1.0, 1.0, 1.0)) -> NDArray[np.uint8]:
        """Let light fall on the picture and photograph it.

        Parameters
        ----------
        light : float
            Brightness, about 1.
        tint : Colour
            Colour of the light, each channel about 1.

        Returns
        -------
        ndarray [SIZE, SIZE, 3] uint8
        """
        side = np.linspace(-1, 1, SIZE, dtype=np.float32) * np.float32(self.between(-0.14, 0.14))
        slope = np.linspace(-1, 1, SIZE, dtype=np.float32) * np.float32(self.between(-0.08, 0.08))
        gain = np.float32(light) * (1 + side[None, :] + slope[:, None])
        photo = self.pixels * gain[:, :, None] * np.asarray(tint, np.float32)
        if self.chance(0.25):  # slightly out of focus
            photo[1:-1, 1:-1] = (
                4 * photo[1:-1, 1:-1] + photo[:-2, 1:-1] + photo[2:, 1:-1] + photo[1:-1, :-2] + photo[1:-1, 2:]
            ) / 8
        grain = self.rng.standard_normal(photo.shape, dtype=np.float32) * np.float32(self.between(1.5, 6))
        return np.clip(np.rint(photo + grain), 0, 255).astype(np.uint8)


def _window(outlines: Sequence[Outline]) -> tuple[int, int, int, int] | None:
    """Return the part of the picture that outlines can touch, in whole label cells; None outside it."""
    xs = [x for outline in outlines for x, _ in outline.points]
    ys = [y for outline in outlines for _, y in outline.points]
    left, top = (max(0, int(np.floor(min(values))) // 2 * 2) for values in (xs, ys))
    right, bottom = (min(SIZE, -(-int(np.ceil(max(values)) + 1) // 2) * 2) for values in (xs, ys))
    return (left, top, right, bottom) if left < right and top < bottom else None


def _rasterise(outlines: Sequence[Outline], window: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """Return how much of each pixel of the window the outlines cover, [h, w] float32 from 0 to 1."""
    left, top, right, bottom = window
    sheet = Image.new("L", ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING))
    pen = ImageDraw.Draw(sheet)
    for outline in outlines:
        points = [((x - left) * SUPERSAMPLING - 0.5, (y - top) * SUPERSAMPLING - 0.5) for x, y in outline.points]
        if outline.round:
            (x0, y0), (x1, y1) = points
            pen.ellipse((x0, y0, max(x0, x1), max(y0, y1)), fill=255)
        else:
            pen.polygon(points, fill=255)
    return np.asarray(sheet.reduce(SUPERSAMPLING), np.float32) / np.float32(255)
