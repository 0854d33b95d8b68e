"""Views, heads, values, scales and comparisons in a real browser: every panel has the colours of Python's values."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from painted import BARE, check
from plain import Plain
from playwright.sync_api import expect
from ultralytics import ASSETS

from halo_vis import Inspection, inspect, load_pair, single
from halo_vis.view import View

LEVELS = ("P3", "P4", "P5")
ALL_OF = ("weight", "contribution", "content", "position")
POINTS = {"P3": (24, 25), "P4": (20, 1), "P5": (6, 8)}
BOX = {"side": "halo", "index": 1}


def bare(plain: Plain, **state: object) -> None:
    """Heat alone, opaque."""
    plain.restore(**{"show": BARE, "opacity": 1, "dim": 0, "pinned": True} | state)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("view", ["cell", "to", "box", "blocks", "received"])
def test_every_view_has_pythons_colours(plain: Plain, bus_seen: Inspection, view: str, level: str) -> None:
    """Every kind of value, the mean, the maximum and one head."""
    y, x = POINTS[level]
    bare(plain, level=level, y=y, x=x, box=BOX if view == "box" else None)
    for of in ALL_OF:
        for head in (-1, -2, 1):
            bare(plain, level=level, view=view, of=of, head=head)
            assert plain.state["view"] == view
            assert check(plain, bus_seen) > 20


@pytest.mark.parametrize("view", ["cell", "to", "box"])
@pytest.mark.parametrize("level", ["layer10", "layer22"])
def test_global_layers(plain: Plain, bus_seen: Inspection, level: str, view: str) -> None:
    """YOLO26's own attention of both models, on both panels."""
    for head in (-1, -2, 1):
        bare(plain, level=level, left=level, y=9, x=3, box=BOX if view == "box" else None, view=view, head=head)
        assert check(plain, bus_seen, "halo") > 100
        assert check(plain, bus_seen, "baseline") > 100


@pytest.mark.parametrize("left", ["control", "mask", "run1", "layer10", "layer22", "off"])
def test_every_source_on_the_left(plain: Plain, bus_seen: Inspection, left: str) -> None:
    plain.press("left", left)
    expect(plain.part("status-baseline")).to_be_hidden()
    for view in ("cell", "to", "blocks"):
        bare(plain, level="P4", left=left, y=20, x=8, box=None, view=view)
        assert (check(plain, bus_seen, "baseline") > 20) == (left != "off")


@pytest.mark.parametrize("left", ["control", "mask", "run1", "layer10"])
def test_difference(plain: Plain, bus_seen: Inspection, left: str) -> None:
    """Right minus left, in its own colours; offered only where it makes sense."""
    plain.press("left", left)
    level, y, x = ("layer10", 9, 3) if left == "layer10" else ("P4", 20, 8)
    plain.restore(level=level, y=y, x=x, box=None)
    plain.press("mode", "difference")
    for view, scale in (("cell", 4), ("to", "auto"), *((("received", 2),) if left != "layer10" else ())):
        bare(plain, view=view, scales={view: scale})
        assert check(plain, bus_seen) > 20
    expect(plain.part("title-halo")).to_have_text("Right minus left")
    plain.restore(level="P3" if left == "layer10" else "layer22")
    expect(plain.tab.locator("[data-choice=mode] [data-value=difference]")).to_be_disabled()
    assert check(plain, bus_seen) > 20


def test_logarithmic_scale(plain: Plain, bus_seen: Inspection) -> None:
    """1 / M to M, 1 in the middle, on the picture and on the bar."""
    bare(plain, level="P4", y=20, x=8, box=None, view="cell")
    box = plain.tab.locator("[data-flag=log]")
    plain.reach(box)
    box.check()
    for scale in (2, 8, "auto"):
        bare(plain, scale=scale)
        assert plain.state["log"]
        assert check(plain, bus_seen) > 100
        assert check(plain, bus_seen, "baseline") > 100
    bare(plain, scale=8)
    ticks = plain.part("bar-halo").locator(".hx-tick")
    texts = ticks.all_inner_texts()
    assert "1" in texts and texts[-1].endswith("8")
    middle = ticks.nth(texts.index("1")).evaluate("(tick) => tick.style.left")
    assert middle == "50%"


@pytest.mark.parametrize("scale", ["2", "4", "16", "auto"])
def test_scales(plain: Plain, bus_seen: Inspection, scale: str) -> None:
    """Chosen by hand; the same for every level and head, and only the automatic one says that it cannot be compared."""
    bare(plain, level="P5", y=6, x=8, box=None)
    plain.tab.locator("[data-set=scale]").select_option(scale)
    plain.settle()
    for level in LEVELS:
        y, x = POINTS[level]
        bare(plain, level=level, y=y, x=x)
        assert check(plain, bus_seen) > 20
        text = plain.part("bar-halo").inner_text()
        assert ("not comparable" in text) == (scale == "auto")


def test_colour_maps(plain: Plain, bus_seen: Inspection) -> None:
    """Each that Python knows; one of them is made for colour-blind eyes."""
    maps = plain.tab.locator("[data-set=map] option").all_text_contents()
    assert "cividis" in maps
    for name in maps:
        bare(plain, level="P4", y=20, x=8, box=None, map=name)
        assert check(plain, bus_seen) > 100


def test_opacity_and_dim(plain: Plain, bus_seen: Inspection) -> None:
    """What a person sets by the sliders is mixed as it says."""
    bare(plain, level="P4", y=20, x=8, box=None, opacity=0, view="received")
    photo = plain.canvas_pixels()
    bare(plain, opacity=1)
    heat = plain.canvas_pixels()
    plain.tab.locator("[data-set=opacity]").fill("0.5")
    plain.settle()
    mixed = plain.canvas_pixels()
    assert np.abs(mixed - (photo + heat) / 2).max() <= 2
    bare(plain, opacity=0)
    dim = plain.tab.locator("[data-set=dim]")
    plain.reach(dim)
    dim.fill("0.5")
    plain.settle()
    assert np.abs(plain.canvas_pixels() - photo / 2).mean() < 1


@pytest.mark.parametrize("name", ["boxes", "labels", "grid", "window"])
def test_what_is_drawn_over_the_photo_can_be_switched(plain: Plain, name: str) -> None:
    plain.restore(level="P4", y=20, x=8, box=None, opacity=0, show={"boxes": True, "labels": False, "grid": False})
    before = plain.canvas_pixels()
    switch = plain.tab.locator(f"[data-show={name}]")
    plain.reach(switch)
    switch.click()
    plain.settle()
    assert np.abs(plain.canvas_pixels() - before).max() > 40
    switch.click()
    plain.settle()
    assert (plain.canvas_pixels() == before).all()


# ------------------------------------------------------------------ the box view


def test_box_view_needs_a_box(plain: Plain, bus_seen: Inspection) -> None:
    """A click elsewhere ends it; selecting another box shows that one."""
    plain.tab.keyboard.press("Escape")
    plain.restore(level="P4", y=3, x=3, box=None)
    button = plain.tab.locator("[data-choice=view] [data-value=box]")
    expect(button).to_be_disabled()
    plain.tab.locator("[data-part=rows] tr").nth(0).click()
    button.click()
    assert plain.state["view"] == "box"
    for row in range(4):
        plain.tab.locator("[data-part=rows] tr").nth(row).click()
        bare(plain)
        assert plain.state["view"] == "box"
        assert check(plain, bus_seen) > 20
    plain.click(400, 130)
    assert plain.state["view"] == "cell"


def test_to_view_follows_the_pointer(plain: Plain, bus_seen: Inspection) -> None:
    bare(plain, level="P4", view="to", box=None, pinned=False)
    for x, y in ((400, 130), (120, 960), (700, 300)):
        plain.hover(x, y)
        assert check(plain, bus_seen) > 20


# ------------------------------------------------------------------ strips


def strip_shots(plain: Plain) -> list[np.ndarray]:
    return [plain.shot(button.locator("canvas")) for button in plain.part("strip").locator("button").all()]


def test_levels_strip(plain: Plain) -> None:
    """P3, P4, P5 of the same point at once, live; a click takes one."""
    plain.press("strip", "levels")
    plain.restore(box=None, y=20, x=8, pinned=False)
    buttons = plain.part("strip").locator("button")
    assert buttons.all_inner_texts() == list(LEVELS)
    plain.hover(400, 130)
    before = strip_shots(plain)
    for a, b in pairwise(before):
        assert a.shape != b.shape or np.abs(a - b).max() > 40
    plain.hover(200, 800)
    for a, b in zip(before, strip_shots(plain), strict=True):
        assert np.abs(a - b).max() > 40
    for n, level in enumerate(LEVELS):
        buttons.nth(n).click()
        assert plain.state["level"] == level
        expect(buttons.nth(n)).to_have_attribute("aria-pressed", "true")


def test_heads_strip(plain: Plain, bus_seen: Inspection) -> None:
    """Every head of a layer, the mean and the maximum, live; a click takes one."""
    for level in LEVELS:
        plain.restore(level=level, box=None, y=4, x=4, pinned=False)
        plain.press("strip", "heads")
        heads = bus_seen.trace[level].heads
        buttons = plain.part("strip").locator("button")
        assert buttons.all_inner_texts() == ["mean", "max", *map(str, range(1, heads + 1))]
        plain.hover(400, 130)
        before = strip_shots(plain)
        plain.hover(300, 700)
        for a, b in zip(before, strip_shots(plain), strict=True):
            assert np.abs(a - b).max() > 30
        buttons.nth(1 + heads).click()
        assert plain.state["head"] == heads - 1
        buttons.nth(1).click()
        assert plain.state["head"] == -2
        buttons.nth(0).click()
        assert plain.state["head"] == -1
    plain.press("strip", "off")
    expect(plain.part("strip")).to_be_hidden()


def test_one_head_is_one_choice(plain: Plain) -> None:
    """Its mean and its maximum would be the same map three times."""
    seen = inspect(load_pair("meadow", member="quarter"), ASSETS / "bus.jpg", 0.1, device="cpu")
    assert [seen.trace[level].heads for level in LEVELS] == [1, 1, 2]
    plain.show(seen)
    heads, small = plain.part("heads").locator("button"), plain.part("strip").locator("button")
    plain.press("strip", "heads")
    plain.restore(level="P5", y=3, x=4, box=None, head=1)
    assert heads.all_inner_texts() == small.all_inner_texts() == ["mean", "max", "1", "2"]
    for head in (1, -2, -1):
        plain.restore(level="P5", head=head)
        bare(plain, level="P3", y=24, x=25)
        assert heads.all_inner_texts() == small.all_inner_texts() == ["1"]
        for button in (heads, small):
            expect(button).to_have_attribute("aria-pressed", "true")
        expect(heads).to_have_attribute("title", "its only head")
        expect(plain.tab.locator("[data-badge=badgeMax]")).to_have_count(0)
        assert check(plain, seen) > 20


def test_levels_strip_beside_a_difference(plain: Plain) -> None:
    """The small views are the maps themselves, in the colours of the maps."""
    plain.restore(left="mask", strip="levels", box=None, y=20, x=8, level="P4")
    before = strip_shots(plain)
    plain.restore(mode="difference")
    expect(plain.part("title-halo")).to_have_text("Right minus left")
    for a, b in zip(before, strip_shots(plain), strict=True):
        assert (a == b).all()


# ------------------------------------------------------------------ comparing


def test_slider(plain: Plain, bus_seen: Inspection) -> None:
    """Left of the line the left model, right of it the right one; moved by mouse and by keys."""
    bare(plain, level="P4", view="received", left="run1", box=None, pinned=False)
    plain.press("mode", "slider")
    before = plain.state
    divider = plain.part("divider")
    expect(divider).to_be_visible()
    expect(plain.canvas("baseline")).to_be_hidden()
    box = plain.canvas().bounding_box()
    for share in (0.25, 0.8):
        now = divider.bounding_box()
        plain.tab.mouse.move(now["x"] + now["width"] / 2, now["y"] + 40)
        plain.tab.mouse.down()
        plain.tab.mouse.move(box["x"] + share * box["width"], box["y"] + 60, steps=4)
        plain.tab.mouse.up()
        plain.settle()
        assert plain.state["curtain"] == pytest.approx(share, abs=0.02)
        assert check(plain, bus_seen, "baseline", (0, plain.state["curtain"] - 0.02)) > 50
        assert check(plain, bus_seen, "halo", (plain.state["curtain"] + 0.02, 1)) > 50
    for name in ("pinned", "box", "y", "x", "zoom"):  # a drag of the line chooses nothing
        assert plain.state[name] == before[name]
    divider.focus()
    for key, value in (("Home", 0), ("ArrowRight", 0.01), ("Shift+ArrowRight", 0.11), ("End", 1), ("ArrowLeft", 0.99)):
        plain.tab.keyboard.press(key)
        assert plain.state["curtain"] == pytest.approx(value)
        expect(divider).to_have_attribute("aria-valuenow", str(round(100 * value)))
    plain.press("mode", "pair")
    expect(plain.canvas("baseline")).to_be_visible()


@pytest.mark.parametrize(
    ("left", "title", "sentence", "badge"),
    [
        ("control", "Control", "random projections", "badgeControl"),
        ("mask", "Published mask", "inverted", "badgeMaskPublished"),
        ("run1", "meadow", "", ""),
    ],
)
def test_what_stands_on_the_left_is_explained(plain: Plain, left: str, title: str, sentence: str, badge: str) -> None:
    plain.press("left", left)
    expect(plain.part("title-baseline")).to_contain_text(title)
    expect(plain.part("note-baseline")).to_contain_text(sentence)
    if badge:
        expect(plain.tab.locator(f"[data-badge={badge}]")).to_be_visible()
    else:
        expect(plain.part("note-baseline")).to_have_text("")


def test_another_runs_boxes(plain: Plain, bus_seen: Inspection) -> None:
    """Its detections are on the left, matched with ours; they lead to its queries."""
    plain.press("left", "run1")
    run = bus_seen.beside[0]
    rows = plain.tab.locator("[data-part=rows] tr")
    assert rows.count() == len(run.matches)
    lost = plain.tab.locator("[data-part=rows] tr[data-side=baseline]").first
    lost.click()
    index = int(lost.get_attribute("data-index"))
    assert plain.state["box"] == {"side": "baseline", "index": index}
    assert plain.at() == run.detections.queries[index]
    plain.press("left", "layer10")
    assert plain.state["box"] is None
    assert rows.count() == len(bus_seen.matches)


def test_a_source_that_cannot_be_had_says_so(plain: Plain, bus_seen: Inspection) -> None:
    """And works once it is there."""
    address = next(url for url in plain.site.files if url.endswith("control.bin") and url.startswith(plain.name))
    body = plain.site.files.pop(address)
    plain.press("left", "control")
    expect(plain.part("status-baseline")).to_contain_text("404")
    plain.watch.problems.clear()  # the browser's own note of the 404
    plain.site.files[address] = body
    plain.press("left", "layer10")
    plain.press("left", "control")
    expect(plain.part("status-baseline")).to_be_hidden()
    bare(plain, level="P4", y=20, x=8, box=None)
    assert check(plain, bus_seen, "baseline") > 20


def test_two_runs_of_one_name_have_their_own_titles(plain: Plain, bus_seen: Inspection) -> None:
    """The same button, another picture's run: the title says which."""
    (run,) = bus_seen.beside
    for title in ("first", "second"):
        plain.show(replace(bus_seen, beside=(replace(run, title=title),)))
        button = plain.tab.locator("[data-choice=left] [data-value=run1]")
        expect(button).to_have_attribute("title", f"The same layer of {title}")


def test_large_models_have_layers_of_other_names(plain: Plain, bus_seen: Inspection) -> None:
    """layer10.1 of the scales l and x: on its buttons, in titles, numbers and links."""
    own = {
        side: {"layer10": layers["layer10"], "layer10.1": layers["layer22"]}
        for side, layers in bus_seen.global_attention.items()
    }
    plain.show(replace(bus_seen, global_attention=own))
    name = "layer 10, block 2"
    for choice, side in (("level", "halo"), ("left", "baseline")):
        button = plain.tab.locator(f"[data-choice={choice}] [data-value='layer10.1']")
        expect(button).to_have_text(name)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(plain.canvas(side)).to_have_attribute("aria-label", re.compile(re.escape(name)))
    assert plain.tab.locator("[data-choice=level] button").all_inner_texts() == [*LEVELS, "layer 10", name]
    assert plain.number("cell").startswith(name)
    plain.tab.evaluate("(link) => controller.restore(link)", plain.tab.evaluate("haloExplorer.link()"))
    assert (plain.state["level"], plain.state["left"]) == ("layer10.1", "layer10.1")


def test_warnings(plain: Plain) -> None:
    """Only those that are true of what is shown."""
    badge = plain.tab.locator(".hx-badges li")
    assert badge.first.get_attribute("data-badge") == "badgeMemorised"
    expect(plain.tab.locator("[data-badge=badgeUntrained]")).to_have_count(0)
    expect(plain.tab.locator("[data-badge=badgePadding]")).to_have_count(0)
    most = plain.tab.locator("[data-badge=badgeMax]")
    expect(most).to_have_count(0)
    plain.restore(head=-2)
    expect(most).to_have_text("maximum over heads: does not sum to 1")


# ------------------------------------------------------------------ links


def test_a_link_brings_the_view_back(plain: Plain, bus_seen: Inspection) -> None:
    wanted = {
        "level": "P3", "y": 24, "x": 25, "box": None, "view": "to", "of": "content", "head": 1, "left": "mask",
        "mode": "slider", "curtain": 0.31, "strip": "heads", "log": True, "opacity": 0.45, "dim": 0.2, "map": "cividis",
        "scales": {"cell": 8, "box": 4, "to": "auto", "blocks": 4, "received": 2},
        "show": {"boxes": False, "labels": True, "grid": True, "window": False},
        "zoom": {"scale": 2.5, "x": 300, "y": 500},
    }  # fmt: skip
    plain.restore(**wanted)
    before = plain.state
    for name, value in wanted.items():
        assert before[name] == value, name
    link = plain.tab.evaluate("haloExplorer.link()")
    plain.tab.reload()
    plain.show(bus_seen)
    assert plain.state["view"] == "cell"
    plain.tab.evaluate("(link) => controller.restore(link)", link)
    plain.settle()
    after = plain.state
    assert {k: v for k, v in after.items() if k != "pinned"} == {k: v for k, v in before.items() if k != "pinned"}


def test_a_link_is_copied(plain: Plain) -> None:
    plain.context.grant_permissions(["clipboard-read", "clipboard-write"])
    plain.restore(level="P3", y=7, x=9, box=None)
    plain.tab.locator(".hx-menu summary").click()
    plain.tab.locator("[data-export=link]").click()
    expect(plain.part("told")).to_contain_text("copied")
    copied = plain.tab.evaluate("navigator.clipboard.readText()")
    assert copied == f"{plain.tab.url}#{plain.tab.evaluate('haloExplorer.link()')}"
    assert "level=P3&y=7&x=9" in copied


def test_a_link_rebuilds_the_view(plain: Plain) -> None:
    """Whatever was there before: the same view as on a fresh page; a colour map that is the first one is not in it."""
    plain.restore(level="P5", y=3, x=4, box=None)
    link = plain.tab.evaluate("haloExplorer.link()")
    assert link == "level=P5&y=3&x=4"
    wanted = plain.state
    plain.restore(
        level="P3", left="mask", mode="difference", view="to", of="content", head=-2, log=True, opacity=0.2, dim=0.4,
        map="cividis", box=BOX, scales={"to": "auto"}, show=BARE, zoom={"scale": 3, "x": 300, "y": 500}, pinned=True,
    )  # fmt: skip
    plain.tab.evaluate("(link) => controller.restore(link)", f"#{link}")
    plain.settle()
    assert plain.state == wanted


def test_a_link_rebuilds_the_view_of_a_file(plain: Plain, bus_seen: Inspection, tmp_path: Path) -> None:
    """What stands behind the address of a file is the whole view, not a change of the one that the file starts with."""
    path = tmp_path / "a.html"
    view = View(level="P5", y=3, x=4, left="mask", head="max", of="content", log=True)
    path.write_text(single.html(bus_seen, view, control=False), encoding="utf-8")
    tab = plain.context.new_page()
    states = []
    for fragment in ("#level=P4&y=2&x=1", "#level=P3&y=9&x=8&head=1", "#level=P4&y=2&x=1"):
        tab.goto(path.as_uri() + fragment)
        tab.wait_for_function("(link) => window.haloExplorer?.ready && haloExplorer.link() === link", arg=fragment[1:])
        states.append(tab.evaluate("haloExplorer.state()"))
    assert states[0] == states[2]
    assert (states[0]["left"], states[0]["head"], states[1]["head"], states[1]["log"]) == ("layer10", -1, 1, False)


@pytest.mark.parametrize(
    "link", ["level=<script>&y=-1&x=1e9&head=99", "%%%", "zoom=0,NaN,x&scales=cell.&show=x", "box=halo.999"]
)
def test_a_link_that_makes_no_sense_changes_nothing(plain: Plain, link: str) -> None:
    before = plain.state
    plain.tab.evaluate("(link) => controller.restore(link)", link)
    plain.settle()
    assert {**plain.state, "box": None} == {**before, "box": None}
