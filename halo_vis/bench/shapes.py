"""The maps that the layer's bench runs, and how many matrix-product FLOPs they cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from halo_vis.attention import HaloAttention

DIM_HEAD = 32
STRIDES = {"P3": 8, "P4": 16, "P5": 32}
# Channels of P3, P4, P5 of YOLO26 at the scales that are measured.
CHANNELS = {"n": (64, 128, 256), "x": (384, 768, 768)}
ARTICLE_HEADS, ARTICLE_DIM_HEAD = 8, 64


@dataclass(frozen=True)
class Shape:
    """One map and the layer on it.

    Attributes:
        level: what it is called in a title.
        height, width: cells.
        dim: channels.
        batch: maps at a time.
        backward: whether the gradients of the input and of every weight are part of the time.
    """

    level: str
    height: int
    width: int
    dim: int
    heads: int
    dim_head: int = DIM_HEAD
    batch: int = 1
    block_size: int = 8
    halo_size: int = 3
    backward: bool = False

    @property
    def inner(self) -> int:
        """Channels of queries, keys and values each: heads * dim_head."""
        return self.heads * self.dim_head

    @property
    def window_size(self) -> int:
        """Side of the window of keys, in cells."""
        return self.block_size + 2 * self.halo_size

    @property
    def cells(self) -> int:
        """Cells of all maps together."""
        return self.batch * self.height * self.width

    @property
    def padded_cells(self) -> int:
        """The same once both sides are filled up to a multiple of the block."""
        b = self.block_size
        return self.batch * (-(-self.height // b) * b) * (-(-self.width // b) * b)

    @property
    def title(self) -> str:
        """The group of its figures."""
        what = "forward and backward" if self.backward else "forward"
        size = f"{self.height} x {self.width} x {self.dim}"
        return f"{self.level}, {size}, {self.heads} heads of {self.dim_head}, batch {self.batch}: {what}"

    def layer(self) -> HaloAttention:
        """The layer, with weights that spread the logits over some units: a peer with other positions shows.

        Content and position both have logits of standard deviation 1 on a map of standard normal values.
        """
        layer = HaloAttention(self.dim, self.block_size, self.halo_size, self.dim_head, self.heads).eval()
        nn.init.normal_(layer.to_q.weight, std=self.dim**-0.5)
        nn.init.normal_(layer.to_kv.weight, std=self.dim**-0.5)
        nn.init.normal_(layer.rel_pos_emb.rel_height)
        nn.init.normal_(layer.rel_pos_emb.rel_width)
        return layer

    def map(self) -> Tensor:
        """(batch, dim, height, width), standard normal."""
        return torch.randn(self.batch, self.dim, self.height, self.width)

    def projections(self) -> int:
        """FLOPs of q, k, v and the output, every cell once; a multiplication and an addition are two."""
        return 2 * self.cells * self.inner * self.dim * 4

    def products(self) -> int:
        """FLOPs of the matrix products that halo attention needs, each value once.

        Projections (every cell once), then for every query of every block, the cells that fill the last blocks
        included: q k^T and a v over the window, and the logits of the window's rows and columns. Backward costs each
        product twice more: one for each factor.
        """
        w = self.window_size
        attention = 2 * self.padded_cells * self.inner * (2 * w * w + 2 * w)
        return (3 if self.backward else 1) * (self.projections() + attention)

    def global_products(self) -> int:
        """The same for attention of every cell to the whole map, without positions."""
        attention = 2 * self.cells * self.inner * 2 * self.height * self.width
        return (3 if self.backward else 1) * (self.projections() + attention)


def levels(size: tuple[int, int], scale: str = "n", batch: int = 1, backward: bool = False) -> list[Shape]:
    """P3, P4 and P5 of YOLO26 on a picture.

    >>> [(s.height, s.width, s.dim, s.heads) for s in levels((480, 640))]
    [(60, 80, 64, 2), (30, 40, 128, 4), (15, 20, 256, 8)]

    Args:
        size: height and width of the picture in pixels.
        scale: "n" or "x".
    """
    return [
        Shape(
            f"{name} of {scale} at {label(size)}",
            -(-size[0] // stride),
            -(-size[1] // stride),
            dim,
            max(1, dim // DIM_HEAD),
            batch=batch,
            backward=backward,
        )
        for (name, stride), dim in zip(STRIDES.items(), CHANNELS[scale], strict=True)
    ]


def article(size: tuple[int, int]) -> Shape:
    """The article's defaults, 8 heads of 64, on P3 of n."""
    first = levels(size)[0]
    return replace(first, level="article's defaults", heads=ARTICLE_HEADS, dim_head=ARTICLE_DIM_HEAD)


def label(size: tuple[int, int]) -> str:
    """How a picture's size is written.

    >>> label((640, 640)), label((480, 640))
    ('640', '480x640')
    """
    return f"{size[0]}" if size[0] == size[1] else f"{size[0]}x{size[1]}"
