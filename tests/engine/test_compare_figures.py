"""The figures of a comparison: places in proportion, every count readable, labels apart, names escaped."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from ndengine.compare.axes import axis_for, counts_to, steps, tick_text
from ndengine.compare.curves import Curve
from ndengine.compare.figures import Side, curve_figure, sides_figure
from ndengine.report.figures import COLOURS

CATEGORIES = ("object", "<part>", "color")
CURVE = Curve(
    group="<group>",
    layer="conv5",
    x_name="training iteration",
    entries=(0, 1, 2, 3),
    x=(1.0, 100.0, 10_000.0, 10_000.0),
    by_category={"object": (0, 2, 4, 6), "<part>": (1, 1, 1, 1), "color": (0, 0, 0, 0)},
    total=(1, 3, 5, 7),
    top_label=(1, 2, 4, 6),
)
SIDES = [
    Side("one", "conv5", {"object": 8, "<part>": 4}, {"object": 6, "<part>": 0, "color": 2}),
    Side("<two>", "conv4", {"object": 1}, None),
]


def parse(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def of_class(root: ET.Element, *classes: str) -> list[ET.Element]:
    return [e for e in root.iter() if set(classes) <= set((e.get("class") or "").split())]


def points(path: ET.Element) -> list[tuple[float, float]]:
    steps = (path.get("d") or "").removeprefix("M").split("L")
    return [(float(x), float(y)) for x, y in (step.split() for step in steps)]


def texts(root: ET.Element, style: str) -> list[str]:
    return ["".join(e.itertext()) for e in of_class(root, style) if e.tag == "text"]


def test_a_linear_axis_goes_from_end_to_end() -> None:
    axis = axis_for([0.2, 1.0, 0.6])
    assert not axis.logarithmic
    assert [axis.place(x) for x in (0.2, 0.6, 1.0)] == pytest.approx([0, 0.5, 1])
    assert axis.ticks == (0.2, 0.6, 1.0)


def test_many_places_get_round_ticks() -> None:
    assert axis_for([float(x) for x in range(3, 40)]).ticks == (10.0, 20.0, 30.0)
    assert axis_for([x / 100 for x in range(20)]).ticks == (0.0, 0.05, 0.1, 0.15)


def test_an_axis_that_spans_it_is_logarithmic() -> None:
    axis = axis_for([1.0, 20.0, 2_400_818.0])
    assert axis.logarithmic
    assert axis.ticks == (1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6)
    gaps = [b - a for a, b in pairwise(axis.place(x) for x in axis.ticks)]
    assert gaps == pytest.approx([gaps[0]] * 6)
    assert (axis.place(1.0), axis.place(2_400_818.0)) == (0.0, pytest.approx(1.0))


def test_zero_stands_left_of_a_logarithmic_axis() -> None:
    axis = axis_for([0.0, 5.0, 5_000.0])
    assert axis.logarithmic
    assert axis.place(0.0) == 0.0
    assert 0.05 < axis.place(5.0) < 0.2
    assert axis.ticks == (0.0, 10.0, 100.0, 1000.0)


def test_an_axis_below_zero_is_linear() -> None:
    axis = axis_for([-1.0, 100.0])
    assert not axis.logarithmic
    assert axis.place(-1.0) == 0.0


def test_short_logarithmic_axes_name_their_ends() -> None:
    assert axis_for([2.0, 9.0, 70.0]).ticks == (2.0, 70.0)


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 10, 11, 99, 347, 1452])
def test_counts_reach_the_highest_in_few_equal_steps(most: int) -> None:
    ticks = counts_to(most)
    assert ticks[0] == 0
    assert ticks[-1] >= max(most, 1)
    assert 2 <= len(ticks) <= 8
    assert len({b - a for a, b in pairwise(ticks)}) == 1


def test_steps_of_a_point_are_that_point() -> None:
    assert steps(3.0, 3.0, 5) == (3.0,)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.2, "0.2"),
        (1, "1"),
        (9000, "9000"),
        (60_491, "60.5k"),
        (100_000, "100k"),
        (999_499, "999k"),
        (999_500, "1M"),
        (-999_999_999, "-1G"),
        (2.4e6, "2.4M"),
        (3e9, "3G"),
    ],
)
def test_numbers_on_an_axis_are_short(number: float, text: str) -> None:
    assert tick_text(number) == text


def test_lines_go_through_the_means_and_every_point_is_drawn() -> None:
    root = parse(curve_figure(CURVE, CATEGORIES, 1, (8, 8)))
    (line,) = of_class(root, "curve", "k1")
    ends = [x for x, _ in points(line)]
    assert ends == pytest.approx([34, 34 + 145, 34 + 290])
    y = [y for _, y in points(line)]
    assert y[0] - y[1] == pytest.approx(2 * (y[1] - y[2]) / 3, abs=0.2)  # 0, 2, then the mean of 4 and 6
    assert len(of_class(root, "point", "k1")) == 4
    assert len(of_class(root, "point", "whole")) == 4
    assert not of_class(root, "curve", "k0"), "a category without detectors has no line"


def test_every_point_says_what_it_is() -> None:
    root = parse(curve_figure(CURVE, CATEGORIES, 1, (8, 8)))
    told = [e.findtext("title") for e in of_class(root, "hit")]
    assert len(told) == 16
    assert "training iteration 100: 2 unique, object" in told
    assert "training iteration 10,000: 7 unique, total" in told
    assert "training iteration 1: 1 unique, total, top-label" in told


def test_a_figure_of_curves_names_and_describes_itself() -> None:
    root = parse(curve_figure(CURVE, CATEGORIES, 7, (8, 8)))
    named = {e.get("id"): e.text or "" for e in root.iter() if e.get("id")}
    assert set(named) == {"curve7-title", "curve7-text"}
    assert root.get("aria-labelledby") == "curve7-title curve7-text"
    assert named["curve7-title"] == "Unique detectors over training iteration: <group>, conv5"
    assert "training iteration 100: total 3, top-label 2" in named["curve7-text"]
    assert "object: 0, 2, 4, 6." in named["curve7-text"]


def test_names_of_lines_do_not_touch_and_stay_inside() -> None:
    categories = [f"category number {k}" for k in range(9)]
    counts = {name: (1, 2 + k // 4) for k, name in enumerate(categories)}
    curve = Curve("g", "l", "x", (0, 1), (0.0, 1.0), counts, (9, 30), (9, 30))
    root = parse(curve_figure(curve, categories, 1, (30, 4)))
    heights = sorted(float(e.get("y") or "nan") for e in of_class(root, "name"))
    assert len(heights) == 11
    assert all(b - a >= 14 for a, b in pairwise(heights))
    height = float(root.get("height") or "nan")
    assert 0 < heights[0] < heights[-1] < height - 30
    assert len(of_class(root, "curve", f"k{COLOURS - 1}")) == 1


def test_ticks_do_not_touch() -> None:
    curve = Curve("g", "l", "x", (0, 1, 2), (0.001, 0.0011, 0.02), {}, (0, 0, 0), (0, 0, 0))
    root = parse(curve_figure(curve, CATEGORIES, 1, (0, 0)))
    ticks = [e for e in of_class(root, "tick") if e.get("text-anchor") == "middle"]
    assert ["".join(e.itertext()) for e in ticks] == ["0.001", "0.02"]


def test_sides_have_both_schemes_in_proportion() -> None:
    root = parse(sides_figure(SIDES, CATEGORIES))
    widths = {
        style: [float(e.get("width") or "nan") for e in of_class(root, style) if e.tag == "rect"]
        for style in ("outline", "solid")
    }
    assert widths["outline"] == pytest.approx([380 * n / 12 for n in (8, 4, 1)], abs=0.1)
    assert widths["solid"] == pytest.approx([380 * n / 12 for n in (6, 2)], abs=0.1)
    assert [e.get("class") for e in of_class(root, "solid") if e.tag == "rect"] == ["solid k1", "solid k0"]
    assert texts(root, "value") == ["12", "8", "1"]
    assert texts(root, "name") == ["one", "conv5", "<two>", "conv4"]
    description = root.findtext("desc") or ""
    assert "one, conv5, per-category: 12 (object 8, <part> 4, color 0)" in description
    assert "<two>, conv4, top-label" not in description


def test_long_names_of_runs_stay_different() -> None:
    names = [f"alexnet-places205-rotate-{power}-rotate-seed-{seed}" for power in (0.5, 1.0) for seed in (1, 2)]
    layers = [f"{'encoder.' * 5}{end}" for end in ("attention", "output")]
    sides = [Side(name, layer, {"object": 1}, {"object": 1}) for name in names for layer in layers]
    root = parse(sides_figure(sides, CATEGORIES))
    shown = [e for e in of_class(root, "name") if e.tag == "text"]
    told = {(one[-1].tail or "", two[-1].tail or "") for one, two in zip(shown[::2], shown[1::2], strict=True)}
    assert len(told) == 8
    assert [e.findtext("title") for e in shown] == [text for side in sides for text in (side.label, side.under)]
    assert float(root.get("width") or "nan") < 760


def test_figures_of_nothing_are_empty_not_errors() -> None:
    assert not of_class(parse(sides_figure([], [])), "solid")
    assert not of_class(parse(sides_figure([Side("a", "b", {}, {})], ["object"])), "solid")
