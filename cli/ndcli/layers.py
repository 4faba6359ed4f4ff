"""``ndengine layers``: what can be dissected in a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ndcli import options
from ndcli.terminal import print_json, print_table, say

REASONS = 3  # why layers are not listed


@click.command()
@options.model_options
@options.cache_option
@click.option("--all", "show_all", is_flag=True, help="Also list what is not shown to be maps, and why not.")
@options.json_option
def layers(model: str, size: tuple[int, int] | None, cache: Path, show_all: bool, as_json: bool) -> None:
    """List the layers of a network that --layer takes.

    Each with its alias, its units, the size of their maps, how its output is laid out (n images, u units, h rows, w
    columns, t tokens), and its receptive field in input pixels: size, stride and the offset of the first one; rows x
    columns where they differ. Only layers are listed that are shown to put out maps, by a trace, a second input size
    and a change in a few places of an image; --all says of the others why not. What can't be computed of a Caffe
    network is named below. Weights of a network of the benchmark that lie in the cache folder decide what its layers
    are called.

    \b
    Examples:
      ndengine layers --model vgg16
      ndengine layers --model net.py:build --size 227 --json
    """
    from ndengine.models import survey_model

    rows, missing, refused = survey_model(model, size, cache=cache)
    if as_json:
        print_json({"model": model, "layers": rows, "missing": missing, "refused": refused})
        return
    columns = ("layer", "alias", "kind", "axes", "units", "map", "field size", "stride", "offset")
    cells = [
        (name_cell(row), row["alias"], row["kind"], row["axes"], units, f"{height}x{width}", *field_cells(row["field"]))
        for row in rows
        for units, height, width in (row["shape"],)
    ]
    print_table(model, columns, cells, left=4)
    if missing:
        say(describe_missing(missing))
    if refused and show_all:
        print_table("not shown to be maps", ("layer", "why"), list(refused.items()), left=2)
    elif refused:
        say(f"{len(refused):,} more {'is' if len(refused) == 1 else 'are'} not shown to be maps; --all says why.")


def name_cell(row: Mapping[str, Any]) -> str:
    """Write a layer's name, and how often it runs where that is not once."""
    return str(row["layer"]) + (f" ({row['calls']} calls)" if row["calls"] > 1 else "")


def describe_missing(missing: Mapping[str, str]) -> str:
    """Write in a line what is not listed: for each of the first reasons a few of the names that it holds for."""
    from ndengine.models.caffe.options import short, some

    groups: dict[str, list[str]] = {}
    for name, reason in missing.items():
        depending = groups.setdefault(reason, [])
        # A reason begins with the layer or input that it is about.
        if name and not reason.startswith((f"layer {short(name)} of ", f"the input {short(name)},")):
            depending.append(name)
    said = [
        f"{reason}, and what depends on it ({some(names)})" if names else reason
        for reason, names in list(groups.items())[:REASONS]
    ]
    more = len(groups) - len(said)
    return "Not listed: " + "; ".join(said) + (f"; and what depends on {more:,} others." if more else ".")


def field_cells(field: Sequence[Sequence[int]] | None) -> tuple[str, str, str]:
    """Write size, stride and offset of a receptive field of rows and columns."""
    if field is None:
        return "unknown", "", ""
    rows, columns = field
    offset, size, stride = (str(a) if a == b else f"{a}x{b}" for a, b in zip(rows, columns, strict=True))
    return size, stride, offset
