"""What a PNG file says of itself: how it stores its samples, and whether its bytes are those that were written.

Pillow can't be asked for either: it opens 16 bits a channel as 8, and never compares the checksums of pixels.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
# What Pillow calls the images of each kind that is no RGB; 16 bits of colour or alpha have no mode there.
MODES = {GREY: "L", PALETTE: "P", GREY_ALPHA: "LA"}


@dataclass(frozen=True)
class Png:
    """The facts of a PNG file.

    Attributes
    ----------
    width, height : int
        Size in pixels.
    depth : int
        Bits a sample.
    colour : int
        ``GREY``, ``RGB``, ``PALETTE``, ``GREY_ALPHA`` or ``RGBA``.
    chunks : dict
        The contents of all chunks but those of pixels, by type; of several of a type the last.
    """

    width: int
    height: int
    depth: int
    colour: int
    chunks: dict[bytes, bytes] = field(repr=False)

    @property
    def mode(self) -> str:
        """What Pillow calls such pixels, where they are neither RGB nor RGBA."""
        return {(GREY, 1): "1", (GREY, 16): "I;16"}.get((self.colour, self.depth), MODES.get(self.colour, "RGB"))


def read_png(data: bytes) -> Png:
    """Read the header of a PNG file and compare every checksum.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    ValueError
        If it is no PNG, or a damaged one.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("no PNG")
    view, place, chunks = memoryview(data), len(SIGNATURE), dict[bytes, bytes]()
    while b"IEND" not in chunks:
        length = int.from_bytes(data[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(data):
            raise ValueError("it ends before its time")
        kind = data[place + 4 : place + 8]
        if kind == b"IHDR" and chunks:
            raise ValueError("it has two headers")
        if zlib.crc32(view[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ValueError(f"the checksum of its chunk {kind!r} is wrong")
        chunks[kind] = b"" if kind == b"IDAT" else data[place + 8 : end]
        place = end + 4
    header = chunks.get(b"IHDR", b"")
    if next(iter(chunks)) != b"IHDR" or len(header) != 13:
        raise ValueError("it has no header")
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    return Png(width, height, depth, colour, chunks)
