"""Plain threads for compiled functions that release the GIL."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from threading import Lock

PIECES = 4  # of a thread's share of the work: what it may come too late for
PATIENCE = 1e-3  # seconds


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="ndkernels")


# A forked child, such as a loader's worker, has none of the pool's threads and would wait for them forever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def split_range(length: int, parts: int) -> list[int]:
    """Edges of ``parts`` even pieces of ``range(length)``: piece p is ``edges[p] : edges[p + 1]``.

    Raises
    ------
    ValueError
        If there is not at least one part.
    """
    _check_at_least_one("parts", parts)
    return [length * p // parts for p in range(parts + 1)]


def run_parts(part: Callable[[int], object], parts: int, threads: int | None = None) -> None:
    """Call ``part(0) … part(parts - 1)`` on several threads, the caller's own among them, and return behind the last.

    Whoever is done with one part takes the next. Waking a thread can take as long as a small call, so where there are
    more parts than threads the caller goes on with them until the others are awake, and does not wait for one that
    comes too late.

    Parameters
    ----------
    part : callable
        Given the number of the part; different parts must write to different places.
    parts : int
        How many.
    threads : int or None
        How many threads; as many as parts unless given.

    Raises
    ------
    ValueError
        If there is not at least one part and one thread.
    Exception
        What a part raised, the caller's own first; parts that nobody had begun are not called.
    """
    threads = parts if threads is None else threads
    _check_at_least_one("threads", threads)
    _check_at_least_one("parts", parts)
    threads = min(threads, parts)
    if threads == 1:
        for p in range(parts):
            part(p)
        return
    numbers, lock = iter(range(parts)), Lock()

    def work() -> None:
        nonlocal numbers
        while True:
            with lock:
                p = next(numbers, None)
            if p is None:
                return
            try:
                part(p)
            except BaseException:
                with lock:
                    numbers = iter(())
                raise

    others = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        others = [other for other in others if not other.cancel()]
        # They are about to be done: to sleep, and be woken by the last of them, would take longer than most of them do.
        patience = time.monotonic() + PATIENCE
        while not all(other.done() for other in others) and time.monotonic() < patience:
            time.sleep(0)
        wait(others)
    for other in others:
        other.result()


def run_work(length: int, threads: int, piece: Callable[[int, int], object], *, least: int = 1) -> None:
    """Call ``piece(first, last)`` on pieces of ``range(length)`` that may be done in any order, by :func:`run_parts`.

    One thread does all in one piece; several take a few pieces each, of at least ``least`` items, for which it is worth
    asking another thread.

    Parameters
    ----------
    length : int
        How many items there are.
    threads : int
        How many threads.
    piece : callable
        Given the first item and one past the last; different pieces must write to different places.
    least : int
        The fewest items of a piece, if there are that many.

    Raises
    ------
    ValueError
        If there is not at least one thread.
    Exception
        As :func:`run_parts` does.
    """
    _check_at_least_one("threads", threads)
    edges = split_range(length, 1 if threads == 1 else max(1, min(length // least, threads * PIECES)))
    run_parts(lambda p: piece(edges[p], edges[p + 1]), len(edges) - 1, threads)


def _check_at_least_one(what: str, number: int) -> None:
    if number < 1:
        raise ValueError(f"{what} must be at least 1, not {number}")
