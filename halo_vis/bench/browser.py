"""The system's Chromium, found and started through Playwright, which is a dependency of development only."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking", "--no-first-run")


class BrowserMissing(RuntimeError):
    """Playwright or Chromium is not installed; the message says what to install."""


def find_chromium() -> str:
    """Path of the system's Chromium or Chrome.

    Raises:
        BrowserMissing: there is none on the PATH.
    """
    path = next(filter(None, map(shutil.which, COMMANDS)), None)
    if path is None:
        raise BrowserMissing(
            f"no {' or '.join(COMMANDS)} on the PATH. Install Chromium with your system's packages "
            "(Debian: apt-get install chromium), or run python tests/run.py, which does."
        )
    return path


def start(playwright: Playwright, *flags: str) -> Browser:
    """The system's Chromium without a window.

    Args:
        flags: of Chromium's command line, besides FLAGS.

    Raises:
        BrowserMissing: Chromium is not installed.
    """
    return playwright.chromium.launch(executable_path=find_chromium(), args=[*FLAGS, *flags])


@contextmanager
def chromium() -> Iterator[Browser]:
    """The same with a Playwright of its own, for as long as the context lasts.

    Raises:
        BrowserMissing: Playwright or Chromium is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise BrowserMissing("this needs Playwright: pip install -r requirements-dev.txt") from error
    with sync_playwright() as playwright:
        browser = start(playwright)
        try:
            yield browser
        finally:
            browser.close()


def settle(browser: Browser, seconds: float = 20) -> None:
    """Wait until a browser that has just started has prepared its own surfaces and rests; at most so long."""
    session = browser.new_browser_cdp_session()
    used = lambda: sum(p["cpuTime"] for p in session.send("SystemInfo.getProcessInfo")["processInfo"])  # noqa: E731
    end = time.monotonic() + seconds
    before, quiet = used(), 0
    while quiet < 4 and time.monotonic() < end:
        time.sleep(0.25)
        now = used()
        quiet = quiet + 1 if now - before < 0.02 else 0
        before = now
    session.detach()
