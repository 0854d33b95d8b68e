"""Everything that leaves the page as a file: one row of buttons below the explorer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from demo.guards import Refused
from demo.messages import problem, status
from demo.quiet import quiet
from demo.service import EXPORTS, Service
from demo.texts import language, text

KINDS = ("zip", *EXPORTS)
# The explorer's view goes along, so that a file shows what the person sees.
VIEW_JS = """(seen, lang, view) => {
  const { controller, first } = globalThis.haloPage;
  const shown = globalThis.haloExplorer?.ready;
  return [seen, lang, JSON.stringify(shown ? { first, state: controller.state(), trail: controller.trail() } : {})];
}"""
FETCH_JS = "() => { document.querySelector('#file-link').click() }"


class TakeAway:
    """Buttons and their handler. Built inside a Blocks context."""

    def __init__(self, service: Service, label: Callable[..., gr.components.Component]) -> None:
        """`label` remembers which text a component shows."""
        self.service = service
        with gr.Row(elem_id="takeaway"):
            self.buttons = {
                kind: label(gr.Button(text("en", f"take_{kind}"), size="sm", elem_id=kind), value=f"take_{kind}")
                for kind in KINDS
            }
            self.link = gr.DownloadButton("file", elem_id="file-link", interactive=True)
        self.view = gr.Textbox(visible=False)

    def events(
        self,
        seen: gr.State,
        lang: gr.components.Component,
        line: gr.components.Component,
        first: Callable[[], Any],
        **options: Any,
    ) -> None:
        """Connect the buttons.

        Args:
            first: makes the inspection of the picture that the page starts with.
            options: of the events.
        """
        for kind, button in self.buttons.items():
            button.click(
                self._handler(kind, first), [seen, lang, self.view], [self.link, line], js=VIEW_JS, **options
            ).success(None, js=FETCH_JS, **quiet(self.link))

    def _handler(self, kind: str, first: Callable[[], Any]) -> Callable[..., Iterator[tuple]]:
        def handle(seen: Any, lang: str, view: str | None) -> Iterator[tuple]:
            yield gr.skip(), status(text(lang, "packing"))
            try:
                shown = _shown(view)
                if seen is None and not shown.get("first"):
                    raise Refused("result_gone")  # kept for half an hour, and not beyond a restart
                seen = first() if seen is None else seen
                if kind == "zip":
                    path = self.service.pack(seen)
                else:
                    path = self.service.export(seen, kind, shown.get("state"), shown.get("trail"), language(lang))
            except Exception as error:
                yield gr.skip(), problem(error, lang)
                raise gr.Error(
                    text(lang, "unexpected"), visible=False, print_exception=False
                ) from None  # stops the download that follows
            yield gr.update(value=str(path)), status(path.name)

        return handle


def _shown(view: Any) -> dict[str, Any]:
    """What VIEW_JS says of the explorer; anybody can send anything."""
    try:
        shown = json.loads(view or "{}")
    except (TypeError, ValueError, RecursionError):
        raise Refused("view_broken") from None
    if not isinstance(shown, dict):
        raise Refused("view_broken")
    return shown
