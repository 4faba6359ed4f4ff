"""Tensors of a CPU counted by the GPU's code: what lets the Triton kernels be tested where there is no GPU.

As a pytest plugin it sends every test through Triton: with TRITON_INTERPRET=1 through its interpreter, made strict, and
otherwise through a real GPU, which is given copies. Loaded by a test itself, it leaves open what a launch does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from ndkernels import _triton, devices
from ndkernels.sieve.ops import count_batch, count_batch_gpu, gather_maps, gather_maps_gpu
from ndkernels.tally import tally_maps, tally_maps_gpu

# Each op, and what it runs on a GPU; and what it runs on a CPU.
OPS = ((count_batch, count_batch_gpu), (gather_maps, gather_maps_gpu), (tally_maps, tally_maps_gpu))
USUAL = {op: op._backend_fns["cpu"] for op, _ in OPS}


@contextmanager
def gpu_kernels() -> Iterator[None]:
    """Take every tensor for one on a GPU."""
    original = devices.on_gpu
    devices.on_gpu = lambda tensor: True
    for op, gpu in OPS:
        op.register_kernel("cpu", gpu)
    try:
        yield
    finally:
        devices.on_gpu = original
        for op, _ in OPS:
            op.register_kernel("cpu", USUAL[op])


@contextmanager
def cpu_kernels() -> Iterator[None]:
    """Back to the CPU's code for a while."""
    gpu = devices.on_gpu
    devices.on_gpu = lambda tensor: False
    for op, _ in OPS:
        op.register_kernel("cpu", USUAL[op])
    try:
        yield
    finally:
        devices.on_gpu = gpu
        for op, gpu_version in OPS:
            op.register_kernel("cpu", gpu_version)


@contextmanager
def real_gpu() -> Iterator[None]:
    """Carry out launches on a GPU, on copies of their tensors."""
    plain = _triton.launch

    def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **rest: Any) -> None:
        there = [a.cuda() if isinstance(a, Tensor) else a for a in arguments]
        plain(kernel, grid, *there, **rest)
        for argument, moved in zip(arguments, there, strict=True):
            if isinstance(argument, Tensor) and not torch.equal(
                argument.view(torch.uint8), moved.cpu().view(torch.uint8)
            ):
                argument.copy_(moved)

    _triton.launch = launch
    try:
        yield
    finally:
        _triton.launch = plain


@pytest.fixture(autouse=True)
def through_triton() -> Iterator[None]:
    """Every test of a process that has this plugin."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        from kernels import strict

        carried_out = strict.interpreter()
    else:
        carried_out = real_gpu()
    with carried_out, gpu_kernels():
        yield
