"""The CSV tables of Broden's layout: ``index``, ``category``, ``label`` and ``c_<category>.csv``."""

from __future__ import annotations

import codecs
import csv
import errno
import io
import posixpath
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ndengine.datasets import Vocabulary
from ndengine.datasets.cells import as_amount, as_number, is_missing, shown
from ndengine.errors import DatasetError

HIGHEST_ID = 65_535  # what R + 256·G can hold
INDEX_COLUMNS = ("image", "split", "ih", "iw", "sh", "sw")
PLAIN = "write a number of at least 0 there, with a decimal point if any and without other separators"
REMEDY = "run `ndengine data check FOLDER` to list all faults"


class FaultError(DatasetError):
    """Something wrong with one file of a dataset.

    Parameters
    ----------
    kind : str
        What sort of fault it is, in two or three words.
    file : Path
        The file.
    what : str
        What is wrong with it, as the rest of a sentence that begins with the file's name.
    remedy : str
        What to do about it.
    """

    def __init__(self, kind: str, file: Path, what: str, remedy: str = REMEDY) -> None:
        super().__init__(f"{file} {what}; {remedy}.")
        self.kind, self.file, self.what, self.remedy = kind, file, what, remedy


@dataclass(frozen=True)
class Table:
    """A CSV table.

    Attributes
    ----------
    file : Path
        Where it came from.
    columns : tuple of str
        Its header.
    rows : tuple
        Line number and fields by column of every row that has as many fields as the header.
    malformed : tuple
        Line number and number of fields of the other rows; blank lines are no rows.
    width : int
        Number of fields of the header.
    """

    file: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    malformed: tuple[tuple[int, int], ...]
    width: int


def file_bytes(file: Path) -> bytes:
    """The bytes of a file.

    Raises
    ------
    OSError
        If there is none, or none that can be read to its end: a pipe would keep us waiting for ever.
    """
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no file")
    return file.read_bytes()


def read_bytes(file: Path) -> bytes:
    """The bytes of a table.

    Raises
    ------
    FaultError
        If the file is missing or can't be read.
    """
    try:
        return file_bytes(file)
    except FileNotFoundError:
        remedy = f"give a folder in Broden's layout, or {REMEDY}"
        raise FaultError("missing file", file, "is missing", remedy) from None
    except OSError as error:
        raise FaultError("unreadable file", file, f"can't be read ({error.strerror})") from None


def missing_file(file: Path) -> FaultError:
    """What to raise where a file of the index is not there."""
    if "\\" in file.name:
        return FaultError("missing file", file, "is missing", "write paths with / in index.csv")
    return FaultError("missing file", file, "is missing")


def parse_table(data: bytes, file: Path) -> Table:
    """Split a table into rows, however many fields each has.

    Columns may be separated by commas, semicolons or tabs. Blank rows and blank columns, which spreadsheets leave
    behind, and the index that pandas writes are left out.

    Raises
    ------
    FaultError
        If the text is no UTF-8 or no CSV, or has no usable header.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FaultError("bad table", file, "is UTF-16 text", "save it as UTF-8")
    if b"\0" in data:
        raise FaultError("bad table", file, f"is no text (byte {data.index(0)} is 0)", "restore it from its source")
    try:
        text = data.decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
        lines = [(reader.line_num, fields) for fields in reader if any(field.strip() for field in fields)]
    except UnicodeDecodeError as error:
        raise FaultError("bad table", file, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
    except csv.Error as error:
        raise FaultError("bad table", file, f"is no CSV table ({error})", "restore it from its source") from None
    if not lines:
        raise FaultError("bad table", file, "is empty", "restore it from its source")
    header = [name.strip() for name in lines[0][1]]
    whole = [(n, f) for n, f in lines[1:] if len(f) == len(header)]
    kept = _columns_that_say_something(header, [fields for _, fields in whole])
    columns = tuple(header[k] or f"column {k + 1}" for k in kept)
    if len(set(columns)) < len(columns):
        raise FaultError("bad table", file, "names a column twice in its header", "give every column its own name")
    rows = tuple((n, dict(zip(columns, (f[k] for k in kept), strict=True))) for n, f in whole)
    malformed = tuple((n, len(f)) for n, f in lines[1:] if len(f) != len(header))
    return Table(file, columns, rows, malformed, len(header))


def _separator(text: str) -> str:
    """What separates the columns: of comma, semicolon and tab the one that the header has most often."""
    header = next((line for line in io.StringIO(text) if line.strip(",;\t \r\n")), "")
    return max(",;\t", key=header.count)


def _columns_that_say_something(header: list[str], rows: list[list[str]]) -> list[int]:
    """Numbers of the columns that are neither blank nor, before all others, pandas' numbers of the rows."""
    kept = []
    for k, name in enumerate(header):
        if name and not name.startswith("Unnamed: "):  # the latter is pandas', of a header without a name
            kept.append(k)
            continue
        cells = [fields[k].strip() for fields in rows]
        numbers = {as_number(cell) for cell in cells}
        is_index = not kept and None not in numbers and len(numbers) == len(cells)
        if any(cells) and not is_index:
            kept.append(k)
    return kept


def table_faults(table: Table, needed: tuple[str, ...]) -> Iterator[FaultError]:
    """What keeps a table from being used: missing columns, rows of another length, no rows.

    The table of a category alone may be empty: a small dataset need not fill every category.
    """
    missing = [name for name in needed if name not in table.columns]
    if missing:
        yield FaultError("bad table", table.file, f"lacks the column {', '.join(missing)}")
    for line, fields in table.malformed:
        yield FaultError("incomplete row", table.file, f"line {line} has {fields} fields, not {table.width}")
    if not table.rows and not table.file.name.startswith("c_"):
        yield FaultError("bad table", table.file, "has no rows")


def check_table(table: Table, needed: tuple[str, ...]) -> None:
    """Raise the first of :func:`table_faults`, if there is one."""
    for fault in table_faults(table, needed):
        raise fault


def parse_number(text: str, table: Table, line: int, column: str) -> int:
    """A field that holds a decimal number.

    Raises
    ------
    FaultError
        If it holds anything else.
    """
    number = as_number(text)
    if number is None:
        raise FaultError("bad table", table.file, f"line {line} has {shown(text)} as {column}, no whole number", PLAIN)
    return number


def parse_amount(text: str, table: Table, line: int, column: str) -> float:
    """A field that holds a number of at least 0; arguments and errors as :func:`parse_number`."""
    amount = as_amount(text)
    if amount is None:
        raise FaultError("bad table", table.file, f"line {line} has {shown(text)} as {column}, no number", PLAIN)
    return amount


def leaves_folder(name: str) -> bool:
    """Whether a path of ``index.csv`` is no path inside the folder of images."""
    # Strings rather than path objects: an index of Broden names 300,000 files.
    parts = name.replace("\\", "/").split("/")
    return not name.strip("/\\") or "\0" in name or not parts[0] or ".." in parts or ":" in parts[0]


def plain_path(name: str) -> str:
    """A path of ``index.csv`` without detours, the same for all ways to name a file."""
    return posixpath.normpath(name) if "//" in name or "./" in name else name


def filled_columns(index: Table, categories: Sequence[str]) -> dict[str, int]:
    """Number of filled cells by column, for the columns of an index that nobody reads."""
    known = {*INDEX_COLUMNS, *categories}
    unread = {c: sum(bool(fields[c].strip()) for _, fields in index.rows) for c in index.columns if c not in known}
    return {column: filled for column, filled in unread.items() if filled}


def table_names(categories: tuple[str, ...]) -> tuple[str, ...]:
    """File names of the tables of a dataset with these categories, the index last."""
    return ("category.csv", "label.csv", *(f"c_{name}.csv" for name in categories), "index.csv")


def read_categories(table: Table) -> tuple[str, ...]:
    """Categories in their order.

    Raises
    ------
    FaultError
        If a name is missing, repeated or can't be part of a file name.
    """
    check_table(table, ("name",))
    names = tuple(fields["name"].strip() for _, fields in table.rows)
    for (line, _), name in zip(table.rows, names, strict=True):
        if not name or is_missing(name) or set(name) & set("/\\\0") or name in INDEX_COLUMNS:
            raise FaultError(
                "bad table", table.file, f"line {line} has {shown(name)} as a category", "use a plain name"
            )
        if names.count(name) > 1:
            raise FaultError("bad table", table.file, f"lists the category {name} twice", "keep one row of it")
    return names


def read_vocabulary(texts: Mapping[str, bytes], folder: Path) -> Vocabulary:
    """The concepts and categories that a dataset's tables define.

    Parameters
    ----------
    texts : mapping
        Bytes of each table by file name.
    folder : Path
        Where they came from, for messages.

    Raises
    ------
    FaultError
        If a table is damaged or holds an id that is out of range.
    """
    categories = read_categories(parse_table(texts["category.csv"], folder / "category.csv"))
    labels = parse_table(texts["label.csv"], folder / "label.csv")
    check_table(labels, ("number", "name"))
    named: dict[int, str] = {}
    for line, fields in labels.rows:
        number = parse_number(fields["number"], labels, line, "number")
        if number > HIGHEST_ID:
            raise FaultError("id out of range", labels.file, f"line {line} has the id {number}, beyond {HIGHEST_ID}")
        if number in named:
            raise FaultError("duplicate", labels.file, f"line {line} gives the id {number} again")
        named[number] = fields["name"].strip()
    highest = max(named)
    if highest == 0:
        raise FaultError("bad table", labels.file, "has no label above 0")
    primary = np.full(highest, -1, np.int64)
    largest = np.full(highest, -1.0)
    for k, category in enumerate(categories):
        table = parse_table(texts[f"c_{category}.csv"], folder / f"c_{category}.csv")
        check_table(table, ("number", "coverage"))
        for line, fields in table.rows:
            number = parse_number(fields["number"], table, line, "number")
            coverage = parse_amount(fields["coverage"], table, line, "coverage")
            if number > highest:
                raise FaultError("id out of range", table.file, f"line {line} has the id {number}, beyond label.csv")
            if number > 0 and coverage >= largest[number - 1]:
                primary[number - 1], largest[number - 1] = k, coverage
    return Vocabulary(tuple(named.get(c, "") for c in range(1, highest + 1)), categories, primary)
