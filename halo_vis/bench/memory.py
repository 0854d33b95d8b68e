"""How much memory a page holds on to, read from the browser and, on Linux, from the system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MIB = 2**20
# What is read, and how much of it a picture may leave behind: MiB, and a count for the last two. A payload has about
# 3 MiB and so has a decoded photo; what the system counts for a process varies by tens of MiB over a run.
KEPT = {"JavaScript heap": 0.05, "array buffers": 0.05, "renderer process": 0.3, "DOM nodes": 0.5, "listeners": 0.5}
CACHED = "renderer process with caches"


class Memory:
    """Readings of one page; each collects garbage first."""

    def __init__(self, browser: Browser, page: Page) -> None:
        self._tab = page
        self._page = page.context.new_cdp_session(page)
        self._browser = browser.new_browser_cdp_session()

    def read(self) -> dict[str, float | None]:
        """Now, by the names of KEPT, and CACHED in MiB. None: this machine does not tell.

        Chromium keeps decoded pictures up to a limit of its own, some 500 MiB. What a page holds on to is what is left
        after it was told that memory is scarce; CACHED is from before.
        """
        cached = self._renderers()
        self._page.send("Memory.simulatePressureNotification", {"level": "critical"})
        for _ in range(2):  # what the first round frees may hold what the second one finds
            self._page.send("HeapProfiler.collectGarbage")
        heap = self._page.send("Runtime.getHeapUsage")
        counters = self._page.send("Memory.getDOMCounters")
        buffers = heap.get("backingStorageSize")
        values = (
            heap["usedSize"] / MIB,
            None if buffers is None else buffers / MIB,
            self._settled(),
            counters["nodes"],
            counters["jsEventListeners"],
        )
        return dict(zip(KEPT, values, strict=True)) | {CACHED: cached}

    def _renderers(self) -> float | None:
        """MiB of the processes that draw pages."""
        processes = self._browser.send("SystemInfo.getProcessInfo")["processInfo"]
        parts = [_resident(p["id"]) for p in processes if p["type"] == "renderer"]
        return None if None in parts else sum(parts)

    def _settled(self) -> float | None:
        """The same once it no longer falls: memory goes back to the system some seconds after it was freed."""
        now = self._renderers()
        for _ in range(20):
            self._tab.wait_for_timeout(500)
            before, now = now, self._renderers()
            if now is None or now > before - 1:
                break
        return now


def _resident(pid: int) -> float | None:
    """MiB of a process in memory, without the files that it only maps; None where /proc is not there."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))) / 1024
