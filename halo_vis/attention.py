"""HaloAttention: block-local self-attention whose keys reach beyond the block by a halo.

After Vaswani et al., "Scaling Local Self-Attention for Parameter Efficient Visual Backbones" (HaloNet,
arXiv 2103.12731). The map is cut into blocks of ``block_size`` x ``block_size`` queries; every query of a block
attends to the same window, the block and a ring of ``halo_size`` cells around it.

Shapes, used throughout: ``B`` pictures, a map of ``H`` x ``W`` cells, ``N`` blocks (of all pictures together),
``b`` = block_size, ``w`` = window_size = block_size + 2 halo_size, ``d`` = dim_head.
"""

from __future__ import annotations

import torch
import ultralytics.nn.tasks
from torch import Tensor, nn

from halo_vis import kernels

MASKS = ("valid", "published")


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
    backend: str = "auto",
) -> Tensor:
    """The functional core: projected queries, keys and values in, attended values out.

    Args:
        q, k, v: (B, H, W, heads * d), any H, W >= 1; q is scaled here by d ** -0.5.
        rel_height, rel_width: (2 w - 1, d); row ``key - query + w - 1`` belongs to that offset, where both positions
            count from their own first cell (the window's, the block's), as in the article.
        mask: "valid" masks the keys outside the map. "published" is the article's mask, which is inverted: it masks
            the keys inside, so that a window that lies inside the map is attended uniformly, any other only on its
            padding, whose values are 0.
        backend: what computes it, see :mod:`halo_vis.kernels`. All give the same numbers, to rounding.

    Returns:
        (B, H, W, heads * d).
    """
    _check_mask(mask)
    geometry = {"heads": heads, "block_size": block_size, "halo_size": halo_size, "mask": mask}
    compute = kernels.function(kernels.choose(backend, q, v, **geometry).name)
    return compute(q, k, v, rel_height, rel_width, **geometry)


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


def number_of_heads(dim: int, dim_head: int, heads: int | float | None = None) -> int:
    """How many heads a layer has.

    Args:
        dim: channels of its map.
        dim_head: width of a head.
        heads: the number itself; a share between 0 and 1 of the dim // dim_head that the channels hold, rounded down;
            None: all of these. At least 1 in any case.
    """
    if isinstance(heads, int) and not isinstance(heads, bool):
        return _whole_number("heads", heads, 1)
    if heads is None or (isinstance(heads, float) and 0 < heads < 1):
        return max(1, int(dim // dim_head * (1 if heads is None else heads)))
    raise (ValueError if isinstance(heads, float) else TypeError)(
        "HaloAttention: heads must be a whole number of at least 1, a share between 0 and 1 of dim // dim_head, or "
        f"None for all of these, got {heads!r}. Pass an int for a number of heads."
    )


class HaloAttention(nn.Module):
    """Halo attention over a feature map of any size.

    Args:
        dim: channels of the map, in and out.
        block_size: side of a block of queries, in cells, at least 1.
        halo_size: cells that the window reaches beyond the block on each side, at least 0 (0: window attention).
        dim_head: width of a head.
        heads: number of heads; None: dim // dim_head, at least 1; 0 < heads < 1: that share of them, rounded down, at
            least 1.
        mask: "valid" hides the padding; "published" is the article's inverted mask (see :func:`halo_attention`).
        residual: True gives ``x + attention(x)`` with ``to_out`` at zero, so that at first the layer changes nothing;
            q and k then start as one orthonormal projection and the relative positions at zero, so that the attention
            of an untrained layer is the softmax of feature similarity.

    Attributes:
        heads: their number. share_of_heads: the share that was asked for; None where there was none.
        backend: what computes the attention, of ``halo_vis.kernels.BACKENDS``; may be set at any time. ``print(layer)``
            shows what is taken, and why it is not the one that was asked for.

    Shape:
        (B, dim, H, W) -> (B, dim, H, W), any H, W >= 1.

    Example:
        >>> layer = HaloAttention(64)
        >>> layer(torch.zeros(2, 64, 15, 20)).shape
        torch.Size([2, 64, 15, 20])
    """

    backend = "auto"  # of the class, so that layers from older files have it too
    share_of_heads: float | None = None  # likewise

    def __init__(
        self,
        dim: int,
        block_size: int = 8,
        halo_size: int = 3,
        dim_head: int = 32,
        heads: int | float | None = None,
        mask: str = "valid",
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.dim = _whole_number("dim", dim, 1)
        self.block_size = _whole_number("block_size", block_size, 1)
        self.halo_size = _whole_number("halo_size", halo_size, 0)
        self.dim_head = _whole_number("dim_head", dim_head, 1)
        self.heads = number_of_heads(dim, dim_head, heads)
        self.share_of_heads = heads if isinstance(heads, float) else None
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
            backend=self.backend,
        )
        out = self.to_out(out).permute(0, 3, 1, 2)
        return x + out if self.residual else out

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        q = self.to_q.weight.new_empty(1, 1, 1, self.heads * self.dim_head)
        geometry = {"heads": self.heads, "block_size": self.block_size, "halo_size": self.halo_size, "mask": self.mask}
        taken = kernels.choose(self.backend, q, q, **geometry)
        return (
            f"{self.dim}, block_size={self.block_size}, halo_size={self.halo_size}, heads={self.heads}, "
            f"dim_head={self.dim_head}, mask={self.mask!r}, residual={self.residual}, "
            f"backend={taken.name}" + (f" ({taken.reason})" if taken.reason else "")
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
