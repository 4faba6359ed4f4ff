"""The Triton kernels equal their definition in Triton's interpreter, made strict (see ``strict.py``).

The tests are those of the CPU, in processes of their own: whether Triton interprets is settled when it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed on this system")

ROOT = Path(__file__).resolve().parents[2]
MODES = (
    "all_modes or threshold_of_zero or by_hand or touched_is or added_to or strided or list_of_maps or no_labels "
    "or belong_to_their_image"
)
SHAPES = (
    "test_large_shapes[(112, 112)-(97, 131)]",
    "test_large_shapes[(55, 55)-(112, 112)]",
    "test_large_shapes[(14, 14)-(113, 113)]",
    "test_large_shapes[(7, 7)-(97, 131)]",
    "test_hundreds_of_concepts_in_an_image[True]",
)
SIEVE = (
    "streams or survivors_of_a_batch or (large_maps and not 112) or constant or equal_to or empty or splitting "
    "or not_finite or largest or portions"
)
PARTS = {
    "tally, modes": ["tests/kernels/test_tally.py", "-k", MODES],
    "tally, shapes": [*(f"tests/kernels/test_tally.py::{name}" for name in SHAPES)],
    "tally, codes": ["tests/kernels/interpreted_codes.py"],
    "sieve, steps": ["tests/kernels/interpreted_sieve.py"],
    "sieve": ["tests/kernels/test_sieve.py", "tests/kernels/test_compaction.py", "-k", SIEVE],
    "masks": ["tests/kernels/test_grid.py", "-k", "mask"],
    "whole runs": ["tests/engine/interpreted_run.py"],
}


def through_triton(*arguments: str, interpret: bool = True) -> subprocess.CompletedProcess[str]:
    """Run tests through Triton in another process."""
    paths = [str(ROOT / "tests"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "TRITON_INTERPRET": str(int(interpret)), "PYTHONPATH": os.pathsep.join(paths)}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "kernels.as_gpu", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_kernels_equal_naive(part: str) -> None:
    done = through_triton(*PARTS[part])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_the_interpreter_is_strict() -> None:
    """What it must catch, it catches: see ``interpreted_strictness.py``."""
    done = through_triton("tests/kernels/interpreted_strictness.py")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
