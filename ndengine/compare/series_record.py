"""``series.json``: what the results in a folder are called and where they stand on curves; see SERIES.md."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ndengine.errors import ResultError
from ndengine.inside import is_relative, refuse_way_out
from ndengine.refusals import reason_of
from ndengine.result_files import json_text, write_text
from ndengine.strict_json import decode, read_json

SERIES = "series.json"
FORMAT = "ndengine-series"
VERSION = 1
COMPARE = "compare"  # the folder, beside the results of a series, of their comparison


@dataclass(frozen=True)
class Member:
    """A result of a series as it was described.

    Attributes
    ----------
    name : str
        Its folder in the series' folder.
    label, group : str
        What it is called, and the curve that it belongs to; no group is empty.
    x : float or None
        Its place on that curve.
    x_name : str
        What ``x`` is.
    """

    name: str
    label: str
    group: str = ""
    x: float | None = None
    x_name: str = ""


def write_series_record(folder: Path, title: str, members: Sequence[Member]) -> None:
    """Write ``series.json``, whole or not at all.

    Raises
    ------
    ResultError
        If it can't be written.
    """
    content = {"format": FORMAT, "version": VERSION, "title": title, "runs": [asdict(m) for m in members]}
    write_text(folder / SERIES, json_text(content))


def read_series_record(folder: Path) -> tuple[str, tuple[Member, ...]] | None:
    """Title and members of the series in a folder; None where it holds none.

    Raises
    ------
    ResultError
        If ``series.json`` is damaged or of another version.
    """
    path = folder / SERIES
    if not os.path.lexists(path):
        return None
    again = "run ndengine sweep again"
    try:
        content = read_json(refuse_way_out(folder, SERIES))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ResultError(f"{path} is no record of a series; remove it, or {again}.")
        if content.get("version") != VERSION:
            raise ResultError(
                f"{path} has format version {content.get('version')} and this ndengine reads {VERSION}; {again}."
            )
        return decode(str, content.get("title"), "title"), _members(content.get("runs"))
    except OSError as error:
        raise ResultError(f"{path} can't be read ({reason_of(error)}); {again}.") from None
    except ValueError as error:
        raise ResultError(f"{path} is damaged ({error}); {again}.") from None


def _members(runs: Any) -> tuple[Member, ...]:
    members: tuple[Member, ...] = decode(tuple[Member, ...], runs, "runs")
    seen: set[str] = set()
    for member in members:
        if not is_relative(member.name) or "/" in member.name:
            raise ValueError(f"{member.name!r} is no folder beside it")
        if member.name.lower() in seen:
            raise ValueError(f"two runs are called {member.name!r}")
        if not member.label:
            raise ValueError(f"{member.name!r} has no label")
        seen.add(member.name.lower())
    return members
