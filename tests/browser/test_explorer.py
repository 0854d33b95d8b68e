"""The explorer in a real browser: what pointer, keys and fingers do, and that what it says is what Python says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from plain import Plain
from playwright.sync_api import Browser, expect

from halo_vis import Inspection
from halo_vis.bench.site import Site

BLOCK = 8


def cell_of(seen: Inspection, level: str, x: float, y: float) -> tuple[str, int, int]:
    """Level and cell under a photo pixel, by hand: 810 x 1080 pixels, resized to 360 x 480, 12 from the left."""
    stride = seen.trace[level].stride
    return level, int(y * 480 / 1080 // stride), int((x * 360 / 810 + 12) // stride)


def to_edge(box: np.ndarray, x: float, y: float) -> float:
    """Photo pixels from a point to the border of a box."""
    x1, y1, x2, y2 = box
    dx, dy = max(x1 - x, 0, x - x2), max(y1 - y, 0, y - y2)
    return float(np.hypot(dx, dy)) if dx or dy else float(min(x - x1, x2 - x, y - y1, y2 - y))


def far_from_boxes(seen: Inspection) -> list[tuple[float, float]]:
    """Photo pixels that are near no edge and no label of a box."""
    boxes = np.concatenate([seen.baseline.xyxy, seen.halo.xyxy])
    places = [(float(x), float(y)) for y in range(40, 1060, 60) for x in range(30, 800, 60)]
    return [(x, y) for x, y in places if min(to_edge(box, x, y) for box in boxes) > 35]


# ------------------------------------------------------------------ the first look


def test_it_starts_with_the_strongest_detection(plain: Plain, bus_seen: Inspection) -> None:
    best = int(bus_seen.halo.conf.argmax())
    assert plain.state["box"] == {"side": "halo", "index": best}
    assert plain.at() == bus_seen.halo.queries[best]
    assert not plain.state["pinned"]
    expect(plain.tab.locator("[data-part=rows] tr[aria-current=true]")).to_have_count(1)


def test_the_hint_goes_away_for_good(plain: Plain, bus_seen: Inspection) -> None:
    """Two sentences, gone with the first choice, and not back with the next page."""
    expect(plain.part("hint")).to_be_visible()
    plain.hover(400, 130)
    expect(plain.part("hint")).to_be_visible()
    plain.click(400, 130)
    expect(plain.part("hint")).to_be_hidden()
    plain.tab.reload()
    plain.show(bus_seen)
    expect(plain.part("hint")).to_be_hidden()


def test_the_hint_can_be_closed(plain: Plain) -> None:
    before = plain.state
    plain.tab.locator("[data-act=hint]").click()
    expect(plain.part("hint")).to_be_hidden()
    assert plain.state == before


# ------------------------------------------------------------------ pointer and keys


@pytest.mark.parametrize("side", ["halo", "baseline"])
@pytest.mark.parametrize("level", ["P3", "P4", "P5"])
def test_hover_click_escape(plain: Plain, bus_seen: Inspection, side: str, level: str) -> None:
    """The cell under the pointer; a click pins it; Escape lets it follow again; on leaving, the choice is back."""
    plain.restore(level=level, box=None, pinned=False)
    places = far_from_boxes(bus_seen)[:: len(far_from_boxes(bus_seen)) // 5]
    for x, y in places:
        plain.hover(x, y, side)
        assert plain.at() == cell_of(bus_seen, level, x, y)
    assert not plain.state["pinned"]
    (x, y), (other_x, other_y) = places[1], places[3]
    plain.click(x, y, side)
    plain.hover(other_x, other_y, side)
    assert plain.state["pinned"]
    assert plain.at() == cell_of(bus_seen, level, x, y)
    plain.tab.keyboard.press("Escape")
    plain.hover(other_x + 1, other_y, side)
    assert plain.at() == cell_of(bus_seen, level, other_x + 1, other_y)
    plain.tab.mouse.move(2, 2)
    plain.settle()
    assert plain.at() == cell_of(bus_seen, level, x, y)


def test_keys(plain: Plain, bus_seen: Inspection) -> None:
    """Arrows move by a cell, with Shift by a block, up to the border of the photo; + - 0 zoom; c swaps the values."""
    plain.tab.evaluate("haloExplorer.select('P3', 20, 10)")
    plain.canvas().focus()
    for key, cell in (
        ("ArrowRight", (20, 11)),
        ("ArrowDown", (21, 11)),
        ("Shift+ArrowDown", (29, 11)),
        ("Shift+ArrowLeft", (29, 3)),
        ("Shift+ArrowLeft", (29, 1)),  # cell 0 shows padding only
        ("ArrowUp", (28, 1)),
    ):
        plain.tab.keyboard.press(key)
        assert plain.at() == ("P3", *cell), key
    plain.tab.keyboard.press("+")
    assert plain.state["zoom"]["scale"] > 1
    plain.tab.keyboard.press("-")
    assert plain.state["zoom"]["scale"] == pytest.approx(1)
    plain.tab.keyboard.press("+")
    plain.tab.keyboard.press("0")
    assert plain.state["zoom"]["scale"] == 1
    plain.tab.keyboard.press("c")
    assert plain.state["of"] == "contribution"
    plain.tab.keyboard.press("c")
    assert plain.state["of"] == "weight"


def test_tab_walks_through_the_detections(plain: Plain, bus_seen: Inspection) -> None:
    """The most certain first, each with its own query; then on to the rest of the page, and back again."""
    order = np.argsort(-bus_seen.halo.conf, kind="stable").tolist()
    plain.canvas().focus()
    plain.tab.keyboard.press("Tab")
    for index in order:
        assert plain.state["box"] == {"side": "halo", "index": index}
        assert plain.at() == bus_seen.halo.queries[index]
        assert plain.tab.evaluate("document.activeElement.dataset.side") == "halo"
        plain.tab.keyboard.press("Tab")
    assert plain.tab.evaluate("document.activeElement.dataset.side") is None
    plain.tab.keyboard.press("Shift+Tab")
    assert plain.tab.evaluate("document.activeElement.dataset.side") == "halo"
    plain.tab.keyboard.press("Shift+Tab")
    assert plain.state["box"] == {"side": "halo", "index": order[-1]}
    plain.tab.keyboard.press("Escape")  # lets go of the boxes: the next Tab leaves the photo
    plain.tab.keyboard.press("Tab")
    assert plain.tab.evaluate("document.activeElement.dataset.side") is None
    expect(plain.part("spoken")).to_contain_text("own block")


@pytest.mark.parametrize("side", ["halo", "baseline"])
def test_a_click_on_a_box_selects_the_cell_that_made_it(plain: Plain, bus_seen: Inspection, side: str) -> None:
    found = getattr(bus_seen, side)
    for index in range(len(found)):
        x1, y1, x2, y2 = found.xyxy[index].tolist()
        plain.restore(box=None, y=0, x=5, level="P5")
        edges = [(x, y) for y in np.linspace(y1 + 8, y2 - 8, 30).tolist() for x in (x1 + 1, x2 - 1) if 1 < x < 809]
        others = np.delete(found.xyxy, index, 0)
        alone = [(x, y) for x, y in edges if min(to_edge(box, x, y) for box in others) > 14]
        assert alone, "no place on this box's edge that is its own"
        for x, y in alone:
            plain.click(x, y, side)
            if plain.state["box"] == {"side": side, "index": index}:  # where no label lies over the edge
                break
        assert plain.state["box"] == {"side": side, "index": index}
        assert plain.at() == found.queries[index]


def test_a_row_of_the_table_selects_its_box(plain: Plain, bus_seen: Inspection) -> None:
    rows = plain.tab.locator("[data-part=rows] tr")
    assert rows.count() == len(bus_seen.matches)
    kinds = [m.kind for m in bus_seen.matches]
    assert kinds.count("kept") == 4 and kinds.count("lost") == 1
    expect(plain.part("counts")).to_have_text("kept 4, gained 0, lost 1")
    for n, match in enumerate(bus_seen.matches):
        rows.nth(n).focus()
        plain.tab.keyboard.press("Enter")
        side = "baseline" if match.halo is None else "halo"
        index = match.baseline if match.halo is None else match.halo
        assert plain.state["box"] == {"side": side, "index": index}
        assert plain.at() == getattr(bus_seen, side).queries[index]


def test_the_table_by_keyboard_alone(plain: Plain, bus_seen: Inspection) -> None:
    """Every row has one button, named like its class; a row that was clicked takes Enter and Space, too."""
    rows = plain.tab.locator("[data-part=rows] tr")
    assert rows.locator("[tabindex='0']").count() == 0
    for n, match in enumerate(bus_seen.matches):
        side = "baseline" if match.halo is None else "halo"
        box = {"side": side, "index": getattr(match, side)}
        button = rows.nth(n).get_by_role("button")
        expect(button).to_have_accessible_name(getattr(bus_seen, side).name(box["index"]))
        for target, key in ((button, "Enter"), (button, "Space"), (rows.nth(n), "Enter"), (rows.nth(n), "Space")):
            plain.restore(box=None, y=0, x=0)
            target.focus()
            plain.tab.keyboard.press(key)
            assert plain.state["box"] == box
        expect(button).to_have_attribute("aria-current", "true")
        expect(rows.locator("button[aria-current]")).to_have_count(1)


def test_the_titles_of_the_top_cells_are_of_what_is_shown(plain: Plain) -> None:
    """Also where a figure has changed that is in the title only."""
    said = plain.tab.evaluate("""() => {
      const host = document.querySelector(".halo-explorer");
      const figures = new HaloVis.readout.Figures(host);
      const button = host.querySelector("[data-part=top] button");
      return [1.5, 2.5].map((times) => {
        const top = [{ y: 1, x: 2, value: 0.25, times }];
        figures.show("en", { level: "P4", y: 0, x: 0, empty: false, entropy: 1, distance: 1, received: null, top });
        return [button.title, button.ariaLabel];
      });
    }""")
    assert said == [[f"P4 (1, 2): 25 %, {times} × uniform"] * 2 for times in ("1.50", "2.50")]


# ------------------------------------------------------------------ zoom


def test_the_wheel_zooms_where_the_pointer_is(plain: Plain) -> None:
    """What lies under the pointer stays there; both panels follow; a drag moves the photo; the buttons, too."""
    x, y = 250.0, 700.0
    plain.hover(x, y)
    for _ in range(8):
        plain.tab.mouse.wheel(0, -120)
        plain.settle()
    now = plain.state
    assert now["zoom"]["scale"] > 4
    assert now["photo"] == pytest.approx([x, y], abs=0.6)
    zoomed = {side: plain.shot(side) for side in ("halo", "baseline")}
    plain.tab.mouse.down()
    start = plain.place(x, y)
    plain.tab.mouse.move(start[0] + 60, start[1] + 30, steps=5)
    plain.tab.mouse.up()
    plain.settle()
    moved = plain.state
    width = plain.canvas().bounding_box()["width"]
    per_pixel = plain.size[0] / width / now["zoom"]["scale"]
    assert moved["zoom"]["x"] == pytest.approx(now["zoom"]["x"] - 60 * per_pixel, abs=0.6)
    assert moved["zoom"]["y"] == pytest.approx(now["zoom"]["y"] - 30 * per_pixel, abs=0.6)
    assert not moved["pinned"]  # a drag is no click
    for side, before in zoomed.items():
        assert np.abs(plain.shot(side) - before).max() > 60
    plain.tab.locator("[data-zoom=fit]").click()
    assert plain.state["zoom"]["scale"] == 1
    plain.tab.locator("[data-zoom=in]").click()
    assert plain.state["zoom"]["scale"] > 1
    fit = plain.tab.locator("[data-zoom=fit]")
    expect(fit).to_have_accessible_name("Show the whole photo, now 1.5 ×")
    expect(fit).to_have_text("1.5 ×")
    plain.tab.locator("[data-zoom=out]").click()
    assert plain.state["zoom"]["scale"] == pytest.approx(1)


def test_the_deepest_zoom_shows_cells(plain: Plain, bus_seen: Inspection) -> None:
    plain.hover(400, 130)
    for _ in range(60):
        plain.tab.mouse.wheel(0, -300)
    plain.settle()
    scale = plain.state["zoom"]["scale"]
    cell = bus_seen.trace["P3"].stride * 810 / 360 * plain.canvas().bounding_box()["width"] / 810 * scale
    assert cell > 40  # CSS pixels
    expect(plain.tab.locator("[data-zoom=in]")).to_be_disabled()
    plain.click(400, 500)
    assert plain.state["zoom"]["scale"] == scale


def test_a_wheel_that_scrolls_the_page_is_not_caught(plain: Plain) -> None:
    """Zooming out of a whole photo is scrolling."""
    plain.tab.set_viewport_size({"width": 900, "height": 400})
    plain.settle()
    plain.canvas().scroll_into_view_if_needed()
    box = plain.canvas().bounding_box()
    plain.tab.mouse.move(box["x"] + 60, min(380, box["y"] + 60))
    before = plain.tab.evaluate("scrollY")
    plain.tab.mouse.wheel(0, 200)
    plain.tab.wait_for_function(f"scrollY > {before}")
    assert plain.state["zoom"]["scale"] == 1


# ------------------------------------------------------------------ touch


@pytest.fixture
def phone(browser: Browser, site: Site, bus_seen: Inspection) -> Iterator[Plain]:
    visitor = Plain(browser, site, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    visitor.show(bus_seen)
    yield visitor
    visitor.close()


def test_a_tap_pins_and_a_box_can_be_tapped(phone: Plain, bus_seen: Inspection) -> None:
    phone.restore(level="P4", box=None)
    phone.tab.touchscreen.tap(*phone.place(400, 130))
    phone.settle()
    assert phone.at() == cell_of(bus_seen, "P4", 400, 130)
    assert phone.state["pinned"]
    x1, y1, _, y2 = bus_seen.halo.xyxy[0].tolist()
    phone.tab.touchscreen.tap(*phone.place(x1 + 3, y1 + 0.7 * (y2 - y1)))
    phone.settle()
    assert phone.state["box"] == {"side": "halo", "index": 0}
    assert phone.tab.evaluate("document.documentElement.scrollWidth") <= 390


def visual_order(plain: Plain) -> list[list[float]]:
    """Where Tab leads, in its order: the top of each control, and the top of the part of the viewer that it lies in."""
    return plain.tab.evaluate("""() => {
      const body = document.querySelector(".hx-body");
      const all = [...body.querySelectorAll("button, select, input, summary, canvas, [tabindex='0']")];
      const shown = all.filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex === 0);
      const part = (e) => { while (e.parentElement !== body) e = e.parentElement; return e; };
      const top = (e) => Math.min(...[e, ...e.children].map((c) => c.getBoundingClientRect().top || Infinity));
      return shown.map((e) => top(part(e)));
    }""")


def test_tab_follows_the_eye_on_a_phone(phone: Plain) -> None:
    """From top to bottom, in both arrangements of the panels, also after the phone was turned and turned back."""
    for mode in ("pair", "slider"):
        phone.restore(mode=mode, strip="heads")
        tops = visual_order(phone)
        assert len(set(tops)) > 4 and tops == sorted(tops)
    phone.tab.locator("[data-choice=mode] [data-value=slider]").focus()
    phone.tab.set_viewport_size({"width": 1000, "height": 390})
    phone.settle()
    first = phone.tab.evaluate("document.querySelector('.hx-body').firstElementChild.className")
    assert first == "hx-toolbar"
    phone.tab.set_viewport_size({"width": 390, "height": 844})
    phone.settle()
    tops = visual_order(phone)
    assert tops == sorted(tops)
    focused = "document.querySelector('[data-zoom=in]').focus(), controller.restore({mode: 'pair'})"
    phone.tab.evaluate(focused)
    assert phone.tab.evaluate("document.activeElement.dataset.zoom") == "in"


def test_two_fingers_zoom(phone: Plain) -> None:
    """What lay between the fingers stays between them, and is spread as they are."""
    x, y = phone.place(400, 500)
    phone.canvas().scroll_into_view_if_needed()
    phone.touch("touchStart", (x - 30, y), (x + 30, y))
    for apart in (40, 55, 70, 90):
        phone.touch("touchMove", (x - apart, y), (x + apart, y))
    phone.settle()
    zoom = phone.state["zoom"]
    phone.touch("touchEnd")
    assert zoom["scale"] == pytest.approx(3, rel=0.02)
    box = phone.canvas().bounding_box()
    u, v = (x - box["x"]) / box["width"], (y - box["y"]) / box["height"]
    assert zoom["x"] + (u - 0.5) * 810 / zoom["scale"] == pytest.approx(400, abs=3)
    assert zoom["y"] + (v - 0.5) * 1080 / zoom["scale"] == pytest.approx(500, abs=3)
    assert not phone.state["pinned"]  # a pinch is no tap


def test_a_finger_explores(phone: Plain, bus_seen: Inspection) -> None:
    """A finger that moves across shows the cells under it."""
    phone.restore(level="P3", box=None)
    y = 300
    phone.touch("touchStart", phone.place(200, y))
    seen = []
    for x in (230, 300, 400, 520):
        phone.touch("touchMove", phone.place(x, y))
        phone.settle()
        seen.append(phone.at())
    phone.touch("touchEnd")
    assert seen == [cell_of(bus_seen, "P3", x, y) for x in (230, 300, 400, 520)]


# ------------------------------------------------------------------ numbers


def percent(value: float) -> str:
    """As the page writes it."""
    return f"{100 * value:.{1 if 0 < value < 0.0995 else 0}f} %"


@pytest.mark.parametrize("head", [None, "max", 1])
@pytest.mark.parametrize("of", ["weight", "contribution", "content", "position"])
def test_numbers_are_pythons(plain: Plain, bus_seen: Inspection, head: int | str | None, of: str) -> None:
    """Mass, entropy, distance, the top five, outside the box, on the answer."""
    code = {None: -1, "max": -2}.get(head, head)
    box = {"side": "halo", "index": 1}
    plain.restore(level="P4", view="cell", head=code, of=of, box=box)
    level, y, x = plain.at()
    layer = bus_seen.trace[level]
    for key, share in layer.mass(y, x, head, of).items():
        assert plain.number(key) == percent(share), key
    assert float(plain.number("entropy")) == pytest.approx(layer.entropy(y, x, head, of), abs=0.0051)
    assert float(plain.number("distance").split()[0]) == pytest.approx(layer.distance(y, x, head, of), rel=0.02)
    for key, values in (("outside", "weight"), ("outside_contribution", "contribution")):
        share = layer.outside(y, x, bus_seen.halo.xyxy[1], head, values)
        assert plain.number(key) == percent(share), key
    buttons = plain.tab.locator("[data-part=top] button")
    for n, (cy, cx, value) in enumerate(layer.top(y, x, 5, head, of)):
        assert buttons.nth(n).inner_text() == f"({cy}, {cx}) {percent(value)}"
    plain.restore(level="P3", y=24, x=25, box=None)
    expected = bus_seen.trace["P3"].answer(24, 25, bus_seen.answers, head, of)
    expect(plain.part("answer")).to_be_visible()
    name, times = expected
    assert name == "door"
    assert float(plain.number("answer").split()[0]) == pytest.approx(times, abs=0.051)


def test_a_top_cell_leads_there(plain: Plain, bus_seen: Inspection) -> None:
    plain.restore(level="P4", y=10, x=10, box=None)
    cy, cx, _ = bus_seen.trace["P4"].top(10, 10, 5)[2]
    plain.tab.locator("[data-part=top] button").nth(2).click()
    assert plain.at() == ("P4", cy, cx)


def test_the_spoken_numbers(plain: Plain) -> None:
    """A screen reader hears, after a pause, where the keyboard has led."""
    plain.tab.evaluate("haloExplorer.select('P4', 10, 10)")
    plain.canvas().focus()
    plain.tab.keyboard.press("ArrowRight")
    expect(plain.part("spoken")).to_contain_text("P4 (10, 11)")
    expect(plain.part("spoken")).to_contain_text(re.compile(r"own block \d+"))
    assert plain.part("spoken").get_attribute("aria-live") == "polite"
