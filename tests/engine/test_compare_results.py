"""Results side by side: which are found, what they are called, their tables, and what differs between them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from comparisons import CATEGORIES, Unit, iou, write

import ndengine
from ndengine.compare import Comparison, compare_results
from ndengine.compare.series_record import Member, write_series_record
from ndengine.errors import ResultError
from ndengine.settings import PRESETS, knobs_of
from tests.records import age_record, edit_record

UNITS: list[Unit] = [{"lamp": 90}, {"lamp": 50, "red": 60}, {"tree": 2}, {}]


def labels(comparison: Comparison) -> list[tuple[str, str]]:
    return [(entry.label, entry.layer) for entry in comparison.entries]


def differences(comparison: Comparison) -> dict[str, tuple[str, ...]]:
    return {difference.name: difference.values for difference in comparison.differences}


def test_counts_stand_side_by_side(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS, layers=("conv4", "conv5"), dead=[4])
    write(tmp_path / "two", [{"door": 90}] * 3)
    comparison = ndengine.compare_results([tmp_path / "one", tmp_path / "two"])
    assert labels(comparison) == [("one", "conv4"), ("one", "conv5"), ("two", "conv5")]
    assert comparison.categories == CATEGORIES
    assert comparison.folder is None
    table = comparison.table()
    assert table["units"] == [4, 4, 3]
    assert table["dead"] == [1, 1, 0]
    assert table["detectors"] == [2, 2, 3]
    assert table["unique-top-label"] == [2, 2, 1]
    assert table["unique-per-category"] == [2, 2, 1]
    assert table["object-detectors-per-category"] == [2, 2, 0]
    assert table["object-detectors-top-label"] == [1, 1, 0]
    assert table["part-unique-top-label"] == [0, 0, 1]
    assert table["color-unique-per-category"] == [1, 1, 0]
    assert not any(name.startswith("published") for name in table)


def test_a_frame_is_the_table(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS)
    comparison = compare_results([tmp_path / "one"])
    assert comparison.frame().to_dict("list") == comparison.table()


def test_the_files_are_the_tables(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS)
    write(tmp_path / "two", UNITS[::-1])
    comparison = compare_results([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    for name, columns in (("compare.csv", comparison.table()), ("changes.csv", comparison.changed_units())):
        with (tmp_path / "out" / name).open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        assert header == list(columns)
        assert rows == [["" if c is None else str(c) for c in row] for row in zip(*columns.values(), strict=True)]
        assert rows
    record = json.loads((tmp_path / "out" / "compare.json").read_text("utf-8"))
    assert record == {"format": "ndengine-comparison", "version": 1, **json.loads(json.dumps(comparison.record()))}
    assert [entry["folder"] for entry in record["entries"]] == ["../one", "../two"]
    assert record["entries"][0]["summary"]["detectors"] == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "changes.csv",
        "compare.csv",
        "compare.json",
        "index.html",
    ]
    compare_results([tmp_path / "one"], tmp_path / "out")  # a comparison may be written again
    assert len(json.loads((tmp_path / "out" / "compare.json").read_text("utf-8"))["entries"]) == 1


def test_only_the_layers_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS, layers=("conv4", "conv5"))
    write(tmp_path / "two", UNITS, layers=("conv4",))
    both = [tmp_path / "one", tmp_path / "two"]
    assert labels(compare_results(both, layers=["conv5"])) == [("one", "conv5")]
    with pytest.raises(ResultError, match="has a layer conv6; name one that they have"):
        compare_results(both, layers=["conv6"])


def test_results_are_found_at_any_depth_but_not_in_each_other(tmp_path: Path) -> None:
    for name in ("a", "b/c", "b/d/e"):
        write(tmp_path / "all" / name, UNITS)
    write(tmp_path / "all" / "a" / "unfinished" / "result", UNITS)
    write(tmp_path / "all" / ".hidden", UNITS)
    write(tmp_path / "all" / "compare" / "x", UNITS)
    assert labels(compare_results([tmp_path / "all"])) == [(name, "conv5") for name in ("a", "c", "e")]


def test_a_result_that_is_named_twice_is_taken_once(tmp_path: Path) -> None:
    write(tmp_path / "all" / "a", UNITS)
    (tmp_path / "link").symlink_to(tmp_path / "all" / "a")
    assert labels(compare_results([tmp_path / "all", tmp_path / "all" / "a", tmp_path / "link"])) == [("a", "conv5")]


def test_two_results_of_one_name_are_told_apart_by_their_path(tmp_path: Path) -> None:
    for name in ("x/one/conv", "y/one/conv", "z"):
        write(tmp_path / name, UNITS)
    comparison = compare_results([tmp_path / name for name in ("x/one/conv", "z", "y/one/conv")])
    assert [label for label, _ in labels(comparison)] == ["x/one/conv", "z", "y/one/conv"]


def test_a_series_gives_names_order_and_places(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "stray"):
        write(tmp_path / name, UNITS)
    members = [Member("c", "third", "g", 3.0, "step"), Member("a", "twin"), Member("b", "twin"), Member("d", "gone")]
    write_series_record(tmp_path, "My series", members)
    comparison = compare_results([tmp_path])
    assert comparison.title == "My series"
    assert [label for label, _ in labels(comparison)] == ["third", "twin (a)", "twin (b)"]
    assert [(e.group, e.x, e.x_name) for e in comparison.entries] == [
        ("g", 3.0, "step"),
        ("", None, ""),
        ("", None, ""),
    ]
    assert comparison.warnings == ("1 run of the series has no result yet: d.",)
    assert compare_results([tmp_path], title="Another").title == "Another"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is damaged"),
        ('{"format": "x"}', "is no record of a series"),
        ('{"format": "ndengine-series", "version": 9}', "has format version 9 and this ndengine reads 1"),
        ('{"format": "ndengine-series", "version": 1, "title": "t", "runs": [{"name": "../x"}]}', "is damaged"),
        ('{"format": "ndengine-series", "version": 1, "title": "t", "runs": 3}', "is damaged"),
    ],
)
def test_a_damaged_series_is_named(tmp_path: Path, content: str, said: str) -> None:
    write(tmp_path / "a", UNITS)
    (tmp_path / "series.json").write_text(content)
    with pytest.raises(ResultError) as error:
        compare_results([tmp_path])
    assert str(error.value).startswith(f"{tmp_path / 'series.json'} ")
    assert said in str(error.value)


def damage(folder: Path) -> None:
    file = folder / "conv5" / "counts.h5"
    file.write_bytes(file.read_bytes()[:-1])


def test_a_damaged_result_is_an_error_where_it_is_named_and_left_out_where_it_is_found(tmp_path: Path) -> None:
    write(tmp_path / "all" / "a", UNITS)
    write(tmp_path / "all" / "b", UNITS)
    damage(tmp_path / "all" / "a")
    with pytest.raises(ResultError, match=r"counts\.h5 has changed since the run ended"):
        compare_results([tmp_path / "all" / "a", tmp_path / "all" / "b"])
    comparison = compare_results([tmp_path / "all"])
    assert labels(comparison) == [("b", "conv5")]
    assert comparison.warnings[0].startswith("a is left out: ")
    assert "counts.h5 has changed" in comparison.warnings[0]
    damage(tmp_path / "all" / "b")
    with pytest.raises(ResultError, match=r"b is left out: .*has changed"):
        compare_results([tmp_path / "all"])


def test_what_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, said in (("empty", "holds no finished result"), ("nowhere", "is no folder")):
        with pytest.raises(ResultError, match=f"{tmp_path / folder} {said}; name the --out of"):
            compare_results([tmp_path / folder])
    with pytest.raises(ResultError, match="nothing to compare"):
        compare_results([])


def test_what_lies_in_the_way_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS)
    before = sorted(tmp_path.rglob("*"))
    for out, said in (
        (tmp_path / "one", "not empty and holds no comparison"),
        (tmp_path / "one" / "result.json", "file"),
    ):
        with pytest.raises(ResultError, match=said):
            compare_results([tmp_path / "one"], out)
    assert sorted(tmp_path.rglob("*")) == before


def test_settings_that_differ_are_told_by_what_they_decide(tmp_path: Path) -> None:
    def known(checksum: str, torch: str) -> dict[str, Any]:
        return {"model": {"weights_sha256": checksum}, "versions": {"torch": torch, "numpy": "2"}, "finished": torch}

    write(tmp_path / "one", UNITS, provenance=known("aa", "2.6"), batch_size=3)
    lite = {"preset": "lite", "knobs": PRESETS["lite"]}
    write(tmp_path / "two", UNITS, provenance=known("bb", "2.7"), precision="bfloat16", seed=4, **lite)
    comparison = compare_results([tmp_path / "one", tmp_path / "two"])
    blocks: dict[str, dict[str, tuple[str, ...]]] = {"numbers": {}, "network": {}, "how": {}}
    for difference in comparison.differences:
        blocks[difference.block][difference.name] = difference.values
    assert blocks == {
        "numbers": {
            "preset": ("netdissect", "lite"),
            "knobs.geometry": ("receptive-field-floor", "half-pixel"),
            "knobs.area": ("category", "touched"),
            "knobs.detector": (">", ">="),
        },
        "network": {
            "seed": ("0", "4"),
            "precision": ("float32", "bfloat16"),
            "weights checksum": ("aa", "bb"),
        },
        "how": {"batch_size": ("3", "32"), "versions.torch": ("2.6", "2.7")},
    }
    assert comparison.warnings == (
        "Results were counted with other knobs (geometry, area, detector): a difference between them may come from "
        "these alone.",
    )


def test_results_of_the_same_settings_differ_in_nothing(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS)
    write(tmp_path / "two", UNITS, weights="random", layers=("conv4",))
    comparison = compare_results([tmp_path / "one", tmp_path / "two"])
    assert differences(comparison) == {"weights": ("default", "random")}
    assert comparison.warnings == ()


def test_other_images_are_warned_of(tmp_path: Path) -> None:
    write(tmp_path / "one", UNITS, provenance={"dataset": {"fingerprint": "a"}})
    write(tmp_path / "two", UNITS, provenance={"dataset": {"fingerprint": "b"}})
    write(tmp_path / "old", UNITS)
    comparison = compare_results([tmp_path / name for name in ("one", "two", "old")])
    assert differences(comparison) == {"dataset fingerprint": ("a", "b", "not known")}
    assert comparison.warnings[0].startswith("Results were made on different images: ")


def test_the_same_images_are_no_other_images_because_a_limit_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"dataset": {"fingerprint": "a"}}
    write(tmp_path / "one", UNITS, limit=3000, provenance=data)
    write(tmp_path / "two", UNITS, provenance=data)
    comparison = compare_results([tmp_path / "one", tmp_path / "two"])
    assert differences(comparison) == {"limit": ("3000", "default")}
    assert comparison.warnings == ()
    monkeypatch.setattr("comparisons.IMAGES", ("a.jpg", "c.jpg"))
    write(tmp_path / "three", UNITS, provenance=data)
    comparison = compare_results([tmp_path / "two", tmp_path / "three"])
    assert list(differences(comparison)) == ["image names"]
    assert comparison.warnings[0].startswith("Results were made on different images: ")


def test_a_result_of_before_a_setting_was_there_has_its_default(tmp_path: Path) -> None:
    write(tmp_path / "new", UNITS)
    write(tmp_path / "old", UNITS)

    def age(record: dict[str, Any]) -> None:
        age_record(record)
        del record["settings"]["precision"], record["settings"]["device"]

    edit_record(tmp_path / "old", age, seal=False)
    assert compare_results([tmp_path / "new", tmp_path / "old"]).differences == ()


def test_a_category_that_a_result_lacks_is_empty_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "one", UNITS)
    monkeypatch.setattr("comparisons.CATEGORIES", ("part", "object", "color", "scene"))
    write(tmp_path / "two", UNITS)
    comparison = compare_results([tmp_path / "one", tmp_path / "two"])
    assert comparison.categories == ("object", "part", "color", "scene")
    assert comparison.table()["scene-unique-top-label"] == [None, 0]
    assert any(warning.startswith("Results have other categories") for warning in comparison.warnings)


def test_knobs_that_only_one_layer_falls_back_from_are_told(tmp_path: Path) -> None:
    """A fallback of the geometry is a difference of its own; where there is none, one row says it."""
    write(tmp_path / "one", UNITS)
    write(tmp_path / "two", UNITS, knobs=knobs_of("netdissect", geometry="half-pixel"))
    assert list(differences(compare_results([tmp_path / "one", tmp_path / "two"]))) == ["knobs.geometry"]
    edit_record(tmp_path / "two", lambda r: r["settings"]["knobs"].update(geometry="receptive-field-floor"))
    comparison = compare_results([tmp_path / "one", tmp_path / "two"])
    assert differences(comparison) == {"geometry in force": ("receptive-field-floor", "half-pixel")}


def test_ious_of_the_made_results_are_as_made(tmp_path: Path) -> None:
    units = compare_results([(write(tmp_path / "one", UNITS)).folder]).entries[0].units
    assert units.concept == ("lamp", "red", "tree", "")
    assert units.category == ("object", "color", "object", "")
    assert units.iou.tolist() == [iou(90), iou(60), iou(2), 0.0]
    assert units.detector.tolist() == [True, True, False, False]
