"""From bytes to a network's input on a GPU: one lookup, which torch has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def look_up_pixels(
    images: Tensor,  # [B, H, W, 3] uint8
    table: Tensor,  # [3, 256] float32
    order: Sequence[int],
) -> Tensor:
    """A batch ``[B, 3, H, W]`` float32 in channels-last memory, on the images' device."""
    channel = torch.arange(3, device=images.device)
    bytes_of = torch.stack([images[..., c] for c in order], dim=-1)
    return table[channel, bytes_of.int()].permute(0, 3, 1, 2)


@lru_cache(maxsize=4)
def upload_table(content: bytes, device: torch.device) -> Tensor:
    """A table on a device; kept there, for an upload would wait for all that is queued."""
    return torch.from_numpy(np.frombuffer(content, np.float32).reshape(3, 256).copy()).to(device)
