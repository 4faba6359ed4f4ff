"""How results look on standard output: rich tables on a terminal, the same without colour in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ndengine.series import RunOutcome

PIPED_WIDTH = 200  # columns for a table where no terminal says how many there are


def say(text: str = "") -> None:
    """Print one line of a result."""
    click.echo(text)


def show_tracebacks(outcomes: Iterable[RunOutcome]) -> None:
    """Print on standard error where runs failed in a way that nobody foresaw."""
    for outcome in outcomes:
        if outcome.traceback:
            click.echo(f"{outcome.run.name}:\n{outcome.traceback}", err=True)


def megabytes(size: int) -> str:
    """Write a number of bytes as megabytes."""
    return f"{size / 1e6:,.1f} MB"


def print_json(value: Any) -> None:
    """Print one JSON object; what JSON has no number for (NaN) is an error, never invalid JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> None:
    """Print rows under a title, the first ``left`` columns as text and the others as numbers.

    The table is as wide as the terminal, or as wide as it needs to be in a pipe.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    click.secho(title, bold=True)
    laid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        laid.add_column(Text(name), justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        laid.add_row(*(Text(str(cell)) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPED_WIDTH).print(laid)
