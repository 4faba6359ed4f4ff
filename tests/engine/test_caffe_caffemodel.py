"""Caffemodels in every spelling of protobuf's bytes, and damaged ones."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from caffefiles import STYLES, Style, blob_bytes, blobs_of, caffemodel_bytes, field, float_bits, number, varint
from test_caffe_network import alexnet, build, conv, layer, relu

from ndengine.errors import ModelError
from ndengine.models.caffe.caffemodel import Blobs, parse_caffemodel, read_caffemodel
from ndengine.models.caffe.definition import CaffeDefinition
from ndengine.models.caffe.network import build_network


def read(content: bytes) -> Blobs:
    return parse_caffemodel(np.frombuffer(bytearray(content), np.uint8), "net.caffemodel")


def one_blob(content: bytes) -> torch.Tensor:
    """The blob in a file of one layer."""
    return read(field(100, field(1, b"conv") + field(7, content)))["conv"][0]


def floats(*values: float) -> bytes:
    return b"".join(map(float_bits, values))


@pytest.mark.parametrize("style", STYLES)
def test_what_is_written_is_read(style: str) -> None:
    definition = alexnet()
    source = build_network(definition, random=True)
    network = build_network(definition, random=False)
    content = caffemodel_bytes(definition, blobs_of(source), STYLES[style])
    network.load_state_dict(network.state_of(read(content)))
    for (name, ours), theirs in zip(network.state_dict().items(), source.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_blobs_of_every_layer_with_parameters() -> None:
    layers = (
        *(conv("a", "data", 4, 3), layer("bn", "BatchNorm", "a"), layer("scale", "Scale", "bn", bias_term=True)),
        *(
            layer("bias", "Bias", "scale"),
            layer("prelu", "PReLU", "bias"),
            layer("s", "PReLU", "prelu", channel_shared=True),
        ),
        layer("fc", "InnerProduct", "s", num_output=3, transpose=True),
    )
    definition = CaffeDefinition("net", {"data": (1, 3, 6, 6)}, layers)
    source, network = build_network(definition, random=True), build_network(definition, random=False)
    for tensor in source.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) + 0.5)
    for style in (Style(), Style(four_axes=True)):
        network.load_state_dict(network.state_of(read(caffemodel_bytes(definition, blobs_of(source), style))))
        for (name, ours), theirs in zip(network.state_dict().items(), source.state_dict().values(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0, msg=name)


def test_blobs_packed_unpacked_and_mixed() -> None:
    shape = field(7, field(1, varint(2) + varint(3)))
    values = torch.arange(6.0).view(2, 3)
    packed = field(5, floats(0, 1, 2, 3, 4, 5))
    single = b"".join(varint(5 << 3 | 5) + float_bits(value) for value in range(6))
    mixed = field(5, floats(0, 1)) + varint(5 << 3 | 5) + float_bits(2) + field(5, floats(3, 4, 5))
    unusual = b"".join(b"\xad\x00" + float_bits(value) for value in range(6))  # the tag in two bytes
    for data in (packed, single, mixed, unusual):
        assert torch.equal(one_blob(data + shape), values)
        assert torch.equal(one_blob(shape + data + number(99, 7)), values)
    for dims in (number(1, 2) + number(1, 3), field(1, varint(2)) + number(1, 3)):
        assert torch.equal(one_blob(packed + field(7, dims)), values)
    sides = number(1, 1) + number(2, 1) + number(3, 2) + number(4, 3)
    assert torch.equal(one_blob(packed + sides), values.view(1, 1, 2, 3))
    assert torch.equal(one_blob(packed + sides + field(7, field(1, varint(6)))), values.view(1, 1, 2, 3))
    doubles = field(8, np.arange(6.0).tobytes())
    for data in (doubles, doubles + field(5, floats(9)), field(5, floats(9)) + doubles):  # as Caffe prefers them
        assert torch.equal(one_blob(data + shape), values)
    assert one_blob(field(5, floats(3)) + field(7, b"")).shape == ()


def test_packed_numbers_are_not_copied(tmp_path: Path) -> None:
    count = 4_000_000
    values = np.arange(count, dtype=np.float32)
    path = tmp_path / "net.caffemodel"
    path.write_bytes(field(100, field(1, b"fc") + field(7, blob_bytes(values))))
    tracemalloc.start()
    (found,) = read_caffemodel(path)["fc"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert torch.equal(found, torch.from_numpy(values))
    assert peak < count  # a quarter of the numbers' bytes


def test_unpacked_numbers_take_no_second_for_millions() -> None:
    count = 2_000_000
    row = np.empty((count, 5), np.uint8)
    row[:, 0] = 5 << 3 | 5
    row[:, 1:] = np.arange(count, dtype="<f4").view(np.uint8).reshape(count, 4)
    start = time.perf_counter()
    found = one_blob(row.tobytes() + field(7, field(1, varint(count))))
    assert time.perf_counter() - start < 1
    assert torch.equal(found, torch.arange(count, dtype=torch.float32))


def test_what_is_not_known_is_passed_over() -> None:
    blob = blob_bytes(np.ones(2, np.float32))
    known = field(1, b"a") + number(55, 2**63) + varint(77 << 3 | 1) + bytes(8) + varint(78 << 3 | 5) + bytes(4)
    content = (
        field(1, b"net")
        + number(5, 1)
        + field(8, b"\xff\xff")
        + field(100, known + field(7, blob) + field(106, b"\xff"))
    )
    assert torch.equal(read(content)["a"][0], torch.ones(2))


def test_names_twice_and_layers_without_blobs() -> None:
    layers = [field(100, field(1, b"a") + field(7, blob_bytes(np.full(1, value, np.float32)))) for value in (1, 2)]
    found = read(b"".join([*layers, field(100, field(1, b"a")), field(100, field(1, b"relu"))]))
    assert found.keys() == {"a"}
    assert float(found["a"][0]) == 2


DATA = field(5, floats(1, 2))
DAMAGED = {
    "text": (b"layer { name: 'x' }", "has the type"),
    "nothing in it": (field(1, b"name"), "holds no layer with weights"),
    "length beyond the end": (varint(100 << 3 | 2) + varint(50) + b"x", "field 100 is cut off"),
    "endless number": (b"\x80" * 20, "longer than 64 bits"),
    "number beyond 64 bits": (b"\x08" + b"\xff" * 9 + b"\x7f", "longer than 64 bits"),
    "field 0": (b"\x00\x01", "0 is no number of a field"),
    "field beyond": (varint((2**30) << 3) + b"\x01", "is no number of a field"),
    "group": (varint(3 << 3 | 3) + b"\x01", "has the type 3"),
    "end of a group": (varint(3 << 3 | 4), "has the type 4"),
    "type 7": (varint(3 << 3 | 7), "has the type 7"),
    "layer as a number": (number(100, 3), "field 100 has the type 0 instead of 2"),
    "name as a number": (field(100, number(1, 3)), "field 1 has the type 0 instead of 2"),
    "blob as a number": (field(100, number(7, 3)), "field 7 has the type 0 instead of 2"),
    "fewer values": (field(100, field(7, DATA + field(7, field(1, varint(3))))), "2 values for the shape 3"),
    "more values": (field(100, field(7, DATA + field(7, field(1, varint(1))))), "2 values for the shape 1"),
    "no shape": (field(100, field(7, DATA)), "2 values for the shape of one value"),
    "no values": (field(100, field(7, field(7, field(1, varint(3))))), "0 values for the shape 3"),
    "huge shape": (field(100, field(7, DATA + field(7, field(1, varint(2**62) * 8)))), "2 values for the shape 46"),
    "negative side": (field(100, field(7, DATA + number(1, 2**64 - 2))), "2 values for the shape 18446"),
    "huge side of nothing": (field(100, field(7, field(7, field(1, varint(0) + varint(2**62))))), "0 values for"),
    "huge sides of nothing": (
        field(100, field(7, field(7, field(1, varint(0) + varint(2**31 - 1) * 10)))),
        "0 values for the shape 0x2147483647",
    ),
    "33 axes": (
        field(100, field(7, field(5, floats(1)) + field(7, field(1, varint(1) * 33)))),
        "1 values for the shape",
    ),
    "half a value": (field(100, field(7, field(5, b"\x00" * 5))), "no multiple of 4"),
    "values as a number": (field(100, field(7, number(5, 1))), "field 5 has the type 0 instead of 5"),
    "values as doubles": (field(100, field(7, varint(5 << 3 | 1) + bytes(8))), "field 5 has the type 1 instead of 5"),
    "cut off in a row": (
        field(100, field(7, (varint(5 << 3 | 5) + floats(1)) * 3 + b"\x2d\x00")),
        "field 5 is cut off",
    ),
    "half precision": (
        field(100, field(7, number(10, 2) + field(12, bytes(4)) + field(7, field(1, varint(2))))),
        "0 values",
    ),
    "first format": (field(2, field(1, field(1, b"conv1")) + field(2, b"data")), "first format, of 2013"),
    "too many blobs": (field(100, field(7, b"") * 70_000), "more than 8,192 blobs"),
    "too many layers": (field(100, b"") * 70_000, "more than 8,192 layers"),
    "too many fields": (field(100, number(9, 1) * 300_000), "more than 262,144 fields"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_refused_in_a_sentence(name: str) -> None:
    content, why = DAMAGED[name]
    with pytest.raises(ModelError) as caught:
        read(content)
    message = str(caught.value)
    assert why in message
    assert message.startswith("net.caffemodel ")
    assert message.endswith(".")
    assert len(message) < 300


def test_every_truncation_is_refused_or_read_up_to_a_whole_layer() -> None:
    network = build(
        conv("a", "data", 2, 3), relu("1", "a"), layer("fc", "InnerProduct", "a", num_output=2), shape=(1, 3, 5, 5)
    )
    content = caffemodel_bytes(network.definition, blobs_of(network), Style())
    whole = 0
    for length in range(len(content)):
        try:
            whole += set(read(content[:length])) < {"a", "fc"}
        except ModelError:
            continue
    assert 0 < whole < 8


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    empty = tmp_path / "empty.caffemodel"
    empty.touch()
    with pytest.raises(ModelError, match=r"empty\.caffemodel is empty"):
        read_caffemodel(empty)
    with pytest.raises(ModelError, match="can't be read"):
        read_caffemodel(tmp_path)
    with pytest.raises(ModelError, match=r"absent\.caffemodel can't be read"):
        read_caffemodel(tmp_path / "absent.caffemodel")
