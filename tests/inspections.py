"""Inspections of random models, for whatever draws, writes or shows one."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from samples import picture, random_model
from ultralytics import YOLO

from halo_vis import Inspection, inspect
from halo_vis.geometry import Answer
from halo_vis.pairs import Card, Pair

MEMBERS = {"baseline": {"sha256": "b"}, "halo": {"sha256": "h"}, "article": {"sha256": "a"}}


@cache
def model(form: str, mask: str = "valid", like: tuple[int, int] = (150, 160)) -> YOLO:
    return random_model(form, like=like, **({} if form == "baseline" else {"mask": mask}))


@cache
def seen(height: int = 90, width: int = 120, mask: str = "valid", imgsz: int = 160) -> Inspection:
    """A photo of an odd size (its maps: 16 x 20, 8 x 10, 4 x 5 at 90 x 120), seen by a residual halo model."""
    return one("residual" if mask == "valid" else "article", "halo", height, width, mask, imgsz)


def one(form: str, member: str, height: int, width: int, mask: str, imgsz: int, seed: int = 0) -> Inspection:
    card = Card("own", "Random <models>", imgsz, members=MEMBERS)
    pair = Pair(card, model("baseline"), model(form, mask), member)
    photo = picture(height, width, seed)
    # Of most of the left, a region of many cells; of the right, one that no cell's centre hits.
    places = (("bee", (0, 0, 0.55, 0.7), (0.3, 0.2, 0.5, 0.45)), ("tiny", (0.55, 0, 1, 1), (0.81, 0.52, 0.82, 0.53)))
    size = (width, height, width, height)
    answers = [
        Answer(name, *(tuple(share * side for share, side in zip(box, size, strict=True)) for box in boxes))
        for name, *boxes in places
    ]
    return inspect(pair, photo, conf=0.35, device="cpu", answers=answers)


@cache
def seen_beside(height: int = 90, width: int = 120, mask: str = "valid", imgsz: int = 160) -> Inspection:
    """The same, with the article's form beside it: other weights, and the other mask."""
    flipped = "published" if mask == "valid" else "valid"
    return seen(height, width, mask, imgsz).with_beside(one("article", "article", height, width, flipped, imgsz))


@cache
def seen_beside_other_windows() -> Inspection:
    """The run beside has smaller windows at P4 and larger ones at P3: its attention reaches less far, or further."""
    shown = seen_beside()
    (run,) = shown.beside
    levels = dict(run.trace.levels)
    for name, block, halo in (("P4", 4, 1), ("P3", 10, 4)):
        rows = 2 * (block + 2 * halo) - 1
        tables = {key: np.resize(getattr(levels[name], key), (rows, 32)) for key in ("rel_height", "rel_width")}
        grid = replace(levels[name].grid, block_size=block, halo_size=halo)
        levels[name] = replace(levels[name], mask="valid", grid=grid, **tables)
    return replace(shown, beside=(replace(run, trace=replace(run.trace, levels=levels)),))
