"""Workers as processes: their environment, their group, their log, and those that somebody else has started."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import yaml
from run_folders import STAND_IN, epochs_done, go, make_run, opened, starts, until

from halo_vis.training.launch import environment, trim_log
from halo_vis.training.run_folder import RunFolder
from halo_vis.training.store import Store


def test_a_worker_gets_a_small_environment_without_secrets(tmp_path, monkeypatch):
    run = make_run(tmp_path, "r")
    for name in ("HF_TOKEN", "HALO_VIS_RAY_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "SOMETHING", "PYTHONPATH"):
        monkeypatch.setenv(name, f"value of {name}")
    monkeypatch.setenv("HALO_VIS_DATA", "/data")
    with opened(tmp_path) as store:
        store.enqueue(run)
        until(lambda: store.state(run) == "finished")
    seen = starts(run)[0]["env"]
    assert not [n for n in seen if any(s in n for s in ("TOKEN", "SECRET", "KEY"))] and "SOMETHING" not in seen
    assert seen["HALO_VIS_DATA"] == "/data" and seen["PATH"] == os.environ["PATH"]
    assert Path(seen["YOLO_CONFIG_DIR"]).is_relative_to(tmp_path)
    assert (seen["YOLO_AUTOINSTALL"], seen["YOLO_OFFLINE"], seen["ULTRALYTICS_SAFE_LOAD"]) == ("false", "1", "1")
    assert (Path(seen["PYTHONPATH"]) / "halo_vis" / "__init__.py").is_file()
    assert environment(run, passed=("WANDB_API_KEY",))["WANDB_API_KEY"] == "value of WANDB_API_KEY"


def test_a_worker_is_a_process_of_its_own_and_leaves_no_zombie(tmp_path):
    run = make_run(tmp_path, "r", gated=True)
    with opened(tmp_path) as store:
        store.enqueue(run)
        until(lambda: starts(run))
        pid = run.process()["pid"]
        worker = psutil.Process(pid)
        assert os.getsid(pid) == pid == os.getpgid(pid)
        assert worker.nice() >= 5
        assert Path(worker.cwd()).is_relative_to(run.path)
        assert (Path("/proc") / str(pid) / "oom_score_adj").read_text().strip() == "500"
        assert all(fd.path != str(tmp_path / ".lock") for fd in worker.open_files())
        go(run, 2)
        until(lambda: not psutil.pid_exists(pid), "it is reaped")
        until(lambda: run.process().get("exit") == 0)
        assert '"stand-in"' in store.snapshot(run)["log"]


def test_a_log_that_grows_is_cut_while_it_is_written(tmp_path):
    run = make_run(tmp_path, "r", epochs=400, say="x" * 1000)
    with opened(tmp_path, log_bytes=50_000) as store:
        store.enqueue(run)
        until(lambda: store.state(run) == "finished", seconds=60)
        store.pump()
        until(lambda: run.log.stat().st_size <= 50_000, "cut by the store")
    assert run.log.read_text().startswith("[the beginning of this log was left out]\n")
    assert epochs_done(run)[-1] == 400


def test_cutting_a_log_keeps_whole_lines_and_what_is_appended_later(tmp_path):
    run = RunFolder(tmp_path)
    with run.log.open("ab") as log:
        log.writelines(f"line {n}\n".encode() for n in range(1000))
        log.flush()
        assert trim_log(run, 1000) and not trim_log(run, 1000)
        log.write(b"appended\n")
    lines = run.log.read_text().split("\n")
    assert lines[0].startswith("[") and lines[-3:] == ["line 999", "appended", ""]
    assert all(line.startswith("line ") for line in lines[1:-2])


def test_a_run_that_another_process_trains_is_not_started_beside_it(tmp_path):
    import subprocess

    run = make_run(tmp_path, "r", gated=True)
    byhand = subprocess.Popen([*STAND_IN[:2], str(run.path)], stdout=subprocess.DEVNULL)
    try:
        until(lambda: run.json("status.json").get("epoch") == 1)
        (run.path / "proc.json").write_text("{damaged")  # nobody can tell who it is any more
        with opened(tmp_path, pump=False) as store:
            assert store.state(run) == "interrupted"
            store.resume(run)
            assert store.pump() == []
            assert "another process trains" in store.snapshot(run)["warnings"][0]
        assert len(starts(run)) == 1
    finally:
        byhand.kill()
        byhand.wait()


def test_a_run_started_from_a_shell_counts_and_can_be_stopped(tmp_path):
    import subprocess

    run, waits = make_run(tmp_path, "r", gated=True), make_run(tmp_path, "w")
    byhand = subprocess.Popen([*STAND_IN[:2], "r"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        until(lambda: run.json("status.json").get("epoch") == 1)
        with opened(tmp_path, pump=False) as store:
            store.enqueue(waits)
            assert store.pump() == []  # it takes the machine's one place
            assert store.state(run) == "running"
            store.stop_now(run)
            assert byhand.wait(20) == 0
            assert store.state(run) == "stopped"
            assert store.pump() == ["w"]
    finally:
        byhand.kill()
        byhand.wait()


def test_settings_and_recipe_are_plain_files(tmp_path):
    """What a store relies on can be read with an editor."""
    run = make_run(tmp_path, "r")
    store = Store(tmp_path)
    assert store.snapshot(run)["state"] == "new" and "resume" in store.snapshot(run)["actions"]
    assert yaml.safe_load((run.path / "run.yaml").read_text())["members"] == {"halo": "residual"}
