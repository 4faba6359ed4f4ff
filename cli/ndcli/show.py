"""``ndengine show``: one unit of a finished dissection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ndcli import options
from ndcli.terminal import print_json, print_table, say
from ndengine.errors import SettingsError

if TYPE_CHECKING:
    from ndengine.result import Dissection


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--unit", type=click.IntRange(min=1), required=True, help="Number of the unit, from 1 as in units.csv.")
@click.option("--layer", metavar="NAME", help="Layer of the unit.  [default: the only one]")
@options.json_option
def show(folder: Path, unit: int, layer: str | None, as_json: bool) -> None:
    """Show what one unit of a finished dissection detects.

    Gives the unit's best concept of each category with the counts that its IoU rests on, and the images that
    excite it most.

    \b
    Example:
      ndengine show dissections/vgg16-conv5_3-broden1_224 --unit 12
    """
    from ndengine.result import load

    record = unit_record(load(folder), layer, unit)
    if as_json:
        print_json(record)
        return
    verdict = "a detector" if record["detector"] else "dead: it never varies" if record["dead"] else "no detector"
    best = f"{record['label']} ({record['category']}), IoU {record['score']:.4f}" if record["label"] else "no concept"
    rotated = f", rotated {record['rotation']}" if record["rotation"] else ""
    say(f"Unit {unit} of {record['layer']}{rotated}: {best}; {verdict}. Threshold {record['threshold']:.6g}.")
    columns = ("category", "concept", "IoU", "intersection", "unit area", "concept area")
    cells = [
        (c["category"], c["label"], f"{c['iou']:.4f}", c["intersect"], c["activation"], c["truth"])
        for c in record["concepts"]
    ]
    print_table("Best concept of each category", columns, cells, left=2)
    seen = [(image["name"], f"{image['activation']:.6g}") for image in record["images"]]
    print_table("Images that excite it most", ("image", "highest activation"), seen)
    if record["picture"]:
        say(f"Picture: {record['picture']}")


def unit_record(dissection: Dissection, layer: str | None, unit: int) -> dict[str, Any]:
    """Collect what is known of a unit, counted from 1, as plain JSON values.

    Raises
    ------
    SettingsError
        If the layer has no such unit.
    """
    from ndengine.owned import strip_name
    from ndengine.settings import rotation_label
    from ndengine.units_table import concept_name

    found, vocabulary = dissection.layer(layer), dissection.vocabulary
    scores, row = found.scores, unit - 1
    if row >= len(scores.score):
        units = len(scores.score)
        raise SettingsError(
            f"--unit is {unit} and layer {found.name} has {units} units; use a number from 1 to {units}."
        )
    cells = (scores.concept, scores.iou, scores.truth, scores.activation, scores.intersection)
    concepts = [
        {
            "category": kind,
            "label": concept_name(vocabulary, int(concept)),
            "iou": float(iou),
            "truth": int(truth),
            "activation": int(activation),
            "intersect": int(intersection),
        }
        for kind, concept, iou, truth, activation, intersection in zip(
            vocabulary.categories, *(values[row] for values in cells), strict=True
        )
    ]
    category = int(scores.category[row])
    picture = dissection.folder / "report" / found.folder / strip_name(unit)
    return {
        "layer": found.name,
        "rotation": rotation_label(dissection.provenance),
        "unit": unit,
        "category": vocabulary.categories[category] if category >= 0 else "",
        "label": concept_name(vocabulary, int(scores.best_concept[row])),
        "score": float(scores.score[row]),
        "detector": bool(scores.detector[row]),
        "dead": bool(found.dead[row]),
        "threshold": float(found.counts.threshold[row]),
        "concepts": concepts,
        "images": [
            {"name": dissection.image_names[image], "activation": float(value)}
            for image, value in zip(found.top_images[row], found.top_values[row], strict=True)
            if image >= 0
        ],
        "picture": str(picture) if picture.is_file() else None,
    }
