"""Time what a first run waits for: imports, the compilation of all CPU kernels, and loading them when compiled.

Run it from the repository: ``python -m benchmarks.bench_compile``. Every call is a process of its own; a cold one has
an empty ``NUMBA_CACHE_DIR``, the next one finds what it has left there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import begin, finish, make_parser
from benchmarks.machine import Timing
from benchmarks.tables import Shown, Table, number, spread, warning
from ndkernels.pixels import naive

COLD, CACHED, IMPORTS = "compilation, empty cache", "first calls, filled cache", "imports"
# Imports come first and apart; what the kernel computes goes back to be compared with the definition.
CHILD = """
import json, time
start = time.perf_counter()
import numba, numpy as np, torch
import ndkernels.warm
from ndkernels.pixels import look_up_pixels
imported = time.perf_counter()
images, table = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3), np.arange(768, dtype=np.float32).reshape(3, 256)
{call}
called = time.perf_counter()
batch = look_up_pixels(images, table, (2, 1, 0)).permute(0, 2, 3, 1).flatten().tolist()
print(json.dumps({{"imports": imported - start, "calls": called - imported, "batch": batch}}))
"""
CALLS = {False: "ndkernels.warm.warm_up()", True: "look_up_pixels(images, table)"}  # quick: one small kernel


def call_once(cache: Path, quick: bool) -> dict[str, Any]:
    """What a fresh process needs with a cache folder; what it computes must be right."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(call=CALLS[quick])],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    images = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    table = np.arange(768, dtype=np.float32).reshape(3, 256)
    expected = naive.look_up_pixels(images, table, (2, 1, 0))
    np.testing.assert_array_equal(np.array(found["batch"]), expected.ravel(), err_msg="a fresh process computes wrong")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    args = begin(make_parser(__doc__, repeats=5), argv, "bench_compile")
    if not args.quick:
        with tempfile.TemporaryDirectory() as folder:
            call_once(Path(folder), True)  # the system then has the libraries in memory
    seconds: dict[str, list[float]] = {COLD: [], CACHED: [], IMPORTS: []}
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as folder:
            cold, cached = (call_once(Path(folder), args.quick) for _ in range(2))
        seconds[COLD].append(cold["calls"])
        seconds[CACHED].append(cached["calls"])
        seconds[IMPORTS] += [cold["imports"], cached["imports"]]
    rows = [{"way": way, **Timing(tuple(found)).record()} for way, found in seconds.items()]
    what = "one small kernel" if args.quick else "all CPU kernels"
    checked = "every process compared with naive"
    finish(args, "compile", {"cases": [{"name": what, "checked": checked, "rows": rows}]}, show)


def show(content: Mapping[str, Any]) -> Shown:
    """The three times."""
    (case,) = content["cases"]
    rows = [(row["way"], number(row["median_seconds"]), spread(row)) for row in case["rows"]]
    cold, cached, imports = (number(row["median_seconds"]) for row in case["rows"])
    reading = (
        f"The first run of all compiles for {cold} s; later ones load what is compiled in {cached} s. Imports take "
        f"another {imports} s."
    )
    caption = f"Fresh processes, {case['name']}; {case['checked']}"
    return Shown([Table(caption, ("what", "s", "spread"), rows)], reading + warning(case["rows"]))


if __name__ == "__main__":
    main()
