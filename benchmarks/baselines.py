"""Published ways to count, written plainly; what each leaves out of the original is said where it is defined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate


def lite_style(
    activations: NDArray[np.float32],  # [N, U, h, w]
    thresholds: NDArray[np.float32],  # [U]
    maps: Sequence[NDArray[np.int64]],  # N times [M, H, W]
    concepts: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count as NetDissect-Lite does: skip a unit on its maximum, resize with PIL, count labels with bincount.

    The loop over categories, which only costs time, is left out.

    Returns
    -------
    intersection : ndarray
        ``[U, C + 1]``, column c is concept c.
    unit_area : ndarray
        ``[U]``.
    """
    units = activations.shape[1]
    intersection = np.zeros((units, concepts + 1), np.int64)
    unit_area = np.zeros(units, np.int64)
    for image, stack in zip(activations, maps, strict=True):
        height, width = stack.shape[1:]
        for u in range(units):
            activation = image[u]
            if activation.max() <= thresholds[u]:
                continue
            up = np.asarray(Image.fromarray(activation).resize((width, height), Image.Resampling.BILINEAR))
            rows, columns = np.nonzero(up > thresholds[u])
            if len(rows) == 0:
                continue
            counted = np.bincount(stack[:, rows, columns].ravel(), minlength=concepts + 1)
            counted[0] = 0
            intersection[u] += counted
            unit_area[u] += len(rows)
    return intersection, unit_area


def dense_matmul(
    activations: Tensor,  # [N, U, h, w]
    thresholds: Tensor,  # [U]
    maps: Sequence[Tensor],  # N times [M, H, W] int64
    concepts: int,
) -> tuple[Tensor, Tensor]:
    """Count as a matrix product: upsample everything, binarise, multiply with a one-hot of the image's concepts.

    On a GPU in half precision, whose products of zeros and small counts are summed in float32, exactly.

    Returns
    -------
    intersection : Tensor
        ``[U, C + 1]`` int64, column c is concept c.
    unit_area : Tensor
        ``[U]`` int64.
    """
    units, device = activations.shape[1], activations.device
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    intersection = torch.zeros((units, concepts + 1), dtype=torch.int64, device=device)
    unit_area = torch.zeros(units, dtype=torch.int64, device=device)
    for image, stack in zip(activations, maps, strict=True):
        up = interpolate(image[None], size=stack.shape[1:], mode="bilinear", align_corners=False)[0]
        masks = (up > thresholds[:, None, None]).flatten(1)
        present = stack.unique()
        present = present[present > 0]
        hot = (stack.flatten(1)[:, None] == present[:, None]).sum(0)  # [P, H·W]: how many maps say so
        wide = {"out_dtype": torch.float32} if dtype == torch.float16 else {}
        intersection[:, present] += torch.mm(masks.to(dtype), hot.to(dtype).T, **wide).to(torch.int64)
        unit_area += masks.sum(1)
    return intersection, unit_area
