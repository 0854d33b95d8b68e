"""The app's bench: every figure is there, and those that do not depend on the machine's speed are right."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from samples import picture

from halo_vis.bench import app, app_memory, app_server
from halo_vis.bench.app import Plan, interleaved, line, run

TINY = Plan(
    rounds=1, clicks=0, starts=0, inspections=2, visitors=4, visits=1, curve_rounds=1, sizes=(160, 320), batches=(1, 3),
    levels=(0, 3),
)  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict]:
    """The table and the JSON of the smallest run."""
    out = tmp_path_factory.mktemp("bench") / "figures.json"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run(TINY, out) == 0
    return said.getvalue(), json.loads(out.read_text())


def value(ran: tuple[str, dict], pattern: str) -> float:
    """The one figure whose group and name fit."""
    (found,) = [f for f in ran[1]["figures"] if re.fullmatch(pattern, f"{f['group']} | {f['name']}")]
    return found["value"]


def test_inspect_is_set_against_both_bare_predicts(ran: tuple[str, dict]) -> None:
    for at in ("photos at 480", "random at 640"):
        baseline, halo, both = (
            value(ran, rf"inspect\(\).* \| {at}: {name}") for name in ("baseline, bare", "halo, bare", "inspect")
        )
        assert value(ran, rf"inspect\(\).* \| {at}: inspect / bare predicts") == pytest.approx(both / (baseline + halo))
        assert value(ran, rf"inspect\(\).* \| {at}: inspect / bare predicts, processor time") > 0
        assert value(ran, rf"inspect\(\).* \| {at}: payload.*") > 0


def test_results_at_once_are_those_in_a_row(ran: tuple[str, dict]) -> None:
    assert value(ran, r"Visitors .* \| results that differ.*") == 0
    row, once = (value(ran, rf"Visitors .* \| 4 visitors {way}") for way in ("in a row", "at once"))
    assert value(ran, r"Visitors .* \| at once / in a row") == pytest.approx(once / row)


def test_curves(ran: tuple[str, dict]) -> None:
    """Payloads do not depend on the machine: more cells, more bytes, on a line with what comes to every picture."""
    small, large = (value(ran, rf"Cost against picture size \| payload, {n} \(\d+ cells\)") for n in (160, 320))
    assert 2 < large / small < 4
    none, all_three = (value(ran, rf"Cost .* halo layers .* \| payload, {n} layers .*") for n in (0, 3))
    assert none < all_three < 5
    for group in ("picture size", "the number of halo layers .*"):
        for name in ("inspect", "payload"):
            assert value(ran, rf"Cost against {group} \| {name}: R² .*") == pytest.approx(1)  # two points, one line
    assert value(ran, r"Cost .* in a batch .* \| predict, 3 pictures") > 0


def test_memory(ran: tuple[str, dict]) -> None:
    trace, whole = (value(ran, rf"Memory .* \| one visitor's {what}.*") for what in ("trace", "result"))
    assert 1 < trace < 5  # about 4 MB at 640
    assert whole == pytest.approx(trace + 810 * 1080 * 3 / 1e6 + 0.14, abs=0.2)  # the photo, and its file
    stages = [value(ran, rf"Memory .* \| {stage}") for stage in ("libraries", "two models loaded")]
    assert 0 < stages[0] < stages[1]
    assert value(ran, r"Memory .* \| growth an inspection") is not None


def test_the_table_names_the_machine_and_every_figure(ran: tuple[str, dict]) -> None:
    text, data = ran
    for fact in ("processor", "threads", "bare predict", "a click", "ultralytics", "torch", "load after"):
        assert data["machine"][fact] and data["machine"][fact] in text
    assert all(f"  {figure['name']} " in text for figure in data["figures"])


def test_turns_begin_with_another_each_time() -> None:
    order = []
    actions = {name: lambda name=name: order.append(name) or float(len(order)) for name in "abc"}
    took = interleaved(actions, 3)
    assert "".join(order) == "abc" + "abc" + "cba" + "abc"
    assert took == {"a": [4.0, 9.0, 10.0], "b": [5.0, 8.0, 11.0], "c": [6.0, 7.0, 12.0]}


def test_line() -> None:
    assert line([(1, 2.0), (2, 4.0), (3, 6.0)]) == (1.0, 0.0)
    fit, worst = line([(0, 0.0), (1, 2.0), (2, 2.0)])  # 1/3 + x
    assert fit == pytest.approx(0.75) and worst == pytest.approx(1.0)
    assert line([(0, 1.0), (1, 1.0)]) == (1.0, 0.0)


def test_what_a_record_holds() -> None:
    """Views and what is there twice count once."""
    whole = np.zeros(1000, np.uint8)
    assert app_memory.held({"a": whole[:10], "b": [whole, whole[5:]], "c": b"12", "d": "text"}) == 1002


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"clicks": -1}, "clicks must be at least 0, got -1"),
        ({"sizes": (480, 480)}, "sizes must be two or more points"),
    ],
)
def test_plans_that_give_no_figure(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Plan(**change)


def test_short_plan_measures_every_figure() -> None:
    short = Plan.short()
    assert short.clicks and short.starts
    assert (short.sizes, short.batches, short.levels, short.visitors) == (
        Plan().sizes, Plan().batches, Plan().levels, 20
    )  # fmt: skip


def test_a_page_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no such page')")
    with pytest.raises(RuntimeError, match="no such page"), app_server.serving(str(broken), "PORT"):
        pytest.fail("it came up")


def test_a_refused_picture_is_no_figure(tmp_path: Path) -> None:
    """What the page says instead of a result ends the bench."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    good = tmp_path / "good.png"
    from PIL import Image

    Image.fromarray(picture(60, 80)).save(good)
    with app_server.app() as server:
        visitor = app_server.Visitor(server.url)
        with pytest.raises(RuntimeError, match=r"no result for broken\.png"):
            visitor.run(app_server.Job(broken))
        first = visitor.run(app_server.Job(good, imgsz=320))
        assert first == app_server.Visitor(server.url).run(app_server.Job(good, imgsz=320))
        assert first != visitor.run(app_server.Job(good, imgsz=480))


def test_a_bench_without_results_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="ended with 1"):
        app.memory_figures(1)
