"""The command ``ndengine``: its group of commands, and how an expected failure ends."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click

from ndcli.cache import cache
from ndcli.compare import compare
from ndcli.data import data
from ndcli.interruption import exit_code, signals_interrupting
from ndcli.layers import layers
from ndcli.models import models
from ndcli.paper import paper
from ndcli.report import report
from ndcli.run import run
from ndcli.show import show
from ndcli.sweep import sweep
from ndcli.terminal import say
from ndengine.errors import NdengineError
from ndengine.visible import visible

INTERRUPTED = "Interrupted. The same command goes on from what had reached the disk."


class Commands(click.Group):
    """A group that turns ndengine's own errors into one line and an exit code; bugs keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        with signals_interrupting() as received:
            try:
                return super().invoke(ctx)
            except click.ClickException as error:
                vars(error)["message"] = visible(error.message)  # the words of a command line may be names of files
                raise
            except NdengineError as error:
                say(f"Error: {error}", err=True)
                ctx.exit(error.exit_code)
            except KeyboardInterrupt as error:
                with suppress(OSError):  # the terminal may be what was closed
                    click.echo(err=True)
                    say(str(error) or INTERRUPTED, err=True)
                ctx.exit(exit_code(received))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order in which they are used."""
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ndengine", prog_name="ndengine")
def main() -> None:
    """Find out which human concepts the units of a vision network detect.

    ndengine carries out Network Dissection: it compares what each unit of a network responds to with the
    labelled concepts of a dataset, and names the units that detect one.

    \b
    Example, with everything built in:
      ndengine run
    """


for command in (run, show, report, sweep, compare, paper, layers, models, data, cache):
    main.add_command(command)
