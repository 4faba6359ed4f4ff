"""Editing ``result.json`` in tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ndengine.result_record import sealed


def edit_record(folder: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> None:
    """Change ``result.json`` as its writer could have written it, with the checksum that goes with it."""
    record = json.loads((folder / "result.json").read_text())
    change(record)
    (folder / "result.json").write_text(json.dumps(sealed(record) if seal else record))


def age_record(record: dict[str, Any]) -> None:
    """Make a record one of before there were checksums of all and a list of the report's files."""
    del record["report"], record["record_sha256"]
    for layer in record["layers"]:
        del layer["sha256"]["units.csv"]
