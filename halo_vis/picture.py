"""Pictures from anywhere, as (H, W, 3) uint8 RGB."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

LARGEST_PIXELS = 64_000_000
LONGEST_PHOTO = 8192  # pixels in a file that we write: no screen or printer shows more, and browsers decode no more
LARGEST_FILE = 4_000_000  # bytes of a photo that goes to a browser as the file it came in
# Formats that every browser decodes to the pixels that are seen here, by how their files begin.
WEB_FORMATS = {b"\xff\xd8": ("JPEG", "jpg"), b"\x89P": ("PNG", "png"), b"RI": ("WEBP", "webp")}
# What such a file may say besides its pixels, in Pillow's words: sizes, densities, how it is coded.
PLAIN_NOTES = {
    "adobe", "adobe_transform", "background", "dpi", "duration", "interlace", "jfif", "jfif_density", "jfif_unit",
    "jfif_version", "loop", "progression", "progressive", "srgb", "timestamp",
}  # fmt: skip
PLAIN_SEGMENTS = {"APP0", "APP14"}  # of a JPEG: JFIF's own and Adobe's, which says how colours are coded
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")


class PictureError(ValueError):
    """A picture that cannot be used; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture: ``pixels`` (H, W, 3) uint8 RGB, upright, opaque; ``name`` as a person would call it.

    Pixels that were read from a file may be read-only.

    Attributes:
        file: the bytes that it was read from, where a browser shows exactly these pixels of them; None elsewhere.
    """

    pixels: np.ndarray
    name: str
    file: bytes | None = None

    @cached_property
    def digest(self) -> str:
        """sha256 of size and pixels: the same picture has the same digest, whatever its file was."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels))
        return digest.hexdigest()

    def for_browser(self, longest: int) -> tuple[bytes, str]:
        """A file of at most `longest` pixels on a side that a browser shows, and its suffix without the dot.

        The file that the picture came in, where it can be that one; else a JPEG with its colours in full.
        """
        if self.file is not None and max(self.pixels.shape) <= longest:
            return self.file, WEB_FORMATS[self.file[:2]][1]
        image = Image.fromarray(self.pixels)
        image.thumbnail((longest, longest))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=95, subsampling=0)
        return out.getvalue(), "jpg"


def reduced(photo: np.ndarray, longest: int) -> np.ndarray:
    """(H, W, 3) uint8: the photo with at most `longest` pixels on a side."""
    if max(photo.shape) <= longest:
        return photo
    image = Image.fromarray(photo)
    image.thumbnail((longest, longest), Image.Resampling.BOX)
    return np.asarray(image)


def read_picture(source: str | Path | Image.Image | np.ndarray | Picture) -> Picture:
    """Decode a picture: turned upright by its EXIF tag, alpha over white, 16 bits scaled to 8, the first frame.

    Args:
        source: a path, a PIL image, or an (H, W, 3) uint8 RGB array.

    Raises:
        FileNotFoundError: no such file.
        PictureError: not a picture, damaged, too large, or an array of another shape or type.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8 or not source.size:
            raise PictureError(
                f"an array must be (H, W, 3) uint8 RGB, got {source.shape} {source.dtype}. Convert it first."
            )
        return Picture(np.ascontiguousarray(source), "array")
    if isinstance(source, Image.Image):
        name = Path(getattr(source, "filename", "") or "picture").name
    else:
        name = Path(source).name
        if not Path(source).is_file():
            raise FileNotFoundError(f"no picture at {source}. Check the path.")
    try:
        if isinstance(source, Image.Image):  # opened, but perhaps not decoded yet
            return Picture(_pixels(source, name), name)
        with Image.open(source) as image:
            shows = _shows_alike(image)
            picture = Picture(_pixels(image, name), name)
        file = Path(source).read_bytes() if shows and Path(source).stat().st_size <= LARGEST_FILE else None
        known = file is not None and WEB_FORMATS.get(file[:2], ("",))[0] == shows
        return replace(picture, file=file) if known else picture
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(
            f"{name} is too large ({error}). Scale it down to {LARGEST_PIXELS // 10**6} megapixels."
        ) from error
    # Decoders raise almost anything on damaged files (struct.error, KeyError, TypeError, ...), and Ultralytics patches
    # Image.open to try HEIF, which ends in an ImportError without its optional package. All of it means the same.
    except Exception as error:
        raise PictureError(
            f"{name} cannot be read as a picture. Use a JPEG, PNG or WebP file that opens elsewhere."
        ) from error


def find_pictures(sources: list[str | Path]) -> list[Path]:
    """Files as given, folders by their picture files, sorted; raises PictureError if there is none."""
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found += sorted(p for p in source.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        else:
            found.append(source)
    if not found:
        raise PictureError(f"no pictures in {', '.join(map(str, sources))}; looked for {', '.join(SUFFIXES)}.")
    return found


def _shows_alike(image: Image.Image) -> str:
    """The format of an opened picture of which a browser shows the pixels that `_pixels` reads; else "".

    Browsers mind colour profiles, gamma, orientation and all frames; the models see the numbers in the file. And what a
    camera or an editor has written beside the pixels (where, when, by whom) is nobody's business who is sent a link: a
    file with anything but sizes and densities is not passed on.
    """
    plain = (
        image.mode in ("RGB", "L")
        and not image.has_transparency_data
        and getattr(image, "n_frames", 1) == 1
        and set(image.info) <= PLAIN_NOTES
        and {name for name, _ in getattr(image, "applist", ())} <= PLAIN_SEGMENTS
    )
    return image.format if plain and image.format in dict(WEB_FORMATS.values()) else ""


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    width, height = image.size
    if width * height > LARGEST_PIXELS:
        raise PictureError(
            f"{name} has {width} x {height} pixels; at most {LARGEST_PIXELS // 10**6} megapixels are taken. "
            "Scale it down."
        )
    shown = image.tell()
    image.seek(0)
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        # A copy, where one is needed: the picture goes back to its own frame.
        first = ImageOps.exif_transpose(image) if turned else image.copy() if shown else image
    finally:
        image.seek(shown)  # the caller's picture stays at the frame where it was
    image = first
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(image).astype(np.float64)
        # 16-bit files use their whole range; what fits 8 bits already is left as it is.
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        image = Image.fromarray((np.clip(values / top, 0, 1) * 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
