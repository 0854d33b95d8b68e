"""A visitor of the page, and what must not happen to them."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect

PATIENCE_MS = 60_000  # on a busy machine; every wait ends as soon as what it waits for is there
expect.set_options(timeout=PATIENCE_MS)


class Watch:
    """What must not happen on a page: errors in the console, requests that leave the machine."""

    def __init__(self, page: Page) -> None:
        self.problems: list[str] = []
        self._asked_in_vain = 0
        page.on("console", self._heard)
        page.on("pageerror", lambda e: self.problems.append(f"page error: {e}"))
        page.route("**/*", self._route)

    def _heard(self, message: ConsoleMessage) -> None:
        """Errors, but for Gradio's own on a busy machine: it asks after an upload before the upload has begun."""
        where = message.location.get("url", "")
        if message.type != "error":
            return
        if "/upload_progress" in where:
            self._asked_in_vain += 1
        elif message.text == "Response" and self._asked_in_vain:  # the same once more: the answer, thrown and logged
            self._asked_in_vain -= 1
        else:
            self.problems.append(f"console: {message.text} ({where})")

    def _route(self, route: Route) -> None:
        url = route.request.url
        if re.match(r"(data|blob):|https?://(127\.0\.0\.1|localhost)[:/]", url):
            route.continue_()
        else:
            self.problems.append(f"request left the machine: {url}")
            route.abort()


def open_page(browser: Browser, server: str, **options: object) -> tuple[Page, Watch]:
    """A new visitor on the page, the first picture explorable."""
    context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}, "locale": "en-GB"} | options))
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    watch = Watch(page)
    page.goto(server)
    wait_ready(page)
    return page, watch


def wait_ready(page: Page) -> None:
    """Until the explorer has the tensors of a picture."""
    page.wait_for_function("window.haloExplorer && window.haloExplorer.ready")
