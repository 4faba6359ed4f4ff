"""``ndengine layers``: what can be dissected in a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ndcli import options
from ndcli.terminal import print_json, print_table


@click.command()
@options.model_options
@options.cache_option
@options.json_option
def layers(model: str, size: tuple[int, int] | None, cache: Path, as_json: bool) -> None:
    """List the layers of a network that --layer takes.

    Each with its alias, its units, the size of their maps, and its receptive field in input pixels: size, stride
    and the offset of the first one; rows x columns where they differ. Weights of a network of the benchmark that
    lie in the cache folder decide what its layers are called.

    \b
    Examples:
      ndengine layers --model vgg16
      ndengine layers --model net.py:build --size 227 --json
    """
    from ndengine.models import list_layers

    rows = list_layers(model, size, cache=cache)
    if as_json:
        print_json({"model": model, "layers": rows})
        return
    columns = ("layer", "alias", "kind", "units", "map", "field size", "stride", "offset")
    cells = [
        (row["layer"], row["alias"], row["kind"], units, f"{height}x{width}", *field_cells(row["field"]))
        for row in rows
        for units, height, width in (row["shape"],)
    ]
    print_table(model, columns, cells, left=3)


def field_cells(field: Sequence[Sequence[int]] | None) -> tuple[str, str, str]:
    """Write size, stride and offset of a receptive field of rows and columns."""
    if field is None:
        return "unknown", "", ""
    rows, columns = field
    offset, size, stride = (str(a) if a == b else f"{a}x{b}" for a, b in zip(rows, columns, strict=True))
    return size, stride, offset
