"""The values that a view colours, and where they lie on the photo: what the explorer's scene.js and heats.js do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from halo_vis.detections import Detections
from halo_vis.geometry import Letterbox
from halo_vis.maps import GlobalTrace, LevelTrace
from halo_vis.places import SIDES, Layer, cell_at, layer_of, query_point
from halo_vis.rows import Cells, Head
from halo_vis.seen import Beside, Seen
from halo_vis.view import View


@dataclass(frozen=True, eq=False)
class Heat:
    """Values on a grid of cells, and where they lie.

    Attributes:
        values: (rows, cols) float32, times uniform (of a difference: right minus left); NaN is not drawn.
        top, left: where the grid begins, in cells of the map; may be negative.
        cell_height, cell_width: of one value, in cells of the map.
        largest: value at the end of the colour bar. The bar runs from 0 to it; log: from 1 / largest; diverging: from
            -largest.
        stride: input pixels per cell of the map.
    """

    values: np.ndarray
    top: float
    left: float
    cell_height: float
    cell_width: float
    largest: float
    log: bool
    diverging: bool
    stride: int
    letterbox: Letterbox

    def rect(self) -> tuple[float, float, float, float]:
        """Xyxy of the whole grid in photo pixels; not clipped."""
        rows, cols = self.values.shape
        y0, x0 = self.letterbox.to_photo(self.top * self.stride, self.left * self.stride)
        y1, x1 = self.letterbox.to_photo(
            (self.top + rows * self.cell_height) * self.stride, (self.left + cols * self.cell_width) * self.stride
        )
        return x0, y0, x1, y1


@dataclass(frozen=True, eq=False)
class Part:
    """What one panel shows of a layer: the view with what the layer does not have replaced by what it has.

    Attributes:
        layer: None where the panel shows the photo alone.
        y, x: the query's cell in this layer.
        cells: of the box view, (y0, x0, y1, x1), half-open; else None.
    """

    layer: Layer | None
    view: str
    head: Head
    of: str
    y: int
    x: int
    cells: Cells | None


def detections_of(seen: Seen, view: View, side: str) -> Detections:
    """The detections of a panel: "halo" is the right one, "baseline" the left one, whatever model that shows."""
    if side == "halo" or view.left in ("control", "mask"):
        return seen.halo
    run = run_of(seen, view.left)
    return seen.baseline if run is None else run.detections


def part_of(seen: Seen, view: View, side: str = "halo") -> Part:
    """What a panel shows of which layer.

    Args:
        side: "halo" (right) or "baseline" (left).

    Raises:
        ValueError: the level, the cell or the run does not exist in this inspection.
    """
    if side not in SIDES:
        raise ValueError(f"side must be one of {', '.join(SIDES)}, got {side!r}.")
    right = layer_of(seen, view.level)
    run_of(seen, view.left)  # a run that is not there is a mistake, on either side
    if not (view.y < right.grid.height and view.x < right.grid.width):
        raise ValueError(
            f"view: cell (y={view.y}, x={view.x}) is outside {view.level}, a map of {right.grid.height} x "
            f"{right.grid.width} cells. Count from 0."
        )
    layer = right if side == "halo" else _left_layer(seen, view, right)
    halo = isinstance(layer, LevelTrace)
    found = detections_of(seen, view, view.box[0]) if view.box else None
    boxed = found is not None and view.box[1] < len(found)
    # Settled for the right panel first: the left one follows it.
    shown = view.view if boxed or view.view != "box" else "cell"
    for one in (right, layer):
        if one is not None and not isinstance(one, LevelTrace) and shown in ("blocks", "received"):
            shown = "cell"
    head = None if isinstance(view.head, int) and view.head >= right.heads else view.head
    if isinstance(head, int) and layer is not None and layer is not right:
        same = halo or view.left == view.level  # heads of other layers have nothing in common
        head = head if same and head < layer.heads else None
    marked = layer or right
    y, x = cell_at(marked, (view.y + 0.5) * right.stride, (view.x + 0.5) * right.stride)
    cells = None
    if layer is not None and shown == "box":
        box = found.xyxy[view.box[1]].astype(float).round(3)  # as the browser gets it
        cells = layer.cells_in(box, layer.grid.height, layer.grid.width)
        if cells is None:
            qy, qx = cell_at(layer, *query_point(seen, found, view.box[1]))
            cells = (qy, qx, qy + 1, qx + 1)
    of = view.of if halo and isinstance(right, LevelTrace) else "weight"
    return Part(layer, shown, head, of, y, x, cells)


def heat(seen: Seen, view: View, side: str = "halo") -> Heat | None:
    """What a panel colours, as the explorer in the browser does it; None: it shows the photo alone.

    Args:
        side: "halo" (right) or "baseline" (left).

    Raises:
        ValueError: the level, the cell or the run does not exist in this inspection.
    """
    part = part_of(seen, view, side)
    if part.layer is None:
        return None
    if side == "halo" and differs(seen, view):
        return _difference(part, part_of(seen, view, "baseline"), view)
    values, top, left, size = _values(part)
    return _scaled(part, view, values, top, left, size)


def differs(seen: Seen, view: View) -> bool:
    """Whether the right panel shows right minus left: it is asked for, and both have the same map of the same cells."""
    a, b = part_of(seen, view, "halo"), part_of(seen, view, "baseline")
    if view.mode != "difference" or b.layer is None or type(a.layer) is not type(b.layer):
        return False
    ours, theirs = a.layer.grid, b.layer.grid
    if (ours.height, ours.width) != (theirs.height, theirs.width) or (a.view, a.head, a.of) != (b.view, b.head, b.of):
        return False
    if isinstance(a.layer, GlobalTrace):
        return a.layer.layer == b.layer.layer
    return a.view != "blocks" or ours == theirs


def run_of(seen: Seen, left: str) -> Beside | None:
    """The run that a view's `left` names ("run1", ...); None: it names something else.

    Raises:
        ValueError: no such run stands beside this inspection.
    """
    if not left.startswith("run"):
        return None
    number = int(left[3:])
    if number > len(seen.beside):
        there = ", ".join(f"run{n}" for n in range(1, len(seen.beside) + 1)) or "no run"
        raise ValueError(f"view: there is no {left!r} here, but {there}. Bring runs with with_beside, or --beside.")
    return seen.beside[number - 1]


def _left_layer(seen: Seen, view: View, right: Layer) -> Layer | None:
    halo = isinstance(right, LevelTrace)
    if view.left == "control":
        return right.randomised() if halo and right.features is not None else None
    if view.left == "mask":
        return replace(right, mask="published" if right.mask == "valid" else "valid") if halo else None
    if (run := run_of(seen, view.left)) is not None:
        return run.trace.levels.get(view.level)
    return seen.global_attention.get("baseline", {}).get(view.left)


def _values(part: Part, padding: bool | None = None) -> tuple[np.ndarray, int, int, float]:
    """Values times uniform, the first cell (top, left), and the side of one value in cells.

    ``padding``: whether block maps show keys outside the map; None: where the mask gives them something.
    """
    layer, head, of = part.layer, part.head, part.of
    if part.view == "cell":
        (top, left), inside = layer.place(part.y, part.x)
        row = layer.times_uniform(part.y, part.x, head, of)
        return np.where(inside, row, np.float32(np.nan)), top, left, 1
    if part.view == "to":
        return layer.attended_by(part.y, part.x, head, of, times_uniform=True), 0, 0, 1
    if part.view == "box":
        return layer.mean_row(*part.cells, head, of, times_uniform=True), 0, 0, 1
    if part.view == "received":
        return layer.received(head, of), 0, 0, 1
    grid = layer.grid
    rows, cols, w = grid.block_rows, grid.block_cols, grid.window_size
    inside = np.array([[grid.inside(by, bx) for bx in range(cols)] for by in range(rows)])  # rows, cols, w, w
    maps = layer.blocks(head, of) * inside.sum((2, 3), keepdims=True).astype(np.float32)
    if not (layer.mask == "published" if padding is None else padding):
        maps = np.where(inside, maps, np.float32(np.nan))
    return maps.transpose(0, 2, 1, 3).reshape(rows * w, cols * w), 0, 0, grid.block_size / w


def _difference(right: Part, left: Part, view: View) -> Heat:
    """Right minus left on the map's cells; where only one of them reaches, the other counts as 0."""
    (a, *place), (b, *_) = (_values(part, padding=False) for part in (right, left))
    if right.view == "cell":
        a, b = (_on_map(part, values) for part, values in ((right, a), (left, b)))
        place = [0, 0, 1]
    values = np.where(np.isnan(a) & np.isnan(b), np.float32(np.nan), np.nan_to_num(a) - np.nan_to_num(b))
    return _scaled(right, view, values, *place, diverging=True)


def _on_map(part: Part, values: np.ndarray) -> np.ndarray:
    """A row's values in their place on the map, NaN elsewhere."""
    (oy, ox), inside = part.layer.place(part.y, part.x)
    out = np.full((part.layer.grid.height, part.layer.grid.width), np.nan, np.float32)
    i, j = np.nonzero(inside)
    out[i + oy, j + ox] = values[i, j]
    return out


def _scaled(
    part: Part, view: View, values: np.ndarray, top: int, left: int, size: float, diverging: bool = False
) -> Heat:
    scale = getattr(view.scales, part.view)
    log = view.log and not diverging  # a difference has no logarithm
    seen = values[np.isfinite(values)]
    largest = float(np.abs(seen).max(initial=0) if scale == "auto" else scale)
    largest = largest if largest > 0 else 1.0
    if log:
        largest = max(2.0, largest)
    layer = part.layer
    return Heat(values, top, left, size, size, largest, log, diverging, layer.stride, layer.letterbox)
