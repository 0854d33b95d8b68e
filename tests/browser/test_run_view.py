"""Runs as they train, in a real browser: progress, curves, comparison, log."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import run_samples
from playwright.sync_api import Browser, expect
from run_visitor import RunPage, sites_files, value

from halo_vis.bench.site import Site

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


def test_progress_in_figures_and_for_screen_readers(page: RunPage) -> None:
    bar = page.tab.get_by_role("progressbar")
    assert bar.get_attribute("aria-valuenow") == "78"
    assert bar.get_attribute("aria-valuetext") == "78 %, halo, epoch 18 of 30"
    assert [page.figure(k) for k in ("member", "epoch", "batch", "speed", "left", "memory", "cpu")] == [
        "halo (2/2)", "18 of 30", "17 of 51", "31 pictures/s", "2 min 40 s", "1.2 GB", "96 %",
    ]  # fmt: skip
    said = page.at("[aria-live=polite]")
    expect(said).to_have_text("meadow, halo layers and head: Running.")
    page.tab.evaluate(
        """() => {
          window.spoken = 0;
          const watch = new MutationObserver(() => window.spoken++);
          const said = document.querySelector("[aria-live=polite]");
          watch.observe(said, { childList: true, characterData: true, subtree: true });
        }"""
    )
    page.show(value(run_samples.later(18, batch=50, epoch=19, done=0.81)))
    assert page.figure("batch") == "50 of 51"
    assert page.tab.evaluate("window.spoken") == 0, "a batch is no news"
    trouble = {"kind": "memory", "message": "No memory for a batch of 16.", "next": "Take a smaller batch.", "batch": 4}
    page.show(value(run_samples.snapshot(state="failed", error=trouble)))
    assert page.tab.evaluate("window.spoken") > 0
    expect(said).to_contain_text("Failed. No memory for a batch of 16. Take a smaller batch.")
    expect(page.at(".hr-error")).to_contain_text("Out of memory No memory for a batch of 16.")
    expect(page.at(".hr-error")).to_contain_text("Suggested batch: 4")
    assert page.figure("speed") == "–"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "queued", "queue": 3}, "Place 3 in the queue"),
        ({"state": "stopping"}, "Ends after this epoch; nothing is lost"),
        ({"state": "interrupted", "actions": ["resume"]}, "Can be resumed after its last whole epoch"),
        ({"state": "new"}, ""),
        ({"state": "finished"}, ""),
    ],
)
def test_every_state_says_what_it_means(page: RunPage, changes: dict, words: str) -> None:
    page.show(value(run_samples.snapshot(**changes)))
    expect(page.at(".hr-state")).to_have_attribute("data-state", changes["state"])
    assert page.at(".hr-doing").inner_text() == words


def test_nothing_moves_while_it_trains(page: RunPage) -> None:
    """Figures of other lengths, a new epoch, another phase: every part stays where it is."""
    parts = (".hr-figures", ".hr-charts", ".hr-readout", ".hr-stage", ".hr-track", ".hr-log summary")
    before = page.boxes(*parts)
    page.show(
        value(
            run_samples.later(
                19, batch=3, epoch=20, left_s=36.0, elapsed_s=3720.0, phase="validating", images_per_s=8.13
            )
        )
    )
    assert page.boxes(*parts) == before
    page.show(value(run_samples.later(19, left_s=None, images_per_s=None, memory_gb=None, batch=None)))
    assert page.boxes(*parts) == before


def test_hover_keys_and_touch_read_all_curves(page: RunPage) -> None:
    snap = run_samples.snapshot()["members"]
    head, baseline, halo = page.readout()
    assert head[0] == "Latest epoch of each curve"
    assert [baseline[1], halo[1]] == ["30", "17"]
    page.hover("mAP50", 9 / 29)  # epochs 1 to 30 on the axis
    head, baseline, halo = page.readout()
    assert head[0] == "At epoch 10"
    for row, member in ((baseline, snap[0]), (halo, snap[1])):
        curves = member["curves"]
        assert row[1:5] == [
            "10",
            f"{curves['loss'][9]:.3f}",
            f"{curves['val_loss'][9]:.3f}",
            f"{curves['mAP50'][9]:.3f}",
        ]
    page.tab.mouse.move(5, 5)
    expect(page.at(".hr-where")).to_have_text("Latest epoch of each curve")
    chart = page.at("[data-chart=loss]")
    chart.focus()
    page.tab.keyboard.press("End")
    page.tab.keyboard.press("ArrowLeft")
    page.settle()
    assert chart.get_attribute("aria-valuenow") == "29"
    assert f"baseline train {snap[0]['curves']['loss'][28]:.3f}" in chart.get_attribute("aria-valuetext")
    assert page.readout()[2][1] == "–", "the halo model is not there yet"
    page.tab.keyboard.press("Escape")
    expect(page.at(".hr-where")).to_have_text("Latest epoch of each curve")


def test_touch_reads_and_the_page_still_scrolls(browser: Browser, runs_site: Site) -> None:
    visitor = RunPage(browser, runs_site, viewport={"width": 390, "height": 844}, has_touch=True)
    visitor.show(value(run_samples.snapshot()))
    box = visitor.at("[data-chart=mAP50]").bounding_box()
    visitor.tab.touchscreen.tap(box["x"] + 58 + (box["width"] - 70) * 9 / 29, box["y"] + 90)
    expect(visitor.at(".hr-where")).to_have_text("At epoch 10")
    assert visitor.at("[data-chart=mAP50]").evaluate("(e) => getComputedStyle(e).touchAction") == "pan-y"
    visitor.close()


def test_the_legend_hides_a_curve_and_updates_keep_every_choice(page: RunPage) -> None:
    """Hidden curves, axis, scale, focus and selection are the person's: an update takes none of them."""
    page.press("by", value="minutes")
    page.at("input[data-act=log]").check()
    legend = page.at(".hr-legend").nth(1)
    legend.focus()
    page.tab.keyboard.press("Enter")
    page.settle()
    assert page.at("[data-chart=mAP50] .hr-s1").count() == 0
    assert page.at("[data-chart=mAP50] .hr-s0").count() > 0
    page.tab.evaluate(
        """() => {
          const range = document.createRange();
          range.selectNodeContents(document.querySelector(".hr-headline h2"));
          getSelection().removeAllRanges();
          getSelection().addRange(range);
        }"""
    )
    page.show(value(run_samples.later(19, batch=44)))
    assert page.tab.evaluate("document.activeElement.className") == "hr-legend"
    assert page.tab.evaluate("getSelection().toString()") == "meadow, halo layers and head"
    assert legend.get_attribute("aria-pressed") == "false"
    assert page.at("input[data-act=log]").is_checked()
    assert page.at("button[data-act=by][data-value=minutes]").get_attribute("aria-pressed") == "true"
    assert page.at("[data-chart=mAP50] .hr-s1").count() == 0
    assert "minutes of training" in page.at("[data-chart=loss] svg").text_content()
    page.press("series", key=json.dumps([run_samples.snapshot()["id"], "halo"], separators=(",", ":")))
    assert page.at("[data-chart=mAP50] .hr-s1").count() > 0


def test_lines_grow_on_an_axis_that_stays_and_one_point_is_a_dot(page: RunPage) -> None:
    path = lambda: page.at("[data-chart=mAP50] path.hr-s1").get_attribute("d")  # noqa: E731
    before = path()
    page.show(value(run_samples.later(18)))
    assert path().startswith(before), "what was drawn stays where it was"
    snap = run_samples.later(1)
    snap["members"] = snap["members"][1:]
    page.show(value(snap))
    assert page.at("[data-chart=mAP50] path").count() == 0
    assert page.at("[data-chart=mAP50] .hr-mark").count() == 1


def test_without_times_there_are_no_minutes(page: RunPage) -> None:
    snap = run_samples.snapshot()
    for member in snap["members"]:
        del member["curves"]["seconds"]
    page.show(value(snap))
    button = page.at("button[data-act=by][data-value=minutes]")
    assert button.is_disabled()
    assert button.get_attribute("title") == "This run has no times of its epochs"


def test_curves_leave_as_svg_and_csv(page: RunPage, tmp_path: Path) -> None:
    page.press("series", key=json.dumps([run_samples.snapshot()["id"], "halo"], separators=(",", ":")))
    saved = page.download("save-svg")
    assert saved.suggested_filename == "meadow-halo-layers-and-head_curves.svg"
    saved.save_as(tmp_path / "curves.svg")
    tree = ElementTree.parse(tmp_path / "curves.svg")
    words = [element.text for element in tree.iter(f"{SVG}text")]
    assert {"Loss", "mAP50", "mAP50-95", "Learning rate", "baseline"} <= set(words)
    assert "halo" not in words, "what is hidden is not saved"
    assert len(list(tree.iter(f"{SVG}path"))) == 5
    page.download("save-csv").save_as(tmp_path / "curves.csv")
    with (tmp_path / "curves.csv").open(encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 47
    snap = run_samples.snapshot()["members"][1]["curves"]
    assert [float(r["mAP50-95"]) for r in rows if r["member"] == "halo"] == snap["mAP50-95"]
    assert [float(r["dfl"]) for r in rows if r["member"] == "halo"] == snap["dfl"]


def test_four_runs_are_laid_over_each_other(page: RunPage) -> None:
    runs = [run_samples.finished("a"), *(run_samples.snapshot(name, title=f"try {name}") for name in "bcde")]
    page.show(value(*runs))
    assert page.at(".hr-others li").count() == 3
    assert page.at(".hr-readout tbody tr").count() == 8
    colours = {
        page.at("[data-chart=mAP50]").locator(f"path.hr-s{n}").evaluate("(e) => getComputedStyle(e).stroke")
        for n in range(8)
    }
    assert len(colours) == 8
    swatches = page.at(".hr-legend .hr-line").evaluate_all("(all) => all.map((e) => getComputedStyle(e).stroke)")
    assert set(swatches) == colours
    rows = page.at("[aria-label='Runs side by side'] tbody tr")
    assert rows.count() == 8
    assert rows.nth(1).locator("td").all_inner_texts()[:4] == [
        "meadow, halo layers and head",
        "halo",
        "Finished",
        "30/30",
    ]


def test_the_comparison_is_shown_copied_and_saved(page: RunPage, tmp_path: Path) -> None:
    assert not page.at(".hr-compare").is_visible()
    page.show(value(run_samples.finished()))
    rows = {
        cells[0]: cells[1:]
        for row in page.at("[aria-label=Comparison] tr").all()
        if len(cells := row.locator("th, td").all_inner_texts()) == 4
    }
    assert rows["metric"] == ["baseline", "halo", "halo minus baseline"]
    assert rows["mAP50"] == ["0.704", "0.862", "+0.158"]
    assert rows["latency"] == ["21.5 ms", "27.9 ms", "+6.4 ms"]
    assert rows["visited"] == ["0.281", "0.445", "+0.164"]  # mAP50-95, the later group
    expect(page.at(".hr-caption")).to_contain_text("Test split, 200 pictures, image size 320, CPU.")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.at("button[data-act=copy]").click()
    expect(page.at(".hr-told")).to_have_text("Copied")
    assert "| mAP50 | 0.704 | 0.862 | +0.158 |" in page.tab.evaluate("navigator.clipboard.readText()")
    page.download("save").save_as(tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(encoding="utf-8", newline="") as f:
        saved = {row[0]: row[1:] for row in csv.reader(f)}
    assert saved["mAP50"] == ["0.7043", "0.8619"]
    assert saved["split"] == ["test", "test"]


def test_without_a_clipboard_the_table_can_be_copied_by_hand(page: RunPage) -> None:
    page.show(value(run_samples.finished()))
    page.tab.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.at("button[data-act=copy]").click()
    field = page.tab.get_by_label("The table as Markdown")
    expect(field).to_be_focused()
    assert "| mAP50 | 0.704 |" in field.input_value()


def test_the_log_follows_its_end_only_for_a_reader_who_is_there(page: RunPage) -> None:
    log = page.at(".hr-log pre")
    page.at(".hr-log summary").click()
    at_end = "(e) => e.scrollHeight - e.scrollTop - e.clientHeight <= 4"
    page.tab.wait_for_function(f"({at_end})(document.querySelector('.hr-log pre'))")
    grown = "\n".join(run_samples.log_lines(25))
    page.show(value(run_samples.snapshot(log=grown)))
    assert log.inner_text() == grown.rstrip()
    assert log.evaluate(at_end)
    log.evaluate("(e) => { e.scrollTop = 40; }")
    page.show(value(run_samples.snapshot(log=grown + "\nmore")))
    assert log.evaluate("(e) => e.scrollTop") == 40
