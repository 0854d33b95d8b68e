"""The run view as Gradio mounts it, beside the explorer, with files from a real run folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
import run_samples
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from visitor import PATIENCE_MS, Watch

from demo.explorer import explorer
from demo.guards import served_folder
from demo.page import first_value
from demo.run_view import run_view, view_value
from demo.theme import CSS, theme
from halo_vis.training.run_folder import RunFolder

RUN = "20261122-meadow-4f2a"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run folder that Gradio may not serve, with frames as the worker writes them."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / RUN)
    (folder.path / "attention").mkdir(parents=True)
    about = run_samples.probe(240, 240)
    folder.write_json("attention/probe.json", about)
    shutil.copyfile(run_samples.PICTURE, folder.path / "attention" / "probe.png")
    for member, epochs in (("baseline", 4), ("halo", 2)):
        lines = run_samples.lines(run_samples.frames(about, member, epochs))
        (folder.path / "attention" / f"{member}.jsonl").write_bytes(lines)
    return folder


def snapshot(version: int) -> dict:
    """The run in flight."""
    return run_samples.snapshot(RUN) | {"attention": {"members": {"baseline": 5, "halo": 3}, "version": version}}


@pytest.fixture(scope="module")
def app(run: RunFolder) -> Iterator[str]:
    """A small page with explorer and run view, and buttons that change the run; its address."""

    def step(batch: float) -> tuple[dict, float]:
        snap = snapshot(1)
        snap["progress"] |= {"batch": int(batch) + 1}
        return view_value([run], [snap]), batch + 1

    def grow() -> dict:
        about = run_samples.probe(240, 240)
        with (run.path / "attention" / "halo.jsonl").open("ab") as f:
            f.write(run_samples.lines(run_samples.frames(about, "halo", 3)[3:]))
        return view_value([run], [snapshot(2)])

    def other() -> dict:
        return view_value([], [run_samples.finished("other")], "zh-CN")

    with gr.Blocks() as page:
        with gr.Tab("one"):
            gr.HTML("<h1>HaloVis</h1>")
            explorer(first_value())
        with gr.Tab("two"):
            view = run_view(view_value([run], [snapshot(1)]))
            batch = gr.Number(17, visible=False)
            quiet = {"show_progress": "hidden"}
            gr.Button("step", elem_id="step").click(step, batch, [view, batch], **quiet)
            gr.Button("grow", elem_id="grow").click(grow, None, view, **quiet)
            gr.Button("other", elem_id="other").click(other, None, view, **quiet)
            gr.Button("none", elem_id="none").click(lambda: None, None, view, **quiet)
    _, url, _ = page.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, theme=theme(), css=CSS, ssr_mode=False,
        run_history=False,
    )  # fmt: skip
    yield url
    page.close()


@pytest.fixture
def visit(browser: Browser, app: str) -> Iterator[Page]:
    """A visitor who looks at the run."""
    context = browser.new_context(viewport={"width": 1132, "height": 900}, locale="en-GB")
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE_MS)
    watch = Watch(tab)
    tab.goto(app)
    tab.wait_for_function("window.haloExplorer && window.haloExplorer.ready")
    tab.get_by_role("tab", name="two").click()
    tab.wait_for_function("window.haloRuns && window.haloRuns.ready")
    yield tab
    context.close()
    assert watch.problems == []


def test_updates_from_python_reach_it_and_take_nothing_away(visit: Page) -> None:
    expect(visit.locator(".halo-runs [data-figure=batch] dd")).to_have_text("17 of 51")
    assert visit.evaluate("window.haloRuns.member('halo').epochs") == [0, 1, 2]
    visit.locator(".hr-legend").nth(0).click()
    visit.evaluate("window.haloRuns.epoch(1)")
    visit.locator(".halo-runs details.hr-log summary").click()
    visit.click("#step")
    expect(visit.locator(".halo-runs [data-figure=batch] dd")).to_have_text("18 of 51")
    visit.click("#grow")
    visit.wait_for_function("window.haloRuns.member('halo').epochs.length === 4")
    assert visit.evaluate("window.haloRuns.epoch()") == 1
    assert visit.locator(".hr-legend").nth(0).get_attribute("aria-pressed") == "false"
    assert visit.locator(".halo-runs details.hr-log").evaluate("(e) => e.open")
    visit.click("#other")
    expect(visit.locator(".halo-runs .hr-state")).to_have_text("已完成")
    visit.click("#none")
    expect(visit.locator(".halo-runs .hr-none")).to_be_visible()


def test_the_explorer_on_the_same_page_keeps_its_functions(visit: Page) -> None:
    """Both are made of the same files: the later mount must not take the earlier one's away."""
    visit.get_by_role("tab", name="one").click()
    assert abs(sum(visit.evaluate("Array.from(window.haloExplorer.row('P4', 3, 3, -1))")) - 1) < 1e-5
    before = visit.evaluate("window.haloExplorer.state().x")
    canvas = visit.locator(".halo-explorer canvas[data-side=halo]")
    canvas.click(position={"x": 40, "y": 60})
    visit.wait_for_function("(x) => window.haloExplorer.state().x !== x", arg=before)


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_under_the_pages_theme(visit: Page, dark: bool) -> None:
    visit.evaluate("(dark) => document.body.classList.toggle('dark', dark)", dark)
    visit.wait_for_function("document.getAnimations().every((a) => a.playState !== 'running')")
    found = Axe().run(visit, context=".halo-runs").response["violations"]
    assert [f"{v['id']}: {node['html'][:160]}" for v in found for node in v["nodes"]] == []


def test_files_are_copied_once_a_version_and_old_ones_go(run: RunFolder, tmp_path: Path) -> None:
    first = view_value([run], [snapshot(1)], served=tmp_path)["attention"][RUN]
    frames = Path(first["halo"]["frames"]["path"])
    assert frames.is_relative_to(tmp_path)
    assert frames.read_bytes() == (run.path / "attention" / "halo.jsonl").read_bytes()
    stamp = frames.stat().st_mtime_ns
    view_value([run], [snapshot(1)], served=tmp_path)
    assert frames.stat().st_mtime_ns == stamp
    import os

    os.utime(frames, (0, 0))
    second = view_value([run], [snapshot(7)], served=tmp_path)["attention"][RUN]
    assert [second["version"], first["version"]] == [7, 1]
    assert not frames.exists()
    assert not list(tmp_path.rglob("*.partial"))
    assert view_value([run], [snapshot(7)])["attention"][RUN]["halo"]["frames"]["path"].startswith(str(served_folder()))


@pytest.mark.parametrize("damage", ["gone", "half", "list", "elsewhere"])
def test_a_damaged_probe_is_no_reason_to_fail(run: RunFolder, tmp_path: Path, damage: str) -> None:
    broken = RunFolder(tmp_path / "run")
    shutil.copytree(run.path, broken.path)
    about = broken.path / "attention" / "probe.json"
    if damage == "gone":
        about.unlink()
    elif damage == "elsewhere":  # a file beside the folder is none of its own
        (broken.path / "secret.png").write_bytes(b"x")
        about.write_text(json.dumps(run_samples.probe() | {"picture": "../secret.png"}))
    else:
        about.write_text({"half": '{"picture": "pro', "list": "[1]"}[damage])
    assert view_value([broken], [snapshot(1)], served=tmp_path / "served")["attention"] == {}
    assert not [p for p in (tmp_path / "served").rglob("*") if p.is_file()]
