"""Step 1 of the Fine-tune tab: what is trained, and what it starts from."""

from __future__ import annotations

import gradio as gr

from demo.catalogue import COCO, RUN, Allowed, cards, halo_members, titles
from demo.choices import member_title
from demo.labels import Labels
from demo.limits import Limits
from demo.texts import text
from demo.train_fields import field_component, line
from demo.train_plan import CHOOSE, GEOMETRY


def start_choices(lang: str, allowed: Allowed = None) -> list[tuple[str, str]]:
    """Title and value of every start: the pairs' members, the official weights, finished runs, nothing.

    Args:
        allowed: whether the visitor may see a run, by its id.
    """
    found = []
    for name, card in cards().items():
        for number, member in enumerate(halo_members(name)):
            several = len(halo_members(name)) > 1
            title = f"{card['title']} · {member_title(name, member, lang)}" if several else card["title"]
            found.append((title, f"pair:{name}" if number == 0 else f"pair:{name}/{member}"))
        found.append((text(lang, "start_baseline", title=card["title"]), f"pair:{name}/baseline"))
    found += [(text(lang, "start_coco", scale=name[-1]), f"pair:{name}") for name in COCO]
    found += [(title, name) for name, title in titles(lang, allowed).items() if name.startswith(RUN)]
    return [*found, (text(lang, "start_untrained"), "")]


class Choose:
    """The components of the step. Built inside a Blocks context."""

    def __init__(self, labels: Labels, limits: Limits) -> None:
        self.fields: dict[str, gr.components.Component] = {}
        self.fields["start"] = labels(
            gr.Dropdown(
                start_choices("en"),
                value="pair:meadow",
                label=text("en", "f_start"),
                info=text("en", "h_start"),
                elem_id="f-start",
                interactive=True,
                allow_custom_value=False,
            ),
            label="f_start",
            info="h_start",
        )
        for name in CHOOSE[1:]:
            extra = {"visible": False} if name == "scale" else {}
            self.fields[name] = field_component(name, labels, limits, **extra)
        with gr.Accordion(text("en", "geometry"), open=False, elem_id="geometry") as fold:
            labels(fold, label="geometry")
            with gr.Row():
                for name in GEOMETRY[:4]:
                    self.fields[name] = field_component(name, labels, limits)
            for name in GEOMETRY[4:]:
                self.fields[name] = field_component(name, labels, limits)
        self.kept = line("kept")
