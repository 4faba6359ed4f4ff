"""Torch's idle threads sleep soon, unless the user has said how they wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ndcli.openmp import SPIN_COUNT, spin_briefly


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)


def test_threads_spin_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "1")  # so that what is set below is taken back
    del os.environ["GOMP_SPINCOUNT"]
    assert spin_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == str(SPIN_COUNT)


@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "active")])
def test_what_the_user_has_set_stays(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert not spin_briefly()
    assert os.environ[name] == value
    assert len({"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ)) == 1


def test_a_run_sets_it_before_torch_is_loaded() -> None:
    code = """
import os, sys
from ndcli import process, run

def stop():
    print(os.environ["GOMP_SPINCOUNT"], "torch" in sys.modules)
    raise SystemExit(0)

process.keep_memory = stop
run.run(["--model", "scenesnet"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(SPIN_COUNT), "False"]
