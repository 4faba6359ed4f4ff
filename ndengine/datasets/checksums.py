"""Checksums of a pack: what they cover, how they are written, and how a reader finds what is damaged.

XXH3 of 64 bits, over the bytes as they lie in the file. Each image and each label map has one of its own, and so has
each block of a ragged array: whoever reads a part can tell whether it is what was written. All of these, and everything
else in the file, are listed in a manifest, whose own checksum is the attribute that is written last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

BLOCK = 1 << 16  # elements of a ragged array under one checksum
GROUP, MANIFEST, SEAL = "checksums", "checksums/manifest", "checksum"

Manifest = dict[str, Any]


class MismatchError(ValueError):
    """Something that is not what its checksum says; the message names it."""


def checksum(data: Any) -> int:
    """XXH3 of 64 bits of an array or of bytes."""
    return int(xxhash.xxh3_64_intdigest(data))


def row_sums(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """``[B]`` checksum of each row of a contiguous array ``[B, …]``."""
    return np.fromiter(map(checksum, rows), np.uint64, len(rows))


class BlockSums:
    """Checksums of an array that arrives in pieces, one for each block of it."""

    def __init__(self) -> None:
        self._whole: list[int] = []
        self._state = xxhash.xxh3_64()
        self._left = BLOCK

    def add(self, piece: NDArray[Any]) -> None:
        """Take in the elements that follow."""
        while len(piece):
            part, piece = piece[: self._left], piece[self._left :]
            self._state.update(part.data)
            self._left -= len(part)
            if not self._left:
                self._end_block()

    def finish(self) -> NDArray[np.uint64]:
        """The checksums, that of a last block that is not full included."""
        if self._left < BLOCK:
            self._end_block()
        return np.array(self._whole, np.uint64)

    def _end_block(self) -> None:
        self._whole.append(self._state.intdigest())
        self._state.reset()
        self._left = BLOCK


def check_rows(rows: NDArray[Any], sums: NDArray[np.uint64]) -> int | None:
    """The place of the first of ``[B, …]`` rows that does not match its checksum, ``[B]``; None where all do."""
    wrong = np.flatnonzero(row_sums(rows) != sums)
    return int(wrong[0]) if len(wrong) else None


def check_blocks(name: str, array: NDArray[Any], sums: NDArray[np.uint64]) -> None:
    """Compare an array, or whole blocks of one, with the checksums of its blocks.

    Raises
    ------
    MismatchError
        If a block does not match.
    """
    for number, known in enumerate(sums.tolist()):
        if checksum(array[number * BLOCK : (number + 1) * BLOCK]) != known:
            raise MismatchError(f"{name} does not match its checksum")


def write_seal(file: Any, sums: Mapping[str, NDArray[np.uint64]]) -> None:
    """Write the checksums of a file's parts, the manifest of all that is in it, and the checksum of that.

    Parameters
    ----------
    file : h5py.File
        The pack, complete but for its checksums.
    sums : mapping
        Checksums of the arrays that have them by row or block.
    """
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "dtype") else None)
    manifest: Manifest = {
        "attributes": {
            name: _digest(attribute_text(file, name).encode("utf-8", "surrogateescape")) for name in file.attrs
        },
        "arrays": {name: describe(file[name], sums.get(name)) for name in sorted(names)},
    }
    for name, values in sums.items():
        file[f"{GROUP}/{name}"] = values
    text = json.dumps(manifest, indent=1).encode()
    file[MANIFEST] = np.frombuffer(text, np.uint8)
    file.flush()
    file.attrs[SEAL] = np.bytes_(_digest(text))


def read_manifest(file: Any) -> Manifest:
    """What a file's manifest lists.

    Raises
    ------
    MismatchError
        If it is damaged.
    """
    text = file[MANIFEST][()].tobytes()
    if _digest(text) != attribute_text(file, SEAL):
        raise MismatchError("its list of checksums does not match its own checksum")
    manifest: Manifest = json.loads(text)
    return manifest


def check_attribute(file: Any, name: str, manifest: Manifest) -> str:
    """The text of an attribute that the manifest vouches for; raises MismatchError otherwise."""
    text = attribute_text(file, name)
    if _text_digest(text) != manifest["attributes"].get(name):
        raise MismatchError(f"its attribute {name} does not match its checksum")
    return text


def check_array(file: Any, name: str, manifest: Manifest, sums: NDArray[np.uint64] | None = None) -> None:
    """Compare an array with the manifest: its type, its shape, and its bytes or the checksums of its parts.

    Raises
    ------
    MismatchError
        If it is not what was written.
    """
    if describe(file[name], sums) != manifest["arrays"].get(name):
        raise MismatchError(f"{name} does not match its checksum")


def describe(data: Any, sums: NDArray[np.uint64] | None = None) -> list[Any]:
    """Type, shape and checksum of an array, the last that of the checksums of its parts where it has them."""
    return [data.dtype.str, list(data.shape), _digest(np.ascontiguousarray(data[()]) if sums is None else sums)]


def attribute_text(file: Any, name: str) -> str:
    """An attribute as text, whichever of HDF5's ways it is stored in."""
    value = file.attrs[name]
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _digest(data: Any) -> str:
    return f"{checksum(data):016x}"


def _text_digest(text: str) -> str:
    return _digest(text.encode("utf-8", "surrogateescape"))
