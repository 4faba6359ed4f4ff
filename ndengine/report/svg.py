"""The elements that figures are made of, as inline SVG: escaped, and with no more digits than the eye can tell."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from ndengine.visible import visible

Number = int | float


def svg(
    key: str, size: tuple[Number, Number], title: str, description: str, parts: Iterable[Markup], *, copy: str = ""
) -> Markup:
    """A figure of some width and height that names and describes itself.

    Parameters
    ----------
    key : str
        Its CSS class, and with ``copy`` behind it the beginning of its ids, which must be the page's only ones.
    """
    width, height = (number(n) for n in size)
    return Markup(
        '<svg class="figure {key}" role="img" aria-labelledby="{ids}-title {ids}-text" '
        'width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        '<title id="{ids}-title">{title}</title><desc id="{ids}-text">{description}</desc>{body}</svg>'
    ).format(
        key=key,
        ids=f"{key}{copy}",
        width=width,
        height=height,
        title=visible(title),
        description=visible(description),
        body=Markup("").join(parts),
    )


def rect(style: str, x: Number, y: Number, width: Number, height: Number, title: str = "") -> Markup:
    """A rectangle of a CSS class; its title is shown by a pointer that rests on it."""
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}">{}</rect>').format(
        style, number(x), number(y), number(width), number(height), _title(title)
    )


def dot(style: str, x: Number, y: Number, radius: Number, title: str = "") -> Markup:
    """A disc of a CSS class."""
    return Markup('<circle class="{}" cx="{}" cy="{}" r="{}">{}</circle>').format(
        style, number(x), number(y), number(radius), _title(title)
    )


def line(style: str, points: Iterable[tuple[Number, Number]]) -> Markup:
    """A line through points."""
    path = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return Markup('<path class="{}" d="M{}"/>').format(style, path)


def text_at(x: Number, y: Number, text: str, style: str, *, anchor: str = "middle", full: str = "") -> Markup:
    """A text; ``full`` is what it says where it is not shortened."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}{}</text>').format(
        style, number(x), number(y), anchor, _title(full if full != text else ""), visible(text)
    )


def baseline(start: Number, end: Number, y: Number) -> Markup:
    """The line that bars stand on."""
    return Markup('<path class="base" d="M{} {}H{}"/>').format(number(start), number(y + 0.5), number(end))


def length_of(value: int, most: int, full: int) -> float:
    """Length of a bar; a count of 1 stays visible beside one of thousands."""
    return max(1.5, full * value / most) if value else 0.0


def shorten(text: str, letters: int) -> str:
    """A text of no more letters, with a sign that some are gone."""
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


def number(value: Number) -> str:
    """A coordinate with no more digits than the eye can tell."""
    return f"{value:.1f}".removesuffix(".0")


def _title(text: str) -> Markup:
    return Markup("<title>{}</title>").format(visible(text)) if text else Markup("")
