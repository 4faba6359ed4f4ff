import io
from typing import Any

import pytest

from ndcli import progress
from ndcli.progress import shown


def test_lines_say_what_and_how_fast(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(quiet=False) as listener, listener.stage("Probing", 4, "images") as advance:
        advance(3)
        advance(1)
        listener.note("half-pixel is used.")
    out, err = capsys.readouterr()
    assert out == ""
    first, note, last = err.splitlines()
    assert first == "Probing: 4 images"
    assert note == "Note: half-pixel is used."
    assert last.startswith("Probing: done in ")
    assert last.endswith(" images/s)")


def test_lines_are_repeated_now_and_then_and_no_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 10.0, 40.0, 41.0, 100.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with shown(quiet=False) as listener, listener.stage("Probing", 100, "images") as advance:
        advance(10)
        advance(10)
        advance(10)
    assert capsys.readouterr().err.splitlines() == [
        "Probing: 100 images",
        "Probing: 20 of 100 images, 0.5/s, 160 s left",
        "Probing: done in 100.0 s (0.3 images/s)",
    ]


@pytest.mark.parametrize("total", [0, 3])
def test_a_stage_of_nothing_is_fine(total: int, capsys: pytest.CaptureFixture[str]) -> None:
    with shown(quiet=False) as listener, listener.stage("Packing", total, "images") as advance:
        advance(0)
    assert "done in" in capsys.readouterr().err


def test_a_stage_that_fails_does_not_claim_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(OSError, match="gone"),
        shown(quiet=False) as listener,
        listener.stage("Packing", 2, "images"),
    ):
        raise OSError("gone")
    assert capsys.readouterr().err == "Packing: 2 images\n"


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(quiet=True) as listener, listener.stage("Probing", 4, "images") as advance:
        advance(4)
        listener.note("half-pixel is used.")
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Standard error as a terminal 120 columns wide, recorded."""
    import rich.console

    written = io.StringIO()

    def console(**options: Any) -> Any:
        assert options == {"stderr": True}
        return plain(file=written, force_terminal=True, width=120)

    plain = rich.console.Console
    monkeypatch.setattr(rich.console, "Console", console)
    return written


def test_bars_show_counts_units_and_notes(terminal: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    with shown(quiet=False) as listener:
        with listener.stage("Packing [a]", 2, "images") as advance:
            advance(2)
        with listener.stage("Probing", 1000, "images") as advance:
            listener.note("half-pixel [b] is used.")
            advance(1000)
    text = terminal.getvalue()
    for part in (
        "Packing [a]",
        "2/2 images",
        "Probing",
        "1,000/1,000 images",
        "half-pixel [b] is used.",
        "/s",
    ):
        assert part in text
    assert capsys.readouterr().out == ""


def test_lines_have_headings(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(quiet=False) as listener:
        listener.heading("Run 1 of 2: a [b]")
    assert capsys.readouterr() == ("", "Run 1 of 2: a [b]\n")
    with shown(quiet=True) as listener:
        listener.heading("Run 1 of 2: a [b]")
    assert capsys.readouterr() == ("", "")


def test_bars_of_one_run_are_out_of_the_way_of_the_next(terminal: io.StringIO) -> None:
    """A live display of all bars of many runs would not fit on the screen; what ended is printed and left behind."""
    with shown(quiet=False) as listener:
        for number in range(1, 31):
            listener.heading(f"Run {number} of 30: [b]")
            with listener.stage(f"stage {number}", 2, "images") as advance:
                advance(2)
    text = terminal.getvalue()
    assert "Run 30 of 30: [b]" in text
    live = text.rsplit("Run 30 of 30", 1)[1]
    assert "stage 30" in live
    assert "stage 29" not in live
    assert all(f"stage {number} " in text for number in range(1, 31))
