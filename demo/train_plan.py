"""The form's values as a plan, and what the page says of them, before torch is there."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from demo.limits import LimitError, Limits
from demo.texts import language, text


def _load() -> ModuleType:
    """halo_vis/training/plan.py by its path: importing it from its package would import torch."""
    path = Path(__file__).parent.parent / "halo_vis" / "training" / "plan.py"
    spec = importlib.util.spec_from_file_location("halo_vis_plan_of_the_page", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


_module = _load()
FIELDS, PRESETS, Plan, PlanError = _module.FIELDS, _module.PRESETS, _module.Plan, _module.PlanError

# The form's steps; together they are every field of a plan.
CHOOSE = ("start", "scale", "member", "form", "trained")
GEOMETRY = ("block_size", "halo_size", "dim_head", "heads", "levels", "mask")
DATA = ("data", "meadow_train", "meadow_val", "meadow_test", "meadow_seed")
USUAL = (
    "epochs", "imgsz", "batch", "optimizer", "lr0", "lrf", "warmup_epochs", "weight_decay", "momentum", "nbs",
    "patience", "seed", "cos_lr",
)  # fmt: skip
PICTURES = ("mosaic", "close_mosaic", "scale_aug", "translate", "fliplr", "hsv_h", "hsv_s", "hsv_v")
MACHINE = ("device", "threads", "longest_s", "trackers")
OTHER = ("title", "probe_y", "probe_x")
NAMES = (*CHOOSE, *GEOMETRY, *DATA, *USUAL, *PICTURES, *MACHINE, *OTHER)
FIRST_PRESET = "short"
UNCOUNTED = ("title", "probe_y", "probe_x")  # what is no setting of the training


def form_values(sent: Sequence[Any]) -> dict[str, Any]:
    """What the form's components sent, in the order of NAMES, by name; "" and None of a text are the same."""
    values = dict(zip(NAMES, sent, strict=True))
    for name, field in FIELDS.items():
        if field.kind == "text" and values[name] is None:
            values[name] = ""
        if field.kind == "list" and values[name] is None:
            values[name] = []
    return values


def plan_of(values: Mapping[str, Any], limits: Limits) -> Any:
    """The plan that the values make, within the limits.

    Raises:
        PlanError: values that no plan has.
        LimitError: a plan beyond what this server takes.
    """
    plan = Plan.from_dict(values)
    if limits.seconds and not plan.longest_s:
        plan = Plan.from_dict(plan.as_dict() | {"longest_s": limits.seconds})
    for name, most in (("epochs", limits.epochs), ("imgsz", limits.imgsz), ("longest_s", limits.seconds or 1e12)):
        if getattr(plan, name) > most:
            unit = FIELDS[name].unit
            raise LimitError("limit_field", field=name, value=f"{getattr(plan, name):g}", most=f"{most:g}", unit=unit)
    if plan.data == "meadow":
        check_pictures(plan.meadow_train + plan.meadow_val + plan.meadow_test, limits)
    if refused := [name for name in plan.trackers if name not in limits.trackers]:
        raise LimitError("limit_tracker", name=refused[0])
    return plan


def check_pictures(count: int, limits: Limits) -> None:
    """Refuse data of too many pictures.

    Raises:
        LimitError: there are more than the limits take.
    """
    if count > limits.pictures:
        raise LimitError("limit_pictures", count=count, most=limits.pictures)


def with_preset(values: Mapping[str, Any], before: str, preset: str) -> dict[str, Any]:
    """The form's values once a preset is chosen.

    The recipe becomes the preset's. Models and data stay as the person chose them, unless a preset names them: what
    the preset names is set, and what only the one before had named goes back to its default.
    """
    usual = Plan.from_dict({}).as_dict()
    found = dict(values)
    for name in (*USUAL, *PICTURES):
        found[name] = usual[name]
    for name, value in PRESETS.get(before, {}).items():
        if _same(found[name], value):
            found[name] = usual[name]
    for name, value in PRESETS[preset].items():
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


def _same(a: Any, b: Any) -> bool:
    return list(a) == list(b) if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) else a == b


def shown(value: Any, name: str, lang: str) -> str:
    """A value of a plan in words and numbers with their unit."""
    field = FIELDS[name]
    if isinstance(value, bool):
        return text(lang, "yes" if value else "no")
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or "–"
    if field.kind == "choice":
        return choice_title(name, value, lang)
    if isinstance(value, float):
        value = f"{value:g}"
    return f"{value} {text(lang, 'unit_' + field.unit)}" if field.unit else str(value) or "–"


def choice_title(name: str, value: str, lang: str) -> str:
    """What a choice is called; names of methods are called what they are called."""
    key = f"c_{name}_{value}"
    from demo.texts import TEXTS

    return text(lang, key) if key in TEXTS["en"] else value


def choices(name: str, lang: str) -> list[tuple[str, str]]:
    """Title and value of what a field may be."""
    return [(choice_title(name, value, lang), value) for value in FIELDS[name].choices]


def help_of(name: str, lang: str, limits: Limits | None = None) -> str:
    """What a field does, and its range."""
    field = FIELDS[name]
    words = text(lang, f"h_{name}")
    if field.kind not in ("int", "float"):
        return words
    high = field.high
    if limits and name in ("epochs", "imgsz"):
        high = min(high, getattr(limits, name))
    if limits and name == "longest_s" and limits.seconds:
        high = min(high, limits.seconds)
    unit = f" {text(lang, 'unit_' + field.unit)}" if field.unit else ""
    bounds = text(lang, "range", low=f"{field.low:g}", high=f"{high:.10g}", unit=unit)
    return f"{words} {bounds}".strip()


def changes(plan: Any, preset: str, lang: str) -> str:
    """The settings in which a plan differs from its preset, one line."""
    names = [name for name in plan.changed(preset) if name not in UNCOUNTED]
    if not names:
        return text(lang, "as_preset")
    usual = Plan.from_dict({}, preset=preset)
    listed = [
        text(
            lang,
            "changed_one",
            name=text(lang, f"f_{name}"),
            value=shown(getattr(plan, name), name, lang),
            usual=shown(getattr(usual, name), name, lang),
        )
        for name in names
        if name not in ("start", "data")
    ]
    listed += [text(lang, f"f_{name}") for name in names if name in ("start", "data")]
    return text(lang, "changed", names=text(lang, "and").join(listed))


def why(error: Exception, lang: str) -> str:
    """What is wrong with a plan, naming the field as the form does."""
    if isinstance(error, LimitError):
        values = dict(error.values)
        if "field" in values:
            values["field"] = text(lang, f"f_{values['field']}")
            values["unit"] = text(lang, f"unit_{values['unit']}") if values["unit"] else ""
        return text(lang, error.key, **values)
    name = getattr(error, "field", "")
    if name not in FIELDS:
        return str(error)
    field = FIELDS[name]
    if language(lang) == "en":
        return text(lang, "field_wrong", field=text(lang, f"f_{name}"), why=str(error))
    if field.kind in ("int", "float"):
        step = text(lang, "multiple_of_32") if name == "imgsz" else ""
        rule = help_of(name, lang) + step
    else:
        rule = text(lang, f"h_{name}") if field.kind != "text" else ""
    return text(lang, "field_wrong", field=text(lang, f"f_{name}"), why=rule)
