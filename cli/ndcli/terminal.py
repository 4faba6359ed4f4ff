"""How results look on standard output: rich tables on a terminal, the same without colour in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ndengine.visible import UNSEEN, visible

if TYPE_CHECKING:
    from ndengine.series import RunOutcome

PIPED_WIDTH = 200  # columns for a table where no terminal says how many there are


def say(text: str = "", *, err: bool = False) -> None:
    """Print one line, whatever stands in it: names from files must not steer a terminal.

    Parameters
    ----------
    text : str
        The line.
    err : bool
        Print it on standard error.
    """
    click.echo(visible(text), err=err)


def say_bold(text: str) -> None:
    """Print one line as a heading."""
    click.secho(visible(text), bold=True)


def show_tracebacks(outcomes: Iterable[RunOutcome]) -> None:
    """Print on standard error where runs failed in a way that nobody foresaw."""
    for outcome in outcomes:
        if outcome.traceback:
            for line in (f"{outcome.run.name}:", *outcome.traceback.split("\n")):
                say(line, err=True)


def megabytes(size: int) -> str:
    """Write a number of bytes as megabytes."""
    return f"{size / 1e6:,.1f} MB"


def print_json(value: Any) -> None:
    r"""Print one JSON object; what JSON has no number for (NaN) is an error, never invalid JSON.

    What would steer a terminal is written as JSON does it, ``\u009b``, and means the same.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    click.echo("\n".join(UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], line) for line in text.split("\n")))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> None:
    """Print rows under a title, the first ``left`` columns as text and the others as numbers.

    The table is as wide as the terminal, or as wide as it needs to be in a pipe.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    say_bold(title)
    laid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        laid.add_column(Text(visible(name)), justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        laid.add_row(*(Text(visible(str(cell))) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPED_WIDTH).print(laid)
