"""Step 3 of the Fine-tune tab: how it is trained, as a preset, as settings, as a command and as YAML."""

from __future__ import annotations

from typing import Any

import gradio as gr

from demo import guards
from demo.guards import Refused
from demo.labels import Labels
from demo.limits import Limits
from demo.messages import status
from demo.texts import text
from demo.train_fields import field_component, line
from demo.train_plan import (
    FIRST_PRESET,
    MACHINE,
    NAMES,
    PICTURES,
    PRESETS,
    USUAL,
    Plan,
    changes,
    form_values,
    help_of,
    with_preset,
)
from demo.train_says import note, trouble

LONGEST_YAML = 20_000  # characters
CHANGED = 5  # outputs of `Recipe.on_change`
SAVE_JS = """(text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/yaml" }));
  link.download = "plan.yaml";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}"""


def preset_choices(lang: str) -> list[tuple[str, str]]:
    """Title and name of the presets."""
    return [(text(lang, f"preset_{name}"), name) for name in PRESETS]


class Recipe:
    """The components of the step. Built inside a Blocks context."""

    def __init__(self, labels: Labels, bounds: Limits) -> None:
        self.fields: dict[str, gr.components.Component] = {}
        t = lambda key: text("en", key)  # noqa: E731
        self.preset = labels(
            gr.Radio(
                preset_choices("en"),
                value=FIRST_PRESET,
                label=t("preset"),
                elem_id="preset",
                interactive=True,
            ),
            label="preset",
            choices=preset_choices,
        )
        self.about = line("preset-about", note(t(f"about_{FIRST_PRESET}")))
        self.changed = line("changed", note(t("as_preset")))
        with gr.Accordion(t("settings"), open=False, elem_id="settings") as fold:
            labels(fold, label="settings")
            self._fields(USUAL, labels, bounds)
            with gr.Accordion(t("pictures_fold"), open=False) as inner:
                labels(inner, label="pictures_fold")
                self._fields(PICTURES, labels, bounds)
            with gr.Accordion(t("machine_fold"), open=False) as inner:
                labels(inner, label="machine_fold")
                self._fields(MACHINE, labels, bounds)
        with gr.Accordion(t("command_fold"), open=False, elem_id="command-fold") as fold:
            labels(fold, label="command_fold")
            plan = Plan.from_dict({}, preset=FIRST_PRESET)
            self.command = labels(
                gr.Textbox(
                    plan.command(), label=t("command"), lines=2, interactive=False, buttons=["copy"],
                    elem_id="command",
                ),
                label="command",
            )  # fmt: skip
            self.yolo = labels(
                gr.Textbox(
                    plan.yolo_command(), label=t("yolo_command"), info=t("yolo_help"), lines=3, interactive=False,
                    buttons=["copy"], elem_id="yolo-command",
                ),
                label="yolo_command", info="yolo_help",
            )  # fmt: skip
            self.yaml = labels(
                gr.Textbox(
                    plan.to_yaml(), label=t("yaml"), info=t("yaml_help"), lines=8, max_lines=14, interactive=True,
                    buttons=["copy"], elem_id="yaml",
                ),
                label="yaml", info="yaml_help",
            )  # fmt: skip
            with gr.Row():
                self.use = labels(gr.Button(t("yaml_use"), size="sm", elem_id="yaml-use"), value="yaml_use")
                self.save = labels(gr.Button(t("yaml_save"), size="sm", elem_id="yaml-save"), value="yaml_save")
                self.load = labels(
                    gr.UploadButton(
                        t("yaml_load"), size="sm", file_types=[".yaml", ".yml"], type="filepath", elem_id="yaml-load"
                    ),
                    label="yaml_load",
                )
            self.yaml_said = line("yaml-said")
            self.taken = gr.State(True)  # whether the last YAML was: one that was refused stays as it was written

    def _fields(self, names: tuple[str, ...], labels: Labels, bounds: Limits) -> None:
        with gr.Row(elem_classes="numbers"):
            for name in names:
                if name not in ("optimizer", "cos_lr", "trackers", "device"):
                    self.fields[name] = field_component(name, labels, bounds)
        for name in names:
            if name in ("optimizer", "cos_lr", "device"):
                self.fields[name] = field_component(name, labels, bounds)
            if name == "trackers":
                self.fields[name] = labels(
                    gr.CheckboxGroup(
                        list(bounds.trackers), value=[], visible=bool(bounds.trackers), interactive=True,
                        label=text("en", "f_trackers"), info=text("en", "h_trackers"), elem_id="f-trackers",
                    ),
                    label="f_trackers", info=lambda lang: help_of("trackers", lang),
                )  # fmt: skip

    def filled(self, values: dict[str, Any]) -> list[Any]:
        """The form's fields with these values, in the order of NAMES."""
        return [list(v) if isinstance(v := values[name], tuple) else v for name in NAMES]

    def on_preset(self, *sent: Any) -> list[Any]:
        """Fill the form with a preset; `sent`: the fields, the preset before, the preset, the language."""
        *fields, before, preset, lang = sent
        values = form_values(fields)
        if not isinstance(preset, str) or preset not in PRESETS:
            return [gr.skip()] * (len(NAMES) + 2)
        filled = self.filled(with_preset(values, before if before in PRESETS else "", preset))
        return [*filled, preset, note(text(lang, f"about_{preset}"))]

    def on_use(self, yaml: Any, lang: str) -> list[Any]:
        """Fill the form with a YAML that was pasted; the last output says whether it was taken."""
        try:
            if not isinstance(yaml, str):
                raise Refused("no_yaml")
            plan = Plan.from_yaml(yaml)
        except Exception as error:
            return [*[gr.skip()] * len(NAMES), trouble(error, lang), False]
        return [*self.filled(plan.as_dict()), status(text(lang, "yaml_used")), True]

    def on_used(self, taken: Any, *sent: Any) -> tuple:
        """`on_change` where a YAML was taken; nothing where it was not."""
        return self.on_change(*sent) if taken is True else (gr.skip(),) * CHANGED

    def on_load(self, sent: guards.Sent, lang: str) -> list[Any]:
        """Fill the form with a YAML that was uploaded."""
        try:
            path = guards.uploaded(sent, LONGEST_YAML * 4, missing="no_yaml")
            yaml = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return [*[gr.skip()] * len(NAMES), trouble(Refused("no_yaml"), lang), False]
        except Exception as error:
            return [*[gr.skip()] * len(NAMES), trouble(error, lang), False]
        return self.on_use(yaml, lang)

    def on_change(self, *sent: Any) -> tuple:
        """What the form says of its values: changes against the preset, command, YAML, the steps' titles.

        `sent`: the fields, the preset, the language. A value that is wrong is named at once.
        """
        *fields, preset, lang = sent
        preset = preset if isinstance(preset, str) and preset in PRESETS else FIRST_PRESET
        values = form_values(fields)
        untrained = gr.update(visible=not values["start"])
        try:
            plan = Plan.from_dict(values)
        except ValueError as error:
            return trouble(error, lang), gr.skip(), gr.skip(), gr.skip(), untrained
        return note(changes(plan, preset, lang)), plan.command(), plan.yolo_command(), plan.to_yaml(), untrained
