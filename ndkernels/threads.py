"""Plain threads for compiled functions that release the GIL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="ndkernels")


def run_parts(part: Callable[[int], object], parts: int) -> None:
    """Call ``part(0) … part(parts - 1)`` side by side and wait for all of them.

    Parameters
    ----------
    part : callable
        Given the number of the part; different parts must write to different places.
    parts : int
        How many, each on a thread of its own.

    Raises
    ------
    Exception
        The first exception that a part raised.
    """
    if parts == 1:
        part(0)
        return
    for future in [_pool(parts).submit(part, p) for p in range(parts)]:
        future.result()
