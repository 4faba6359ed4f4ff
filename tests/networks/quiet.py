"""Make a network local, so that each position of its outputs answers to its own place in the image alone.

Nothing here changes where an output lies: taps of convolutions are weighed towards the middle, attention towards a
query's own position, and parameters that begin at nought (layer scale, the last gain of a residual branch) get values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

OWN = 0.9  # of attention: the share that a position gives to itself
OFF_CENTRE = 0.01  # what the taps of a convolution beside the middle one are multiplied by
TINY = 1e-2  # parameters that are nowhere larger were meant to grow in training
SHARP = 3.0  # deviation of attention's scores where queries and keys lie on different grids

_softmax = torch.Tensor.softmax
_attention = torch.nn.functional.scaled_dot_product_attention


def make_local(module: nn.Module, size: tuple[int, int], mixers: Sequence[str] = (), channels: int = 3) -> None:
    """Change the weights of a network, which is in evaluation mode, so that what it does is local.

    Parameters
    ----------
    module : nn.Module
    size : tuple of int
        Rows and columns of images that it takes.
    mixers : sequence of str
        Patterns of the paths of linear layers that mix positions; they are made the identity.
    channels : int
        Channels of its images.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            grown = name.endswith("bias") or not parameter.is_floating_point() or parameter.abs().max() >= TINY
            if not grown:
                spread = 0.5 if parameter.dim() < 2 else 0.2
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
        for path, part in module.named_modules():
            if isinstance(part, nn.Conv2d):
                _centre(part.weight)
            elif isinstance(part, nn.Linear) and any(fnmatchcase(path, mixer) for mixer in mixers):
                part.weight.copy_(torch.eye(*part.weight.shape) + 0.02 * part.weight)
        norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        if norms:
            with local_attention():
                module(torch.randn(4, channels, *size, generator=generator))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum
    module.eval()


def _centre(weight: Tensor) -> None:
    """Weigh the taps of a convolution ``[out, in, rows, columns]`` with sides of odd length towards the middle."""
    for dim in (2, 3):
        taps = weight.shape[dim]
        if taps % 2 and taps > 1:
            gains = torch.full((taps,), OFF_CENTRE)
            gains[taps // 2] = taps**0.5
            weight.mul_(gains.view(-1, 1) if dim == 2 else gains)


@contextmanager
def local_attention() -> Iterator[None]:
    """Meanwhile, attention gives what lies at the query's own position, and little else."""

    def softmax(scores: Tensor, dim: int = -1, *args: Any, **options: Any) -> Tensor:
        found = _softmax(scores, dim, *args, **options)
        if scores.dim() < 3 or dim % scores.dim() != scores.dim() - 1 or 1 in scores.shape[-2:]:
            return found
        if scores.shape[-1] == scores.shape[-2]:
            own = torch.eye(scores.shape[-1], dtype=found.dtype, device=found.device)
            return OWN * own + (1 - OWN) * found
        if scores.dim() == 4 and scores.shape[1] == 1:  # one head, or weights of a sum over positions (MobileViT 2)
            return found
        return _softmax(scores * (SHARP / scores.std().clamp_min(1e-9)), dim)

    def attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Tensor:
        found = _attention(query, key, value, *args, **options)
        # An output stands where its query does, wherever keys and values come from.
        own = query if query.shape == found.shape else value
        return OWN * own + (1 - OWN) * found if own.shape == found.shape else found

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            mock.patch.object(torch.Tensor, "softmax", softmax),
            mock.patch.object(torch, "softmax", softmax),
            mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", attention),
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
