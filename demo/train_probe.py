"""The probe: the picture and the point whose attention is followed while the model learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from demo import guards
from demo.guards import Refused
from demo.labels import Labels
from demo.limits import Limits, limits
from demo.messages import status
from demo.owners import check_may_start
from demo.texts import text
from demo.train_fields import field_component, line
from demo.train_plan import form_values
from demo.train_says import note, trouble
from demo.train_service import Training

FARTHEST = 1e6  # pixels; no picture is larger


class Probe:
    """The components. Built inside a Blocks context."""

    def __init__(self, training: Training, labels: Labels, bounds: Limits) -> None:
        self.training = training
        self.fields: dict[str, gr.components.Component] = {}
        t = lambda key: text("en", key)  # noqa: E731
        with gr.Accordion(t("probe"), open=False, elem_id="probe-fold") as self.fold:
            labels(self.fold, label="probe")
            labels(line("probe-help", note(t("probe_help"))), value=lambda lang: note(text(lang, "probe_help")))
            self.image = labels(
                gr.Image(
                    label=t("probe_picture"), interactive=False, visible=False, buttons=[], height=260,
                    elem_id="probe-picture", format="png", type="filepath",
                ),
                label="probe_picture",
            )  # fmt: skip
            with gr.Row():
                self.show = labels(gr.Button(t("probe_show"), size="sm", elem_id="probe-show"), value="probe_show")
                self.upload = labels(
                    gr.UploadButton(
                        t("probe_upload"), size="sm", file_types=["image"], type="filepath", elem_id="probe-upload"
                    ),
                    label="probe_upload",
                )
                self.reset = labels(gr.Button(t("probe_reset"), size="sm", elem_id="probe-reset"), value="probe_reset")
            with gr.Row(elem_classes="numbers"):
                for name in ("probe_y", "probe_x"):
                    self.fields[name] = field_component(name, labels, bounds)
            self.said = line("probe-said")
        self.path = gr.State(None)  # the picture as it came; None: the run takes one of its data

    def events(self, form: list[Any], secret: Any, lang: Any, data: Any, **raw: Any) -> list[gr.events.Dependency]:
        """Connect; returns the events after which the form says something else."""
        y, x = self.fields["probe_y"], self.fields["probe_x"]
        outputs = [self.image, self.path, y, x, self.said]
        heavy = {**raw, "concurrency_id": "train-data", "concurrency_limit": 2}
        self.show.click(self.on_show, [*form, secret, lang], outputs, **heavy)
        self.upload.upload(self.on_upload, [self.upload, secret, lang], outputs, **heavy)
        chosen = self.image.select(self.on_select, [self.path, lang], [self.image, y, x, self.said], **raw)
        back = self.reset.click(self.on_reset, None, outputs, **raw)
        gr.on([y.input, x.input], self.on_point, [self.path, y, x], [self.image], **raw)
        gone = data.input(self.on_reset, None, outputs, **raw)
        return [chosen, back, gone]

    def on_show(self, *sent: Any) -> tuple:
        """The picture that the run would take by itself."""
        *fields, secret, lang = sent
        try:
            check_may_start(secret, limits())
            path = self.training.first_picture(form_values(fields), secret)
        except Exception as error:
            return *[gr.skip()] * 4, trouble(error, lang)
        return _seen(path), str(path), -1, -1, status(text(lang, "probe_click"))

    def on_upload(self, sent: guards.Sent, secret: Any, lang: str) -> tuple:
        """A picture of one's own, read whole and written anew before anything shows it."""
        try:
            check_may_start(secret, limits())
            from PIL import Image

            from halo_vis.picture import read_picture

            pixels = read_picture(guards.uploaded(sent)).pixels
            path = self.training.fresh() / "probe.png"
            Image.fromarray(pixels).save(path)
        except Exception as error:
            return *[gr.skip()] * 4, trouble(error, lang)
        return _seen(path), str(path), -1, -1, status(text(lang, "probe_click"))

    def on_select(self, event: gr.SelectData, path: Any, lang: str) -> tuple:
        """The point that was clicked, marked in the picture."""
        try:
            x, y = (int(value) for value in event.index[:2] if _in_picture(value))
        except (TypeError, ValueError, LookupError):
            return gr.skip(), gr.skip(), gr.skip(), trouble(Refused("probe_no_point"), lang)
        return self.on_point(path, y, x), y, x, status(text(lang, "probe_point", y=y, x=x))

    def on_point(self, path: Any, y: Any, x: Any) -> Any:
        """The picture with the point marked."""
        try:
            if not isinstance(path, str) or not Path(path).is_file():
                return gr.skip()
            point = [float(v) for v in (y, x) if _in_picture(v)]
            return path if len(point) < 2 else str(marked(Path(path), *point))
        except Exception as error:  # a picture swept away meanwhile, a full disk: the one that is shown stays
            trouble(error, "en")
            return gr.skip()

    @staticmethod
    def on_reset() -> tuple:
        """The run chooses picture and point by itself."""
        return gr.update(value=None, visible=False), None, -1, -1, ""


def _in_picture(value: Any) -> bool:
    """Whether a number that was sent can be a pixel's row or column."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= FARTHEST


def _seen(path: Path) -> dict[str, Any]:
    """The component is hidden while it is empty."""
    return gr.update(value=str(path), visible=True)


def marked(path: Path, y: float, x: float) -> Path:
    """A copy of a picture with a ring around a point: dark on light, seen on any ground."""
    from PIL import Image, ImageDraw

    image = Image.open(path).convert("RGB")
    radius = max(5, round(max(image.size) / 45))
    draw = ImageDraw.Draw(image)
    for extra, colour, width in ((1, "black", 5), (0, "white", 2)):
        r = radius + extra
        draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=width)
    target = path.with_name(f"marked-{round(y)}-{round(x)}.png")
    image.save(target)
    return target
