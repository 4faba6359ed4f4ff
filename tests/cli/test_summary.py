from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ndcli.summary import print_summary, summary_record
from ndengine.result import Dissection
from tests.cli.conftest import hand_made_layer


def test_the_summary_leads_with_unique_detectors(result: Dissection, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(result)
    out, err = capsys.readouterr()
    lines = [line.strip() for line in out.splitlines() if line.strip()]
    assert lines[0] == "vgg16 (default) on somewhere/set, preset netdissect"
    columns = ["layer", "unique top-label", "unique per category", "detectors", "units", "dead units"]
    positions = [lines[1].index(name) for name in columns]
    assert positions == sorted(positions)
    rows = [line.split() for line in lines]
    assert ["conv3", "2", "2", "2", "4", "1"] in rows
    assert ["conv3", "object", "1", "1", "1", "1"] in rows
    assert ["conv3", "color", "1", "1", "1", "1"] in rows
    assert lines[-1] == f"Report: {result.folder / 'report' / 'index.html'}"
    assert err == ""


def test_a_precision_that_is_not_the_usual_one_is_in_the_title(
    result: Dissection, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {name: value for name, value in result.settings.items() if name != "precision"}
    for settings, end in ((old, "preset netdissect"), ({**old, "precision": "bfloat16"}, ", in bfloat16")):
        print_summary(replace(result, settings=settings))
        assert capsys.readouterr().out.splitlines()[0].endswith(end)


def test_the_summary_warns(result: Dissection, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(result)
    out = capsys.readouterr().out
    assert "Warning, conv3: At most 40 of 8000 positions of a unit exceed its threshold" in out
    assert "Warning, conv3: 1 of 2 detectors rest on concepts with fewer than 10 images" in out
    assert "Note: conv3: half-pixel is used: the receptive field is not known." in out


def test_the_summary_does_not_warn_without_a_reason(result: Dissection, capsys: pytest.CaptureFixture[str]) -> None:
    layer = hand_made_layer("conv3")
    summary = replace(layer.summary, rank=100, rare=0, notes=())
    print_summary(replace(result, layers={"conv3": replace(layer, summary=summary)}))
    out = capsys.readouterr().out
    assert "Warning" not in out
    assert "Note" not in out


def test_zero_detectors_are_a_summary_like_any_other(result: Dissection, capsys: pytest.CaptureFixture[str]) -> None:
    layer = hand_made_layer("conv3")
    kinds = {
        name: replace(
            counts, detectors_top_label=0, unique_top_label=0, detectors_per_category=0, unique_per_category=0
        )
        for name, counts in layer.summary.by_category.items()
    }
    summary = replace(layer.summary, detectors=0, unique_top_label=0, unique_per_category=0, rare=0, by_category=kinds)
    print_summary(replace(result, layers={"conv3": replace(layer, summary=summary)}))
    assert ["conv3", "0", "0", "0", "4", "1"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_the_record_holds_everything(two_layers: Dissection) -> None:
    record = json.loads(json.dumps(summary_record(two_layers), allow_nan=False))
    assert record["out"] == str(two_layers.folder)
    assert record["report"] == str(two_layers.folder / "report" / "index.html")
    assert record["settings"]["model"] == "vgg16"
    assert record["provenance"] == two_layers.provenance
    assert list(record["layers"]) == ["conv3", "conv4"]
    layer = record["layers"]["conv4"]
    assert (layer["detectors"], layer["unique_top_label"], layer["unique_per_category"]) == (2, 2, 2)
    assert layer["by_category"]["color"]["unique_top_label"] == 1
    assert len(layer["warnings"]) == 2
    assert layer["geometry"] == "half-pixel"
