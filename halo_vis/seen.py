"""What an inspection is: plain records, which whatever draws, writes or shows it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import ultralytics

from halo_vis import __version__
from halo_vis.detections import Detections, Match
from halo_vis.geometry import Answer
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
            there = ", or ".join(dict.fromkeys(("cpu", default_device())))
            raise ValueError(f"device {self.device!r} is not on this machine. Use {there}.")


@dataclass(frozen=True, eq=False)
class Beside:
    """What the halo model of another inspection of the same picture saw: a second run, member or checkpoint.

    Attributes:
        weights: sha256 of its weights, "" if not known.
        matches: its detections (as ``baseline``) against those of the inspection that it stands beside (``halo``).
    """

    title: str
    pair: str
    member: str
    weights: str
    trace: Trace
    detections: Detections
    matches: tuple[Match, ...]


@dataclass(frozen=True, eq=False)
class Seen:
    """One picture seen by both models.

    Attributes:
        baseline, halo: detections in photo pixels.
        trace: the halo model's attention, by level.
        global_attention: YOLO26's own attention, {"baseline" | "halo": {"layer10", "layer22": GlobalTrace}}.
        matches: what the halo model kept, gained and lost.
        milliseconds: wall time of each model's predict, capture included; the input is made once and counts for both,
            and the other model may run on other cores meanwhile.
        beside: halo models of other inspections of the same picture, to compare with.
        answers: where it is known where to look; empty for ordinary pictures.
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
    beside: tuple[Beside, ...] = ()
    answers: tuple[Answer, ...] = ()


def provenance(seen: Seen) -> dict:
    """Where a result comes from, as JSON values: enough to make it again."""
    s = seen.settings
    height, width = seen.picture.pixels.shape[:2]
    return {
        "halo_vis": __version__,
        "torch": torch.__version__,
        "ultralytics": ultralytics.__version__,
        "picture": seen.picture.name,
        "picture_sha256": seen.picture.digest,
        "image": {"width": width, "height": height},
        "pair": seen.card.name,
        "member": seen.member,
        "weights": {k: v.get("sha256", "") for k, v in seen.card.members.items()},
        "untrained": seen.untrained,
        "note": seen.card.note,
        "settings": {"conf": s.conf, "iou": s.iou, "imgsz": s.imgsz, "head": s.head, "device": s.device},
        "beside": [{"pair": b.pair, "member": b.member, "weights": b.weights} for b in seen.beside],
    }


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
