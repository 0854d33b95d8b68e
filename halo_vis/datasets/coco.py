"""COCO annotations: JSON to boxes in fractions of the picture.

A picture's file name is only looked up among the zip's files. Boxes are in pixels of the size that the JSON gives;
where that is the size of the stored file and not of the picture turned upright, they are turned with it.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from halo_vis.datasets.archive import printable
from halo_vis.datasets.labels import Box, fitted
from halo_vis.datasets.layout import split_of, split_word
from halo_vis.datasets.limits import DataError, Limits, Notes, Problem
from halo_vis.datasets.names import clean_names

LARGEST_SIDE = 100_000
Corners = tuple[float, float, float, float]  # x1, y1, x2, y2


@dataclass
class Coco:
    """What the annotation files of a zip say, merged.

    Attributes:
        names: classes.
        boxes: corners in fractions of the picture (class, x1, y1, x2, y2) with the annotation's number, by picture.
        sizes: (width, height) that the JSON gives, by picture.
        splits: by picture.
        files: the JSON that a picture's boxes are from.
        lines: annotations read, good or bad.
    """

    names: tuple[str, ...] = ()
    boxes: dict[str, list[tuple[int, int, float, float, float, float]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    lines: int = 0


def read_json(content: bytes, file: str, limits: Limits) -> dict | None:
    """A JSON file's object where it is COCO annotations with boxes, else None.

    Raises:
        DataError: no JSON, NaN or infinity in it, nested too deep, or with more parts than `limits.boxes` need.
    """

    def refuse(message: str) -> None:
        raise DataError(f"{file} is not taken.", [Problem(file, 0, message)])

    def no_constant(name: str) -> None:
        raise ValueError(f"{name} is no number")

    def without_outlines(value: dict) -> dict:  # boxes are all that is needed, and outlines fill the memory
        value.pop("segmentation", None)
        return value

    # Objects take twenty times the memory of their text: told from the text, before any is made.
    parts = limits.boxes + limits.pictures + 1000
    if content.count(b"{") + content.count(b"[") > 8 * parts or content.count(b":") > 16 * parts:
        refuse(f"has more parts than {limits.boxes} boxes need")
    try:
        value = json.loads(content.decode("utf-8-sig"), parse_constant=no_constant, object_hook=without_outlines)
    except RecursionError:
        refuse("is nested too deep")
    except (ValueError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", 0)
        said = printable(str(getattr(error, "msg", error)))[:200]
        raise DataError(f"{file} is not taken.", [Problem(file, line, f"is no JSON: {said}")]) from error
    if not isinstance(value, dict) or any(not isinstance(value.get(k), list) for k in ("images", "annotations")):
        return None
    return value if isinstance(value.get("categories"), list) else None


def choose(jsons: Iterable[str]) -> list[str]:
    """The annotation files that count: COCO's instances_*, else all (its captions and key points name the same)."""
    jsons = list(jsons)
    instances = [name for name in jsons if name.rpartition("/")[2].lower().startswith(("instances_", "_annotations"))]
    return instances or jsons


def merge(files: dict[str, dict], pictures: Iterable[str], limits: Limits, notes: Notes) -> Coco:
    """Pictures and boxes of all annotation files, found among the zip's `pictures`."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        by_name[picture.rpartition("/")[2]].append(picture)
    used = {file: _used_classes(value) for file, value in files.items()}
    coco, numbers = Coco(), {}
    for file, value in files.items():
        classes = _classes(value, file, used, numbers, limits, notes)
        _add(coco, value, file, classes, by_name, limits, notes)
    coco.names = tuple(numbers)
    return coco


def boxes_of(coco: Coco, picture: str, turn: Callable[[Corners], Corners] | None, notes: Notes) -> list[Box]:
    """The boxes of a picture, each through `turn` (stored to upright, or None), clipped, without duplicates."""
    found: dict[Box, None] = {}
    file = coco.files.get(picture, "")
    for number, cls, *corners in coco.boxes.get(picture, ()):
        x1, y1, x2, y2 = turn(tuple(corners)) if turn else corners
        box = fitted(cls, x1, y1, x2, y2, notes, picture, 0)
        if isinstance(box, str):
            notes.problem(file, 0, f"annotation {number}: {box}")
        elif box in found:
            notes.warn("the same box twice: dropped", picture)
        else:
            found[box] = None
    return list(found)


def _number(value: object) -> bool:
    """Whether it is a finite number of a size that a float holds; True is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e15 if isinstance(value, int) else math.isfinite(value)


def _used_classes(value: dict) -> set:
    return {a.get("category_id") for a in value["annotations"] if isinstance(a, dict) and _key(a.get("category_id"))}


def _key(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _classes(
    value: dict, file: str, used: dict[str, set], numbers: dict[str, int], limits: Limits, notes: Notes
) -> dict[object, int]:
    """From this file's category ids to class numbers; names are shared by all files."""
    categories = [c for c in value["categories"] if isinstance(c, dict) and _key(c.get("id"))]
    if len(categories) != len(value["categories"]):
        notes.warn("a category without an id: left out", file)
    if len(categories) > limits.classes:
        raise DataError(f"{file} has {len(categories)} categories; at most {limits.classes} are taken.")
    above = {str(c.get("supercategory")) for c in categories}
    found: dict[object, int] = {}
    for category in sorted(categories, key=lambda c: (isinstance(c["id"], str), c["id"])):
        name = clean_names([str(category.get("name") or f"class{category['id']}")], 1, file, notes)[0]
        unused = not any(category["id"] in ids for ids in used.values())
        if unused and name in above and str(category.get("supercategory")) == "none":
            continue  # Roboflow's heading over the classes, which is none itself
        if category["id"] in found:
            notes.warn("two categories have one id: the first counts", file)
            continue
        found[category["id"]] = numbers.setdefault(name, len(numbers))
    if len(set(found.values())) < len(found):
        notes.warn("two categories have one name: they are one class", file)
    if len(numbers) > limits.classes:
        raise DataError(f"the annotations name {len(numbers)} classes; at most {limits.classes} are taken.")
    return found


def _add(
    coco: Coco, value: dict, file: str, classes: dict[object, int], by_name: dict[str, list[str]], limits: Limits,
    notes: Notes,
) -> None:  # fmt: skip
    by_id: dict[object, str] = {}
    known: set = set()
    for number, image in enumerate(value["images"]):
        where = f"image {number}"
        if not isinstance(image, dict) or not _key(image.get("id")) or not isinstance(image.get("file_name"), str):
            notes.problem(file, 0, f"{where} has no 'id' or no 'file_name'")
            continue
        name, size = image["file_name"], (image.get("width"), image.get("height"))
        shown = printable(name)[:200]
        known.add(image["id"])
        if not all(isinstance(v, int) and _number(v) and 0 < v <= LARGEST_SIDE for v in size):
            notes.problem(file, 0, f"{where} ({shown}) has no 'width' and 'height' in pixels")
            continue
        picture = _find(name, file, by_name, notes, where)
        if picture is None:
            continue
        if image["id"] in by_id or picture in coco.sizes:
            notes.problem(file, 0, f"{where} ({shown}) is listed twice")
            continue
        by_id[image["id"]] = picture
        coco.sizes[picture], coco.files[picture] = size, file
        coco.splits[picture] = _json_split(file) or split_of(picture)
    for number, annotation in enumerate(value["annotations"]):
        coco.lines += 1
        if coco.lines > limits.boxes:
            raise DataError(f"the annotations have more than {limits.boxes} boxes, the most that is taken.")
        box = _box(annotation, by_id, known, classes, coco.sizes, notes, file)
        if isinstance(box, str):
            notes.problem(file, 0, f"annotation {number}: {box}")
        elif box:
            coco.boxes.setdefault(box[0], []).append((number, *box[1:]))


def _find(name: str, file: str, by_name: dict[str, list[str]], notes: Notes, where: str) -> str | None:
    """The zip's picture of a COCO file name: by its last part, the split and the longest common ending."""
    plain = unicodedata.normalize("NFC", name.replace("\\", "/"))
    shown = printable(name)[:200]
    if plain.startswith("/") or ".." in plain.split("/") or plain[1:2] == ":" or "\0" in plain:
        notes.problem(file, 0, f"{where} names a file outside of the zip ({shown})")
        return None
    places = by_name.get(plain.rpartition("/")[2], [])
    folder, split = file.rpartition("/")[0], _json_split(file)
    best = [p for p in places if p == f"{folder}/{plain}".lstrip("/")]
    best = best or [p for p in places if f"/{p}".endswith(f"/{plain}") and split_of(p) == split]
    best = best or [p for p in places if f"/{p}".endswith(f"/{plain}") and not (split and split_of(p))]
    if not best:
        notes.warn("a picture of the annotations is not in the zip: left out", shown)
    elif len(best) > 1:
        notes.problem(file, 0, f"{where} ({shown}) may be {best[0]} or {best[1]}")
        return None
    return best[0] if best else None


def _json_split(file: str) -> str:
    """The split of an annotation file: by its name (instances_train2017.json), else by its folder."""
    stem = file.rpartition("/")[2].rpartition(".")[0].lower()
    words = stem.replace("-", "_").replace(".", "_").split("_")
    return next((told for word in reversed(words) if (told := split_word(word))), "") or split_of(file)


def _box(
    annotation: object, by_id: dict, known: set, classes: dict, sizes: dict, notes: Notes, file: str
) -> tuple | str | None:
    """(picture, class, corners in fractions); a sentence for a bad one; None for one that is left out."""
    if not isinstance(annotation, dict):
        return "is no object"
    image, category, box = (annotation.get(k) for k in ("image_id", "category_id", "bbox"))
    if not _key(image) or image not in known:
        return f"'image_id' {printable(str(image))[:40]} is no image of the file"
    if annotation.get("iscrowd"):
        notes.warn("a crowd box: left out", file)
        return None
    if image not in by_id:
        return None  # its picture was already told of
    if not _key(category) or category not in classes:
        return f"'category_id' {printable(str(category))[:40]} is no category of the file"
    if not isinstance(box, list) or len(box) != 4 or not all(map(_number, box)):
        return "'bbox' is not four numbers (x, y, width, height in pixels)"
    x, y, w, h = map(float, box)
    if w <= 0 or h <= 0:
        return f"the box has no area (width {w:g}, height {h:g})"
    width, height = sizes[by_id[image]]
    corners = (x / width, y / height, (x + w) / width, (y + h) / height)
    if not (corners[0] < 1 and corners[1] < 1 and corners[2] > 0 and corners[3] > 0):
        return f"the box lies outside of the picture of {width} x {height}"
    return (by_id[image], classes[category], *corners)
