"""Caffe's pooling, which lays its windows by rules of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from ndengine.errors import ModelError

Pair = tuple[int, int]


class Pooling(nn.Module):
    """The maximum or mean of windows, as many as Caffe lays.

    It rounds the number of windows up and drops one that would begin behind the image's padded end. A window of a mean
    is divided by its size with the padding in it, but without what lies beyond the padding.

    Parameters
    ----------
    mean : bool
    kernel, stride, padding : tuple of int
        Of rows and columns.
    ceil : bool
        Whether the number of windows is rounded up.
    """

    def __init__(self, mean: bool, kernel: Pair, stride: Pair, padding: Pair, ceil: bool) -> None:
        super().__init__()
        self.mean, self.kernel, self.stride, self.padding, self.ceil = mean, kernel, stride, padding, ceil

    def count(self, size: Pair) -> Pair:
        """Windows along the rows and columns of a map of this size; 0 or less where none fits."""
        counts = []
        for n, k, s, p in zip(size, self.kernel, self.stride, self.padding, strict=True):
            span = n + 2 * p - k
            count = (-(-span // s) if self.ceil else span // s) + 1
            if any(self.padding) and (count - 1) * s >= n + p:
                count -= 1
            counts.append(count)
        return counts[0], counts[1]

    def is_empty(self, size: Pair) -> bool:
        """Whether there is no window, or one with nothing of the image in it."""
        sides = zip(self.count(size), size, self.stride, self.padding, strict=True)
        return any(count < 1 or (count - 1) * s - p >= n for count, n, s, p in sides)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]``."""
        size = (x.shape[2], x.shape[3])
        if self.is_empty(size):
            raise ModelError(f"A pooling layer has no window, or an empty one, on maps of {size[0]}x{size[1]}.")
        rows, columns = self.count(size)
        if self._is_torchs(size, (rows, columns)):
            pool: Callable[..., Tensor] = F.avg_pool2d if self.mean else F.max_pool2d
            return pool(x, self.kernel, self.stride, self.padding, ceil_mode=self.ceil)
        if self.mean:  # torch divides as Caffe does, once the padding belongs to the map
            (top, left), whole = self.padding, self.ceil
            padded = F.pad(x, (left, left, top, top))
            return F.avg_pool2d(padded, self.kernel, self.stride, ceil_mode=whole)[:, :, :rows, :columns]
        ends = [
            (count - 1) * s + k - p - n
            for count, n, k, s, p in zip((rows, columns), size, self.kernel, self.stride, self.padding, strict=True)
        ]
        around = (self.padding[1], ends[1], self.padding[0], ends[0])
        return F.max_pool2d(F.pad(x, around, value=-torch.inf), self.kernel, self.stride)

    def _is_torchs(self, size: Pair, counts: Pair) -> bool:
        """Whether torch lays the same windows by itself: it takes less padding, and drops a window more readily."""
        for n, count, k, s, p in zip(size, counts, self.kernel, self.stride, self.padding, strict=True):
            if 2 * p > k:
                return False
            theirs = (n + 2 * p - k + (s - 1 if self.ceil else 0)) // s + 1
            if self.ceil and (theirs - 1) * s >= n + p:
                theirs -= 1
            if theirs != count:
                return False
        return True


class GlobalPooling(nn.Module):
    """The maximum or mean of a whole map."""

    def __init__(self, mean: bool) -> None:
        super().__init__()
        self.mean = mean

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` to ``[N, C, 1, 1]``."""
        return x.mean((2, 3), keepdim=True) if self.mean else x.amax((2, 3), keepdim=True)
