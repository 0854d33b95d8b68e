"""coco8 and coco128: found on this machine or fetched when asked, copied into a folder of ours with our YAML.

Their files are copied byte for byte, since results are compared with those of others on the same data; each picture is
decoded and each label parsed first. A download is held to the size and sha256 that the release's metadata gives. Where
it gives no digest, as for assets of before GitHub published any, none is known: the one of the first download is noted
and held to from then on (`halo_vis.fetch`), and what vouches for the content is the check of its structure.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from halo_vis.datasets.archive import Archive
from halo_vis.datasets.catalogue import DATA, sweep, write_yaml
from halo_vis.datasets.labels import parse_labels
from halo_vis.datasets.layout import pair, sort, split_of, split_word
from halo_vis.datasets.limits import MEBI, Budget, DataError, Limits, Notes
from halo_vis.datasets.pictures import recode
from halo_vis.datasets.report import samples
from halo_vis.fetch import FetchError, data_folder, release_file
from halo_vis.picture import PictureError
from halo_vis.weights import WeightsError

RELEASE = "https://api.github.com/repos/ultralytics/assets/releases/tags/v0.0.0"


@dataclass(frozen=True)
class Known:
    """A data set that is known by name: its pictures by split, and which split val is where there is none."""

    pictures: dict[str, int]
    val: str
    limits: Limits


KNOWN = {
    "coco8": Known({"train": 4, "val": 4}, "val", Limits(zip_bytes=8 * MEBI, files=100, total_bytes=16 * MEBI)),
    # Ultralytics' coco128 validates on what it trains on; so does ours, and `check` says it.
    "coco128": Known({"train": 128}, "train", Limits(zip_bytes=64 * MEBI, files=1000, total_bytes=128 * MEBI)),
}
BUILTIN = tuple(KNOWN)


def builtin(
    name: str, into: Path, fetch: bool = False, *, release: str | None = None, limit_s: float = 300.0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:  # fmt: skip
    """The data.yaml of coco8 or coco128 as the folder `into`/<name>, made there if it is not yet.

    Args:
        fetch: allow the download (1 and 7 MB) where it is not on this machine; without it no host is asked.
        release: URL of the release's metadata; None: HALO_VIS_DATA_RELEASE, else Ultralytics' release of its data.
        limit_s: seconds for the whole download.
        progress: called with (bytes so far, bytes in all).

    Raises:
        DataError: another name, not here and not to be fetched, the download failed, or what came is not it.
    """
    if name not in KNOWN:
        raise DataError(f"no data set is built in as {name!r}; there are {', '.join(KNOWN)}.")
    into = Path(into).resolve()
    place, known = into / name, KNOWN[name]
    if (place / DATA).is_file():
        # The folder, a run's own perhaps, may have been moved since.
        moved = yaml.safe_load((place / DATA).read_text(encoding="utf-8")).get("path") != str(place)
        return _describe(place, place, known) if moved else place / DATA
    folder = find(name)
    try:
        into.mkdir(parents=True, exist_ok=True)
        sweep(into)
        if folder:
            return _copy(_of_folder(folder), name, place, known)
        if not fetch:
            looked = ", ".join(str(p) for p in places(name))
            raise DataError(f"{name} is not on this machine (looked in {looked}). Allow the download, or put it there.")
        kept = data_folder() / "datasets" / f"{name}.zip"
        release = release or os.environ.get("HALO_VIS_DATA_RELEASE") or RELEASE
        release_file(f"{name}.zip", kept, release, limit_s=limit_s, progress=progress)
        with Archive(kept, Budget(known.limits)) as archive:
            return _copy(_of_archive(archive), name, place, known)
    except (FetchError, WeightsError) as error:
        raise DataError(f"{name} could not be fetched: {error}") from error
    except OSError as error:
        raise DataError(
            f"{name} could not be written to {into} ({error.strerror or error}). Make room there."
        ) from error


def places(name: str) -> list[Path]:
    """Where a data set may lie: HALO_VIS_TEST_DATA, Ultralytics' datasets_dir, ./datasets."""
    from ultralytics.utils import SETTINGS

    given = os.environ.get("HALO_VIS_TEST_DATA")
    roots = [*([Path(given)] if given else []), Path(SETTINGS["datasets_dir"]), Path("datasets")]
    return [root / name for root in roots]


def find(name: str) -> Path | None:
    """The folder of a built-in data set on this machine, or None."""
    return next((place.resolve() for place in places(name) if (place / "images").is_dir()), None)


@cache
def coco_names() -> tuple[str, ...]:
    """COCO's 80 classes, as the installed Ultralytics names them."""
    import ultralytics
    from ultralytics.utils import YAML

    names = YAML.load(Path(ultralytics.__file__).parent / "cfg" / "datasets" / "coco8.yaml")["names"]
    return tuple(names[i] for i in range(len(names)))


def _describe(folder: Path, at: Path, known: Known) -> Path:
    """Write the data YAML of a built-in set in `folder` that lies, or will lie, at `at`."""
    return write_yaml(folder, at, {"train": "images/train", "val": f"images/{known.val}"}, coco_names())


Sample = tuple[str, str, bytes, bytes]  # split, file name, picture, label


def _of_folder(folder: Path) -> Iterator[Sample]:
    for split in sorted((folder / "images").iterdir()):
        if split.is_dir() and split_word(split.name):
            for picture, label in samples(split):
                yield (
                    split_word(split.name),
                    picture.name,
                    picture.read_bytes(),
                    label.read_bytes() if label.is_file() else b"",
                )


def _of_archive(archive: Archive) -> Iterator[Sample]:
    layout = sort(archive.members, archive.budget.limits)
    items = pair(layout, Notes())
    archive.take([*layout.pictures, *(item.label for item in items if item.label)])
    for item in items:
        label = archive.read(item.label) if item.label else b""
        yield split_of(item.picture), item.picture.rpartition("/")[2], archive.read(item.picture), label


def _copy(found: Iterator[Sample], name: str, place: Path, known: Known) -> Path:
    """Check and write all files into a fresh folder, then put it into its place."""
    names, notes = coco_names(), Notes()
    folder = place.with_name(f".importing-{uuid.uuid4().hex}")
    counted = dict.fromkeys(known.pictures, 0)
    try:
        for split, file, picture, label in found:
            try:
                recode(picture, file, known.limits.pixels)
            except PictureError as error:
                raise DataError(f"this is not {name}: {file} {error}. Delete it and fetch it again.") from error
            parse_labels(label, f"{Path(file).stem}.txt", len(names), notes)
            if split not in counted or Path(file).name != file or file.startswith("."):
                raise DataError(f"this is not {name}: it has {file[:100]!r} in {split or 'no split'}.")
            counted[split] += 1
            for part, content, target in (("images", picture, file), ("labels", label, f"{Path(file).stem}.txt")):
                (folder / part / split).mkdir(parents=True, exist_ok=True)
                (folder / part / split / target).write_bytes(content)
        if counted != known.pictures or notes.count:
            notes.refuse(f"this is not {name}: it has {counted} pictures, {known.pictures} are expected.")
        _describe(folder, place, known)
        try:
            folder.rename(place)
        except OSError:
            if not (place / DATA).is_file():  # another process made it meanwhile
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return place / DATA
