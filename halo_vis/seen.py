"""What an inspection is: plain records, which whatever draws, writes or shows it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from halo_vis.detections import Detections, Match
from halo_vis.maps import GlobalTrace
from halo_vis.pairs import Card
from halo_vis.picture import Picture
from halo_vis.trace import Trace

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
class Seen:
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
