"""What the viewer's bench shows: real inspections, and inspections of random weights for the size of their payload."""

from __future__ import annotations

from dataclasses import replace

from ultralytics import ASSETS

from halo_vis import inspect, load_pair
from halo_vis.detections import Detections
from halo_vis.geometry import Letterbox
from halo_vis.inspection import Inspection
from halo_vis.pairs import Card, Pair
from halo_vis.transplant import LEVELS, Architecture, build

IMGSZ = 640
PICTURES = ("bus.jpg", "zidane.jpg")  # portrait and landscape, so that every buffer changes its size between them
STRIDES = {"P3": 8, "P4": 16, "P5": 32}


def inspections() -> list[Inspection]:
    """The pair `photos` on PICTURES at IMGSZ, on the CPU.

    That pair was trained at 480 and finds nothing at 640. The attention is that of 640; the boxes, without which
    there would be less to draw than there usually is, are those that it finds at its own size.
    """
    pair = load_pair("photos")
    out = []
    for name in PICTURES:
        seen = inspect(pair, ASSETS / name, imgsz=IMGSZ, device="cpu")
        own = inspect(pair, ASSETS / name, device="cpu")
        boxes = (own.trace.letterbox, seen.trace.letterbox)
        baseline, halo = (_moved(found, *boxes) for found in (own.baseline, own.halo))
        out.append(replace(seen, baseline=baseline, halo=halo, matches=own.matches))
    return out


def _moved(found: Detections, old: Letterbox, new: Letterbox) -> Detections:
    """Detections whose queries are the cells at the same places of another input."""
    queries = []
    for level, y, x in found.queries:
        stride = STRIDES[level]
        queries.append((level, *new.cell_at(*old.to_photo((y + 0.5) * stride, (x + 0.5) * stride), stride)))
    return replace(found, queries=tuple(queries))


def random_inspection(form: str, scale: str) -> Inspection:
    """The first picture seen by models of random weights, whose payload is as large as with any other."""
    return inspect(random_pair(form, scale), ASSETS / PICTURES[0], imgsz=IMGSZ, device="cpu")


def random_pair(form: str, scale: str, levels: tuple[str, ...] = LEVELS) -> Pair:
    """Models of random weights, which cost what any others of their architecture do."""
    baseline, halo = (build(Architecture(form=one, scale=scale, levels=levels)) for one in ("baseline", form))
    return Pair(Card("random", "random weights", IMGSZ), baseline, halo)
