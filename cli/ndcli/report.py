"""``ndengine report``: write the report of a finished dissection anew."""

from __future__ import annotations

from pathlib import Path

import click

from ndcli import options
from ndcli.progress import shown
from ndcli.terminal import print_json, say


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@options.json_option
@options.quiet_option
def report(folder: Path, as_json: bool, quiet: bool) -> None:
    """Write the HTML report of a finished dissection again.

    New pictures need the packed dataset that the run used; where it is gone, those that are there are kept.

    \b
    Example:
      ndengine report dissections/vgg16-conv5_3-broden1_224
    """
    from ndengine.report.rewrite import rewrite_report

    with shown(quiet) as progress:
        page = rewrite_report(folder, progress=progress)
    if as_json:
        print_json({"out": str(folder), "report": str(page)})
    elif not quiet:
        say(f"Report: {page}")
