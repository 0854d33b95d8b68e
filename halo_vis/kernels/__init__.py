"""What computes halo attention: three backends that give the same numbers, to rounding.

- ``reference``: plain operations; every device, every type, both masks, gradients of every order, recorded graphs.
- ``chunked``: the CPU's, in float32 and float64.
- ``fused``: a kernel for NVIDIA GPUs that reads windows straight from the map. It has been run in its language's
  interpreter and through its compiler, never on a GPU, and measures itself for some seconds when it first runs there,
  which a process that is thrown away after each call pays every time. So it has to be asked for.

``auto`` takes the fastest of the others that can. The environment variable HALO_VIS_BACKEND stands for it where it is
set.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from halo_vis.kernels import chunked, fused, reference

MODULES = {"fused": fused, "chunked": chunked, "reference": reference}
BACKENDS = ("auto", *MODULES)
AUTOMATIC = ("chunked", "reference")


@dataclass(frozen=True)
class Choice:
    """Which backend computes.

    Attributes:
        name: of MODULES.
        reason: why it is not the one that was asked for; "" where it is, or where none was.
    """

    name: str
    reason: str = ""


def check(backend: object) -> None:
    """Refuse a backend that there is not.

    Raises:
        ValueError: with the rule, the value and the next step.
    """
    if backend not in BACKENDS:
        raise ValueError(f"HaloAttention: backend must be one of {BACKENDS}, got {backend!r}. Use 'auto'.")


def choose(asked: str, q: Tensor, v: Tensor, *, heads: int, block_size: int, halo_size: int, mask: str) -> Choice:
    """The backend for some arguments.

    Args:
        asked: of BACKENDS. One that cannot run the arguments falls back to the reference, with the reason.
        q, v: (B, H, W, heads * d); device, type and shape count, values do not.

    Raises:
        ValueError: unknown backend.
    """
    if torch.compiler.is_compiling():  # first: what records a graph does not follow the questions below
        return Choice("reference", "a graph is recorded")
    if asked == "auto":
        asked = os.environ.get("HALO_VIS_BACKEND", "auto")
    check(asked)
    if torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or torch._C._are_functorch_transforms_active():
        return Choice("reference", "a graph is recorded, or a function of torch.func transforms it")
    if v.shape != q.shape:
        return Choice("reference", "values have another width than queries")
    reasons = {}
    for name in AUTOMATIC if asked == "auto" else (asked, "reference"):
        why = MODULES[name].why_not(q, heads=heads, block_size=block_size, halo_size=halo_size, mask=mask)
        if why is None:
            return Choice(name, "" if asked in ("auto", name) else f"{asked}: {reasons[asked]}")
        reasons[name] = why
    raise AssertionError("the reference runs everything")


def function(name: str) -> Callable[..., Tensor]:
    """The backend's ``halo_attention``; arguments as in :func:`halo_vis.attention.halo_attention`."""
    return MODULES[name].halo_attention
