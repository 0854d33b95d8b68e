"""A plan's field as a component of the form, labelled with its help, its range and its unit."""

from __future__ import annotations

from typing import Any

import gradio as gr

from demo.labels import Labels
from demo.limits import Limits
from demo.texts import text
from demo.train_plan import FIELDS, choices, help_of

DROPDOWNS = ("scale",)
PLAIN = ("heads",)  # numbers whose 0 means something: said in the help


def field_component(name: str, labels: Labels, limits: Limits, **extra: Any) -> gr.components.Component:
    """The component of a field, with its default; its words follow the language."""
    field = FIELDS[name]
    common = {
        "label": text("en", f"f_{name}"),
        "info": help_of(name, "en", limits),
        "elem_id": f"f-{name}",
        "interactive": True,
        **extra,
    }
    words: dict[str, Any] = {"label": f"f_{name}", "info": lambda lang: help_of(name, lang, limits)}
    if field.kind in ("int", "float"):
        # Neither minimum nor maximum: Gradio would put a number of its own in the place of what was typed. Plan checks.
        whole = {"precision": 0, "step": 1} if field.kind == "int" else {"step": None}
        return labels(gr.Number(field.default, min_width=130, **whole, **common), **words)
    if field.kind == "bool":
        return labels(gr.Checkbox(field.default, **common), **words)
    if field.kind == "text":
        return labels(gr.Textbox(field.default, max_lines=1, **common), **words)
    words["choices"] = lambda lang: choices(name, lang)
    if field.kind == "list":
        return labels(gr.CheckboxGroup(choices(name, "en"), value=list(field.default), **common), **words)
    kind = gr.Dropdown if name in DROPDOWNS else gr.Radio
    return labels(kind(choices(name, "en"), value=field.default, **common), **words)


def line(elem_id: str, value: str = "") -> gr.HTML:
    """A line of text that the form says."""
    return gr.HTML(value, elem_id=elem_id, elem_classes="said", padding=False)
