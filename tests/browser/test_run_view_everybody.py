"""The run view for everybody: hostile words, screen readers, small screens, Chinese."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import run_samples
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from run_visitor import RunPage, sites_files, value
from samples import HOSTILE

from halo_vis.bench.site import Site

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def runs_site() -> Iterator[Site]:
    with Site(sites_files()) as up:
        yield up


@pytest.fixture
def page(browser: Browser, runs_site: Site) -> Iterator[RunPage]:
    """A desktop visitor of a run in flight; at the end nothing may have gone wrong."""
    visitor = RunPage(browser, runs_site)
    visitor.show(value(run_samples.snapshot()))
    yield visitor
    visitor.close()


def hostile() -> dict:
    """A run whose every word is code for one reader or another."""
    snap = run_samples.finished(HOSTILE, title=HOSTILE, note=HOSTILE, log=HOSTILE, warnings=[HOSTILE], state="failed")
    snap["error"] = {"kind": HOSTILE, "message": HOSTILE, "next": HOSTILE, "batch": HOSTILE}
    snap["progress"] |= {"member": HOSTILE, "members": [HOSTILE], "device": HOSTILE, "phase": HOSTILE}
    snap["members"][0]["name"] = HOSTILE
    snap["comparison"] |= {"split": HOSTILE, "device": HOSTILE}
    for member in snap["comparison"]["members"]:
        member |= {"trained": HOSTILE, "per_class": {HOSTILE: {"mAP50": 0.5, "mAP50-95": 0.2}}}
    return snap


def test_whatever_a_run_is_called_is_text(page: RunPage, tmp_path: Path) -> None:
    what = value(hostile(), run_samples.snapshot("b", title=HOSTILE))
    files = what["attention"][HOSTILE]
    files[HOSTILE] = files.pop("baseline")
    for member in (HOSTILE, "halo"):
        files[member]["probe"] |= {"names": {"0": HOSTILE, "1": HOSTILE}}
    page.show(what)
    assert page.at(":is(img, script, [onerror])").count() == 0
    assert page.tab.locator("img").count() == 0
    for part in (
        "h2",
        ".hr-error",
        ".hr-warnings",
        ".hr-legend >> nth=0",
        ".hr-log pre",
        ".hr-member >> nth=0",
        ".hr-caption >> nth=1",
    ):
        assert HOSTILE in page.at(part).evaluate("(e) => e.textContent"), part
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.at("button[data-act=copy]").click()
    expect(page.at(".hr-told")).to_have_text("Copied")
    assert "<img" not in page.tab.evaluate("navigator.clipboard.readText()")
    saved = page.download("save-svg")
    assert "/" not in saved.suggested_filename
    saved.save_as(tmp_path / "x.svg")
    tree = ElementTree.parse(tmp_path / "x.svg")
    assert {e.tag.removeprefix(SVG) for e in tree.iter()} <= {
        "svg",
        "title",
        "rect",
        "g",
        "text",
        "line",
        "path",
        "circle",
        "polygon",
    }


def findings(tab: Page) -> list[str]:
    """What axe finds in the view, one line each."""
    tab.wait_for_function("document.getAnimations().every((a) => a.playState !== 'running')")
    found = Axe().run(tab, context=".halo-runs").response["violations"]
    return [f"{v['id']} ({v['impact']}): {node['html'][:160]}" for v in found for node in v["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("lang", ["en", "zh-CN"])
def test_axe_finds_nothing(browser: Browser, runs_site: Site, theme: str, lang: str) -> None:
    page = RunPage(browser, runs_site, lang, theme)
    trouble = {"kind": "disk", "message": "No space left.", "next": "Delete old runs."}
    values = [
        {"runs": [], "lang": lang},
        value(run_samples.snapshot(warnings=["slow"]), lang=lang),
        value(run_samples.finished(), run_samples.snapshot("b", state="failed", error=trouble), lang=lang),
        value(run_samples.snapshot("c", state="failed", error=trouble), run_samples.finished("d"), lang=lang),
    ]
    for what in values:
        page.show(what)
        for fold in page.at("details").all():
            fold.evaluate("(fold) => { fold.open = true; }")
        assert findings(page.tab) == []
    page.press("series", ".hr-readout tr:nth-child(1)")
    page.hover("loss", 0.5)
    assert findings(page.tab) == []
    page.close()


@pytest.mark.parametrize("width", [320, 390, 640, 820, 1132])
@pytest.mark.parametrize("lang", ["en", "zh-CN"])
def test_no_width_scrolls_sideways(browser: Browser, runs_site: Site, width: int, lang: str) -> None:
    page = RunPage(browser, runs_site, lang, viewport={"width": width, "height": 844})
    long = "a run with a title of so many words that it could never fit a phone " * 2
    page.show(value(run_samples.finished(title=long), run_samples.snapshot("b", title=long), lang=lang))
    page.at(".hr-log summary").click()
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    if width == 390:
        assert findings(page.tab) == []
    stage = page.at(".hr-stage").first.bounding_box()
    assert stage["width"] <= width - 32
    page.close()


def test_everything_is_chinese_where_it_is_asked_for(page: RunPage) -> None:
    page.show(value(run_samples.finished(), lang="zh-CN"))
    words = page.tab.locator(".halo-runs").inner_text()
    for word in ("已完成", "曲线", "学习率", "同一查询的注意力", "比较", "halo 减 baseline", "测试集，200 张图片"):
        assert word in words
    assert "Curves" not in words
    assert page.tab.locator(".halo-runs").get_attribute("lang") == "zh-CN"
    page.show(value(run_samples.finished(), lang="en"))
    assert "Curves" in page.tab.locator(".halo-runs").inner_text()


def test_it_can_be_taken_away_and_put_up_again(page: RunPage) -> None:
    """Nothing of it runs on: no timer, no listener; a page that throws its element away and mounts anew is fine."""
    page.tab.evaluate(
        """() => {
          window.running = new Set();
          const [begin, end] = [window.setInterval, window.clearInterval];
          window.setInterval = (...all) => { const id = begin(...all); window.running.add(id); return id; };
          window.clearInterval = (id) => { window.running.delete(id); end(id); };
        }"""
    )
    page.at("input[type=range]").fill("3")
    page.at("button[data-act=play]").click()
    page.tab.wait_for_function("window.running.size === 1")
    page.tab.evaluate(
        """() => {
          const old = document.querySelector(".halo-runs");
          const fresh = old.cloneNode(false);
          window.old = window.haloRuns;
          old.replaceWith(fresh);
          start(document.querySelector("main"));
        }"""
    )
    page.settle()
    assert page.tab.evaluate("window.running.size") == 0
    assert page.tab.evaluate("[window.old.host.childElementCount, window.old !== window.haloRuns]") == [0, True]
    assert page.member("halo")["epoch"] == 17
    page.tab.evaluate("window.haloRuns.destroy()")
    assert page.tab.evaluate("'haloRuns' in window") is False
    page.tab.evaluate("show(props.value)")  # an update that comes too late
    assert page.at("*").count() == 0


def test_a_picture_of_it_is_painted_on_every_screen(browser: Browser, runs_site: Site) -> None:
    """Two device pixels per CSS pixel: the canvas has them, and the picture fills it."""
    page = RunPage(browser, runs_site, device_scale_factor=2)
    page.show(value(run_samples.snapshot(), picture="grey.png"))
    stage = page.at(".hr-stage").first
    pixels = page.pixels("baseline")
    assert abs(pixels.shape[1] - 2 * stage.bounding_box()["width"]) <= 1
    assert pixels[-2, -2].max() > 20
    shot = np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("RGB"))
    assert len(np.unique(shot.reshape(-1, 3), axis=0)) > 20
    page.close()
