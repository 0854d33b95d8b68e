"""Values drawn over a photo: every pixel the value of its cell, by loops; and overlays that touch nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import colormaps
from samples import picture, random_model

from halo_vis import capture
from halo_vis.detections import Detections
from halo_vis.drawing import PALETTE, colormap_hex, colour_of, ink_on
from halo_vis.geometry import Letterbox
from halo_vis.maps import LevelTrace
from halo_vis.render import (
    Sheet,
    as_shown,
    blocks_on_photo,
    cells_on_photo,
    overlay,
)

PHOTO = (90, 120)


@pytest.fixture(scope="module")
def level() -> LevelTrace:
    """A level of a photo that was enlarged and padded: 90 x 120 in 160 x 160."""
    yolo = random_model("residual")
    with capture(yolo) as captured:
        yolo.predict(picture(*PHOTO), imgsz=160, rect=False, verbose=False)
    assert captured.traces[0].letterbox == Letterbox(*PHOTO, 160, 160, 120, 160, 20, 0)
    return captured.traces[0]["P3"]


def test_each_pixel_shows_its_own_cell(level: LevelTrace) -> None:
    values = np.random.default_rng(0).normal(0, 1, (level.grid.height, level.grid.width))
    got = cells_on_photo(values, level.stride, level.letterbox)
    assert got.shape == PHOTO
    for y in range(PHOTO[0]):
        for x in range(PHOTO[1]):
            assert got[y, x] == values[level.letterbox.cell_at(y + 0.5, x + 0.5, level.stride)]


@pytest.mark.parametrize("of", ["weight", "contribution"])
def test_each_blocks_map_fills_its_own_square(level: LevelTrace, of: str) -> None:
    got, grid, box = blocks_on_photo(level, None, of), level.grid, level.letterbox
    side = grid.block_size * level.stride
    for y in range(0, PHOTO[0], 3):
        for x in range(0, PHOTO[1], 2):
            iy, ix = box.to_input(y + 0.5, x + 0.5)
            by, bx = int(iy // side), int(ix // side)
            i, j = (int((v / side - b) * grid.window_size + 1e-9) for v, b in ((iy, by), (ix, bx)))
            n = grid.inside(by, bx).sum()
            assert got[y, x] == pytest.approx(level.block(by, bx, None, of)[i, j] * n, rel=1e-5, abs=1e-9)


# ---------------------------------------------------------------- overlays
def test_overlay_is_pure_and_leaves_nan_alone() -> None:
    photo, values = picture(40, 50), np.linspace(-1, 9, 2000).reshape(40, 50)
    values[:, :20] = np.nan
    before = photo.copy(), values.copy()
    got = overlay(photo, values, 4.0, "viridis", 0.5)
    assert np.array_equal(photo, before[0]) and np.array_equal(values, before[1], equal_nan=True)
    assert got.shape == photo.shape and got.dtype == np.uint8 and not np.shares_memory(got, photo)
    assert np.array_equal(got[:, :20], photo[:, :20])
    for y, x in [(0, 20), (10, 30), (39, 49), (20, 45)]:
        colour = np.array(colormaps["viridis"](min(max(values[y, x] / 4, 0.0), 1.0))[:3]) * 255
        assert np.abs(got[y, x] - (photo[y, x] * 0.5 + colour * 0.5)).max() <= 1
    assert np.array_equal(overlay(photo, np.full((40, 50), np.nan), 4.0), photo)
    assert np.array_equal(overlay(photo, values, 4.0, opacity=0.0), photo)


def test_overlay_has_one_absolute_scale() -> None:
    photo = np.zeros((1, 3, 3), np.uint8)
    got = overlay(photo, np.array([[1.0, 4.0, 400.0]]), 4.0, opacity=1.0)
    assert np.array_equal(got[0, 1], got[0, 2]) and not np.array_equal(got[0, 0], got[0, 1])
    assert np.array_equal(got[0, 0], overlay(photo[:, :1], np.array([[1.0]]), 4.0, opacity=1.0)[0, 0])


def test_colours_for_the_viewer() -> None:
    raw = bytes.fromhex(colormap_hex("magma"))
    assert len(raw) == 256 * 3
    for i in (0, 100, 255):
        expected = np.array(colormaps["magma"](i)[:3]) * 255
        assert np.abs(np.frombuffer(raw[3 * i : 3 * i + 3], np.uint8) - expected).max() <= 1
    assert len({colour_of(c) for c in range(len(PALETTE))}) == len(PALETTE) and colour_of(len(PALETTE)) == colour_of(0)
    assert (ink_on("#ffffff"), ink_on("#000000"), ink_on("#e69f00"), ink_on("#0072b2")) == (
        "#000000", "#ffffff", "#000000", "#ffffff",
    )  # fmt: skip


# ---------------------------------------------------------------- sheets
@pytest.mark.parametrize("size", [(90, 120), (1, 1), (300, 4), (3, 900), (700, 1800)], ids=str)
def test_panels_show_the_photo_where_it_belongs(size: tuple[int, int]) -> None:
    photo = np.zeros((*size, 3), np.uint8)
    photo[:, :] = (10, 200, 30)
    sheet = Sheet(photo.shape, 2, bar=False)
    for number in range(2):
        axes = sheet.panel(number, photo, "title $x$ with a dollar: $5")
        assert axes.get_xlim() == (0, size[1]) and axes.get_ylim() == (size[0], 0)  # photo pixels
    sheet.caption("caption $")
    got = sheet.pixels()
    assert got.dtype == np.uint8 and got.ndim == 3 and max(got.shape) < 4200
    assert abs(got.shape[1] - sheet.total[0]) <= 1 and abs(got.shape[0] - sheet.total[1]) <= 1
    green = (np.abs(got.astype(int) - (10, 200, 30)).max(2) <= 2).sum()
    assert green == pytest.approx(2 * sheet.width * sheet.height, rel=0.05)
    assert (got[-1] == 255).all()


def test_large_photos_are_drawn_at_the_size_they_are_shown() -> None:
    photo = np.tile(picture(50, 40), (60, 50, 1))  # 3000 x 2000
    small = as_shown(photo)
    assert small.shape == (1600, 1067, 3) and np.abs(small.mean((0, 1)) - photo.mean((0, 1))).max() < 1
    assert as_shown(photo[:1600]) is not None and as_shown(photo[:700, :900]).shape == (700, 900, 3)


def test_boxes_are_drawn_in_their_place_and_colour() -> None:
    photo = np.full((450, 900, 3), 128, np.uint8)
    found = Detections(
        np.array([[100, 200, 300, 400], [500, 100, 880, 300]], np.float32),
        np.array([0.9, 0.5], np.float32),
        np.array([0, 1]),
        {0: "bee", 1: "a$b"},
    )
    sheet = Sheet(photo.shape, 1, bar=True)
    sheet.boxes(sheet.panel(0, photo, "boxes"), found, {1: "gained: "})
    sheet.colour_bar(4.0, "magma")
    got = sheet.pixels().astype(int)
    left, top = round(sheet.gap), round(sheet.total[1] - sheet.foot - sheet.height)
    for (x1, y1, x2, y2), cls in zip(found.xyxy, found.cls, strict=True):
        colour = [int(colour_of(cls)[i : i + 2], 16) for i in (1, 3, 5)]
        for y, x in [((y1 + y2) / 2, x1), ((y1 + y2) / 2, x2), (y2, (x1 + x2) / 2)]:
            near = got[top + int(y) - 2 : top + int(y) + 3, left + int(x) - 2 : left + int(x) + 3]
            assert (np.abs(near - colour).max(2) < 40).any()
        inside = got[top + int(y1 + y2) // 2, left + int(x1 + x2) // 2]
        assert np.abs(inside - 128).max() <= 1
