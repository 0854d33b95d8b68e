"""The forward kernel: one program attends for one square of queries of one head, over tiles of its keys.

Online softmax in float32 as in FlashAttention-2 (arXiv 2307.08691), in powers of two: ``exp`` costs the GPU a
multiplication more than ``exp2``. Relative positions: see :mod:`halo_vis.kernels.fused_tiles`.
"""
# ruff: noqa: ANN001, ANN201 - arguments and results of kernels have no Python type

import os
from collections.abc import Callable

import triton
import triton.language as tl

from halo_vis.kernels.fused_tiles import (
    cells_of_square,
    cells_of_window,
    high_and_low,
    in_window,
    load_cells,
    load_tables,
    offset_of_place,
    store_cells,
    two_hot,
    window,
)


def tuned(tile: str, choices: list[tuple[int, int, int]]) -> Callable:
    """Decorator: the kernel takes the fastest of some (size of `tile`, warps, stages), measured once per geometry.

    float32 and wide heads choose among the small tiles: with large ones their programs overflow the registers, and take
    a minute each to compile. The interpreter, where nothing differs, gets the first.
    """

    def fitting(configs: list[triton.Config], arguments: dict, **sizes: int) -> list[triton.Config]:
        wide = arguments["q"].element_size() > 2 or sizes["WIDTH"] > 64
        return [c for c in configs if (c.kwargs[tile] <= 32 if wide else c.kwargs[tile] >= 32)]

    one = os.environ.get("TRITON_INTERPRET") == "1"
    configs = [triton.Config({tile: n}, num_warps=w, num_stages=s) for n, w, s in choices[: 1 if one else None]]
    return triton.autotune(
        configs, key=["HEADS", "BLOCK", "HALO", "D"], prune_configs_by=None if one else {"early_config_prune": fitting}
    )


@triton.jit
def place(program, height, width, HEADS: tl.constexpr, SIDE: tl.constexpr, PARTS: tl.constexpr):
    """Which square a program works on: its picture, head, part of the square, top and left."""
    head = program % HEADS
    rest = program // HEADS
    part = rest % PARTS
    rest = rest // PARTS
    across, down = tl.cdiv(width, SIDE), tl.cdiv(height, SIDE)
    left = rest % across * SIDE
    rest = rest // across
    # One picture's offsets fit 32 bits (why_not sees to it), a batch's need not.
    return (rest // down).to(tl.int64), head, part, rest % down * SIDE, left


@tuned("KEYS", [(64, 4, 2), (32, 4, 3), (64, 4, 3), (64, 8, 2), (32, 8, 2)])
@triton.jit(do_not_specialize=["height", "width"])
def forward(
    q,
    k,
    v,
    rel_height,
    rel_width,
    out,
    log_sum,
    height,
    width,
    q_batch,
    q_row,
    q_col,
    k_batch,
    k_row,
    k_col,
    v_batch,
    v_row,
    v_col,
    HEADS: tl.constexpr,
    BLOCK: tl.constexpr,
    HALO: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    OFFSETS: tl.constexpr,
    SIDE: tl.constexpr,
    QUERIES: tl.constexpr,
    PARTS: tl.constexpr,
    PLACES: tl.constexpr,
    SCALE: tl.constexpr,
    PRECISION: tl.constexpr,
    KEYS: tl.constexpr,
):
    """`out` (B, H, W, HEADS * D) and `log_sum` (B, HEADS, H, W), the base-2 logarithm of each softmax's denominator.

    Programs: B * squares of SIDE x SIDE cells * PARTS of QUERIES queries * HEADS, heads fastest.
    """
    batch, head, part, top, left = place(tl.program_id(0), height, width, HEADS, SIDE, PARTS)
    if top + part * QUERIES // SIDE >= height:
        return
    q += batch * q_batch + head * D
    k += batch * k_batch + head * D
    v += batch * v_batch + head * D
    out += batch * height * width * (HEADS * D) + head * D
    log_sum += (batch * HEADS + head) * height * width

    y, x, there = cells_of_square(part * QUERIES + tl.arange(0, QUERIES), top, left, height, width, SIDE)
    queries = load_cells(q, y, x, there, q_row, q_col, D, WIDTH)
    tables = load_tables(rel_height, rel_width, BLOCK, HALO, D, WIDTH, OFFSETS)
    products = tl.dot(queries, tl.trans(tables), input_precision=PRECISION)
    terms = tl.gather(products, offset_of_place(y, x, top - HALO, left - HALO, BLOCK, HALO, OFFSETS, PLACES), 1)
    kind: tl.constexpr = queries.dtype
    if kind != tl.float32:
        terms, rest = high_and_low(terms, kind)

    key_top, key_rows = window(top, SIDE, height, HALO)
    key_left, key_cols = window(left, SIDE, width, HALO)
    greatest = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    attended = tl.zeros((QUERIES, WIDTH), tl.float32)
    for start in tl.range(0, key_rows * key_cols, KEYS):
        ky, kx, seen = cells_of_window(start + tl.arange(0, KEYS), key_top, key_left, key_rows, key_cols)
        keys = load_cells(k, ky, kx, seen, k_row, k_col, D, WIDTH)
        values = load_cells(v, ky, kx, seen, v_row, v_col, D, WIDTH)
        hot = two_hot(ky - (top - HALO), kx - (left - HALO), PLACES).to(kind)
        logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
        logits = tl.dot(terms, hot, logits, input_precision=PRECISION)
        if kind != tl.float32:
            logits = tl.dot(rest, hot, logits)
        pairs = seen[None, :]
        if SIDE != BLOCK:
            pairs = pairs & in_window(y[:, None], x[:, None], ky[None, :], kx[None, :], BLOCK, HALO)
        logits = tl.where(pairs, logits, float("-inf"))

        before = greatest
        greatest = tl.maximum(before, tl.max(logits, 1))
        # A query that has seen no key yet: any finite number keeps the exponents below from being inf - inf.
        base = tl.where(greatest == float("-inf"), 0.0, greatest * SCALE)
        weights = tl.exp2(logits * SCALE - base[:, None])
        shrink = tl.exp2(before * SCALE - base)
        total = total * shrink + tl.sum(weights, 1)
        attended = attended * shrink[:, None]
        attended = tl.dot(weights.to(kind), values, attended, input_precision=PRECISION)

    # The lattice's queries outside the map attend to nothing and are not stored.
    total = tl.where(there, total, 1.0)
    store_cells(out, attended / total[:, None], y, x, there, width * (HEADS * D), HEADS * D, D, WIDTH)
    tl.store(log_sum + y * width + x, greatest * SCALE + tl.log2(total), mask=there)
