"""From bytes to a network's input, through one table a channel.

A pixel has 256 values, so every formula of mean, deviation and scale is a table: computed once in double precision,
rounded once, and as fast as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndkernels.arrays import Array, as_numpy
from ndkernels.threads import run_work


def look_up_pixels(
    images: Array,  # [B, H, W, 3] uint8
    table: Array,  # [3, 256] float32
    order: Sequence[int] = (0, 1, 2),
    *,
    device: torch.device | str = "cpu",
    threads: int = 1,
) -> Tensor:
    """Turn images into a batch.

    Parameters
    ----------
    images : ndarray or Tensor
        ``[B, H, W, 3]`` uint8.
    table : ndarray or Tensor
        ``[3, 256]`` float32: for each channel of the batch, what every byte becomes.
    order : sequence of int
        For each channel of the batch, the channel of the images that it is read from.
    device : torch.device or str
        Where the batch is wanted. A GPU looks its pixels up itself: the bytes are a quarter of what would be copied.
    threads : int
        Threads, on a CPU.

    Returns
    -------
    Tensor
        ``[B, 3, H, W]`` float32, in channels-last memory.

    Raises
    ------
    ValueError
        If shapes or types do not fit, the order names a channel that is not there, or there is no thread.
    """
    images, table = as_numpy("images", images), as_numpy("table", table)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 [B, H, W, 3], not {images.dtype} {list(images.shape)}")
    if table.shape != (3, 256) or table.dtype != np.float32:
        raise ValueError(f"the table must be float32 [3, 256], not {table.dtype} {list(table.shape)}")
    channels: NDArray[Any] = np.asarray(order, np.int64)
    if channels.shape != (3,) or channels.min() < 0 or channels.max() > 2:
        raise ValueError(f"the order must be three numbers from 0 to 2, not {list(order)}")
    if torch.device(device).type != "cpu":
        from ndkernels.pixels import gpu

        there = torch.from_numpy(np.ascontiguousarray(images)).pin_memory().to(device, non_blocking=True)
        return gpu.look_up_pixels(there, gpu.upload_table(table.tobytes(), torch.device(device)), order)
    from ndkernels.pixels import cpu

    out = np.empty(images.shape, np.float32)
    images = np.ascontiguousarray(images)
    run_work(len(images), threads, lambda i, j: cpu.look_up_pixels(images, table, channels, out, i, j))
    return torch.from_numpy(out).permute(0, 3, 1, 2)
