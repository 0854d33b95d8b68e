"""A data set written whole or not at all: in a folder beside its place, which is renamed when everything is there."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
import unicodedata
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from halo_vis.datasets.catalogue import INFO, Dataset, open_dataset, sweep, write_yaml
from halo_vis.datasets.labels import Box, label_text
from halo_vis.datasets.layout import SPLITS
from halo_vis.datasets.limits import Budget, DataError, Notes
from halo_vis.datasets.pictures import Recoded

LONGEST_STEM = 80  # characters; at most 240 bytes with the ending


def slug(title: str) -> str:
    """A title as part of a folder's name and of links: ASCII, lower case; "dataset" where nothing is left."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "dataset"


def free_id(into: Path, title: str, digest: str) -> str:
    """An id for this content: another data set may have the same name and, by design, the same eight digits."""
    for digits in (8, 16):
        id = f"{slug(title)}-{digest[:digits]}"
        if not (into / id).exists():
            break
        with contextlib.suppress(DataError):
            if open_dataset(into, id).digest == digest:  # finished a moment ago, by another import of the same zip
                break
    return id


class Writer:
    """Writes one data set; a context that leaves nothing behind unless `finish` was reached."""

    def __init__(self, into: Path, title: str, digest: str, budget: Budget) -> None:
        sweep(into)
        self.into, self.title, self.digest, self.budget = into, title, digest, budget
        self.id = free_id(into, title, digest)
        self.folder = into / f".importing-{uuid.uuid4().hex}"
        self.pictures: Counter[str] = Counter()
        self.boxes = 0
        self._names: defaultdict[str, set[str]] = defaultdict(set)

    def __enter__(self) -> Writer:
        """Make the folder."""
        self.folder.mkdir()
        return self

    def __exit__(self, *exc: object) -> None:
        """Take away what was not finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, split: str, name: str, picture: Recoded, boxes: Iterable[Box]) -> None:
        """Write a picture and its label file; `name` is only a wish, made safe and unique."""
        text = label_text(boxes).encode()
        self.budget.write(len(picture.content) + len(text), self.into)
        stem = self._stem(split, name)
        for part, content, suffix in (("images", picture.content, picture.suffix), ("labels", text, ".txt")):
            folder = self.folder / part / split
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{stem}{suffix}").write_bytes(content)
        self.pictures[split] += 1
        self.boxes += text.count(b"\n")

    def _stem(self, split: str, name: str) -> str:
        """The last part of a zip's name, of letters, digits and -_. only, told apart without regard to case."""
        last = name.rpartition("/")[2].rpartition(".")[0]
        stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in last)[:LONGEST_STEM]
        while len(stem.encode()) > 200:
            stem = stem[:-1]
        stem = stem.strip(".") or "picture"
        taken, number, unique = self._names[split], 2, stem
        while unicodedata.normalize("NFKC", unique).casefold() in taken:
            unique, number = f"{stem}_{number}", number + 1
        taken.add(unicodedata.normalize("NFKC", unique).casefold())
        return unique

    def finish(self, names: tuple[str, ...], layout: str, owner: str, notes: Notes) -> Dataset:
        """Write data.yaml and info.json, and put the folder into its place; an equal one that is there already wins."""
        place = self.into / self.id
        splits = {split: self.pictures[split] for split in SPLITS if self.pictures[split]}
        write_yaml(self.folder, place, {split: f"images/{split}" for split in splits}, names)
        info: dict[str, Any] = {
            "id": self.id, "path": str(place), "title": self.title, "names": names, "splits": splits,
            "boxes": self.boxes, "owner": owner, "made": round(time.time(), 3), "size": self.budget.written,
            "layout": layout, "digest": self.digest, "warnings": notes.warnings,
            "left_out": [[p.file, p.line, p.message] for p in notes.problems], "left_out_count": notes.count,
        }  # fmt: skip
        text = json.dumps(info, ensure_ascii=False).encode("utf-8", "replace")
        (self.folder / INFO).write_bytes(text)
        try:
            self.folder.rename(place)
        except OSError:
            # Two imports of one file at once: the other was first.
            there = open_dataset(self.into, self.id)
            if there.digest != self.digest:
                raise DataError(f"another data set took the name {self.id} meanwhile. Upload again.") from None
            return there
        return open_dataset(self.into, self.id)
