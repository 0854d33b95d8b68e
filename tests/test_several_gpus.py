"""Training on several GPUs, as far as a machine without one can tell: the file that Ultralytics starts for each rank.

Ultralytics pickles the trainer's class, arguments and model into a file and runs a script that makes the trainer again.
Here that very script is run by a fresh process, on the CPU: without our layers registered, or without the session in
the environment, it would fail. What stays unproven is the exchange between GPUs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ultralytics.utils.dist import generate_ddp_file

from halo_vis.training.begin import create
from halo_vis.training.data import prepare
from halo_vis.training.plan import Plan
from halo_vis.training.probe import write_probe
from halo_vis.training.session import Session
from halo_vis.training.trainer import HaloTrainer
from halo_vis.training.worker import initial, read_run

REPOSITORY = Path(__file__).parent.parent


def test_the_script_of_a_rank_trains_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan.from_dict(
        {"member": "halo", "meadow_train": 4, "meadow_val": 2, "meadow_test": 0, "epochs": 1, "imgsz": 64, "batch": 4}
    )
    run = create(plan, tmp_path / "runs", tmp_path / "datasets")
    recipe = read_run(run.path)
    data = prepare(recipe, run.path / "data")
    write_probe(run, data, recipe.imgsz, (-1, -1))
    session = Session(str(run.path), "halo", ("halo",), 0, 1, 0, 1, 0, 1, 0.0, probe=True)
    monkeypatch.setenv("HALO_VIS_SESSION", "")  # put back afterwards
    session.enter()
    out = run.path / "out" / "halo"
    arguments = {"data": str(data), "imgsz": 64, "epochs": 1, "batch": 4, "nbs": 4, "device": "cpu", "workers": 0}
    arguments |= {"amp": False, "project": str(out), "name": "stage0", "exist_ok": True, "plots": False}
    trainer = HaloTrainer(overrides={**arguments, "model": "yolo26n-residual.yaml", "task": "detect"})
    trainer.model = initial(recipe, "halo", run, data).model.float()
    trainer.callbacks.clear()  # as in the process that starts the ranks, which reports nothing itself
    script = Path(generate_ddp_file(trainer))
    try:
        environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
        environment["PYTHONPATH"] = str(REPOSITORY)
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
        )
    finally:
        script.unlink()
        script.with_suffix(".pt").unlink()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert [e["epoch"] for e in run.events() if e["kind"] == "epoch"] == [1]
    assert {line["epoch"] for line in run.lines(run.attention("halo"))} == {0, 1}
    assert (out / "stage0" / "weights" / "last.pt").is_file()
