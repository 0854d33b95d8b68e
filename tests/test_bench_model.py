"""The bench of whole models: every figure is there, and what does not hang on speed is right."""

from __future__ import annotations

import contextlib
import io
import json
import statistics

import pytest
import torch

from halo_vis.bench import model
from halo_vis.bench.model import (
    ARTICLE,
    BASELINE,
    CHEAPER,
    CONTIGUOUS,
    FORMS,
    HALO,
    QUARTER,
    Measured,
    Plan,
    Shape,
    figures,
    markdown,
    run,
    trade_off,
)
from halo_vis.bench.room import free_memory, within_free_memory
from halo_vis.memory_format import is_channels_last
from halo_vis.pairs import bundled_pairs
from halo_vis.transplant import build

LAST = [name for name in FORMS if name != CONTIGUOUS]


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str]:
    """The bench at its smallest: what it wrote and what it printed."""
    path, said = tmp_path_factory.mktemp("bench") / "figures.json", io.StringIO()
    threads = torch.get_num_threads()
    with contextlib.redirect_stdout(said):
        assert run(Plan(repeats=2, sizes=((64, 64), (64, 96)), threads=1), path) == 0
    assert torch.get_num_threads() == threads, "the bench left its number of threads behind"
    return json.loads(path.read_text()), said.getvalue()


def test_every_figure_is_there(benched: tuple) -> None:
    written, said = benched
    found = {(f["group"], f["name"]): f["value"] for f in written["figures"]}
    assert len(found) == len(written["figures"])
    for shape in ("YOLO26n, 64x64", "YOLO26n, 64x96"):
        times = {name: found.pop((f"{shape}: forward, median", name)) for name in FORMS}
        assert all(value > 0 for value in times.values())
        for against, names in ((BASELINE, LAST[1:]), (CONTIGUOUS, LAST)):
            for name in names:
                ratio = found.pop((f"{shape}: times the {against}", name))
                assert ratio == pytest.approx(times[name] / times[against])
    sizes = {name: found.pop(("YOLO26n, 80 classes: parameters, not fused", name)) for name in LAST}
    assert not found
    for name in (BASELINE, HALO, CHEAPER):
        counted = sum(p.numel() for p in build(FORMS[name]).model.parameters())
        assert sizes[name] == pytest.approx(counted / 1e6)
    assert sizes[BASELINE] < sizes[CHEAPER] < sizes[HALO] == sizes[ARTICLE]
    assert all(name in said for name in FORMS) and "parameters" in said


def test_facts_say_what_it_ran_on(benched: tuple) -> None:
    facts = benched[0]["machine"]
    assert {"processor", "halo_vis", "ultralytics", "torch", "load before", "load after"} <= set(facts)
    assert "batch 1" in facts["forward"] and "1 threads" in facts["forward"]
    assert "channels_last" in facts["predictor"] or "contiguous" in facts["predictor"]


def test_the_trade_off_is_read_from_the_cards(benched: tuple) -> None:
    written, said = benched
    rows = {row["form"]: row for row in written["trade-off"]}
    assert list(rows) == LAST
    known = ((BASELINE, "baseline"), (HALO, "halo"), (QUARTER, "quarter"), (CHEAPER, "p4p5"))
    for data, forms in (("meadow", (*known, (ARTICLE, "article"))), ("bccd", known)):
        members = bundled_pairs()[data].members
        for name, member in forms:
            for metric in ("mAP50", "mAP50-95"):
                assert rows[name][f"{data} {metric}"] == members[member][metric]
            assert f"{members[member]['mAP50']:.3f} / {members[member]['mAP50-95']:.3f}" in said
        other = [row for name, row in rows.items() if name not in dict(forms)]
        assert all(row[f"{data} mAP50"] is None and row[f"{data} mAP50-95"] is None for row in other)
    line = next(line for line in said.splitlines() if line.startswith("| halo, half of the heads |"))
    assert line.endswith("| not trained | not trained |")


def test_targets_stand_at_the_shape_they_were_set_for() -> None:
    plan = Plan(sizes=((640, 640), (480, 640)))
    milliseconds = {name: [30.0, 20.0, 10.0] for name in FORMS}
    milliseconds |= {BASELINE: [1.0, 16.0, 99.0], CONTIGUOUS: [21.0]}
    found = figures(plan, {shape: Measured(milliseconds) for shape in plan.work()}, {})
    aimed = {(f.group, f.name): f for f in found if f.target is not None}
    assert list(aimed) == [
        ("YOLO26n, 640x640: times the baseline", HALO),
        ("YOLO26n, 640x640: times the baseline, contiguous", HALO),
    ]
    same, loaded = aimed.values()
    assert (same.value, same.target, same.met) == (1.25, 1.25, False)
    assert (loaded.value, loaded.target, loaded.met) == (pytest.approx(20 / 21), 1.0, True)
    for other in (Plan(threads=1), Plan(scale="s"), Plan(device="cuda")):
        found = figures(other, {shape: Measured(milliseconds) for shape in other.work()}, {})
        assert found and all(f.target is None for f in found)


def test_a_shape_that_does_not_fit_is_printed_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """The large shapes run in what memory is free; the picture here is larger than any machine's."""
    big = Shape("n", 1 << 20, 1 << 20)
    both = (CONTIGUOUS, BASELINE)
    monkeypatch.setattr(Plan, "work", lambda plan: {Shape("n", 32, 32): both, big: both})
    facts, found = model.measure(Plan(repeats=1, sizes=((32, 32),), threads=1))
    assert facts[str(big)].startswith("not run: ")
    for shape, runs in ((big, False), (Shape("n", 32, 32), True)):
        values = {f.name: f.value for f in found if f.group == f"{shape}: forward, median"}
        assert list(values) == list(both) and all((v is not None) is runs for v in values.values())


def test_asking_for_more_than_there_is_ends_in_an_error() -> None:
    resource = pytest.importorskip("resource")
    free = free_memory()
    if free is None:
        pytest.skip("this system does not tell how much memory is free")
    before = resource.getrlimit(resource.RLIMIT_AS)
    with within_free_memory(), pytest.raises(RuntimeError, match="allocate"):
        torch.empty(free, dtype=torch.uint8)  # its pages are not touched: without the limit it might well be granted
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    with within_free_memory():
        assert torch.zeros(1000).sum() == 0


def test_full_adds_the_large_shapes() -> None:
    work = Plan(full=True).work()
    assert [str(shape) for shape in work] == [
        "YOLO26n, 640x640", "YOLO26n, 480x640", "YOLO26n, 1280x1280", "YOLO26x, 640x640", "YOLO26x, 1280x1280",
    ]  # fmt: skip
    assert set(work[Shape("x", 1280, 1280)]) < set(FORMS) == set(work[Shape("n", 640, 640)])


@torch.no_grad()
def test_what_is_measured_is_what_the_predictor_runs() -> None:
    """Fused models, the baseline's two the same but for their format; one of each is made for all sizes."""
    subjects = model.Subjects("cpu")
    last, contiguous = (subjects(name, "n") for name in (BASELINE, CONTIGUOUS))
    assert subjects(BASELINE, "n") is last and list(subjects.parameters) == ["n"]
    assert is_channels_last(last) and not is_channels_last(contiguous)
    assert last.is_fused() and not any(p.requires_grad for p in last.parameters())
    x = torch.rand(1, 3, 64, 96)
    one, two = last(x)[0], contiguous(x)[0]
    assert statistics.fmean(one.flatten().tolist()) != 0
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"scale": "q"}, "scale must be one of .* got 'q'"),
        ({"sizes": ()}, "sizes must be pairs of multiples of 32"),
        ({"sizes": ((64, 65),)}, "got .*65"),
    ],
)
def test_plans_that_give_no_figure(change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Plan(**change)


def test_the_table_of_a_shape_that_did_not_run() -> None:
    plan = Plan(sizes=((64, 64),))
    found = figures(plan, {Shape("n", 64, 64): Measured({}, "no room")}, dict.fromkeys(LAST, 1_500_000))
    line = markdown(trade_off(plan, found)).splitlines()[3]
    assert line.startswith(f"| {HALO} | not run | not run | 1.5 | ")
