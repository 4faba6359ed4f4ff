"""A finished dissection in the terminal: unique detectors first, then what to make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndcli.terminal import print_table, say
from ndengine.settings import precision_of, preset_label, rotation_label

if TYPE_CHECKING:
    from ndengine.result import Dissection

REPORT = "report/index.html"


def summary_record(dissection: Dissection) -> dict[str, Any]:
    """Give everything that the tables say, and where the files are, as plain JSON values."""
    return {
        "out": str(dissection.folder),
        "report": str(dissection.folder / REPORT),
        "settings": dissection.settings,
        "provenance": dissection.provenance,
        "layers": {
            name: {
                "path": layer.path,
                "shape": list(layer.shape),
                "geometry": layer.geometry,
                **layer.summary.record(),
                "warnings": list(layer.summary.warnings),
                **published_record(dissection, name),
            }
            for name, layer in dissection.layers.items()
        },
    }


def published_record(dissection: Dissection, layer: str) -> dict[str, Any]:
    """Give the figures that were published for a layer, under their key; nothing where there are none."""
    from ndengine.models.zoo.rows import published_for

    found = published_for(dissection.settings, layer)
    return {"published": found.record()} if found else {}


def print_summary(dissection: Dissection) -> None:
    """Print the counts by layer and by category, then warnings, notes and the report's place."""
    from ndengine.models.zoo.rows import published_for

    settings = dissection.settings
    title = f"{settings['model']} ({settings['weights']}) on {settings['data']}, preset {preset_label(settings)}"
    if precision_of(settings) != "float32":
        title += f", in {precision_of(settings)}"
    if rotation := rotation_label(dissection.provenance):
        title += f", rotated {rotation}"
    scored = settings["categories"]
    columns = ("layer", "unique top-label", "unique per category", "detectors", "units", "dead units")
    found = {name: layer.summary for name, layer in dissection.layers.items()}
    rows = [
        (name, s.unique_top_label, s.unique_per_category, s.detectors, s.units, s.dead) for name, s in found.items()
    ]
    print_table(title, columns, rows)
    schemes = ("unique top-label", "unique per category", "detectors top-label", "detectors per category")
    cells = [
        (name, kind, c.unique_top_label, c.unique_per_category, c.detectors_top_label, c.detectors_per_category)
        for name, s in found.items()
        for kind, c in s.by_category.items()
        if not scored or kind in scored
    ]
    print_table("By category", ("layer", "category", *schemes), cells, left=2)
    for name in found:
        published = published_for(settings, name)
        if published:
            say(published.sentence(settings["model"]))
    for name, s in found.items():
        for warning in s.warnings:
            say(f"Warning, {name}: {warning}")
    for note in dict.fromkeys(note for s in found.values() for note in s.notes):
        say(f"Note: {note}")
    say(f"Report: {dissection.folder / REPORT}")
