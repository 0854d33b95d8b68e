"""The Fine-tune tab: choose models, data and recipe; start; watch; compare; open in the explorer."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from demo import owners
from demo.guards import Refused
from demo.inspect_tab import InspectTab
from demo.labels import Labels
from demo.limits import duplicate_link, limits, zero_gpu
from demo.messages import status
from demo.quiet import nowhere, quiet
from demo.texts import text
from demo.train_api import Api
from demo.train_choose import Choose, start_choices
from demo.train_data import Data, data_choices
from demo.train_fields import line
from demo.train_history import KINDS, History
from demo.train_plan import CHOOSE, DATA, FIRST_PRESET, GEOMETRY, NAMES, PRESETS, form_values
from demo.train_probe import Probe
from demo.train_recipe import SAVE_JS, Recipe
from demo.train_runs import Runs
from demo.train_says import duration, kept_line, note, trouble
from demo.train_service import Training

# Kept in the visitor's browser. The words only keep them from being read by accident: who has the browser has them.
STORED = {"secret": "halovis-page"}
STEPS = ("step_models", "step_data", "step_recipe")


class TrainTab:
    """Components and handlers. Built inside the tab, in a Blocks context."""

    def __init__(self, training: Training, lang: gr.components.Component, secret: gr.BrowserState) -> None:
        self.training, self.lang, self.secret = training, lang, secret
        self.labels = Labels()
        self.offered = not zero_gpu()  # a form
        if not self.offered:
            self.why = gr.HTML(zero_gpu_words("en"), elem_id="no-training")
            self.labels(self.why, value=zero_gpu_words)
            return
        bounds = limits()
        t = lambda key: text("en", key)  # noqa: E731
        self.focus = gr.BrowserState("", storage_key="halovis-run", **STORED)
        self.beside = gr.State([])
        self.preset_before = gr.State(FIRST_PRESET)
        self.hidden = nowhere()
        self.states = gr.State(None)  # of the runs that are shown, when the history was last drawn
        with gr.Row(elem_id="train-body"):
            with gr.Column(scale=2, min_width=340, elem_id="train-form"):
                with gr.Accordion(t("step_models"), open=True, elem_id="step-models") as step:
                    self.labels(step, label="step_models")
                    self.choose = Choose(self.labels, bounds)
                with gr.Accordion(t("step_data"), open=False, elem_id="step-data") as step:
                    self.labels(step, label="step_data")
                    self.data = Data(training, self.labels, bounds)
                    self.probe = Probe(training, self.labels, bounds)
                with gr.Accordion(t("step_recipe"), open=False, elem_id="step-recipe") as step:
                    self.labels(step, label="step_recipe")
                    self.recipe = Recipe(self.labels, bounds)
                with gr.Column(elem_id="start-bar"):
                    self.name = self.labels(
                        gr.Textbox(
                            label=t("f_title"), placeholder=t("title_hint"), max_lines=1, max_length=120,
                            show_label=False, container=False, elem_id="f-title", interactive=True,
                        ),
                        label="f_title", placeholder="title_hint",
                    )  # fmt: skip
                    with gr.Row(elem_id="start-buttons"):
                        self.start = self.labels(
                            gr.Button(t("start"), variant="primary", elem_id="start", min_width=120), value="start"
                        )
                        self.measure = self.labels(
                            gr.Button(t("measure"), elem_id="measure", min_width=120), value="measure"
                        )
                    self.said = line("start-said", status(t("nobody_starts")) if bounds.training == "nobody" else "")
            with gr.Column(scale=3, min_width=340, elem_id="train-stage"):
                self.runs = Runs(training, self.labels)
                self.history = History(training, self.labels)
        own = self.choose.fields | self.data.fields | self.recipe.fields | self.probe.fields | {"title": self.name}
        self.form = [own[name] for name in NAMES]
        self.fields = own
        Api(training)

    # ------------------------------------------------------------ words
    @property
    def labelled(self) -> list[gr.components.Component]:
        """The components that a change of language reaches."""
        if not self.offered:
            return self.labels.components
        return list({id(c): c for c in [*self.labels.components, *self._spoken]}.values())

    @property
    def says(self) -> list[gr.components.Component]:
        """Outputs of the recipe's `on_change`: what the form says of its values."""
        return [self.recipe.changed, self.recipe.command, self.recipe.yolo, self.recipe.yaml, self.fields["scale"]]

    @property
    def _spoken(self) -> list[gr.components.Component]:
        return [self.recipe.about, self.fields["start"], self.fields["data"]]

    def relabel(self, lang: str, secret: Any, preset: Any = FIRST_PRESET) -> dict[gr.components.Component, Any]:
        """Their words in a language; what is chosen stays chosen."""
        updates = self.labels.updates(lang)
        if self.offered:
            updates[self.fields["start"]]["choices"] = start_choices(lang, owners.allowed(secret))
            preset = preset if isinstance(preset, str) and preset in PRESETS else FIRST_PRESET
            updates[self.recipe.about] = {"value": note(text(lang, f"about_{preset}"))}
            # The uploaded sets are listed when the tab is opened: that takes the library.
        return {component: gr.update(**update) for component, update in updates.items()}

    # ------------------------------------------------------------ events
    def events(self, tab: gr.Tab, other: gr.Tab, tabs: gr.Tabs, inspect_tab: InspectTab) -> None:
        """Connect everything; `other`: the tab that hides this one."""
        if not self.offered:
            return
        # Handlers take what was sent: Gradio's own checks would answer a raw request with a traceback in the log.
        raw = quiet(self.hidden, preprocess=False)
        last = {**raw, "trigger_mode": "always_last"}
        kept = {**last, "concurrency_id": "train-kept", "concurrency_limit": 2}
        preset, lang, secret = self.recipe.preset, self.lang, self.secret

        def told(
            event: gr.events.Dependency, again: bool = True, taken: gr.State | None = None
        ) -> gr.events.Dependency:
            """After an event that filled the form in, or did not: say what it says now."""
            sent = [*self.form, preset, lang]
            if taken is None:
                after = event.then(self.recipe.on_change, sent, self.says, **raw)
            else:
                after = event.then(self.recipe.on_used, [taken, *sent], self.says, **raw)
            return after.then(self.on_kept, [*self.form, secret, lang], [self.choose.kept], **kept) if again else after

        typed = [self.fields["device"].blur, *(c.input for c in self.form)]  # a paste is no input to Gradio's Textbox
        gr.on(typed, self.recipe.on_change, [*self.form, preset, lang], self.says, **last)
        models = [self.fields[name].input for name in (*CHOOSE, *GEOMETRY, DATA[0])]
        gr.on(models, self.on_kept, [*self.form, secret, lang], [self.choose.kept], **kept)
        told(
            preset.input(
                self.recipe.on_preset,
                [*self.form, self.preset_before, preset, lang],
                [*self.form, self.preset_before, self.recipe.about],
                **raw,
            )
        )
        taken = self.recipe.taken
        filled = [*self.form, self.recipe.yaml_said, taken]
        told(self.recipe.use.click(self.recipe.on_use, [self.recipe.yaml, lang], filled, **raw), taken=taken)
        told(self.recipe.load.upload(self.recipe.on_load, [self.recipe.load, lang], filled, **raw), taken=taken)
        self.recipe.save.click(None, [self.recipe.yaml], None, js=SAVE_JS, **raw)
        self.data.events([*self.form, secret, lang], told, **raw)
        for event in self.probe.events(self.form, secret, lang, self.fields["data"], **raw):
            told(event, again=False)
        self.measure.click(
            self.on_measure, [*self.form, secret, lang], [self.said],
            **{**raw, "concurrency_id": "train-measure", "concurrency_limit": 1},
        )  # fmt: skip
        self._run_events(tab, other, tabs, inspect_tab, told, raw)

    def _run_events(
        self, tab: gr.Tab, other: gr.Tab, tabs: gr.Tabs, inspect_tab: InspectTab, told: Any, raw: dict[str, Any]
    ) -> None:
        runs, history, lang, secret = self.runs, self.history, self.lang, self.secret
        looked = [self.focus, self.beside, secret, lang, history.search, history.noted]
        seen = [*runs.outputs, self.states, history.table]
        shown = [*seen, *history.about]
        refresh = lambda event: event.then(self.on_refresh, looked, shown, **raw)  # noqa: E731

        # One click is one run, however fast a person clicks.
        started = self.start.click(
            self.on_start, [*self.form, self.probe.path, self.data.fetch, secret, lang],
            [self.focus, self.beside, self.said],
            **{**raw, "trigger_mode": "once", "concurrency_id": "train-start", "concurrency_limit": 1},
        )  # fmt: skip
        refresh(started)
        opened = tab.select(
            self.on_open, [self.focus, secret, lang, self.fields["start"], self.fields["data"]],
            [self.focus, self.fields["start"], self.fields["data"], runs.said], **raw,
        )  # fmt: skip
        spoken = refresh(opened).then(self.recipe.on_change, [*self.form, self.recipe.preset, lang], self.says, **raw)
        spoken.then(
            self.on_kept, [*self.form, secret, lang], [self.choose.kept],
            **raw, concurrency_id="train-kept", concurrency_limit=2,
        )  # fmt: skip
        other.select(lambda: gr.Timer(active=False), None, [runs.timer], **raw)
        runs.timer.tick(
            self.on_tick,
            [*looked, runs.digest, runs.asked_now, self.states],
            [*shown, self.fields["start"], inspect_tab.pair],
            **{**raw, "concurrency_id": "train-look", "concurrency_limit": 8, "trigger_mode": "once"},
        )
        for action in ("stop", "stop_now", "kill", "resume"):
            refresh(
                runs.buttons[action].click(
                    _bound(runs.on_action, action), [self.focus, secret, lang, runs.asked_now],
                    [runs.said, runs.asked_now], **raw,
                )
            )  # fmt: skip
        told(runs.buttons["retry"].click(runs.on_retry, [self.focus, secret, lang], [*self.form, runs.said], **raw))
        refresh(
            runs.buttons["smaller"].click(runs.on_smaller, [self.focus, secret, lang], [self.focus, runs.said], **raw)
        )
        chosen = history.table.choose(history.on_choose, [self.focus, self.beside], [self.focus, self.beside], **raw)
        refresh(chosen.then(history.on_chosen, [self.focus, history.noted, secret], history.fields, **raw))
        history.search.change(  # not input: Gradio leaves that out when text is pasted
            self.on_search, looked, [history.table], **{**raw, "trigger_mode": "always_last"}
        )  # fmt: skip
        named = [self.focus, history.noted, history.title, history.note, secret, lang]
        history.keep.click(history.on_keep, named, [history.said], **raw).then(
            lambda *looked: self.on_refresh(*looked)[: len(seen)], looked, seen, **raw
        ).then(  # of a run that was not saved; what was said of it stays
            lambda *chosen: history.on_chosen(*chosen)[:3],
            [self.focus, history.noted, secret], history.fields[:3], **raw,
        )  # fmt: skip
        history.delete.click(lambda: gr.update(visible=True), None, [history.sure], **raw)
        gone = history.sure.click(history.on_delete, [self.focus, secret, lang], [self.focus, runs.said], **raw)
        refresh(gone)
        packed = {**raw, "concurrency_id": "train-pack", "concurrency_limit": 2}
        for kind in KINDS:
            history.kinds[kind].click(
                _bound_generator(history.on_take, kind), [self.focus, secret, lang], [history.files, history.said],
                **packed,
            )  # fmt: skip
        inspect_tab.runs_from(
            runs.buttons["open"].click(
                self.on_explore,
                [self.focus, secret, lang],
                [tabs, runs.timer, runs.said, inspect_tab.picture, inspect_tab.pair, *inspect_tab.about_pair],
                **raw,
            )
        )

    @property
    def presets(self) -> list[gr.components.Component]:
        """The choice of a preset, which a change of language needs to know; none without a form."""
        return [self.recipe.preset] if self.offered else []

    def speaks(self, switched: gr.events.Dependency) -> None:
        """After a change of language: the lines that hang on what is chosen."""
        if self.offered:
            raw = quiet(self.hidden, preprocess=False)
            spoken = switched.then(self.on_words, self.words_inputs, self.words_outputs, **raw)
            spoken.then(
                self.on_kept_words, [*self.form, self.secret, self.lang], [self.choose.kept],
                **raw, concurrency_id="train-kept", concurrency_limit=2,
            )  # fmt: skip

    def on_words(self, *sent: Any) -> list[Any]:
        """After a change of language: the lines that hang on what is chosen, and the runs."""
        *fields, preset, focus, beside, secret, lang, search, noted = sent
        say = self.recipe.on_change(*fields, preset, lang)
        if not focus and not self.training.opened:
            sets = gr.update(choices=data_choices(lang))  # the uploaded ones come when the tab is opened
            return [*say, sets, *[gr.skip()] * (len(self.runs.outputs) + 2 + len(self.history.about))]
        try:
            sets = gr.update(choices=self.data.choices(secret, lang))
        except Exception as error:
            trouble(error, lang)
            sets = gr.skip()
        runs = self.on_refresh(focus, beside, secret, lang, search, noted)
        runs[self._said_at] = ""  # it was said in the other language
        return [*say, sets, *runs]

    @property
    def _said_at(self) -> int:
        """Where `on_refresh` answers for the line under the notes."""
        return len(self.runs.outputs) + 2 + self.history.about.index(self.history.said)

    def on_kept_words(self, *sent: Any) -> Any:
        """After a change of language: what of the start is kept; not before the tab was opened, which says it first."""
        return self.on_kept(*sent) if self.training.opened else gr.skip()

    @property
    def words_inputs(self) -> list[gr.components.Component]:
        """Inputs of `on_words`."""
        return [
            *self.form, self.recipe.preset, self.focus, self.beside, self.secret, self.lang, self.history.search,
            self.history.noted,
        ]  # fmt: skip

    @property
    def words_outputs(self) -> list[gr.components.Component]:
        """Outputs of `on_words`."""
        return [
            *self.says,
            self.fields["data"],
            *self.runs.outputs,
            self.states,
            self.history.table,
            *self.history.about,
        ]

    # ------------------------------------------------------------ handlers
    def on_open(self, focus: Any, secret: Any, lang: str, start: Any, data: Any) -> tuple:
        """The tab is opened: find the visitor's run again, and what they may start from."""
        try:
            starts = start_choices(lang, owners.allowed(secret))
            sets = self.data.choices(secret, lang)
            run = self.runs.focus(focus, secret)
        except Exception as error:
            return gr.skip(), gr.skip(), gr.skip(), trouble(error, lang)
        known = lambda value, listed: value if value in [v for _, v in listed] else listed[0][1]  # noqa: E731
        return (
            run,
            gr.update(choices=starts, value=known(start, starts)),
            gr.update(choices=sets, value=known(data, sets)),
            gr.skip(),
        )

    def on_refresh(self, focus: Any, beside: Any, secret: Any, lang: str, search: Any, noted: Any) -> list[Any]:
        """Everything that is shown of the runs."""
        try:
            view = self.runs.look(focus, beside, secret, lang)
            table = self.history.value(focus, beside, secret, lang, search)
            about = self.history.of(focus, secret, lang, noted)
        except Exception as error:
            trouble(error, lang)
            return [gr.skip()] * (len(self.runs.outputs) + 2 + len(self.history.about))
        return [*view, _states(table), table, *about]

    def on_tick(
        self,
        focus: Any,
        beside: Any,
        secret: Any,
        lang: str,
        search: Any,
        noted: Any,
        digest: Any,
        asked: Any,
        states: Any,
    ) -> list[Any]:
        """What has changed since the last look; the history when a run has come to another state or other words."""
        view = self.runs.on_tick(focus, beside, secret, lang, digest, asked)
        rest = [gr.skip()] * (4 + len(self.history.about))
        try:
            table = self.history.value(focus, beside, secret, lang, search)
            now = _states(table)
            if now != states and isinstance(states, list) and now[0] == states[0]:
                rest[:2] = now, table  # words alone, of another tab
            elif now != states:
                about = self.history.of(focus, secret, lang, noted)
                allowed = owners.allowed(secret)
                pairs = InspectTab.pair_update(lang, allowed)
                rest = [now, table, *about, gr.update(choices=start_choices(lang, allowed)), pairs]
        except Exception as error:
            trouble(error, lang)
        return [*view, *rest]

    def on_search(self, focus: Any, beside: Any, secret: Any, lang: str, search: Any, noted: Any = "") -> Any:
        """The history, as far as it holds what is looked for."""
        try:
            return self.history.value(focus, beside, secret, lang, search)
        except Exception as error:
            trouble(error, lang)
            return gr.skip()

    def on_start(self, *sent: Any) -> tuple:
        """Queue a run of the form."""
        *fields, probe, fetch, secret, lang = sent
        try:
            picture = Path(probe) if isinstance(probe, str) and probe else None
            if picture and not picture.is_file():
                raise Refused("probe_gone")  # swept away; the run would silently take another one
            run = self.training.start(form_values(fields), secret, picture, fetch is True)
        except Exception as error:
            return gr.skip(), gr.skip(), trouble(error, lang)
        return run.id, [], status(text(lang, "started"))

    def on_measure(self, *sent: Any) -> Iterator[str]:
        """How long it would take, from a measured step."""
        *fields, secret, lang = sent
        yield status(text(lang, "measuring"))
        try:
            found = self.training.estimate(form_values(fields), secret)
        except Exception as error:
            yield trouble(error, lang)
            return
        steps = ", ".join(f"{_member(name, lang)} {seconds:.2g} s" for name, seconds in found.step_s.items())
        words = text(
            lang, "estimate", time=duration(found.seconds, lang), steps=steps, device=found.device,
            train=found.pictures[0], val=found.pictures[1],
        )  # fmt: skip
        yield status(words)

    def on_kept(self, *sent: Any) -> str:
        """What of the start is kept and what starts anew."""
        *fields, secret, lang = sent
        try:
            kept = self.training.kept(form_values(fields), secret)
        except Exception as error:
            return trouble(error, lang)
        if not kept:
            return kept_line(None, lang)
        return "".join(
            kept_line(found, lang, _member(name, lang) if len(kept) > 1 else "") for name, found in kept.items()
        )

    def on_explore(self, focus: Any, secret: Any, lang: str) -> list[Any]:
        """Show the run's pair in the Inspect tab, on the probe's picture."""
        count = 3 + 2 + InspectTab.ABOUT_PAIR
        try:
            run = self.training.run(focus, secret)
            picture = self.training.probe_picture(run)
            pair = f"run:{run.id}"
            about = InspectTab.about(pair, lang, owners.allowed(secret))
            if picture is None:
                raise Refused("no_picture")
        except Exception as error:
            problem = trouble(error, lang)
            nothing = [gr.skip()] * count
            nothing[2] = problem
            return nothing
        chosen = InspectTab.pair_update(lang, owners.allowed(secret)) | {"value": pair}
        return [gr.Tabs(selected="inspect"), gr.Timer(active=False), "", str(picture), chosen, *about]


def zero_gpu_words(lang: str) -> str:
    """Why there is no form on ZeroGPU, and what to do."""
    link = duplicate_link()
    words = html.escape(text(lang, "duplicate"))
    offer = f'<p><a href="{html.escape(link)}" target="_blank" rel="noopener">{words}</a></p>' if link else ""
    said = "".join(f"<p>{html.escape(text(lang, key))}</p>" for key in ("zero_gpu", "zero_gpu_next"))
    return f'<div class="no-training"><h2>{html.escape(text(lang, "zero_gpu_title"))}</h2>{said}{offer}</div>'


def _member(name: str, lang: str) -> str:
    return text(lang, f"member_short_{name}") if name in ("baseline", "halo") else name


def _states(table: dict[str, Any]) -> list[Any]:
    """What the history shows of the runs: their states, and what people call them."""
    rows = table["rows"]
    return [" ".join(f"{row['id']}:{row['state']}" for row in rows), [[row["title"], row["note"]] for row in rows]]


def _bound(function: Any, first: Any) -> Any:
    return lambda *rest: function(first, *rest)


def _bound_generator(function: Any, first: Any) -> Any:
    def handle(*rest: Any) -> Iterator[Any]:
        yield from function(first, *rest)

    return handle
