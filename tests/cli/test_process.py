"""The command sets up its own process, and importing it sets nothing."""

from __future__ import annotations

import subprocess
import sys

from ndcli.process import NEW_OBJECTS


def test_the_collector_is_asked_rarely_by_the_command_alone() -> None:
    code = """
import gc
before = gc.get_threshold()
import ndcli.main, ndengine, ndkernels
print(gc.get_threshold() == before, before[0])
from ndcli.process import tune_process
tune_process()
print(gc.get_threshold()[0], gc.isenabled())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    same, before, after, enabled = done.stdout.split()
    assert (same, after, enabled) == ("True", str(NEW_OBJECTS), "True")
    assert int(before) < NEW_OBJECTS
