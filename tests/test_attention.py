"""HaloAttention: properties of its weights, its state dict, its untrained residual form, and what it refuses."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor, nn

from halo_vis.attention import HaloAttention, halo_attention

MASKS = ("valid", "published")
GEOMETRIES = [(1, 0), (1, 4), (5, 2), (8, 3), (10, 1), (4, 4)]
SIZES = [(1, 1), (7, 7), (15, 20), (21, 16)]


def weights_in_use(height, width, *, block, halo, heads=2, mask="valid", q=None, k=None, rel=None) -> Tensor:
    """(heads, H * W queries, H * W cells): the weights as the core applies them.

    Read through its output: the value of every cell is one-hot, so that the output of a query is its row. Keys outside
    the map bring zero, so a row's sum is 1 less the mass on padding.
    """
    d, cells = 4, height * width
    q, k = (torch.randn(1, height, width, heads * d) if t is None else t for t in (q, k))
    rel = torch.randn(2, 2 * (block + 2 * halo) - 1, d) if rel is None else rel
    found = []
    for some in torch.eye(cells, math.ceil(cells / d) * d).reshape(1, height, width, 1, -1).split(d, dim=-1):
        v = some.expand(-1, -1, -1, heads, -1).flatten(3)
        out = halo_attention(q, k, v, *rel, heads=heads, block_size=block, halo_size=halo, mask=mask)
        found.append(out.reshape(cells, heads, d))
    return torch.cat(found, dim=-1)[..., :cells].transpose(0, 1)


def window_of(y: int, x: int, block: int, halo: int) -> tuple[range, range]:
    """Rows and columns of the window of a query, the ones outside the map included."""
    rows, cols = (range(c // block * block - halo, c // block * block + block + halo) for c in (y, x))
    return rows, cols


def reachable(height, width, block, halo) -> Tensor:
    """(H * W, H * W) bool: which cells lie in the window of which query."""
    seen = torch.zeros(height, width, height, width, dtype=torch.bool)
    for y in range(height):
        for x in range(width):
            rows, cols = window_of(y, x, block, halo)
            seen[y, x, max(rows[0], 0) : rows[-1] + 1, max(cols[0], 0) : cols[-1] + 1] = True
    return seen.reshape(height * width, height * width)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize(("block", "halo"), GEOMETRIES)
def test_valid_rows_sum_to_one_over_exactly_the_window(size, block, halo):
    rows = weights_in_use(*size, block=block, halo=halo)
    torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:2]))
    assert torch.equal(rows > 0, reachable(*size, block, halo).expand_as(rows))


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(("block", "halo"), [(1, 1), (4, 2), (8, 3)])
def test_valid_puts_exactly_nothing_on_padding(block, halo):
    """Padding is made attractive, cells repulsive, beyond any finite mask, one that replaces logits or is added."""
    height = width = 3
    window = block + 2 * halo
    q = torch.zeros(1, height, width, 2 * 4)
    q[:, 0] = 1e15  # the queries of the first row...
    rel = torch.zeros(2, 2 * window - 1, 4)
    rel[1] = -1e15  # ... are driven off every cell alike
    rel[0, halo + window - 2] = 2e15  # ... and drawn to the row above the map: key row halo - 1, query row 0
    rows = weights_in_use(height, width, block=block, halo=halo, q=q, k=torch.zeros_like(q), rel=rel)
    seen = reachable(height, width, block, halo)
    torch.testing.assert_close(rows, (seen / seen.sum(-1, keepdim=True)).expand_as(rows), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("size", "block", "halo"), [((24, 24), 8, 3), ((20, 15), 5, 2), ((6, 5), 1, 1), ((16, 16), 4, 4)]
)
def test_published_is_uniform_inside_and_all_padding_at_the_border(size, block, halo):
    height, width = size
    rows = weights_in_use(height, width, block=block, halo=halo, mask="published")
    seen, window = reachable(height, width, block, halo), (block + 2 * halo) ** 2
    interior = seen.sum(-1) == window
    assert interior.any() and not interior.all()
    uniform = rows[:, interior][seen[interior].expand(len(rows), -1, -1)]
    assert torch.equal(uniform, uniform[:1].expand_as(uniform)) and uniform[0] == pytest.approx(1 / window, rel=1e-6)
    assert not rows[:, interior][~seen[interior].expand(len(rows), -1, -1)].any()
    assert not rows[:, ~interior].any()


@pytest.mark.parametrize("size", [(24, 24), (20, 31), (7, 7), (1, 1)], ids="{0[0]}x{0[1]}".format)
def test_published_border_blocks_give_the_bias_alone(size):
    height, width = size
    layer = HaloAttention(6, 8, 3, 4, 2, mask="published")
    out = layer(torch.randn(2, 6, height, width))
    border = reachable(height, width, 8, 3).sum(-1).reshape(height, width) < 14 * 14
    bias = layer.to_out.bias[:, None].expand(-1, int(border.sum()))
    assert border.any() and torch.equal(out[:, :, border], bias.expand(2, -1, -1))


@pytest.mark.parametrize("halo", [0, 1, 4])
def test_the_mask_of_the_layer_is_the_mask_in_use(halo):
    x = torch.randn(1, 6, 12, 12)
    layer = HaloAttention(6, 4, halo, 4, 2)
    valid = layer(x)
    layer.mask = "published"
    assert (layer(x) - valid).abs().max() > 1e-3


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("mask", MASKS)
def test_shifting_by_one_block_shifts_the_map_by_one_block(mask):
    b = 4
    layer = HaloAttention(6, b, 2, 4, 2, mask=mask)
    x = torch.randn(1, 6, 6 * b, 7 * b)
    out, down, across = layer(x), layer(x[:, :, b:]), layer(x[..., b:])
    # Blocks whose window touches the cut have lost what they saw; all others see what they saw before.
    torch.testing.assert_close(down[:, :, b:], out[:, :, 2 * b :], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(across[..., b:], out[..., 2 * b :], rtol=1e-5, atol=1e-6)
    by_a_cell = layer(x[:, :, 1:])[:, :, b : -2 * b]
    assert (by_a_cell - out[:, :, b + 1 : -2 * b]).abs().max() > 1e-3, "a shift by one cell moves the lattice"


@pytest.mark.usefixtures("backend")
def test_a_cell_reaches_the_blocks_whose_windows_hold_it_and_no_other():
    """The gradient of one query: the receptive field, through padding, cutting and joining, is exactly its window."""
    layer = HaloAttention(3, 5, 2, 4, 1)
    x = torch.randn(2, 3, 13, 17, requires_grad=True)
    layer(x)[1, :, 6, 16].sum().backward()
    rows, cols = window_of(6, 16, 5, 2)
    expected = torch.zeros(2, 13, 17, dtype=torch.bool)
    expected[1, rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = True
    assert torch.equal(x.grad.abs().sum(1) > 0, expected)


# --- the state dict and the constructor ---


@pytest.mark.parametrize(
    ("arguments", "heads", "dim_head", "window"),
    [
        ((64,), 2, 32, 14),
        ((256, 5, 2), 8, 32, 9),
        ((16,), 1, 32, 14),
        ((100, 4, 0), 3, 32, 4),
        ((8, 1, 1, 64, 8), 8, 64, 3),
    ],
)
def test_state_dict_is_the_articles(arguments, heads, dim_head, window):
    dim, inner = arguments[0], heads * dim_head
    layer = HaloAttention(*arguments)
    assert layer.heads == heads
    assert {key: tuple(value.shape) for key, value in layer.state_dict().items()} == {
        "rel_pos_emb.rel_height": (2 * window - 1, dim_head),
        "rel_pos_emb.rel_width": (2 * window - 1, dim_head),
        "to_q.weight": (inner, dim),
        "to_kv.weight": (2 * inner, dim),
        "to_out.weight": (dim, inner),
        "to_out.bias": (dim,),
    }
    assert layer(torch.randn(1, dim, 3, 9)).shape == (1, dim, 3, 9)


@pytest.mark.parametrize(
    ("dim", "dim_head", "share", "heads"),
    [
        (64, 32, 0.25, 1),
        (128, 32, 0.25, 1),
        (256, 32, 0.25, 2),
        (768, 32, 0.25, 6),
        (256, 32, 0.99, 7),
        (16, 32, 0.5, 1),
    ],
)
def test_a_share_of_the_heads_that_the_channels_hold(dim, dim_head, share, heads):
    layer = HaloAttention(dim, dim_head=dim_head, heads=share, residual=True)
    assert (layer.heads, layer.share_of_heads) == (heads, share)
    assert layer.to_q.weight.shape == (heads * dim_head, dim)
    x = torch.randn(1, dim, 5, 9)
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_residual_starts_as_the_identity_bit_for_bit(dtype, mask):
    layer = HaloAttention(64, mask=mask, residual=True).to(dtype)
    x = (10 * torch.randn(2, 64, 15, 20)).to(dtype)
    for mode in (True, False):
        assert torch.equal(layer.train(mode)(x), x)


def test_residual_starts_with_feature_similarity_and_can_learn():
    layer = HaloAttention(64, residual=True)
    q, k = layer.to_q.weight, layer.to_kv.weight[:64]
    assert torch.equal(q, k)
    torch.testing.assert_close(q @ q.T, torch.eye(64), rtol=0, atol=1e-5)
    assert not any(p.any() for p in layer.rel_pos_emb.parameters())
    assert layer.to_kv.weight[64:].abs().max() > 0.01, "values of zero would never open the branch"
    layer(torch.randn(2, 64, 16, 16)).square().sum().backward()
    assert layer.to_out.weight.grad.abs().max() > 0 and layer.to_out.bias.grad.abs().max() > 0


@pytest.mark.parametrize(("dim", "heads", "dim_head"), [(32, 4, 32), (100, None, 32), (16, 1, 32)])
def test_residual_start_is_orthonormal_for_any_width(dim, heads, dim_head):
    layer = HaloAttention(dim, dim_head=dim_head, heads=heads, residual=True)
    q = layer.to_q.weight
    narrow = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    torch.testing.assert_close(narrow, torch.eye(min(q.shape)), rtol=0, atol=1e-5)
    assert torch.equal(q, layer.to_kv.weight[: len(q)])


# --- wrong arguments: rule, value and next step ---


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"dim": "c2"}, TypeError, ["dim must be a whole number", "'c2'", "from: -1"]),
        ({"dim": 64.0}, TypeError, ["dim must be a whole number", "64.0 (float)", "In a model YAML write"]),
        ({"dim": None}, TypeError, ["dim must be a whole number", "None", "In a model YAML write"]),
        ({"dim": 0}, ValueError, ["dim must be at least 1", "got 0", "Pass 1 or more"]),
        ({"block_size": 0}, ValueError, ["block_size must be at least 1", "got 0", "Pass 1 or more"]),
        ({"block_size": (8, 8)}, TypeError, ["block_size must be a whole number", "(8, 8) (tuple)", "Pass an int"]),
        ({"block_size": True}, TypeError, ["block_size must be a whole number", "True (bool)", "Pass an int"]),
        ({"halo_size": -1}, ValueError, ["halo_size must be at least 0", "got -1", "Pass 0 or more"]),
        ({"dim_head": 0}, ValueError, ["dim_head must be at least 1", "got 0", "Pass 1 or more"]),
        ({"dim_head": "32"}, TypeError, ["dim_head must be a whole number", "'32' (str)", "Pass an int"]),
        ({"heads": 0}, ValueError, ["heads must be at least 1", "got 0", "Pass 1 or more"]),
        ({"heads": 2.0}, ValueError, ["a whole number of at least 1, a share", "got 2.0", "Pass an int"]),
        ({"heads": 0.0}, ValueError, ["a share between 0 and 1 of dim // dim_head", "got 0.0"]),
        ({"heads": float("nan")}, ValueError, ["a share between 0 and 1", "got nan"]),
        ({"heads": "2"}, TypeError, ["heads must be a whole number", "got '2'", "Pass an int"]),
        ({"heads": True}, TypeError, ["heads must be a whole number", "got True", "Pass an int"]),
        ({"mask": "none"}, ValueError, ["mask must be one of ('valid', 'published')", "'none'", "Use 'valid'"]),
        ({"mask": True}, ValueError, ["mask must be one of ('valid', 'published')", "True", "Use 'valid'"]),
        ({"residual": "yes"}, TypeError, ["residual must be True or False", "'yes'", "Pass a bool"]),
        ({"residual": 1}, TypeError, ["residual must be True or False", "got 1", "Pass a bool"]),
    ],
    ids=str,
)
def test_wrong_arguments_state_rule_value_and_next_step(arguments, error, says):
    with pytest.raises(error) as raised:
        HaloAttention(**{"dim": 64, **arguments})
    assert str(raised.value).startswith("HaloAttention: ")
    assert all(part in str(raised.value) for part in says), str(raised.value)


@pytest.mark.parametrize("shape", [(2, 32, 8, 8), (64, 8, 8), (1, 8, 8, 64)], ids=str)
def test_a_wrong_map_states_rule_value_and_next_step(shape):
    with pytest.raises(ValueError, match=r"expected a map of shape \(B, 64, H, W\), got " + re.escape(str(shape))) as e:
        HaloAttention(64)(torch.zeros(shape))
    assert f"dim={shape[1] if len(shape) == 4 else '<channels>'}" in str(e.value)


def test_the_core_refuses_an_unknown_mask():
    q = torch.randn(1, 4, 4, 8)
    rel = torch.randn(3, 4)
    with pytest.raises(ValueError, match="mask must be one of"):
        halo_attention(q, q, q, rel, rel, heads=2, block_size=2, halo_size=0, mask="Valid")


def test_scale_is_the_square_root_of_the_head_width():
    layer = HaloAttention(48, dim_head=24)
    assert layer.scale == pytest.approx(1 / math.sqrt(24)) and "dim_head=24" in repr(layer)
    assert isinstance(layer.to_out, nn.Linear)
