"""The same bad luck in a real training: its server killed, its worker killed, stopped, resumed, and all of it there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from run_folders import end_workers, epochs_done, until

from halo_vis.training.begin import create
from halo_vis.training.plan import Plan
from halo_vis.training.store import Store, StoreSettings

SECONDS = 240
TINY = Plan.from_dict(
    {
        "title": "bad luck", "start": "pair:meadow", "meadow_train": 8, "meadow_val": 4, "meadow_test": 4, "epochs": 3,
        "imgsz": 64, "batch": 4, "nbs": 4, "lr0": 1e-4, "warmup_epochs": 0.0, "device": "cpu", "threads": 1,
    }
)  # fmt: skip


def test_a_training_outlives_its_server_and_its_own_death(tmp_path):
    root = tmp_path / "runs"
    run = create(TINY, root, tmp_path / "datasets")
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("run_server.py")), str(root), "--real", "--enqueue", run.id],
        stdout=subprocess.PIPE,
        text=True,
    )
    store = Store(root, StoreSettings(disk_free_bytes=0, poll_s=0.1, exit_s=60))
    try:
        until(lambda: epochs_done(run, "baseline"), "the first epoch", SECONDS)
        server.kill()
        server.wait()
        worker = run.process()["pid"]
        until(lambda: len(epochs_done(run, "baseline")) >= 2, "it goes on without its server", SECONDS)
        assert (store.state(run), run.process()["pid"]) == ("running", worker)

        os.kill(worker, signal.SIGKILL)
        until(lambda: store.state(run) == "interrupted", "it is seen to be gone", 30)
        kept = epochs_done(run, "baseline")
        store.start_pump()
        store.resume(run)
        until(lambda: epochs_done(run, "halo"), "the second member", SECONDS)
        assert epochs_done(run, "baseline")[: len(kept)] == kept  # nothing that was whole is trained again

        assert store.stop_now(run) in ("stopping", "stopped")  # a quick one has stopped before it is looked at
        until(lambda: store.state(run) == "stopped", "it stops at its next batch", 60)
        store.resume(run)
        until(lambda: store.state(run) not in ("queued", "running"), "it ends", SECONDS)
        shown = store.snapshot(run)
        assert shown["state"] == "finished", shown["log"]
        for member in shown["members"]:
            assert (member["status"], member["epochs_done"], member["epochs"]) == ("done", 3, 3)
            assert member["curves"]["epoch"] == [1, 2, 3] and None not in member["curves"]["loss"]
        assert {"open", "download", "retry", "delete"} <= set(shown["actions"])
        assert shown["comparison"] and shown["progress"]["elapsed_s"] > 0
        assert shown["plan"]["title"] == "bad luck"
        json.dumps(shown, allow_nan=False)
        row = store.history("bad luck meadow")[0]
        assert set(row["mAP50"]) == {"baseline", "halo"} and row["epochs"] == 3
    finally:
        server.kill()
        server.stdout.close()
        store.close()
        end_workers(root)
