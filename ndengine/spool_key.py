"""What a spool on disk is of: ``spool.json``, and whether a run may go on from it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ndengine.errors import SpoolError, UnusableSpoolError
from ndengine.refusals import cannot_write, reason_of
from ndengine.spool_files import AFRESH, FORMAT, NAME, writing

KEY = "spool.json"
SHOWN = 60  # characters of a value in a sentence


def claim_folder(folder: Path, key: Mapping[str, Any]) -> None:
    """Make a spool folder for the settings in ``key``, or find the one that an interrupted run left.

    Parameters
    ----------
    folder : Path
        One that holds no segment yet is taken whatever it was made for: there is nothing to lose.
    key : mapping
        All that the activations depend on, as plain JSON values.

    Raises
    ------
    SpoolError
        If the folder holds segments of other settings, or its description is damaged.
    """
    wanted = json.loads(json.dumps(key))
    if has_segments(folder):
        found = read_key(folder)
        if changed := list(_differences(wanted, found)):
            raise UnusableSpoolError(
                f"{folder} holds the spool of an interrupted run with other settings ({'; '.join(changed)}); "
                "run it with those to go on, or with --overwrite to start afresh."
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpoolError(cannot_write(folder, error)) from error
    with writing(folder / KEY) as temporary:
        temporary.write_text(json.dumps({"format": FORMAT, "crc32": _checksum(wanted), "key": wanted}, indent=1))


def has_segments(folder: Path) -> bool:
    """Whether anything has been put into a spool folder."""
    return any(NAME.fullmatch(path.name) for path in folder.glob("segment-*.h5"))


def read_key(folder: Path) -> dict[str, Any]:
    """What the spool in a folder was made for.

    Raises
    ------
    SpoolError
        If ``spool.json`` is missing, damaged or of another version.
    """
    path = folder / KEY
    try:
        if path.exists() and not path.is_file():  # a pipe would keep a reader waiting
            raise ValueError("it is no file")
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("no object")
        if found.get("format") != FORMAT:
            raise UnusableSpoolError(
                f"{path} was written by another version, whose spools say other things of how they were made; {AFRESH}."
            )
        key = found.get("key")
        if not isinstance(key, dict) or found.get("crc32") != _checksum(key):
            raise ValueError("its checksum does not match")
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableSpoolError(f"{path} is damaged ({reason_of(error)}); {AFRESH}.") from error
    return key


def _checksum(key: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(key, sort_keys=True).encode()):08x}"


def _differences(wanted: Mapping[str, Any], found: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """What differs, with both values: the spool's, then the run's."""
    for name in sorted({*wanted, *found}):
        mine, other = wanted.get(name), found.get(name)
        if mine == other:
            continue
        if isinstance(mine, dict) and isinstance(other, dict):
            yield from _differences(mine, other, f"{within}{name}.")
            continue
        yield f"{within}{name} {_shown(other)}, not {_shown(mine)}"


def _shown(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
