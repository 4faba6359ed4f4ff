"""Published or usual ways, written plainly; what each leaves out of the work of ours is said where it is defined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    whole: Sequence[Sequence[int]] | None = None,  # N times
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count as NetDissect-Lite does: skip a unit on its maximum, resize with PIL, count labels with bincount.

    Left out: its loop over categories and its areas by category, which only cost time.

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
    for image, stack, marks in zip(activations, maps, whole or [()] * len(maps), strict=True):
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
            for concept in marks:
                counted[concept] += len(rows)
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


def running_topk(running: Tensor, batch: Tensor, largest: int) -> Tensor:
    """The ``largest`` largest values of each unit so far, ``[U, largest]``, with ``torch.topk``, unsorted.

    The form that fits a stream: what was largest so far and the batch ``[N, U, h, w]``, together, once a batch. It
    leaves out survivors, maxima and minima: nothing but the threshold can be made from it.
    """
    values = torch.cat([running, batch.transpose(0, 1).flatten(1)], dim=1)
    return torch.topk(values, min(largest, values.shape[1]), dim=1, sorted=False).values


def running_partition(running: NDArray[np.float32], batch: NDArray[np.float32], largest: int) -> NDArray[np.float32]:
    """The same with ``np.partition``."""
    values = np.concatenate([running, batch.swapaxes(0, 1).reshape(batch.shape[1], -1)], axis=1)
    keep = min(largest, values.shape[1])
    return np.partition(values, values.shape[1] - keep, axis=1)[:, values.shape[1] - keep :]


def unique_codes(maps: NDArray[Any]) -> tuple[NDArray[np.uint16], NDArray[Any], NDArray[np.int64]]:
    """Pixel codes of an image's label maps ``[M, H, W]`` with ``np.unique``: codes, combinations ``[M, R]``, areas.

    It leaves out numbering the combinations in the order of the pixels, and listing the concepts of each one sorted and
    without zeros. A map of zeros stands in for the maps of an image that has none.
    """
    flat = maps.reshape(len(maps), -1) if len(maps) else np.zeros((1, int(np.prod(maps.shape[1:]))), maps.dtype)
    combinations, inverse, area = np.unique(flat, axis=1, return_inverse=True, return_counts=True)
    return inverse.reshape(maps.shape[1:]).astype(np.uint16), combinations, area


def unique_keys(maps: NDArray[Any], concepts: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """The same with the labels of a pixel in one number, which sorts far faster: codes and areas.

    It works as long as the maps are few enough for 63 bits, and leaves out reading the combinations back.
    """
    if (concepts + 1) ** len(maps) >= 2**63:
        raise ValueError(f"{len(maps)} maps of {concepts} concepts do not fit into 63 bits")
    key = np.zeros(maps.shape[1:], np.int64)
    for labels in maps:
        key *= concepts + 1
        key += labels
    _, inverse, area = np.unique(key, return_inverse=True, return_counts=True)
    return inverse.reshape(maps.shape[1:]).astype(np.uint16), area


def interpolated_masks(maps: Tensor, thresholds: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks ``[A, H, W]`` as torch makes them: everything upsampled and stored, then compared."""
    up = interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    return up > thresholds[:, None, None]


def normalise_torch(images: NDArray[np.uint8], mean: Sequence[float], order: Sequence[int]) -> Tensor:
    """A batch ``[B, 3, H, W]`` in channels-last memory, less its mean, in torch.

    Channel by channel into its place, the fastest of the usual forms on one thread: indexing with a list of channels
    takes twice as long, and so does a mean that is broadcast over the last axis. Pixels stay in 0 … 255, as Caffe's
    networks take them; a scale and a deviation would cost one more pass each.
    """
    pixels = torch.from_numpy(images)
    batch = torch.empty(images.shape)
    for c, source in enumerate(order):
        batch[..., c].copy_(pixels[..., source]).sub_(mean[c])
    return batch.permute(0, 3, 1, 2)


def normalise_numpy(images: NDArray[np.uint8], mean: Sequence[float], order: Sequence[int]) -> NDArray[np.float32]:
    """The same in NumPy, ``[B, H, W, 3]``."""
    batch = np.empty(images.shape, np.float32)
    for c, source in enumerate(order):
        np.subtract(images[..., source], np.float32(mean[c]), out=batch[..., c])
    return batch
