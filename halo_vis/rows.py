"""One row of attention, in a halo layer or in YOLO26's own: what can be said of it, and where it lies on the map.

A row belongs to a query cell and spreads over a rectangle of key cells: the query's window in a halo layer, the whole
map in a global one. What the two have in common is here; how the weights come about is in :mod:`halo_vis.maps`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from halo_vis.geometry import Answer, Letterbox

OF = ("weight", "contribution")  # what is scored and shipped
ALL_OF = (*OF, "content", "position")
# Which head a row or map is of: a number from 0; None, the mean of the heads; or "max", at every cell the largest of
# the heads' maps. Of several queries together (block, received, mean_row) that is the largest of the heads' own maps,
# not a mean of the queries' "max" rows; a "max" row or map does not sum to 1.
Head = int | str | None
Cells = tuple[int, int, int, int]  # y0, x0, y1, x1, half-open


def check_head(head: Head, heads: int) -> None:
    """Raise IndexError unless the head exists; None is the mean of all heads, "max" their largest."""
    if head is None or head == "max":
        return
    if isinstance(head, (bool, str)) or not 0 <= head < heads:
        raise IndexError(
            f"head {head!r} does not exist: this layer has heads 0 to {heads - 1}; None is their mean, 'max' the "
            "largest of them."
        )


def head_name(head: Head, heads: int) -> str:
    """Heads count from 1 for people; of a layer with one head, mean and maximum are that head."""
    if heads == 1:
        return "its only head"
    return "mean of heads" if head is None else "maximum of heads" if head == "max" else f"head {head + 1}"


def head_number(head: Head) -> int:
    """The head as the browser and the files have it: -1 is the mean, -2 the maximum."""
    return {None: -1, "max": -2}.get(head, head)


def check_of(of: str, known: tuple[str, ...] = ALL_OF) -> None:
    """Raise ValueError unless `of` is a known view of a row."""
    if of not in known:
        raise ValueError(f"of must be one of {known}, got {of!r}.")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis; -inf takes no part."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def pick(maps: np.ndarray, head: Head) -> np.ndarray:
    """(1 + heads, ...) maps, that of all heads together first -> the one that `head` names; "max": the largest."""
    if head is None:
        return maps[0]
    return maps[1:].max(0) if head == "max" else maps[1 + head]


class Rows:
    """What a layer's rows have in common; a layer brings ``row``, ``place``, ``allowed`` and the fields named here."""

    stride: int
    letterbox: Letterbox

    def row(self, y: int, x: int, head: Head = None, of: str = "weight") -> np.ndarray:
        """Where the query at cell (y, x) looks."""
        raise NotImplementedError

    def place(self, y: int, x: int) -> tuple[tuple[int, int], np.ndarray]:
        """Of the query at (y, x): the first cell (y, x) of its keys, and (rows, cols) bool, which are on the map."""
        raise NotImplementedError

    def allowed(self, y: int, x: int) -> np.ndarray:
        """(rows, cols) bool: the keys that the mask lets through for this query."""
        return self.place(y, x)[1]

    def shares(self, y: int, x: int, head: Head = None, of: str = "weight") -> np.ndarray:
        """The row with sum 1 (or 0): the largest of the heads, unlike a row, has another sum."""
        row = self.row(y, x, head, of)
        total = row.sum() if head == "max" else 0.0
        return row / total if total > 0 else row

    def times_uniform(self, y: int, x: int, head: Head = None, of: str = "weight") -> np.ndarray:
        """The row as a multiple of an even spread over its cells inside the map (1 = uniform)."""
        return self.row(y, x, head, of) * int(self.place(y, x)[1].sum())

    def entropy(self, y: int, x: int, head: Head = None, of: str = "weight") -> float:
        """Entropy of the row as a share of the largest it could have (1: uniform over the keys the mask allows)."""
        row, n = self.shares(y, x, head, of), int(self.allowed(y, x).sum())
        p = row[row > 0].astype(np.float64)
        # float32 rows sum to 1 up to rounding, which must show neither as more than 1 nor as -0.
        return min(1.0, max(0.0, float(-(p * np.log(p)).sum() / np.log(n)))) if n > 1 else 0.0

    def distance(self, y: int, x: int, head: Head = None, of: str = "weight") -> float:
        """Mean distance, in photo pixels, from the query's centre to the centres of the cells it looks at.

        Padding has no place and is left out; NaN if nothing of the row lies on the map.
        """
        (oy, ox), inside = self.place(y, x)
        row = self.row(y, x, head, of) * inside
        box, (rows, cols) = self.letterbox, inside.shape
        dy = (np.arange(rows) + oy - y) * self.stride * box.photo_height / box.new_height
        dx = (np.arange(cols) + ox - x) * self.stride * box.photo_width / box.new_width
        total = float(row.sum())
        return float((row * np.hypot(dy[:, None], dx[None])).sum() / total) if total > 0 else float("nan")

    def top(
        self, y: int, x: int, n: int = 5, head: Head = None, of: str = "weight"
    ) -> tuple[tuple[int, int, float], ...]:
        """The n cells of the map with the largest shares of the row, largest first: (y, x, share); none with 0."""
        (oy, ox), inside = self.place(y, x)
        values = np.where(inside, self.shares(y, x, head, of), 0.0).ravel()
        order = np.argsort(-values, kind="stable")[: min(n, np.count_nonzero(values))]
        return tuple((int(i) // inside.shape[1] + oy, int(i) % inside.shape[1] + ox, float(values[i])) for i in order)

    def outside(self, y: int, x: int, box: Sequence[float], head: Head = None, of: str = "weight") -> float:
        """Share of the row that does not fall on cells whose centre lies in a box (padding counts as outside).

        Args:
            box: xyxy, photo pixels, half-open.
        """
        (oy, ox), inside = self.place(y, x)
        row = self.shares(y, x, head, of)
        within = self.letterbox.centres_in(box, self.stride, oy, ox, *inside.shape) & inside
        return float(row[~within].sum())

    def on_region(self, y: int, x: int, region: Sequence[float]) -> np.ndarray | None:
        """Which of the row's keys lie on a region: (rows, cols) bool, or None where none does.

        Args:
            region: xyxy, photo pixels, half-open. A cell lies on it if the cell's centre does; if none does, the cell
                under the region's centre.
        """
        (oy, ox), inside = self.place(y, x)
        on = self.letterbox.centres_in(region, self.stride, oy, ox, *inside.shape) & inside
        if not on.any():
            x1, y1, x2, y2 = region
            cy, cx = self.letterbox.cell_at((y1 + y2) / 2, (x1 + x2) / 2, self.stride)
            if not (0 <= cy - oy < on.shape[0] and 0 <= cx - ox < on.shape[1] and inside[cy - oy, cx - ox]):
                return None
            on[cy - oy, cx - ox] = True
        return on

    def times_uniform_on(
        self, y: int, x: int, region: Sequence[float], head: Head = None, of: str = "weight"
    ) -> float | None:
        """Share of the row on a region, as a multiple of what an even spread would put there; None: out of its reach.

        Args:
            region: as for :meth:`on_region`.
        """
        on = self.on_region(y, x, region)
        return None if on is None else on_times_uniform(self.shares(y, x, head, of), on, self.place(y, x)[1])

    def answer(
        self, y: int, x: int, answers: Iterable[Answer], head: Head = None, of: str = "weight"
    ) -> tuple[str, float] | None:
        """How much of the row lies where it should: (name, times uniform) of the first answer that this query has.

        None: no answer is asked of the query's centre, or all of them lie out of its reach.
        """
        for known in answers:
            if self.letterbox.centres_in(known.where, self.stride, y, x, 1, 1)[0, 0]:
                times = self.times_uniform_on(y, x, known.region, head, of)
                if times is not None:
                    return known.name, times
        return None

    def cells_in(self, box: Sequence[float], height: int, width: int) -> Cells | None:
        """The cells of a map of `height` x `width` whose centre lies in a box (xyxy, photo pixels); None: no cell."""
        on = self.letterbox.centres_in(box, self.stride, 0, 0, height, width)
        rows, cols = np.flatnonzero(on.any(1)), np.flatnonzero(on.any(0))
        return (int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1) if rows.size else None


def on_times_uniform(row: np.ndarray, on: np.ndarray, inside: np.ndarray) -> float:
    """The sum of a row on some of its cells / the share of these among its cells inside the map (1 = even spread)."""
    return float(row[on].sum() / (on.sum() / inside.sum()))
