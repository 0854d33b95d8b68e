"""Random layer traces, and their rows straight from the definition: one query, one key at a time, in float64."""

from __future__ import annotations

from functools import cache

import numpy as np

from halo_vis.geometry import HaloGrid, Letterbox
from halo_vis.maps import LevelTrace

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


@cache  # of the trace itself, which nobody changes once it has been asked
def _slow_weights(t: LevelTrace, y: int, x: int, head: int, of: str = "weight") -> np.ndarray:
    """(window, window) float64 of one query and head, straight from the definition; of one half of the logits too."""
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
            content = q @ t.k[ky, kx, head].astype(np.float64) if inside else 0.0  # padding is zeros
            logit = {"content": content, "position": position}.get(of, content + position)
            if t.mask == "valid" and inside:
                logits[i, j] = logit
            elif t.mask == "published" and whole:  # all keys are hidden alike
                logits[i, j] = 0.0
            elif t.mask == "published" and not inside:
                logits[i, j] = logit
    e = np.exp(logits - logits.max())
    return e / e.sum()


def slow_weights(t: LevelTrace, y: int, x: int, head: int, of: str = "weight") -> np.ndarray:
    # Contributions are made of weights; tests that change a trace in place change norms only.
    return _slow_weights(t, y, x, head, "weight" if of == "contribution" else of).copy()


def slow_row(t: LevelTrace, y: int, x: int, head: int | str | None, of: str) -> np.ndarray:
    if head == "max":
        return np.max([slow_row(t, y, x, n, of) for n in range(HEADS)], 0)
    heads = range(HEADS) if head is None else [head]
    b, h = t.grid.block_size, t.grid.halo_size
    total = np.zeros((b + 2 * h, b + 2 * h))
    for n in heads:
        row = slow_weights(t, y, x, n, of)
        if of == "contribution":
            for i in range(len(row)):
                for j in range(len(row)):
                    ky, kx = y // b * b - h + i, x // b * b - h + j
                    there = 0 <= ky < t.grid.height and 0 <= kx < t.grid.width
                    row[i, j] *= float(t.norm[ky, kx, n]) if there else 0.0
        total += row
    return total / total.sum() if total.sum() else total


def slow_on_map(t: LevelTrace, y: int, x: int, head: int | str | None, of: str, times: bool = False) -> np.ndarray:
    """(H, W) float64: the row in its place, NaN outside its window."""
    b, h = t.grid.block_size, t.grid.halo_size
    row, out = slow_row(t, y, x, head, of), np.full((t.grid.height, t.grid.width), np.nan)
    for i in range(b + 2 * h):
        for j in range(b + 2 * h):
            ky, kx = y // b * b - h + i, x // b * b - h + j
            if 0 <= ky < t.grid.height and 0 <= kx < t.grid.width:
                out[ky, kx] = row[i, j]
    return out * np.isfinite(out).sum() if times else out


def all_cells(t: LevelTrace) -> list[tuple[int, int]]:
    return [(y, x) for y in range(t.grid.height) for x in range(t.grid.width)]
