"""Colours that a panel must have, from Python's own values, and whether it has them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from plain import Plain

from halo_vis import Inspection
from halo_vis.drawing import colormap_hex
from halo_vis.heats import Heat, heat, part_of
from halo_vis.view import View

BARE = {"boxes": False, "labels": False, "grid": False, "window": False}
CLEAR = 9  # canvas pixels that are kept from outlines, which are always drawn


def palette(name: str) -> np.ndarray:
    """(256, 3): the colours of a map."""
    return np.frombuffer(bytes.fromhex(colormap_hex(name)), np.uint8).reshape(256, 3).astype(int)


def position(values: np.ndarray, look: Heat) -> np.ndarray:
    """Where values lie on the colour bar, 0 to 1, by the definitions of the issue."""
    if look.diverging:
        at = (values / look.largest + 1) / 2
    elif look.log:
        with np.errstate(divide="ignore"):
            at = np.log2(values * look.largest) / (2 * np.log2(look.largest))
    else:
        at = values / look.largest
    return np.clip(at, 0, 1)


def check(plain: Plain, seen: Inspection, side: str = "halo", x: tuple[float, float] = (0, 1)) -> int:
    """Compare every cell in view with its colour; returns how many there were.

    The panel must be bare and opaque (see BARE). Cells without a value must show what is there without the heat.

    Args:
        x: the part of the panel to look at, as shares of its width.
    """
    state = plain.state
    view = View.from_state(state)
    look = heat(seen, view, side)
    canvas = "halo" if state["mode"] == "slider" else side
    pixels = plain.canvas_pixels(canvas)
    opacity = plain.tab.locator("[data-set=opacity]")  # not restore(), which would let go of the pointer
    opacity.fill("0")
    plain.settle()
    without = plain.canvas_pixels(canvas)
    opacity.fill(str(state["opacity"]))
    plain.settle()
    if look is None:
        assert (pixels == without).all()
        return 0
    colours = palette("RdBu_r" if look.diverging else view.map)
    height, width = pixels.shape[:2]
    zoom = state["zoom"]
    gain = width / plain.size[0] * zoom["scale"]
    left, top = (zoom[axis] - size / 2 / zoom["scale"] for axis, size in zip("xy", plain.size, strict=True))

    def to_canvas(x: float, y: float) -> tuple[float, float]:
        return (x - left) * gain, (y - top) * gain

    rows, cols = look.values.shape
    x0, y0, x1, y1 = look.rect()
    centre_x, centre_y = to_canvas(
        x0 + (np.arange(cols) + 0.5) * (x1 - x0) / cols, y0 + (np.arange(rows) + 0.5) * (y1 - y0) / rows
    )
    col, row = np.floor(centre_x).astype(int), np.floor(centre_y).astype(int)
    free = _free(seen, view, side, (height, width), to_canvas)
    seen_rows = (row >= 0) & (row < height)
    seen_cols = (col >= x[0] * width) & (col < x[1] * width)
    i, j = np.nonzero(seen_rows[:, None] & seen_cols)
    i, j = (part[free[row[i], col[j]]] for part in (i, j))
    got, values = pixels[row[i], col[j]], look.values[i, j]
    empty = np.isnan(values)
    assert (got[empty] == without[row[i], col[j]][empty]).all(), f"{side}: a colour where there is no value"
    at = np.minimum(255, position(np.nan_to_num(values).astype(float), look) * 256).astype(int)
    # A value on the border of two colours may take either.
    near = np.stack([colours[np.clip(at + step, 0, 255)] for step in (-1, 0, 1)])
    wrong = ~empty & (np.abs(near - got).max(-1).min(0) > 1)
    assert not wrong.any(), f"{side}, cells {list(zip(i[wrong], j[wrong], strict=True))[:5]} of {wrong.sum()}"
    return int((~empty).sum())


def _free(seen: Inspection, view: View, side: str, shape: tuple[int, int], to_canvas: Callable) -> np.ndarray:
    """Bool, of the canvas' shape: where the outlines of the query's cell and of the box view's cells are not near."""
    part = part_of(seen, view, side)
    out = np.ones(shape, bool)
    rects = [(part.y, part.x, part.y + 1, part.x + 1), *([part.cells] if part.cells else [])]
    for y0, x0, y1, x1 in rects:
        top, left = part.layer.letterbox.to_photo(y0 * part.layer.stride, x0 * part.layer.stride)
        bottom, right = part.layer.letterbox.to_photo(y1 * part.layer.stride, x1 * part.layer.stride)
        (left, top), (right, bottom) = to_canvas(left, top), to_canvas(right, bottom)
        near = np.zeros(shape, bool)
        near[_span(top - CLEAR, bottom + CLEAR), _span(left - CLEAR, right + CLEAR)] = True
        near[_span(top + CLEAR, bottom - CLEAR), _span(left + CLEAR, right - CLEAR)] = False
        out &= ~near
    return out


def _span(start: float, end: float) -> slice:
    return slice(max(0, round(start)), max(0, round(end)))
