"""What Caffe's layers compute, as modules; their parameters have no values until a file or a draw gives them some."""

from __future__ import annotations

from functools import reduce
from math import e, log, prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

FURTHEST = 8  # channels to either side that are summed one by one


def _empty(count: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(count))


class Convolution(nn.Conv2d):
    """Convolution; its weight is ``[out, in / group, rows, columns]``."""

    def reset_parameters(self) -> None:
        """Leave the values open."""

    def draw(self) -> None:
        """Draw weights that keep the variance behind a ReLU."""
        nn.init.kaiming_normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class InnerProduct(nn.Linear):
    """A linear map of all that an image has; its weight is ``[out, in]``, also where the file has it transposed.

    Parameters
    ----------
    transposed : bool
        Whether a caffemodel has it as ``[in, out]``.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool, transposed: bool) -> None:
        super().__init__(inputs, outputs, bias)
        self.transposed = transposed

    def reset_parameters(self) -> None:
        """Leave the values open."""

    def draw(self) -> None:
        """Draw weights that keep the variance behind a ReLU."""
        nn.init.kaiming_normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, ...]`` to ``[N, out]``."""
        return super().forward(x.flatten(1))


class ReLU(nn.Module):
    """``max(x, 0) + slope · min(x, 0)``.

    Attributes
    ----------
    in_place : bool
        Whether its input may be overwritten.
    """

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.in_place = False

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if self.slope:
            return F.leaky_relu(x, self.slope, self.in_place)
        return F.relu(x, self.in_place)


class PReLU(nn.PReLU):
    """A ReLU with a learned slope, for each channel or for all."""

    def reset_parameters(self) -> None:
        """Leave the values open."""

    def draw(self) -> None:
        """Caffe's usual slope."""
        nn.init.constant_(self.weight, 0.25)


class LRN(nn.Module):
    """Local response normalisation across channels: ``x / (k + alpha / size · Σ x²)^beta``."""

    def __init__(self, size: int, alpha: float, beta: float, k: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, ...]``."""
        reach = min(self.size // 2, x.shape[1] - 1)  # a wider window sees no more
        if reach > FURTHEST:
            size = 2 * reach + 1
            return F.local_response_norm(x, size, self.alpha * size / self.size, self.beta, self.k)
        # Sums of shifted channels: torch's own way, a pool over a volume, takes three times as long on a CPU.
        squares = x.square()
        sums = squares.clone()
        for shift in range(1, reach + 1):
            sums[:, shift:] += squares[:, :-shift]
            sums[:, :-shift] += squares[:, shift:]
        sums.mul_(self.alpha / self.size).add_(self.k)
        if self.beta == 0.75:  # as everywhere; a power takes as long as all the rest
            root = sums.rsqrt_()
            return x * root.mul_(root.sqrt())
        return x / sums.pow_(self.beta)


class BatchNorm(nn.Module):
    """``(x - mean) / √(var + eps)``, without the affine part, which is a layer of its own."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_var", torch.empty(channels))

    def draw(self) -> None:
        """The statistics of values that need no normalising."""
        self.running_mean.zero_()
        self.running_var.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, ...]``."""
        return F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)


class Scale(nn.Module):
    """A factor for each channel, and an offset where there is a bias."""

    bias: nn.Parameter | None

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.weight = _empty(channels)
        self.register_parameter("bias", _empty(channels) if bias else None)

    def draw(self) -> None:
        """Change nothing."""
        nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, ...]``."""
        shape = (-1,) + (1,) * (x.dim() - 2)
        weight = self.weight.view(shape)
        return x * weight if self.bias is None else torch.addcmul(self.bias.view(shape), x, weight)


class Bias(nn.Module):
    """An offset for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = _empty(channels)

    def draw(self) -> None:
        """Change nothing."""
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, ...]``."""
        return x + self.bias.view((-1,) + (1,) * (x.dim() - 2))


class Combination(nn.Module):
    """Two blobs multiplied or added, the second one repeated along the axes that it lacks.

    Parameters
    ----------
    product : bool
        Multiply, as Scale does, or add, as Bias does.
    """

    def __init__(self, product: bool) -> None:
        super().__init__()
        self.product = product

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """``[N, C, h, w]`` and ``[N]``, ``[N, C]`` …, or the same shape."""
        other = other.view(*other.shape, *(1,) * (x.dim() - other.dim()))
        return x * other if self.product else x + other


class Eltwise(nn.Module):
    """Blobs of one shape, summed (each times its coefficient), multiplied, or the largest of each place."""

    def __init__(self, operation: str, coefficients: tuple[float, ...]) -> None:
        super().__init__()
        self.operation, self.coefficients = operation, coefficients

    def forward(self, *blobs: Tensor) -> Tensor:
        """Several of one shape."""
        if self.operation == "PROD":
            return reduce(torch.mul, blobs)
        if self.operation == "MAX":
            return reduce(torch.maximum, blobs)
        weighted = [b if c == 1 else b * c for b, c in zip(blobs, self.coefficients, strict=True)]
        return reduce(torch.add, weighted)


class Concat(nn.Module):
    """Blobs joined along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *blobs: Tensor) -> Tensor:
        """Several that differ along the axis alone."""
        return torch.cat(blobs, self.axis)


class Split(nn.Module):
    """One blob under several names."""

    def __init__(self, copies: int) -> None:
        super().__init__()
        self.copies = copies

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Any shape."""
        return (x,) * self.copies


class Dropout(nn.Module):
    """What dropout is behind training: nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x


class Flatten(nn.Module):
    """Axes joined into one."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__()
        self.first, self.last = first, last

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` to ``[N, C·h·w]`` as a rule."""
        return x.flatten(self.first, self.last)


class Softmax(nn.Module):
    """Softmax along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x.softmax(self.axis)


class Power(nn.Module):
    """``(shift + scale · x) ^ power``."""

    def __init__(self, power: float, scale: float, shift: float) -> None:
        super().__init__()
        self.power, self.scale, self.shift = power, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if self.scale != 1:
            x = x * self.scale
        if self.shift:
            x = x + self.shift
        return x if self.power == 1 else x.pow(self.power)


class Exp(nn.Module):
    """``base ^ (shift + scale · x)``; base -1 stands for e."""

    def __init__(self, base: float, scale: float, shift: float) -> None:
        super().__init__()
        self.rate = log(e if base == -1 else base)
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.exp(self.rate * (self.shift + self.scale * x))


class ELU(nn.Module):
    """``x`` above 0, ``alpha · (exp(x) - 1)`` below."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return F.elu(x, self.alpha)


class Sigmoid(nn.Sigmoid):
    """``1 / (1 + exp(-x))``."""


class TanH(nn.Tanh):
    """Hyperbolic tangent."""


class AbsVal(nn.Module):
    """Absolute values."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x.abs()


class BNLL(nn.Module):
    """``log(1 + exp(x))``."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return F.softplus(x, threshold=50)


def parameters_of(module: nn.Module) -> int:
    """How many values a module's state has."""
    return sum(prod(tensor.shape) for tensor in module.state_dict().values())
