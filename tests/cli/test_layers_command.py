from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ndcli.layers import field_cells
from tests.cli.conftest import Invoke


def test_layers_lists_a_network_of_ones_own(invoke: Invoke, network: Path) -> None:
    done = invoke("layers", "--model", f"{network}:build", "--size", "20x30")
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["conv1", "Conv2d", "nuhw", "4", "20x30", "3", "1", "-1"] in rows
    assert ["pool1", "MaxPool2d", "nuhw", "4", "10x15", "4", "2", "-1"] in rows
    assert ["relu2", "ReLU", "nuhw", "6", "10x15", "8", "2", "-3"] in rows
    assert done.stderr == ""


def test_layers_json(invoke: Invoke, network: Path) -> None:
    done = invoke("layers", "--model", f"{network}:build", "--size", 20, "--json")
    record = json.loads(done.stdout)
    assert record["model"] == f"{network}:build"
    relu2 = {"layer": "relu2", "alias": "", "kind": "ReLU", "shape": [6, 10, 10], "field": [[-3, 8, 2], [-3, 8, 2]]}
    assert {**relu2, "calls": 1, "axes": "nuhw", "tokens": []} in record["layers"]
    assert record["refused"] == {}
    assert record["missing"] == {}


def test_layers_names_aliases(invoke: Invoke) -> None:
    rows = [line.split() for line in invoke("layers", "--model", "vgg11").stdout.splitlines()]
    assert ["features.19", "conv5_2", "ReLU", "nuhw", "512", "14x14"] in [row[:6] for row in rows]


def test_layers_of_the_built_in_network_by_default(invoke: Invoke) -> None:
    assert invoke("layers").stdout.startswith("scenesnet\n")


@pytest.mark.parametrize(
    ("field", "cells"),
    [
        ([[-90, 196, 16], [-90, 196, 16]], ("196", "16", "-90")),
        ([[-90, 196, 16], [-9, 19, 1]], ("196x19", "16x1", "-90x-9")),
        (None, ("unknown", "", "")),
    ],
)
def test_fields_are_written_rows_first(field: list[list[int]] | None, cells: tuple[str, str, str]) -> None:
    assert field_cells(field) == cells


def test_layers_of_an_unknown_network_name_close_ones(fails: Callable[..., str]) -> None:
    message = fails("layers", "--model", "vgg61")
    assert "'vgg61'" in message
    assert "vgg16" in message
