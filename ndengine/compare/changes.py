"""What becomes of each unit from one result to another of the same layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from ndengine.compare.differences import NO_SEED, kin_of
from ndengine.compare.entries import Entry, Units, base_of, power_of
from ndengine.compare.kin import split_by_facts

Kind = Literal["kept", "changed", "lost", "gained", "no detector"]

SEEDLESS = {"rotate_seed": NO_SEED}


@dataclass(frozen=True)
class Change:
    """A unit whose best concept is another one, or that is a detector on one side alone.

    Attributes
    ----------
    unit : int
        Its number, from 1.
    kind : str
        ``changed`` (a detector on both sides, of another concept), ``lost`` or ``gained`` (a detector before or
        after alone), or ``no detector`` (on neither side, but its best concept is another one).
    before, after : tuple of (str, str, float)
        Concept, category and IoU on either side; no concept is empty text and an IoU of 0.
    size : float
        How much IoU has come or gone: the difference where the concept is the same one, else the higher of the two.
    """

    unit: int
    kind: Kind
    before: tuple[str, str, float]
    after: tuple[str, str, float]
    size: float


@dataclass(frozen=True)
class Changes:
    """All changes from one entry to another.

    Attributes
    ----------
    before, after : int
        Places of the two in ``Comparison.entries``.
    kept : int
        Detectors that detect the same concept on both sides.
    changed, lost, gained : int
        Detectors of another concept, and those that are detectors before or after alone.
    other : int
        Units that are no detector on either side, but have another best concept.
    shift : (float, float) or None
        Median and maximum by which the IoU of the units with the same best concept differs; None without such units.
    rows : tuple of Change
        The units that changed, largest change first, equal ones by unit.
    """

    before: int
    after: int
    kept: int
    changed: int
    lost: int
    gained: int
    other: int
    shift: tuple[float, float] | None
    rows: tuple[Change, ...]


def pair_up(entries: Sequence[Entry]) -> Iterator[tuple[int, int]]:
    """Pairs of entries whose units can be told one by one, as places in ``entries``.

    Entries of one group, or of one network where there is no group, belong together if their layer, by whatever name,
    and number of units are the same. Where all of them have an ``x``, each is paired with the next one along it that
    differs in nothing but what goes with x, repetitions by their seeds; else the first is paired with every other.
    """
    families: defaultdict[tuple[str, str, str, int], list[int]] = defaultdict(list)
    for place, entry in enumerate(entries):
        model = "" if entry.group else entry.model
        families[entry.group, entry.x_name, model, len(entry.units)].append(place)
    # By their first members, so that layers stay in the order of the network.
    for places in sorted(part for family in families.values() for part in _split_by_layer(family, entries)):
        xs = {place: x for place in places if (x := entries[place].x) is not None}
        if len(xs) < len(places):
            yield from ((places[0], other) for other in places[1:])
            continue
        facts = {place: kin_of(entries[place]) for place in places}
        names = [name for name in dict.fromkeys(n for known in facts.values() for n in known) if name != "rotate"]
        # A rotation changes nothing else; along any other axis networks, images or knobs may be what x counts.
        rotations = all(power_of(entries[place]) == x for place, x in xs.items())
        pairs: dict[tuple[int, int], None] = {}
        for _, part in split_by_facts(
            sorted(places, key=xs.__getitem__), facts, xs, names, goes_with_x=not rotations, joins=SEEDLESS
        ):
            if len({xs[place] for place in part}) == len(part):  # else nobody knows which repeats which
                pairs |= dict.fromkeys(pairwise(part))
        yield from pairs


def find_changes(entries: Sequence[Entry], before: int, after: int) -> Changes:
    """Compare two entries unit by unit; they must have the same number of units."""
    one, two = entries[before].units, entries[after].units
    counts: dict[Kind, int] = dict.fromkeys(("kept", "changed", "lost", "gained", "no detector"), 0)
    rows, shifts = [], []
    for unit, (old, new) in enumerate(zip(_sides(one), _sides(two), strict=True), start=1):
        same = old[:2] == new[:2]
        kind = _kind(old[3], new[3], same)
        if same and old[0]:
            shifts.append(abs(new[2] - old[2]))
        if kind == "no detector" and same:
            continue
        counts[kind] += 1
        if kind != "kept":
            size = abs(new[2] - old[2]) if same else max(old[2], new[2])
            rows.append(Change(unit, kind, old[:3], new[:3], size))
    return Changes(
        before,
        after,
        kept=counts["kept"],
        changed=counts["changed"],
        lost=counts["lost"],
        gained=counts["gained"],
        other=counts["no detector"],
        shift=(float(np.median(shifts)), max(shifts)) if shifts else None,
        rows=tuple(sorted(rows, key=lambda row: (-row.size, row.unit))),
    )


def _split_by_layer(members: Sequence[int], entries: Sequence[Entry]) -> Iterator[list[int]]:
    """Split members by layer: one name, or one place in one network, which may have been asked for by two names."""
    parts: dict[int, list[int]] = {}  # by the first member, in order
    first: dict[tuple[str, ...], int] = {}  # name or place in a network to the part that it is in
    for member in members:
        entry = entries[member]
        keys = [(entry.layer,), (base_of(entry), entry.path)]
        met = sorted({first[key] for key in keys if key in first})
        part = parts.setdefault(met[0] if met else member, [])
        part.append(member)
        for other in met[1:]:  # they are one layer, as this member tells
            part += parts.pop(other)
            first |= {key: met[0] for key, at in first.items() if at == other}
        first |= dict.fromkeys(keys, met[0] if met else member)
    for part in parts.values():
        if len({entries[member].folder for member in part}) == len(part):
            yield sorted(part)
            continue
        # Two layers of one result: a name has another meaning in another network, so names alone say what is one.
        names: defaultdict[str, list[int]] = defaultdict(list)
        for member in sorted(part):
            names[entries[member].layer].append(member)
        yield from names.values()


def _kind(before: bool, after: bool, same: bool) -> Kind:
    if before and after:
        return "kept" if same else "changed"
    return "lost" if before else "gained" if after else "no detector"


def _sides(units: Units) -> Iterator[tuple[str, str, float, bool]]:
    """Concept, category, IoU and whether it is a detector, unit by unit."""
    return zip(units.concept, units.category, units.iou.tolist(), units.detector.tolist(), strict=True)
