"""Where a run's time went: a table by stage and part, and what to do about the largest of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ndcli.terminal import megabytes, print_table, say
from ndengine.errors import ResultError
from ndengine.settings import precision_of

if TYPE_CHECKING:
    from ndengine.result import Dissection

DOMINANT = 0.4  # the share of the whole from which on one part is called the bottleneck
STAGES = {
    "data": "opening the dataset",
    "model": "loading the network",
    "compile": "compiling kernels",
    "rotation": "making the rotation",
    "spool": "opening the spools",
    "threshold": "thresholds",
    "score": "scores",
    "result": "writing the result",
}
PARTS = {
    "wait": "waiting for images",
    "normalise": "making batches",
    "forward": "forward pass",
    "rotate": "rotating",
    "sieve": "sieve and spool",
    "read": "reading survivors",
    "write": "writing to disk",
    "labels": "reading labels",
    "count": "counting",
    "masks": "drawing masks",
}
NOTHING_HELPS = "No option makes it faster."
RATED = ("probe", "tally", "forward", "rotate", "sieve", "count")  # what goes through images one batch after the other
NONE = "There is no profile: the ndengine that made this result took none. --overwrite makes it again, with one."


def profile_record(dissection: Dissection) -> dict[str, Any] | None:
    """Work out the table, the memory and the bottleneck as plain JSON values; None where nothing was recorded."""
    facts = dissection.provenance
    if facts.get("profile") is None:
        return None
    try:
        return _profile_record(dissection)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if dissection.computed:
            raise
        raise ResultError(
            f"{dissection.folder} has a damaged profile in its result.json ({error!r}); show it without --profile."
        ) from None


def _profile_record(dissection: Dissection) -> dict[str, Any]:
    facts = dissection.provenance
    profile = facts["profile"]
    rows = list(_rows(dissection))
    # Where a GPU was not waited for, stages end about where their work does, and parts do not.
    split = {row["stage"] for row in rows if row["part"]} if profile["true_borders"] else set()
    candidates = [row for row in rows if (row["stage"] in split) == bool(row["part"])]
    largest = max(candidates, key=lambda row: float(row["seconds"]))
    return {
        "computed": dissection.computed,
        "finished": facts.get("finished"),
        "whole_seconds": profile["whole_seconds"],
        "stages": rows,
        "images": len(dissection.image_names),
        "images_probed": facts["images_probed"],
        "reader_seconds": profile["reader"],
        "true_borders": profile["true_borders"],
        "peak_memory_bytes": facts.get("peak_memory_bytes"),
        "gpu_peak_memory_bytes": (facts.get("gpu") or {}).get("peak_memory_bytes"),
        "bottleneck": {**largest, "advice": f"{_finding(largest)} {_advice(largest, dissection)}"},
    }


def print_profile(dissection: Dissection) -> None:
    """Print the table, then what it does not tell by itself, and the bottleneck last."""
    record = profile_record(dissection)
    if record is None:
        say(NONE)
        return
    cells = [
        (
            f"  {_name(row)}" if row["part"] else _name(row),
            f"{row['seconds']:,.2f}",
            f"{row['share']:.1%}",
            f"{row['images_per_second']:,.1f}" if row["images_per_second"] else "",
        )
        for row in [*record["stages"], _row("whole", None, record["whole_seconds"], record["whole_seconds"], 0)]
    ]
    print_table("Where the time went", ("stage", "seconds", "share", "images/s"), cells)
    for sentence in _remarks(record):
        say(sentence)


def _rows(dissection: Dissection) -> Iterator[dict[str, Any]]:
    """Stages in their order, each followed by its parts; ``other`` makes either add up."""
    profile, seconds = dissection.provenance["profile"], dissection.provenance["seconds"]
    whole = profile["whole_seconds"]
    images = {"probe": dissection.provenance["images_probed"], "tally": len(dissection.image_names)}
    for stage, taken in seconds.items():
        yield _row(stage, None, taken, whole, images.get(stage, 0))
        parts = profile["parts"].get(stage, {})
        for part, share in parts.items():
            yield _row(stage, part, share, whole, images.get(stage, 0))
        if parts:
            yield _row(stage, "other", taken - sum(parts.values()), whole, 0)
    yield _row("other", None, whole - sum(seconds.values()), whole, 0)


def _row(stage: str, part: str | None, seconds: float, whole: float, images: int) -> dict[str, Any]:
    seconds = max(round(seconds, 3), 0.0)  # rounded, parts can add up to a thousandth more than what they are parts of
    return {
        "stage": stage,
        "part": part,
        "seconds": seconds,
        "share": seconds / whole if whole else 0.0,
        "images_per_second": round(images / seconds, 2) if images and seconds and (part or stage) in RATED else None,
    }


def _name(row: dict[str, Any]) -> str:
    names, key = (PARTS, row["part"]) if row["part"] else (STAGES, row["stage"])
    return names.get(key, str(key))


def _remarks(record: dict[str, Any]) -> Iterator[str]:
    if record["peak_memory_bytes"]:
        gpu = record["gpu_peak_memory_bytes"]
        yield f"Peak memory: {megabytes(record['peak_memory_bytes'])}" + (f", GPU {megabytes(gpu)}." if gpu else ".")
    if reader := record["reader_seconds"]:
        took, prepared = reader.get("read", 0.0), reader.get("prepare", 0.0)
        yield f"A thread beside the probe read images for {took:,.2f} s and prepared them for {prepared:,.2f} s."
    before = record["images"] - record["images_probed"]
    if before:
        yield f"An interrupted run had probed {before:,} of the {record['images']:,} images; this run, the others."
    if not record["true_borders"]:
        yield "The run was made without --profile: a GPU's work counts where it was waited for, not where it was done."
    if not record["computed"]:
        yield f"Nothing was computed now: this is the profile of the run that ended at {record['finished']}."
    yield record["bottleneck"]["advice"]


def _finding(row: dict[str, Any]) -> str:
    what = f"{_name(row)} ({row['stage']})" if row["part"] in ("other", "read", "write") else _name(row)
    share = f"{row['share']:.0%} of the time"
    if row["share"] < DOMINANT:
        return f"No part dominates; the largest is {what} with {share}."
    return f"Bottleneck: {what}, {share}."


def _advice(row: dict[str, Any], dissection: Dissection) -> str:
    """Choose what helps against the largest part, by how the run was carried out and by what was measured."""
    settings, facts = dissection.settings, dissection.provenance
    part = row["part"] or row["stage"]
    if part == "forward":
        rest = 1 - row["share"]
        lead = f"That is the network itself; all else together could save {rest:.0%}."
        helps = ["a larger --batch-size"] if _on_gpu(dissection) else _faster(dissection)
        if precision_of(settings) == "float32" and facts.get("multiplies_bfloat16"):
            helps.append("--precision bfloat16, which rounds otherwise")
        return f"{lead} {_may_help(helps)}"
    if part == "wait":
        return _advice_on_reading(dissection)
    if part in ("normalise", "rotate", "sieve", "count", "threshold"):
        helps = _faster(dissection)
        if len(dissection.layers) > 1 and part != "normalise":
            helps.append("fewer layers")
        return _may_help(helps)
    if part in ("read", "write"):
        size = megabytes(facts["spool_bytes"])
        if settings["spool"] == "dense":
            return f"--spool dense keeps every activation ({size}); --spool auto keeps those that can count."
        if settings["spool"] == "memory":
            return _may_help(_faster(dissection))
        return (
            f"A faster disk for --out helps, or --spool memory: {size} were left at the end, more before; "
            "an interrupted run then begins anew."
        )
    return {
        "labels": f"They are read from {facts['dataset']['pack']}; a faster disk for it helps.",
        "masks": f"Fewer --top-images than {settings['top_images']} help.",
        "report": f"Its pictures take that; fewer --top-images than {settings['top_images']} help.",
        "data": "A dataset is packed once; the next run with this --cache finds it there.",
        "compile": "That does not grow with the images, and what was compiled is kept for the next run.",
        "model": "That does not grow with the images.",
        "rotation": "That grows with the cube of a layer's units, not with the images.",
        "spool": "That is what an interrupted run had left, read again.",
        "probe": "What in it takes the time, a run with --profile from the start tells.",
        "tally": "What in it takes the time, a run with --profile from the start tells.",
    }.get(part, NOTHING_HELPS)


def _faster(dissection: Dissection) -> list[str]:
    """Options that make computing faster, where there is something left to gain."""
    if _on_gpu(dissection):
        return []
    threads, cores = dissection.settings["threads"], dissection.provenance["machine"]["cores"]
    return ([f"--threads {cores}"] if threads < cores else []) + ["--device cuda on a machine with a GPU"]


def _on_gpu(dissection: Dissection) -> bool:
    return bool(dissection.settings.get("device", "cpu") != "cpu")


def _may_help(options: list[str]) -> str:
    if not options:
        return NOTHING_HELPS
    listed = ", ".join(options[:-1]) + " or " + options[-1] if len(options) > 1 else options[0]
    return f"What may help: {listed}."


def _advice_on_reading(dissection: Dissection) -> str:
    """Tell reading from preparing: the first wants another disk, the second other images."""
    facts = dissection.provenance
    reader = facts["profile"]["reader"]
    if reader.get("read", 0.0) >= reader.get("prepare", 0.0):
        return (
            f"They come from {facts['dataset']['pack']}; a faster disk for it helps, or memory in which the system can "
            "keep it."
        )
    found, wanted = dissection.image_size, tuple(facts["model"]["input_size"])
    if found != wanted:
        sizes = " to ".join(f"{height}x{width}" for height, width in (found, wanted))
        return f"They are resized from {sizes}; a dataset of the network's size needs none of that."
    return "One thread prepares them, without the disk; only faster cores help."
