"""What the paper found, what comes out here, and whether the two agree: by rules that are told beside the numbers.

Counts are unique detectors per category, as the released figures are counted, unless a sentence says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ndengine.compare import Changes, Comparison
from ndengine.models.zoo.rows import find_row
from ndengine.score import Summary

Verdict = Literal["agrees", "differs", "open"]
LOW = ("color", "texture")
HIGH = ("object", "part")
SEEDS = ("base", "repeat1", "repeat2", "repeat3")
TASKS = ("turning", "puzzle", "coloring")
LEARNED_ALONE = (
    "audio",
    "colorization",
    "context",
    "crosschannel",
    "egomotion",
    "frameorder",
    "moving",
    "objectcentric",
    "puzzle",
    "tracking",
)
SIMILAR = 0.2  # the range of repeats over their mean up to which their levels are called similar


@dataclass(frozen=True)
class Finding:
    """One finding of the paper beside ours.

    Attributes
    ----------
    paper : str
        What the paper reports, with released figures where there are any.
    here : str
        What came out.
    verdict : str
        ``agrees``, ``differs`` or ``open``.
    rule : str
        When it agrees and when it differs.
    """

    paper: str
    here: str
    verdict: Verdict
    rule: str

    def record(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return asdict(self)


class MissingRunError(LookupError):
    """A run that a finding rests on has no result."""


class Counts:
    """The results of a comparison by the names of their runs.

    Attributes
    ----------
    comparison : Comparison
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self._summaries = {(e.folder.name, e.layer): e.summary for e in comparison.entries}

    def of(self, run: str, layer: str = "conv5") -> Summary:
        """The layer of a run in numbers.

        Raises
        ------
        MissingRunError
            If the run has no result.
        """
        try:
            return self._summaries[run, layer]
        except KeyError:
            raise MissingRunError(run) from None

    def unique(self, run: str, layer: str = "conv5") -> int:
        """Its unique detectors per category."""
        return self.of(run, layer).unique_per_category

    def kinds(self, run: str, kinds: Sequence[str], layer: str = "conv5") -> int:
        """Those of some categories."""
        found = self.of(run, layer).by_category
        return sum(found[kind].unique_per_category for kind in kinds if kind in found)

    def runs(self) -> list[str]:
        """Names of all runs with a result, in the order of the series."""
        return list(dict.fromkeys(run for run, _ in self._summaries))


Find = Callable[[Counts], Finding]


def find_all(comparison: Comparison, finders: Sequence[tuple[str, Find]]) -> list[Finding]:
    """The findings of an experiment; one that lacks a run says so."""
    counts, found = Counts(comparison), []
    for claim, find in finders:
        try:
            found.append(find(counts))
        except MissingRunError as missing:
            found.append(Finding(claim, f"The run {missing} has no result.", "open", ""))
    return found


def kinds_by_layer(counts: Counts) -> Finding:
    """Which categories the layers of the trained network detect."""
    low, high = ([counts.kinds("trained", kinds, layer) for kinds in (LOW, HIGH)] for layer in ("conv1", "conv5"))
    told = [
        f"{layer}: {counts.kinds('trained', LOW, layer)} and {counts.kinds('trained', HIGH, layer)}"
        for layer in ("conv1", "conv2", "conv3", "conv4", "conv5")
    ]
    rises, dominates = high[1] > low[1], low[0] > low[1] and high[1] > high[0]
    return Finding(
        "Colours and textures dominate in the lower layers; objects and parts emerge in the upper ones (section 3.3).",
        f"Unique detectors of colours and textures, and of objects and parts: {'; '.join(told)}.",
        "agrees" if dominates else "open" if rises else "differs",
        "agrees if colours and textures are more in conv1 and objects and parts in conv5; differs if objects and parts "
        "are not more in conv5 than in conv1",
    )


def training_matters(counts: Counts) -> Finding:
    """Trained against untrained at conv5."""
    trained = counts.of("trained")
    others = [counts.of(run) for run in counts.runs() if run.startswith("untrained")]
    if not others:
        raise MissingRunError("untrained")
    uniques = [other.unique_per_category for other in others]
    return Finding(
        "An untrained network detects next to nothing: "
        f"{_released('alexnet-random')} unique detectors in conv5 of AlexNet, {_released('alexnet-places205')} after "
        "training on Places205 (section 3.4).",
        f"{_told(uniques)} untrained ({len(uniques)} seeds), {trained.unique_per_category} trained; "
        f"{_told([other.detectors for other in others])} and {trained.detectors} detectors.",
        _more_than(trained.unique_per_category, uniques),
        "agrees if the trained network has more than every untrained one; differs if fewer than every one",
    )


def rotation_takes_away(counts: Counts) -> Finding:
    """Unique detectors as the basis is rotated."""
    curves = counts.comparison.curves
    if not curves or 1.0 not in curves[0].x or 0.0 not in curves[0].x:
        raise MissingRunError("at α 0 or 1")
    curve = curves[0]
    by_power: dict[float, list[int]] = {}
    for x, total in zip(curve.x, curve.total, strict=True):
        by_power.setdefault(x, []).append(total)
    start, end = by_power[0.0][0], by_power[1.0]
    mean = sum(end) / len(end)
    told = "; ".join(f"α {x:g}: {_told(totals)}" for x, totals in by_power.items())
    gone = (start - mean) / start if start else 0.0
    change = f"{abs(gone):.0%} {'fewer' if gone >= 0 else 'more'}"
    halved = [2 * total <= start for total in end]
    return Finding(
        "Unique detectors become fewer the further the units are rotated into each other; at α = 1 about 80 % are gone "
        "(section 3.2).",
        f"{told}: {change} at α = 1 in the mean of {len(end)} rotations.",
        "agrees" if all(halved) else "open" if any(halved) else "differs",
        "agrees if every rotation at α = 1 takes half of them or more; differs if none does",
    )


def detectors_emerge(counts: Counts) -> Finding:
    """Objects and parts over the steps of training."""
    runs = [run for run in counts.runs() if run.startswith("after-")]
    if len(runs) < 2:
        raise MissingRunError("of a later snapshot")
    steps = {int(run.removeprefix("after-")): counts.kinds(run, HIGH) for run in runs}
    first, last = steps[min(steps)], steps[max(steps)]
    told = ", ".join(f"{count} after {step}" for step, count in sorted(steps.items()))
    return Finding(
        "Detectors of objects and parts emerge as training goes on (section 3.5).",
        f"Unique detectors of objects and parts by steps of training: {told}.",
        "agrees" if last > first else "differs",
        "agrees if the last snapshot has more than the first; else differs",
    )


def categories_stay(counts: Counts) -> Finding:
    """Whether detectors go from one category to another between snapshots."""
    pairs = counts.comparison.changes
    if not pairs:
        raise MissingRunError("of a later snapshot")
    stayed = sum(pair.kept + pair.changed for pair in pairs)
    moved = sum(map(_other_category, pairs))
    changed = sum(pair.changed for pair in pairs)
    return Finding(
        "No evidence of transitions across categories: units do not become detectors of textures or materials before "
        "they become those of objects (section 3.5).",
        f"Of {stayed} detectors that are detectors in the next snapshot too, {changed} have another concept there, "
        f"{moved} of another category.",
        "differs" if 2 * moved > changed and changed else "open" if moved else "agrees",
        "agrees if none changes its category; differs if most of those that change their concept do",
    )


def seeds_are_alike(counts: Counts) -> Finding:
    """The base from several seeds."""
    uniques = [counts.unique(run) for run in SEEDS]
    detectors = [counts.of(run).detectors for run in SEEDS]
    spread = (max(uniques) - min(uniques)) / (sum(uniques) / len(uniques)) if any(uniques) else 0.0
    return Finding(
        "Networks from other first weights reach similar levels (section 3.5).",
        f"{_told(uniques)} unique detectors and {_told(detectors)} detectors from {len(SEEDS)} seeds; "
        f"the range of the first is {spread:.0%} of their mean.",
        "agrees" if spread <= SIMILAR else "differs",
        f"agrees if the range of unique detectors is at most {SIMILAR:.0%} of their mean; else differs",
    )


def norm_lowers(counts: Counts) -> Finding:
    """With batch norm against without."""
    seeds = [counts.unique(run) for run in SEEDS]
    without = counts.unique("nonorm")
    return Finding(
        "Batch norm lowers interpretability: "
        f"{_released('alexnet-places205')} unique detectors without, {_released('alexnet-places205-bn')} with it in "
        "conv5 of AlexNet (section 3.5).",
        f"{without} without, {_told(seeds)} with it ({len(seeds)} seeds).",
        _more_than(without, seeds),
        "agrees if the network without has more than every one with it; differs if fewer than every one",
    )


def dropout_shifts(counts: Counts) -> Finding:
    """With dropout against without, textures and objects apart."""
    texture, thing = ([counts.kinds(run, (kind,)) for run in SEEDS] for kind in ("texture", "object"))
    with_texture, with_thing = (counts.kinds("dropout", (kind,)) for kind in ("texture", "object"))
    verdicts = _more_than(-with_texture, [-n for n in texture]), _more_than(with_thing, thing)
    agreed: Verdict = verdicts[0] if verdicts[0] == verdicts[1] else "open"
    return Finding(
        "Without dropout more detectors of textures and fewer of objects emerge (section 3.5).",
        f"Textures: {_told(texture)} without ({len(SEEDS)} seeds), {with_texture} with dropout; "
        f"objects: {_told(thing)} and {with_thing}; all: {_told([counts.unique(run) for run in SEEDS])} and "
        f"{counts.unique('dropout')}.",
        agreed,
        "agrees if the network with dropout has fewer textures and more objects than every one without; differs if the "
        "reverse holds for both",
    )


def width_adds(counts: Counts) -> Finding:
    """Twice the units in conv5."""
    seeds, detectors = [counts.unique(run) for run in SEEDS], [counts.of(run).detectors for run in SEEDS]
    wide = counts.of("wide")
    return Finding(
        "More units in conv5, before global pooling, give more unique detectors and more detectors: "
        f"{_released('alexnet-places365')} unique with 256 units, {_released('alexnet-places365-gap-wide')} with 768 "
        "(section 3.7).",
        f"{_told(seeds)} unique detectors with {counts.of('base').units} units ({len(seeds)} seeds), "
        f"{wide.unique_per_category} with {wide.units}; {_told(detectors)} and {wide.detectors} detectors.",
        _more_than(wide.unique_per_category, seeds),
        "agrees if the wide network has more unique detectors than every other; differs if fewer than every one",
    )


def labels_matter(counts: Counts) -> Finding:
    """Learning without labels against learning with them."""
    base, tasks = counts.unique("base"), [counts.unique(task) for task in TASKS]
    told = ", ".join(f"{task} {count}" for task, count in zip(TASKS, tasks, strict=True))
    released = [_released(name) for name in LEARNED_ALONE]
    return Finding(
        "Networks that learn without labels have fewer unique detectors: "
        f"{min(released)} to {max(released)} in conv5 of ten AlexNets, {_released('alexnet-imagenet')} to "
        f"{_released('alexnet-places365')} of those that learn from labels (section 3.4).",
        f"{told}; {base} from labels.",
        _more_than(base, tasks),
        "agrees if every task has fewer; differs if every task has more",
    )


def textures_alone(counts: Counts) -> Finding:
    """Textures against objects where nothing was labelled."""
    pairs = [(counts.kinds(task, ("texture",)), counts.kinds(task, ("object",))) for task in TASKS]
    told = "; ".join(f"{task} {low} and {high}" for task, (low, high) in zip(TASKS, pairs, strict=True))
    base = counts.kinds("base", ("texture",)), counts.kinds("base", ("object",))
    more = [low > high for low, high in pairs]
    return Finding(
        "Networks that learn without labels have many detectors of textures and few of objects (section 3.4).",
        f"Unique detectors of textures and of objects: {told}; from labels {base[0]} and {base[1]}.",
        "agrees" if all(more) else "open" if any(more) else "differs",
        "agrees if textures are more than objects in every task; differs if in none",
    )


def _more_than(one: int, others: Sequence[int]) -> Verdict:
    """Whether a count is above all others (agrees), below all of them (differs), or neither."""
    return "agrees" if one > max(others) else "differs" if one < min(others) else "open"


def _other_category(pair: Changes) -> int:
    return sum(row.kind == "changed" and row.before[1] != row.after[1] for row in pair.rows)


def _released(name: str) -> int:
    """Released unique detectors of a network of the benchmark."""
    row = find_row(name)
    assert row is not None, name
    assert row.published is not None, name
    return row.published.unique


def _told(numbers: Sequence[int]) -> str:
    """One number, or the range of several."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
