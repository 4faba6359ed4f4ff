from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ndengine.result import Dissection
from tests.cli.conftest import Invoke


def test_show_tells_a_detector(invoke: Invoke, result: Dissection) -> None:
    done = invoke("show", result.folder, "--unit", 1)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "Unit 1 of conv3: lamp (object), IoU 0.2500; a detector. Threshold 1.5."
    rows = [line.split() for line in lines]
    assert ["object", "lamp", "0.2500", "50", "150", "100"] in rows
    assert ["color", "red", "0.0169", "10", "200", "400"] in rows
    assert ["c.jpg", "4.5"] in rows
    assert ["a.jpg", "3.25"] in rows
    assert "Picture" not in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("unit", "first"),
    [
        (2, "Unit 2 of conv3: red (color), IoU 0.4000; a detector. Threshold 0.25."),
        (3, "Unit 3 of conv3: lamp (object), IoU 0.0046; no detector. Threshold 3."),
        (4, "Unit 4 of conv3: no concept; dead: it never varies. Threshold 0."),
    ],
)
def test_show_tells_other_units(invoke: Invoke, result: Dissection, unit: int, first: str) -> None:
    assert invoke("show", result.folder, "--unit", unit).stdout.splitlines()[0] == first


def test_show_prints_names_as_they_are(invoke: Invoke, result: Dissection) -> None:
    assert "[b].jpg" in invoke("show", result.folder, "--unit", 2).stdout


def test_show_names_the_picture_where_there_is_one(invoke: Invoke, result: Dissection) -> None:
    picture = result.folder / "report" / "conv3" / "unit-0001.jpg"
    picture.parent.mkdir(parents=True)
    picture.touch()
    assert invoke("show", result.folder, "--unit", 1).stdout.splitlines()[-1] == f"Picture: {picture}"


def test_show_json(invoke: Invoke, result: Dissection) -> None:
    done = invoke("show", result.folder, "--unit", 1, "--json")
    assert json.loads(done.stdout) == {
        "layer": "conv3",
        "rotation": "",
        "unit": 1,
        "category": "object",
        "label": "lamp",
        "score": 0.25,
        "detector": True,
        "dead": False,
        "threshold": 1.5,
        "concepts": [
            {
                "category": "object",
                "label": "lamp",
                "iou": 0.25,
                "truth": 100,
                "activation": 150,
                "intersect": 50,
            },
            {
                "category": "color",
                "label": "red",
                "iou": 10 / 590,
                "truth": 400,
                "activation": 200,
                "intersect": 10,
            },
        ],
        "images": [{"name": "c.jpg", "activation": 4.5}, {"name": "a.jpg", "activation": 3.25}],
        "picture": None,
    }


def test_show_says_that_a_result_is_rotated(
    invoke: Invoke, result: Dissection, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = replace(result, provenance={**result.provenance, "rotation": {"power": 0.6, "seed": 7}})
    monkeypatch.setattr("ndengine.result.load", lambda folder: known)
    first = invoke("show", result.folder, "--unit", 1).stdout.splitlines()[0]
    assert first.startswith("Unit 1 of conv3, rotated 0.6, seed 7: lamp (object), ")
    assert json.loads(invoke("show", result.folder, "--unit", 1, "--json").stdout)["rotation"] == "0.6, seed 7"


def test_show_takes_the_layer_that_is_named(invoke: Invoke, two_layers: Dissection) -> None:
    done = invoke("show", two_layers.folder, "--unit", 1, "--layer", "conv4")
    assert done.stdout.startswith("Unit 1 of conv4: lamp")


def test_show_asks_which_layer(fails: Callable[..., str], two_layers: Dissection) -> None:
    assert fails("show", two_layers.folder, "--unit", 1) == (
        f"{two_layers.folder} holds 2 layers; name one of conv3, conv4."
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--unit", 5), 2, "--unit is 5 and layer conv3 has 4 units; use a number from 1 to 4."),
        (("--unit", 1, "--layer", "conv2"), 1, "has no layer 'conv2'; use conv3."),
    ],
)
def test_show_refuses_what_is_not_there(
    fails: Callable[..., str], result: Dissection, arguments: tuple[object, ...], code: int, message: str
) -> None:
    assert fails("show", result.folder, *arguments, code=code).endswith(message)


def test_show_counts_units_from_1(invoke: Invoke, result: Dissection) -> None:
    done = invoke("show", result.folder, "--unit", 0)
    assert done.exit_code == 2
    assert "0 is not in the range x>=1" in done.stderr


def test_show_needs_a_finished_result(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "name the --out of a finished run" in fails("show", tmp_path / "nowhere", "--unit", 1)
    assert "did not finish" in fails("show", tmp_path, "--unit", 1)


def test_a_name_that_no_disk_takes(invoke: Invoke, result: Dissection) -> None:
    name = "x" * 300
    for words in (("show", name, "--unit", "1"), ("report", name), ("compare", name, "--out", "compared")):
        done = invoke(*words)
        assert (done.exit_code, "is no folder; name the --out" in done.stderr) == (1, True)
    done = invoke("compare", result.folder, "--out", name)
    assert done.exit_code == 1
    assert "File name too long); use shorter names, or choose another --out." in done.stderr
