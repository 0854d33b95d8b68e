"""Every map of a layer at once: whole block rows together, since most of a single block's time is the calls.

The rows themselves are never kept: their sum is one product of the exponentials with what they are divided by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Protocol

import numpy as np

from halo_vis.geometry import HaloGrid

TINY = np.finfo(np.float32).tiny  # a row that brings less than this brings nothing
Maps = dict[str, tuple[np.ndarray, np.ndarray]]


class Layer(Protocol):
    """What is taken of a :class:`halo_vis.maps.LevelTrace`, with its shapes."""

    grid: HaloGrid
    q: np.ndarray
    k: np.ndarray
    norm: np.ndarray
    rel_height: np.ndarray
    rel_width: np.ndarray
    scale: float
    mask: str
    heads: int


def overview(trace: Layer, of: tuple[str, ...]) -> Maps:
    """See :meth:`halo_vis.maps.LevelTrace.overview`."""
    g, w, n = trace.grid, trace.grid.window_size, 1 + trace.heads
    shape = (n, g.block_rows, g.block_cols, w, w)
    blocks = {name: np.empty(shape, np.float32) for name in of}
    totals = {name: np.zeros((n, g.height, g.width), np.float32) for name in of}
    rows = _BlockRows(trace)
    for by in range(g.block_rows):
        there = rows.queries_there(by)
        sums = add_up(of, lambda half, by=by: rows.logits(by, half), rows.norms(by), there)
        for name, added in zip(of, sums, strict=True):
            maps = added.reshape(g.block_cols, n, w, w)
            for bx, values in enumerate(maps):
                add_window(g, totals[name], by, bx, values)
            blocks[name][:, by] = (maps / there.sum((1, 2)).reshape(-1, 1, 1, 1)).swapaxes(0, 1)
    return {name: (blocks[name], totals[name] / even_spread(g)) for name in of}


def add_up(
    of: tuple[str, ...], logits: Callable[[str], np.ndarray], norms: np.ndarray, queries: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """For each `of`: (..., 1 + heads, keys), the rows of all queries added up, all heads together first.

    Args:
        logits: gives (..., heads, queries, keys) for "weight", "content" or "position"; changed here.
        norms: (..., heads, keys), what each key's value adds.
        queries: (..., 1, queries), 1 for those that count and 0 for the others; None: all count.
    """
    made: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in of:
        half = "weight" if name == "contribution" else name
        if half not in made:
            e = logits(half)
            e -= e.max(-1, keepdims=True)
            np.exp(e, out=e)
            made[half] = e, 1 / e.sum(-1)
        e, share = made[half]
        counted = share if queries is None else share * queries
        if name == "contribution":
            brought = (e @ norms[..., None])[..., 0] * share
            each, joint = (
                np.divide(counted, b, out=np.zeros_like(counted), where=b > TINY)
                for b in (brought, np.broadcast_to(brought.sum(-2, keepdims=True), brought.shape))
            )
            sums = (np.stack([each, joint], -2) @ e) * norms[..., None, :]  # ..., heads, 2, keys
            yield np.concatenate([sums[..., 1, :].sum(-2, keepdims=True), sums[..., 0, :]], -2)
        else:
            sums = (counted[..., None, :] @ e)[..., 0, :]
            yield np.concatenate([sums.mean(-2, keepdims=True), sums], -2)


class _BlockRows:
    """A layer's queries and windows in float32, block row by block row; beside the map they are zero."""

    def __init__(self, trace: Layer) -> None:
        self.trace = trace
        g, w = trace.grid, trace.grid.window_size
        b, h = g.block_size, g.halo_size
        self._q, self._there = _framed(g, trace.q, 0), _framed(g, np.ones((g.height, g.width)), 0)
        self._q *= trace.scale
        self._k, self._norm, self._inside = (
            _framed(g, values, h) for values in (trace.k, trace.norm, np.ones((g.height, g.width)))
        )
        offset = (np.arange(w) + w - 1)[:, None] - np.arange(b)
        self._rel_y, self._rel_x = (
            table.astype(np.float32)[offset].transpose(1, 2, 0) for table in (trace.rel_height, trace.rel_width)
        )  # b, d, w

    def _cells(self, padded: np.ndarray, by: int, side: int) -> np.ndarray:
        """(X, side, side, ...): the blocks (or windows) of a block row, as a view."""
        b, (down, right, *rest) = self.trace.grid.block_size, padded.strides
        shape = (self.trace.grid.block_cols, side, side, *padded.shape[2:])
        return np.lib.stride_tricks.as_strided(
            padded[by * b :], shape, (right * b, down, right, *rest), writeable=False
        )

    def queries_there(self, by: int) -> np.ndarray:
        """(X, 1, b * b): 1 for the queries that lie inside the map."""
        there = self._cells(self._there, by, self.trace.grid.block_size)
        return there.reshape(len(there), 1, -1)

    def norms(self, by: int) -> np.ndarray:
        """(X, heads, window * window)."""
        cells = self._cells(self._norm, by, self.trace.grid.window_size)
        return cells.reshape(len(cells), -1, self.trace.heads).swapaxes(1, 2)

    def logits(self, by: int, of: str) -> np.ndarray:
        """(X, heads, b * b, window * window); -inf where the mask hides the key."""
        t, w, b = self.trace, self.trace.grid.window_size, self.trace.grid.block_size
        inside = self._cells(self._inside, by, w).reshape(-1, w * w) > 0
        q = self._cells(self._q, by, b).transpose(0, 3, 1, 2, 4)  # X, heads, rows, cols, d
        k = self._cells(self._k, by, w).reshape(len(q), w * w, t.heads, -1).transpose(0, 2, 3, 1)
        # A position logit is that of the key's row plus that of its column: 2 w further channels, whose "keys" say in
        # which row and column they are. One matrix product then gives content and position together.
        up = q @ self._rel_y
        left = (q.swapaxes(2, 3) @ self._rel_x).swapaxes(2, 3)
        places = np.broadcast_to(lattice(w), (*k.shape[:2], 2 * w, w * w))
        mine, theirs = joined(of, (q, k), ((up, left), places))
        found = mine.reshape(*k.shape[:2], b * b, -1) @ theirs
        for x, (block, here) in enumerate(zip(found, inside, strict=True)):
            if t.mask == "published" and here.all():
                found[x] = 0
            elif (hidden := ~here if t.mask == "valid" else here).any():
                block[..., hidden] = -np.inf
        return found


def _framed(g: HaloGrid, values: np.ndarray, frame: int) -> np.ndarray:
    """(H, W, ...) as float32 on a map that whole blocks fill, with so many cells around it; zeros beside the map."""
    b = g.block_size
    out = np.zeros((g.block_rows * b + 2 * frame, g.block_cols * b + 2 * frame, *values.shape[2:]), np.float32)
    out[frame : frame + g.height, frame : frame + g.width] = values
    return out


def add_window(g: HaloGrid, total: np.ndarray, by: int, bx: int, values: np.ndarray) -> None:
    """Add (n, window, window) values of a block's window to (n, H, W), where the window lies on the map."""
    (oy, ox), w = g.window_origin(by, bx), g.window_size
    y0, y1, x0, x1 = max(oy, 0), min(oy + w, g.height), max(ox, 0), min(ox + w, g.width)
    total[:, y0:y1, x0:x1] += values[:, y0 - oy : y1 - oy, x0 - ox : x1 - ox]


def joined(
    of: str, content: tuple[np.ndarray, np.ndarray], position: tuple[tuple[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Queries (..., channels) and keys (..., channels, keys) whose product is "weight", "content" or "position"."""
    (q, k), (to_places, places) = content, position
    mine, theirs = {"content": ((q,), (k,)), "position": (to_places, (places,))}.get(of, ((q, *to_places), (k, places)))
    return np.concatenate(mine, -1), np.concatenate(theirs, -2)


@lru_cache(maxsize=64)
def even_spread(g: HaloGrid) -> np.ndarray:
    """(H, W) float32: what each cell would receive if every query spread evenly over its window inside the map."""
    even = np.zeros((1, g.height, g.width), np.float32)
    for by in range(g.block_rows):
        for bx in range(g.block_cols):
            (rows, cols), inside = g.queries_of(by, bx), g.inside(by, bx)
            queries = (rows.stop - rows.start) * (cols.stop - cols.start)
            add_window(g, even, by, bx, np.full((1, *inside.shape), queries / inside.sum(), np.float32))
    even.setflags(write=False)
    return even[0]


@lru_cache(maxsize=16)
def lattice(window: int) -> np.ndarray:
    """(2 window, window * window) float32: for every key of a window, 1 at its row and 1 at its column."""
    eye = np.eye(window, dtype=np.float32)
    return np.concatenate([eye.repeat(window, 1), np.tile(eye, window)])
