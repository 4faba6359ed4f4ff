"""GoogLeNet (Szegedy et al., 2015) without auxiliary classifiers, by the names of the version that came with Caffe."""

from __future__ import annotations

from ndengine.models.caffe.definition import CaffeDefinition
from ndengine.models.zoo.stack import Stack

SIZE = 224
# Units of 1x1, 3x3 reduced and 3x3, 5x5 reduced and 5x5, and the projection of the pool.
BLOCKS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(classes: int, last: str = "loss3/classifier") -> CaffeDefinition:
    """The network for a number of classes; ``last`` is the name of the layer that scores them."""
    net = Stack("GoogLeNet", SIZE)
    net.conv("conv1/7x7_s2", 64, 7, stride=2, pad=3, relu="conv1/relu_7x7")
    net.pool("pool1/3x3_s2")
    net.norm("pool1/norm1")
    net.conv("conv2/3x3_reduce", 64, 1, relu="conv2/relu_3x3_reduce")
    net.conv("conv2/3x3", 192, 3, pad=1, relu="conv2/relu_3x3")
    net.norm("conv2/norm2")
    net.pool("pool2/3x3_s2")
    for block, units in BLOCKS.items():
        if block in ("4a", "5a"):
            net.pool(f"pool{int(block[0]) - 1}/3x3_s2")
        inception(net, f"inception_{block}", units)
    net.add("Pooling", "pool5/7x7_s1", pool="AVE", kernel_size=7, stride=1)
    net.change("Dropout", "pool5/drop_7x7_s1", dropout_ratio=0.4)
    return net.scores(last, classes)


def inception(net: Stack, name: str, units: tuple[int, ...]) -> None:
    """Four branches from one blob, and their units in one row."""
    start = net.blob
    one, three_reduced, three, five_reduced, five, projection = units

    def conv(part: str, count: int, kernel: int, *bottoms: str) -> str:
        return net.conv(f"{name}/{part}", count, kernel, *bottoms, pad=kernel // 2, relu=f"{name}/relu_{part}")

    branches = (
        conv("1x1", one, 1, start),
        conv("3x3", three, 3, conv("3x3_reduce", three_reduced, 1, start)),
        conv("5x5", five, 5, conv("5x5_reduce", five_reduced, 1, start)),
        conv("pool_proj", projection, 1, net.pool(f"{name}/pool", 3, 1, start, pad=1)),
    )
    net.add("Concat", f"{name}/output", *branches)
