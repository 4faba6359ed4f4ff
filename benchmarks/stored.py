"""What the page shows of results that no benchmark script of this folder has a table for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.tables import Shown, Table, number

LARGEST = {
    "registers": "registers a thread",
    "spills": "spills to memory",
    "scalar_spills": "scalar registers in vector lanes",
    "shared": "shared memory a program, bytes",
    "fused": "fused multiply-adds",
    "atom": "atomics that give something back",
}


def show_gpu(content: Mapping[str, Any]) -> Shown:
    """The machine code of the GPU's kernels, and the estimates made from it."""
    compiled, assumed = content["compiled"], content["assumed"]
    targets = list(dict.fromkeys(row["target"] for row in compiled))
    rows = [
        (what, *(str(max(row[key] for row in compiled if row["target"] == target)) for target in targets))
        for key, what in LARGEST.items()
    ]
    tables = [Table(f"Machine code, {len(compiled)} forms:", ("largest of all forms", *targets), rows)]
    caption = (
        f"Estimates for an H100 ({assumed['multiprocessors']} multiprocessors at {assumed['hertz'] / 1e9:g} GHz, "
        f"{assumed['bytes_per_second'] / 1e12:g} TB/s), an image; nothing was measured on a GPU."
    )
    rows = [
        (
            row["workload"], number(row["active_maps"]),
            *(
                number(figure)
                for op in ("sieve", "tally")
                for figure in (
                    row[f"{op}_bytes"] / 1e3, row[f"{op}_warp_instructions"] / 1e3, row[f"{op}_floor_us"],
                )
            ),
        )
        for row in content["estimates"]
    ]  # fmt: skip
    headings = ["layer", "active maps"]
    headings += [f"{op}, {what}" for op in ("sieve", "tally") for what in ("KB", "thousand instructions", "floor, µs")]
    tables.append(Table(caption, headings, rows))
    first = content["estimates"][0]
    floor = first["sieve_floor_us"] + first["tally_floor_us"]
    reading = f"At the least an H100 needs {number(floor)} µs for sieve and tally of an image of {first['workload']}."
    return Shown(tables, reading)


def show_weights(content: Mapping[str, Any]) -> Shown:
    """Detectors of a trained network against those of random ones."""
    rows = content["rows"]
    keys = ("detectors", "unique_top_label", "unique_per_category")
    cells = [(row["weights"], *(f"{row[key]:,}" for key in keys)) for row in rows]
    headings = ("weights", "detectors", "unique (top-label)", "unique (per category)")
    trained, *random = rows
    most, least = (pick(row["unique_top_label"] for row in random) for pick in (max, min))
    reading = (
        f"The trained network has {trained['unique_top_label']} unique detectors where random ones have {least} to "
        f"{most}."
    )
    return Shown([Table(content["caption"], headings, cells)], " ".join([reading, *content.get("notes", ())]))


def show_plain(content: Mapping[str, Any]) -> Shown:
    """Any result: each list of records as a table, and the other figures in a line."""
    tables = [
        Table(f"{name.replace('_', ' ')}:", *_plain_table(value))
        for name, value in content.items()
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    ]
    facts = [
        f"{name.replace('_', ' ')} {_plain(value)}"
        for name, value in content.items()
        if isinstance(value, (int, float, str)) and name not in ("command", "finished", "quick")
    ]
    return Shown(tables, "; ".join(facts) + ("." if facts else ""))


def _plain_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    keys = [key for key in dict.fromkeys(k for row in rows for k in row) if not isinstance(rows[0].get(key), list)]
    return [key.replace("_", " ") for key in keys], [[_plain(row.get(key)) for key in keys] for row in rows]


def _plain(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "–" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else number(value)
