"""Where results that belong to no series stand on a curve, as far as their own settings and networks tell it."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from dataclasses import replace

from ndengine.compare.differences import kin_of
from ndengine.compare.entries import Entry, base_of, power_of
from ndengine.models.zoo.rows import find_row

ITERATION = "training iteration"
ROTATION = "rotation α"
SEEDS = ("seed", "rotate_seed")  # results that differ in them alone are repetitions

Key = tuple[tuple[str, str], ...]


def place_entries(entries: Sequence[Entry]) -> list[Entry]:
    """Entries in their order, those without a place given the one that they tell themselves.

    Networks of the benchmark that were kept during training stand at their iteration, rotated ones at the power of
    their rotation; the network that others are rotations of stands at 0. Entries of one group differ in their place
    and in seeds alone; the group's name says in what the groups of one network differ.
    """
    keys = [_kin(entry) for entry in entries]
    rotated = {key for entry, key in zip(entries, keys, strict=True) if _is_free(entry) and power_of(entry)}
    found: dict[int, tuple[Key, float, str]] = {}
    for place, (entry, key) in enumerate(zip(entries, keys, strict=True)):
        row = find_row(entry.model)
        if not _is_free(entry):
            continue
        if row is not None and row.iteration is not None:
            found[place] = (key, float(row.iteration), ITERATION)
        elif key in rotated:
            found[place] = (key, power_of(entry), ROTATION)
    names = _names({place: (key, x_name, entries[place]) for place, (key, _, x_name) in found.items()})
    return [
        replace(entry, group=names[place], x=found[place][1], x_name=found[place][2]) if place in found else entry
        for place, entry in enumerate(entries)
    ]


def _is_free(entry: Entry) -> bool:
    return entry.x is None and not entry.group


def _kin(entry: Entry) -> Key:
    """What all entries of a group have in common."""
    row = find_row(entry.model)
    apart = {"rotate", *SEEDS}
    if row is not None and row.iteration is not None:
        apart |= {"weights checksum"} if entry.weights == "random" else {"weights checksum", "weights"}
    return tuple((name, value) for name, value in kin_of(entry).items() if name not in apart)


def _names(placed: dict[int, tuple[Key, str, Entry]]) -> dict[int, str]:
    """Names of the groups: the network's, and what tells two groups of it apart."""
    rivals: dict[tuple[Hashable, str], dict[Key, Entry]] = {}
    for key, x_name, entry in placed.values():
        rivals.setdefault((base_of(entry), x_name), {}).setdefault(key, entry)
    names: dict[tuple[str, Key], str] = {}
    for (base, x_name), groups in rivals.items():
        records = [dict(key) for key in groups]
        facts = dict.fromkeys(name for record in records for name in record)
        differing = [name for name in facts if len({record.get(name) for record in records}) > 1]
        if {"weights", "weights checksum"} <= set(differing):
            # A file's name says more than a checksum, where it says as much.
            told = {(record.get("weights"), record.get("weights checksum")) for record in records}
            differing.remove("weights checksum" if len({name for name, _ in told}) == len(told) else "weights")
        seen: set[str] = set()
        for (key, entry), record in zip(groups.items(), records, strict=True):
            words = [_word(name, record.get(name), entry) for name in _telling(record, records, differing)]
            name = ", ".join([str(base), *words])
            number = 1
            while name in seen:
                number += 1
                name = ", ".join([str(base), *words, str(number)])
            seen.add(name)
            names[x_name, key] = name
    return {place: names[x_name, key] for place, (key, x_name, _) in placed.items()}


def _telling(record: dict[str, str], rivals: Sequence[dict[str, str]], names: Sequence[str]) -> list[str]:
    """As few of the names of facts as it takes to tell a record from the others, those that tell most first."""
    left, told = list(rivals), []
    while len(left) > 1 and (open_ := [name for name in names if name not in told]):
        best = min(open_, key=lambda name: sum(other.get(name) == record.get(name) for other in left))
        alike = [other for other in left if other.get(best) == record.get(best)]
        if len(alike) == len(left):
            break
        told.append(best)
        left = alike
    return told


def _word(name: str, value: str | None, entry: Entry) -> str:
    if name == "image names":
        return f"{entry.images:,} images"
    name = name.removeprefix("knobs.").replace("_", " ")
    return f"{name} {'not known' if value is None else os.path.basename(value.rstrip('/')) or value}"
