"""An estimate of what the GPU's kernels cost, from their machine code and from how often its parts would run.

Nothing here is measured on a GPU. Instructions are counted in the machine code for an H100, loop by loop; how often a
loop runs is counted on synthetic activations and labels; bytes are what the kernels read and write. The floor is the
larger of the times that an H100 needs for either at full rate, so a real run takes longer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.gpu_compile import Compiled
from benchmarks.synthetic import CONCEPTS, REGIONS, make_activations, make_label_maps, make_sparse_maps
from ndkernels.grid import make_grid, naive, tables
from ndkernels.labels import encode_labels
from ndkernels.sieve import naive as sieve_naive
from ndkernels.sieve import rank_above

# NVIDIA H100 SXM: streaming multiprocessors, warp instructions each can issue a cycle, cycles and bytes a second.
H100 = {"multiprocessors": 132, "issue": 4, "hertz": 1.755e9, "bytes_per_second": 3.35e12}
SAMPLED = 400  # maps whose masks are drawn to count rows


@dataclass(frozen=True)
class Workload:
    """A layer whose cost is estimated: U units of h×w maps on H×W labels; ``sparse`` units are active at a position."""

    name: str
    units: int
    maps: tuple[int, int]
    labels: tuple[int, int]
    sparse: int = 0


WORKLOADS = (
    Workload("VGG16 conv5_3", 512, (14, 14), (112, 112)),
    Workload("ResNet-152 res5c", 2048, (7, 7), (112, 112)),
    Workload("AlexNet conv5", 256, (13, 13), (113, 113)),
    Workload("sparse autoencoder, 65,536 units, 64 active a position", 65536, (14, 14), (112, 112), sparse=64),
)


@dataclass(frozen=True)
class Trips:
    """How often things happen, an image.

    Attributes
    ----------
    maps, active : float
        Maps that are sieved, and those that survive.
    kept : float
        Cells that survive.
    pairs, active_pairs, lines, on_lines : float
        Pairs of sample rows looked at, those with a cell above the threshold, label rows in these, and those of them on
        which a pixel is on.
    passes, entries : float
        Passes over the codes, and rounds of the loop over their entries, of all active maps.
    codes : float
        Combinations of labels.
    """

    maps: float
    active: float
    kept: float
    pairs: float
    active_pairs: float
    lines: float
    on_lines: float
    passes: float
    entries: float
    codes: float


def count_trips(workload: Workload, bins: int, images: int = 8) -> Trips:
    """Count on synthetic data with the statistics of a layer over Broden."""
    h, w = workload.maps
    if workload.sparse:
        maps = make_sparse_maps(1, workload.units, workload.maps, workload.sparse)[0]
        thresholds, images, share = np.zeros(1, np.float32), 1, 1.0
        owner = np.zeros(len(maps), np.int64)
    else:
        units = min(workload.units, 256)
        activations = make_activations(images, units, workload.maps)
        thresholds = sieve_naive.thresholds(activations, rank_above("0.005", images * h * w))
        share = workload.units / units / images
        active = activations.max(axis=(2, 3)) > thresholds
        maps, owner = activations[active], np.nonzero(active)[1]
    grid = make_grid("half-pixel", maps=workload.maps, labels=workload.labels)
    row = tables(grid)[0]
    starts = np.searchsorted(row, np.arange(h + 1))
    above = (maps > thresholds[owner, None, None]).any(axis=2)  # [A, h]
    pairs = above | np.concatenate([above[:, 1:], above[:, -1:]], axis=1)
    step = max(1, len(maps) // SAMPLED)
    on = [
        (naive.upsample(m, *tables(grid)) > thresholds[o]).any(axis=1).sum()
        for m, o in zip(maps[::step], owner[::step], strict=True)
    ]
    kept = [sieve_naive.needed_cells(m, thresholds[o]).sum() for m, o in zip(maps[::step], owner[::step], strict=True)]
    stacks = make_label_maps(4, workload.labels, REGIONS, CONCEPTS)
    labels = encode_labels(stacks, [[] for _ in stacks], workload.labels)
    codes = len(labels.code_area) / len(stacks)
    count = len(maps) * share
    passes = count * -(-codes // bins)
    return Trips(
        maps=workload.units,
        active=count,
        kept=float(np.mean(kept)) * count,
        pairs=count * h * (passes / count),
        active_pairs=float((pairs & (np.diff(starts) > 0)).sum()) * share * (passes / count),
        lines=float((pairs * np.diff(starts)).sum()) * share * (passes / count),
        on_lines=float(np.mean(on)) * count * (passes / count),
        passes=passes,
        entries=passes * float(labels.entry_start.diff().max()),
        codes=codes,
    )


def loops_of(code: Compiled) -> list[tuple[int, int]]:
    """First and last address of every loop: a branch back to a label."""
    return [(target, address) for address, target in _branches(code) if target <= address]


def _branches(code: Compiled) -> list[tuple[int, int]]:
    found = []
    for address, op, rest in code.instructions:
        if op.split(".")[0] == "BRA":
            label = rest[rest.index("(") + 1 : rest.index(")")] if "(" in rest else ""
            target = code.labels.get(label)
            if target is not None and target != address:
                found.append((address, target))
    return found


def tally_instructions(code: Compiled, trips: Trips) -> float:
    """Warp instructions of the tally, an image."""
    # The idle loop behind the last EXIT is no loop of the kernel's.
    loops = [loop for loop in loops_of(code) if _count(code, loop) > 4]

    def holding(op: str, within: tuple[int, int]) -> list[tuple[int, int]]:
        inside = [a for a, name, _ in code.instructions if name.startswith(op)]
        return sorted(
            (loop for loop in loops if within[0] <= loop[0] and loop[1] <= within[1]
             and any(loop[0] <= a <= loop[1] for a in inside)),
            key=lambda loop: loop[1] - loop[0],
        )  # fmt: skip

    everything = (0, code.instructions[-1][0])
    line, row, tile, *_ = holding("ATOMS", everything)
    entry = next(loop for loop in holding("RED", tile) if loop != tile)
    line_skip = next(t for a, t in _branches(code) if line[0] <= a < line[1] and a < t <= line[1])
    line_off = _count(code, line) - _count(code, (next(a for a, t in _branches(code) if t == line_skip), line_skip))
    row_guard = next(a for a, t in _branches(code) if row[0] <= a < line[0] and t > line[1])
    row_skipped = _count(code, (row[0], row_guard))
    row_taken = _count(code, row) - _count(code, line) - row_skipped
    per_pass = _count(code, tile) - _count(code, row) - _count(code, entry)
    inside_loops = {a for a, _, _ in code.instructions for first, last in loops if first <= a <= last}
    per_map = len(code.instructions) - len(inside_loops)
    return (
        trips.active * per_map
        + trips.passes * per_pass
        + trips.pairs * row_skipped
        + trips.active_pairs * row_taken
        + trips.lines * line_off
        + trips.on_lines * (_count(code, line) - line_off)
        + trips.entries * _count(code, entry)
    )


def straight_instructions(code: Compiled, every: float, active: float) -> float:
    """Warp instructions of a kernel without loops that ``every`` map begins and ``active`` ones run to the end."""
    body = len(code.instructions)
    exits = [i for i, (_, op, _) in enumerate(code.instructions) if op.split(".")[0] in ("EXIT", "BRA")]
    head = next((i for i in exits if i < 0.7 * body), body)
    return every * head + active * (body - head)


def _count(code: Compiled, span: tuple[int, int]) -> int:
    return sum(span[0] <= address <= span[1] for address, _, _ in code.instructions)


def traffic(workload: Workload, trips: Trips) -> dict[str, float]:
    """Bytes that the sieve and the tally move, an image."""
    cells = workload.maps[0] * workload.maps[1]
    survivors = trips.active * (8 + -(-cells // 8)) + 4 * trips.kept
    sieve = trips.maps * (2 * 4 * cells + 2 * 4) + 3 * survivors  # read twice; packed, then copied to the host
    padded = -(-workload.labels[1] // 128) * 128
    tally = survivors + 2 * 4 * cells * trips.active + 2 * workload.labels[0] * padded + 8 * trips.active * 20
    return {"sieve": sieve, "tally": tally}


def floor_microseconds(bytes_moved: float, instructions: float) -> float:
    """What an H100 needs at the least."""
    rate = H100["multiprocessors"] * H100["issue"] * H100["hertz"]
    return max(bytes_moved / H100["bytes_per_second"], instructions / rate) * 1e6
