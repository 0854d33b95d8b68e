"""Other implementations of halo attention, and global attention, with the weights of one of our layers.

Every peer is built from a `HaloAttention`, takes and gives the same maps, and says what it computes differently. What
it has in common with our layer is checked (`Peer.difference`) before it is timed.
"""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halo_vis.attention import HaloAttention
from halo_vis.bench.flex import FlexHalo
from halo_vis.bench.shapes import Shape

OURS = "HaloVis"
HALONET, FLEX, TIMM, NATTEN, GLOBAL = (
    "halonet-pytorch",
    "FlexAttention",
    "timm HaloAttn",
    "NATTEN",
    "global attention",
)
# Of the largest value of our output. Peers add the same numbers in another order; a wrong mask or position shows at
# several hundredths.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Peer:
    """Another implementation.

    Attributes:
        package: the distribution whose version is reported; the module to import is ``module``.
        build: (layer, height, width) -> a module that takes (B, dim, height, width), in evaluation mode, with the
            layer's weights.
        same: whether it computes the same function.
        differs: what it computes instead, or leaves out; where ``same``, what it needs.
        common: (layer, map) -> the layer and the map to compare on, and how many blocks at the border to leave out:
            where both must agree.
        floats: numbers that one forward pass holds at once, roughly.
        products: FLOPs that estimate its time before it is run.
        backward: whether it has gradients on the CPU.
    """

    name: str
    package: str
    module: str
    build: Callable[[HaloAttention, int, int], nn.Module]
    same: bool
    differs: str
    common: Callable[[HaloAttention, Tensor], tuple[HaloAttention, Tensor, int]]
    floats: Callable[[Shape], int]
    products: Callable[[Shape], int] = Shape.products
    backward: bool = True

    def version(self) -> str:
        """Of the distribution."""
        return importlib.metadata.version(self.package)

    def missing(self) -> str:
        """Why it cannot be imported; "" if it can."""
        try:
            importlib.import_module(self.module)
        except ImportError as error:
            return str(error)
        return ""

    def difference(
        self, layer: HaloAttention, x: Tensor, model: nn.Module | None = None, backward: bool = False
    ) -> float:
        """Largest difference to our layer where both must agree, over the largest value of our output there.

        Args:
            x: (B, dim, H, W), from which the map to compare on is made.
            model: built before for this layer and the size of `x`, and compared on `x` itself if nothing is to be
                left out (a compiled one need not be compiled again).
            backward: compare the gradient of the map too, where it is the same function.

        Raises:
            ValueError: `x` is so small that there is nothing to compare.
        """
        ours, common, border = self.common(layer, x)
        fits = model is not None and ours is layer and common.shape[2:] == x.shape[2:]
        model = model if fits else self.build(ours, *common.shape[2:])
        cut = slice(border * ours.block_size, -border * ours.block_size or None)
        if min(common.shape[2:]) <= 2 * border * ours.block_size:
            raise ValueError(f"{self.name}: a map of {tuple(common.shape[2:])} cells has nothing to compare on.")
        with torch.inference_mode():
            pairs = [[m(common)[:, :, cut, cut] for m in (ours, model)]]
        if backward and self.same:
            pairs.append([_gradient(m, common) for m in (ours, model)])
        return max(((mine - other).abs().max() / mine.abs().max()).item() for mine, other in pairs)


def _gradient(model: nn.Module, x: Tensor) -> Tensor:
    """Of the sum of squares of the output, with respect to the map."""
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(model(x).square().sum(), x)[0]


def compiler() -> str:
    """The C++ compiler that torch.compile would call; "" if there is none."""
    name = os.environ.get("CXX") or ("clang++" if shutil.which("clang++") and not shutil.which("g++") else "g++")
    return shutil.which(name) or ""


# ------------------------------------------------------------------ the modules


class _Padded(nn.Module):
    """Fills the map up to a multiple of the block with zeros, as our layer does, and cuts the result."""

    def __init__(self, inner: nn.Module, block_size: int) -> None:
        super().__init__()
        self.inner, self.block_size = inner, block_size

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        b = self.block_size
        if height % b or width % b:
            x = F.pad(x, (0, -width % b, 0, -height % b))
        return self.inner(x)[:, :, :height, :width]


def _halonet(layer: HaloAttention, height: int, width: int) -> nn.Module:
    from halonet_pytorch import HaloAttention as Halonet

    peer = Halonet(
        dim=layer.dim,
        block_size=layer.block_size,
        halo_size=layer.halo_size,
        dim_head=layer.dim_head,
        heads=layer.heads,
    )
    peer.load_state_dict(layer.state_dict())
    return _Padded(peer, layer.block_size).eval()


class _Timm(nn.Module):
    """timm's layer, and the output projection that it leaves to the block around it."""

    def __init__(self, layer: HaloAttention) -> None:
        super().__init__()
        from timm.layers.halo_attn import HaloAttn

        heads, d = layer.heads, layer.dim_head
        self.attention = HaloAttn(
            layer.dim,
            heads * d,
            num_heads=heads,
            dim_head=d,
            block_size=layer.block_size,
            halo_size=layer.halo_size,
            scale_pos_embed=True,  # positions times the scaled query, as in halonet-pytorch
        )
        self.to_out = copy.deepcopy(layer.to_out)
        with torch.no_grad():
            # Its keys and values lie head by head, ours all keys first.
            rows = layer.to_kv.weight.reshape(2, heads, d, layer.dim).transpose(0, 1).reshape(-1, layer.dim)
            self.attention.q.weight.copy_(layer.to_q.weight[:, :, None, None])
            self.attention.kv.weight.copy_(rows[:, :, None, None])
            self.attention.pos_embed.height_rel.copy_(layer.rel_pos_emb.rel_height)
            self.attention.pos_embed.width_rel.copy_(layer.rel_pos_emb.rel_width)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.attention(x), self.to_out.weight[:, :, None, None], self.to_out.bias)


class _Projected(nn.Module):
    """Queries, keys, values and the output as in our layer; a subclass attends."""

    def __init__(self, layer: HaloAttention) -> None:
        super().__init__()
        self.layer = copy.deepcopy(layer)

    def forward(self, x: Tensor) -> Tensor:
        cells = x.permute(0, 2, 3, 1)
        q, k, v = self.layer.to_q(cells), *self.layer.to_kv(cells).chunk(2, dim=-1)
        split = (*cells.shape[:3], self.layer.heads, self.layer.dim_head)
        out = self.attend(*(t.reshape(split) for t in (q, k, v)))
        return self.layer.to_out(out.reshape(*cells.shape[:3], -1)).permute(0, 3, 1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, H, W, heads, d) each -> the same."""
        raise NotImplementedError


class _Global(_Projected):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (t.flatten(1, 2).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


class _Natten(_Projected):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        from natten import na2d

        # A window of the block and its halo for every `block_size` queries: its strided neighbourhood attention.
        return na2d(q, k, v, kernel_size=self.layer.window_size, stride=self.layer.block_size)


# ------------------------------------------------------------------ where they must agree


def _crop(layer: HaloAttention, x: Tensor, blocks: int) -> Tensor:
    """One map of blocks x blocks blocks, of `x`, which is repeated where it is smaller."""
    side = blocks * layer.block_size
    times = [-(-side // size) for size in x.shape[2:]]
    return x[:1].repeat(1, 1, *times)[:, :, :side, :side].contiguous()


def _reach(layer: HaloAttention) -> int:
    """Blocks at the border whose window leaves the map."""
    return -(-layer.halo_size // layer.block_size)


def _without_positions(layer: HaloAttention) -> HaloAttention:
    layer = copy.deepcopy(layer)
    for table in (layer.rel_pos_emb.rel_height, layer.rel_pos_emb.rel_width):
        nn.init.zeros_(table)
    return layer


def _everywhere(layer: HaloAttention, x: Tensor) -> tuple[HaloAttention, Tensor, int]:
    return layer, x, 0


def _filled_up(layer: HaloAttention, x: Tensor) -> tuple[HaloAttention, Tensor, int]:
    b = layer.block_size
    return layer, F.pad(x, (0, -x.shape[3] % b, 0, -x.shape[2] % b)), 0


def _inside(layer: HaloAttention, x: Tensor) -> tuple[HaloAttention, Tensor, int]:
    reach = _reach(layer)
    return layer, _crop(layer, x, 2 * reach + 2), reach


def _inside_without_positions(layer: HaloAttention, x: Tensor) -> tuple[HaloAttention, Tensor, int]:
    return _inside(_without_positions(layer), x)


def _one_block_without_positions(layer: HaloAttention, x: Tensor) -> tuple[HaloAttention, Tensor, int]:
    return _without_positions(layer), _crop(layer, x, 1), 0  # whose window is the whole map


# ------------------------------------------------------------------ what they hold in memory


def _windows(s: Shape) -> int:
    """Keys of all windows: window_size ** 2 for each block."""
    return s.padded_cells * s.window_size**2 // s.block_size**2


def _scores(s: Shape) -> int:
    """Logits of all queries of all heads."""
    return s.padded_cells * s.heads * s.window_size**2


def _halonet_floats(s: Shape) -> int:
    # The windows unfolded and rearranged, keys and values and their heads, logits with two position terms and weights.
    return _windows(s) * (2 * s.dim + 4 * s.inner) + 4 * _scores(s)


def _timm_floats(s: Shape) -> int:
    return _windows(s) * 4 * s.inner + 4 * _scores(s)


def _flex_floats(s: Shape) -> int:
    if not compiler():
        return _all_scores(s)
    return s.padded_cells * (8 * s.inner + 6 * s.heads * s.window_size)


def _all_scores(s: Shape) -> int:
    """Of an implementation that keeps the logits of every query with every key."""
    return 5 * s.cells * s.height * s.width * s.heads


def _global_floats(s: Shape) -> int:
    return 8 * s.cells * s.inner


def _all_scores_products(s: Shape) -> int:
    # Measured, to the order of magnitude: masking and keeping a score takes as long as 3000 FLOPs of a matrix product.
    return s.global_products() + 3000 * s.cells * s.height * s.width * s.heads


def _flex_products(s: Shape) -> int:
    return s.products() if compiler() else _all_scores_products(s)


def our_floats(s: Shape) -> int:
    """Of our layer, generously: windows of keys and values gathered, one bias, one set of logits."""
    return _windows(s) * 2 * s.inner + 2 * _scores(s) + 8 * s.padded_cells * s.inner


def _flex(layer: HaloAttention, height: int, width: int) -> nn.Module:
    return FlexHalo(layer, height, width, compiled=bool(compiler()))


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            HALONET,
            "halonet-pytorch",
            "halonet_pytorch",
            _halonet,
            True,
            "needs sides that divide by the block: filled up with zeros, and the cells added count as inside the map "
            "(compared on the map so filled up)",
            _filled_up,
            _halonet_floats,
        ),
        Peer(
            FLEX,
            "torch",
            "torch.nn.attention.flex_attention",
            _flex,
            True,
            "cells in the order of blocks, a block mask of block x block, positions by score_mod; no backward on the "
            "CPU",
            _everywhere,
            _flex_floats,
            _flex_products,
            backward=False,
        ),
        Peer(
            TIMM,
            "timm",
            "timm.layers.halo_attn",
            lambda layer, height, width: _Padded(_Timm(layer), layer.block_size).eval(),
            False,
            "does less: the padding is attended, not masked; no output projection (ours is added); filled up to "
            "the block (compared inside, where no window leaves the map)",
            _inside,
            _timm_floats,
        ),
        Peer(
            NATTEN,
            "natten",
            "natten",
            lambda layer, height, width: _Natten(layer).eval(),
            False,
            "does less: no relative positions; at the border the window is moved into the map (compared inside, "
            "without positions); on the CPU it calls FlexAttention uncompiled, with every score of the map in memory, "
            "and has no backward",
            _inside_without_positions,
            _all_scores,
            _all_scores_products,
            backward=False,
        ),
        Peer(
            GLOBAL,
            "torch",
            "torch",
            lambda layer, height, width: _Global(layer).eval(),
            False,
            "something else: every cell attends to the whole map, no positions (compared on one block without "
            "positions)",
            _one_block_without_positions,
            _global_floats,
            Shape.global_products,
        ),
    )
}
