"""How the page's own handlers are connected: they show no progress of Gradio's and are not in the API."""

from __future__ import annotations

from typing import Any

import gradio as gr


def nowhere() -> gr.components.Component:
    """A component that nobody sees, for :func:`quiet`."""
    return gr.Textbox(visible=False)


def quiet(hidden: gr.components.Component, **more: Any) -> dict[str, Any]:
    """Keyword arguments of an event.

    Gradio tells every component that a handler may write how far the handler is, at each of its steps all those of
    all handlers that ever ran, and copies what they hold to do so: a sixth of the time between a click and its
    picture. Here a hidden component is told alone.

    Args:
        hidden: the component that is told.
        more: further arguments.
    """
    return {"show_progress": "hidden", "show_progress_on": hidden, "api_visibility": "private"} | more
