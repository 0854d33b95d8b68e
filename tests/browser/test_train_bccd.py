"""Acceptance 2 of the panel: real micrographs as a zip, both members from `meadow`, two epochs, a comparison table."""

from __future__ import annotations

import zipfile
from pathlib import Path

from own_server import serving
from playwright.sync_api import Browser, expect
from test_train_page import TRAINING_MS, arrive, epochs, fill, snapshot, unfold, visitor

NAMES = "names:\n  0: RBC\n  1: WBC\n  2: Platelets\n"
PICTURES = {"training": "205", "validation": "87", "test": "72"}


def test_blood_cells_from_a_zip(browser: Browser, real_data: Path, tmp_path: Path) -> None:
    packed = tmp_path / "bccd.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as made:
        made.writestr("data.yaml", NAMES)
        for path in sorted((real_data / "bccd").rglob("*")):
            if path.suffix in (".jpg", ".txt"):
                made.write(path, path.relative_to(real_data / "bccd"))
    with serving(tmp_path / "data", HALO_VIS_TEST_DATA=str(tmp_path / "none")) as server:
        context = visitor(browser)
        page, watch = arrive(context, server.url)
        unfold(page, "step-data", "upload-fold")
        page.set_input_files("#zip-file input[type=file]", str(packed))
        report = page.locator("#report")
        expect(report).to_contain_text("Platelets", timeout=TRAINING_MS)
        for split, count in PICTURES.items():
            expect(report.locator("tr", has_text=split).first).to_contain_text(count)
        expect(page.locator("#previews img")).to_have_count(8)
        expect(page.locator("#f-data input")).to_have_value("bccd (uploaded)")
        expect(page.locator("#kept")).to_contain_text("classes")

        fill(page, epochs=2, imgsz=320)
        page.locator("#f-title input, #f-title textarea").fill("blood cells")
        page.click("#start")
        expect(page.locator("#run-view")).to_contain_text("blood cells")
        over = "['finished', 'failed', 'interrupted'].includes(window.haloRuns.value().runs?.[0]?.state)"
        page.wait_for_function(over, timeout=4 * TRAINING_MS)
        assert snapshot(page)["state"] == "finished", snapshot(page)["log"]
        compared = snapshot(page)["comparison"]
        assert [m["name"] for m in compared["members"]] == ["baseline", "halo"]
        assert (compared["split"], compared["pictures"], compared["imgsz"]) == ("test", 72, 320)
        expect(page.locator("#run-view")).to_contain_text("halo minus baseline")
        expect(page.locator("#run-view")).to_contain_text("mAP50 by class")
        for member in ("baseline", "halo"):
            assert epochs(server.run(), member) == [1, 2]
        assert all(m["mAP50"] > 0.1 for m in compared["members"])  # it has begun to learn
        page.screenshot(path=tmp_path / "bccd.png", full_page=True)
        context.close()
        assert watch.problems == []
