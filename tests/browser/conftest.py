"""A real page in a real browser: the app as a person starts it, Chromium of the system."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain import Plain
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from ultralytics import ASSETS
from visitor import open_page

from halo_vis import Inspection, inspect, load_pair
from halo_vis.bench.browser import BrowserMissing, start
from halo_vis.bench.site import Site, page
from halo_vis.geometry import Answer

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`python app.py` on a free port of the loopback; its address."""
    data = tmp_path_factory.mktemp("app-data")
    environment = {k: v for k, v in os.environ.items() if k != "YOLO_CONFIG_DIR"}
    environment |= {"HALO_VIS_DATA": str(data), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        pytest.fail("the app ended before it was up:\n" + "".join(lines))
    # Read on, or a full pipe would stop the server.
    import threading

    drain = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    drain.start()
    yield found.group()
    process.terminate()
    process.wait(30)
    drain.join(10)
    assert "Traceback" not in "".join(lines), "".join(lines)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """One for the whole session: a second one in the same thread is refused."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium of the system, without a window."""
    try:
        started = start(playwright)
    except BrowserMissing as error:
        pytest.fail(str(error))
    yield started
    started.close()


@pytest.fixture
def visit(browser: Browser, server: str) -> Iterator[Page]:
    """A desktop visitor; at the end nothing may have gone wrong."""
    page, watch = open_page(browser, server)
    yield page
    page.context.close()
    assert watch.problems == []


@pytest.fixture(scope="session")
def bus_seen() -> Inspection:
    """bus.jpg with four boxes kept and one lost, another halo model beside it, and an answer made up for the test."""
    pair, other = load_pair("photos"), load_pair("meadow")
    door = Answer("door", (300.0, 200.0, 700.0, 760.0), (330.0, 440.0, 420.0, 560.0))
    seen = inspect(pair, ASSETS / "bus.jpg", 0.8, device="cpu", answers=(door,))
    return seen.with_beside(inspect(other, ASSETS / "bus.jpg", 0.5, pair.card.imgsz, device="cpu"))


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The viewer on plain pages of its own, and whatever payloads tests put beside them."""
    with Site() as up:
        for lang in ("en", "zh-CN"):
            for theme in ("light", "dark"):
                up.files[f"{lang}-{theme}.html"] = page(lang, theme)
        yield up


@pytest.fixture
def plain(browser: Browser, site: Site, bus_seen: Inspection) -> Iterator[Plain]:
    """A desktop visitor of a plain page that shows bus.jpg; at the end nothing may have gone wrong."""
    visitor = Plain(browser, site)
    visitor.show(bus_seen)
    yield visitor
    visitor.close()
