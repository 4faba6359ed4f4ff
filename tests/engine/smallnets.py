"""Small networks with the habits that make probing hard."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Shared(nn.Module):
    """One ReLU called twice, an in-place ReLU behind a convolution, and a classifier for 224 pixels only."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 5, stride=2, padding=2)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.last = nn.Conv2d(8, 5, 1)
        self.classifier = nn.Linear(5 * 56 * 56, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores."""
        x = self.relu(self.first(images))
        x = self.relu(self.second(x))
        return self.classifier(self.last(x).flatten(1))


def shared() -> nn.Module:
    """The network with fixed weights."""
    torch.manual_seed(5)
    return Shared()


def breaks() -> nn.Module:
    """Its first layer, and a NaN behind it."""
    torch.manual_seed(5)
    return nn.Sequential(shared().first, Breaks(float("nan")))


def overflows() -> nn.Module:
    """Its first layer, and an infinity behind it."""
    return nn.Sequential(shared().first, Breaks(float("inf")))


def nearly_overflows() -> nn.Module:
    """Its first layer, and all units just below what can be counted behind it."""
    return nn.Sequential(shared().first, Large())


class Breaks(nn.Module):
    """Puts a value into the third unit of a batch's last image."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """The input with that value."""
        x = x.clone()
        x[-1, 2, 0, 0] = self.value
        return x


class Large(nn.Module):
    """Makes every magnitude nearly 2^126, which a sum of several exceeds."""

    def forward(self, x: Tensor) -> Tensor:
        """The signs of the input, times that."""
        return torch.where(x < 0, -1.0, 1.0) * 2.0**126 * (0.999 + 0.0009 * torch.sigmoid(x))
