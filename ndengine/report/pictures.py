"""The pictures of a report: each unit's top images side by side, dark where the unit's mask is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ndengine.progress import SILENT, Progress
from ndengine.result import LayerResult

Pixels = NDArray[np.uint8]
Words = NDArray[np.uint32]  # pixels of red, green, blue and an idle byte: NumPy is slow on an axis of three
ImageReader = Callable[[NDArray[np.int64]], Pixels]

TILE = 128  # the longer side of a tile is at most this many pixels
GAP = 4  # black columns between tiles; the page's style sheet cuts them out
DIM = 2  # bits a pixel outside the mask is darkened by: to a quarter, near the fifth of the 2017 code
DIM_BITS = np.uint32(0x3F3F3F3F)  # what such a shift leaves of each byte of a word
CONTOUR = np.frombuffer(bytes((255, 221, 74, 255)), np.uint32)[0]
QUALITY = 80
TILE_BYTES = 48 << 20  # tiles held at a time, whatever the number of units
READ = 32  # images read at a time
AT_ONCE = 8  # units that a thread draws before it encodes them: fewer fights for the GIL


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


def strip_name(unit: int) -> str:
    """File name of a unit's strip; ``unit`` counts from 1, as in units.csv."""
    return f"unit-{unit:04d}.jpg"


def shown(layer: LayerResult) -> NDArray[np.bool_]:
    """Which of the top images are drawn, [U, T]: those that exist, and none of a dead unit."""
    return (layer.top_images >= 0) & ~layer.dead[:, None]


def shrink(
    image: Pixels,  # [ih, iw, 3]
    tile: tuple[int, int],
) -> Words:  # [th, tw]
    """Scale one image to the size that :func:`tile_size` gave for it; a pixel becomes one 32-bit word."""
    height, width = tile
    divisor = max(image.shape[0] // height, image.shape[1] // width)
    picture = Image.fromarray(image)
    if divisor > 1:
        # A box of whole multiples: the odd row or column at the end is cut, so tile pixels are plain means.
        right, bottom = min(width * divisor, image.shape[1]), min(height * divisor, image.shape[0])
        picture = picture.reduce(divisor, box=(0, 0, right, bottom))
    elif picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture.convert("RGBX")).view(np.uint32)[..., 0]


def unpack_masks(
    packed: Pixels,  # [..., H, ceil(W / 8)]
    width: int,
    tile: tuple[int, int],
) -> NDArray[np.bool_]:  # [..., th, tw]
    """Masks as :class:`~ndengine.result.LayerResult` keeps them, at tile size by the nearest pixel."""
    masks = np.unpackbits(packed, axis=-1, count=width).view(np.bool_)
    if masks.shape[-2:] == tile:
        return masks
    # The label pixel under the centre of each tile pixel, in whole numbers: floor((i + 1/2) · H / th).
    rows = (2 * np.arange(tile[0]) + 1) * masks.shape[-2] // (2 * tile[0])
    columns = (2 * np.arange(tile[1]) + 1) * width // (2 * tile[1])
    return masks[..., rows[:, None], columns]


def paint(
    tiles: Words,  # [T, th, tw]
    masks: NDArray[np.bool_],  # [T, th, tw]
) -> Words:  # [T, th, tw]
    """Leave a tile as it is inside its mask, darken it outside and draw a thin line around the mask."""
    painted: Words = tiles >> np.uint32(DIM)
    painted &= DIM_BITS
    np.copyto(painted, tiles, where=masks)
    edge = np.zeros_like(masks)
    edge[:, 1:] |= masks[:, :-1]
    edge[:, :-1] |= masks[:, 1:]
    edge[:, :, 1:] |= masks[:, :, :-1]
    edge[:, :, :-1] |= masks[:, :, 1:]
    np.copyto(painted, CONTOUR, where=edge & ~masks)
    return painted


def join(
    painted: Words,  # [T, th, tw]
) -> Words:  # [th, T·tw + (T - 1)·GAP]
    """Put tiles side by side."""
    count, height, width = painted.shape
    strip = np.zeros((height, count, width + GAP), np.uint32)
    strip[:, :, :width] = painted.transpose(1, 0, 2)
    return strip.reshape(height, count * (width + GAP))[:, : strip_size((height, width), count)[1]]


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
        Where the files go; it exists. Strips that lie there are removed.
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
    for old in folder.glob("unit-*.jpg"):  # pictures of another run must not stay between this one's
        old.unlink()
    with (
        ThreadPoolExecutor(max(1, threads)) as pool,
        progress.stage(f"drawing {layer.name}", units, "units") as advance,
    ):
        for group in _groups(layer.top_images, drawn, TILE_BYTES // (tile[0] * tile[1] * 4)):
            needed = np.unique(layer.top_images[group][drawn[group]])
            tiles = _read_tiles(needed, tile, images, pool)

            def write(
                first: int, end: int = group.stop, needed: NDArray[np.int64] = needed, tiles: Words = tiles
            ) -> int:
                last = min(first + AT_ONCE, end)
                strips = [
                    (unit, _draw(layer, unit, drawn[unit], needed, tiles, label_width))
                    for unit in range(first, last)
                    if drawn[unit].any()
                ]
                for unit, strip in strips:
                    _write_jpeg(folder / strip_name(unit + 1), strip)
                return last - first

            for done in pool.map(write, range(group.start, group.stop, AT_ONCE)):
                advance(done)


def _draw(
    layer: LayerResult,
    unit: int,
    which: NDArray[np.bool_],  # [T]
    needed: NDArray[np.int64],  # [B]
    tiles: Words,  # [B, th, tw]
    label_width: int,
) -> Words:
    own = tiles[np.searchsorted(needed, layer.top_images[unit, which])]
    masks = unpack_masks(layer.top_masks[unit, which], label_width, (tiles.shape[1], tiles.shape[2]))
    return join(paint(own, masks))


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
    pool: ThreadPoolExecutor,
) -> Words:  # [B, th, tw]
    tiles = np.empty((len(needed), *tile), np.uint32)

    def scale(place: int, image: Pixels) -> None:
        tiles[place] = shrink(image, tile)

    waiting: Iterator[None] = iter(())
    for start in range(0, len(needed), READ):
        chunk = images(needed[start : start + READ])  # read while the pool scales the chunk before
        for _ in waiting:
            pass
        waiting = pool.map(scale, range(start, start + len(chunk)), chunk)
    for _ in waiting:
        pass
    return tiles


def _write_jpeg(path: Path, words: Words) -> None:
    height, width = words.shape
    picture = Image.frombytes("RGBX", (width, height), words.tobytes())
    # Written to a path, not to memory, for only then does Pillow encode without the GIL.
    picture.save(path, "JPEG", quality=QUALITY, subsampling="4:2:0")
