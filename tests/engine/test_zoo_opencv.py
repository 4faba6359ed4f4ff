"""The benchmark's architectures, written as Caffe's files with drawn weights, as OpenCV reads and computes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from caffefiles import compare_with_opencv, shrink

from ndengine.models.caffe.definition import CaffeDefinition, CaffeLayer
from ndengine.models.zoo.rows import known_row

pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'opencv-python-headless<5'")

TOLERANCE = 1e-4
QUICK = (
    *("alexnet-places205", "alexnet-places205-bn", "alexnet-places365-gapplus", "audio", "colorization", "context"),
    *("crosschannel", "egomotion", "frameorder", "puzzle"),
)
LARGE = ("googlenet-imagenet", "vgg16-hybrid", "resnet152-imagenet:caffe", "resnet152-imagenet:torch")


def in_two_layers(definition: CaffeDefinition) -> CaffeDefinition:
    """A definition that OpenCV reads: each BN, which it does not know, as a BatchNorm and a Scale.

    That a pool rounds down it knows by the option of a fork.
    """

    def layers() -> Iterator[CaffeLayer]:
        for layer in definition.layers:
            if layer.kind == "BN":
                yield replace(layer, kind="BatchNorm")
                yield CaffeLayer(f"{layer.name}/scale", "Scale", layer.tops, layer.tops, {"bias_term": True})
            elif layer.options.get("round_mode") == "FLOOR":
                options = {name: value for name, value in layer.options.items() if name != "round_mode"}
                yield replace(layer, options=options | {"ceil_mode": False})
            else:
                yield layer

    return replace(definition, layers=tuple(layers()), synonyms={})


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_opencv_computes_the_same(name: str) -> None:
    row_name, _, naming = name.partition(":")
    row = known_row(row_name)
    layers = [row.same[layer] if naming == "torch" else layer for layer in row.layers]
    found = compare_with_opencv(in_two_layers(shrink(row.definition(naming), 8)), layers, images=2)
    assert found.keys() == set(layers)
    assert max(found.values()) < TOLERANCE, found
