"""The figures of a report, as inline SVG; report.css gives colours and type, so they follow the theme."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from markupsafe import Markup

from ndengine.report.svg import baseline, length_of, number, rect, shorten, svg, text_at
from ndengine.visible import visible

COLOURS = 8  # classes k0 … k7 of report.css; further categories start again
USUAL = ("color", "object", "part", "material", "scene", "texture")  # they have the first of these


class CategoryBar(NamedTuple):
    """A category's unique detectors under both schemes."""

    category: str
    top_label: int
    per_category: int


class ConceptBar(NamedTuple):
    """A concept that units detect; ``category`` is the index of its category."""

    concept: str
    category: int
    units: int


def colours(categories: Sequence[str]) -> dict[str, str]:
    """The CSS class of each category, Broden's alike on every page; of no category (an empty name), ``none``."""
    found = {name: f"k{USUAL.index(name)}" for name in categories if name in USUAL}
    free = [f"k{k}" for k in range(COLOURS) if f"k{k}" not in found.values()] or [f"k{k}" for k in range(COLOURS)]
    others = [name for name in categories if name not in found]
    found |= {name: free[place % len(free)] for place, name in enumerate(others)}
    return {**{name: found[name] for name in categories}, "": "none"}


def categories_figure(bars: Sequence[CategoryBar]) -> Markup:
    """Bars of unique detectors by category: top-label solid, per-category beside it in outline.

    Parameters
    ----------
    bars : sequence of CategoryBar
        One for each category of the dataset, in its order.
    """
    slot, width, height, top = 60, 20, 120, 22
    most = max((max(b.top_label, b.per_category) for b in bars), default=0)
    base = top + height
    shades = colours([bar.category for bar in bars])
    parts = []
    for k, bar in enumerate(bars):
        left = k * slot + 9
        for value, x, style, scheme in (
            (bar.top_label, left, "solid", "top-label"),
            (bar.per_category, left + width + 2, "outline", "per-category"),
        ):
            tall = length_of(value, most, height)
            title = f"{bar.category}: {value} unique ({scheme})"
            parts.append(rect(f"{style} {shades[bar.category]}", x, base - tall, width, tall, title))
            parts.append(text_at(x + width / 2, base - tall - 5, str(value), f"value {style}-value"))
        parts.append(text_at(k * slot + slot / 2, base + 16, shorten(bar.category, 9), "name", full=bar.category))
    parts.append(baseline(0, len(bars) * slot, base))
    sentence = "; ".join(f"{b.category} {b.top_label} and {b.per_category}" for b in bars)
    return svg(
        "categories",
        (max(1, len(bars)) * slot, base + 26),
        "Unique detectors by category",
        f"Top-label and per-category: {sentence}.",
        parts,
    )


def concepts_figure(bars: Iterable[ConceptBar], categories: Sequence[str]) -> Markup:
    """One bar for each detected concept, as tall as its units are many, grouped by category.

    Parameters
    ----------
    bars : iterable of ConceptBar
        The detected concepts, in any order.
    categories : sequence of str
        Names of the categories.
    """
    pitch, width, height, top, letters, between = 14, 9, 96, 18, 118, 14
    ordered = sorted(bars, key=lambda b: (b.category, -b.units, b.concept))
    most = max((b.units for b in ordered), default=0)
    base = top + height
    shades = colours(categories)
    parts, sentences = [], []
    x = 0.0
    for k, group in groupby(ordered, key=lambda b: b.category):
        members = list(group)
        heading = f"{shorten(categories[k], 12)} {len(members)}"
        start, span = x, max(len(members) * pitch, 7 * len(heading))
        for bar in members:
            tall = length_of(bar.units, most, height)
            middle = x + pitch / 2
            plural = "unit" if bar.units == 1 else "units"
            parts.append(
                Markup('<g class="bar" data-find="{}"><title>{}</title>').format(
                    visible(bar.concept), visible(f"{bar.concept} ({categories[k]}): {bar.units} {plural}")
                )
            )
            # A clear rectangle over the whole column, so that a short bar is as easy to hit as a tall one.
            parts.append(rect("hit", x, top - 14, pitch, height + 14 + letters))
            parts.append(rect(f"solid {shades[categories[k]]}", middle - width / 2, base - tall, width, tall))
            parts.append(text_at(middle, base - tall - 4, str(bar.units), "value small"))
            place = f"translate({number(middle + 3.5)} {base + 6}) rotate(-90)"
            parts.append(
                Markup('<text class="name small" transform="{}" text-anchor="end">{}</text></g>').format(
                    place, visible(shorten(bar.concept, 19))
                )
            )
            x += pitch
        x = start + span
        parts.append(rect(f"solid {shades[categories[k]]}", start + 1, base + letters + 4, span - 2, 2.5))
        parts.append(
            Markup('<text class="name" x="{}" y="{}">{}</text>').format(
                number(start + 1), base + letters + 20, visible(heading)
            )
        )
        parts.append(baseline(start, x, base))
        sentences.append(f"{categories[k]}: " + ", ".join(f"{b.concept} {b.units}" for b in members))
        x += between
    return svg(
        "concepts",
        (max(1.0, x - between), base + letters + 26),
        "Units of each detected concept",
        "; ".join(sentences) + ".",
        parts,
    )


def layers_figure(layers: Mapping[str, Sequence[CategoryBar]]) -> Markup:
    """One stacked bar for each layer: its unique detectors (top-label), split by category.

    Parameters
    ----------
    layers : mapping of str to sequence of CategoryBar
        The categories' bars by layer name, in the order to draw.
    """
    width, row, thick = 300, 26, 16
    names = [shorten(name, 15) for name in layers]
    label = 8 + 7.5 * max(map(len, names), default=0)
    totals = {name: sum(b.top_label for b in bars) for name, bars in layers.items()}
    most = max(totals.values(), default=0)
    parts = []
    for place, (name, bars) in enumerate(layers.items()):
        y = place * row + 2
        parts.append(text_at(label - 8, y + 12, shorten(name, 15), "name", anchor="end", full=name))
        x = float(label)
        shades = colours([bar.category for bar in bars])
        for bar in bars:
            wide = length_of(bar.top_label, most, width)
            if wide:
                title = f"{name}: {bar.top_label} unique detectors of category {bar.category}"
                parts.append(rect(f"solid {shades[bar.category]}", x, y, wide, thick, title))
            x += wide
        parts.append(text_at(x + 6, y + 12.5, str(totals[name]), "value", anchor="start"))
    sentence = "; ".join(f"{name} {total}" for name, total in totals.items())
    size = (label + width + 34, max(1, len(totals)) * row)
    return svg("layers", size, "Unique detectors by layer", f"Top-label: {sentence}.", parts)
