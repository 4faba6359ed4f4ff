"""``BN``: batch norm with its factor and offset in one layer, as forks of Caffe had it and Torch's networks need it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

BLOBS = ("weight", "bias", "running_mean", "running_var")  # in the order of a caffemodel


class BN(nn.Module):
    """``(x - mean) / √(var + eps) · weight + bias``, by the statistics of training."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(channels), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(channels), requires_grad=False)
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_var", torch.empty(channels))

    def draw(self) -> None:
        """Change nothing: no offsets, and factors of 1."""
        for tensor, value in ((self.weight, 1), (self.bias, 0), (self.running_mean, 0), (self.running_var, 1)):
            nn.init.constant_(tensor, value)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, ...]``."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
