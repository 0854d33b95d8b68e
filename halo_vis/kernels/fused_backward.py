"""The backward kernels, after FlashAttention-2 (arXiv 2307.08691, algorithm 2): weights are computed again, not stored.

With P the weights, O the output and a prime for the gradient of each: ``V' = P^T O'``, ``P' = O' V^T``,
``S' = P (P' - delta)`` with ``delta = sum(O O')`` per query, ``Q' = S' K + products' tables``, ``K' = S'^T Q``, and the
tables' is ``products'^T Q``. Q' needs every key of a query, K' and V' every query of a key: one kernel each, so that
each program owns what it writes. No atomics, hence the same bits every time.
"""
# ruff: noqa: ANN001, ANN201 - arguments and results of kernels have no Python type

import triton
import triton.language as tl

from halo_vis.kernels.fused_forward import place, tuned
from halo_vis.kernels.fused_tiles import (
    cells_of_square,
    cells_of_window,
    high_and_low,
    in_window,
    load_cells,
    load_tables,
    offset_of_place,
    place_of_offset,
    store_cells,
    two_hot,
    window,
    within,
)


@tuned("KEYS", [(64, 4, 2), (32, 4, 2), (64, 8, 2), (32, 8, 2)])
@triton.jit(do_not_specialize=["height", "width", "tiles", "beyond"])
def backward_queries(
    q,
    k,
    v,
    rel_height,
    rel_width,
    out,
    log_sum,
    grad_out,
    grad_q,
    grad_tables,
    delta,
    height,
    width,
    tiles,
    beyond,
    q_batch,
    q_row,
    q_col,
    k_batch,
    k_row,
    k_col,
    v_batch,
    v_row,
    v_col,
    o_batch,
    o_row,
    o_col,
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
    LOGIT_SCALE: tl.constexpr,
    PRECISION: tl.constexpr,
    KEYS: tl.constexpr,
):
    """`grad_q`, `delta` (B, HEADS, H, W) for the other kernel, and each program's share of the tables' gradients.

    A program takes every num_programs-th tile of the forward kernel's grid, so that `grad_tables` (programs,
    2 OFFSETS, WIDTH), to be summed over the programs, stays small however large the map. `o_batch`, `o_row` and `o_col`
    are the strides of grad_out; `beyond` is any number above `tiles`.
    """
    tables = load_tables(rel_height, rel_width, BLOCK, HALO, D, WIDTH, OFFSETS)
    kind: tl.constexpr = tables.dtype
    share = tl.zeros((2 * OFFSETS, WIDTH), tl.float32)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        batch, head, part, top, left = place(tile, height, width, HEADS, SIDE, PARTS)
        # Keys lie relative to queries as in any other tile, and the compiler would keep all those indices in registers
        # from one tile to the next: they spill. It cannot know that this quotient is zero.
        origin_y, origin_x = top - HALO + tile // beyond, left - HALO + tile // beyond
        own = batch * height * width * (HEADS * D) + head * D  # of the tensors made here, which are contiguous
        per_query = (batch * HEADS + head) * height * width

        y, x, there = cells_of_square(part * QUERIES + tl.arange(0, QUERIES), top, left, height, width, SIDE)
        queries = load_cells(q + batch * q_batch + head * D, y, x, there, q_row, q_col, D, WIDTH)
        arriving = load_cells(grad_out + batch * o_batch + head * D, y, x, there, o_row, o_col, D, WIDTH)
        left_out = load_cells(out + own, y, x, there, width * (HEADS * D), HEADS * D, D, WIDTH)
        level = tl.load(log_sum + per_query + y * width + x, mask=there, other=float("inf"))
        mean = tl.sum(arriving.to(tl.float32) * left_out.to(tl.float32), 1)
        tl.store(delta + per_query + y * width + x, mean, mask=there)

        products = tl.dot(queries, tl.trans(tables), input_precision=PRECISION)
        terms = tl.gather(products, offset_of_place(y, x, origin_y, origin_x, BLOCK, HALO, OFFSETS, PLACES), 1)
        if kind != tl.float32:
            terms, rest = high_and_low(terms, kind)

        key_top, key_rows = window(top, SIDE, height, HALO)
        key_left, key_cols = window(left, SIDE, width, HALO)
        to_queries = tl.zeros((QUERIES, WIDTH), tl.float32)
        to_terms = tl.zeros((QUERIES, 2 * PLACES), tl.float32)
        for start in tl.range(0, key_rows * key_cols, KEYS):
            ky, kx, seen = cells_of_window(start + tl.arange(0, KEYS), key_top, key_left, key_rows, key_cols)
            keys = load_cells(k + batch * k_batch + head * D, ky, kx, seen, k_row, k_col, D, WIDTH)
            values = load_cells(v + batch * v_batch + head * D, ky, kx, seen, v_row, v_col, D, WIDTH)
            hot = two_hot(ky - origin_y, kx - origin_x, PLACES).to(kind)
            logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
            logits = tl.dot(terms, hot, logits, input_precision=PRECISION)
            if kind != tl.float32:
                logits = tl.dot(rest, hot, logits)
            pairs = seen[None, :]
            if SIDE != BLOCK:
                pairs = pairs & in_window(y[:, None], x[:, None], ky[None, :], kx[None, :], BLOCK, HALO)
            weights = tl.where(pairs, tl.exp2(logits * SCALE - level[:, None]), 0.0)
            to_weights = tl.dot(arriving, tl.trans(values), input_precision=PRECISION)
            to_logits = (weights * (to_weights - mean[:, None])).to(kind)
            to_queries = tl.dot(to_logits, keys, to_queries, input_precision=PRECISION)
            to_terms = tl.dot(to_logits, tl.trans(hot), to_terms, input_precision=PRECISION)

        # Each term came from one product: the way back is a gather too.
        at, inside = place_of_offset(y, x, origin_y, origin_x, BLOCK, HALO, OFFSETS, PLACES)
        to_products = tl.where(inside, tl.gather(to_terms, at, 1), 0.0).to(kind)
        to_queries = tl.dot(to_products, tables, to_queries, input_precision=PRECISION) * LOGIT_SCALE
        store_cells(grad_q + own, to_queries, y, x, there, width * (HEADS * D), HEADS * D, D, WIDTH)
        share = tl.dot(tl.trans(to_products), queries, share, input_precision=PRECISION)

    entry = tl.arange(0, 2 * OFFSETS)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    tl.store(grad_tables + tl.program_id(0).to(tl.int64) * (2 * OFFSETS * WIDTH) + entry, share * LOGIT_SCALE)


@tuned("QUERIES", [(64, 4, 2), (32, 4, 2), (64, 8, 2), (32, 8, 2), (16, 8, 2)])
@triton.jit(do_not_specialize=["height", "width"])
def backward_keys(
    q,
    k,
    v,
    rel_height,
    rel_width,
    log_sum,
    grad_out,
    delta,
    grad_k,
    grad_v,
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
    o_batch,
    o_row,
    o_col,
    HEADS: tl.constexpr,
    BLOCK: tl.constexpr,
    HALO: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    OFFSETS: tl.constexpr,
    SIDE: tl.constexpr,
    SHIFT: tl.constexpr,
    OWNERS: tl.constexpr,
    KEYS: tl.constexpr,
    PLACES: tl.constexpr,
    SCALE: tl.constexpr,
    LOGIT_SCALE: tl.constexpr,
    PRECISION: tl.constexpr,
    QUERIES: tl.constexpr,
):
    """`grad_k` and `grad_v` of one square of SIDE x SIDE keys of one head, over the queries whose windows reach it.

    The lattice of squares is shifted against that of blocks, by SHIFT cells upwards, so that few blocks reach a square
    (at block 8, halo 3: four, not nine). The loop goes over squares of the other kernels' lattice, of OWNERS cells a
    side. Everything is held transposed, keys first, so that weights enter the second products as they leave the first.

    Programs: B * squares (counted on a map enlarged by SHIFT) * HEADS, heads fastest.
    """
    batch, head, _, top, left = place(tl.program_id(0), height + SHIFT, width + SHIFT, HEADS, SIDE, 1)
    top -= SHIFT
    left -= SHIFT
    q += batch * q_batch + head * D
    k += batch * k_batch + head * D
    v += batch * v_batch + head * D
    grad_out += batch * o_batch + head * D
    grad_k += batch * height * width * (HEADS * D) + head * D
    grad_v += batch * height * width * (HEADS * D) + head * D
    log_sum += (batch * HEADS + head) * height * width
    delta += (batch * HEADS + head) * height * width

    ky, kx, seen = cells_of_square(tl.arange(0, KEYS), top, left, height, width, SIDE)
    keys = load_cells(k, ky, kx, seen, k_row, k_col, D, WIDTH)
    values = load_cells(v, ky, kx, seen, v_row, v_col, D, WIDTH)
    tables = load_tables(rel_height, rel_width, BLOCK, HALO, D, WIDTH, OFFSETS)
    kind: tl.constexpr = keys.dtype
    hot = tl.trans(two_hot(ky - top, kx - left, PLACES).to(kind))

    # The squares of queries whose windows hold a key of this one.
    first_y, first_x = tl.maximum(top - HALO, 0) // OWNERS, tl.maximum(left - HALO, 0) // OWNERS
    last_y = (tl.minimum(top + SIDE + HALO, height) - 1) // OWNERS
    last_x = (tl.minimum(left + SIDE + HALO, width) - 1) // OWNERS
    across = last_x - first_x + 1
    parts: tl.constexpr = (OWNERS * OWNERS + QUERIES - 1) // QUERIES
    to_keys = tl.zeros((KEYS, WIDTH), tl.float32)
    to_values = tl.zeros((KEYS, WIDTH), tl.float32)
    for step in tl.range(0, (last_y - first_y + 1) * across * parts):
        square = step // parts
        above, before = (first_y + square // across) * OWNERS, (first_x + square % across) * OWNERS
        numbers = step % parts * QUERIES + tl.arange(0, QUERIES)
        y, x, there = cells_of_square(numbers, above, before, height, width, OWNERS)
        queries = load_cells(q, y, x, there, q_row, q_col, D, WIDTH)
        arriving = load_cells(grad_out, y, x, there, o_row, o_col, D, WIDTH)
        level = tl.load(log_sum + y * width + x, mask=there, other=float("inf"))
        mean = tl.load(delta + y * width + x, mask=there, other=0.0)
        products = tl.dot(tables, tl.trans(queries), input_precision=PRECISION)
        terms = tl.gather(products, tl.trans(offset_of_place(y, x, top, left, BLOCK, HALO, OFFSETS, PLACES)), 0)
        logits = tl.dot(keys, tl.trans(queries), input_precision=PRECISION)
        if kind == tl.float32:
            logits = tl.dot(hot, terms, logits, input_precision=PRECISION)
        else:
            high, low = high_and_low(terms, kind)
            logits = tl.dot(hot, high, logits)
            logits = tl.dot(hot, low, logits)
        if OWNERS == BLOCK:  # one block: its window is the same for every query
            window_of_all: tl.constexpr = BLOCK + 2 * HALO
            pairs = (within(ky, above - HALO, window_of_all) & within(kx, before - HALO, window_of_all))[:, None]
        else:
            pairs = in_window(y[None, :], x[None, :], ky[:, None], kx[:, None], BLOCK, HALO)
        weights = tl.where(pairs, tl.exp2(logits * SCALE - level[None, :]), 0.0)
        to_values = tl.dot(weights.to(kind), arriving, to_values, input_precision=PRECISION)
        to_weights = tl.dot(values, tl.trans(arriving), input_precision=PRECISION)
        to_logits = (weights * (to_weights - mean[None, :])).to(kind)
        to_keys = tl.dot(to_logits, queries, to_keys, input_precision=PRECISION)

    store_cells(grad_k, to_keys * LOGIT_SCALE, ky, kx, seen, width * (HEADS * D), HEADS * D, D, WIDTH)
    store_cells(grad_v, to_values, ky, kx, seen, width * (HEADS * D), HEADS * D, D, WIDTH)
