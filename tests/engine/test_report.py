"""The report's pages: what they show, that they stand alone, and that nothing in a name can break them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from dissections import make_dissection
from numpy.typing import NDArray
from pages import Page, Tag, links, read
from PIL import Image

from ndengine.errors import ResultError
from ndengine.progress import Silent
from ndengine.report import write_report
from ndengine.report.pictures import shown
from ndengine.result import Dissection, LayerResult
from ndengine.score import summarise


def read_images(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.full((len(indices), 18, 26, 3), 180, np.uint8)


def only(dissection: Dissection, layer: LayerResult | None = None) -> Dissection:
    """The dissection with nothing but one layer."""
    kept = layer or next(iter(dissection.layers.values()))
    return replace(dissection, layers={kept.name: kept})


def without_detectors(layer: LayerResult, dissection: Dissection) -> LayerResult:
    scores = replace(
        layer.scores,
        passes=np.zeros_like(layer.scores.passes),
        detector=np.zeros_like(layer.scores.detector),
    )
    return replace(layer, scores=scores, summary=summarise(scores, dissection.vocabulary.categories))


def rows(page: Page) -> list[Tag]:
    return [t for t in page.tags if t.name == "tr" and "data-unit" in t.attributes]


@pytest.mark.parametrize("several", [False, True], ids=["one layer", "several layers"])
def test_links_are_relative_and_lead_somewhere(tmp_path: Path, several: bool) -> None:
    dissection = make_dissection(tmp_path)
    index = write_report(dissection if several else only(dissection), tmp_path / "report", read_images)
    assert index == tmp_path / "report" / "index.html"
    pages = sorted((tmp_path / "report").rglob("*.html"))
    assert len(pages) == (3 if several else 1)
    found = 0
    for path in pages:
        page = read(path)
        anchors = {t.attributes["id"] for t in page.tags if "id" in t.attributes}
        for link in links(page):
            parts = urlsplit(link)
            assert not parts.scheme
            assert not parts.netloc
            assert not parts.path.startswith("/")
            if parts.path:
                target = (path.parent / unquote(parts.path)).resolve()
                assert target.is_file()
                assert target.is_relative_to((tmp_path / "report").resolve())
                found += 1
            else:
                assert parts.fragment in anchors
        text = path.read_text("utf-8")
        assert "@import" not in text
        assert "url(" not in text
        assert not page.all("script", src="")
        assert len({t.attributes["id"] for t in page.tags if "id" in t.attributes}) == len(
            [t for t in page.tags if "id" in t.attributes]
        )
    assert found >= 5


def test_the_header_counts_what_the_summary_counts(tmp_path: Path) -> None:
    dissection = only(make_dissection(tmp_path))
    summary = dissection.layer().summary
    page = read(write_report(dissection, tmp_path, None))
    text = " ".join(page.all("dl", class_="counts")[0].text.split())
    assert text == (
        f"unique detectors top-label {summary.unique_top_label} "
        f"unique detectors per-category {summary.unique_per_category} "
        f"detectors {summary.detectors} units {summary.units} dead units {summary.dead}"
    )
    assert page.all("h1")[0].text == "conv5_3"
    facts = " ".join(page.all("dl", class_="facts")[0].text.split())
    assert facts == "model scenesnet weights default dataset scenes images 6 at 18×26 preset netdissect"


def test_notes_warnings_and_every_setting_are_there(tmp_path: Path) -> None:
    dissection = only(make_dissection(tmp_path))
    page = read(write_report(dissection, tmp_path, None))
    notes = page.all("ul", class_="notes")[0].text
    assert "A note." in notes
    for warning in dissection.layer().summary.warnings:
        assert warning in notes
    assert len(dissection.layer().summary.warnings) == 2
    settings = page.all("details")[-2].text
    for key in ("knobs.quantile", "knobs.geometry", "min_images in force", "geometry in force", "top_images"):
        assert key in settings
    assert "0.005" in settings
    assert "versions.torch" in page.all("details")[-1].text


def test_rows_are_best_first_and_carry_what_the_filters_need(tmp_path: Path) -> None:
    dissection = only(make_dissection(tmp_path))
    layer, names = dissection.layer(), dissection.vocabulary.names
    page = read(write_report(dissection, tmp_path, read_images))
    found = rows(page)
    order = [int(r.attributes["data-unit"]) - 1 for r in found]
    assert sorted(order) == list(range(11))
    assert order == sorted(order, key=lambda u: (-layer.scores.score[u], u))
    for u, row in zip(order, found, strict=True):
        concept = int(layer.scores.best_concept[u])
        assert row.attributes["id"] == f"unit-{u + 1}"
        assert row.attributes["data-concept"] == (names[concept - 1] if concept else "")
        category = int(layer.scores.category[u])
        assert row.attributes["data-category"] == (dissection.vocabulary.categories[category] if category >= 0 else "")
        assert float(row.attributes["data-iou"]) == pytest.approx(layer.scores.score[u], abs=1e-6)
        assert (row.attributes.get("class") == "detector") == layer.scores.detector[u]
        assert ("dead: never varies" in row.text) == layer.dead[u]
        assert ("no concept" in row.text) == (concept == 0 and not layer.dead[u])
    chips = [t.attributes["data-category"] for t in page.all("button") if "data-category" in t.attributes]
    assert set(chips) == {r.attributes["data-category"] for r in found}


def test_every_shown_unit_has_one_lazy_image_of_the_stated_size(tmp_path: Path) -> None:
    dissection = only(make_dissection(tmp_path))
    layer = dissection.layer()
    page = read(write_report(dissection, tmp_path, read_images))
    images = page.all("img")
    assert len(images) == shown(layer).any(axis=1).sum() > 3
    for image in images:
        assert image.attributes["loading"] == "lazy"
        assert image.attributes["alt"]
        with Image.open(tmp_path / image.attributes["src"]) as picture:
            assert picture.size == (int(image.attributes["width"]), int(image.attributes["height"]))


def test_without_images_the_pictures_of_before_are_kept_and_shown(tmp_path: Path) -> None:
    dissection = only(make_dissection(tmp_path))
    first = read(write_report(dissection, tmp_path, read_images))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.jpg")}
    again = read(write_report(dissection, tmp_path, None))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.jpg")} == before
    assert links(again) == links(first)
    assert "pictures are missing" not in (tmp_path / "index.html").read_text("utf-8")


def test_without_images_or_pictures_the_page_says_so(tmp_path: Path) -> None:
    page = read(write_report(only(make_dissection(tmp_path)), tmp_path, None))
    assert not page.all("img")
    assert len(rows(page)) == 11
    assert "pictures are missing" in page.all("ul", class_="notes")[0].text


def test_zero_detectors_is_a_result_like_any_other(tmp_path: Path) -> None:
    dissection = make_dissection(tmp_path)
    layers = {n: without_detectors(x, dissection) for n, x in dissection.layers.items()}
    one = only(dissection, layers["conv5_3"])
    page = read(write_report(one, tmp_path / "one", read_images))
    assert not page.all("svg")
    assert "No unit of this layer is a detector" in page.all("p", class_="empty")[0].text
    assert len(rows(page)) == 11
    several = read(write_report(replace(dissection, layers=layers), tmp_path / "several", read_images))
    assert not several.all("svg")
    assert "none has an IoU above 0.04" in " ".join(several.all("p", class_="empty")[0].text.split())


def test_the_overview_lists_the_layers_and_joins_their_notes(tmp_path: Path) -> None:
    dissection = make_dissection(tmp_path)
    page = read(write_report(dissection, tmp_path, None))
    table = page.all("table", class_="layers")[0].text.split()
    for layer in dissection.layers.values():
        summary = layer.summary
        start = table.index(layer.name)
        assert table[start + 1 : start + 6] == [
            str(n)
            for n in (
                summary.unique_top_label,
                summary.unique_per_category,
                summary.detectors,
                summary.units,
                summary.dead,
            )
        ]
    notes = page.all("ul", class_="notes")[0].text
    assert notes.count("A note.") == 1
    inner = read(tmp_path / "block_1" / "index.html")
    assert inner.all("b", **{"aria-current": "page"})[0].text == "block/1"
    assert {t.attributes["href"] for t in inner.all("nav")[0:1] + inner.all("a") if "href" in t.attributes} >= {
        "../index.html",
        "../conv5_3/index.html",
    }


def test_names_are_escaped_wherever_they_stand(tmp_path: Path) -> None:
    dissection = make_dissection(tmp_path)
    evil = '<script>alert("x")</script>&'
    vocabulary = replace(dissection.vocabulary, names=(evil,) * 4, categories=(evil, "<i>part", "color' onload='"))
    layer = dissection.layer("conv5_3")
    scores = replace(layer.scores, detector=layer.scores.category >= 0)
    layer = replace(layer, name=evil, scores=scores, summary=summarise(scores, vocabulary.categories, notes=(evil,)))
    settings = {**dissection.settings, "model": evil, "weights": evil, "data": evil}
    changed = replace(
        only(dissection, layer),
        vocabulary=vocabulary,
        settings=settings,
        provenance={evil: evil},
        image_names=(evil,) * 6,
    )
    path = write_report(changed, tmp_path, read_images)
    page = read(path)
    assert len(page.all("script")) == 1, "the page's own"
    assert "alert(" not in page.all("script")[0].text
    assert not [t for t in page.tags if "onload" in t.attributes]
    assert page.all("h1")[0].text.strip() == evil
    assert any(r.attributes["data-concept"] == evil for r in rows(page))
    assert any(t.attributes.get("data-find") == evil for t in page.all("g"))


def test_a_concept_without_a_name_is_shown_by_its_id(tmp_path: Path) -> None:
    dissection = only(make_dissection(tmp_path))
    dissection = replace(dissection, vocabulary=replace(dissection.vocabulary, names=("",) * 4))
    page = read(write_report(dissection, tmp_path, None))
    best = set(dissection.layer().scores.best_concept.tolist()) - {0}
    assert {r.attributes["data-concept"] for r in rows(page)} - {""} == {f"concept {c}" for c in best}


def test_an_unfinished_report_has_no_index(tmp_path: Path) -> None:
    dissection = only(make_dissection(tmp_path))
    index = write_report(dissection, tmp_path, read_images)

    def broken(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        raise ValueError("no image")

    with pytest.raises(ValueError, match="no image"):
        write_report(dissection, tmp_path, broken)
    assert not index.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultError, match=r"file/report can't be written .*move the file away .*\.$"):
        write_report(only(make_dissection(tmp_path)), tmp_path / "file" / "report", None)


def test_progress_counts_every_unit_of_every_layer(tmp_path: Path) -> None:
    class Listener(Silent):
        def __init__(self) -> None:
            self.stages: list[tuple[str, int, str]] = []

        def stage(self, title: str, total: int, unit: str):  # type: ignore[no-untyped-def]
            self.stages.append((title, total, unit))
            return super().stage(title, total, unit)

    listener = Listener()
    write_report(make_dissection(tmp_path), tmp_path, read_images, listener)
    assert listener.stages == [("drawing conv5_3", 11, "units"), ("drawing block/1", 4, "units")]
