"""Architectures with and without halo attention, and the transplant of a stock YOLO26 into its halo form.

Everything is derived from the stock YOLO26 description that Ultralytics installs: the halo layers are inserted behind
the layers that feed the detection head, and the indices that follow are moved.
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import ultralytics
from torch import nn
from ultralytics import YOLO
from ultralytics.utils import YAML

from halo_vis.attention import MASKS, HaloAttention, number_of_heads

CFG = Path(__file__).parent / "cfg"
SCALES = ("n", "s", "m", "l", "x")
TASKS = ("detect", "segment")
FORMS = ("baseline", "residual", "article")
LEVELS = ("P3", "P4", "P5")
STOCK = {"detect": "yolo26.yaml", "segment": "yolo26-seg.yaml"}


@dataclass(frozen=True)
class Architecture:
    """What has to be known to build a model again: plain values only, so that it can be written beside weights.

    ``heads``: a number for every level; a share of the heads of ``dim_head`` that the level's channels hold; None: all
    of these. ``form``: "baseline" has no halo layer, "residual" is x + attention(x), "article" is attention in place.
    ``class_width``: hidden channels of the head's class branch; None: as many as Ultralytics gives a new model with
    ``nc`` classes. A model that was fine-tuned from one with other classes keeps that one's (yolo26n from COCO: 80
    channels, where 3 classes alone would give 64).
    """

    scale: str = "n"
    task: str = "detect"
    form: str = "residual"
    nc: int = 80
    block_size: int = 8
    halo_size: int = 3
    dim_head: int = 32
    heads: int | float | None = None
    mask: str = "valid"
    levels: tuple[str, ...] = LEVELS
    class_width: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be built, with the rule, the value and the next step."""
        for name, allowed in (("scale", SCALES), ("task", TASKS), ("form", FORMS), ("mask", MASKS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"Architecture: {name} must be one of {allowed}, got {getattr(self, name)!r}.")
        least = {"nc": 1, "block_size": 1, "halo_size": 0, "dim_head": 1}
        least |= {} if self.class_width is None else {"class_width": 1}
        if isinstance(self.heads, float):
            if not 0 < self.heads < 1:
                raise ValueError(f"Architecture: a share of heads must lie between 0 and 1, got {self.heads!r}.")
        elif self.heads is not None:
            least["heads"] = 1
        for name, bound in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not bound <= value <= 10_000:
                raise ValueError(f"Architecture: {name} must be a whole number from {bound} to 10000, got {value!r}.")
        object.__setattr__(self, "levels", tuple(self.levels))
        if not self.levels or any(level not in LEVELS for level in self.levels):
            raise ValueError(f"Architecture: levels must be one or more of {LEVELS}, got {self.levels!r}.")

    def as_dict(self) -> dict:
        """Plain values, for JSON."""
        return asdict(self) | {"levels": list(self.levels)}

    def yaml(self) -> dict:
        """The model description that Ultralytics parses, with nc and scale filled in."""
        stock = YAML.load(Path(ultralytics.__file__).parent / "cfg" / "models" / "26" / STOCK[self.task])
        stock |= {"nc": self.nc, "scale": self.scale}
        if self.form == "baseline":
            return stock
        args = ["c2", self.block_size, self.halo_size, self.dim_head, self.heads, self.mask, self.form == "residual"]
        return insert_halo(stock, args, self.levels)[0]


def insert_halo(stock: dict, args: list, levels: tuple[str, ...] = LEVELS) -> tuple[dict, dict[int, int]]:
    """Insert a HaloAttention layer behind each of the head's inputs.

    Args:
        stock: a model description whose last layer takes P3, P4, P5, as Ultralytics ships it.
        args: arguments of HaloAttention, as in a model YAML.
        levels: which of the head's inputs get a layer.

    Returns:
        The new description, and where each stock layer has gone: {stock index: new index}.
    """
    layers = copy.deepcopy(stock["backbone"] + stock["head"])
    inputs = layers[-1][0]
    behind = [source for source, level in zip(inputs, LEVELS, strict=True) if level in levels]
    moved = {i: i + sum(source < i for source in behind) for i in range(len(layers))}
    # Whoever read a level read the stock layer's output; now it reads the halo layer that stands behind it.
    reads = {i: moved[i] + (i in behind) for i in moved}
    out: list[list] = []
    for i, (source, repeats, module, arguments) in enumerate(layers):
        sources = source if isinstance(source, list) else [source]
        sources = [s if s < 0 else reads[s] for s in sources]
        out.append([sources if isinstance(source, list) else sources[0], repeats, module, arguments])
        if i in behind:
            out.append([-1, 1, "HaloAttention", list(args)])
    split = len(stock["backbone"])
    return {**copy.deepcopy(stock), "backbone": out[:split], "head": out[split:]}, moved


def build(architecture: Architecture, names: dict[int, str] | None = None) -> YOLO:
    """A freshly initialised model. Its weights are torch's and Ultralytics' own random ones."""
    folder_name = f"yolo26{architecture.scale}-{architecture.form}.yaml"  # Ultralytics reads the scale off the name
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / folder_name
        YAML.save(path, architecture.yaml())
        yolo = YOLO(str(path), task=architecture.task, verbose=False)
    if architecture.class_width is not None:
        # Ultralytics' own way to such a model: load one that has that many classes, and so that width.
        wide = replace(architecture, nc=architecture.class_width, class_width=None)
        yolo.model.load(build(wide).model, verbose=False)
    yolo.model.yaml["yaml_file"] = folder_name
    yolo.overrides["model"] = yolo.model.args["model"] = yolo.model_name = yolo.cfg = folder_name
    if names is not None:
        yolo.model.names = dict(names)
    return yolo


def architecture_of(model: nn.Module) -> Architecture:
    """Read the architecture off a built model.

    Raises:
        ValueError: the model is not a YOLO26 for detection or instance segmentation, or mixes halo layers of
            different geometry.
    """
    description = getattr(model, "yaml", None) or {}
    # Of a file without a scale in its name, yolo26-HaloAttention.yaml, Ultralytics builds the first scale listed in it.
    scale = description.get("scale") or next(iter(description.get("scales") or ()), None)
    head = getattr(model, "model", [None])[-1]
    task = {"Detect": "detect", "Segment26": "segment"}.get(type(head).__name__)
    if scale not in SCALES or task is None:
        raise ValueError(
            f"Expected a YOLO26 for detection or segmentation of scale {'/'.join(SCALES)}, got "
            f"{type(model).__name__} with head {type(head).__name__} and scale {scale!r}. Load a yolo26 model."
        )
    if len(head.f) != len(LEVELS):
        raise ValueError(
            f"Expected a head on {', '.join(LEVELS)}, got one on {len(head.f)} levels. "
            f"Load yolo26{scale}, not a -p2 or -p6 variant."
        )
    class_width = _class_width(head)
    halos = {m.i: m for m in model.model if isinstance(m, HaloAttention)}
    if not halos:
        return Architecture(scale, task, "baseline", head.nc, class_width=class_width)
    sources = list(head.f)
    levels = tuple(level for level, source in zip(LEVELS, sources, strict=True) if source in halos)
    full = all(m.heads == number_of_heads(m.dim, m.dim_head) for m in halos.values())
    kinds = {
        (
            m.block_size,
            m.halo_size,
            m.dim_head,
            m.share_of_heads or (None if full else m.heads),
            m.mask,
            m.residual,
        )
        for m in halos.values()
    }
    if len(kinds) != 1 or len(levels) != len(halos):
        raise ValueError(f"Expected halo layers of one geometry right behind P3, P4, P5, got {sorted(kinds, key=str)}.")
    block_size, halo_size, dim_head, heads, mask, residual = kinds.pop()
    form = "residual" if residual else "article"
    return Architecture(scale, task, form, head.nc, block_size, halo_size, dim_head, heads, mask, levels, class_width)


def _class_width(head: nn.Module) -> int | None:
    """Hidden channels of the class branch, or None where a new model with as many classes has the same."""
    classes, boxes = head.cv3 or head.one2one_cv3, head.cv2 or head.one2one_cv2  # fusing drops one of each
    width = classes[0][-1].in_channels
    return None if width == max(boxes[0][0].conv.in_channels, min(head.nc, 100)) else width


def moved_state(state: dict[str, torch.Tensor], moved: dict[int, int]) -> dict[str, torch.Tensor]:
    """Rename "model.<stock index>.<rest>" to "model.<new index>.<rest>"."""
    renamed = {}
    for key, value in state.items():
        prefix, index, rest = key.split(".", 2)
        renamed[f"{prefix}.{moved[int(index)]}.{rest}"] = value
    return renamed


@torch.no_grad()
def transplant(donor: YOLO | nn.Module, form: str = "residual", **geometry: object) -> YOLO | nn.Module:
    """A stock YOLO26 in its halo form, every tensor of the donor placed; the donor is left as it is.

    In the residual form (the default) the halo layers start as the identity: outputs are equal to the donor's, bit for
    bit, in training and evaluation, for both heads, fused or not.

    Args:
        donor: a `YOLO`, or the `DetectionModel` / `SegmentationModel` inside one; not fused.
        form: "residual" or "article"; the article's form does not start as the identity.
        **geometry: block_size, halo_size, dim_head, heads, mask, levels, as in :class:`Architecture`.

    Returns:
        The same kind of object as the donor, with the donor's dtype, device, names and mode.

    Raises:
        ValueError: the donor is no stock YOLO26, is fused, or has halo layers already.
    """
    model = donor.model if isinstance(donor, YOLO) else donor
    stock = architecture_of(model)
    if stock.form != "baseline":
        raise ValueError("transplant: the donor has halo layers already. Pass a stock YOLO26.")
    architecture = Architecture(**{**stock.as_dict(), **geometry, "form": form})
    grown = build(architecture, names=getattr(model, "names", None))
    _, moved = insert_halo(model.yaml, [], architecture.levels)
    placed = moved_state(model.state_dict(), moved)
    shapes = {k: v.shape for k, v in grown.model.state_dict().items()}
    own = {k for k in shapes if isinstance(grown.model.model[int(k.split(".")[1])], HaloAttention)}
    missing = shapes.keys() - own - placed.keys()
    foreign = {k for k, v in placed.items() if shapes.get(k) != v.shape}
    if missing or foreign:
        why = "it is fused (YOLO.predict fuses a copy, not the model)" if model.is_fused() else "its layers differ"
        raise ValueError(
            f"transplant: the donor is not a stock YOLO26{stock.scale}: {why}. {len(missing)} tensors have no source, "
            f"{len(foreign)} no place (for example {sorted(missing | foreign)[0]}). "
            "Pass the model as Ultralytics loads it."
        )
    return _planted(grown, donor, placed, moved)


@torch.no_grad()
def without_halo(model: YOLO | nn.Module) -> YOLO | nn.Module:
    """A halo model's weights in the stock architecture, its halo layers taken out; the model is left as it is.

    The inverse of :func:`transplant`: ``without_halo(transplant(m))`` gives m's outputs bit for bit. Of a model whose
    halo layers have learned, it is the rest of the network, which has learned to work with them: no trained baseline.

    Args:
        model: a `YOLO` with halo layers, or the model inside one; not fused.

    Returns:
        The same kind of object, with the model's dtype, device, names and mode.

    Raises:
        ValueError: the model has no halo layers, is fused, or is no YOLO26.
    """
    full = model.model if isinstance(model, YOLO) else model
    architecture = architecture_of(full)
    if architecture.form == "baseline":
        raise ValueError("without_halo: the model has no halo layers. Pass a halo model, or use this one as it is.")
    stock = build(replace(architecture, form="baseline"), names=getattr(full, "names", None))
    _, moved = insert_halo(stock.model.yaml, [], architecture.levels)
    back = {new: old for old, new in moved.items()}
    halo = {m.i for m in full.model if isinstance(m, HaloAttention)}
    rest = {k: v for k, v in full.state_dict().items() if int(k.split(".")[1]) not in halo}
    shapes = {k: v.shape for k, v in stock.model.state_dict().items()}
    placed = moved_state(rest, back)
    odd = shapes.keys() ^ placed.keys() | {k for k, v in placed.items() if shapes.get(k) != v.shape}
    if odd:
        why = "it is fused (YOLO.predict fuses a copy, not the model)" if full.is_fused() else "its layers differ"
        raise ValueError(
            f"without_halo: the model is not a YOLO26{architecture.scale} with halo layers: {why}. {len(odd)} tensors "
            f"have no place or no source (for example {sorted(odd)[0]}). Pass the model as it was loaded."
        )
    return _planted(stock, model, placed, back)


def _planted(
    made: YOLO, source: YOLO | nn.Module, placed: dict[str, torch.Tensor], moved: dict[int, int]
) -> YOLO | nn.Module:
    """A newly built model with the source's tensors, dtype, device and mode; the same kind of object as the source.

    Args:
        placed: the tensors under the new model's names.
        moved: index of a layer of the source -> its index in the new model; what is not in it has no place there.
    """
    model = source.model if isinstance(source, YOLO) else source
    first = next(model.parameters())
    made.model.to(device=first.device, dtype=first.dtype)
    made.model.load_state_dict(placed, strict=False)
    made.model.train(model.training)
    made.model.model[-1].end2end = getattr(model.model[-1], "end2end", False)
    parameters = {k: v for k, v in model.named_parameters() if int(k.split(".")[1]) in moved}
    for key, parameter in moved_state(parameters, moved).items():
        made.model.get_parameter(key).requires_grad_(parameter.requires_grad)
    # A truthy ckpt is what makes YOLO.train() start from these weights instead of building the model afresh.
    made.ckpt = {"model": made.model}
    return made if isinstance(source, YOLO) else made.model
