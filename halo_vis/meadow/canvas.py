"""What is painted (species, flowers, bees, light) and what it is painted with.

Geometry is in fractions of the picture's side (so a plan can be painted at any size), angles in radians with `y` down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

SHIFT = 4  # sub-pixel bits for cv2: coordinates are passed in sixteenths of a pixel
VISIBLE = 0.1  # a pixel belongs to an object, and into its box, from this coverage on
GOLDEN = 2.399963  # golden angle: how the florets of a flower's centre are arranged

Rgb = tuple[int, int, int]


class Species(NamedTuple):
    """How a kind of flower looks. Lengths are relative to the petal's reach (1 = centre to tip)."""

    name: str
    petals: tuple[int, int]  # fewest, most
    overlap: float  # petal width relative to the room it has in the ring
    taper: float  # 0 = ellipse, 2 = widest near the tip
    tip: str  # round | notch | teeth | point
    disc: float  # radius of the centre
    disc_rgb: tuple[Rgb, Rgb]  # rim, top
    petal_rgb: tuple[tuple[Rgb, Rgb, Rgb], ...]  # variants of (base, middle, tip)
    vein: float  # strength of the veins


SPECIES = (
    Species("daisy", (15, 21), 1.15, 0.7, "round", 0.29, ((196, 132, 14), (255, 221, 66)),
            (((214, 220, 202), (246, 246, 240), (255, 255, 252)),
             ((226, 214, 222), (250, 243, 247), (255, 226, 238))), 0.05),
    Species("poppy", (4, 5), 1.32, 0.9, "round", 0.20, ((40, 46, 30), (126, 142, 84)),
            (((48, 12, 22), (214, 38, 28), (250, 84, 52)), ((60, 14, 20), (226, 64, 24), (255, 126, 62))), 0.10),
    Species("cornflower", (9, 12), 1.25, 2.0, "teeth", 0.24, ((58, 30, 110), (152, 92, 196)),
            (((44, 52, 158), (66, 98, 224), (128, 160, 255)), ((70, 56, 170), (96, 92, 226), (158, 154, 255))), 0.09),
    Species("cosmos", (8, 8), 1.04, 1.1, "notch", 0.19, ((186, 120, 10), (255, 214, 60)),
            (((176, 44, 112), (236, 112, 172), (255, 178, 212)), ((198, 120, 168), (248, 190, 222), (255, 232, 244)),
             ((112, 12, 72), (186, 30, 112), (226, 74, 148))), 0.10),
    Species("buttercup", (5, 6), 1.08, 1.1, "round", 0.25, ((150, 140, 14), (236, 222, 70)),
            (((216, 150, 6), (252, 206, 22), (255, 236, 96)), ((232, 176, 20), (255, 224, 60), (255, 244, 150))), 0.05),
    Species("rudbeckia", (11, 15), 1.10, 0.6, "point", 0.32, ((38, 20, 14), (122, 70, 40)),
            (((206, 96, 10), (250, 172, 24), (255, 208, 72)), ((170, 52, 14), (242, 134, 22), (255, 190, 70))), 0.08),
    Species("cranesbill", (5, 5), 1.12, 1.0, "notch", 0.15, ((150, 160, 96), (236, 240, 196)),
            (((228, 216, 246), (150, 116, 220), (182, 154, 242)),
             ((240, 226, 246), (178, 112, 206), (214, 164, 234))), 0.16),
)  # fmt: skip


@dataclass(frozen=True)
class Flower:
    """A flower head at `y, x` (of its centre), `diameter` = longer side of its box; all in fractions of the side."""

    y: float
    x: float
    diameter: float
    species: int  # index into SPECIES
    petals: int
    variant: int  # index into the species' petal colours
    squash: float  # 1 = seen from the front, smaller = tilted
    tilt: float  # direction of the tilt
    turn: float  # rotation of the ring of petals
    seed: int  # petals' irregularity, stem, leaves


@dataclass(frozen=True)
class Bee:
    """A bee with the centre of its box at `y, x`; `length` = longer side of its box, in fractions of the side."""

    y: float
    x: float
    length: float
    heading: float  # pitch of the body, 0 = level
    facing: int  # 1 = to the right, -1 = to the left
    above: bool  # seen from above (wings on both sides) instead of from the side
    seed: int


@dataclass(frozen=True)
class Light:
    """Where the light comes from (`angle`, y down), `warmth` 0..1, `mood` (a palette index, blended), `haze` 0..1."""

    angle: float
    warmth: float
    mood: float
    haze: float


# ---------------------------------------------------------------- primitives
def fixed_point(points: np.ndarray) -> np.ndarray:
    """(n, 2) x, y pixel coordinates -> cv2's fixed point, where whole numbers are pixel centres."""
    return np.round((points - 0.5) * (1 << SHIFT)).astype(np.int32)


def rotation(angle: float) -> np.ndarray:
    """(2, 2) matrix of a turn by `angle`."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


class Layer:
    """A premultiplied RGBA float patch, painted at `scale` times the final resolution and shrunk at the end."""

    def __init__(self, y0: int, x0: int, h: int, w: int, scale: int) -> None:
        self.y0, self.x0, self.scale = y0, x0, scale
        self.rgba = np.zeros((h * scale, w * scale, 4), np.float32)

    def local(self, points: np.ndarray) -> np.ndarray:
        """Picture pixels (n, 2) x, y -> patch pixels."""
        return (np.asarray(points) - (self.x0, self.y0)) * self.scale

    def over(self, rows: slice, cols: slice, mask: np.ndarray, rgb: np.ndarray | Rgb, shade: bool = False) -> None:
        """Lay `rgb` over a window with coverage `mask` (h, w) 0..1; `shade` keeps the alpha as it was."""
        part, m = self.rgba[rows, cols], mask[..., None]
        colour = np.asarray(rgb, np.float32)
        if shade:
            below = part[..., 3:] * m
            part[..., :3] *= 1 - m
            part[..., :3] += colour * below
        else:
            part *= 1 - m
            part[..., :3] += colour * m
            part[..., 3] += mask

    def fill(self, points: np.ndarray, rgb: Rgb, alpha: float = 1.0, blur: float = 0.0, shade: bool = False) -> None:
        """Polygon in picture pixels, optionally blurred (patch pixels)."""
        p, pad = self.local(points), 2 + int(3 * blur)
        self._stamp(
            p, pad, rgb, alpha, blur, shade, lambda m, q: cv2.fillPoly(m, [fixed_point(q)], 255, cv2.LINE_AA, SHIFT)
        )

    def lines(self, lines: list[np.ndarray], rgb: Rgb, width: float, alpha: float = 1.0) -> None:
        """Open poly-lines of `width` picture pixels, all of one colour."""
        p = [self.local(q) for q in lines]
        t, cuts = max(1, round(width * self.scale)), np.cumsum([len(q) for q in p])[:-1]
        self._stamp(np.concatenate(p), t + 2, rgb, alpha, 0, False, lambda m, q: cv2.polylines(
            m, [fixed_point(r) for r in np.split(q, cuts)], False, 255, t, cv2.LINE_AA, SHIFT))  # fmt: skip

    def _stamp(self, p: np.ndarray, pad: int, rgb: Rgb, alpha: float, blur: float, shade: bool,
               draw: Callable[[np.ndarray, np.ndarray], object]) -> None:  # fmt: skip
        h, w = self.rgba.shape[:2]
        x0, y0 = np.maximum(np.floor(p.min(0)).astype(int) - pad, 0)
        x1, y1 = np.minimum(np.ceil(p.max(0)).astype(int) + pad, (w, h))
        if x1 <= x0 or y1 <= y0:
            return
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        draw(mask, p - (x0, y0))
        if blur:
            mask = cv2.GaussianBlur(mask, (0, 0), blur)
        self.over(slice(y0, y1), slice(x0, x1), mask.astype(np.float32) * (alpha / 255), rgb, shade)

    def final(self) -> np.ndarray:
        """The patch at the picture's own resolution, premultiplied RGBA."""
        h, w = self.rgba.shape[:2]
        return cv2.resize(self.rgba, (w // self.scale, h // self.scale), interpolation=cv2.INTER_AREA)


def put(canvas: np.ndarray, patch: np.ndarray, y0: int, x0: int) -> tuple[slice, slice, np.ndarray]:
    """Composite a premultiplied patch onto `canvas` in place, cut at its borders; the window and its patch."""
    h, w = canvas.shape[:2]
    t, left = max(-y0, 0), max(-x0, 0)
    patch = patch[t : max(h - y0, 0), left : max(w - x0, 0)]
    rows = slice(y0 + t, y0 + t + patch.shape[0])
    cols = slice(x0 + left, x0 + left + patch.shape[1])
    part = canvas[rows, cols]
    part[:] = np.clip(part * (1 - patch[..., 3:]) + patch[..., :3] + 0.5, 0, 255).astype(np.uint8)
    return rows, cols, patch


def bounds(points: np.ndarray) -> tuple[float, float, float, float]:
    """Smallest x1, y1, x2, y2 around (N, 2) points."""
    return (*points.min(0).tolist(), *points.max(0).tolist())


def blend(a: np.ndarray | Rgb, b: np.ndarray | Rgb, t: float) -> np.ndarray:
    """Colour `a` at t = 0, `b` at t = 1."""
    return np.asarray(a, np.float32) * (1 - t) + np.asarray(b, np.float32) * t


def rgb_tuple(rgb: np.ndarray) -> tuple[float, float, float]:
    """A colour as OpenCV takes it."""
    return tuple(float(c) for c in np.clip(rgb, 0, 255))


def mask_box(mask: np.ndarray, y0: int, x0: int) -> tuple[int, int, int, int]:
    """Box x1, y1, x2, y2 of a mask that starts at (y0, x0)."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(x0 + cols[0]), int(y0 + rows[0]), int(x0 + cols[-1] + 1), int(y0 + rows[-1] + 1)
