"""Attention epoch by epoch, in a real browser: slider, files, pixels, numbers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import numpy as np
import pytest
import run_samples
from playwright.sync_api import Browser, expect
from run_visitor import EPOCHS, GREY, RunPage, sites_files, value

from halo_vis import Inspection, load_pair
from halo_vis.bench.site import Site
from halo_vis.drawing import PALETTE, colormap_hex
from halo_vis.inspection import inspect

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def runs_site() -> Iterator[Site]:
    with Site(sites_files()) as up:
        yield up


@pytest.fixture
def page(browser: Browser, runs_site: Site) -> Iterator[RunPage]:
    """A desktop visitor of a run in flight; at the end nothing may have gone wrong."""
    visitor = RunPage(browser, runs_site)
    visitor.show(value(run_samples.snapshot()))
    yield visitor
    visitor.close()


def test_the_palette_is_the_explorers() -> None:
    kept = json.loads((run_samples.FOLDER / "colours.json").read_text())
    assert kept == {"map": colormap_hex("magma"), "palette": list(PALETTE)}


def test_the_slider_shows_the_attention_of_an_epoch(page: RunPage) -> None:
    """Follows the newest epoch until it is moved; then it stays where the person left it."""
    slider = page.at("input[type=range]")
    about = run_samples.probe(240, 240)
    assert page.member("halo")["epoch"] == 17
    seen = {}
    slider.focus()
    for epoch in (16, 15, 14):
        page.tab.keyboard.press("ArrowLeft")
        page.settle()
        seen[epoch] = page.member("halo")
    assert [s["epoch"] for s in seen.values()] == [16, 15, 14]
    wanted = run_samples.frames(about, "halo", 14)[14]["levels"]["P4"]
    half = np.frombuffer(base64.b64decode(wanted["weights"]), "<f2").astype(float)
    assert np.abs(np.array(seen[14]["weights"]) - half[:196]).max() == 0
    expect(page.at(".hr-at strong")).to_have_text("epoch 14 of 30")
    assert slider.get_attribute("aria-valuetext") == "epoch 14 of 30"
    assert page.at(".hr-mini [data-now='14']").count() == 2
    slider.fill("0")
    page.settle()
    expect(page.at(".hr-at strong")).to_have_text("before training")
    slider.fill("28")
    page.settle()
    assert page.member("baseline")["epoch"] == 28
    expect(page.at(".hr-panel[data-member=halo] .hr-message")).to_have_text("halo has no epoch 28 yet")


def test_frames_are_fetched_again_only_for_a_new_version(page: RunPage, runs_site: Site) -> None:
    assert len(page.fetched) == 2
    page.at("input[type=range]").fill("5")
    page.press("level", ".hr-panel[data-member=halo]", value="P5")
    page.at(".hr-panel[data-member=halo] select").select_option(index=3)
    page.show(value(run_samples.later(18, batch=9)))
    assert len(page.fetched) == 2
    about = run_samples.probe(240, 240)
    runs_site.files["more.jsonl"] = run_samples.lines(run_samples.frames(about, "halo", 18)) + b'{"epoch": 19, "lev'
    more = run_samples.later(18) | {"attention": {"members": {"baseline": 31, "halo": 19}, "version": 50000}}
    page.show(value(more, halo="more.jsonl"))
    assert len(page.fetched) == 4
    now = page.member("halo")
    assert [now["epoch"], now["level"], now["head"], now["epochs"][-1]] == [5, "P5", 2, 18]
    assert page.at("input[type=range]").input_value() == "5"
    page.tab.evaluate("window.haloRuns.epoch(30)")
    page.show(value(more | {"state": "finished"}, halo="more.jsonl"))
    assert page.tab.evaluate("window.haloRuns.epoch()") == 30


def test_play_goes_through_the_epochs_and_stops_at_the_end(page: RunPage) -> None:
    page.at("input[type=range]").fill("27")
    page.at("button[data-act=play]").click()
    expect(page.at("button[data-act=play]")).to_have_text("Pause")
    page.tab.wait_for_function("window.haloRuns.epoch() === 30")
    expect(page.at("button[data-act=play]")).to_have_text("Play")
    page.at("button[data-act=play]").click()  # from the start again
    page.tab.wait_for_function("window.haloRuns.epoch() === 1")
    page.at("button[data-act=play]").click()
    stopped = page.tab.evaluate("window.haloRuns.epoch()")
    page.show(value(run_samples.later(18)))
    assert page.tab.evaluate("window.haloRuns.epoch()") == stopped


def test_the_heat_has_the_explorers_colours_in_the_right_cells(browser: Browser, runs_site: Site) -> None:
    """On a grey picture every cell's colour can be computed: grey under 60 % of the colour map, on one scale."""
    page = RunPage(browser, runs_site, viewport={"width": 1132, "height": 1000})
    page.show(value(run_samples.snapshot(), picture="grey.png"))
    page.at("input[data-act=boxes]").uncheck()
    page.settle()
    colours = np.frombuffer(bytes.fromhex(colormap_hex("magma")), np.uint8).reshape(256, 3).astype(float)
    for epoch in (0, 8, 17):
        page.tab.evaluate("(n) => window.haloRuns.epoch(n)", epoch)
        page.settle()
        now, pixels = page.member("halo"), page.pixels("halo")
        level = run_samples.frames(run_samples.probe(240, 240), "halo", epoch)[epoch]["levels"]["P4"]
        times = np.array(now["weights"]).reshape(14, 14) / level["uniform"]
        side = pixels.shape[0] / level["h"]
        checked = 0
        for i, j in np.ndindex(14, 14):
            y, x = level["y0"] + i, level["x0"] + j
            edge = i in (0, 3, 10, 13) or j in (0, 3, 10, 13) or (abs(y - level["y"]) < 2 and abs(x - level["x"]) < 2)
            if edge or not (0 <= y < level["h"] and 0 <= x < level["w"]):
                continue  # outlines lie there, or nothing
            at = min(255, int(min(1, times[i, j] / now["end"]) * 256))
            wanted = 0.4 * GREY + 0.6 * colours[at]
            got = pixels[int((y + 0.5) * side), int((x + 0.5) * side)]
            assert np.abs(got - wanted).max() <= 3, (epoch, i, j, got, wanted)
            checked += 1
        assert checked > 80
        assert (np.abs(pixels[3, 3] - 0.72 * GREY) <= 2).all(), "dimmed outside the window"
    ends = {page.tab.evaluate(f"(window.haloRuns.epoch({n}), window.haloRuns.member('halo').end)") for n in range(18)}
    assert len(ends) == 1
    page.close()


def test_boxes_levels_heads_and_the_logarithm_change_the_picture(page: RunPage) -> None:
    def changed(act: object) -> bool:
        before = page.pixels("halo")
        act()
        page.settle()
        return bool((page.pixels("halo") != before).any())

    assert changed(lambda: page.at("input[data-act=boxes]").uncheck())
    assert changed(lambda: page.at("input[data-act=heat-log]").check())
    expect(page.at(".hr-panel[data-member=halo] .hx-unit")).to_contain_text("log")
    assert changed(lambda: page.press("level", ".hr-panel[data-member=halo]", value="P3"))
    assert page.figure("cell", ".hr-panel[data-member=halo]") == "P3 (22, 18)"
    assert changed(lambda: page.at(".hr-panel[data-member=halo] select").select_option(index=2))
    assert changed(lambda: page.tab.evaluate("window.haloRuns.level('layer22')"))
    assert [page.member(m)["level"] for m in EPOCHS] == ["layer22", "layer22"]
    assert page.at(".hr-panel[data-member=halo] [data-figure=ownBlock]").count() == 0, "a global layer has no block"


@pytest.fixture(scope="module")
def looked() -> tuple[Inspection, bytes, dict]:
    """A real look of the trained meadow model at a picture, as the worker writes it, and the same by `inspect`."""
    from halo_vis.picture import read_picture
    from halo_vis.training.probe import level_frame

    picture = read_picture(run_samples.PICTURE)
    seen = inspect(load_pair("meadow"), run_samples.PICTURE, device="cpu")
    height, width = picture.pixels.shape[:2]
    query = (height * 0.93, width * 0.4)  # in a block that the lower edge cuts, or near it
    levels = {name: level_frame(level, query) for name, level in seen.trace.levels.items()}
    box = seen.trace.letterbox
    about = run_samples.probe(width, height) | {
        "query": {"y": query[0], "x": query[1]},
        "letterbox": {"scale": box.new_width / box.photo_width, "left": box.left, "top": box.top},
        "imgsz": [box.input_height, box.input_width],
    }
    return seen, run_samples.lines([{"epoch": 0, "mAP50": 0.4, "levels": levels, "boxes": []}]), about


def test_numbers_are_those_of_the_library(page: RunPage, runs_site: Site, looked: tuple) -> None:
    """Masses, entropy and times uniform of every level and head agree with halo_vis.maps, to what fp16 leaves."""
    seen, frames, about = looked
    runs_site.files["real.jsonl"] = frames
    what = value(run_samples.snapshot("real"), halo="real.jsonl")
    what["attention"]["real"] = {"halo": what["attention"]["real"]["halo"] | {"probe": about}, "version": 1}
    page.show(what)
    for name, level in seen.trace.levels.items():
        y, x = level.letterbox.cell_at(about["query"]["y"], about["query"]["x"], level.stride)
        for head in (None, *range(level.heads)):
            page.tab.evaluate(
                "([level, head]) => { haloRuns.level(level); haloRuns.head(head); }",
                [name, -1 if head is None else head],
            )
            got = page.member("halo")["numbers"]
            for part, share in level.mass(y, x, head).items():
                assert abs(got["mass"][part] - share) < 1e-3
            assert abs(got["entropy"] - level.entropy(y, x, head)) < 1e-3
            row = level.row(y, x, head)
            times = row.max() * level.allowed(y, x).sum()
            assert abs(got["peak"]["times"] - times) < 1e-3 * times + 1e-3
            origin, _ = level.place(y, x)
            at = np.add(np.unravel_index(row.argmax(), row.shape), origin)
            assert [got["peak"]["y"], got["peak"]["x"]] == at.tolist()


def test_frames_that_are_missing_say_so_and_come_later(page: RunPage, runs_site: Site) -> None:
    page.show(value(run_samples.snapshot("fresh"), halo="nowhere.jsonl"))
    expect(page.at(".hr-panel[data-member=halo] .hr-message")).to_contain_text("could not be shown: 404")
    page.watch.problems.clear()  # the browser's own note of what is missing
    runs_site.files["nowhere.jsonl"] = runs_site.files["halo.jsonl"]
    page.show(value(run_samples.snapshot("fresh"), halo="nowhere.jsonl"))
    assert page.member("halo")["epoch"] == 17
    empty = {"runs": [run_samples.snapshot("none")], "attention": {}, "lang": "en"}
    page.show(empty)
    expect(page.at(".hr-nothing")).to_have_text("The attention of the probe's query appears with the first epoch.")
