"""Every Triton flag, in one place."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

# Floating-point fusion stays off: a fused multiply-add rounds once instead of twice, and moves mask pixels.
OPTIONS: dict[str, Any] = {"num_stages": 1, "enable_fp_fusion": False}


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    *arguments: Tensor | int,
    warps: int = 1,
    registers: int | None = None,
    **constants: Any,
) -> None:
    """Run a kernel on the device of its first tensor, which need not be the current one.

    Parameters
    ----------
    kernel : triton.JITFunction
    grid : tuple of int
        Programs along each axis; nothing happens where one of them is 0.
    *arguments : Tensor or int
        The kernel's arguments that are not compile-time constants, in order.
    warps : int
        Warps (on AMD: wavefronts) a program. Most kernels use one: it needs no barrier to agree with itself.
    registers : int or None
        Registers a thread may take on NVIDIA's GPUs, where the assembler's own choice would spill some.
    **constants
        The compile-time constants.
    """
    if 0 in grid:
        return
    limit = {} if registers is None or torch.version.hip else {"maxnreg": registers}
    device = next(a.device for a in arguments if isinstance(a, Tensor))
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[grid](*arguments, **constants, num_warps=warps, **limit, **OPTIONS)


def power_of_two(least: int) -> int:
    """The smallest power of two that is not below ``least``."""
    return 1 << (least - 1).bit_length()
