"""Check, on whole families of networks, that no layer which the engine lists is read wrongly, and time the listing.

``python -m benchmarks.layer_proofs``; ``--networks 'timm:*swin*'`` looks at some. The networks and the check are those
of ``tests/networks``, which knows nothing of how the engine finds layers. Every network has a process of its own. A
layer that is read wrongly ends the script with 1.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import QUICK_RESULTS
from benchmarks.machine import RESULTS, machine_line, write_results
from benchmarks.stored import show_proofs

NETWORKS = Path(__file__).parents[1] / "tests" / "networks"
sys.path.insert(0, str(NETWORKS))  # its modules import each other by their bare names, as tests do

from engine import ask_engine, survey  # noqa: E402
from judge import judge, units_change  # noqa: E402
from quiet import local_attention, make_local  # noqa: E402
from roster import Network, Size, all_networks  # noqa: E402

MEMORY = 6 * 2**30  # bytes beyond what a process begins with; a network that needs more is reported as failed
SECONDS = 1200  # for one network
REASONS = 3  # of refusals, the most frequent
SHOWN = 20  # layers of each outcome that a result names
QUICK = (
    "torchvision:squeezenet1_1",
    "timm:vit_tiny_patch16_224",
    "timm:swin_tiny_patch4_window7_224",
    "transformers:yolos",
)


def look_at(network: Network, size: Size, repeats: int) -> dict[str, Any]:
    """What the engine lists of a network at one size, and what the check says of it."""
    module = network.build(size)
    with torch.inference_mode():
        forward = time_median(lambda: module(torch.zeros(1, 3, *size)), repeats)
    proof = time_median(lambda: survey(module, size, network.name), repeats)
    listed = ask_engine(module, size, network.name)
    make_local(module, size, network.mixers)
    with local_attention():
        verdicts = judge(module, listed.reader, listed.shapes, size, network.documented)
    found = Counter(verdict.outcome for verdict in verdicts.values())
    layers = {
        outcome: [f"{name} ({verdict.why})" for name, verdict in verdicts.items() if verdict.outcome == outcome]
        for outcome in ("wrong", "undecided")
    }
    reasons = Counter(reason_kind(why, name) for name, why in listed.refused.items())
    return {
        "network": network.name,
        "size": list(size),
        "listed": len(verdicts),
        "refused": len(listed.refused),
        "reasons": dict(reasons.most_common(REASONS)),
        "by_axes": sum("--axes" in why for why in listed.refused.values()),
        "right": found["right"],
        "wrong": found["wrong"],
        "undecided": found["undecided"],
        "wrong_layers": layers["wrong"][:SHOWN],
        "undecided_layers": layers["undecided"][:SHOWN],
        "forward_seconds": forward,
        "proof_seconds": proof,
        "shapes": listed.shapes,
    }


def reason_kind(why: str, name: str) -> str:
    """A reason without what is particular to a layer: its name and numbers."""
    kind = "".join("#" if letter.isdigit() else letter for letter in why.replace(name, "NAME"))
    while "##" in kind:
        kind = kind.replace("##", "#")
    return kind[:160]


def time_median(call: Callable[[], object], repeats: int) -> float:
    """Median seconds of a processor for a call; there is one thread, and other processes don't count."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def look_in_process(network: Network, repeats: int, results: Any) -> None:
    """Look at all sizes of a network with limited memory; put the rows, or a failure, into the queue."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    rows: list[dict[str, Any]] = []
    for size in network.sizes:
        try:
            rows.append(look_at(network, size, repeats))
        except (
            Exception
        ) as error:  # the others shall still be looked at; a failure is shown, and ends the script with 1
            rows.append(
                {"network": network.name, "size": list(size), "failed": f"{type(error).__name__}: {error}"[:300]}
            )
    shapes = [row.pop("shapes", {}) for row in rows]
    changed = {name for first, then in pairwise(shapes) for name in units_change(first, then)}
    for row in rows:
        row["units_change"] = sorted(changed)[:SHOWN]
    results.put(rows)


def run(
    networks: Sequence[Network], repeats: int, store: Callable[[list[dict[str, Any]]], object]
) -> list[dict[str, Any]]:
    """Rows of all networks, one process each."""
    torch.set_num_threads(1)  # no threads to lose in a fork
    context = multiprocessing.get_context("fork")  # children begin with everything imported
    rows = []
    for place, network in enumerate(networks):
        results = context.Queue()
        child = context.Process(target=look_in_process, args=(network, repeats, results))
        child.start()
        try:
            found = results.get(timeout=SECONDS)
        except Exception:  # the queue's Empty: a child that was killed puts nothing in
            found = [{"network": network.name, "size": [], "failed": "the process died or hangs"}]
        child.join(5)
        if child.is_alive():
            child.kill()
        rows += found
        store(found)
        for row in found:
            print(f"{place + 1}/{len(networks)}", _line(row), file=sys.stderr, flush=True)
    return rows


def _line(row: dict[str, Any]) -> str:
    size = "x".join(map(str, row["size"]))
    if "failed" in row:
        return f"{row['network']} {size}: {row['failed']}"
    counts = ", ".join(f"{row[key]} {key}" for key in ("listed", "refused", "wrong", "undecided"))
    lines = [f"{row['network']} {size}: {counts}; {row['proof_seconds']:.2g} s, forward {row['forward_seconds']:.2g} s"]
    return "\n  ".join([*lines, *row["wrong_layers"][:4], *row["undecided_layers"][:4]])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="*", help="patterns, separated by commas (timm:vit*,torchvision:*)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of the proof that are timed (default 3)")
    parser.add_argument("--quick", action="store_true", help=f"{len(QUICK)} networks, stored elsewhere")
    parser.add_argument("--update", action="store_true", help="leave what is stored of other networks as it is")
    parser.add_argument("--results", type=Path, help="folder for the stored figures (default benchmarks/results)")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error("--repeats must be at least 1")
    patterns = QUICK if args.quick else args.networks.split(",")
    networks = [n for n in all_networks() if any(fnmatchcase(n.name, pattern) for pattern in patterns)]
    if not networks:
        parser.error(f"no network is called {args.networks}")
    whole = (args.networks == "*" or args.update) and not args.quick
    folder = args.results or (RESULTS if whole else QUICK_RESULTS)  # a part is never stored as the whole
    stored = _stored(folder)
    content = {
        "command": "python -m benchmarks.layer_proofs" + (" --quick" if args.quick else ""),
        "quick": args.quick,
        "threads": 1,
        "before": _stored(RESULTS).get("before", {}),
        "rows": stored.get("rows", []) if args.update else [],
    }

    def store(rows: list[dict[str, Any]]) -> Path:
        new = {row["network"] for row in rows}
        content["rows"] = sorted([row for row in content["rows"] if row["network"] not in new] + rows, key=_place)
        return write_results("layer-proofs", content, folder=folder)

    rows = run(networks, args.repeats, store)
    shown = show_proofs(content)
    print(machine_line())
    print("\n\n".join([*(table.text() for table in shown.tables), shown.reading]))
    print(store(rows))
    if any("failed" in row or row["wrong"] or row["units_change"] for row in rows):
        sys.exit("Layers are read wrongly, or networks failed.")


def _stored(folder: Path) -> dict[str, Any]:
    """What a folder holds of an earlier run; empty where there was none."""
    path = folder / "layer-proofs.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _place(row: dict[str, Any]) -> tuple[str, list[int]]:
    return row["network"], row["size"]


if __name__ == "__main__":
    main()
