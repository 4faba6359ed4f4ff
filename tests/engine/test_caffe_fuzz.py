"""Hostile files: each gives a result or one sentence, soon, and in memory that its size bounds."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks import fuzz_caffe, fuzz_inputs
from ndengine.errors import ModelError

SECONDS = 10
BRIEF = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Where, as a share of the file; how many bytes go; what comes in their place.
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from([0, 0, 1, 2, 9, 10**6]), st.binary(max_size=12)), min_size=1, max_size=4
)
NAMES = st.sampled_from(fuzz_inputs.OPTIONS)
VALUES = st.one_of(
    st.sampled_from(fuzz_inputs.NUMBERS),
    st.sampled_from(fuzz_inputs.SENSIBLE),
    st.integers().map(str),
    st.floats().map(str),
)


@st.composite
def prototxts(draw: st.DrawFn) -> str:
    """A prototxt of layers that read each other."""
    sides = " ".join(f"dim: {draw(st.one_of(st.sampled_from(['1', '3', '9', '16']), VALUES))}" for _ in range(4))
    lines = [f'input: "b0" input_shape {{ {sides} }}']
    for i in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(fuzz_inputs.KINDS))
        own = st.sampled_from(fuzz_inputs.OWN.get(kind, "odd").split())
        options = draw(st.lists(st.tuples(st.one_of(own, own, NAMES), VALUES), max_size=4))
        if kind in ("Convolution", "InnerProduct"):
            options.append(("num_output", draw(VALUES)))
        text = " ".join(f"{name}: {value}" for name, value in options)
        message = fuzz_inputs.SPELLINGS.get(kind, ("",))[0] or "odd_param"
        bottoms = " ".join(
            f'bottom: "b{draw(st.integers(0, i))}"' for _ in range(draw(st.sampled_from([1, 1, 1, 2, 0])))
        )
        lines.append(f'layer {{ name: "l{i}" type: "{kind}" {bottoms} top: "b{i + 1}" {message} {{ {text} }} }}')
    return "\n".join(lines)


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """What torch imports when it first traces a network is no cost of an input."""
    fuzz_caffe.run_input("prototxt", fuzz_inputs.TEXTS[0])
    fuzz_caffe.targets()


def edited(content: bytes, edits: Sequence[tuple[float, int, bytes]]) -> bytes:
    for share, gone, come in edits:
        place = round(share * len(content))
        content = content[:place] + come + content[place + gone :]
    return content


def check(kind: str, content: bytes) -> None:
    """Read and build, with Python's memory and the time measured."""
    tracemalloc.start()
    start = time.process_time()
    try:
        outcome = fuzz_caffe.run_input(kind, content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert outcome in ("read", "refused")
    assert time.process_time() - start < SECONDS
    assert peak < fuzz_caffe.AT_LEAST + fuzz_caffe.PER_BYTE * len(content)


@BRIEF
@given(st.sampled_from(fuzz_inputs.TEXTS), EDITS)
def test_damaged_prototxts(content: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    check("prototxt", edited(content, edits))


@BRIEF
@given(prototxts())
@example('input: "a" input_shape { dim: 1 dim: 3 dim: 16777216 dim: 1 } layer { type: "Split" bottom: "a" top: "b" }')
def test_made_up_prototxts(text: str) -> None:
    check("prototxt", text.encode())


@BRIEF
@given(st.sampled_from(fuzz_inputs.MODELS), EDITS)
def test_damaged_caffemodels(content: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    check("caffemodel", edited(content, edits))


@BRIEF
@given(st.binary(max_size=200), st.sampled_from(["prototxt", "caffemodel"]))
def test_noise(content: bytes, kind: str) -> None:
    check(kind, content)


@settings(BRIEF, max_examples=100)
@given(st.integers(0, 10**9))
def test_what_the_script_makes_up(place: int) -> None:
    check(*fuzz_inputs.make_input(1, place))


def test_the_script_runs_in_limited_memory_and_keeps_a_record(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "benchmarks.fuzz_caffe", "--inputs", "400", "--results", str(tmp_path)]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "fuzz-caffe.json").read_text())
    assert record["inputs"] == sum(record["outcomes"].values()) == 400
    assert record["failure"] == ""
    assert 0 < record["slowest_seconds"] < SECONDS
    assert 0 < record["largest_growth_bytes"] < fuzz_caffe.RESIDENT
    assert "400 inputs, seed 0" in done.stdout
    outcomes = {name.split()[0] + " " + name.split()[-1] for name in record["outcomes"]}
    assert outcomes == {"prototxt read", "prototxt refused", "caffemodel read", "caffemodel refused"}


def test_bugs_are_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str, source: str) -> None:
        raise KeyError("x")

    monkeypatch.setattr(fuzz_caffe, "parse_prototxt", broken)
    with pytest.raises(KeyError):
        fuzz_caffe.run_input("prototxt", b"")
    for text in ("It fails.", "input fails", "input\nfails.", f"input {'x' * 700}."):
        with pytest.raises(AssertionError):
            fuzz_caffe.check_error(ModelError(text))


def test_inputs_come_from_their_number_alone() -> None:
    assert fuzz_inputs.make_input(3, 5) == fuzz_inputs.make_input(3, 5)
    kinds = {fuzz_inputs.make_input(3, place)[0] for place in range(300)}
    assert len(kinds) == 10
