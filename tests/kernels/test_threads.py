"""Parts of a call: all are done once, side by side, and an error of any of them arrives."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ndkernels.threads import run_parts, run_work, split_range

ROOT = Path(__file__).resolve().parents[2]


def test_parts_run_side_by_side() -> None:
    meeting = threading.Barrier(3, timeout=30)
    seen: list[int] = []

    def part(p: int) -> None:
        meeting.wait()
        seen.append(p)

    run_parts(part, 3)
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize("parts", [1, 3])
def test_the_error_of_a_part_is_raised(parts: int) -> None:
    def part(p: int) -> None:
        if p == parts - 1:
            raise KeyError("the last one")

    with pytest.raises(KeyError, match="the last one"):
        run_parts(part, parts)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_threads_work_in_a_forked_child() -> None:
    """Such as a data loader's worker: it inherits the pool's record, but none of its threads."""
    code = """
import os, threading
from ndkernels.threads import run_parts
meeting = threading.Barrier(2)
run_parts(lambda p: meeting.wait(), 2)
child = os.fork()
if child == 0:
    threading.Timer(20, os._exit, [3]).start()
    again = threading.Barrier(2)
    run_parts(lambda p: again.wait(), 2)  # the caller alone can't do both
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "7"


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("parts", [1, 2, 5, 40])
def test_each_part_is_done_once(parts: int, threads: int) -> None:
    seen: list[int] = []
    run_parts(seen.append, parts, threads)
    assert sorted(seen) == list(range(parts))


def test_no_more_threads_work_than_were_asked_for() -> None:
    names: set[str] = set()

    def part(p: int) -> None:
        names.add(threading.current_thread().name)
        time.sleep(1e-3)

    run_parts(part, 30, 2)
    assert threading.current_thread().name in names
    assert len(names) <= 2


def test_a_thread_that_wakes_too_late_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from ndkernels import threads

    busy, free = threading.Event(), threading.Event()
    pool = threads.ThreadPoolExecutor(1)
    pool.submit(lambda: (busy.set(), free.wait(30)))
    assert busy.wait(30)
    monkeypatch.setattr(threads, "_pool", lambda _: pool)
    seen: list[int] = []
    run_parts(seen.append, 8, 2)  # the pool's only thread is held until this has returned
    assert seen == list(range(8))
    free.set()
    pool.shutdown()
    assert seen == list(range(8))


@pytest.mark.parametrize("threads", [1, 2])
def test_after_an_error_no_part_is_begun(threads: int) -> None:
    seen: list[int] = []

    def part(p: int) -> None:
        seen.append(p)
        raise KeyError(p)

    with pytest.raises(KeyError):
        run_parts(part, 50, threads)
    assert len(seen) <= threads


@pytest.mark.parametrize(("parts", "threads"), [(0, 1), (3, 0), (3, -1)])
def test_numbers_below_one_are_refused(parts: int, threads: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        run_parts(lambda p: None, parts, threads)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("length", [0, 1, 2, 11, 1000])
def test_pieces_cover_the_whole_range(length: int, threads: int) -> None:
    pieces: list[tuple[int, int]] = []
    run_work(length, threads, lambda first, last: pieces.append((first, last)))
    assert [i for first, last in sorted(pieces) for i in range(first, last)] == list(range(length))
    assert len(pieces) == 1 or threads > 1


def test_no_piece_is_smaller_than_the_least() -> None:
    pieces: list[int] = []
    run_work(50, 3, lambda first, last: pieces.append(last - first), least=16)
    assert sum(pieces) == 50
    assert len(pieces) == 3
    assert min(pieces) >= 16


def test_ranges_are_split_evenly() -> None:
    assert split_range(10, 4) == [0, 2, 5, 7, 10]
    with pytest.raises(ValueError, match="parts must be at least 1, not 0"):
        split_range(10, 0)
