"""Whether a file can be read from its beginning to its end."""

from __future__ import annotations

from os.path import exists, isfile
from pathlib import Path


def is_irregular(path: Path) -> bool:
    """Whether something else than a file lies there; to open a pipe would wait for its writer, perhaps for ever."""
    return exists(path) and not isfile(path)
