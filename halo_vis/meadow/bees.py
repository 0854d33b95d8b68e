"""Bees: wings, stripes, shadow.

`bee_extent` bounds what is painted to about a pixel; `paint_bee` changes pixels only inside the bee's box padded by
`SHADOW_PAD`: the promise on which the meadow's exactness rests.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from halo_vis.meadow.canvas import (
    GOLDEN,
    VISIBLE,
    Bee,
    Layer,
    Light,
    Rgb,
    blend,
    mask_box,
    put,
    rgb_tuple,
    rotation,
)

SHADOW_PAD = 0.014  # a bee's soft shadow ends this far outside its box (fraction of the side)


# ---------------------------------------------------------------- bees
class _Part(NamedTuple):
    points: np.ndarray  # (n, 2) x, y; lines may come in several pieces: (pieces, n, 2)
    rgb: Rgb
    alpha: float = 1.0
    width: float = 0.0  # 0: polygon; else a line of this width (the bee's lengths)


def _ellipse(x: float, y: float, a: float, b: float, angle: float = 0.0, n: int = 28) -> np.ndarray:
    phi = np.linspace(0, 2 * np.pi, n + 1)[:-1]
    return np.stack([a * np.cos(phi), b * np.sin(phi)], 1) @ rotation(angle).T + (x, y)


def _wing(x: float, y: float, long: float, wide: float, angle: float) -> list[_Part]:
    phi = np.linspace(0, 2 * np.pi, 33)[:-1]
    u, v = (1 - np.cos(phi)) / 2 * long, np.sin(phi) * np.sin(phi / 2) ** 1.2 * wide
    turn, at = rotation(angle).T, np.array([x, y])
    shape = np.stack([u, v], 1) @ turn + at
    parts = [_Part(shape, (236, 244, 252), 0.60), _Part(np.concatenate([shape, shape[:1]]), (96, 92, 92), 0.75, 0.012)]
    for s in (-0.45, 0.0, 0.45):
        vein = np.array([[0.02, 0], [0.5 * long, s * wide], [0.86 * long, 0.9 * s * wide]])
        parts.append(_Part(vein @ turn + at, (120, 112, 104), 0.6, 0.008))
    return parts


def _bee_parts(bee: Bee) -> list[_Part]:
    """Back to front, in the bee's own frame: head towards +x, y down, about one unit long."""
    rng = np.random.default_rng([bee.seed, 5])
    amber = rgb_tuple(blend((244, 176, 34), (226, 142, 24), rng.uniform()))
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
    ways = np.arange(44) * GOLDEN
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
    frame = np.diag([bee.facing, 1]) @ rotation(bee.heading)
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
    layer = Layer(top, left, int(y1 + pad) - top, int(x1 + pad) - left, ss)
    unit = scale * size * ss
    for part in parts:
        points = (part.points + np.array([bee.x, bee.y])) * size
        if part.width:
            layer.lines(list(points) if points.ndim == 3 else [points], part.rgb, part.width * size, part.alpha)
        else:
            layer.fill(points, part.rgb, part.alpha)
    centre, sun = np.array([bee.x, bee.y]) * size, np.array([np.cos(light.angle), np.sin(light.angle)])
    body = scale * size * _ellipse(-0.05, 0, 0.42, 0.17) @ (np.diag([bee.facing, 1]) @ rotation(bee.heading)).T
    layer.fill(centre + body * (1, 0.5) - sun * 0.12 * scale * size, (20, 10, 6), 0.30, blur=0.07 * unit, shade=True)
    bee_patch = layer.final()
    box = mask_box(bee_patch[..., 3] >= VISIBLE, top, left)
    shadow = cv2.GaussianBlur(bee_patch[..., 3], (0, 0), 0.35 * pad)
    shift = np.float32([[1, 0, -0.35 * pad * sun[0]], [0, 1, -0.35 * pad * sun[1]]])
    shadow = cv2.warpAffine(shadow, shift, shadow.shape[::-1]) * np.float32(0.42)
    under = np.zeros_like(bee_patch)
    under[..., 3] = shadow * (1 - bee_patch[..., 3])
    under[..., :3] = under[..., 3:] * np.float32([18, 26, 12])
    put(img, bee_patch + under, top, left)
    return box
