"""Which of several results along an axis belong together: those that differ in nothing but their place on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence

Facts = Mapping[str, Hashable]


def split_by_facts(
    members: Sequence[int],
    facts: Mapping[int, Facts],
    places: Mapping[int, float],
    names: Sequence[str],
    *,
    goes_with_x: bool,
    joins: Facts | None = None,
) -> Iterator[tuple[dict[str, Hashable], list[int]]]:
    """Split members by the facts in which they differ.

    Parameters
    ----------
    members : sequence of int
        Keys of ``facts`` and ``places``.
    facts : mapping of int to mapping
        What is known of each.
    places : mapping of int to float
        Their x.
    names : sequence of str
        The facts that are looked at, those first that explain others: by seed, say, before by checksum.
    goes_with_x : bool
        A fact that has one value at each x is no reason to split: the weights of a training go with its iteration.
    joins : mapping of str to object, optional
        A value of a fact, with which a member belongs to every part: no rotation has any seed.

    Yields
    ------
    told : dict of str to object
        The facts by which this part was split off, and their values.
    part : list of int
        Its members.
    """
    for name in names:
        values = {member: facts[member].get(name) for member in members}
        at = defaultdict(set)
        for member, value in values.items():
            at[places[member]].add(value)
        bound = goes_with_x and all(len(found) == 1 for found in at.values())
        wild = (joins or {}).get(name)
        apart = [value for value in dict.fromkeys(values.values()) if wild is None or value != wild]
        if len(apart) < 2 or bound:
            continue
        rest = [other for other in names if other != name]
        for value in apart:
            part = [member for member in members if values[member] == value or (wild and values[member] == wild)]
            for told, found in split_by_facts(part, facts, places, rest, goes_with_x=goes_with_x, joins=joins):
                yield {name: value, **told}, found
        return
    yield {}, list(members)
