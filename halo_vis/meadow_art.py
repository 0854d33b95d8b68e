"""Painting for the diagnostic meadow: what flowers, bees and grass look like, never where they may stand.

Geometry is in fractions of the picture's side (so a plan can be painted at any size), angles in radians with `y` down.
Two promises to `meadow`: `head_extent` and `bee_extent` bound what is painted to about a pixel, and `paint_bee`
changes pixels only inside the bee's box padded by `SHADOW_PAD`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

SHADOW_PAD = 0.014  # a bee's soft shadow ends this far outside its box (fraction of the side)
_SHIFT = 4  # sub-pixel bits for cv2: coordinates are passed in sixteenths of a pixel
_VISIBLE = 0.1  # a pixel belongs to an object, and into its box, from this coverage on
_GOLDEN = 2.399963  # golden angle: how the florets of a flower's centre are arranged

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
def _fixed(points: np.ndarray) -> np.ndarray:
    """(n, 2) x, y pixel coordinates -> cv2's fixed point, where whole numbers are pixel centres."""
    return np.round((points - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _turn(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


class _Layer:
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
            p, pad, rgb, alpha, blur, shade, lambda m, q: cv2.fillPoly(m, [_fixed(q)], 255, cv2.LINE_AA, _SHIFT)
        )

    def lines(self, lines: list[np.ndarray], rgb: Rgb, width: float, alpha: float = 1.0) -> None:
        """Open poly-lines of `width` picture pixels, all of one colour."""
        p = [self.local(q) for q in lines]
        t, cuts = max(1, round(width * self.scale)), np.cumsum([len(q) for q in p])[:-1]
        self._stamp(np.concatenate(p), t + 2, rgb, alpha, 0, False, lambda m, q: cv2.polylines(
            m, [_fixed(r) for r in np.split(q, cuts)], False, 255, t, cv2.LINE_AA, _SHIFT))  # fmt: skip

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
        h, w = self.rgba.shape[:2]
        return cv2.resize(self.rgba, (w // self.scale, h // self.scale), interpolation=cv2.INTER_AREA)


def _put(canvas: np.ndarray, patch: np.ndarray, y0: int, x0: int) -> tuple[slice, slice, np.ndarray]:
    """Composite a premultiplied patch onto `canvas` in place, cut at its borders; the window and its patch."""
    h, w = canvas.shape[:2]
    t, left = max(-y0, 0), max(-x0, 0)
    patch = patch[t : max(h - y0, 0), left : max(w - x0, 0)]
    rows = slice(y0 + t, y0 + t + patch.shape[0])
    cols = slice(x0 + left, x0 + left + patch.shape[1])
    part = canvas[rows, cols]
    part[:] = np.clip(part * (1 - patch[..., 3:]) + patch[..., :3] + 0.5, 0, 255).astype(np.uint8)
    return rows, cols, patch


def _box(points: np.ndarray) -> tuple[float, float, float, float]:
    return (*points.min(0).tolist(), *points.max(0).tolist())


# ---------------------------------------------------------------- grass and light
_MOODS = np.array([
    [(252, 240, 188), (160, 188, 82), (42, 84, 34)],  # golden morning
    [(222, 238, 214), (132, 182, 88), (34, 86, 42)],  # fresh noon
    [(208, 232, 238), (106, 174, 108), (26, 78, 56)],  # cool, after rain
    [(255, 220, 180), (172, 184, 80), (50, 82, 36)],  # evening
], np.float32)  # fmt: skip
_FAR_COLOURS = ((255, 250, 240), (250, 214, 80), (236, 130, 176), (150, 130, 226), (226, 70, 52))


def _mix(a: np.ndarray | Rgb, b: np.ndarray | Rgb, t: float) -> np.ndarray:
    return np.asarray(a, np.float32) * (1 - t) + np.asarray(b, np.float32) * t


def _tuple(rgb: np.ndarray) -> tuple[float, float, float]:
    return tuple(float(c) for c in np.clip(rgb, 0, 255))


def _palette(light: Light) -> np.ndarray:
    """(3, 3): RGB of the far, middle and near meadow."""
    i = int(light.mood)
    return _mix(_MOODS[i % 4], _MOODS[(i + 1) % 4], light.mood - i)


def _blades(size: int, *shape: float | np.ndarray) -> np.ndarray:
    """Tapering, bending strips from their roots upwards: (n, 18, 2) x, y pixels, up one edge and down the other.

    `shape`: y, x, length, width, lean, curl; each a number or (n,).
    """
    y, x, length, width, lean, curl = (np.reshape(np.asarray(a, float), (-1, 1)) for a in shape)
    t = np.linspace(0, 1, 9)[None]
    cx, cy = x + length * (lean * t + curl * t**2), y - length * t * (1 - 0.25 * np.abs(curl) * t)
    half = width * (1 - t**1.6) * 0.5
    return np.concatenate([np.stack([cx - half, cy], 2), np.stack([cx + half, cy], 2)[:, ::-1]], 1) * size


def _grass(img: np.ndarray, rng: np.random.Generator, light: Light, n: int, roots: tuple[float, float],
           length: tuple[float, float], width: tuple[float, float], depth: float) -> None:  # fmt: skip
    """Paint `n` blades, far ones first. `depth` 0 = far and pale, 1 = near and saturated."""
    size, (_, mid, near) = img.shape[0], _palette(light)
    y = np.sort(rng.uniform(*roots, n))
    x, long, wide, lean, curl, tone, bright = rng.uniform(
        (-0.05, length[0], width[0], -0.35, -0.45, 0, 0.78), (1.05, length[1], width[1], 0.35, 0.45, 1, 1.22), (n, 7)
    ).T
    lean = lean - 0.12 * np.cos(light.angle)  # away from the light a little: one wind for the whole picture
    fixed = _fixed(_blades(size, y, x, long, wide, lean, curl))
    weight = depth * (0.25 + 0.75 * tone[:, None])
    body = np.clip((mid * (1 - weight) + near * weight) * bright[:, None], 0, 255)
    edge = np.clip(body * 0.35 + mid * 0.75, 0, 255)
    for points, rgb, lit in zip(fixed, body.tolist(), edge.tolist(), strict=True):
        cv2.fillPoly(img, [points], rgb, cv2.LINE_AA, _SHIFT)
        if depth > 0.6:
            side = points[:8] if np.cos(light.angle) < 0 else points[10:]
            cv2.polylines(img, [side], False, lit, 1, cv2.LINE_AA, _SHIFT)


def _clover(img: np.ndarray, rng: np.random.Generator, light: Light, y: float, x: float, r: float) -> None:
    """Three heart-shaped leaves with a pale mark: a plant that is no object."""
    size, (_, mid, near) = img.shape[0], _palette(light)
    leaf = _mix(mid, near, rng.uniform(0.3, 0.7)) * rng.uniform(0.9, 1.15)
    start, flat = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 0.85)
    stem = _blades(size, y + 0.12, x + rng.uniform(-0.02, 0.02), 0.12, 0.006, 0, 0)[0]
    cv2.fillPoly(img, [_fixed(stem)], _tuple(leaf * 0.85), cv2.LINE_AA, _SHIFT)
    phi = np.linspace(0, 2 * np.pi, 28)
    u, v = (1 - np.cos(phi)) / 2, 0.48 * np.sin(phi) * np.sin(phi / 2)
    u = u * (1 - 0.2 * u**4 * np.exp(-((v / 0.16) ** 2)))
    for k in range(3):
        way = start + k * 2 * np.pi / 3
        for grow, rgb in ((1.0, leaf * (1 + 0.14 * np.cos(way - light.angle))),
                          (0.62, _mix(leaf, (226, 240, 196), 0.3)),
                          (0.5, leaf * 0.97)):  # fmt: skip
            p = np.stack([u, v], 1) * grow @ _turn(way).T * (1, flat) * r + (x, y)
            cv2.fillPoly(img, [_fixed(p * size)], _tuple(rgb), cv2.LINE_AA, _SHIFT)


def paint_meadow(size: int, seed: int, light: Light) -> np.ndarray:
    """The meadow behind the flowers: (size, size, 3) uint8, blurred with depth, no flower and no bee."""
    rng = np.random.default_rng(seed)
    far, mid, near = _palette(light)
    small = 160
    y = np.linspace(0, 1, small, dtype=np.float32)
    stops = (0, 0.42 - 0.1 * light.haze, 1)
    low = np.stack([np.interp(y, stops, (far[c], mid[c], near[c])) for c in range(3)], 1)[:, None].repeat(small, 1)
    patches = cv2.resize(
        rng.uniform(0.86, 1.14, (7, 7)).astype(np.float32), (small, small), interpolation=cv2.INTER_CUBIC
    )
    low = (low * patches[..., None]).astype(np.float32)
    glow = np.zeros((small, small, 3), np.uint8)
    for _ in range(26):  # light through far leaves, out of focus
        cy, cx, r, a = rng.uniform((-0.02, 0, 0.015, 12), (0.48, 1, 0.06, 44))
        disc = np.zeros_like(glow)
        centre = tuple(int(c * small * 16) for c in (cx, cy))
        tint = _mix((255, 250, 224), (255, 226, 170), light.warmth) * a / 255
        cv2.circle(disc, centre, int(r * small * 16), _tuple(tint), -1, cv2.LINE_AA, _SHIFT)
        glow = cv2.add(glow, disc)
    low = np.clip(low + cv2.GaussianBlur(glow, (0, 0), 1.1), 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(10, 30))):  # a far drift of flowers: specks of colour, no shape
        cy, cx, r = rng.uniform((0.24, 0, 0.004), (0.62, 1, 0.011))
        rgb = _tuple(_mix(_FAR_COLOURS[rng.integers(len(_FAR_COLOURS))], mid, 0.3))
        cv2.circle(low, (int(cx * small * 16), int(cy * small * 16)), int(r * small * 16), rgb, -1, cv2.LINE_AA, _SHIFT)
    half = (size + 1) // 2  # what will be blurred that much needs no more
    img = cv2.resize(cv2.GaussianBlur(low, (0, 0), 1.6), (half, half), interpolation=cv2.INTER_CUBIC)
    _grass(img, rng, light, 90, (0.5, 0.85), (0.12, 0.26), (0.008, 0.018), 0.25)
    img = cv2.resize(cv2.GaussianBlur(img, (0, 0), 0.008 * half), (size, size), interpolation=cv2.INTER_CUBIC)
    _grass(img, rng, light, 100, (0.75, 1.1), (0.15, 0.38), (0.007, 0.016), 0.55)
    for _ in range(int(rng.integers(3, 8))):
        _clover(img, rng, light, rng.uniform(0.72, 0.97), rng.uniform(0, 1), rng.uniform(0.02, 0.034))
    return cv2.GaussianBlur(img, (0, 0), 0.0035 * size)


def paint_near_grass(img: np.ndarray, seed: int, light: Light) -> None:
    """Sharp blades, clover and grass in seed along the lower border, in place: they hide the feet of the stems."""
    rng = np.random.default_rng([seed, 1])
    size, mid = img.shape[0], _palette(light)[1]
    for _ in range(int(rng.integers(2, 6))):  # grass in seed
        x, long, lean, curl = rng.uniform((0, 0.25, -0.2, -0.3), (1, 0.5, 0.2, 0.3))
        stalk = _blades(size, 1.04, x, long, 0.004, lean, curl)[0]
        rgb = _mix(mid, (214, 186, 120), rng.uniform(0.3, 0.8))
        cv2.fillPoly(img, [_fixed(stalk)], _tuple(rgb * 0.9), cv2.LINE_AA, _SHIFT)
        top = stalk[8]
        way = stalk[8] - stalk[6]
        way = way / np.linalg.norm(way)
        for k in range(9):
            for side in (-1, 1):
                at = top - way * size * 0.0085 * k + _turn(side * 0.5) @ way * size * 0.006
                axes = (int(size * 0.0058 * 16), int(size * 0.0019 * 16))
                angle = float(np.degrees(np.arctan2(way[1], way[0]))) + side * 28
                where = tuple(int(c) for c in _fixed(at))
                cv2.ellipse(img, where, axes, angle, 0, 360, _tuple(rgb * (1 + 0.12 * side)), -1, cv2.LINE_AA, _SHIFT)
    _grass(img, rng, light, 60, (0.98, 1.12), (0.1, 0.3), (0.006, 0.015), 0.85)
    for _ in range(int(rng.integers(1, 5))):
        _clover(img, rng, light, rng.uniform(0.86, 0.99), rng.uniform(0, 1), rng.uniform(0.028, 0.042))


def develop(img: np.ndarray, seed: int, light: Light, noise: float) -> np.ndarray:
    """Vignette, warm light and camera noise, each pixel by itself: a pixel's result depends on nothing beside it."""
    size = img.shape[0]
    y, x = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32),) * 2, indexing="ij", sparse=True)
    gain = (
        1.06
        - 0.14 * (y * y + x * x)
        + 0.09 * (x * np.float32(np.cos(light.angle)) + y * np.float32(np.sin(light.angle)))
    )
    grain = np.random.default_rng(seed).standard_normal((size, size), np.float32) * np.float32(noise)
    tint = _mix((0.99, 1.0, 1.03), (1.05, 1.0, 0.93), light.warmth)
    out = np.empty_like(img)
    for c in range(3):
        out[..., c] = np.clip(img[..., c] * (gain * tint[c]) + np.roll(grain, 37 * c, 1) + 0.5, 0, 255)
    return out


# ---------------------------------------------------------------- flowers
def _petal_outline(kind: Species, half: float) -> np.ndarray:
    """(40, 2) outline of one petal: u from 0 (base) to 1 (tip), v across, at most `half`."""
    phi = np.linspace(0, 2 * np.pi, 41)[:-1]
    u, v = (1 - np.cos(phi)) / 2, np.sin(phi) * np.sin(phi / 2) ** kind.taper
    v = v * half / np.abs(v).max()
    if kind.tip == "notch":
        u = u * (1 - 0.12 * u**4 * np.exp(-((v / (0.3 * half)) ** 2)))
    elif kind.tip == "teeth":
        u = u * (1 - 0.24 * u**4 * (0.5 + 0.5 * np.cos(4.4 * np.pi * v / half)))
    elif kind.tip == "point":
        v = v * np.abs(np.cos(phi / 2)) ** 0.35 * 1.15
    return np.stack([u, v], 1)


def _half_width(kind: Species, petals: int) -> float:
    return min(kind.overlap * np.pi * 0.72 / petals, 0.74)


@lru_cache(maxsize=4096)
def _ring(flower: Flower) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """A head with its box centred on 0: its petals' (n, 2, 3) maps u, v -> x, y; middle; a petal's outline; reach."""
    kind = SPECIES[flower.species]
    rng = np.random.default_rng([flower.seed, 2])
    outline = _petal_outline(kind, _half_width(kind, flower.petals))
    view = _turn(flower.tilt) @ np.diag([1, flower.squash]) @ _turn(-flower.tilt)
    base = 0.45 * kind.disc
    maps = []
    for k in range(flower.petals):
        way = flower.turn + 2 * np.pi * (k + rng.uniform(-0.13, 0.13)) / flower.petals
        long, wide = rng.uniform((0.9, 0.92), (1.0, 1.08))
        m = view @ _turn(way)
        maps.append(np.column_stack([m @ np.diag([long * (1 - base), wide]), m @ (long * base, 0)]))
    rings = np.array(maps)
    every = np.concatenate([outline @ m[:, :2].T + m[:, 2] for m in rings])
    x0, y0, x1, y1 = _box(every)
    reach = flower.diameter / max(x1 - x0, y1 - y0)
    middle = -np.array([x0 + x1, y0 + y1]) / 2  # where the petals meet, seen from the box' centre
    rings[:, :, 2] += middle
    return rings * reach, middle * reach, outline, reach


@lru_cache(maxsize=4096)
def head_extent(flower: Flower) -> tuple[float, float, float, float]:
    """`x1, y1, x2, y2` of the petals, in fractions of the side."""
    maps, _, outline, _ = _ring(replace(flower, y=0.0, x=0.0))
    x0, y0, x1, y1 = _box(np.concatenate([outline @ m[:, :2].T + m[:, 2] for m in maps]))
    return x0 + flower.x, y0 + flower.y, x1 + flower.x, y1 + flower.y


def _petal_texture(kind: Species, half: float, variant: int, length: int) -> tuple[np.ndarray, int]:
    """RGBA (h, w, 4) float32 of one petal, colour also outside the outline (no fringe), and its margin in pixels."""
    margin = 3
    h, w = int(2 * 1.2 * half * length) + 2 * margin, length + 2 * margin
    u = ((np.arange(w, dtype=np.float32) + 0.5 - margin) / length)[None]
    v = ((np.arange(h, dtype=np.float32) + 0.5 - h / 2) / length)[:, None]
    base, middle, tip = kind.petal_rgb[variant]
    stops = (0.1, 0.48, 0.98)
    colour = np.stack([np.interp(u, stops, (base[c], middle[c], tip[c])) for c in range(3)], -1)
    across = np.abs(v) / half
    fan = np.arctan2(v, u + 0.35) / np.arctan2(half, 0.85)
    shade = 1 - 0.2 * across**2.4 - 0.10 * np.exp(-((v / (0.1 * half)) ** 2)) * (1 - 0.7 * u)
    shade = shade + kind.vein * np.cos(fan * 17) * (1 - u) - 0.24 * np.clip(0.45 - u, 0, 1)
    texture = np.empty((h, w, 4), np.float32)
    texture[..., :3] = np.clip(colour * shade[..., None], 0, 255)
    mask = np.zeros((h, w), np.uint8)
    outline = _petal_outline(kind, half) * length + (margin, h / 2)
    cv2.fillPoly(mask, [_fixed(outline)], 255, cv2.LINE_AA, _SHIFT)
    texture[..., 3] = mask.astype(np.float32) / 255
    return texture, margin


@lru_cache(maxsize=64)
def head_patch(flower: Flower, size: int, light: Light) -> tuple[np.ndarray, int, int]:
    """The painted head: premultiplied RGBA float32 (h, w, 4) and the picture pixel `y0, x0` of its corner."""
    kind, scale = SPECIES[flower.species], 2
    maps, _, _, reach = _ring(replace(flower, y=0.0, x=0.0))
    x0, y0, x1, y1 = (c * size for c in head_extent(flower))
    left, top = int(np.floor(x0)) - 3, int(np.floor(y0)) - 3
    layer = _Layer(top, left, int(np.ceil(y1)) + 3 - top, int(np.ceil(x1)) + 3 - left, scale)
    half, length = _half_width(kind, flower.petals), max(int(reach * size * scale), 8)
    texture, margin = _petal_texture(kind, half, flower.variant, length)
    rng = np.random.default_rng([flower.seed, 3])
    tones = rng.uniform(0.95, 1.05, flower.petals)
    h, w = layer.rgba.shape[:2]
    # texture pixel -> (u, v) -> picture fraction -> patch pixel
    to_uv = np.array(
        [[1 / length, 0, (0.5 - margin) / length], [0, 1 / length, (0.5 - texture.shape[0] / 2) / length], [0, 0, 1]]
    )
    order = [*range(0, flower.petals, 2), *range(1, flower.petals, 2)]
    for rank, k in enumerate(order):
        m = maps[k] @ to_uv
        m[:, 2] = (m[:, 2] + (flower.x, flower.y)) * size * scale - np.array([left, top]) * scale - 0.5
        m[:, :2] *= size * scale
        corners = (
            np.array([[0, 0], [texture.shape[1], 0], [0, texture.shape[0]], texture.shape[1::-1]]) @ m[:, :2].T
            + m[:, 2]
        )
        cx0, cy0 = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, (w, h))
        cx1, cy1 = np.clip(np.ceil(corners.max(0)).astype(int) + 2, 0, (w, h))
        m[:, 2] -= (cx0, cy0)
        petal = cv2.warpAffine(
            texture, m, (int(cx1 - cx0), int(cy1 - cy0)), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
        rows, cols, mask = slice(cy0, cy1), slice(cx0, cx1), petal[..., 3]
        if rank:  # the petal's soft shadow on those below it
            soft = cv2.GaussianBlur(mask, (0, 0), 0.035 * length) * np.float32(0.34)
            layer.over(rows, cols, soft, np.float32([30, 24, 40]) * 0.6, shade=True)
        facing = np.arctan2(maps[k][1, 0], maps[k][0, 0]) - light.angle
        gain = tones[k] * (0.99 + 0.11 * np.cos(facing)) * (1.0 if rank >= len(order) // 2 else 0.92)
        layer.over(rows, cols, mask, np.clip(petal[..., :3] * np.float32(gain), 0, 255))
    _paint_disc(layer, flower, kind, size, reach, light, rng)
    return layer.final(), top, left


def _paint_disc(layer: _Layer, flower: Flower, kind: Species, size: int, reach: float, light: Light,
                rng: np.random.Generator) -> None:  # fmt: skip
    """The centre: florets on a golden spiral, lit like a dome; a poppy's capsule has dark stamens around it."""
    view = _turn(flower.tilt) @ np.diag([1, flower.squash]) @ _turn(-flower.tilt) * kind.disc * reach * size
    centre = (_ring(replace(flower, y=0.0, x=0.0))[1] + (flower.x, flower.y)) * size
    rim, top = kind.disc_rgb
    phi = np.linspace(0, 2 * np.pi, 41)[:-1]
    ring = np.stack([np.cos(phi), np.sin(phi)], 1)
    layer.fill(centre + ring * 1.18 @ view.T, (24, 18, 22), 0.42, blur=0.05 * reach * size * layer.scale, shade=True)
    sun = np.array([np.cos(light.angle), np.sin(light.angle)])
    if kind.name == "poppy":
        for k in range(34):
            way, r = k * _GOLDEN, 1.1 + 0.75 * ((k * 7) % 34) / 34
            stamen = np.array([[np.cos(way), np.sin(way)]])
            layer.lines(
                [centre + np.concatenate([stamen * 0.5, stamen * r]) @ view.T], (44, 26, 40), 0.012 * reach * size, 0.8
            )
            layer.fill(centre + (stamen * r + ring * 0.11) @ view.T, (58, 46, 62) if k % 3 else (150, 138, 112))
    outline = layer.local(centre + ring @ view.T)
    (x0, y0), (x1, y1) = np.floor(outline.min(0)).astype(int) - 2, np.ceil(outline.max(0)).astype(int) + 3
    mask, colour = np.zeros((y1 - y0, x1 - x0), np.uint8), np.empty((y1 - y0, x1 - x0, 3), np.uint8)
    colour[:] = np.clip(_mix(rim, top, 0.2), 0, 255)
    cv2.fillPoly(mask, [_fixed(outline - (x0, y0))], 255, cv2.LINE_AA, _SHIFT)
    count = int(np.clip(46 + 60 * kind.disc, 40, 90))
    for k in range(count):
        r = np.sqrt((count - k) / count)
        at = r * np.array([np.cos(k * _GOLDEN), np.sin(k * _GOLDEN)])
        lit = 0.62 - 0.55 * r**2 + 0.42 * float(at @ sun) + rng.uniform(-0.12, 0.12)
        floret = layer.local(centre + (at * 0.94 + ring[::5] * 0.125) @ view.T) - (x0, y0)
        cv2.fillPoly(colour, [_fixed(floret)], _tuple(_mix(rim, top, float(np.clip(lit, 0, 1.1)))), cv2.LINE_AA, _SHIFT)
    layer.over(slice(y0, y1), slice(x0, x1), mask.astype(np.float32) / 255, colour)


def paint_stem(img: np.ndarray, flower: Flower, light: Light) -> None:
    """Stem and leaves of a flower, in place: background, never part of its box' meaning."""
    rng = np.random.default_rng([flower.seed, 4])
    size, (_, mid, near) = img.shape[0], _palette(light)
    body = _mix(mid, near, 0.35) * rng.uniform(0.88, 1.02)
    foot = np.array([flower.x + rng.uniform(-0.12, 0.12), 1.06])
    head, bend = np.array([flower.x, flower.y]), rng.uniform(-0.06, 0.06)
    t = np.linspace(0, 1, 24)[:, None]
    path = head * (1 - t) ** 2 + 2 * t * (1 - t) * ((head + foot) / 2 + (bend, 0)) + foot * t**2
    wide = flower.diameter * (0.030 + 0.018 * t[:, 0])
    off = np.stack([wide / 2, 0 * wide], 1)
    for _ in range(int(rng.integers(1, 4))):
        at = int(np.clip(len(t) * rng.uniform(0.35, 0.9), 3, 22))
        side, long, droop = rng.choice((-1, 1)), flower.diameter * rng.uniform(0.45, 0.85), rng.uniform(-0.9, -0.1)
        u = np.linspace(0, 1, 14)
        spine = path[at] + long * np.stack([side * u, droop * u + 0.55 * u**2], 1)
        half = long * 0.16 * np.sin(np.pi * u**0.8)
        upper, lower = spine - np.stack([0 * half, half], 1), spine + np.stack([0 * half, half], 1)
        leaf = body * rng.uniform(0.9, 1.15)
        for edge, tone in ((upper, 1.16), (lower, 0.88)):
            cv2.fillPoly(
                img, [_fixed(np.concatenate([spine, edge[::-1]]) * size)], _tuple(leaf * tone), cv2.LINE_AA, _SHIFT
            )
        cv2.polylines(img, [_fixed(spine * size)], False, _tuple(leaf * 1.35), 1, cv2.LINE_AA, _SHIFT)
    outline = np.concatenate([path - off, (path + off)[::-1]])
    cv2.fillPoly(img, [_fixed(outline * size)], _tuple(body * 0.82), cv2.LINE_AA, _SHIFT)
    lit = path + off * (0.5 if np.cos(light.angle) > 0 else -0.5)
    cv2.polylines(
        img, [_fixed(lit * size)], False, _tuple(body * 1.25), max(1, round(size * 0.002)), cv2.LINE_AA, _SHIFT
    )


def paint_head(img: np.ndarray, flower: Flower, light: Light) -> tuple[int, int, int, int]:
    """Paint the head in place; returns its box `x1, y1, x2, y2` (pixels, tight around the petals)."""
    patch, y0, x0 = head_patch(flower, img.shape[0], light)
    _put(img, patch, y0, x0)
    return _mask_box(patch[..., 3] >= _VISIBLE, y0, x0)


def _mask_box(mask: np.ndarray, y0: int, x0: int) -> tuple[int, int, int, int]:
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(x0 + cols[0]), int(y0 + rows[0]), int(x0 + cols[-1] + 1), int(y0 + rows[-1] + 1)


# ---------------------------------------------------------------- bees
class _Part(NamedTuple):
    points: np.ndarray  # (n, 2) x, y; lines may come in several pieces: (pieces, n, 2)
    rgb: Rgb
    alpha: float = 1.0
    width: float = 0.0  # 0: polygon; else a line of this width (the bee's lengths)


def _ellipse(x: float, y: float, a: float, b: float, angle: float = 0.0, n: int = 28) -> np.ndarray:
    phi = np.linspace(0, 2 * np.pi, n + 1)[:-1]
    return np.stack([a * np.cos(phi), b * np.sin(phi)], 1) @ _turn(angle).T + (x, y)


def _wing(x: float, y: float, long: float, wide: float, angle: float) -> list[_Part]:
    phi = np.linspace(0, 2 * np.pi, 33)[:-1]
    u, v = (1 - np.cos(phi)) / 2 * long, np.sin(phi) * np.sin(phi / 2) ** 1.2 * wide
    turn, at = _turn(angle).T, np.array([x, y])
    shape = np.stack([u, v], 1) @ turn + at
    parts = [_Part(shape, (236, 244, 252), 0.60), _Part(np.concatenate([shape, shape[:1]]), (96, 92, 92), 0.75, 0.012)]
    for s in (-0.45, 0.0, 0.45):
        vein = np.array([[0.02, 0], [0.5 * long, s * wide], [0.86 * long, 0.9 * s * wide]])
        parts.append(_Part(vein @ turn + at, (120, 112, 104), 0.6, 0.008))
    return parts


def _bee_parts(bee: Bee) -> list[_Part]:
    """Back to front, in the bee's own frame: head towards +x, y down, about one unit long."""
    rng = np.random.default_rng([bee.seed, 5])
    amber = _tuple(_mix((244, 176, 34), (226, 142, 24), rng.uniform()))
    dark, fur = (44, 28, 18), (206, 146, 52)
    spread = rng.uniform(-0.12, 0.12)
    parts: list[_Part] = []
    sides = (-1, 1) if bee.above else (1,)
    for s in sides:
        for foot, knee in ((-0.16, 0.0), (0.08, 0.1), (0.34, 0.22)):
            reach = 0.30 if bee.above else 0.33
            leg = np.array([[0.1 + 0.3 * (knee - 0.1), 0.08 * s], [knee, s * (reach - 0.1)], [foot, s * reach]])
            parts.append(_Part(leg, dark, 1.0, 0.034))
    if not bee.above:
        parts += _wing(0.12, -0.12, 0.56, 0.17, -1.55 + spread)
    t = np.linspace(0, 1, 25)
    half = 0.205 * np.sin(np.pi * np.clip(0.08 + 0.9 * t, 0, 1) ** 0.75) ** 0.7
    edges = (0, 0.16, 0.30, 0.46, 0.60, 0.75, 0.87, 1)
    for i, (a, b) in enumerate(pairwise(edges)):
        s = np.linspace(a, b, 7)
        h, cx = np.interp(s, t, half), 0.08 - 0.62 * s
        bow = np.linspace(-1, 1, 9)
        front, back = (np.stack([cx[k] - 0.045 * (1 - bow**2), h[k] * bow], 1) for k in (0, -1))
        shape = np.concatenate([np.stack([cx, -h], 1), back, np.stack([cx, h], 1)[::-1], front[::-1]])
        parts.append(_Part(shape, dark if i % 2 else amber))
    parts.append(_Part(_ellipse(0.15, 0, 0.185, 0.185), fur))
    ways = np.arange(44) * _GOLDEN
    radii = 0.185 * np.sqrt((np.arange(44) + 1) / 44)
    out = np.stack([np.cos(ways), np.sin(ways)], 1)
    hairs = np.stack([out * radii[:, None], out * (radii[:, None] + 0.05) + np.array([-0.02, 0])], 1) + np.array(
        [0.15, 0]
    )
    for k, rgb in enumerate(((236, 186, 90), (176, 116, 36), (250, 208, 120))):
        parts.append(_Part(hairs[k::3], rgb, 0.9, 0.014))
    parts.append(_Part(_ellipse(0.37, 0.01, 0.105, 0.125), (58, 38, 24)))
    for s in (-1, 1):
        tip = np.array([[0.42, 0.05 * s], [0.53, 0.12 * s], [0.60, 0.10 * s]]) if bee.above else np.array(
            [[0.42, -0.07], [0.53, -0.15 + 0.03 * s], [0.61, -0.10 + 0.05 * s]])  # fmt: skip
        parts.append(_Part(tip, dark, 1.0, 0.026))
        if bee.above:
            parts.append(_Part(_ellipse(0.385, 0.085 * s, 0.055, 0.045), (18, 14, 14)))
    if bee.above:
        for s in sides:
            parts += _wing(0.1, 0.1 * s, 0.34, 0.10, s * (2.25 + spread)) + _wing(
                0.16, 0.1 * s, 0.50, 0.14, s * (1.80 + spread)
            )
    else:
        parts += [
            _Part(_ellipse(0.39, -0.01, 0.05, 0.075), (16, 12, 14)),
            _Part(_ellipse(0.405, -0.04, 0.015, 0.02), (236, 236, 240)),
        ]
        parts += _wing(0.06, -0.12, 0.38, 0.12, -2.35 + spread) + _wing(0.12, -0.13, 0.58, 0.17, -1.98 + spread)
    return parts


@lru_cache(maxsize=4096)
def _bee_shape(bee: Bee) -> tuple[list[_Part], tuple[float, float, float, float], float]:
    """Parts turned, scaled and centred on 0, their extent and the scale (callers drop the place: one cached shape)."""
    frame = np.diag([bee.facing, 1]) @ _turn(bee.heading)
    parts = [p._replace(points=p.points @ frame.T) for p in _bee_parts(bee)]
    low = np.min([p.points.reshape(-1, 2).min(0) - p.width / 2 for p in parts], 0)
    high = np.max([p.points.reshape(-1, 2).max(0) + p.width / 2 for p in parts], 0)
    scale, middle = bee.length / float((high - low).max()), (low + high) / 2
    extent = ((low - middle) * scale, (high - middle) * scale)
    parts = [p._replace(points=(p.points - middle) * scale, width=p.width * scale) for p in parts]
    return parts, (*extent[0].tolist(), *extent[1].tolist()), scale


def bee_extent(bee: Bee) -> tuple[float, float, float, float]:
    """`x1, y1, x2, y2` of the whole bee (legs, wings, antennae), in fractions of the side."""
    _, (x0, y0, x1, y1), _ = _bee_shape(replace(bee, y=0.0, x=0.0))
    return x0 + bee.x, y0 + bee.y, x1 + bee.x, y1 + bee.y


def paint_bee(img: np.ndarray, bee: Bee, light: Light) -> tuple[int, int, int, int]:
    """Paint a bee in place; returns its box (pixels). Nothing outside the box padded by `SHADOW_PAD` is changed."""
    size, ss = img.shape[0], 3
    parts, _, scale = _bee_shape(replace(bee, y=0.0, x=0.0))
    x0, y0, x1, y1 = (c * size for c in bee_extent(bee))
    pad = SHADOW_PAD * size
    left, top = int(np.ceil(x0 - pad)), int(np.ceil(y0 - pad))
    layer = _Layer(top, left, int(y1 + pad) - top, int(x1 + pad) - left, ss)
    unit = scale * size * ss
    for part in parts:
        points = (part.points + np.array([bee.x, bee.y])) * size
        if part.width:
            layer.lines(list(points) if points.ndim == 3 else [points], part.rgb, part.width * size, part.alpha)
        else:
            layer.fill(points, part.rgb, part.alpha)
    centre, sun = np.array([bee.x, bee.y]) * size, np.array([np.cos(light.angle), np.sin(light.angle)])
    body = scale * size * _ellipse(-0.05, 0, 0.42, 0.17) @ (np.diag([bee.facing, 1]) @ _turn(bee.heading)).T
    layer.fill(centre + body * (1, 0.5) - sun * 0.12 * scale * size, (20, 10, 6), 0.30, blur=0.07 * unit, shade=True)
    bee_patch = layer.final()
    box = _mask_box(bee_patch[..., 3] >= _VISIBLE, top, left)
    shadow = cv2.GaussianBlur(bee_patch[..., 3], (0, 0), 0.35 * pad)
    shift = np.float32([[1, 0, -0.35 * pad * sun[0]], [0, 1, -0.35 * pad * sun[1]]])
    shadow = cv2.warpAffine(shadow, shift, shadow.shape[::-1]) * np.float32(0.42)
    under = np.zeros_like(bee_patch)
    under[..., 3] = shadow * (1 - bee_patch[..., 3])
    under[..., :3] = under[..., 3:] * np.float32([18, 26, 12])
    _put(img, bee_patch + under, top, left)
    return box
