"""A run that meets damage in a pack of the cache begins anew with a new pack, once, and says so."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

from ndengine.datasets.pack import PACK_NAME
from ndengine.errors import UnusablePackError
from ndengine.progress import SILENT, Progress

Asked = ParamSpec("Asked")
Given = TypeVar("Given")


def packing_again(work: Callable[Asked, Given]) -> Callable[Asked, Given]:
    """Let a function with the keywords ``cache`` and ``progress`` begin anew where a pack in the cache was damaged.

    Damage to images and labels shows when they are read, so long after the pack was opened. A pack that the user has
    given by name is left alone: nobody but the user knows what it was made of.
    """

    @functools.wraps(work)
    def wrapper(*args: Asked.args, **kwargs: Asked.kwargs) -> Given:
        try:
            return work(*args, **kwargs)
        except UnusablePackError as error:
            if not _give_up(error, Path(cast(Path, kwargs["cache"]))):
                raise
            cast(Progress, kwargs.get("progress", SILENT)).note(f"{error} Packing again.")
        return work(*args, **kwargs)

    return wrapper


def _give_up(error: UnusablePackError, cache: Path) -> bool:
    """Delete a damaged pack if it is one of the cache, and still the file that was read."""
    path = error.path
    if path is None or path.parent.absolute() != cache.absolute() or PACK_NAME.fullmatch(path.name) is None:
        return False
    try:
        state = os.stat(path)
        if error.identity == (state.st_dev, state.st_ino):
            path.unlink()
    except FileNotFoundError:
        pass  # another run was faster
    except OSError:
        return False
    return True
