"""What the fused kernels share: cells of a rectangle, relative positions of a tile, which pairs see each other.

Written in the kernel language. A tile is a rectangle of queries against a rectangle of keys, each flattened row by
row. Two facts make one scheme serve every kernel:

* The position logit of a pair depends on nothing but ``key - query`` (in cells of the map): the row of the table is
  ``key - query + halo + window - 1``. Of all rows, ``2 block + 2 halo - 1`` can occur, from row ``2 halo`` on. The
  kernels count those from 0 and call the count `offset`.
* So the term of a pair is ``terms[query, key row] + terms[query, columns + key column]``: a product of the terms with
  two-hot columns, which the tensor cores add to ``q k^T`` for nearly nothing, without a gather per pair.

Names: WIDTH is d rounded up to a power of two; OFFSETS and PLACES are the offsets of one axis and the side of the
rectangle of keys, likewise; "products" (.., 2 OFFSETS) are q . table, "terms" (.., 2 PLACES) the same by key place,
rows first, then columns.
"""
# ruff: noqa: ANN001, ANN201 - arguments and results of device functions have no Python type

import triton
import triton.language as tl


@triton.jit
def cells_of_square(n, top, left, height, width, SIDE: tl.constexpr):
    """Cell number `n` of a square, counted row by row: its y, its x, and whether square and map have it."""
    y, x = top + n // SIDE, left + n % SIDE
    return y, x, (n < SIDE * SIDE) & (y >= 0) & (y < height) & (x >= 0) & (x < width)


@triton.jit
def window(start, length, limit, HALO: tl.constexpr):
    """First cell and length of a run of cells and its halo along an axis, cut at the border of the map."""
    first = tl.maximum(start - HALO, 0)
    return first, tl.minimum(start + length + HALO, limit) - first


@triton.jit
def cells_of_window(n, top, left, rows, cols):
    """The same of a rectangle that the border may have cut: its cells outside the map cost nothing.

    A division by a number known at run time only is a dozen instructions, and every key needs one. By multiplication it
    is two, exact while n * cols < 2 ** 22: the largest window that why_not lets through has 134 cells a side.
    """
    y = (n * (((1 << 22) + cols - 1) // cols)) >> 22
    return top + y, left + n - y * cols, n < rows * cols


@triton.jit
def load_cells(base, y, x, there, stride_y, stride_x, D: tl.constexpr, WIDTH: tl.constexpr):
    """(cells, WIDTH): one head of each cell, zeros where there is none."""
    lane = tl.arange(0, WIDTH)
    return tl.load(
        base + (y * stride_y + x * stride_x)[:, None] + lane[None, :],
        mask=there[:, None] & (lane < D)[None, :],
        other=0.0,
    )


@triton.jit
def store_cells(base, values, y, x, there, stride_y, stride_x, D: tl.constexpr, WIDTH: tl.constexpr):
    """The inverse of :func:`load_cells`."""
    lane = tl.arange(0, WIDTH)
    tl.store(
        base + (y * stride_y + x * stride_x)[:, None] + lane[None, :],
        values.to(base.dtype.element_ty),
        mask=there[:, None] & (lane < D)[None, :],
    )


@triton.jit
def load_tables(
    rel_height,
    rel_width,
    BLOCK: tl.constexpr,
    HALO: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    OFFSETS: tl.constexpr,
):
    """(2 OFFSETS, WIDTH): the rows of both tables that can occur, one table under the other."""
    t = tl.arange(0, 2 * OFFSETS)
    offset = t % OFFSETS
    lane = tl.arange(0, WIDTH)
    at = ((offset + 2 * HALO) * D)[:, None] + lane[None, :]
    occurs = (offset < 2 * BLOCK + 2 * HALO - 1)[:, None] & (lane < D)[None, :]
    of_height = (t < OFFSETS)[:, None]
    height = tl.load(rel_height + at, mask=occurs & of_height, other=0.0)
    width = tl.load(rel_width + at, mask=occurs & (t >= OFFSETS)[:, None], other=0.0)
    return tl.where(of_height, height, width)


@triton.jit
def offset_of_place(
    y, x, top, left, BLOCK: tl.constexpr, HALO: tl.constexpr, OFFSETS: tl.constexpr, PLACES: tl.constexpr
):
    """(queries, 2 PLACES): which product is the term of a key at that row (column) of the rectangle at top, left.

    Offsets that no window reaches give some product: such pairs are masked.
    """
    c = tl.arange(0, 2 * PLACES)
    of_row = c < PLACES
    origin = tl.where(of_row[None, :], (top - y)[:, None], (left - x)[:, None])
    offset = origin + (c % PLACES)[None, :] + (HALO + BLOCK - 1)
    offset = tl.minimum(tl.maximum(offset, 0), OFFSETS - 1)
    return offset + tl.where(of_row, 0, OFFSETS)[None, :]


@triton.jit
def place_of_offset(
    y, x, top, left, BLOCK: tl.constexpr, HALO: tl.constexpr, OFFSETS: tl.constexpr, PLACES: tl.constexpr
):
    """(queries, 2 OFFSETS) twice: the inverse of :func:`offset_of_place`, and whether the rectangle has that place."""
    t = tl.arange(0, 2 * OFFSETS)
    of_row = t < OFFSETS
    origin = tl.where(of_row[None, :], (top - y)[:, None], (left - x)[:, None])
    place = (t % OFFSETS)[None, :] - (HALO + BLOCK - 1) - origin
    inside = (place >= 0) & (place < PLACES)
    return tl.where(inside, place, 0) + tl.where(of_row, 0, PLACES)[None, :], inside


@triton.jit
def two_hot(row, col, PLACES: tl.constexpr):
    """(2 PLACES, keys) bool: a one at the row and a one at the column of every key in its rectangle."""
    c = tl.arange(0, 2 * PLACES)[:, None]
    return tl.where(c < PLACES, row[None, :], col[None, :] + PLACES) == c


@triton.jit
def high_and_low(x, kind: tl.constexpr):
    """float32 as the sum of two numbers of a narrower type, so that its products with ones lose next to nothing."""
    if kind == tl.float16:
        x = tl.minimum(tl.maximum(x, -65504.0), 65504.0)  # no infinity: times zero it is not a number
        high = x.to(tl.float16)
        low = (x - high.to(tl.float32)).to(tl.float16)
    else:  # bfloat16 is the upper half of float32: cutting it off is cheaper than rounding, and low gets what is left
        bits = x.to(tl.int32, bitcast=True)
        high = (bits >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
        left = (x - (bits & -65536).to(tl.float32, bitcast=True)).to(tl.int32, bitcast=True)
        low = (left >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
    return high, low


@triton.jit
def within(key, first, length: tl.constexpr):
    """Whether first <= key < first + length, in one comparison: what lies before wraps to a huge number."""
    return (key - first).to(tl.uint32) < length


@triton.jit
def in_window(query_y, query_x, key_y, key_x, BLOCK: tl.constexpr, HALO: tl.constexpr):
    """Whether the key lies in the window of the query's block; the four broadcast against each other."""
    side: tl.constexpr = BLOCK + 2 * HALO
    rows = within(key_y, query_y // BLOCK * BLOCK - HALO, side)
    return rows & within(key_x, query_x // BLOCK * BLOCK - HALO, side)
