"""Feed the readers of Caffe's files, and the builder of networks, hostile input; each must give a result or an error.

``python -m benchmarks.fuzz_caffe --inputs 100000``. Every input comes from its number and the seed; ``--only NUMBER``
runs one again. A bug, a crash, more than ``--seconds`` for an input, or more memory than the limit ends the script
with 1.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import signal
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.fuzz_inputs import NEW, OLD, make_input
from benchmarks.harness import QUICK_RESULTS
from benchmarks.machine import RESULTS, machine_line, write_results
from benchmarks.stored import show_fuzz
from ndengine.errors import ModelError
from ndengine.models.caffe.caffemodel import parse_caffemodel
from ndengine.models.caffe.network import CaffeNetwork, build_network
from ndengine.models.caffe.prototxt import parse_prototxt
from ndengine.models.layers import resolve_layers
from ndengine.models.trace import Trace, trace_model
from ndengine.models.weights import fit_weights

CHUNK = 500  # inputs of one process: what they leave behind is measured, and a crash takes no more with it
ADDRESSES = 2 * 2**30  # bytes of address space beyond what the process begins with: a network may have 2^28 weights
RESIDENT = 256 * 2**20  # bytes of memory that a chunk may really take beyond the beginning
TRACED = 20  # of so many inputs, one is run with Python's own memory measured
PER_BYTE, AT_LEAST = 500, 4 * 2**20  # bytes that Python may hold for a byte of input, and for any input
LONGEST = 600  # characters of an error


class Slow(BaseException):
    """An input took too long."""


def run_input(kind: str, content: bytes) -> str:
    """Read and build what an input holds; ``read`` where there is a result, else ``refused``.

    Raises
    ------
    Exception
        Whatever is no sentence for a person: a bug.
    """
    try:
        if kind.startswith("prototxt"):
            network = build_network(
                parse_prototxt(content.decode(errors="replace"), "input").definition, random=False, source="input"
            )
            check_shapes(network)
        else:
            blobs = parse_caffemodel(np.frombuffer(bytearray(content), np.uint8), "input")
            for built, trace in targets():
                try:
                    fit_weights(built, built.state_of(blobs), trace, [], model_name="network", source="input")
                except ModelError as error:
                    check_error(error)
    except ModelError as error:
        check_error(error)
        return "refused"
    return "read"


def check_error(error: ModelError) -> None:
    """An error is one sentence that names the file."""
    text = str(error)
    assert "input" in text, f"the error does not name the file: {text}"
    assert text.endswith("."), f"the error is no sentence: {text}"
    assert len(text) <= LONGEST, f"the error is too long: {text}"
    assert "\n" not in text, f"the error has several lines: {text}"


@cache
def targets() -> list[tuple[CaffeNetwork, Trace]]:
    """Networks that weights are fitted to."""
    networks = [build_network(definition, random=True) for definition in (OLD, NEW)]
    return [(network, trace_model(network, network.size)) for network in networks]


def check_shapes(network: CaffeNetwork) -> None:
    """The shapes that were inferred before anything was built are those that torch finds."""
    trace = trace_model(network, network.size)
    assert not trace.failure, f"the forward pass fails: {trace.failure}"
    for blob, path in network.aliases().items():
        shape = trace.steps[path].shape
        assert shape is not None
        assert shape[1:] == network.shapes.get(blob, shape[1:]), f"{blob} is {shape[1:]}, not {network.shapes[blob]}"
    resolve_layers(network, ["*"], "input", network.size, trace)


def run_chunk(seed: int, first: int, last: int, seconds: float, findings: Any) -> None:
    """Run some inputs in a process of limited memory; put a summary, or the first failure, into the queue."""
    begin = _memory()
    limit = begin["VmSize"] + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def give_up(number: int, frame: object) -> None:
        raise Slow

    signal.signal(signal.SIGPROF, give_up)
    outcomes: Counter[str] = Counter()
    slowest, size = 0.0, 0
    for place in range(first, last):
        kind, content = make_input(seed, place)
        findings.put(("at", place))
        traced = place % TRACED == 0
        if traced:
            tracemalloc.start()
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            outcome = run_input(kind, content)
        except BaseException as error:
            findings.put(("failed", place, kind, f"{type(error).__name__}: {error}"[:LONGEST]))
            return
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - start)
        if traced:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            if peak > AT_LEAST + PER_BYTE * len(content):
                findings.put(("failed", place, kind, f"Python held {peak:,} bytes for {len(content):,} of input"))
                return
        outcomes[f"{kind} {outcome}"] += 1
        size += len(content)
    grown = _memory()["VmHWM"] - begin["VmRSS"]
    if grown > RESIDENT:
        findings.put(("failed", first, "all of a chunk", f"the process grew by {grown:,} bytes"))
        return
    findings.put(("done", dict(outcomes), slowest, size, grown))


def _memory() -> dict[str, int]:
    """Sizes of this process in bytes, by their names in Linux."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Vm"))
    return {name.rstrip(":"): int(value) * 1024 for name, value, *_ in lines}


def fuzz(seed: int, inputs: int, seconds: float) -> dict[str, Any]:
    """Run inputs by their numbers; stop at the first chunk that fails.

    Returns
    -------
    dict
        What a result file keeps; ``failure`` is empty where there was none.
    """
    torch.set_num_threads(1)  # no threads to lose in a fork
    targets()
    context = multiprocessing.get_context("fork")  # children begin with everything imported
    outcomes: Counter[str] = Counter()
    slowest, size, grown, failure = 0.0, 0, 0, ""
    start = time.perf_counter()
    for first in range(0, inputs, CHUNK):
        findings = context.Queue()
        last = min(first + CHUNK, inputs)
        child = context.Process(target=run_chunk, args=(seed, first, last, seconds, findings))
        child.start()
        place, found = first, ("at", first)
        while found[0] == "at":
            place = found[1]
            try:
                found = findings.get(timeout=10 * seconds + 5)
            except Exception:  # the queue's Empty: a child that was killed puts nothing in
                found = ("failed", place, make_input(seed, place)[0], "the process died or hangs")
        child.join(5)
        if child.is_alive():
            child.kill()
        if found[0] == "failed":
            failure = f"input {found[1]} ({found[2]}): {found[3]}"
            break
        outcomes.update(found[1])
        slowest, size, grown = max(slowest, found[2]), size + found[3], max(grown, found[4])
        if sys.stderr.isatty():
            print(f"\r{last:,} of {inputs:,}", end="", file=sys.stderr, flush=True)
    return {
        "seed": seed,
        "inputs": sum(outcomes.values()),
        "inputs_of_a_process": CHUNK,
        "bytes": size,
        "outcomes": dict(sorted(outcomes.items())),
        "slowest_seconds": slowest,
        "seconds_allowed": seconds,
        "largest_growth_bytes": grown,
        "growth_allowed_bytes": RESIDENT,
        "seconds": time.perf_counter() - start,
        "failure": failure,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many (default 100000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all of them (default 0)")
    parser.add_argument("--seconds", type=float, default=10, help="of a processor that one may take (default 10)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run one input, in this process, and show it")
    parser.add_argument("--quick", action="store_true", help="2000 inputs, stored elsewhere")
    parser.add_argument("--results", type=Path, help="folder for the stored figures (default benchmarks/results)")
    args = parser.parse_args(argv)
    if args.only is not None:
        kind, content = make_input(args.seed, args.only)
        print(f"{kind}, {len(content)} bytes: {content[:2000]!r}")
        print(run_input(kind, content))
        return
    inputs = 2000 if args.quick else args.inputs
    found = fuzz(args.seed, inputs, args.seconds)
    command = f"python -m benchmarks.fuzz_caffe --inputs {inputs} --seed {args.seed}"
    content = {"command": command, "quick": args.quick, **found}
    shown = show_fuzz(content)
    print(machine_line())
    print("\n\n".join([*(table.text() for table in shown.tables), shown.reading]))
    if found["failure"]:
        sys.exit(json.dumps(found["failure"]))
    print(write_results("fuzz-caffe", content, folder=args.results or (QUICK_RESULTS if args.quick else RESULTS)))


if __name__ == "__main__":
    main()
