"""AlexNet (Krizhevsky et al., 2012) as Caffe has it: two groups from conv2 on, pools that round up; its variants."""

from __future__ import annotations

from ndengine.models.caffe.definition import CaffeDefinition
from ndengine.models.zoo.stack import Stack

SIZE = 227
CONVOLUTIONS = (  # units, kernel, stride, padding, groups
    (96, 11, 4, 0, 1),
    (256, 5, 1, 2, 2),
    (384, 3, 1, 1, 1),
    (384, 3, 1, 1, 2),
    (256, 3, 1, 1, 2),
)
ALL = (1, 2, 3, 4, 5)
POOLED = (1, 2, 5)  # convolutions that a pool follows
NORMED = (1, 2)


def caffenet(
    classes: int, *, norm_first: bool = False, batch_norm: bool = False, dropout: bool = True
) -> CaffeDefinition:
    """Caffe's reference network: AlexNet with each pool before its norm.

    Parameters
    ----------
    classes : int
    norm_first : bool
        Each norm before its pool, as in AlexNet itself.
    batch_norm : bool
        Batch norm with scale and offset between each convolution and its ReLU, instead of the norms.
    dropout : bool
        Dropout behind fc6 and fc7, which changes nothing once a network is trained.
    """
    net = Stack("AlexNet" if norm_first else "CaffeNet", SIZE)
    if batch_norm:
        convolutions(net, normed=(), batch_normed=ALL, scaled=True)
    else:
        convolutions(net, norm_first=norm_first)
    net.dense("fc6", 4096, relu="relu6", dropout="drop6" if dropout else "")
    net.dense("fc7", 4096, relu="relu7", dropout="drop7" if dropout else "")
    return net.scores("fc8", classes)


def caffenet_gap(classes: int, *, units: int = 768, more: int = 0) -> CaffeDefinition:
    """A CaffeNet that ends in the mean over its last maps instead of fc6 and fc7.

    Parameters
    ----------
    classes : int
    units : int
        Units of conv5.
    more : int
        Units of one more convolution behind it, conv6; 0 for none.
    """
    net = Stack("CaffeNet-GAP", SIZE)
    convolutions(net, pooled=POOLED[:2], last_units=units)
    if more:
        net.conv("conv6", more, 3, pad=1, relu="relu6")
    net.average("pool6_gap" if more else "pool5_gap")
    return net.scores("fc8", classes)


def convolutions(
    net: Stack,
    *,
    suffix: str = "",
    first_pad: int = 0,
    groups: bool = True,
    pooled: tuple[int, ...] = POOLED,
    normed: tuple[int, ...] = NORMED,
    norm_first: bool = False,
    batch_normed: tuple[int, ...] = (),
    scaled: bool = False,
    last_units: int = 256,
) -> None:
    """Write the five convolutions, and what is between them.

    Parameters
    ----------
    net : Stack
        Where to.
    suffix : str
        What the names of all layers end in.
    first_pad : int
        Padding of conv1.
    groups : bool
        Whether conv2, conv4 and conv5 work in two groups.
    pooled, normed, batch_normed : tuple of int
        Convolutions that a pool, a norm, and a batch norm before the ReLU follow.
    norm_first : bool
        Each norm before its pool.
    scaled : bool
        Whether batch norm has a scale and an offset.
    last_units : int
        Units of conv5.
    """
    for number, (usual, kernel, stride, pad, group) in enumerate(CONVOLUTIONS, 1):
        place = f"{number}{suffix}"
        units = last_units if number == len(CONVOLUTIONS) else usual
        pad = first_pad if number == 1 else pad
        net.conv(f"conv{place}", units, kernel, stride=stride, pad=pad, group=group if groups else 1)
        if number in batch_normed:
            net.batch_norm(f"bn{place}")
        if number in batch_normed and scaled:
            net.scale(f"scale{place}")
        net.relu(f"relu{place}")
        if number in normed and norm_first:
            net.norm(f"norm{place}")
        if number in pooled:
            net.pool(f"pool{place}")
        if number in normed and not norm_first:
            net.norm(f"norm{place}")
