"""What the page shows of results that no benchmark script of this folder has a table for."""

from __future__ import annotations

from collections import Counter
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


def show_precision(content: Mapping[str, Any]) -> Shown:
    """Runs in two precisions, and what changes for the units."""
    full, half = content["float32"], content["bfloat16"]
    rows = [(key.replace("_", " "), plain(value), plain(half[key])) for key, value in full.items()]
    caption = f"{content['network']} {content['layer']}, {content['images']} images, {content['threads']} threads"
    changes = [(key.replace("_", " "), plain(value)) for key, value in content["changes"].items()]
    has = {True: "with", False: "without", None: "perhaps with"}[content["multiplies_bfloat16"]]
    reading = (
        f"On a processor {has} instructions for bfloat16 the forward pass in it takes "
        f"{content['bfloat16_per_float32_seconds']:.2f} times as long as in float32."
    )
    tables = [
        Table(caption, ("what", "float32", "bfloat16"), rows),
        Table("From float32 to bfloat16:", ("what changes", "by"), changes),
    ]
    return Shown(tables, reading)


def plain(value: float) -> str:
    """A figure as it is, if it is whole, else with three digits."""
    return f"{value:,}" if isinstance(value, int) else number(value)


def show_fuzz(content: Mapping[str, Any]) -> Shown:
    """What became of hostile files."""
    kinds = dict.fromkeys(key.rpartition(" ")[0] for key in content["outcomes"])
    found = content["outcomes"]
    cells = [
        (kind.replace("_", " "), *(f"{found.get(f'{kind} {outcome}', 0):,}" for outcome in ("read", "refused")))
        for kind in kinds
    ]
    caption = f"{content['inputs']:,} inputs, seed {content['seed']}, {content['bytes'] / 1e6:,.0f} MB in all:"
    reading = (
        "Each was read, or refused in a sentence that names the file; the slowest took "
        f"{content['slowest_seconds']:.2g} s, and no process of {content['inputs_of_a_process']} inputs grew by more "
        f"than {content['largest_growth_bytes'] / 2**20:,.0f} MiB."
    )
    if content["failure"]:
        reading = f"**It failed: {content['failure']}**"
    return Shown([Table(caption, ("input", "read", "refused"), cells)], reading)


def show_proofs(content: Mapping[str, Any]) -> Shown:
    """Layers of many networks that are listed, refused and read wrongly."""
    before = content.get("before", {})
    done = [row for row in content["rows"] if "failed" not in row]
    cells = []
    for row in done:
        size = "x".join(map(str, row["size"]))
        old = before.get(f"{row['network']} {size}")
        ratio = row["proof_seconds"] / row["forward_seconds"]
        keys = ("listed", "refused", "by_axes", "wrong", "undecided")
        then = "–" if old is None else f"{old['listed']:,} / {old['wrong']:,}"
        timed = (number(row["proof_seconds"]), number(row["forward_seconds"]), number(ratio))
        cells.append((row["network"], size, *(f"{row[key]:,}" for key in keys), then, *timed))
    headings = ("network", "size", "listed", "refused", "by --axes", "wrong", "undecided", "before: listed / wrong")
    headings += ("proof, s", "pass, s", "times the pass")
    total = {key: sum(row[key] for row in done) for key in ("listed", "refused", "wrong", "undecided")}
    networks = len({row["network"] for row in done})
    reading = (
        f"Of {networks} networks {total['listed']:,} layers are listed and {total['refused']:,} refused; "
        f"{total['wrong']:,} of those listed are read wrongly, and of {total['undecided']:,} the check can't tell."
    )
    if before:
        reading += (
            f" Before layers were proven, {sum(r['listed'] for r in before.values()):,} layers of the networks with a "
            f"figure in that column were listed, and {sum(r['wrong'] for r in before.values()):,} of them wrong."
        )
    failed = [f"{row['network']} ({row['failed']})" for row in content["rows"] if "failed" in row]
    if failed:
        reading += f" **These failed: {'; '.join(failed)}.**"
    changed = sorted({row["network"] for row in done if row["units_change"]})
    if changed:
        reading += f" **Layers change their number of units with the size: {', '.join(changed)}.**"
    caption = f"Layers of {networks} networks; {content['threads']} thread, random weights:"
    return Shown([Table(caption, headings, cells), _reasons(done)], reading)


def _reasons(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The most frequent reasons for a refusal, over all networks."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update(row["reasons"])
    return Table(
        "Why layers are refused, most often:",
        ("reason", "layers"),
        [(why, f"{n:,}") for why, n in counts.most_common(12)],
    )
