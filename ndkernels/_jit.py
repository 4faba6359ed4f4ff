"""Every Numba flag, in one place."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def _stamp_sources() -> str:
    """Changes with any source of the kernels."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return f"{zlib.crc32(b''.join(path.read_bytes() for path in sources)):08x}"


_STAMP = _stamp_sources()


def jit(function: F) -> F:
    """Compile for the CPU: cached on disk, without the GIL, rounding as IEEE 754 says, nothing reassociated.

    ``fastmath`` stays off: a fused or reordered multiply-add moves mask pixels. The kernels run in plain
    Python threads, which need no threading layer and give the same integers for any number of threads.
    """
    # Numba looks for changes in the function's own file alone, and would go on with what an older version of another
    # file, such as the vector layer's, was compiled to. It names what it caches by this name.
    name = function.__qualname__
    function.__qualname__ = f"{name}-{_STAMP}"
    compiled: Any = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", boundscheck=False)(function)
    function.__qualname__ = compiled.__qualname__ = name
    return cast(F, compiled)
