"""``run --profile``: the table adds up, and the advice is that of the largest part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ndengine
from ndcli.profile import NONE, print_profile, profile_record
from ndengine.result import Dissection
from tests.cli.conftest import Invoke


def profiled(dissection: Dissection, probe: dict[str, float], **changes: Any) -> Dissection:
    """That result as if its probe had these parts: 10 s in all, 8 of them in the probe."""
    settings = {name: value for name, value in changes.items() if name in ("threads", "precision", "device", "spool")}
    provenance: dict[str, Any] = {
        "seconds": {"model": 0.5, "probe": 8.0, "tally": 1.0},
        "profile": {
            "whole_seconds": 10.0,
            "parts": {"probe": probe, "tally": {"count": 0.75}},
            "reader": {"read": 0.5, "prepare": 0.25},
            "true_borders": True,
        },
        "images_probed": 3,
        "spool_bytes": 2_000_000,
        "peak_memory_bytes": 5_000_000,
        "multiplies_bfloat16": False,
        "machine": {"cores": 4},
        "model": {"input_size": [20, 24]},
        "dataset": {"pack": "cache/set.h5"},
        "finished": "2026-01-02T03:04:05+00:00",
        "gpu": None,
    }
    for name in changes.keys() - settings.keys():
        value = changes[name]
        provenance[name] = {**(provenance[name] or {}), **value} if isinstance(value, dict) else value
    return replace(
        dissection,
        settings={**dissection.settings, "threads": 4, **settings},
        provenance=provenance,
        computed=True,
    )


FORWARD = {"wait": 0.5, "forward": 6.0, "sieve": 1.0}


def test_a_run_prints_its_profile_behind_the_summary(invoke: Invoke, arguments: list[str]) -> None:
    done = invoke("run", *arguments[1:], "--profile")
    assert done.exit_code == 0, done.output
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    table = lines[lines.index("Where the time went") :]
    assert lines.index("Where the time went") > next(i for i, line in enumerate(lines) if line.startswith("Report: "))
    assert table[1].split() == ["stage", "seconds", "share", "images/s"]
    names = [" ".join(line.split()[:2]) for line in table[3:]]
    for name in ("waiting for", "forward pass", "sieve and", "writing to", "reading survivors", "drawing masks"):
        assert name in names
    assert any(line.startswith("Peak memory: ") for line in table)
    assert table[-1].startswith(("Bottleneck: ", "No part dominates; the largest is "))


def test_json_has_the_profile_and_it_adds_up(invoke: Invoke, arguments: list[str]) -> None:
    profile = json.loads(invoke(*arguments, "--json", "--quiet", "--profile").stdout)["profile"]
    stages = profile["stages"]
    assert sum(r["seconds"] for r in stages if not r["part"]) == pytest.approx(profile["whole_seconds"], abs=0.02)
    assert sum(r["share"] for r in stages if not r["part"]) == pytest.approx(1, abs=0.02)
    for stage in ("probe", "tally"):
        (whole,) = (r["seconds"] for r in stages if r["stage"] == stage and not r["part"])
        assert sum(r["seconds"] for r in stages if r["stage"] == stage and r["part"]) == pytest.approx(whole, abs=0.01)
    assert (profile["computed"], profile["images"], profile["images_probed"]) == (True, 12, 12)
    assert profile["peak_memory_bytes"] > 1e7
    assert profile["bottleneck"]["advice"]


def test_without_the_option_there_is_none(invoke: Invoke, arguments: list[str]) -> None:
    done = invoke(*arguments)
    assert "Where the time went" not in done.stdout
    assert "profile" not in json.loads(invoke(*arguments, "--json").stdout)


def test_a_result_that_is_shown_again_says_so(invoke: Invoke, arguments: list[str]) -> None:
    invoke(*arguments)
    again = invoke(*arguments, "--profile", "--quiet")
    assert again.stdout.startswith("Where the time went")
    assert "Nothing was computed now: this is the profile of the run that ended at 20" in again.stdout
    assert json.loads(invoke(*arguments, "--profile", "--json").stdout)["profile"]["computed"] is False


def test_a_result_of_before_there_were_profiles(result: Dissection, capsys: pytest.CaptureFixture[str]) -> None:
    assert profile_record(result) is None
    print_profile(result)
    assert capsys.readouterr().out == f"{NONE}\n"


def test_the_table(result: Dissection, capsys: pytest.CaptureFixture[str]) -> None:
    print_profile(profiled(result, FORWARD))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for row in (
        "loading the network 0.50 5.0%",
        "probe 8.00 80.0% 0.4",
        "waiting for images 0.50 5.0%",
        "forward pass 6.00 60.0% 0.5",
        "sieve and spool 1.00 10.0% 3.0",
        "other 0.50 5.0%",
        "tally 1.00 10.0% 3.0",
        "counting 0.75 7.5% 4.0",
        "other 0.25 2.5%",
        "whole 10.00 100.0%",
        "Peak memory: 5.0 MB.",
        "A thread beside the probe read images for 0.50 s and prepared them for 0.25 s.",
    ):
        assert row.split() in rows, row


@pytest.mark.parametrize(
    ("probe", "changes", "advice"),
    [
        (FORWARD, {}, "forward pass, 60% of the time. That is the network itself; all else together could save 40%."),
        (FORWARD, {}, "could save 40%. What may help: --device cuda on a machine with a GPU."),
        (FORWARD, {"threads": 1}, "What may help: --threads 4 or --device cuda on a machine with a GPU."),
        (
            FORWARD,
            {"multiplies_bfloat16": True},
            "--device cuda on a machine with a GPU or --precision bfloat16, which rounds otherwise.",
        ),
        (
            FORWARD,
            {"multiplies_bfloat16": True, "precision": "bfloat16"},
            "help: --device cuda on a machine with a GPU.",
        ),
        (FORWARD, {"device": "cuda", "threads": 1}, "What may help: a larger --batch-size."),
        (
            {"sieve": 7.0},
            {"device": "cuda", "threads": 1},
            "70% of the time. No option makes it faster.",
        ),
        ({"sieve": 7.0}, {"device": "cuda", "profile": {"true_borders": False}}, "Bottleneck: probe, 80% of the time."),
        ({"wait": 7.0}, {}, "images, 70% of the time. They come from cache/set.h5; a faster disk for it helps"),
        (
            {"wait": 7.0},
            {"profile": {"reader": {"read": 1.0, "prepare": 6.0}}, "model": {"input_size": [40, 48]}},
            "They are resized from 20x24 to 40x48; a dataset of the network's size needs none of that.",
        ),
        ({"wait": 7.0}, {"profile": {"reader": {"prepare": 6.0}}}, "One thread prepares them, without the disk"),
        ({"sieve": 7.0}, {"threads": 2}, "What may help: --threads 4 or --device cuda on a machine with a GPU."),
        ({"rotate": 7.0}, {"threads": 2}, "rotating, 70% of the time. What may help: --threads 4 or --device cuda on"),
        ({"write": 7.0}, {"spool": "disk"}, "writing to disk (probe), 70% of the time. A faster disk for --out helps"),
        ({"write": 7.0}, {"spool": "dense"}, "--spool dense keeps every activation (2.0 MB); --spool auto keeps"),
        ({"forward": 3.0, "sieve": 2.0}, {}, "No part dominates; the largest is forward pass with 30% of the time."),
        ({}, {"seconds": {"model": 1.0, "probe": 0.5, "report": 7.5}}, "fewer --top-images than 5 help."),
        (
            {},
            {"seconds": {"rotation": 7.0, "probe": 0.5}},
            "making the rotation, 70% of the time. That grows with the cube of a layer's units, not with the images.",
        ),
        (
            {},
            {"seconds": {"model": 7.0, "probe": 0.5}},
            "network, 70% of the time. That does not grow with the images.",
        ),
    ],
)
def test_the_advice_is_that_of_the_largest_part(
    probe: dict[str, float], changes: dict[str, Any], advice: str, result: Dissection
) -> None:
    record = profile_record(profiled(result, probe, **changes))
    assert record is not None
    assert advice in record["bottleneck"]["advice"]


def test_what_the_table_does_not_tell(result: Dissection, capsys: pytest.CaptureFixture[str]) -> None:
    print_profile(
        profiled(
            result, FORWARD, device="cuda", images_probed=1, gpu={"peak_memory_bytes": 7_000_000},
            profile={"true_borders": False},
        )
    )  # fmt: skip
    out = capsys.readouterr().out
    assert "Peak memory: 5.0 MB, GPU 7.0 MB." in out
    assert "An interrupted run had probed 2 of the 3 images; this run, the others." in out
    assert "made without --profile: a GPU's work counts where it was waited for, not where it was done." in out


def test_an_interrupted_run_profiles_the_part_it_did(
    invoke: Invoke, arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ndengine.spool.SEGMENT_BYTES", 1)
    monkeypatch.setenv("TEST_INTERRUPT_AFTER", "11")
    assert invoke(*arguments).exit_code == 130
    monkeypatch.delenv("TEST_INTERRUPT_AFTER")
    done = invoke(*arguments, "--profile")
    assert done.exit_code == 0, done.output
    before = 12 - ndengine.load(tmp_path / "out").provenance["images_probed"]
    assert 0 < before < 12
    assert f"An interrupted run had probed {before} of the 12 images; this run, the others." in done.stdout
