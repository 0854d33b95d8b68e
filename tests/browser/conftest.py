"""A real page in a real browser: the app as a person starts it, Chromium of the system."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from visitor import open_page

REPOSITORY = Path(__file__).parent.parent.parent
FLAGS = ["--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


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
def browser() -> Iterator[Browser]:
    """Chromium of the system, without a window."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.fail("Chromium is missing: run python tests/run.py, which installs it, or install it yourself")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, server: str) -> Iterator[Page]:
    """A desktop visitor; at the end nothing may have gone wrong."""
    page, watch = open_page(browser, server)
    yield page
    page.context.close()
    assert watch.problems == []
