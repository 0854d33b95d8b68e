"""A data set of a few small pictures with coloured rectangles, for training runs of seconds; boxes or polygons."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from ultralytics.utils import YAML

SIDE = 64


def write_tiny_data(folder: Path, names: list[str], polygons: bool = False, pictures: int = 4) -> Path:
    """Write `pictures` pictures of 64 x 64, the same for training and validation; returns the data YAML."""
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for n in range(pictures):
        image = rng.integers(0, 90, (SIDE, SIDE, 3), np.uint8)
        lines = []
        for label in range(2):
            x0, y0 = rng.integers(2, 26, 2)
            x1, y1 = x0 + rng.integers(18, 34), y0 + rng.integers(18, 34)
            image[y0:y1, x0:x1] = rng.integers(120, 255, 3)
            left, top, right, bottom = (float(v) / SIDE for v in (x0, y0, x1, y1))
            shape = [left, top, right, top, right, bottom, left, bottom]
            box = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
            lines.append(" ".join(f"{v:.6g}" for v in [label % len(names), *(shape if polygons else box)]))
        cv2.imwrite(str(folder / "images" / f"{n}.png"), image)
        (folder / "labels" / f"{n}.txt").write_text("\n".join(lines) + "\n")
    path = folder / "data.yaml"
    YAML.save(path, {"path": str(folder), "train": "images", "val": "images", "names": dict(enumerate(names))})
    return path


def quick(data: Path, project: Path, **more: object) -> dict:
    """Arguments of a training run of one epoch that writes only below `project`."""
    return {
        "data": str(data),
        "project": str(project),
        "epochs": 1,
        "imgsz": 64,
        "batch": 4,
        "workers": 0,
        "device": "cpu",
        "plots": False,
        "verbose": False,
        **more,
    }
