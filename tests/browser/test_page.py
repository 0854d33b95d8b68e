"""What a person does on the page, and what they see: pixels, numbers, files."""

from __future__ import annotations

import io
import json
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect
from samples import picture, random_model
from visitor import open_page, wait_ready

from halo_vis.weights import write_weights

HALO = "canvas[data-side=halo]"
BASELINE = "canvas[data-side=baseline]"


def state(page: Page) -> dict:
    """The explorer's view state."""
    return page.evaluate("window.haloExplorer.state()")


def press(page: Page, choice: str, value: str) -> None:
    """Press one of the explorer's buttons."""
    page.click(f".halo-explorer [data-choice={choice}] button[data-value='{value}']")


def click_photo(page: Page, canvas: str, x: float, y: float, size: tuple[int, int]) -> None:
    """Click a point given in photo pixels."""
    box = page.locator(canvas).bounding_box()
    page.locator(canvas).click(position={"x": x / size[0] * box["width"], "y": y / size[1] * box["height"]})


def shot(page: Page, canvas: str) -> np.ndarray:
    """The canvas as a person sees it, (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(page.locator(canvas).screenshot())).convert("RGB")).astype(int)


def run_picture(page: Page, path: Path) -> str:
    """Upload a picture, run it, wait for its result; returns the status line."""
    page.set_input_files("#picture input[type=file]", str(path))
    expect(page.locator("#picture img")).to_be_visible()
    page.click("#run")
    expect(page.locator("#status")).to_contain_text(path.name)
    wait_ready(page)
    return page.inner_text("#status")


def near(colour: tuple[int, ...], pixels: np.ndarray, tolerance: int = 40) -> bool:
    """Whether any of the pixels is about that colour."""
    return bool((np.abs(pixels.reshape(-1, 3) - colour).max(-1) <= tolerance).any())


def test_the_first_paint_is_an_explored_picture(visit: Page, server: str) -> None:
    """Nobody meets an empty form: bus.jpg is there, its strongest detection selected, before any model is asked."""
    is_at = state(visit)
    assert is_at["box"] is not None
    assert visit.locator(".halo-explorer tbody tr").count() >= 4
    weights = visit.evaluate("Array.from(window.haloExplorer.row('P4', 3, 3, -1))")
    assert abs(sum(weights) - 1) < 1e-5
    with urllib.request.urlopen(f"{server}/healthz") as answer:
        assert json.load(answer)["status"] == "ok"


def test_bus_from_upload_to_png(visit: Page, bus: Path, tmp_path: Path) -> None:
    """Acceptance point 3: run bus.jpg, click a cell and a box, switch layer and head, save, look at the pixels."""
    size = Image.open(bus).size
    assert "YOLO26" in visit.content()
    run_picture(visit, bus)

    press(visit, "level", "P4")
    click_photo(visit, HALO, 400, 130, size)  # wall, far from any box
    now = state(visit)
    # The photo's point through the letterbox by hand: 480 x 384 input for 810 x 1080, resized to 360 x 480, 12 left.
    assert (now["level"], now["y"], now["x"]) == ("P4", int(130 * 480 / 1080 // 16), int((400 * 360 / 810 + 12) // 16))
    assert now["box"] is None
    assert now["pinned"]

    expected = visit.evaluate("window.haloExplorer.row('P4', 3, 11, -1).length")
    assert expected == 14 * 14
    press(visit, "head", "0")
    assert state(visit)["head"] == 0
    one = visit.evaluate("Array.from(window.haloExplorer.row('P4', 3, 11, 0))")
    two = visit.evaluate("Array.from(window.haloExplorer.row('P4', 3, 11, 1))")
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) > 1e-6

    assert visit.locator(".halo-explorer tbody tr").count() >= 4

    # The overlay: fully opaque against fully transparent differs over the window, and nowhere near as much without it.
    heat = visit.locator("[data-set=opacity]")
    heat.fill("1")
    strong = shot(visit, HALO)
    heat.fill("0")
    none = shot(visit, HALO)
    assert (np.abs(strong - none).max(-1) > 30).mean() > 0.05
    heat.fill("0.65")

    # A row of the table selects its box.
    press(visit, "view", "cell")
    visit.locator(".halo-explorer tbody tr").first.click()
    assert state(visit)["box"] is not None
    visit.keyboard.press("Escape")
    visit.evaluate("window.haloExplorer.select('P5', 1, 1)")

    with visit.expect_download() as download:
        visit.locator(".halo-explorer [data-act=save]:visible").first.click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name.startswith("bus_photos_")
    saved = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert saved.shape[0] > size[1]
    assert saved.shape[1] >= 2 * size[0]
    # Nothing outside the letterbox: P5's window reaches beyond the photo, and what is between and beside the two
    # photographs is still paper.
    middle = saved.shape[1] // 2
    for strip in (saved[: size[1], middle - 5 : middle + 5], saved[: size[1], :10]):
        assert (strip == 255).all()
    assert near((0x00, 0x72, 0xB2), saved) or near((0x56, 0xB4, 0xE9), saved)  # boxes in their class colours


def test_a_click_on_a_box_selects_its_query(visit: Page, bus: Path) -> None:
    """The edge of a drawn box leads to the detection, on either panel."""
    size = Image.open(bus).size
    run_picture(visit, bus)
    # The bus of the label file: its upper edge, away from other boxes.
    for canvas, side in ((HALO, "halo"), (BASELINE, "baseline")):
        click_photo(visit, HALO, 400, 60, size)
        assert state(visit)["box"] is None
        y = 232
        found = None
        for offset in range(-14, 15, 2):  # the model's box lies within a few pixels of the label
            click_photo(visit, canvas, 520, y + offset, size)
            found = state(visit)["box"]
            if found:
                break
        assert found, f"no click near the bus's upper edge selected a box on the {side} panel"
        assert found["side"] == side


def test_blocks_and_received_views_draw(visit: Page) -> None:
    """The three views of the attention are three pictures, and weights differ from contributions."""
    press(visit, "level", "P4")
    pictures = {}
    for view in ("cell", "blocks", "received"):
        press(visit, "view", view)
        pictures[view] = shot(visit, HALO)
        assert state(visit)["view"] == view
    assert np.abs(pictures["blocks"] - pictures["received"]).max() > 30
    assert np.abs(pictures["cell"] - pictures["received"]).max() > 30
    press(visit, "of", "contribution")
    assert np.abs(shot(visit, HALO) - pictures["received"]).max() > 10


def test_own_attention_of_both_models(visit: Page) -> None:
    """Layers 10 and 22 for the same point, on both panels."""
    press(visit, "left", "layer10")
    ten = shot(visit, BASELINE)
    press(visit, "left", "layer22")
    assert np.abs(shot(visit, BASELINE) - ten).max() > 10
    press(visit, "left", "off")
    assert np.abs(shot(visit, BASELINE) - ten).max() > 10
    press(visit, "level", "layer10")
    row = visit.evaluate("Array.from(window.haloExplorer.row('layer10', 2, 2, -1))")
    assert abs(sum(row) - 1) < 1e-5


def test_keyboard(visit: Page) -> None:
    """Arrow keys move by a cell, with Shift by a block; the numbers are spoken."""
    visit.evaluate("window.haloExplorer.select('P3', 10, 10)")
    visit.locator(HALO).focus()
    visit.keyboard.press("ArrowRight")
    assert (state(visit)["y"], state(visit)["x"]) == (10, 11)
    visit.keyboard.press("Shift+ArrowDown")
    assert (state(visit)["y"], state(visit)["x"]) == (18, 11)
    expect(visit.locator(".halo-explorer [data-part=spoken]")).not_to_be_empty()


def test_all_files(visit: Page) -> None:
    """The zip holds what `inspect` writes."""
    with visit.expect_download() as download:
        visit.click("#zip")
    names = set(zipfile.ZipFile(download.value.path()).namelist())
    wanted = {
        "side_by_side.png",
        "attention_P3.png",
        "attention_P4.png",
        "attention_P5.png",
        "trace.npz",
        "detections.json",
    }
    assert wanted <= names


def test_meadow_example_and_its_two_halo_models(visit: Page) -> None:
    """An example runs by itself with the pair that suits it; the halo side switches between its two forms."""
    visit.locator("#examples button:has(img)").nth(2).click()
    expect(visit.locator("#status")).to_contain_text("meadow-")
    wait_ready(visit)
    row = "Array.from(window.haloExplorer.row('P4', 9, 9, -1)).join()"
    residual = visit.evaluate(row)
    visit.locator("#member label").nth(1).click()
    visit.click("#run")
    visit.wait_for_function(f"(residual) => window.haloExplorer.ready && {row} !== residual", arg=residual)
    visit.locator("#member label").first.click()
    visit.click("#run")
    visit.wait_for_function(f"(residual) => window.haloExplorer.ready && {row} === residual", arg=residual)


def test_a_language_is_chosen_once_the_page_speaks(browser: Browser, server: str) -> None:
    """The answer to the page's arrival, however late, undoes no choice: there is none before it."""
    page = browser.new_context(locale="en-GB").new_page()
    page.set_default_timeout(60_000)
    held: list[Route] = []
    page.route("**/queue/join**", lambda route: held.append(route))
    with page.expect_request("**/queue/join**"):
        page.goto(server)
    chinese = page.locator("#language input").nth(1)
    expect(chinese).to_be_disabled()
    page.route("**/queue/join**", lambda route: route.continue_())
    for route in held:
        route.continue_()
    expect(chinese).to_be_enabled()
    page.locator("#language label").nth(1).click()
    expect(page.locator("#run")).to_have_text("运行")
    expect(chinese).to_be_checked()
    page.context.close()


def test_chinese(browser: Browser, server: str) -> None:
    """A browser set to Chinese gets the page in Chinese, explorer included, and can switch."""
    page, watch = open_page(browser, server, locale="zh-CN")
    expect(page.locator("#run")).to_have_text("运行")
    expect(page.locator(".halo-explorer [data-choice=view] button").first).to_have_text("单元格")
    expect(page.locator("#status")).to_contain_text("预先计算")
    page.locator("#examples button:has(img)").nth(2).click()
    expect(page.locator("#status")).to_contain_text("meadow-")
    expect(page.locator("#member label").nth(1)).to_have_text("论文原版")
    page.locator("#member label").nth(1).click()
    page.locator("#language label").first.click()
    expect(page.locator("#run")).to_have_text("Run")
    expect(page.locator("#member label").nth(1)).to_have_text("article's form")
    assert page.locator("#member input").nth(1).is_checked()  # a change of words changes no choice
    page.context.close()
    assert watch.problems == []


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_phone(browser: Browser, server: str, colours: str) -> None:
    """On a phone: nothing wider than the screen, the halo view before the baseline."""
    page, watch = open_page(
        browser, server, viewport={"width": 390, "height": 844}, has_touch=True, color_scheme=colours
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator(HALO).bounding_box()["y"] < page.locator(BASELINE).bounding_box()["y"]
    page.locator(HALO).tap(position={"x": 60, "y": 60})
    assert state(page)["pinned"]
    page.context.close()
    assert watch.problems == []


def test_the_page_says_that_it_is_busy_until_it_has_answered(visit: Page, bus: Path, tmp_path: Path) -> None:
    """At once, over the old picture, which stays explorable; gone with the result, and with a refusal."""
    said = visit.locator(".hx-message")
    visit.evaluate("""() => {
        globalThis.heard = [];
        const line = document.querySelector(".hx-message");
        new MutationObserver(() => heard.push(line.hidden ? "" : line.textContent)).observe(line, { childList: true });
    }""")
    run_picture(visit, bus)
    expect(said).to_be_hidden()
    assert visit.evaluate("heard")[0] == "Running both models…"
    (tmp_path / "broken.jpg").write_bytes(b"this is no picture")
    visit.locator("#picture button[aria-label*='remove' i], #picture button[aria-label*='clear' i]").first.click()
    with visit.expect_response(lambda r: "/upload" in r.url):
        visit.set_input_files("#picture input[type=file]", str(tmp_path / "broken.jpg"))
    visit.evaluate("heard.length = 0")
    visit.click("#run")
    expect(visit.locator("#status [data-kind=error]")).to_be_visible()
    expect(said).to_be_hidden()
    assert visit.evaluate("heard")[0] == "Running both models…"
    assert visit.evaluate("haloExplorer.ready")


@pytest.mark.parametrize("name", ["broken.jpg", "<img src=x onerror=alert(1)>${alert(2)} 图.png"])
def test_odd_pictures(visit: Page, tmp_path: Path, name: str) -> None:
    """A file that is no picture gets a message; a name that looks like code is shown as text."""
    path = tmp_path / name
    if name == "broken.jpg":
        path.write_bytes(b"this is no picture")
    else:
        Image.new("RGB", (64, 48), "green").save(path)
    visit.on("dialog", lambda d: pytest.fail(f"a script ran: {d.message}"))
    with visit.expect_response(lambda r: "/upload" in r.url):
        visit.set_input_files("#picture input[type=file]", str(path))
    expect(visit.locator("#picture img")).to_be_attached()
    visit.click("#run")
    if name == "broken.jpg":
        expect(visit.locator("#status [data-kind=error]")).to_contain_text("picture")
    else:
        expect(visit.locator("#status")).to_contain_text(".png")
        wait_ready(visit)
    assert "Traceback" not in visit.inner_text("body")


def test_own_weights_with_masks(visit: Page, tmp_path: Path) -> None:
    """Two segmentation models of one's own, uploaded: their masks arrive and are drawn."""
    photo = tmp_path / "ripples.png"
    Image.fromarray(picture(300, 320)).save(photo)
    for form in ("baseline", "residual"):
        write_weights(tmp_path / f"{form}.safetensors", random_model(form, (300, 320), task="segment"), {"imgsz": 320})
    visit.get_by_role("button", name="More", exact=False).first.click()
    for number, form in ((1, "residual"), (0, "baseline")):  # a filled field has no input any more
        with visit.expect_response(lambda r: "/upload" in r.url):
            visit.locator("#own input[type=file]").nth(number).set_input_files(str(tmp_path / f"{form}.safetensors"))
    for box, option in (("#pair", "own weights"), ("#imgsz", "320")):
        visit.locator(f"{box} input").click()
        visit.get_by_role("option", name=option).click()
    visit.evaluate("""() => {
        const { load } = HaloVis.load;
        HaloVis.load.load = (payload, signal) => { globalThis.loaded = payload.meta; return load(payload, signal); };
    }""")
    run_picture(visit, photo)
    meta = visit.evaluate("loaded")
    assert meta["pair"]["task"] == "segment"
    masks = [d["polygon"] for d in meta["detections"]["halo"] if d["polygon"]]
    assert len(masks) > 0
    assert all(0 <= x <= 320 and 0 <= y <= 300 for mask in masks for x, y in mask)
    with_masks = shot(visit, HALO)
    visit.evaluate("document.querySelector('.halo-explorer .hx-more').open = true")
    visit.locator("[data-show=boxes]").uncheck()
    assert np.abs(shot(visit, HALO) - with_masks).max() > 30
