"""Step 2 of the Fine-tune tab: the data, looked at before anything is trained, and the probe's picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import gradio as gr

from demo import guards
from demo.labels import Labels
from demo.limits import Limits, limits
from demo.messages import status
from demo.texts import text
from demo.train_fields import field_component, line
from demo.train_plan import DATA, form_values
from demo.train_says import note, problem_count, report_html, trouble
from demo.train_service import Training
from demo.train_sets import COCO_SETS

EVERY_S = 0.5  # between two words on how far an upload is


def data_choices(lang: str, uploaded: Sequence[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """Title and value of every data set on offer; `uploaded`: (title, id) of the visitor's own."""
    built_in = [(text(lang, f"data_{name}"), name) for name in ("meadow", "coco8", "coco128")]
    return [*built_in, *((text(lang, "data_uploaded", title=title), f"dataset:{name}") for title, name in uploaded)]


class Data:
    """The components of the step. Built inside a Blocks context."""

    def __init__(self, training: Training, labels: Labels, bounds: Limits) -> None:
        self.training = training
        self.fields: dict[str, gr.components.Component] = {}
        t = lambda key: text("en", key)  # noqa: E731
        self.fields["data"] = labels(
            gr.Dropdown(
                data_choices("en"), value="meadow", label=t("f_data"), info=t("h_data"), elem_id="f-data",
                interactive=True,
            ),
            label="f_data", info="h_data",
        )  # fmt: skip
        with gr.Row(elem_id="meadow-numbers") as self.numbers:
            for name in DATA[1:]:
                self.fields[name] = field_component(name, labels, bounds)
        self.fetch = labels(
            gr.Checkbox(False, label=t("data_fetch"), visible=False, elem_id="data-fetch", interactive=True),
            label="data_fetch",
        )
        with gr.Row(elem_id="data-buttons"):
            self.check = labels(gr.Button(t("check"), size="sm", elem_id="check"), value="check")
            self.delete = labels(
                gr.Button(t("data_delete"), size="sm", elem_id="data-delete", visible=False), value="data_delete"
            )
            self.sure = labels(
                gr.Button(t("data_delete_sure"), size="sm", variant="stop", elem_id="data-delete-sure", visible=False),
                value="data_delete_sure",
            )
        self.said = line("data-said")
        self.report = line("report")
        self.gallery = gr.Gallery(
            columns=4, height=270, show_label=False, label=t("previews"), visible=False, elem_id="previews",
            object_fit="contain", buttons=[], interactive=False, allow_preview=True,
        )  # fmt: skip
        labels(self.gallery, label="previews")
        self.histogram = labels(
            gr.Image(
                label=t("histogram"),
                show_label=False,
                visible=False,
                elem_id="histogram",
                buttons=[],
                interactive=False,
                format="png",
            ),
            label="histogram",
        )
        with gr.Accordion(t("upload_zip"), open=False, elem_id="upload-fold") as fold:
            labels(fold, label="upload_zip")
            self.upload = labels(
                gr.File(file_types=[".zip"], type="filepath", label=t("zip"), height=150, elem_id="zip-file"),
                label="zip",
            )
            labels(line("zip-help", note(t("zip_help"))), value=lambda lang: note(text(lang, "zip_help")))

    def events(
        self, inputs: list[gr.components.Component], changed: Callable[[gr.events.Dependency], Any], **raw: Any
    ) -> None:
        """Connect the step.

        Args:
            inputs: the form's fields, then secret and language.
            changed: is told of every event after which the form says something else.
        """
        outputs = [self.said, self.report, self.gallery, self.histogram]
        heavy = {**raw, "concurrency_id": "train-data", "concurrency_limit": 2}
        *_, secret, lang = inputs
        data = self.fields["data"]
        self.check.click(self.on_check, [*inputs[:-2], self.fetch, secret, lang], outputs, **heavy)
        # What a generator hands a Dropdown does not always reach it; the step after does.
        taken = gr.State("")
        uploaded = self.upload.upload(
            self.on_upload, [self.upload, secret, lang], [taken, self.upload, *outputs], **heavy
        )
        changed(uploaded.then(self.on_taken, [taken, secret, lang], [data], **raw))
        data.change(self.on_choice, [data], [self.numbers, self.fetch, self.delete, self.sure], **raw)
        self.delete.click(lambda: gr.update(visible=True), None, [self.sure], **raw)
        changed(self.sure.click(self.on_delete, [data, secret, lang], [data, self.sure, *outputs], **raw))

    def on_choice(self, data: Any) -> tuple:
        """What goes with a data set: the meadow's numbers, the delete button of one's own."""
        own = isinstance(data, str) and data.startswith("dataset:")
        coco = data in COCO_SETS
        return (*(gr.update(visible=shown) for shown in (data == "meadow", coco, own, False)),)

    def choices(self, secret: Any, lang: str) -> list[tuple[str, str]]:
        """What a visitor may choose from."""
        return data_choices(lang, self.training.datasets(secret))

    def on_check(self, *sent: Any) -> Iterator[tuple]:
        """Count and look: a line at once, then the report, eight pictures, the histogram."""
        *fields, fetch, secret, lang = sent
        yield status(text(lang, "checking")), "", gr.update(visible=False), gr.update(visible=False)
        try:
            found = self.training.check_data(form_values(fields), secret, fetch is True)
        except Exception as error:
            yield trouble(error, lang), "", gr.skip(), gr.skip()
            return
        yield from self._shown(found, lang)

    def _shown(self, looked: Any, lang: str) -> Iterator[tuple]:
        report, previews, histogram = looked
        found, words = problem_count(report), report_html(report, lang)
        yield status(text(lang, "drawing")), words, gr.skip(), gr.skip()
        try:
            pictures = [(str(path), name) for name, path in previews()]
            chart = histogram()
        except Exception as error:
            yield trouble(error, lang), words, gr.skip(), gr.skip()
            return
        yield (
            status(text(lang, "checked_problems" if found else "checked", problems=found)),
            words,  # again: of two answers that arrive together the browser may take the later one alone
            gr.update(value=pictures, visible=bool(pictures)),
            gr.update(value=str(chart) if chart else None, visible=chart is not None),
        )

    def on_upload(self, sent: guards.Sent, secret: Any, lang: str) -> Iterator[tuple]:
        """Take a zip in, choose it, check it."""
        nothing = ("", gr.skip())
        hidden = gr.update(visible=False), gr.update(visible=False)
        yield *nothing, status(text(lang, "unpacking")), "", *hidden
        counted: dict[str, int] = {}
        try:
            # In a thread of its own: it says how far it is, and goes on to its end if the page is closed.
            with ThreadPoolExecutor(1, "import") as pool:
                told = lambda done, total: counted.update(done=done, total=total)  # noqa: E731
                task = pool.submit(self.training.import_zip, sent, secret, told)
                while not wait([task], EVERY_S).done:
                    if counted:
                        yield *nothing, status(text(lang, "unpacking_at", **counted)), "", *hidden
                found = task.result()
        except Exception as error:
            yield "", None, trouble(error, lang), "", *hidden
            return
        chosen = f"dataset:{found.id}"
        yield chosen, None, status(text(lang, "checking")), "", *hidden
        try:
            looked = self.training.check_data({"data": chosen}, secret)
        except Exception as error:
            yield chosen, None, trouble(error, lang), "", *hidden
            return
        for shown in self._shown(looked, lang):
            yield chosen, None, *shown

    def on_taken(self, taken: Any, secret: Any, lang: str) -> Any:
        """Choose what was taken in."""
        return gr.update(choices=self.choices(secret, lang), value=taken) if taken else gr.skip()

    def on_delete(self, data: Any, secret: Any, lang: str) -> tuple:
        """Throw an uploaded set away."""
        hidden = gr.update(visible=False), gr.update(visible=False)
        try:
            limits()
            self.training.delete_data(data, secret)
        except Exception as error:
            return gr.skip(), gr.update(visible=False), trouble(error, lang), gr.skip(), *hidden
        chosen = gr.update(choices=self.choices(secret, lang), value="meadow")
        return chosen, gr.update(visible=False), status(text(lang, "data_deleted")), "", *hidden
