"""Pictures that links lead back to: kept by the digest of their pixels for a month, the oldest thrown away first."""

from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path

KEPT_BYTES = 500 * 1024 * 1024
KEPT_S = 30 * 24 * 3600
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Pictures:
    """A folder of inspected pictures, each under its digest (a name that cannot be guessed)."""

    def __init__(self, folder: Path, kept_bytes: int = KEPT_BYTES) -> None:
        self.folder, self.kept_bytes = folder, kept_bytes

    def keep(self, source: Path, digest: str) -> None:
        """Copy a picture's file in, unless it is there; make room."""
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / digest
        try:
            os.utime(target)
            return
        except FileNotFoundError:
            pass
        # Nobody may find half a picture under its name, and several visitors may bring the same one at once.
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False) as half:
            half.write(source.read_bytes())
        Path(half.name).replace(target)
        self._make_room(target)

    def find(self, digest: str) -> Path | None:
        """The file of a picture, or None where there is none (any more)."""
        if not _DIGEST.fullmatch(digest):
            return None
        path = self.folder / digest
        return path if path.is_file() else None

    def _make_room(self, newest: Path) -> None:
        files = []
        for path in self.folder.iterdir():
            try:
                files.append((path.stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:  # another visitor made room at the same time
                continue
        total = sum(size for _, size, _ in files)
        for used, size, path in sorted(files, key=lambda f: f[:2]):
            if total <= self.kept_bytes and used > time.time() - KEPT_S:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size
