"""Tensors of a CPU counted by the GPU's code: what lets the Triton kernels be tested where there is no GPU.

As a pytest plugin, in a process that has TRITON_INTERPRET=1, it sends every test through Triton's interpreter, made
strict. Loaded by a test itself, it leaves open what a launch does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ndkernels import devices
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


@pytest.fixture(autouse=True)
def through_the_interpreter() -> Iterator[None]:
    """Every test of a process that interprets."""
    assert os.environ.get("TRITON_INTERPRET") == "1"
    from kernels import strict

    with strict.interpreter(), gpu_kernels():
        yield
