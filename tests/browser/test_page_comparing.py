"""On the page: another model beside the chosen one, files for a paper, links that bring a visitor back."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pypdf
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from visitor import open_page, wait_ready

RUN1 = ".halo-explorer [data-choice=left] button[data-value=run1]"


def state(page: Page) -> dict:
    """The explorer's view state."""
    return page.evaluate("window.haloExplorer.state()")


def meadow(page: Page) -> None:
    """Run the first meadow example, scene 0."""
    page.locator("#examples button:has(img)").nth(2).click()
    expect(page.locator("#status")).to_contain_text("meadow-0")
    wait_ready(page)


def beside(page: Page, title: str) -> None:
    """Choose a model to show beside, and run."""
    page.locator("#beside input").click()
    page.get_by_role("option", name=title).click()
    page.click("#run")
    page.locator(RUN1).wait_for()
    wait_ready(page)


def download(page: Page, button: str, folder: Path) -> Path:
    """Press a button that ends in a file."""
    with page.expect_download() as found:
        page.click(button)
    path = folder / found.value.suggested_filename
    found.value.save_as(path)
    return path


def test_two_halo_models_on_the_same_cell(visit: Page) -> None:
    """The article's form beside the residual one: its own rows on the left, the difference on the right."""
    meadow(visit)
    beside(visit, "article's form")
    visit.evaluate("window.haloExplorer.select('P3', 17, 32)")
    visit.click(RUN1)
    canvas = visit.locator("canvas[data-side=baseline]")
    expect(visit.locator("[data-part=title-baseline]")).to_contain_text("article")
    expect(visit.locator("[data-part=status-baseline]")).to_be_hidden()  # its tensors have arrived
    left = canvas.screenshot()
    visit.evaluate("window.haloExplorer.restore({ mode: 'difference' })")
    expect(visit.locator("[data-part=bar-halo]")).to_contain_text("0 = equal")
    assert state(visit)["mode"] == "difference"
    assert canvas.screenshot() == left  # the left panel stays as it is
    figures = visit.locator("[data-number=answer]")
    expect(figures).to_have_text(re.compile(r"\d"))  # how much of it falls on the bee


@pytest.mark.parametrize("kind", ["figure", "sheet", "gif", "page"])
def test_files_show_what_the_explorer_shows(visit: Page, tmp_path: Path, kind: str) -> None:
    """Each file opens in a reader of its own and knows the view that it was made of."""
    meadow(visit)
    visit.evaluate("window.haloExplorer.restore({ level: 'P3', y: 17, x: 32, head: 1, log: true })")
    path = download(visit, f"#{kind}", tmp_path)
    if path.suffix == ".pdf":
        pdf = pypdf.PdfReader(path)
        about = json.loads(pdf.metadata["/Keywords"])
        assert about["pair"] == "meadow"
        views = about["views"] if kind == "sheet" else [about]
        assert [v["view"]["level"] for v in views] == (["P3", "P4", "P5"] if kind == "sheet" else ["P3"])
        text = pdf.pages[0].extract_text()
        assert "meadow-0.png" in text
        assert "head 2" in text
        assert "(17, 32)" in text
    elif kind == "gif":
        gif = Image.open(path)
        assert gif.n_frames > 1
        assert json.loads(gif.info["comment"])["pair"] == "meadow"
    else:
        page = visit.context.new_page()
        page.goto(path.as_uri())
        wait_ready(page)
        there = state(page)
        assert [there[k] for k in ("level", "y", "x", "head", "log")] == ["P3", 17, 32, 1, True]


def test_the_gif_follows_the_cursor(visit: Page, tmp_path: Path) -> None:
    """As many frames as cells that the pointer has visited."""
    meadow(visit)
    visit.keyboard.press("Escape")
    box = visit.locator("canvas[data-side=halo]").bounding_box()
    for step in range(6):
        visit.mouse.move(box["x"] + 100 + 40 * step, box["y"] + 120)
        visit.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    visit.mouse.move(5, 5)  # away, by a way that is over before the cells are counted: the button is not on it
    visit.locator("#gif").scroll_into_view_if_needed()
    visit.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    cells = visit.evaluate("globalThis.haloPage.controller.trail().length")
    assert cells >= 5
    assert Image.open(download(visit, "#gif", tmp_path)).n_frames == cells


def test_a_link_brings_another_visitor_to_the_same_view(
    browser: Browser, server: str, bus: Path, tmp_path: Path
) -> None:
    """Of an uploaded picture: found by its pixels; where it is gone the page says so."""
    photo = tmp_path / "my photo <b>.png"
    Image.open(bus).resize((405, 540)).save(photo)
    first, watch = open_page(browser, server)
    first.context.grant_permissions(["clipboard-read", "clipboard-write"])
    first.set_input_files("#picture input[type=file]", str(photo))
    expect(first.locator("#picture img")).to_be_visible()
    first.click("#run")
    expect(first.locator("#status")).to_contain_text("boxes")
    wait_ready(first)
    first.evaluate("window.haloExplorer.restore({ level: 'P4', y: 5, x: 9, view: 'to', log: true })")
    first.locator(".hx-menu summary").click()
    first.click("[data-export=link]")
    expect(first.locator("[data-part=told]")).not_to_be_empty()
    link = first.evaluate("navigator.clipboard.readText()")
    assert link.startswith(server)
    wanted = {k: state(first)[k] for k in ("level", "y", "x", "view", "log")}

    second, watch_second = open_page(browser, link)
    expect(second.locator("#status")).to_contain_text("my photo")
    second.wait_for_function(
        "(wanted) => window.haloExplorer.ready && window.haloExplorer.state().view === wanted.view", arg=wanted
    )
    assert {k: state(second)[k] for k in wanted} == wanted
    second.close()

    gone, watch_gone = open_page(browser, re.sub(r"digest=[0-9a-f]{64}", "digest=" + "0" * 64, link))
    expect(gone.locator("#status [data-kind=error]")).to_contain_text("no longer here")
    for page in (first, gone):
        page.context.close()
    assert watch.problems + watch_second.problems + watch_gone.problems == []


def test_a_link_pasted_into_an_open_page(browser: Browser, server: str) -> None:
    """The page loads anew and follows it."""
    page, watch = open_page(browser, server)
    page.evaluate("location.hash = '#picture=meadow-5.png&pair=meadow&member=article&beside=meadow%2Fhalo'")
    page.locator(RUN1).wait_for()
    expect(page.locator("#status")).to_contain_text("meadow-5")
    expect(page.locator("#beside input")).to_have_value(re.compile("residual"))
    expect(page.locator("#member input").nth(1)).to_be_checked()
    page.context.close()
    # Gradio says on the console that the reload has cut its event stream.
    cut = ("AbortError", "Connection errored out")
    assert [p for p in watch.problems if not any(word in p for word in cut)] == []


def test_a_slow_run_does_not_overwrite_what_was_asked_for_later(visit: Page) -> None:
    """A large picture size is still running when an example is clicked: the example stays."""
    visit.locator("#imgsz input").click()
    visit.get_by_role("option", name="1280").click()
    photo = visit.locator("#examples button:has(img)").nth(1)
    with visit.expect_response(lambda r: "/queue/join" in r.url):
        photo.click()
    visit.locator("#imgsz input").click()
    visit.get_by_role("option", name="1280").click()
    with visit.expect_response(lambda r: "/queue/join" in r.url):
        visit.click("#run")
    meadow(visit)
    with visit.expect_download() as found:  # queued behind everything that was asked for before
        visit.click("#zip")
    assert "meadow-0" in found.value.suggested_filename
    expect(visit.locator("#status")).to_contain_text("meadow-0")


def test_a_damaged_link_is_said_to_be_one(browser: Browser, server: str) -> None:
    """Nothing of a link reaches the page as anything but text."""
    for fragment, words in (
        ("picture=<img src=x onerror=alert(1)>&conf=lots", "damaged"),
        ("picture=a.png&pair=nobody", "not here"),
        ("picture=bus.jpg&imgsz=99999999999999999999", "imgsz must be a multiple of 32"),
        (f"picture=bus.jpg&digest={'0' * 64}", "no longer here"),  # not the example of that name
        ("picture=a.png&pair=own", "someone's own weights"),
        ("picture=bus.jpg&view=level%3D<script>%26y%3D-1", "boxes"),
    ):
        page, watch = open_page(browser, f"{server}/#{fragment}")
        expect(page.locator("#status")).to_contain_text(words)
        wait_ready(page)
        page.context.close()
        assert watch.problems == []


def test_a_picture_of_the_page_has_the_photos_size(visit: Page, tmp_path: Path) -> None:
    """PNG from the explorer's own menu, with where it comes from."""
    meadow(visit)
    path = download(visit, ".halo-explorer [data-act=save]", tmp_path)
    image = Image.open(io.BytesIO(path.read_bytes()))
    about = json.loads(image.info["halo_vis"])
    assert about["pair"] == "meadow"
    assert image.width >= 2 * 640
