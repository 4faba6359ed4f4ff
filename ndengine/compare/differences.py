"""What two or more results were asked for and came about with, and where that differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ndengine.compare.entries import UNKNOWN, Entry, base_of, rotation_in
from ndengine.settings import HOW, Settings

Block = Literal["numbers", "network", "how"]

IN_FORCE = "geometry in force"
# What decides the numbers once the activations are given: results that differ here can't be compared as they stand.
NUMBERS = ("preset", "knobs.", "min_images", "categories", "split", "limit", IN_FORCE, "data", "image")
# Settings that say what was asked for, of which it is told below what was done.
NOT_IN_FORCE = ("layers", "min_images", "rotate", "rotate_seed")
NO_SEED = "none"  # of a rotation where there is none
# What is told by another fact, or differs from layer to layer of one result.
SAID_OTHERWISE = ("preset", "split", "limit", IN_FORCE)
# What explains others comes first: a checksum follows from a seed, and a file from the iteration in its name.
IDENTITY = ("model", "weights", "weights checksum")
# What says how a run was carried out, with what and on what.
CARRIED_OUT = ("versions.", "machine.", "gpu", "device", *HOW, "top_images", "multiplies_bfloat16")


@dataclass(frozen=True)
class Difference:
    """A setting or fact in which results differ.

    Attributes
    ----------
    name : str
        Its dotted name, as in ``result.json``.
    block : str
        ``numbers`` for what decides the numbers once the activations are given, ``network`` for what decides the
        activations, ``how`` for versions, machines and how runs were carried out.
    values : tuple of str
        Its value in each entry, in their order; ``not known`` where a result does not tell.
    """

    name: str
    block: Block
    values: tuple[str, ...]


def find_differences(entries: Sequence[Entry]) -> tuple[Difference, ...]:
    """Settings and facts in which entries differ, those that decide the numbers first."""
    facts = [facts_of(entry) for entry in entries]
    names = dict.fromkeys(name for record in facts for name in record)
    columns = {name: tuple(record.get(name, UNKNOWN) for record in facts) for name in names}
    if columns.get(IN_FORCE) == columns.get("knobs.geometry"):
        columns.pop(IN_FORCE, None)  # there was no fallback, and one row says it
    if len(set(columns.get("images", ()))) > 1:
        columns.pop("image names", None)  # so do their names
    blocks: dict[Block, list[Difference]] = {"numbers": [], "network": [], "how": []}
    for name, values in columns.items():
        if len(set(values)) > 1:
            block = block_of(name)
            blocks[block].append(Difference(name, block, values))
    return tuple(difference for found in blocks.values() for difference in found)


def results_to_show(differences: Sequence[Difference], entries: Sequence[Entry]) -> tuple[list[str], list[int]]:
    """Titles and places of the entries to show: one for each result, or its layers where they differ."""
    shown: dict[tuple[str, tuple[str, ...]], int] = {}
    for place, entry in enumerate(entries):
        shown.setdefault((entry.label, tuple(d.values[place] for d in differences)), place)
    labels = [label for label, _ in shown]
    titles = [
        label if labels.count(label) == 1 else entries[place].title
        for label, place in zip(labels, shown.values(), strict=True)
    ]
    return titles, list(shown.values())


def facts_of(entry: Entry) -> dict[str, str]:
    """Everything about a result that another one may differ in, as plain text by dotted name."""
    # A result of before a setting was there has its default.
    settings = {**Settings().record(), **entry.settings}
    settings = {key: value for key, value in settings.items() if key not in NOT_IN_FORCE}
    facts = _flat(settings)
    known = entry.provenance
    model, dataset = _table(known, "model"), _table(known, "dataset")
    power, seed = rotation_in(entry)
    told = {
        IN_FORCE: entry.geometry,
        "min_images in force": entry.min_images,
        "images": entry.images,
        "image names": entry.image_names,
        "rotate": power,
        "rotate_seed": seed if power else NO_SEED,
        "weights checksum": _digits(model.get("weights_sha256")),
        "input size": model.get("input_size"),
        "preprocessing": {k: v for k, v in _table(model, "preprocessing").items() if k != "note"},
        "dataset": dataset.get("name"),
        "dataset fingerprint": _digits(dataset.get("fingerprint")),
        **{key: known.get(key) for key in ("versions", "machine", "gpu", "multiplies_bfloat16")},
    }
    return {**facts, **_flat({key: value for key, value in told.items() if value is not None})}


def kin_of(entry: Entry) -> dict[str, str]:
    """Facts that decide a result, each told once: results that agree in them differ by chance or not at all.

    The weights of a row of the benchmark are told by the network that it is a state of. What is known by its content
    is not told by its path, and drawn weights are told as such: their seed tells the rest.
    """
    facts = {name: value for name, value in facts_of(entry).items() if block_of(name) != "how"}
    left_out = {*SAID_OTHERWISE, "images"}
    if "dataset fingerprint" in facts:
        left_out |= {"data", "dataset"}
    if entry.weights == "random":
        left_out.add("weights checksum")
    facts = {name: value for name, value in facts.items() if name not in left_out} | {"model": base_of(entry)}
    last = {name: facts.pop(name) for name in IDENTITY if name in facts}
    return {**facts, **last}


def block_of(name: str) -> Block:
    """Where a difference belongs."""
    if name.startswith(CARRIED_OUT):
        return "how"
    return "numbers" if name.startswith(NUMBERS) else "network"


def cautions(differences: Sequence[Difference], entries: Sequence[Entry]) -> list[str]:
    """Sentences about differences that make the numbers of results incomparable."""
    said = []
    # Of the same data all that was asked for (limit, split) shows in the names of the images.
    fingerprints = {_table(entry.provenance, "dataset").get("fingerprint") for entry in entries} - {None}
    if len(fingerprints) > 1 or len({entry.image_names for entry in entries}) > 1:
        said.append("Results were made on different images: their counts can't be compared with each other.")
    knobs = [d.name.removeprefix("knobs.") for d in differences if d.block == "numbers" and _is_knob(d.name)]
    if knobs:
        said.append(
            f"Results were counted with other knobs ({', '.join(knobs)}): a difference between them may come from "
            "these alone."
        )
    categories = {tuple(entry.summary.by_category) for entry in entries}
    if len(categories) > 1:
        said.append("Results have other categories: a category that one lacks is left empty there.")
    return said


def _is_knob(name: str) -> bool:
    return name.startswith(("knobs.", "min_images", "categories", IN_FORCE))


def _digits(checksum: Any) -> str | None:
    """As many digits of a checksum as it takes to tell two apart."""
    return None if checksum is None else str(checksum)[:12]


def _table(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    rows: dict[str, str] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            rows.update(_flat(value, f"{prefix}{key}."))
        else:
            rows[prefix + key] = _plain(value)
    return rows


def _plain(value: Any) -> str:
    if value is None or value in ("", [], ()):
        return "default"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
