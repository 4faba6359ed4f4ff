"""Where packed datasets and the built-in data are kept between runs."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path


def default_cache() -> Path:
    """The user's own cache folder: ``~/.cache/ndengine`` on Linux, or under ``XDG_CACHE_HOME``."""
    return user_cache_path("ndengine", appauthor=False)
