"""The explorer as a component of the page: the viewer's own files, mounted in a gr.HTML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

VIEWER = Path(__file__).parent.parent / "halo_vis" / "viewer"  # read as files: importing the package imports torch


def explorer(value: dict[str, Any] | None) -> gr.HTML:
    """A factory, not a subclass: Gradio writes a .pyi beside the source of a subclass."""
    scripts = [(VIEWER / name).read_text(encoding="utf-8") for name in json.loads((VIEWER / "order.json").read_text())]
    glue = Path(__file__).with_name("explorer_glue.js").read_text(encoding="utf-8")
    return gr.HTML(
        value=value,
        html_template=(VIEWER / "explorer.html").read_text(encoding="utf-8"),
        css_template=(VIEWER / "explorer.css").read_text(encoding="utf-8"),
        js_on_load="\n".join([*scripts, glue]),
        apply_default_css=False,
        elem_id="explorer",
    )
