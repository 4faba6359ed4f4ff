"""Weights from a caffemodel: for each layer its blobs, as they lie in the file."""

from __future__ import annotations

import mmap
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndengine.errors import ModelError
from ndengine.models.caffe.options import MOST, short
from ndengine.models.caffe.wire import BYTES, EIGHT, FOUR, VARINT, Wire, WireReader
from ndengine.models.regular import is_irregular

SUFFIX = ".caffemodel"
MOST_BLOBS = 2**13  # of a file, and as many layers; ResNet-152 has 1000
MOST_AXES = 32  # Caffe's own limit

# Numbers of fields, from caffe.proto: of a network, a layer as it is now and as it was in 2014, a blob, a shape.
_LAYERS_OLD, _LAYERS = 2, 100
_NAME, _BLOBS = 1, 7
_NAME_OLD, _BLOBS_OLD, _FIRST_FORMAT = 4, 6, 1
_SIDES, _DATA, _SHAPE, _DOUBLES = (1, 2, 3, 4), 5, 7, 8
_DIM = 1

Blobs = dict[str, list[Tensor]]


def read_caffemodel(path: Path) -> Blobs:
    """The blobs of a caffemodel.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to list of Tensor
        Float32, by the name of the layer; layers without blobs are left out, and of layers with one name the
        last is taken, as Caffe does. Where the file packs its numbers, tensors are views of the file, mapped.

    Raises
    ------
    ModelError
        If the file is missing, no regular one, damaged, or in Caffe's first format.
    """
    remedy = "give --weights an existing file, default or random."
    if is_irregular(path):
        raise ModelError(f"{path} can't be read (it is no regular file); {remedy}")
    try:
        with path.open("rb") as file:
            # Copied where it is written to, which nobody does: torch warns of memory that can't be.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except ValueError:
        raise ModelError(f"{path} is empty; get it again.") from None
    except OSError as error:
        raise ModelError(f"{path} can't be read ({error.strerror}); {remedy}") from None
    return parse_caffemodel(np.frombuffer(mapped, np.uint8), str(path))


def parse_caffemodel(data: NDArray[np.uint8], source: str) -> Blobs:
    """The blobs of a caffemodel in memory.

    Parameters
    ----------
    data : ndarray of uint8
    source : str
        What errors call it.

    Raises
    ------
    ModelError
        As :func:`read_caffemodel`.
    """
    return _Reader(data, source).read()


class _Reader:
    def __init__(self, data: NDArray[np.uint8], source: str) -> None:
        self._wire = WireReader(data, source)
        self._source = source
        self._count = 0

    def read(self) -> Blobs:
        found: Blobs = {}
        layers = 0
        for field in self._wire.fields(0, len(self._wire.data)):
            if field.number in (_LAYERS, _LAYERS_OLD):
                self._expect(field, BYTES)
                layers += 1
                if layers > MOST_BLOBS:
                    raise self._wire.damaged(field.start, f"it has more than {MOST_BLOBS:,} layers")
                name, blobs = self._layer(field, is_old=field.number == _LAYERS_OLD)
                if blobs:
                    found[name] = blobs
        if not found:
            raise ModelError(f"{self._source} holds no layer with weights; give --weights a caffemodel.")
        return found

    def _layer(self, layer: Wire, is_old: bool) -> tuple[str, list[Tensor]]:
        name, blobs = "", []
        name_number, blobs_number = (_NAME_OLD, _BLOBS_OLD) if is_old else (_NAME, _BLOBS)
        for field in self._wire.fields(layer.start, layer.end):
            if field.number == name_number:
                self._expect(field, BYTES)
                name = self._wire.text(field)
            elif field.number == blobs_number:
                self._expect(field, BYTES)
                blobs.append(field)
            elif is_old and field.number == _FIRST_FORMAT:
                raise ModelError(
                    f"{self._source} is in Caffe's first format, of 2013; bring it up to date with Caffe's tool "
                    "upgrade_net_proto_binary."
                )
        self._count += len(blobs)
        if self._count > MOST_BLOBS:
            raise self._wire.damaged(layer.start, f"it has more than {MOST_BLOBS:,} blobs")
        return name, [self._blob(blob, name) for blob in blobs]

    def _blob(self, blob: Wire, layer: str) -> Tensor:
        singles: list[NDArray[Any]] = []
        doubles: list[NDArray[Any]] = []
        shape: list[int] = []
        sides: dict[int, int] = {}
        for field in self._wire.fields(blob.start, blob.end):
            if field.number == _DATA:
                singles.append(self._numbers(field, FOUR, "<f4"))
            elif field.number == _DOUBLES:
                doubles.append(self._numbers(field, EIGHT, "<f8"))
            elif field.number == _SHAPE:
                self._expect(field, BYTES)
                shape += self._dims(field)
            elif field.number in _SIDES:
                self._expect(field, VARINT)
                sides[field.number] = field.value
        if sides:  # with these, Caffe does not look at a shape
            shape = [sides.get(number, 0) for number in _SIDES]
        parts = doubles or singles
        found = sum(map(len, parts))
        # Beside a side of 0, too, the others may not multiply beyond a size: torch reckons with them.
        if len(shape) > MOST_AXES or prod(side or 1 for side in shape) > MOST or prod(shape) != found:
            text = "x".join(map(str, shape[:MOST_AXES])) or "of one value"
            raise self._wire.damaged(
                blob.start, f"a blob of layer {short(layer)} has {found:,} values for the shape {text:.80}"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # of doubles beyond float32
            parts = [part.astype(np.float32, copy=False) for part in parts]
        whole = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.float32), *parts])
        return torch.from_numpy(whole).view(shape)

    def _numbers(self, field: Wire, kind: int, dtype: str) -> NDArray[Any]:
        """The values of a field of numbers, packed or one by one."""
        width = 8 if kind == EIGHT else 4
        if field.kind == BYTES:
            if (field.end - field.start) % width:
                raise self._wire.damaged(field.start, f"a row of numbers is no multiple of {width} bytes long")
            return self._wire.data[field.start : field.end].view(dtype)
        self._expect(field, kind)
        if field.count == 1:
            return self._wire.data[field.start : field.end].view(dtype)
        row = self._wire.data[field.start - 1 : field.end].reshape(field.count, width + 1)
        return row[:, 1:].copy().view(dtype)[:, 0]

    def _dims(self, shape: Wire) -> list[int]:
        dims: list[int] = []
        for field in self._wire.fields(shape.start, shape.end):
            if field.number != _DIM:
                continue
            if field.kind == VARINT:
                dims.append(field.value)
                continue
            self._expect(field, BYTES)
            place = field.start
            while place < field.end and len(dims) <= MOST_AXES:
                value, place = self._wire.varint(place, field.end)
                dims.append(value)
        return dims[: MOST_AXES + 1]

    def _expect(self, field: Wire, kind: int) -> None:
        if field.kind != kind:
            raise self._wire.damaged(field.start, f"field {field.number} has the type {field.kind} instead of {kind}")
