"""The sieve's two custom ops, for a CPU and a GPU: counting a batch, and packing the cells that are needed."""

from __future__ import annotations

import torch
from torch import Tensor


def count_batch_cpu(
    activations: Tensor,  # [N, U, h, w] float32
    bound: Tensor,  # [U] float32
    histogram: Tensor,  # [U, 2048] int64, added to
    threads: int,
) -> tuple[Tensor, Tensor]:
    """Count the values above each unit's bound by the top 11 bits of their order.

    Returns
    -------
    maximum, minimum : Tensor
        ``[N, U]`` float32, of every map; NaN where a map holds a value that is not finite or above 2^126.
    """
    from ndkernels.sieve import cpu

    maximum = torch.empty(activations.shape[:2], dtype=torch.float32)
    minimum = torch.empty(activations.shape[:2], dtype=torch.float32)
    counted = histogram.contiguous()
    cpu.count_batch(
        activations.contiguous().numpy(),
        bound.contiguous().numpy(),
        counted.numpy(),
        maximum.numpy(),
        minimum.numpy(),
        threads,
    )
    if counted is not histogram:
        histogram.copy_(counted)
    return maximum, minimum


count_batch = torch.library.custom_op(
    "ndkernels::sieve_count", count_batch_cpu, mutates_args=("histogram",), device_types="cpu"
)


@count_batch.register_kernel("cuda")
def count_batch_gpu(activations: Tensor, bound: Tensor, histogram: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    """The same on a GPU, which has no use for threads."""
    from ndkernels.sieve import gpu

    maximum = torch.empty(activations.shape[:2], dtype=torch.float32, device=activations.device)
    minimum = torch.empty_like(maximum)
    gpu.count_batch(activations.contiguous(), bound, histogram, maximum, minimum)
    return maximum, minimum


@count_batch.register_fake
def _(activations: Tensor, bound: Tensor, histogram: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    shape = activations.shape[:2]
    return activations.new_empty(shape, dtype=torch.float32), activations.new_empty(shape, dtype=torch.float32)


def gather_maps_cpu(
    maps: Tensor,  # [M, h, w] float32
    pick: Tensor,  # [A] int64
    limit: Tensor,  # [A] float32
    threads: int,
) -> tuple[Tensor, Tensor]:
    """Pack the cells above a limit, and their eight neighbours, of the maps that are picked.

    Returns
    -------
    bitmap : Tensor
        ``[A, ceil(h·w / 8)]`` uint8.
    values : Tensor
        ``[V]`` float32.
    """
    from ndkernels.sieve import cpu

    bitmap, values = cpu.gather_maps(maps.contiguous().numpy(), pick.numpy(), limit.numpy(), threads)
    return torch.from_numpy(bitmap), torch.from_numpy(values)


gather_maps = torch.library.custom_op("ndkernels::sieve_gather", gather_maps_cpu, mutates_args=(), device_types="cpu")


@gather_maps.register_kernel("cuda")
def gather_maps_gpu(maps: Tensor, pick: Tensor, limit: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    """The same on a GPU; waits for it, to learn how many values there are."""
    from ndkernels.sieve import gpu

    return gpu.gather_maps(maps.contiguous(), pick.contiguous(), limit.contiguous())


@gather_maps.register_fake
def _(maps: Tensor, pick: Tensor, limit: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    kept = torch.library.get_ctx().new_dynamic_size()
    width = (maps.shape[1] * maps.shape[2] + 7) // 8
    return maps.new_empty((pick.shape[0], width), dtype=torch.uint8), maps.new_empty((kept,))
