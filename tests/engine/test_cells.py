"""Tables as spreadsheets and pandas write them: read where that means one thing, refused with a reason elsewhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tinybroden import CATEGORIES, edit, make_broden

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.cells import CellError, CellReader, as_amount, as_number, ids_by_name
from ndengine.datasets.check import check_dataset
from ndengine.datasets.tables import parse_table
from ndengine.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_broden(tmp_path / "tiny")
    return tmp_path / "tiny"


def tables(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.csv"))


def frame(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def rewrite(file: Path, delimiter: str = ",", **how: object) -> None:
    """Write a table again with Python's csv, which quotes where it must."""
    rows = list(csv.reader(io.StringIO(file.read_text())))
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, **how).writerows(rows)  # type: ignore[arg-type]
    file.write_text(stream.getvalue(), newline="")


def through_pandas(folder: Path, **how: object) -> None:
    for file in tables(folder):
        pd.read_csv(file).to_csv(file, **how)  # type: ignore[call-overload]


def with_numbers_as_floats(folder: Path) -> None:
    """As pandas does to a column of whole numbers that has gaps."""
    for file in tables(folder):
        table = frame(file)
        for column in table.columns.intersection(
            ["ih", "iw", "sh", "sw", "number", "first", "last", "count", "frequency"]
        ):
            table[column] = table[column].astype(float).astype(str)
        for column in table.columns.intersection(CATEGORIES):
            table[column] = table[column].map(
                lambda cell: ";".join(f"{x}.0" if x.isdigit() else x for x in cell.split(";"))
            )
        table.to_csv(file, index=False)


def in_every(edit_text: Callable[[str], str], *names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for file in tables(folder):
            if not names or file.name in names:
                file.write_bytes(edit_text(file.read_text()).encode())

    return change


def bordered(text: str) -> str:
    """As a spreadsheet saves a table in which cells beside and below it were once filled."""
    lines = [line + ",," for line in text.splitlines()]
    return "\r\n".join([*lines, "," * lines[0].count(","), "," * lines[0].count(",")]) + "\r\n"


SAME: dict[str, Callable[[Path], object]] = {
    "pandas": lambda f: through_pandas(f, index=False),
    "pandas with its index": lambda f: through_pandas(f),
    "pandas with its index twice": lambda f: (through_pandas(f), through_pandas(f)),
    "pandas with nan": lambda f: through_pandas(f, index=False, na_rep="nan"),
    "pandas with NaN": lambda f: through_pandas(f, index=False, na_rep="NaN"),
    "pandas with <NA>": lambda f: through_pandas(f, index=False, na_rep="<NA>"),
    "pandas, everything quoted": lambda f: through_pandas(f, index=False, quoting=csv.QUOTE_ALL),
    "floats": with_numbers_as_floats,
    "semicolons": lambda f: [rewrite(file, ";") for file in tables(f)],
    "tabs": lambda f: [rewrite(file, "\t") for file in tables(f)],
    "Windows": in_every(lambda text: "\ufeff" + text.replace("\n", "\r\n")),
    "blank columns and rows": in_every(bordered),
    "blank lines": in_every(lambda text: text.replace("\n", "\n\n")),
    "spaces": in_every(lambda text: text.replace(",", " , ")),
}


@pytest.mark.parametrize("case", SAME)
def test_the_same_dataset_however_it_is_written(folder: Path, case: str) -> None:
    before = BrodenFolder(folder)
    SAME[case](folder)
    after = BrodenFolder(folder)
    assert [(e.image, e.split, e.maps, e.whole) for e in after.entries] == [
        (e.image, e.split, e.maps, e.whole) for e in before.entries
    ]
    assert (after.image_size, after.label_size) == (before.image_size, before.label_size)
    assert after.vocabulary.names == before.vocabulary.names
    assert after.vocabulary.categories == before.vocabulary.categories
    assert np.array_equal(after.vocabulary.primary, before.vocabulary.primary)
    assert [f.kind for f in check_dataset(folder).findings] == ["label 0"]


def cell(text: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "index.csv", "10;9", text)


NEITHER = "neither an id nor the path of a label map in the folder images"
REFUSED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "minus one": (cell("-1"), "index.csv", f"line 7 has '-1' as scene, {NEITHER}; write ids"),
    "exponent": (cell("1e1"), "index.csv", f"line 7 has '1e1' as scene, {NEITHER}"),
    "half": (cell("9.5"), "index.csv", "line 7 has '9.5'"),
    "decimal comma": (cell('"9,0"'), "index.csv", "line 7 has '9,0'"),
    "truth": (cell("True"), "index.csv", "line 7 has 'True'"),
    "thousands": (cell('"1,000"'), "index.csv", "line 7 has '1,000'"),
    "many digits": (cell("9" * 5000), "index.csv", "line 7 has '999"),
    "name": (cell("street-s"), "index.csv", "line 7 has 'street-s' as scene, the name of 9, where an id or"),
    "unknown name": (cell("street"), "index.csv", f"line 7 has 'street' as scene, {NEITHER}"),
    "name and number": (cell("10;street-s"), "index.csv", "write 9 instead"),
    "size in words": (lambda f: edit(f / "index.csv", "40,56", "nan,56"), "index.csv", "line 2 has 'nan' as ih"),
    "size and a half": (lambda f: edit(f / "index.csv", "40,56", "40.5,56"), "index.csv", "'40.5' as ih"),
    "huge size": (lambda f: edit(f / "index.csv", "40,56", "400000000,56"), "index.csv", "22,400,000,000 pixels"),
    "label below 0": (lambda f: edit(f / "label.csv", "\n3,", "\n-1,"), "label.csv", "line 4 has '-1' as number"),
    "label without id": (lambda f: edit(f / "label.csv", "\n3,", "\n,"), "label.csv", "line 4 has '' as number"),
    "listed in words": (lambda f: edit(f / "c_scene.csv", "1,9,", "1,nine,"), "c_scene.csv", "'nine' as number"),
    "underscores": (lambda f: edit(f / "c_scene.csv", "2.000000", "2_0.0"), "c_scene.csv", "'2_0.0' as coverage"),
    "coverage nan": (lambda f: edit(f / "c_scene.csv", "2.000000", "nan"), "c_scene.csv", "'nan' as coverage"),
    "coverage below 0": (lambda f: edit(f / "c_scene.csv", "2.000000", "-2"), "c_scene.csv", "decimal point"),
    "coverage with comma": (
        lambda f: (rewrite(f / "c_scene.csv", ";"), edit(f / "c_scene.csv", "2.000000", "2,000000")),
        "c_scene.csv",
        "line 2 has '2,000000' as coverage, no number; write a number of at least 0 there, with a decimal point",
    ),
    "category nan": (lambda f: edit(f / "category.csv", "part,", "nan,"), "category.csv", "'nan' as a category"),
    "lists without quotes": (in_every(lambda t: t.replace(",", ";"), "index.csv"), "index.csv", "fields, not 12"),
    "UTF-16": (
        lambda f: (f / "label.csv").write_text((f / "label.csv").read_text(), "utf-16"),
        "label.csv",
        "is UTF-16 text; save it as UTF-8",
    ),
    "only label 0": (lambda f: (f / "label.csv").write_text("number,name\n0,none\n"), "label.csv", "above 0"),
    "huge label": (lambda f: edit(f / "label.csv", "\n2,", "\n70000,"), "label.csv", "id 70000, beyond 65535"),
    "256 labels": (cell(";".join(["9"] * 256)), "index.csv", "line 7 has 257 whole-image labels"),
    "256 maps": (
        lambda f: edit(f / "index.csv", "sub/000_color_0.png", ";".join(["sub/000_color_0.png"] * 256)),
        "index.csv",
        "label maps; give an image at most 255",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_reader_and_the_doctor_refuse_in_the_same_words(folder: Path, case: str) -> None:
    damage, name, message = REFUSED[case]
    damage(folder)
    with pytest.raises(DatasetError) as caught:
        BrodenFolder(folder)
    assert str(caught.value).startswith(str(folder / name))
    assert message in str(caught.value)
    assert any(f.blocks and f.file == folder / name and message in str(f) for f in check_dataset(folder).findings)


def test_numbers() -> None:
    whole = {"5": 5, " 5 ": 5, "5.0": 5, "5.": 5, "007": 7, "0": 0, "0.000": 0, "999999999999999999": 10**18 - 1}
    assert {text: as_number(text) for text in whole} == whole
    for text in ("", " ", "-1", "+1", "5.5", "5,0", "1e3", "1_0", "²", "٣", "0x1", "nan", "True", "1" * 19, "5 0", "."):
        assert as_number(text) is None, text
    amounts = {"5": 5.0, " 0.25 ": 0.25, ".5": 0.5, "1e-3": 0.001, "2.5E+02": 250.0}
    assert {text: as_amount(text) for text in amounts} == amounts
    for text in ("", "-1", "nan", "inf", "1e999", "1_0", "0,5", "50%", "٣", "."):
        assert as_amount(text) is None, text


def test_cells(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"")
    reader = CellReader(tmp_path, ids_by_name({1: "sky", 2: "nan", 3: "twice", 4: "twice"}))
    assert reader.read("") == reader.read(" ; ") == reader.read("NaN") == reader.read("None;null") == ([], [])
    assert reader.read(" a.png ; 12;;b/c.PNG;0 ") == (["a.png", "b/c.PNG"], [12, 0])
    assert reader.read("odd;x.jpg;3.0") == (["odd", "x.jpg"], [3])  # a file is a path, whatever it is called
    for item, words in {"sky": "the name of 1", "nan": "the name of 2", "twice": "neither", "other": "neither"}.items():
        with pytest.raises(CellError, match=words):
            reader.read(f"a.png;{item}")


def test_a_column_without_a_name_is_left_out_only_where_it_says_nothing(folder: Path) -> None:
    edit(folder / "index.csv", ",scene,", ",,")  # its ids could be pandas' numbers of the rows, but not at this place
    with pytest.raises(DatasetError, match="lacks the column scene"):
        BrodenFolder(folder)
    lines = (folder / "category.csv").read_text().splitlines()
    (folder / "category.csv").write_text("\n".join(line for line in lines if not line.startswith("scene")))
    (found,) = (f for f in check_dataset(folder).findings if f.kind == "unread column")
    assert found.message.startswith("has 2 cells in the column column 11")
    assert not BrodenFolder(folder).entries[1].whole


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (",a\n0,x\n1,y\n", ("a",)),  # pandas' index
        ("Unnamed: 0.1,Unnamed: 0,a\n7,0,x\n3,1,y\n", ("a",)),  # and that of a table that was filtered and read again
        (",a\n0,x\n0,y\n", ("column 1", "a")),
        (",a\n0,x\n,y\n", ("column 1", "a")),
        ("a,,b\nx,0,y\nx,1,y\n", ("a", "column 2", "b")),  # behind another column it may be labels that lost their name
        ("a,,b,\nx,,y,\n,,,\n", ("a", "b")),
        ("a;b\n\n1;2\n", ("a", "b")),
    ],
)
def test_columns_without_a_name(text: str, columns: tuple[str, ...]) -> None:
    table = parse_table(text.encode(), Path("t.csv"))
    assert table.columns == columns
    assert all(tuple(fields) == columns for _, fields in table.rows)
    assert not table.malformed


def test_a_split_that_is_missing_is_none(folder: Path) -> None:
    edit(folder / "index.csv", "train", "nan")
    assert BrodenFolder(folder).splits[:2] == ["", "train"]
