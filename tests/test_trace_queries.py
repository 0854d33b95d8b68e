"""A detection leads to its query: decoding the raw prediction at that cell again gives the box, for both heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import picture, random_model
from ultralytics import YOLO
from ultralytics.utils import nms

from halo_vis import capture
from halo_vis.geometry import Letterbox

STRIDES = {"P3": 8, "P4": 16, "P5": 32}


def raw_of(output: tuple) -> dict[str, torch.Tensor]:
    """The head's raw outputs, of whichever of its two branches fusing left in place."""
    raw = output[1]
    branches = [raw[b] for b in ("one2one", "one2many") if "boxes" in raw[b]] if "one2one" in raw else [raw]
    assert len(branches) == 1
    return branches[0]


def decoded(raw: dict, i: int, query: tuple[str, int, int], box: Letterbox) -> tuple[np.ndarray, np.ndarray]:
    """xyxy in photo pixels and class scores of the prediction made at a cell, from the definition of the head."""
    level, y, x = query
    anchor = 0
    for name, stride in STRIDES.items():
        rows, cols = box.input_height // stride, box.input_width // stride
        if name == level:
            assert 0 <= y < rows and 0 <= x < cols
            anchor += y * cols + x
            break
        anchor += rows * cols
    left, top, right, bottom = raw["boxes"][i, :, anchor].tolist()
    s = STRIDES[level]
    y0, x0 = box.to_photo((y + 0.5 - top) * s, (x + 0.5 - left) * s)
    y1, x1 = box.to_photo((y + 0.5 + bottom) * s, (x + 0.5 + right) * s)
    limit = np.array([box.photo_width, box.photo_height] * 2)
    return np.clip([x0, y0, x1, y1], 0, limit), raw["scores"][i, :, anchor].sigmoid().numpy()


def predict(yolo: YOLO, photos: list[np.ndarray], **settings: object) -> tuple[list, list, tuple]:
    """Results, traces and the model's raw output of one predict."""
    outputs: list[tuple] = []
    settings = {"imgsz": 160, "verbose": False, "nms": None} | settings
    yolo.predict(photos[0], **settings)
    handle = yolo.predictor.model.model.register_forward_hook(lambda m, a, out: outputs.append(out))
    with capture(yolo) as captured:
        results = yolo.predict(photos, **settings)
    handle.remove()
    return results, captured.traces, outputs[-1]


@pytest.mark.parametrize("task", ["detect", "segment"])
@pytest.mark.parametrize(
    "settings",
    [
        {"conf": 0.15},
        {"conf": 0.15, "nms": False},
        {"conf": 0.1, "iou": 0.3, "agnostic_nms": True, "max_det": 7},
        {"conf": 0.1, "nms": False, "agnostic_nms": True, "max_det": 9},
        {"conf": 0.05, "classes": [1]},
        {"conf": 0.05, "nms": False, "classes": [0, 2]},
        {"conf": 0.15, "rect": False},
    ],
    ids=str,
)
def test_the_cell_of_each_box_decodes_to_it(task: str, settings: dict) -> None:
    yolo = random_model("residual", task=task)
    photos = [picture(120, 160, 0), picture(120, 160, 5)]
    results, traces, output = predict(yolo, photos, **settings)
    raw = raw_of(output)
    assert len(results) == len(traces) == 2 and sum(len(r.boxes) for r in results) > 6
    levels = set()
    for i, (result, trace) in enumerate(zip(results, traces, strict=True)):
        assert len(trace.queries) == len(result.boxes)
        for n, query in enumerate(trace.queries):
            xyxy, scores = decoded(raw, i, query, trace.letterbox)
            assert np.abs(result.boxes.xyxy[n].numpy() - xyxy).max() < 0.01
            assert float(result.boxes.conf[n]) == pytest.approx(float(scores[int(result.boxes.cls[n])]), abs=1e-5)
            levels.add(query[0])
    assert len(levels) >= (2 if settings["conf"] > 0.1 else 1)


def test_boxes_without_a_mask_are_dropped_and_the_others_keep_their_cells() -> None:
    """Ultralytics drops boxes with an empty mask after NMS: queries must follow, not shift."""
    yolo = random_model("residual", task="segment")
    with torch.no_grad():  # protos of both signs: some masks come out empty
        yolo.model.model[-1].proto.cv3.conv.weight.normal_(0, 0.3)
    photos = [picture(120, 160, n) for n in range(3)]
    dropped = 0
    for settings in ({}, {"retina_masks": True}):
        results, traces, output = predict(yolo, photos, conf=0.15, **settings)
        for i, (result, trace) in enumerate(zip(results, traces, strict=True)):
            found = nms.non_max_suppression(output[0][0], 0.15, 0.7, nc=3)[i]
            dropped += len(found) - len(result.boxes)
            assert len(trace.queries) == len(result.boxes) == len(result.masks)
            for n, query in enumerate(trace.queries):
                assert (
                    np.abs(result.boxes.xyxy[n].numpy() - decoded(raw_of(output), i, query, trace.letterbox)[0]).max()
                    < 0.01
                )
    assert dropped > 0
