"""Shared fixtures. The compilers' caches go to fresh folders: a stale one must never decide a test."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

if "NUMBA_CACHE_DIR" not in os.environ:  # set before anything imports numba; workers of pytest-xdist inherit it
    os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="ndengine-numba-")
if "TRITON_CACHE_DIR" not in os.environ:
    os.environ["TRITON_CACHE_DIR"] = tempfile.mkdtemp(prefix="ndengine-triton-")

import pytest
import torch


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    """A GPU; where there is none, the test is skipped."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda:0")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and reference results beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder.name} with real data beside the repository")
    return folder
