"""Detections as plain arrays, and what changed between two sets of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Query = tuple[str, int, int]


@dataclass(frozen=True, eq=False)
class Detections:
    """What one model found on one picture, most confident first.

    Attributes:
        xyxy: (N, 4) float32, photo pixels; conf: (N,) float32; cls: (N,) int64; names: class id -> name.
        queries: for each box the cell that produced it: (level, y, x).
        polygons: for each box its mask's outline, (M, 2) float32 ``x, y`` photo pixels; None without masks.
    """

    xyxy: np.ndarray
    conf: np.ndarray
    cls: np.ndarray
    names: dict[int, str]
    queries: tuple[Query, ...] = ()
    polygons: tuple[np.ndarray, ...] | None = None

    def __post_init__(self) -> None:
        """Shapes must agree."""
        n = len(self.xyxy)
        if self.xyxy.shape != (n, 4) or self.conf.shape != (n,) or self.cls.shape != (n,):
            raise ValueError(
                f"Detections: expected shapes (N, 4), (N,), (N,), got {self.xyxy.shape}, {self.conf.shape}, "
                f"{self.cls.shape}."
            )

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.xyxy)

    def name(self, i: int) -> str:
        """Class name of box i."""
        return self.names.get(int(self.cls[i]), str(int(self.cls[i])))


@dataclass(frozen=True)
class Match:
    """A box of the baseline and its counterpart: kept (both), gained (only the halo model), lost (only the baseline).

    ``delta`` is the halo model's confidence minus the baseline's.
    """

    kind: str
    baseline: int | None
    halo: int | None
    iou: float | None
    delta: float | None


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes: (N, 4) and (M, 4) xyxy -> (N, M); empty boxes give 0."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    area_a, area_b = (np.clip(t[:, 2:] - t[:, :2], 0, None).prod(-1) for t in (a, b))
    union = area_a[:, None] + area_b[None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def match(baseline: Detections, halo: Detections, least_iou: float = 0.5) -> tuple[Match, ...]:
    """Match boxes of the same class one to one, best IoU first.

    Returns:
        Kept pairs by falling halo confidence, then gained, then lost boxes.
    """
    overlap = iou(baseline.xyxy.astype(np.float64), halo.xyxy.astype(np.float64))
    overlap[baseline.cls[:, None] != halo.cls[None]] = -1.0
    kept, free_a, free_b = [], set(range(len(baseline))), set(range(len(halo)))
    order = np.argsort(-overlap, axis=None, kind="stable")
    for i, j in zip(*np.unravel_index(order, overlap.shape), strict=True):
        if overlap[i, j] < least_iou:
            break
        if i in free_a and j in free_b:
            free_a.remove(i)
            free_b.remove(j)
            delta = float(halo.conf[j]) - float(baseline.conf[i])
            kept.append(Match("kept", int(i), int(j), float(overlap[i, j]), delta))
    kept.sort(key=lambda m: -halo.conf[m.halo])
    gained = [Match("gained", None, j, None, None) for j in sorted(free_b)]
    lost = [Match("lost", i, None, None, None) for i in sorted(free_a)]
    return (*kept, *gained, *lost)
