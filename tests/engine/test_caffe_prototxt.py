"""Prototxts in every spelling, and errors that name the line."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from ndengine.errors import ModelError
from ndengine.models.caffe.prototxt import Prototxt, _layers, parse_prototxt, read_prototxt
from ndengine.models.caffe.text import parse_text

INPUT = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'


def read(text: str) -> Prototxt:
    return parse_prototxt(dedent(text), "net.prototxt")


def names(prototxt: Prototxt) -> list[str]:
    return [layer.name for layer in prototxt.definition.layers]


VALUES = {
    "a: 1": 1,
    "a: -1": -1,
    "a: 18446744073709551615": 2**64 - 1,
    "a: 0xFFFFFFFFFFFFFFFF": 2**64 - 1,
    "a: 1.e+0f": 1.0,
    "a: " + "1" * 310 + ".": float("inf"),
    r'a: "\\" "x"': "\\x",
    "a: - 12": -12,
    "a: 0x1F": 31,
    "a: 017": 15,
    "a: 0": 0,
    "a: 1.5": 1.5,
    "a: .5f": 0.5,
    "a: 1.F": 1.0,
    "a: 2e-3": 0.002,
    "a: 1E+2f": 100.0,
    "a: -inf": float("-inf"),
    "a: Infinity": float("inf"),
    "a: true": True,
    "a: False": False,
    "a: MAX": "MAX",
    'a: "x y"': "x y",
    "a: 'it''s'": "its",
    'a: "one" \'two\'\n # three\n "four"': "onetwofour",
    r'a: "\n\t\"\'\\ \101\x42\u00e4\U0001F600 \303\244"': "\n\t\"'\\ ABä😀 ä",
    'a: "#no comment"': "#no comment",
    "a:1;": 1,
    "a: 1,": 1,
    "a: 1 # a comment": 1,
    "# first\n\ta\n:\n1": 1,
}


@pytest.mark.parametrize("text", VALUES)
def test_values(text: str) -> None:
    found = parse_text(text, "net").value("a")
    assert found == VALUES[text]
    assert type(found) is type(VALUES[text])


def test_messages_in_all_their_brackets() -> None:
    whole = parse_text(
        "a { b: 1 } a: { b: 2 } a < b: 3 >; a: < b: 4 > a: [ { b: 5 }, { b: 6 } ], c: [7, 8] c: []", "net"
    )
    assert [message.value("b") for message in whole.messages("a")] == [1, 2, 3, 4, 5, 6]
    assert whole.values("c") == (7, 8)
    assert "c" not in parse_text("c: []", "net").fields
    assert parse_text("[some.ext/of.a-type]: 1 a: 2", "net").value("a") == 2


BROKEN = {
    "a": (1, "a has neither a value behind ':' nor a message"),
    "a:": (1, "a has no value"),
    "a: 1\nb {\nc: 2": (3, "ends inside the message that begins at line 2"),
    "a: 1\n}": (2, "'}' stands where the name of a field"),
    "a { b: 1 >": (1, "'>' stands where the name"),
    "a: 1\nb: $": (2, "'$' belongs to nothing"),
    'a: "x\ny"': (1, "belongs to nothing"),
    "a: 1x": (1, "belongs to nothing"),
    "a: 1.5.2": (1, "belongs to nothing"),
    "a: -x": (1, "'-x' is no number"),
    'a: - "x"': (1, "a has no value"),
    "a: 09": (1, "09 begins like an octal number"),
    "a: [1 2]": (1, "the list of a lacks its"),
    "a: [1": (1, "the list of a lacks its"),
    "[a": (1, "a name in brackets"),
    "a: 18446744073709551616": (1, "a whole number of more than 64 bits"),
    "a: -" + "1" * 310: (1, "a whole number of more than 64 bits"),
    "a: 0x1" + "0" * 16: (1, "a whole number of more than 64 bits"),
    "a: " + "9" * 400: (1, "hundreds of digits"),
    "a {" * 40 + "}" * 40: (1, "more than 32 messages inside each other"),
    "1: 2": (1, "'1' stands where the name"),
    "a: 1\x00": (1, "belongs to nothing"),
}


@pytest.mark.parametrize("text", BROKEN, ids=[f"{text[:12]!r}" for text in BROKEN])
def test_what_breaks_the_format_is_named_with_its_line(text: str) -> None:
    line, why = BROKEN[text]
    with pytest.raises(ModelError) as caught:
        parse_text(text, "net.prototxt")
    assert f"net.prototxt can't be read at line {line}: " in str(caught.value)
    assert why in str(caught.value)


def test_a_network_as_today() -> None:
    found = read(
        """
        name: "net"
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 10 dim: 3 dim: 8 dim: 9 } } }
        layer {
          name: "conv1"  # named as its blob
          type: "Convolution" bottom: "data" top: "conv1"
          param { lr_mult: 1 } param { lr_mult: 2 }
          convolution_param {
            num_output: 4 kernel_size: 3 kernel_size: 5 weight_filler { type: "msra" } bias_term: false
          }
        }
        layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { pool: AVE kernel_size: 2 } }
        layer { name: "s" type: "Split" bottom: "pool1" top: "x" top: "y" }
        """
    )
    assert found.definition.name == "net"
    assert found.definition.inputs == {"data": (10, 3, 8, 9)}
    conv, pool, split = found.definition.layers
    assert (conv.kind, conv.bottoms, conv.tops) == ("Convolution", ("data",), ("conv1",))
    assert conv.options == {"num_output": 4, "kernel_size": (3, 5), "weight_filler": "{…}", "bias_term": False}
    assert pool.options == {"pool": "AVE", "kernel_size": 2}
    assert split.tops == ("x", "y")


def test_a_network_as_in_2014() -> None:
    kinds = "CONVOLUTION INNER_PRODUCT RELU LRN TANH ABSVAL BNLL ELTWISE CONCAT SOFTMAX DROPOUT POWER SIGMOID EXP SPLIT"
    layers = "".join(f"layers {{ name: '{kind}' type: {kind} bottom: 'data' top: 'data' }}" for kind in kinds.split())
    found = read(INPUT + layers + "layers { name: 'loss' type: SOFTMAX_LOSS bottom: 'data' top: 'loss' }")
    assert [layer.kind for layer in found.definition.layers] == [
        *("Convolution", "InnerProduct", "ReLU", "LRN", "TanH", "AbsVal", "BNLL", "Eltwise", "Concat", "Softmax"),
        *("Dropout", "Power", "Sigmoid", "Exp", "Split"),
    ]
    assert found.definition.inputs == {"data": (1, 3, 8, 8)}


V1_NUMBERS = [  # from 0 on, as in caffe.proto
    *("None", "Accuracy", "BNLL", "Concat", "Convolution", "Data", "Dropout", "EuclideanLoss", "Flatten", "HDF5Data"),
    *("HDF5Output", "Im2col", "ImageData", "InfogainLoss", "InnerProduct", "LRN", "MultinomialLogisticLoss", "Pooling"),
    *("ReLU", "Sigmoid", "Softmax", "SoftmaxWithLoss", "Split", "TanH", "WindowData", "Eltwise", "Power"),
    *("SigmoidCrossEntropyLoss", "HingeLoss", "MemoryData", "ArgMax", "Threshold", "DummyData", "Slice", "MVN"),
    *("AbsVal", "Silence", "ContrastiveLoss", "Exp", "Deconvolution"),
]


def test_a_type_of_2014_may_be_a_number() -> None:
    for number, kind in enumerate(V1_NUMBERS):
        ((_, found),) = _layers(parse_text(f"layers {{ type: {number} }}", "net.prototxt"))
        assert found == kind, number
    found = read(INPUT + "layers { name: 'r' type: 0x12 bottom: 'data' top: 'r' }")
    assert [layer.kind for layer in found.definition.layers] == ["ReLU"]
    for value in ("40", "-1", "18.0", "true"):
        with pytest.raises(ModelError, match=r"line 2: type is .* where a whole number from 0 to 39 is needed"):
            read(INPUT + f"layers {{ type: {value} }}")
    with pytest.raises(ModelError, match="type is 18 where a text is needed"):  # no enumeration today
        read(INPUT + "layer { type: 18 }")


def test_the_phase_of_testing_is_what_is_built() -> None:
    rules = {
        "always": "",
        "test": "include { phase: TEST }",
        "train": "include { phase: TRAIN }",
        "not test": "exclude { phase: TEST }",
        "not train": "exclude { phase: TRAIN }",
        "both": "include { phase: TRAIN } include { phase: TEST }",
        "by number": "include { phase: 0 }",
        "stage": 'include { phase: TEST stage: "extra" }',
        "other stages": 'include { not_stage: "extra" }',
        "level": "include { min_level: 1 }",
        "level 0": "include { min_level: -1 max_level: 0 }",
        "all but a stage": 'exclude { stage: "extra" }',
    }
    layers = "".join(
        f"layer {{ name: '{n}' type: 'ReLU' {rule} bottom: 'data' top: 'data' }}" for n, rule in rules.items()
    )
    assert names(read(INPUT + layers)) == [
        *("always", "test", "not train", "both", "other stages", "level 0", "all but a stage")
    ]
    with pytest.raises(ModelError, match="both include and exclude"):
        read(INPUT + "layer { name: 'a' type: 'ReLU' include { phase: TEST } exclude { phase: TRAIN } }")
    with pytest.raises(ModelError, match="phase is 'VAL'"):
        read(INPUT + "layer { name: 'a' type: 'ReLU' include { phase: VAL } }")


DATA = {
    "input": (
        'type: "Input" top: "a" top: "b" input_param { shape { dim: 1 dim: 3 dim: 5 dim: 6 } }',
        ((1, 3, 5, 6),) * 2,
    ),
    "inputs": (
        'type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 } shape { dim: 4 } }',
        ((2, 3), (4,)),
    ),
    "dummy": ('type: "DummyData" top: "a" dummy_data_param { num: 1 channels: 3 height: 4 width: 5 }', ((1, 3, 4, 5),)),
    "crop": ('type: "Data" top: "a" top: "b" transform_param { crop_size: 227 } data_param { }', ((1, 3, 227, 227),)),
    "old crop": ('type: "Data" top: "a" top: "b" data_param { crop_size: 7 }', ((1, 3, 7, 7),)),
    "of a fork": ('type: "AnnotatedData" top: "a" top: "b" transform_param { crop_size: 7 }', ((1, 3, 7, 7),)),
    "grey": ('type: "Data" top: "a" transform_param { crop_size: 7 force_gray: true }', ((1, 1, 7, 7),)),
    "files": ('type: "ImageData" top: "a" top: "b" image_data_param { new_height: 4 new_width: 6 }', ((1, 3, 4, 6),)),
    "memory": (
        'type: "MemoryData" top: "a" top: "b" memory_data_param { batch_size: 9 channels: 3 height: 4 width: 6 }',
        ((1, 3, 4, 6),),
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_layers_of_data_become_inputs(name: str) -> None:
    layer, shapes = DATA[name]
    found = read(f"layer {{ name: 'data' {layer} }} layer {{ name: 'r' type: 'ReLU' bottom: 'a' top: 'r' }}")
    assert list(found.definition.inputs.values()) == list(shapes)
    assert names(found) == ["r"]


def test_data_of_unknown_shape_stays_a_layer_that_nobody_can_compute() -> None:
    found = read(
        "layer { name: 'data' type: 'HDF5Data' top: 'a' } layer { name: 'r' type: 'ReLU' bottom: 'a' top: 'r' }"
    )
    assert names(found) == ["data", "r"]
    assert found.definition.inputs == {}


def test_what_training_needs_is_left_out() -> None:
    layers = [
        ("label", "Silence"),
        ("loss", "SoftmaxWithLoss"),
        ("acc", "Accuracy"),
        ("e", "EuclideanLoss"),
        ("r", "ReLU"),
    ]
    text = "".join(f"layer {{ name: '{n}' type: '{kind}' bottom: 'data' top: '{n}' }}" for n, kind in layers)
    assert names(read(INPUT + text)) == ["r"]


def test_the_mean_of_a_data_layer() -> None:
    rest = "layer { name: 'r' type: 'ReLU' bottom: 'a' top: 'r' }"

    def with_transform(text: str) -> Prototxt:
        return read(f"layer {{ name: 'd' type: 'Data' top: 'a' transform_param {{ crop_size: 8 {text} }} }} {rest}")

    found = with_transform("mean_value: 104 mean_value: 117.5 mean_value: 123 scale: 0.017")
    assert (found.mean, found.factor) == ((104.0, 117.5, 123.0), 0.017)
    assert with_transform("mean_value: 127").mean == (127.0,)
    assert (with_transform("mean_file: 'mean.binaryproto'").mean, with_transform("").factor) == ((), 1.0)
    for text, why in (
        ("mean_value: 1 mean_value: 2", "2 times mean_value"),
        ("mean_value: nan", "mean_value is nan"),
        ("scale: 0", "not positive"),
        ("scale: 'x'", "scale is 'x'"),
    ):
        with pytest.raises(ModelError, match=why):
            with_transform(text)


REFUSED = {
    "v0": ("layers { layer { name: 'conv1' type: 'conv' } bottom: 'data' top: 'conv1' }", "first format, of 2013"),
    "both": ("layer { name: 'a' } layers { name: 'b' }", "both `layer` and `layers`"),
    "solver": ("net: 'train.prototxt' base_lr: 0.1", "the settings of a training"),
    "nothing": ("name: 'x'", "no layers"),
    "shapes without inputs": ("input: [] input_shape { dim: 1 } layer { }", "0 inputs and 1 shapes"),
    "inputs without shapes": ("input: 'data' layer { name: 'a' }", "1 inputs and 0 shapes"),
    "three sides": ("input: 'data' input_dim: 1 input_dim: 3 input_dim: 8 layer { }", "3 input_dim for 1 inputs"),
    "shapes twice": ("input: 'd' input_dim: 1 input_shape { dim: 1 } layer { }", "both input_dim and input_shape"),
    "no side": ("input: 'd' input_shape { dim: 0 } layer { }", "dim is 0 where a whole number from 1"),
    "side beyond": ("input: 'd' input_shape { dim: 99999999999 } layer { }", "dim is 99999999999 where"),
    "side of text": ("input: 'd' input_shape { dim: 'x' } layer { }", "dim is 'x' where"),
    "options twice": ("layer { type: 'ReLU' relu_param { } relu_param { } }", "relu_param is there a second time"),
    "name twice": ("layer { name: 'a' name: 'b' }", "name is there a second time"),
    "name of a number": ("layer { name: 3 }", "name is 3 where a text"),
    "message as value": ("layer: 3", "layer is a message, in braces"),
    "value as message": ("layer { name { } }", "name is a value, and not a message"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_network_is_refused(name: str) -> None:
    text, why = REFUSED[name]
    with pytest.raises(ModelError, match=why) as caught:
        read(text)
    assert "net.prototxt" in str(caught.value)


def test_too_many_layers_and_too_long_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="20,000 layers"):
        read("layer{}" * 20_000)
    path = tmp_path / "long.prototxt"
    path.write_text("#" * (5 * 2**20))
    with pytest.raises(ModelError, match=r"long.prototxt has more than 4,194,304 bytes"):
        read_prototxt(path)
    with pytest.raises(ModelError, match="can't be read"):
        read_prototxt(tmp_path)
    with pytest.raises(ModelError, match="No such file"):
        read_prototxt(tmp_path / "absent.prototxt")


def test_marks_of_the_encoding_and_foreign_letters(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(b"\xef\xbb\xbf" + INPUT.encode() + "layer { name: 'ä' type: 'ReLU' } # \xff".encode("latin-1"))
    assert len(read_prototxt(path).definition.layers) == 1
