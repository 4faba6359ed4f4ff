"""The paper's findings beside ours: each verdict by its rule, each number from its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ndengine.errors import SettingsError
from ndengine.experiments import findings
from ndengine.experiments.chapters import EXPERIMENTS, choose_experiments
from ndengine.experiments.findings import Counts, Finding, find_all
from ndengine.models.small.rows import NETWORKS, find_network
from ndengine.score import CategorySummary, Summary

KINDS = ("color", "object", "part", "material", "scene", "texture")


def summary(units: int = 128, detectors: int = 100, **unique: int) -> Summary:
    by_category = {
        kind: CategorySummary(
            detectors_top_label=0,
            unique_top_label=0,
            detectors_per_category=unique.get(kind, 0),
            unique_per_category=unique.get(kind, 0),
        )
        for kind in KINDS
    }
    total = sum(unique.values())
    return Summary(units, 0, detectors, total, total, by_category)


def comparison(runs: dict[str, Any], curves: tuple[Any, ...] = (), changes: tuple[Any, ...] = ()) -> Any:
    """What the findings read of a comparison; a run is a summary of conv5, or several by layer."""
    layers = {run: found if isinstance(found, dict) else {"conv5": found} for run, found in runs.items()}
    entries = tuple(
        SimpleNamespace(folder=Path("out") / run, layer=layer, summary=s)
        for run, found in layers.items()
        for layer, s in found.items()
    )
    return SimpleNamespace(entries=entries, curves=curves, changes=changes)


def found(find: Callable[[Counts], Finding], *arguments: Any) -> Finding:
    finding = find(Counts(comparison(*arguments)))
    assert finding.paper
    assert finding.rule
    return finding


def by_layer(low: list[int], high: list[int]) -> dict[str, Summary]:
    return {f"conv{k}": summary(texture=a, part=b) for k, (a, b) in enumerate(zip(low, high, strict=True), start=1)}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        ([6, 2, 3, 4, 5], [4, 5, 6, 7, 9], "agrees"),
        ([3, 2, 3, 4, 5], [4, 5, 6, 7, 9], "open"),
        ([6, 2, 3, 4, 9], [4, 5, 6, 7, 8], "open"),
        ([6, 2, 3, 4, 5], [4, 5, 6, 7, 4], "differs"),
    ],
)
def test_categories_by_layer(low: list[int], high: list[int], verdict: str) -> None:
    finding = found(findings.kinds_by_layer, {"trained": by_layer(low, high)})
    assert finding.verdict == verdict
    assert f"conv1: {low[0]} and {high[0]}; conv2: 2 and 5" in finding.here


@pytest.mark.parametrize(("trained", "verdict"), [(9, "agrees"), (8, "open"), (4, "open"), (3, "differs")])
def test_training(trained: int, verdict: str) -> None:
    runs = {"trained": summary(object=trained), "untrained-0": summary(object=4), "untrained-1": summary(color=8)}
    finding = found(findings.training_matters, runs)
    assert finding.verdict == verdict
    assert f"4 to 8 untrained (2 seeds), {trained} trained" in finding.here
    assert "2 unique detectors in conv5 of AlexNet, 79 after" in finding.paper


@pytest.mark.parametrize(
    ("end", "verdict", "told"),
    [
        ([10, 20], "agrees", "70% fewer"),
        ([25, 26], "open", "49% fewer"),
        ([49, 60], "differs", "9% more"),
    ],
)
def test_rotation(end: list[int], verdict: str, told: str) -> None:
    curve = SimpleNamespace(x=(0.0, 0.5, 1.0, 1.0), total=(50, 45, *end))
    finding = found(findings.rotation_takes_away, {}, (curve,))
    assert finding.verdict == verdict
    assert told in finding.here
    assert f"α 0: 50; α 0.5: 45; α 1: {end[0]} to {end[1]}" in finding.here


def test_rotation_of_what_detects_nothing() -> None:
    curve = SimpleNamespace(x=(0.0, 1.0), total=(0, 0))
    assert "0% fewer" in found(findings.rotation_takes_away, {}, (curve,)).here


@pytest.mark.parametrize(("last", "verdict"), [(7, "agrees"), (3, "differs"), (2, "differs")])
def test_detectors_emerge(last: int, verdict: str) -> None:
    runs = {"after-000": summary(object=1, part=2, texture=9), "after-016": summary(part=last, texture=1)}
    finding = found(findings.detectors_emerge, runs)
    assert finding.verdict == verdict
    assert finding.here.endswith(f": 3 after 0, {last} after 16.")


@pytest.mark.parametrize(("moved", "verdict"), [(0, "agrees"), (2, "open"), (3, "differs")])
def test_categories_stay(moved: int, verdict: str) -> None:
    def change(category: str, kind: str = "changed") -> Any:
        return SimpleNamespace(kind=kind, before=("a", "part", 0.1), after=("b", category, 0.1))

    rows = [change("object")] * moved + [change("part")] * (4 - moved) + [change("object", "lost")] * 9
    pair = SimpleNamespace(kept=5, changed=4, lost=9, gained=1, rows=tuple(rows))
    finding = found(findings.categories_stay, {}, (), (pair,))
    assert finding.verdict == verdict
    assert finding.here.startswith("Of 9 detectors")
    assert f"4 have another concept there, {moved} of another category" in finding.here


def conditions(**more: Summary) -> dict[str, Summary]:
    seeds = {
        name: summary(texture=texture, object=thing)
        for name, texture, thing in (("base", 4, 8), ("repeat1", 5, 8), ("repeat2", 5, 9), ("repeat3", 4, 10))
    }
    return {**seeds, **more}


def test_seeds() -> None:
    finding = found(findings.seeds_are_alike, conditions())
    assert finding.verdict == "agrees"
    assert "12 to 14 unique detectors and 100 detectors from 4 seeds" in finding.here
    assert "15% of their mean" in finding.here
    assert found(findings.seeds_are_alike, conditions(repeat1=summary(object=9))).verdict == "differs"


@pytest.mark.parametrize(("without", "verdict"), [(15, "agrees"), (14, "open"), (12, "open"), (11, "differs")])
def test_batch_norm(without: int, verdict: str) -> None:
    finding = found(findings.norm_lowers, conditions(nonorm=summary(scene=without)))
    assert finding.verdict == verdict
    assert finding.here == f"{without} without, 12 to 14 with it (4 seeds)."
    assert "79 unique detectors without, 46 with it" in finding.paper


@pytest.mark.parametrize(
    ("texture", "thing", "verdict"), [(3, 11, "agrees"), (6, 7, "differs"), (3, 10, "open"), (3, 7, "open")]
)
def test_dropout(texture: int, thing: int, verdict: str) -> None:
    finding = found(findings.dropout_shifts, conditions(dropout=summary(texture=texture, object=thing)))
    assert finding.verdict == verdict
    assert f"4 to 5 without (4 seeds), {texture} with dropout; objects: 8 to 10 and {thing};" in finding.here


@pytest.mark.parametrize(("wide", "verdict"), [(15, "agrees"), (13, "open"), (11, "differs")])
def test_width(wide: int, verdict: str) -> None:
    finding = found(findings.width_adds, conditions(wide=summary(256, 222, part=wide)))
    assert finding.verdict == verdict
    assert f"with 128 units (4 seeds), {wide} with 256; 100 and 222 detectors" in finding.here
    assert "91 unique with 256 units, 120 with 768" in finding.paper


def tasks(turning: int, puzzle: int, coloring: int, base: int = 10) -> dict[str, Summary]:
    counts = {"turning": turning, "puzzle": puzzle, "coloring": coloring, "base": base}
    return {name: summary(object=count) for name, count in counts.items()}


def test_labels() -> None:
    finding = found(findings.labels_matter, tasks(1, 2, 9))
    assert finding.verdict == "agrees"
    assert finding.here == "turning 1, puzzle 2, coloring 9; 10 from labels."
    assert "4 to 41 in conv5 of ten AlexNets, 61 to 91" in finding.paper
    assert found(findings.labels_matter, tasks(1, 2, 10)).verdict == "open"
    assert found(findings.labels_matter, tasks(11, 12, 13)).verdict == "differs"


def test_textures_without_labels() -> None:
    runs = {name: summary(texture=3, object=2) for name in ("turning", "puzzle", "coloring", "base")}
    assert found(findings.textures_alone, runs).verdict == "agrees"
    assert found(findings.textures_alone, {**runs, "puzzle": summary(texture=2, object=2)}).verdict == "open"
    none = {name: summary(object=1) for name in runs}
    assert found(findings.textures_alone, none).verdict == "differs"


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_a_finding_without_its_run_says_so(experiment: Any) -> None:
    told = find_all(comparison({"other": summary()}), experiment.finders)
    assert len(told) == len(experiment.finders)
    assert all(finding.verdict == "open" and finding.here.startswith("The run ") for finding in told)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_every_experiment_is_a_series_that_can_be_read(experiment: Any) -> None:
    series = experiment.series()
    assert series.title
    for run in series.runs:
        assert find_network(run.settings.model), run.settings.model
        assert run.settings.data == "scenes"
    assert experiment.series({"limit": 7}).runs[0].settings.limit == 7


def test_the_experiments_use_every_network() -> None:
    used = {find_network(run.settings.model) for e in EXPERIMENTS for run in e.series().runs}
    assert {row.name for row, _ in filter(None, used)} == set(NETWORKS)
    steps = {step for _, step in filter(None, used)}
    assert steps == {None, *NETWORKS["small-base"].iterations}


def test_experiments_are_chosen_by_name() -> None:
    assert choose_experiments(()) == EXPERIMENTS
    assert [e.name for e in choose_experiments(("rotation", "layers"))] == ["layers", "rotation"]
    with pytest.raises(SettingsError, match=r"^There is no experiment 'rotatoin'; use layers, rotation, iterations"):
        choose_experiments(("rotatoin",))
