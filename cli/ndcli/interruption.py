"""How signals end a command: what there is gets written, and the exit code says which signal it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What a shell reports for a command that a signal ended: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
EXIT_CODE = 128
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # of which Windows lacks the last


@contextmanager
def signals_interrupting() -> Iterator[list[int]]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does; gives the list of what has come.

    A second signal interrupts the writing that the first one has begun, which leaves nothing half; a third one ends
    the process there and then. A signal that is ignored, as by ``nohup``, stays so, and in a thread nothing is changed.
    """
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in NAMES:
            number = getattr(signal, name, None)
            if number and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(received: list[int]) -> int:
    """The exit code of a command that signals have ended, by the first of them."""
    return EXIT_CODE + (received[0] if received else signal.SIGINT)
