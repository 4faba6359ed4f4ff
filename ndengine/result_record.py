"""``result.json``: what a run was asked for, how it came about and what it found; it is written last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ndengine.errors import ResultError
from ndengine.result_files import AGAIN, write_text
from ndengine.score import Summary

FORMAT = "ndengine-result"
VERSION = 1
RECORD = "result.json"

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
    """

    settings: dict[str, Any]
    min_images: int
    provenance: dict[str, Any]
    image_size: tuple[int, int]
    label_size: tuple[int, int]
    images: int
    sha256: dict[str, str]
    layers: tuple[LayerRecord, ...]


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
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_text(folder / RECORD, text + "\n")


def read_record(folder: Path) -> ResultRecord:
    """Read ``result.json`` of a finished run.

    Raises
    ------
    ResultError
        If the folder is missing, its run has not finished, or the file is damaged or of another version.
    """
    path = folder / RECORD
    if not folder.is_dir():
        raise ResultError(f"{folder} is no folder; name the --out of a finished run.")
    if not path.exists():
        raise ResultError(
            f"{folder} has no {RECORD}: it is no result or its run did not finish; run the same command again."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{path} can't be read as JSON ({error}); {AGAIN}.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ResultError(f"{path} is no result of ndengine; name the --out of a finished run.")
    if content.get("version") != VERSION:
        raise ResultError(
            f"{path} has format version {content.get('version')} and this ndengine reads {VERSION}; "
            f"use the ndengine that wrote it, or {AGAIN}."
        )
    try:
        return _result(content)
    except KeyError as error:
        raise ResultError(f"{path} is damaged (no entry {error}); {AGAIN}.") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise ResultError(f"{path} is damaged ({error}); {AGAIN}.") from None


def is_result(folder: Path) -> bool:
    """Whether the folder's ``result.json`` is one of ours, of whatever version."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def _result(content: Mapping[str, Any]) -> ResultRecord:
    return ResultRecord(
        settings=dict(content["settings"]),
        min_images=int(content["min_images"]),
        provenance=dict(content["provenance"]),
        image_size=_pair(content["image_size"]),
        label_size=_pair(content["label_size"]),
        images=int(content["images"]),
        sha256=dict(content["sha256"]),
        layers=tuple(_layer(layer) for layer in content["layers"]),
    )


def _layer(content: Mapping[str, Any]) -> LayerRecord:
    field = content["field"]
    return LayerRecord(
        name=str(content["name"]),
        path=str(content["path"]),
        folder=str(content["folder"]),
        shape=_pair(content["shape"]),
        geometry=str(content["geometry"]),
        field=None if field is None else (_axis(field[0]), _axis(field[1])),
        summary=Summary.from_record(content["summary"]),
        sha256=dict(content["sha256"]),
    )


def _pair(values: list[int]) -> tuple[int, int]:
    first, second = map(int, values)
    return first, second


def _axis(values: list[int]) -> FieldAxis:
    offset, size, stride = map(int, values)
    return offset, size, stride
