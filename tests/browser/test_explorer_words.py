"""Words that are code for one reader or another stay words: on the page and in every export; two languages."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from plain import Plain
from playwright.sync_api import Browser, expect
from samples import HOSTILE

from halo_vis import Inspection
from halo_vis.bench.site import Site
from halo_vis.picture import Picture

SVG = "{http://www.w3.org/2000/svg}"
FORMULA = '=HYPERLINK("http://x")'  # what a spreadsheet would run


@pytest.fixture(scope="module")
def hostile_seen(bus_seen: Inspection) -> Inspection:
    """Picture, classes, pair, note, another run and an answer of that name."""
    names = dict.fromkeys(range(100), HOSTILE)
    run = bus_seen.beside[0]
    return replace(
        bus_seen,
        picture=Picture(bus_seen.picture.pixels, HOSTILE),
        card=replace(bus_seen.card, name=FORMULA, title=HOSTILE, note=HOSTILE),
        baseline=replace(bus_seen.baseline, names=names),
        halo=replace(bus_seen.halo, names=names),
        beside=(replace(run, title=HOSTILE, pair=HOSTILE, detections=replace(run.detections, names=names)),),
        answers=tuple(replace(answer, name=HOSTILE) for answer in bus_seen.answers),
    )


@pytest.fixture
def page(browser: Browser, site: Site, hostile_seen: Inspection) -> Iterator[Plain]:
    visitor = Plain(browser, site)
    visitor.show(hostile_seen)
    yield visitor
    visitor.close()


def test_everything_is_text_on_the_page(page: Plain, hostile_seen: Inspection) -> None:
    """No element has come from it, no script has run; the words are there, letter by letter."""
    page.press("left", "run1")
    page.restore(level="P3", y=24, x=25)
    names = page.tab.locator("[data-part=rows] td.hx-class").all()
    assert len(names) == len(hostile_seen.beside[0].matches)
    assert all(name.evaluate("(cell) => cell.textContent") == HOSTILE for name in names)
    button = page.tab.locator("[data-choice=left] [data-value=run1]")
    assert HOSTILE in (button.evaluate("(b) => [b.textContent, b.title, b.ariaLabel].join()"))
    assert HOSTILE in page.part("title-baseline").evaluate("(e) => e.title + e.textContent")
    assert HOSTILE in page.part("answer-name").evaluate("(e) => e.textContent")
    page.tab.locator("[data-part=rows] tr").first.click()
    expect(page.part("spoken")).to_contain_text("alert(2)")
    assert page.tab.locator("img").count() == 0
    assert page.tab.evaluate("document.querySelectorAll('.halo-explorer script, .halo-explorer [onerror]').length") == 0


@pytest.mark.parametrize("kind", ["png", "svg", "csv", "webm"])
def test_everything_is_text_in_the_exports(page: Plain, tmp_path: Path, kind: str) -> None:
    """A harmless file name; the words whole in the metadata; no markup of theirs."""
    page.press("left", "run1")
    page.restore(level="P4", y=20, x=8, box=None)
    if kind == "webm":
        page.tab.locator(".hx-menu summary").click()
        page.tab.locator("[data-export=webm]").click()
        page.hover(300, 300)
        with page.tab.expect_download() as waiting:
            page.tab.locator("[data-act=stop]").click()
        download = waiting.value
    else:
        download = page.download(kind)
    name = page.tab.evaluate("HaloVis.save.safe(" + json.dumps(HOSTILE) + ")")
    assert re.fullmatch(r"[\w.-]+", name) and "图片" in name
    assert re.fullmatch(r"[\w.-]+", download.suggested_filename)
    path = Path(download.path())
    if kind == "png":
        with Image.open(path) as image:
            image.load()
            about = json.loads(image.text["halo_vis"])
    elif kind == "svg":
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        about = json.loads(root.find(f"{SVG}metadata").text)
        known = {"svg", "g", "rect", "path", "text", "image", "use", "defs", "clipPath", "title", "desc", "metadata"}
        assert {element.tag.removeprefix(SVG) for element in root.iter()} <= known
        assert not any(key.startswith("on") for element in root.iter() for key in element.attrib)
        words = " ".join(element.text or "" for element in root.iter(f"{SVG}text"))
        assert "alert(2)" in words and "图片" in words
    elif kind == "csv":
        lines = path.read_text(encoding="utf-8").splitlines()
        notes = dict(re.fullmatch(r"# ([^:]+): (.*)", line).groups() for line in lines if line.startswith("#"))
        about = {"picture": json.loads(notes["picture"]), "pair": json.loads(notes["pair"])}
        assert not any(cell.startswith("=") for row in csv.reader(lines) for cell in row)
    else:
        raw = path.read_bytes()
        text = raw[raw.index(b"{", raw.index(b"COMMENT")) :].decode("utf-8", "ignore")
        about, _ = json.JSONDecoder().raw_decode(text)
    assert (about["picture"], about["pair"]) == (HOSTILE, FORMULA)


def test_chinese(browser: Browser, site: Site, bus_seen: Inspection) -> None:
    """Every word is Chinese but names, units and formats; a change of language keeps everything else."""
    page = Plain(browser, site, lang="zh-CN", locale="zh-CN")
    page.show(bus_seen)
    page.press("strip", "heads")
    page.press("left", "control")
    page.restore(level="P4", y=20, x=8)
    text = page.tab.locator(".halo-explorer").evaluate(
        """(host) => [...host.querySelectorAll("*")].flatMap((e) => [
          ...[...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.textContent),
          e.title, e.ariaLabel, e.ariaValueText])
          .filter(Boolean).join("\\n")"""
    )
    english = set(re.findall(r"[A-Za-z]{3,}", text))
    names = {"bus", "person", "HaloAttention", "YOLO", "Softmax", "softmax", "PNG", "SVG", "CSV", "WebM", "Esc", "Tab"}
    names |= {
        "Shift",
        "HaloVis",
        "Halo",
        "meadow",
        "generated",
        "scenes",
        "halo",
        "door",
        "magma",
        "viridis",
        "cividis",
    }
    names |= {"inferno", "plasma", "IoU"}
    assert english <= names, english - names
    before = page.state
    page.tab.evaluate("controller.setLang('en')")
    page.settle()
    assert {**page.state, "lang": ""} == {**before, "lang": ""}
    expect(page.tab.locator("[data-choice=view] [data-value=cell]")).to_have_text("cell")
    page.close()
