"""``ndengine models``: the networks of the benchmark of 2017, and where their weights are."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ndcli import options
from ndcli.progress import shown
from ndcli.terminal import PIPED_WIDTH, print_json, print_table, say, say_bold
from ndengine.models.zoo.row import FAMILIES

if TYPE_CHECKING:
    from ndengine.models.zoo.row import Row

WIDE = 128  # columns of a terminal that has room for architectures and input sizes
WIDEST = 155  # and for servers
OWN = "none; the definition is ndengine's own"
SERIES = ("rotated", "iterations")  # families of one network, shown as one line among all


@click.group(invoke_without_command=True)
@click.option("--family", type=click.Choice(FAMILIES), help="Only the networks of one family.")
@options.cache_option
@options.json_option
@click.pass_context
def models(context: click.Context, family: str | None, cache: Path, as_json: bool) -> None:
    """List the networks of the benchmark of 2017, each a name for --model.

    With the layer that a run takes by default and how many more were dissected, where the weights are, and the
    detectors that were published for the network; a wide terminal shows more, --json all. Any of torchvision's
    networks, and your own, can be dissected as well: see ndengine run.

    \b
    Examples:
      ndengine models
      ndengine models --family alexnet --json
      ndengine models show alexnet-places205
      ndengine models fetch alexnet-places205
    """
    if context.invoked_subcommand is not None:
        _refuse_lost_options(context)
        return
    from ndengine.models.zoo.rows import rows

    chosen = [row for row in rows() if family in (None, row.family)]
    if as_json:
        print_json({"cache": str(cache), "models": [row.record(cache) for row in chosen]})
        return
    print_rows(chosen, cache, is_all=family is None)


def _refuse_lost_options(context: click.Context) -> None:
    """Raise UsageError where an option of the list stands in front of a subcommand, which would not see it."""
    for parameter in context.command.params:
        if context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE:
            option, name = parameter.opts[0], context.invoked_subcommand
            own = {word for asked in (show, fetch) if asked.name == name for one in asked.params for word in one.opts}
            where = f"give it behind {name}" if option in own else f"leave it out with {name}"
            raise click.UsageError(f"{option} in front of {name} is an option of the list of networks; {where}.")


@models.command()
@click.argument("name")
@options.cache_option
@options.json_option
def show(name: str, cache: Path, as_json: bool) -> None:
    """Show all that is known of one network of the benchmark.

    \b
    Example:
      ndengine models show resnet152-places365
    """
    from ndengine.models.zoo.rows import known_row

    row = known_row(name)
    if as_json:
        print_json(row.record(cache))
        return
    say_bold(f"{row.name}: {row.architecture}")
    for fact, value in facts(row, cache):
        say(f"  {fact}: {value}")
    if row.published:
        found = row.published
        cells = [(k, n, found.unique_by_category[k]) for k, n in found.detectors_by_category.items()]
        say()
        print_table("Published, by category", ("category", "detectors", "unique"), cells)


@models.command()
@click.argument("name")
@options.cache_option
@options.json_option
@options.quiet_option
def fetch(name: str, cache: Path, as_json: bool, quiet: bool) -> None:
    """Fetch the published weights of one network of the benchmark into the cache folder.

    A run fetches what it needs by itself. A download that broke off goes on where it stopped, and what is there
    already is not fetched again.

    \b
    Example:
      ndengine models fetch alexnet-places205
    """
    from ndengine.models.zoo.fetch import fetch_weights
    from ndengine.models.zoo.rows import known_row

    with shown(quiet) as progress:
        found = fetch_weights(known_row(name), cache, progress)
    paths = {"weights": str(found.weights), "prototxt": str(found.prototxt) if found.prototxt else None}
    if as_json:
        print_json({"model": name, "sha256": found.sha256, **paths})
    elif not quiet:
        for kind, path in paths.items():
            say(f"{kind}: {path or OWN}")


def print_rows(chosen: Sequence[Row], cache: Path, *, is_all: bool) -> None:
    """Print networks as a table that fits the terminal, then what its words mean."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH
    is_wide, is_widest = width >= WIDE, width >= WIDEST
    columns = ["network", "layers", "weights", "detectors"]
    if is_wide:
        columns[1:1] = ["architecture", "input"]
    cells = []
    for name, row in _lines(chosen) if is_all else ((row.name, row) for row in chosen):
        figures = f"{row.published.detectors} ({row.published.unique})" if row.published else ""
        more = (row.architecture, row.size) if is_wide else ()
        state = state_of_weights(row, cache)
        where = f"{state}: {row.servers()[0]}" if is_widest and state == "published" else state
        cells.append((name, *more, _layers(row), where, figures))
    print_table(f"The benchmark of 2017: {len(chosen)} networks", columns, cells, left=len(columns) - 1)
    for series in SERIES if is_all else ():
        names = [row.name.rpartition("-")[2] for row in chosen if row.family == series]
        say(f"N of {series}: {names[0]}, {names[1]} … {names[-1]}; `ndengine models --family {series}` lists them.")
    for mean in dict.fromkeys(row.mean for row in chosen):
        those = [row.name for row in chosen if row.mean == mean]
        named = "all" if len(those) == len(chosen) else ", ".join(those)
        say(f"Images of {named}: blue, green and red from 0 to 255 less {', '.join(map(str, mean))}.")
    say(
        "Weights: cached ones lie in the cache folder, published ones are fetched when they are needed; yours were "
        "never published: give your file with --weights."
    )
    say(
        "Detectors (unique ones per category) are those published, on the whole of Broden; `ndengine models show NAME` "
        "says more."
    )


def _layers(row: Row) -> str:
    """The layer that a run takes, and how many more there are."""
    more = len(row.layers) - 1
    return f"{row.layers[-1]}, {more} more" if more else row.layers[-1]


def _lines(chosen: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    """Name and row for each line; a series is one line."""
    seen = set()
    for row in chosen:
        if row.family not in SERIES:
            yield row.name, row
        elif row.family not in seen:
            seen.add(row.family)
            yield f"{row.name.rpartition('-')[0]}-N", row


def state_of_weights(row: Row, cache: Path) -> str:
    """Say in a word where a network's weights are."""
    if any(edition.find(cache) for edition in row.editions):
        return "cached"
    return "random" if row.is_random else "published" if row.is_published else "yours"


def facts(row: Row, cache: Path) -> Iterator[tuple[str, str]]:
    """List what is known of a network, in words."""
    yield "family", row.family
    mean = ", ".join(map(str, row.mean))
    yield "input", f"{row.size}x{row.size} pixels; blue, green and red from 0 to 255 less {mean}"
    default = f" (a run takes {row.layers[-1]} by default)" if len(row.layers) > 1 else ""
    yield "layers", ", ".join(row.layers) + default
    if row.same:
        yield (
            "other names",
            ", ".join(f"{a} is {b}" for a, b in row.same.items() if a in row.layers or len(row.same) < 5),
        )
    if row.iteration is not None:
        yield "iteration", f"{row.iteration:,} of training"
    if row.rotate is not None:
        yield "rotation", f"power {row.rotate:g}, seed {row.rotate_seed}"
    for edition in row.editions:
        found, urls = edition.find(cache), edition.weights.urls
        where = f"in the cache: {found}" if found else "not in the cache"
        if urls and not found:
            where = f"{urls[0]} and {len(urls) - 1} more" if len(urls) > 1 else urls[0]
        yield "weights", f"{edition.weights.name} ({edition.origin}); {where}"
    if row.published:
        yield "published", row.published.sentence(row.name).removeprefix("Published for ")
    if row.note:
        yield "note", row.note
