"""The numbers of what a view shows as CSV (RFC 4180): the same lines that the explorer in the browser writes.

First where they come from, as lines ``# key: value`` (values are JSON, nested keys are joined by dots), then one line
for each cell of both panels, the left one's first.
"""

from __future__ import annotations

import csv as csv_module
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from halo_vis.heats import detections_of, part_of
from halo_vis.maps import LevelTrace
from halo_vis.panels import Panel, about, panels
from halo_vis.rows import head_number
from halo_vis.seen import Seen
from halo_vis.view import View

COLUMNS = (
    "side", "source", "layer", "view", "head", "of", "block_y", "block_x", "query_y", "query_x", "key_y", "key_x",
    "x1", "y1", "x2", "y2", "weight", "contribution", "times_uniform", "part",
)  # fmt: skip
UNSEEN = "\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029"  # line ends and the like
FORMULA = re.compile(r"^[\s\0]*[=+\-@]|^[\t\r]")  # a spreadsheet would run it


def csv(seen: Seen, view: View, path: str | Path) -> Path:
    """Write what a view shows, cell by cell.

    x1 to y2 is the place of the key's cell in photo pixels (of the query's cell in the view "to"); weight and
    contribution are shares of a row, empty where the view has none (a difference, received attention).

    Raises:
        ValueError: the view's level or cell does not exist in this inspection.
    """
    path = Path(path)
    with path.open("w", encoding="utf-8", newline="", errors="replace") as file:
        file.writelines(f"{line}\r\n" for line in notes(about(seen, view) | {"numbers": numbers(seen, view)}))
        writer = csv_module.writer(file)
        writer.writerow(COLUMNS)
        for shown in panels(seen, view):
            if shown.heat is not None:
                writer.writerows([_field(value) for value in row] for row in _rows(shown))
    return path


def numbers(seen: Seen, view: View) -> dict:
    """What stands beside the picture: numbers of the right panel's query, always of its row.

    Returns:
        JSON values: level, y, x, head (-1: mean, -2: maximum), of, empty (the row is all 0), mass (None in a global
        layer), entropy, distance (photo pixels, None if nothing lies on the map), received (by this cell, in the view
        of it, else None), top (the five cells with the largest share), outside (shares outside the chosen box, or
        None), answer (attention on the place where the answer is known to lie, times uniform, or None).
    """
    part = part_of(seen, view)
    layer, halo = part.layer, isinstance(part.layer, LevelTrace)
    y, x, head, of = part.y, part.x, part.head, part.of
    inside = int(layer.place(y, x)[1].sum())
    found = detections_of(seen, view, view.box[0]) if view.box else None
    outside = None
    if found is not None and view.box[1] < len(found):
        share = partial(layer.outside, y, x, found.xyxy[view.box[1]], head)
        brings = halo and not layer.adds_nothing
        outside = {"weight": share("weight"), "contribution": share("contribution") if brings else None}
    top = layer.top(y, x, 5, head, of)
    empty = not layer.row(y, x, head, of).any()
    known = None if empty else layer.answer(y, x, seen.answers, head, of)
    distance = layer.distance(y, x, head, of)
    return {
        "level": view.level,
        "y": y,
        "x": x,
        "head": head_number(head),
        "of": of,
        "empty": empty,
        "mass": layer.mass(y, x, head, of) if halo else None,
        "entropy": layer.entropy(y, x, head, of),
        "distance": None if np.isnan(distance) else distance,
        "received": float(layer.received(head, of)[y, x]) if part.view == "received" else None,
        "top": [{"y": ky, "x": kx, "value": value, "times": value * inside} for ky, kx, value in top],
        "outside": outside,
        "answer": None if known is None else dict(zip(("name", "times"), known, strict=True)),
    }


def notes(value: object, name: str = "") -> list[str]:
    """Nested values as lines ``# a.b.0: value``, each on one line and in one cell of a spreadsheet."""
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [line for key, one in pairs for line in notes(one, f"{name}.{_key(key)}" if name else _key(key))]
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return [f"# {name}: {_escaped(text, re.compile(f'[,;{UNSEEN}]'))}"]


def _key(key: object) -> str:
    return _escaped(str(key), re.compile(r"[^\w-]"))


def _escaped(text: str, what: re.Pattern) -> str:
    return what.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _field(value: object) -> object:
    """One field: numbers with all digits of a float32; a text that a spreadsheet would run gets an apostrophe."""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.9g}"
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def _rows(shown: Panel) -> Iterator[list]:
    """Values of COLUMNS for every cell of a panel that is drawn."""
    part, heat, layer = shown.part, shown.heat, shown.part.layer
    halo = isinstance(layer, LevelTrace)
    start = [
        shown.side,
        "difference" if heat.diverging else shown.source,
        layer.level if halo else layer.layer,
        part.view,
        {None: "mean"}.get(part.head, part.head),
        part.of,
    ]
    shares = _shares(shown)
    for row, col in np.argwhere(np.isfinite(heat.values)).tolist():
        times = float(heat.values[row, col])
        each = {name: float(values[row, col]) for name, values in shares.items()}
        block, query, key, cell = _places(shown, row, col)
        if part.view == "blocks" and not heat.diverging and part.of in ("weight", "contribution"):
            each[part.of] = times / int(layer.grid.inside(*block).sum())
        own = block if halo and block is not None else None
        yield [
            *start, *(block or ("", "")), *(query or ("", "")), *key,
            *(round(float(v), 3) for v in layer.letterbox.cell_box(*cell, layer.stride)),
            each.get("weight", ""), each.get("contribution", ""), times, "" if own is None else _part(layer, own, key),
        ]  # fmt: skip


def _shares(shown: Panel) -> dict[str, np.ndarray]:
    """Weights and contributions in the shape of the heat, where the view has them."""
    part, layer = shown.part, shown.part.layer
    if shown.heat.diverging:  # a difference is no share
        return {}
    make = {
        "cell": lambda of: layer.row(part.y, part.x, part.head, of),
        "to": lambda of: layer.attended_by(part.y, part.x, part.head, of),
        "box": lambda of: layer.mean_row(*part.cells, part.head, of),
    }.get(part.view)
    kinds = ("weight", "contribution") if isinstance(layer, LevelTrace) else ("weight",)
    return {of: make(of) for of in kinds} if make else {}


def _places(shown: Panel, row: int, col: int) -> tuple:
    """(block, query, key, cell that is drawn) of a value of the heat; block and query None where there is none."""
    part, heat = shown.part, shown.heat
    grid, halo = part.layer.grid, isinstance(part.layer, LevelTrace)
    if part.view == "blocks":
        w = grid.window_size
        block = row // w, col // w
        oy, ox = grid.window_origin(*block)
        key = oy + row % w, ox + col % w
        return block, None, key, key
    cell = int(heat.top) + row, int(heat.left) + col
    query = {"cell": (part.y, part.x), "to": cell}.get(part.view)
    key = (part.y, part.x) if part.view == "to" else cell
    return grid.block_of(*query) if halo and query else None, query, key, cell


def _part(layer: LevelTrace, block: tuple[int, int], key: tuple[int, int]) -> str:
    """Where a key lies, seen from its query's block."""
    y, x = key
    if not (0 <= y < layer.grid.height and 0 <= x < layer.grid.width):
        return "padding"
    return "block" if layer.grid.block_of(y, x) == tuple(block) else "halo"
