"""Halo attention written for PyTorch's FlexAttention: a peer of the bench."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from halo_vis.attention import HaloAttention


class FlexHalo(nn.Module):
    """Our layer's function on maps of one size, attended by FlexAttention.

    The cells come in the order of the blocks, so that a tile of the block mask is one block of queries with one block
    of keys and all but the neighbours are skipped. Keys of neighbouring blocks beyond the halo are masked inside the
    tiles, and so are cells outside the map. Relative positions are added by a score_mod, from the logits of every
    query with the w rows and the w columns of its window, two small matrix products.

    Args:
        compiled: False runs the implementation for debugging, which keeps every score of the map in memory.

    Shape:
        (B, dim, height, width) -> the same. Each B is compiled anew.
    """

    def __init__(self, layer: HaloAttention, height: int, width: int, compiled: bool = True) -> None:
        super().__init__()
        self.layer = copy.deepcopy(layer).eval()
        self.height, self.width = height, width
        b, h, w = layer.block_size, layer.halo_size, layer.window_size
        self.down, self.across = -(-height // b), -(-width // b)
        cell = torch.arange(self.down * self.across * b * b)
        block, within = cell // (b * b), cell % (b * b)
        self.y = y = block // self.across * b + within // b
        self.x = x = block % self.across * b + within % b
        self.top, self.left = top, left = y // b * b - h, x // b * b - h

        def in_window(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            row, col = y[k] - top[q], x[k] - left[q]
            inside = (y[k] < height) & (x[k] < width)
            return (row >= 0) & (row < w) & (col >= 0) & (col < w) & inside

        # Made once for a size, outside the timing, as a user of FlexAttention would.
        self.mask = create_block_mask(in_window, None, None, len(cell), len(cell), device="cpu", BLOCK_SIZE=b * b)
        self.offset = torch.arange(w)[None, :] - torch.arange(b)[:, None] + w - 1  # b, w
        self.attend = torch.compile(flex_attention, dynamic=False) if compiled else flex_attention

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, height, width) -> the same."""
        layer, (b, w) = self.layer, (self.layer.block_size, self.layer.window_size)
        heads, d = layer.heads, layer.dim_head
        height, width = self.down * b, self.across * b
        cells = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, width - self.width, 0, height - self.height))
        cells = cells.reshape(-1, self.down, b, self.across, b, layer.dim).transpose(2, 3)
        cells = cells.reshape(len(x), -1, layer.dim)
        q, k, v = layer.to_q(cells) * layer.scale, *layer.to_kv(cells).chunk(2, dim=-1)
        q, k, v = (t.reshape(len(x), -1, heads, d).transpose(1, 2) for t in (q, k, v))

        blocks = q.reshape(len(x), heads, -1, b, b, d)
        rows = torch.einsum("nhcyxd,ywd->nhcyxw", blocks, layer.rel_pos_emb.rel_height[self.offset])
        cols = torch.einsum("nhcyxd,xwd->nhcyxw", blocks, layer.rel_pos_emb.rel_width[self.offset])
        rows, cols = (t.reshape(len(x), heads, -1, w).contiguous() for t in (rows, cols))
        y, x_, top, left = self.y, self.x, self.top, self.left

        def positions(score: Tensor, batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            # Clamped: score_mod is also asked about the keys that the mask hides.
            row, col = (y[k] - top[q]).clamp(0, w - 1), (x_[k] - left[q]).clamp(0, w - 1)
            return score + rows[batch, head, q, row] + cols[batch, head, q, col]

        out = self.attend(q, k, v, score_mod=positions, block_mask=self.mask, scale=1.0)
        out = layer.to_out(out.transpose(1, 2).reshape(len(x), -1, heads * d))
        out = out.reshape(-1, self.down, self.across, b, b, layer.dim).transpose(2, 3)
        out = out.reshape(len(x), height, width, layer.dim)
        return out[:, : self.height, : self.width].permute(0, 3, 1, 2)
