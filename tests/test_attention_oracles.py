"""HaloAttention against others: a loop over queries, halonet-pytorch 0.0.5 and 0.0.4, and torch's own attention."""

from __future__ import annotations

import importlib.util
import io
import pickle
import subprocess
import sys

import attention_oracle
import numpy as np
import pytest
import torch
from halonet_pytorch import HaloAttention as PeerAttention
from torch import nn

from halo_vis.attention import HaloAttention, RelPosEmb

MASKS = ("valid", "published")
ODD_SIZES = [(1, 1), (7, 7), (15, 20), (21, 16), (60, 80)]
# dim, block, halo, dim_head, heads, blocks down, blocks across
PEER_CASES = [
    pytest.param(64, 8, 3, 32, 2, 3, 3, id="8+3-3x3"),
    pytest.param(64, 8, 3, 64, 8, 3, 4, id="article-defaults"),
    pytest.param(24, 5, 2, 8, 3, 3, 4, id="5+2-odd-window"),
    pytest.param(12, 4, 4, 16, 1, 4, 2, id="4+4-halo-is-a-block"),
    pytest.param(16, 1, 1, 8, 2, 6, 5, id="1+1-a-block-per-cell"),
    pytest.param(20, 10, 1, 10, 2, 1, 1, id="10+1-one-block"),
    pytest.param(8, 2, 3, 4, 2, 5, 5, id="2+3-halo-beyond-the-neighbour"),
]


@pytest.fixture(scope="session")
def published_peer(tmp_path_factory: pytest.TempPathFactory):
    """halonet-pytorch 0.0.4, the article's module with its inverted mask, beside the 0.0.5 that is installed."""
    folder = tmp_path_factory.mktemp("halonet-0.0.4")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
    done = subprocess.run([*command, "halonet-pytorch==0.0.4"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"halonet-pytorch 0.0.4 could not be installed:\n{done.stdout}{done.stderr}"
    name = "halonet_pytorch_published"
    spec = importlib.util.spec_from_file_location(name, folder / "halonet_pytorch" / "halonet_pytorch.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


def layer_and_map(size, *, dim=6, block=8, halo=3, dim_head=4, heads=2, mask="valid", batch=2, residual=False):
    """A layer whose logits spread over several units (so that a wrong one shows), and a map."""
    layer = HaloAttention(dim, block, halo, dim_head, heads, mask, residual)
    nn.init.normal_(layer.to_q.weight)
    nn.init.normal_(layer.to_kv.weight)
    nn.init.normal_(layer.to_out.weight, std=0.5)
    for table in (layer.rel_pos_emb.rel_height, layer.rel_pos_emb.rel_width):
        nn.init.normal_(table)
    return layer, torch.randn(batch, dim, *size)


def against_the_loop(layer: HaloAttention, x: torch.Tensor, cells: list | None = None) -> None:
    with torch.no_grad():
        ours = layer(x).numpy()
    loop = attention_oracle.forward(
        attention_oracle.parameters(layer),
        x.numpy(),
        layer.block_size,
        layer.halo_size,
        layer.heads,
        layer.mask,
        layer.residual,
        cells,
    )
    computed = ~np.isnan(loop)
    assert ours.shape == loop.shape and computed.sum() == (
        loop.size if cells is None else len(cells) * x[..., 0, 0].numel()
    )
    np.testing.assert_allclose(ours[computed], loop[computed], rtol=1e-4, atol=2e-5)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("size", ODD_SIZES, ids="{0[0]}x{0[1]}".format)
def test_equals_the_loop_at_odd_sizes(size, mask):
    layer, x = layer_and_map(size, mask=mask, batch=1)
    # Of the largest map the border, the middle and the seams; of the others every cell.
    height, width = size
    some = sorted({(y, x) for y in (0, 7, 8, 31, 55, 56, 59) for x in (0, 7, 8, 33, 71, 72, 79)})
    against_the_loop(layer, x, some if height * width > 1000 else None)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("halo", range(5))
@pytest.mark.parametrize("block", [1, 5, 8, 10])
def test_equals_the_loop_for_every_block_and_halo(block, halo, mask):
    # One block and a part of another along one axis: whole, partial and (for small blocks) interior windows.
    layer, x = layer_and_map((7, block + 6 if block > 1 else 12), block=block, halo=halo, mask=mask, batch=1)
    against_the_loop(layer, x)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    ("dim", "dim_head", "heads", "batch", "residual"),
    [(6, 4, 1, 3, False), (5, 3, 4, 2, False), (16, 8, None, 1, False), (6, 4, 3, 2, True), (3, 1, 1, 1, False)],
)
def test_equals_the_loop_for_heads_batch_and_residual(dim, dim_head, heads, batch, residual, mask):
    layer, x = layer_and_map(
        (9, 6), dim=dim, block=4, halo=1, dim_head=dim_head, heads=heads, batch=batch, mask=mask, residual=residual
    )
    against_the_loop(layer, x)


def with_gradients(layer: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Output, and gradients of a weighted sum of it: of the input and of every parameter."""
    x = x.clone().requires_grad_()
    out = layer(x)
    (out * weight).sum().backward()
    gradients = {name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in layer.named_parameters()}
    return {"output": out.detach(), "input": x.grad, **gradients}


def against_the_peer(peer_class: type, mask: str, dim, block, halo, dim_head, heads, down, across) -> dict:
    peer = peer_class(dim=dim, block_size=block, halo_size=halo, dim_head=dim_head, heads=heads)
    ours = HaloAttention(dim, block, halo, dim_head, heads, mask)
    ours.load_state_dict(peer.state_dict())
    x = torch.randn(2, dim, down * block, across * block)
    weight = torch.randn_like(x)
    theirs, mine = with_gradients(peer, x, weight), with_gradients(ours, x, weight)
    assert theirs.keys() == mine.keys()
    for name, value in theirs.items():
        largest = float(value.abs().max())
        torch.testing.assert_close(
            mine[name], value, rtol=0, atol=1e-5 * max(1.0, largest), msg=lambda m, n=name: f"{n}: {m}"
        )
    return mine


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(("dim", "block", "halo", "dim_head", "heads", "down", "across"), PEER_CASES)
def test_valid_equals_halonet_pytorch_0_0_5_with_all_gradients(dim, block, halo, dim_head, heads, down, across):
    mine = against_the_peer(PeerAttention, "valid", dim, block, halo, dim_head, heads, down, across)
    assert all(g.abs().max() > 0 for g in mine.values()), "a gradient that is zero compares nothing"


@pytest.mark.parametrize(("dim", "block", "halo", "dim_head", "heads", "down", "across"), PEER_CASES)
def test_published_equals_halonet_pytorch_0_0_4(published_peer, dim, block, halo, dim_head, heads, down, across):
    against_the_peer(published_peer.HaloAttention, "published", dim, block, halo, dim_head, heads, down, across)


def test_the_two_peers_differ_in_the_mask(published_peer):
    """Guards the oracles: had pip put the same release in both places, one of the tests above would test nothing."""
    arguments = {"dim": 8, "block_size": 4, "halo_size": 1, "dim_head": 4, "heads": 2}
    fixed, published = PeerAttention(**arguments), published_peer.HaloAttention(**arguments)
    published.load_state_dict(fixed.state_dict())
    x = torch.randn(1, 8, 12, 12)
    assert (fixed(x) - published(x)).abs().max() > 0.01


class Renaming(pickle.Unpickler):
    """Unpickles the article's classes as ours, as the restricted loader of `halo_vis.pairs` does."""

    def find_class(self, module, name):
        return {"HaloAttention": HaloAttention, "RelPosEmb": RelPosEmb}.get(name) or super().find_class(module, name)


@pytest.mark.parametrize("dim_head", [4, 48, 64])
def test_a_pickled_module_of_the_article_runs_as_published(published_peer, dim_head):
    theirs = published_peer.HaloAttention(dim=8, block_size=4, halo_size=1, dim_head=dim_head, heads=2)
    ours = Renaming(io.BytesIO(pickle.dumps(theirs))).load()
    assert type(ours) is HaloAttention and type(ours.rel_pos_emb) is RelPosEmb
    assert (ours.mask, ours.residual, ours.dim_head, ours.window_size) == ("published", False, dim_head, 6)
    fresh = HaloAttention(8, 4, 1, dim_head, 2, mask="published")
    fresh.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 8, 12, 16)
    assert torch.equal(ours(x), fresh(x))
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)
    assert ours(torch.randn(1, 8, 7, 5)).shape == (1, 8, 7, 5)  # where the article's own stops with an assertion
    again = pickle.loads(pickle.dumps(ours))
    assert again.mask == "published" and torch.equal(again(x), ours(x))
    assert repr(ours) == repr(fresh)


def torch_attention(layer: HaloAttention, tokens: torch.Tensor) -> torch.Tensor:
    """torch.nn.MultiheadAttention with the layer's weights, over (N, cells, dim); it knows no relative position."""
    inner = layer.heads * layer.dim_head
    q, (k, v) = layer.to_q(tokens), layer.to_kv(tokens).chunk(2, dim=-1)
    attention = nn.MultiheadAttention(inner, layer.heads, bias=False, batch_first=True)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.eye(inner).repeat(3, 1))
        attention.out_proj.weight.copy_(torch.eye(inner))
        return layer.to_out(attention(q, k, v, need_weights=False)[0])


def without_positions(*args, **kwargs) -> tuple[HaloAttention, torch.Tensor]:
    layer, x = layer_and_map(*args, **kwargs)
    nn.init.zeros_(layer.rel_pos_emb.rel_height)
    nn.init.zeros_(layer.rel_pos_emb.rel_width)
    return layer, x


@pytest.mark.parametrize(("block", "down", "across"), [(4, 3, 2), (5, 1, 3), (1, 3, 4)])
def test_halo_zero_is_window_attention(block, down, across):
    layer, x = without_positions((down * block, across * block), block=block, halo=0)
    with torch.no_grad():
        out = layer(x)
    for y in range(0, down * block, block):
        for left in range(0, across * block, block):
            window = x[:, :, y : y + block, left : left + block]
            alone = torch_attention(layer, window.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(window.shape)
            torch.testing.assert_close(out[:, :, y : y + block, left : left + block], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "block", "halo"), [((8, 8), 8, 0), ((8, 8), 8, 3), ((7, 5), 10, 4), ((1, 1), 8, 3)])
def test_one_block_is_global_attention(size, block, halo):
    layer, x = without_positions(size, block=block, halo=halo)
    with torch.no_grad():
        out = layer(x)
    everything = torch_attention(layer, x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(out, everything, rtol=1e-4, atol=1e-5)
