"""Options as a series file writes them, and how they become the settings of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ndengine.datasets.open import BUILT_IN
from ndengine.errors import SettingsError
from ndengine.models.caffe.source import is_prototxt
from ndengine.settings import PRESETS, Knobs, Settings, knobs_of

BUILT_IN_WEIGHTS = ("default", "random")


def _options() -> dict[str, tuple[str, str]]:
    """Every option by the name that the command line gives it: the field that it sets, and the field's type."""
    settings = {field.name: str(field.type) for field in fields(Settings) if field.name != "knobs"}
    named = {"layer": ("layers", settings.pop("layers"))}
    for name, kind in [*settings.items(), *((field.name, str(field.type)) for field in fields(Knobs))]:
        named[name.replace("_", "-")] = (name, kind)
    return named


OPTIONS = _options()


def settings_of(options: Mapping[str, Any], folder: Path) -> Settings:
    """The settings that options stand for; knobs that are given override the preset's.

    Parameters
    ----------
    options : mapping of str to object
        Values by the names in ``OPTIONS``, as TOML gives them.
    folder : Path
        Where relative paths begin.

    Raises
    ------
    SettingsError
        If a value has the wrong type or is none that the option takes.
    """
    values = {OPTIONS[name][0]: read_option(name, value, folder) for name, value in options.items()}
    changes = {field.name: values.pop(field.name, None) for field in fields(Knobs)}
    return Settings(knobs=knobs_of(values.get("preset", next(iter(PRESETS))), **changes), **values)


def read_option(name: str, value: Any, folder: Path) -> Any:
    """An option's value as ``Settings`` takes it.

    Raises
    ------
    SettingsError
        If it has the wrong type.
    """
    kind = OPTIONS[name][1]
    if name == "quantile":  # as decimal text, and nobody should have to put it into quotes
        return str(value) if _is_number(value) else _text(name, value)
    if kind.startswith("tuple[str"):
        return _texts(name, value)
    if kind.startswith("tuple[int"):
        return _size(name, value)
    if kind.startswith("tuple[float"):
        return _numbers(name, value)
    if kind.startswith("int"):
        if not isinstance(value, int) or isinstance(value, bool):
            raise SettingsError(f"{name} is {shown(value)}; use a whole number.")
        return value
    if kind.startswith("float"):
        if not _is_number(value):
            raise SettingsError(f"{name} is {shown(value)}; use a number.")
        try:
            return float(value)
        except OverflowError:
            raise SettingsError(f"{name} is {shown(value)}; use a smaller number.") from None
    return place(name, _text(name, value), folder)


def place(name: str, text: str, folder: Path) -> str:
    """A path made absolute, where an option's text is one; other text as it is."""
    if name == "weights" and text not in BUILT_IN_WEIGHTS:
        return _absolute(text, folder)
    if name == "data" and text != BUILT_IN:
        return _absolute(text, folder)
    if name == "model":
        file, colon, factory = text.rpartition(":")
        if file.endswith(".py"):
            return f"{_absolute(file, folder)}{colon}{factory}"
        if is_prototxt(text):
            return _absolute(text, folder)
    return text


def files_of(settings: Settings) -> list[tuple[str, Path]]:
    """The files and folders that settings name, each with its option."""
    found = []
    if settings.weights not in BUILT_IN_WEIGHTS:
        found.append(("weights", Path(settings.weights)))
    if settings.data != BUILT_IN:
        found.append(("data", Path(settings.data)))
    file = settings.model.rpartition(":")[0]
    if file.endswith(".py"):
        found.append(("model", Path(file)))
    elif is_prototxt(settings.model):
        found.append(("model", Path(settings.model)))
    return found


def shown(value: Any) -> str:
    """A value as a series file would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, int) and value.bit_length() > 1000:  # Python writes no number of more than 4,300 digits
        return f"a number of {value.bit_length():,} bits"
    return repr(cut(value)) if isinstance(value, str) else str(value)


def cut(text: str, most: int = 80) -> str:
    """A text as a sentence shows it: its beginning, where it is long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _absolute(text: str, folder: Path) -> str:
    # Not resolved: a link that is turned to other data should not make another setting of the same words.
    return os.path.abspath(folder / Path(text).expanduser())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SettingsError(f"{name} is {shown(value)}; use text.")
    return value


def _texts(name: str, value: Any) -> tuple[str, ...]:
    many = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) and text.strip() for text in many):
        raise SettingsError(f"{name} is {shown(value)}; use text, or a list of texts.")
    # A layer's pattern may hold a comma; categories are written with them, as on the command line.
    parts = [part.strip() for text in many for part in (text.split(",") if name == "categories" else [text])]
    return tuple(dict.fromkeys(filter(None, parts)))


def _size(name: str, value: Any) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]*)(?:x([1-9][0-9]*))?", str(value)) if isinstance(value, int | str) else None
    if isinstance(value, bool) or not found:
        raise SettingsError(f"{name} is {shown(value)}; use 224 or '224x192' (height x width).")
    return int(found[1]), int(found[2] or found[1])


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != 3 or not all(map(_is_number, value)):
        raise SettingsError(f"{name} is {shown(value)}; use three numbers, such as [0.5, 0.5, 0.5].")
    try:
        return tuple(map(float, value))
    except OverflowError:
        raise SettingsError(f"{name} has a number that is too large; use smaller ones.") from None
