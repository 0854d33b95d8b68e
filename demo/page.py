"""The page as a whole: header, tabs, language, launch."""

from __future__ import annotations

import sys
import time
from typing import Any

from demo import guards

guards.settle(guards.work_folder())  # before gradio and ultralytics are imported

import gradio as gr  # noqa: E402
from fastapi.routing import APIRoute  # noqa: E402

from demo.catalogue import ASSETS, installed_photo  # noqa: E402
from demo.inspect_tab import InspectTab  # noqa: E402
from demo.links import names_picture  # noqa: E402
from demo.messages import status  # noqa: E402
from demo.owners import is_secret, new_secret  # noqa: E402
from demo.quiet import quiet  # noqa: E402
from demo.service import Service, explorer_value  # noqa: E402
from demo.texts import LANGUAGES, language, text  # noqa: E402
from demo.theme import CSS, theme  # noqa: E402
from demo.train_service import Training  # noqa: E402
from demo.train_tab import STORED, TrainTab  # noqa: E402

# The person's choice, else the browser's language; and the link that brought them here.
LANGUAGE_JS = """() => {
  const kept = localStorage.getItem("halovis-language");
  const wanted = kept || (navigator.language.toLowerCase().startsWith("zh") ? "zh-CN" : "en");
  document.documentElement.lang = wanted;
  globalThis.haloPage?.controller.setLang(wanted);
  // A link that is pasted into an open page brings up its own.
  addEventListener("hashchange", () => { if (/[#&](picture|digest)=/.test(location.hash)) location.reload(); });
  return [wanted, location.hash.slice(1)];
}"""
SWITCH_JS = """(wanted) => {
  localStorage.setItem("halovis-language", wanted);
  document.documentElement.lang = wanted;
  globalThis.haloPage?.controller.setLang(wanted);
  return wanted;
}"""


def heading(lang: str) -> str:
    """Name and purpose of the page."""
    return f"<h1>HaloVis</h1><span>{text(lang, 'tagline')}</span>"


def first_value() -> dict[str, Any] | None:
    """The precomputed first picture: plain files, copied where Gradio may serve them from."""
    source = ASSETS / "first"
    if not (source / "meta.json").is_file():
        return None
    folder = guards.served_folder() / "first"
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*source.glob("*.bin"), installed_photo("bus")):
        target = folder / ("picture.jpg" if path.suffix == ".jpg" else path.name)
        target.write_bytes(path.read_bytes())
    meta = (source / "meta.json").read_text(encoding="utf-8")
    return explorer_value(folder, gr.FileData, meta) | {"first": True}


def build() -> tuple[gr.Blocks, Service]:
    """The page, not yet launched, and the service behind it."""
    service, training = Service(guards.served_folder()), Training(guards.served_folder())
    with gr.Blocks(title="HaloVis", fill_width=True, delete_cache=(3600, 7200)) as page:
        # First of all: Gradio describes every component again when it is told of its queue.
        page.queue(api_open=False, default_concurrency_limit=8, max_size=64)
        with gr.Row(elem_id="top"):
            tagline = gr.HTML(heading("en"), elem_classes="wide")
            # To be chosen once the page's first words are there: their answer would undo an earlier choice.
            lang = gr.Radio(
                [(name, code) for code, name in LANGUAGES.items()], value="en", show_label=False, container=False,
                label="Language / 语言", elem_id="language", elem_classes="side", interactive=False,
            )  # fmt: skip
            dark = gr.Button("◐", size="sm", elem_id="dark")
        secret = gr.BrowserState("", storage_key="halovis-owner", **STORED)
        with gr.Tabs(selected="inspect") as tabs:
            with gr.Tab(text("en", "inspect"), id="inspect") as tab:
                inspect_tab = InspectTab(service, lang, secret, first_value())
            with gr.Tab(text("en", "train"), id="train") as second:
                train_tab = TrainTab(training, lang, secret)
        train_tab.events(second, tab, tabs, inspect_tab)

        def relabel(wanted: str, kept: str, pair: str | None = None, member: str = "", preset: str = "") -> dict:
            """Every word of the page in the wanted language; `kept`: the visitor's secret."""
            own = {tagline: heading(wanted), tab: gr.update(label=text(wanted, "inspect"))}
            own[second] = gr.update(label=text(wanted, "train"))
            words = inspect_tab.relabel(wanted, pair, member, kept) | train_tab.relabel(wanted, kept, preset)
            return own | words

        def greet(wanted: str, fragment: str, kept: str) -> dict:
            """The words of a page that has just loaded.

            Not those that hang on the pair: a quick visitor may have chosen another before this answer arrives.
            """
            line = {} if names_picture(fragment) else {inspect_tab.status: status(text(wanted, "ready"))}
            return relabel(wanted, kept) | line | {lang: gr.update(interactive=True)}

        labelled = [tagline, tab, second, *inspect_tab.labelled, *train_tab.labelled]
        # Handlers take what was sent: Gradio's own checks would answer a raw request with a traceback in the log.
        light = quiet(inspect_tab.fragment, preprocess=False)
        arrival = [lang, inspect_tab.fragment]

        def arrive(wanted: Any, fragment: Any) -> tuple[str, str]:
            """The language and the link that the browser came with."""
            return language(wanted), fragment if isinstance(fragment, str) else ""

        page.load(arrive, arrival, arrival, js=LANGUAGE_JS, **light).then(
            greet, [*arrival, secret], [*labelled, inspect_tab.status, lang], **light
        ).then(inspect_tab.on_card, [inspect_tab.pair, lang, secret], [inspect_tab.card], **light)
        page.load(lambda kept: kept if is_secret(kept) else new_secret(), [secret], [secret], **light)
        page.load(service.warm, **light)
        chosen = [lang, secret, inspect_tab.pair, inspect_tab.member]
        switched = lang.input(relabel, [*chosen, *train_tab.presets], labelled, **light)
        train_tab.speaks(switched)
        lang.input(None, [lang], None, js=SWITCH_JS, **light)
        dark.click(None, js="() => { document.body.classList.toggle('dark') }", **light)
    page.training = training
    return page, service


def launch(host: str = "127.0.0.1", port: int | None = None, block: bool = True) -> tuple[gr.Blocks, str]:
    """Start the server; returns the page and its address.

    Args:
        host: address to listen on.
        port: None: the first free one from 7860.
        block: stay until the server ends.
    """
    started = time.time()
    page, service = build()
    page.training.wake()

    def health() -> dict[str, Any]:
        """Whether the page is up, a pair is in memory, and the models have been run."""
        up = round(time.time() - started, 1)
        return {"status": "ok", "models": service.ready(), "warm": service.warmed(), "seconds": up}

    _, url, _ = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        theme=theme(),
        css=CSS,
        max_file_size=guards.max_upload_bytes(),
        run_history=False,
        ssr_mode=False,
        footer_links=["api"],
        app_kwargs={"routes": [APIRoute("/healthz", health)]},  # before Gradio's own catch-all
    )
    sys.stdout.flush()  # the address, to whoever reads it from a file
    if block:
        page.block_thread()
    return page, url
