"""``ndengine layers``: what can be dissected in a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from ndcli import options
from ndcli.terminal import print_json, print_table, say

REASONS = 3  # why layers are not listed


@click.command()
@options.model_options
@options.cache_option
@options.json_option
def layers(model: str, size: tuple[int, int] | None, cache: Path, as_json: bool) -> None:
    """List the layers of a network that --layer takes.

    Each with its alias, its units, the size of their maps, and its receptive field in input pixels: size, stride
    and the offset of the first one; rows x columns where they differ. What can't be computed of a Caffe network is
    named below. Weights of a network of the benchmark that lie in the cache folder decide what its layers are called.

    \b
    Examples:
      ndengine layers --model vgg16
      ndengine layers --model net.py:build --size 227 --json
    """
    from ndengine.models import list_layers_and_missing

    rows, missing = list_layers_and_missing(model, size, cache=cache)
    if as_json:
        print_json({"model": model, "layers": rows, "missing": missing})
        return
    columns = ("layer", "alias", "kind", "units", "map", "field size", "stride", "offset")
    cells = [
        (row["layer"], row["alias"], row["kind"], units, f"{height}x{width}", *field_cells(row["field"]))
        for row in rows
        for units, height, width in (row["shape"],)
    ]
    print_table(model, columns, cells, left=3)
    if missing:
        say(describe_missing(missing))


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
