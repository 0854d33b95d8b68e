"""Take the README's screenshots of a running page: python tests/browser/take_screenshots.py http://127.0.0.1:7860"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright
from visitor import open_page, wait_ready

FOLDER = Path(__file__).parent.parent.parent / "assets" / "screenshots"


def settle(page: Page) -> None:
    """Two frames, so that what was asked for is painted."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def main(url: str) -> None:
    """Desktop on a photograph and on a meadow, and a phone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--headless", "--disable-gpu"]
        )
        page, _ = open_page(chromium, url, viewport={"width": 1440, "height": 1000})
        page.locator("#examples button:has(img)").first.click()
        expect(page.locator("#status")).to_contain_text("bus.jpg")
        wait_ready(page)
        settle(page)
        page.screenshot(path=FOLDER / "page.png")
        page.locator("#examples button:has(img)").nth(2).click()
        expect(page.locator("#status")).to_contain_text("meadow")
        wait_ready(page)
        settle(page)
        page.screenshot(path=FOLDER / "meadow.png")
        phone, _ = open_page(chromium, url, viewport={"width": 390, "height": 844}, has_touch=True)
        phone.locator(".halo-explorer").scroll_into_view_if_needed()
        settle(phone)
        phone.screenshot(path=FOLDER / "phone.png", full_page=True)
        chromium.close()


if __name__ == "__main__":
    main(sys.argv[1])
