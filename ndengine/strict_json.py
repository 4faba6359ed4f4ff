"""JSON files that others may have edited: read without surprises, and turned into dataclasses with types checked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from ndengine.inside import irregular

LARGEST_FILE = 256 << 20
LARGEST_NUMBER = 2**64


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises
    ------
    OSError
        If it can't be read.
    ValueError
        If it is no strict JSON: a key twice, NaN, half a character, nested beyond reason; or no file at all.
    """
    if what := irregular(path):
        raise ValueError(f"it is {what}, not a file")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError("it is larger than any that is written")
    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        canonical(content)  # 1e999 is read as infinity, \ud800 as half a character
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return content


def canonical(content: Any) -> bytes:
    """The same bytes for the same content, whatever the order of keys: sorted, no blanks, UTF-8.

    Raises
    ------
    ValueError
        If it is no strict JSON.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def checksum(content: Any) -> str:
    """The SHA-256 of the canonical form, in hexadecimal."""
    return hashlib.sha256(canonical(content)).hexdigest()


def decode(kind: Any, value: Any, name: str) -> Any:
    """A value of JSON as a type has it: lists become tuples, objects dataclasses.

    Parameters
    ----------
    kind : type
        ``int``, ``float``, ``str``, ``bool``, None, a literal, a union, a tuple, a dict by text, or a dataclass, of
        which fields with a default may be missing. Of anything else any value is taken.
    value : object
        As :func:`json.loads` gives it.
    name : str
        What the value is called in a complaint.

    Raises
    ------
    ValueError
        If it does not fit; the text names the entry.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _any_of(arguments, value, name)
    if origin is Literal:
        return value if value in [a for a in arguments if type(a) is type(value)] else _unfit(name, value)
    if origin is tuple:
        return _tuple(arguments, value, name)
    if origin is dict:
        if not isinstance(value, dict):
            _unfit(name, value)
        return {key: decode(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, name)
    if kind is float:
        good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER
        return float(value) if good else _unfit(name, value)
    if kind is int:
        good = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER
        return value if good else _unfit(name, value)
    if kind in (str, bool, type(None)):
        return value if isinstance(value, kind) else _unfit(name, value)
    return value


@cache
def hints(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields, by name."""
    return get_type_hints(kind)


def _dataclass(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        _unfit(name, value)
    known = {field.name: field for field in dataclasses.fields(kind)}
    for key, field in known.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if key not in value and not optional:
            raise ValueError(f"{name} has no entry {key!r}")
    found = hints(kind)
    return kind(**{key: decode(found[key], item, f"{name}.{key}") for key, item in value.items() if key in known})


def _any_of(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    complaint: ValueError | None = None
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return decode(kind, value, name)
        except ValueError as error:
            complaint = complaint or error
    raise complaint or ValueError(f"{name} fits nothing")


def _tuple(kinds: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _unfit(name, value)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(decode(kinds[0], item, f"{name}[{place}]") for place, item in enumerate(value))
    if len(value) != len(kinds):
        _unfit(name, value)
    return tuple(decode(kind, item, f"{name}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands there twice")
        found[key] = value
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _unfit(name: str, value: Any) -> NoReturn:
    text = json.dumps(value, ensure_ascii=True) if not isinstance(value, dict | list) else type(value).__name__
    raise ValueError(f"{name} is {text if len(text) <= 60 else text[:59] + '…'}")


def table(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object under a key, empty where there is none.

    Raises
    ------
    ValueError
        If something else stands there.
    """
    value = record.get(key)
    if value is None:
        return {}
    return value if isinstance(value, dict) else _unfit(key, value)
