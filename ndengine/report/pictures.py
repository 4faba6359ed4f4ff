"""The pictures of a report: each unit's top images side by side, dark where the unit's mask is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ndengine.owned import strip_name
from ndengine.progress import SILENT, Progress
from ndengine.result import LayerResult
from ndkernels.paint import LARGEST_DIVISOR, paint_masks, shrink_images

Pixels = NDArray[np.uint8]
Words = NDArray[np.uint32]  # pixels of red, green, blue and an idle byte
ImageReader = Callable[[NDArray[np.int64]], Pixels]

TILE = 128  # the longer side of a tile is at most this many pixels
GAP = 4  # black columns between tiles; the page's style sheet cuts them out
QUALITY = 80
TILE_BYTES = 48 << 20  # tiles held at a time, whatever the number of units
READ = 32  # images read at a time
AT_ONCE = 8  # units that a thread is handed at a time


def tile_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a tile: the image divided by a whole number, or enlarged by one where it is tiny.

    Parameters
    ----------
    image_size : tuple of int
        Height and width of the dataset's images, in pixels.
    """
    height, width = image_size
    longer = max(height, width)
    if longer <= TILE:
        factor = TILE // longer
        return height * factor, width * factor
    divisor = -(-longer // TILE)
    return max(1, height // divisor), max(1, width // divisor)


def strip_size(tile: tuple[int, int], count: int) -> tuple[int, int]:
    """Height and width in pixels of a strip of ``count`` tiles."""
    return tile[0], count * tile[1] + max(0, count - 1) * GAP


def shown(layer: LayerResult) -> NDArray[np.bool_]:
    """Which of the top images are drawn, [U, T]: those that exist, and none of a dead unit."""
    return (layer.top_images >= 0) & ~layer.dead[:, None]


def shrink_to(
    tile: tuple[int, int],
    images: Pixels,  # [B, ih, iw, 3]
    threads: int,
) -> Words:  # [B, th, tw]
    """Scale images to the size that :func:`tile_size` gave for them."""
    height, width = tile
    divisor = -(-max(images.shape[1:3]) // TILE)  # as tile_size has it
    if images.shape[1:3] == tile:
        return shrink_images(images, 1, threads=threads)
    if 1 < divisor <= LARGEST_DIVISOR:
        return shrink_images(images, divisor, threads=threads)
    larger = [Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC) for image in images]
    return np.stack([np.asarray(picture.convert("RGBX")).view(np.uint32)[..., 0] for picture in larger])


def write_strips(
    layer: LayerResult,
    folder: Path,
    images: ImageReader,
    *,
    image_size: tuple[int, int],
    label_width: int,
    threads: int = 1,
    progress: Progress = SILENT,
) -> None:
    """Draw the strip of every unit that has top images into a folder.

    Parameters
    ----------
    layer : LayerResult
        The layer; its ``top_images`` [U, T] and ``top_masks`` [U, T, H, ceil(W / 8)] say what to draw.
    folder : Path
        Where the files go; it exists. Strips of these units that lie there are replaced.
    images : callable
        Takes ascending image indices, int64 [B], and gives the images, uint8 [B, ih, iw, 3].
    image_size : tuple of int
        Height and width of the images.
    label_width : int
        W of the masks.
    threads : int
        Threads that scale, draw and encode.
    progress : Progress
        Told of each unit drawn.
    """
    tile = tile_size(image_size)
    drawn = shown(layer)
    units = len(drawn)
    for unit in range(units):  # anew, as Pillow would write through a link; and no picture stays of a unit without one
        (folder / strip_name(unit + 1)).unlink(missing_ok=True)
    with (
        ThreadPoolExecutor(max(1, threads)) as pool,
        progress.stage(f"drawing {layer.name}", units, "units") as advance,
    ):
        for group in _groups(layer.top_images, drawn, TILE_BYTES // (tile[0] * tile[1] * 4)):
            needed = np.unique(layer.top_images[group][drawn[group]])
            tiles = _read_tiles(needed, tile, images, threads)

            def write(
                first: int, end: int = group.stop, needed: NDArray[np.int64] = needed, tiles: Words = tiles
            ) -> int:
                last = min(first + AT_ONCE, end)
                for unit in range(first, last):
                    which = drawn[unit]
                    if which.any():
                        place = np.searchsorted(needed, layer.top_images[unit, which])
                        strip = paint_masks(tiles, place, layer.top_masks[unit, which], label_width, gap=GAP)
                        _write_jpeg(folder / strip_name(unit + 1), strip)
                return last - first

            for done in pool.map(write, range(group.start, group.stop, AT_ONCE)):
                advance(done)


def _groups(
    top_images: NDArray[np.int64],  # [U, T]
    drawn: NDArray[np.bool_],  # [U, T]
    tiles: int,
) -> Iterator[slice]:
    """Runs of units that need at most ``tiles`` images together: one run where all images fit."""
    units, per_unit = drawn.shape
    fits = len(np.unique(top_images[drawn])) <= tiles
    step = max(1, units if fits else tiles // per_unit)
    for start in range(0, units, step):
        yield slice(start, min(start + step, units))


def _read_tiles(
    needed: NDArray[np.int64],  # [B]
    tile: tuple[int, int],
    images: ImageReader,
    threads: int,
) -> Words:  # [B, th, tw]
    tiles = np.empty((len(needed), *tile), np.uint32)
    for start in range(0, len(needed), READ):
        chunk = needed[start : start + READ]
        tiles[start : start + READ] = shrink_to(tile, images(chunk), threads)
    return tiles


def _write_jpeg(path: Path, words: Words) -> None:
    height, width = words.shape
    picture = Image.frombuffer("RGBX", (width, height), words, "raw", "RGBX", 0, 1)
    # Written to a path, not to memory, for only then does Pillow encode without the GIL.
    picture.save(path, "JPEG", quality=QUALITY, subsampling="4:2:0")
