"""The probe: one picture and one query whose attention is kept after every epoch, so that it can be seen to change.

RUN/attention/probe.png and probe.json say what is looked at; RUN/attention/<member>.jsonl has a line per epoch.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from ultralytics.data.augment import LetterBox
from ultralytics.utils import YAML, nms

from halo_vis import meadow
from halo_vis.geometry import Letterbox
from halo_vis.global_attention import GlobalTrace
from halo_vis.maps import LevelTrace
from halo_vis.picture import read_picture
from halo_vis.trace import Captured
from halo_vis.training.data import class_names
from halo_vis.training.run_folder import RunFolder

STRIDE = 32
MOST_BOXES, CONF, IOU = 50, 0.25, 0.7
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True, eq=False)
class Probe:
    """What is looked at.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        query: (y, x) in photo pixels.
        imgsz: longer side of the model's input, pixels.
    """

    pixels: np.ndarray
    query: tuple[float, float]
    imgsz: int

    @classmethod
    def open(cls, run: RunFolder) -> Probe | None:
        """The probe of a run; None where it has none."""
        facts, picture = run.json("attention/probe.json"), run.path / "attention" / "probe.png"
        if not facts or not picture.is_file():
            return None
        query = facts["query"]
        return cls(read_picture(picture).pixels, (query["y"], query["x"]), facts["size"])

    @property
    def letterbox(self) -> Letterbox:
        """From the photo to the model's input: as predict has it, padded to the stride alone."""
        return Letterbox.fit(self.pixels.shape[:2], (self.imgsz, self.imgsz), STRIDE, auto=True)

    def input(self) -> torch.Tensor:
        """(1, 3, h, w) float32 in 0..1, as predict makes it."""
        fitted = LetterBox((self.imgsz, self.imgsz), auto=True, stride=STRIDE)(image=self.pixels)
        return torch.from_numpy(np.ascontiguousarray(fitted.transpose(2, 0, 1)))[None].float() / 255

    @torch.no_grad()
    def look(self, model: nn.Module) -> dict[str, Any]:
        """What a model's attention layers do with the query, and what it detects.

        Args:
            model: as it is trained, not fused; left as it was.

        Returns:
            {"levels": {name: row and where it lies}, "boxes": [[x1, y1, x2, y2, conf, cls], ...]}, see `level_frame`.
        """
        parameter, training, head = next(model.parameters()), model.training, model.model[-1]
        end2end, captured, letterbox = head.end2end, Captured(), self.letterbox
        model.eval()
        head.end2end = False  # the head through which the halo layers learn, and predict's default
        try:
            captured.attach(model)
            output = model(self.input().to(parameter))
            captured.commit([letterbox])
            trace = captured.traces[0]
        finally:
            captured.detach()
            head.end2end = end2end
            model.train(training)
        levels = {**trace.levels, **{k: v for k, v in trace.global_attention.items() if "." not in k}}
        found = nms.non_max_suppression(output[0], CONF, IOU, max_det=MOST_BOXES)[0].cpu().numpy()
        return {
            "levels": {name: level_frame(level, self.query) for name, level in levels.items()},
            "boxes": [[round(float(v), 3) for v in self._to_photo(box)] for box in found],
        }

    def _to_photo(self, box: np.ndarray) -> list[float]:
        height, width = self.pixels.shape[:2]
        (y1, x1), (y2, x2) = (self.letterbox.to_photo(box[i + 1], box[i]) for i in (0, 2))
        clip = np.clip([x1, y1, x2, y2], 0, [width, height, width, height])
        return [*clip, box[4], box[5]]


def level_frame(level: LevelTrace | GlobalTrace, query: tuple[float, float]) -> dict[str, Any]:
    """The row of the cell under a query, as plain values.

    Returns:
        y, x: the cell; h, w: cells of the map; y0, x0: first cell of the window, rows, cols: its size; weights: base64
        of little-endian fp16 (1 + heads, rows, cols), the mean of the heads first; uniform: what an even spread over
        the allowed keys would give each; block: [y0, x0, y1, x1] of the query's block in cells, None in a global layer.
    """
    y, x = level.letterbox.cell_at(*query, level.stride)
    grid = level.grid
    rows = np.stack([level.row(y, x, head) for head in (None, *range(level.heads))]).astype("<f2")
    (y0, x0), _ = level.place(y, x)
    block = None
    if isinstance(level, LevelTrace):
        own_rows, own_cols = grid.queries_of(*grid.block_of(y, x))
        block = [own_rows.start, own_cols.start, own_rows.stop, own_cols.stop]
    return {
        "y": int(y), "x": int(x), "h": grid.height, "w": grid.width, "y0": int(y0), "x0": int(x0),
        "rows": rows.shape[1], "cols": rows.shape[2], "heads": level.heads,
        "weights": base64.b64encode(rows.tobytes()).decode(), "uniform": 1 / max(1, int(level.allowed(y, x).sum())),
        "block": block,
    }  # fmt: skip


def write_probe(run: RunFolder, data: Path, imgsz: int, point: tuple[float, float]) -> None:
    """Choose what is looked at, once for all members and sessions of a run.

    The picture is attention/probe.png where somebody put one, else the first validation picture with a label. The point
    is `point` (y, x in its pixels) or, where that is negative, the centre of a labelled object (on a meadow: a visited
    flower), else of the picture.
    """
    target = run.path / "attention" / "probe.png"
    if run.json("attention/probe.json") and target.is_file():
        return
    names = class_names(data)
    boxes = np.zeros((0, 5))
    given = target if target.is_file() else None
    if given is None:
        target.parent.mkdir(exist_ok=True)
        given, boxes = _labelled(data)
    pixels = read_picture(given).pixels
    height, width = pixels.shape[:2]
    y, x = point
    if min(y, x) < 0 or y >= height or x >= width:
        y, x = _centre(boxes, tuple(names.values())) if len(boxes) else (0.5, 0.5)
        y, x = y * height, x * width
    probe = Probe(pixels, (float(y), float(x)), imgsz)
    box = probe.letterbox
    facts = {
        "picture": target.name, "width": width, "height": height, "query": {"y": y, "x": x}, "size": imgsz,
        "letterbox": {"scale": box.new_width / box.photo_width, "left": box.left, "top": box.top},
        "imgsz": list(probe.input().shape[2:]),
        "strides": {"P3": 8, "P4": 16, "P5": 32, "layer10": 32, "layer22": 32},
        "names": {str(k): str(v) for k, v in names.items()},
    }  # fmt: skip
    run.write_json("attention/probe.json", json.loads(json.dumps(facts)))
    if given != target:  # after its facts, and whole: one that is there is either a person's own or done
        partial = target.with_suffix(".partial")
        Image.fromarray(pixels).save(partial, format="png")
        partial.replace(target)


def _labelled(data: Path) -> tuple[Path, np.ndarray]:
    """The first picture of the validation split that has labels, and its labels (N, 5): class, then xywh."""
    description = YAML.load(data)
    folder = Path(description["path"]) / description["val"]
    pictures = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not pictures:
        raise FileNotFoundError(f"no picture for validation in {folder}.")
    for picture in pictures:
        parts = list(picture.parts)
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
        label = Path(*parts).with_suffix(".txt")
        if label.is_file() and label.read_text().strip():
            rows = [line.split()[:5] for line in label.read_text().splitlines() if line.strip()]
            return picture, np.array(rows, float)
    return pictures[0], np.zeros((0, 5))


def _centre(boxes: np.ndarray, names: tuple[str, ...]) -> tuple[float, float]:
    """(y, x) as shares of the picture: the largest object's centre."""
    wanted = boxes[boxes[:, 0] == meadow.VISITED] if names == meadow.NAMES else boxes
    boxes = wanted if len(wanted) else boxes
    largest = boxes[np.argmax(boxes[:, 3] * boxes[:, 4])]
    return float(largest[2]), float(largest[1])
