"""COCO annotations: converted exactly, and what a JSON from a stranger cannot do."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import bad_zips as bad
import cv2
import numpy as np
import pytest
from PIL import Image

from halo_vis.datasets import DataError, Dataset, Limits, check, import_zip

TRAIN, VAL = "annotations/instances_train.json", "annotations/instances_val.json"


def coco(split: str, count: int, boxes: list | None = None) -> dict:
    """Annotations of `count` pictures of 48 x 32 with one box each."""
    images = [{"id": n + 1, "file_name": f"{split}{n}.png", "width": 48, "height": 32} for n in range(count)]
    box = boxes or [12, 8, 24, 16]
    annotations = [
        {"id": n, "image_id": n + 1, "category_id": 7 if n % 2 else 3, "bbox": box, "iscrowd": 0} for n in range(count)
    ]
    categories = [{"id": 7, "name": "bee"}, {"id": 3, "name": "ant"}]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def pictures(folder: str, split: str, count: int) -> dict[str, bytes]:
    return {f"{folder}{split}{n}.png": bad.picture(n + 100 * (split[0] == "v")) for n in range(count)}


def files(change: Callable[[dict], None] | None = None) -> dict[str, bytes | str]:
    train = coco("train", 4)
    if change:
        change(train)
    return {
        **pictures("images/train/", "train", 4), **pictures("images/val/", "val", 2),
        TRAIN: json.dumps(train), VAL: json.dumps(coco("val", 2)),
    }  # fmt: skip


def take(tmp_path: Path, found: dict, limits: Limits | None = None) -> Dataset:
    return import_zip(bad.pack(tmp_path / "a.zip", found), tmp_path / "into", limits)


LAYOUTS = {
    "coco": ("annotations/instances_train2017.json", "annotations/instances_val2017.json", "train2017/", "val2017/"),
    "coco in images": (
        "annotations/instances_train.json",
        "annotations/instances_val.json",
        "images/train/",
        "images/val/",
    ),
    "one folder": ("annotations/instances_train.json", "annotations/instances_val.json", "images/", "images/"),
    "roboflow": ("train/_annotations.coco.json", "valid/_annotations.coco.json", "train/", "valid/"),
    "plain": ("set/train.json", "set/val.json", "set/", "set/"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_coco_layouts(tmp_path: Path, layout: str) -> None:
    train, val, here, there = LAYOUTS[layout]
    found = {train: json.dumps(coco("train", 4)), val: json.dumps(coco("val", 2))}
    data = take(tmp_path, {**found, **pictures(here, "train", 4), **pictures(there, "val", 2)})
    assert data.names == ("ant", "bee") and dict(data.splits) == {"train": 4, "val": 2} and data.layout == "coco"
    assert (data.path / "labels/train/train1.txt").read_text() == "1 0.5 0.5 0.5 0.5\n"
    assert data.boxes == 6 and not data.warnings and check(data).ok


def test_the_same_name_in_two_splits_is_two_pictures(tmp_path: Path) -> None:
    found = {}
    for seed, split in enumerate(("train", "valid")):
        value = coco("a", 3)
        value["annotations"][0]["bbox"] = [0, 0, 12 * (seed + 1), 16]
        found[f"{split}/_annotations.coco.json"] = json.dumps(value)
        found |= {f"{split}/a{n}.png": bad.picture(10 * seed + n) for n in range(3)}
    data = take(tmp_path, found)
    assert dict(data.splits) == {"train": 3, "val": 3}
    assert (data.path / "labels/train/a0.txt").read_text() == "0 0.125 0.25 0.25 0.5\n"
    assert (data.path / "labels/val/a0.txt").read_text() == "0 0.25 0.25 0.5 0.5\n"


def test_without_splits_one_is_made_and_roboflows_heading_is_no_class(tmp_path: Path) -> None:
    value = coco("a", 10)
    value["categories"] = [{"id": 0, "name": "insects", "supercategory": "none"}] + [
        {**c, "supercategory": "insects"} for c in value["categories"]
    ]
    data = take(tmp_path, {"_annotations.coco.json": json.dumps(value), **pictures("", "a", 10)})
    assert data.names == ("ant", "bee") and dict(data.splits) == {"train": 8, "val": 2}
    assert "no splits are given" in data.warnings[0]


def test_crowds_captions_outlines_and_pictures_that_are_not_there(tmp_path: Path) -> None:
    def change(value: dict) -> None:
        value["annotations"][0]["segmentation"] = [[1, 1, 5, 1, 5, 5]]
        value["annotations"].append(
            {**value["annotations"][1], "iscrowd": 1, "segmentation": {"counts": [1], "size": [1, 1]}}
        )
        value["annotations"].append(copy.deepcopy(value["annotations"][0]))
        value["images"].append({"id": 99, "file_name": "gone.png", "width": 48, "height": 32})

    more = {"annotations/captions_train.json": "{}", "images/train/extra.png": bad.picture(88), "model.pt": b"x"}
    data = take(tmp_path, {**files(change), **more})
    assert data.boxes == 6 and dict(data.splits) == {"train": 4, "val": 2}
    said = "\n".join(data.warnings)
    expected = (
        "a crowd box: left out",
        "the same box twice",
        "not in the zip: left out (gone.png)",
        "no annotation file lists: left out (images/train/extra.png)",
        "captions_train.json",
        "model.pt",
    )
    for text in expected:
        assert text in said, text


# Half turns and mirrors keep the size, which then does not tell the frame: upright is taken.
FRAMES = [("upright", o) for o in range(1, 9)] + [("stored", o) for o in (1, 5, 6, 7, 8)]


@pytest.mark.parametrize(("frame", "orientation"), FRAMES)
def test_boxes_stay_on_a_photo_that_its_exif_tag_turns(tmp_path: Path, frame: str, orientation: int) -> None:
    pixels = np.full((60, 90, 3), 30, np.uint8)
    pixels[6:18, 9:45] = 240  # as stored: x 9 to 45, y 6 to 18
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    upright = cv2.imread(str(path))
    if frame == "stored":
        size, box = (90, 60), [9, 6, 36, 12]
    else:
        ys, xs = np.nonzero(upright[..., 0] > 128)
        size = upright.shape[1::-1]
        box = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
    value = coco("train", 4)
    value["images"].append({"id": 50, "file_name": "turned.jpg", "width": int(size[0]), "height": int(size[1])})
    value["annotations"].append({"id": 50, "image_id": 50, "category_id": 3, "bbox": box})
    found = {
        **files(),
        "annotations/instances_train.json": json.dumps(value),
        "images/train/turned.jpg": path.read_bytes(),
    }
    data = take(tmp_path, found)
    ours = cv2.imread(str(data.path / "images/train/turned.jpg"))
    _, cx, cy, w, h = np.loadtxt(data.path / "labels/train/turned.txt")
    height, width = ours.shape[:2]
    assert ours.shape == upright.shape
    x1, x2 = round((cx - w / 2) * width), round((cx + w / 2) * width)
    y1, y2 = round((cy - h / 2) * height), round((cy + h / 2) * height)
    inside = ours[y1:y2, x1:x2, 0]
    assert inside.mean() > 225 and (ours[..., 0] > 128).sum() == pytest.approx(inside.size, rel=0.03)
    assert any("as it is stored" in text for text in data.warnings) == (frame == "stored" and orientation > 4)


def test_sizes_that_disagree(tmp_path: Path) -> None:
    def scaled(value: dict) -> None:
        for image in value["images"]:
            image.update(width=96, height=64)
        for annotation in value["annotations"]:
            annotation["bbox"] = [24, 16, 48, 32]

    data = take(tmp_path, files(scaled))
    assert (data.path / "labels/train/train0.txt").read_text() == "0 0.5 0.5 0.5 0.5\n"
    assert any("at another size: scaled (4 times" in text for text in data.warnings)

    def wrong(value: dict) -> None:
        value["images"][0].update(width=100, height=100)

    data = take(tmp_path, files(wrong))
    assert data.splits["train"] == 3
    assert "has 48 x 32 pixels, its annotations are for 100 x 100" in data.left_out[0].message


# ---------------------------------------------------------------- bad JSON
def put(key: str, value: object, part: str = "annotations") -> Callable[[dict], None]:
    def change(found: dict) -> None:
        found[part][0][key] = value

    return change


BAD = {
    "nan": (put("bbox", [float("nan"), 0, 1, 1]), "is no JSON: NaN is no number"),
    "infinity": (put("bbox", [0, 0, float("inf"), 1]), "is no JSON: Infinity is no number"),
    "huge integer": (put("bbox", [0, 0, 10**4000, 1]), "annotation 0: 'bbox' is not four numbers"),
    "large integer": (put("bbox", [0, 0, 10**400, 1]), "'bbox' is not four numbers"),
    "words": (put("bbox", ["0", "0", "1", "1"]), "'bbox' is not four numbers"),
    "three": (put("bbox", [0, 0, 1]), "'bbox' is not four numbers"),
    "true": (put("bbox", [True, 0, 9, 9]), "'bbox' is not four numbers"),
    "no box": (put("bbox", None), "'bbox' is not four numbers"),
    "negative": (put("bbox", [5, 5, -2, 2]), "the box has no area"),
    "outside": (put("bbox", [500, 5, 2, 2]), "the box lies outside of the picture of 48 x 32"),
    "category": (put("category_id", 99), "'category_id' 99 is no category of the file"),
    "category list": (put("category_id", [1]), "is no category of the file"),
    "image": (put("image_id", 99), "'image_id' 99 is no image of the file"),
    "image object": (put("image_id", {"a": 1}), "is no image of the file"),
    "no size": (put("width", 0, "images"), "has no 'width' and 'height' in pixels"),
    "huge size": (put("width", 10**30, "images"), "has no 'width' and 'height' in pixels"),
    "no name": (put("file_name", 5, "images"), "has no 'id' or no 'file_name'"),
    "twice": (put("id", 2, "images"), "is listed twice"),
    "outside ..": (put("file_name", "../../outside/mine.png", "images"), "names a file outside of the zip"),
    "outside /": (put("file_name", "/etc/passwd", "images"), "names a file outside of the zip"),
    "outside C:": (put("file_name", "C:\\x.png", "images"), "names a file outside of the zip"),
    "no list": (lambda value: value.update(annotations={}), "no JSON with 'images', 'annotations' and 'categories'"),
    "annotation": (lambda value: value["annotations"].append("x"), "annotation 4: is no object"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_annotations_are_refused_with_their_place(tmp_path: Path, name: str) -> None:
    change, message = BAD[name]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.png").write_bytes(b"mine")
    found = files(change)
    if name == "no list":
        del found["annotations/instances_val.json"]
    with pytest.raises(DataError) as caught:
        take(tmp_path, found)
    assert message in str(caught.value)
    assert not list((tmp_path / "into").iterdir()) and (outside / "mine.png").read_bytes() == b"mine"
    if name != "no list":
        assert caught.value.problems[0].file == "annotations/instances_train.json"


def nested(depth: int) -> str:
    return json.dumps(coco("train", 4))[:-1] + ', "x": ' + "[" * depth + "]" * depth + "}"


TEXTS = {
    "deep": (nested(200_000), "is nested too deep"),
    "long number": ('{"images": [], "x": ' + "9" * 100_000 + "}", "is no JSON"),
    "no text": (b"\xff\xfe{}", "is no JSON"),
    "cut": (json.dumps(coco("train", 4))[:-40], "is no JSON"),
    "empty": ("", "is no JSON"),
    "parts": ("[" + "{}," * 9_000_000 + "{}]", "more parts than 500000 boxes need"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_json_that_is_none_or_fills_the_memory_is_refused(tmp_path: Path, name: str) -> None:
    text, message = TEXTS[name]
    limits = Limits(ratio=10_000)  # or these would be bombs before anything is read
    with pytest.raises(DataError) as caught:
        take(tmp_path, {**files(), "annotations/instances_train.json": text}, limits)
    assert message in str(caught.value) and caught.value.problems[0].file == "annotations/instances_train.json"
    assert not list((tmp_path / "into").iterdir())


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(boxes=3), "more than 3 boxes"),
        (Limits(classes=1), "2 categories; at most 1"),
        (Limits(file_bytes=6000), "the annotations have .* in all; at most 11.7 KiB"),
    ],
)
def test_limits_count_for_coco(tmp_path: Path, limits: Limits, message: str) -> None:
    more = {f"annotations/instances_train{year}.json": json.dumps({"x": "y" * 5000}) for year in range(2017, 2020)}
    with pytest.raises(DataError, match=message):
        take(tmp_path, {**files(), **(more if limits.file_bytes == 6000 else {})}, limits)


def test_yolo_labels_count_before_annotations(tmp_path: Path) -> None:
    data = take(tmp_path, {**bad.good(), "annotations/instances_train.json": json.dumps(coco("train", 4))})
    assert data.layout == "yolo" and any("instances_train.json" in text for text in data.warnings)
