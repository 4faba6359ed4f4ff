"""ResNet with 152 layers (He et al., 2016): as it was published for Caffe, and as converted from Torch.

The two differ in what has the stride of a stage's first block: its first 1x1 convolution in the former, its 3x3 one
in the latter, whose converter named layers by a count over all of them. The latter is reconstructed: its prototxt is
no longer to be had, and its first pool is that of the ResNets published for Torch, padded by 1 and rounded down.
"""

from __future__ import annotations

from collections.abc import Iterator

from ndengine.models.caffe.definition import CaffeDefinition
from ndengine.models.zoo.stack import Stack

SIZE = 224
STAGES = (3, 8, 36, 3)  # blocks in stages 2 to 5
STEM = 4  # layers before the first block: convolution, batch norm, ReLU, pool
BLOCK = 10  # layers of a block: three convolutions with batch norm, two ReLUs within, a sum and its ReLU
SHORTCUT = 2  # more of a stage's first one: convolution and batch norm of its shortcut


def block_names() -> Iterator[tuple[int, str, bool]]:
    """Stage and name of every block, ``res3b7``, and whether it is its stage's first."""
    for stage, count in enumerate(STAGES, 2):
        for number in range(count):
            letter = ("a" if number == 0 else f"b{number}") if count > 3 else "abc"[number]
            yield stage, f"res{stage}{letter}", number == 0


def sums() -> dict[str, str]:
    """Name of every block to its sum's in the version converted from Torch: ``res5c`` to ``caffe.Eltwise_510``."""
    found, count = {}, STEM
    for _, name, is_first in block_names():
        count += BLOCK + SHORTCUT * is_first
        found[name] = f"caffe.Eltwise_{count - 2}"  # a block ends with its sum and the sum's ReLU
    return found


def resnet152(classes: int) -> CaffeDefinition:
    """The network as published for Caffe, for a number of classes."""
    net = Stack("ResNet-152", SIZE)

    def conv(name: str, units: int, kernel: int, *bottoms: str, stride: int = 1, relu: bool = True) -> str:
        suffix = name.removeprefix("res") if name.startswith("res") else f"_{name}"
        net.conv(name, units, kernel, *bottoms, stride=stride, pad=kernel // 2, bias=False)
        net.batch_norm(f"bn{suffix}")
        net.scale(f"scale{suffix}")
        return net.relu(f"{name}_relu") if relu else net.blob

    conv("conv1", 64, 7, stride=2)
    net.pool("pool1")
    for stage, name, is_first in block_names():
        start, units = net.blob, 32 << (stage - 1)
        stride = 2 if is_first and stage > 2 else 1
        shortcut = start
        if is_first:
            shortcut = conv(f"{name}_branch1", 4 * units, 1, start, stride=stride, relu=False)
        conv(f"{name}_branch2a", units, 1, start, stride=stride)
        conv(f"{name}_branch2b", units, 3)
        branch = conv(f"{name}_branch2c", 4 * units, 1, relu=False)
        net.add("Eltwise", name, shortcut, branch)
        net.relu(f"{name}_relu")
    net.average("pool5")
    return net.scores(f"fc{classes}", classes)


def resnet152_torch(classes: int) -> CaffeDefinition:
    """The network as converted from Torch, for a number of classes."""
    net = Stack("ResNet-152-torch", SIZE)
    count = 0

    def name(kind: str) -> str:
        nonlocal count
        count += 1
        return f"caffe.{kind}_{count - 1}"

    def conv(units: int, kernel: int, *bottoms: str, stride: int = 1, relu: bool = True) -> str:
        net.conv(name("SpatialConvolution"), units, kernel, *bottoms, stride=stride, pad=kernel // 2, bias=False)
        net.change("BN", name("BN"))
        return net.relu(name("ReLU")) if relu else net.blob

    conv(64, 7, stride=2)
    net.pool(name("Pooling"), pad=1, floor=True)
    for stage, _, is_first in block_names():
        start, units = net.blob, 32 << (stage - 1)
        stride = 2 if is_first and stage > 2 else 1
        conv(units, 1, start)
        conv(units, 3, stride=stride)
        branch = conv(4 * units, 1, relu=False)
        shortcut = conv(4 * units, 1, start, stride=stride, relu=False) if is_first else start
        net.add("Eltwise", name("Eltwise"), branch, shortcut)
        net.relu(name("ReLU"))
    net.average(name("Pooling"))
    return net.scores(name("InnerProduct"), classes)
