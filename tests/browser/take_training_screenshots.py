"""Take the README's picture of the Fine-tune tab: python tests/browser/take_training_screenshots.py ADDRESS

It trains: a few minutes on two CPU cores. Both members start from `photos` and learn the meadow.
"""

from __future__ import annotations

import io
import shutil
import sys

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright
from take_screenshots import FOLDER, settle
from test_train_page import TRAINING_MS, arrive, fill, unfold, wait_epochs

EPOCHS, SHOWN = 8, 5  # of each member; of the halo model when the picture is taken


def shoot(page: Page, name: str) -> None:
    """The run view alone."""
    settle(page)
    picture = Image.open(io.BytesIO(page.locator("#run-view").screenshot())).convert("RGB")
    picture.save(FOLDER / name, quality=85, method=6)


def main(url: str) -> None:
    """A run in flight."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--headless", "--disable-gpu"]
        )
        context = chromium.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
        page, _ = arrive(context, url)
        unfold(page, "step-models")
        page.locator("#f-start input").click()
        page.get_by_role("option", name="photos (ten").first.click()
        fill(page, meadow_train=60, meadow_val=12, meadow_test=24, imgsz=320, epochs=EPOCHS)
        page.locator("#f-title input, #f-title textarea").fill("from photos to the meadow")
        page.click("#start")
        expect(page.locator("#run-view")).to_contain_text("from photos to the meadow")
        page.set_default_timeout(4 * TRAINING_MS)
        wait_epochs(page, SHOWN)
        shoot(page, "finetune.webp")
        chromium.close()


if __name__ == "__main__":
    main(sys.argv[1])
