"""Signals in the middle of a run: what there is gets kept, the command says where it goes on, and goes on there."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ndengine
from ndcli import interruption
from ndengine import spool_files
from tests.cli.conftest import NETWORK, Invoke

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def signalled(network: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the network send a signal to its own process when it has seen eleven images, those of its trace too."""
    network.write_text(
        NETWORK.replace("raise KeyboardInterrupt", "os.kill(os.getpid(), int(os.environ['TEST_SIGNAL']))")
    )

    def choose(number: int) -> None:
        if number:
            monkeypatch.setenv("TEST_SIGNAL", str(int(number)))
            monkeypatch.setenv("TEST_INTERRUPT_AFTER", "11")
        else:
            monkeypatch.delenv("TEST_INTERRUPT_AFTER")

    return choose


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*")) if "relu2" in str(path)
    }


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("kind", ["disk", "auto"])
def test_a_signal_keeps_what_there_is(
    kind: str,
    number: signal.Signals,
    invoke: Invoke,
    arguments: list[str],
    signalled: Callable[[int], None],
    tmp_path: Path,
) -> None:
    arguments[-1] = kind
    before = [signal.getsignal(other) for other in SIGNALS]
    signalled(number)
    done = invoke(*arguments)
    assert done.exit_code == 128 + number
    assert [signal.getsignal(other) for other in SIGNALS] == before
    kept = int(done.stderr.splitlines()[-1].split()[3])
    assert 0 < kept < 12
    assert done.stderr.splitlines()[-1] == f"Interrupted at image {kept} of 12; the same command goes on there."
    assert [path.name for path in (tmp_path / "out" / "unfinished" / "spool" / "relu2").iterdir()]
    signalled(0)
    again = invoke(*arguments)
    assert again.exit_code == 0, again.output
    assert f"Note: The run goes on at image {kept} of 12, where it was interrupted." in again.stderr
    assert ndengine.load(tmp_path / "out").provenance["images_probed"] == 12 - kept
    assert invoke(*arguments, "--out", tmp_path / "whole").exit_code == 0
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["memory", "dense"])
def test_what_keeps_nothing_says_so(
    kind: str, invoke: Invoke, arguments: list[str], signalled: Callable[[int], None]
) -> None:
    arguments[-1] = kind
    signalled(signal.SIGINT)
    done = invoke(*arguments, "--quiet")
    assert done.exit_code == 130
    assert done.stderr.endswith(f"of 12; --spool {kind} keeps nothing, so the same command begins anew.\n")
    signalled(0)
    again = invoke(*arguments)
    assert again.exit_code == 0
    assert "goes on at" not in again.stderr


def test_a_second_signal_leaves_nothing_half(
    invoke: Invoke,
    arguments: list[str],
    signalled: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = spool_files.write_checked

    def again(path: Path, content: memoryview) -> None:
        write(path, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGTERM)
        write(path, content)

    signalled(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(spool_files, "write_checked", again)
        done = invoke(*arguments)
    assert done.exit_code == 130
    assert "Interrupted. The same command goes on" in done.stderr
    assert [path.name for path in (tmp_path / "out" / "unfinished" / "spool" / "relu2").iterdir()] == ["spool.json"]
    signalled(0)
    assert invoke(*arguments).exit_code == 0
    assert ndengine.load(tmp_path / "out").provenance["images_probed"] == 12


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruption.signals_interrupting() as received:
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert received == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nothing_is_changed_in_a_thread(invoke: Invoke) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(invoke("--version").exit_code))
    handler = signal.getsignal(signal.SIGTERM)
    thread.start()
    thread.join()
    assert codes == [0]
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_third_signal_is_the_last() -> None:
    before: Any = signal.getsignal(signal.SIGTERM)
    with interruption.signals_interrupting() as received:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert received == [signal.SIGTERM] * 2
    assert interruption.exit_code(received) == 143
    assert signal.getsignal(signal.SIGTERM) is before
