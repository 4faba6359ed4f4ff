"""The per-unit table: layout, order, and numbers that survive a round trip."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from ndengine.datasets import Vocabulary
from ndengine.errors import ResultError
from ndengine.score import score_table
from ndengine.units_table import UnitsTable, make_units_table, read_units_csv, write_units_csv

VOCABULARY = Vocabulary(
    names=('lamp, "desk"', "", "straße"), categories=("object", "part"), primary=np.array([0, 0, 1])
)


@pytest.fixture
def table() -> UnitsTable:
    concept = np.array([[1, 0], [2, 3], [0, 0], [1, 3]])
    truth = np.array([[7, 0], [7, 9], [0, 0], [7, 9]])
    activation = np.array([[3, 0], [5, 6], [0, 0], [5, 6]])
    both = np.array([[1, 0], [2, 5], [0, 0], [2, 5]])
    return make_units_table(score_table(concept, truth, activation, both, detector=">", iou_threshold=0.04), VOCABULARY)


def same(one: UnitsTable, other: UnitsTable) -> bool:
    return one.columns() == other.columns()


def test_columns_and_order(table, tmp_path):
    write_units_csv(tmp_path / "units.csv", table)
    with (tmp_path / "units.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    cells = ("label", "truth", "activation", "intersect", "iou")
    assert rows[0] == [
        "unit", "category", "label", "score", *(f"object-{c}" for c in cells), *(f"part-{c}" for c in cells)
    ]  # fmt: skip
    assert [row[0] for row in rows[1:]] == ["2", "4", "1", "3"]  # equal scores by unit
    assert rows[1] == [
        "2",
        "part",
        "straße",
        "0.5",
        "concept 2",
        "7",
        "5",
        "2",
        "0.2",
        "straße",
        "9",
        "6",
        "5",
        "0.5",
    ]
    assert rows[3][:5] == ["1", "object", 'lamp, "desk"', repr(1 / 9), 'lamp, "desk"']
    assert rows[4] == ["3", "", "", "0.0", "", "0", "0", "0", "0.0", "", "0", "0", "0", "0.0"]


def test_round_trip(table, tmp_path):
    write_units_csv(tmp_path / "units.csv", table)
    assert same(read_units_csv(tmp_path / "units.csv"), table)
    assert [p.name for p in tmp_path.iterdir()] == ["units.csv"]


@pytest.mark.parametrize("name", ["caffe_reference_places205", "ResNet-152-model_places365"])
def test_round_trip_of_a_released_table(shared: Path, tmp_path, name):
    released = read_units_csv(shared / "reference" / "netdissect" / f"{name}.csv")
    write_units_csv(tmp_path / "units.csv", released)
    assert same(read_units_csv(tmp_path / "units.csv"), released)


def test_large_counts_survive(tmp_path, table):
    columns = (
        "unit",
        "category",
        "label",
        "score",
        "x-label",
        "x-truth",
        "x-activation",
        "x-intersect",
        "x-iou",
    )
    row = ("1", "x", "a", "0.1", "a", str(2**62 + 1), "12.0", "3", "0.1")
    (tmp_path / "units.csv").write_text(",".join(columns) + "\n" + ",".join(row) + "\n")
    read = read_units_csv(tmp_path / "units.csv")
    assert (read.truth.tolist(), read.activation.tolist()) == ([[2**62 + 1]], [[12]])


@pytest.mark.parametrize(("units", "kinds"), [(0, 2), (2, 0)])
def test_empty_tables(tmp_path, units, kinds):
    cells = np.zeros((units, kinds), np.int64)
    vocabulary = Vocabulary(names=(), categories=("a", "b")[:kinds], primary=np.zeros(0, np.int64))
    table = make_units_table(score_table(cells, cells, cells, cells, detector=">", iou_threshold=0.04), vocabulary)
    write_units_csv(tmp_path / "units.csv", table)
    assert same(read_units_csv(tmp_path / "units.csv"), table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read as a table of units"),
        ("", "lacks the columns"),
        ("unit,category,label\n", "lacks the columns"),
        ("unit,category,label,score,a-label,a-truth\n", "lacks the columns"),
        ("unit,category,label,score\n1,a\n", "row 2 has 2 cells for 4 columns"),
        ("unit,category,label,score\n1,a,b,high\n", "a cell that is no number"),
        (
            "unit,category,label,score,a-label,a-truth,a-activation,a-intersect,a-iou\n1,,,0,,1.5,0,0,0\n",
            "'1.5' is no count",
        ),
    ],
    ids=["missing", "empty", "other", "half-a-category", "short-row", "score", "count"],
)
def test_unusable_tables_are_named(tmp_path, content, message):
    path = tmp_path / "units.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ResultError, match=message) as error:
        read_units_csv(path)
    assert str(path) in str(error.value)
