"""Rows and what is made of them, against a slow oracle: one query, one key at a time, in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from rows_oracle import CASES, HEADS, all_cells, slow_on_map, slow_row, trace

from halo_vis.geometry import Letterbox
from halo_vis.maps import GlobalTrace, LevelTrace

VIEWS = [
    (None, "weight"), (1, "weight"), (None, "contribution"), (2, "contribution"), ("max", "weight"),
    ("max", "contribution"), (None, "content"), (1, "content"), (None, "position"), ("max", "position"),
]  # fmt: skip


# ---------------------------------------------------------------- rows, blocks, received
@pytest.mark.parametrize("case", CASES, ids=str)
def test_rows_blocks_and_received_equal_the_slow_oracle(case: tuple) -> None:
    t = trace(*case)
    g, w = t.grid, t.grid.window_size
    for head, of in VIEWS:
        for y, x in all_cells(t):
            got = t.row(y, x, head, of)
            assert got.dtype == np.float32 and got.shape == (w, w)
            assert np.abs(got - slow_row(t, y, x, head, of)).max() < 2e-6
        # Maps of the largest head are the largest of the heads' maps, not maps of the largest rows.
        each = range(HEADS) if head == "max" else [head]
        slow = [slow_maps(t, n, of) for n in each]
        blocks, raw, received = (np.max([maps[i] for maps in slow], 0) for i in range(3))
        assert t.blocks(head, of).shape == (g.block_rows, g.block_cols, w, w)
        assert np.abs(t.blocks(head, of) - blocks).max() < 2e-6
        assert np.array_equal(t.blocks(head, of)[-1, -1], t.block(g.block_rows - 1, g.block_cols - 1, head, of))
        assert t.received(head, of).shape == (g.height, g.width) and t.received(head, of).dtype == np.float32
        assert np.abs(t.received(head, of, raw=True) - raw).max() < 1e-5
        assert np.abs(t.received(head, of) - received).max() < 1e-5


def slow_maps(t: LevelTrace, head: int | None, of: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks, attention received as a sum, and as a multiple of an even spread."""
    g, w = t.grid, t.grid.window_size
    blocks = np.zeros((g.block_rows, g.block_cols, w, w))
    sums, even = (np.zeros((g.height + 2 * w, g.width + 2 * w)) for _ in range(2))
    for by in range(g.block_rows):
        for bx in range(g.block_cols):
            mine = [slow_row(t, *c, head, of) for c in all_cells(t) if g.block_of(*c) == (by, bx)]
            blocks[by, bx] = np.mean(mine, 0)
            oy, ox = g.window_origin(by, bx)
            place = slice(oy + w, oy + 2 * w), slice(ox + w, ox + 2 * w)
            sums[place] += np.sum(mine, 0)
            even[place] += len(mine) * g.inside(by, bx) / g.inside(by, bx).sum()
    sums, even = (a[w:-w, w:-w] for a in (sums, even))
    return blocks, sums, sums / even


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_overview_holds_every_heads_maps(case: tuple) -> None:
    t = trace(*case)
    found = t.overview(("weight", "contribution", "position"))
    assert list(found) == ["weight", "contribution", "position"]
    for of, (blocks, received) in found.items():
        for i, head in enumerate((None, 0, 1, 2)):  # all heads together first
            np.testing.assert_allclose(blocks[i], t.blocks(head, of), rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(received[i], _received(t, head, of), rtol=1e-4, atol=1e-6)


def _received(t: LevelTrace, head: int | None, of: str) -> np.ndarray:
    """(H, W): each cell's sum over the rows of all queries, against that of even rows."""
    got, even = np.zeros((2, t.grid.height, t.grid.width))
    for y, x in all_cells(t):
        (oy, ox), inside = t.place(y, x)
        at = np.argwhere(inside)
        where = at[:, 0] + oy, at[:, 1] + ox
        got[where] += t.row(y, x, head, of)[inside]
        even[where] += 1 / inside.sum()
    return got / even


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rows_sum_to_one_and_padding_follows_the_mask(case: tuple) -> None:
    t = trace(*case)
    for y, x in all_cells(t):
        inside = t.grid.inside(*t.grid.block_of(y, x))
        for head in (None, 0, 1, 2):
            assert t.row(y, x, head).sum() == pytest.approx(1, abs=1e-5)
            mass = t.mass(y, x, head)
            assert sum(mass.values()) == pytest.approx(1, abs=1e-5) and min(mass.values()) >= 0
            own = np.zeros_like(inside)
            h, b = t.grid.halo_size, t.grid.block_size
            own[h : h + b, h : h + b] = True
            row = t.row(y, x, head)
            assert mass["block"] == pytest.approx(row[own & inside].sum(), abs=1e-6)
            assert mass["halo"] == pytest.approx(row[~own & inside].sum(), abs=1e-6)
            if t.mask == "valid":
                assert mass["padding"] == 0.0 and not row[~inside].any()
            elif inside.all():
                assert np.ptp(row) == 0 and mass["padding"] == 0.0
            else:
                assert mass["padding"] == pytest.approx(1, abs=1e-5) and not row[inside].any()


# ---------------------------------------------------------------- what uniform attention must give
@pytest.mark.parametrize("size", [(24, 32), (21, 16), (15, 20), (5, 3), (1, 1), (60, 80)], ids=str)
@pytest.mark.parametrize("of", ["weight", "contribution"])
def test_uniform_attention_is_received_once_everywhere(size: tuple[int, int], of: str) -> None:
    t = trace(*size, 8, 3, even=True, norm=0.5)
    for head in (None, 0):
        assert np.abs(t.received(head, of) - 1).max() < 2e-6
        assert np.abs(t.times_uniform(size[0] - 1, 0, head, of)[t.allowed(size[0] - 1, 0)] - 1).max() < 2e-6


def test_published_mask_is_uniform_inside_and_gives_the_border_nothing() -> None:
    t = trace(40, 40, 8, 3, "published")
    received = t.received()
    assert np.abs(received[11:29, 11:29] - 1).max() < 2e-6  # seen by interior blocks only
    assert not received[:5].any() and not received[:, -5:].any()  # seen by border blocks only, which see padding


def test_raw_sum_shows_the_lattice_of_blocks() -> None:
    raw = trace(48, 48, 8, 3, even=True).received(raw=True)[16:32, 16:32]
    assert raw.min() == pytest.approx(64 / 196, abs=1e-5) and raw.max() == pytest.approx(4 * 64 / 196, abs=1e-5)
    assert np.array_equal(raw[:8, :8], raw[8:, 8:])  # it repeats with the blocks
    assert raw[3, 3] == raw.min() and raw[0, 0] == raw.max()


# ---------------------------------------------------------------- entropy and distance
@pytest.mark.parametrize("case", CASES, ids=str)
def test_entropy_is_a_share_of_the_largest_possible(case: tuple) -> None:
    t = trace(*case)
    for y, x in all_cells(t):
        for head, of in VIEWS:
            p = slow_row(t, y, x, head, of)
            p = p / p.sum() if p.sum() else p  # the largest of the heads sums to more
            n = int(t.allowed(y, x).sum())
            expected = -sum(v * math.log(v) for v in p.ravel() if v > 0) / math.log(n) if n > 1 else 0.0
            assert 0.0 <= t.entropy(y, x, head, of) <= 1.0
            assert math.copysign(1, t.entropy(y, x, head, of)) == 1  # "-0.00" reads like a mistake
            assert t.entropy(y, x, head, of) == pytest.approx(expected, abs=1e-5)


def test_entropy_of_uniform_rows_is_one_and_of_certain_rows_zero() -> None:
    for size in [(24, 24), (15, 20), (2, 1)]:
        t = trace(*size, 8, 3, even=True)
        assert all(t.entropy(*c) == pytest.approx(1, abs=1e-6) and t.entropy(*c) <= 1 for c in all_cells(t)[::7])
    t = trace(16, 16, 8, 3, even=True, norm=0.0)
    t.norm[5, 6] = 1.0  # one cell brings everything
    assert t.entropy(2, 2, of="contribution") == 0.0 and t.entropy(2, 2) > 0.99


def test_distance_by_hand() -> None:
    """A query that looks at two cells; the photo is twice as high as the input, so rows are 32 photo pixels apart."""
    t = trace(8, 8, 4, 2, even=True, norm=0.0)
    t.norm[1, 5] = 0.75  # from (1, 2): 3 cells right
    t.norm[4, 2] = 0.25  # from (1, 2): 3 cells down
    assert t.distance(1, 2, of="contribution") == pytest.approx(0.75 * 3 * 16 + 0.25 * 3 * 32, rel=1e-3)
    t.norm[:] = 0
    t.norm[1, 2] = 1.0
    assert t.distance(1, 2, of="contribution") == 0.0  # itself
    t.norm[:] = 0
    t.norm[5, 5] = 1.0  # 4 cells down, 3 right: beside each other in the window of block (0, 0)
    assert t.distance(1, 2, of="contribution") == pytest.approx(math.hypot(4 * 32, 3 * 16), rel=1e-3)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_distance_equals_loops(case: tuple) -> None:
    t = trace(*case)
    b, h = t.grid.block_size, t.grid.halo_size
    for y, x in all_cells(t):
        p, total, inside_mass = slow_row(t, y, x, None, "weight"), 0.0, 0.0
        for i in range(len(p)):
            for j in range(len(p)):
                ky, kx = y // b * b - h + i, x // b * b - h + j
                if 0 <= ky < t.grid.height and 0 <= kx < t.grid.width:
                    total += p[i, j] * math.hypot((ky - y) * 32, (kx - x) * 16)
                    inside_mass += p[i, j]
        expected = total / inside_mass if inside_mass else math.nan
        assert t.distance(y, x) == pytest.approx(expected, rel=1e-4, abs=1e-4, nan_ok=True)


# ---------------------------------------------------------------- contributions
def test_contributions_add_heads_before_normalising() -> None:
    """Head 0 brings next to nothing, so the mean must be what the other heads bring, not a third of each."""
    t = trace(8, 8, 4, 1, even=True, norm=0.0)
    t.norm[0, 0, 0], t.norm[1, 1, 1], t.norm[2, 2, 2] = 0.0009765625, 0.5, 0.5
    row = t.row(0, 0, of="contribution")
    assert row[1, 1] == pytest.approx(0.001, abs=1e-4) and row[2, 2] == pytest.approx(0.4995, abs=1e-4)
    assert t.row(0, 0, head=0, of="contribution")[1, 1] == 1.0


def test_a_layer_that_adds_nothing_gives_zeros_and_finite_maps() -> None:
    t = trace(10, 7, 4, 2, norm=0.0)
    assert t.adds_nothing and not trace(10, 7, 4, 2).adds_nothing
    for head in (None, 1):
        for values in (
            t.row(3, 3, head, "contribution"),
            t.blocks(head, "contribution"),
            t.received(head, "contribution"),
        ):
            assert not values.any() and np.isfinite(values).all()
        assert t.entropy(3, 3, head, "contribution") == 0.0 and t.top(3, 3, 5, head, "contribution") == ()
        assert math.isnan(t.distance(3, 3, head, "contribution"))
        assert set(t.mass(3, 3, head, "contribution").values()) == {0.0}
        assert t.row(3, 3, head).sum() == pytest.approx(1, abs=1e-5)


def test_large_logits_stay_finite() -> None:
    t = trace(9, 9, 4, 2)
    t.q[:] *= 1000
    assert np.isfinite(t.blocks()).all() and t.row(4, 4).sum() == pytest.approx(1, abs=1e-5)


# ---------------------------------------------------------------- many queries: who attends to a cell, what a box sees
@pytest.mark.parametrize("case", CASES, ids=str)
def test_who_attends_to_a_cell_is_the_column_of_the_rows(case: tuple) -> None:
    t = trace(*case)
    for head, of in VIEWS:
        for times in (False, True):
            rows = {q: slow_on_map(t, *q, head, of, times) for q in all_cells(t)}
            for y, x in all_cells(t)[::7]:
                column = np.array([[rows[qy, qx][y, x] for qx in range(t.grid.width)] for qy in range(t.grid.height)])
                got = t.attended_by(y, x, head, of, times)
                assert got.dtype == np.float32 and np.array_equal(np.isnan(got), np.isnan(column))
                assert np.nanmax(np.abs(got - column)) < 2e-6 * (t.grid.window_size**2 if times else 1)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_boxs_row_is_the_mean_of_its_queries_rows_on_the_map(case: tuple) -> None:
    t = trace(*case)
    height, width = t.grid.height, t.grid.width
    boxes = {(0, 0, 1, 1), (0, 0, height, width), (height - 1, width - 1, height, width),
             (height // 3, width // 4, height // 3 + height // 2 + 1, width // 4 + width // 2 + 1)}  # fmt: skip
    for head, of in VIEWS:
        for y0, x0, y1, x1 in boxes:
            for times in (False, True):
                each = range(HEADS) if head == "max" else [head]
                expected = []
                for n in each:
                    rows = [slow_on_map(t, y, x, n, of, times) for y in range(y0, y1) for x in range(x0, x1)]
                    reached = np.isfinite(rows).any(0)
                    expected.append(np.where(reached, np.nansum(rows, 0) / len(rows), np.nan))
                expected, got = np.max(expected, 0), t.mean_row(y0, x0, y1, x1, head, of, times)
                assert got.dtype == np.float32 and np.array_equal(np.isnan(got), np.isnan(expected))
                assert np.nanmax(np.abs(got - expected)) < 2e-6 * (t.grid.window_size**2 if times else 1)


def test_the_mean_is_that_of_the_heads_and_the_largest_is_none_of_them_less() -> None:
    t = trace(7, 10, 4, 2)
    for of in ("weight", "content", "position"):
        rows = np.array([t.row(3, 5, n, of) for n in range(HEADS)])
        assert np.abs(rows.mean(0) - t.row(3, 5, None, of)).max() < 1e-7
        assert np.array_equal(rows.max(0), t.row(3, 5, "max", of)) and t.row(3, 5, "max", of).sum() > 1.01
    assert np.array_equal(t.shares(3, 5, "max"), t.row(3, 5, "max") / t.row(3, 5, "max").sum())
    assert sum(t.mass(3, 5, "max").values()) == pytest.approx(1, abs=1e-6)


def test_content_and_position_multiply_to_the_weights() -> None:
    """exp(a + b) = exp(a) exp(b), normalised: the two views are the two factors of the row."""
    for case in CASES:
        t = trace(*case)
        for y, x in all_cells(t)[::3]:
            for n in range(HEADS):
                product = t.row(y, x, n, "content").astype(float) * t.row(y, x, n, "position")
                if t.mask == "valid":
                    assert np.abs(product / product.sum() - t.row(y, x, n)).max() < 1e-5
                elif t.allowed(y, x).all():
                    assert np.ptp(t.row(y, x, n, "content")) == 0 == np.ptp(t.row(y, x, n, "position"))
                else:  # on padding there is no content
                    assert np.array_equal(t.row(y, x, n, "position"), t.row(y, x, n))
                    assert np.ptp(t.row(y, x, n, "content")[t.allowed(y, x)]) == 0


# ---------------------------------------------------------------- the control
def test_random_projections_of_the_same_features() -> None:
    """Spread, shape and what stays are the trained layer's; the seed makes it repeatable; each level has its own."""
    rng = np.random.default_rng(1)
    t = trace(40, 50, 8, 3)
    features = rng.normal(0, 2, (40, 50, 64)).astype(np.float16)
    t = replace(t, features=features, spread=(0.125, 0.25))
    a, again, other = t.randomised(0), t.randomised(0), t.randomised(1)
    assert np.array_equal(a.q, again.q) and np.array_equal(a.k, again.k) and not np.array_equal(a.q, other.q)
    assert not np.array_equal(a.q, replace(t, stride=8).randomised(0).q)
    for mine, kept, spread in ((a.q, t.q, 0.125), (a.k, t.k, 0.25)):
        assert mine.shape == kept.shape and mine.dtype == np.float16
        # The projection itself, found again from what it made: Gaussian, with the spread asked for.
        weights = np.linalg.lstsq(features.reshape(-1, 64).astype(float), mine.reshape(2000, -1).astype(float))[0]
        assert np.abs(features.reshape(-1, 64) @ weights - mine.reshape(2000, -1)).max() < 0.05
        assert weights.std() == pytest.approx(spread, rel=0.1) and abs(weights.mean()) < spread / 5
    for name in ("norm", "rel_height", "rel_width", "features"):
        assert getattr(a, name) is getattr(t, name)
    assert (a.mask, a.scale, a.grid, a.spread) == (t.mask, t.scale, t.grid, t.spread)


# ---------------------------------------------------------------- wrong arguments
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: t.row(8, 0), IndexError, r"cell \(y=8, x=0\) is outside the map of 8 x 12"),
        (lambda t: t.row(-1, 0), IndexError, r"count from 0"),
        (lambda t: t.block(2, 0), IndexError, r"block \(by=2, bx=0\) is outside the 2 x 3 blocks"),
        (lambda t: t.row(0, 0, head=3), IndexError, r"heads 0 to 2; None is their mean"),
        (lambda t: t.received(head=-1), IndexError, r"head -1 does not exist"),
        (lambda t: t.row(0, 0, head="min"), IndexError, r"head 'min' does not exist"),
        (lambda t: t.row(0, 0, head=True), IndexError, r"head True does not exist"),
        (lambda t: t.row(0, 0, of="weights"), ValueError, r"of must be one of \('weight', 'contribution', 'content'"),
        (lambda t: t.overview(("weight", "all")), ValueError, r"of must be one of"),
        (lambda t: t.attended_by(8, 0), IndexError, r"outside the map"),
        (lambda t: t.attended_by(0, 0, head=3), IndexError, r"heads 0 to 2"),
        (lambda t: t.mean_row(2, 2, 2, 5), IndexError, r"cells \[2, 2\) x \[2, 5\) are none"),
        (lambda t: t.mean_row(0, 0, 9, 1), IndexError, r"map of 8 x 12"),
        (lambda t: t.randomised(), ValueError, r"P4 has no features"),
        (lambda t: t.mass(0, 12), IndexError, r"outside the map"),
    ],
)
def test_wrong_arguments(call: object, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        call(trace(8, 12, 4, 1))


# ---------------------------------------------------------------- YOLO26's own attention
def test_global_rows_equal_the_definition() -> None:
    rng = np.random.default_rng(0)
    q, k = (rng.normal(0, 1, (3, 5, 2, 4)).astype(np.float16) for _ in "qk")
    t = GlobalTrace("layer10", 32, Letterbox.none(96, 160), q, k, 0.5)
    for y, x, head in [(0, 0, 0), (2, 4, 1), (1, 3, 0)]:
        logits = [
            [0.5 * float(q[y, x, head].astype(float) @ k[i, j, head].astype(float)) for j in range(5)] for i in range(3)
        ]
        expected = np.exp(logits) / np.exp(logits).sum()
        assert np.abs(t.row(y, x, head) - expected).max() < 1e-6
        assert np.abs(t.times_uniform(y, x, head) - 15 * expected).max() < 1e-5
    assert np.abs(t.row(1, 1) - (t.row(1, 1, 0) + t.row(1, 1, 1)) / 2).max() < 1e-7
    with pytest.raises(IndexError, match="outside the map of 3 x 5"):
        t.row(3, 0)
    with pytest.raises(IndexError, match="heads 0 to 1"):
        t.row(0, 0, 2)
