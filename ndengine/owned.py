"""What in an output folder belongs to its result; all else is the user's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ndengine.errors import ResultError
from ndengine.result_files import COUNTS, EXAMPLES, IMAGES
from ndengine.result_record import FOLDER, FORMAT, RECORD, REPORT, RESERVED, ResultRecord, read_record
from ndengine.strict_json import read_json

UNITS = "units.csv"
ACTIVATIONS = "activations.h5"
INDEX = "index.html"
OF_A_LAYER = (UNITS, COUNTS, EXAMPLES, ACTIVATIONS)
STRIP = re.compile(r"unit-[0-9]{4,}\.jpg")


@dataclass(frozen=True)
class Owned:
    """The files of a result.

    Attributes
    ----------
    files : frozenset of str
        Relative to its folder, with ``/`` between their parts.
    certain : bool
        False where ``result.json`` can't be read, so that some may be missing here.
    """

    files: frozenset[str]
    certain: bool


def strip_name(unit: int) -> str:
    """File name of a unit's strip of pictures; ``unit`` counts from 1, as in units.csv."""
    return f"unit-{unit:04d}.jpg"


def files_to_come(layers: Mapping[str, int], *, dense: bool) -> list[str]:
    """The files that a run may write.

    Parameters
    ----------
    layers : mapping of str to int
        The number of units of each layer, by its folder.
    dense : bool
        Whether activations are kept.
    """
    names = [name for name in OF_A_LAYER if dense or name != ACTIVATIONS]
    files = [RECORD, IMAGES, *(f"{folder}/{name}" for folder in layers for name in names)]
    return files + [f"{REPORT}/{name}" for name in report_names(layers)]


def report_names(layers: Mapping[str, int]) -> list[str]:
    """The files that a report on these layers may have, relative to it; units by the layer's folder."""
    pages = [INDEX, *(f"{folder}/{INDEX}" for folder in layers if len(layers) > 1)]
    return pages + [f"{folder}/{strip_name(u + 1)}" for folder, units in layers.items() for u in range(units)]


def owned_by(folder: Path) -> Owned:
    """The files of the result in a folder: those that ``result.json`` names.

    Of an older result, which does not name all, those that its version writes; of a damaged one, those of them that
    can be made out.
    """
    try:
        return Owned(frozenset(_named(read_record(folder), folder)), certain=True)
    except ResultError:
        try:
            content = read_json(folder / RECORD)
        except (OSError, ValueError):
            content = None
        return Owned(frozenset(_guessed(content, folder)), certain=False)


def refuse_what_is_in_the_way(out: Path, files: Iterable[str], owned: Owned) -> list[str]:
    """See that files can take their places in a folder.

    Returns
    -------
    list of str
        Links in the place of folders of the old result, which have to go first.

    Raises
    ------
    ResultError
        If something lies in the way that is not the old result's, or that can't be replaced.
    """
    links: list[str] = []
    disk = out.stat().st_dev
    seen: set[str] = set()
    for file in files:
        homes = [str(home) for home in reversed(PurePosixPath(file).parents) if str(home) != "."]
        if not all(home in seen or _is_free(out, home, owned, disk, links) for home in homes):
            continue
        seen.update(homes)
        path = out / file
        if path.is_dir() and not path.is_symlink():
            raise ResultError(f"{path} is a folder where a file of the result belongs; move it away.")
        if owned.certain and file not in owned.files and os.path.lexists(path):
            raise ResultError(
                f"{path} is in the way of the result and belongs to no result there; move it away, or choose "
                "another --out."
            )
    return links


def _is_free(out: Path, home: str, owned: Owned, disk: int, links: list[str]) -> bool:
    """Whether a folder has to be looked into; one that is not there yet, or is a link that goes, has not."""
    place = out / home
    if home in links:
        return False
    if place.is_symlink():
        if not any(file.startswith(f"{home}/") for file in owned.files):
            raise ResultError(
                f"{place} is a symbolic link, and nothing is written through one; remove it, or choose another --out."
            )
        links.append(home)
        return False
    if not place.exists():
        return False
    if not place.is_dir():
        raise ResultError(f"{place} is a file where a folder of the result belongs; move it away.")
    if place.stat().st_dev != disk:
        raise ResultError(f"{place} lies on another disk than {out}; keep the folder and all in it on one disk.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ResultError(f"{place} can't be written; allow yourself to write there, or choose another --out.")
    return True


def _named(record: ResultRecord, folder: Path) -> Iterator[str]:
    yield RECORD
    if record.report is None:
        yield from _usual((layer.folder for layer in record.layers), folder)
        return
    yield from record.sha256
    for layer in record.layers:
        yield from (f"{layer.folder}/{name}" for name in layer.sha256)
    yield from (f"{REPORT}/{name}" for name in record.report)


def _guessed(content: Any, folder: Path) -> Iterator[str]:
    """Files of a damaged result: only such as a run writes, of layers that are named as layers are."""
    yield RECORD
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return
    layers = content.get("layers")
    homes = (layer.get("folder") for layer in (layers if isinstance(layers, list) else ()) if isinstance(layer, dict))
    good = (home for home in homes if isinstance(home, str) and FOLDER.fullmatch(home))
    yield from _usual((home for home in good if home.lower() not in RESERVED), folder)


def _usual(homes: Iterable[str], folder: Path) -> Iterator[str]:
    """What a run writes for layers in such folders."""
    yield from (IMAGES, f"{REPORT}/{INDEX}")
    for home in homes:
        yield from (f"{home}/{name}" for name in OF_A_LAYER)
        yield f"{REPORT}/{home}/{INDEX}"
        strips = (path.name for path in (folder / REPORT / home).glob("unit-*.jpg"))
        yield from (f"{REPORT}/{home}/{name}" for name in strips if STRIP.fullmatch(name))
