"""The run in focus: its view, polled while it is at work, and what can be done with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import gradio as gr

from demo.guards import Refused
from demo.labels import Labels
from demo.messages import status
from demo.run_view import run_view, view_value
from demo.texts import text
from demo.train_fields import line
from demo.train_plan import FIELDS, NAMES, Plan
from demo.train_says import trouble
from demo.train_service import Training

EVERY_S, IDLE_S = 1.0, 5.0  # between two looks: while something is at work; else, at what another tab has done
MOST_BESIDE = 3  # runs laid over the one in focus
AT_WORK = ("queued", "running", "stopping")
BUTTONS = ("stop", "stop_now", "kill", "resume", "open", "retry", "smaller")
VARIANTS = {"kill": "stop", "stop_now": "stop", "open": "primary"}


class Runs:
    """The view and its buttons. Built inside a Blocks context."""

    def __init__(self, training: Training, labels: Labels) -> None:
        self.training = training
        t = lambda key: text("en", key)  # noqa: E731
        with gr.Row(elem_id="run-buttons"):
            self.buttons = {
                kind: labels(
                    gr.Button(
                        "" if kind == "smaller" else t(f"do_{kind}"),
                        size="sm",
                        elem_id=f"do-{kind.replace('_', '-')}",
                        variant=VARIANTS.get(kind, "secondary"),
                        visible=False,
                        min_width=90,
                    ),
                    **({} if kind == "smaller" else {"value": f"do_{kind}"}),
                )
                for kind in BUTTONS
            }
        self.said = line("run-said")
        self.view = run_view()
        self.timer = gr.Timer(EVERY_S, active=False)
        self.digest = gr.State("")  # of what is shown: nothing is sent again that is there already
        self.asked_now = gr.State("")  # the run that was told to stop at once: only then it may be killed

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What `look` returns values for."""
        return [self.view, self.timer, self.digest, *self.buttons.values()]

    def focus(self, kept: Any, secret: Any) -> str:
        """The run that a visitor looks at: the one they looked at last, else the newest at work, else the newest."""
        rows = self.training.history(secret)
        ids = [row["id"] for row in rows]
        if kept in ids:
            return kept
        at_work = [row["id"] for row in rows if row["state"] in AT_WORK]
        return next(iter([*at_work, *ids]), "")

    def look(self, focus: Any, beside: Any, secret: Any, lang: str, digest: str = "", asked: Any = "") -> list[Any]:
        """Values of `outputs`; skips where nothing has changed."""
        wanted = [focus, *(beside if isinstance(beside, (list, tuple)) else [])][: 1 + MOST_BESIDE]
        found = []
        for number, run in enumerate(wanted):
            try:
                found.append(self.training.snapshot(run, secret) if run else None)
            except Refused:
                found.append(None)
            if not number and not found[0]:
                break
        shown = [snap for snap in found if snap]
        first = shown[0] if shown else {"actions": [], "state": ""}
        at_work = [snap for snap in shown if snap["state"] in AT_WORK]
        if not at_work:
            shown = [snap | {"load": {}} for snap in shown]  # of a machine that does something else
        now = _digest([shown, lang, asked])
        if now == digest:
            return [gr.skip()] * len(self.outputs)
        folders = [self.training.run(snap["id"], secret) for snap in shown]
        served = self.training.watched(folders[0]) if folders else None
        value = view_value(folders, shown, lang, served)
        return [value, gr.Timer(EVERY_S if at_work else IDLE_S, active=True), now, *self._visible(first, asked, lang)]

    def _visible(self, snap: dict[str, Any], asked: Any, lang: str) -> Iterable[Any]:
        may = set(snap["actions"])
        if snap["state"] != "queued" and snap["state"] not in AT_WORK:
            may -= {"stop", "stop_now", "kill"}
        if asked != snap.get("id"):
            may.discard("kill")
        batch = smaller_batch(snap)
        for kind in BUTTONS:
            if kind == "smaller":
                words = {"value": text(lang, "do_smaller", batch=batch)} if batch else {}
                yield gr.update(visible=bool(batch), **words)
            else:
                yield gr.update(visible=kind in may)

    def on_tick(self, focus: Any, beside: Any, secret: Any, lang: str, digest: Any, asked: Any) -> list[Any]:
        """What has changed in the last second."""
        try:
            return self.look(focus, beside, secret, lang, digest, asked)
        except Exception as error:  # a poll says nothing: the next one comes in a second
            trouble(error, lang)
            return [gr.skip()] * len(self.outputs)

    def on_action(self, action: str, focus: Any, secret: Any, lang: str, asked: Any) -> tuple[str, Any]:
        """Stop, stop now, kill or resume; returns what is said of it, and which run may be killed next."""
        try:
            self.training.run(focus, secret)
            if action == "kill" and asked != focus:
                raise Refused("kill_first")
            self.training.act(action, focus, secret)
        except Exception as error:
            return trouble(error, lang), asked
        return status(text(lang, f"did_{action}")), focus if action == "stop_now" else ""

    def plan_of(self, focus: Any, secret: Any) -> dict[str, Any]:
        """The plan of a run, as it was asked for.

        Raises:
            Refused: it was not made here.
        """
        kept = self.training.snapshot(focus, secret)["plan"]
        known = {name: value for name, value in kept.items() if name in FIELDS}
        if not known:
            raise Refused("no_plan")
        return Plan.from_dict(known).as_dict()

    def on_retry(self, focus: Any, secret: Any, lang: str) -> list[Any]:
        """Fill the form with a run's plan."""
        try:
            plan = self.plan_of(focus, secret)
        except Exception as error:
            return [*[gr.skip()] * len(NAMES), trouble(error, lang)]
        return [*(plan[name] for name in NAMES), status(text(lang, "did_retry"))]

    def on_smaller(self, focus: Any, secret: Any, lang: str) -> tuple[Any, str]:
        """The same once more with a smaller batch, at once; the new run comes into focus."""
        try:
            snap = self.training.snapshot(focus, secret)
            batch = smaller_batch(snap)
            if not batch:
                raise Refused("no_plan")
            plan = self.plan_of(focus, secret)
            plan |= {"batch": batch, "nbs": max(plan["nbs"], batch)}
            probe = self.training.run(focus, secret).path / "attention" / "probe.png"
            run = self.training.start(plan, secret, probe if probe.is_file() else None)
        except Exception as error:
            return gr.skip(), trouble(error, lang)
        return run.id, status(text(lang, "did_smaller", batch=batch))


def smaller_batch(snap: dict[str, Any]) -> int:
    """The batch that a run without enough memory should be tried with; 0 where that is not the trouble."""
    error = snap.get("error") or {}
    if error.get("kind") != "memory" or not snap.get("plan"):
        return 0
    batch = error.get("batch")
    if isinstance(batch, int) and not isinstance(batch, bool) and batch >= 1:
        return batch
    asked = snap["plan"].get("batch")
    return asked // 2 if isinstance(asked, int) and asked > 1 else 0


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
