"""Benchmarks compare before they time, say where a figure can't be trusted, and end up on the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import (
    __main__,
    bench_compile,
    bench_grid,
    bench_labels,
    bench_pixels,
    bench_rotate,
    bench_run,
    bench_scaling,
    bench_sieve,
    bench_tally,
    equality,
    harness,
    machine,
    page,
    tables,
    tally_cases,
)
from benchmarks.harness import Way, measure, time_in_turns
from benchmarks.machine import UNSTABLE, Timing
from ndengine.models.torchvision_import import torchvision_models
from tests.engine.tinybroden import make_broden

SYNTHETIC = {
    "scaling": bench_scaling,
    "sieve": bench_sieve,
    "labels": bench_labels,
    "grid": bench_grid,
    "pixels": bench_pixels,
    "rotate": bench_rotate,
}
Break = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(autouse=True)
def this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test must not change the allocator and the threads of the others; tiny calls need not be repeated for long."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(harness, "tune_process", lambda: None)
    monkeypatch.setattr(harness, "LEAST_SECONDS", 1e-4)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for the folder of real data: a tiny labelled set, and random weights."""
    home = tmp_path_factory.mktemp("shared")
    make_broden(home / "minibroden", images=8)
    (home / "weights").mkdir()
    torch.manual_seed(0)
    torch.save(
        torchvision_models().squeezenet1_1().state_dict(), home / "weights" / equality.NETWORKS["squeezenet"].weights
    )
    return home


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scripts of this module store what they find; the last test renders it."""
    return tmp_path_factory.mktemp("benchmarks") / "results"


def run(module: ModuleType, results: Path, *further: object) -> None:
    module.main([*map(str, further), "--quick", "--repeats", "2", "--results", str(results)])


def rows_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    points = [point for axis in content.get("axes", {}).values() for point in axis]
    return [row for case in [*content.get("cases", []), *points] for row in case["rows"]]


def check_content(content: dict[str, Any]) -> None:
    assert content["quick"]
    assert content["command"].startswith("python -m benchmarks.")
    assert {"machine", "versions", "finished", "threads"} <= content.keys()
    rows = rows_of(content)
    assert rows
    for row in rows:
        assert {"way", "median_seconds", "spread", "unstable", "seconds"} <= row.keys()
        assert len(row["seconds"]) >= 1
        assert row["unstable"] == (row["spread"] > UNSTABLE)
    assert all("checked" in case for case in content.get("cases", []))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_a_script_stores_what_it_prints(name: str, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(SYNTHETIC[name], results)
    content = json.loads((results / f"{name}.json").read_text())
    check_content(content)
    printed = capsys.readouterr().out
    assert machine.line_of(content) in printed
    assert all(table.text() in printed for table in SYNTHETIC[name].show(content).tables)


def test_the_tally_with_real_data(results: Path, folder: Path) -> None:
    run(bench_tally, results, "--shared", folder, "--cases", "conv5_3,sparse,squeezenet")
    content = json.loads((results / "tally.json").read_text())
    check_content(content)
    assert content["command"] == (
        "python -m benchmarks.bench_tally --shared FOLDER --cases conv5_3,sparse,squeezenet --quick --repeats 2"
    )
    headline, sparse, real = content["cases"]
    first = tables.find(headline["rows"], "tally from the dense tensor, 1 thread")
    assert first
    assert {"times_lite", "times_dense", "bytes_per_item", "share_of_floor"} <= first.keys()
    assert sparse["units"] > 0
    assert tables.find(sparse["rows"], "NetDissect-Lite") is None
    assert real["units"] == 512
    assert "equal to naive" in real["checked"]


def test_spools_and_packs_of_real_data(tmp_path: Path, folder: Path) -> None:
    run(bench_sieve, tmp_path, "--shared", folder)
    spool = json.loads((tmp_path / "sieve.json").read_text())["cases"][1]["spool"]
    assert 0 < spool["finished_bytes"] <= spool["peak_bytes"]
    run(bench_labels, tmp_path, "--shared", folder)
    *_, reading = json.loads((tmp_path / "labels.json").read_text())["cases"]
    assert tables.find(reading["rows"], bench_labels.PACKED)


def test_compilation(results: Path) -> None:
    bench_compile.main(["--quick", "--repeats", "1", "--results", str(results)])
    content = json.loads((results / "compile.json").read_text())
    check_content(content)
    cold, cached, imports = content["cases"][0]["rows"]
    assert min(row["median_seconds"] for row in (cold, cached, imports)) > 0
    assert len(imports["seconds"]) == 2


def test_a_whole_run(results: Path, folder: Path) -> None:
    bench_run.main(["squeezenet", "--shared", str(folder), "--quick", "--repeats", "1", "--results", str(results)])
    content = json.loads((results / "run-squeezenet.json").read_text())
    check_content(content)
    (case,) = content["cases"]
    assert case["ratio_range"] == case["ratios"] * 2
    assert "equal to naive" in case["checked"]


def test_the_page_renders_what_was_stored(results: Path) -> None:
    """Also what other scripts have stored: the repository's own results."""
    if not (results / "scaling.json").exists():  # the other tests may run elsewhere
        run(bench_scaling, results)
    for path in machine.RESULTS.glob("*.json"):
        if path.stem.split("-")[0] in ("equality", "gpu", "random", "memory", "precision"):
            (results / path.name).write_bytes(path.read_bytes())
    __main__.main(["--page", "--results", str(results)])
    text = (results.parent / "RESULTS.md").read_text()
    for section in page.SECTIONS:
        assert (f"## {section.title}\n" in text) == any(results.glob(f"{section.pattern}.json")), section.title
    assert "Tiny sizes: the figures mean nothing." in text
    assert "![Growth](scaling.svg)" in text
    drawing = (results.parent / "scaling.svg").read_text()
    assert "cells of an activation map" in drawing
    assert "prefers-color-scheme: dark" in drawing


def test_all_scripts_run_in_processes_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    def pretend(command: list[str], **options: Any) -> SimpleNamespace:
        called.append(command)
        return SimpleNamespace(returncode=int("benchmarks.bench_grid" in command))

    monkeypatch.setattr(__main__.subprocess, "run", pretend)
    results = tmp_path / "results"
    with pytest.raises(SystemExit, match="bench_grid"):
        __main__.main(["--shared", str(tmp_path), "--repeats", "3", "--results", str(results)])
    assert [command[2] for command in called] == [f"benchmarks.{module}" for _, module, _ in __main__.SCRIPTS]
    assert called[-1][3:] == [
        "vgg16", "--images", "238", "--results", str(results), "--shared", str(tmp_path), "--repeats", "3",
    ]  # fmt: skip
    assert (tmp_path / "RESULTS.md").exists()
    called.clear()
    __main__.main(["--only", "run,pixels", "--results", str(results)])
    assert [command[2] for command in called] == ["benchmarks.bench_pixels"]


def test_the_repository_holds_its_page(tmp_path: Path) -> None:
    """RESULTS.md is what its results give: whoever measures anew renders anew."""
    stored = tmp_path / "results"
    stored.mkdir()
    for path in machine.RESULTS.glob("*.json"):
        (stored / path.name).write_bytes(path.read_bytes())
    rendered, held = page.write_page(stored).read_text(), machine.RESULTS.with_name("RESULTS.md").read_text()
    assert rendered == held, "run python -m benchmarks --page"


def more(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, and one pixel too many."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        found = function(*args, **kwargs)
        counts = args[-1] if isinstance(args[-1], tally_cases.UnitCounts) else None
        if counts is not None:
            counts.unit_area_all[-1] += 1
            return None
        return found + 1

    return wrapped


def other_codes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with one code changed."""

    def wrapped(*args: Any) -> Any:
        block = function(*args)
        block.code_area[0] += 1
        return block

    return wrapped


def off_by_little(rotation: Any) -> type:
    """The class, which rotates maps and changes their last bits."""

    class Off(rotation):  # type: ignore[misc]
        def turn(self, maps: torch.Tensor) -> None:
            super().turn(maps)
            maps.mul_(1 + 2.0**-22)

    return Off


@pytest.mark.parametrize(
    ("module", "where", "name", "wrong"),
    [
        (bench_tally, tally_cases, "tally_finite_units", more),
        (bench_scaling, tally_cases, "tally_finite_units", more),
        (bench_sieve, bench_sieve, "select_thresholds", more),
        (bench_labels, bench_labels, "encode_labels", other_codes),
        (bench_grid, bench_grid, "mask_finite_maps", lambda f: lambda *a, **k: ~f(*a, **k)),
        (bench_pixels, bench_pixels, "look_up_pixels", more),
        (bench_rotate, bench_rotate, "Rotation", off_by_little),
    ],
)
def test_wrong_results_are_not_timed(
    module: ModuleType,
    where: ModuleType,
    name: str,
    wrong: Callable[[Any], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def timed(*args: object) -> None:
        pytest.fail("something was timed")

    monkeypatch.setattr(harness, "time_in_turns", timed)
    monkeypatch.setattr(where, name, wrong(getattr(where, name)))
    with pytest.raises(AssertionError, match="differ"):
        run(module, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_wrong_run_is_not_timed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_run, "time_runs", lambda *args: pytest.fail("something was timed"))
    monkeypatch.setattr(bench_run, "differences", lambda *counts: ["intersection"])
    with pytest.raises(AssertionError, match="intersection differ from naive"):
        run(bench_run, tmp_path, "squeezenet", "--shared", folder)
    assert not list(tmp_path.iterdir())


def test_a_wide_spread_is_marked() -> None:
    steady, wide = Timing((1.0, 1.01, 1.0, 1.02, 1.01)), Timing((1.0, 1.5, 1.0, 2.0, 1.1))
    assert not steady.record()["unstable"]
    assert wide.record()["unstable"]
    assert "unstable" not in tables.spread(steady.record())
    assert tables.spread(wide.record()).endswith(" unstable")
    assert tables.warning([steady.record(), wide.record()]).startswith(" 1 of 2 timings are unstable")
    assert tables.warning([steady.record()]) == ""
    assert machine.spread_of((1.0, 1.3)) == pytest.approx(0.3 / 1.15)


def test_ways_take_turns() -> None:
    order: list[str] = []
    ways = [Way(name, lambda name=name: order.append(name), 1, before=lambda: None) for name in "abc"]
    found = time_in_turns(ways, 2)
    assert "".join(order) == "abc" + "aabbcc" + "ccbbaa"  # quick ones once more before each turn, not counted
    assert [len(timing.seconds) for timing in found.values()] == [2, 2, 2]


def test_ratios_are_those_of_the_turns_an_item(monkeypatch: pytest.MonkeyPatch) -> None:
    # The machine is three times slower in the second turn, and the ratio does not notice.
    seconds = {"base": (4.0, 12.0, 4.0), "ours": (2.0, 6.0, 2.0), "copy": (1.0, 3.0, 1.0)}
    monkeypatch.setattr(harness, "time_in_turns", lambda *_: {name: Timing(s) for name, s in seconds.items()})
    ways = [
        Way("base", print, items=1),
        Way("ours", print, items=8, bytes=800, floor="copy"),
        Way("copy", print, items=4, bytes=400),
    ]
    base, ours, _ = measure(ways, 3, {"times_base": "base"})
    assert base["times_base"] == 1
    assert ours["times_base"] == pytest.approx(16)
    assert ours["times_base_spread"] == 0
    assert ours["share_of_floor"] == pytest.approx(1)
    assert ours["us_per_item"] == pytest.approx(0.25e6)
    assert ours["bytes_per_item"] == 100


def test_numbers() -> None:
    found = [tables.number(value) for value in (0, 0.01234, 9.876, 98.76, 12345.6, None)]
    assert found == ["0", "0.0123", "9.88", "98.8", "12,346", "–"]
    table = tables.Table("caption", ("way", "µs"), [("a", "1"), ("longer", "1,000")])
    assert table.text().splitlines()[1:] == ["way        µs", "a           1", "longer  1,000"]
    assert table.markdown().splitlines()[2:4] == ["| way | µs |", "| --- | ---: |"]


def test_exponents() -> None:
    points = [{"at": n, "rows": [{"way": "sieve", "median_seconds": 3e-6 * n**2}]} for n in (8, 64, 256)]
    assert bench_scaling.slope(points, "sieve") == pytest.approx(2)


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (bench_tally, ["--cases", "conv9"], "--cases knows"),
        (bench_run, ["vgg16"], "--shared is needed"),
        (bench_grid, ["--repeats", "0"], "must be at least 1"),
        (__main__, ["--only", "speed"], "--only knows"),
    ],
)
def test_refusals(module: ModuleType, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        module.main(arguments)
    assert message in capsys.readouterr().err


def test_quick_figures_stay_away_from_the_real_ones() -> None:
    args = harness.begin(harness.make_parser(None, repeats=1), ["--quick"], "bench_grid")
    assert args.results == harness.QUICK_RESULTS
    assert np.all([part != "results" for part in machine.RESULTS.parts[:-1]])
    assert machine.RESULTS not in (args.results, *args.results.parents)
