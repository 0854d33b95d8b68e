"""The history: which runs there are, which are looked at, and what is left of one: notes, files, the explorer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from demo import guards
from demo.guards import Refused
from demo.labels import Labels
from demo.messages import status
from demo.texts import text
from demo.train_fields import line
from demo.train_runs import MOST_BESIDE
from demo.train_says import note, trouble
from demo.train_service import Training, plain_id

KINDS = ("weights", "results", "onnx")
HEADS = ("h_title_column", "h_state", "h_made", "h_data_column", "h_epochs_column", "h_map")


class History:
    """The components. Built inside a Blocks context."""

    def __init__(self, training: Training, labels: Labels) -> None:
        self.training = training
        t = lambda key: text("en", key)  # noqa: E731
        with gr.Accordion(t("history"), open=True, elem_id="history-fold") as fold:
            labels(fold, label="history")
            self.search = labels(
                gr.Textbox(label=t("search"), placeholder=t("search_hint"), max_lines=1, elem_id="search"),
                label="search", placeholder="search_hint",
            )  # fmt: skip
            self.table = gr.HTML(
                None,
                html_template='<div class="run-table"></div>',
                js_on_load=Path(__file__).with_name("run_table.js").read_text(encoding="utf-8"),
                apply_default_css=False,
                elem_id="runs",
            )
        with gr.Accordion(t("about_run"), open=False, elem_id="about-run", visible=False) as self.fold:
            labels(self.fold, label="about_run")
            # No max_length: the browser would cut what is pasted and say nothing. Saving says what is too long.
            self.title = labels(gr.Textbox(label=t("run_title"), max_lines=1, elem_id="run-title"), label="run_title")
            self.note = labels(
                gr.Textbox(label=t("run_note"), lines=2, max_lines=6, elem_id="run-note"), label="run_note"
            )
            self.noted = gr.State("")  # the run whose title and note the fields hold: only that one's are saved
            with gr.Row(elem_id="outcome"):
                self.keep = labels(gr.Button(t("keep"), size="sm", elem_id="keep"), value="keep")
                self.kinds = {
                    kind: labels(
                        gr.Button(t(f"take_{kind}"), size="sm", elem_id=f"take-{kind}", visible=False),
                        value=f"take_{kind}",
                    )
                    for kind in KINDS
                }
                self.delete = labels(gr.Button(t("delete"), size="sm", elem_id="delete", visible=False), value="delete")
                self.sure = labels(
                    gr.Button(t("delete_sure"), size="sm", variant="stop", elem_id="delete-sure", visible=False),
                    value="delete_sure",
                )
            self.said = line("outcome-said")
            self.files = labels(
                gr.File(label=t("files"), file_count="multiple", interactive=False, visible=False, elem_id="run-files"),
                label="files",
            )
            self.where = line("where")

    @property
    def about(self) -> list[gr.components.Component]:
        """What `of` returns values for: all that is about the run in focus."""
        return [
            self.fold, self.title, self.note, *self.kinds.values(), self.delete, self.sure, self.said,
            self.files, self.where, self.noted,
        ]  # fmt: skip

    def value(self, focus: Any, beside: Any, secret: Any, lang: str, search: Any = "") -> dict[str, Any]:
        """What the table shows."""
        rows = [self._row(row, lang) for row in self.training.history(secret, search)]
        words = {key: text(lang, key) for key in ("caption", "no_runs")}
        words["lay_over"] = text(lang, "lay_over", title="{title}")
        if isinstance(search, str) and search.strip():
            words["no_runs"] = text(lang, "none_found")
        return {
            "rows": rows,
            "heads": [text(lang, head) for head in HEADS],
            "words": words,
            "focus": plain_id(focus),
            "beside": _plain_ids(beside)[:MOST_BESIDE],
            "most": MOST_BESIDE,
        }

    @staticmethod
    def _row(row: dict[str, Any], lang: str) -> dict[str, Any]:
        made = row["made"]
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(made)) if isinstance(made, (int, float)) else "–"
        known = ("baseline", "halo")
        best = [
            f"{text(lang, f'member_short_{name}') if name in known else name} {value:.3f}"
            for name, value in row["mAP50"].items()
            if value is not None
        ]
        state = row["state"]
        data = row["data"].removeprefix("dataset:") or "–"
        return {
            "id": row["id"],
            "title": row["title"] or row["id"],
            "note": row["note"][:120],
            "state": state,
            "cells": [
                text(lang, f"state_{state}"),
                when,
                text(lang, f"data_short_{data}") if data in ("meadow", "coco8", "coco128") else data,
                "–" if row["epochs"] is None else row["epochs"],
                ", ".join(best) or "–",
            ],
        }

    def of(self, focus: Any, secret: Any, lang: str, noted: Any) -> list[Any]:
        """Values of `about` for a run; hidden where there is none.

        Args:
            noted: the run whose title and note are there already. Somebody may be writing, may have been told
                something, or may be about to take its files or to delete it, and this answer may be a late one:
                all that stays.
        """
        hidden, stays = gr.update(visible=False), noted == focus
        try:
            snap = self.training.snapshot(focus, secret)
            folder = self.training.run(focus, secret).path
        except Refused:
            return [hidden, "", "", *[hidden] * len(KINDS), hidden, hidden, "", hidden, "", ""]
        may = snap["actions"]
        weights = bool(list((folder / "weights").glob("*.safetensors")))
        shown = {"weights": weights, "results": "download" in may, "onnx": weights}
        where = "" if guards.hosted() else note(text(lang, "where", folder=folder))
        return [
            gr.update(visible=True),
            *([gr.skip()] * 2 if stays else [snap["title"], snap["note"]]),
            *(gr.update(visible=shown[kind]) for kind in KINDS),
            gr.update(visible="delete" in may),
            gr.skip() if stays and "delete" in may else hidden,
            gr.skip() if stays else "",
            gr.skip() if stays else gr.update(visible=False, value=None),
            where,
            gr.skip() if stays else focus,
        ]

    @property
    def fields(self) -> list[gr.components.Component]:
        """What `on_chosen` returns values for; the first three hold what may be saved."""
        return [self.title, self.note, self.noted, self.said, self.files, self.sure]

    def on_chosen(self, focus: Any, noted: Any, secret: Any) -> tuple[Any, ...]:
        """Title and note of the run that was just chosen, before all else of it: nobody writes there yet.

        What was said, packed or half asked of the one before goes.
        """
        try:
            if noted == focus:
                return (gr.skip(),) * len(self.fields)
            about = self.training.run(focus, secret).json("about.json")
        except Exception:  # the refresh that follows says what there is
            return (gr.skip(),) * len(self.fields)
        words = (about.get(name) for name in ("title", "note"))
        words = (value if isinstance(value, str) else "" for value in words)
        return *words, focus, "", gr.update(visible=False, value=None), gr.update(visible=False)

    def on_choose(self, event: gr.EventData, focus: Any, beside: Any) -> tuple[str, list[str]]:
        """A row was chosen, or laid over the one in focus; whose it is, is asked when it is shown."""
        told = event._data if isinstance(event._data, dict) else {}
        focus, beside = plain_id(focus), _plain_ids(beside)
        if run := plain_id(told.get("focus")):
            return run, [other for other in beside if other != run]
        if run := plain_id(told.get("beside")):
            beside = [other for other in beside if other != run]
            if told.get("on") and run != focus:
                beside = [*beside, run][-MOST_BESIDE:]
        return focus, beside

    def on_keep(self, focus: Any, noted: Any, title: Any, words: Any, secret: Any, lang: str) -> str:
        """Keep title and note, if they are of the run in focus."""
        try:
            self.training.run(focus, secret)
            if noted != focus:
                raise Refused("other_note")
            self.training.describe(focus, secret, title, words)
        except Exception as error:
            return trouble(error, lang)
        return status(text(lang, "kept_note"))

    def on_delete(self, focus: Any, secret: Any, lang: str) -> tuple[Any, str]:
        """Throw a run away; none is in focus then."""
        try:
            self.training.delete(focus, secret)
        except Exception as error:
            return gr.skip(), trouble(error, lang)
        return "", status(text(lang, "deleted"))

    def on_take(self, kind: str, focus: Any, secret: Any, lang: str) -> Iterator[tuple[Any, str]]:
        """Write files to take away; first says so."""
        yield gr.skip(), status(text(lang, "packing"))
        try:
            files = self.training.files(kind, focus, secret)
            if not files:
                raise Refused("no_files")
        except Exception as error:
            yield gr.skip(), trouble(error, lang)
            return
        yield gr.update(value=[str(file) for file in files], visible=True), status(text(lang, "take_below"))


def _plain_ids(runs: Any) -> list[str]:
    return [run for run in runs if plain_id(run)] if isinstance(runs, (list, tuple)) else []
