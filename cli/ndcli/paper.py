"""``ndengine paper``: the paper's experiments in small, from nothing but this package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ndcli import options
from ndcli.process import tune_process
from ndcli.progress import shown
from ndcli.terminal import print_json, print_table, say, show_tracebacks
from ndengine.errors import FailedRunsError

if TYPE_CHECKING:
    from ndengine.experiments import Chapter, Paper

VERDICTS = {"agrees": "as in the paper", "differs": "otherwise", "open": "open"}


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("dissections/paper"),
    show_default=True,
    help="Folder of the page and of the results.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="Only this experiment: layers, rotation, iterations, conditions or supervision; repeatable.  [default: all]",
)
@click.option("--overwrite", is_flag=True, help="Replace results in --out of other settings or weights.")
@options.threads_option
@options.cache_option
@options.json_option
@options.quiet_option
def paper(
    out: Path, only: Sequence[str], overwrite: bool, threads: int, cache: Path, as_json: bool, quiet: bool
) -> None:
    """Repeat the paper's experiments in small, offline.

    Trains small networks on drawn scenes, from seeds, and dissects them on others: trained against untrained by
    layer, rotated units, snapshots over training, seeds, batch norm, dropout and width, and tasks without labels.
    Prints what the paper found beside what comes out, and writes a page with the plots. The same command goes on
    where it was interrupted; networks stay in the cache, and --model takes their names.

    \b
    Examples:
      ndengine paper
      ndengine paper --only rotation --only layers --out small
    """
    tune_process()  # before torch is loaded
    with shown(quiet) as progress:
        from ndengine.experiments import reproduce_paper

        made = reproduce_paper(out, cache=cache, only=only, threads=threads, overwrite=overwrite, progress=progress)
    if as_json:
        print_json(paper_record(made))
    elif not quiet:
        print_paper(made)
    from ndengine.series import failures

    show_tracebacks(made.outcomes)
    if failed := failures(made.outcomes):
        raise FailedRunsError(failed)


def paper_record(made: Paper) -> dict[str, Any]:
    """Give everything that the tables say, and where the files are, as plain JSON values."""
    return {"out": str(made.folder), "page": f"{made.folder}/index.html", **made.record()}


def print_paper(made: Paper) -> None:
    """Print the counts of each experiment, then what the paper found beside what came out."""
    for chapter in made.chapters:
        _print_chapter(chapter)
    rows = []
    for name, known in made.trainings.items():
        last = known["epochs"][-1]
        marks = ", ".join(f"{key} {value:.0%}" for key, value in last["marks"].items())
        rows.append((name, known["about"], marks, f"{last['held_out']:.3f}", f"{known['processor_seconds']:.0f}"))
    print_table("Networks, on held-out scenes", ("network", "", "marks", "loss", "processor seconds"), rows, left=3)
    say(f"Page: {made.folder}/index.html")


def _print_chapter(chapter: Chapter) -> None:
    columns = ("result", "layer", "unique per category", "unique top-label", "detectors", "units")
    rows = []
    for entry in chapter.comparison.entries if chapter.comparison else ():
        s = entry.summary
        rows.append((entry.label, entry.layer, s.unique_per_category, s.unique_top_label, s.detectors, s.units))
    print_table(chapter.experiment.title, columns, rows, left=2)
    for finding in chapter.findings:
        say(f"paper: {finding.paper}")
        say(f"here:  {finding.here}")
        say(f"       {VERDICTS[finding.verdict]}{f' ({finding.rule})' if finding.rule else ''}")
        say()
