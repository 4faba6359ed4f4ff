"""What the pages of a report show, worked out from a dissection for the templates beside this file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from ndengine.models.zoo.rows import published_for
from ndengine.owned import strip_name
from ndengine.report.figures import (
    CategoryBar,
    ConceptBar,
    categories_figure,
    colours,
    concepts_figure,
    layers_figure,
)
from ndengine.report.pictures import shown, strip_size, tile_size
from ndengine.report.templates import render_page
from ndengine.result import Dissection, LayerResult
from ndengine.settings import precision_of, preset_label, rotation_label

INDEX = "index.html"
NO_PICTURES = (
    "The units' pictures are missing: the dataset was not at hand when this page was written. "
    "Write the report again with the dataset in its place."
)


class Best(NamedTuple):
    """A unit's best concept in one category."""

    category: str
    colour: str
    concept: str
    iou: str
    passes: bool


class Picture(NamedTuple):
    """A unit's strip of ``tiles`` top images, with its size in pixels."""

    src: str
    width: int
    height: int
    tiles: int


class Row(NamedTuple):
    """One unit in the table; ``share`` is its IoU in percent of the layer's highest."""

    unit: int
    concept: str
    category: str
    colour: str
    iou: float
    share: int
    detector: bool
    dead: bool
    summary: str
    bests: list[Best]
    threshold: str
    images: list[tuple[str, str]]
    picture: Picture | None


class Chip(NamedTuple):
    """A filter: a category, empty for none, and its number of units."""

    category: str
    colour: str
    units: int


def render_layer(dissection: Dissection, layer: LayerResult, folder: Path, *, alone: bool) -> str:
    """The page of one layer.

    Parameters
    ----------
    dissection : Dissection
        The dissection that the layer belongs to.
    layer : LayerResult
        The layer.
    folder : Path
        The report's folder; strips found in its subfolder ``layer.folder`` are shown.
    alone : bool
        Whether the page is the report's index, rather than one of several in their layers' subfolders.
    """
    prefix = f"{quote(layer.folder)}/" if alone else ""
    rows = list(_rows(dissection, layer, folder / layer.folder, prefix))
    counts = {row.picture.tiles for row in rows if row.picture}
    missing = bool(shown(layer).any()) and not counts
    others = [] if alone else list(dissection.layers.values())
    page = {
        **_common(dissection, f"{layer.name} of {_short_path(dissection.settings['model'])}"),
        "heading": layer.name,
        "summary": layer.summary,
        "sentences": _sentences(dissection, layer) + ((NO_PICTURES,) if missing else ()),
        "categories_figure": categories_figure(_bars(layer)) if _detects(layer) else None,
        "concepts_figure": _concepts(dissection, layer),
        "chips": _chips(dissection, rows),
        "rows": rows,
        "siblings": [(o.name, "" if o is layer else f"../{quote(o.folder)}/{INDEX}") for o in others],
        "records": [("Settings", _settings(dissection, layer)), ("Provenance", _provenance(dissection))],
    }
    tile = tile_size(dissection.image_size)[1]
    # One rule for each length of strip that occurs: what part of it a tile is wide; report.css cuts by it.
    rules = [f".n{n} {{ --tile: {100 * tile / strip_size((1, tile), n)[1]:.4f}%; }}" for n in sorted(counts)]
    return render_page("layer.html", page, "\n".join(["", *rules]))


def render_overview(dissection: Dissection) -> str:
    """The index of a report on several layers, leading to a page for each."""
    layers = list(dissection.layers.values())
    page = {
        **_common(dissection, f"{_short_path(dissection.settings['model'])}, {len(layers)} layers"),
        "heading": _short_path(dissection.settings["model"]),
        "layers": [
            {
                "name": layer.name,
                "href": f"{quote(layer.folder)}/{INDEX}",
                "summary": layer.summary,
                "shape": f"{layer.shape[0]}×{layer.shape[1]}",
            }
            for layer in layers
        ],
        "sentences": _shared_sentences(dissection),
        "figure": layers_figure({x.name: _bars(x) for x in layers}) if any(map(_detects, layers)) else None,
        "legend": [(name, shade) for name, shade in colours(dissection.vocabulary.categories).items() if name],
        "records": [("Settings", _settings(dissection, None)), ("Provenance", _provenance(dissection))],
    }
    return render_page("overview.html", page, "")


def _common(dissection: Dissection, title: str) -> dict[str, Any]:
    settings = dissection.settings
    images = f"{len(dissection.image_names):,} at {dissection.image_size[0]}×{dissection.image_size[1]}"
    facts = [(key, _short_path(settings[key]), str(settings[key])) for key in ("model", "weights")]
    facts += [("dataset", _short_path(settings["data"]), str(settings["data"])), ("images", images, images)]
    preset = preset_label(settings)
    facts += [("preset", preset, preset)]
    precision = precision_of(settings)
    if precision != "float32":
        facts.append(("precision", precision, precision))
    rotation = rotation_label(dissection.provenance)
    if rotation:
        facts.append(("rotated", rotation, rotation))
    knobs = settings["knobs"]
    rule = {">": "above", ">=": "of at least"}[knobs["detector"]]
    return {
        "title": title,
        "facts": facts,
        "rule": f"{rule} {knobs['iou_threshold']:g}",
        "version": version("ndengine"),
    }


def _rows(dissection: Dissection, layer: LayerResult, strips: Path, prefix: str) -> Iterator[Row]:
    """The table's rows, best unit first, equal scores by unit."""
    scores, categories = layer.scores, dissection.vocabulary.categories
    shades = colours(categories)
    height, _ = tile = tile_size(dissection.image_size)
    drawn = shown(layer)
    best, top = scores.best_concept, max(float(scores.score.max(initial=0)), 1e-9)
    # As lists: a number of an array takes ten times as long, and the table has some thirty a row.
    ranking = np.argsort(-scores.iou, axis=1, kind="stable").tolist()
    concepts, ious, passes = scores.concept.tolist(), scores.iou.tolist(), scores.passes.tolist()
    top_images, top_values = layer.top_images.tolist(), layer.top_values.tolist()
    present = [[i for i, there in enumerate(row) if there] for row in drawn.tolist()]
    for u in np.argsort(-scores.score, kind="stable").tolist():
        bests = [
            Best(
                categories[k],
                shades[categories[k]],
                concept_name(dissection, concepts[u][k]),
                f"{ious[u][k]:.3f}",
                passes[u][k],
            )
            for k in ranking[u]
            if concepts[u][k] > 0
        ]
        category = categories[scores.category[u]] if scores.category[u] >= 0 else ""
        others = [b for b in bests if b.category != category]
        count, name = len(present[u]), strip_name(u + 1)
        yield Row(
            unit=u + 1,
            concept=concept_name(dissection, int(best[u])),
            category=category,
            colour=shades[category],
            iou=round(float(scores.score[u]), 6),
            share=round(100 * float(scores.score[u]) / top),
            detector=bool(scores.detector[u]),
            dead=bool(layer.dead[u]),
            summary=f"then {others[0].concept} {others[0].iou}" if others else "more",
            bests=bests,
            threshold=f"{layer.counts.threshold[u]:.4g}",
            images=[(dissection.image_names[top_images[u][t]], f"{top_values[u][t]:.4g}") for t in present[u]],
            picture=Picture(prefix + name, strip_size(tile, count)[1], height, count)
            if count and (strips / name).is_file()
            else None,
        )


def concept_name(dissection: Dissection, concept: int) -> str:
    """Name of a concept id; empty for 0, no concept, and the id itself where the dataset names none."""
    return (dissection.vocabulary.names[concept - 1] or f"concept {concept}") if concept else ""


def _detects(layer: LayerResult) -> bool:
    return layer.summary.detectors > 0


def _bars(layer: LayerResult) -> list[CategoryBar]:
    return [
        CategoryBar(name, c.unique_top_label, c.unique_per_category) for name, c in layer.summary.by_category.items()
    ]


def _concepts(dissection: Dissection, layer: LayerResult) -> Markup | None:
    scores = layer.scores
    found = scores.detector & (scores.category >= 0)
    units = Counter(zip(scores.best_concept[found].tolist(), scores.category[found].tolist(), strict=True))
    bars = [ConceptBar(concept_name(dissection, c), k, n) for (c, k), n in units.items()]
    return concepts_figure(bars, dissection.vocabulary.categories) if bars else None


def _chips(dissection: Dissection, rows: Sequence[Row]) -> list[Chip]:
    units = Counter(row.category for row in rows)
    shades = colours(dissection.vocabulary.categories)  # the last is that of no category
    return [Chip(name, shade, units[name]) for name, shade in shades.items() if units[name]]


def _sentences(dissection: Dissection, layer: LayerResult) -> tuple[str, ...]:
    published = published_for(dissection.settings, layer.name)
    beside = (published.sentence(dissection.settings["model"]),) if published else ()
    return (*beside, *layer.summary.warnings, *layer.notes)


def _shared_sentences(dissection: Dissection) -> list[str]:
    """Each sentence once, naming the layers that it is about unless it is about all of them."""
    about: dict[str, list[str]] = {}
    for name, layer in dissection.layers.items():
        for sentence in _sentences(dissection, layer):
            about.setdefault(sentence, []).append(name)
    return [s if len(n) == len(dissection.layers) else f"{', '.join(n)}: {s}" for s, n in about.items()]


def _settings(dissection: Dissection, layer: LayerResult | None) -> list[tuple[str, str]]:
    rows = _flat(dissection.settings)
    rows.append(("min_images in force", str(dissection.min_images)))
    if layer is not None:
        rows += [
            ("layer's module", layer.path),
            ("activation map", f"{layer.shape[0]}×{layer.shape[1]}"),
            ("geometry in force", layer.geometry),
            ("receptive field", _field(layer)),
        ]
        if layer.summary.rank is not None:
            rows.append(("positions above T", f"at most {layer.summary.rank:,} of {layer.summary.positions:,}"))
    return rows


def _field(layer: LayerResult) -> str:
    if layer.field is None:
        return "not known"
    rows, columns = (f"offset {o}, size {s}, stride {t}" for o, s, t in layer.field)
    return rows if rows == columns else f"rows: {rows}; columns: {columns}"


def _provenance(dissection: Dissection) -> list[tuple[str, str]]:
    # A page can't know what time and memory it takes to write; left out, one that is written again is the same page.
    later = ("seconds.report", "profile.whole_seconds", "peak_memory_bytes")
    return [(name, value) for name, value in _flat(dissection.provenance) if name not in later]


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested record as rows of dotted names and plain text."""
    rows: list[tuple[str, str]] = []
    for key, value in record.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            rows.append((prefix + key, ", ".join(map(str, value)) or "default"))
        else:
            rows.append((prefix + key, _plain(value)))
    return rows


def _plain(value: Any) -> str:
    if value is None or value == "":
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _short_path(value: Any) -> str:
    """The last part of a path; other text as it is."""
    return str(value).rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1] or str(value)
