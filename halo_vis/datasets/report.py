"""What a data set holds, before anything is trained on it: counts, classes, sizes, broken files, what to mind."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from PIL.JpegImagePlugin import JpegImageFile

from halo_vis.datasets.catalogue import Dataset, open_dataset
from halo_vis.datasets.labels import Box, parse_labels
from halo_vis.datasets.layout import SPLITS, counts
from halo_vis.datasets.limits import SHOWN_PROBLEMS, DataError, Limits, Notes, Problem
from halo_vis.datasets.names import read_yaml
from halo_vis.datasets.pictures import ORIENTATION, SUFFIXES, opened
from halo_vis.picture import PictureError

OUR_YAML = 4 * 1024 * 1024  # bytes: of a thousand names, each as long as it may be
FEW = 10  # boxes of a class in train: less is hardly learned
UNEVEN = 50  # times as many boxes of one class as of another


@dataclass(frozen=True)
class Report:
    """The result of `check`.

    Attributes:
        title: of the data set.
        names: classes, by number.
        splits: for each split its "pictures", "boxes" and "backgrounds" (pictures without a box).
        per_class: boxes by class name and split.
        broken: pictures that cannot be decoded, with why.
        problems: bad labels and other faults, at most 200; `problem_count` counts all, `broken` not among them.
        warnings: what to mind; the import's own come first.
        sizes: "width" and "height" of the pictures and "box" (square root of a box's area in pixels), each as
            (least, median, largest); empty without any.
        deep: whether every picture was decoded, or only its header read.
    """

    title: str
    names: tuple[str, ...]
    splits: dict[str, dict[str, int]]
    per_class: dict[str, dict[str, int]]
    broken: tuple[Problem, ...]
    problems: tuple[Problem, ...]
    problem_count: int
    warnings: tuple[str, ...]
    sizes: dict[str, tuple[float, float, float]]
    deep: bool = True

    @property
    def ok(self) -> bool:
        """Whether it can be trained on: pictures in train and val, boxes in train, nothing bad or broken."""
        used = all(self.splits.get(split, {}).get("pictures") for split in ("train", "val"))
        return bool(used and self.splits["train"]["boxes"] and not self.broken and not self.problem_count)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with `lines` and `ok`."""
        return {
            "title": self.title,
            "ok": self.ok,
            "names": list(self.names),
            "splits": self.splits,
            "per_class": self.per_class,
            "broken": [vars(p) for p in self.broken],
            "problems": [vars(p) for p in self.problems],
            "problem_count": self.problem_count,
            "warnings": list(self.warnings),
            "sizes": {name: list(values) for name, values in self.sizes.items()},
            "deep": self.deep,
            "lines": self.lines(),
        }

    def lines(self) -> list[str]:
        """What a page shows as it is: counts, sizes, then what is wrong and what to mind."""
        pictures = {name: split["pictures"] for name, split in self.splits.items()}
        boxes = {name: split["boxes"] for name, split in self.splits.items()}
        empty = sum(split["backgrounds"] for split in self.splits.values())
        lines = [
            f"{sum(pictures.values()):,} pictures: {counts(pictures) or 'none'}",
            f"{sum(boxes.values()):,} boxes: {counts(boxes) or 'none'}; {empty:,} pictures without a box",
            f"{len(self.names)} classes: " + ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else ""),
        ]
        if "width" in self.sizes:
            (w0, _, w1), (h0, _, h1) = self.sizes["width"], self.sizes["height"]
            same = (w0, h0) == (w1, h1)
            lines.append(f"pictures of {w0:g} x {h0:g}" + ("" if same else f" to {w1:g} x {h1:g}") + " pixels")
        if "box" in self.sizes:
            least, middle, largest = self.sizes["box"]
            lines.append(
                f"boxes (side of a square of their area): {least:.0f} to {largest:.0f}, median {middle:.0f} pixels"
            )
        for what, found, count in (
            ("broken", self.broken, len(self.broken)),
            ("bad", self.problems, self.problem_count),
        ):
            lines += [f"{what}: {problem}" for problem in found[:SHOWN_PROBLEMS]]
            if count > SHOWN_PROBLEMS:
                lines.append(f"{what}: {count - SHOWN_PROBLEMS} more")
        return lines + [f"note: {text}" for text in self.warnings]


def check(data: Path | str | Dataset, deep: bool = True) -> Report:
    """Look at every picture and label of a data set that is described by a data.yaml of ours.

    Args:
        data: a Dataset, or the path of its data.yaml: an uploaded one, a meadow, coco8 or coco128.
        deep: decode every picture, not its header only.

    Raises:
        DataError: no such YAML, or one that names no splits and classes as ours do.
    """
    path, title, warned = _place(data)
    names, folders = read_data(path)
    notes, sizes = Notes(), {"width": [], "height": [], "box": []}
    splits: dict[str, dict[str, int]] = {}
    per_class = {name: dict.fromkeys(folders, 0) for name in names}
    broken: dict[Path, Problem] = {}
    for split, folder in folders.items():
        counted = {"pictures": 0, "boxes": 0, "backgrounds": 0}
        for picture, label in samples(folder):
            shown, shown_label = (
                str(p.relative_to(path.parent)) if p.is_relative_to(path.parent) else p.name for p in (picture, label)
            )
            try:
                width, height = _size(picture, deep)
            except (PictureError, DataError, OSError) as error:
                broken[picture] = Problem(shown, 0, str(error))
                continue
            boxes = read_boxes(label, len(names), notes, shown_label)
            counted["pictures"] += 1
            counted["boxes"] += len(boxes)
            counted["backgrounds"] += not boxes
            sizes["width"].append(width)
            sizes["height"].append(height)
            sizes["box"] += [(box.w * width * box.h * height) ** 0.5 for box in boxes]
            for number, count in Counter(box.cls for box in boxes).items():
                per_class[names[number]][split] += count
        splits[split] = counted
    found = {name: (min(v), statistics.median(v), max(v)) for name, v in sizes.items() if v}
    same = [f"{a} and {b}" for a, b in combinations(folders, 2) if folders[a].resolve() == folders[b].resolve()]
    shared = [f"{pair} are the same pictures: what is measured was learned" for pair in same]
    warnings = (*warned, *notes.warnings, *shared, *_mind(splits, per_class))
    return Report(
        title,
        names,
        splits,
        per_class,
        tuple(broken.values()),
        tuple(notes.problems),
        notes.count,
        warnings,
        found,
        deep,
    )


def read_data(path: Path) -> tuple[tuple[str, ...], dict[str, Path]]:
    """Classes and the folder of pictures of each split, by a data.yaml of ours; raises DataError where it is none."""
    if not path.is_file():
        raise DataError(f"there is no data set at {path}. Choose another, or make it again.")
    values = read_yaml(path.read_bytes(), path.name, OUR_YAML)
    given = values.get("names")
    names = tuple(given.values()) if isinstance(given, dict) else tuple(given or ())
    numbered = list(given) if isinstance(given, dict) else [str(i) for i in range(len(names))]
    if not names or numbered != [str(i) for i in range(len(names))] or len(set(names)) < len(names):
        raise DataError(f"{path} names no classes 0, 1, ... as a data.yaml of HaloVis does.")
    root = Path(str(values.get("path") or path.parent))
    folders = {split: root / str(values[split]) for split in SPLITS if values.get(split)}
    for split in ("train", "val"):
        if split not in folders:
            raise DataError(f"{path} has no '{split}:'. A data.yaml of HaloVis names folders of pictures.")
    for split, folder in folders.items():
        if not folder.is_dir():
            raise DataError(f"the pictures of {split} are not there ({folder}). Make or upload the data set again.")
    return names, folders


def samples(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The pictures of a split with where their labels lie, by name."""
    parts = list(folder.parts)
    for i in range(len(parts) - 1, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    labels = Path(*parts)
    for picture in sorted(folder.iterdir()):
        if picture.suffix.lower() in SUFFIXES and picture.is_file():
            yield picture, labels / f"{picture.stem}.txt"


def read_boxes(label: Path, classes: int, notes: Notes, shown: str = "") -> list[Box]:
    """The boxes of a label file; none where there is no file."""
    try:
        content = label.read_bytes()
    except FileNotFoundError:
        return []
    return parse_labels(content, shown or label.name, classes, notes)[0]


def _place(data: Path | str | Dataset) -> tuple[Path, str, tuple[str, ...]]:
    """YAML, title, and what the import warned of."""
    if not isinstance(data, Dataset):
        path = Path(data)
        try:
            data = open_dataset(path.parent.parent, path.parent.name)
        except DataError:  # a meadow or another that was not uploaded
            return path, path.parent.name, ()
    return data.yaml, data.title, data.warnings


def _size(picture: Path, deep: bool) -> tuple[int, int]:
    """Upright (width, height)."""
    image = opened(picture.read_bytes(), picture.name, Limits().pixels)
    try:
        if deep:
            image.load()
        # PNG's tags may follow the pixels, which would be decoded for them; no PNG of ours is turned.
        tags = image.getexif() if deep or isinstance(image, JpegImageFile) else {}
        turned = tags.get(ORIENTATION, 1) in (5, 6, 7, 8)
    except Exception as error:  # decoders raise almost anything on damaged files
        raise PictureError("cannot be decoded: it is damaged or cut off") from error
    return (image.height, image.width) if turned else image.size


def _mind(splits: dict[str, dict[str, int]], per_class: dict[str, dict[str, int]]) -> Iterator[str]:
    """What a person should know of the balance."""
    for split, counted in splits.items():
        if not counted["pictures"]:
            yield f"{split} has no pictures"
        elif counted["backgrounds"] * 2 > counted["pictures"]:
            yield f"{counted['backgrounds']} of {counted['pictures']} pictures of {split} have no box"
    train = {name: by_split.get("train", 0) for name, by_split in per_class.items()}
    nowhere = [name for name, by_split in per_class.items() if not any(by_split.values())]
    unseen = [name for name, n in train.items() if not n and name not in nowhere]
    unmeasured = [name for name, by_split in per_class.items() if train[name] and not by_split.get("val")]
    few = [f"{name} ({n})" for name, n in train.items() if 0 < n < FEW]
    for text, found in (
        ("no box at all, in no split", nowhere),
        ("no box in train: it cannot be learned", unseen),
        ("no box in val: it is not measured", unmeasured),
        (f"fewer than {FEW} boxes in train", few),
    ):
        if found:
            shown = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
            yield f"{'a class' if len(found) == 1 else f'{len(found)} classes'} with {text}: {shown}"
    there = [n for n in train.values() if n]
    if there and max(there) > UNEVEN * min(there):
        most, least = max(train, key=train.get), min((n for n in train if train[n]), key=train.get)
        yield f"uneven classes: {train[most]} boxes of {most} in train, {train[least]} of {least}"
