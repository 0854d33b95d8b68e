"""HaloAttention: block-local self-attention whose keys reach beyond the block by a halo.

After Vaswani et al., "Scaling Local Self-Attention for Parameter Efficient Visual Backbones" (HaloNet,
arXiv 2103.12731). The map is cut into blocks of ``block_size`` x ``block_size`` queries; every query of a block
attends to the same window, the block and a ring of ``halo_size`` cells around it.

Shapes, used throughout: ``B`` pictures, a map of ``H`` x ``W`` cells, ``N`` blocks (of all pictures together),
``b`` = block_size, ``w`` = window_size = block_size + 2 halo_size, ``d`` = dim_head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import ultralytics.nn.tasks
from torch import Tensor, nn

MASKS = ("valid", "published")


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


def _check_mask(mask: object) -> None:
    if mask not in MASKS:
        raise ValueError(f"HaloAttention: mask must be one of {MASKS}, got {mask!r}. Use 'valid' unless you compare.")


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
    """The functional core: projected queries, keys and values in, attended values out.

    Args:
        q, k, v: (B, H, W, heads * d), any H, W >= 1; q is scaled here by d ** -0.5.
        rel_height, rel_width: (2 w - 1, d), see :func:`relative_logits`.
        mask: "valid" masks the keys outside the map. "published" is the article's mask, which is inverted: it masks
            the keys inside. What follows from it is stated here without the detour over huge negative logits: a
            window that lies inside the map is attended uniformly, any other only on its padding, whose values are 0.

    Returns:
        (B, H, W, heads * d).
    """
    _check_mask(mask)
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


class RelPosEmb(nn.Module):
    """The two tables of relative positions; named and shaped as in the article, so that its checkpoints load.

    Of the 2 w - 1 rows a table has, only the last b + w - 1 are used: queries lie in the block, keys in the window.
    """

    def __init__(self, block_size: int, rel_size: int, dim_head: int) -> None:
        super().__init__()
        self.block_size = block_size
        self.rel_height = nn.Parameter(torch.randn(2 * rel_size - 1, dim_head) * dim_head**-0.5)
        self.rel_width = nn.Parameter(torch.randn(2 * rel_size - 1, dim_head) * dim_head**-0.5)


def _whole_number(name: str, value: object, least: int) -> int:
    """`value` as it is, or an error that says the rule, the value and the next step."""
    if isinstance(value, bool) or not isinstance(value, int):
        hint = (
            ' In a model YAML write c2 as the first argument, with "from: -1": it stands for the channels of the'
            " layer before."
            if name == "dim"
            else ""
        )
        raise TypeError(
            f"HaloAttention: {name} must be a whole number, got {value!r} ({type(value).__name__})."
            f"{hint or ' Pass an int.'}"
        )
    if value < least:
        raise ValueError(f"HaloAttention: {name} must be at least {least}, got {value}. Pass {least} or more.")
    return value


class HaloAttention(nn.Module):
    """Halo attention over a feature map of any size.

    Args:
        dim: channels of the map, in and out.
        block_size: side of a block of queries, in cells, at least 1.
        halo_size: cells that the window reaches beyond the block on each side, at least 0 (0: window attention).
        dim_head: width of a head.
        heads: number of heads; None: dim // dim_head, at least 1.
        mask: "valid" hides the padding; "published" is the article's inverted mask (see :func:`halo_attention`).
        residual: True gives ``x + attention(x)`` with ``to_out`` at zero, so that at first the layer changes nothing;
            q and k then start as one orthonormal projection and the relative positions at zero, so that the attention
            of an untrained layer is the softmax of feature similarity.

    Shape:
        (B, dim, H, W) -> (B, dim, H, W), any H, W >= 1.

    Example:
        >>> layer = HaloAttention(64)
        >>> layer(torch.zeros(2, 64, 15, 20)).shape
        torch.Size([2, 64, 15, 20])
    """

    def __init__(
        self,
        dim: int,
        block_size: int = 8,
        halo_size: int = 3,
        dim_head: int = 32,
        heads: int | None = None,
        mask: str = "valid",
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.dim = _whole_number("dim", dim, 1)
        self.block_size = _whole_number("block_size", block_size, 1)
        self.halo_size = _whole_number("halo_size", halo_size, 0)
        self.dim_head = _whole_number("dim_head", dim_head, 1)
        self.heads = max(1, dim // dim_head) if heads is None else _whole_number("heads", heads, 1)
        _check_mask(mask)
        if not isinstance(residual, bool):
            raise TypeError(f"HaloAttention: residual must be True or False, got {residual!r}. Pass a bool.")
        self.mask = mask
        self.residual = residual
        inner = self.heads * dim_head
        self.rel_pos_emb = RelPosEmb(block_size, self.window_size, dim_head)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim)
        if residual:
            self.start_as_identity()

    @property
    def window_size(self) -> int:
        """Side of the window of keys, in cells."""
        return self.block_size + 2 * self.halo_size

    @property
    def scale(self) -> float:
        """What queries are multiplied by: dim_head ** -0.5."""
        return self.dim_head**-0.5

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Zero branch, and attention by feature similarity: q and k the same orthonormal projection, no position."""
        inner = self.heads * self.dim_head
        nn.init.orthogonal_(self.to_q.weight)
        self.to_kv.weight[:inner] = self.to_q.weight
        for table in (self.rel_pos_emb.rel_height, self.rel_pos_emb.rel_width, self.to_out.weight, self.to_out.bias):
            table.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> (B, dim, H, W)."""
        if x.ndim != 4 or x.shape[1] != self.dim:
            channels = x.shape[1] if x.ndim == 4 else "<channels>"
            raise ValueError(
                f"HaloAttention: expected a map of shape (B, {self.dim}, H, W), got {tuple(x.shape)}. "
                f"Make the layer with dim={channels}, or feed it {self.dim} channels."
            )
        cells = x.permute(0, 2, 3, 1)
        q = self.to_q(cells)
        k, v = self.to_kv(cells).chunk(2, dim=-1)
        out = halo_attention(
            q,
            k,
            v,
            self.rel_pos_emb.rel_height.to(q.dtype),
            self.rel_pos_emb.rel_width.to(q.dtype),
            heads=self.heads,
            block_size=self.block_size,
            halo_size=self.halo_size,
            mask=self.mask,
        )
        out = self.to_out(out).permute(0, 3, 1, 2)
        return x + out if self.residual else out

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return (
            f"{self.dim}, block_size={self.block_size}, halo_size={self.halo_size}, heads={self.heads}, "
            f"dim_head={self.dim_head}, mask={self.mask!r}, residual={self.residual}"
        )

    def __setstate__(self, state: dict) -> None:
        """Also takes the state of the article's module, which knows neither mask nor residual.

        Its mask is taken to be the published one: the state does not tell, and a module that was saved from the
        corrected halonet-pytorch 0.0.5 looks the same (set ``mask = "valid"`` on that one). It stores `scale` as a
        number, a property here.
        """
        state = dict(state)
        scale = state.pop("scale", None)
        if "dim_head" not in state:
            state["dim_head"] = round(scale**-2) if scale else state["_modules"]["to_q"].out_features // state["heads"]
        state.setdefault("mask", "published")
        state.setdefault("residual", False)
        super().__setstate__(state)


# parse_model() looks layers up by name in this module: this line is the whole registration. Unpickling a checkpoint
# imports this module, so a checkpoint registers its own layers in a fresh process.
ultralytics.nn.tasks.HaloAttention = HaloAttention
# Known to the restricted loader too (ULTRALYTICS_SAFE_LOAD=1), under which Ultralytics reads its own checkpoints again.
torch.serialization.add_safe_globals([HaloAttention, RelPosEmb])
