"""The report in a real browser, where one is installed: its filters work, and a phone needs no sideways scroll."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browser import open_page
from dissections import make_dissection
from numpy.typing import NDArray

from ndengine.report import write_report

# Runs in the page and tells the page around it, by message, what it saw.
PROBE = """<script>(() => {
  const seen = () => Array.from(document.querySelectorAll("#units tbody tr:not([hidden])"), (r) => r.dataset.unit);
  const type = (text) => {
    const find = document.getElementById("find");
    find.value = text;
    find.dispatchEvent(new Event("input"));
  };
  const out = {start: seen(), tally: document.getElementById("tally").textContent};
  out.width = document.documentElement.scrollWidth;
  out.broken = Array.from(document.images).filter((i) => i.complete && !i.naturalWidth).length;
  const first = document.querySelector("#units tbody tr");
  type(first.dataset.concept);
  out.concept = seen();
  type("11");
  out.number = seen();
  type("no such thing");
  out.nothing = [seen(), document.getElementById("nothing").hidden];
  document.getElementById("reset").click();
  document.getElementById("only").click();
  out.detectors = seen();
  document.getElementById("only").click();
  document.querySelector("th[data-key=unit] button").click();
  out.byUnit = seen();
  document.querySelector("th[data-key=unit] button").click();
  out.byUnitBack = seen();
  const chip = document.querySelector(".chips button");
  chip.click();
  out.chip = [chip.dataset.category, seen()];
  out.pressed = chip.getAttribute("aria-pressed");
  chip.click();
  document.querySelector("svg [data-find]").dispatchEvent(new Event("click"));
  out.bar = seen();
  parent.postMessage(JSON.stringify(out), "*");
})()</script></body>"""


@pytest.mark.parametrize("width", [360, 1200])
def test_filters_and_width(tmp_path: Path, width: int) -> None:
    def read_images(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.full((len(indices), 18, 26, 3), 180, np.uint8)

    dissection = make_dissection(tmp_path)
    dissection.layers.pop("block/1")
    layer = dissection.layer()
    found = open_page(write_report(dissection, tmp_path / "report", read_images), PROBE, width, tmp_path)

    def units(which: NDArray[np.bool_]) -> set[str]:
        return {str(u + 1) for u in np.flatnonzero(which)}

    best = layer.scores.best_concept
    top = int(np.argsort(-layer.scores.score, kind="stable")[0])
    assert found["width"] == width
    assert found["broken"] == 0
    assert found["tally"] == "11 units"
    assert len(found["start"]) == 11
    assert found["start"][0] == str(top + 1)
    assert set(found["concept"]) == units(best == best[top])
    assert found["number"] == ["11"]
    assert found["nothing"] == [[], False]
    assert set(found["detectors"]) == units(layer.scores.detector)
    assert found["byUnit"] == [str(u) for u in range(1, 12)]
    assert found["byUnitBack"] == found["byUnit"][::-1]
    category, shown = found["chip"]
    assert set(shown) == units(layer.scores.category == dissection.vocabulary.categories.index(category))
    assert found["pressed"] == "true"
    assert found["bar"]
    assert len({int(best[int(u) - 1]) for u in found["bar"]}) == 1
