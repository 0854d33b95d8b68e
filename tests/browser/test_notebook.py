"""Two inspections in one notebook: executed by nbclient, exported by nbconvert, opened in a browser."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image
from playwright.sync_api import Browser, Frame
from samples import picture, random_model

from halo_vis import inspect, load_pair
from halo_vis.weights import write_weights

REPOSITORY = Path(__file__).parent.parent.parent
CELLS = """
from halo_vis import inspect, load_pair
pair = load_pair(baseline="baseline.safetensors", halo="halo.safetensors")
seen = inspect(pair, "a.png", conf=0.35, device="cpu")
seen
---
inspect(pair, "b.png", conf=0.35, device="cpu").explore(height=700)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebook")
    for name, form in (("baseline", "baseline"), ("halo", "residual")):
        write_weights(folder / f"{name}.safetensors", random_model(form), {"imgsz": 160})
    for name, size in (("a", (90, 120)), ("b", (120, 70))):
        Image.fromarray(picture(*size)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def notebook(folder: Path) -> nbformat.NotebookNode:
    """Executed, by a kernel of its own."""
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in CELLS.split("---")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(REPOSITORY), before)))
    try:
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return notebook


def test_outputs(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    for cell, height in zip(notebook.cells, (900, 700), strict=True):
        (output,) = [o for o in cell.outputs if o.output_type == "execute_result"]
        assert output.data["text/html"].startswith("<iframe srcdoc=")
        assert f"height: {height}px" in output.data["text/html"][-300:]
        assert len(output.data["text/html"]) < 4e6


def test_both_explorers_work_and_do_not_meet(
    notebook: nbformat.NotebookNode, folder: Path, browser: Browser, tmp_path: Path
) -> None:
    exporter = HTMLExporter(template_name="basic")  # the others fetch scripts from elsewhere
    page_file = tmp_path / "notebook.html"
    page_file.write_text(
        "<!doctype html><meta charset=utf-8><body>" + exporter.from_notebook_node(notebook)[0], encoding="utf-8"
    )
    context = browser.new_context(offline=True, viewport={"width": 1000, "height": 900}, accept_downloads=True)
    problems: list[str] = []
    page = context.new_page()
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: problems.append(str(e)))
    page.goto(page_file.as_uri())
    frames = page.frames[1:]
    assert len(frames) == 2
    for frame in frames:
        frame.wait_for_function("window.haloExplorer && window.haloExplorer.ready")
    pair = load_pair(baseline=folder / "baseline.safetensors", halo=folder / "halo.safetensors")
    for frame, name in zip(frames, ("a.png", "b.png"), strict=True):
        assert frame.evaluate("document.querySelector('h1').textContent") == name
        level = inspect(pair, folder / name, conf=0.35, device="cpu").trace["P4"]
        row = frame.evaluate("Array.from(haloExplorer.row('P4', 2, 3, -1))")
        assert np.abs(np.array(row) - level.row(2, 3).ravel()).max() < 1e-5
    frames[0].evaluate("haloExplorer.select('P3', 4, 5)")
    assert chosen(frames[0]) == ["P3", 4, 5] and chosen(frames[1]) != ["P3", 4, 5]
    # A frame has an origin of its own: nothing of the notebook is in its reach, and saving still works.
    assert frames[0].evaluate("origin") == "null"
    with page.expect_download() as download:
        frames[1].locator("[data-act=save]").first.click()
    assert Image.open(download.value.path()).width > 200
    context.close()
    assert problems == []


def chosen(frame: Frame) -> list:
    return frame.evaluate("(({level, y, x}) => [level, y, x])(haloExplorer.state())")
