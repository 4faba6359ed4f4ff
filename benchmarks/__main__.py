"""Run all benchmarks, each in a process of its own, and write the page of their results.

``python -m benchmarks [--shared FOLDER]``; ``--only tally,sieve`` runs some, ``--page`` none.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import QUICK_RESULTS
from benchmarks.machine import RESULTS
from benchmarks.page import write_page

# Name, module, further arguments; of VGG16 a quarter of the images, which takes minutes a turn as it is.
SCRIPTS = (
    ("tally", "bench_tally", ()),
    ("scaling", "bench_scaling", ()),
    ("sieve", "bench_sieve", ()),
    ("labels", "bench_labels", ()),
    ("grid", "bench_grid", ()),
    ("pixels", "bench_pixels", ()),
    ("rotate", "bench_rotate", ()),
    ("compile", "bench_compile", ()),
    ("run", "bench_run", ("squeezenet",)),
    ("run", "bench_run", ("vgg16", "--images", "238")),
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(dict.fromkeys(name for name, _, _ in SCRIPTS))
    parser.add_argument("--shared", type=Path, help="folder with minibroden/ and weights/: real data as well")
    parser.add_argument("--only", default=",".join(names), help=f"of {', '.join(names)}, separated by commas")
    parser.add_argument("--threads", type=int, help="as each script takes it")
    parser.add_argument("--repeats", type=int, help="as each script takes it")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose figures mean nothing")
    parser.add_argument("--results", type=Path, help="folder for the stored figures (default benchmarks/results)")
    parser.add_argument("--page", action="store_true", help="only render what is stored")
    args = parser.parse_args(argv)
    # The scripts run in the repository, so paths must not depend on where this one was called.
    results = (args.results or (QUICK_RESULTS if args.quick else RESULTS)).resolve()
    args.shared = args.shared and args.shared.resolve()
    only = args.only.split(",")
    if unknown := set(only) - set(names):
        parser.error(f"--only knows {', '.join(names)}, not {', '.join(sorted(unknown))}")
    common = ["--results", str(results), *(["--quick"] if args.quick else [])]
    for option in ("shared", "threads", "repeats"):
        if (value := getattr(args, option)) is not None:
            common += [f"--{option}", str(value)]
    failed = []
    for name, module, further in SCRIPTS:
        if args.page or name not in only:
            continue
        if name == "run" and not args.shared:
            print(f"{module} {further[0]} is left out: it needs --shared.")
            continue
        command = [sys.executable, "-m", f"benchmarks.{module}", *further, *common]
        print(f"\n== {module} {' '.join(further)}".rstrip(), flush=True)
        if subprocess.run(command, cwd=Path(__file__).parents[1]).returncode:
            failed.append(" ".join([module, *further]))
    results.mkdir(parents=True, exist_ok=True)
    print(write_page(results))
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}; the page has what was stored before.")


if __name__ == "__main__":
    main()
