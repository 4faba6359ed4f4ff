"""Ten AlexNets that were trained without labels; what each has of its own beside Caffe's reference network."""

from __future__ import annotations

from ndengine.models.caffe.definition import CaffeDefinition
from ndengine.models.zoo.alexnet import ALL, CONVOLUTIONS, POOLED, SIZE, convolutions
from ndengine.models.zoo.stack import Stack


def moving() -> CaffeDefinition:
    """Nothing of its own (Agrawal et al., 2015, the siamese network that learns to see by moving)."""
    net = Stack("moving", SIZE)
    convolutions(net)
    return net.definition()


def tracking() -> CaffeDefinition:
    """Nothing of its own (Wang and Gupta, 2015)."""
    net = Stack("tracking", SIZE)
    convolutions(net)
    return net.definition()


def puzzle() -> CaffeDefinition:
    """Names of its own: it was one of nine twins (Noroozi and Favaro, 2016)."""
    net = Stack("puzzle", SIZE)
    convolutions(net, suffix="_s1")
    return net.definition()


def objectcentric() -> CaffeDefinition:
    """Two fully connected layers of its own (Gao et al., 2016)."""
    net = Stack("objectcentric", SIZE)
    convolutions(net)
    net.dense("fc6", 4096, relu="relu6")
    net.dense("fc7", 1024, relu="relu7")
    return net.definition()


def audio() -> CaffeDefinition:
    """Batch norm between each convolution and its ReLU (Owens et al., 2016)."""
    net = Stack("audio", SIZE)
    convolutions(net, batch_normed=ALL)
    return net.definition()


def frameorder() -> CaffeDefinition:
    """Batch norm between convolution and ReLU from conv3 on (Misra et al., 2016)."""
    net = Stack("frameorder", SIZE)
    convolutions(net, batch_normed=ALL[2:])
    return net.definition()


def context() -> CaffeDefinition:
    """Padding at conv1, and no groups (Doersch et al., 2015)."""
    net = Stack("context", SIZE)
    convolutions(net, first_pad=5, groups=False)
    return net.definition()


def colorization() -> CaffeDefinition:
    """One channel in, and no norms (Zhang et al., 2016)."""
    net = Stack("colorization", SIZE, channels=1)
    convolutions(net, normed=())
    return net.definition()


def crosschannel() -> CaffeDefinition:
    """Channels that are scaled first, and no norms (Zhang et al., 2017)."""
    net = Stack("crosschannel", SIZE)
    net.conv("data_lab", 3, 1, group=3)
    convolutions(net, normed=())
    return net.definition()


def egomotion() -> CaffeDefinition:
    """Batch norm behind pools and ReLUs, and pool5 halved (Jayaraman and Grauman, 2015).

    Batch norm writes blobs of its own here: ``cls_conv5`` is what the ReLU gives.
    """
    net = Stack("egomotion", SIZE)
    for number, (units, kernel, stride, pad, group) in enumerate(CONVOLUTIONS, 1):
        name = f"cls_conv{number}"
        net.conv(name, units, kernel, stride=stride, pad=pad, group=group, relu=f"cls_relu{number}")
        if number in POOLED:
            net.pool(f"cls_pool{number}")
        if number == 2:
            net.norm("cls_norm2")
        net.batch_norm(f"cls_bn{number}", in_place=False)
        if number == 1:
            net.norm("cls_norm1")
    net.add("Power", "cls_half5", power=1.0, scale=0.5, shift=0.0)
    net.dense("cls_fc6", 4096, relu="cls_relu6")
    net.batch_norm("cls_bn6", in_place=False)
    return net.definition()
