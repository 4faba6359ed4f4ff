from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ndcli import show as show_module
from ndengine.errors import (
    DatasetError,
    FailedRunsError,
    ModelError,
    NdengineError,
    ResultError,
    SeriesError,
    SettingsError,
    SpoolError,
)
from tests.cli.conftest import Invoke


def test_version(invoke: Invoke) -> None:
    done = invoke("--version")
    assert (done.exit_code, done.stdout) == (0, "ndengine, version 0.1.0\n")


def test_commands_are_listed_in_the_order_of_use(invoke: Invoke) -> None:
    done = invoke("--help")
    listed = [line.split()[0] for line in done.stdout.split("Commands:\n")[1].splitlines()]
    assert listed == ["run", "show", "report", "sweep", "compare", "paper", "layers", "models", "data", "cache"]


@pytest.mark.parametrize("arguments", [("dissect",), ("run", "--modle", "x"), ("show",), ("data", "unpack")], ids=str)
def test_a_wrong_call_exits_with_2(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Error: " in done.stderr


def raising(error: BaseException) -> Any:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NdengineError, 1),
        (DatasetError, 1),
        (ModelError, 1),
        (ResultError, 1),
        (SpoolError, 1),
        (SettingsError, 2),
        (SeriesError, 2),
        (FailedRunsError, 1),
    ],
)
def test_an_expected_failure_is_one_line(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, error: type[NdengineError], code: int
) -> None:
    monkeypatch.setattr("ndengine.result.load", raising(error("x is wrong; do y.")))
    done = invoke("show", "folder", "--unit", 1)
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", "Error: x is wrong; do y.\n")


def test_a_bug_keeps_its_traceback(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndengine.result.load", raising(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        invoke("show", "folder", "--unit", 1)


def test_an_interruption_says_how_to_go_on(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndengine.result.load", raising(KeyboardInterrupt()))
    done = invoke("show", "folder", "--unit", 1)
    assert done.exit_code == 130
    assert done.stderr.strip() == "Interrupted. The same command goes on from what had reached the disk."


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    """As in ``ndengine --help | head -1``."""
    command = f"set -o pipefail; {sys.executable} -m ndcli run --help | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=Path(show_module.__file__).parents[1], capture_output=True, text=True
    )
    assert done.stdout.startswith("Usage: ")
    assert "Traceback" not in done.stderr
