"""Reading a series file; SERIES.md says what may stand in it."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ndengine.errors import SeriesError, SettingsError
from ndengine.inside import irregular
from ndengine.models.zoo.rows import find_row
from ndengine.provenance import usable_cores
from ndengine.refusals import reason_of
from ndengine.series.expand import automatic_name, count_choices, expand_grids, fields_in, fill, without_fields, word
from ndengine.series.groups import Draft, tell_groups
from ndengine.series.runs import Series, SeriesRun
from ndengine.series.values import OPTIONS, settings_of, shown
from ndengine.settings import Settings

MOST_RUNS = 10_000
NAMES = ("name", "label", "group")
OWN = (*NAMES, "x", "x-name", "iteration")  # keys of a run besides the options
LARGEST = sys.float_info.max
AXES = {"iteration": "training iteration", "rotate": "rotation α"}


def read_series(path: Path, instead: Mapping[str, Any] | None = None) -> Series:
    """Read a series file and check all that can be checked without the files that it names.

    Parameters
    ----------
    path : Path
        A TOML file.
    instead : mapping of str to object, optional
        Options that take the place of the file's, by their names on the command line; None leaves the file's.

    Raises
    ------
    SeriesError
        If the file is missing, is not TOML, or holds what is not understood; the sentence names file, table and key.
    """
    path = Path(path)
    try:
        if what := irregular(path):
            raise SeriesError(f"{path} is {what}, not a file; name a series file.")
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SeriesError(f"{path} can't be read ({reason_of(error)}); name a series file.") from None
    except RecursionError:
        raise SeriesError(f"{path} is nested too deeply; write it as SERIES.md has it.") from None
    except ValueError as error:  # of TOML, of UTF-8, or of a number with thousands of digits
        raise SeriesError(f"{path} is no TOML: {str(error).rstrip('.')}.") from None
    forced = {name: value for name, value in (instead or {}).items() if value is not None}
    drafts: list[Draft] = []
    with _naming(f"{path}"):
        tables = content.pop("run", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise SeriesError(f"run is {shown(tables)}; write each run as a table under [[run]].")
        title = content.pop("title", path.stem)
        if not isinstance(title, str):
            raise SeriesError(f"title is {shown(title)}; use text.")
        _refuse_strangers(content, OPTIONS, ("title", "run"))
        settings_of({key: value for key, value in content.items() if not _has_fields(value)}, path.parent)
    runs = 0
    for number, table in enumerate(tables, start=1):
        with _naming(f"{path}, [[run]] {number}"):
            runs += count_choices(table.get("over"))
    if runs > MOST_RUNS:  # counted before they are made: a few lists can stand for more than any memory holds
        count = f"{runs:,}" if runs < 10**30 else shown(runs)
        raise SeriesError(f"{path} describes {count} runs; use {MOST_RUNS:,} at most, or several files.")
    for number, table in enumerate(tables, start=1):
        with _naming(f"{path}, [[run]] {number}"):
            drafts += _runs_of(table, content, forced, path.parent)
    return Series(tuple(tell_groups(drafts)), title, path)


def _runs_of(
    table: dict[str, Any], defaults: Mapping[str, Any], forced: Mapping[str, Any], folder: Path
) -> Iterator[Draft]:
    own = {key: value for key, value in table.items() if key != "over"}
    _refuse_strangers(own, OPTIONS, (*OWN, "over"))
    texts = [text for value in own.values() for text in _texts_in(value)]
    for choice in expand_grids(table.get("over")):
        both = sorted(choice.keys() & own.keys())
        if both:
            raise SeriesError(f"over.{both[0]} is also a key of the run itself; give it once.")
        used = {field for text in [*texts, *_texts_in(list(choice.values()))] for field in fields_in(text)}
        _refuse_strangers(choice, OPTIONS, OWN, used={*used, str(own.get("x"))})
        yield _run({**own, **choice}, defaults, forced, folder)


def _run(chosen: Mapping[str, Any], defaults: Mapping[str, Any], forced: Mapping[str, Any], folder: Path) -> Draft:
    """The run of one choice of a grid; ``chosen`` has its table's keys and the grid's."""
    given = {"model": Settings.model, "weights": Settings.weights, **defaults, **chosen}
    plain = {key: value for key, value in given.items() if not _has_fields(value)}
    options = {}
    for key, value in {"threads": usable_cores(), **given, **forced}.items():
        if key in OPTIONS:
            options[key] = _filled(key, value, plain)
    settings = settings_of(options, folder)
    row = find_row(settings.model)
    settings.rotation((row.rotate, row.rotate_seed) if row else (None, None))  # a seed of nothing is refused
    for key, text in ((key, given[key]) for key in NAMES if key in given):
        if not isinstance(text, str) or not text.strip():
            raise SeriesError(f"{key} is {shown(text)}; use text.")
    known = {key: value for key, value in {**plain, **options}.items() if key not in NAMES}
    words = {key: value if isinstance(value, int | float) else word(value) for key, value in known.items()}
    # What only repeats others, as in weights = "at-{iteration}.pth", adds nothing to a name.
    untold = {
        *NAMES,
        "model",
        "x-name",
        *fields_in(str(given["model"])),
        *(["x"] if isinstance(chosen.get("x"), str) else []),
    }
    telling = {key: value for key, value in chosen.items() if key in plain and key not in untold}
    family = word(without_fields(str(given["model"])))  # of networks that are called by their iteration, the same one
    x, x_name = _place_of(given, known, next((name for name in AXES if name in chosen), None))
    x_key = given.get("x", next((name for name in AXES if name in chosen), ""))
    run = SeriesRun(
        name=fill("name", given["name"], words) if "name" in given else automatic_name(options["model"], telling),
        settings=settings,
        label=fill("label", given["label"], words) if "label" in given else "",
        group=fill("group", given["group"], words) if "group" in given else family if x_name else "",
        x=x,
        x_name=x_name,
    )
    told = {key: value for key, value in plain.items() if key not in ("x", "x-name", *NAMES)}
    return Draft(run, told, x_key if isinstance(x_key, str) else "", "group" in given)


def _place_of(given: Mapping[str, Any], known: Mapping[str, Any], usual: str | None) -> tuple[float | None, str]:
    """A run's place on its curve, and what it is called; ``usual`` is the key where none is named."""
    key = given.get("x", usual)
    name = given.get("x-name", "")
    if not isinstance(name, str):
        raise SeriesError(f"x-name is {shown(name)}; use text.")
    if key is None:
        if name:
            raise SeriesError("x-name is given and x is not; name a key with a number, or give one.")
        return None, ""
    value = key
    if isinstance(key, str):
        if key not in known:
            raise SeriesError(f"x is {key!r}, which is no key of this run; name one, or give a number.")
        value, name = known[key], name or AXES.get(key, key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        raise SeriesError(f"x is {shown(value)}; use a number, or the name of a key that has one.")
    return float(value), name or "x"


def _filled(key: str, value: Any, known: Mapping[str, Any]) -> Any:
    """An option's value, its texts filled in."""
    if isinstance(value, list):
        return [_filled(key, item, known) for item in value]
    return fill(key, value, known) if isinstance(value, str) else value


def _texts_in(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for item in value for text in _texts_in(item)]
    return [value] if isinstance(value, str) else []


def _has_fields(value: Any) -> bool:
    return any(map(fields_in, _texts_in(value)))


def _refuse_strangers(
    table: Mapping[str, Any], *known: Mapping[str, Any] | tuple[str, ...], used: set[str] | None = None
) -> None:
    """Raise SeriesError if a table has a key that nothing knows and no text uses."""
    names = [name for group in known for name in group]
    for key in table:
        if key in names or key in (used or ()):
            continue
        near = get_close_matches(key, names, 2, 0.6)
        remedy = f"use {' or '.join(near)}" if near else f"its keys are {', '.join(names)}"
        if used is not None:
            raise SeriesError(f"over.{key} is no option and no text has {{{key}}}; {remedy}.")
        raise SeriesError(f"There is no key {key!r} here; {remedy}.")


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Say in which table of which file something is wrong."""
    try:
        yield
    except SettingsError as error:
        raise SeriesError(f"{where}: {error}") from None
