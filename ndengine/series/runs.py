"""A series of runs: what to dissect, what each run is called, and where it stands on a curve."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ndengine.compare.series_record import COMPARE, SERIES, Member
from ndengine.errors import SeriesError
from ndengine.series.values import cut
from ndengine.settings import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")  # a folder's name that every file system takes

TAKEN = (COMPARE, SERIES)  # what a series' folder holds besides


@dataclass(frozen=True)
class SeriesRun:
    """One run of a series.

    Attributes
    ----------
    name : str
        Name of its folder in the series' folder.
    settings : Settings
        Everything that decides its result.
    label : str
        What tables and figures call it; the name where nothing is given.
    group : str
        The curve that it belongs to; empty for none.
    x : float or None
        Its place on that curve, such as the training iteration; None where it has none.
    x_name : str
        What ``x`` is, for the axis.
    """

    name: str
    settings: Settings
    label: str = ""
    group: str = ""
    x: float | None = None
    x_name: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or self.name.endswith(".") or self.name.lower() in TAKEN:
            raise SeriesError(
                f"name is {cut(self.name)!r}, which can't be a run's folder; use letters, digits and . _ - "
                f"(120 at most), but neither {' nor '.join(TAKEN)}."
            )
        object.__setattr__(self, "label", self.label or self.name)

    def member(self) -> Member:
        """What is kept of it beside the results, for comparing them."""
        return Member(self.name, self.label, self.group, self.x, self.x_name)


@dataclass(frozen=True)
class Series:
    """Many runs, in the order in which they are carried out.

    Attributes
    ----------
    runs : tuple of SeriesRun
        At least one; no two have the same name.
    title : str
        The heading of their comparison.
    source : Path or None
        The file that describes them.
    """

    runs: tuple[SeriesRun, ...]
    title: str = ""
    source: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple(self.runs))
        where = f"{self.source}" if self.source else "The series"
        if not self.runs:
            raise SeriesError(f"{where} has no run; describe one in a [[run]] table.")
        seen: dict[str, str] = {}
        for run in self.runs:
            key = run.name.lower()  # some file systems take a and A for one
            if key in seen:
                also = "" if seen[key] == run.name else f" (beside {seen[key]!r})"
                raise SeriesError(
                    f"{where} has two runs called {run.name!r}{also}; give each a name of its own, "
                    'such as name = "seed-{seed}".'
                )
            seen[key] = run.name
