"""Where a run's time and memory went."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")
_END: Any = object()


class Clock:
    """Wall-clock seconds by stage, and inside a stage by the parts of the thread that carries it out.

    Attributes
    ----------
    seconds : dict of str to float
        By stage, in the order in which stages were first entered.
    parts : dict of str to dict
        By stage and part. A part inside a part counts for itself alone, so the parts of a stage never add up to more
        than the stage.
    reader : dict of str to float
        What another thread did meanwhile: seconds of ``read`` and ``prepare`` (resizing; for a GPU, normalising too).
    wait : callable
        Called at every border; what waits for a GPU there makes its work count where it belongs.
    true_borders : bool
        Whether work is done at the borders: not where a GPU goes on by itself and nobody waits for it.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.parts: dict[str, dict[str, float]] = {}
        self.reader: dict[str, float] = {}
        self.wait: Callable[[], object] = _go_on
        self.true_borders = True
        self._began = self._since = time.perf_counter()
        self._stage = ""
        self._open: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.perf_counter()
        self._stage = name
        try:
            yield
            self.wait()
        finally:
            self._stage = ""
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a part of the stage that is open; only for the thread that opened it."""
        self.wait()
        self._border()
        self._open.append(name)
        try:
            yield
            self.wait()
        finally:
            self._border()
            self._open.pop()

    def each(self, items: Iterable[Item], name: str) -> Iterator[Item]:
        """Pass items on, and add the time that they let one wait to a part."""
        source = iter(items)
        while True:
            with self.part(name):
                item = next(source, _END)
            if item is _END:
                return
            yield item

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Add the time spent inside to what the reader's thread did."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.reader[name] = self.reader.get(name, 0.0) + time.perf_counter() - start

    def record(self) -> dict[str, Any]:
        """Seconds by stage, and the profile of all that has been measured so far, as plain JSON values."""
        return {
            "seconds": _rounded(self.seconds),
            "profile": {
                "whole_seconds": round(time.perf_counter() - self._began, 3),
                "parts": {stage: _rounded(parts) for stage, parts in self.parts.items()},
                "reader": _rounded(self.reader),
                "true_borders": self.true_borders,
            },
        }

    def _border(self) -> None:
        """Charge the time since the last border to the innermost part that is open."""
        now = time.perf_counter()
        if self._open and self._stage:
            parts = self.parts.setdefault(self._stage, {})
            parts[self._open[-1]] = parts.get(self._open[-1], 0.0) + now - self._since
        self._since = now


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}


def _go_on() -> None:
    """Wait for nothing."""


def peak_memory_bytes() -> int | None:
    """The most memory this process has held so far, or None where the system does not tell."""
    try:
        # What getrusage tells on Linux begins with the peak of the process that started this one.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
