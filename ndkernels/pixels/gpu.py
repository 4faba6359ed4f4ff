"""From bytes to a network's input on a GPU: one lookup, which torch has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def look_up_pixels(
    images: Tensor,  # [B, H, W, 3] uint8
    table: Tensor,  # [3, 256] float32
    order: Sequence[int],
) -> Tensor:
    """A batch ``[B, 3, H, W]`` float32 in channels-last memory, on the images' device."""
    channel = torch.arange(3, device=images.device)
    bytes_of = images[..., torch.tensor(order, device=images.device)]
    return table[channel, bytes_of.int()].permute(0, 3, 1, 2)
