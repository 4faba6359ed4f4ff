"""One page of all stored results, ``RESULTS.md`` beside their folder; no figure on it is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks import (
    bench_compile,
    bench_grid,
    bench_labels,
    bench_pixels,
    bench_rotate,
    bench_run,
    bench_scaling,
    bench_sieve,
    bench_tally,
    equality,
    flip_bytes,
    kill_runs,
    stored,
)
from benchmarks.machine import UNSTABLE, line_of
from benchmarks.tables import Shown, share

INTRODUCTION = f"""# Results

Rendered from `results/` by `python -m benchmarks --page`; `python -m benchmarks --shared FOLDER` measures what its
scripts measure and renders it anew. `FOLDER` holds `minibroden/`, a labelled set in Broden's layout (952 images), and
`weights/`. Every script first compares what it times with the definition (`naive.py`), and stops where they differ.

Ways and baselines take turns in one process, with one allocator setting. A figure is the median of its turns, the
spread is the distance between the quartiles as a share of it; above {share(UNSTABLE)} a figure is marked unstable.
"Times" say how many times faster a way is than the baseline, by the turns' own ratios. The floor is a memcpy of the
bytes that must be read (or written, where that is more), on one thread: its share is how close a way comes to it.
"""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    title, text : str
    pattern : str
        Names of the results it shows, as for ``glob``.
    show : callable
    text, command : str
    """

    title: str
    pattern: str
    show: Callable[[Mapping[str, Any]], Shown]
    text: str = ""
    command: str = ""  # where a result does not say how it was made


SECTIONS = (
    Section(
        "Counts equal the definition", "equality-*", equality.show,
        "One forward pass serves all: `counts.h5` of three spools (memory, disk, dense) on one and two threads is "
        "compared with `naive.py` on the label maps as their files hold them, array by array, integer for integer. The "
        "same comparison on the first 60 images is part of the test suite.",
    ),
    Section(
        "Tally", "tally", bench_tally.show,
        "From the dense tensor the kernel finds the active maps itself, as the baselines do; the list of active maps "
        "is what the sieve leaves. The dense product runs on fewer images, as it costs the same on each.",
    ),
    Section("Tally on a GPU", "tally-cuda", bench_tally.show),
    Section("Growth", "scaling", bench_scaling.show),
    Section(
        "Sieve and spool", "sieve", bench_sieve.show,
        "The last quarter of a stream passes a sieve that has seen the rest. The baselines keep the largest m+1 values "
        "of each unit so far, with one call a batch for all units: they give thresholds alone.",
    ),
    Section("Labels", "labels", bench_labels.show),
    Section("Masks", "grid", bench_grid.show),
    Section("Pixels", "pixels", bench_pixels.show),
    Section(
        "Rotations", "rotate", bench_rotate.show,
        "Whole numbers make a product that is the same for any batch size and number of threads; plain products are "
        "rounded at every addition.",
    ),
    Section("Compilation", "compile", bench_compile.show),
    Section(
        "Whole runs against the bare forward pass", "run-*", bench_run.show,
        "A whole run is everything behind the packed data: loading the network, reading, the forward pass, sieve, "
        "thresholds, tally, scores and the report with its pictures. The bare pass is the same network over the same "
        "decoded images with the same allocator setting, memory format and threads, stopped behind the same layer.",
    ),
    Section("Memory", "memory-*", bench_run.show_memory),
    Section(
        "Forward passes in bfloat16", "precision-*", stored.show_precision,
        command="python -m benchmarks.bench_precision {network} --shared FOLDER",
    ),
    Section(
        "The GPU's kernels: machine code, and estimates", "gpu-report", stored.show_gpu,
        "Read from machine code, and computed from it and from the bytes moved, on synthetic labels of about 350 "
        "combinations an image, more than most images of Broden have.",
    ),
    Section("Trained against random weights", "random-weights", stored.show_weights),
    Section(
        "Hostile Caffe files", "fuzz-caffe", stored.show_fuzz,
        "Prototxts and caffemodels that were valid until bytes, words, numbers or lengths were changed, or that were "
        "made up by their grammars. Address space, memory and time are limited; a network that is built is traced, and "
        "its shapes must be those that torch finds.",
    ),
    Section(
        "Changed bytes", "flip-bytes", flip_bytes.show,
        "One byte of a file is changed, every other time where the file keeps more than plain numbers: headers, "
        "attributes, small files. Then all that reads the file does so, each command and call on a damaged copy of its "
        "own, and what it gives is compared with what the whole file gives. Mended: a note names the file, and what it "
        "is made from is there, so that the outcome is the same. Pages, pictures and tables that only people read are "
        "written again by the command that made them.",
    ),
    Section(
        "Killed runs", "kill-runs", kill_runs.show,
        "Processes are ended after a random share of the processor time that their run takes, and the same command is "
        "run again. Results are compared file by file, all bytes of what has no date in it; segments are small, so "
        "that a run of seconds has as many as one of hours. What is only in memory starts again.",
    ),
    Section(
        "Layers are read as they lie", "layer-proofs", stored.show_proofs,
        "Every layer that the engine lists, of networks with random weights, at a square size and one that is not. A "
        "check that knows nothing of the engine's proof makes attention and convolutions local, changes the image by "
        "noise under ramps of height along rows and columns, and finds the place that each position of a layer answers "
        "to; the maps must also be the module's output in an order that its documentation gives. The proof is timed "
        "without its cache, beside one forward pass of one image.",
    ),
)  # fmt: skip


def write_page(results: Path) -> Path:
    """Write the page, and the drawings it shows, beside the folder of results."""
    parts = [INTRODUCTION]
    for section in SECTIONS:
        shown = [_result(path, section) for path in sorted(results.glob(f"{section.pattern}.json"))]
        if shown:
            parts.append("\n\n".join([f"## {section.title}", *([wrap(section.text)] if section.text else []), *shown]))
    page = results.parent / "RESULTS.md"
    page.write_text("\n".join(part.rstrip() + "\n" for part in parts))
    return page


def _result(path: Path, section: Section) -> str:
    content = json.loads(path.read_text())
    shown = section.show(content)
    quick = " **Tiny sizes: the figures mean nothing.**" if content.get("quick") else ""
    date = content["finished"][:10]
    machine = line_of(content) if "machine" in content else "the machine was not recorded"
    # Results name networks as torchvision does, commands as their files are called.
    command = content.get("command") or section.command.format(network=path.stem.partition("-")[2])
    parts = [f"`{command}`{quick}  \n{machine}; {date}"]
    parts += [wrap(content["note"])] if content.get("note") else []
    parts += [table.markdown() for table in shown.tables]
    if shown.plot:
        drawing = path.parent.parent / f"{path.stem}.svg"
        drawing.write_text(shown.plot)
        parts.append(f"![{section.title}]({drawing.name})")
    return "\n\n".join([*parts, wrap(shown.reading)] if shown.reading else parts)


def wrap(text: str) -> str:
    """A paragraph in lines as long as the repository's."""
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)
