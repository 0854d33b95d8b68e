"""YOLO labels: what a line may be, what is put right, and what is refused with its file and line."""

from __future__ import annotations

from pathlib import Path

import bad_zips as bad
import numpy as np
import pytest
from ultralytics.data.utils import verify_image_label

from halo_vis.datasets import DataError, Dataset, check, import_zip
from halo_vis.datasets.labels import Box, label_text, parse_labels
from halo_vis.datasets.limits import Notes

GOOD = "0 0.5 0.5 0.2 0.2\n"


def parse(text: str | bytes, classes: int = 3, keypoints: int = 0) -> tuple[list[Box], Notes]:
    notes = Notes()
    content = text.encode() if isinstance(text, str) else text
    return parse_labels(content, "labels/a.txt", classes, notes, keypoints)[0], notes


def imported(tmp_path: Path, labels: dict[str, str], pictures: int = 4, yaml: str = bad.YAML) -> Dataset:
    files = {**bad.good(pictures), "data.yaml": yaml, **{f"labels/train/{k}.txt": v for k, v in labels.items()}}
    return import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")


BAD = {
    "3 0.5 0.5 0.2 0.2": "class 3 is not in 0 to 2, the classes that are named",
    "-1 0.5 0.5 0.2 0.2": "class -1 is not in 0 to 2",
    "1.5 0.5 0.5 0.2 0.2": "class 1.5 is no whole number",
    "0 0.5 0.5 0.2": "4 columns; a box has 5",
    "0 0.5 0.5 0.2 0.2 0.9": "6 columns; a box has 5",
    "0 0.1 0.1 0.2 0.2 0.3 0.3 0.4": "8 columns",
    "0": "1 columns",
    "0 0.5 0.5 0.2 nan": "'nan' is no number",
    "0 0.5 0.5 0.2 inf": "'inf' is no number",
    "0 0.5 0.5 0.2 1e999": "a number is too large",
    "1e999 0.5 0.5 0.2 0.2": "a number is too large",
    "0 0.5 0.5 0.2 0x1": "'0x1' is no number",
    "0 0.5 0.5 0.2 1_0": "'1_0' is no number",
    "0 0.5 0.5 0.2 ٣": "is no number",
    "ant 0.5 0.5 0.2 0.2": "'ant' is no number",
    "0,0.5,0.5,0.2,0.2": "is no number",
    "0 320 240 100 50": "320 is not in 0 to 1. Coordinates are fractions of the picture, not pixels",
    "0 0.5 0.5 1.01 0.2": "1.01 is not in 0 to 1",
    "0 -0.01 0.5 0.2 0.2": "-0.01 is not in 0 to 1",
    "0 0.5 0.5 0 0.2": "the box has no area",
    "0 0.5 0.5 0.2 -0.0005": "the box has no area",
    "0 0.5 0.5 0.0000001 0.2": "the box has no area",
    "0 0.1 0.1 0.2 0.1 0.3 0.1": "the box has no area",
    "import os; os.system('x')": "is no number",
}


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_is_a_problem_that_names_it(line: str) -> None:
    boxes, notes = parse(f"{GOOD}\n{line}\n1 0.5 0.5 0.2 0.2\n")
    assert [box.cls for box in boxes] == [0, 1] and notes.count == 1
    problem = notes.problems[0]
    assert (problem.file, problem.line) == ("labels/a.txt", 3) and BAD[line] in problem.message
    assert str(problem).startswith("labels/a.txt, line 3: ")


FINE = {
    "2 0.5 0.5 0.2 0.2": "2 0.5 0.5 0.2 0.2",
    "1.0 5e-1 .5 +0.2 0.2000000": "1 0.5 0.5 0.2 0.2",
    "\t0  0.123457 0.7 0.2 0.3 \r": "0 0.123457 0.7 0.2 0.3",
    "0 0.9 0.5 0.2000004 1": "0 0.9 0.5 0.2000004 1",  # six decimal places: nothing is changed
    "0 0.9 0.5 0.2016 0.5": "0 0.8996 0.5 0.2008 0.5",  # over the border by less than 1e-3: clipped
    "0 0.5 0.5 1.0008 0.5": "0 0.5 0.5 1 0.5",
    "0 0.95 0.5 0.3 0.5": "0 0.9 0.5 0.2 0.5",  # over the border by more
    "0 0.1 0.2 0.3 0.2 0.2 0.6": "0 0.2 0.4 0.2 0.4",  # a triangle
    "0 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.6": "0 0.2 0.4 0.2 0.4",  # four corners
}


@pytest.mark.parametrize("line", FINE)
def test_a_good_line_is_written_anew(line: str) -> None:
    boxes, notes = parse(line)
    assert label_text(boxes) == FINE[line] + "\n" and notes.count == 0
    words = {"0.2016": "rounding overshoot", "1.0008": "rounding overshoot", "0.95": "over the picture's border",
             "0.1 0.2 0.3": "polygons"}  # fmt: skip
    asked = [word for part, word in words.items() if part in line]
    assert len(notes.warnings) == len(asked) and all(word in notes.warnings[0] for word in asked)


def test_duplicates_blank_lines_and_a_byte_order_mark() -> None:
    boxes, notes = parse("\ufeff" + GOOD + "\n\n" + "0 .50 0.5 0.2 0.2\n" + "1 0.5 0.5 0.2 0.2")
    assert [box.cls for box in boxes] == [0, 1]
    assert notes.warnings == ("the same box twice: dropped (labels/a.txt, line 4)",)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(end: str) -> None:
    boxes, notes = parse(end.join(["0 0.5 0.5 0.2 0.2", "", "1 0.5 0.5 0.2 0.2", "9 0.5 0.5 0.2 0.2"]))
    assert [box.cls for box in boxes] == [0, 1] and notes.problems[0].line == 4


def test_labels_that_are_no_text() -> None:
    for content in (b"\xff\xfe0\0 \0", bad.cache_bomb(Path("x")), b"\x80"):
        boxes, notes = parse(content)
        assert boxes == [] and "no UTF-8 text" in notes.problems[0].message


def test_key_points_are_left_out() -> None:
    boxes, notes = parse("0 0.5 0.5 0.2 0.2 0.4 0.4 0.6 0.6\n", keypoints=4)
    assert label_text(boxes) == GOOD and "key points are left out" in notes.warnings[0]


def test_a_pose_data_set_gives_its_boxes(tmp_path: Path) -> None:
    points = " 0.4 0.4 0.6 0.6"
    data = imported(tmp_path, {"train0": GOOD.strip() + points}, yaml="kpt_shape: [2, 2]\nnames: [ant]\n")
    assert (data.path / "labels/train/train0.txt").read_text() == GOOD
    assert any("key points" in text for text in data.warnings)


def test_what_is_written_ultralytics_takes_as_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(500):
        cx, cy, w, h = rng.uniform(0.0, 1.0, 4)
        lines.append(f"{rng.integers(3)} {cx:.6f} {cy:.6f} {max(w, 1e-4):.6f} {max(h, 1e-4):.6f}")
    boxes, notes = parse("\n".join(lines))
    assert notes.count == 0 and len(boxes) == 500
    picture, label = tmp_path / "a.png", tmp_path / "a.txt"
    picture.write_bytes(bad.picture())
    label.write_text(label_text(boxes))
    read = verify_image_label((str(picture), str(label), "", False, 3, 0, 0, False))
    assert len(read[1]) == 500 and read[-1] == ""
    assert np.allclose(read[1], [[b.cls, b.cx, b.cy, b.w, b.h] for b in boxes], atol=1e-6)
    corners = [(b.cx - b.w / 2, b.cx + b.w / 2, b.cy - b.h / 2, b.cy + b.h / 2) for b in boxes]
    assert np.min(corners) > -2e-6 and np.max(corners) < 1 + 2e-6


def test_a_share_of_bad_labels_refuses_with_the_list(tmp_path: Path) -> None:
    labels = {f"train{n}": "9 0.5 0.5 0.2 0.2\n" * 10 for n in range(4)}
    with pytest.raises(DataError) as caught:
        imported(tmp_path, labels)
    said = str(caught.value)
    assert said.startswith("40 of 42 labels are bad; at most 1% are forgiven.")
    assert "labels/train/train0.txt, line 1: class 9 is not in 0 to 1" in said and said.endswith("and 20 more.")
    assert len(caught.value.problems) == 40 and caught.value.count == 40
    assert not list((tmp_path / "into").iterdir())


def test_a_slip_among_many_labels_is_left_out_and_named(tmp_path: Path) -> None:
    many = "".join(f"0 0.5 0.5 0.{n:03d} 0.2\n" for n in range(1, 200))
    data = imported(tmp_path, {"train0": many + "7 0.5 0.5 0.2 0.2\n"})
    assert [(p.file, p.line) for p in data.left_out] == [("labels/train/train0.txt", 200)]
    assert data.boxes == 199 + 5 and check(data).ok


def test_a_million_bad_lines_are_counted_not_kept(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        imported(tmp_path, {"train0": "x\n" * 300_000})
    assert caught.value.count == 300_000 and len(caught.value.problems) == 200
    assert str(caught.value).count("\n") == 21


def test_picture_endings_that_share_a_label_are_said(tmp_path: Path) -> None:
    files = {**bad.good(), "images/train/train0.jpg": bad.picture(77, kind="JPEG")}
    data = import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    assert any("share a label file" in text for text in data.warnings) and data.splits["train"] == 5
