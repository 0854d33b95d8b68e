"""The app in a real browser: from Run to a picture that can be explored, and from the process's start to its page."""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from halo_vis.bench.app_server import Server, app, peer
from halo_vis.bench.browser import chromium, settle
from halo_vis.bench.report import Figure
from halo_vis.inspection import Inspection
from halo_vis.viewer import payload

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WINDOW = {"width": 1440, "height": 900}
CLICK = "Run pressed to explorable picture, in Chromium"
START = "Start of the process to usable page, in Chromium"
FIRST = "First inspection after the start, in Chromium"
# The targets.
CLICK_SHARE, PEER_SHARE, START_SHARE = 1.0, 1.2, 1.2
PATIENCE_MS = 180_000
# Gradio draws its footer with the rest of a page, on an empty one too.
USABLE = "document.readyState === 'complete' && document.querySelector('footer')"
EXPLORABLE = "window.haloExplorer && window.haloExplorer.ready"
# The clock stands in the page: from the click that reaches the button to the event that the picture is drawn. The
# page is not asked meanwhile: to look in every frame would take the processor from what is measured.
CLOCK = """
const pressed = (event) => { if (event.target.closest?.("#run")) globalThis.benchBegan = performance.now(); };
addEventListener("click", pressed, true);
globalThis.benchNext = (patience) => {
  const said = () => document.querySelector("#status [data-kind=error]");
  const before = said(); // of an earlier press
  globalThis.benchTook = new Promise((resolve) => {
    const end = (took) => {
      observer.disconnect();
      removeEventListener("halo-ready", shown);
      clearTimeout(late);
      resolve(took);
    };
    const shown = () => end(performance.now() - globalThis.benchBegan);
    const observer = new MutationObserver(() => { if (said() && said() !== before) end(null); });
    const late = setTimeout(end, patience, null);
    addEventListener("halo-ready", shown);
    observer.observe(document.body, { childList: true, subtree: true });
  });
};
"""


def click_figures(
    clicks: int, pictures: list[Path], seen: Inspection, bare: Callable[[Path], float], say: Callable[[str], None]
) -> list[Figure]:
    """The click in the app, the same amount of data in a bare gr.HTML, and two bare predicts, in turns.

    Args:
        clicks: counted ones of each; one of each before them is not.
        seen: an inspection whose payload the bare page shows.
        bare: milliseconds of both models' bare predicts of a picture.
    """
    took: dict[str, list[float]] = {"app": [], "peer": [], "bare": []}
    with tempfile.TemporaryDirectory(prefix="halo-vis-bench-") as folder:
        write_peer_files(Path(folder), seen, pictures[0])
        with app() as ours, peer("html", Path(folder)) as theirs, chromium() as browser:
            page, other = _open(browser, ours, EXPLORABLE), _open(browser, theirs, USABLE)
            settle(browser)
            for n in range(clicks + 1):
                say(f"click {n} of {clicks}")
                picture = pictures[n % len(pictures)]
                values = {"bare": bare(picture), "app": _run(page, picture), "peer": _press(other)}
                if n:
                    for name, value in values.items():
                        took[name].append(value)
    app_ms, peer_ms, bare_ms = (statistics.median(took[name]) for name in ("app", "peer", "bare"))
    share = app_ms / (bare_ms + PEER_SHARE * peer_ms)
    return [
        Figure(CLICK, "the app", app_ms, "ms"),
        Figure(CLICK, "two bare predicts", bare_ms, "ms"),
        Figure(CLICK, "a bare gr.HTML with a payload of the same size", peer_ms, "ms"),
        Figure(CLICK, f"app / (bare predicts + {PEER_SHARE} x bare gr.HTML)", share, "", CLICK_SHARE),
    ]


def write_peer_files(folder: Path, seen: Inspection, picture: Path) -> None:
    """The explorer's files, for a page that does no more than show them."""
    meta, binaries = payload(seen)
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    (folder / "tensors.bin").write_bytes(binaries["tensors"])
    (folder / f"picture{picture.suffix}").write_bytes(picture.read_bytes())


def start_figures(starts: int, say: Callable[[str], None]) -> list[Figure]:
    """The app against an empty page of Gradio's, each started as a process, in turns."""
    took: dict[str, list[float]] = {"app": [], "empty": [], "explorable": []}
    with chromium() as browser:
        with peer("empty") as first:  # the browser's own first page, and Gradio's files on disk
            _open(browser, first, USABLE).context.close()
        settle(browser)
        for n in range(starts):
            say(f"start {n + 1} of {starts}")
            for name in ("app", "empty") if n % 2 == 0 else ("empty", "app"):
                with app() if name == "app" else peer("empty") as server:
                    page = _open(browser, server, USABLE)
                    took[name].append(time.monotonic() - server.began)
                    if name == "app":
                        page.wait_for_function(EXPLORABLE)
                        took["explorable"].append(time.monotonic() - server.began)
                    page.context.close()
    ours, empty, explorable = (statistics.median(took[name]) for name in ("app", "empty", "explorable"))
    return [
        Figure(START, "the app", ours, "s"),
        Figure(START, "the app, its first picture explorable", explorable, "s"),
        Figure(START, "an empty Gradio page", empty, "s"),
        Figure(START, "app / empty page", ours / empty, "", START_SHARE),
    ]


def first_figures(later: int, pictures: list[Path], say: Callable[[str], None]) -> list[Figure]:
    """A visitor who presses Run at once, and one who looks at the first picture until the models are warm.

    The health route is asked all the while: what takes long there has stopped the server for everybody.

    Args:
        later: inspections that the first one is compared with.
    """
    took, waited = {}, []
    with chromium() as browser:
        for patient in (False, True):
            say(f"first inspection, {'after the models are warm' if patient else 'at once'}")
            with app() as server:
                page = _open(browser, server, EXPLORABLE)
                with _Health(server) as health:
                    if patient:
                        health.until_warm()
                    took[patient] = _run(page, pictures[0])
                    health.until_warm()
                waited += health.waited
                if patient:
                    rest = [_run(page, pictures[n % len(pictures)]) for n in range(1, later + 1)]
                page.context.close()
    usual = statistics.median(rest)
    return [
        Figure(FIRST, "pressed at once", took[False], "ms"),
        Figure(FIRST, "pressed when the models are warm", took[True], "ms"),
        Figure(FIRST, "a later one", usual, "ms"),
        Figure(FIRST, "first with warm models / a later one", took[True] / usual, ""),
        Figure(FIRST, "longest answer of /healthz meanwhile", max(waited), "ms"),
        Figure(FIRST, "answers of /healthz meanwhile", len(waited), ""),
    ]


class _Health:
    """Asks /healthz again and again from a thread of its own."""

    PAUSE_S = 0.02

    def __init__(self, server: Server) -> None:
        self.server, self.waited = server, []
        self._warm, self._stop = threading.Event(), threading.Event()

    def __enter__(self) -> _Health:
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            began = time.perf_counter()
            body = self.server.health()
            self.waited.append((time.perf_counter() - began) * 1000)
            if body["warm"]:
                self._warm.set()
            self._stop.wait(self.PAUSE_S)

    def until_warm(self) -> None:
        """Return once the models have been run.

        Raises:
            RuntimeError: they never were.
        """
        if not self._warm.wait(PATIENCE_MS / 1000):
            raise RuntimeError(f"the models never became warm: {self.server.log.read_text(errors='replace')[-1500:]}")


def _open(browser: Browser, server: Server, until: str) -> Page:
    """A visitor with nothing in the browser's cache."""
    page = browser.new_context(viewport=WINDOW, locale="en-GB").new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.add_init_script(CLOCK)
    page.goto(server.url, wait_until="domcontentloaded")
    page.wait_for_function(until)
    return page


def _run(page: Page, picture: Path) -> float:
    """Bring a picture, press Run; milliseconds until it can be explored."""
    remove = page.locator("#picture button[aria-label*='remove' i], #picture button[aria-label*='clear' i]")
    if remove.count():
        remove.first.click()
    with page.expect_response(lambda answer: "/upload" in answer.url):
        page.set_input_files("#picture input[type=file]", str(picture))
    page.wait_for_function("document.querySelector('#picture img')?.complete")
    took = _press(page)
    shown = page.evaluate("document.querySelector('#status').innerText")
    if picture.name not in shown:
        raise RuntimeError(f"the page did not show {picture.name}; it said: {shown}")
    return took


def _press(page: Page) -> float:
    """Press Run; milliseconds from the click to the event that the result is drawn."""
    page.evaluate("(patience) => benchNext(patience)", PATIENCE_MS)
    page.click("#run")
    took = page.evaluate("benchTook")
    if took is None:
        raise RuntimeError(f"the page gave no result; it said: {page.inner_text('#status')}")
    return took


def payload_size(seen: Inspection, photo: Path) -> str:
    """What a click brings to the browser, in words."""
    meta, binaries = payload(seen)
    sizes = {"tensors": len(binaries["tensors"]), "meta": len(json.dumps(meta)), "photo": photo.stat().st_size}
    with Image.open(photo) as image:
        width, height = image.size
    return ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in sizes.items()) + f" ({width} x {height})"
