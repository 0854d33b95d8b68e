"""Trained weights into another architecture: what is kept of them, and what starts anew.

Every tensor is known by its place in the stock model ("stock.16.cv1.conv.weight") or by its level
("halo.P3.to_q.weight"), so that halo layers may come, go, or change form and size without moving anything else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from ultralytics import YOLO

from halo_vis.transplant import LEVELS, Architecture, architecture_of, build, insert_halo

TABLES = ("rel_pos_emb.rel_height", "rel_pos_emb.rel_width")


@dataclass(frozen=True)
class Kept:
    """What a start gives to a model.

    Attributes:
        stock, stock_total: tensors of the stock model that are kept, of how many.
        classes: the head's last layers are kept: the classes are the same.
        halo: level -> "kept"; "positions" (all but the position tables, of which the distances that both know are
            kept); "anew"; only the levels that the model has.
        dropped: levels whose halo layer the start has and the model has not.
    """

    stock: int
    stock_total: int
    classes: bool
    halo: dict[str, str]
    dropped: tuple[str, ...] = ()

    def sentence(self) -> str:
        """In English, for a log."""
        parts = [f"{self.stock} of {self.stock_total} tensors of the stock model are kept"]
        if not self.classes:
            parts.append("the head's last layers start anew, since the classes differ")
        words = {"kept": "kept", "positions": "kept, its position tables in part", "anew": "starts anew"}
        parts += [f"the halo layer of {level} {words[state]}" for level, state in self.halo.items()]
        parts += [f"that of {level} is dropped" for level in self.dropped]
        return "; ".join(parts) + "."


@torch.no_grad()
def graft(donor: YOLO, architecture: Architecture, names: dict[int, str]) -> tuple[YOLO, Kept]:
    """A model of an architecture with all that it can take from a trained one; the donor is left as it is.

    Args:
        donor: not fused, of the same scale and task.
        names: classes of the new model.

    Raises:
        ValueError: another scale or task.
    """
    given = architecture_of(donor.model)
    if (given.scale, given.task) != (architecture.scale, architecture.task):
        raise ValueError(
            f"the start is a YOLO26{given.scale} for {given.task}, the plan asks for a YOLO26{architecture.scale} for "
            f"{architecture.task}. Choose scale {given.scale}, or another start."
        )
    # The class branch keeps the start's width, as Ultralytics does: with another one all of it would start anew.
    own = donor.model.model[-1]
    width, usual = own.cv3[0][-1].in_channels, max(own.cv2[0][0].conv.in_channels, min(len(names), 100))
    grown = build(replace(architecture, nc=len(names), class_width=None if width == usual else width), names)
    source = {place: value for place, _, value in _places(donor.model)}
    same_classes = list(donor.names.values()) == list(names.values())
    last = _last_layers(grown.model)
    halo = _halo_states(source, grown.model, same_form=given.form == architecture.form)
    kept = total = 0
    for place, key, target in _places(grown.model):
        value = source.get(place)
        if place.startswith("halo."):
            level, name = place.split(".", 2)[1:]
            if halo[level] == "anew":
                continue
            if name in TABLES:
                _keep_shared(target, value)
            else:
                target.copy_(value)
            continue
        total += 1
        if value is None or value.shape != target.shape or (key in last and not same_classes):
            continue
        target.copy_(value)
        kept += 1
    grown.ckpt = {"model": grown.model}
    dropped = {place.split(".")[1] for place in source if place.startswith("halo.")} - set(halo)
    return grown, Kept(kept, total, same_classes, halo, tuple(sorted(dropped)))


def _places(model: nn.Module) -> list[tuple[str, str, Tensor]]:
    """(place, key of the state dict, tensor) of every tensor of a model."""
    architecture = architecture_of(model)
    state = model.state_dict()
    if architecture.form == "baseline":
        return [(f"stock.{key.removeprefix('model.')}", key, value) for key, value in state.items()]
    stock = replace(architecture, form="baseline").yaml()
    _, moved = insert_halo(stock, [], architecture.levels)
    at = {new: f"stock.{old}" for old, new in moved.items()}
    levels = iter(level for level in LEVELS if level in architecture.levels)
    at |= {new: f"halo.{next(levels)}" for new in range(len(model.model)) if new not in at}
    found = []
    for key, value in state.items():
        _, index, rest = key.split(".", 2)
        found.append((f"{at[int(index)]}.{rest}", key, value))
    return found


def _last_layers(model: nn.Module) -> set[str]:
    """Keys of the head's layers that have an output per class."""
    head, index = model.model[-1], len(model.model) - 1
    found = set()
    for branch in ("cv3", "one2one_cv3"):
        for level, layers in enumerate(getattr(head, branch, None) or ()):
            found |= {f"model.{index}.{branch}.{level}.{len(layers) - 1}.{name}" for name in ("weight", "bias")}
    return found


def _halo_states(source: dict[str, Tensor], grown: nn.Module, same_form: bool) -> dict[str, str]:
    """What becomes of each halo layer: one that is not kept whole starts anew whole, so that it starts as designed."""
    states: dict[str, str] = {}
    for place, _, target in _places(grown):
        if not place.startswith("halo."):
            continue
        level, name = place.split(".", 2)[1:]
        value = source.get(place)
        if value is None or not same_form or (value.shape != target.shape and name not in TABLES):
            states[level] = "anew"
        elif value.shape == target.shape:
            states.setdefault(level, "kept")
        elif value.shape[1:] != target.shape[1:]:
            states[level] = "anew"
        elif states.get(level) != "anew":
            states[level] = "positions"
    return states


def _keep_shared(target: Tensor, value: Tensor) -> None:
    """Position tables (2 window - 1, d) hold a row per distance, 0 in the middle: keep the distances that both know."""
    shared = min(len(target), len(value)) // 2
    middle, theirs = len(target) // 2, len(value) // 2
    target[middle - shared : middle + shared + 1] = value[theirs - shared : theirs + shared + 1]
