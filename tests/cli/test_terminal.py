"""Names from files can't steer a terminal, and can't hide in a page; JSON stays JSON."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ndcli import progress, terminal
from ndengine.compare import compare_results
from ndengine.datasets import Vocabulary
from ndengine.report import write_report
from ndengine.result import Dissection, write_layer, write_result
from ndengine.visible import UNSEEN, visible
from tests.cli.conftest import VOCABULARY, Invoke
from tests.records import edit_record

EVIL = "\x1b[31mred\x1b]0;title\x07\r\n\u202e\u2066\x9b2J\u200b<b>&"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é, 日本, 👩‍🚀 and a\xa0space", None),
        ("a\x1b[31m\n\tb", r"a\x1b[31m\n\tb"),
        ("\x9b2J\x7f\u202e\u2067", r"\x9b2J\x7f\u202e\u2067"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800\ufeff\U000e0041", r"\ud800\ufeff\U000e0041"),
        ("back\\slash", None),
    ],
)
def test_nothing_hides_in_a_text(text: str, shown: str | None) -> None:
    assert visible(text) == (text if shown is None else shown)


def test_every_control_is_written_out() -> None:
    for code in range(0x110000):
        kind = unicodedata.category(chr(code))
        if kind in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(chr(code)) in (
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
        ):  # fmt: skip
            assert UNSEEN.fullmatch(chr(code)), hex(code)


@pytest.fixture
def evil(result: Dissection) -> Dissection:
    """A result whose names are all evil."""
    bad = Vocabulary(
        names=tuple(f"{name}{EVIL}" for name in VOCABULARY.names),
        categories=tuple(f"{name}{EVIL}" for name in VOCABULARY.categories),
        primary=VOCABULARY.primary,
    )
    layer = result.layers["conv3"]
    by_category = {f"{name}{EVIL}": counts for name, counts in layer.summary.by_category.items()}
    summary = replace(layer.summary, by_category=by_category, notes=(f"note {EVIL}",))
    layer = replace(layer, name=f"conv3{EVIL}", path=EVIL, summary=summary)
    made = replace(
        result, vocabulary=bad, layers={layer.name: layer}, image_names=tuple(f"{n}{EVIL}" for n in result.image_names)
    )
    for key in ("model", "weights", "data"):
        made.settings[key] = f"{key}{EVIL}"
    write_layer(made.folder, layer, bad)
    write_report(made, made.folder / "report", None)
    write_result(made)
    return made


def test_a_terminal_is_not_steered(invoke: Invoke, evil: Dissection, tmp_path: Path) -> None:
    for words in (
        ("show", evil.folder, "--unit", "1"),
        ("show", evil.folder, "--unit", "1", "--layer", f"x{EVIL}"),
        ("report", evil.folder),
        ("compare", evil.folder, "--title", EVIL, "--out", tmp_path / "compared"),
        ("compare", f"{evil.folder}{EVIL}"),
        (f"show{EVIL}",),
        ("show", evil.folder, f"--{EVIL}"),
        ("show", evil.folder, "--unit", EVIL),
    ):
        done = invoke(*words)
        assert not UNSEEN.search(done.output.replace("\n", "")), (words[0], done.output)
        assert r"\x1b[31mred" in done.output or words[0] == "report"
    assert len(invoke("show", evil.folder, "--unit", "1").stdout.splitlines()) < 30, "no line breaks in a name"


def test_json_stays_what_it_was(invoke: Invoke, evil: Dissection) -> None:
    done = invoke("show", evil.folder, "--unit", "1", "--json")
    assert json.loads(done.stdout)["label"] == f"lamp{EVIL}"
    assert not UNSEEN.search(done.stdout.replace("\n", ""))


def test_json_of_a_path_that_is_no_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_json({"out": "caf\udce9", "more": ["\x9b", "\U000e0041"]})
    assert json.loads(capsys.readouterr().out) == {"out": "caf\udce9", "more": ["\x9b", "\U000e0041"]}


def test_pages_show_what_is_in_a_name(evil: Dissection, tmp_path: Path) -> None:
    compare_results([evil.folder], tmp_path / "compared", title=EVIL)
    for page in (evil.folder / "report" / "index.html", tmp_path / "compared" / "index.html"):
        text = page.read_text("utf-8")
        assert not UNSEEN.search(text.replace("\n", "").replace("\t", ""))
        assert r"lamp\x1b[31mred" in text or "compared" in str(page)
        assert r"conv3\x1b[31mred" in text
        assert "&lt;b&gt;&amp;" in text
        assert "<b>&" not in text


@pytest.mark.parametrize("bars", [False, True])
def test_progress_is_not_steered(bars: bool, capfd: pytest.CaptureFixture[str]) -> None:
    def tell(listener: Any) -> None:
        listener.heading(f"head {EVIL}")
        listener.note(f"note {EVIL}")
        with listener.stage(f"stage {EVIL}", 1, "units") as advance:
            advance(1)

    if bars:
        console = Console(stderr=True, force_terminal=True, width=200, color_system=None)
        with progress._bars(console) as listener:
            tell(listener)
    else:
        tell(progress.Lines())
    written = capfd.readouterr().err
    assert r"note \x1b[31mred" in written
    assert "\x1b[31m" not in written
    assert "\x1b]0;" not in written
    assert "\u202e" not in written


def test_tables_and_headings(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table(EVIL, (EVIL, "b"), [(EVIL, 1)])
    terminal.say(EVIL)
    assert not UNSEEN.search(capsys.readouterr().out.replace("\n", ""))


def test_a_record_of_no_use_to_a_profile_is_told(invoke: Invoke, result: Dissection) -> None:
    from ndcli.profile import profile_record
    from ndengine.errors import ResultError
    from ndengine.result import load

    for bad in (3, {}, {"whole_seconds": "x", "true_borders": 1, "parts": []}):
        edit_record(result.folder, lambda r, bad=bad: r["provenance"].update(profile=bad))
        with pytest.raises(ResultError, match=r"damaged profile in its result\.json"):
            profile_record(load(result.folder))
