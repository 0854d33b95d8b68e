"""What is said of a row in numbers: its largest cells, what lies outside a box, how much is where it should be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rows_oracle import CASES, HEADS, all_cells, slow_row, trace

from halo_vis.geometry import Answer, Letterbox
from halo_vis.maps import GlobalTrace, LevelTrace

# A photo of 75 x 130 pixels, enlarged 1.6 times, with bars above, below, left and right.
BOX = Letterbox(75, 130, 144, 256, 120, 208, 12, 24)
HEADS_SEEN = (None, 1, "max")


def placed(case: tuple) -> LevelTrace:
    return replace(trace(*case), letterbox=BOX)


def own(height: int = 9, width: int = 16) -> GlobalTrace:
    rng = np.random.default_rng(3)
    q, k = (rng.normal(0, 1.5, (height, width, HEADS, 8)).astype(np.float16) for _ in "qk")
    return GlobalTrace("layer10", 16, BOX, q, k, 0.35)


def slow_cells(t: LevelTrace, y: int, x: int) -> dict[tuple[int, int], tuple[int, int]]:
    """Every key of a query on the map: its place in the row -> its cell."""
    b, h = t.grid.block_size, t.grid.halo_size
    places = {}
    for i in range(b + 2 * h):
        for j in range(b + 2 * h):
            ky, kx = y // b * b - h + i, x // b * b - h + j
            if 0 <= ky < t.grid.height and 0 <= kx < t.grid.width:
                places[i, j] = (ky, kx)
    return places


def centre(y: int, x: int) -> tuple[float, float]:
    """Of a cell of stride 16 on the photo of BOX, x and y."""
    return ((x + 0.5) * 16 - 24) / 1.6, ((y + 0.5) * 16 - 12) / 1.6


def within(region: tuple, cell: tuple[int, int]) -> bool:
    x, y = centre(*cell)
    return region[0] <= x < region[2] and region[1] <= y < region[3]


def shares(t: LevelTrace, y: int, x: int, head: object, of: str) -> np.ndarray:
    row = slow_row(t, y, x, head, of)
    return row / row.sum() if row.sum() else row


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("of", ["weight", "contribution"])
def test_the_largest_cells(case: tuple, of: str) -> None:
    t = placed(case)
    for y, x in all_cells(t)[::5]:
        for head in HEADS_SEEN:
            row, places = shares(t, y, x, head, of), slow_cells(t, y, x)
            for n in (1, 5, 300):
                found = t.top(y, x, n, head, of)
                there = sum(row[p] > 0 for p in places)  # cells without any share are not told
                assert len(found) == len({c[:2] for c in found}) == min(n, there)
                assert [v for *_, v in found] == sorted((v for *_, v in found), reverse=True)
                largest = sorted((row[p] for p in places), reverse=True)
                assert np.abs(np.array([v for *_, v in found]) - largest[: len(found)]).max(initial=0) < 2e-6
                cells = {c: row[p] for p, c in places.items()}
                assert all(abs(cells[cy, cx] - v) < 2e-6 for cy, cx, v in found)


def test_of_equals_the_first_in_reading_order_comes_first() -> None:
    t = trace(8, 8, 4, 1, even=True)
    assert [c[:2] for c in t.top(5, 5)] == [(3, 3), (3, 4), (3, 5), (3, 6), (3, 7)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_lies_outside_a_box(case: tuple) -> None:
    """Padding counts as outside, also where the box reaches beyond the map; the borders are half-open."""
    t = placed(case)
    left, top = centre(1, 1)  # exactly on a cell's centre: inside on the left, outside on the right
    for box in (
        (left, top, left + 12, top + 31),
        (left - 30, top - 30, left, top),
        (-500, -500, 999, 999),
        (1, 1, 1, 9),
    ):
        for y, x in all_cells(t)[::6]:
            for head, of in ((None, "weight"), ("max", "weight"), (0, "contribution")):
                row, inside = shares(t, y, x, head, of), 0.0
                for place, cell in slow_cells(t, y, x).items():
                    cx, cy = centre(*cell)
                    if box[0] <= cx < box[2] and box[1] <= cy < box[3]:
                        inside += row[place]
                assert t.outside(y, x, box, head, of) == pytest.approx(row.sum() - inside, abs=3e-6)


@pytest.mark.parametrize("case", [(8, 12, 4, 1, "valid"), (7, 10, 4, 2, "valid"), (8, 12, 8, 3, "valid")], ids=str)
def test_attention_where_the_answer_lies(case: tuple) -> None:
    """Against loops; the case that no centre is hit takes the one cell under the region's centre."""
    t = placed(case)
    seen = set()
    for region in ((9, 2, 41, 30), (31, 11, 33, 13), (30.1, 10.9, 30.9, 12.0), (100, 60, 101, 61), (-20, 5, 12, 200)):
        for y, x in all_cells(t)[::3]:
            places = slow_cells(t, y, x)
            hit = [p for p, c in places.items() if within(region, c)]
            if not hit:
                x_under, y_under = (region[0] + region[2]) / 2 * 1.6 + 24, (region[1] + region[3]) / 2 * 1.6 + 12
                hit = [p for p, c in places.items() if c == (y_under // 16, x_under // 16)]
            on = t.on_region(y, x, region)
            seen.add((on is None, len(hit) > 1))
            if not hit:
                assert on is None and t.times_uniform_on(y, x, region) is None
                continue
            assert {tuple(map(int, p)) for p in np.argwhere(on)} == set(hit)
            for head, of in ((None, "weight"), (2, "contribution"), ("max", "weight")):
                row = shares(t, y, x, head, of)
                expected = sum(row[p] for p in hit) / (len(hit) / len(places))
                assert t.times_uniform_on(y, x, region, head, of) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert {(True, False), (False, False)} < seen  # none, one, several: all of it happened


def test_an_answer_is_asked_of_the_queries_in_its_place_only() -> None:
    t = placed((8, 12, 4, 1, "valid"))
    near, far = (20.0, 10.0, 45.0, 30.0), (120.0, 60.0, 130.0, 75.0)
    answers = (
        Answer("far", (0, 0, 60, 50), far),
        Answer("bee", (0, 0, 60, 50), near),
        Answer("second", (0, 0, 60, 50), near),
    )
    y, x = BOX.cell_at(20, 30, 16)
    assert t.answer(y, x, answers) == ("bee", t.times_uniform_on(y, x, near))  # what is out of reach is passed over
    assert t.answer(y, x, answers, 1, "contribution") == ("bee", t.times_uniform_on(y, x, near, 1, "contribution"))
    assert t.answer(y, x, answers[:1]) is None and t.answer(y, x, ()) is None
    assert t.answer(*BOX.cell_at(70, 30, 16), answers) is None


def test_uniform_attention_is_once_uniform_on_any_region() -> None:
    t = replace(trace(21, 16, 8, 3, even=True), letterbox=Letterbox.none(336, 256))
    for region in ((0, 0, 256, 336), (30, 40, 90, 70), (100, 100, 101, 101)):
        assert t.times_uniform_on(6, 6, region) == pytest.approx(1, abs=1e-5)


def test_the_cells_of_a_box() -> None:
    t = own()
    for box in (
        (-99, -99, 999, 999),
        (30, 10, 80, 60),
        centre(2, 3) + centre(5, 9),
        (41, 22, 42, 23),
        (500, 5, 600, 50),
    ):
        cells = [
            (y, x)
            for y in range(9)
            for x in range(16)
            if box[0] <= centre(y, x)[0] < box[2] and box[1] <= centre(y, x)[1] < box[3]
        ]
        found = t.cells_in(box, 9, 16)
        assert (found is None) == (not cells)
        if cells:
            y0, x0, y1, x1 = found
            assert cells == [(y, x) for y in range(y0, y1) for x in range(x0, x1)]
    assert t.cells_in(centre(2, 3) + centre(5, 9), 9, 16) == (2, 3, 5, 9)


# ---------------------------------------------------------------- YOLO26's own attention
def test_global_numbers_columns_and_boxes() -> None:
    t = own()
    rows = {
        head: np.array([[t.row(y, x, head) for x in range(16)] for y in range(9)]) for head in (None, 0, 1, 2, "max")
    }
    assert np.array_equal(rows["max"], np.max([rows[n] for n in range(HEADS)], 0))
    assert np.abs(rows[None] - np.mean([rows[n] for n in range(HEADS)], 0)).max() < 1e-7
    for head in (None, 2, "max"):
        assert np.abs(t.attended_by(4, 7, head) - rows[head][:, :, 4, 7]).max() < 1e-6
        assert np.abs(t.attended_by(4, 7, head, times_uniform=True) - 144 * rows[head][:, :, 4, 7]).max() < 1e-4
        each = range(HEADS) if head == "max" else [head]
        expected = np.max([rows[n][1:4, 2:9].mean((0, 1)) for n in each], 0)
        assert np.abs(t.mean_row(1, 2, 4, 9, head) - expected).max() < 1e-6
        assert np.abs(t.mean_row(1, 2, 4, 9, head, times_uniform=True) - 144 * expected).max() < 1e-4
        row = rows[head][4, 7] / rows[head][4, 7].sum()
        p = row[row > 0].astype(float)
        assert t.entropy(4, 7, head) == pytest.approx(-(p * np.log(p)).sum() / np.log(144), abs=1e-5)
        assert t.top(4, 7, 1, head)[0][:2] == np.unravel_index(row.argmax(), row.shape)
        box = centre(2, 3) + centre(6, 12)
        assert t.outside(4, 7, box, head) == pytest.approx(1 - row[2:6, 3:12].sum(), abs=1e-5)
        assert t.times_uniform_on(4, 7, box, head) == pytest.approx(row[2:6, 3:12].sum() * 144 / 36, abs=1e-4)
        y, x = np.mgrid[:9, :16]
        assert t.distance(4, 7, head) == pytest.approx((row * np.hypot((y - 4) * 10, (x - 7) * 10)).sum(), rel=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: t.row(0, 0, of="contribution"), ValueError, r"of must be one of \('weight',\), got 'contribution'"),
        (lambda t: t.attended_by(9, 0), IndexError, "outside the map of 9 x 16"),
        (lambda t: t.mean_row(0, 0, 0, 4), IndexError, r"cells \[0, 0\) x \[0, 4\)"),
        (lambda t: t.mean_row(0, 0, 2, 2, head=3), IndexError, "heads 0 to 2"),
        (lambda t: t.entropy(0, 16), IndexError, "outside the map"),
    ],
)
def test_wrong_arguments_of_global_layers(call: object, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        call(own())
