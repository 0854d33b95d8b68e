"""A visitor of the run view on a plain page, and what they see there."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import run_samples
from PIL import Image
from playwright.sync_api import Browser, Download, Locator
from visitor import PATIENCE_MS, Watch

from halo_vis.bench.site import Site

EPOCHS = {"baseline": 30, "halo": 17}
GREY = 120  # of a probe picture on which colours can be computed


def sites_files() -> dict[str, bytes]:
    """Pages in two languages and themes, a probe picture, a grey one, and frames of two members."""
    files = {f"{lang}-{t}.html": run_samples.page(lang, t) for lang in ("en", "zh-CN") for t in ("light", "dark")}
    files["probe.png"] = run_samples.PICTURE.read_bytes()
    grey = io.BytesIO()
    Image.new("RGB", (240, 240), (GREY,) * 3).save(grey, "PNG")
    files["grey.png"] = grey.getvalue()
    about = run_samples.probe(240, 240)
    for member, epochs in EPOCHS.items():
        files[f"{member}.jsonl"] = run_samples.lines(run_samples.frames(about, member, epochs))
    return files


def value(*snapshots: dict[str, Any], lang: str = "en", picture: str = "probe.png", **files: str) -> dict[str, Any]:
    """A value with the attention of the first run; files: of members, where they are others."""
    about = run_samples.probe(240, 240)
    entry = {"picture": {"url": picture}, "probe": about}
    names = {member: f"{member}.jsonl" for member in EPOCHS} | files
    attention = {m: entry | {"frames": {"url": url}} for m, url in names.items()}
    attention["version"] = snapshots[0]["attention"]["version"] if snapshots else 0
    runs = {snapshots[0]["id"]: attention} if snapshots else {}
    return {"runs": list(snapshots), "attention": runs, "lang": lang, "now": run_samples.NOW}


class RunPage:
    """One page with the run view on it.

    Attributes:
        tab: Playwright's page.
        fetched: addresses of the frames that it asked for.
    """

    def __init__(self, browser: Browser, site: Site, lang: str = "en", theme: str = "light", **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1132, "height": 900}, "locale": "en-GB"} | options)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE_MS)
        self.watch = Watch(self.tab)
        self.fetched: list[str] = []
        self.tab.on("request", lambda r: self.fetched.append(r.url) if r.url.endswith(".jsonl") else None)
        self.tab.on("dialog", lambda d: self.watch.problems.append(f"a script ran: {d.message}"))
        self.tab.goto(f"{site.url}{lang}-{theme}.html")

    def show(self, what: dict[str, Any]) -> None:
        """Show a value and wait until its files are there and painted."""
        self.tab.evaluate("(value) => show(value)", what)
        self.settle()

    def settle(self) -> None:
        """Until it has painted what was asked for."""
        self.tab.wait_for_function("window.haloRuns.ready")

    def close(self) -> None:
        """Leave; nothing may have gone wrong until now."""
        self.context.close()
        assert self.watch.problems == []

    def at(self, selector: str) -> Locator:
        """Elements of the view."""
        return self.tab.locator(f".halo-runs {selector}")

    def figure(self, name: str, within: str = ".hr-progress") -> str:
        """A figure as text."""
        return self.at(f"{within} [data-figure={name}] dd").inner_text()

    def readout(self) -> list[list[str]]:
        """The table below the curves, its head first."""
        return [row.locator("th, td").all_inner_texts() for row in self.at(".hr-readout tr").all()]

    def member(self, name: str) -> dict[str, Any]:
        """What a panel shows, as numbers."""
        return self.tab.evaluate("(name) => window.haloRuns.member(name)", name)

    def press(self, act: str, within: str = "", **data: str) -> None:
        """Press a button."""
        exact = "".join(f"[data-{key}='{text}']" for key, text in data.items())
        self.at(f"{within} button[data-act={act}]{exact}").click()
        self.settle()

    def hover(self, chart: str, share: float) -> None:
        """Move the mouse over a chart, to a share of its plot's width."""
        box = self.at(f"[data-chart={chart}]")
        box.scroll_into_view_if_needed()
        where = box.bounding_box()
        left, right = 58, 12  # margins of a chart
        x = where["x"] + left + share * (where["width"] - left - right)
        self.tab.mouse.move(x, where["y"] + where["height"] / 2)
        self.settle()

    def pixels(self, member: str) -> np.ndarray:
        """(H, W, 3): a panel's own canvas."""
        flat, width = self.tab.evaluate(
            """(member) => {
              const canvas = document.querySelector(`.hr-panel[data-member="${member}"] .hr-stage canvas`);
              const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              return [Array.from(data), canvas.width];
            }""",
            member,
        )
        return np.array(flat).reshape(-1, width, 4)[..., :3]

    def download(self, act: str) -> Download:
        """Save by the button that a person presses."""
        with self.tab.expect_download() as waiting:
            self.at(f"button[data-act={act}]").click()
        return waiting.value

    def boxes(self, *selectors: str) -> list[dict[str, float]]:
        """Where elements lie on the page."""
        return [self.at(s).first.bounding_box() for s in selectors]
