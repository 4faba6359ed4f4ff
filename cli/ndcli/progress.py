"""What a run shows on standard error while it works: bars on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from ndcli.terminal import say
from ndengine.progress import SILENT, Progress
from ndengine.visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Task

EVERY = 30.0  # seconds between two lines of one stage where there is no terminal


@contextmanager
def shown(quiet: bool) -> Iterator[Progress]:
    """Open a listener for the engine: silent, bars or lines.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if quiet:
        yield SILENT
    elif console.is_terminal:
        with _bars(console) as bars:
            yield bars
    else:
        yield Lines()


class Lines:
    """Plain lines: one when a stage starts, one every half minute, one when it ends."""

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Report a stage of ``total`` steps."""
        say(f"{title}: {total:,} {unit}", err=True)
        start = said = time.monotonic()
        done = 0
        lock = Lock()  # a reader thread may advance a stage too

        def advance(steps: int) -> None:
            nonlocal done, said
            with lock:
                done += steps
                now = time.monotonic()
                if now - said < EVERY or not done:
                    return
                said = now
            left = (total - done) * (now - start) / done
            say(
                f"{title}: {done:,} of {total:,} {unit}, {done / (now - start):.1f}/s, {left:.0f} s left",
                err=True,
            )

        yield advance
        seconds = max(time.monotonic() - start, 1e-9)
        say(f"{title}: done in {seconds:.1f} s ({done / seconds:,.1f} {unit}/s)", err=True)

    def heading(self, text: str) -> None:
        """Show which of several runs begins."""
        say(text, err=True)

    def note(self, text: str) -> None:
        """Show one sentence."""
        say(f"Note: {text}", err=True)


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Rate(ProgressColumn):
        """Steps a second: of late while a stage runs, of all of it at its end."""

        def render(self, task: Task) -> Text:
            seconds = task.finished_time if task.finished else task.elapsed
            overall = task.completed / seconds if seconds else 0.0
            speed = overall if task.finished else task.speed or overall
            return Text(f"{speed:,.1f}/s", style="progress.data.speed")

    class Bars:
        """One bar a stage; finished ones stay."""

        @contextmanager
        def stage(self, title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
            task = bars.add_task(visible(title), total=total, unit=unit)
            yield lambda steps: bars.advance(task, steps)

        def heading(self, text: str) -> None:
            # Bars of the run before become plain lines: a live display can't grow beyond the screen.
            ended = bars.tasks  # no stage is open between two runs
            if ended:
                bars.console.print(bars.make_tasks_table(ended))
            for task in ended:
                bars.remove_task(task.id)
            bars.refresh()
            bars.console.print(Text(visible(text), style="bold"), soft_wrap=True)

        def note(self, text: str) -> None:
            bars.console.print(Text.assemble(("Note: ", "yellow"), visible(text)), soft_wrap=True)

    bars = RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,} {task.fields[unit]}", markup=False),
        Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )
    with bars:
        yield Bars()
