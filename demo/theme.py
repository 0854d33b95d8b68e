"""How the page looks: Gradio's Monochrome, system fonts, one accent colour."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """Monochrome passes contrast in light and dark; no font is asked of any host."""
    system = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans SC", "PingFang SC", "sans-serif")
    return gr.themes.Monochrome(
        font=system, font_mono=("ui-monospace", "monospace"), radius_size=gr.themes.sizes.radius_sm
    ).set(button_primary_background_fill="#0b5cad", button_primary_background_fill_hover="#094b8d")
