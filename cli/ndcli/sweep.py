"""``ndengine sweep``: many runs that one file describes, and their comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ndcli import options
from ndcli.compare import comparison_record, print_comparison
from ndcli.process import tune_process
from ndcli.progress import shown
from ndcli.terminal import print_json, print_table, show_tracebacks
from ndengine.errors import FailedRunsError

if TYPE_CHECKING:
    from ndengine.series import PlannedRun, Swept


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the results, one folder a run.  [default: dissections/FILE, without .toml]",
)
@click.option("--dry-run", is_flag=True, help="List the runs and what is done already, and do nothing.")
@click.option("--fail-fast", is_flag=True, help="Begin no other run after one has failed.")
@click.option("--overwrite", is_flag=True, help="Replace results in --out that have other settings.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first images, whatever the file says.")
@click.option("--device", metavar="NAME", help="Where to compute, whatever the file says.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads to compute on, whatever the file says.")
@options.cache_option
@options.json_option
@options.quiet_option
def sweep(
    file: Path,
    out: Path | None,
    dry_run: bool,
    fail_fast: bool,
    overwrite: bool,
    cache: Path,
    as_json: bool,
    quiet: bool,
    **instead: Any,
) -> None:
    """Carry out the runs that a TOML file describes, and compare them.

    Each run goes into a folder of its name. The same command goes on where it was interrupted: finished runs are
    taken as they are. A run that fails does not stop the others. ndengine/SERIES.md describes the file.

    \b
    Examples:
      ndengine sweep snapshots.toml --dry-run
      ndengine sweep snapshots.toml --out dissections/snapshots
    """
    tune_process()  # before torch is loaded
    from ndengine.series import failures, plan_series, read_series, sweep_series

    series = read_series(file, instead)
    folder = out or Path("dissections") / file.stem
    if dry_run:
        print_plan(plan_series(series, folder, overwrite=overwrite), as_json, quiet)
        return
    with shown(quiet) as progress:
        swept = sweep_series(series, folder, cache=cache, overwrite=overwrite, fail_fast=fail_fast, progress=progress)
    print_swept(swept, as_json, quiet)
    show_tracebacks(swept.outcomes)
    if failed := failures(swept.outcomes):
        raise FailedRunsError(failed)


def print_plan(planned: list[PlannedRun], as_json: bool, quiet: bool) -> None:
    """Print what there is to do."""
    if as_json:
        print_json({"runs": [{"name": p.run.name, "folder": str(p.folder), "state": p.state} for p in planned]})
    elif not quiet:
        rows = [(p.run.name, p.run.label, p.state) for p in planned]
        print_table(_runs(len(planned)), ("run", "label", "state"), rows, left=3)


def print_swept(swept: Swept, as_json: bool, quiet: bool) -> None:
    """Print what became of each run, then the comparison."""
    if as_json:
        runs = [
            {
                "name": o.run.name,
                "folder": str(o.folder),
                "fate": o.fate,
                "seconds": round(o.seconds, 3),
                "error": o.error,
            }
            for o in swept.outcomes
        ]
        compared = None if swept.comparison is None else comparison_record(swept.comparison)
        print_json({"runs": runs, "comparison": compared})
    elif not quiet:
        rows = [(o.run.name, o.fate, f"{o.seconds:,.1f}") for o in swept.outcomes]
        print_table(_runs(len(rows)), ("run", "outcome", "seconds"), rows, left=2)
        if swept.comparison is not None:
            print_comparison(swept.comparison)


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"
