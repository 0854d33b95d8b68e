"""Zips from strangers: what they hold is told from the central directory, and read in counted pieces.

Nothing here writes. A member's name is never used as a path: it is what messages call a file, and what labels are found
by. Only stored and deflated members are read, since Python's bzip2 and LZMA readers expand without a bound.
"""

from __future__ import annotations

import contextlib
import stat
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

from halo_vis.datasets.limits import MEBI, Budget, DataError, Problem, readable

PIECE = 1 << 16
LONGEST_NAME = 1024  # characters of a member's path; no file system takes more than 255 bytes for a part of it
OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x1f\x8b": "a gzip or tar.gz file",
    b"BZh": "a bzip2 or tar.bz2 file",
    b"\xfd7zXZ\x00": "an xz or tar.xz file",
    b"%PDF": "a PDF file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}
JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, OverflowError, IndexError)


class Archive:
    """An open zip: `members` maps each file's name, with forward slashes and in NFC, to where it lies."""

    def __init__(self, path: Path, budget: Budget) -> None:
        """Open and check the zip's directory; raises DataError for anything that no honest tool writes."""
        self.budget = budget
        self.warnings: list[str] = []
        self._zip = _open(path, budget)
        try:
            self.members = self._check(path)
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        """Itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the zip."""
        self._zip.close()

    def _check(self, path: Path) -> dict[str, zipfile.ZipInfo]:
        limits = self.budget.limits
        entries = self._zip.infolist()
        if len(entries) > limits.files:
            raise DataError(f"the zip has {len(entries)} members; at most {limits.files} are taken.")
        _no_overlap(entries, path.stat().st_size)
        members: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            name = _name(entry)
            if "\\" in entry.orig_filename and not self.warnings:
                self.warnings.append("names with backslashes: read as folders, as Windows meant them")
            _kind(entry, name)
            if entry.is_dir() or name.endswith("/"):
                continue
            if any(part in JUNK or part.startswith("._") for part in name.split("/")):
                continue
            if name in members:
                _refuse(name, "the zip has two files of this name, and it is unclear which is meant. Zip again")
            members[name] = entry
        return members

    def take(self, names: list[str]) -> None:
        """Check the sizes that the zip declares for the files that will be read, before any is."""
        limits, total, packed = self.budget.limits, 0, 0
        for name in names:
            entry = self.members[name]
            if entry.flag_bits & 0x1:
                _refuse(name, "is encrypted. Zip again without a password")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                _refuse(name, f"is packed by method {entry.compress_type}; only deflate is read. Zip again with it")
            size = readable(entry.file_size)
            if entry.file_size > limits.file_bytes:
                _refuse(name, f"unpacks to {size}; at most {readable(limits.file_bytes)} are taken")
            if entry.file_size > MEBI and entry.file_size > limits.ratio * max(entry.compress_size, 1):
                _refuse(name, f"expands more than {limits.ratio:g}-fold to {size}, as a zip bomb does. Leave it out")
            total += entry.file_size
            packed += entry.compress_size
        if total > limits.total_bytes:
            raise DataError(
                f"the zip unpacks to {readable(total)}; at most {readable(limits.total_bytes)} are taken. "
                "Upload fewer or smaller pictures."
            )
        if total > 16 * MEBI and total > limits.ratio * max(packed, 1):
            raise DataError(
                f"the zip expands {total / max(packed, 1):.0f}-fold, as a zip bomb does; at most {limits.ratio:g} is "
                "taken. Zip pictures, not blank data."
            )

    def read(self, name: str, most: int | None = None) -> bytes:
        """One file, unpacked, at most `most` bytes; raises DataError where it is larger or damaged."""
        most = min(most or self.budget.limits.file_bytes, self.budget.limits.file_bytes)
        pieces, size = [], 0
        try:
            with self._zip.open(self.members[name]) as source:
                while piece := source.read(PIECE):
                    size += len(piece)
                    if size > most:
                        _refuse(name, f"unpacks to more than {readable(most)}, the most that is taken for such a file")
                    self.budget.unpack(len(piece))
                    pieces.append(piece)
        except DataError:
            raise
        except (*BROKEN, RuntimeError, NotImplementedError) as error:
            _refuse(name, f"is damaged in the zip ({error or type(error).__name__}). Zip and upload again")
        return b"".join(pieces)


def _refuse(name: str, message: str) -> None:
    name = printable(name)
    raise DataError(f"the zip is not taken: {name[:200]} {message}.", [Problem(name[:200], 0, message)], listed=False)


def printable(name: str) -> str:
    """A name as a message may show it: no control characters, nothing that turns the direction of text."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def _open(path: Path, budget: Budget) -> zipfile.ZipFile:
    limits = budget.limits
    if not path.is_file():
        raise DataError(f"no file at {path.name}. Upload the zip again.")
    size = path.stat().st_size
    if size > limits.zip_bytes:
        raise DataError(f"the zip has {readable(size)}; at most {readable(limits.zip_bytes)} are taken.")
    try:
        with path.open("rb") as f:
            start = f.read(512)
            # The very look-up by which zipfile finds its directory, so that it reads no other than the one measured:
            # a directory of a gigabyte would fill the memory with entries before any of them can be counted.
            end = zipfile._EndRecData(f)
        if end is None:
            raise zipfile.BadZipFile("no directory at its end")
        if end[5] > limits.files * 512:  # an entry has 46 bytes and its names
            raise DataError(f"the zip's directory has {readable(end[5])}; at most {limits.files} members are taken.")
        return zipfile.ZipFile(path)
    except DataError:
        raise
    except (*BROKEN, NotImplementedError) as error:
        raise DataError(_not_a_zip(start, error)) from error


def _not_a_zip(start: bytes, error: Exception) -> str:
    kind = next((kind for magic, kind in OTHERS.items() if start.startswith(magic)), "")
    if start[257:262] == b"ustar":
        kind = "a tar archive"
    if kind:
        return f"the file is {kind}, whatever its name says. Pack the data set as a zip."
    if start.startswith(b"PK\x03\x04"):
        return f"the zip is cut off or damaged ({error}). Zip and upload it again."
    return f"the file is no zip ({error}). Pack the data set as a zip."


def _no_overlap(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Every member has bytes of its own: a bomb reads the same ones under many names."""
    end = 0
    for entry in sorted(entries, key=lambda e: e.header_offset):
        if entry.header_offset < end:
            _refuse(entry.filename, "lies over another file of the zip, as in a zip bomb. Zip again")
        end = entry.header_offset + 30 + len(entry.orig_filename) + entry.compress_size
        if end > size:
            _refuse(entry.filename, "reaches beyond the zip's end: it is cut off or damaged. Zip and upload again")


def _name(entry: zipfile.ZipInfo) -> str:
    """The member's name, normalised; raises where it leads outside or is no name."""
    raw = entry.orig_filename
    if not entry.flag_bits & 0x800:  # not said to be UTF-8, which some tools write all the same
        with contextlib.suppress(UnicodeError):
            raw = raw.encode("cp437").decode("utf-8")
    if len(raw) > LONGEST_NAME or any(len(part.encode("utf-8", "replace")) > 255 for part in raw.split("/")):
        _refuse(raw, f"has a name of {len(raw)} characters, longer than file systems take. Rename it")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in raw):
        _refuse(raw, "has control characters in its name. Rename it")
    name = unicodedata.normalize("NFC", raw.replace("\\", "/"))
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        _refuse(raw, "has an absolute path. Zip the folder itself, with relative names")
    parts = name.split("/")
    if ".." in [part.strip() for part in parts]:
        _refuse(raw, "leads out of its folder ('..'). Zip the folder itself, with relative names")
    return "/".join(part for part in parts if part not in ("", ".")) + ("/" if name.endswith("/") else "")


def _kind(entry: zipfile.ZipInfo, name: str) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        _refuse(name, "is a symbolic link. Zip the files that it leads to")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        _refuse(name, "is no regular file. Zip pictures and labels only")
