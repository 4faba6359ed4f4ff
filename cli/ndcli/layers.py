"""``ndengine layers``: what can be dissected in a network."""

from __future__ import annotations

from typing import Any

import click

from ndcli import options
from ndcli.terminal import print_json, print_table


@click.command()
@options.model_options
@options.json_option
def layers(model: str, size: tuple[int, int] | None, as_json: bool) -> None:
    """List the layers of a network that --layer takes.

    Each with its alias, the shape of its output and its receptive field (size, stride and offset in input
    pixels, rows x columns where they differ).

    \b
    Examples:
      ndengine layers --model vgg16
      ndengine layers --model net.py:build --size 227 --json
    """
    from ndengine.models import list_layers

    rows = list_layers(model, size)
    if as_json:
        print_json({"model": model, "layers": rows})
        return
    cells: list[tuple[Any, ...]] = [tuple(row.values()) for row in rows]
    print_table(model, ("layer", "alias", "kind", "shape", "field"), cells, left=3)
