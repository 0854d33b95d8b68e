"""What the files of a zip are for: pictures, their splits and labels, names, COCO annotations, or nothing.

Accepted for YOLO labels: ``images/{train,val,test}`` with ``labels/...`` beside it, ``{train,valid,test}/images`` with
``.../labels`` (Roboflow), ``images`` with ``labels`` without splits, and labels beside their pictures (Darknet); all of
it below any number of top folders, and ``train2017`` or ``valid`` where ``train`` or ``val`` is meant.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from halo_vis.datasets.limits import DataError, Limits, Notes
from halo_vis.datasets.pictures import SUFFIXES

SPLITS = ("train", "val", "test")
SPLIT = re.compile(r"(?:(train)(?:ing)?|(val)(?:id|idation)?|(test)(?:ing)?)(?:\d{4})?", re.ASCII)
SHARE = 5  # one picture in so many is taken for val where no val is given
CLASS_LISTS = ("classes.txt", "obj.names", "_darknet.labels")
NO_SPLIT = ""


@dataclass(frozen=True)
class Item:
    """A picture that will be taken: its name in the zip, its split, and for YOLO its label file ("" = none)."""

    picture: str
    split: str
    label: str = ""


@dataclass(frozen=True)
class Layout:
    """Files of a zip by what they are for; `others` are never unpacked."""

    pictures: tuple[str, ...]
    labels: tuple[str, ...]
    yamls: tuple[str, ...]
    lists: tuple[str, ...]
    jsons: tuple[str, ...]
    others: tuple[str, ...]


def sort(members: Iterable[str], limits: Limits) -> Layout:
    """Sort a zip's files by their names; raises DataError without pictures, or with too many."""
    kinds: dict[str, list[str]] = {"picture": [], "label": [], "yaml": [], "list": [], "json": [], "other": []}
    for name in sorted(members):
        low = name.lower()
        if low.endswith(SUFFIXES):
            kinds["picture"].append(name)
        elif low.rpartition("/")[2] in CLASS_LISTS:
            kinds["list"].append(name)
        elif low.endswith(".txt"):
            kinds["label"].append(name)
        elif low.endswith((".yaml", ".yml")):
            kinds["yaml"].append(name)
        else:
            kinds["json" if low.endswith(".json") else "other"].append(name)
    pictures = kinds["picture"]
    if not pictures:
        nested = [name for name in kinds["other"] if name.lower().endswith((".zip", ".7z", ".rar", ".tar", ".gz"))]
        aside = f" It holds {nested[0]}, and archives in a zip are not unpacked." if nested else ""
        raise DataError(
            f"the zip holds no pictures ({', '.join(s[1:] for s in SUFFIXES)}).{aside} Put images/train, images/val "
            "and labels/train, labels/val into it, or pictures with their COCO annotations."
        )
    if len(pictures) > limits.pictures:
        raise DataError(f"the zip holds {len(pictures)} pictures; at most {limits.pictures} are taken.")

    def order(name: str) -> tuple:  # the likeliest first: data.yaml before any other, outer before inner
        return (not name.lower().rpartition("/")[2].startswith(("data.", "dataset.")), name.count("/"), name)

    return Layout(
        tuple(pictures), tuple(kinds["label"]), tuple(sorted(kinds["yaml"], key=order)), tuple(kinds["list"]),
        tuple(kinds["json"]), tuple(kinds["other"]),
    )  # fmt: skip


def split_of(name: str) -> str:
    """The split that a path's folders tell, the innermost first; "" for none."""
    for part in reversed(name.split("/")[:-1]):
        if told := split_word(part):
            return told
    return NO_SPLIT


def split_word(word: str) -> str:
    """The split that a word means (train, training, train2017; val, valid, validation; test, testing), or ""."""
    found = SPLIT.fullmatch(word.lower())
    return found[found.lastindex] if found else NO_SPLIT


def pair(layout: Layout, notes: Notes) -> list[Item]:
    """Pictures with their label files; labels that belong to no picture are warned of."""
    labels = set(layout.labels)
    items, used = [], set()
    for picture in layout.pictures:
        label = next((c for c in _label_places(picture) if c in labels), "")
        used.add(label)
        items.append(Item(picture, split_of(picture), label))
    stems = Counter(item.label for item in items if item.label)
    for label, count in stems.items():
        if count > 1:
            notes.warn("pictures of one name but another ending share a label file", label)
    for label in layout.labels:
        if label not in used:
            notes.warn("a text file that is no picture's label: left out", label)
    return items


def _label_places(picture: str) -> list[str]:
    """Where a picture's label may lie: in labels/ instead of the last images/, or beside it."""
    stem = picture.rpartition(".")[0]
    parts = stem.split("/")
    places = [f"{stem}.txt"]
    for i in range(len(parts) - 2, -1, -1):
        if parts[i].lower() == "images":
            places = ["/".join([*parts[:i], to, *parts[i + 1 :]]) + ".txt" for to in ("labels", "Labels")] + places
            break
    return places


def assign(items: list[Item], notes: Notes) -> list[Item]:
    """Give every picture its split; raises DataError where nothing is left to train or to validate with.

    Without any split, or without val, every fifth picture (of the training pictures, shuffled by name with seed 0)
    becomes val: the same pictures each time.
    """
    if all(item.split == NO_SPLIT for item in items):
        notes.warn(f"no splits are given: one picture in {SHARE} is taken for val, chosen by name with seed 0")
        items = [replace(item, split="train") for item in items]
    elif stray := [item for item in items if item.split == NO_SPLIT]:
        for item in stray:
            notes.warn("a picture outside of train, val and test: left out", item.picture)
        items = [item for item in items if item.split != NO_SPLIT]
    elif not any(item.split == "val" for item in items):
        notes.warn(f"no val split is given: one training picture in {SHARE} is taken for it, with seed 0")
    train = sorted(item.picture for item in items if item.split == "train")
    if not train:
        raise DataError("the zip has no training pictures. Put them into images/train (or train/images).")
    if any(item.split == "val" for item in items):
        return items
    if len(train) < 2:
        raise DataError("the zip has one training picture and none for val: at least two are needed.")
    random.Random(0).shuffle(train)
    chosen = set(train[: max(1, len(train) // SHARE)])
    return [replace(item, split="val") if item.picture in chosen else item for item in items]


def warn_left_out(names: Iterable[str], notes: Notes) -> None:
    """Say which files were not even unpacked."""
    for name in names:
        ending = name.lower().rpartition(".")[2]
        what = {
            "cache": "a label cache, which would run code when loaded",
            "pt": "weights, which would run code when loaded",
            "pth": "weights, which would run code when loaded",
            "pkl": "a pickle, which would run code when loaded",
            "py": "a program",
            "sh": "a program",
            "zip": "a zip in the zip",
        }.get(ending, "a file that is neither picture nor label")
        notes.warn(f"{what}: left out, not unpacked", name)


def counts(splits: Mapping[str, int]) -> str:
    """Counts by split in words: "205 train, 87 val, 72 test"."""
    return ", ".join(f"{splits[name]} {name}" for name in SPLITS if splits.get(name))
