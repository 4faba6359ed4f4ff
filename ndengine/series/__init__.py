"""Series: many runs that one file describes, carried out one after another; the file is described in SERIES.md."""

from __future__ import annotations

from ndengine.series.read import read_series
from ndengine.series.run import (
    PlannedRun,
    RunOutcome,
    Swept,
    failures,
    plan_series,
    run_series,
    sweep_series,
)
from ndengine.series.runs import Series, SeriesRun

__all__ = [
    "PlannedRun",
    "RunOutcome",
    "Series",
    "SeriesRun",
    "Swept",
    "failures",
    "plan_series",
    "read_series",
    "run_series",
    "sweep_series",
]
