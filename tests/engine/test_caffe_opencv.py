"""Caffe's layers and files as OpenCV reads and computes them: blobs agree to 1e-4 of their largest value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from caffefiles import STYLES, blobs_by_opencv, blobs_from, compare_with_opencv, difference, one_layer
from test_caffe_network import conv, layer, pool, relu

from ndengine.models.caffe.caffemodel import read_caffemodel
from ndengine.models.caffe.definition import CaffeDefinition, CaffeLayer
from ndengine.models.caffe.network import build_network
from ndengine.models.caffe.prototxt import read_prototxt

pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'opencv-python-headless<5'")

TOLERANCE = 1e-4
RES10 = Path(__file__).parents[3] / "shared" / "weights" / "res10_ssd"

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "max": ("Pooling", {"kernel_size": 3, "stride": 2}),
    "max padded": ("Pooling", {"pool": "MAX", "kernel_size": 3, "stride": 2, "pad": 1}),
    "max clipped": ("Pooling", {"pool": "MAX", "kernel_size": 2, "stride": 2, "pad": 1}),
    "max padded by more than half": ("Pooling", {"pool": "MAX", "kernel_size": 3, "stride": 3, "pad": 2}),
    "max of rows and columns": (
        "Pooling",
        {"kernel_h": 3, "kernel_w": 2, "stride_h": 2, "stride_w": 3, "pad_h": 0, "pad_w": 1},
    ),
    "max with gaps": ("Pooling", {"pool": "MAX", "kernel_size": 2, "stride": 3, "shape": (1, 3, 10, 13)}),
    "max of all": ("Pooling", {"pool": "MAX", "global_pooling": True}),
    "mean": ("Pooling", {"pool": "AVE", "kernel_size": 3, "stride": 2}),
    "mean padded": ("Pooling", {"pool": "AVE", "kernel_size": 3, "stride": 2, "pad": 1}),
    "mean clipped": ("Pooling", {"pool": "AVE", "kernel_size": 2, "stride": 2, "pad": 1}),
    "mean padded by more than half": ("Pooling", {"pool": "AVE", "kernel_size": 3, "stride": 3, "pad": 2}),
    "mean of all": ("Pooling", {"pool": "AVE", "global_pooling": True}),
    "relu": ("ReLU", {}),
    "leaky relu": ("ReLU", {"negative_slope": 0.1}),
    "prelu": ("PReLU", {}),
    "prelu shared": ("PReLU", {"channel_shared": True}),
    "elu": ("ELU", {"alpha": 0.5}),
    "lrn": ("LRN", {"local_size": 3, "alpha": 0.5, "beta": 0.75}),
    "lrn wider than the channels": ("LRN", {"local_size": 11, "alpha": 0.5, "beta": 0.6}),
    "inner product": ("InnerProduct", {"num_output": 7}),
    "inner product without bias": ("InnerProduct", {"num_output": 7, "bias_term": False}),
    "batch norm": ("BatchNorm", {"eps": 0.001}),
    "scale": ("Scale", {}),
    "scale with bias": ("Scale", {"bias_term": True}),
    "power": ("Power", {"power": 2.0, "scale": 0.5, "shift": 0.1}),
    "power, scale alone": ("Power", {"scale": 0.5}),
    "exp": ("Exp", {"base": 2.0, "scale": 0.5, "shift": 0.1}),
    "exp of e": ("Exp", {}),
    "softmax": ("Softmax", {}),
    "softmax of rows": ("Softmax", {"axis": 2}),
    "flatten": ("Flatten", {}),
    "flatten rows": ("Flatten", {"axis": 2}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("TanH", {}),
    "absolute": ("AbsVal", {}),
    "bnll": ("BNLL", {}),
    "dropout": ("Dropout", {"dropout_ratio": 0.4}),
    "convolution": ("Convolution", {"num_output": 6, "kernel_size": 3}),
    "convolution in groups": ("Convolution", {"num_output": 6, "kernel_size": 3, "group": 2, "pad": 1, "stride": 2}),
    "convolution dilated": ("Convolution", {"num_output": 5, "kernel_size": 3, "dilation": 2, "pad": 2}),
    "convolution without bias": ("Convolution", {"num_output": 5, "kernel_size": 3, "bias_term": False}),
    "convolution of rows and columns": (
        "Convolution",
        {"num_output": 5, "kernel_h": 3, "kernel_w": 1, "stride_h": 1, "stride_w": 2, "pad_h": 2, "pad_w": 0},
    ),
    "convolution of channels": ("Convolution", {"num_output": 4, "kernel_size": 3, "group": 4}),
}


@pytest.mark.parametrize("name", KINDS)
def test_layer(name: str) -> None:
    kind, options = KINDS[name]
    found = compare_with_opencv(one_layer(kind, **options), images=2)
    assert max(found.values()) < TOLERANCE, found


TWO: dict[str, CaffeLayer] = {
    "sum": layer("it", "Eltwise", "a b"),
    "sum with coefficients": layer("it", "Eltwise", "a b", operation="SUM", coeff=(0.5, -2.0)),
    "product": layer("it", "Eltwise", "a b", operation="PROD"),
    "maximum": layer("it", "Eltwise", "a b", operation="MAX"),
    "joined": layer("it", "Concat", "a b"),
    "joined along rows": layer("it", "Concat", "a b", axis=2),
    "joined as in 2014": layer("it", "Concat", "a b", concat_dim=1),
    "scaled": layer("it", "Scale", "a b", axis=0),
    "scaled by channels": layer("it", "Scale", "a gate", axis=0),
}


@pytest.mark.parametrize("name", TWO)
def test_layer_of_two_blobs(name: str) -> None:
    layers = (
        *(conv("a", "data", 4, 3), conv("b", "data", 4, 3)),
        *(layer("mean", "Pooling", "b", pool="AVE", global_pooling=True), layer("gate", "Flatten", "mean")),
        TWO[name],
    )
    found = compare_with_opencv(CaffeDefinition("two", {"data": (1, 3, 9, 11)}, layers), ["it"], images=2)
    assert max(found.values()) < TOLERANCE, found


OLD = CaffeDefinition(
    "old",
    {"data": (1, 3, 40, 33)},
    (
        *(conv("conv1", "data", 8, 5, stride=2), relu("1", "conv1"), pool("pool1", "conv1")),
        layer("norm1", "LRN", "pool1", local_size=5, alpha=0.5, beta=0.75),
        layer("split", "Split", "norm1", "left right"),
        *(conv("conv2/1x1", "left", 6, 1), layer("conv2/relu", "ReLU", "conv2/1x1", "conv2/1x1")),
        conv("conv2/3x3", "right", 6, 3, pad=1, group=2),
        layer("all", "Concat", "conv2/1x1 conv2/3x3", concat_dim=1),
        layer("half", "Power", "all", power=1.0, scale=0.5, shift=0.25),
        layer("both", "Eltwise", "all half", operation="SUM", coeff=(1.0, -1.5)),
        layer("squashed", "TanH", "both"),
        *(layer("fc", "InnerProduct", "squashed", num_output=10), relu("fc", "fc")),
        layer("drop", "Dropout", "fc", "fc", dropout_ratio=0.5),
        *(layer("out", "InnerProduct", "fc", num_output=5), layer("prob", "Softmax", "out")),
    ),
)
NEW = replace(
    OLD,
    name="new",
    layers=(
        *(layer("bn0", "BatchNorm", "data"), layer("scale0", "Scale", "bn0", "bn0", bias_term=True)),
        *(conv("conv1", "bn0", 8, 3, pad=1, stride=2, bias_term=False), layer("bn1", "BatchNorm", "conv1", "conv1")),
        *(layer("scale1", "Scale", "conv1", "conv1", bias_term=True), relu("1", "conv1")),
        conv("shortcut", "conv1", 8, 1),
        *(conv("conv2", "conv1", 8, 3, pad=2, dilation=2), layer("prelu2", "PReLU", "conv2", "conv2")),
        *(layer("res", "Eltwise", "shortcut conv2"), relu("res", "res")),
        layer("pool", "Pooling", "res", pool="AVE", global_pooling=True),
        *(layer("fc", "InnerProduct", "pool", num_output=10), layer("elu", "ELU", "fc", "fc", alpha=0.7)),
    ),
)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["old", "new"])
def test_files_in_every_spelling(name: str, style: str) -> None:
    if name == "new" and STYLES[style].legacy:
        pytest.skip("its layers are younger than that format")
    found = compare_with_opencv(OLD if name == "old" else NEW, style=STYLES[style])
    assert max(found.values()) < TOLERANCE, found
    assert len(found) >= 7


def test_the_comparison_would_notice() -> None:
    """OpenCV knows no k, and takes it for 1."""
    assert compare_with_opencv(one_layer("LRN", local_size=3, alpha=0.5, k=2.0))["it"] > 0.1


def test_the_real_res10() -> None:
    prototxt, model = RES10 / "deploy.prototxt.txt", RES10 / "res10_300x300_ssd_iter_140000.caffemodel"
    if not model.is_file():
        pytest.skip(f"{RES10} is absent: no real Caffe network to read")
    network = build_network(read_prototxt(prototxt).definition, random=True)
    state = network.state_of(read_caffemodel(model))
    network.load_state_dict({key: state[key] for key in network.state_dict()})
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 30, 30, generator=draw) * 255
    images = torch.nn.functional.interpolate(coarse, size=(300, 300), mode="bilinear") - 115
    layers = {path: name for name, path in network.paths.items()}
    # Everything but the heads, of which one needs a layer that we don't have.
    names = [name for name in network.shapes if name in network.aliases() and "mbox" not in name]
    theirs = blobs_by_opencv(
        prototxt.read_text(), model.read_bytes(), {n: layers[network.aliases()[n]] for n in names}, images
    )
    ours = blobs_from(network, names, images)
    found = {name: difference(ours[name], theirs[name]) for name in names}
    assert {"data_bn", "conv1_h", "layer_128_1_sum", "layer_512_1_sum", "fc7", "conv9_2_h"} <= found.keys()
    assert max(found.values()) < TOLERANCE, found
    assert np.isfinite(list(ours.values())[-1]).all()
