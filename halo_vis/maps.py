"""What a captured attention layer says: rows, block maps, received attention, mass, entropy, distance.

Everything is computed on demand from the stored queries, keys, value norms and position tables, in float32, from the
very fp16 values that the browser gets. ``of="weight"`` is the softmax; ``of="contribution"`` weighs it with the norm of
what each cell's value adds to the output (Kobayashi et al. 2020, "Attention is Not Only a Weight").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from halo_vis.geometry import HaloGrid, Letterbox

OF = ("weight", "contribution")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis; -inf takes no part."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def check_head(head: int | None, heads: int) -> None:
    """Raise IndexError unless the head exists; None is the mean of all heads."""
    if head is not None and not 0 <= head < heads:
        raise IndexError(f"head {head} does not exist: this layer has heads 0 to {heads - 1}; None is their mean.")


def check_of(of: str) -> None:
    """Raise ValueError unless `of` is a known view of a row."""
    if of not in OF:
        raise ValueError(f"of must be one of {OF}, got {of!r}.")


@dataclass(frozen=True, eq=False)
class LevelTrace:
    """One halo layer's attention on one picture: all that its rows need.

    Attributes:
        level: "P3", "P4", ...; stride: input pixels per cell.
        q, k: (H, W, heads, d) float16, projected, not scaled.
        norm: (H, W, heads) float16 >= 0: the norm of what a cell's value adds after to_out, as a share of the layer's
            largest; all 0 where to_out is zero (``adds_nothing``).
        rel_height, rel_width: (2 window - 1, d) float16.
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

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.q.shape[2]

    @property
    def adds_nothing(self) -> bool:
        """True while to_out is zero: an untrained residual layer."""
        return not self.norm.any()

    def weights(self, by: int, bx: int, query: tuple[int, int] | None = None) -> np.ndarray:
        """The weights of a block's queries, as the layer used them.

        Args:
            by, bx: the block.
            query: (y, x) of one cell of that block; None: all of its cells inside the map.

        Returns:
            (heads, rows, cols, window, window) float32, each window summing to 1.
        """
        grid, w = self.grid, self.grid.window_size
        rows, cols = grid.queries_of(by, bx) if query is None else tuple(slice(c, c + 1) for c in query)
        q = self.q[rows, cols].astype(np.float32).transpose(2, 0, 1, 3) * np.float32(self.scale)  # heads, rows, cols, d
        k = grid.window_of(self.k, by, bx).astype(np.float32).transpose(2, 3, 0, 1)  # heads, d, w, w
        heads, n_rows, n_cols, d = q.shape
        key = np.arange(w)
        y = np.arange(rows.start, rows.stop) - by * grid.block_size
        x = np.arange(cols.start, cols.stop) - bx * grid.block_size
        rel_y = self.rel_height.astype(np.float32)[key[None] - y[:, None] + w - 1]  # rows, w, d
        rel_x = self.rel_width.astype(np.float32)[key[None] - x[:, None] + w - 1]  # cols, w, d
        position = (
            np.einsum("hyxd,yid->hyxi", q, rel_y)[..., :, None] + np.einsum("hyxd,xjd->hyxj", q, rel_x)[..., None, :]
        )
        inside = grid.inside(by, bx)
        if self.mask == "valid":
            content = (q.reshape(heads, n_rows * n_cols, d) @ k.reshape(heads, d, w * w)).reshape(position.shape)
            logits = np.where(inside, content + position, -np.inf)
        elif inside.all():
            logits = np.zeros_like(position)
        else:
            logits = np.where(inside, -np.inf, position)
        return softmax(logits.reshape(heads, n_rows, n_cols, w * w)).reshape(position.shape).astype(np.float32)

    def _view(self, weights: np.ndarray, by: int, bx: int, head: int | None, of: str) -> np.ndarray:
        """(heads, ..., w, w) weights -> (..., w, w) rows of one head or all, weights or contributions, sum 1 or 0."""
        check_head(head, self.heads)
        check_of(of)
        if of == "weight":
            return weights.mean(0) if head is None else weights[head]
        norm = self.grid.window_of(self.norm, by, bx).astype(np.float32).transpose(2, 0, 1)
        norm = norm.reshape(self.heads, *[1] * (weights.ndim - 3), *norm.shape[1:])
        brought = weights * norm
        brought = brought.sum(0) if head is None else brought[head]
        total = brought.sum((-2, -1), keepdims=True)
        return np.divide(brought, total, out=np.zeros_like(brought), where=total > 0)

    def row(self, y: int, x: int, head: int | None = None, of: str = "weight") -> np.ndarray:
        """(window, window) float32, sum 1: where the query at cell (y, x) looks.

        Cell (i, j) of it is cell ``grid.window_origin(*grid.block_of(y, x)) + (i, j)`` of the map. Contributions of a
        layer that adds nothing are all 0.

        Raises:
            IndexError: the cell or the head does not exist.
        """
        by, bx = self.grid.block_of(y, x)
        return self._view(self.weights(by, bx, (y, x)), by, bx, head, of)[0, 0]

    def block(self, by: int, bx: int, head: int | None = None, of: str = "weight") -> np.ndarray:
        """(window, window) float32, sum 1: the block's map, the mean of its queries' rows."""
        return self._view(self.weights(by, bx), by, bx, head, of).mean((0, 1))

    def blocks(self, head: int | None = None, of: str = "weight") -> np.ndarray:
        """(block_rows, block_cols, window, window): every block's map."""
        g = self.grid
        return np.stack([[self.block(by, bx, head, of) for bx in range(g.block_cols)] for by in range(g.block_rows)])

    def received(self, head: int | None = None, of: str = "weight", raw: bool = False) -> np.ndarray:
        """(H, W) float32: attention that each cell receives from all queries.

        As a multiple of what it would receive if every query spread evenly over the cells of its window (1 = uniform);
        ``raw`` gives the sum itself, which shows the lattice of blocks whatever the picture.
        """
        g = self.grid
        total, even = (np.zeros((g.height + 2 * g.window_size, g.width + 2 * g.window_size), np.float32) for _ in "ab")
        for by in range(g.block_rows):
            for bx in range(g.block_cols):
                oy, ox = g.window_origin(by, bx)
                place = tuple(slice(o + g.window_size, o + 2 * g.window_size) for o in (oy, ox))
                rows = self._view(self.weights(by, bx), by, bx, head, of)
                inside = g.inside(by, bx)
                total[place] += rows.sum((0, 1))
                even[place] += rows.shape[0] * rows.shape[1] / inside.sum() * inside
        middle = slice(g.window_size, g.window_size + g.height), slice(g.window_size, g.window_size + g.width)
        return total[middle] if raw else total[middle] / even[middle]

    def mass(self, y: int, x: int, head: int | None = None, of: str = "weight") -> dict[str, float]:
        """The row's sums on the query's own block, on the halo around it, and on padding outside the map; total 1."""
        inside, own = self.grid.inside(*self.grid.block_of(y, x)), self.grid.own_block()
        row = self.row(y, x, head, of)
        parts = {"block": inside & own, "halo": inside & ~own, "padding": ~inside}
        return {name: float(row[part].sum()) for name, part in parts.items()}

    def allowed(self, y: int, x: int) -> np.ndarray:
        """(window, window) bool: the keys that the mask lets through for this query."""
        inside = self.grid.inside(*self.grid.block_of(y, x))
        return inside if self.mask == "valid" or inside.all() else ~inside

    def entropy(self, y: int, x: int, head: int | None = None, of: str = "weight") -> float:
        """Entropy of the row as a share of the largest it could have (1: uniform over the keys the mask allows)."""
        row, n = self.row(y, x, head, of), int(self.allowed(y, x).sum())
        p = row[row > 0].astype(np.float64)
        # float32 rows sum to 1 up to rounding, which must show neither as more than 1 nor as -0.
        return min(1.0, max(0.0, float(-(p * np.log(p)).sum() / np.log(n)))) if n > 1 else 0.0

    def distance(self, y: int, x: int, head: int | None = None, of: str = "weight") -> float:
        """Mean distance, in photo pixels, from the query's centre to the centres of the cells it looks at.

        Padding has no place and is left out; 0 if all of the row lies on padding.
        """
        by, bx = self.grid.block_of(y, x)
        row = self.row(y, x, head, of) * self.grid.inside(by, bx)
        oy, ox = self.grid.window_origin(by, bx)
        cell = np.arange(self.grid.window_size)
        dy = (cell + oy - y) * self.stride * self.letterbox.photo_height / self.letterbox.new_height
        dx = (cell + ox - x) * self.stride * self.letterbox.photo_width / self.letterbox.new_width
        total = float(row.sum())
        return float((row * np.hypot(dy[:, None], dx[None])).sum() / total) if total > 0 else 0.0

    def times_uniform(self, y: int, x: int, head: int | None = None, of: str = "weight") -> np.ndarray:
        """The row as a multiple of an even spread over the cells of the window inside the map (1 = uniform)."""
        return self.row(y, x, head, of) * int(self.grid.inside(*self.grid.block_of(y, x)).sum())


@dataclass(frozen=True, eq=False)
class GlobalTrace:
    """YOLO26's own attention (layers 10 and 22 of the stock model): every cell attends to the whole map.

    Attributes:
        q, k: (H, W, heads, key_dim) float16, not scaled.
    """

    layer: str
    stride: int
    letterbox: Letterbox
    q: np.ndarray
    k: np.ndarray
    scale: float

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.q.shape[2]

    def row(self, y: int, x: int, head: int | None = None) -> np.ndarray:
        """(H, W) float32, sum 1: where cell (y, x) looks; head None is the mean of the heads."""
        height, width = self.q.shape[:2]
        HaloGrid(height, width, 1, 0).check_cell(y, x)
        check_head(head, self.heads)
        q = self.q[y, x].astype(np.float32) * np.float32(self.scale)
        rows = softmax(np.einsum("hd,yxhd->hyx", q, self.k.astype(np.float32)).reshape(self.heads, -1))
        rows = rows.reshape(self.heads, height, width)
        return rows.mean(0) if head is None else rows[head]

    def times_uniform(self, y: int, x: int, head: int | None = None) -> np.ndarray:
        """The row as a multiple of an even spread over the map (1 = uniform)."""
        return self.row(y, x, head) * (self.q.shape[0] * self.q.shape[1])
