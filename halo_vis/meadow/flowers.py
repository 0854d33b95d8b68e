"""Flowers: heads, petals, stems. `head_extent` bounds what is painted to about a pixel."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from halo_vis.meadow.canvas import (
    GOLDEN,
    SHIFT,
    SPECIES,
    VISIBLE,
    Flower,
    Layer,
    Light,
    Species,
    blend,
    bounds,
    fixed_point,
    mask_box,
    put,
    rgb_tuple,
    rotation,
)
from halo_vis.meadow.ground import palette


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
    view = rotation(flower.tilt) @ np.diag([1, flower.squash]) @ rotation(-flower.tilt)
    base = 0.45 * kind.disc
    maps = []
    for k in range(flower.petals):
        way = flower.turn + 2 * np.pi * (k + rng.uniform(-0.13, 0.13)) / flower.petals
        long, wide = rng.uniform((0.9, 0.92), (1.0, 1.08))
        m = view @ rotation(way)
        maps.append(np.column_stack([m @ np.diag([long * (1 - base), wide]), m @ (long * base, 0)]))
    rings = np.array(maps)
    every = np.concatenate([outline @ m[:, :2].T + m[:, 2] for m in rings])
    x0, y0, x1, y1 = bounds(every)
    reach = flower.diameter / max(x1 - x0, y1 - y0)
    middle = -np.array([x0 + x1, y0 + y1]) / 2  # where the petals meet, seen from the box' centre
    rings[:, :, 2] += middle
    return rings * reach, middle * reach, outline, reach


@lru_cache(maxsize=4096)
def head_extent(flower: Flower) -> tuple[float, float, float, float]:
    """`x1, y1, x2, y2` of the petals, in fractions of the side."""
    maps, _, outline, _ = _ring(replace(flower, y=0.0, x=0.0))
    x0, y0, x1, y1 = bounds(np.concatenate([outline @ m[:, :2].T + m[:, 2] for m in maps]))
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
    cv2.fillPoly(mask, [fixed_point(outline)], 255, cv2.LINE_AA, SHIFT)
    texture[..., 3] = mask.astype(np.float32) / 255
    return texture, margin


@lru_cache(maxsize=64)
def head_patch(flower: Flower, size: int, light: Light) -> tuple[np.ndarray, int, int]:
    """The painted head: premultiplied RGBA float32 (h, w, 4) and the picture pixel `y0, x0` of its corner."""
    kind, scale = SPECIES[flower.species], 2
    maps, _, _, reach = _ring(replace(flower, y=0.0, x=0.0))
    x0, y0, x1, y1 = (c * size for c in head_extent(flower))
    left, top = int(np.floor(x0)) - 3, int(np.floor(y0)) - 3
    layer = Layer(top, left, int(np.ceil(y1)) + 3 - top, int(np.ceil(x1)) + 3 - left, scale)
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


def _paint_disc(layer: Layer, flower: Flower, kind: Species, size: int, reach: float, light: Light,
                rng: np.random.Generator) -> None:  # fmt: skip
    """The centre: florets on a golden spiral, lit like a dome; a poppy's capsule has dark stamens around it."""
    view = rotation(flower.tilt) @ np.diag([1, flower.squash]) @ rotation(-flower.tilt) * kind.disc * reach * size
    centre = (_ring(replace(flower, y=0.0, x=0.0))[1] + (flower.x, flower.y)) * size
    rim, top = kind.disc_rgb
    phi = np.linspace(0, 2 * np.pi, 41)[:-1]
    ring = np.stack([np.cos(phi), np.sin(phi)], 1)
    layer.fill(centre + ring * 1.18 @ view.T, (24, 18, 22), 0.42, blur=0.05 * reach * size * layer.scale, shade=True)
    sun = np.array([np.cos(light.angle), np.sin(light.angle)])
    if kind.name == "poppy":
        for k in range(34):
            way, r = k * GOLDEN, 1.1 + 0.75 * ((k * 7) % 34) / 34
            stamen = np.array([[np.cos(way), np.sin(way)]])
            layer.lines(
                [centre + np.concatenate([stamen * 0.5, stamen * r]) @ view.T], (44, 26, 40), 0.012 * reach * size, 0.8
            )
            layer.fill(centre + (stamen * r + ring * 0.11) @ view.T, (58, 46, 62) if k % 3 else (150, 138, 112))
    outline = layer.local(centre + ring @ view.T)
    (x0, y0), (x1, y1) = np.floor(outline.min(0)).astype(int) - 2, np.ceil(outline.max(0)).astype(int) + 3
    mask, colour = np.zeros((y1 - y0, x1 - x0), np.uint8), np.empty((y1 - y0, x1 - x0, 3), np.uint8)
    colour[:] = np.clip(blend(rim, top, 0.2), 0, 255)
    cv2.fillPoly(mask, [fixed_point(outline - (x0, y0))], 255, cv2.LINE_AA, SHIFT)
    count = int(np.clip(46 + 60 * kind.disc, 40, 90))
    for k in range(count):
        r = np.sqrt((count - k) / count)
        at = r * np.array([np.cos(k * GOLDEN), np.sin(k * GOLDEN)])
        lit = 0.62 - 0.55 * r**2 + 0.42 * float(at @ sun) + rng.uniform(-0.12, 0.12)
        floret = layer.local(centre + (at * 0.94 + ring[::5] * 0.125) @ view.T) - (x0, y0)
        cv2.fillPoly(
            colour, [fixed_point(floret)], rgb_tuple(blend(rim, top, float(np.clip(lit, 0, 1.1)))), cv2.LINE_AA, SHIFT
        )
    layer.over(slice(y0, y1), slice(x0, x1), mask.astype(np.float32) / 255, colour)


def paint_stem(img: np.ndarray, flower: Flower, light: Light) -> None:
    """Stem and leaves of a flower, in place: background, never part of its box' meaning."""
    rng = np.random.default_rng([flower.seed, 4])
    size, (_, mid, near) = img.shape[0], palette(light)
    body = blend(mid, near, 0.35) * rng.uniform(0.88, 1.02)
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
                img,
                [fixed_point(np.concatenate([spine, edge[::-1]]) * size)],
                rgb_tuple(leaf * tone),
                cv2.LINE_AA,
                SHIFT,
            )
        cv2.polylines(img, [fixed_point(spine * size)], False, rgb_tuple(leaf * 1.35), 1, cv2.LINE_AA, SHIFT)
    outline = np.concatenate([path - off, (path + off)[::-1]])
    cv2.fillPoly(img, [fixed_point(outline * size)], rgb_tuple(body * 0.82), cv2.LINE_AA, SHIFT)
    lit = path + off * (0.5 if np.cos(light.angle) > 0 else -0.5)
    cv2.polylines(
        img, [fixed_point(lit * size)], False, rgb_tuple(body * 1.25), max(1, round(size * 0.002)), cv2.LINE_AA, SHIFT
    )


def paint_head(img: np.ndarray, flower: Flower, light: Light) -> tuple[int, int, int, int]:
    """Paint the head in place; returns its box `x1, y1, x2, y2` (pixels, tight around the petals)."""
    patch, y0, x0 = head_patch(flower, img.shape[0], light)
    put(img, patch, y0, x0)
    return mask_box(patch[..., 3] >= VISIBLE, y0, x0)
