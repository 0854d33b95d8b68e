"""Data sets that were taken in: listed, opened, deleted. Each is a folder of its own with an info.json."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from halo_vis.datasets.limits import DataError, Problem

INFO = "info.json"
DATA = "data.yaml"
ID = re.compile(r"[a-z0-9][a-z0-9-]{0,80}", re.ASCII)
STALE = 24 * 3600  # seconds after which an unfinished folder belongs to no import that still runs
UNFINISHED = (".importing-", ".deleting-")


@dataclass(frozen=True)
class Dataset:
    """A data set of ours on the disk.

    Attributes:
        id: the folder's name.
        path: the folder.
        yaml: its data.yaml, for Ultralytics.
        title: as the person called it.
        names: classes, by number.
        splits: pictures by split.
        boxes: in all splits.
        owner: who uploaded it; "" where nobody is told apart.
        made: seconds since 1970.
        size: bytes of pictures and labels.
        layout: "yolo" or "coco": how the zip was labelled.
        warnings: what was put right while it was taken in.
        left_out: lines and pictures that were left out, at most 200; `left_out_count` counts all.
    """

    id: str
    path: Path
    yaml: Path
    title: str
    names: tuple[str, ...]
    splits: Mapping[str, int]
    boxes: int = 0
    owner: str = ""
    made: float = 0.0
    size: int = 0
    layout: str = "yolo"
    digest: str = ""
    warnings: tuple[str, ...] = ()
    left_out: tuple[Problem, ...] = field(default=())
    left_out_count: int = 0


def write_yaml(folder: Path, at: Path, splits: Mapping[str, str], names: tuple[str, ...]) -> Path:
    """Write `folder`/data.yaml of a data set that lies, or will lie, at `at`: absolute, and nothing to download."""
    values = {"path": str(at), **splits, "names": dict(enumerate(names))}
    path = folder / DATA
    partial = path.with_name(f".{DATA}.{uuid.uuid4().hex}")
    partial.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False, width=1000), encoding="utf-8")
    partial.replace(path)
    return path


def open_dataset(root: Path, id: str) -> Dataset:
    """A data set by its id; its YAML is put right where the folder was moved.

    Raises:
        DataError: no such data set, or what lies there is none.
    """
    if not ID.fullmatch(id):
        raise DataError(f"{id[:100]!r} names no data set. Choose one of the list.")
    folder = Path(root).resolve() / id
    try:
        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
        found = Dataset(
            id=id, path=folder, yaml=folder / DATA, title=str(info["title"]), names=tuple(map(str, info["names"])),
            splits={str(k): int(v) for k, v in info["splits"].items()}, boxes=int(info["boxes"]),
            owner=str(info["owner"]), made=float(info["made"]), size=int(info["size"]), layout=str(info["layout"]),
            digest=str(info["digest"]), warnings=tuple(map(str, info["warnings"])),
            left_out=tuple(Problem(str(f), int(n), str(m)) for f, n, m in info["left_out"]),
            left_out_count=int(info["left_out_count"]),
        )  # fmt: skip
        at = info["path"]
        if not found.yaml.is_file():
            raise DataError(f"the data set {id} has lost its {DATA}. Delete it and upload it again.")
    except FileNotFoundError as error:
        raise DataError(f"there is no data set {id}. It may have been deleted: choose or upload another.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the data set {id} is damaged ({error}). Delete it and upload it again.") from error
    if at != str(folder):
        write_yaml(folder, folder, {name: f"images/{name}" for name in found.splits}, found.names)
        partial = folder / f".{INFO}.{uuid.uuid4().hex}"
        partial.write_text(json.dumps({**info, "path": str(folder)}, ensure_ascii=False), encoding="utf-8")
        partial.replace(folder / INFO)
    return found


def list_datasets(root: Path) -> list[Dataset]:
    """All whole data sets below `root`, the newest first; a damaged one is not listed."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for folder in Path(root).iterdir():
            if ID.fullmatch(folder.name) and (folder / INFO).is_file():
                with contextlib.suppress(DataError):
                    found.append(open_dataset(root, folder.name))
    return sorted(found, key=lambda d: (-d.made, d.id))


def delete_dataset(root: Path, id: str) -> None:
    """Delete a data set, damaged or not; raises DataError where there is none."""
    folder = Path(root).resolve() / id
    if not ID.fullmatch(id) or not (folder / INFO).is_file() or folder.is_symlink():
        raise DataError(f"there is no data set {id[:100]!r}. It may have been deleted already.")
    aside = folder.with_name(f".deleting-{uuid.uuid4().hex}")  # gone at once from every list, whatever follows
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def sweep(root: Path) -> None:
    """Delete what imports that were killed left behind."""
    for folder in root.iterdir():
        if folder.name.startswith(UNFINISHED):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > STALE:
                    shutil.rmtree(folder, ignore_errors=True)
