"""``result.json``: what a run was asked for, how it came about and what it found; it is written last."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from ndengine.errors import ResultError, SettingsError
from ndengine.inside import is_relative, refuse_way_out
from ndengine.publish import finish_publishing
from ndengine.refusals import reason_of
from ndengine.result_files import AGAIN, IMAGES, json_text, write_text
from ndengine.score import Summary
from ndengine.settings import MOST, Geometry, Knobs, Settings
from ndengine.strict_json import checksum, decode, read_json, table

FORMAT = "ndengine-result"
VERSION = 1
RECORD = "result.json"
REPORT = "report"
SEAL = "record_sha256"  # of all else in the record

RESERVED = (REPORT, "unfinished", RECORD, IMAGES)
FOLDER = re.compile(r"[\w-](?:[\w.-]{0,118}[\w-])?", re.ASCII)
DIGEST = re.compile(r"[0-9a-f]{64}")
# Settings of the first version of the format; a result of before another one was there has its default.
FIRST_SETTINGS = re.findall(
    r"\w+",
    "model weights layers data preset knobs min_images categories split limit seed size mean std channels scale "
    "top_images batch_size threads spool",
)

FieldAxis = tuple[int, int, int]  # offset, size, stride in input pixels


@dataclass(frozen=True)
class LayerRecord:
    """A layer in ``result.json``; see ``LayerResult`` for what the fields mean.

    Attributes
    ----------
    sha256 : dict of str to str
        Checksums of the files in the layer's folder, by name.
    """

    name: str
    path: str
    folder: str
    shape: tuple[int, int]
    geometry: str
    field: tuple[FieldAxis, FieldAxis] | None
    summary: Summary
    sha256: dict[str, str]


@dataclass(frozen=True)
class ResultRecord:
    """``result.json`` in full; see ``Dissection`` for what the fields mean.

    Attributes
    ----------
    images : int
        Number of images that were used.
    sha256 : dict of str to str
        Checksums of the files beside it, by name.
    report : tuple of str or None
        The files of the report, below its folder; None where an older ndengine wrote the result.
    """

    settings: dict[str, Any]
    min_images: int
    provenance: dict[str, Any]
    image_size: tuple[int, int]
    label_size: tuple[int, int]
    images: int
    sha256: dict[str, str]
    layers: tuple[LayerRecord, ...]
    report: tuple[str, ...] | None = None


def write_record(folder: Path, record: ResultRecord) -> None:
    """Write ``result.json``, whole or not at all.

    Raises
    ------
    ResultError
        If it can't be written.
    ValueError, TypeError
        If settings or provenance hold what strict JSON can't: NaN, infinity or an object.
    """
    content = {"format": FORMAT, "version": VERSION, **asdict(record)}
    write_text(folder / RECORD, json_text(sealed(content)))


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the checksum of all else in it."""
    content = {key: value for key, value in content.items() if key != SEAL}
    return {**content, SEAL: checksum(content)}


def read_record(folder: Path) -> ResultRecord:
    """Read ``result.json`` of a finished run.

    Raises
    ------
    ResultError
        If the folder is missing, its run has not finished, or the file is damaged, changed or of another version.
    """
    path = folder / RECORD
    if not os.path.isdir(folder):
        raise ResultError(f"{folder} is no folder; name the --out of a finished run.")
    finish_publishing(folder)
    if not path.exists():
        raise ResultError(
            f"{folder} has no {RECORD}: it is no result or its run did not finish; run the same command again."
        )
    try:
        content = read_json(refuse_way_out(folder, RECORD))
    except OSError as error:
        raise ResultError(f"{path} can't be read ({reason_of(error)}); {AGAIN}.") from None
    except ValueError as error:
        raise ResultError(f"{path} can't be read as JSON ({error}); {AGAIN}.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ResultError(f"{path} is no result of ndengine; name the --out of a finished run.")
    if content.get("version") != VERSION or isinstance(content["version"], bool):
        raise ResultError(
            f"{path} has format version {content.get('version')} and this ndengine reads {VERSION}; "
            f"use the ndengine that wrote it, or {AGAIN}."
        )
    try:
        _check_seal(content)
        record: ResultRecord = decode(ResultRecord, content, "it")
        check_settings(record.settings)
        _check(record)
        _check_provenance(record.provenance)
    except (ValueError, SettingsError) as error:
        raise ResultError(f"{path} is damaged ({str(error).rstrip('.')}); {AGAIN}.") from None
    return record


def is_result(folder: Path) -> bool:
    """Whether the folder's ``result.json`` is one of ours, of whatever version."""
    finish_publishing(folder)
    try:
        content = read_json(folder / RECORD)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def check_settings(record: Mapping[str, Any]) -> None:
    """See that recorded settings are such as a run can have.

    Raises
    ------
    ValueError, SettingsError
        If one is missing, or is none that its option takes.
    """
    for name in FIRST_SETTINGS:
        if name not in record:
            raise ValueError(f"settings has no entry {name!r}")
    decode(Settings, record, "settings")
    for field in fields(Knobs):
        if field.name not in record["knobs"]:
            raise ValueError(f"settings.knobs has no entry {field.name!r}")


def _check_seal(content: Mapping[str, Any]) -> None:
    """See that nothing in the record has changed since it was written; older ones have no checksum."""
    if (SEAL in content) != ("report" in content):
        raise ValueError(f"of {SEAL} and report one is missing")
    if SEAL in content and content[SEAL] != sealed(content)[SEAL]:
        raise ValueError("it was changed after it was written: its checksum is another one")


def _check(record: ResultRecord) -> None:
    for name, sizes in (("image_size", record.image_size), ("label_size", record.label_size)):
        if not all(1 <= n <= MOST for n in sizes):
            raise ValueError(f"{name} is {list(sizes)}")
    for name, number in (("min_images", record.min_images), ("images", record.images)):
        if not 0 <= number <= MOST:
            raise ValueError(f"{name} is {number}")
    _check_sums("sha256", record.sha256)
    for layer in record.layers:
        _check_layer(layer)
    for what in ("name", "folder"):
        found = Counter(getattr(layer, what).lower() if what == "folder" else layer.name for layer in record.layers)
        if twice := [value for value, count in found.items() if count > 1]:
            raise ValueError(f"two layers have the {what} {twice[0]!r}")
    for path in record.report or ():
        if not is_relative(path):
            raise ValueError(f"report names {path!r}, which does not lie in it")


def _check_layer(layer: LayerRecord) -> None:
    name = f"layer {layer.name}"
    if not FOLDER.fullmatch(layer.folder) or layer.folder.lower() in RESERVED:
        raise ValueError(f"{name} has the folder {layer.folder!r}, which can't be one beside it")
    if not layer.name:
        raise ValueError("a layer has no name")
    if layer.geometry not in get_args(Geometry):
        raise ValueError(f"{name} has the geometry {layer.geometry!r}")
    if not all(1 <= n <= MOST for n in layer.shape):
        raise ValueError(f"{name} has the shape {list(layer.shape)}")
    for axis in layer.field or ():
        if not all(abs(n) <= MOST for n in axis) or min(axis[1:]) < 0:
            raise ValueError(f"{name} has the field {list(axis)}")
    for number in (layer.summary.rank, layer.summary.positions):
        if number is not None and not 0 <= number < 2**63:
            raise ValueError(f"{name} has a summary with {number}")
    _check_sums(f"{name}, sha256", layer.sha256)


def _check_sums(name: str, sums: Mapping[str, str]) -> None:
    for file, digest in sums.items():
        if not is_relative(file) or "/" in file:
            raise ValueError(f"{name} names {file!r}, which is no file there")
        if not DIGEST.fullmatch(digest):
            raise ValueError(f"{name} has no SHA-256 of {file!r}")


def _check_provenance(known: Mapping[str, Any]) -> None:
    """See that what is read of it again can be read; the rest is only shown."""
    rotation, model, dataset = (table(known, name) for name in ("rotation", "model", "dataset"))
    Settings(rotate=decode(float, rotation.get("power", 0.0), "rotation.power"))
    decode(int, rotation.get("seed", 1), "rotation.seed")
    Settings(rotate=decode(float | None, model.get("rotate"), "model.rotate"))
    decode(int | None, model.get("rotate_seed"), "model.rotate_seed")
    for name in ("weights_sha256", "file_sha256"):
        decode(str | None, model.get(name), f"model.{name}")
    for name in ("pack", "fingerprint"):
        if "\0" in (decode(str | None, dataset.get(name), f"dataset.{name}") or ""):
            raise ValueError(f"dataset.{name} is no text that a path or a checksum can be")
