"""The page of a comparison in a real browser: no sideways scroll on a phone, and every text of a figure inside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import open_page
from comparisons import Unit, write

from ndengine.compare import compare_results
from ndengine.compare.series_record import Member, write_series_record

PROBE = """<script>(() => {
  document.querySelectorAll("details").forEach((d) => { d.open = true; });
  const inside = (svg) => {
    const box = svg.getBoundingClientRect();
    return Array.from(svg.querySelectorAll("text"))
      .filter((t) => {
        const own = t.getBoundingClientRect();
        return own.left < box.left - 1 || own.right > box.right + 1 || own.bottom > box.bottom + 1;
      })
      .map((t) => t.textContent);
  };
  const out = {
    width: document.documentElement.scrollWidth,
    figures: document.querySelectorAll("svg").length,
    outside: Array.from(document.querySelectorAll("svg"), inside).flat(),
    cut: Array.from(document.querySelectorAll(".scroll"), (e) => getComputedStyle(e).overflowX)
      .filter((overflow) => overflow !== "auto").length,
    changes: document.querySelectorAll(".changes tbody tr").length,
  };
  parent.postMessage(JSON.stringify(out), "*");
})()</script></body>"""

UNITS: list[Unit] = [{"lamp": 90}, {"lamp": 50, "red": 60}, {"tree": 20}, {"door": 30}]


@pytest.mark.parametrize("width", [360, 1200])
def test_width_and_figures(tmp_path: Path, width: int) -> None:
    members = []
    for place, x in enumerate((0, 1, 20, 400, 2_400_818)):
        name = f"a-name-of-a-checkpoint-that-is-rather-long-{x}"
        write(tmp_path / name, UNITS[: place + 1] + [{}] * (4 - place), layers=("conv4", "a.longer.path.of.a.layer"))
        members.append(Member(name, name, "a group with a name", float(x), "training iteration"))
    write_series_record(tmp_path, "A series with quite a long title, too", members)
    compare_results([tmp_path], tmp_path / "compare")
    found = open_page(tmp_path / "compare" / "index.html", PROBE, width, tmp_path)
    assert found["width"] == width
    assert found["figures"] == 3
    assert found["outside"] == []
    assert found["cut"] == 0
    assert found["changes"] > 0
