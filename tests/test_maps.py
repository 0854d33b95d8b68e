"""Rows and what is made of them, against a slow oracle: one query, one key at a time, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from halo_vis.geometry import HaloGrid, Letterbox
from halo_vis.maps import GlobalTrace, LevelTrace

HEADS, D = 3, 4
# height, width, block, halo, mask: divided or not, halo wider than the block, a window larger than the map
CASES = [
    (8, 12, 4, 1, "valid"),
    (7, 10, 4, 2, "valid"),
    (5, 3, 2, 3, "valid"),
    (3, 3, 8, 3, "valid"),
    (1, 1, 2, 1, "valid"),
    (12, 12, 4, 1, "published"),
    (7, 10, 4, 2, "published"),
    (4, 4, 4, 0, "published"),
]
VIEWS = [(None, "weight"), (1, "weight"), (None, "contribution"), (2, "contribution")]


def trace(
    height: int, width: int, b: int, h: int, mask: str = "valid", even: bool = False, norm: float | None = None
) -> LevelTrace:
    """Random tensors; `even` makes every logit 0, `norm` makes every value norm that number."""
    rng = np.random.default_rng(height * 100 + width)
    w = b + 2 * h

    def draw(*shape: int) -> np.ndarray:
        return (rng.normal(0, 0 if even else 1.5, shape)).astype(np.float16)

    values = (
        np.abs(rng.normal(0.4, 0.3, (height, width, HEADS))) if norm is None else np.full((height, width, HEADS), norm)
    )
    return LevelTrace(
        level="P4",
        stride=16,
        grid=HaloGrid(height, width, b, h),
        letterbox=Letterbox(height * 32, width * 16, height * 16, width * 16, height * 16, width * 16, 0, 0),
        q=draw(height, width, HEADS, D),
        k=draw(height, width, HEADS, D),
        norm=values.astype(np.float16),
        rel_height=draw(2 * w - 1, D),
        rel_width=draw(2 * w - 1, D),
        scale=D**-0.5,
        mask=mask,
        residual=True,
    )


def slow_weights(t: LevelTrace, y: int, x: int, head: int) -> np.ndarray:
    """(window, window) float64 of one query and head, straight from the definition."""
    b, h = t.grid.block_size, t.grid.halo_size
    w = b + 2 * h
    by, bx = y // b, x // b
    whole = by * b - h >= 0 and bx * b - h >= 0 and by * b + b + h <= t.grid.height and bx * b + b + h <= t.grid.width
    logits = np.full((w, w), -np.inf)
    q = t.q[y, x, head].astype(np.float64) * t.scale
    for i in range(w):
        for j in range(w):
            ky, kx = by * b - h + i, bx * b - h + j
            inside = 0 <= ky < t.grid.height and 0 <= kx < t.grid.width
            position = q @ t.rel_height[i - (y - by * b) + w - 1].astype(np.float64)
            position += q @ t.rel_width[j - (x - bx * b) + w - 1].astype(np.float64)
            if t.mask == "valid" and inside:
                logits[i, j] = q @ t.k[ky, kx, head].astype(np.float64) + position
            elif t.mask == "published" and whole:
                logits[i, j] = 0.0
            elif t.mask == "published" and not inside:
                logits[i, j] = position
    e = np.exp(logits - logits.max())
    return e / e.sum()


def slow_row(t: LevelTrace, y: int, x: int, head: int | None, of: str) -> np.ndarray:
    heads = range(HEADS) if head is None else [head]
    b, h = t.grid.block_size, t.grid.halo_size
    total = np.zeros((b + 2 * h, b + 2 * h))
    for n in heads:
        row = slow_weights(t, y, x, n)
        if of == "contribution":
            for i in range(len(row)):
                for j in range(len(row)):
                    ky, kx = y // b * b - h + i, x // b * b - h + j
                    there = 0 <= ky < t.grid.height and 0 <= kx < t.grid.width
                    row[i, j] *= float(t.norm[ky, kx, n]) if there else 0.0
        total += row
    return total / total.sum() if total.sum() else total


def all_cells(t: LevelTrace) -> list[tuple[int, int]]:
    return [(y, x) for y in range(t.grid.height) for x in range(t.grid.width)]


# ---------------------------------------------------------------- rows, blocks, received
@pytest.mark.parametrize("case", CASES, ids=str)
def test_rows_blocks_and_received_equal_the_slow_oracle(case: tuple) -> None:
    t = trace(*case)
    g, w = t.grid, t.grid.window_size
    for head, of in VIEWS:
        rows = {c: slow_row(t, *c, head, of) for c in all_cells(t)}
        for (y, x), row in rows.items():
            got = t.row(y, x, head, of)
            assert got.dtype == np.float32 and got.shape == (w, w)
            assert np.abs(got - row).max() < 2e-6
        blocks = t.blocks(head, of)
        assert blocks.shape == (g.block_rows, g.block_cols, w, w)
        sums, even = (np.zeros((g.height + 2 * w, g.width + 2 * w)) for _ in range(2))
        for by in range(g.block_rows):
            for bx in range(g.block_cols):
                mine = [r for c, r in rows.items() if g.block_of(*c) == (by, bx)]
                assert np.abs(t.block(by, bx, head, of) - np.mean(mine, 0)).max() < 2e-6
                assert np.array_equal(blocks[by, bx], t.block(by, bx, head, of))
                oy, ox = g.window_origin(by, bx)
                place = slice(oy + w, oy + 2 * w), slice(ox + w, ox + 2 * w)
                sums[place] += np.sum(mine, 0)
                even[place] += len(mine) * g.inside(by, bx) / g.inside(by, bx).sum()
        sums, even = (a[w:-w, w:-w] for a in (sums, even))
        assert t.received(head, of).shape == (g.height, g.width)
        assert np.abs(t.received(head, of, raw=True) - sums).max() < 1e-5
        assert np.abs(t.received(head, of) - sums / even).max() < 1e-5


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
    assert t.distance(1, 2, of="contribution") == 0.0
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
        expected = total / inside_mass if inside_mass else 0.0
        assert t.distance(y, x) == pytest.approx(expected, rel=1e-4, abs=1e-4)


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
        assert t.entropy(3, 3, head, "contribution") == 0.0 == t.distance(3, 3, head, "contribution")
        assert set(t.mass(3, 3, head, "contribution").values()) == {0.0}
        assert t.row(3, 3, head).sum() == pytest.approx(1, abs=1e-5)


def test_large_logits_stay_finite() -> None:
    t = trace(9, 9, 4, 2)
    t.q[:] *= 1000
    assert np.isfinite(t.blocks()).all() and t.row(4, 4).sum() == pytest.approx(1, abs=1e-5)


# ---------------------------------------------------------------- wrong arguments
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: t.row(8, 0), IndexError, r"cell \(y=8, x=0\) is outside the map of 8 x 12"),
        (lambda t: t.row(-1, 0), IndexError, r"count from 0"),
        (lambda t: t.block(2, 0), IndexError, r"block \(by=2, bx=0\) is outside the 2 x 3 blocks"),
        (lambda t: t.row(0, 0, head=3), IndexError, r"heads 0 to 2; None is their mean"),
        (lambda t: t.received(head=-1), IndexError, r"head -1 does not exist"),
        (lambda t: t.row(0, 0, of="weights"), ValueError, r"of must be one of \('weight', 'contribution'\)"),
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
