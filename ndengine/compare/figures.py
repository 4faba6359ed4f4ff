"""The figures of a comparison, as inline SVG; report.css and compare.css give colours and type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from markupsafe import Markup

from ndengine.compare.axes import Axis, axis_for, counts_to, tick_text
from ndengine.compare.curves import Curve
from ndengine.report.figures import colours
from ndengine.report.labels import shorten_apart
from ndengine.report.svg import dot, length_of, line, rect, shorten, svg, text_at

LINE = 15  # pixels between two labels, so that neither touches the other


class Side(NamedTuple):
    """One row of the figure of results side by side.

    Attributes
    ----------
    label, under : str
        What it is called, and a second line.
    per_category, top_label : mapping of str to int, or None
        Unique detectors by category, under either scheme; None where they are not known.
    """

    label: str
    under: str
    per_category: Mapping[str, int]
    top_label: Mapping[str, int] | None


def sides_figure(sides: Sequence[Side], categories: Sequence[str], *, copy: str = "") -> Markup:
    """Two stacked bars for each result: unique detectors per category in outline, top-label solid.

    Parameters
    ----------
    sides : sequence of Side
        The results, in the order to draw.
    categories : sequence of str
        All categories.
    copy : str
        Tells the figures of one page apart, where there are several.
    """
    names = shorten_apart([side.label for side in sides], 32)
    unders = shorten_apart([side.under for side in sides], 34)
    label = 10 + round(8 * max([*map(len, names), *(len(under) * 0.9 for under in unders), 6]))
    width, row, thick = 380, 46, 13
    most = max((sum(c.values()) for side in sides for c in (side.per_category, side.top_label or {})), default=0)
    shades = colours(categories)
    parts, sentences = [], []
    for place, (side, name, under) in enumerate(zip(sides, names, unders, strict=True)):
        y = place * row + 4
        parts.append(text_at(label - 10, y + 13, name, "name", anchor="end", full=side.label))
        parts.append(text_at(label - 10, y + 28, under, "name under", anchor="end", full=side.under))
        schemes = [("outline", "per-category", side.per_category, y)]
        if side.top_label is not None:
            schemes.append(("solid", "top-label", side.top_label, y + thick + 3))
        for style, scheme, counts, top in schemes:
            x = float(label)
            for category in categories:
                value = counts.get(category, 0)
                wide = length_of(value, most, width)
                if wide:
                    title = f"{side.label}, {side.under}: {value} unique in {category} ({scheme})"
                    parts.append(rect(f"{style} {shades[category]}", x, top, wide, thick, title))
                x += wide
            total = sum(counts.values())
            parts.append(text_at(x + 6, top + 11, str(total), f"value {style}-value", anchor="start"))
            told = ", ".join(f"{category} {counts.get(category, 0)}" for category in categories)
            sentences.append(f"{side.label}, {side.under}, {scheme}: {total} ({told})")
    return svg(
        "sides",
        (label + width + 40, max(1, len(sides)) * row),
        "Unique detectors by category, side by side",
        "; ".join(sentences) + ".",
        parts,
        copy=copy,
    )


class Panel(NamedTuple):
    """One of the two parts of a figure of curves: its lines as (name, CSS class, counts) and its place."""

    lines: list[tuple[str, str, tuple[int, ...]]]
    top: int
    height: int
    most: int


def curve_figure(curve: Curve, categories: Sequence[str], number: int, most: tuple[int, int]) -> Markup:
    """Unique detectors along an axis: their totals above, and below a line for each category that has any.

    Parameters
    ----------
    curve : Curve
        What to draw.
    categories : sequence of str
        All categories.
    number : int
        Of the figure on its page.
    most : tuple of int
        The counts that the vertical axes of totals and of categories must reach; curves that belong together share
        them.
    """
    left, width, right = 34, 290, 116
    totals = [("total, top-label", "dashed", curve.top_label), ("total", "whole", curve.total)]
    shades = colours(categories)
    kinds = [(name, shades[name], counts) for name in categories if any(counts := curve.by_category.get(name, ()))]
    panels = [Panel(totals, 10, 100, most[0])]
    if kinds:
        panels.append(Panel(kinds, 130, 170, most[1]))
    axis = axis_for(curve.x)
    parts = [part for panel in panels for part in _panel(panel, curve, axis, left, width)]
    base = panels[-1].top + panels[-1].height
    parts += _foot(curve.x_name, axis, left, width, base)
    points = zip(curve.x, curve.total, curve.top_label, strict=True)
    told = "; ".join(f"{curve.x_name} {x:,.10g}: total {total}, top-label {label}" for x, total, label in points)
    by_category = "".join(f" {name}: {', '.join(map(str, counts))}." for name, _, counts in kinds)
    return svg(
        "curve",
        (left + width + right, base + 46),
        f"Unique detectors over {curve.x_name}: {curve.group}, {curve.layer}",
        f"Per category. {told}.{by_category}",
        parts,
        copy=str(number),
    )


def _panel(panel: Panel, curve: Curve, axis: Axis, left: int, width: int) -> list[Markup]:
    """Grid, lines, points and the lines' names."""
    ticks = counts_to(panel.most, 3 if panel.height < 150 else 5)
    base = panel.top + panel.height
    parts = []

    def at(x: float, value: float) -> tuple[float, float]:
        return left + width * axis.place(x), base - panel.height * value / ticks[-1]

    for tick in ticks:
        y = base - panel.height * tick / ticks[-1]
        parts.append(line("base" if tick == 0 else "grid", [(left, y), (left + width, y)]))
        parts.append(text_at(left - 6, y + 4, str(tick), "tick", anchor="end"))
    ends = []
    for _, style, counts in panel.lines:
        means = [(x, sum(ys) / len(ys)) for x, ys in _by_x(curve.x, counts)]
        parts.append(line(f"curve {style}", [at(x, y) for x, y in means]))
        ends.append(at(*means[-1]))
    for name, style, counts in panel.lines:  # above all lines, so that none hides a point
        for x, value in zip(curve.x, counts, strict=True):
            title = f"{curve.x_name} {x:,.10g}: {value} unique, {name}"
            parts += [dot(f"point {style}", *at(x, value), 2.5), dot("hit", *at(x, value), 8, title)]
    beside = _apart([y for _, y in ends], panel.top, base)
    for (name, style, _), (x, y), height in zip(panel.lines, ends, beside, strict=True):
        parts.append(line(f"leader {style}", [(x + 4, y), (left + width + 14, height)]))
        parts.append(
            text_at(left + width + 18, height + 4, shorten(name, 17), f"name {style}", anchor="start", full=name)
        )
    return parts


def _foot(x_name: str, axis: Axis, left: int, width: int, base: int) -> list[Markup]:
    """The horizontal axis: as many of its numbers as do not touch, and its name."""
    parts, free = [], -1.0
    for tick in axis.ticks:
        x, text = left + width * axis.place(tick), tick_text(tick)
        parts.append(line("base", [(x, base), (x, base + 4)]))
        half = 3.4 * len(text)
        if x - half >= free:
            parts.append(text_at(x, base + 17, text, "tick"))
            free = x + half + 6
    scale = ", logarithmic" if axis.logarithmic else ""
    parts.append(text_at(left + width / 2, base + 38, f"{x_name}{scale}", "axis"))
    return parts


def _by_x(xs: Sequence[float], values: Sequence[int]) -> list[tuple[float, list[int]]]:
    """The values at each x; xs ascend."""
    pairs = zip(xs, values, strict=True)
    return [(x, [value for _, value in members]) for x, members in groupby(pairs, key=lambda pair: pair[0])]


def _apart(wanted: Sequence[float], top: float, base: float) -> list[float]:
    """Heights near the wanted ones, in their order, a line apart and inside where they fit."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed: list[float] = []
    for i in order:
        placed.append(max(wanted[i], placed[-1] + LINE if placed else top + 2))
    limit = base
    for place in reversed(range(len(placed))):
        placed[place] = min(placed[place], limit)
        limit = placed[place] - LINE
    out = [0.0] * len(wanted)
    for i, y in zip(order, placed, strict=True):
        out[i] = y
    return out
