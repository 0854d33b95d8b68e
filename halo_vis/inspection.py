"""inspect(pair, picture): one picture through both models, with everything that a viewer, a file or a test needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from ultralytics import YOLO
from ultralytics.engine.results import Results

from halo_vis.detections import Detections, Match, match
from halo_vis.maps import GlobalTrace
from halo_vis.pairs import Card, Pair
from halo_vis.picture import Picture, read_picture
from halo_vis.trace import Trace, capture

SMALLEST_IMGSZ, LARGEST_IMGSZ = 32, 1920
HEADS = ("one-to-many", "NMS-free")


@dataclass(frozen=True)
class Settings:
    """How a picture was inspected. ``head``: "one-to-many" (with NMS, Ultralytics' default) or "NMS-free"."""

    conf: float = 0.25
    iou: float = 0.7
    imgsz: int = 640
    head: str = "one-to-many"
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what Ultralytics would only assert on, or round without a word."""
        for name in ("conf", "iou"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}.")
        if (
            isinstance(self.imgsz, bool)
            or not isinstance(self.imgsz, int)
            or self.imgsz % 32
            or not (SMALLEST_IMGSZ <= self.imgsz <= LARGEST_IMGSZ)
        ):
            raise ValueError(
                f"imgsz must be a multiple of 32 from {SMALLEST_IMGSZ} to {LARGEST_IMGSZ}, got {self.imgsz!r}."
            )
        if self.head not in HEADS:
            raise ValueError(f"head must be one of {HEADS}, got {self.head!r}.")
        if not _is_there(self.device):
            raise ValueError(f"device {self.device!r} is not on this machine. Use cpu, or {default_device()}.")


@dataclass(frozen=True, eq=False)
class Inspection:
    """One picture seen by both models.

    Attributes:
        baseline, halo: detections in photo pixels.
        trace: the halo model's attention, by level.
        global_attention: YOLO26's own attention, {"baseline" | "halo": {"layer10", "layer22": GlobalTrace}}.
        matches: what the halo model kept, gained and lost.
        milliseconds: wall time of each model's predict, capture included.
    """

    picture: Picture
    card: Card
    member: str
    untrained: bool
    task: str
    settings: Settings
    baseline: Detections
    halo: Detections
    trace: Trace
    global_attention: Mapping[str, Mapping[str, GlobalTrace]]
    matches: tuple[Match, ...]
    milliseconds: Mapping[str, float]

    def save(self, folder: str | Path) -> list[Path]:
        """Write side_by_side.png, attention_P*.png, trace.npz, detections.json and the viewer's files; returns them."""
        from halo_vis.files import save  # files draw with matplotlib, which a page that only predicts never needs

        return save(self, Path(folder))


def _is_there(device: str) -> bool:
    """Whether torch can use a device; Ultralytics would answer with ten lines on how to install CUDA."""
    try:
        kind, number = torch.device(device).type, torch.device(device).index or 0
    except (RuntimeError, TypeError):
        return False
    if kind == "cuda":
        return torch.cuda.is_available() and number < torch.cuda.device_count()
    return kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available())


def default_device() -> str:
    """The best device there is: "cuda:0", "mps" or "cpu"."""
    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"


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
