"""The app's bench in the browser: a click, a start, a first inspection; their figures and what they are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from halo_vis import Inspection
from halo_vis.bench import app_browser
from halo_vis.bench.app_browser import EXPLORABLE, USABLE, click_figures, first_figures, start_figures
from halo_vis.bench.app_server import app
from halo_vis.bench.report import Figure


@pytest.fixture
def theirs(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's browser: a second Playwright in the same thread is refused."""
    import contextlib

    monkeypatch.setattr(app_browser, "chromium", lambda: contextlib.nullcontext(browser))
    monkeypatch.setattr(app_browser, "settle", lambda browser: None)


def values(figures: list[Figure]) -> dict[str, float]:
    assert all(figure.value is not None and figure.value > 0 for figure in figures)
    return {figure.name: figure.value for figure in figures}


def test_a_click(theirs: None, bus: Path, zidane: Path, bus_seen: Inspection) -> None:
    asked = []

    def bare(picture: Path) -> float:
        asked.append(picture)
        return 100.0

    found = values(click_figures(1, [bus, zidane], bus_seen, bare, lambda text: None))
    assert asked == [bus, zidane]  # the first does not count
    (peer,) = (v for name, v in found.items() if name.startswith("a bare gr.HTML"))
    (share,) = (v for name, v in found.items() if name.startswith("app /"))
    assert found["two bare predicts"] == 100
    assert share == pytest.approx(found["the app"] / (100 + 1.2 * peer))


def test_a_start(theirs: None) -> None:
    found = values(start_figures(1, lambda text: None))
    assert found["the app, its first picture explorable"] >= found["the app"]
    assert found["app / empty page"] == pytest.approx(found["the app"] / found["an empty Gradio page"])


def test_a_first_inspection(theirs: None, bus: Path) -> None:
    found = values(first_figures(1, [bus], lambda text: None))
    ratio = found["pressed when the models are warm"] / found["a later one"]
    assert found["first with warm models / a later one"] == pytest.approx(ratio)
    assert found["answers of /healthz meanwhile"] >= 2 and found["longest answer of /healthz meanwhile"] > 0


def test_a_refused_picture_is_no_figure(
    theirs: None, browser: Browser, bus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bench ends with what the page says, and does not take the time of something else."""
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with app() as server:
        page = app_browser._open(browser, server, f"({USABLE}) && {EXPLORABLE}")
        assert app_browser._run(page, bus) > 0
        page.evaluate("document.querySelector('#picture img').remove()")
        with page.expect_response(lambda answer: "/upload" in answer.url):
            page.set_input_files("#picture input[type=file]", str(broken))
        with pytest.raises(RuntimeError, match=r"gave no result; it said: .*broken"):
            app_browser._press(page)
        assert app_browser._run(page, bus) > 0  # what it said before is no answer to this one
        page.evaluate("addEventListener('click', (event) => event.stopImmediatePropagation(), true)")
        monkeypatch.setattr(app_browser, "PATIENCE_MS", 500)
        with pytest.raises(RuntimeError, match="gave no result"):  # and a page that never answers holds up nothing
            app_browser._press(page)
        page.context.close()
