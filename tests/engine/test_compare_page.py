"""The page of a comparison: what it shows, where its links lead, and that no name can break it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from comparisons import Unit, write
from pages import Page, links, read

from ndengine.compare import compare_results
from ndengine.compare.page import ROWS
from ndengine.compare.series_record import Member, write_series_record
from ndengine.errors import ResultError

UNITS: list[Unit] = [{"lamp": 90}, {"lamp": 50, "red": 60}, {"tree": 2}, {}]


def page_of(*folders: Path, out: Path, **more: str) -> Page:
    compare_results(folders, out, **more)
    return read(out / "index.html")


def words(text: str) -> str:
    return " ".join(text.split())


def body(page: Page, style: str) -> list[list[str]]:
    """The words of the rows of the tables of a class, cell by cell."""
    rows: list[list[str]] = []
    inside = False
    for tag in page.tags:
        if tag.name == "table":
            inside = style in tag.attributes.get("class", "").split()
        elif inside and tag.name == "tr":
            rows.append([])
        elif inside and tag.name in ("td", "th"):
            rows[-1].append(words(tag.text))
    return rows


def assert_links_lead_somewhere(folder: Path) -> int:
    page = read(folder / "index.html")
    found = 0
    for link in links(page):
        parts = urlsplit(link)
        assert parts[:2] == ("", "")
        assert not parts.path.startswith("/")
        assert (folder / unquote(parts.path)).is_file()
        found += 1
    return found


def test_the_table_of_results(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS, dead=[4])
    write(tmp_path / "two", [{"door": 90}] * 3, weights="random")
    page = page_of(tmp_path / "one", tmp_path / "two", out=tmp_path / "out")
    assert page.all("h1")[0].text == "Comparison"
    assert words(page.all("dl", class_="facts")[0].text) == (
        "results 2 network net layer conv5 dataset scenes images 2 preset netdissect"
    )
    head, *rows = body(page, "results")[1:]
    assert head == ["result", "layer", "all", "object", "part", "color", "detectors", "units", "dead"]
    assert rows == [
        ["one", "conv5", "2 2", "1 1", "0 0", "1 1", "2", "4", "1"],
        ["two", "conv5", "1 1", "0 0", "1 1", "0 0", "3", "3", "0"],
    ]


def test_links_are_relative_and_survive_a_move(tmp_path: Path) -> None:
    write(tmp_path / "all" / "a name & more", UNITS, layers=("conv4", "block/5"))
    write(tmp_path / "all" / "two", UNITS[::-1], layers=("block/5",))
    page_of(tmp_path / "all", out=tmp_path / "all" / "compare")
    found = assert_links_lead_somewhere(tmp_path / "all" / "compare")
    assert found > 6
    shutil.move(tmp_path / "all", tmp_path / "moved")
    assert assert_links_lead_somewhere(tmp_path / "moved" / "compare") == found
    text = (tmp_path / "moved" / "compare" / "index.html").read_text("utf-8")
    assert "<script" not in text
    assert "@import" not in text
    assert "url(" not in text


def test_a_result_without_its_report_has_no_link(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS)
    shutil.rmtree(tmp_path / "one" / "report")
    page = page_of(tmp_path / "one", out=tmp_path / "out")
    assert sorted(links(page)) == ["changes.csv", "compare.csv", "compare.json"]
    assert body(page, "results")[2][0] == "one"


def test_published_figures_stand_below_ours(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS, model="alexnet-places205")
    page = page_of(tmp_path / "one", out=tmp_path / "out")
    assert body(page, "results")[3] == [
        "published: caffe_reference_places205",
        *("conv5", "79", "36", "8", "2", "107", "256", "–"),
    ]
    assert "the whole of Broden" in page.all("section", **{"aria-labelledby": "results-heading"})[0].text
    assert "published: caffe_reference_places205, conv5, per-category: 79 (object 36," in page.all("desc")[0].text


def test_published_figures_are_shown_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, UNITS, model="alexnet-places205", weights=name)
    write(tmp_path / "three", UNITS, model="alexnet-imagenet")
    page = page_of(*(tmp_path / name for name in ("one", "two", "three")), out=tmp_path / "out")
    assert [row[0] for row in body(page, "results")[2:]] == [
        *("one", "two", "published: caffe_reference_places205"),
        *("three", "published: caffe_reference_imagenet"),
    ]


def test_units_that_changed(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS)
    write(tmp_path / "two", [{"lamp": 90}, {"door": 70}, {}, {"tree": 30}])
    page = page_of(tmp_path / "one", tmp_path / "two", out=tmp_path / "out")
    (pair,) = [tag for tag in page.all("details") if "→" in tag.text]
    assert "one → two, conv5: kept 1, changed 1, lost 0, gained 1" in words(pair.text)
    assert "No detector on either side, but another best concept: 1." in words(pair.text)
    assert "open" in pair.attributes
    assert body(page, "changes")[1:] == [
        ["2", "changed", "red", "0.429", "door", "0.538"],
        ["4", "gained", "no concept", "0.000", "tree", "0.176"],
        ["3", "no detector", "tree", "0.010", "no concept", "0.000"],
    ]
    assert {"../one/report/index.html#unit-2", "../two/report/index.html#unit-2"} <= set(links(page))


def test_of_many_changes_the_largest_are_shown(tmp_path: Path) -> None:
    write(tmp_path / "one", [{"lamp": 20 + u} for u in range(ROWS + 7)])
    write(tmp_path / "two", [{}] * (ROWS + 7))
    page = page_of(tmp_path / "one", tmp_path / "two", out=tmp_path / "out")
    rows = body(page, "changes")[1:]
    assert [int(row[0]) for row in rows] == list(range(ROWS + 7, 7, -1))
    assert any("7 more are in changes.csv" in words(p.text) for p in page.all("p"))


def test_settings_stand_side_by_side_or_a_result_a_row(tmp_path: Path) -> None:
    for seed in range(5):
        write(tmp_path / f"r{seed}", UNITS, seed=seed, layers=("conv4", "conv5"))
    two = page_of(*(tmp_path / f"r{seed}" for seed in range(2)), out=tmp_path / "two")
    assert body(two, "settings") == [["", "r0", "r1"], ["seed", "0", "1"]]
    five = page_of(*(tmp_path / f"r{seed}" for seed in range(5)), out=tmp_path / "five")
    assert body(five, "settings") == [["result", "seed"], *([f"r{seed}", str(seed)] for seed in range(5))]


def test_curves_and_places(tmp_path: Path) -> None:
    members = []
    for x in (1, 100, 10_000):
        write(tmp_path / f"at-{x}", UNITS[: 1 + x // 100], layers=("conv4", "conv5"))
        members.append(Member(f"at-{x}", f"after {x}", "net", float(x), "training iteration"))
    write_series_record(tmp_path, "Training", members)
    page = page_of(tmp_path, out=tmp_path / "compare")
    assert page.all("h1")[0].text == "Training"
    assert len(page.all("svg", class_="figure curve")) == 2
    assert [words(t.text) for t in page.all("figcaption")][:2] == ["net, conv4", "net, conv5"]
    head, *rows = body(page, "results")[1:]
    assert head[2] == "training iteration"
    assert [row[2] for row in rows] == ["1", "1", "100", "100", "10,000", "10,000"]
    ids = [t.attributes["id"] for t in page.tags if "id" in t.attributes]
    assert len(set(ids)) == len(ids)


def test_zero_detectors_are_results_like_others(tmp_path: Path) -> None:
    members = []
    for x in (1, 2):
        write(tmp_path / f"r{x}", [{}, {"lamp": 1}], dead=[1])
        members.append(Member(f"r{x}", f"r{x}", "", float(x), "step"))
    write_series_record(tmp_path, "", members)
    page = page_of(tmp_path, out=tmp_path / "compare")
    assert "No unit of these results is a detector" in page.all("p", class_="empty")[0].text
    assert len(page.all("svg")) == 1
    assert "No unit changed" in page.all("p", class_="empty")[1].text


def test_warnings_are_notes(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS, provenance={"dataset": {"fingerprint": "a"}})
    write(tmp_path / "two", UNITS, provenance={"dataset": {"fingerprint": "b"}})
    page = page_of(tmp_path / "one", tmp_path / "two", out=tmp_path / "out")
    assert "Results were made on different images" in page.all("ul", class_="notes")[0].text


def test_names_are_escaped_wherever_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "<script>alert('x')</script>&\""
    monkeypatch.setattr("comparisons.CONCEPTS", {evil: "object", "tree": "object", "door": "part", "red": evil})
    monkeypatch.setattr("comparisons.CATEGORIES", ("object", "part", evil))
    members = []
    for x, units in ((1, [{evil: 90}]), (2, [{"red": 90}])):
        write(tmp_path / f"r{x}", units, model=evil, weights=f"{evil}{x}", layers=(evil,))
        members.append(Member(f"r{x}", f"{evil}{x}", evil, float(x), evil))
    write_series_record(tmp_path, evil, members)
    page = page_of(tmp_path, out=tmp_path / "compare")
    assert not page.all("script")
    assert page.all("h1")[0].text == evil
    assert body(page, "changes")[1][2] == words(evil)
    assert body(page, "results")[2][0] == words(f"{evil}1")
    assert not re.search(r"<script", (tmp_path / "compare" / "index.html").read_text("utf-8"))


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS)
    (tmp_path / "file").touch()
    with pytest.raises(ResultError, match="file/out"):
        compare_results([tmp_path / "one"], tmp_path / "file" / "out")
