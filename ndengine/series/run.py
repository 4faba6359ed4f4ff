"""Carrying out a series: run after run, each in its folder, and what became of each."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from filelock import Timeout

from ndengine.compare import Comparison, compare_results
from ndengine.compare.series_record import COMPARE, read_series_record, write_series_record
from ndengine.dissect import dissect_network
from ndengine.errors import DatasetError, ModelError, NdengineError, ResultError, UnusableSpoolError
from ndengine.locks import take_lock
from ndengine.models.registry import check_model
from ndengine.progress import SILENT, Progress
from ndengine.refusals import cannot_write
from ndengine.result_record import is_result, read_record
from ndengine.score import Summary
from ndengine.series.runs import Series, SeriesRun
from ndengine.series.values import files_of
from ndengine.taken import changed_contents, refuse_changed_contents
from ndengine.workspace import UNFINISHED

LOCK = ".ndengine-series.lock"  # not that of a run, which would take the folder for its own

State = Literal["finished", "other settings", "other content", "damaged", "interrupted", "new"]
Fate = Literal["computed", "taken", "failed", "not reached"]

WHY = {"failed": "its run failed", "not reached": "its run was not reached"}


@dataclass(frozen=True)
class PlannedRun:
    """A run before it is carried out.

    Attributes
    ----------
    run : SeriesRun
    folder : Path
        Where its result is or will be.
    state : str
        ``finished`` (with these settings), ``other settings``, ``other content`` (of the files that they name) or
        ``damaged`` (a result that can't be taken), ``interrupted`` (it goes on from what reached the disk) or ``new``.
    """

    run: SeriesRun
    folder: Path
    state: State


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run.

    Attributes
    ----------
    run : SeriesRun
    folder : Path
        Where its result is.
    fate : str
        ``computed``, ``taken`` (it was there already), ``failed``, or ``not reached``: another one had failed and
        nothing was to follow.
    seconds : float
        How long it took.
    error : str
        Why it failed, one sentence; empty otherwise.
    traceback : str
        Where it failed, if that was not foreseen; empty otherwise.
    summaries : dict of str to Summary
        Its layers in numbers, by name; empty where there is no result.
    """

    run: SeriesRun
    folder: Path
    fate: Fate
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""
    summaries: dict[str, Summary] = field(default_factory=dict)


@dataclass(frozen=True)
class Swept:
    """A series that has been carried out.

    Attributes
    ----------
    outcomes : tuple of RunOutcome
        In the order of the series.
    comparison : Comparison or None
        Of all results; None where there is none.
    """

    outcomes: tuple[RunOutcome, ...]
    comparison: Comparison | None


def plan_series(series: Series, out: Path, *, overwrite: bool = False) -> list[PlannedRun]:
    """See what there is to do, without doing it, and that nothing stands in the way of any run.

    Raises
    ------
    ModelError, DatasetError
        If a file that a run names is missing, or its model is unknown.
    ResultError
        If the folder holds something else, or results of other settings, data or weights that ``overwrite`` does not
        give up.
    """
    where = f"{series.source}, " if series.source else ""
    for run in series.runs:
        for option, path in files_of(run.settings):
            if not (path.exists() if option == "data" else path.is_file()):
                kind = DatasetError if option == "data" else ModelError
                raise kind(f"{where}run {run.name}: {option} names {path}, which does not exist; correct the path.")
    if out.is_dir() and any(out.iterdir()) and read_series_record(out) is None and not (out / LOCK).exists():
        what = "holds a dissection" if is_result(out) else "is not empty and holds no series"
        raise ResultError(f"{out} {what}; choose another --out for the series.")
    planned = [PlannedRun(run, out / run.name, _state(run, out / run.name)) for run in series.runs]
    seen: set[str] = set()
    for plan in planned:
        model = plan.run.settings.model
        if plan.state == "finished" or model in seen:  # a finished result needs no network any more
            continue
        seen.add(model)
        try:
            check_model(model)
        except ModelError as error:
            raise ModelError(f"{where}run {plan.run.name}: {error}") from error
    for plan in planned:
        if plan.state == "other settings" and not overwrite:
            changed = ", ".join(_changes(plan.run, plan.folder))
            raise ResultError(
                f"{plan.folder} holds a dissection with other settings ({changed}); "
                "choose another --out, or replace it with --overwrite."
            )
        if plan.state == "other content" and not overwrite:
            refuse_changed_contents(plan.run.settings, read_record(plan.folder).provenance, plan.folder)
    return planned


def run_series(
    series: Series,
    out: Path,
    *,
    cache: Path,
    overwrite: bool = False,
    fail_fast: bool = False,
    anew: Collection[str] = (),
    progress: Progress = SILENT,
) -> list[RunOutcome]:
    """Carry out a series: what is finished is taken, what was interrupted goes on, the rest is computed.

    Parameters
    ----------
    series : Series
        The runs.
    out : Path
        Folder of the series; the result of a run lies in the folder of its name there.
    cache : Path
        Folder of packed datasets, the built-in data and downloaded weights.
    overwrite : bool
        Replace results of other settings, of other data or weights, and damaged ones.
    fail_fast : bool
        Begin no other run after one has failed.
    anew : collection of str
        Names of runs whose finished results are not taken, but replaced.
    progress : Progress
        Told of every run and its stages.

    Returns
    -------
    list of RunOutcome
        What became of each run, in the order of the series. A run that fails is reported here, not raised.

    Raises
    ------
    NdengineError
        If something stands in the way of a run before the first one has begun: see :func:`plan_series`.
    """
    out = Path(out)
    plan_series(series, out, overwrite=overwrite)  # before a folder is made
    outcomes: list[RunOutcome] = []
    with _claimed(out):
        planned = plan_series(series, out, overwrite=overwrite)
        if strangers := _strangers(series, out):
            progress.note(
                f"{out} also holds runs that this series has not ({', '.join(strangers)}); they stay there, and "
                "are not compared with it."
            )
        write_series_record(out, series.title, [run.member() for run in series.runs])
        for number, found in enumerate(planned, start=1):
            stale = found.run.name in anew and found.state == "finished"
            plan = replace(found, state="other content") if stale else found
            if fail_fast and any(outcome.fate == "failed" for outcome in outcomes):
                outcomes.append(RunOutcome(plan.run, plan.folder, "not reached"))
                continue
            progress.heading(f"Run {number} of {len(planned)}: {plan.run.label}")
            outcomes.append(_carry_out(plan, cache, overwrite, progress))
            gc.collect()  # a command has it look rarely; a network in a cycle must not outlive its run
    return outcomes


def sweep_series(
    series: Series,
    out: Path,
    *,
    cache: Path,
    overwrite: bool = False,
    fail_fast: bool = False,
    anew: Collection[str] = (),
    progress: Progress = SILENT,
) -> Swept:
    """Carry out a series as :func:`run_series` does, and compare its results in ``out/compare``.

    A run that failed or was not reached is left out, also where an older result lies in its folder.

    Raises
    ------
    NdengineError
        As :func:`run_series` does, or if the comparison can't be written.
    """
    outcomes = run_series(
        series, out, cache=cache, overwrite=overwrite, fail_fast=fail_fast, anew=anew, progress=progress
    )
    comparison = None
    if any(outcome.summaries for outcome in outcomes):
        lost = {o.folder: WHY[o.fate] for o in outcomes if o.fate in WHY}  # what lies there is an older result
        comparison = compare_results([out], Path(out) / COMPARE, left_out=lost, progress=progress)
    return Swept(tuple(outcomes), comparison)


def _carry_out(plan: PlannedRun, cache: Path, overwrite: bool, progress: Progress) -> RunOutcome:
    start = time.monotonic()

    def dissect(afresh: bool) -> RunOutcome:
        found = dissect_network(plan.run.settings, plan.folder, cache=cache, overwrite=afresh, progress=progress)
        return RunOutcome(
            plan.run,
            plan.folder,
            "computed" if found.computed else "taken",
            time.monotonic() - start,
            summaries={name: layer.summary for name, layer in found.layers.items()},
        )

    try:
        try:
            return dissect(plan.state == "other content" and overwrite)
        except (ResultError, UnusableSpoolError) as error:
            # Not where the disk is full, say: beginning afresh would give up what an interrupted run goes on from.
            result = plan.state not in ("new", "interrupted")
            if not overwrite or not (result or isinstance(error, UnusableSpoolError)):
                raise
            return dissect(True)
    except NdengineError as error:
        said, where = str(error), ""
    except Exception as error:  # a bug costs this run, not the night's others
        first = (str(error).strip() or "no message").splitlines()[0]
        said = f"{type(error).__name__}: {first}; this was not foreseen, and the traceback tells where it happened."
        where = "".join(traceback.format_exception(error))
    progress.note(f"{plan.run.name} failed: {said}")
    return RunOutcome(plan.run, plan.folder, "failed", time.monotonic() - start, said, where)


def _changes(run: SeriesRun, folder: Path) -> list[str]:
    """The settings in which a run differs from the result in its folder."""
    found = read_record(folder)
    return run.settings.differences(found.settings, found.provenance)


def _state(run: SeriesRun, folder: Path) -> State:
    try:
        if _changes(run, folder):
            return "other settings"
        try:
            return "other content" if changed_contents(run.settings, read_record(folder).provenance) else "finished"
        except (DatasetError, OSError, KeyError, TypeError):  # the run itself will tell
            return "finished"
    except ResultError:
        if (folder / "result.json").exists():
            return "damaged"
        return "interrupted" if (folder / UNFINISHED).is_dir() else "new"


def _strangers(series: Series, out: Path) -> list[str]:
    """Runs with a result in the folder of which the series there knows, and this one doesn't."""
    found = read_series_record(out)
    names = {run.name for run in series.runs}
    return [m.name for m in (found[1] if found else ()) if m.name not in names and is_result(out / m.name)]


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Hold a series' folder for one sweep."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = take_lock(out / LOCK)
    except Timeout:
        raise ResultError(f"{out} is in use by another sweep; wait for it, or choose another --out.") from None
    except OSError as error:
        raise ResultError(cannot_write(out, error)) from None
    try:
        yield
    finally:
        lock.release()


def failures(outcomes: Sequence[RunOutcome]) -> str:
    """One sentence about the runs that failed; empty where none did."""
    failed = [outcome for outcome in outcomes if outcome.fate == "failed"]
    if not failed:
        return ""
    told = "; ".join(f"{outcome.run.name}: {outcome.error.rstrip('.')}" for outcome in failed)
    runs = "run" if len(outcomes) == 1 else "runs"
    return f"{len(failed)} of {len(outcomes)} {runs} failed ({told}); mend that, and the same command goes on."
