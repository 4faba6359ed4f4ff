"""A log-log plot as SVG, by hand: three panels are not worth a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 300, 240  # of a panel's inside
LEFT, TOP, BOTTOM, GAP = 66, 34, 52, 74

# The page may be light or dark, and so may the viewer: colours follow, and the background is the drawing's own.
STYLE = """
svg { background: #ffffff; font: 12px system-ui, sans-serif; }
text { fill: #1f2328; } .axis { stroke: #1f2328; fill: none; } .line { stroke: #d5dae0; }
.guide { stroke: #6e7781; stroke-dasharray: 4 4; fill: none; } .guide-text { fill: #59636e; }
.s0 { stroke: #0550ae; fill: #0550ae; } .s1 { stroke: #bc4c00; fill: #bc4c00; } .s2 { stroke: #1a7f37; fill: #1a7f37; }
path.s0, path.s1, path.s2 { fill: none; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; } text { fill: #e6edf3; } .axis { stroke: #e6edf3; } .line { stroke: #30363d; }
  .guide { stroke: #8b949e; } .guide-text { fill: #9198a1; }
  .s0 { stroke: #79c0ff; fill: #79c0ff; } .s1 { stroke: #ffa657; fill: #ffa657; }
  .s2 { stroke: #7ee787; fill: #7ee787; }
}
"""


@dataclass(frozen=True)
class Panel:
    """Series of points over one axis; both axes are logarithmic.

    Attributes
    ----------
    title, across, up : str
        What is varied, and the names of the axes with their units.
    series : sequence of (name, points)
        Points are pairs of positive numbers.
    """

    title: str
    across: str
    up: str
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]]


def draw(title: str, panels: Sequence[Panel]) -> str:
    """The panels side by side as an SVG document; dashed, the line of slope 1 through the first series' first point."""
    names = [name for name, _ in panels[0].series]
    total = LEFT + len(panels) * WIDTH + (len(panels) - 1) * GAP + 20
    parts = [_panel(panel, LEFT + i * (WIDTH + GAP)) for i, panel in enumerate(panels)]
    x, y, legend = LEFT, TOP + HEIGHT + BOTTOM + 8, []
    for i, name in enumerate(names):
        legend.append(f'<circle class="s{i}" cx="{x + 4}" cy="{y - 4}" r="4"/>')
        legend.append(f'<text x="{x + 14}" y="{y}">{escape(name)}</text>')
        x += 34 + 7 * len(name)
    legend.append(f'<path class="guide" d="M{x} {y - 4}h24"/>')
    legend.append(f'<text class="guide-text" x="{x + 30}" y="{y}">slope 1: linear growth</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {y + 14}" width="{total}" height="{y + 14}" '
        f'role="img"><title>{escape(title)}</title><style>{STYLE}</style>{"".join(parts + legend)}</svg>\n'
    )


def _panel(panel: Panel, left: int) -> str:
    points = [point for _, found in panel.series for point in found]
    spans = [_span([point[axis] for point in points]) for axis in (0, 1)]

    def place(x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = spans
        across, up = (log10(x) - x0) / (x1 - x0), (log10(y) - y0) / (y1 - y0)
        return left + WIDTH * across, TOP + HEIGHT * (1 - up)

    right, base = left + WIDTH, TOP + HEIGHT
    parts = [f'<text x="{left}" y="{TOP - 14}" font-weight="600">{escape(panel.title)}</text>']
    for value in _ticks(sorted({x for x, _ in points}), spans[0]):
        x = place(value, 10 ** spans[1][0])[0]
        parts.append(f'<path class="line" d="M{x:.1f} {TOP}V{base}"/>')
        parts.append(f'<text x="{x:.1f}" y="{base + 18}" text-anchor="middle">{value:g}</text>')
    for value in _ticks(None, spans[1]):
        y = place(10 ** spans[0][0], value)[1]
        parts.append(f'<path class="line" d="M{left} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    parts.append(f'<path class="axis" d="M{left} {TOP}V{base}H{right}"/>')
    parts.append(f'<text x="{left + WIDTH / 2}" y="{base + 38}" text-anchor="middle">{escape(panel.across)}</text>')
    turned = f"translate({left - 48} {TOP + HEIGHT / 2}) rotate(-90)"
    parts.append(f'<text transform="{turned}" text-anchor="middle">{escape(panel.up)}</text>')
    parts.append(_guide(panel.series[0][1][0], spans, place))
    for i, (name, found) in enumerate(panel.series):
        places = [place(*point) for point in found]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        dots = "".join(f'<circle class="s{i}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in places)
        parts.append(f'<g><title>{escape(name)}</title><path class="s{i}" d="M{path}"/>{dots}</g>')
    return "".join(parts)


def _guide(point: tuple[float, float], spans: Sequence[tuple[float, float]], place: object) -> str:
    """The line of slope 1 through a point, cut to the panel."""
    (x0, x1), (y0, y1) = spans
    shift = log10(point[1]) - log10(point[0])
    low, high = max(x0, y0 - shift), min(x1, y1 - shift)
    ends = [place(10**x, 10 ** (x + shift)) for x in (low, high)]  # type: ignore[operator]
    return f'<path class="guide" d="M{ends[0][0]:.1f} {ends[0][1]:.1f}L{ends[1][0]:.1f} {ends[1][1]:.1f}"/>'


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Ends of a logarithmic axis with some air around the values."""
    low, high = log10(min(values)), log10(max(values))
    air = max(0.08, 0.06 * (high - low))
    return low - air, high + air


def _ticks(values: Sequence[float] | None, span: tuple[float, float]) -> list[float]:
    """The values themselves where they are few, else powers of ten with 2 and 5 between them where there is room."""
    if values and len(values) <= 7:
        return list(values)
    marks = (1, 2, 5) if span[1] - span[0] < 2.5 else (1,)
    powers = range(floor(span[0]), ceil(span[1]) + 1)
    found = [mark * 10.0**power for power in powers for mark in marks]
    return [value for value in found if span[0] <= log10(value) <= span[1]]
