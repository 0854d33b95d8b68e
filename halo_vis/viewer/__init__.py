"""The explorer in the browser: its script and style as text, and an inspection as the data that it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from halo_vis.detections import Detections
from halo_vis.maps import GlobalTrace, LevelTrace
from halo_vis.render import COLOUR_MAPS, PALETTE, colormap_hex
from halo_vis.seen import Seen

FOLDER = Path(__file__).parent
VERSION = 1
POLYGON_POINTS = 200  # per mask: enough for its outline on a screen


class _Tensors:
    """Collects arrays into one little-endian binary; every offset is a multiple of 8."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, array: np.ndarray) -> dict:
        """Append as float16; returns where it is."""
        raw = np.ascontiguousarray(array, "<f2").tobytes()
        entry = {"dtype": "float16", "shape": list(array.shape), "offset": self.size}
        raw += b"\0" * (-len(raw) % 8)
        self.parts.append(raw)
        self.size += len(raw)
        return entry


def payload(seen: Seen) -> tuple[dict, bytes]:
    """What the explorer needs besides the photo: metadata (plain JSON values) and one binary of float16 tensors."""
    tensors = _Tensors()
    box = seen.trace.letterbox
    s = seen.settings
    height, width = seen.picture.pixels.shape[:2]
    meta = {
        "version": VERSION,
        "picture": {"name": seen.picture.name, "width": width, "height": height, "digest": seen.picture.digest},
        "pair": {
            "name": seen.card.name,
            "title": seen.card.title,
            "note": seen.card.note,
            "member": seen.member,
            "untrained": seen.untrained,
            "memorised": seen.card.memorised,
            "task": seen.task,
            "baseline": "YOLO26",
            "halo": "YOLO26 + HaloAttention",
            "weights": {k: v.get("sha256", "") for k, v in seen.card.members.items()},
        },
        "settings": {"conf": s.conf, "iou": s.iou, "imgsz": s.imgsz, "head": s.head, "device": s.device},
        "milliseconds": {k: round(v, 1) for k, v in seen.milliseconds.items()},
        "input": {
            "width": box.input_width,
            "height": box.input_height,
            "left": box.left,
            "top": box.top,
            "new_width": box.new_width,
            "new_height": box.new_height,
        },
        "colormaps": {name: colormap_hex(name) for name in COLOUR_MAPS},
        "palette": list(PALETTE),
        "detections": {"baseline": boxes(seen.baseline), "halo": boxes(seen.halo)},
        "matches": [m.__dict__ for m in seen.matches],
        "levels": {name: _level(level, tensors) for name, level in seen.trace.items()},
        "global": {
            who: {name: _global(trace, tensors) for name, trace in layers.items()}
            for who, layers in seen.global_attention.items()
        },
    }
    return meta, b"".join(tensors.parts)


def boxes(found: Detections) -> list[dict]:
    """Detections as JSON values."""
    out = []
    for i in range(len(found)):
        polygon = None
        if found.polygons is not None:
            points = found.polygons[i]
            polygon = points[:: max(1, -(-len(points) // POLYGON_POINTS))].round(1).tolist()
        query = dict(zip(("level", "y", "x"), found.queries[i], strict=True)) if found.queries else None
        out.append(
            {
                "xyxy": found.xyxy[i].astype(float).round(3).tolist(),
                "conf": round(float(found.conf[i]), 5),
                "cls": int(found.cls[i]),
                "name": found.name(i),
                "query": query,
                "polygon": polygon,
            }
        )
    return out


def _level(level: LevelTrace, tensors: _Tensors) -> dict:
    grid, heads = level.grid, (None, *range(level.heads))
    arrays = {
        "q": level.q,
        "k": level.k,
        "norm": level.norm,
        "rel_height": level.rel_height,
        "rel_width": level.rel_width,
    }
    for of, suffix in (("weight", ""), ("contribution", "_contribution")):
        arrays["received" + suffix] = np.stack([level.received(h, of) for h in heads])
        arrays["blocks" + suffix] = np.stack([level.blocks(h, of) for h in heads])
    return {
        "height": grid.height,
        "width": grid.width,
        "stride": level.stride,
        "block_size": grid.block_size,
        "halo_size": grid.halo_size,
        "heads": level.heads,
        "dim_head": level.q.shape[3],
        "scale": level.scale,
        "mask": level.mask,
        "adds_nothing": level.adds_nothing,
        "tensors": {name: tensors.add(array) for name, array in arrays.items()},
    }


def _global(trace: GlobalTrace, tensors: _Tensors) -> dict:
    height, width, heads, key_dim = trace.q.shape
    return {
        "height": height,
        "width": width,
        "stride": trace.stride,
        "heads": heads,
        "key_dim": key_dim,
        "scale": trace.scale,
        "tensors": {"q": tensors.add(trace.q), "k": tensors.add(trace.k)},
    }
