"""A visitor of the page, and what must not happen to them."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, Route, expect

PATIENCE_MS = 60_000  # on a busy machine; every wait ends as soon as what it waits for is there
expect.set_options(timeout=PATIENCE_MS)


class Watch:
    """What must not happen on a page: errors in the console, requests that leave the machine."""

    def __init__(self, page: Page) -> None:
        self.problems: list[str] = []
        page.on("console", lambda m: self.problems.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda e: self.problems.append(f"page error: {e}"))
        page.route("**/*", self._route)

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
