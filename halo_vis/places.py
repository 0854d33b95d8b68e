"""Where a view stands: a layer by its name, the query of a detection, the cell under a point."""

from __future__ import annotations

from halo_vis.detections import Detections
from halo_vis.maps import GlobalTrace, LevelTrace
from halo_vis.seen import Seen

SIDES = ("baseline", "halo")  # the left and the right panel
Layer = LevelTrace | GlobalTrace


def layer_of(seen: Seen, level: str) -> Layer:
    """The halo model's layer of that name: a halo level, or one of YOLO26's own.

    Raises:
        ValueError: it has none.
    """
    layers = {**seen.global_attention.get("halo", {}), **seen.trace}
    if level not in layers:
        raise ValueError(f"view: there is no level {level!r} here. Choose one of {', '.join(layers) or 'none'}.")
    return layers[level]


def query_point(seen: Seen, found: Detections, index: int) -> tuple[float, float]:
    """Where a detection was made, y and x in input pixels: its query's centre, or its own where that is not known."""
    if found.queries:
        level, y, x = found.queries[index]
        stride = seen.trace[level].stride if level in seen.trace else 2 ** int(level[1:])
        return (y + 0.5) * stride, (x + 0.5) * stride
    x1, y1, x2, y2 = map(float, found.xyxy[index])
    return seen.trace.letterbox.to_input((y1 + y2) / 2, (x1 + x2) / 2)


def cell_at(layer: Layer, y: float, x: float) -> tuple[int, int]:
    """The cell of a layer under a point of the input, kept inside the map."""
    height, width = layer.grid.height, layer.grid.width
    return min(max(int(y // layer.stride), 0), height - 1), min(max(int(x // layer.stride), 0), width - 1)
