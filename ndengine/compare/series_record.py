"""``series.json``: what the results in a folder are called and where they stand on curves; see SERIES.md."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ndengine.errors import ResultError
from ndengine.result_files import write_text

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
    write_text(folder / SERIES, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_series_record(folder: Path) -> tuple[str, tuple[Member, ...]] | None:
    """Title and members of the series in a folder; None where it holds none.

    Raises
    ------
    ResultError
        If ``series.json`` is damaged or of another version.
    """
    path = folder / SERIES
    if not path.is_file():
        return None
    again = "run ndengine sweep again"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ResultError(f"{path} is no record of a series; remove it, or {again}.")
        if content.get("version") != VERSION:
            raise ResultError(
                f"{path} has format version {content.get('version')} and this ndengine reads {VERSION}; {again}."
            )
        return str(content["title"]), tuple(_member(run) for run in content["runs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultError(f"{path} is damaged ({error!r}); {again}.") from None


def _member(run: dict[str, Any]) -> Member:
    x = run["x"]
    name = str(run["name"])
    if Path(name).name != name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no folder beside it")
    if x is not None and not math.isfinite(float(x)):
        raise ValueError(f"x is {x}")
    return Member(name, str(run["label"]), str(run["group"]), None if x is None else float(x), str(run["x_name"]))
