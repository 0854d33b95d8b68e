"""Weights as safetensors with a validated JSON header: the one module that writes and reads them.

A file holds the state dict (floating-point weights as fp16, running statistics as fp32) and, in the format's own
metadata, a JSON header with the architecture, the class names and where it comes from. Nothing in it is executed: the
architecture is plain values, checked, and the model is built from the stock description that Ultralytics installs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from ultralytics import YOLO

from halo_vis.attention import number_of_heads
from halo_vis.transplant import Architecture, architecture_of, build

FORMAT = "halo_vis-weights"
VERSION = 1
LARGEST = 512 * 1024 * 1024  # bytes; yolo26x-seg in fp16 is 0.15 GB
# What a file may ask for. A header of a few bytes could otherwise claim layers of gigabytes, built before any tensor is
# compared: heads and their total width, and pairs of query and key in a block (8/3 has 12,544; 32/16 is just allowed).
LARGEST_HEADS, LARGEST_WIDTH, LARGEST_PAIRS = 64, 4096, 2**22
WIDEST = {"n": 256, "s": 512, "m": 512, "l": 512, "x": 768}  # channels of P5, whose width sets the number of heads


class WeightsError(ValueError):
    """A weights file that is damaged, foreign, or does not match its own header."""


@dataclass(frozen=True)
class Header:
    """What a weights file says of itself."""

    architecture: Architecture
    names: dict[int, str]
    provenance: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what a file may not ask for."""
        a = self.architecture
        heads = number_of_heads(WIDEST[a.scale], a.dim_head, a.heads)
        if heads > LARGEST_HEADS or heads * a.dim_head > LARGEST_WIDTH:
            raise WeightsError(
                f"the header asks for {heads} heads of {a.dim_head}; at most {LARGEST_HEADS} heads of "
                f"{LARGEST_WIDTH} channels in all are taken"
            )
        if (a.block_size * (a.block_size + 2 * a.halo_size)) ** 2 > LARGEST_PAIRS:
            raise WeightsError(
                f"the header asks for block {a.block_size} with halo {a.halo_size}: more than {LARGEST_PAIRS} pairs of "
                "query and key in a block"
            )

    def to_json(self) -> str:
        """The header as it stands in the file."""
        body = {"format": FORMAT, "version": VERSION, **asdict(self), "architecture": self.architecture.as_dict()}
        return json.dumps(body, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Header:
        """Parse and check; raises WeightsError with what is wrong."""
        try:
            body = json.loads(text)
            if body.get("format") != FORMAT or body.get("version") != VERSION:
                raise ValueError(f"it is {body.get('format')!r} version {body.get('version')!r}")
            architecture = Architecture(**body["architecture"])
            names = {int(k): str(v) for k, v in body["names"].items()}
            if sorted(names) != list(range(architecture.nc)):
                raise ValueError(f"it names {len(names)} classes for {architecture.nc}")
            provenance = body.get("provenance", {})
            if not isinstance(provenance, dict):
                raise ValueError("its provenance is not an object")
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise WeightsError(
                f"the header is not one of HaloVis ({error}); expected {FORMAT!r} version {VERSION}"
            ) from error
        return cls(architecture, names, provenance)


def file_hash(path: Path) -> str:
    """sha256 of a file, as hex."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _slow_hash(f)


def _slow_hash(f: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := f.read(1 << 20):  # Python 3.10 has no hashlib.file_digest
        digest.update(chunk)
    return digest.hexdigest()


def rounded(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict as it is stored: fp16, except running statistics (fp32) and counters."""
    out = {}
    for key, value in model.state_dict().items():
        keep = key.endswith(("running_mean", "running_var")) or not value.is_floating_point()
        stored = (
            value.detach()
            .cpu()
            .to(torch.float32 if value.is_floating_point() and keep else value.dtype if keep else torch.float16)
        )
        if not torch.isfinite(stored.float()).all():
            raise WeightsError(
                f"{key} holds values that fp16 cannot (largest {value.abs().max():g}); train on or check it"
            )
        out[key] = stored.contiguous()
    return out


def write_weights(path: str | Path, model: YOLO | nn.Module, provenance: dict | None = None) -> Header:
    """Write a model; the file appears whole or not at all.

    Args:
        path: ends in .safetensors.
        model: a `YOLO` or the model inside one, not fused.
        provenance: recipe, data, metrics, versions: anything JSON can hold.
    """
    model = model.model if isinstance(model, YOLO) else model
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"weights are written as .safetensors, got {path.name!r}. Rename it.")
    if model.is_fused():
        raise WeightsError("a fused model cannot be written: its normalisation is gone. Pass the model before fuse().")
    header = Header(architecture_of(model), {int(k): str(v) for k, v in model.names.items()}, provenance or {})
    partial = path.with_suffix(".partial")
    save_file(rounded(model), partial, metadata={"halo_vis": header.to_json()})
    partial.replace(path)
    return header


def read_header(path: str | Path) -> Header:
    """The header alone.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: damaged, too large, or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}. Check the path, or pick a bundled pair.")
    if path.stat().st_size > LARGEST:
        raise WeightsError(f"{path.name} has {path.stat().st_size} bytes; weights of HaloVis have at most {LARGEST}.")
    try:
        with safe_open(path, "pt") as f:
            metadata = f.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path.name} is no readable safetensors file ({error}). Fetch or export it again."
        ) from error
    if "halo_vis" not in metadata:
        raise WeightsError(f"{path.name} is a safetensors file, but not one of HaloVis: it has no header of ours.")
    try:
        return Header.from_json(metadata["halo_vis"])
    except WeightsError as error:
        raise WeightsError(f"{path.name}: {error}. Export it again.") from error


def read_weights(path: str | Path) -> tuple[YOLO, Header]:
    """Build the model that the header describes and load the tensors strictly: same names, same shapes, no more."""
    path = Path(path)
    header = read_header(path)
    # The header has been checked for size: what is built here is a YOLO26, whatever the tensors turn out to be.
    yolo = build(header.architecture, header.names)
    own = yolo.model.state_dict()
    try:
        with safe_open(path, "pt") as f:
            keys = set(f.keys())
            if keys != set(own):
                odd = sorted(keys ^ set(own))
                raise WeightsError(
                    f"{path.name} does not match its header: {len(odd)} tensors differ, for example {odd[0]}."
                )
            for key, target in own.items():
                shape = tuple(f.get_slice(key).get_shape())
                if shape != tuple(target.shape):
                    raise WeightsError(f"{path.name}: {key} has shape {shape}, expected {tuple(target.shape)}.")
                value = f.get_tensor(key)
                if value.is_floating_point() != target.is_floating_point():
                    raise WeightsError(f"{path.name}: {key} has type {value.dtype}, expected {target.dtype}.")
                if not torch.isfinite(value.float()).all():
                    raise WeightsError(f"{path.name}: {key} holds values that are not finite. Export it again.")
                target.copy_(value)
    except SafetensorError as error:
        raise WeightsError(f"{path.name} is damaged ({error}). Fetch or export it again.") from error
    yolo.model.eval()
    yolo.ckpt = {"model": yolo.model}  # so that YOLO.train() starts from these weights
    return yolo, header
