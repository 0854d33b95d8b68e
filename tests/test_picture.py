"""Odd pictures: decoded to upright, opaque RGB of 8 bits, or refused with a message that says what to do."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin
from samples import picture as ripples

from halo_vis.picture import LARGEST_PIXELS, SUFFIXES, Picture, PictureError, find_pictures, read_picture

RAMP = np.linspace(0, 255, 24, dtype=np.uint8)
CORNERS = np.zeros((20, 30, 3), np.uint8)  # red at the top left, green right, blue below: turning shows
CORNERS[:10, :15], CORNERS[:10, 15:], CORNERS[10:, :15] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
EXIF = {  # tag -> how the upright picture must be turned into what is stored
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
    8: lambda a: np.rot90(a, -1),
}


def close(path: Path, expected: np.ndarray, within: int = 0) -> None:
    got = read_picture(path).pixels
    assert got.dtype == np.uint8 and got.shape == expected.shape and got.flags.c_contiguous
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= within


@pytest.mark.parametrize("tag", EXIF)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_turns_it_upright(tmp_path: Path, tag: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(np.ascontiguousarray(EXIF[tag](CORNERS))).save(path, exif=exif, quality=100, subsampling=0)
    got = read_picture(path).pixels
    assert got.shape == (20, 30, 3)
    for y, x in [(5, 7), (5, 22), (15, 7), (15, 22)]:
        assert np.abs(got[y, x].astype(int) - CORNERS[y, x].astype(int)).max() < 12


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    values = np.tile(np.linspace(0, 65535, 24).astype(np.uint16), (5, 1))
    expected = np.repeat((values / 257).round().astype(np.uint8)[..., None], 3, -1)
    Image.fromarray(values).save(tmp_path / "grey.png")
    Image.fromarray(values).save(tmp_path / "grey.tif")
    cv2.imwrite(str(tmp_path / "colour.png"), np.repeat(values[..., None], 3, -1))
    for name in ("grey.png", "grey.tif", "colour.png"):
        close(tmp_path / name, expected, 1)
    dim = (values // 257).astype(np.uint16)  # 8 bits in a 16-bit file: as they are
    Image.fromarray(dim).save(tmp_path / "dim.png")
    close(tmp_path / "dim.png", np.repeat(dim.astype(np.uint8)[..., None], 3, -1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_alpha_lies_over_white(tmp_path: Path, mode: str) -> None:
    """Half of the picture is transparent, by an alpha channel, a palette's entry or a transparent colour."""
    path = tmp_path / "alpha.png"
    grey = np.full((6, 8), 40, np.uint8)
    grey[:, 4:] = 90
    if mode in ("RGBA", "LA"):
        alpha = Image.fromarray(np.where(grey == 90, 0, 255).astype(np.uint8))
        image = Image.fromarray(grey).convert(mode)
        image.putalpha(alpha)
        image.save(path)
    elif mode == "P":
        image = Image.fromarray((grey == 90).astype(np.uint8), "L").convert("P")
        image.putpalette([40, 40, 40, 90, 90, 90])
        image.save(path, transparency=1)
    else:
        image = Image.fromarray(grey).convert(mode)
        image.save(path, transparency=90 if mode == "L" else (90, 90, 90))
    expected = np.full((6, 8, 3), 40, np.uint8)
    expected[:, 4:] = 255
    close(path, expected)


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    Image.new("RGBA", (3, 2), (0, 100, 200, 128)).save(tmp_path / "half.png")
    close(tmp_path / "half.png", np.tile(np.array([127, 177, 227], np.uint8), (2, 3, 1)), 1)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "I", "F"])
def test_other_modes(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.tile(np.where(RAMP > 127, 255, 0).astype(np.uint8), (6, 1)))
    path = tmp_path / ("picture.tif" if mode in ("CMYK", "I", "F") else "picture.png")
    grey.convert("RGB").convert(mode).save(path) if mode == "CMYK" else grey.convert(mode).save(path)
    close(path, np.asarray(grey.convert("RGB")), 3)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    close(tmp_path / "cmyk.jpg", np.full((16, 16, 3), (255, 0, 0), np.uint8), 6)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_animations_show_their_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (12, 8), c) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    path = tmp_path / f"many.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    close(path, np.full((8, 12, 3), (255, 0, 0), np.uint8), 3)
    with Image.open(path) as image:
        image.seek(2)
        assert np.abs(read_picture(image).pixels[0, 0].astype(int) - (255, 0, 0)).max() <= 3
        assert image.tell() == 2  # the caller's picture stands where it stood


def test_small_and_large(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (9, 8, 7)).save(tmp_path / "one.png")
    close(tmp_path / "one.png", np.array([[[9, 8, 7]]], np.uint8))
    Image.new("RGB", (10_000, 5_000), (120, 130, 140)).save(tmp_path / "large.png", compress_level=1)
    assert read_picture(tmp_path / "large.png").pixels.shape == (5_000, 10_000, 3)
    side = int(LARGEST_PIXELS**0.5) + 1
    for width, height in (
        (side, side),
        (40_000, 40_000),
        (60_000, 60_000),
    ):  # PIL warns of the second, refuses the third
        Image.new("1", (width, height)).save(tmp_path / "huge.png", compress_level=1) if width == side else _header(
            tmp_path / "huge.png", width, height
        )
        with pytest.raises(PictureError, match=r"huge.png.*Scale it down"):
            read_picture(tmp_path / "huge.png")


def _header(path: Path, width: int, height: int) -> None:
    """A PNG that claims a size: a bomb in a few bytes."""
    with path.open("wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n")
        PngImagePlugin.putchunk(
            f, b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
        )
        PngImagePlugin.putchunk(f, b"IDAT", b"x\x9c\x03\x00\x00\x00\x00\x01")
        PngImagePlugin.putchunk(f, b"IEND", b"")


def truncated(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tif"])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str) -> None:
    for name, make in (
        ("text", lambda p: p.write_text("this is no picture")),
        ("empty", lambda p: p.write_bytes(b"")),
        ("cut", truncated),
    ):
        path = tmp_path / f"{name}.{suffix}"
        make(path)
        with pytest.raises(PictureError, match=rf"{name}.{suffix} cannot be read as a picture. Use a JPEG"):
            read_picture(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tif"])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    """Decoders raise struct.error, KeyError and more on flipped bytes; none of it may reach the caller."""
    path, rng, refused = tmp_path / f"picture.{suffix}", np.random.default_rng(0), 0
    Image.fromarray(CORNERS).save(path)
    whole = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 200), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert read_picture(path).pixels.ndim == 3
        except PictureError:
            refused += 1
    assert refused > 5


def test_a_damaged_picture_that_is_open_already_is_refused_too(tmp_path: Path) -> None:
    truncated(tmp_path / "cut.png")
    with Image.open(tmp_path / "cut.png") as image, pytest.raises(PictureError, match=r"cut.png cannot be read"):
        read_picture(image)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=lambda a: f"{a.shape} {a.dtype}",
)
def test_wrong_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(PictureError, match=r"must be \(H, W, 3\) uint8 RGB, got \("):
        read_picture(array)


def test_sources_agree_and_names_say_where_from(tmp_path: Path) -> None:
    path = tmp_path / "Bild 1.png"
    Image.fromarray(CORNERS).save(path)
    with Image.open(path) as image:
        sources = [path, str(path), image.copy(), image, CORNERS, CORNERS[:, ::-1][:, ::-1], Picture(CORNERS, "mine")]
        found = [read_picture(s) for s in sources]
    assert all(np.array_equal(f.pixels, CORNERS) for f in found) and len({f.digest for f in found}) == 1
    assert [f.name for f in found] == ["Bild 1.png", "Bild 1.png", "picture", "Bild 1.png", "array", "array", "mine"]
    assert read_picture(CORNERS.reshape(30, 20, 3)).digest != found[0].digest  # the same bytes in another shape
    with pytest.raises(FileNotFoundError, match=r"no picture at .*none.png. Check the path"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path)


def test_find_pictures(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt", "c.webp"):
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.png").mkdir()
    other = tmp_path / "no suffix"
    assert find_pictures([other, tmp_path]) == [other, *(tmp_path / n for n in ("a.png", "b.JPG", "c.webp"))]
    with pytest.raises(PictureError, match=rf"no pictures in .*empty; looked for {SUFFIXES[0]}"):
        find_pictures([tmp_path / "empty"])


# ---------------------------------------------------------------- what a browser gets
def _saved(tmp_path: Path, name: str, **options: object) -> Path:
    """A photo-like picture as a file."""
    path = tmp_path / name
    Image.fromarray(ripples(90, 120)).save(path, **options)
    return path


@pytest.mark.parametrize(("name", "suffix"), [("a.jpg", "jpg"), ("a.png", "png"), ("a.webp", "webp")])
def test_a_browser_gets_the_file_itself(tmp_path: Path, name: str, suffix: str) -> None:
    """Not encoded again: byte by byte what the person brought, and it decodes to what the models saw."""
    path = _saved(tmp_path, name)
    read = read_picture(path)
    served, kind = read.for_browser(4096)
    assert (served, kind) == (path.read_bytes(), suffix)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(served)).convert("RGB")), read.pixels)


def _odd(kind: str, tmp_path: Path) -> Path | Image.Image | np.ndarray:
    """Pictures of which a browser would show something else than the models see, or more than the pixels."""
    photo, exif, png = Image.fromarray(ripples(90, 120)), Image.Exif(), PngImagePlugin.PngInfo()
    exif[ExifTags.Base.Orientation] = 6
    where, words = Image.Exif(), PngImagePlugin.PngInfo()
    where.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 0.0)
    where[ExifTags.Base.Artist] = "somebody"
    words.add_text("Author", "somebody")
    png.add(b"gAMA", (45455 * 2).to_bytes(4, "big"))
    options = {
        "turned.jpg": {"exif": exif},
        "profile.jpg": {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()},
        "gamma.png": {"pnginfo": png},
        "where.jpg": {"exif": where},
        "where.webp": {"exif": where},
        "words.png": {"pnginfo": words},
        "words.jpg": {"comment": b"by somebody"},
        "words.webp": {"xmp": b"<x:xmpmeta>somebody</x:xmpmeta>"},
        "moves.webp": {"save_all": True, "append_images": [photo.rotate(90)]},
    }.get(kind, {})
    if kind == "array":
        return ripples(90, 120)
    if kind == "open.jpg":
        return Image.open(_saved(tmp_path, kind))
    photo = {"ink.jpg": photo.convert("CMYK"), "clear.png": photo.convert("RGBA")}.get(kind, photo)
    if kind == "clear.png":
        photo.putalpha(100)
    photo.save(tmp_path / kind, **options)
    return tmp_path / kind


@pytest.mark.parametrize(
    "kind",
    ["turned.jpg", "profile.jpg", "gamma.png", "moves.webp", "ink.jpg", "clear.png", "plain.bmp", "plain.tif",
     "plain.gif", "array", "open.jpg", "where.jpg", "where.webp", "words.png", "words.jpg", "words.webp"],
)  # fmt: skip
def test_other_pictures_are_encoded_as_they_are_seen(tmp_path: Path, kind: str) -> None:
    read = read_picture(_odd(kind, tmp_path))
    assert read.file is None
    served, suffix = read.for_browser(4096)
    image = Image.open(io.BytesIO(served))
    assert (suffix, image.format, image.getexif().get(ExifTags.Base.Orientation)) == ("jpg", "JPEG", None)
    assert "icc_profile" not in image.info and b"somebody" not in served
    shown = np.asarray(image).astype(int)
    assert shown.shape == read.pixels.shape
    assert np.abs(shown - read.pixels).mean() < 4  # of 255, for a picture of which a good part is noise


def test_large_pictures_are_made_smaller_for_the_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their sides, or by the bytes of their file."""
    path = _saved(tmp_path, "a.png")
    served, _ = read_picture(path).for_browser(60)
    assert Image.open(io.BytesIO(served)).size == (60, 45)
    monkeypatch.setattr("halo_vis.picture.LARGEST_FILE", path.stat().st_size - 1)
    assert read_picture(path).file is None


def test_a_file_under_a_wrong_name_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = _saved(tmp_path, "a.png").rename(tmp_path / "a.jpg")
    assert read_picture(path).for_browser(4096) == (path.read_bytes(), "png")
