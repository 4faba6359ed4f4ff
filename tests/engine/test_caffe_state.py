"""Which layers a network has in its state: levels and stages, as Caffe's rules have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ndengine.errors import ModelError
from ndengine.models.caffe.network import build_network
from ndengine.models.caffe.prototxt import parse_prototxt

INPUT = 'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }\n'
# As DIGITS writes them: data for training and validation, a loss but for deploying, the outcome for deploying.
ALL_IN_ONE = """
layer { name: "train-data" type: "Data" top: "data" transform_param { crop_size: 8 } include { stage: "train" } }
layer { name: "val-data" type: "Data" top: "data" transform_param { crop_size: 9 } include { stage: "val" } }
INPUT
layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
layer { name: "s" type: "Sigmoid" bottom: "r" top: "s" exclude { stage: "deploy" } }
layer { name: "p" type: "Softmax" bottom: "r" top: "p" include { stage: "deploy" } }
"""
DEPLOYED = (
    'layer { name: "in" type: "Input" top: "data" include { stage: "deploy" } '
    "input_param { shape { dim: 1 dim: 3 dim: 7 dim: 7 } } }"
)


def names(text: str) -> list[str]:
    return [layer.name for layer in parse_prototxt(text, "net.prototxt").definition.layers]


def holds(state: str, rule: str) -> bool:
    """Whether a layer is included by the rule, and so excluded by it."""
    text = f"{state} {INPUT} layer {{ name: 'always' type: 'ReLU' bottom: 'data' top: 'data' }}"
    for kind in ("include", "exclude"):
        text += f"layer {{ name: '{kind}' type: 'ReLU' bottom: 'data' top: 'data' {kind} {{ {rule} }} }}"
    always, only = names(text)
    assert always == "always"
    return only == "include"


@pytest.mark.parametrize(
    ("state", "rule", "expected"),
    [
        ('stage: "a"', 'stage: "a"', True),
        ('stage: "a"', 'stage: "a" stage: "b"', False),
        ('stage: "a" stage: "b"', 'stage: "a" stage: "b"', True),
        ('stage: ["a", "b", "c"]', 'stage: "b" not_stage: "d"', True),
        ('stage: "a" stage: "b"', 'stage: "a" not_stage: "b"', False),
        ('stage: "a"', 'not_stage: "b" not_stage: "c"', True),
        ('stage: "a"', 'not_stage: "b" not_stage: "a"', False),
        ('stage: "a"', 'stage: "deploy"', False),
        ('phase: TRAIN stage: "a"', 'phase: TEST stage: "a"', True),
        ('phase: TRAIN stage: "a"', 'phase: TRAIN stage: "a"', False),
        ("phase: TEST", 'stage: "deploy"', False),
        ("", "", True),
        ("level: 2", "min_level: 2", True),
        ("level: 2", "min_level: 3", False),
        ("level: 2", "max_level: 2 min_level: 1", True),
        ("level: 2", "max_level: 1", False),
        ("level: -1", "max_level: -1", True),
    ],
)
def test_rules_are_held_against_the_state_of_the_file(state: str, rule: str, expected: bool) -> None:
    assert holds(f"state {{ {state} }}", rule) is expected


def test_without_a_state_the_stage_is_deploy_where_a_rule_names_it() -> None:
    assert holds("", 'stage: "deploy"')
    assert not holds("", 'stage: "extra"')
    assert holds("", 'not_stage: "deploy"')
    assert not holds("", 'stage: "deploy" phase: TRAIN')
    text = ALL_IN_ONE.replace("INPUT", DEPLOYED)
    assert names(text) == ["r", "p"]
    assert parse_prototxt(text, "net").definition.inputs == {"data": (1, 3, 7, 7)}
    text = 'state { stage: "val" }' + text
    assert names(text) == ["r", "s"]
    assert parse_prototxt(text, "net").definition.inputs == {"data": (1, 3, 9, 9)}


def test_a_state_that_says_nonsense_is_refused() -> None:
    layer = INPUT + "layer { name: 'r' type: 'ReLU' bottom: 'data' top: 'r' }"
    for state, why in (
        ("state { phase: VAL }", "phase is 'VAL'"),
        ("state { stage: 3 }", "stage is 3 where a text"),
        ("state { level: 'x' }", "level is 'x' where"),
        ("state { } state { }", "state is there a second time"),
    ):
        with pytest.raises(ModelError, match=rf"net\.prototxt can't be read at line 1: {why}"):
            names(state + layer)


def test_inputs_of_other_stages_are_named_where_there_is_none(tmp_path: Path) -> None:
    definition = parse_prototxt(ALL_IN_ONE.replace("INPUT", ""), "net.prototxt").definition
    with pytest.raises(ModelError) as caught:
        build_network(definition, random=False, source="net.prototxt")
    assert str(caught.value) == (
        "net.prototxt has no input of images with 3 channels or 1 (it has none, and left out because of their stage "
        "are train-data, val-data); give it input_shape { dim: 1 dim: 3 dim: 224 dim: 224 }, or "
        'state { stage: "..." } with the stage of one that was left out.'
    )


@pytest.mark.parametrize(
    ("rules", "is_told"),
    [
        ('include { stage: "a" }', True),
        ('include { phase: TRAIN } include { stage: "a" }', True),
        ('include { phase: TRAIN stage: "a" }', False),
        ('include { min_level: 1 stage: "a" }', False),
        ('exclude { not_stage: "a" }', True),
        ('exclude { not_stage: "a" } exclude { phase: TEST }', False),
        ("exclude { phase: TEST }", False),
    ],
)
def test_only_layers_that_another_stage_would_have_are_named(rules: str, is_told: bool) -> None:
    layers = f"layer {{ name: 'd' type: 'Data' {rules} top: 'data' }} layer {{ type: 'Data' {rules} }}"
    found = parse_prototxt(layers + "layer { bottom: 'data' include { stage: 'a' } }", "net").definition
    assert found.other_stages == (("d", "Data") if is_told else ())
