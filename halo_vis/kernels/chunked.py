"""Halo attention on the CPU: some block rows at a time, in scratch memory that is used again for the next ones.

The plain form writes windows, logits and weights of the whole map, each several times as large as the map, and most of
its time goes into memory that is touched once. Here all of them exist for a chunk alone, so that they stay in the cache
and no page of memory is asked for twice. The backward pass computes a chunk's weights again from queries and keys, as
FlashAttention does (Dao et al. 2022, arXiv 2205.14135), so nothing but the arguments is kept for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from halo_vis.kernels.scratch import Layout, Place, Pool, Scratch

# Weights of a chunk, 2 MB of them: half as many lose a tenth to the number of calls, all at once half to memory.
ROOM = 2**19
TYPES = (torch.float32, torch.float64)
POOL = Pool(most=96 * 2**20)


def why_not(q: Tensor, *, mask: str, **geometry: int) -> str | None:
    """Why :func:`halo_attention` cannot run with these arguments, in a few words; None where it can."""
    if q.device.type != "cpu":
        return f"it is made for the CPU, not for {q.device.type}"
    if q.dtype not in TYPES:
        return f"it needs float32 or float64, not {str(q.dtype).removeprefix('torch.')}"
    if mask != "valid":
        return f"mask {mask!r} needs the reference"
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
    """What :func:`halo_vis.attention.halo_attention` computes; the same arguments and shapes, mask "valid" alone.

    Gradients of first order; for those of higher order take the reference.
    """
    return _Chunked.apply(q, k, v, rel_height, rel_width, heads, block_size, halo_size)


class _Work:
    """One pass over the chunks: what both directions share."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, rel_height: Tensor, rel_width: Tensor, layout: Layout) -> None:
        self.q, self.kv, self.layout = q, _side_by_side(k, v), layout
        self.scale = layout.dim_head**-0.5
        used = slice(2 * layout.halo, None)  # the article's tables begin with offsets that no pair of cells has
        self.table = torch.cat([rel_height[used], rel_width[used]]).t() * self.scale  # d, 2 offsets

    def chunks(self) -> Iterator[tuple[Place, Scratch]]:
        """Places with the memory for them; the weights of the chunk are already there."""
        places = self.layout.places(ROOM)
        for size in dict.fromkeys(place.size for place in places):
            with POOL.taken(self.layout, size, self.q) as scratch:
                for place in places:
                    if place.size == size:
                        self._weigh(place, scratch)
                        yield place, scratch

    def _weigh(self, place: Place, scratch: Scratch) -> None:
        """Softmax of the chunk's logits, in place."""
        queries = scratch.cut(self.q, place)
        scratch.gather(self.kv, place)
        torch.mm(queries.view(-1, self.layout.dim_head), self.table, out=scratch.near)
        torch.add(scratch.near_rows, scratch.outside_rows[place.row : place.row + place.rows], out=scratch.rows)
        torch.add(scratch.near_cols, scratch.outside_cols, out=scratch.cols)
        torch.add(scratch.rows.unsqueeze(-1), scratch.cols.unsqueeze(-2), out=scratch.square)
        weights = scratch.weights
        torch.baddbmm(weights, queries, scratch.keys_t, alpha=self.scale, out=weights)
        torch.softmax(weights, -1, out=weights)


class _Chunked(torch.autograd.Function):
    """Keeps its arguments alone for the backward pass."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, q: Tensor, k: Tensor, v: Tensor, rel_height: Tensor, rel_width: Tensor,
        heads: int, block_size: int, halo_size: int,
    ) -> Tensor:  # fmt: skip
        """(B, H, W, heads * d), as the arguments."""
        ctx.layout = Layout(*q.shape[:3], heads, q.shape[3] // heads, block_size, halo_size)
        ctx.save_for_backward(q, k, v, rel_height, rel_width)
        out = q.new_empty(q.shape)
        for place, scratch in _Work(q, k, v, rel_height, rel_width, ctx.layout).chunks():
            # Queries are not needed any more: what they attend to takes their place.
            scratch.join(torch.bmm(scratch.weights, scratch.values, out=scratch.queries), place, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of q, k, v and both tables."""
        layout, (q, k, v, rel_height, rel_width) = ctx.layout, ctx.saved_tensors
        work = _Work(q, k, v, rel_height, rel_width, layout)
        d, scaled = layout.dim_head, {"beta": 0, "alpha": work.scale}
        dq, dkv = q.new_empty(q.shape), work.kv.new_zeros(work.kv.shape)
        dtable = torch.zeros_like(work.table)
        for place, here in work.chunks():
            with POOL.taken(layout, place.size, q) as there:  # gradients of what stands in `here`
                dout = here.cut(grad, place, there.queries)
                dlogits = torch.bmm(dout, here.values_t, out=there.weights)
                torch.bmm(here.weights.transpose(1, 2), dout, out=there.values)
                torch.ops.aten._softmax_backward_data.out(dlogits, here.weights, -1, q.dtype, grad_input=dlogits)
                # Through the relative positions: each query's entries back to their offsets, zero at the others.
                there.near.zero_()
                there.near_rows.copy_(torch.sum(there.square, -1, out=there.rows))
                there.near_cols.copy_(torch.sum(there.square, -2, out=there.cols))
                dtable.addmm_(here.queries.view(-1, d).t(), there.near)
                # Through the products with the keys.
                torch.baddbmm(there.keys, dlogits.transpose(1, 2), here.queries, **scaled, out=there.keys)
                there.scatter(dkv, place)
                dqueries = torch.baddbmm(dout, dlogits, here.keys, **scaled, out=dout)
                dqueries.view(-1, d).addmm_(there.near, work.table.t())
                there.join(dqueries, place, dq)
        unused = (0, 0, 2 * layout.halo, 0)
        dheight, dwidth = (F.pad(t, unused) for t in (dtable.t() * work.scale).chunk(2))
        return dq, *dkv.chunk(2, dim=-1), dheight, dwidth, None, None, None


def _side_by_side(k: Tensor, v: Tensor) -> Tensor:
    """(B, H, W, 2 * heads * d): the projection that k and v are the halves of, or a copy where they are not."""
    width = k.shape[-1]
    if (
        k.untyped_storage().data_ptr() == v.untyped_storage().data_ptr()
        and k.stride() == v.stride()
        and k.stride(-1) == 1
        and v.storage_offset() == k.storage_offset() + width
        and min(k.stride()[:-1]) >= 2 * width
    ):
        return k.as_strided((*k.shape[:-1], 2 * width), k.stride(), k.storage_offset())
    return torch.cat([k, v], dim=-1)
