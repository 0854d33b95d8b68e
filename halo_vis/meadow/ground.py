"""Grass, light and the finished picture: everything behind and around flowers and bees."""

from __future__ import annotations

import cv2
import numpy as np

from halo_vis.meadow.canvas import (
    SHIFT,
    Light,
    blend,
    fixed_point,
    rgb_tuple,
    rotation,
)

# ---------------------------------------------------------------- grass and light
_MOODS = np.array([
    [(252, 240, 188), (160, 188, 82), (42, 84, 34)],  # golden morning
    [(222, 238, 214), (132, 182, 88), (34, 86, 42)],  # fresh noon
    [(208, 232, 238), (106, 174, 108), (26, 78, 56)],  # cool, after rain
    [(255, 220, 180), (172, 184, 80), (50, 82, 36)],  # evening
], np.float32)  # fmt: skip
_FAR_COLOURS = ((255, 250, 240), (250, 214, 80), (236, 130, 176), (150, 130, 226), (226, 70, 52))


def palette(light: Light) -> np.ndarray:
    """(3, 3): RGB of the far, middle and near meadow."""
    i = int(light.mood)
    return blend(_MOODS[i % 4], _MOODS[(i + 1) % 4], light.mood - i)


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
    size, (_, mid, near) = img.shape[0], palette(light)
    y = np.sort(rng.uniform(*roots, n))
    x, long, wide, lean, curl, tone, bright = rng.uniform(
        (-0.05, length[0], width[0], -0.35, -0.45, 0, 0.78), (1.05, length[1], width[1], 0.35, 0.45, 1, 1.22), (n, 7)
    ).T
    lean = lean - 0.12 * np.cos(light.angle)  # away from the light a little: one wind for the whole picture
    fixed = fixed_point(_blades(size, y, x, long, wide, lean, curl))
    weight = depth * (0.25 + 0.75 * tone[:, None])
    body = np.clip((mid * (1 - weight) + near * weight) * bright[:, None], 0, 255)
    edge = np.clip(body * 0.35 + mid * 0.75, 0, 255)
    for points, rgb, lit in zip(fixed, body.tolist(), edge.tolist(), strict=True):
        cv2.fillPoly(img, [points], rgb, cv2.LINE_AA, SHIFT)
        if depth > 0.6:
            side = points[:8] if np.cos(light.angle) < 0 else points[10:]
            cv2.polylines(img, [side], False, lit, 1, cv2.LINE_AA, SHIFT)


def _clover(img: np.ndarray, rng: np.random.Generator, light: Light, y: float, x: float, r: float) -> None:
    """Three heart-shaped leaves with a pale mark: a plant that is no object."""
    size, (_, mid, near) = img.shape[0], palette(light)
    leaf = blend(mid, near, rng.uniform(0.3, 0.7)) * rng.uniform(0.9, 1.15)
    start, flat = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 0.85)
    stem = _blades(size, y + 0.12, x + rng.uniform(-0.02, 0.02), 0.12, 0.006, 0, 0)[0]
    cv2.fillPoly(img, [fixed_point(stem)], rgb_tuple(leaf * 0.85), cv2.LINE_AA, SHIFT)
    phi = np.linspace(0, 2 * np.pi, 28)
    u, v = (1 - np.cos(phi)) / 2, 0.48 * np.sin(phi) * np.sin(phi / 2)
    u = u * (1 - 0.2 * u**4 * np.exp(-((v / 0.16) ** 2)))
    for k in range(3):
        way = start + k * 2 * np.pi / 3
        for grow, rgb in ((1.0, leaf * (1 + 0.14 * np.cos(way - light.angle))),
                          (0.62, blend(leaf, (226, 240, 196), 0.3)),
                          (0.5, leaf * 0.97)):  # fmt: skip
            p = np.stack([u, v], 1) * grow @ rotation(way).T * (1, flat) * r + (x, y)
            cv2.fillPoly(img, [fixed_point(p * size)], rgb_tuple(rgb), cv2.LINE_AA, SHIFT)


def paint_meadow(size: int, seed: int, light: Light) -> np.ndarray:
    """The meadow behind the flowers: (size, size, 3) uint8, blurred with depth, no flower and no bee."""
    rng = np.random.default_rng(seed)
    far, mid, near = palette(light)
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
        tint = blend((255, 250, 224), (255, 226, 170), light.warmth) * a / 255
        cv2.circle(disc, centre, int(r * small * 16), rgb_tuple(tint), -1, cv2.LINE_AA, SHIFT)
        glow = cv2.add(glow, disc)
    low = np.clip(low + cv2.GaussianBlur(glow, (0, 0), 1.1), 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(10, 30))):  # a far drift of flowers: specks of colour, no shape
        cy, cx, r = rng.uniform((0.24, 0, 0.004), (0.62, 1, 0.011))
        rgb = rgb_tuple(blend(_FAR_COLOURS[rng.integers(len(_FAR_COLOURS))], mid, 0.3))
        cv2.circle(low, (int(cx * small * 16), int(cy * small * 16)), int(r * small * 16), rgb, -1, cv2.LINE_AA, SHIFT)
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
    size, mid = img.shape[0], palette(light)[1]
    for _ in range(int(rng.integers(2, 6))):  # grass in seed
        x, long, lean, curl = rng.uniform((0, 0.25, -0.2, -0.3), (1, 0.5, 0.2, 0.3))
        stalk = _blades(size, 1.04, x, long, 0.004, lean, curl)[0]
        rgb = blend(mid, (214, 186, 120), rng.uniform(0.3, 0.8))
        cv2.fillPoly(img, [fixed_point(stalk)], rgb_tuple(rgb * 0.9), cv2.LINE_AA, SHIFT)
        top = stalk[8]
        way = stalk[8] - stalk[6]
        way = way / np.linalg.norm(way)
        for k in range(9):
            for side in (-1, 1):
                at = top - way * size * 0.0085 * k + rotation(side * 0.5) @ way * size * 0.006
                axes = (int(size * 0.0058 * 16), int(size * 0.0019 * 16))
                angle = float(np.degrees(np.arctan2(way[1], way[0]))) + side * 28
                where = tuple(int(c) for c in fixed_point(at))
                cv2.ellipse(img, where, axes, angle, 0, 360, rgb_tuple(rgb * (1 + 0.12 * side)), -1, cv2.LINE_AA, SHIFT)
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
    tint = blend((0.99, 1.0, 1.03), (1.05, 1.0, 0.93), light.warmth)
    out = np.empty_like(img)
    for c in range(3):
        out[..., c] = np.clip(img[..., c] * (gain * tint[c]) + np.roll(grain, 37 * c, 1) + 0.5, 0, 255)
    return out
