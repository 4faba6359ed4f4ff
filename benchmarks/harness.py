"""What all benchmark scripts share: arguments, timing in turns, rows of figures, and the stored result."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.machine import RESULTS, Timing, machine_line, spread_of, write_results
from benchmarks.tables import Shown
from ndcli.process import tune_process
from ndengine.devices import CPU

QUICK_RESULTS = RESULTS.parents[1] / "build" / "benchmarks" / "results"  # never in the place of real figures
LEAST_SECONDS = 0.02  # a quicker call is repeated within its turn until it has taken as long
WARM_SECONDS = 0.25  # before a call that is quicker than this, the same is called once without counting


@dataclass(frozen=True)
class Way:
    """One of several ways to the same result.

    Attributes
    ----------
    name : str
    call : callable
    items : int
        How many images (or what the benchmark counts) one call goes through.
    bytes : int
        What a call must move at the least; 0 where that makes no sense.
    floor : str
        The name of the way that only copies these bytes.
    before : callable, optional
        Puts things in place before each call; not timed.
    """

    name: str
    call: Callable[[], object]
    items: int
    bytes: int = 0
    floor: str = ""
    before: Callable[[], object] | None = None


def make_parser(text: str | None, *, repeats: int, device: bool = False) -> argparse.ArgumentParser:
    """A parser with the arguments that all scripts have."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder with minibroden/ and weights/: real data as well")
    parser.add_argument("--threads", type=int, default=2, help="threads of what is timed on several (default 2)")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"turns that count (default {repeats})")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose figures mean nothing")
    parser.add_argument("--results", type=Path, help="folder for the stored figures (default benchmarks/results)")
    if device:
        parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    return parser


def begin(parser: argparse.ArgumentParser, argv: Sequence[str] | None, name: str) -> argparse.Namespace:
    """Read the arguments, and give everything that is timed the same allocator and one thread of torch's."""
    given = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(given)
    if args.repeats < 1 or args.threads < 1:
        parser.error("--repeats and --threads must be at least 1")
    args.results = args.results or (QUICK_RESULTS if args.quick else RESULTS)
    args.command = _command(name, given)
    tune_process()
    torch.set_num_threads(1)
    return args


def _command(name: str, given: Sequence[str]) -> str:
    """What was called, without paths that mean something on one machine alone."""
    words = ["python", "-m", f"benchmarks.{name}"]
    for word, before in zip(given, ["", *given], strict=False):
        hidden = before in ("--shared", "--data") or word.startswith("--shared=")
        if "--results" not in (word, before) and not word.startswith("--results="):
            words.append("FOLDER" if hidden else word)
    return " ".join(words)


def time_in_turns(ways: Sequence[Way], repeats: int) -> dict[str, Timing]:
    """Seconds of a call of each way, all ways once a turn: a slow minute of the machine hits all of them.

    Every way is called once before, which does not count, and quick ones once more in each turn: a run calls its
    kernels again and again, with as many threads, and finds the caches as the last call has left them, not as another
    way has. Every other turn goes backwards.
    """
    loops, quick = {}, {}
    for way in ways:
        took = _timed(way, 1)
        quick[way.name] = took < WARM_SECONDS
        loops[way.name] = 1 if way.before or took >= LEAST_SECONDS else ceil(LEAST_SECONDS / took)
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    for turn in range(repeats):
        for way in ways[:: -1 if turn % 2 else 1]:
            if quick[way.name]:
                _timed(way, 1)
            seconds[way.name].append(_timed(way, loops[way.name]))
    return {name: Timing(tuple(found)) for name, found in seconds.items()}


def _timed(way: Way, loops: int) -> float:
    if way.before:
        way.before()
    start = time.perf_counter()
    for _ in range(loops):
        way.call()
    return (time.perf_counter() - start) / loops


def measure(ways: Sequence[Way], repeats: int, bases: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Time all ways in turns and give a row of figures for each.

    Parameters
    ----------
    ways : sequence of Way
    repeats : int
    bases : mapping of str to str, optional
        For each ratio its name, ``times_…``, and the way whose time is divided by that of every other. Ratios are
        medians of the turns' own ratios, per item.
    """
    timings = time_in_turns(ways, repeats)
    known = {way.name: way for way in ways}

    def ratios(base: str, way: Way) -> tuple[float, ...]:
        pairs = zip(timings[base].seconds, timings[way.name].seconds, strict=True)
        return tuple(b / known[base].items / (s / way.items) for b, s in pairs)

    rows = []
    for way in ways:
        timing = timings[way.name]
        row = {"way": way.name, "items": way.items, "us_per_item": timing.median / way.items * 1e6}
        for key, base in (bases or {}).items():
            if base in known:
                turns = ratios(base, way)
                row |= {key: statistics.median(turns), f"{key}_spread": spread_of(turns)}
        if way.bytes:
            row |= {"bytes_per_item": way.bytes / way.items, "gb_per_second": way.bytes / timing.median / 1e9}
        if way.floor:
            copied = known[way.floor].bytes / known[way.floor].items
            fair = way.bytes / way.items / copied  # the floor may copy other items than the way goes through
            row["share_of_floor"] = fair * statistics.median(ratios(way.floor, way))
        rows.append({**row, **timing.record()})
    return rows


def copying(name: str, items: int, *arrays: NDArray[Any] | Tensor) -> Way:
    """The floor: a memcpy of what must be read, into memory that is there already, on one thread."""
    sources = [a.numpy() if isinstance(a, Tensor) else a for a in arrays]
    targets = [np.zeros_like(source) for source in sources]

    def call() -> None:
        for source, target in zip(sources, targets, strict=True):
            np.copyto(target, source)

    return Way(name, call, items, bytes=sum(source.nbytes for source in sources))


def finish(
    args: argparse.Namespace,
    name: str,
    content: Mapping[str, Any],
    show: Callable[[Mapping[str, Any]], Shown],
    device: torch.device = CPU,
) -> None:
    """Print what was found, and store it."""
    content = {"command": args.command, "quick": args.quick, "threads": args.threads, **content}
    shown = show(content)
    print(machine_line(device))
    print("\n\n".join([*(table.text() for table in shown.tables), shown.reading]))
    print(write_results(name, content, device, args.results))
