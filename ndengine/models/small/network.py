"""The architecture of the small networks: ScenesNet's plan with fewer units, and what variants change."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

UNITS = 128  # of conv5, unless a variant has more


class SmallNet(nn.Module):
    """Five convolutions and a head.

    ``conv1`` … ``conv5`` are the layers after their ReLU; at 112×112 input they have 56², 28², 14², 14² and 14²
    positions, as ScenesNet's.

    Parameters
    ----------
    head : nn.Module
        From the maps of ``conv5`` to answers.
    units : int
        Of ``conv5``.
    norm : bool
        Batch norm behind each convolution.
    grey : bool
        The network sees the mean of the channels of whatever it is shown, in all three.
    """

    def __init__(self, head: nn.Module, units: int = UNITS, *, norm: bool = True, grey: bool = False) -> None:
        super().__init__()
        self.grey = grey
        self.conv1 = _stage(3, 32, 5, norm, stride=2)
        self.pool1 = nn.MaxPool2d(3, 2, padding=1)
        self.conv2 = _stage(32, 64, 3, norm)
        self.pool2 = nn.MaxPool2d(2, 2)
        self.conv3 = _stage(64, 64, 3, norm)
        self.conv4 = _stage(64, 64, 3, norm)
        self.conv5 = _stage(64, units, 3, norm)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:  # [N, 3, ih, iw]
        """Return the head's answers."""
        if self.grey:
            images = images.mean(1, keepdim=True).expand_as(images)
        maps = self.pool2(self.conv2(self.pool1(self.conv1(images))))
        answers: Tensor = self.head(self.conv5(self.conv4(self.conv3(maps))))
        return answers


def _stage(inputs: int, outputs: int, size: int, norm: bool, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm if asked for, and ReLU; first weights as He et al. (2015) draw them."""
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=not norm)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    layers: dict[str, nn.Module] = {"conv": conv}
    if norm:
        layers["norm"] = nn.BatchNorm2d(outputs)
    elif conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(OrderedDict(layers, relu=nn.ReLU()))
