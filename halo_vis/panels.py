"""What the two panels of a view show, ready to be drawn or told: the Python side of the explorer's scene.js."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from halo_vis.detections import Detections, Match
from halo_vis.geometry import Box, HaloGrid
from halo_vis.heats import Heat, Part, detections_of, differs, heat, part_of, run_of
from halo_vis.maps import GlobalTrace, LevelTrace
from halo_vis.places import SIDES, cell_at, layer_of
from halo_vis.rows import head_name, head_number
from halo_vis.seen import Seen, provenance
from halo_vis.view import Show, View
from halo_vis.viewer import VERSION

VIEWS = {
    "cell": "row of cell", "box": "mean row of the box", "to": "attention to cell", "blocks": "maps of all blocks",
    "received": "attention received",
}  # fmt: skip
OF = {
    "weight": "weights", "contribution": "contributions", "content": "content alone", "position": "position alone",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Panel:
    """What one panel shows. Boxes are xyxy in photo pixels, not clipped.

    Attributes:
        side: "baseline" (left) or "halo" (right); source: "halo", or what the left panel shows ("layer10", ...).
        title: the model, or what stands in for it.
        heat: None where the panel shows the photo alone; auto: the end of its scale was taken from this map.
        found, kinds: its detections, and whether each was kept, gained or lost; chosen: the selected one.
        cell: the query's, None: not drawn; area: the cells of the box view; block; reach: all that its attention can
            reach.
        lattice: (x of lines, y of lines) between blocks, then between cells.
    """

    side: str
    source: str
    title: str
    part: Part
    heat: Heat | None
    auto: bool
    found: Detections
    kinds: Mapping[int, str]
    chosen: int | None
    cell: Box | None
    area: Box | None = None
    block: Box | None = None
    reach: Box | None = None
    lattice: tuple[tuple[np.ndarray, np.ndarray], ...] = ()


def panels(seen: Seen, view: View) -> tuple[Panel, Panel]:
    """The left and the right panel.

    Raises:
        ValueError: the view's level or cell does not exist in this inspection.
    """
    return panel(seen, view, "baseline"), panel(seen, view, "halo")


def panel(seen: Seen, view: View, side: str) -> Panel:
    """One panel; see :func:`panels`."""
    part, shown_heat = part_of(seen, view, side), heat(seen, view, side)
    shown = Panel(
        side=side,
        source="halo" if side == "halo" else view.left,
        title=_title(seen, view, side, part),
        part=part,
        heat=shown_heat,
        auto=getattr(view.scales, part.view) == "auto",
        found=detections_of(seen, view, side),
        kinds={getattr(m, side): m.kind for m in _matches(seen, view) if getattr(m, side) is not None},
        chosen=_chosen(seen, view, side),
        cell=seen.trace.letterbox.cell_box(part.y, part.x, (part.layer or layer_of(seen, view.level)).stride),
    )
    if part.layer is None:
        return shown
    marks = {"area": None if part.cells is None else _rect(part.layer, part.cells)}
    if isinstance(part.layer, LevelTrace):
        if part.view in ("cell", "box", "to"):
            own = heat(seen, replace(view, mode="pair"), side) if shown_heat.diverging else shown_heat
            marks["reach"] = _reach(own)
        if part.view not in ("box", "received"):
            rows, cols = part.layer.grid.queries_of(*part.layer.grid.block_of(part.y, part.x))
            marks["block"] = _rect(part.layer, (rows.start, cols.start, rows.stop, cols.stop))
    if view.show.grid or part.view == "blocks":
        marks["lattice"] = _lattice(part.layer, view.show.grid)
    return replace(shown, **marks)


def strip(seen: Seen, view: View) -> list[tuple[str, Panel, Box, bool]]:
    """The small views: all halo levels of the same point, or all heads.

    Returns:
        (words, panel, the part of the photo that is shown, whether it is the one that is large) of each.
    """
    point = layer_of(seen, view.level).stride
    quiet = replace(view, show=Show(False, False, False, view.show.window), mode="pair")
    photo = seen.trace.letterbox
    whole = (0.0, 0.0, float(photo.photo_width), float(photo.photo_height))
    out = []
    if view.strip == "levels":
        for name, level in seen.trace.items():
            y, x = cell_at(level, (view.y + 0.5) * point, (view.x + 0.5) * point)
            one = panel(seen, replace(quiet, level=name, y=y, x=x), "halo")
            out.append((name, one, whole, name == view.level))
    elif view.strip == "heads":
        layer, now = layer_of(seen, view.level), part_of(seen, view).head
        for head in (None, "max", *range(layer.heads)) if layer.heads > 1 else (None,):
            one = panel(seen, replace(quiet, head=head), "halo")
            crop = whole
            if one.part.view == "cell" and isinstance(layer, LevelTrace):  # all of the window: one shape for all
                crop = one.heat.rect()
            out.append((head_name(head, layer.heads), one, crop, head == now or layer.heads == 1))
    return out


# ---------------------------------------------------------------- places
def _rect(layer: LevelTrace | GlobalTrace, cells: Sequence[int]) -> Box:
    """The cells [y0, y1) x [x0, x1) in photo pixels."""
    y0, x0, y1, x1 = (n * layer.stride for n in cells)
    (top, left), (bottom, right) = layer.letterbox.to_photo(y0, x0), layer.letterbox.to_photo(y1, x1)
    return left, top, right, bottom


def _reach(shown: Heat) -> Box:
    """Around all cells that have a value: what a query can attend to, or who can attend to it."""
    rows, cols = (np.flatnonzero(np.isfinite(shown.values).any(axis)) for axis in (1, 0))
    y0, x0, y1, x1 = rows[0], cols[0], rows[-1] + 1, cols[-1] + 1
    cut = replace(shown, values=shown.values[y0:y1, x0:x1], top=shown.top + int(y0), left=shown.left + int(x0))
    return cut.rect()


def _lattice(layer: LevelTrace | GlobalTrace, cells: bool) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    grid: HaloGrid = layer.grid
    block = grid.block_size if isinstance(layer, LevelTrace) else max(grid.height, grid.width)
    lines = []
    for coarse in (True, False) if cells else (True,):
        x, y = (
            np.array([n for n in range(1, count) if (n % block == 0) == coarse]) for count in (grid.width, grid.height)
        )
        lines.append(
            (layer.letterbox.to_photo(0, x * layer.stride)[1], layer.letterbox.to_photo(y * layer.stride, 0)[0])
        )
    return tuple(lines)


# ---------------------------------------------------------------- detections
def _matches(seen: Seen, view: View) -> Sequence[Match]:
    """How the lists of both panels match; with the control or the other mask on the left they are the same list."""
    if view.left in ("control", "mask"):
        return [Match("kept", i, i, 1.0, 0.0) for i in range(len(seen.halo))]
    run = run_of(seen, view.left)
    return seen.matches if run is None else run.matches


def _chosen(seen: Seen, view: View, side: str) -> int | None:
    """The selected box on a side: itself, or the one that it was matched with."""
    if view.box is None or view.box[0] == side:
        return None if view.box is None else view.box[1]
    other, index = view.box
    return next(
        (getattr(m, side) for m in _matches(seen, view) if m.kind == "kept" and getattr(m, other) == index), None
    )


# ---------------------------------------------------------------- words
def _title(seen: Seen, view: View, side: str, part: Part) -> str:
    if side == "halo":
        return "Difference: right minus left" if differs(seen, view) else "YOLO26 + HaloAttention"
    if view.left == "mask" and part.layer is not None:
        return f"Same weights, {part.layer.mask} mask"
    if view.left == "control":
        return "Control: random queries and keys"
    run = run_of(seen, view.left)
    return "YOLO26" if run is None else run.title


def layer_name(layer: LevelTrace | GlobalTrace) -> str:
    """As people call it: "P3", "layer 10", "layer 10, block 2" (larger scales repeat the block)."""
    if isinstance(layer, LevelTrace):
        return layer.level
    number, _, again = layer.layer.removeprefix("layer").partition(".")
    return f"layer {number}, block {int(again) + 1}" if again else f"layer {number}"


def short(shown: Panel) -> str:
    """Layer and head: "P3, head 2"."""
    layer, head = shown.part.layer, shown.part.head
    return "" if shown.heat is None else f"{layer_name(layer)}, {head_name(head, layer.heads)}"


def what(shown: Panel) -> str:
    """All that tells how to read the colours: "P3, head 2, row of cell (3, 7), weights, scale 0 to 8 × uniform"."""
    part, h = shown.part, shown.heat
    if h is None:
        return "no attention shown"
    words = [short(shown), VIEWS[part.view] + (f" ({part.y}, {part.x})" if part.view in ("cell", "to") else "")]
    if isinstance(part.layer, LevelTrace):
        words.append(OF[part.of])
    if h.diverging:
        words.append("right minus left")
    end = f"{h.largest:.3g}"
    start = f"−{end}" if h.diverging else f"1/{end}" if h.log else "0"
    scale = f"scale {start} to {end} × uniform" + (", logarithmic" if h.log else "")
    return ", ".join([*words, scale + (" (per map, not comparable)" if shown.auto else "")])


def warnings(seen: Seen, view: View) -> list[str]:
    """What must be known before a map is believed: the explorer's badges, in its words and order."""
    left, right = part_of(seen, view, "baseline"), part_of(seen, view, "halo")
    halo = isinstance(right.layer, LevelTrace)
    out = ["memorised pair: it has learned these pictures by heart"] if seen.card.memorised else []
    if halo and seen.untrained:
        out.append("untrained: feature similarity")
    if halo and right.layer.mask == "published":
        out.append("published mask: interior cells attend uniformly, border cells to padding")
    if halo and right.layer.adds_nothing and right.of == "contribution":
        out.append("this layer adds nothing yet")
    elif right.layer.entropy(right.y, right.x, right.head, right.of) > 0.98:
        out.append("attention near uniform")
    if halo and right.layer.mass(right.y, right.x, right.head, right.of)["padding"] > 0.005:
        out.append("attention on padding")
    if right.head == "max" and right.layer.heads > 1:
        out.append("maximum over heads: does not sum to 1")
    if view.left == "control" and left.layer is not None:
        out.append("left: control, random queries and keys")
    if view.left == "mask" and left.layer is not None:
        name = "published mask (the article's, inverted)" if left.layer.mask == "published" else "valid mask"
        out.append(f"left: same weights, {name}")
    return out


def caption(seen: Seen, view: View) -> list[str]:
    """Paragraphs: picture, models and settings; what each panel shows; warnings; hashes."""
    return [heading(seen), *(f"{one.title}: {what(one)}" for one in panels(seen, view)), *fine_print(seen, view)]


def heading(seen: Seen) -> str:
    """What was looked at, by which models, how."""
    s = seen.settings
    settings = f"imgsz {s.imgsz}, conf {s.conf:g}, {s.head}, {s.device}"
    return f"{seen.picture.name} · {seen.card.title} ({seen.member}) · {settings}"


def fine_print(seen: Seen, *views: View) -> list[str]:
    """Warnings, if there are any, and the beginnings of the hashes of weights and picture."""
    about = provenance(seen)
    weights = ", ".join(f"{name} {value[:8] or 'unknown'}" for name, value in about["weights"].items())
    hashes = f"HaloVis {about['halo_vis']}; weights: {weights or 'unknown'}; picture: {about['picture_sha256'][:8]}"
    doubts = dict.fromkeys(doubt for view in views for doubt in warnings(seen, view))
    return [*(["; ".join(doubts)] if doubts else []), hashes]


# ---------------------------------------------------------------- provenance
def about(seen: Seen, *views: View) -> dict:
    """Provenance of an export: where the result comes from, and what of it is shown, as the browser's exports have it.

    Returns:
        JSON values: those of ``provenance(seen)``, "payload" (the version of the explorer's data), "view" (what
        `View.from_state` reads) and "panels"; of several views "views", each with both.
    """
    each = [
        {
            "view": view.state() | {"scale": view.scale},
            "panels": [_panel(panel(seen, view, side)) for side in SIDES],
        }
        for view in views
    ]
    shown = each[0] if len(each) == 1 else {"views": each} if each else {}
    return provenance(seen) | {"payload": VERSION} | shown


def _panel(shown: Panel) -> dict:
    out = {"side": shown.side, "source": shown.source}
    part, layer, h = shown.part, shown.part.layer, shown.heat
    if h is None:
        return out | {"layer": None}
    halo = isinstance(layer, LevelTrace)
    out |= {
        "layer": layer.level if halo else layer.layer,
        "view": part.view,
        "head": head_number(part.head),
        "of": part.of,
        "y": part.y,
        "x": part.x,
        "height": layer.grid.height,
        "width": layer.grid.width,
        "stride": layer.stride,
        "heads": layer.heads,
        "largest": h.largest,
        "per_map": shown.auto,
        "log": h.log,
        "difference": h.diverging,
    }
    if halo:
        out |= {"block_size": layer.grid.block_size, "halo_size": layer.grid.halo_size, "mask": layer.mask}
    return out
