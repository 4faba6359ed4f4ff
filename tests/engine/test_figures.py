"""The report's figures: bars in proportion, every count readable, names escaped."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from ndengine.report.figures import (
    COLOURS,
    CategoryBar,
    ConceptBar,
    categories_figure,
    colours,
    concepts_figure,
    layers_figure,
)

BARS = [CategoryBar("object", 8, 6), CategoryBar("part", 0, 0), CategoryBar("<color>", 2, 4)]


def parse(svg: str) -> ET.Element:
    """The figure as XML, which it must be word for word: a name that is not escaped breaks it."""
    return ET.fromstring(svg)


def bars_of(root: ET.Element, style: str) -> list[ET.Element]:
    return [r for r in root.iter("rect") if (r.get("class") or "").split()[0] == style]


def texts(root: ET.Element) -> list[str]:
    """What the figure's texts say, their titles aside."""
    return [(e.text or "") + "".join(child.tail or "" for child in e) for e in root.iter("text")]


def test_categories_have_both_schemes_in_proportion() -> None:
    root = parse(categories_figure(BARS))
    for style, counts in (("solid", (8, 0, 2)), ("outline", (6, 0, 4))):
        bars = bars_of(root, style)
        heights = [float(b.get("height") or "nan") for b in bars]
        assert heights == pytest.approx([120 * n / 8 for n in counts])
        assert len({float(b.get("y") or "nan") + h for b, h in zip(bars, heights, strict=True)}) == 1
        assert [b.get("class") for b in bars] == [f"{style} k{k}" for k in (1, 2, 0)]
    assert texts(root) == ["8", "6", "object", "0", "0", "part", "2", "4", "<color>"]


@pytest.mark.parametrize(
    "svg",
    [
        categories_figure(BARS),
        concepts_figure([ConceptBar("a&b", 1, 2)], ["x", "y"]),
        layers_figure({"conv1": BARS, "conv2": BARS}),
    ],
    ids=["categories", "concepts", "layers"],
)
def test_figures_name_and_describe_themselves(svg: str) -> None:
    root = parse(svg)
    named = {e.get("id"): e.text or "" for e in root.iter() if e.tag in ("title", "desc")}
    assert root.get("role") == "img"
    for key in (root.get("aria-labelledby") or "").split():
        assert len(named[key]) > 5


def test_description_tells_every_count() -> None:
    description = parse(categories_figure(BARS)).findtext("desc") or ""
    for part in ("object 8 and 6", "part 0 and 0", "<color> 2 and 4"):
        assert part in description


def test_concepts_are_grouped_by_category_and_ordered_by_units() -> None:
    bars = [
        ConceptBar("sky", 0, 3),
        ConceptBar("red", 2, 1),
        ConceptBar("lamp", 0, 12),
        ConceptBar("<b>", 0, 3),
    ]
    root = parse(concepts_figure(bars, ["object", "part", "color"]))
    groups = [g for g in root.iter("g") if g.get("class") == "bar"]
    assert [g.get("data-find") for g in groups] == ["lamp", "<b>", "sky", "red"]
    heights = [float(bars_of(g, "solid")[0].get("height") or "nan") for g in groups]
    assert heights == pytest.approx([96, 24, 24, 8])
    assert [bars_of(g, "solid")[0].get("class") for g in groups] == ["solid k1"] * 3 + ["solid k0"]
    assert "object 3" in texts(root)
    assert "color 1" in texts(root)
    assert not any(t.startswith("part") for t in texts(root))


def test_columns_of_the_concepts_figure_do_not_overlap_and_stay_inside() -> None:
    bars = [ConceptBar(f"c{i}", k, 1 + i) for k in range(4) for i in range(1 if k % 2 else 30)]
    root = parse(concepts_figure(bars, [f"category number {k}" for k in range(4)]))
    columns = [(float(r.get("x") or "nan"), float(r.get("width") or "nan")) for r in bars_of(root, "hit")]
    assert len(columns) == len(bars)
    assert all(x + w <= y for (x, w), (y, _) in pairwise(columns))
    assert columns[-1][0] + columns[-1][1] <= float(root.get("width") or "nan")


def test_a_count_of_one_stays_visible_beside_thousands() -> None:
    root = parse(concepts_figure([ConceptBar("a", 0, 4000), ConceptBar("b", 0, 1)], ["x"]))
    assert min(float(b.get("height") or "nan") for b in bars_of(root, "solid")) >= 1.5


def test_layers_stack_their_categories() -> None:
    root = parse(layers_figure({"conv1": BARS, "a<very>longlayername": [CategoryBar("object", 5, 0)]}))
    bars = bars_of(root, "solid")
    widths = [float(b.get("width") or "nan") for b in bars]
    assert widths == pytest.approx([240, 60, 150])
    assert float(bars[1].get("x") or "nan") == pytest.approx(float(bars[0].get("x") or "nan") + 240)
    assert texts(root) == ["conv1", "10", "a<very>longlay…", "5"]


def test_figures_of_nothing_are_empty_not_errors() -> None:
    for svg in (categories_figure([]), concepts_figure([], []), layers_figure({})):
        assert not list(parse(svg).iter("rect"))


def test_a_category_of_broden_has_one_colour_on_every_page() -> None:
    whole = colours(["color", "object", "part", "material", "scene", "texture"])
    few = colours(["texture", "object", "animal"])
    assert [few["texture"], few["object"]] == [whole["texture"], whole["object"]]
    assert few["animal"] not in [shade for name, shade in few.items() if name != "animal"]
    assert list(few) == ["texture", "object", "animal", ""]
    assert few[""] == "none"


def test_more_categories_than_colours_start_again() -> None:
    names = [f"category {k}" for k in range(COLOURS + 1)]
    shades = colours(names)
    assert shades[names[COLOURS]] == shades[names[0]]
    assert len({shades[name] for name in names}) == COLOURS
    mixed = colours(["scene", *names])
    assert len({mixed[name] for name in names}) == COLOURS - 1
    assert mixed["scene"] not in {mixed[name] for name in names}
