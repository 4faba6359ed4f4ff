"""``ndengine compare``: results of any networks and layers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ndcli import options
from ndcli.progress import shown
from ndcli.terminal import print_json, print_table, say

if TYPE_CHECKING:
    from ndengine.compare import Comparison

PUBLISHED = "published, on the whole of Broden"
FEW = 4  # results whose differing settings are printed side by side


@click.command()
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--layer", "layers", multiple=True, metavar="NAME", help="Only this layer; repeatable.  [default: all]")
@click.option("--title", default="", help="Heading of the page.  [default: the series']")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the tables and the page.  [default: FOLDER/compare where one folder of several results is named, "
    "else compare]",
)
@options.json_option
@options.quiet_option
def compare(
    folders: Sequence[Path], layers: Sequence[str], title: str, out: Path | None, as_json: bool, quiet: bool
) -> None:
    """Compare results: one table and one page.

    A FOLDER is a result, the folder of a series, or any folder in which results lie. Shows unique detectors by
    category side by side, curves where the results of a series lie on an axis, the settings in which results
    differ, and the units that changed between results of one network.

    \b
    Examples:
      ndengine compare dissections/vgg16-conv5_3-broden1_224 dissections/alexnet-conv5-broden1_224
      ndengine compare dissections/snapshots --layer conv5
    """
    with shown(quiet) as progress:
        from ndengine.compare import compare_results

        comparison = compare_results(
            folders, out or default_folder(folders), layers=layers, title=title, progress=progress
        )
    if as_json:
        print_json(comparison_record(comparison))
    elif not quiet:
        print_comparison(comparison)


def default_folder(folders: Sequence[Path]) -> Path:
    """Name the folder of a comparison that no ``--out`` names."""
    from ndengine.publish import holds_result

    alone = len(folders) == 1 and not holds_result(folders[0])
    if not alone:
        return Path("compare")
    from ndengine.inside import refuse_way_out

    return refuse_way_out(folders[0], "compare", writing=True)  # nobody named it: it may lead anywhere


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """Give everything that the tables say, and where the files are, as plain JSON values."""
    return {"out": str(comparison.folder), "page": str(page_of(comparison)), **comparison.record()}


def print_comparison(comparison: Comparison) -> None:
    """Print the counts, those by category, what differs and how many units changed."""
    entries = comparison.entries
    axes = list(dict.fromkeys(e.x_name for e in entries if e.x_name))
    axis = [axes[0] if len(axes) == 1 else "x"] if axes else []
    columns = ("result", "layer", *axis, "unique per category", "unique top-label", "detectors", "units", "dead")
    rows, published = [], comparison.published_after()
    for place, e in enumerate(entries):
        s = e.summary
        x = ["" if e.x is None else f"{e.x:,.10g}"] if axis else []
        rows.append((e.label, e.layer, *x, s.unique_per_category, s.unique_top_label, s.detectors, s.units, s.dead))
        if p := published.get(place):
            empty = [""] * len(axis)
            rows.append((f"  {PUBLISHED}", p.layer, *empty, p.unique, "", p.detectors, p.units, ""))
    print_table(comparison.title, columns, rows, left=2)
    for title, scheme in (("per category", "unique_per_category"), ("top-label", "unique_top_label")):
        cells = []
        for place, e in enumerate(entries):
            counts = (getattr(e.summary.by_category.get(c), scheme, "") for c in comparison.categories)
            cells.append((e.label, e.layer, *counts))
            if (p := published.get(place)) and scheme == "unique_per_category":
                known = (p.unique_by_category.get(c, "") for c in comparison.categories)
                cells.append((f"  {PUBLISHED}", p.layer, *known))
        print_table(
            f"Unique detectors by category ({title})", ("result", "layer", *comparison.categories), cells, left=2
        )
    if comparison.changes:
        _print_changes(comparison)
    _print_differences(comparison)
    for warning in comparison.warnings:
        say(f"Warning: {warning}")
    say(f"Page: {page_of(comparison)}")


def _print_changes(comparison: Comparison) -> None:
    columns = ("from", "to", "layer", "kept", "changed", "lost", "gained", "other concept, no detector")
    entries = comparison.entries
    cells = []
    for c in comparison.changes:
        before, after = entries[c.before], entries[c.after]
        layer = comparison.layer_of(c)
        cells.append((before.label, after.label, layer, c.kept, c.changed, c.lost, c.gained, c.other))
    print_table("Detectors unit by unit", columns, cells, left=3)


def _print_differences(comparison: Comparison) -> None:
    told = [d for d in comparison.differences if d.block != "how"]
    if not told:
        return
    from ndengine.compare.differences import results_to_show

    titles, places = results_to_show(told, comparison.entries)
    if len(titles) <= FEW:
        rows = [(d.name, *(d.values[place] for place in places)) for d in told]
        print_table("Settings that differ", ("setting", *titles), rows, left=1 + len(titles))
    else:
        say(f"Settings that differ: {', '.join(d.name for d in told)}.")


def page_of(comparison: Comparison) -> str:
    """Name the page of a comparison that was written."""
    return f"{comparison.folder}/index.html"
