"""Every example runs as its first lines say, and comes to what it promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if path.stem == "own_loop":
        line = next(line for line in done.stdout.splitlines() if line.startswith("unit 2:"))
        assert line.startswith("unit 2: concept 1,")
        assert float(line.rsplit(" ", 1)[1]) > 0.1
    else:
        assert done.stdout.count("%") >= 4
