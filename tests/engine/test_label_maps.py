"""Label maps in every form in which a PNG can store them: read exactly, or refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ndengine.datasets.decode import read_map, read_photo
from ndengine.datasets.png import read_png
from ndengine.datasets.tables import FaultError

H, W = 8, 12
IDS = np.random.default_rng(0).choice([0, 1, 2, 255, 256, 300, 1197, 65535], (H, W))
RGB = np.stack([IDS % 256, IDS // 256, np.zeros_like(IDS)], axis=-1)
OPAQUE = np.full((H, W, 1), 255)

Pixels = NDArray[Any]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: Pixels, depth: int = 8, colour: int = 2, extra: bytes = b"", interlaced: bool = False) -> bytes:
    """A PNG file made by hand, of samples as they are; ``extra`` stands before the pixels."""
    passes = [pixels]
    if interlaced:
        places = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
        passes = [pixels[y::dy, x::dx] for y, x, dy, dx in places]
    rows = [row.astype(">u2" if depth == 16 else "u1").tobytes() for part in passes if part.size for row in part]
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, colour, 0, 0, interlaced)
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + body + chunk(b"IEND", b"")


def by_pillow(pixels: Pixels, **how: Any) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(pixels.astype(np.uint8))
    picture = picture.convert(how.pop("mode", picture.mode))
    picture.save(stream, **{"format": "PNG", **how})
    return stream.getvalue()


def by_cv2(pixels: Pixels, dtype: type[np.generic] = np.uint8) -> bytes:
    return bytes(cv2.imencode(".png", pixels[..., ::-1].astype(dtype))[1].tobytes())


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def text(**entries: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, value in entries.items():
        info.add_text(key, value)
    return info


def split_idat(data: bytes) -> bytes:
    """The same file with its pixels in many chunks, some of them empty."""
    start = data.index(b"IDAT") - 4
    (length,) = struct.unpack(">I", data[start : start + 4])
    body = data[start + 8 : start + 8 + length]
    pieces = [body[i : i + 7] for i in range(0, length, 7)]
    return data[:start] + b"".join(chunk(b"IDAT", p) for p in [b"", *pieces, b""]) + data[start + 12 + length :]


def see_through(alpha: int, at: Pixels) -> Pixels:
    return np.dstack([RGB, np.where(at, alpha, 255)])


READ: dict[str, Callable[[], bytes]] = {
    "by Pillow": lambda: by_pillow(RGB),
    "by OpenCV": lambda: by_cv2(RGB),
    "by hand": lambda: png(RGB),
    "interlaced": lambda: png(RGB, interlaced=True),
    "opaque alpha": lambda: by_pillow(np.dstack([RGB, OPAQUE])),
    "interlaced with alpha": lambda: png(np.dstack([RGB, OPAQUE]), colour=6, interlaced=True),
    "transparent where there is nothing": lambda: by_pillow(see_through(0, IDS == 0)),
    "the colour of nothing is transparent": lambda: png(RGB, extra=chunk(b"tRNS", bytes(6))),
    "a colour that is not there is transparent": lambda: png(RGB, extra=chunk(b"tRNS", bytes([0, 3, 0, 3, 0, 3]))),
    "gamma": lambda: png(RGB, extra=chunk(b"gAMA", struct.pack(">I", 100_000))),
    "sRGB and chromaticities": lambda: png(RGB, extra=chunk(b"sRGB", b"\0") + chunk(b"cHRM", bytes(range(32)))),
    "colour profile": lambda: by_pillow(RGB, icc_profile=bytes(200)),
    "all bits significant": lambda: png(RGB, extra=chunk(b"sBIT", b"\x08\x08\x08")),
    "suggested palette": lambda: png(RGB, extra=chunk(b"PLTE", bytes(30))),
    "text": lambda: by_pillow(RGB, pnginfo=text(Software="anything", Comment="å")),
    "upright EXIF": lambda: by_pillow(RGB, exif=turned(1)),
    "pieces": lambda: split_idat(by_pillow(RGB)),
    "something behind the end": lambda: by_pillow(RGB) + b"\0\0",
}


@pytest.mark.parametrize("case", READ)
def test_ids_are_what_was_stored(tmp_path: Path, case: str) -> None:
    (tmp_path / "m.png").write_bytes(READ[case]())
    ids = read_map(tmp_path / "m.png", (H, W))
    assert ids.dtype == np.int32
    assert np.array_equal(ids, IDS)


FEW = IDS % 256
SIXTEEN = "has 16 bits a channel; save label maps with 8"
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "16-bit RGB": (lambda: png(np.dstack([IDS, 0 * IDS, 0 * IDS]), 16, 2), SIXTEEN),
    "16-bit RGB by OpenCV": (lambda: by_cv2(np.dstack([IDS, 0 * IDS, 0 * IDS]), np.uint16), SIXTEEN),
    "16-bit RGB that 8 bits would hold": (lambda: png(RGB * 257, 16, 2), SIXTEEN),
    "16-bit RGBA": (lambda: png(np.dstack([RGB, OPAQUE * 257]), 16, 6), SIXTEEN),
    "16-bit grey and alpha": (lambda: png(np.dstack([IDS, OPAQUE[..., 0] * 257]), 16, 4), SIXTEEN),
    "interlaced 16-bit RGB": (lambda: png(RGB, 16, 2, interlaced=True), SIXTEEN),
    "16-bit grey": (lambda: png(IDS, 16, 0), "mode I;16; save label maps as RGB"),
    "grey": (lambda: by_pillow(FEW), "mode L; save label maps as RGB"),
    "grey by OpenCV": (lambda: bytes(cv2.imencode(".png", FEW.astype(np.uint8))[1].tobytes()), "mode L"),
    "1 bit": (lambda: by_pillow(FEW, mode="1"), "mode 1; save label maps as RGB"),
    "grey and alpha": (lambda: png(np.dstack([FEW, OPAQUE[..., 0]]), 8, 4), "mode LA; save label maps as RGB"),
    "palette": (lambda: by_pillow(FEW, mode="P"), "mode P; save label maps as RGB"),
    "faint": (lambda: by_pillow(see_through(128, IDS > 0)), r"pixels that are not opaque.*without alpha"),
    "faint nothing": (lambda: by_pillow(see_through(1, IDS == 0)), "not opaque"),
    "hidden": (lambda: by_pillow(see_through(0, IDS == 300)), f"has {(IDS == 300).sum()} pixels that are not opaque"),
    "a transparent label": (lambda: png(RGB, extra=chunk(b"tRNS", bytes([0, 44, 0, 1, 0, 0]))), "not opaque"),
    "few significant bits": (lambda: png(RGB, extra=chunk(b"sBIT", b"\x08\x05\x08")), "sBIT"),
    "animated": (
        lambda: by_pillow(RGB, save_all=True, append_images=[Image.new("RGB", (W, H))]),
        "is an animation; save the frame",
    ),
    "turned": (lambda: by_pillow(RGB, exif=turned(3)), "EXIF orientation of 3.*store it as its image is seen"),
    "turned by XMP": (
        lambda: by_pillow(RGB, pnginfo=text(**{"XML:com.adobe.xmp": '<x tiff:Orientation="6"/>'})),
        "EXIF orientation of 6",
    ),
    "JPEG": (lambda: by_pillow(RGB, format="JPEG"), "it is a JPEG file.*from the original ids"),
    "GIF": (lambda: by_pillow(FEW, format="GIF"), "it is a GIF file"),
    "BMP": (lambda: by_pillow(RGB, format="BMP"), "it is a BMP file"),
    "TIFF": (lambda: by_pillow(RGB, format="TIFF"), "it is a TIFF file"),
    "WebP": (lambda: by_pillow(RGB, format="WEBP", lossless=True), "it is a WEBP file"),
    "other size": (lambda: by_pillow(RGB[:, :-1]), "is 8x11 pixels"),
    "cut before its end": (lambda: by_pillow(RGB)[:-12], "ends before its time"),
    "two headers": (lambda: png(RGB, extra=png(RGB)[8:33]), "two headers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_shown_to_be_right_is_refused(tmp_path: Path, case: str) -> None:
    make, message = REFUSED[case]
    (tmp_path / "m.png").write_bytes(make())
    with pytest.raises(FaultError, match=message) as caught:
        read_map(tmp_path / "m.png", (H, W))
    assert str(caught.value).startswith(str(tmp_path / "m.png"))


def test_blue_makes_an_id_that_no_table_has(tmp_path: Path) -> None:
    ids = np.where(IDS == 300, 65_538, np.where(IDS == 1, 196_608, IDS))
    (tmp_path / "m.png").write_bytes(by_pillow(np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1)))
    assert np.array_equal(read_map(tmp_path / "m.png", (H, W)), ids)


@pytest.mark.parametrize("seed", range(4))
def test_no_flipped_bit_changes_a_label(tmp_path: Path, seed: int) -> None:
    """Pillow doesn't compare the checksum of pixels: one flipped bit in 13 gave other ids."""
    rng = np.random.default_rng(seed)
    data = by_pillow(RGB)
    for place in rng.permutation(len(data))[:60]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.integers(8)
        (tmp_path / "m.png").write_bytes(bytes(damaged))
        with pytest.raises(FaultError):
            read_map(tmp_path / "m.png", (H, W))


def test_images_are_held_to_their_checksums_too(tmp_path: Path) -> None:
    data = by_pillow(RGB)
    place = data.index(b"IDAT") + 20
    (tmp_path / "i.png").write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(FaultError, match=r"is no readable image \(the checksum of its chunk b'IDAT' is wrong\)"):
        read_photo(tmp_path / "i.png", (H, W))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [0, 1, 3, 6, 9])
def test_an_orientation_is_applied_and_reported(tmp_path: Path, form: str, orientation: int) -> None:
    pixels = np.zeros((W, W, 3), np.uint8)
    pixels[:6] = 200
    lossless = {"lossless": True} if form == "WEBP" else {}
    (tmp_path / "i").write_bytes(by_pillow(pixels, format=form, exif=turned(orientation), **lossless))
    photo = read_photo(tmp_path / "i", (W, W))
    assert photo.orientation == (orientation if orientation in (3, 6) else 1)
    turns = {3: 2, 6: -1}.get(orientation, 0)
    assert np.abs(photo.pixels.astype(int) - np.rot90(pixels, turns).astype(int)).max() < 12


def test_the_depth_of_an_image_is_known(tmp_path: Path) -> None:
    (tmp_path / "i.png").write_bytes(png(RGB * 257, 16, 2))
    photo = read_photo(tmp_path / "i.png", (H, W))
    assert photo.depth == 16
    assert np.array_equal(photo.pixels, RGB)


def test_header_of_every_kind() -> None:
    modes = {(0, 1): "1", (0, 8): "L", (0, 16): "I;16", (2, 8): "RGB", (3, 4): "P", (4, 8): "LA", (6, 8): "RGB"}
    for (colour, depth), mode in modes.items():
        assert read_png(png(np.zeros((1, 1)), depth, colour)).mode == mode
