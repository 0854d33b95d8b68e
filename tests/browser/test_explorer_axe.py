"""axe-core finds nothing: the viewer by itself in all its states, and the whole page, in light and in dark."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from plain import Plain
from playwright.sync_api import Browser, Page
from visitor import open_page

from halo_vis import Inspection
from halo_vis.bench.site import Site

THEMES = ("light", "dark")
STATES = {
    "cell": {},
    "box": {"view": "box", "box": {"side": "halo", "index": 0}, "of": "contribution"},
    "to, logarithmic": {"view": "to", "log": True, "scale": "auto", "head": -2},
    "blocks": {"view": "blocks", "left": "mask", "strip": "levels"},
    "control": {"left": "control", "strip": "heads", "zoom": {"scale": 3, "x": 300, "y": 300}},
    "slider": {"left": "run1", "mode": "slider"},
    "difference": {"left": "control", "mode": "difference", "view": "received"},
    "global layer": {"level": "layer10", "left": "off"},
}


def findings(page: Page, context: str | None = None) -> list[str]:
    """What axe finds, one line each: rule, impact, where."""
    page.wait_for_function("document.getAnimations().every((a) => a.playState !== 'running')")
    found = Axe().run(page, context=context).response["violations"]
    return [f"{v['id']} ({v['impact']}): {node['html'][:160]}" for v in found for node in v["nodes"]]


@pytest.mark.parametrize("theme", THEMES)
def test_the_viewer(browser: Browser, site: Site, bus_seen: Inspection, theme: str) -> None:
    """Empty, in every state, with everything folded out, and with a message."""
    visitor = Plain(browser, site, theme=theme)
    assert findings(visitor.tab, ".halo-explorer") == []
    visitor.show(bus_seen)
    assert findings(visitor.tab, ".halo-explorer") == []
    start = visitor.state
    for name, state in STATES.items():
        visitor.restore(**{k: start[k] for k in start if k != "scale"} | state)
        assert findings(visitor.tab, ".halo-explorer") == [], name
    for fold in visitor.tab.locator(".halo-explorer details").all():
        fold.evaluate("(fold) => { fold.open = true; }")
        assert findings(visitor.tab, ".halo-explorer") == []
        fold.evaluate("(fold) => { fold.open = false; }")
    visitor.tab.evaluate(
        "controller.show({ image: 'missing.png', meta: 'missing.json', tensors: null }).catch(() => {})"
    )
    visitor.settle()
    assert findings(visitor.tab, ".halo-explorer") == []
    visitor.watch.problems.clear()  # the browser's own note of what is missing
    visitor.close()


@pytest.mark.parametrize("theme", THEMES)
def test_the_viewer_on_a_phone(browser: Browser, site: Site, bus_seen: Inspection, theme: str) -> None:
    visitor = Plain(browser, site, theme=theme, lang="zh-CN", viewport={"width": 390, "height": 844}, has_touch=True)
    visitor.show(bus_seen)
    visitor.restore(strip="heads", left="control")
    assert findings(visitor.tab, ".halo-explorer") == []
    visitor.close()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_the_page(browser: Browser, server: str, theme: str, locale: str) -> None:
    """Every tab of it, and the first one with its folds open."""
    page, watch = open_page(browser, server, color_scheme=theme, locale=locale)
    tabs = page.get_by_role("tab").all()
    for tab in tabs or [None]:
        if tab:
            tab.click()
        assert findings(page) == []
    if tabs:
        tabs[0].click()
    for fold in page.locator(".halo-explorer details").all():
        fold.evaluate("(fold) => { fold.open = true; }")
    assert findings(page) == []
    page.context.close()
    assert watch.problems == []
