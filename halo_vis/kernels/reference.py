"""Halo attention in plain operations: what every other backend is held against, and what graphs are recorded from.

It runs on every device, in every type, under torch.compile, in ONNX exports, and has gradients of every order. Letters
as in :mod:`halo_vis.attention`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cut_blocks(t: Tensor, heads: int, block_size: int) -> Tensor:
    """(B, H', W', heads * d), H' and W' multiples of the block -> (N, heads, b * b, d)."""
    batch, height, width, channels = t.shape
    b, d = block_size, channels // heads
    t = t.reshape(batch, height // b, b, width // b, b, heads, d).permute(0, 1, 3, 5, 2, 4, 6)
    return t.reshape(-1, heads, b * b, d)


def join_blocks(t: Tensor, height: int, width: int, block_size: int) -> Tensor:
    """(N, heads, b * b, d) -> (B, height, width, heads * d): the inverse of :func:`cut_blocks`."""
    b, heads, d = block_size, t.shape[1], t.shape[3]
    t = t.reshape(-1, height // b, width // b, heads, b, b, d).permute(0, 1, 4, 2, 5, 3, 6)
    return t.reshape(-1, height, width, heads * d)


def gather_windows(t: Tensor, heads: int, block_size: int, halo_size: int) -> Tensor:
    """(B, H', W', heads * d), H' and W' multiples of the block -> (N, heads, w * w, d), zeros outside the map."""
    batch, height, width, channels = t.shape
    b, w, h = block_size, block_size + 2 * halo_size, halo_size
    # Rows, then columns, by index: the one form of this gather that every ONNX exporter keeps dynamic.
    cell = torch.arange(w, device=t.device)
    rows = (torch.arange(height // b, device=t.device) * b)[:, None] + cell
    cols = (torch.arange(width // b, device=t.device) * b)[:, None] + cell
    t = F.pad(t, (0, 0, h, h, h, h)).index_select(1, rows.flatten()).index_select(2, cols.flatten())
    t = t.reshape(batch, height // b, w, width // b, w, heads, channels // heads).permute(0, 1, 3, 5, 2, 4, 6)
    return t.reshape(-1, heads, w * w, channels // heads)


def relative_logits(q: Tensor, rel_height: Tensor, rel_width: Tensor, block_size: int, halo_size: int) -> Tensor:
    """Position logits of every (query, key) pair: row offset plus column offset (Bello et al. 2019, factorised).

    Args:
        q: (N, heads, b * b, d), already scaled.
        rel_height, rel_width: (2 w - 1, d); row ``key - query + w - 1`` belongs to that offset, where both positions
            count from their own first cell (the window's, the block's), as in the article.

    Returns:
        (N, heads, b * b, w * w).
    """
    n, heads, _, d = q.shape
    b, w = block_size, block_size + 2 * halo_size
    offset = torch.arange(w, device=q.device)[None, :] - torch.arange(b, device=q.device)[:, None] + w - 1  # b, w
    q = q.reshape(n, heads, b, b, d)
    # A matrix product per query row (column): cheaper than all 2 w - 1 offsets, and free of index tricks on the result.
    rows = q.permute(2, 0, 1, 3, 4).reshape(b, -1, d) @ rel_height[offset].transpose(1, 2)  # b(y), N heads b(x), w
    cols = q.permute(3, 0, 1, 2, 4).reshape(b, -1, d) @ rel_width[offset].transpose(1, 2)  # b(x), N heads b(y), w
    rows = rows.reshape(b, n, heads, b, w).permute(1, 2, 0, 3, 4)  # N, heads, y, x, w
    cols = cols.reshape(b, n, heads, b, w).permute(1, 2, 3, 0, 4)
    return (rows[..., :, None] + cols[..., None, :]).reshape(n, heads, b * b, w * w)


def why_not(q: Tensor, **geometry: object) -> str | None:
    """Why this backend cannot run something: there is nothing."""
    return None


def halo_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor,
    rel_width: Tensor,
    *,
    heads: int,
    block_size: int,
    halo_size: int,
    mask: str = "valid",
) -> Tensor:
    """What :func:`halo_vis.attention.halo_attention` computes; the same arguments and shapes.

    The published mask is stated without its detour over huge negative logits: logits of 0 where the window lies inside
    the map, elsewhere nothing but padding.
    """
    height, width = q.shape[1:3]
    # Always padded, if by nothing: a branch on the size would freeze into an exported graph.
    extra = (0, 0, 0, -width % block_size, 0, -height % block_size)
    inside = gather_windows(F.pad(q.new_ones(1, height, width, 1), extra), 1, block_size, halo_size)  # n, 1, w * w, 1
    inside = inside.transpose(2, 3) > 0
    q, k, v = (F.pad(t, extra) for t in (q, k, v))
    padded_height, padded_width = q.shape[1:3]

    scale = (q.shape[-1] // heads) ** -0.5
    q = cut_blocks(q * scale, heads, block_size)
    k = gather_windows(k, heads, block_size, halo_size)
    v = gather_windows(v, heads, block_size, halo_size)
    bias = relative_logits(q, rel_height, rel_width, block_size, halo_size)

    # The mask is the same for every picture of the batch: n windows of one picture, N = B * n.
    per_picture = bias.unflatten(0, (-1, inside.shape[0]))
    if mask == "valid":
        per_picture = per_picture.masked_fill(~inside, float("-inf"))
    else:
        whole = inside.all(-1, keepdim=True)
        per_picture = per_picture.masked_fill(whole, 0.0).masked_fill(inside & ~whole, float("-inf"))
        q = torch.zeros_like(q)
    bias = per_picture.flatten(0, 1)

    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), scale=1.0)
    return join_blocks(out, padded_height, padded_width, block_size)[:, :height, :width]
