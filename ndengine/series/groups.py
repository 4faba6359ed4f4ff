"""Which curve a run belongs to where its file does not say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ndengine.compare.kin import split_by_facts
from ndengine.series.expand import words_of
from ndengine.series.runs import SeriesRun
from ndengine.series.values import OPTIONS
from ndengine.settings import HOW

# Layers have curves of their own, a preset is its knobs, seeds are repetitions, and the rest decides no number.
NO_REASON = {
    "layer",
    "preset",
    "seed",
    "rotate-seed",
    "top-images",
    "device",
    *(name.replace("_", "-") for name in HOW),
}


@dataclass(frozen=True)
class Draft:
    """A run whose group may have to be told from others.

    Attributes
    ----------
    run : SeriesRun
        Its group is the model's name where the file names none.
    given : mapping of str to object
        The keys that it has, also those that the texts alone know; without those whose text has other keys in it.
    x_key : str
        The key that is its x; empty for a number.
    named : bool
        Whether the file names the group.
    """

    run: SeriesRun
    given: Mapping[str, Any]
    x_key: str
    named: bool


def tell_groups(drafts: Sequence[Draft]) -> list[SeriesRun]:
    """The runs, with what differs between them added to the groups that no file names.

    Runs of one curve differ in what is x, in what goes with it, as weights do with an iteration, and in seeds.
    """
    families: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
    for place, draft in enumerate(drafts):
        if draft.run.x is not None and not draft.named:
            families[draft.run.group, draft.run.x_name, draft.x_key].append(place)
    groups: dict[int, str] = {}
    for (group, _, x_key), members in families.items():
        facts = {place: _facts(drafts[place]) for place in members}
        free = dict.fromkeys(name for place in members for name in facts[place] if name not in OPTIONS)
        names = [name for name in (*free, *OPTIONS) if name not in NO_REASON and name != x_key]
        xs = {place: x for place in members if (x := drafts[place].run.x) is not None}
        seen: set[str] = set()
        for told, part in split_by_facts(members, facts, xs, names, goes_with_x=x_key not in OPTIONS):
            text = name = "-".join(filter(None, [group, *words_of(told)]))
            number = 1
            while name in seen:
                number += 1
                name = f"{text}-{number}"
            seen.add(name)
            groups |= dict.fromkeys(part, name)
    return [replace(d.run, group=groups.get(place, d.run.group)) for place, d in enumerate(drafts)]


def _facts(draft: Draft) -> dict[str, Hashable]:
    settings = draft.run.settings
    facts: dict[str, Hashable] = {}
    for key, (field, _) in OPTIONS.items():
        # "data" has a default; of the others a text with other keys in it says what these say.
        if key in draft.given or key not in ("model", "weights"):
            facts[key] = getattr(settings if hasattr(settings, field) else settings.knobs, field)
    free = {key: value for key, value in draft.given.items() if key not in OPTIONS}
    return {**facts, **{key: str(value) for key, value in free.items()}}
