"""The checksums of a pack, worked out from what FORMAT.md says of them and not with the engine's own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

RAGGED = ("code_area", "code_entries", "entry_concept", "entry_times", "whole_concept", "whole_times")


def hexadecimal(data: bytes) -> str:
    return xxhash.xxh3_64_hexdigest(data)


def parts(name: str, array: Any) -> list[bytes]:
    """What has a checksum of its own: rows of images and codes, blocks of 65,536 elements of the others."""
    if name in RAGGED:
        return [array[i : i + 65536].tobytes() for i in range(0, len(array), 65536)]
    return [row.tobytes() for row in array]


def sums_of(name: str, array: Any) -> Any:
    return np.array([xxhash.xxh3_64_intdigest(part) for part in parts(name, array)], "<u8")


def manifest_of(file: Any) -> dict[str, Any]:
    arrays: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("checksums/"):
            array = item[()]
            summed = name in ("images", "codes", *RAGGED)
            data = sums_of(name, array).tobytes() if summed else array.tobytes()
            arrays[name] = [item.dtype.str, list(item.shape), hexadecimal(data)]

    file.visititems(visit)
    attributes = {}
    for name, value in file.attrs.items():
        if name != "checksum":
            attributes[name] = hexadecimal(value if isinstance(value, bytes) else str(value).encode())
    return {"attributes": attributes, "arrays": arrays}


def reseal(path: Path) -> None:
    """Make the checksums of a pack fit what is in it now."""
    with h5py.File(path, "r+") as file:
        for name in ("images", "codes", *RAGGED):
            if name in file:
                del file[f"checksums/{name}"]
                file[f"checksums/{name}"] = sums_of(name, file[name][()])
        del file["checksums/manifest"]
        text = json.dumps(manifest_of(file)).encode()
        file["checksums/manifest"] = np.frombuffer(text, np.uint8)
        file.attrs["checksum"] = np.bytes_(hexadecimal(text))
