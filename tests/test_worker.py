"""The worker as it is launched: stopped gracefully, told to end, killed, short of memory and of disk; and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from waiting import until

from halo_vis.training.begin import create
from halo_vis.training.plan import Plan
from halo_vis.training.run_folder import RunFolder
from halo_vis.weights import read_weights

REPOSITORY = Path(__file__).parent.parent
TINY = Plan.from_dict(
    {
        "start": "pair:meadow", "meadow_train": 8, "meadow_val": 4, "meadow_test": 4, "epochs": 4, "imgsz": 64,
        "batch": 4, "nbs": 4, "lr0": 1e-4, "warmup_epochs": 0.0, "device": "cpu", "threads": 1,
    }
)  # fmt: skip
MANY = replace(TINY, epochs=12)  # enough that none of them is over before it can be interrupted


def launch(run: RunFolder, limit: Callable[[], None] | None = None) -> subprocess.Popen:
    """`python -m halo_vis train RUN_FOLDER`, its words in the run's log."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"} | {"PYTHONPATH": str(REPOSITORY)}
    with run.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "halo_vis", "train", str(run.path)],
            cwd=run.path, env=environment, stdout=log, stderr=subprocess.STDOUT, preexec_fn=limit,
        )  # fmt: skip


def epochs(run: RunFolder, member: str) -> list[int]:
    """The numbers of the epochs that were reported, in order."""
    return [e["epoch"] for e in run.events() if e.get("kind") == "epoch" and e["member"] == member]


def has_epochs(run: RunFolder, member: str, count: int) -> Callable[[], bool]:
    return lambda: len(epochs(run, member)) >= count


def test_stopped_told_killed_and_resumed(tmp_path: Path) -> None:
    """Three interruptions of three kinds, and the run ends with as many epochs as asked, for both members."""
    run = create(MANY, tmp_path / "runs", tmp_path / "datasets")
    assert run.state() == "new"

    # A STOP file: the epoch in progress is finished and kept.
    process = launch(run)
    until(has_epochs(run, "baseline", 1), process)
    run.stop_file.touch()
    assert process.wait(120) == 0, run.log_tail(3000)
    assert run.state() == "stopped"
    gracefully = epochs(run, "baseline")
    assert gracefully == list(range(1, len(gracefully) + 1))
    assert len(gracefully) < MANY.epochs
    assert not run.weights("baseline").exists()

    # SIGTERM: at once; what was whole stays.
    process = launch(run)
    until(has_epochs(run, "baseline", len(gracefully) + 1), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0, run.log_tail(3000)
    assert run.state() == "stopped"
    told = epochs(run, "baseline")
    assert told[: len(gracefully) + 1] == [*gracefully, len(gracefully) + 1]  # it went on, it did not begin again

    # SIGKILL, in the second member.
    process = launch(run)
    until(has_epochs(run, "halo", 1), process)
    process.kill()
    process.wait(60)
    assert run.json("status.json")["state"] == "running"  # the lie that a killed process leaves
    assert run.state() == "interrupted"

    process = launch(run)
    assert process.wait(240) == 0, run.log_tail(3000)
    assert run.state() == "finished"
    for member in ("baseline", "halo"):
        assert sorted(set(epochs(run, member))) == list(range(1, MANY.epochs + 1))
        _, header = read_weights(run.weights(member))
        assert header.provenance["epochs"] == MANY.epochs
        frames = {line["epoch"]: line for line in run.lines(run.attention(member))}
        # One before training, one after every epoch; SIGKILL may fall between a checkpoint and its frame.
        assert {0, MANY.epochs} <= set(frames) <= set(range(MANY.epochs + 1))
        assert len(frames) >= MANY.epochs
    assert set(frames[0]["levels"]) == {"P3", "P4", "P5", "layer10", "layer22"}
    status = run.json("status.json")
    assert status["done"] == 1.0
    assert {m["name"] for m in run.json("comparison.json")["members"]} == {"baseline", "halo"}
    assert set(run.json("pair.json")) >= {"baseline", "halo", "imgsz", "title"}


def test_only_the_halo_layers(tmp_path: Path) -> None:
    """Trained: halo. All other tensors are the start's, bit for bit; the baseline is measured, not trained."""
    plan = replace(TINY, trained="halo", epochs=1, lr0=0.01)
    run = create(plan, tmp_path / "runs", tmp_path / "datasets")
    process = launch(run)
    assert process.wait(240) == 0, run.log_tail(3000)
    before = read_weights(run.start("halo"))[0].model.state_dict()
    after = read_weights(run.weights("halo"))[0].model.state_dict()
    changed = {key.split(".")[1] for key in after if not torch.equal(before[key], after[key])}
    assert changed == {"17", "21", "25"}
    first, second = (read_weights(p)[0].model.state_dict() for p in (run.start("baseline"), run.weights("baseline")))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert json.loads(run.weights("baseline").with_suffix(".json").read_text())["trained"] == "nothing"
    assert epochs(run, "baseline") == []


def test_too_little_memory_says_so_and_names_a_smaller_batch(tmp_path: Path) -> None:
    """An allocation that the machine refuses: the state is failed, the batch halved in the advice, nothing hangs."""
    resource = pytest.importorskip("resource", reason="limits of a process are set by Unix alone")
    plan = replace(TINY, batch=64, nbs=64, imgsz=640, meadow_train=64, meadow_val=1, member="baseline", epochs=1)
    run = create(plan, tmp_path / "runs", tmp_path / "datasets")
    room = 9 * 2**30  # bytes of addresses: a process with torch takes 6 to 7 of them before it does anything

    process = launch(run, lambda: resource.setrlimit(resource.RLIMIT_AS, (room, room)))
    assert process.wait(400) != 0
    assert run.state() == "failed", run.log_tail(3000)
    error = run.json("status.json")["error"]
    assert error["kind"] == "memory", error
    assert error["batch"] == 32
    assert "32" in error["next"]


def test_a_full_disk_fails_and_can_be_resumed(tmp_path: Path) -> None:
    """The checkpoint of the second epoch finds no room: the first one's is whole, and the run goes on from it."""
    run = create(replace(TINY, member="halo"), tmp_path / "runs", tmp_path / "datasets")
    out = run.path / "out" / "halo" / "stage0" / "weights"
    process = launch(run)
    until(has_epochs(run, "halo", 1), process)
    (out / "last.partial").unlink(missing_ok=True)
    (out / "last.partial").symlink_to("/dev/full")  # every write to it ends in ENOSPC
    assert process.wait(120) == 2, run.log_tail(3000)
    assert run.state() == "failed"
    assert run.json("status.json")["error"]["kind"] == "disk"
    whole = len(epochs(run, "halo"))
    assert 1 <= whole < TINY.epochs

    process = launch(run)
    assert process.wait(240) == 0, run.log_tail(3000)
    assert run.state() == "finished"
    assert epochs(run, "halo") == [1, 2, 3, 4]


def test_two_workers_on_one_folder(tmp_path: Path) -> None:
    """The second ends with a clear line and leaves the first and its state alone."""
    run = create(replace(TINY, member="halo"), tmp_path / "runs", tmp_path / "datasets")
    first = launch(run)
    until(lambda: run.state() == "running" and "epoch" in run.json("status.json"), first)
    second = subprocess.run(
        [sys.executable, "-m", "halo_vis", "train", str(run.path)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert f"trained by another process ({first.pid})" in second.stderr
    assert run.state() == "running"
    assert run.process()["pid"] == first.pid
    first.terminate()
    assert first.wait(60) == 0
    assert run.state() == "stopped"


def test_a_folder_that_is_deleted_is_not_made_again(tmp_path: Path) -> None:
    """The worker ends at once and leaves no half of a folder that would be listed as a run."""
    run = create(replace(TINY, member="halo", epochs=500), tmp_path / "runs", tmp_path / "datasets")
    process = launch(run)
    until(has_epochs(run, "halo", 1), process)
    run.path.rename(tmp_path / "trash")
    assert process.wait(60) == 2
    assert not (run.path / "status.json").exists()
    assert not (run.path / "run.yaml").exists()
    assert "was deleted while it was trained" in (tmp_path / "trash" / "log.txt").read_text()


def test_a_damaged_checkpoint_starts_the_stage_again(tmp_path: Path) -> None:
    """Half a file where last.pt was: no crash, no silent success; the stage begins anew and ends whole."""
    run = create(replace(TINY, member="baseline", epochs=2), tmp_path / "runs", tmp_path / "datasets")
    process = launch(run)
    until(has_epochs(run, "baseline", 1), process)
    process.kill()
    process.wait(60)
    last = run.path / "out" / "baseline" / "stage0" / "weights" / "last.pt"
    until(last.exists)
    last.write_bytes(last.read_bytes()[:5000])
    process = launch(run)
    assert process.wait(240) == 0, run.log_tail(3000)
    assert run.state() == "finished"
    assert "this stage starts again" in run.log.read_text()
    assert set(epochs(run, "baseline")) == {1, 2}


def test_time_is_up(tmp_path: Path) -> None:
    """A run that may take little time ends by itself with what it has learned, for both members, and says so."""
    run = create(replace(TINY, longest_s=1.0, epochs=200), tmp_path / "runs", tmp_path / "datasets")
    process = launch(run)
    assert process.wait(240) == 0, run.log_tail(3000)
    assert run.state() == "finished"
    warned = [e["message"] for e in run.events() if e["kind"] == "warning"]
    assert len(warned) == 2
    assert all("used up" in message for message in warned)
    for member in ("baseline", "halo"):
        card = json.loads(run.weights(member).with_suffix(".json").read_text())
        assert 1 <= card["epochs"] == len(set(epochs(run, member))) < 200  # the card tells what was done


def test_an_early_stop_is_told_as_it_was(tmp_path: Path) -> None:
    """Patience ends the training: card and status tell the epochs that were done, not those that were asked for."""
    # At this rate nothing gets better; at 160 pixels the start finds something to begin with.
    plan = replace(TINY, member="baseline", epochs=40, patience=1, lr0=1e-7, imgsz=160)
    run = create(plan, tmp_path / "runs", tmp_path / "datasets")
    process = launch(run)
    assert process.wait(240) == 0, run.log_tail(3000)
    assert run.state() == "finished"
    done = len(set(epochs(run, "baseline")))
    assert done < 40
    assert json.loads(run.weights("baseline").with_suffix(".json").read_text())["epochs"] == done
    assert run.json("status.json")["done"] == 1.0


def test_a_stop_between_members_begins_no_other(tmp_path: Path) -> None:
    """Asked while the first member is measured: the second is not touched. The folder is moved, and goes on there."""
    run = create(replace(TINY, epochs=1), tmp_path / "runs", tmp_path / "datasets")
    process = launch(run)
    until(lambda: run.json("status.json").get("phase") == "measuring", process)
    run.stop_file.touch()
    assert process.wait(120) == 0, run.log_tail(3000)
    assert run.state() == "stopped"
    assert epochs(run, "halo") == []
    assert not (run.path / "out" / "halo").exists()

    moved = RunFolder(run.path.rename(tmp_path / "moved"))
    process = launch(moved)
    assert process.wait(240) == 0, moved.log_tail(3000)
    assert moved.state() == "finished"
    assert epochs(moved, "baseline") == epochs(moved, "halo") == [1]
    assert not moved.stop_file.exists()


def test_a_killed_stop_does_not_stop_the_next(tmp_path: Path) -> None:
    """STOP, then SIGKILL: started again from a shell, the run goes on to its end."""
    run = create(replace(TINY, member="baseline", epochs=30), tmp_path / "runs", tmp_path / "datasets")
    process = launch(run)
    until(has_epochs(run, "baseline", 1), process)
    process.kill()
    process.wait(60)
    run.stop_file.touch()
    process = launch(run)
    assert process.wait(400) == 0, run.log_tail(3000)
    assert run.state() == "finished"
    assert sorted(set(epochs(run, "baseline"))) == list(range(1, 31))
