"""VGG with 16 layers (Simonyan and Zisserman, 2015), by the names of its published Caffe version."""

from __future__ import annotations

from ndengine.models.caffe.definition import CaffeDefinition
from ndengine.models.zoo.stack import Stack

SIZE = 224
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions and units of each


def vgg16(classes: int, last: str = "fc8") -> CaffeDefinition:
    """The network for a number of classes; ``last`` is the name of the layer that scores them."""
    net = Stack("VGG16", SIZE)
    for block, (count, units) in enumerate(BLOCKS, 1):
        for number in range(1, count + 1):
            net.conv(f"conv{block}_{number}", units, 3, pad=1, relu=f"relu{block}_{number}")
        net.pool(f"pool{block}", 2, 2)
    net.dense("fc6", 4096, relu="relu6", dropout="drop6")
    net.dense("fc7", 4096, relu="relu7", dropout="drop7")
    return net.scores(last, classes)
