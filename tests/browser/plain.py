"""A visitor of the viewer on a plain page, and what they see there."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, CDPSession, Download, Locator
from visitor import PATIENCE_MS, Watch

from halo_vis import Inspection
from halo_vis.bench.site import Site
from halo_vis.picture import Picture
from halo_vis.viewer import payload

# Runs before the viewer's scripts: a page that is at rest asks for no frames.
SETTLED = """
{
  const ask = requestAnimationFrame.bind(window);
  let asked = 0;
  window.requestAnimationFrame = (work) => { asked++; return ask(work); };
  const frame = () => new Promise((done) => ask(done));
  window.settled = async () => {
    for (let before = -1; before !== asked;) {
      before = asked;
      await frame();
      await frame();
    }
  };
}
"""


class Plain:
    """One page with the viewer on it.

    Attributes:
        tab: Playwright's page.
        size: width and height of the photo shown, in pixels.
        name: folder of its payload on the site.
    """

    def __init__(self, browser: Browser, site: Site, *, lang: str = "en", theme: str = "light", **options: Any) -> None:
        self.site = site
        self.context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, "locale": "en-GB"} | options)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE_MS)
        self.watch = Watch(self.tab)
        self.tab.add_init_script(SETTLED)
        self.tab.on("dialog", lambda d: self.watch.problems.append(f"a script ran: {d.message}"))
        self.tab.goto(f"{site.url}{lang}-{theme}.html")
        self.size = (0, 0)
        self.name = ""
        self._glass: CDPSession | None = None

    def show(self, seen: Inspection) -> None:
        """Show an inspection."""
        self.show_payload(*payload(seen), seen.picture)

    def show_payload(self, meta: dict, files: dict[str, bytes], picture: Picture) -> None:
        """Show whatever a test has made up."""
        self.name = f"{picture.digest[:16]}-{len(self.site.files)}"
        what = self.site.add(self.name, meta, files, picture)
        height, width = picture.pixels.shape[:2]
        self.size = (width, height)
        self.tab.evaluate("(what) => controller.show(what)", what)
        self.settle()

    def close(self) -> None:
        """Leave; nothing may have gone wrong until now."""
        self.context.close()
        assert self.watch.problems == []

    # ------------------------------------------------------------------ asking

    @property
    def state(self) -> dict:
        """What the viewer says it shows."""
        return self.tab.evaluate("haloExplorer.state()")

    def at(self) -> tuple[str, int, int]:
        """Level and cell that are shown."""
        now = self.state
        return now["level"], now["y"], now["x"]

    def canvas(self, side: str = "halo") -> Locator:
        """A panel."""
        return self.tab.locator(f".halo-explorer canvas[data-side={side}]")

    def part(self, name: str) -> Locator:
        """An element of the viewer by its data-part."""
        return self.tab.locator(f".halo-explorer [data-part={name}]")

    def number(self, name: str) -> str:
        """A figure beside the picture, as text."""
        return self.tab.locator(f".halo-explorer [data-number={name}]").inner_text()

    def shot(self, what: str | Locator = "halo") -> np.ndarray:
        """(H, W, 3): a panel or an element as a person sees it, in device pixels."""
        where = self.canvas(what) if isinstance(what, str) else what
        return np.asarray(Image.open(io.BytesIO(where.screenshot())).convert("RGB")).astype(int)

    def canvas_pixels(self, side: str = "halo") -> np.ndarray:
        """(H, W, 3): what is on a panel's own canvas, in its pixels."""
        flat, width = self.tab.evaluate(
            """(side) => {
              const canvas = document.querySelector(`canvas[data-side="${side}"]`);
              const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              let text = "";
              for (let i = 0; i < data.length; i += 8192) text += String.fromCharCode(...data.subarray(i, i + 8192));
              return [btoa(text), canvas.width];
            }""",
            side,
        )
        return np.frombuffer(base64.b64decode(flat), np.uint8).reshape(-1, width, 4)[..., :3].astype(int)

    # ------------------------------------------------------------------ doing

    def settle(self) -> None:
        """Until what was asked for is computed and painted: the viewer asks for no more frames."""
        self.tab.evaluate("settled()")

    def restore(self, **state: Any) -> None:
        """Bring the viewer to a state, and wait until it is painted."""
        self.tab.evaluate("(state) => controller.restore(state)", state)
        self.settle()

    def press(self, choice: str, value: str) -> None:
        """Press a button of a choice, opening the fold that it lies in."""
        button = self.tab.locator(f".halo-explorer [data-choice={choice}] button[data-value='{value}']")
        self.reach(button)
        button.click()
        self.settle()

    def reach(self, control: Locator) -> None:
        """Open the fold around a control."""
        if control.locator("xpath=ancestor::details[not(@open)]").count():
            control.locator("xpath=ancestor::details/summary").click()

    def place(self, x: float, y: float, side: str = "halo") -> tuple[float, float]:
        """Where a photo pixel of the unzoomed panel lies in the window, scrolled into it."""
        self.canvas(side).scroll_into_view_if_needed()
        box = self.canvas(side).bounding_box()
        return box["x"] + x / self.size[0] * box["width"], box["y"] + y / self.size[1] * box["height"]

    def hover(self, x: float, y: float, side: str = "halo") -> None:
        """Move the mouse to a photo pixel."""
        self.tab.mouse.move(*self.place(x, y, side))
        self.settle()

    def click(self, x: float, y: float, side: str = "halo") -> None:
        """Click a photo pixel."""
        self.tab.mouse.click(*self.place(x, y, side))
        self.settle()

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """One event of fingers on the glass: touchStart, touchMove, touchEnd; points in the window."""
        self._glass = self._glass or self.context.new_cdp_session(self.tab)
        fingers = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
        self._glass.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    def download(self, kind: str) -> Download:
        """Save by the buttons that a person presses."""
        with self.tab.expect_download() as waiting:
            if kind == "png":
                self.tab.locator(".halo-explorer [data-act=save]").click()
            else:
                self.tab.locator(".halo-explorer .hx-menu summary").click()
                self.tab.locator(f".halo-explorer [data-export={kind}]").click()
        return waiting.value
