"""The memory in which :mod:`halo_vis.kernels.chunked` works, the ways between it and the maps, and its use again.

Letters: a chunk has ``p`` pictures and of each ``r`` block rows of ``X`` blocks; ``M`` = p * r * X * heads is the
number of (block, head) pairs in it. The others are those of :mod:`halo_vis.attention`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """A chunk: pictures from ``picture`` on, block rows from ``row`` on."""

    picture: int
    row: int
    pictures: int
    rows: int

    @property
    def size(self) -> tuple[int, int]:
        """Pictures, and block rows of each."""
        return self.pictures, self.rows


@dataclass(frozen=True)
class Layout:
    """What follows from the shapes alone: a batch of maps, cells, heads, block and halo."""

    batch: int
    height: int
    width: int
    heads: int
    dim_head: int
    block: int
    halo: int

    @property
    def window(self) -> int:
        """Side of a window, in cells."""
        return self.block + 2 * self.halo

    @property
    def down(self) -> int:
        """Block rows of a picture."""
        return -(-self.height // self.block)

    @property
    def across(self) -> int:
        """Blocks of a block row."""
        return -(-self.width // self.block)

    @property
    def offsets(self) -> int:
        """Different offsets between a key and a query, per axis."""
        return self.block + self.window - 1

    def places(self, room: int) -> list[Place]:
        """All chunks: equal parts of a picture, or several whole pictures; at least a block row.

        Args:
            room: how many weights a chunk may have.
        """
        rows = max(1, room // (self.across * self.heads * self.block**2 * self.window**2))
        pictures = max(1, rows // self.down)
        rows = -(-self.down // -(-self.down // min(rows, self.down)))  # the last part is not a sliver
        return [
            Place(picture, row, min(pictures, self.batch - picture), min(rows, self.down - row))
            for picture in range(0, self.batch, pictures)
            for row in range(0, self.down, rows)
        ]


class Scratch:
    """What a chunk of one size needs, with every view of it made once.

    Attributes:
        weights: (M, b * b, w * w); logits, then weights; ``square`` is the same as (p, r, X, heads, b, b, w, w).
        queries: (M, b * b, d).
        keys, values: (M, w * w, d); both views of ``windows``, (p, r, X, 2, heads, w, w, d).
        near: (M * b * b, 2 offsets); a query's products with both tables. ``near_rows`` and ``near_cols``, each
            (p, r, X, heads, b, b, w), are views of it: the w entries that belong to a query's own row and column.
        rows, cols: the same entries in memory of their own.
        outside_rows, outside_cols: what the mask adds to those, (down, 1, 1, 1, 1, w) and (X, 1, 1, 1, w): 0 or -inf.
    """

    def __init__(self, layout: Layout, size: tuple[int, int], like: Tensor) -> None:
        self.layout = layout
        b, w, h, d, heads, across = (
            layout.block,
            layout.window,
            layout.halo,
            layout.dim_head,
            layout.heads,
            layout.across,
        )
        (p, r), n = size, 2 * layout.offsets
        high, wide, self.pairs = r * b, across * b, p * r * across * heads
        self.weights = like.new_empty(self.pairs, b * b, w * w)
        self.square = self.weights.view(p, r, across, heads, b, b, w, w)
        self.queries = like.new_empty(self.pairs, b * b, d)
        self._blocks = self.queries.view(p, r, across, heads, b, b, d).permute(0, 1, 4, 2, 5, 3, 6)
        self.windows = like.new_empty(2, self.pairs, w * w, d)
        self._target = self.windows.view(2, p, r, across, heads, w, w, d)
        self.keys, self.values = self.windows
        self.keys_t, self.values_t = self.windows.transpose(2, 3)
        self.near = like.new_empty(self.pairs * b * b, n)
        self.rows, self.cols = like.new_empty(2, p, r, across, heads, b, b, w)
        # Entry k of query i stands at k - i + b - 1: one step back for a query further down, or to the right.
        outer = [step * n for step in (r * across * heads * b * b, across * heads * b * b, heads * b * b, b * b)]
        self.near_rows = self.near.as_strided(self.rows.shape, (*outer, b * n - 1, n, 1), b - 1)
        self.near_cols = self.near.as_strided(self.rows.shape, (*outer, b * n, n - 1, 1), b - 1 + layout.offsets)
        # The mask joins the two terms, w entries a query each, and not the logits, w * w of them.
        self.outside_rows = _outside(layout, layout.down, layout.height, like)[:, None, None, None, None]
        self.outside_cols = _outside(layout, layout.across, layout.width, like)[:, None, None, None]
        # The part of the map that the windows reach, with zeros where the map ends. Beside the map they stay.
        self.strip = like.new_zeros(p, high + 2 * h, wide + 2 * h, 2 * heads * d)
        self._inner = self.strip[:, :, h : h + layout.width]
        self._every = [self._windows(p, r, 1, 0, 0)]
        # Blocks may reach beyond the map: then they are cut from a map that does not end there.
        self.fits = wide == layout.width and layout.down * b == layout.height
        self._padded = None if self.fits else like.new_zeros(p, high, wide, heads * d)
        self._cells = None if self.fits else self._cut(self._padded)

    def nbytes(self) -> int:
        """Bytes of all of it."""
        own = (self.weights, self.queries, self.windows, self.near, self.rows, self.cols, self.strip, self._padded)
        return sum(t.numel() * t.element_size() for t in own if t is not None)

    def cut(self, t: Tensor, place: Place, into: Tensor | None = None) -> Tensor:
        """The chunk's blocks of a map, (B, H, W, heads * d) -> (M, b * b, d); into ``queries`` if nowhere else."""
        part = self._part(t, place)
        if self.fits:
            cells = self._cut(part)
        else:
            self._padded.zero_()  # `join` leaves there what queries outside the map attend to
            self._padded[:, : part.shape[1], : part.shape[2]].copy_(part)
            cells = self._cells
        into = self.queries if into is None else into
        self._as_blocks(into).copy_(cells)
        return into

    def join(self, blocks: Tensor, place: Place, t: Tensor) -> None:
        """The inverse of :meth:`cut`: writes the chunk's part of the map ``t``."""
        part = self._part(t, place)
        (self._cut(part) if self.fits else self._cells).copy_(self._as_blocks(blocks))
        if not self.fits:
            part.copy_(self._padded[:, : part.shape[1], : part.shape[2]])

    def gather(self, kv: Tensor, place: Place) -> None:
        """Fill ``windows`` from the map of keys and values, (B, H, W, 2 * heads * d), with zeros outside the map."""
        part, above, below = self._reach(kv, place)
        if above:
            self.strip[:, :above].zero_()
        if below < self.strip.shape[1]:
            self.strip[:, below:].zero_()
        self._inner[:, above:below].copy_(part)
        self._target.copy_(self._every[0])

    def scatter(self, kv: Tensor, place: Place) -> None:
        """The transpose of :meth:`gather`: adds every window to the cells of the map that it was read from."""
        step = -(-self.layout.window // self.layout.block)  # windows that are so many blocks apart share no cell
        _, p, r, across = self._target.shape[:4]
        if len(self._every) == 1:
            ways = [(i, j) for i in range(min(step, r)) for j in range(min(step, across))]
            self._every += [self._windows(p, r, step, *way) for way in ways]
            self._from = [self._target[:, :, i::step, j::step] for i, j in ways]
        self.strip.zero_()
        for strip, windows in zip(self._every[1:], self._from, strict=True):
            strip.add_(windows)
        part, above, below = self._reach(kv, place)
        part.add_(self._inner[:, above:below])
        self.strip.zero_()  # `gather` counts on zeros beside the map

    def _cut(self, part: Tensor) -> Tensor:
        """A part of a map that its blocks fill, as (p, r, b, X, b, heads, d)."""
        of = self.layout
        return part.view(part.shape[0], -1, of.block, of.across, of.block, of.heads, of.dim_head)

    def _as_blocks(self, t: Tensor) -> Tensor:
        """(M, b * b, d) as (p, r, b, X, b, heads, d)."""
        if t is self.queries:
            return self._blocks
        return t.view(*self.rows.shape[:6], self.layout.dim_head).permute(0, 1, 4, 2, 5, 3, 6)

    def _part(self, t: Tensor, place: Place) -> Tensor:
        """The chunk's own cells."""
        b = self.layout.block
        return t[place.picture : place.picture + place.pictures, place.row * b : (place.row + place.rows) * b]

    def _reach(self, t: Tensor, place: Place) -> tuple[Tensor, int, int]:
        """The cells that the chunk's windows reach, and between which rows of the strip they lie."""
        b, h = self.layout.block, self.layout.halo
        first, last = place.row * b - h, (place.row + place.rows) * b + h
        above = max(0, -first)
        part = t[place.picture : place.picture + place.pictures, first + above : last]
        return part, above, above + part.shape[1]

    def _windows(self, p: int, r: int, step: int, down: int, across: int) -> Tensor:
        """Every ``step``-th window of the strip from one on, as a view: (2, p, r', X', heads, w, w, d)."""
        b, w, d, heads = self.layout.block, self.layout.window, self.layout.dim_head, self.layout.heads
        picture, row, col, _ = self.strip.stride()
        shape = (2, p, -(-(r - down) // step), -(-(self.layout.across - across) // step), heads, w, w, d)
        strides = (heads * d, picture, row * b * step, col * b * step, d, row, col, 1)
        return self.strip.as_strided(shape, strides, (row * down + col * across) * b)


def _outside(layout: Layout, blocks: int, cells: int, like: Tensor) -> Tensor:
    """(blocks, w): -inf at a window's rows (columns) that lie outside the map, 0 at the others."""
    at = torch.arange(blocks)[:, None] * layout.block + torch.arange(-layout.halo, layout.block + layout.halo)
    return like.new_zeros(at.shape).masked_fill_((at < 0) | (at >= cells), float("-inf"))


class Pool:
    """Scratch memory that is used again: asking the system for fresh pages would cost as much as computing in them.

    Whoever takes a piece has it alone until it is given back. The pieces that lie here unused are bounded.
    """

    def __init__(self, most: int) -> None:
        """`most`: bytes that may lie unused."""
        self.most = most
        self._lock = threading.Lock()
        self._free: OrderedDict[tuple, list[Scratch]] = OrderedDict()

    @contextmanager
    def taken(self, layout: Layout, size: tuple[int, int], like: Tensor) -> Iterator[Scratch]:
        """Scratch memory for a chunk size."""
        key = (layout.height, layout.width, layout.heads, layout.dim_head, layout.block, layout.halo, size, like.dtype)
        with self._lock:
            free = self._free.get(key)
            scratch = free.pop() if free else None
        if scratch is None:
            # Not under inference mode: its tensors could not be written outside it any more.
            with torch.inference_mode(False), torch.no_grad():
                scratch = Scratch(layout, size, torch.empty(0, dtype=like.dtype))
        yield scratch  # after an error it is dropped: nobody knows what is in it
        with self._lock:
            self._free.setdefault(key, []).append(scratch)
            self._free.move_to_end(key)
            while self._unused() > self.most:
                oldest = next(iter(self._free))
                self._free[oldest].pop(0)
                if not self._free[oldest]:
                    del self._free[oldest]

    def _unused(self) -> int:
        return sum(scratch.nbytes() for free in self._free.values() for scratch in free)
