"""Decoding the files of a dataset: photographs to RGB, label maps to ids."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from ndengine.datasets.png import RGB, RGBA, SIGNATURE, Png, read_png
from ndengine.datasets.tables import HIGHEST_ID, FaultError, file_bytes, missing_file

# What Pillow's decoders are known to raise on damaged files.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
AS_RGB = "as RGB with id = red + 256·green"
# Where these stand, Pillow may know of an orientation: EXIF as such, EXIF in text, XMP.
MAY_TURN = {b"eXIf", b"tEXt", b"zTXt", b"iTXt"}
UPRIGHT = 1  # the EXIF orientation of a picture that is stored as it is seen
TURNS = range(2, 9)


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded image.

    Attributes
    ----------
    pixels : ndarray
        ``[ih, iw, 3]`` uint8 RGB, upright.
    orientation : int
        The EXIF orientation that the file asked for and got, from 1 (none) to 8.
    depth : int
        Bits a channel of a PNG file, of which the upper 8 are read.
    """

    pixels: NDArray[np.uint8]
    orientation: int
    depth: int


def read_photo(file: Path, size: tuple[int, int]) -> Photo:
    """Decode an image, and turn it upright.

    Parameters
    ----------
    file : Path
        The image.
    size : tuple of int
        Height and width that ``index.csv`` says.

    Raises
    ------
    FaultError
        If the file is missing, damaged or of another size.
    """
    data = _read(file, "image")
    depth = 8
    try:
        if data.startswith(SIGNATURE):
            depth = read_png(data).depth
        with Image.open(io.BytesIO(data)) as picture:
            if picture.mode[0] in "IF":  # Pillow would clip its values at 255
                what = f"has pixels of mode {picture.mode}"
                raise FaultError("wrong mode", file, what, "save it with 8 bits a channel")
            orientation = _orientation(picture)
            pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except DAMAGE as error:
        raise FaultError("unreadable file", file, f"is no readable image ({_reason(error)})") from None
    _check_size(file, pixels.shape[:2], size)
    return Photo(pixels, orientation, depth)


def read_map(file: Path, size: tuple[int, int]) -> NDArray[np.int32]:
    """Decode a label map.

    Parameters
    ----------
    file : Path
        A PNG file with 8 bits a channel, RGB, or RGBA that hides no label.
    size : tuple of int
        Height and width that ``index.csv`` says.

    Returns
    -------
    ndarray
        ``[H, W]`` int32: R + 256·G + 65536·B, which is an id where blue is 0, and beyond all ids elsewhere.

    Raises
    ------
    FaultError
        If the file is missing, damaged, of another size, or stores its samples in a way in which programs see
        different numbers.
    """
    data = _read(file, "PNG")
    if not data.startswith(SIGNATURE):
        raise _no_png(file, data)
    try:
        png = read_png(data)
        _check_samples(file, png)
        _check_size(file, (png.height, png.width), size)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            turned = _orientation(picture) if MAY_TURN & png.chunks.keys() else UPRIGHT
            # Four bytes a pixel are a number as they lie there; an array [H, W, 3] would have to be taken apart.
            packed = np.frombuffer(picture.tobytes("raw", "RGBA" if png.colour == RGBA else "RGBX"), "<u4")
    except DAMAGE as error:
        raise FaultError("unreadable file", file, f"is no readable PNG ({_reason(error)})") from None
    if turned != UPRIGHT:
        what = f"has an EXIF orientation of {turned}, which some programs apply to a label map and some do not"
        raise FaultError("orientation", file, what, "store it as its image is seen, without an orientation")
    ids = (packed & 0xFFFFFF).astype(np.int32)
    if png.colour == RGBA:
        _check_opaque(file, packed >> 24, ids)
    elif (key := png.chunks.get(b"tRNS")) is not None:
        red, green, blue = key[1:6:2]  # of 16 bits each, the upper ones unused
        _check_opaque(file, np.where(ids == red + 256 * green + 65536 * blue, 0, 255), ids)
    return ids.reshape(size)


def beyond(ids: NDArray[np.integer], concepts: int) -> tuple[list[int], str]:
    """Ids that ``label.csv`` doesn't reach, in ascending order, and what may be done about them.

    Parameters
    ----------
    ids : ndarray
        What a label map holds.
    concepts : int
        C, the highest id of ``label.csv``.
    """
    found = np.unique(ids[ids > concepts]).tolist()
    if found and found[-1] > HIGHEST_ID:
        return found, f"save label maps with blue 0 everywhere, {AS_RGB}"
    return found, "add a row for each to label.csv, or correct the map"


def _read(file: Path, kind: str) -> bytes:
    try:
        return file_bytes(file)
    except FileNotFoundError:
        raise missing_file(file) from None
    except OSError as error:
        raise FaultError("unreadable file", file, f"is no readable {kind} ({error.strerror})") from None


def _check_samples(file: Path, png: Png) -> None:
    """Refuse samples that are no ids, or that programs read in different ways."""
    if png.depth == 16 and png.mode != "I;16":
        raise FaultError("wrong mode", file, "has 16 bits a channel", f"save label maps with 8, {AS_RGB}")
    if png.colour not in (RGB, RGBA):
        raise FaultError("wrong mode", file, f"has pixels of mode {png.mode}", f"save label maps {AS_RGB}")
    if b"acTL" in png.chunks:
        raise FaultError("wrong mode", file, "is an animation", "save the frame that is meant as a PNG of its own")
    if any(bits < 8 for bits in png.chunks.get(b"sBIT", b"")):
        what = "says that some of its bits mean nothing (sBIT)"
        raise FaultError("wrong mode", file, what, f"save label maps {AS_RGB}, without sBIT")


def _check_opaque(file: Path, alpha: NDArray[np.integer], ids: NDArray[np.int32]) -> None:
    """Refuse labels that show through or are hidden; what is fully transparent may be 0, "none"."""
    if ((alpha < 255) & ((alpha > 0) | (ids > 0))).any():
        what = f"has {int((alpha < 255).sum())} pixels that are not opaque, whose labels may be meant or not"
        raise FaultError("wrong mode", file, what, f"save label maps {AS_RGB}, without alpha")


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation of a picture: 1 where it has none, or none that exists.

    To be asked before the pixels are read, for Pillow turns a TIFF then and forgets why. (A PNG may keep it behind
    its pixels; there the question reads them.)
    """
    found = picture.getexif().get(ExifTags.Base.Orientation)
    return next((turn for turn in TURNS if turn == found), UPRIGHT)


def _check_size(file: Path, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    if shape != size:
        is_, said = (f"{height}x{width}" for height, width in (shape, size))
        raise FaultError("wrong size", file, f"is {is_} pixels (height x width) where index.csv says {said}")


def _no_png(file: Path, data: bytes) -> FaultError:
    """What to raise for a label map that is something else."""
    with contextlib.suppress(*DAMAGE), Image.open(io.BytesIO(data)) as picture:
        remedy = f"save label maps as PNG, {AS_RGB}, from the original ids"
        return FaultError("unreadable file", file, f"is no readable PNG (it is a {picture.format} file)", remedy)
    return FaultError("unreadable file", file, "is no readable PNG (no format that Pillow knows)")


def _reason(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "no format that Pillow knows" if text.startswith("cannot identify") else text
