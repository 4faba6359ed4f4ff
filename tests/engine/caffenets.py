"""Networks as Caffe builds them, narrow, for their geometry: pools round up, paddings as published."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def pool(size: int = 3, stride: int = 2, padding: int = 0) -> nn.MaxPool2d:
    return nn.MaxPool2d(size, stride, padding, ceil_mode=True)


def alexnet() -> nn.Sequential:
    """Convolutions at 0, 4, 8, 10 and 12, each followed by its in-place ReLU."""
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 11, 4), nn.ReLU(inplace=True), nn.LocalResponseNorm(3), pool()),
        *(nn.Conv2d(4, 4, 5, padding=2, groups=2), nn.ReLU(inplace=True), nn.LocalResponseNorm(3), pool()),
        *(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(6, 6, 3, padding=1, groups=2), nn.ReLU(inplace=True)),
        *(nn.Conv2d(6, 4, 3, padding=1, groups=2), nn.ReLU(inplace=True)),
        pool(),
    )


class Inception(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(inputs, 1, 1)
        self.three = nn.Sequential(nn.Conv2d(inputs, 1, 1), nn.Conv2d(1, 1, 3, padding=1))
        self.five = nn.Sequential(nn.Conv2d(inputs, 1, 1), nn.Conv2d(1, 1, 5, padding=2))
        self.pool = nn.Sequential(pool(3, 1, 1), nn.Conv2d(inputs, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


class GoogLeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3), pool(), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1))
        self.pool2, self.pool3, self.pool4 = pool(), pool(), pool()
        for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
            self.add_module(f"inception_{name}", Inception(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool2(self.stem(x))
        for name, block in self.named_children():
            if name.startswith("inception"):
                x = block(self.pool3(x) if name.endswith("4a") else self.pool4(x) if name.endswith("5a") else x)
        return x


class Bottleneck(nn.Module):
    """ResNet's block as first published: the first, 1x1 convolution has the stride."""

    def __init__(self, stride: int, project: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(2, 2, 1, stride), nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1))
        self.shortcut = nn.Conv2d(2, 2, 1, stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.shortcut(x) + self.branch(x))


def resnet152() -> nn.Sequential:
    blocks = [
        Bottleneck(2 if block == 0 and stage > 0 else 1, block == 0)
        for stage, count in enumerate((3, 8, 36, 3))
        for block in range(count)
    ]
    return nn.Sequential(nn.Conv2d(3, 2, 7, 2, 3), pool(), *blocks)
