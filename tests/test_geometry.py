"""Cells, blocks, windows and the letterbox, against loops and against Ultralytics' own resize of real pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from samples import picture, random_model
from ultralytics.data.augment import LetterBox

from halo_vis import capture
from halo_vis.geometry import HaloGrid, Letterbox

GRIDS = [(1, 1, 8, 3), (15, 20, 8, 3), (21, 16, 8, 3), (7, 7, 7, 0), (9, 4, 1, 2), (5, 13, 4, 9), (16, 24, 8, 0)]


# ---------------------------------------------------------------- blocks and windows
@pytest.mark.parametrize("sizes", GRIDS)
def test_grid_equals_loops(sizes: tuple[int, int, int, int]) -> None:
    height, width, b, h = sizes
    grid = HaloGrid(*sizes)
    assert grid.window_size == b + 2 * h
    assert grid.block_rows == len(range(0, height, b)) and grid.block_cols == len(range(0, width, b))
    values = np.arange(1, height * width + 1).reshape(height, width)
    owner = np.zeros((height, width), int)
    for by in range(grid.block_rows):
        for bx in range(grid.block_cols):
            oy, ox = grid.window_origin(by, bx)
            window, inside, own = grid.window_of(values, by, bx), grid.inside(by, bx), grid.own_block()
            for i in range(grid.window_size):
                for j in range(grid.window_size):
                    y, x = by * b - h + i, bx * b - h + j
                    assert (y, x) == (oy + i, ox + j)
                    there = 0 <= y < height and 0 <= x < width
                    assert inside[i, j] == there
                    assert window[i, j] == (values[y, x] if there else 0)
                    assert own[i, j] == (h <= i < h + b and h <= j < h + b)
                    if own[i, j] and there:
                        assert grid.block_of(y, x) == (by, bx)
            owner[grid.queries_of(by, bx)] += 1
    assert (owner == 1).all()  # every cell is a query of exactly one block


def test_window_of_keeps_further_axes_and_type() -> None:
    values = np.arange(5 * 6 * 2, dtype=np.float16).reshape(5, 6, 2)
    window = HaloGrid(5, 6, 4, 1).window_of(values, 0, 1)
    assert window.shape == (6, 6, 2) and window.dtype == np.float16
    assert np.array_equal(window[1:6, :3], values[:5, 3:6]) and not window[0].any() and not window[:, 3:].any()


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (9, 0), (0, 9)])
def test_outside_is_an_index_error(place: tuple[int, int]) -> None:
    grid = HaloGrid(9, 9, 4, 1)
    with pytest.raises(IndexError, match=r"outside the map of 9 x 9 cells; count from 0"):
        grid.block_of(*place)
    with pytest.raises(IndexError, match=r"outside the 3 x 3 blocks"):
        grid.window_of(np.zeros((9, 9)), place[0] // 3, place[1] // 3)


# ---------------------------------------------------------------- letterbox
def sizes_to_try() -> list[tuple[tuple[int, int], tuple[int, int], bool]]:
    rng = np.random.default_rng(3)
    photos = [(1, 1), (1, 900), (900, 1), (2, 1500), (3000, 7), (640, 640), (320, 640), (64, 96), (810, 1080)]
    photos += [tuple(int(v) for v in np.exp(rng.uniform(0, 7.3, 2)).round()) for _ in range(120)]
    asked = [(640, 640), (320, 320), (96, 96), (32, 32), (320, 224)]
    return [(p, asked[i % len(asked)], bool(i % 3)) for i, p in enumerate(photos)]


def dot(length: int, scale: float, rng: np.random.Generator) -> tuple[int, int]:
    """Start and stop of a dot on an axis: large enough to survive the resize, off the border where there is room."""
    side = 1 if scale >= 1 else math.ceil(4 / scale)
    if length < side + 2:
        return 0, length
    start = int(rng.integers(1, length - side))
    return start, start + side


@pytest.mark.parametrize("auto", [True, False])
def test_a_dot_painted_in_the_photo_comes_back_to_its_pixel(auto: bool) -> None:
    rng = np.random.default_rng(0)
    seen_up = seen_down = 0
    for photo, imgsz, _ in sizes_to_try():
        box = Letterbox.fit(photo, imgsz, 32, auto)
        y0, y1 = dot(photo[0], box.new_height / photo[0], rng)
        x0, x1 = dot(photo[1], box.new_width / photo[1], rng)
        pixels = np.full((*photo, 3), 114, np.uint8)
        pixels[y0:y1, x0:x1] = 254
        got = LetterBox(imgsz, auto=auto, stride=32)(image=pixels)
        assert got.shape[:2] == (box.input_height, box.input_width), (photo, imgsz)
        weight = got[..., 0].astype(float) - 114
        assert weight.sum() > 0, (photo, imgsz)
        y = (weight.sum(1) @ (np.arange(len(got)) + 0.5)) / weight.sum()
        x = (weight.sum(0) @ (np.arange(got.shape[1]) + 0.5)) / weight.sum()
        # Half an input pixel is what sampling may cost; padding or scale off by one pixel would cost more.
        half_y, half_x = 0.5 * photo[0] / box.new_height, 0.5 * photo[1] / box.new_width
        back_y, back_x = box.to_photo(y, x)
        assert abs(back_y - (y0 + y1) / 2) < half_y and abs(back_x - (x0 + x1) / 2) < half_x, (photo, imgsz)
        there = box.to_input((y0 + y1) / 2, (x0 + x1) / 2)
        assert box.to_photo(*there) == pytest.approx(((y0 + y1) / 2, (x0 + x1) / 2))
        seen_up, seen_down = seen_up + (half_y < 0.5), seen_down + (half_y > 0.5)
    assert min(seen_up, seen_down) > 20


@pytest.mark.parametrize("photo", [(640, 640), (480, 640), (333, 640), (640, 1), (1, 640), (639, 640)])
def test_without_scaling_every_dot_comes_back_exactly(photo: tuple[int, int]) -> None:
    box = Letterbox.fit(photo, (640, 640), 32, True)
    rng = np.random.default_rng(1)
    places = {
        (0, 0),
        (photo[0] - 1, photo[1] - 1),
        *zip(*(rng.integers(0, n, 10).tolist() for n in photo), strict=True),
    }
    for y, x in places:
        pixels = np.zeros((*photo, 3), np.uint8)
        pixels[y, x] = 255
        found = np.argwhere(LetterBox((640, 640), auto=True, stride=32)(image=pixels)[..., 0] == 255)
        assert len(found) == 1
        assert box.to_photo(*found[0]) == (y, x) and box.to_input(y, x) == tuple(found[0])
        for stride in (8, 16, 32):
            assert box.cell_at(y + 0.5, x + 0.5, stride) == tuple(found[0] // stride)


def test_cells_tile_the_input_and_come_back() -> None:
    for photo, imgsz, auto in sizes_to_try():
        box = Letterbox.fit(photo, imgsz, 32, auto)
        for stride in (8, 16, 32):
            rows, cols = box.input_height // stride, box.input_width // stride
            for y, x in {(0, 0), (rows - 1, cols - 1), (rows // 2, cols // 3)}:
                x0, y0, x1, y1 = box.cell_box(y, x, stride)
                assert box.cell_at((y0 + y1) / 2, (x0 + x1) / 2, stride) == (y, x)
                assert box.to_input(y0, x0) == pytest.approx((y * stride, x * stride), abs=1e-6)
                assert box.to_input(y1, x1) == pytest.approx(((y + 1) * stride, (x + 1) * stride), abs=1e-6)
                assert box.cell_box(y, x, stride, 3)[:2] == (x0, y0)
                assert box.cell_box(y, x, stride, 3)[2:] == box.cell_box(y + 2, x + 2, stride)[2:]
            assert box.cell_at(-1e6, -1e6, stride) == (0, 0)
            assert box.cell_at(1e6, 1e6, stride) == (rows - 1, cols - 1)


def test_none_is_the_identity() -> None:
    box = Letterbox.none(70, 50)
    assert box.to_photo(3.25, 4.5) == (3.25, 4.5) == box.to_input(3.25, 4.5)
    assert box.cell_box(1, 2, 8) == (16, 8, 24, 16) and box.cell_at(69, 49, 8) == (8, 6)


# ---------------------------------------------------------------- what the predictor really feeds
BATCHES = [
    ([(480, 640)], True),
    ([(720, 1280)], True),
    ([(333, 517)], True),
    ([(1, 1)], True),
    ([(31, 900)], True),
    ([(256, 256)], True),
    ([(333, 517)], False),
    ([(300, 200), (300, 200)], True),
    ([(300, 200), (200, 300), (64, 64)], True),
]


def test_letterbox_is_the_predictors_own() -> None:
    yolo = random_model()
    inputs: list[torch.Tensor] = []
    with capture(yolo) as captured:
        yolo.predict(picture(64, 64), imgsz=64, verbose=False)
        yolo.predictor.model.model.register_forward_pre_hook(lambda _, args: inputs.append(args[0].clone()))
        for photos, rect in BATCHES:
            # 200 is no colour of the padding, which is 114
            arrays = [np.full((*size, 3), 200, np.uint8) for size in photos]
            yolo.predict(arrays, imgsz=256, rect=rect, verbose=False)
            assert len(captured.traces) == len(photos)
            for i, size in enumerate(photos):
                box = captured.traces[i].letterbox
                assert (box.photo_height, box.photo_width) == size
                seen = inputs[-1][i, 0]
                assert tuple(seen.shape) == (box.input_height, box.input_width)
                rows, cols = np.nonzero((seen > 0.6).numpy())
                assert (rows.min(), rows.max() + 1) == (box.top, box.top + box.new_height), (photos, rect)
                assert (cols.min(), cols.max() + 1) == (box.left, box.left + box.new_width), (photos, rect)
