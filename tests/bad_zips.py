"""Zips for the tests of data sets: honest ones, and every one that an honest tool would not write."""

from __future__ import annotations

import io
import pickle
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

LABEL = "0 0.5 0.5 0.5 0.5\n"
YAML = "names: [ant, bee]\n"


def picture(seed: int = 0, width: int = 48, height: int = 32, kind: str = "PNG", **how: object) -> bytes:
    """A picture file of smooth noise."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8))
    out = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(out, kind, **how)
    return out.getvalue()


def good(train: int = 4, val: int = 2, top: str = "") -> dict[str, bytes]:
    """The files of a small YOLO data set with a data.yaml: one box in each picture."""
    files = {f"{top}data.yaml": YAML.encode()}
    for split, count in (("train", train), ("val", val)):
        for n in range(count):
            files[f"{top}images/{split}/{split}{n}.png"] = picture(n + 100 * (split == "val"))
            files[f"{top}labels/{split}/{split}{n}.txt"] = LABEL.encode()
    return files


def pack(path: Path, files: Mapping[str, bytes | str]) -> Path:
    """A zip as any tool writes it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in files.items():
            z.writestr(name, content)
    return path


def pack_infos(path: Path, entries: Iterable[tuple[zipfile.ZipInfo, bytes]], more: Mapping[str, bytes] = {}) -> Path:
    """A zip of members with attributes of their own, after a good data set."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in {**good(), **more}.items():
            z.writestr(name, content)
        for info, content in entries:
            z.writestr(info, content)
    return path


def special(name: str, kind: int) -> zipfile.ZipInfo:
    """A member that is a link, a pipe, a device."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info


LINK, PIPE, DEVICE = stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR


def raw_name(path: Path, name: str) -> Path:
    """A good zip with one more picture of exactly this name, which zipfile itself would clean."""
    stand_in = "q" * len(name.encode())
    content = pack(path, {**good(), stand_in: picture()}).read_bytes()
    assert content.count(stand_in.encode()) == 2
    content = content.replace(stand_in.encode(), name.encode())
    if not name.isascii():  # say that it is UTF-8
        content = flag(content, name.encode(), 0x800)
    path.write_bytes(content)
    return path


def flag(content: bytes, name: bytes, bit: int, on: bool = True) -> bytes:
    """Set or clear a flag of a member, in its local header and in the directory."""
    found = bytearray(content)
    for at in (content.index(name) - 30, content.rindex(name) - 46):
        offset = at + (6 if content[at : at + 4] == b"PK\x03\x04" else 8)
        was = struct.unpack("<H", found[offset : offset + 2])[0]
        found[offset : offset + 2] = struct.pack("<H", was | bit if on else was & ~bit)
    return bytes(found)


def encrypted(path: Path) -> Path:
    """A good zip with one picture that says it is encrypted."""
    content = pack(path, good()).read_bytes()
    path.write_bytes(flag(content, b"images/train/train1.png", 0x1))
    return path


def entry(name: str, offset: int, packed: int, size: int, crc: int = 0, extra: bytes = b"", method: int = 8) -> bytes:
    """One entry of a zip's directory, as one likes it."""
    raw = name.encode()
    head = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 45, 45, 0, method, 0, 0, crc, packed, size, len(raw), len(extra),
                       0, 0, 0, 0, offset)  # fmt: skip
    return head + raw + extra


def local(name: str, content: bytes, size: int, crc: int, method: int = 8) -> bytes:
    """A local header and its bytes."""
    raw = name.encode()
    head = struct.pack("<4s5H3I2H", b"PK\x03\x04", 45, 0, method, 0, 0, crc, len(content), size, len(raw), 0)
    return head + raw + content


def ended(body: bytes, directory: bytes, count: int) -> bytes:
    """A whole zip of bytes and a directory."""
    many = min(count, 0xFFFF)
    return body + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, many, many, len(directory), len(body), 0)


def deflated(content: bytes) -> bytes:
    """Raw deflate."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def overlapping(path: Path, copies: int = 200) -> Path:
    """A bomb that names the same bytes many times."""
    name, content = "images/train/a.png", b"\0" * 10_000_000
    packed = deflated(content)
    body = local(name, packed, len(content), zlib.crc32(content))
    path.write_bytes(ended(body, entry(name, 0, len(packed), len(content), zlib.crc32(content)) * copies, copies))
    return path


def quoting(path: Path, copies: int = 50) -> Path:
    """A bomb of members of different names, each of which holds all local headers that follow it (Fifield's)."""
    kernel = deflated(b"\0" * 1_000_000)
    names = [f"images/train/{n:04d}.png" for n in range(copies)]
    headers = [local(name, b"", 1_000_000, 0) for name in names]
    body, directory, at = b"".join(headers) + kernel, b"", 0
    for name, head in zip(names, headers, strict=True):
        directory += entry(name, at, len(body) - at - len(head), 1_000_000)
        at += len(head)
    path.write_bytes(ended(body, directory, copies))
    return path


def declared(path: Path, size: int, zip64: bool = False) -> Path:
    """A good zip, in front of a picture whose directory entry gives another size than what comes out of it."""
    name, content = "images/train/lie.png", picture(7)
    packed, crc = deflated(content), zlib.crc32(content)
    extra = struct.pack("<2HQ", 1, 8, size) if zip64 else b""
    body = local(name, packed, len(content), crc)
    directory = entry(name, 0, len(packed), 0xFFFFFFFF if zip64 else size, crc, extra)
    label = "labels/train/lie.txt"
    directory += entry(label, len(body), len(LABEL), len(LABEL), zlib.crc32(LABEL.encode()), method=0)
    body += local(label, LABEL.encode(), len(LABEL), zlib.crc32(LABEL.encode()), method=0)
    path.write_bytes(ended(body, directory, 2))
    return path


def many(path: Path, count: int) -> Path:
    """A zip of `count` empty members that share nothing."""
    body, directory = bytearray(), bytearray()
    for n in range(count):
        name = f"images/train/{n}.png"
        directory += entry(name, len(body), 0, 0, method=0)
        body += local(name, b"", 0, 0, method=0)
    path.write_bytes(ended(bytes(body), bytes(directory), count))
    return path


# ---------------------------------------------------------------- pictures
def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def huge_png(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a few hundred bytes with 3.6 gigapixels."""
    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(b"IDAT", zlib.compress(b"\0" * 99_999))
        + _chunk(b"IEND", b"")
    )


def huge_jpeg() -> bytes:
    """A JPEG whose header says 65,500 x 65,500."""
    content = bytearray(picture(kind="JPEG"))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">2H", 65_500, 65_500)
    return bytes(content)


def huge_bmp() -> bytes:
    """A BMP whose header says 60,000 x 60,000."""
    content = bytearray(picture(kind="BMP"))
    content[18:26] = struct.pack("<2i", 60_000, 60_000)
    return bytes(content)


def huge_webp() -> bytes:
    """A WebP whose canvas is said to be 16,384 x 16,384: its decoder takes gigabytes as soon as it is opened."""
    inner = picture(kind="WEBP", lossless=True)[12:]
    canvas = bytes(4) + (16_383).to_bytes(3, "little") * 2
    content = b"VP8X" + struct.pack("<I", len(canvas)) + canvas + inner
    return b"RIFF" + struct.pack("<I", len(content) + 4) + b"WEBP" + content


def scans(count: int = 500) -> bytes:
    """A progressive JPEG with its last scan many times over."""
    content = picture(kind="JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + content[-2:]


# ---------------------------------------------------------------- what runs code
class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return open, (str(self.canary), "w")


def pickle_bomb(canary: Path) -> bytes:
    """What torch.load and pickle.load run."""
    return pickle.dumps({"model": Bomb(canary)})


def cache_bomb(canary: Path) -> bytes:
    """A label cache as Ultralytics writes them, which it unpickles at the start of a training."""
    out = io.BytesIO()
    np.save(out, np.array({"hash": Bomb(canary), "version": "1.0.3"}, dtype=object), allow_pickle=True)
    return out.getvalue()
