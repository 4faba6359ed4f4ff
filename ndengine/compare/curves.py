"""Unique detectors along an axis: training iterations, the angle of a rotation, or whatever a series counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ndengine.compare.entries import Entry


@dataclass(frozen=True)
class Curve:
    """Unique detectors of one layer of a group along an axis.

    Attributes
    ----------
    group, layer : str
        The group and the layer.
    x_name : str
        What the axis is.
    entries : tuple of int
        Places of the points in ``Comparison.entries``, by ascending x; several may share an x.
    x : tuple of float
        Their places on the axis.
    by_category : dict of str to tuple of int
        Unique detectors of each category at every point, by the per-category scheme; 0 where an entry lacks it.
    total : tuple of int
        Their sum: unique detectors by the per-category scheme.
    top_label : tuple of int
        Unique detectors by the top-label scheme.
    """

    group: str
    layer: str
    x_name: str
    entries: tuple[int, ...]
    x: tuple[float, ...]
    by_category: dict[str, tuple[int, ...]]
    total: tuple[int, ...]
    top_label: tuple[int, ...]


def find_curves(entries: Sequence[Entry], categories: Sequence[str]) -> tuple[Curve, ...]:
    """The curves that entries make: one for each layer of each group, where two of them or more differ in x."""
    groups: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
    for place, entry in enumerate(entries):
        if entry.x is not None:
            groups[entry.group, entry.x_name, entry.layer].append(place)
    curves = []
    for (group, x_name, layer), members in groups.items():
        places = sorted(members, key=lambda place: entries[place].x or 0.0)
        xs = tuple(x for place in places if (x := entries[place].x) is not None)
        if len(set(xs)) < 2:
            continue
        summaries = [entries[place].summary for place in places]
        curves.append(
            Curve(
                group,
                layer,
                x_name,
                tuple(places),
                xs,
                {
                    name: tuple(
                        found.unique_per_category if (found := s.by_category.get(name)) else 0 for s in summaries
                    )
                    for name in categories
                },
                tuple(s.unique_per_category for s in summaries),
                tuple(s.unique_top_label for s in summaries),
            )
        )
    return tuple(curves)
