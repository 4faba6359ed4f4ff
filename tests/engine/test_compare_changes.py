"""Unit by unit from one result to another, and where results stand on curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from comparisons import Unit, iou, write

from ndengine.compare import Change, Comparison, compare_results
from ndengine.compare.series_record import Member, write_series_record
from ndengine.settings import PRESETS

BEFORE: list[Unit] = [{"lamp": 90}, {"lamp": 50}, {"tree": 40}, {"red": 2}, {"red": 3}, {}, {"door": 30}]
AFTER: list[Unit] = [{"lamp": 80}, {"door": 60}, {"tree": 4}, {"red": 20}, {"lamp": 6}, {}, {"door": 30}]


def pairs(comparison: Comparison) -> list[tuple[str, str, str]]:
    entries = comparison.entries
    return [(entries[c.before].label, entries[c.after].label, entries[c.before].layer) for c in comparison.changes]


def test_every_unit_is_kept_changed_lost_gained_or_none(tmp_path: Path) -> None:
    write(tmp_path / "before", BEFORE)
    write(tmp_path / "after", AFTER)
    (changes,) = compare_results([tmp_path / "before", tmp_path / "after"]).changes
    assert (changes.before, changes.after) == (0, 1)
    assert (changes.kept, changes.changed, changes.lost, changes.gained, changes.other) == (2, 1, 1, 1, 1)
    shifts = sorted([iou(90) - iou(80), iou(40) - iou(4), iou(20) - iou(2), 0.0])
    assert changes.shift == pytest.approx(((shifts[1] + shifts[2]) / 2, shifts[3]))
    lamp, door, tree, red = ((name, kind) for name, kind in zip(
        ("lamp", "door", "tree", "red"), ("object", "part", "object", "color"), strict=True))  # fmt: skip
    assert changes.rows == (
        Change(2, "changed", (*lamp, iou(50)), (*door, iou(60)), iou(60)),
        Change(3, "lost", (*tree, iou(40)), (*tree, iou(4)), iou(40) - iou(4)),
        Change(4, "gained", (*red, iou(2)), (*red, iou(20)), iou(20) - iou(2)),
        Change(5, "no detector", (*red, iou(3)), (*lamp, iou(6)), iou(6)),
    )


def test_equal_changes_are_ordered_by_unit(tmp_path: Path) -> None:
    write(tmp_path / "before", [{"lamp": 60}] * 3)
    write(tmp_path / "after", [{"tree": 60}] * 3)
    (changes,) = compare_results([tmp_path / "before", tmp_path / "after"]).changes
    assert [row.unit for row in changes.rows] == [1, 2, 3]
    assert changes.shift is None


def test_the_same_result_again_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "one", BEFORE)
    write(tmp_path / "two", BEFORE)
    (changes,) = compare_results([tmp_path / "one", tmp_path / "two"]).changes
    assert (changes.kept, changes.rows, changes.shift) == (4, (), (0.0, 0.0))


def test_without_an_axis_the_first_is_compared_with_every_other(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / name, BEFORE, layers=("conv4", "conv5"))
    write(tmp_path / "other network", BEFORE, model="other")
    write(tmp_path / "other units", BEFORE[1:], layers=("conv5",))
    comparison = compare_results([tmp_path / name for name in ("a", "b", "c", "other network", "other units")])
    assert pairs(comparison) == [
        ("a", "b", "conv4"),
        ("a", "c", "conv4"),
        ("a", "b", "conv5"),
        ("a", "c", "conv5"),
    ]


def test_layers_stay_in_their_order(tmp_path: Path) -> None:
    """A layer of as many units as one far before it is not moved there."""
    members = []
    for x in (1.0, 2.0):
        for k, units in enumerate((BEFORE, BEFORE[1:], BEFORE)):
            write(tmp_path / f"{x}{k}", units, layers=(f"conv{k}",))
            members.append(Member(f"{x}{k}", f"{x}{k}", "g", x, "step"))
    write_series_record(tmp_path, "", members)
    assert [layer for *_, layer in pairs(compare_results([tmp_path]))] == ["conv0", "conv1", "conv2"]


def test_a_layer_is_the_same_one_by_its_other_name(tmp_path: Path) -> None:
    names = {"a": ("conv5",), "b": ("relu5",), "c": ("conv5", "pool5"), "d": ("pool5", "relu5")}
    for folder, layers in names.items():
        paths = ["relu5" if layer == "conv5" else layer for layer in layers]
        write(tmp_path / folder, BEFORE, layers=layers, paths=paths, model="alexnet-places205")
    write(tmp_path / "other network", BEFORE, layers=("relu5",), model="alexnet-imagenet")
    comparison = compare_results([tmp_path / name for name in names] + [tmp_path / "other network"])
    assert pairs(comparison) == [
        ("a", "b", "conv5"),
        ("a", "c", "conv5"),
        ("a", "d", "conv5"),
        ("c", "d", "pool5"),
    ]
    assert [comparison.layer_of(pair) for pair in comparison.changes] == [
        "conv5 → relu5",
        "conv5",
        "conv5 → relu5",
        "pool5",
    ]
    assert {e.label: e.published is not None for e in comparison.entries if e.layer != "pool5"} == dict.fromkeys(
        (*names, "other network"), True
    )


def test_a_later_result_tells_that_two_names_are_one(tmp_path: Path) -> None:
    """The plain network knows the layer by one name, its training by the other, and one result by both."""
    members = []
    for name, model, layer, path in (
        ("a", "one", "conv5", "features.11"),
        ("b", "two", "relu5", "relu5"),
        ("c", "two", "conv5", "relu5"),
        ("d", "one", "features.11", "features.11"),
    ):
        write(tmp_path / name, BEFORE, model=model, layers=(layer,), paths=(path,))
        members.append(Member(name, name, "g", float(len(members)), "step"))
    write_series_record(tmp_path, "", members)
    found = [(before, after) for before, after, _ in pairs(compare_results([tmp_path]))]
    assert found == [("a", "b"), ("b", "c"), ("c", "d")]


def test_names_that_mean_other_layers_in_another_network_stay_apart(tmp_path: Path) -> None:
    members = []
    for name, model, layers, paths in (
        ("a", "one", ("conv5",), ("relu5",)),
        ("b", "one", ("relu5",), ("relu5",)),
        ("c", "two", ("conv5", "relu5"), ("conv5", "relu5")),
    ):
        write(tmp_path / name, BEFORE, model=model, layers=layers, paths=paths)
        members.append(Member(name, name, "g", float(len(members)), "step"))
    write_series_record(tmp_path, "", members)
    assert pairs(compare_results([tmp_path])) == [("a", "c", "conv5"), ("b", "c", "relu5")]


def test_along_an_axis_each_is_compared_with_the_next(tmp_path: Path) -> None:
    members = []
    for name, group, x in (("a", "g", 3.0), ("b", "g", 1.0), ("c", "g", 2.0), ("d", "h", 5.0), ("e", "h", 4.0)):
        write(tmp_path / name, BEFORE, model=name)
        members.append(Member(name, name, group, x, "step"))
    write_series_record(tmp_path, "", members)
    comparison = compare_results([tmp_path])
    assert pairs(comparison) == [("b", "c", "conv5"), ("c", "a", "conv5"), ("e", "d", "conv5")]


def test_curves_go_up_along_their_axis(tmp_path: Path) -> None:
    members = []
    for name, x, units in (("a", 20.0, AFTER), ("b", 1.0, BEFORE), ("c", 20.0, BEFORE), ("d", 7.0, [{"lamp": 90}])):
        write(tmp_path / name, units, layers=("conv4", "conv5"))
        members.append(Member(name, name, "g", x, "step"))
    members.append(Member("e", "alone", "h", 3.0, "step"))
    write(tmp_path / "e", BEFORE)
    write_series_record(tmp_path, "", members)
    comparison = compare_results([tmp_path])
    assert [(curve.group, curve.layer) for curve in comparison.curves] == [("g", "conv4"), ("g", "conv5")]
    curve = comparison.curves[1]
    assert (curve.x_name, curve.x) == ("step", (1.0, 7.0, 20.0, 20.0))
    assert [comparison.entries[place].label for place in curve.entries] == ["b", "d", "a", "c"]
    assert curve.by_category == {"object": (2, 1, 1, 2), "part": (1, 0, 1, 1), "color": (0, 0, 1, 0)}
    assert curve.total == (3, 1, 3, 3)
    assert curve.top_label == (3, 1, 3, 3)


def test_networks_of_the_benchmark_tell_their_own_place(tmp_path: Path) -> None:
    for name, model in (
        ("plain", "alexnet-places205"),
        ("i20", "alexnet-places205-iter-20"),
        ("i1", "alexnet-places205-iter-1"),
        ("r40", "alexnet-places205-rotated-040"),
        ("r100", "alexnet-places205-rotated-100"),
        ("other", "alexnet-imagenet"),
    ):
        write(tmp_path / name, BEFORE, model=model)
    comparison = compare_results([tmp_path / name for name in ("plain", "i20", "i1", "r40", "r100", "other")])
    assert [(e.label, e.group, e.x, e.x_name) for e in comparison.entries] == [
        ("plain", "alexnet-places205", 0.0, "rotation α"),
        ("i20", "alexnet-places205", 20.0, "training iteration"),
        ("i1", "alexnet-places205", 1.0, "training iteration"),
        ("r40", "alexnet-places205", 0.4, "rotation α"),
        ("r100", "alexnet-places205", 1.0, "rotation α"),
        ("other", "", None, ""),
    ]
    assert {curve.x_name: curve.x for curve in comparison.curves} == {
        "rotation α": (0.0, 0.4, 1.0),
        "training iteration": (1.0, 20.0),
    }
    assert pairs(comparison) == [("plain", "r40", "conv5"), ("r40", "r100", "conv5"), ("i1", "i20", "conv5")]


def test_results_of_one_network_are_placed_by_the_rotation_that_was_in_force(tmp_path: Path) -> None:
    for name, power in (("whole", 1.0), ("plain", 0.0), ("half", 0.5)):
        rotation = {"power": power, "seed": 7}
        write(tmp_path / name, BEFORE, rotate=power, rotate_seed=7, provenance={"rotation": rotation})
    write(tmp_path / "old", BEFORE)
    write(tmp_path / "other", BEFORE, weights="random")
    comparison = compare_results([tmp_path / name for name in ("whole", "plain", "half", "old", "other")])
    assert [(e.group, e.x) for e in comparison.entries] == [
        ("net", 1.0),
        ("net", 0.0),
        ("net", 0.5),
        ("net", 0.0),
        ("", None),
    ]
    assert {d.name: d.values for d in comparison.differences} == {
        "weights": ("default", "default", "default", "default", "random"),
        "rotate": ("1.0", "0.0", "0.5", "0.0", "0.0"),
        "rotate_seed": ("7", "none", "7", "none", "none"),
    }
    assert comparison.warnings == ()


def known(power: float, weights: str = "aa", images: str = "ff", seed: int = 1) -> dict[str, Any]:
    return {
        "rotation": {"power": power, "seed": seed},
        "model": {"weights_sha256": weights},
        "dataset": {"fingerprint": images, "name": "d"},
    }


def test_other_networks_images_or_knobs_are_other_curves(tmp_path: Path) -> None:
    lite = {"preset": "lite", "knobs": PRESETS["lite"]}
    kinds: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "plain": ({}, {}),
        "weights": ({"weights": "b"}, {"weights": "x/b.pth"}),
        "images": ({"images": "ee"}, {}),
        "knobs": ({}, lite),
    }
    folders = []
    for power in (0.0, 0.5, 1.0):
        for name, (facts, settings) in kinds.items():
            folders.append(tmp_path / f"{name}-{power}")
            write(folders[-1], BEFORE, provenance=known(power, **facts), rotate=power, **settings)
    comparison = compare_results(folders)
    assert [curve.x for curve in comparison.curves] == [(0.0, 0.5, 1.0)] * 4
    for curve in comparison.curves:
        (kind,) = {comparison.entries[place].label.partition("-")[0] for place in curve.entries}
        assert curve.group.startswith("net, ")
        assert ("b.pth" in curve.group) == (kind == "weights")
        assert ("dataset fingerprint ee" in curve.group) == (kind == "images")
    assert len({curve.group for curve in comparison.curves}) == 4
    assert pairs(comparison) == [
        (f"{kind}-{one}", f"{kind}-{two}", "conv5") for kind in kinds for one, two in ((0.0, 0.5), (0.5, 1.0))
    ]


def test_fewer_images_of_the_same_data_are_another_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for power in (0.0, 0.5):
        write(tmp_path / f"few{power}", BEFORE, provenance=known(power))
    monkeypatch.setattr("comparisons.IMAGES", ("a.jpg", "b.jpg", "c.jpg"))
    for power in (0.0, 0.5):
        write(tmp_path / f"many{power}", BEFORE, provenance=known(power))
    comparison = compare_results([tmp_path])
    assert [curve.group for curve in comparison.curves] == ["net, 2 images", "net, 3 images"]


def test_seeds_of_one_curve_are_repetitions(tmp_path: Path) -> None:
    for name, power, seed, weights in (("plain", 0.0, 1, "aa"), ("h1", 0.5, 1, "aa"), ("h2", 0.5, 2, "aa"),
                                       ("w1", 1.0, 1, "aa"), ("w2", 1.0, 2, "aa")):  # fmt: skip
        write(tmp_path / name, BEFORE, provenance=known(power, weights, seed=seed))
    comparison = compare_results([tmp_path / name for name in ("plain", "h1", "h2", "w1", "w2")])
    (curve,) = comparison.curves
    assert (curve.group, curve.x) == ("net", (0.0, 0.5, 0.5, 1.0, 1.0))
    assert pairs(comparison) == [
        ("plain", "h1", "conv5"),
        ("h1", "w1", "conv5"),
        ("plain", "h2", "conv5"),
        ("h2", "w2", "conv5"),
    ]


def test_a_named_group_is_one_curve_and_units_are_paired_by_repetition(tmp_path: Path) -> None:
    """Two trainings by seed: their checksums differ at every x, and in each of them from x to x."""
    members = []
    for step in (1.0, 2.0):
        for seed in (0, 1):
            name = f"s{seed}-{step:.0f}"
            write(tmp_path / name, BEFORE, seed=seed, provenance=known(0.0, f"{seed}{step}"))
            members.append(Member(name, name, "g", step, "training iteration"))
    write_series_record(tmp_path, "", members)
    comparison = compare_results([tmp_path])
    assert [curve.x for curve in comparison.curves] == [(1.0, 1.0, 2.0, 2.0)]
    assert pairs(comparison) == [("s0-1", "s0-2", "conv5"), ("s1-1", "s1-2", "conv5")]


def test_repetitions_that_nothing_tells_apart_are_not_paired(tmp_path: Path) -> None:
    members = []
    for name, step in (("a", 1.0), ("b", 1.0), ("c", 2.0), ("d", 2.0)):
        write(tmp_path / name, BEFORE)
        members.append(Member(name, name, "g", step, "step"))
    write_series_record(tmp_path, "", members)
    assert compare_results([tmp_path]).changes == ()


def test_a_network_alone_stands_on_no_curve(tmp_path: Path) -> None:
    write(tmp_path / "plain", BEFORE, model="alexnet-places205")
    comparison = compare_results([tmp_path / "plain"])
    assert comparison.entries[0].x is None
    assert (comparison.curves, comparison.changes, comparison.differences) == ((), (), ())


def test_published_figures_stand_beside_their_layer_alone(tmp_path: Path) -> None:
    write(tmp_path / "ours", BEFORE, model="alexnet-places205", layers=("conv4", "conv5"))
    write(tmp_path / "random", BEFORE, model="alexnet-places205", weights="random")
    write(tmp_path / "other", BEFORE, model="scenesnet")
    comparison = compare_results([tmp_path / name for name in ("ours", "random", "other")])
    conv4, conv5, random, other = comparison.entries
    assert (conv4.published, random.published, other.published) == (None, None, None)
    assert conv5.published is not None
    table = comparison.table()
    assert table["published-detectors"] == [None, 107, None, None]
    assert table["published-unique-per-category"] == [None, 79, None, None]
    assert table["object-published-unique-per-category"] == [None, 36, None, None]
    record = comparison.record()
    assert [entry["published"] and entry["published"]["unique_per_category"] for entry in record["entries"]] == [
        None,
        79,
        None,
        None,
    ]
