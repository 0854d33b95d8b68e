"""Pictures of an upload: decoded wholly, and encoded again so that nothing but pixels goes on.

The pixels are those of `halo_vis.picture`: upright by the EXIF tag, alpha over white, the first frame. Upright because
Ultralytics turns pictures before it lays YOLO labels over them (OpenCV does so while decoding): without the tag the
file must hold the turned pixels, or boxes and picture would part.

A JPEG becomes a JPEG of quality 95 without colour subsampling. That changes photographs by 0.3 to 1.3 grey levels in
the mean (measured on bccd and coco8) and makes them 2.7 times as large, where PNG would make them 6 to 16 times as
large. Everything else becomes PNG and keeps every pixel: a JPEG's blocks would carry what is beside a box into it, and
the meadow's classes depend on that.

Neither PIL's nor Ultralytics' `Image.open` is used: importing ultralytics patches it to look for, or install, a HEIF
decoder where a file is no picture. The format is told from the first bytes and only its own decoder is called.
"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from halo_vis.datasets.limits import DataError, Problem
from halo_vis.picture import PictureError, read_picture

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SMALLEST_SIDE = 10  # Ultralytics drops smaller pictures while it trains
MOST_SCANS = 100  # of a progressive JPEG: each is a pass over all pixels, for a few bytes of the file
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Recoded:
    """A picture as it is written: `content` with `suffix`; upright `width` and `height` in pixels.

    `stored` is (width, height) as the file had it, `orientation` its EXIF tag (1 = as stored); `digest` of the pixels.
    """

    content: bytes
    suffix: str
    width: int
    height: int
    stored: tuple[int, int]
    orientation: int
    digest: str


def opened(content: bytes, name: str, most_pixels: int) -> Image.Image:
    """The picture with its header read and nothing decoded.

    Raises:
        PictureError: no picture of the kinds that are taken, or smaller than 10 pixels on a side.
        DataError: more pixels than allowed, which refuses the whole upload.
    """
    kind = _kind(content)
    if kind is None:
        raise PictureError("is no JPEG, PNG, BMP or WebP picture, whatever its name says")
    if kind is WebPImageFile:  # its decoder fills a canvas as soon as it is opened
        _check_size(*_webp_size(content), name, most_pixels)
    if kind is JpegImageFile and content.count(b"\xff\xda") > MOST_SCANS:
        raise PictureError(f"has more than {MOST_SCANS} scans, which takes a decoder minutes")
    try:
        image = kind(io.BytesIO(content))
        _check_size(*image.size, name, most_pixels)
    except (DataError, PictureError):
        raise
    except Exception as error:  # decoders raise almost anything on damaged files
        raise PictureError("cannot be read: its header is damaged") from error
    return image


def recode(content: bytes, name: str, most_pixels: int) -> Recoded:
    """Decode a picture wholly and encode its pixels; raises as `opened`, and PictureError for damaged pixels."""
    image = opened(content, name, most_pixels)
    stored = image.size
    try:
        orientation = int(image.getexif().get(ORIENTATION, 1))
        pixels = read_picture(image).pixels
    except Exception as error:  # decoders raise almost anything on damaged files
        raise PictureError("cannot be decoded: it is damaged or cut off") from error
    upright, out = Image.fromarray(pixels), io.BytesIO()
    jpeg = isinstance(image, JpegImageFile)
    if jpeg:
        upright.save(out, "JPEG", quality=95, subsampling=0)
    else:
        upright.save(out, "PNG", compress_level=4)
    return Recoded(
        out.getvalue(), ".jpg" if jpeg else ".png", upright.width, upright.height, stored,
        orientation if 1 <= orientation <= 8 else 1, hashlib.sha256(pixels.tobytes()).hexdigest(),
    )  # fmt: skip


def turned(box: tuple[float, float, float, float], orientation: int) -> tuple[float, float, float, float]:
    """A box (x1, y1, x2, y2 in fractions) of the stored picture as it lies in the upright one."""
    x1, y1, x2, y2 = box
    if orientation in (5, 6, 7, 8):  # rows and columns change places
        x1, y1, x2, y2 = y1, x1, y2, x2
    if orientation in (2, 3, 6, 7):
        x1, x2 = 1 - x2, 1 - x1
    if orientation in (3, 4, 7, 8):
        y1, y2 = 1 - y2, 1 - y1
    return x1, y1, x2, y2


def _kind(content: bytes) -> type[Image.Image] | None:
    if content.startswith(b"\xff\xd8\xff"):
        return JpegImageFile
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    if content.startswith(b"BM"):
        return BmpImageFile
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return WebPImageFile
    return None


def _check_size(width: int, height: int, name: str, most: int) -> None:
    if width * height > most:
        message = f"has {width} x {height} pixels; at most {most / 1e6:g} megapixels are taken. Scale it down"
        raise DataError(f"the zip is not taken: {name} {message}.", [Problem(name, 0, message)], listed=False)
    if min(width, height) < SMALLEST_SIDE:
        raise PictureError(f"has {width} x {height} pixels; a side must have {SMALLEST_SIDE} or more")


def _webp_size(content: bytes) -> tuple[int, int]:
    """Canvas of a WebP file, by its container's header."""
    chunk, head = content[12:16], content[20:30]
    if len(head) < 10:
        raise PictureError("cannot be read: its header is damaged")
    if chunk == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if chunk == b"VP8L":
        bits = struct.unpack("<I", head[1:5])[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", head[6:10])
        return width & 0x3FFF, height & 0x3FFF
    raise PictureError("cannot be read: its header is damaged")
