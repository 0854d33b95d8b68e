"""inspect(pair, picture): one picture through both models, with everything that a viewer, a file or a test needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from ultralytics import YOLO
from ultralytics.engine.results import Results

from halo_vis import files
from halo_vis.detections import Detections, match
from halo_vis.pairs import Pair
from halo_vis.picture import Picture, read_picture
from halo_vis.seen import Seen, Settings, default_device
from halo_vis.trace import Trace, capture


@dataclass(frozen=True, eq=False)
class Inspection(Seen):
    """One picture seen by both models; its fields are those of :class:`halo_vis.seen.Seen`."""

    def save(self, folder: str | Path) -> list[Path]:
        """Write side_by_side.png, attention_P*.png, trace.npz, detections.json and the viewer's files; returns them."""
        return files.save(self, Path(folder))


def inspect(
    pair: Pair,
    picture: str | Path | Image.Image | np.ndarray | Picture,
    conf: float = 0.25,
    imgsz: int | None = None,
    *,
    iou: float = 0.7,
    head: str = "one-to-many",
    device: str | None = None,
) -> Inspection:
    """Run both models of a pair on one picture and capture their attention.

    Args:
        picture: a path, a PIL image, or (H, W, 3) uint8 RGB.
        conf, iou: confidence and NMS thresholds.
        imgsz: longer side of the model's input, a multiple of 32; None: the size on the pair's card.
        head: "one-to-many" or "NMS-free".
        device: None: CUDA if there is one, else MPS, else the CPU.

    Raises:
        ValueError: a setting out of range (PictureError, a ValueError too, for the picture).
    """
    settings = Settings(conf, iou, pair.card.imgsz if imgsz is None else imgsz, head, device or default_device())
    picture = read_picture(picture)
    with pair.lock:
        baseline, baseline_trace, baseline_ms = _predict(pair.baseline, picture, settings)
        halo, halo_trace, halo_ms = _predict(pair.halo, picture, settings)
    return Inspection(
        picture=picture,
        card=pair.card,
        member=pair.member,
        untrained=pair.untrained,
        task=pair.halo.task,
        settings=settings,
        baseline=baseline,
        halo=halo,
        trace=halo_trace,
        global_attention={"baseline": baseline_trace.global_attention, "halo": halo_trace.global_attention},
        matches=match(baseline, halo),
        milliseconds={"baseline": baseline_ms, "halo": halo_ms},
    )


def _predict(yolo: YOLO, picture: Picture, settings: Settings) -> tuple[Detections, Trace, float]:
    """One model's detections and trace. The caller holds the pair's lock."""
    with capture(yolo) as captured:
        result = yolo.predict(
            picture.pixels[..., ::-1],  # Ultralytics takes arrays as BGR
            conf=settings.conf,
            iou=settings.iou,
            imgsz=settings.imgsz,
            device=settings.device,
            nms=False if settings.head == "NMS-free" else None,
            verbose=False,
            save=False,
        )[0]
    trace = captured.traces[0]
    return replace(_detections(result), queries=trace.queries), trace, sum(result.speed.values())


def _detections(result: Results) -> Detections:
    boxes = result.boxes.cpu().numpy()
    polygons = None
    if result.masks is not None:
        polygons = tuple(np.asarray(p, np.float32) for p in result.masks.xy)
    return Detections(
        xyxy=boxes.xyxy.astype(np.float32),
        conf=boxes.conf.astype(np.float32),
        cls=boxes.cls.astype(np.int64),
        names=dict(result.names),
        polygons=polygons,
    )
