"""The Inspect tab: choose a picture and a pair, run, explore."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from demo import guards, owners
from demo.catalogue import (
    COCO,
    OWN,
    RUN,
    Allowed,
    Example,
    all_members,
    card_text,
    default_imgsz,
    examples,
    halo_members,
)
from demo.choices import (
    beside_choices,
    beside_update,
    device_choices,
    member_choices,
    member_update,
    pair_choices,
    size_choices,
    size_update,
)
from demo.explorer import explorer
from demo.links import names_picture, read_link
from demo.messages import problem, status
from demo.quiet import quiet
from demo.service import Service
from demo.takeaway import TakeAway
from demo.texts import text
from demo.turns import Turns

HEADS = ("one-to-many", "NMS-free")
# The page says by itself that it is busy: to hear that from the server would come first and hold up the result.
ASKED = "(...given) => { globalThis.haloPage?.running(1); return given; }"
ANSWERED = "() => { globalThis.haloPage?.running(-1); }"


def nobodys(run: str) -> bool:
    """No run: what every visitor gets with the page, before it is known who they are."""
    return False


class InspectTab:
    """Components and handlers. Built inside a Blocks context."""

    ABOUT_PAIR = 4  # components in `about_pair`

    def __init__(
        self,
        service: Service,
        lang: gr.components.Component,
        secret: gr.components.Component,
        first: dict[str, Any] | None,
    ) -> None:
        """`secret`: what the visitor's browser keeps, which says whose runs may be looked at."""
        self.service, self.lang, self.secret, self.turns = service, lang, secret, Turns()
        self.examples: list[Example] = examples()
        self.labels: list[tuple[gr.components.Component, dict[str, str]]] = []
        self._layout(first)
        self._events()

    def _label(self, component: gr.components.Component, **keys: str) -> gr.components.Component:
        """Remember which texts a component shows, so that a change of language reaches it."""
        self.labels.append((component, keys))
        return component

    def _layout(self, first: dict[str, Any] | None) -> None:
        t = lambda key: text("en", key)  # noqa: E731 - the page is built in English and relabelled when it loads
        with gr.Row(elem_id="body"):
            with gr.Column(scale=1, min_width=270, elem_id="controls"):
                self.picture = self._label(
                    gr.Image(
                        type="filepath",
                        image_mode=None,
                        sources=["upload", "clipboard", "webcam"],
                        height=190,
                        label=t("picture"),
                        elem_id="picture",
                        webcam_options=gr.WebcamOptions(mirror=False),
                    ),
                    label="picture",
                )
                self.gallery = self._label(
                    gr.Gallery(
                        [str(e.preview) for e in self.examples],
                        columns=3,
                        rows=2,
                        height=212,
                        show_label=False,
                        allow_preview=False,
                        interactive=False,
                        label=t("examples"),
                        elem_id="examples",
                        object_fit="cover",
                        buttons=[],
                    ),
                    label="examples",
                )
                first_pair = self.examples[0].pair if self.examples else COCO[0]
                self.pair = self._label(
                    gr.Dropdown(pair_choices("en", nobodys), value=first_pair, label=t("pair"), elem_id="pair"),
                    label="pair",
                )
                self.member = self._label(
                    gr.Radio(
                        [(t("member_halo"), "halo")], value="halo", visible=False, label=t("member"), elem_id="member"
                    ),
                    label="member",
                )
                self.beside = self._label(
                    gr.Dropdown(
                        beside_choices(first_pair, halo_members(first_pair)[0], "en"),
                        value="",
                        label=t("beside"),
                        elem_id="beside",
                    ),
                    label="beside",
                )
                self.run = self._label(gr.Button(t("run"), variant="primary", elem_id="run"), value="run")
                self.conf = self._label(
                    gr.Slider(0.01, 0.95, 0.25, step=0.01, label=t("conf"), elem_id="conf"), label="conf"
                )
                self.imgsz = self._label(
                    gr.Dropdown(
                        size_choices(first_pair),
                        value=default_imgsz(first_pair),
                        label=t("imgsz"),
                        info=t("imgsz_info"),
                        elem_id="imgsz",
                    ),
                    label="imgsz",
                    info="imgsz_info",
                )
                with gr.Accordion(t("more"), open=False) as more:
                    self._label(more, label="more")
                    self.head = self._label(
                        gr.Radio(
                            ["one-to-many", "NMS-free"], value="one-to-many", label=t("head"), info=t("head_info")
                        ),
                        label="head",
                        info="head_info",
                    )
                    self.iou = self._label(gr.Slider(0.1, 0.95, 0.7, step=0.05, label=t("iou")), label="iou")
                    self.device = self._label(
                        gr.Dropdown(device_choices("en"), value="auto", label=t("device")), label="device"
                    )
                    self.fetch = self._label(gr.Checkbox(False, label=t("fetch"), elem_id="fetch"), label="fetch")
                    kinds = [".safetensors"] if guards.hosted() else [".safetensors", ".pt"]
                    with gr.Group(elem_id="own"):
                        self.own_baseline = self._label(
                            gr.File(file_types=kinds, type="filepath", label=t("own_baseline"), height=130),
                            label="own_baseline",
                        )
                        self.own_halo = self._label(
                            gr.File(file_types=kinds, type="filepath", label=t("own_halo"), height=130),
                            label="own_halo",
                        )
                        self.own_beside = self._label(
                            gr.File(file_types=kinds, type="filepath", label=t("own_beside"), height=130),
                            label="own_beside",
                        )
                with gr.Accordion(t("card"), open=False) as about:
                    self._label(about, label="card")
                    self.card = gr.Markdown(card_text(first_pair, "en"), elem_id="card")
            with gr.Column(scale=5, min_width=320, elem_id="stage"):
                self.explorer = explorer(first)
                self.status = gr.HTML(status(t("ready")), elem_id="status")
                self.takeaway = TakeAway(self.service, self._label)
        self.seen = gr.State(None, time_to_live=1800)
        self.fragment = gr.Textbox(visible=False)  # what stands after the # of the page's address
        with gr.Row(visible=False):
            self.api_json, self.api_overlay, self.api_files = (
                gr.JSON(),
                gr.Image(type="filepath"),
                gr.File(file_count="multiple"),
            )
            self.api_button = gr.Button("inspect")

    @property
    def settings(self) -> list[gr.components.Component]:
        """The components that decide how a picture is inspected, in the order of `_request`."""
        return [self.pair, self.member, self.beside, self.conf, self.imgsz, self.head, self.iou, self.device]

    @property
    def about_pair(self) -> list[gr.components.Component]:
        """The components that hang on the pair, in the order of `about`."""
        return [self.member, self.imgsz, self.card, self.beside]

    def _events(self) -> None:
        # "multiple": who asks anew need not wait for what they asked before; see Turns for which result is shown.
        light = quiet(self.fragment, trigger_mode="multiple")
        heavy = {**light, "concurrency_id": "inspect", "concurrency_limit": 4}
        # Gradio would open the picture itself, and end in a traceback where it is none: handlers take what was sent.
        raw = {"preprocess": False}
        own = [self.own_baseline, self.own_halo, self.own_beside]
        inputs = [self.picture, *self.settings, self.fetch, *own, self.lang, self.secret]
        outputs = [self.explorer, self.status, self.seen]

        def runs(event: Callable) -> None:
            """Both models are run after an event."""
            event(self.on_run, inputs, outputs, js=ASKED, **heavy, **raw).then(None, js=ANSWERED, **light)

        runs(self.run.click)
        about_pair = self.about_pair
        chosen = [self.picture, self.pair, *about_pair]
        runs(self.gallery.select(self.on_example, [self.lang, self.secret], chosen, **light, **raw).success)
        # The Fine-tune tab fills picture and pair in; the run follows as from a click.
        self.runs_from = lambda event: runs(event.success)
        # Not preprocessed: Gradio knows only the pairs that were there when the page was built, not the later runs.
        self.pair.input(self.on_pair, [self.pair, self.lang, self.secret], about_pair, **light, **raw)
        self.member.input(
            self.on_member, [self.pair, self.member, self.lang, self.secret], [self.beside], **light, **raw
        )
        # A link fills the controls in and runs like a person's click; without one nothing is left to do.
        self.follow = self.fragment.change(
            self.on_link,
            [self.fragment, self.lang, self.secret],
            [
                self.picture,
                self.pair,
                *about_pair,
                self.conf,
                self.head,
                self.iou,
                self.explorer,
                self.status,
                self.seen,
            ],
            **heavy,
            **raw,
        )
        self.takeaway.events(self.seen, self.lang, self.status, self._first, **heavy, **raw)
        self.api_button.click(
            self.on_api,
            [self.picture, self.pair, self.member, self.conf, self.imgsz, self.head],
            [self.api_json, self.api_overlay, self.api_files],
            api_name="inspect",
            api_description="Both models on one picture: detections and matches, one attention map, all files.",
            concurrency_id="inspect",
            concurrency_limit=4,
            **raw,
        )

    @property
    def labelled(self) -> list[gr.components.Component]:
        """The components that a change of language reaches."""
        return [*(component for component, _ in self.labels), self.card]

    def relabel(
        self, lang: str, pair: str | None = None, member: str = "", secret: Any = ""
    ) -> dict[gr.components.Component, Any]:
        """Their words in a language; what is chosen stays chosen. Without a pair, words that hang on it are left."""
        allowed = owners.allowed(secret)
        updates: dict[gr.components.Component, dict[str, Any]] = {
            component: {k: text(lang, key) for k, key in keys.items()} for component, keys in self.labels
        }
        updates[self.pair]["choices"] = pair_choices(lang, allowed)
        updates[self.head]["choices"] = [(text(lang, head), head) for head in HEADS]
        updates[self.device]["choices"] = device_choices(lang)
        if isinstance(pair, str):
            updates[self.member]["choices"] = member_choices(pair, lang)
            updates[self.beside]["choices"] = beside_choices(pair, member, lang, allowed)
            updates[self.card] = {"value": card_text(pair, lang, allowed)}
        return {component: gr.update(**update) for component, update in updates.items()}

    @staticmethod
    def about(pair: str, lang: str, allowed: Allowed = None) -> tuple:
        """What hangs on a pair: its members, its image size, its card, what can be shown beside it."""
        beside = beside_update(pair, halo_members(pair)[0], lang, allowed)
        return member_update(pair, lang), size_update(pair), card_text(pair, lang, allowed), beside

    @staticmethod
    def pair_update(lang: str, allowed: Allowed = None) -> dict[str, Any]:
        """The list of pairs, with the runs that have finished meanwhile."""
        return gr.update(choices=pair_choices(lang, allowed))

    def on_pair(self, pair: Any, lang: str, secret: Any) -> tuple:
        """Another pair was chosen."""
        allowed = owners.allowed(secret)
        if not isinstance(pair, str) or not _may_look(pair, allowed):
            return (gr.skip(),) * self.ABOUT_PAIR
        return self.about(pair, lang, allowed)

    def on_card(self, pair: Any, lang: str, secret: Any) -> Any:
        """The card of the pair that is chosen, in another language."""
        return self.on_pair(pair, lang, secret)[2]

    def on_member(self, pair: Any, member: Any, lang: str, secret: Any) -> Any:
        """Another halo model of the pair was chosen: it is not offered beside itself."""
        if not isinstance(pair, str) or not isinstance(member, str):
            return gr.skip()
        return beside_update(pair, member, lang, owners.allowed(secret))

    def on_example(self, event: gr.SelectData, lang: str, secret: Any, visitor: gr.Request) -> tuple:
        """An example brings its picture and the pair that suits it."""
        self.turns.take(visitor.session_hash)
        example = self.examples[event.index]
        return (
            str(example.path(self.service.examples)),
            example.pair,
            *self.about(example.pair, lang, owners.allowed(secret)),
        )

    def on_link(self, fragment: str, lang: str, secret: Any, visitor: gr.Request) -> Iterator[tuple]:
        """Rebuild what a link shows: its picture, its models, its view."""
        controls = 9  # of the outputs; explorer, status and result follow
        nothing = (gr.skip(),) * controls
        if not names_picture(fragment or ""):
            yield (gr.skip(),) * (controls + 3)  # no turn: a quick visitor may already wait for something else
            return
        still_wanted = self.turns.take(visitor.session_hash)
        try:
            allowed = owners.allowed(secret)
            link = read_link(fragment, allowed)
            example = next((e for e in self.examples if link.picture.rsplit(".", 1)[0] == e.name), None)
            path = self.service.linked(link.digest, link.picture)
            if path is None and example is not None:
                path = example.path(self.service.examples)
                if link.digest and link.digest != self.service.digest(path):
                    path = None  # another picture of the same name was meant
            if path is None:
                raise guards.Refused("link_gone")
            member, size, card, _ = self.about(link.pair, lang, allowed)
            member, size = member | {"value": link.member}, size | {"value": link.imgsz}
            beside = beside_update(link.pair, link.member, lang, allowed) | {"value": link.beside}
            yield (
                str(path), link.pair, member, size, card, beside, link.conf, link.head, link.iou,
                gr.skip(), status(text(lang, "running" if self.service.ready() else "loading")), gr.skip(),
            )  # fmt: skip
            seen = self.service.inspect(
                self._request(link.pair, link.member, False, None, None, allowed),
                path,
                link.picture or "picture",
                self._settings(link.conf, link.imgsz, link.head, link.iou, "auto"),
                self._beside(link.beside, None, None, allowed),
            )
            result = self.service.publish(seen, link.view), status(self._done(seen, lang)), seen
        except Exception as error:
            result = gr.skip(), problem(error, lang), gr.skip()
        yield (*nothing, *(result if still_wanted() else (gr.skip(),) * 3))

    def on_run(
        self,
        picture: guards.Sent,
        pair: str,
        member: str,
        beside: str,
        conf: float,
        imgsz: int,
        head: str,
        iou: float,
        device: str,
        fetch: bool,
        own_baseline: guards.Sent,
        own_halo: guards.Sent,
        own_beside: guards.Sent,
        lang: str,
        secret: Any,
        visitor: gr.Request,
    ) -> Iterator[tuple]:
        """Run both models; shows the result or the reason why there is none."""
        still_wanted = self.turns.take(visitor.session_hash)
        try:
            path, allowed = guards.uploaded(picture), owners.allowed(secret)
            if not self.service.ready():
                yield gr.skip(), status(text(lang, "loading")), gr.skip()
            seen = self.service.inspect(
                self._request(pair, member, fetch, own_baseline, own_halo, allowed),
                path,
                guards.sent_name(picture),
                self._settings(conf, imgsz, head, iou, device),
                self._beside(beside, own_baseline, own_beside, allowed),
            )
            result = self.service.publish(seen), status(self._done(seen, lang)), seen
        except Exception as error:
            result = gr.skip(), problem(error, lang), gr.skip()
        yield result if still_wanted() else (gr.skip(),) * 3

    def _first(self) -> Any:
        """The inspection of the picture that the page starts with, made when a file of it is asked for."""
        example = self.examples[0]
        path = example.path(self.service.examples)
        request = self._request(example.pair, halo_members(example.pair)[0], False, None, None)
        return self.service.inspect(request, path, path.name, {})

    def on_api(self, picture: guards.Sent, pair: str, member: str, conf: float, imgsz: int, head: str) -> tuple:
        """The /inspect endpoint."""
        try:
            path = guards.uploaded(picture)
            settings = self._settings(conf, imgsz, head, 0.7, "auto")
            seen = self.service.inspect(
                self._request(pair, member, False, None, None, owners.allowed("")),
                path,
                guards.sent_name(picture),
                settings,
            )
            files = self.service.write(seen)
        except Exception as error:
            message = text("en", str(error)) if isinstance(error, guards.Refused) else str(error)
            raise gr.Error(html.escape(message), print_exception=False) from None
        found = json.loads(next(f for f in files if f.name == "detections.json").read_text(encoding="utf-8"))
        overlays = [f for f in files if f.name.startswith("attention_")] or [f for f in files if f.suffix == ".png"]
        return found, str(overlays[len(overlays) // 2]), [str(f) for f in files]

    def _request(
        self,
        pair: Any,
        member: Any,
        fetch: bool,
        own_baseline: guards.Sent,
        own_halo: guards.Sent,
        allowed: Allowed = None,
    ) -> dict:
        """Arguments of Service.pair; refuses a run that the visitor may not see."""
        if not isinstance(pair, str) or not _may_look(pair, allowed):
            raise guards.Refused("run_gone")
        if pair != OWN:
            return {"name": pair, "member": member or "halo", "fetch": bool(fetch)}
        if not own_baseline:
            raise guards.Refused("own_missing")
        files = [str(guards.uploaded(f)) if f else None for f in (own_baseline, own_halo)]
        if guards.hosted() and any(f and not f.endswith(".safetensors") for f in files):
            raise guards.Refused("pt_hosted")
        return {"name": OWN, "member": "halo", "own": tuple(files)}

    def _beside(
        self, beside: Any, own_baseline: guards.Sent, own_beside: guards.Sent, allowed: Allowed = None
    ) -> dict | None:
        """Arguments of Service.pair for the model that is shown beside the chosen one."""
        if beside == OWN:
            if not own_beside:
                raise guards.Refused("own_beside_missing")
            return self._request(OWN, "", False, own_baseline, own_beside)
        if not beside:
            return None
        if beside not in all_members(allowed):
            raise guards.Refused("link_pair")
        pair, _, member = beside.partition("/")
        return self._request(pair, member, False, None, None, allowed)

    @staticmethod
    def _settings(conf: float, imgsz: int, head: str, iou: float, device: str) -> dict[str, Any]:
        """Arguments of halo_vis.inspect."""
        device = None if device in (None, "auto") else device
        return {"conf": float(conf), "imgsz": int(imgsz), "head": head, "iou": float(iou), "device": device}

    @staticmethod
    def _done(seen: Any, lang: str) -> str:
        """One line that sums the result up."""
        return text(
            lang,
            "done",
            name=seen.picture.name,
            baseline=len(seen.baseline),
            halo=len(seen.halo),
            baseline_ms=round(seen.milliseconds["baseline"]),
            halo_ms=round(seen.milliseconds["halo"]),
            device=seen.settings.device,
            imgsz=seen.settings.imgsz,
        )


def _may_look(pair: str, allowed: Allowed) -> bool:
    """Whether a visitor may look at a pair: a run's is for who may see the run."""
    return not pair.startswith(RUN) or allowed is None or allowed(pair.removeprefix(RUN))
