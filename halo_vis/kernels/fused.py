"""Halo attention in one kernel each way: the windows are read from the map, weights never lie in memory.

The same numbers as :func:`halo_vis.attention.halo_attention` with ``mask="valid"``, on an NVIDIA GPU. Besides inputs
and outputs it keeps one float32 per query and head; memory is linear in the map.

This module imports nowhere but what torch brings: the kernel language (package ``triton``, which Linux builds of torch
for CUDA install) is loaded when a kernel first runs. :func:`why_not` tells whether it can.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
from functools import lru_cache

import torch
from torch import Tensor

TYPES = (torch.bfloat16, torch.float16, torch.float32)
WIDEST_HEAD = 128
MOST_OFFSETS = 128
MOST_SHARES = 1024  # of the tables' gradients: one each program, so that their buffer is bounded

_INSTALLED = importlib.util.find_spec("triton") is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # the kernel language reads it once too, at its import


def why_not(q: Tensor, *, block_size: int, halo_size: int, heads: int, mask: str) -> str | None:
    """Why :func:`halo_attention` cannot run with these arguments, in a few words; None where it can.

    Args:
        q: (B, H, W, heads * d), as there. Its device, type and shape are looked at, never its values.
    """
    d = q.shape[-1] // heads
    offsets = 2 * (block_size + halo_size) - 1
    if mask != "valid":
        return f"mask {mask!r} needs the reference: the kernel has the valid mask alone"
    if not _INSTALLED:
        return "the package triton is not installed"
    if q.device.type == "cpu" and not _INTERPRETED:
        return "CPU tensors need the interpreter (TRITON_INTERPRET=1)"
    if q.device.type not in ("cpu", "cuda") or (q.device.type == "cuda" and torch.version.hip is not None):
        return f"it needs an NVIDIA GPU, the tensors are on {q.device.type}"
    if q.device.type == "cuda" and torch.cuda.get_device_properties(q.device).major < 8:
        return "it needs a GPU of compute capability 8.0 or above"
    if torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting():
        return "an exported graph must not hold it"
    if q.dtype not in TYPES:
        return f"no kernel for {str(q.dtype).removeprefix('torch.')}"
    if d > WIDEST_HEAD:
        return f"heads of {d} are wider than {WIDEST_HEAD}"
    if offsets > MOST_OFFSETS:
        return f"block_size {block_size} and halo_size {halo_size} make {offsets} offsets, more than {MOST_OFFSETS}"
    if q.shape[1] * q.shape[2] * q.shape[3] > 2**28:
        return f"a map of {q.shape[1]} x {q.shape[2]} cells overruns the kernel's 32-bit offsets"
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
    """The functional core of HaloAttention (HaloNet, arXiv 2103.12731), fused; differentiable once.

    Args:
        q, k, v: (B, H, W, heads * d) in bfloat16, float16 or float32, any H, W >= 1, any strides (a last dimension that
            is not contiguous costs a copy); q is scaled here by d ** -0.5.
        rel_height, rel_width: (2 w - 1, d), see :func:`halo_vis.attention.relative_logits`.
        mask: "valid" alone.

    Returns:
        (B, H, W, heads * d), contiguous, of q's type. Sums are taken in float32.

    Raises:
        NotImplementedError: :func:`why_not` has a reason.
        ValueError: shapes or types do not fit each other.
    """
    reason = why_not(q, block_size=block_size, halo_size=halo_size, heads=heads, mask=mask)
    if reason is not None:
        raise NotImplementedError(
            f"halo_attention: the fused kernel cannot run this: {reason}. Use halo_vis.attention.halo_attention."
        )
    rows, d = 2 * (block_size + 2 * halo_size) - 1, q.shape[-1] // heads
    if not q.shape == k.shape == v.shape or not rel_height.shape == rel_width.shape == (rows, d):
        raise ValueError(
            f"halo_attention: expected q, k, v of one shape (B, H, W, {heads} * d) and tables of ({rows}, d), got "
            f"{[tuple(t.shape) for t in (q, k, v, rel_height, rel_width)]}. Check heads, block_size and halo_size."
        )
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(
            f"halo_attention: expected q, k, v of one type, got {q.dtype}, {k.dtype}, {v.dtype}. Convert them first."
        )
    rel_height, rel_width = rel_height.to(q.dtype), rel_width.to(q.dtype)
    return _attend(q, k, v, rel_height, rel_width, heads, block_size, halo_size)[0]


def _power(n: int, least: int = 16) -> int:
    """The smallest power of two that is neither below `n` nor below `least`: tensor cores take no smaller tiles."""
    return max(least, 1 << (n - 1).bit_length())


@lru_cache
def shift_of_keys(side: int, halo_size: int, owners: int) -> int:
    """By how many cells the lattice of squares of keys goes up against that of queries, for the least work.

    Args:
        side: of a square of keys.
        owners: side of a square of queries, whose common window reaches `halo_size` further.

    The work on a square of keys grows as the square of how many squares of queries reach it along an axis; one period
    of both lattices is summed.
    """

    def reach(first: int) -> int:
        return (first + side - 1 + halo_size) // owners - (first - halo_size) // owners + 1

    period = range(0, math.lcm(owners, side), side)
    return min(range(side), key=lambda shift: sum(reach(first - shift) ** 2 for first in period))


@lru_cache
def _sizes(
    d: int, heads: int, block_size: int, halo_size: int, dtype: torch.dtype, precision: str
) -> tuple[dict, dict, dict]:
    """Compile-time sizes: of every kernel, of the two that own queries, of the one that owns keys.

    Queries are owned in squares: one block, or as many small blocks as make about 8 x 8 cells, a tile that fills the
    tensor cores; the squares of keys have about that size as well.
    """
    common = {
        "HEADS": heads,
        "BLOCK": block_size,
        "HALO": halo_size,
        "D": d,
        "WIDTH": _power(d),
        "OFFSETS": _power(2 * (block_size + halo_size) - 1, least=8),
        "SCALE": d**-0.5 * math.log2(math.e),
        "PRECISION": precision,
        "enable_fp_fusion": True,  # the compiler's option, whose default changes with its version
    }
    side = block_size * max(1, 8 // block_size)
    large = dtype == torch.float32 or common["OFFSETS"] > 64
    tile = min(_power(side * side), 32 if large else 64)  # what the registers hold
    queries = {
        "SIDE": side,
        "QUERIES": tile,
        "PARTS": -(-side * side // tile),
        "PLACES": _power(side + 2 * halo_size, least=8),
    }
    owners, side = side, side if side <= 8 else -(-block_size // -(-block_size // 8))
    keys = {
        "SIDE": side,
        "SHIFT": shift_of_keys(side, halo_size, owners),
        "OWNERS": owners,
        "KEYS": _power(side * side),
        "PLACES": _power(side, least=8),
    }
    return common, queries, keys


def _plan(q: Tensor, heads: int, block_size: int, halo_size: int) -> tuple[dict, dict, dict]:
    # Three passes of the tensor cores are float32 to its last bits or so; torch's own switch allows a single one.
    precision = "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    return _sizes(q.shape[-1] // heads, heads, block_size, halo_size, q.dtype, precision)


def _tiles(q: Tensor, heads: int, side: int, parts: int = 1, shift: int = 0) -> int:
    batch, height, width, _ = q.shape
    return batch * -(-(height + shift) // side) * -(-(width + shift) // side) * parts * heads


def _dense(*tensors: Tensor) -> list[Tensor]:
    """The tensors, those copied whose heads are not contiguous (an expanded gradient, a transposed map)."""
    return [t if t.stride(-1) == 1 else t.contiguous() for t in tensors]


def _strides(**tensors: Tensor) -> dict[str, int]:
    return {
        f"{name}_{axis}": t.stride(i) for name, t in tensors.items() for i, axis in enumerate(("batch", "row", "col"))
    }


def _on(t: Tensor) -> contextlib.AbstractContextManager:
    """Kernels start on the current GPU, which need not be the tensors' own."""
    return torch.cuda.device(t.device) if t.is_cuda else contextlib.nullcontext()


@torch.library.custom_op("halo_vis::attend", mutates_args=())
def _attend(
    q: Tensor, k: Tensor, v: Tensor, rel_height: Tensor, rel_width: Tensor, heads: int, block_size: int, halo_size: int
) -> tuple[Tensor, Tensor]:
    """The output, and the logarithm of every softmax's denominator, to base 2: (B, heads, H, W)."""
    from halo_vis.kernels.fused_forward import forward

    batch, height, width, _ = q.shape
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    log_sum = q.new_empty((batch, heads, height, width), dtype=torch.float32)
    if q.numel() == 0:
        return out, log_sum
    q, k, v = _dense(q, k, v)
    common, queries, _ = _plan(q, heads, block_size, halo_size)
    grid = (_tiles(q, heads, queries["SIDE"], queries["PARTS"]),)
    with _on(q):
        forward[grid](
            q,
            k,
            v,
            rel_height.contiguous(),
            rel_width.contiguous(),
            out,
            log_sum,
            height,
            width,
            **_strides(q=q, k=k, v=v),
            **common,
            **queries,
        )
    return out, log_sum


@_attend.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, rel_height: Tensor, rel_width: Tensor, heads: int, block_size: int, halo_size: int
) -> tuple[Tensor, Tensor]:
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    return out, q.new_empty((q.shape[0], heads, q.shape[1], q.shape[2]), dtype=torch.float32)


@torch.library.custom_op("halo_vis::attend_backward", mutates_args=())
def _attend_backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor,
    rel_width: Tensor,
    out: Tensor,
    log_sum: Tensor,
    heads: int,
    block_size: int,
    halo_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of q, k, v and of the two tables."""
    from halo_vis.kernels.fused_backward import backward_keys, backward_queries

    grads = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in (q, k, v)]
    if q.numel() == 0:
        return *grads, torch.zeros_like(rel_height), torch.zeros_like(rel_width)
    height, width = q.shape[1:3]
    q, k, v, grad_out = _dense(q, k, v, grad_out)
    rel_height, rel_width, out = rel_height.contiguous(), rel_width.contiguous(), out.contiguous()
    common, queries, keys = _plan(q, heads, block_size, halo_size)
    common = common | {"LOGIT_SCALE": common["D"] ** -0.5}
    strides = _strides(q=q, k=k, v=v, o=grad_out)
    delta = torch.empty_like(log_sum)
    tiles = _tiles(q, heads, queries["SIDE"], queries["PARTS"])
    programs = -(-tiles // -(-tiles // MOST_SHARES))  # each as many tiles as the next, but for the last round
    shares = q.new_empty((programs, 2, common["OFFSETS"], common["WIDTH"]), dtype=torch.float32)
    with _on(q):
        backward_queries[(programs,)](
            q,
            k,
            v,
            rel_height,
            rel_width,
            out,
            log_sum,
            grad_out,
            grads[0],
            shares,
            delta,
            height,
            width,
            tiles,
            2**31 - 1,
            **strides,
            **common,
            **queries,
        )
        backward_keys[(_tiles(q, heads, keys["SIDE"], shift=keys["SHIFT"]),)](
            q,
            k,
            v,
            rel_height,
            rel_width,
            log_sum,
            grad_out,
            delta,
            grads[1],
            grads[2],
            height,
            width,
            **strides,
            **common,
            **keys,
        )
    # The kernels' offsets begin at row 2 halo of the tables; the rows before it concern no pair.
    offsets = 2 * (block_size + halo_size) - 1
    tables = rel_height.new_zeros((2, *rel_height.shape))
    tables[:, 2 * halo_size :] = shares.sum(0)[:, :offsets, : common["D"]]
    return *grads, tables[0].clone(), tables[1].clone()


@_attend_backward.register_fake
def _(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor,
    rel_width: Tensor,
    out: Tensor,
    log_sum: Tensor,
    heads: int,
    block_size: int,
    halo_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    grads = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (q, k, v))
    return *grads, torch.empty_like(rel_height), torch.empty_like(rel_width)


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.heads, ctx.block_size, ctx.halo_size = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*tensors, *output)


def _differentiate(ctx: torch.autograd.function.FunctionCtx, grad_out: Tensor, _: Tensor | None) -> tuple:
    q, k, v, rel_height, rel_width, out, log_sum = ctx.saved_tensors
    grads = _attend_backward(
        grad_out, q, k, v, rel_height, rel_width, out, log_sum, ctx.heads, ctx.block_size, ctx.halo_size
    )
    return *grads, None, None, None


_attend.register_autograd(_differentiate, setup_context=_save)
