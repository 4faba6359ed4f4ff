"""The files of a comparison; FORMAT.md describes them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ndengine.compare.comparison import Cell, Comparison
from ndengine.errors import ResultError
from ndengine.refusals import cannot_write
from ndengine.result_files import json_text, write_text
from ndengine.strict_json import read_json

RECORD = "compare.json"
TABLE = "compare.csv"
CHANGES = "changes.csv"
FORMAT = "ndengine-comparison"
VERSION = 1


def refuse_strangers(folder: Path) -> None:
    """Raise ResultError if a folder holds something else than a comparison."""
    try:
        if os.path.exists(folder) and not folder.is_dir():
            raise ResultError(f"{folder} is a file; choose another --out.")
        if folder.is_dir() and any(folder.iterdir()) and not _is_comparison(folder):
            raise ResultError(f"{folder} is not empty and holds no comparison; choose another --out.")
    except OSError as error:
        raise ResultError(cannot_write(folder, error)) from None


def _is_comparison(folder: Path) -> bool:
    try:
        content = read_json(folder / RECORD)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def write_files(comparison: Comparison, folder: Path) -> None:
    """Write ``compare.csv``, ``changes.csv`` and ``compare.json``.

    Raises
    ------
    ResultError
        If a file can't be written.
    """
    content = {"format": FORMAT, "version": VERSION, **comparison.record()}
    write_text(folder / RECORD, json_text(content))
    write_text(folder / TABLE, _csv(comparison.table()))
    write_text(folder / CHANGES, _csv(comparison.changed_units()))


def _csv(columns: Mapping[str, Sequence[Cell]]) -> str:
    """Columns as CSV; None is an empty cell, a float its shortest exact form."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()
