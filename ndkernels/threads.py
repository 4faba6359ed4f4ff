"""Plain threads for compiled functions that release the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="ndkernels")


# A forked child, such as a loader's worker, has none of the pool's threads and would wait for them forever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def split_range(length: int, parts: int) -> list[int]:
    """Edges of ``parts`` even pieces of ``range(length)``: piece p is ``edges[p] : edges[p + 1]``."""
    _check_parts(parts)
    return [length * p // parts for p in range(parts + 1)]


def run_parts(part: Callable[[int], object], parts: int) -> None:
    """Call ``part(0) … part(parts - 1)`` side by side, the first on the caller's own thread, and wait for all of them.

    (Were all of them handed to other threads, the system would wake two on one processor, for a while, more often.)

    Parameters
    ----------
    part : callable
        Given the number of the part; different parts must write to different places.
    parts : int
        How many, each on a thread of its own.

    Raises
    ------
    ValueError
        If there is not at least one part.
    Exception
        The first exception that a part raised.
    """
    _check_parts(parts)
    if parts == 1:
        part(0)
        return
    others = [_pool(parts - 1).submit(part, p) for p in range(1, parts)]
    try:
        part(0)
    finally:
        wait(others)
    for future in others:
        future.result()


def _check_parts(parts: int) -> None:
    if parts < 1:
        raise ValueError(f"threads must be at least 1, not {parts}")
