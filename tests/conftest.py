"""Shared by all tests: a private configuration for Ultralytics, and where real data lies."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Before anything imports ultralytics: nothing of the person's own settings is read or written, nothing is fetched.
os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="halo-vis-tests-")
os.environ.setdefault("YOLO_OFFLINE", "1")
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ["HALO_VIS_DATA"] = tempfile.mkdtemp(prefix="halo-vis-tests-")
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import pytest
import torch

REPOSITORY = Path(__file__).parent.parent
# Files that take minutes go first: dealt out to several processes, one that came last would be waited for alone.
LONGEST = (
    "test_train_bccd", "test_train_page", "test_worker", "test_ray", "test_figures", "test_explorer_views",
    "test_attention_forms", "test_transplant", "test_yolo", "test_cli", "test_viewer_agrees", "test_page_comparing",
    "test_explorer_exports", "test_page", "test_explorer",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the others, and the tests of a file, in their own order."""
    place = {name: n for n, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with coco8 and bccd, see README; a stranger's clone has none and skips, with this one line."""
    folder = Path(os.environ.get("HALO_VIS_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "coco8").is_dir():
        reason = f"real data (coco8, bccd) not found in {folder}; set HALO_VIS_TEST_DATA to run this test"
        if os.environ.get("HALO_VIS_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def bus() -> Path:
    """A photograph that Ultralytics installs: 810 x 1080, a bus and four people."""
    from ultralytics import ASSETS

    return Path(ASSETS) / "bus.jpg"


@pytest.fixture(scope="session")
def zidane() -> Path:
    """A photograph that Ultralytics installs: 1280 x 720, two people."""
    from ultralytics import ASSETS

    return Path(ASSETS) / "zidane.jpg"


@pytest.fixture(params=["chunked", "reference"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the CPU's backends of halo attention in turn, for the whole test."""
    monkeypatch.setenv("HALO_VIS_BACKEND", request.param)
    return request.param


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test draws the same random numbers, alone or in the suite."""
    torch.manual_seed(0)
