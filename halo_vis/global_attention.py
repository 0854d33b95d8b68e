"""YOLO26's own attention: every cell of the map attends to all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from halo_vis.geometry import HaloGrid, Letterbox
from halo_vis.rows import OF, Head, Rows, check_head, check_of, softmax


@dataclass(frozen=True, eq=False)
class GlobalTrace(Rows):
    """YOLO26's own attention (layers 10 and 22 of the stock model): every cell attends to the whole map.

    It has no value norms and no positions: of its rows, only the weights are known.

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

    @property
    def grid(self) -> HaloGrid:
        """The map as a grid of cells; its blocks mean nothing here."""
        return HaloGrid(*self.q.shape[:2], 1, 0)

    def place(self, y: int, x: int) -> tuple[tuple[int, int], np.ndarray]:
        """(0, 0), and (H, W) bool: every key is on the map."""
        self.grid.check_cell(y, x)
        return (0, 0), np.ones(self.q.shape[:2], bool)

    def _weights(self, rows: slice, cols: slice, head: int) -> np.ndarray:
        """(queries, H * W) float64: one head's weights."""
        q = self.q[rows, cols, head].astype(np.float64).reshape(-1, self.q.shape[3]) * self.scale
        k = self.k[:, :, head].astype(np.float64).reshape(-1, self.q.shape[3])
        return softmax(q @ k.T)

    def _over_heads(self, head: Head, of: str, make: Callable[[int], np.ndarray]) -> np.ndarray:
        """(H, W) float32: what `make` says of one head, the mean over the heads, or the largest."""
        check_head(head, self.heads)
        check_of(of, OF[:1])
        made = [make(n).reshape(self.q.shape[:2]) for n in (range(self.heads) if head in (None, "max") else [head])]
        return (np.max(made, 0) if head == "max" else np.mean(made, 0)).astype(np.float32)

    def row(self, y: int, x: int, head: Head = None, of: str = "weight") -> np.ndarray:
        """(H, W) float32, sum 1: where cell (y, x) looks; of head "max" see :data:`halo_vis.rows.Head`."""
        self.grid.check_cell(y, x)
        return self._over_heads(head, of, lambda n: self._weights(slice(y, y + 1), slice(x, x + 1), n))

    def attended_by(
        self, y: int, x: int, head: Head = None, of: str = "weight", times_uniform: bool = False
    ) -> np.ndarray:
        """(H, W) float32: the weight that each cell gives to cell (y, x), or times uniform."""
        self.grid.check_cell(y, x)
        height, width = self.q.shape[:2]
        every = slice(0, height), slice(0, width)
        given = self._over_heads(head, of, lambda n: self._weights(*every, n)[:, y * width + x])
        return given * (height * width) if times_uniform else given

    def mean_row(
        self, y0: int, x0: int, y1: int, x1: int, head: Head = None, of: str = "weight", times_uniform: bool = False
    ) -> np.ndarray:
        """(H, W) float32, sum 1: the mean of the rows of cells [y0, y1) x [x0, x1), or times uniform.

        With head "max" it is the largest of the heads' means: see :data:`halo_vis.rows.Head`.
        """
        self.grid.check_cells(y0, x0, y1, x1)
        height, width = self.q.shape[:2]
        mean = self._over_heads(head, of, lambda n: self._weights(slice(y0, y1), slice(x0, x1), n).mean(0))
        return mean * (height * width) if times_uniform else mean
