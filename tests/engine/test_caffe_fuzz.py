"""Hostile files: each gives a result or one sentence, soon, and in memory that its size bounds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks import fuzz_caffe, fuzz_inputs
from ndengine.errors import ModelError
from ndengine.models.caffe.definition import CaffeDefinition, CaffeLayer
from ndengine.models.caffe.network import build_network
from ndengine.models.trace import trace_model
from ndengine.models.weights import fit_weights

SECONDS = 10
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))  # of each test; a longer look takes as many as there is time for
BRIEF = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

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


HEAD = 'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }\n'
RELU = 'layer {{ name: "{}" type: "ReLU" bottom: "data" top: "r" }}'
MANY = 10**6
# Files of a few MB; each has taken minutes, or gigabytes, or the length of the file squared.
LONG = {
    "digits": ("a: " + "1" * MANY + "x", "belongs to nothing"),
    "digits after the point": ("a: 0." + "1" * MANY + "x", "belongs to nothing"),
    "digits of an exponent": ("a: 1e" + "1" * MANY + "x", "belongs to nothing"),
    "hexadecimal digits": ("a: 0x" + "f" * MANY + "z", "belongs to nothing"),
    "text": (HEAD + RELU.format("n" * 3 * MANY), ""),
    "escapes": (HEAD + RELU.format("\\\\" * MANY), ""),
    "open text": ('a: "' + '\\"' * MANY, "belongs to nothing"),
    "braces": ("a{}" * MANY, "more than 300,000 names"),
    "braces in braces": (("a{" * 32 + "}" * 32) * 40_000, "more than 300,000 names"),
    "values": ("a: [" + "1," * MANY + "1]", "more than 300,000 names"),
    "names": ("".join(f"a{i:x}:1 " for i in range(400_000)), "more than 300,000 names"),
    "sides": (HEAD.replace("dim: 8 }", "dim: 8 " * 60_000 + "}") + RELU.format("r"), "60,003 times dim, more than 32"),
    "inputs of many sides": (
        'layer { name: "d" type: "Input" '
        + "".join(f'top: "t{i}" ' for i in range(8000))
        + "input_param { shape { "
        + "dim: 1 " * 8000
        + "} } }",
        "a layer of data has 8,000 blobs",
    ),
    "inputs": (
        'layer { name: "d" type: "Input" '
        + "".join(f'top: "t{i}" ' for i in range(1000))
        + "input_param { shape { dim: 1 } } } layer { }",
        r"t0 \[1\], t1 \[1\], t2 \[1\] and 997 more",
    ),
}


# Each text in turn: seconds of the processor, bytes by which the memory grew beyond all before, the error.
MEASURE = """
import json, resource, sys, time
from ndengine.errors import ModelError
from ndengine.models.caffe.network import build_network
from ndengine.models.caffe.prototxt import parse_prototxt

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

found = {}
for name, text in json.load(sys.stdin).items():
    before, start, said = peak(), time.process_time(), ""
    try:
        build_network(parse_prototxt(text, "net.prototxt").definition, random=False)
    except ModelError as error:
        said = str(error)
    found[name] = time.process_time() - start, peak() - before, said
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[float, int, str]]:
    """Seconds, bytes and the error for each of the long files, read in a process of their own."""
    content = json.dumps({name: text for name, (text, _) in LONG.items()})
    words = [sys.executable, "-c", MEASURE]
    done = subprocess.run(words, input=content, capture_output=True, text=True, check=True, timeout=600)
    found: dict[str, tuple[float, int, str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", LONG)
def test_long_prototxts_take_time_and_memory_by_their_length(
    name: str, measured: dict[str, tuple[float, int, str]]
) -> None:
    why = LONG[name][1]
    seconds, grown, said = measured[name]
    assert re.search(why, said) if why else not said
    assert len(said) < 600
    assert seconds < SECONDS
    assert grown < 200 * 2**20


def test_many_strange_layers_cost_no_more_than_their_number(tmp_path: Path) -> None:
    definition = CaffeDefinition(
        "net",
        {"data": (1, 3, 8, 8)},
        (
            CaffeLayer("c", "Convolution", ("data",), ("c",), {"num_output": 1, "kernel_size": 1}),
            *(CaffeLayer(f"r{i}", "Sigmoid", ("c",), ("c",)) for i in range(1000)),
        ),
    )
    network = build_network(definition, random=True)
    trace = trace_model(network, (8, 8))
    state = {**network.state_dict(), **{f"r{i % 1000}.s{i}.weight": torch.zeros(1) for i in range(8000)}}
    start = time.process_time()
    with pytest.raises(ModelError, match="and 7995 more"):
        fit_weights(network, state, trace, [], model_name="net", source="net.pth")
    assert time.process_time() - start < 3


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
