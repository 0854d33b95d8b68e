"""The viewer's bench: every figure is there, and those that do not depend on the machine's speed meet their targets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from halo_vis.bench import browser
from halo_vis.bench.report import Figure, slope, spread, table
from halo_vis.bench.site import Site
from halo_vis.bench.viewer import Plan

REPOSITORY = Path(__file__).parent.parent.parent
VIEWS = [f"{view} {level}" for view in ("cell", "to", "box") for level in ("P3", "P4", "P5")]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict]:
    """The table and the JSON of a short run, started as a person does."""
    out = tmp_path_factory.mktemp("bench") / "figures.json"
    command = [sys.executable, "-m", "halo_vis", "bench", "viewer", "--json", str(out)]
    command += ["--pictures", "6", "--positions", "4", "--frames", "10", "--larger", ""]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(out.read_text())


def named(ran: tuple[str, dict], pattern: str) -> list[dict]:
    return [f for f in ran[1]["figures"] if re.fullmatch(pattern, f"{f['group']} | {f['name']}")]


def test_every_figure_is_there(ran: tuple[str, dict]) -> None:
    for view in VIEWS:
        for kind, target in (("median", 2), ("p95", 8)):
            (figure,) = named(ran, rf"One query, compute and paint \| {view}: {kind}")
            assert figure["value"] > 0 and (figure["unit"], figure["target"]) == ("ms", target)
    for name in ("strip off", "strip levels", "strip heads", "real mouse"):
        median, _, longest = named(
            ran, rf"Frames while the pointer moves \| cell P[45], {name}: (median|mean|longest frame)"
        )
        assert median["unit"] == "fps" and longest["value"] > 0
    tasks = named(ran, r"Longest task.*")
    assert len(tasks) >= 7 and all(f["target"] == 50 for f in tasks)
    assert len(named(ran, r"A box is chosen.*: (median|p95)")) == 2
    assert len(named(ran, r"From show\(\) to ready \| .*")) == 2
    for kind in ("JavaScript heap", "array buffers", "renderer process", "DOM nodes", "listeners"):
        (figure,) = named(ran, rf"Memory over 6 pictures in a row \| {kind}: growth a picture")
        assert figure["value"] is not None
        assert len(named(ran, rf"Memory .* \| {kind} after \d")) == 3


def test_payload(ran: tuple[str, dict]) -> None:
    """Under 5 MB for n at 640, in both forms; the control is fetched when it is asked for."""
    (first,) = named(ran, r"Payload .* \| n: first paint \(tensors\)")
    (article,) = named(ran, r"Payload .* \| n, article's form: tensors")
    assert 1 < first["value"] < 5 and 1 < article["value"] < 5
    assert first["met"] is True
    assert named(ran, r"Payload .* \| n: control, on demand")


def test_the_table_names_the_machine_and_every_figure(ran: tuple[str, dict]) -> None:
    text, data = ran
    for fact in ("processor", "system", "python", "halo_vis", "ultralytics", "browser", "page", "a query"):
        assert data["machine"][fact]
        assert re.search(rf"^{fact} +{re.escape(data['machine'][fact])}$", text, re.MULTILINE)
    for figure in data["figures"]:
        assert f"  {figure['name']} " in text


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("g", "n", 1.9, "ms", 2), True),
        (Figure("g", "n", 2.0, "ms", 2), False),
        (Figure("g", "n", 60, "fps", 59, least=True), True),
        (Figure("g", "n", 58.9, "fps", 59, least=True), False),
        (Figure("g", "n", None, "MiB", 1), None),
        (Figure("g", "n", 3, "ms"), None),
    ],
)
def test_targets(figure: Figure, met: bool | None) -> None:
    assert figure.met is met
    text = table({"machine": "m"}, [figure])
    assert ("MISSED" in text) == (met is False)
    assert ("not known" in text) == (figure.value is None)


def test_spread_and_slope() -> None:
    median, p95, worst = spread("g", "n", [float(n) for n in range(100, 0, -1)], 2, 8)
    assert (median.value, p95.value, worst.value) == (51, 96, 100)
    assert slope([(50, 7.0), (250, 9.0), (500, 11.5)]) == pytest.approx(0.01)


@pytest.mark.parametrize("name", ["pictures", "positions", "frames"])
def test_a_plan_that_measures_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Plan(**{name: 0})


def test_without_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to install."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(browser.BrowserMissing, match="apt-get install chromium"):
        browser.find_chromium()


def test_without_playwright(tmp_path: Path) -> None:
    """The same for Playwright, from the command line, without a traceback."""
    (tmp_path / "playwright.py").write_text("raise ImportError('not installed')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from halo_vis.bench.browser import chromium\n"
    code += "try:\n with chromium(): pass\nexcept RuntimeError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "pip install -r requirements-dev.txt" in done.stdout


def test_site(tmp_path: Path) -> None:
    """On the loopback only, gone afterwards; what it does not have is a 404."""
    import urllib.error
    import urllib.request

    with Site({"a.txt": b"one"}) as site:
        assert site.url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{site.url}a.txt?n=1") as answer:
            assert answer.read() == b"one" and answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{site.url}../etc/passwd")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{site.url}a.txt")
