"""One table of a series file into the runs that it stands for: grids, texts with ``{…}``, and names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from string import Formatter
from typing import Any

from ndengine.errors import SeriesError
from ndengine.series.values import cut, shown

WIDEST = 200  # places of a number in a text
SUFFIXES = (".py", ".pth", ".pt", ".tar", ".safetensors", ".caffemodel", ".prototxt", ".h5")


def expand_grids(over: Any) -> Iterator[dict[str, Any]]:
    """The choices of a grid, or of several one after another; without any, one that chooses nothing.

    A list stands for its items, anything else for itself; the first key changes slowest.

    Raises
    ------
    SeriesError
        If ``over`` is neither a table nor a list of tables, or a list in it is empty.
    """
    for grid in _grids(over):
        for values in product(*_columns(grid)):
            yield dict(zip(grid, values, strict=True))


def count_choices(over: Any) -> int:
    """How many choices :func:`expand_grids` would give, without making them; errors are the same."""
    return sum(prod(map(len, _columns(grid))) for grid in _grids(over))


def _grids(over: Any) -> list[dict[str, Any]]:
    grids = [{}] if over is None else over if isinstance(over, list) else [over]
    if not grids or not all(isinstance(grid, dict) for grid in grids):
        raise SeriesError(f"over is {shown(over)}; use a table of lists, such as over = {{ seed = [0, 1] }}.")
    return grids


def _columns(grid: Mapping[str, Any]) -> list[list[Any]]:
    for key, value in grid.items():
        if value == [] or isinstance(value, dict):
            raise SeriesError(f"over.{key} is {shown(value)}; use a list of values.")
    return [value if isinstance(value, list) else [value] for value in grid.values()]


def fields_in(text: str) -> list[str]:
    """Names that a text has in braces.

    Raises
    ------
    SeriesError
        If its braces are not understood.
    """
    try:
        return [name for _, name, _, _ in Formatter().parse(text) if name is not None]
    except ValueError:
        raise SeriesError(
            f"{cut(text)!r} has a brace without its counterpart; "
            "write {{ and }} for braces that stand for themselves."
        ) from None


def fill(key: str, text: str, known: Mapping[str, Any]) -> str:
    """A text with the values of the keys that it has in braces, formatted as in ``{iteration:06d}``.

    Raises
    ------
    SeriesError
        If a key is not known, or its value can't be formatted so.
    """
    fields_in(text)
    parts = []
    for literal, name, form, conversion in Formatter().parse(text):
        parts.append(literal)
        if name is None:
            continue
        if any(len(digits) > 6 or int(digits) > WIDEST for digits in re.findall(r"[0-9]+", form or "")):
            raise SeriesError(
                f"{key} has {{{cut(f'{name}:{form}')}}}, which is wider than a name can be; "
                f"use {WIDEST} places at most."
            )
        if name not in known or conversion:
            raise SeriesError(
                f"{key} has {{{cut(name)}}}, which is no key of this run; use {' or '.join(sorted(known))}."
            )
        try:
            parts.append(format(known[name], form or ""))
        except (ValueError, TypeError, OverflowError):
            raise SeriesError(
                f"{key} can't write {shown(known[name])} as {{{name}:{form}}}; use a form as in {{iteration:06d}}."
            ) from None
    return "".join(parts)


def without_fields(text: str) -> str:
    """A text without what it has in braces."""
    return "".join(literal for literal, _, _, _ in Formatter().parse(text))


def word(value: Any) -> str:
    """A value as part of a folder's name: of a path the last part without its suffix."""
    if isinstance(value, list | tuple):
        return "-".join(filter(None, map(word, value)))
    if isinstance(value, int | float):
        return _number(value)
    text = str(value)
    file, colon, factory = text.rpartition(":")
    text = f"{_stem(file)}-{factory}" if colon else _stem(text)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")


def automatic_name(model: str, own: Mapping[str, Any]) -> str:
    """The model's name and what a run sets itself: text as it is, numbers behind their key."""
    return "-".join(filter(None, [word(model), *words_of(own)]))[:120].rstrip(".-_")


def words_of(own: Mapping[str, Any]) -> list[str]:
    """Keys and their values as parts of a name: text as it is, numbers behind their key."""
    words = []
    for key, value in own.items():
        text = word(value)
        words.append(text if isinstance(value, str | list | tuple) else f"{key}-{text}")
    return words


def _number(value: float) -> str:
    """A number as part of a name: ``minus-1`` and not ``-1``, which would read as 1 behind a hyphen."""
    text = str(value or abs(value))  # -0.0 and 0.0 are one number
    return re.sub(r"[^A-Za-z0-9.]+", "-", re.sub("^-", "minus-", text)).strip("-")


def _stem(text: str) -> str:
    last = re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    shorter = True
    while shorter:  # checkpoint.pth.tar has two
        found: Sequence[str] = [suffix for suffix in SUFFIXES if last.endswith(suffix) and last != suffix]
        shorter = bool(found)
        last = last.removesuffix(found[0]) if found else last
    return last
