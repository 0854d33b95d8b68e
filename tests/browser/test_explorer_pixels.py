"""The overlay sits on the photo to the pixel: a photo of squares, one per cell, under a heat of the same colours.

Every cell has a colour of its own, the same in the photo and on the colour bar, and a value that takes that colour. So
the heat, opaque, must look like the photo; and both must look as computed from the letterbox, whatever the zoom and the
device's pixels.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from plain import Plain
from playwright.sync_api import Playwright

from halo_vis.bench.browser import start
from halo_vis.bench.site import Site
from halo_vis.picture import Picture

# A photo halved and padded by 4 input pixels left and 5 above: 67 x 89 cells of 16 photo pixels, from (-8, -10) on.
WIDTH, HEIGHT, STRIDE, GAIN, LEFT, TOP = 1408, 1056, 8, 0.5, 4, 5
ROWS, COLS = 67, 89
NUMBERS = (np.arange(ROWS)[:, None] * 89 + np.arange(COLS) * 3) % 256  # others than those around them
QUERY = (30, 40)


def colour(number: np.ndarray) -> np.ndarray:
    """(..., 3) uint8, another one for each number to 255; red is the number itself."""
    return np.stack([number, 255 - number, number * 37 % 256], -1).astype(np.uint8)


def cells_at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Numbers of the cells at photo coordinates, (len(y), len(x))."""
    col, row = ((x * GAIN + LEFT) // STRIDE).astype(int), ((y * GAIN + TOP) // STRIDE).astype(int)
    return NUMBERS[row][:, col]


def photo() -> Picture:
    return Picture(colour(cells_at(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)), "squares")


def crafted() -> tuple[dict, dict[str, bytes]]:
    """A payload with one halo layer, whose received attention takes every cell's own colour at scale 2."""
    heads, dim, block, halo = 1, 2, 8, 3
    window = block + 2 * halo
    blocks = (heads + 1, -(-ROWS // block), -(-COLS // block), window, window)
    received = np.broadcast_to((NUMBERS + 0.5) / 256 * 2, (heads + 1, ROWS, COLS))
    arrays = {
        "q": np.zeros((ROWS, COLS, heads, dim)),
        "k": np.zeros((ROWS, COLS, heads, dim)),
        "norm": np.ones((ROWS, COLS, heads)),
        "rel_height": np.zeros((2 * window - 1, dim)),
        "rel_width": np.zeros((2 * window - 1, dim)),
        "received": received,
        "received_contribution": received,
        "blocks": np.zeros(blocks),
        "blocks_contribution": np.zeros(blocks),
    }
    tensors, binary = {}, b""
    for name, array in arrays.items():
        tensors[name] = {"dtype": "float16", "shape": list(array.shape), "offset": len(binary)}
        raw = array.astype("<f2").tobytes()
        binary += raw + b"\0" * (-len(raw) % 8)
    level = {"height": ROWS, "width": COLS, "stride": STRIDE, "block_size": block, "halo_size": halo, "heads": heads}
    level |= {"dim_head": dim, "scale": 1.0, "mask": "valid", "adds_nothing": False, "tensors": tensors}
    colours = colour(np.arange(256)).tobytes().hex()
    meta = {
        "version": 2,
        "picture": {"name": "squares", "width": WIDTH, "height": HEIGHT, "digest": ""},
        "pair": {"name": "crafted", "title": "crafted", "baseline": "left", "halo": "right"},
        "settings": {},
        "input": {"width": COLS * STRIDE, "height": ROWS * STRIDE, "left": LEFT, "top": TOP}
        | {"new_width": int(WIDTH * GAIN), "new_height": int(HEIGHT * GAIN)},
        "colormaps": {"cells": colours},
        "diverging": colours,
        "palette": ["#000000"],
        "detections": {"baseline": [], "halo": []},
        "matches": [],
        "levels": {"P3": level},
        "global": {"baseline": {}, "halo": {}},
        "others": [],
        "answers": [],
    }
    return meta, {"tensors": binary}


def screenshot(plain: Plain, ratio: float) -> np.ndarray:
    """(H, W, 3): the halo panel as it is on the screen, in device pixels."""
    plain.canvas().scroll_into_view_if_needed()
    plain.settle()
    whole = np.asarray(Image.open(io.BytesIO(plain.tab.screenshot())).convert("RGB")).astype(int)
    box = plain.canvas().evaluate(
        "(c) => { const r = c.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; }"
    )
    left, top, right, bottom = (round(v * ratio) for v in box)
    return whole[top:bottom, left:right]


@pytest.mark.parametrize("width", [1440, 500], ids=["desktop", "narrow"])
@pytest.mark.parametrize("ratio", [1, 1.5, 2])
def test_heat_and_photo_agree(playwright: Playwright, site: Site, ratio: float, width: int) -> None:
    """On a screen that really has so many pixels: an emulated one tells a page other sizes than it shows.

    With a padding of 0.3 the panel begins and ends between two pixels.
    """
    browser = start(playwright, f"--force-device-scale-factor={ratio}", f"--window-size={width},1000")
    try:
        for shift in (0, 0.3):
            plain = Plain(browser, site, viewport=None, no_viewport=True)
            assert plain.tab.evaluate("devicePixelRatio") == ratio
            plain.tab.evaluate("(shift) => { document.body.style.padding = `${shift}px`; }", shift)
            plain.show_payload(*crafted(), photo())
            plain.tab.locator("[data-act=hint]").click()
            bare = {"boxes": False, "labels": False, "grid": False, "window": False}
            plain.restore(view="received", level="P3", y=QUERY[0], x=QUERY[1], show=bare, scale=2, dim=0)
            for scale, x, y in ((1, 704, 528), (2.5, 420, 341), (8, 983.4, 191.3), (8, 88, 66), (8, 1320, 990)):
                plain.restore(zoom={"scale": scale, "x": x, "y": y})
                zoom = plain.state["zoom"]
                assert zoom == {"scale": scale, "x": pytest.approx(x), "y": pytest.approx(y)}
                shots = []
                for opacity in (0, 1):
                    plain.restore(opacity=opacity)
                    shots.append(screenshot(plain, ratio))
                check(*shots, zoom)
            plain.close()
    finally:
        browser.close()


def check(under: np.ndarray, over: np.ndarray, zoom: dict) -> None:
    """Compare photo, heat and what the letterbox says, for every device pixel."""
    tall, wide = over.shape[:2]
    part_w, part_h = WIDTH / zoom["scale"], HEIGHT / zoom["scale"]
    x = zoom["x"] - part_w / 2 + (np.arange(wide) + 0.5) / wide * part_w
    y = zoom["y"] - part_h / 2 + (np.arange(tall) + 0.5) / tall * part_h
    wanted = colour(cells_at(x, y)).astype(int)
    pixel = max(part_w / wide, part_h / tall)  # photo pixels per device pixel
    sure = beside_outline(x, y, 14 * pixel)  # 14: the outline of the query's cell, at two device pixels per CSS pixel
    assert sure.mean() > 0.3
    # A pixel belongs to the cell in which its centre lies; rounding may decide for one whose centre is on the border.
    exact = sure & off_borders(x, y, 0.02 * pixel)
    assert (over[exact] == wanted[exact]).all(), f"heat: {(over != wanted).any(-1)[exact].sum()} pixels off"
    # A photo that is reduced is smoothed: the pixels that a border crosses are mixed.
    clear = sure & off_borders(x, y, (0.02 if pixel <= 1 else 2.5) * pixel)
    assert (np.abs(under[clear] - wanted[clear]) <= 1).all(), f"photo: {np.abs(under - wanted)[clear].max()}"
    assert clear.sum() > 500


def off_borders(x: np.ndarray, y: np.ndarray, least: float) -> np.ndarray:
    """Bool: pixels whose centre is farther than so many photo pixels from the border of a cell."""

    def far(at: np.ndarray, pad: int) -> np.ndarray:
        rest = (at * GAIN + pad) % STRIDE
        return np.minimum(rest, STRIDE - rest) / GAIN > least

    return far(y, TOP)[:, None] & far(x, LEFT)


def beside_outline(x: np.ndarray, y: np.ndarray, reach: float) -> np.ndarray:
    """Bool: pixels that the outline of the query's cell cannot touch; its inside counts, where it is large enough."""

    def gap(at: np.ndarray, number: int, pad: int) -> np.ndarray:
        start = (number * STRIDE - pad) / GAIN
        return np.maximum(start - at, at - start - STRIDE / GAIN)  # negative inside

    dy, dx = gap(y, QUERY[0], TOP)[:, None], gap(x, QUERY[1], LEFT)[None]
    return np.maximum(dy, dx) > reach
