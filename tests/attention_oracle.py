"""Halo attention as its definition reads: one query at a time, numpy, float64. Shares nothing with halo_vis."""

from __future__ import annotations

import numpy as np
from torch import nn


def parameters(layer: nn.Module) -> dict[str, np.ndarray]:
    """The layer's state dict in float64."""
    return {key: value.detach().double().numpy() for key, value in layer.state_dict().items()}


def row_of_query(
    q: np.ndarray,  # (heads, d), scaled
    k: np.ndarray,  # (H, W, heads, d)
    rel_height: np.ndarray,  # (2 w - 1, d)
    rel_width: np.ndarray,
    cell: tuple[int, int],
    block: int,
    halo: int,
    mask: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of one query: (heads, w, w), summing to 1; and which keys of its window lie inside the map: (w, w).

    Keys outside the map are zero vectors. They are masked ("valid"), or everything else is ("published": the mask
    takes a large finite number, so that where every key is masked every key is alike).
    """
    (y, x), (height, width), w = cell, k.shape[:2], block + 2 * halo
    top, left = y // block * block - halo, x // block * block - halo
    logits = np.zeros((q.shape[0], w, w))
    inside = np.zeros((w, w), bool)
    for i in range(w):
        for j in range(w):
            inside[i, j] = 0 <= top + i < height and 0 <= left + j < width
    for i in range(w):
        logits[:, i, :] += (q @ rel_height[i - y % block + w - 1])[:, None]
        logits[:, :, i] += (q @ rel_width[i - x % block + w - 1])[:, None]
    for i, j in np.argwhere(inside):
        logits[:, i, j] += (q * k[top + i, left + j]).sum(-1)
    if mask == "valid":
        logits[:, ~inside] = -np.inf
    elif inside.all():
        logits[:] = 0.0
    else:
        logits[:, inside] = -np.inf
    flat = logits.reshape(len(q), -1)
    e = np.exp(flat - flat.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).reshape(logits.shape), inside


def forward(
    state: dict[str, np.ndarray],
    x: np.ndarray,
    block: int,
    halo: int,
    heads: int,
    mask: str,
    residual: bool = False,
    cells: list[tuple[int, int]] | None = None,
) -> np.ndarray:
    """(B, C, H, W) -> (B, C, H, W): the whole layer; with `cells`, only these are computed and the rest is nan."""
    batch, _, height, width = x.shape
    inner, w = state["to_q.weight"].shape[0], block + 2 * halo
    d = inner // heads
    out = np.full((batch, state["to_out.weight"].shape[0], height, width), np.nan)
    for n in range(batch):
        picture = x[n].transpose(1, 2, 0).astype(np.float64)
        q, k, v = (
            (picture @ weight.T).reshape(height, width, heads, d)
            for weight in (state["to_q.weight"], state["to_kv.weight"][:inner], state["to_kv.weight"][inner:])
        )
        for y, x0 in cells or np.ndindex(height, width):
            scaled = q[y, x0] * d**-0.5
            weights, _ = row_of_query(
                scaled, k, state["rel_pos_emb.rel_height"], state["rel_pos_emb.rel_width"], (y, x0), block, halo, mask
            )
            top, left = y // block * block - halo, x0 // block * block - halo
            seen = np.zeros((heads, d))
            for i in range(w):
                for j in range(w):
                    if 0 <= top + i < height and 0 <= left + j < width:
                        seen += weights[:, i, j, None] * v[top + i, left + j]
            out[n, :, y, x0] = state["to_out.weight"] @ seen.reshape(inner) + state["to_out.bias"]
    return out + x if residual else out
