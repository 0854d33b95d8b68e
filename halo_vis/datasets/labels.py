"""YOLO labels: every line is parsed and checked, and written anew.

A line is ``class cx cy w h`` in fractions of the picture as it is shown, i.e. turned upright by its EXIF tag. A line of
more columns is a polygon (``class x y x y x y ...``), whose box is taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from halo_vis.datasets.limits import Notes

LARGEST_LABEL = 8 * 1024 * 1024  # bytes of one label file
TOLERANCE = 1e-3  # overshoot that is taken for rounding
EXACT = 2e-6  # what six decimal places leave: nothing is changed for it
SMALLEST = 1e-6  # of a side: less is no area
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Box:
    """A labelled box: class, centre and extent in fractions of the picture."""

    cls: int
    cx: float
    cy: float
    w: float
    h: float

    def line(self) -> str:
        """As a label file has it."""
        values = (f"{v:.7f}".rstrip("0").rstrip(".") for v in (self.cx, self.cy, self.w, self.h))
        return " ".join([str(self.cls), *values])


def parse_labels(content: bytes, file: str, classes: int, notes: Notes, keypoints: int = 0) -> tuple[list[Box], int]:
    """The boxes of a label file, and how many lines it has that are not blank.

    Args:
        classes: how many there are; 0 where no names are known.
        notes: takes a problem for each bad line, which is left out, and the warnings.
        keypoints: columns of key points that follow each box, which are left out.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        notes.problem(file, 0, "is no UTF-8 text. Labels are lines of 'class cx cy w h'")
        return [], 1
    found: dict[Box, None] = {}
    lines = 0
    for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):
        columns = line.split()
        if not columns:
            continue
        lines += 1
        box = _parse(columns, file, number, classes, notes, keypoints)
        if isinstance(box, str):
            notes.problem(file, number, box)
        elif box in found:
            notes.warn("the same box twice: dropped", file, number)
        else:
            found[box] = None
    return list(found), lines


def _parse(columns: list[str], file: str, line: int, classes: int, notes: Notes, keypoints: int) -> Box | str:
    count = len(columns)
    bad = next((c for c in columns if not NUMBER.fullmatch(c)), None)
    if bad is not None:
        return f"{bad[:40]!r} is no number. A line is 'class cx cy w h'"
    values = [float(c) for c in columns]
    if not all(map(math.isfinite, values)):
        return "a number is too large. Coordinates are fractions of the picture, 0 to 1"
    if keypoints and count == 5 + keypoints:
        notes.warn("key points are left out: only the boxes are taken", file, line)
        values, count = values[:5], 5
    if count != 5 and (count < 7 or count % 2 == 0):
        return f"{count} columns; a box has 5 (class cx cy w h), a polygon an odd number from 7"
    number = _class(values[0], classes)
    if isinstance(number, str):
        return number
    worst = next((v for v in values[1:] if not -TOLERANCE <= v <= 1 + TOLERANCE), None)
    if worst is not None:
        return f"{worst:g} is not in 0 to 1. Coordinates are fractions of the picture, not pixels"
    if count == 5:
        _, cx, cy, w, h = values
        if w <= 0 or h <= 0:
            return f"the box has no area (width {w:g}, height {h:g})"
        return fitted(number, cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, notes, file, line)
    notes.warn("polygons: their boxes are taken", file, line)
    xs, ys = values[1::2], values[2::2]
    return fitted(number, min(xs), min(ys), max(xs), max(ys), notes, file, line)


def _class(value: float, classes: int) -> int | str:
    if value != int(value):
        return f"class {value:g} is no whole number"
    if value < 0 or (classes and value >= classes):
        return f"class {int(value)} is not in 0 to {classes - 1}, the classes that are named"
    if value >= 1_000_000:  # without names nothing else bounds it
        return f"class {value:g} is no class number"
    return int(value)


def fitted(cls: int, x1: float, y1: float, x2: float, y2: float, notes: Notes, file: str, line: int) -> Box | str:
    """A box of corners in fractions, clipped to the picture; a sentence where nothing of it is left."""
    over = max(-x1, -y1, x2 - 1, y2 - 1)
    if over > EXACT:
        text = "a rounding overshoot" if over <= TOLERANCE else "a box reaches over the picture's border"
        notes.warn(f"{text}: clipped", file, line)
        x1, y1, x2, y2 = (min(max(v, 0.0), 1.0) for v in (x1, y1, x2, y2))
    if x2 - x1 < SMALLEST or y2 - y1 < SMALLEST:
        return f"the box has no area in the picture (width {max(x2 - x1, 0):.3g}, height {max(y2 - y1, 0):.3g})"
    # Rounded to what is written, so that two boxes that are written alike are alike.
    return Box(cls, *(round(v, 7) for v in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)))


def label_text(boxes: Iterable[Box]) -> str:
    """A label file; "" for a picture without boxes."""
    return "".join(box.line() + "\n" for box in boxes)
