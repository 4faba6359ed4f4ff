"""What a folder of results says, file by file, without what differs between two runs of one thing: dates and durations.

Two folders are compared by it: HDF5 by its arrays and attributes, JSON by its values, everything else by its bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

# Of a record: when it was made, how long that took, how much memory, and what of it an earlier, killed run had done.
VOLATILE = frozenset(
    {
        "finished",
        "seconds",
        "processor_seconds",
        "profile",
        "peak_memory_bytes",
        "images_per_second",
        "images_probed",
        "spool_bytes",
    }
)
ROW = re.compile(r"<div><dt>([\w., ]+)</dt><dd>.*?</dd></div>")  # of a page's table of settings and provenance
Contents = dict[str, str]


def contents_of(folder: Path, without: frozenset[str] = frozenset()) -> Contents:
    """What all files in a folder say, by ``FILE`` or, where a file has parts, by ``FILE: PART``.

    Parameters
    ----------
    folder : Path
        Any folder; files of locks are left out.
    without : frozenset of str
        Keys of records that don't count, wherever they stand, such as ``VOLATILE``.

    Returns
    -------
    dict of str to str
        Short texts; digests of what is long.
    """
    found: Contents = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")):
        name = path.relative_to(folder).as_posix()
        for part, text in file_contents(path, without):
            found[f"{name}: {part}" if part else name] = text
    return found


def file_contents(path: Path, without: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """What one file says: its parts, and a short text for each."""
    if path.suffix == ".h5":
        with h5py.File(path, "r", locking=False) as file:
            yield from hdf5_contents(file)
    elif path.suffix == ".json":
        yield from json_contents(drop_keys(json.loads(path.read_text(encoding="utf-8")), without))
    elif path.suffix == ".html" and without:
        yield "", digest(drop_rows(path.read_text(encoding="utf-8"), without).encode())
    else:
        yield "", digest(path.read_bytes())


def hdf5_contents(file: h5py.File) -> Iterator[tuple[str, str]]:
    """Attributes, arrays and their types, by their names in the file."""
    parts: list[tuple[str, str]] = [(f"@{key}", repr(value)) for key, value in file.attrs.items()]

    def visit(name: str, item: Any) -> None:
        parts.extend((f"{name}@{key}", repr(value)) for key, value in item.attrs.items())
        if isinstance(item, h5py.Dataset):
            parts.append((name, f"{item.dtype} {item.shape} {array_digest(item[()])}"))

    file.visititems(visit)
    yield from parts


def json_contents(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a record, by their dotted names."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from json_contents(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and value and any(isinstance(each, dict | list) for each in value):
        for place, each in enumerate(value):
            yield from json_contents(each, f"{name}[{place}]")
    else:
        yield name, json.dumps(value)


def drop_keys(value: Any, without: frozenset[str] = VOLATILE) -> Any:
    """A record without some keys, wherever they stand in it."""
    if isinstance(value, dict):
        return {key: drop_keys(each, without) for key, each in value.items() if key not in without}
    return [drop_keys(each, without) for each in value] if isinstance(value, list) else value


def drop_rows(page: str, without: frozenset[str]) -> str:
    """A page without the rows of its tables that have such a key in their name."""
    return ROW.sub(lambda row: "" if without & set(re.split(r"[., ]", row[1])) else row[0], page)


def array_digest(array: Any) -> str:
    """A digest of an array's values, whatever their type."""
    found = np.asarray(array)
    return digest(repr(found.tolist()).encode() if found.dtype.hasobject else found.tobytes())


def digest(content: bytes) -> str:
    """The first digits of a SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Where two contents differ: what only one has, and what they say otherwise."""
    return [
        f"{name}: {short(one.get(name))} became {short(other.get(name))}"
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]


def short(text: str | None) -> str:
    """A text that fits a line; a word where there is none."""
    return "nothing" if text is None else text if len(text) <= 80 else f"{text[:77]}..."
