"""Hostile prototxts and caffemodels: valid files damaged, and files made up by their grammars; each from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from random import Random

import numpy as np

from ndengine.models.caffe.definition import CaffeDefinition, CaffeLayer
from ndengine.models.caffe.network import build_network
from tests.engine.caffefiles import (
    SPELLINGS,
    STYLES,
    blob_bytes,
    blobs_of,
    caffemodel_bytes,
    field,
    number,
    prototxt_text,
    varint,
)

NUMBERS = (
    *(
        "0",
        "1",
        "2",
        "3",
        "-1",
        "5",
        "7",
        "17",
        "255",
        "65536",
        "2147483647",
        "2147483648",
        "4294967295",
        "-2147483648",
    ),
    *(
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551616",
        "9" * 300,
        "1" * 310,
        "9" * 400,
        "0x7fffffff",
        "010",
    ),
    *(
        "1e400",
        "-1e400",
        "nan",
        "inf",
        "-inf",
        "1e-320",
        "0.5",
        "1.5f",
        "1e9",
        "true",
        "false",
        "MAX",
        "AVE",
        '"x"',
        "''",
    ),
    *("{}", "{ dim: 3 }", "[1, 2]", "[]", "<>", "[", "}", "-", "", "# x"),
)
OPTIONS = (
    *("num_output", "kernel_size", "kernel_h", "kernel_w", "stride", "stride_h", "stride_w", "pad", "pad_h", "pad_w"),
    *("group", "dilation", "bias_term", "axis", "end_axis", "num_axes", "pool", "global_pooling", "round_mode"),
    *("local_size", "alpha", "beta", "k", "norm_region", "negative_slope", "channel_shared", "power", "scale", "shift"),
    *(
        "base",
        "eps",
        "use_global_stats",
        "operation",
        "coeff",
        "concat_dim",
        "transpose",
        "weight_filler",
        "engine",
        "odd",
    ),
)
OWN = {
    "Convolution": "kernel_size kernel_h kernel_w stride pad pad_h group dilation bias_term axis",
    "InnerProduct": "bias_term transpose axis",
    "Pooling": "pool kernel_size kernel_h kernel_w stride stride_h pad pad_w global_pooling round_mode",
    "LRN": "local_size alpha beta k norm_region",
    "BatchNorm": "eps use_global_stats",
    "BN": "eps momentum frozen",
    "Scale": "axis num_axes bias_term",
    "Bias": "axis num_axes",
    "Concat": "axis concat_dim",
    "Eltwise": "operation coeff coeff",
    "Flatten": "axis end_axis",
    "Softmax": "axis",
    "ReLU": "negative_slope",
    "PReLU": "channel_shared",
    "ELU": "alpha",
    "Power": "power scale shift",
    "Exp": "base scale shift",
}
SENSIBLE = ("1", "1", "2", "3", "3", "4", "5", "8", "1", "0", "true", "false", "1.5", "-1", "0.25")
KINDS = (*SPELLINGS, "Normalize", "Permute", "Slice", "Data", "Input", "DummyData", "SoftmaxWithLoss", "")
WORDS = (
    "layer",
    "layers",
    "name",
    "type",
    "bottom",
    "top",
    "input",
    "input_dim",
    "input_shape",
    "dim",
    "include",
    "phase",
)
VARINTS = (0, 1, 2, 3, 4, 8, 127, 128, 255, 2**14, 2**21, 2**31 - 1, 2**31, 2**32, 2**35, 2**62, 2**63, 2**64 - 1)

Make = Callable[[Random], bytes]


def _net(*layers: tuple[str, str, str, dict[str, object]], shape: tuple[int, ...] = (1, 3, 24, 20)) -> CaffeDefinition:
    made = (CaffeLayer(f"l{i}", kind, tuple(b.split()), (top,), dict(o)) for i, (kind, b, top, o) in enumerate(layers))  # type: ignore[arg-type]
    return CaffeDefinition("seed", {"data": shape}, tuple(made))


OLD = _net(
    ("Convolution", "data", "c", {"num_output": 4, "kernel_size": 5, "stride": 2, "pad": 1}),
    ("ReLU", "c", "c", {"negative_slope": 0.1}),
    ("Pooling", "c", "p", {"pool": "MAX", "kernel_size": 3, "stride": 2}),
    ("LRN", "p", "n", {"local_size": 3, "alpha": 0.1, "beta": 0.75}),
    ("Convolution", "n", "d", {"num_output": 4, "kernel_size": 3, "pad": 1, "group": 2, "bias_term": False}),
    ("Concat", "d n", "j", {"concat_dim": 1}),
    ("Eltwise", "d n", "e", {"operation": "SUM", "coeff": (1.0, -2.0)}),
    ("Power", "e", "w", {"power": 2.0, "scale": 0.5, "shift": 1.0}),
    ("InnerProduct", "w", "f", {"num_output": 6}),
    ("Dropout", "f", "f", {"dropout_ratio": 0.5}),
    ("Softmax", "f", "s", {}),
)
NEW = _net(
    ("Convolution", "data", "c", {"num_output": 4, "kernel_h": 3, "kernel_w": 2, "dilation": (1, 2)}),
    ("BatchNorm", "c", "c", {"eps": 0.001}),
    ("Scale", "c", "c", {"bias_term": True}),
    ("PReLU", "c", "c", {"channel_shared": True}),
    ("Pooling", "c", "p", {"pool": "AVE", "kernel_size": 3, "stride": 3, "pad": 1, "round_mode": "FLOOR"}),
    ("Bias", "p", "b", {}),
    ("ELU", "b", "b", {"alpha": 0.5}),
    ("Pooling", "b", "g", {"pool": "AVE", "global_pooling": True}),
    ("Flatten", "g", "v", {"axis": 1}),
    ("Scale", "b v", "m", {"axis": 0}),
    ("InnerProduct", "m", "f", {"num_output": 5, "transpose": True}),
)


def _seeds() -> tuple[list[bytes], list[bytes]]:
    """Valid files of two networks, in every spelling that they have."""
    texts, models = [], []
    for definition, styles in ((OLD, STYLES.values()), (NEW, [s for s in STYLES.values() if not s.legacy])):
        network = build_network(definition, random=True)
        for style in styles:
            texts.append(prototxt_text(definition, style).encode())
            models.append(caffemodel_bytes(definition, blobs_of(network), style))
    return texts, models


TEXTS, MODELS = _seeds()


def damage(draw: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """A file cut, with bits flipped, with bytes put in, taken out or repeated, or with a piece of another."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        place = draw.randrange(len(data) + 1)
        span = min(draw.choice((1, 1, 2, 4, 16, 64, 1024)), len(data) - place)
        match draw.randrange(7):
            case 0:
                del data[place:]
            case 1 if place < len(data):
                data[place] ^= 1 << draw.randrange(8)
            case 2:
                data[place:place] = draw.randbytes(draw.choice((1, 2, 9, 40)))
            case 3:
                del data[place : place + span]
            case 4:
                data[place:place] = bytes(data[place : place + span]) * draw.choice((1, 2, 50))
            case 5:
                other = draw.choice(others)
                begin = draw.randrange(len(other) + 1)
                data[place:] = other[begin : begin + draw.choice((8, 100, 10_000))]
            case _ if place < len(data):
                data[place] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x7B, 0x7D, draw.randrange(256)))
    return bytes(data)


def damaged_text(draw: Random) -> bytes:
    """A prototxt with bytes wrong."""
    return damage(draw, draw.choice(TEXTS), TEXTS)


def altered_text(draw: Random) -> bytes:
    """A prototxt with words and numbers changed for others, and lines lost, repeated and moved."""
    lines = [line.split(" ") for line in draw.choice(TEXTS).decode().split("\n")]
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        line = draw.choice(lines)
        match draw.randrange(5):
            case 0:
                line[draw.randrange(len(line))] = draw.choice(NUMBERS)
            case 1:
                numeric = [i for i, word in enumerate(line) if word.strip("-.").isdecimal()]
                for place in numeric[:1]:
                    line[place] = draw.choice(NUMBERS[:33])
            case 2:
                line[draw.randrange(len(line))] = draw.choice((*OPTIONS, *WORDS, *(f'"{kind}"' for kind in KINDS), ":"))
            case 3:
                lines.insert(draw.randrange(len(lines)), list(line))
            case _:
                lines.remove(line)
                lines = lines or [[""]]
    return "\n".join(" ".join(line) for line in lines).encode()


def made_up_text(draw: Random) -> bytes:
    """A prototxt of random layers, whose numbers are sensible, hostile or both."""
    hostile = draw.choice((0.0, 0.05, 0.3, 1.0))

    def value() -> str:
        return draw.choice(NUMBERS if draw.random() < hostile else SENSIBLE)

    def side() -> str:
        return draw.choice(NUMBERS) if draw.random() < hostile / 4 else str(draw.choice((8, 13, 32)))

    channels = value() if draw.random() < hostile else draw.choice(("3", "1"))
    parts = [f'input: "b0" input_shape {{ dim: 1 dim: {channels} dim: {side()} dim: {side()} }}']
    for i in range(draw.choice((1, 2, 5, 12))):
        kind = draw.choice(KINDS)
        count = draw.choice((1, 1, 1, 2, 3)) if kind in ("Eltwise", "Concat", "Scale", "Bias") else 1
        bottoms = [f"b{draw.randrange(i + 1)}" for _ in range(count)]
        top = bottoms[0] if draw.random() < 0.2 else f"b{i + 1}"
        own = OWN.get(kind, "").split()
        names = draw.sample(own, min(len(own), draw.choice((0, 1, 1, 2, 4))))
        if draw.random() < 0.1:
            names.append(draw.choice(OPTIONS))
        if kind in ("Convolution", "Pooling") and not any(name.startswith("kernel") for name in names):
            names.append("kernel_size")
        if kind in ("Convolution", "InnerProduct"):
            names.append("num_output")
        options = " ".join(f"{name}: {value()}" for name in names)
        message = SPELLINGS.get(kind, ("odd_param",))[0] or "odd_param"
        read = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        parts.append(f'layer {{ name: "l{i}" type: "{kind}" {read} top: "{top}" {message} {{ {options} }} }}')
    return "\n".join(parts).encode()


def many_layers(draw: Random) -> bytes:
    """Very many small things: layers, brackets, numbers, blobs of one layer."""
    count = draw.choice((50, 300, 20_000))
    start = 'input: "a" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }\n'
    parts = (
        'layer { name: "x" type: "ReLU" bottom: "a" top: "a" }\n',
        'layer { name: "x" type: "Odd" bottom: "a" top: "a" }\n',
        'layer { name: "x" type: "InnerProduct" bottom: "a" top: "a" inner_product_param { num_output: 3 } }\n',
        "layer {",
        "a: [",
        "layer { } ",
        "a: 1 ",
        '"x" ',
    )
    body = draw.choice(parts)
    if draw.random() < 0.3:
        return (start + 'layer { type: "Eltwise" ' + 'bottom: "a" ' * count + 'top: "b" }').encode()
    if draw.random() < 0.3:
        return (start + 'layer { type: "Split" bottom: "a" ' + 'top: "b" ' * count + "}").encode()
    return (start + body * (count if "type" not in body else min(count, 300))).encode()


def noise(draw: Random) -> bytes:
    """Bytes without sense, or letters of the text format."""
    letters = b"{}<>[]:;,\"'#-.\\ \n0123456789abcdefxlayernmtp" if draw.random() < 0.5 else bytes(range(256))
    return bytes(draw.choices(letters, k=draw.choice((0, 1, 5, 40, 400))))


def damaged_model(draw: Random) -> bytes:
    """A caffemodel with bytes wrong."""
    return damage(draw, draw.choice(MODELS), MODELS)


def altered_model(draw: Random) -> bytes:
    """A caffemodel with tags and lengths changed for others."""
    data = bytearray(draw.choice(MODELS))
    for _ in range(draw.choice((1, 1, 2, 4))):
        # Tags and lengths stand beside texts, so they are found where a byte is small.
        places = [
            i
            for i in range(min(len(data), 4000))
            if data[i] in (0x08, 0x0A, 0x12, 0x22, 0x2A, 0x2D, 0x32, 0x3A, 0x41, 0xA2)
        ]
        place = draw.choice(places or [0])
        new = varint(draw.choice(VARINTS)) if draw.random() < 0.7 else draw.randbytes(2)
        data[place + draw.randrange(3) : place + 3] = new
    return bytes(data)


def made_up_model(draw: Random) -> bytes:
    """A message of fields with numbers that Caffe knows, in any types, one inside another."""

    def message(depth: int) -> bytes:
        parts = []
        for _ in range(draw.choice((0, 1, 2, 3, 6))):
            tag = draw.choice((1, 1, 2, 3, 4, 5, 5, 6, 7, 7, 8, 10, 100, 100, 2**28))
            match draw.randrange(8):
                case 0:
                    parts.append(number(tag, draw.choice(VARINTS)))
                case 1:
                    parts.append(varint(tag << 3 | 5) + draw.randbytes(4))
                case 2:
                    parts.append((varint(tag << 3 | 5) + draw.randbytes(4)) * draw.choice((2, 70, 300)))
                case 3:
                    parts.append(varint(tag << 3 | 1) + draw.randbytes(8))
                case 4:
                    parts.append(field(tag, draw.randbytes(draw.choice((0, 4, 8, 12)))))
                case 5:
                    parts.append(varint(tag << 3 | 2) + varint(draw.choice(VARINTS)) + draw.randbytes(3))
                case _:
                    parts.append(field(tag, message(depth + 1) if depth < 4 else b""))
        return b"".join(parts)

    def layer() -> bytes:
        """A layer that is right, but for what may follow."""
        if draw.random() < 0.1:  # of nothing, and yet with sides beyond all bounds
            dims = b"".join(varint(draw.choice((0, 1, 2**16, 2**31 - 1))) for _ in range(draw.randrange(1, 12)))
            return field(1, b"l0") + field(7, field(7, field(1, varint(0) + dims)))
        shape = [draw.choice((0, 1, 2, 3)) for _ in range(draw.randrange(5))]
        values = np.frombuffer(draw.randbytes(4 * prod(shape)), np.float32).reshape(shape)
        blobs = field(7, blob_bytes(values, draw.choice(list(STYLES.values())))) * draw.choice((1, 1, 2, 3, 40))
        return field(1, f"l{draw.randrange(12)}".encode()) + blobs + draw.choice((b"", b"", message(3)))

    if draw.random() < 0.2:
        return message(0)
    parts = (field(100, layer()) if draw.random() < 0.7 else field(draw.choice((100, 2)), message(1)) for _ in range(3))
    return b"".join(parts)


def many_fields(draw: Random) -> bytes:
    """Very many small things: layers, blobs, sides, numbers."""
    count = draw.choice((10, 300, 5000))
    part = draw.choice(
        (field(7, b""), number(1, 1), field(5, b"\x00" * 4), b"\x2d\x00\x00\x80\x3f", field(7, number(1, 1)))
    )
    content = field(100, part * count) if draw.random() < 0.5 else field(100, field(7, part * count))
    return content * draw.choice((1, 1, 5))


PROTOTXT: tuple[Make, ...] = (damaged_text, altered_text, altered_text, made_up_text, made_up_text, many_layers, noise)
CAFFEMODEL: tuple[Make, ...] = (
    damaged_model,
    altered_model,
    altered_model,
    made_up_model,
    made_up_model,
    many_fields,
    noise,
)


def make_input(seed: int, place: int) -> tuple[str, bytes]:
    """The kind of an input, ``prototxt NAME`` or ``caffemodel NAME``, and its bytes; always the same ones."""
    draw = Random(f"{seed}/{place}")
    what, makers = draw.choice((("prototxt", PROTOTXT), ("caffemodel", CAFFEMODEL)))
    make = draw.choice(makers)
    return f"{what} {make.__name__}", make(draw)
