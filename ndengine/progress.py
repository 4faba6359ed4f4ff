"""How the engine tells whoever called it what it is doing; the engine itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """A listener to a run; the command line draws bars with it."""

    def stage(self, title: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """Open a stage of ``total`` steps, named in the plural by ``unit``; the context's value advances it."""
        ...

    def heading(self, text: str) -> None:
        """Begin another run of several, whose stages follow."""
        ...

    def note(self, text: str) -> None:
        """Show one sentence that the user should see: a fallback taken, a default assumed."""
        ...


class Silent:
    """The listener that shows nothing."""

    def stage(self, title: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """Open a stage that nobody sees."""
        return nullcontext(_ignore)

    def heading(self, text: str) -> None:
        """Drop the heading."""

    def note(self, text: str) -> None:
        """Drop the note."""


def _ignore(steps: int) -> None:
    del steps


SILENT = Silent()
