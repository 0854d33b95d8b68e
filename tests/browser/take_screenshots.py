"""Take the README's pictures of a running page: python tests/browser/take_screenshots.py http://127.0.0.1:7860"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from visitor import open_page, wait_ready

FOLDER = Path(__file__).parent.parent.parent / "assets" / "screenshots"
# Over scene 0: flowers, and what lies between them, in photo pixels.
PATH = [
    (80, 200),
    (120, 240),
    (200, 330),
    (330, 300),
    (395, 150),
    (430, 180),
    (530, 275),
    (560, 300),
    (480, 380),
    (250, 540),
]
STEPS = 5  # frames from one place to the next
FRAME_MS = 90


def settle(page: Page) -> None:
    """Until nothing moves: a few frames, so that what was asked for is painted."""
    page.evaluate("""new Promise((done) => {
      let left = 8;
      const frame = () => (left-- ? requestAnimationFrame(frame) : done());
      frame();
    })""")


def run_example(page: Page, number: int, name: str) -> None:
    """Click an example and wait for its result."""
    page.locator("#examples button:has(img)").nth(number).click()
    expect(page.locator("#status")).to_contain_text(name)
    wait_ready(page)


def show(page: Page, view: str) -> None:
    """Rebuild a view, as a link would, with all of it worked out."""
    page.evaluate("(view) => window.haloExplorer.restore(view)", view)
    page.locator("[data-act=hint]").evaluate("(button) => button.click()")
    for _ in range(5):
        settle(page)


def shoot(page: Page, name: str) -> None:
    """The whole page, as .png or, much smaller, as .webp."""
    image = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    image.save(FOLDER / name, **({"optimize": True} if name.endswith(".png") else {"quality": 85, "method": 6}))


def desktop(chromium: Browser, url: str) -> None:
    """A photograph, a meadow with a known answer, and a comparison."""
    page, _ = open_page(chromium, url, viewport={"width": 1440, "height": 900})
    run_example(page, 0, "bus.jpg")
    show(page, "level=P5&y=9&x=11&view=cell&strip=heads")
    shoot(page, "page.webp")
    run_example(page, 2, "meadow-0")
    show(page, "level=P3&y=17&x=32&head=1&strip=off&zoom=1")
    shoot(page, "meadow.png")
    show(page, "level=P3&y=17&x=32&head=-1&view=blocks&left=control&mode=slider&strip=levels")
    shoot(page, "compare.webp")
    page.context.close()


def others(chromium: Browser, url: str) -> None:
    """A phone, a dark page, a Chinese page."""
    for name, options in (
        ("phone.webp", {"viewport": {"width": 390, "height": 844}, "has_touch": True}),
        ("dark.webp", {"color_scheme": "dark"}),
        ("chinese.webp", {"locale": "zh-CN"}),
    ):
        page, _ = open_page(chromium, url, **options)
        settle(page)
        shoot(page, name)
        page.context.close()


def film(chromium: Browser, url: str) -> None:
    """A pointer that wanders over the meadow, as an animated WebP."""
    page, _ = open_page(chromium, url, viewport={"width": 1600, "height": 900})
    run_example(page, 2, "meadow-0")
    show(page, "level=P3&y=17&x=32&left=layer10")
    page.keyboard.press("Escape")
    canvas = page.locator("canvas[data-side=halo]")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    around = [page.locator(css).bounding_box() for css in (".hx-head >> nth=0", ".hx-halo .hx-bar")]
    clip = {
        "x": around[0]["x"],
        "y": around[0]["y"],
        "width": around[1]["x"] + around[1]["width"] - around[0]["x"],
        "height": around[1]["y"] + around[1]["height"] - around[0]["y"],
    }
    frames = []
    for (x1, y1), (x2, y2) in zip(PATH, PATH[1:] + PATH[:1], strict=True):
        for t in np.linspace(0, 1, STEPS, endpoint=False):
            x, y = (a + (b - a) * t for a, b in ((x1, x2), (y1, y2)))
            page.mouse.move(box["x"] + x / 640 * box["width"], box["y"] + y / 640 * box["height"])
            settle(page)
            image = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
            image.thumbnail((960, 960))
            frames.append(image)
    frames[0].save(
        FOLDER / "hover.webp", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0, quality=70, method=6
    )
    page.context.close()


def main(url: str) -> None:
    """All of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--headless", "--disable-gpu"]
        )
        for take in (desktop, others, film):
            take(chromium, url)
        chromium.close()


if __name__ == "__main__":
    main(sys.argv[1])
