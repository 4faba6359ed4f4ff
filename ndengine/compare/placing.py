"""Where results that belong to no series stand on a curve, as far as their own settings and networks tell it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ndengine.compare.entries import Entry, power_of
from ndengine.models.zoo.rows import find_row

ITERATION = "training iteration"
ROTATION = "rotation α"


def place_entries(entries: Sequence[Entry]) -> list[Entry]:
    """Entries in their order, those without a place given the one that they tell themselves.

    Networks of the benchmark that were kept during training stand at their iteration, rotated ones at the power of
    their rotation; the network that others are rotations of stands at 0.
    """
    rotated = {(_base(entry), entry.weights) for entry in entries if _is_free(entry) and power_of(entry)}
    placed = []
    for entry in entries:
        row = find_row(entry.model)
        group = _base(entry)
        if not _is_free(entry):
            placed.append(entry)
        elif row is not None and row.iteration is not None:
            placed.append(replace(entry, group=group, x=float(row.iteration), x_name=ITERATION))
        elif (group, entry.weights) in rotated:
            placed.append(replace(entry, group=group, x=power_of(entry) or 0.0, x_name=ROTATION))
        else:
            placed.append(entry)
    return placed


def _is_free(entry: Entry) -> bool:
    return entry.x is None and not entry.group


def _base(entry: Entry) -> str:
    """The network that a row of the benchmark is a rotation or an early state of; others as they are called."""
    if find_row(entry.model) is None:
        return entry.model
    return re.sub(r"-(rotated|iter)-[0-9]+$", "", entry.model)
