"""Every Numba flag, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Compile for the CPU: cached on disk, without the GIL, rounding as IEEE 754 says, nothing reassociated.

    ``fastmath`` stays off: a fused or reordered multiply-add moves mask pixels. The kernels run in plain
    Python threads, which need no threading layer and give the same integers for any number of threads.
    """
    compiled = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", boundscheck=False)
    return cast(F, compiled(function))
