"""The page as a whole: header, tabs, language, launch."""

from __future__ import annotations

import time
from typing import Any

from demo import guards

guards.settle(guards.work_folder())  # before gradio and ultralytics are imported

import gradio as gr  # noqa: E402
from fastapi.routing import APIRoute  # noqa: E402

from demo.catalogue import ASSETS, card_text, installed_photo  # noqa: E402
from demo.inspect_tab import InspectTab  # noqa: E402
from demo.links import names_picture  # noqa: E402
from demo.messages import status  # noqa: E402
from demo.service import Service, explorer_value  # noqa: E402
from demo.texts import LANGUAGES, text  # noqa: E402
from demo.theme import CSS, theme  # noqa: E402

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
    for path in (source / "meta.json", *source.glob("*.bin"), installed_photo("bus")):
        target = folder / ("picture.jpg" if path.suffix == ".jpg" else path.name)
        target.write_bytes(path.read_bytes())
    return explorer_value(folder, gr.FileData) | {"first": True}


def build() -> tuple[gr.Blocks, Service]:
    """The page, not yet launched, and the service behind it."""
    service = Service(guards.served_folder())
    with gr.Blocks(title="HaloVis", fill_width=True, delete_cache=(3600, 7200)) as page:
        with gr.Row(elem_id="top"):
            tagline = gr.HTML(heading("en"), elem_classes="wide")
            lang = gr.Radio(
                [(name, code) for code, name in LANGUAGES.items()], value="en", show_label=False, container=False,
                label="Language / 语言", elem_id="language", elem_classes="side", interactive=True,
            )  # fmt: skip
            dark = gr.Button("◐", size="sm", elem_id="dark")
        with gr.Tabs(), gr.Tab(text("en", "inspect")) as tab:
            inspect_tab = InspectTab(service, lang, first_value())

        def relabel(wanted: str, pair: str | None = None, member: str = "") -> dict:
            """Every word of the page in the wanted language."""
            own = {tagline: heading(wanted), tab: gr.update(label=text(wanted, "inspect"))}
            return own | inspect_tab.relabel(wanted, pair, member)

        def greet(wanted: str, fragment: str) -> dict:
            """The words of a page that has just loaded.

            Not those that hang on the pair: a quick visitor may have chosen another before this answer arrives.
            """
            line = {} if names_picture(fragment) else {inspect_tab.status: status(text(wanted, "ready"))}
            return relabel(wanted) | line

        labelled = [tagline, tab, *inspect_tab.labelled]
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        arrival = [lang, inspect_tab.fragment]
        page.load(lambda *arrived: arrived, arrival, arrival, js=LANGUAGE_JS, **quiet).then(
            greet, arrival, [*labelled, inspect_tab.status], **quiet
        ).then(card_text, [inspect_tab.pair, lang], [inspect_tab.card], **quiet)
        page.load(service.warm, **quiet)
        lang.input(relabel, [lang, inspect_tab.pair, inspect_tab.member], labelled, **quiet)
        lang.input(None, [lang], None, js=SWITCH_JS, **quiet)
        dark.click(None, js="() => { document.body.classList.toggle('dark') }", **quiet)
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
    page.queue(api_open=False, default_concurrency_limit=8, max_size=64)
    health = APIRoute(
        "/healthz", lambda: {"status": "ok", "models": service.ready(), "seconds": round(time.time() - started, 1)}
    )
    _, url, _ = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        theme=theme(),
        css=CSS,
        max_file_size=guards.MAX_UPLOAD_BYTES,
        run_history=False,
        ssr_mode=False,
        footer_links=["api"],
        app_kwargs={"routes": [health]},  # before Gradio's own catch-all
    )
    if block:
        page.block_thread()
    return page, url
