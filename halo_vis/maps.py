"""What a captured attention layer says: rows, block maps, received attention, and who attends to a cell.

Everything is computed on demand from the stored queries, keys, value norms and position tables, from the very fp16
values that the browser gets: in float64 as there, maps of whole layers in float32. ``of="weight"`` is the softmax;
``of="contribution"`` weighs it with the norm of what each cell's value adds to the output (Kobayashi et al. 2020,
"Attention is Not Only a Weight"); "content" and "position" are the softmax of one half of the logits alone, under the
same mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from halo_vis.geometry import HaloGrid, Letterbox
from halo_vis.global_attention import GlobalTrace
from halo_vis.overview import TINY, Maps, add_up, add_window, even_spread, joined, lattice, overview
from halo_vis.rows import ALL_OF, OF, Head, Rows, check_head, check_of, pick, softmax

__all__ = ["ALL_OF", "OF", "GlobalTrace", "Head", "LevelTrace"]

CONTROL_SEED = 0  # of the control that is shown and exported
# Controls that were made already, for as long as their level is there: a figure or a GIF asks for each panel again.
_RANDOMISED: WeakKeyDictionary[LevelTrace, dict[int, LevelTrace]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class LevelTrace(Rows):
    """One halo layer's attention on one picture: all that its rows need.

    Attributes:
        level: "P3", "P4", ...; stride: input pixels per cell.
        q, k: (H, W, heads, d) float16, projected, not scaled.
        norm: (H, W, heads) float16 >= 0: the norm of what a cell's value adds after to_out, as a share of the layer's
            largest; all 0 where to_out is zero (``adds_nothing``).
        rel_height, rel_width: (2 window - 1, d) float16.
        features: (H, W, C) float16, what q and k were projected from; None where only those are known.
        spread: standard deviations of the weights that project to q and to k.
    """

    level: str
    stride: int
    grid: HaloGrid
    letterbox: Letterbox
    q: np.ndarray
    k: np.ndarray
    norm: np.ndarray
    rel_height: np.ndarray
    rel_width: np.ndarray
    scale: float
    mask: str
    residual: bool
    features: np.ndarray | None = None
    spread: tuple[float, float] = (0.0, 0.0)

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.q.shape[2]

    @property
    def adds_nothing(self) -> bool:
        """True while to_out is zero: an untrained residual layer."""
        return not self.norm.any()

    def randomised(self, seed: int = CONTROL_SEED) -> LevelTrace:
        """The control: the same features, mask and positions, with q and k projected from them at random.

        The projections are Gaussian, with the standard deviation of the layer's own. They respond to whatever stands
        out in the features, so their rows show what mere salience would give.

        Raises:
            ValueError: the trace was made without features.
        """
        made = _RANDOMISED.setdefault(self, {})
        if seed not in made:
            made[seed] = self._randomised(seed)
        return made[seed]

    def _randomised(self, seed: int) -> LevelTrace:
        if self.features is None:
            raise ValueError(
                f"{self.level} has no features to project: this trace was put together from q and k. "
                "Capture it from a model."
            )
        height, width, channels = self.features.shape
        rng = np.random.default_rng((seed, self.stride))  # no two levels share their numbers
        features = self.features.astype(np.float32).reshape(-1, channels)
        q, k = (
            (features @ rng.normal(0, spread, (channels, self.heads * self.q.shape[3])).astype(np.float32))
            .reshape(height, width, self.heads, -1)
            .astype(np.float16)
            for spread in self.spread
        )
        return replace(self, q=q, k=k)

    # ---------------------------------------------------------------- the softmax
    def _logits(self, by: int, bx: int, rows: slice, cols: slice, of: str, real: type = np.float64) -> np.ndarray:
        """(heads, queries, window * window) logits of a block's queries; -inf where the mask hides the key.

        ``real``: float64, because a peaked row times uniform shows what float32 loses in logits of tens.
        """
        grid, w, heads = self.grid, self.grid.window_size, self.heads
        inside = grid.inside(by, bx).reshape(-1)
        queries = (rows.stop - rows.start, cols.stop - cols.start)
        if self.mask == "published" and inside.all():
            return np.zeros((heads, queries[0] * queries[1], w * w), real)
        q = self.q[rows, cols].astype(real).transpose(2, 0, 1, 3) * real(self.scale)  # heads, rows, cols, d
        k = grid.window_of(self.k, by, bx).reshape(w * w, heads, -1).transpose(1, 2, 0).astype(real)
        offset = np.arange(w) + w - 1
        y = np.arange(rows.start, rows.stop) - by * grid.block_size
        x = np.arange(cols.start, cols.stop) - bx * grid.block_size
        rel_y = self.rel_height.astype(real)[offset[:, None] - y].transpose(1, 2, 0)  # rows, d, w
        rel_x = self.rel_width.astype(real)[offset[:, None] - x].transpose(1, 2, 0)  # cols, d, w
        # A position logit is that of the key's row plus that of its column: 2 w further channels, whose "keys" say in
        # which row and column they are. One matrix product then gives content and position together.
        up = q @ rel_y
        left = (q.transpose(0, 2, 1, 3) @ rel_x).transpose(0, 2, 1, 3)
        places = np.broadcast_to(lattice(w).astype(real), (heads, 2 * w, w * w))
        mine, theirs = joined(of, (q, k), ((up, left), places))
        logits = mine.reshape(heads, queries[0] * queries[1], -1) @ theirs
        hidden = ~inside if self.mask == "valid" else inside
        if hidden.any():
            logits[..., hidden] = -np.inf
        return logits

    def _norm_of(self, by: int, bx: int) -> np.ndarray:
        """(heads, window * window) norms of the values of a block's window, 0 outside the map."""
        return self.grid.window_of(self.norm, by, bx).reshape(-1, self.heads).T.astype(np.float32)

    def weights(self, by: int, bx: int, query: tuple[int, int] | None = None, of: str = "weight") -> np.ndarray:
        """The weights of a block's queries, as the layer used them.

        Args:
            by, bx: the block.
            query: (y, x) of one cell of that block; None: all of its cells inside the map.
            of: "weight", or "content" or "position" for the softmax of that half of the logits.

        Returns:
            (heads, rows, cols, window, window) float32, each window summing to 1.
        """
        return self._softmax(by, bx, query, of).astype(np.float32)

    def _softmax(self, by: int, bx: int, query: tuple[int, int] | None, of: str) -> np.ndarray:
        """(heads, rows, cols, window, window) float64: the weights."""
        rows, cols = self.grid.queries_of(by, bx) if query is None else tuple(slice(c, c + 1) for c in query)
        shape = (self.heads, rows.stop - rows.start, cols.stop - cols.start, *[self.grid.window_size] * 2)
        return softmax(self._logits(by, bx, rows, cols, of)).reshape(shape)

    def _rows(self, by: int, bx: int, head: Head, of: str, query: tuple[int, int] | None = None) -> np.ndarray:
        """(n, rows, cols, window, window) float32: of one head or of all together (n = 1), or of each (n = heads)."""
        check_head(head, self.heads)
        check_of(of)
        weights = self._softmax(by, bx, query, "weight" if of == "contribution" else of)
        if of == "contribution":
            weights *= self._norm_of(by, bx).reshape(self.heads, 1, 1, *weights.shape[3:])
        if head is None:
            weights = weights.sum(0, keepdims=True) if of == "contribution" else weights.mean(0, keepdims=True)
        elif head != "max":
            weights = weights[head : head + 1]
        if of == "contribution":
            total = weights.sum((-2, -1), keepdims=True)
            weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > TINY)
        return weights.astype(np.float32)

    def _sums(
        self, by: int, bx: int, rows: slice, cols: slice, of: tuple[str, ...], real: type = np.float64
    ) -> Iterator[np.ndarray]:
        """For each `of`: (1 + heads, window, window), the rows of some of a block's queries added up, all first."""
        norms = self._norm_of(by, bx).astype(real)
        for maps in add_up(of, lambda half: self._logits(by, bx, rows, cols, half, real), norms):
            yield maps.reshape(-1, *[self.grid.window_size] * 2)

    # ---------------------------------------------------------------- rows
    def place(self, y: int, x: int) -> tuple[tuple[int, int], np.ndarray]:
        """Origin of the window of (y, x), and (window, window) bool: which of its cells lie inside the map."""
        block = self.grid.block_of(y, x)
        return self.grid.window_origin(*block), self.grid.inside(*block)

    def allowed(self, y: int, x: int) -> np.ndarray:
        """(window, window) bool: the keys that the mask lets through for this query."""
        inside = self.place(y, x)[1]
        return inside if self.mask == "valid" or inside.all() else ~inside

    def row(self, y: int, x: int, head: Head = None, of: str = "weight") -> np.ndarray:
        """(window, window) float32, sum 1: where the query at cell (y, x) looks.

        Cell (i, j) of it is cell ``grid.window_origin(*grid.block_of(y, x)) + (i, j)`` of the map. Contributions of a
        layer that adds nothing are all 0. Head None is the mean of the heads (contributions are added before they are
        normalised); "max" does not sum to 1, see :data:`halo_vis.rows.Head`.

        Raises:
            IndexError: the cell or the head does not exist.
        """
        by, bx = self.grid.block_of(y, x)
        return self._rows(by, bx, head, of, (y, x))[:, 0, 0].max(0)

    def mass(self, y: int, x: int, head: Head = None, of: str = "weight") -> dict[str, float]:
        """The row's shares on the query's own block, on the halo around it, and on padding outside the map; total 1."""
        (_, inside), own = self.place(y, x), self.grid.own_block()
        row = self.shares(y, x, head, of)
        parts = {"block": inside & own, "halo": inside & ~own, "padding": ~inside}
        return {name: float(row[part].sum()) for name, part in parts.items()}

    # ---------------------------------------------------------------- maps
    def block(self, by: int, bx: int, head: Head = None, of: str = "weight") -> np.ndarray:
        """(window, window) float32, sum 1: the block's map, the mean of its queries' rows.

        With head "max" it is the largest of the heads' maps: see :data:`halo_vis.rows.Head`.
        """
        check_head(head, self.heads)
        check_of(of)
        rows, cols = self.grid.queries_of(by, bx)
        (sums,) = self._sums(by, bx, rows, cols, (of,), np.float32)
        return pick(sums / np.float32((rows.stop - rows.start) * (cols.stop - cols.start)), head)

    def blocks(self, head: Head = None, of: str = "weight") -> np.ndarray:
        """(block_rows, block_cols, window, window): every block's map, see :meth:`block`."""
        g = self.grid
        return np.stack([[self.block(by, bx, head, of) for bx in range(g.block_cols)] for by in range(g.block_rows)])

    def received(self, head: Head = None, of: str = "weight", raw: bool = False) -> np.ndarray:
        """(H, W) float32: attention that each cell receives from all queries.

        As a multiple of what it would receive if every query spread evenly over the cells of its window (1 = uniform);
        ``raw`` gives the sum itself, which shows the lattice of blocks whatever the picture. With head "max" it is the
        largest of the heads' maps: see :data:`halo_vis.rows.Head`.
        """
        check_head(head, self.heads)
        received = pick(self.overview((of,))[of][1], head)
        return received * even_spread(self.grid) if raw else received

    def overview(self, of: tuple[str, ...] = OF) -> Maps:
        """Every head's maps at once, from one look at the weights.

        Returns:
            {of: (blocks (1 + heads, block_rows, block_cols, window, window), received (1 + heads, H, W))} float32, all
            heads together first.
        """
        for name in of:
            check_of(name)
        return overview(self, of)

    def attended_by(
        self, y: int, x: int, head: Head = None, of: str = "weight", times_uniform: bool = False
    ) -> np.ndarray:
        """(H, W) float32: the weight that each query of the map gives to cell (y, x); NaN where its window misses it.

        ``times_uniform``: as a multiple of what the query would give it by an even spread over the cells of its window.
        """
        g = self.grid
        g.check_cell(y, x)
        check_head(head, self.heads)
        check_of(of)
        out = np.full((g.height, g.width), np.nan, np.float32)
        for by, bx in self._blocks():
            i, j = (c - o for c, o in zip((y, x), g.window_origin(by, bx), strict=True))
            if 0 <= i < g.window_size and 0 <= j < g.window_size:
                given = self._rows(by, bx, head, of)[..., i, j].max(0)
                out[g.queries_of(by, bx)] = given * g.inside(by, bx).sum() if times_uniform else given
        return out

    def mean_row(
        self, y0: int, x0: int, y1: int, x1: int, head: Head = None, of: str = "weight", times_uniform: bool = False
    ) -> np.ndarray:
        """(H, W) float32: where the queries in cells [y0, y1) x [x0, x1) look together, the mean of their rows.

        A cell that a query's window does not reach counts as 0 for it; NaN where none reaches. What falls on padding is
        left out. ``times_uniform``: the mean of each row as a multiple of an even spread over its own window. With head
        "max" it is the largest of the heads' means: see :data:`halo_vis.rows.Head`.
        """
        g = self.grid
        g.check_cells(y0, x0, y1, x1)
        check_head(head, self.heads)
        check_of(of)
        total = np.zeros((1 + self.heads, g.height, g.width))
        reach = np.zeros((1, g.height, g.width), np.float32)
        b = g.block_size
        for by, bx in self._blocks():
            rows, cols = slice(max(y0, by * b), min(y1, by * b + b)), slice(max(x0, bx * b), min(x1, bx * b + b))
            if rows.start < rows.stop and cols.start < cols.stop:
                (sums,) = self._sums(by, bx, rows, cols, (of,))
                inside = g.inside(by, bx)
                add_window(g, total, by, bx, sums * inside.sum() if times_uniform else sums)
                add_window(g, reach, by, bx, np.ones((1, *inside.shape), np.float32))
        mean = pick(total, head) / ((y1 - y0) * (x1 - x0))
        return np.where(reach[0] > 0, mean, np.nan).astype(np.float32)

    def _blocks(self) -> Iterator[tuple[int, int]]:
        return ((by, bx) for by in range(self.grid.block_rows) for bx in range(self.grid.block_cols))
