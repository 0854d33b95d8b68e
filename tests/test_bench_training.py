"""The bench of the worker's throughput: both commands train the same, and the ratio is what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ultralytics.utils import YAML

from halo_vis.bench import training
from halo_vis.bench.training import OWN, WORKER, Plan, figures, run
from halo_vis.weights import read_weights


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, training._Bench]:
    """The bench at its smallest, with the folders that it would throw away."""
    folder = tmp_path_factory.mktemp("bench")
    kept = {}

    class Keeps(training._Bench):
        def __init__(self, plan: Plan, place: Path) -> None:
            super().__init__(plan, folder)
            kept["bench"] = self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_Bench", Keeps)
        assert run(Plan(repeats=1, epochs=2, train=4, val=2, imgsz=64, batch=2), folder / "figures.json") == 0
    return json.loads((folder / "figures.json").read_text()), kept["bench"]


def test_both_commands_trained_the_same(benched: tuple) -> None:
    """Same arguments, same data, same weights to start from; where they differ is where their files lie."""
    _, bench = benched
    ours = YAML.load(bench.first.path / "out" / "halo" / "stage0" / "args.yaml")
    theirs = YAML.load(bench.folder / "own" / "1" / "run" / "args.yaml")
    differ = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    assert differ <= set(training.PLACES), {name: (ours.get(name), theirs.get(name)) for name in differ}
    assert ours["val"] is theirs["val"] is True and ours["epochs"] == theirs["epochs"] == 2
    assert ours["data"] == theirs["data"]
    start = read_weights(bench.first.start("halo"))[0].model.state_dict()
    from ultralytics import YOLO

    given = YOLO(str(bench.folder / "start.pt")).model.state_dict()
    assert start.keys() == given.keys() and all((start[k] == v).all() for k, v in given.items())


def test_both_came_to_the_same_losses(benched: tuple) -> None:
    """The first epochs' training losses agree: it was one and the same training."""
    import csv

    _, bench = benched
    rows = []
    for path in (bench.first.path / "out" / "halo" / "stage0", bench.folder / "own" / "1" / "run"):
        with (path / "results.csv").open() as file:
            rows.append([{k.strip(): float(v) for k, v in row.items()} for row in csv.DictReader(file)])
    for ours, theirs in zip(*rows, strict=True):
        for name in ours:
            if name.startswith("train/") or name.startswith("lr/"):
                assert ours[name] == pytest.approx(theirs[name], rel=1e-2), name


def test_figures_and_facts_are_written(benched: tuple) -> None:
    written, _ = benched
    facts, found = written["machine"], {f["name"]: f for f in written["figures"]}
    assert {"processor", "halo_vis", "ultralytics", "training"} <= set(facts)
    assert "4 + 2 scenes at 64, batch 2, 2 epochs" in facts["training"]
    ratio = found["ratio of the medians"]
    assert ratio["target"] == 0.95 and ratio["least"] and ratio["met"] is (ratio["value"] >= 0.95)
    rates = [found[f"{name}: median"]["value"] for name in (WORKER, OWN)]
    assert ratio["value"] == pytest.approx(rates[0] / rates[1])


def test_medians_and_ratios() -> None:
    plan = Plan(repeats=3, epochs=2, train=10)
    seconds = {WORKER: [[2.0, 4.0], [1.0, 2.0], [4.0, 8.0]], OWN: [[1.0, 2.0], [1.0, 2.0], [3.0, 5.0]]}
    found = {f.name: f.value for f in figures(plan, seconds)}
    assert found[f"{WORKER}: median"] == 5.0 and found[f"{OWN}: median"] == 10.0
    assert found[f"{WORKER}: lowest"] == 2.5 and found[f"{WORKER}: highest"] == 10.0
    assert found["ratio of the medians"] == 0.5
    assert found["median of the ratios, turn by turn"] == 0.625
    assert found["ratio of an epoch after the first"] == pytest.approx(1.0 / 2.0)


@pytest.mark.parametrize("change", [{"repeats": 0}, {"epochs": 0}, {"member": "article"}, {"imgsz": 65}])
def test_plans_that_give_no_figure(change: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        Plan(**change).as_run()


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended with 2: halo_vis: .* is no run folder"):
        training._call([*_python(), "train", str(tmp_path / "none")], tmp_path / "log.txt")


def _python() -> list[str]:
    import sys

    return [sys.executable, "-m", "halo_vis"]
