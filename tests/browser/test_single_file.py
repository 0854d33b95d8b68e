"""The explorer as one file, opened from disk in a browser without a network: it behaves as on the page."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Frame, Page, expect
from samples import HOSTILE, hostile, picture, random_model

from halo_vis import Inspection, inspect, single, table
from halo_vis.maps import LevelTrace
from halo_vis.pairs import Card, Pair
from halo_vis.view import View

HALO = "canvas[data-side=halo]"
LONGEST_MS = 60_000


def until(page: Page | Frame, condition: str) -> None:
    """Wait for a condition in the page, at every frame of it, for as long as a slow machine may need."""
    page.evaluate(f"""async () => {{
      const end = performance.now() + {LONGEST_MS};
      while (!({condition})) {{
        if (performance.now() > end) throw new Error('not within {LONGEST_MS} ms');
        await new Promise((next) => requestAnimationFrame(next));
      }}
    }}""")


class Reader:
    """Someone who opens files without a network, and what went wrong for them."""

    def __init__(self, browser: Browser, **options: object) -> None:
        defaults = {"offline": True, "viewport": {"width": 1280, "height": 900}, "locale": "en-GB"}
        self.context = browser.new_context(**defaults | options)
        self.problems: list[str] = []

    def open(self, path: Path, fragment: str = "") -> Page:
        page = self.context.new_page()
        address = path.as_uri()
        page.on("request", lambda r: self._request(r.url, address))
        page.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.problems.append(f"page error: {e}"))
        page.on("dialog", lambda d: self.problems.append(f"a script ran: {d.message}"))
        page.goto(address + fragment)
        until(page, "window.haloExplorer?.ready")
        return page

    def _request(self, url: str, address: str) -> None:
        if url.split("#")[0] != address and not url.startswith(("data:", "blob:")):
            self.problems.append(f"request: {url}")


@pytest.fixture
def reader(browser: Browser) -> Iterator[Reader]:
    """At the end nothing may have gone wrong."""
    reader = Reader(browser)
    yield reader
    reader.context.close()
    assert reader.problems == []


@pytest.fixture(scope="module")
def seen() -> Inspection:
    card = Card("own", "Random models", 160, members={"baseline": {"sha256": "b" * 64}, "halo": {"sha256": "h" * 64}})
    pair = Pair(card, random_model("baseline"), random_model("residual"))
    return inspect(pair, picture(90, 120), conf=0.35, device="cpu")


@pytest.fixture(scope="module")
def file(seen: Inspection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seen.explore(control=True).save(tmp_path_factory.mktemp("file") / "explorer #1 %20 图.html")


def state(page: Page) -> dict:
    return page.evaluate("window.haloExplorer.state()")


def shot(page: Page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.locator(HALO).screenshot())).convert("RGB")).astype(int)


def test_rows_equal_pythons(reader: Reader, file: Path, seen: Inspection) -> None:
    """Every cell of P5, some of the others; weights, contributions, single heads; to 1e-5."""
    page = reader.open(file)
    for name in seen.trace:
        level: LevelTrace = seen.trace[name]
        step = 1 if name == "P5" else 5
        cells = [(y, x) for y in range(0, level.grid.height, step) for x in range(0, level.grid.width, step)]
        for head, of in ((None, "weight"), (None, "contribution"), (0, "weight"), (level.heads - 1, "contribution")):
            got = page.evaluate(
                "([level, cells, head, of]) => cells.map(([y, x]) => [...haloExplorer.row(level, y, x, head, of)])",
                [name, cells, -1 if head is None else head, of],
            )
            expected = [level.row(y, x, head, of).ravel() for y, x in cells]
            assert np.abs(np.array(got) - np.array(expected)).max() < 1e-5


def test_pointer_and_keys(reader: Reader, file: Path, seen: Inspection) -> None:
    page = reader.open(file)
    box = page.locator(HALO).bounding_box()
    pictures = []
    for x, y in ((30, 25), (90, 70)):  # photo pixels
        page.mouse.move(box["x"] + x / 120 * box["width"], box["y"] + y / 90 * box["height"])
        until(page, f"(([x, y]) => Math.hypot(x - {x}, y - {y}) < 1)(haloExplorer.state().photo)")
        now = state(page)
        level = seen.trace[now["level"]]
        assert (now["y"], now["x"]) == level.letterbox.cell_at(y, x, level.stride) and not now["pinned"]
        pictures.append(shot(page))
    assert np.abs(pictures[0] - pictures[1]).max() > 60
    page.evaluate("haloExplorer.select('P4', 3, 4)")
    assert (state(page)["level"], state(page)["y"], state(page)["x"]) == ("P4", 3, 4)
    page.locator(HALO).focus()
    page.keyboard.press("ArrowRight")
    assert (state(page)["y"], state(page)["x"]) == (3, 5)
    page.keyboard.press("Escape")
    assert not state(page)["pinned"]


def test_a_box_leads_to_its_query(reader: Reader, file: Path, seen: Inspection) -> None:
    page = reader.open(file)
    page.locator("[data-part=rows] tr[data-kind=gained]").first.click()
    box = state(page)["box"]
    assert box["side"] == "halo"
    level, y, x = seen.halo.queries[box["index"]]
    assert (state(page)["level"], state(page)["y"], state(page)["x"]) == (level, y, x)


class Counter(BaseHTTPRequestHandler):
    """Counts whoever asks for anything."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def test_the_policy_holds(browser: Browser, file: Path) -> None:
    """Whatever a script in it would try: no connection, no picture or script from elsewhere, no script but its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Counter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Counter.asked.clear()
    reader = Reader(browser, offline=False)
    page = reader.open(file)
    tried = page.evaluate(
        """async (server) => {
          const blocked = [];
          document.addEventListener('securitypolicyviolation', (e) => blocked.push(e.effectiveDirective));
          const answer = await fetch(server).then(() => 'sent', () => 'refused');
          const load = (tag, src) => new Promise((done) => {
            const element = document.createElement(tag);
            element.onload = () => done('loaded');
            element.onerror = () => done('refused');
            element.src = src;
            document.body.append(element);
          });
          const rest = [await load('img', server + 'a.png'), await load('script', 'data:text/javascript,alert(1)')];
          const inline = document.createElement('script');
          inline.textContent = 'window.broken = true';
          document.body.append(inline);
          navigator.sendBeacon(server, 'x');
          await new Promise((done) => setTimeout(done));
          return [answer, ...rest, window.broken ?? 'refused', blocked];
        }""",
        f"http://127.0.0.1:{server.server_port}/",
    )
    reader.context.close()
    server.shutdown()
    server.server_close()
    assert tried[:4] == ["refused"] * 4 and Counter.asked == []
    assert set(tried[4]) == {"connect-src", "img-src", "script-src-elem"}


# ---------------------------------------------------------------- files
def take(page: Page, kind: str) -> Path:
    """Choose a kind of file in the menu; what is downloaded."""
    if kind == "png":
        with page.expect_download() as download:
            page.click("[data-act=save]")
    else:
        page.click(".hx-menu summary")
        with page.expect_download() as download:
            page.click(f"[data-export={kind}]")
    assert download.value.suggested_filename.endswith(f".{kind}")
    return Path(download.value.path())


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"left": "control", "level": "P4", "of": "contribution", "head": 0},
        {"left": "mask", "level": "P3", "view": "to", "mode": "difference"},
        {"view": "box", "of": "position", "head": -2},
        {"view": "blocks", "level": "P4", "left": "layer22"},
        {"view": "received", "level": "P4", "left": "off"},
    ],
    ids=str,
)
def test_csv_equals_pythons(reader: Reader, file: Path, seen: Inspection, tmp_path: Path, wanted: dict) -> None:
    """Line by line: where a value lies, and what it is."""
    page = reader.open(file)
    page.evaluate("(wanted) => haloExplorer.restore(wanted)", wanted)
    view = View.from_state(state(page))
    for key, value in wanted.items():
        assert view.state()[key] == value
    files = take(page, "csv"), table.csv(seen, view, tmp_path / "a.csv")
    same_notes(*map(notes_of, files))
    got, expected = map(rows_of, files)
    assert got[0] == expected[0] == list(table.COLUMNS) and len(got) == len(expected) > 30
    near = 1e-3 if view.view in ("blocks", "received") else 1e-4  # transported as halves
    numbers = table.COLUMNS.index("x1"), table.COLUMNS.index("part")
    for one, other in zip(got[1:], expected[1:], strict=True):
        assert one[: numbers[0]] + one[numbers[1] :] == other[: numbers[0]] + other[numbers[1] :]
        for a, b in zip(one[slice(*numbers)], other[slice(*numbers)], strict=True):
            assert a == b == "" or float(a) == pytest.approx(float(b), rel=near, abs=2e-5)


def notes_of(path: Path) -> dict[str, object]:
    """The header's lines by their keys."""
    lines = [line[2:].split(": ", 1) for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    return {key: json.loads(value) for key, value in lines}


def same_notes(got: dict[str, object], expected: dict[str, object]) -> None:
    """The browser and Python say the same of pictures, models, panels and numbers."""
    assert {k for k in got if k.startswith("panels.")} == {k for k in expected if k.startswith("panels.")}
    assert got.keys() >= {"numbers.entropy", "numbers.distance", "numbers.empty", "numbers.top.4.value", "payload"}
    assert got.keys() == expected.keys()
    for key, value in got.items():
        rel = 1e-3 if key == "numbers.received" else 1e-4  # received attention is transported as halves
        assert value == expected[key] or value == pytest.approx(expected[key], rel=rel, abs=2e-5), key


def rows_of(path: Path) -> list[list[str]]:
    """The lines of a CSV file below its header of notes."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(line for line in file if not line.startswith("#")))


def test_png_svg_and_film(reader: Reader, file: Path, seen: Inspection) -> None:
    page = reader.open(file)
    with Image.open(take(page, "png")) as image:
        about = json.loads(image.text["halo_vis"])
        assert image.width > 2 * 120 and about["picture_sha256"] == seen.picture.digest
        assert View.from_state(about["view"]) == View.from_state(state(page))
    root = ElementTree.parse(take(page, "svg")).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and len(root.findall(".//{*}rect")) > 20
    page.click(".hx-menu summary")
    page.click("[data-export=webm]")
    for x, y in ((20, 20), (60, 40), (90, 70)):
        page.locator(HALO).hover(position={"x": x, "y": y})
        until(page, "!document.querySelector('[data-act=stop]').hidden")
    with page.expect_download() as download:
        page.click("[data-act=stop]")
    assert Path(download.value.path()).read_bytes()[:4] == b"\x1a\x45\xdf\xa3"  # Matroska


# ---------------------------------------------------------------- views and words
def test_link_and_view(reader: Reader, seen: Inspection, tmp_path: Path) -> None:
    """The view that it was saved with; what stands behind # in the address wins, then and later."""
    view = replace(View.strongest(seen), level="P3", y=7, x=5, box=None, head=1, of="contribution", log=True)
    path = tmp_path / "view.html"
    path.write_text(single.html(seen, view, control=False), encoding="utf-8")
    page = reader.open(path)
    assert View.from_state(state(page)) == replace(view, zoom=View.from_state(state(page)).zoom)
    page = reader.open(path, "#level=P4&y=2&x=6&head=0")
    until(page, "haloExplorer.state().level === 'P4'")
    assert {k: state(page)[k] for k in ("y", "x", "head")} == {"y": 2, "x": 6, "head": 0}
    page.evaluate("location.hash = '#level=P5&y=1&x=1'")
    until(page, "haloExplorer.state().level === 'P5'")
    assert (state(page)["y"], state(page)["x"]) == (1, 1)
    page.evaluate("location.hash = '#level=<script>&y=-3&x=nonsense&head=99&%%%'")  # nothing of it can be used
    assert page.evaluate("haloExplorer.ready")


def test_hostile_words(reader: Reader, seen: Inspection, tmp_path: Path) -> None:
    path = hostile(seen).explore().save(tmp_path / "hostile.html")
    page = reader.open(path)
    expect(page.locator("h1")).to_have_text(HOSTILE)
    assert page.evaluate("document.querySelector('h1').textContent") == HOSTILE
    assert page.evaluate("document.querySelector('[data-part=rows] td.hx-class').textContent") == HOSTILE
    assert page.locator("img[src=x]").count() == 0 and page.evaluate("document.scripts.length") <= 5
    page.locator(".single-head summary").click()
    assert json.loads(page.inner_text("pre"))["picture"] == HOSTILE


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_colours_follow_the_reader(browser: Browser, file: Path, colours: str) -> None:
    reader = Reader(browser, color_scheme=colours)
    page = reader.open(file)
    back, ink = page.evaluate(
        "[document.documentElement, document.querySelector('.hx-title')].map((e, i) =>"
        " getComputedStyle(e)[i ? 'color' : 'backgroundColor'].match(/\\d+/g).map(Number).reduce((a, b) => a + b))"
    )
    assert (back > 600 and ink < 200) if colours == "light" else (back < 100 and ink > 500)
    reader.context.close()
    assert reader.problems == []


def test_chinese(browser: Browser, seen: Inspection, tmp_path: Path) -> None:
    """The reader's browser decides, unless the file says."""
    reader = Reader(browser, locale="zh-CN")
    for lang, word in ((None, "单元格"), ("en", "cell")):
        path = tmp_path / f"{lang}.html"
        path.write_text(single.html(seen, control=False, lang=lang), encoding="utf-8")
        page = reader.open(path)
        expect(page.locator("[data-choice=view] button").first).to_have_text(word)
        assert page.evaluate("document.documentElement.lang") == ("zh-CN" if lang is None else "en")
    reader.context.close()
    assert reader.problems == []


def test_phone(browser: Browser, file: Path) -> None:
    reader = Reader(browser, viewport={"width": 390, "height": 844}, has_touch=True)
    page = reader.open(file)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(HALO).tap(position={"x": 60, "y": 60})
    assert state(page)["pinned"]
    reader.context.close()
    assert reader.problems == []
