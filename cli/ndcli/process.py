"""What the command sets in its own process for speed; a library must leave its host's as they are."""

from __future__ import annotations

import gc

from ndcli.allocator import keep_memory
from ndcli.openmp import spin_briefly

# Container objects that are new before the collector looks for cycles among them. By default it is 700: importing torch
# and numba then goes through all of their objects seven times, and the report once more, 0.6 s in all.
NEW_OBJECTS = 100_000


def tune_process() -> None:
    """Set the allocator, OpenMP's waiting and the garbage collector; call it before torch is loaded."""
    spin_briefly()
    keep_memory()
    gc.set_threshold(NEW_OBJECTS, 20, 20)
