"""Pictures of units: images scaled down, and masks painted over them.

A pixel of a picture is one 32-bit word of red, green, blue and an idle byte, in memory's order: words are copied and
blended whole, and Pillow takes them as they are (mode ``RGBX``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ndkernels.arrays import Array, as_integers, as_numpy
from ndkernels.threads import run_work

__all__ = ["LARGEST_DIVISOR", "paint_masks", "shrink_images"]

LARGEST_DIVISOR = 255


def shrink_images(
    images: Array,  # [B, ih, iw, 3] uint8
    divisor: int,
    *,
    threads: int = 1,
) -> NDArray[np.uint32]:  # [B, th, tw]
    """Scale images down by a whole number: a pixel is the mean of a square of pixels, a half rounded up.

    Parameters
    ----------
    images : ndarray or Tensor
        ``[B, ih, iw, 3]`` uint8.
    divisor : int
        The side of the square, from 1 to 255. Rows and columns at the end that fill no square are cut; an image that
        is smaller than a square is one.
    threads : int
        Threads that scale.

    Returns
    -------
    ndarray
        ``[B, max(1, ih // divisor), max(1, iw // divisor)]`` words.

    Raises
    ------
    ValueError
        If the shape, the type or the divisor does not fit, or there is not at least one thread.
    """
    images = as_numpy("images", images)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or 0 in images.shape[1:3]:
        raise ValueError(f"images must be uint8 [B, ih, iw, 3], not {images.dtype} {list(images.shape)}")
    if not 1 <= divisor <= LARGEST_DIVISOR:
        raise ValueError(f"the divisor must lie in 1 … {LARGEST_DIVISOR}, not {divisor}")
    from ndkernels.paint import cpu

    images = np.ascontiguousarray(images)
    count, height, width = images.shape[:3]
    tiles = np.empty((count, max(1, height // divisor), max(1, width // divisor)), np.uint32)
    run_work(count, threads, lambda i, j: cpu.shrink(images, divisor, tiles, i, j))
    return tiles


def paint_masks(
    tiles: Array,  # [B, th, tw] uint32
    place: Array,  # [T]
    masks: Array,  # [T, H, ceil(W / 8)] uint8
    width: int,
    *,
    gap: int = 0,
) -> NDArray[np.uint32]:  # [th, T·tw + (T - 1)·gap]
    """Put some tiles side by side: as they are inside their masks, at a quarter outside, with a yellow line between.

    Parameters
    ----------
    tiles : ndarray or Tensor
        ``[B, th, tw]`` words.
    place : ndarray or Tensor
        ``[T]`` integers: which tiles, at least one.
    masks : ndarray or Tensor
        ``[T, H, ceil(W / 8)]`` uint8: the mask of each, row by row, highest bit first, as ``numpy.packbits`` makes
        them. Its size need not be the tiles': a pixel of a tile takes the mask's pixel under its centre.
    width : int
        W.
    gap : int
        Black columns between tiles.

    Returns
    -------
    ndarray
        ``[th, T·tw + (T - 1)·gap]`` words.

    Raises
    ------
    ValueError
        If shapes, types or numbers do not fit.
    """
    tiles, masks = as_numpy("tiles", tiles), as_numpy("masks", masks)
    place = as_integers("place", place).cpu().numpy().astype(np.int64)
    if tiles.ndim != 3 or tiles.dtype != np.uint32 or 0 in tiles.shape[1:]:
        raise ValueError(f"tiles must be uint32 [B, th, tw], not {tiles.dtype} {list(tiles.shape)}")
    if place.ndim != 1 or len(place) == 0:
        raise ValueError(f"place must be [T] of at least one tile, not {list(place.shape)}")
    if place.min() < 0 or place.max() >= len(tiles):
        raise ValueError(f"places must lie in 0 … {len(tiles) - 1}")
    if masks.dtype != np.uint8 or masks.ndim != 3 or masks.shape[::2] != (len(place), (width + 7) // 8):
        raise ValueError(
            f"masks must be uint8 [{len(place)}, H, {(width + 7) // 8}] for a width of {width}, "
            f"not {masks.dtype} {list(masks.shape)}"
        )
    if 0 in masks.shape or gap < 0:
        raise ValueError(f"a mask of at least one pixel and a gap of at least 0, not {list(masks.shape)} and {gap}")
    from ndkernels.paint import cpu

    height, breadth = tiles.shape[1:]
    strip = np.empty((height, len(place) * (breadth + gap) - gap), np.uint32)
    cpu.paint(np.ascontiguousarray(tiles), place, np.ascontiguousarray(masks), width, gap, strip)
    return strip
