"""Bad luck: killed workers, killed servers, damaged files, full disks, two servers. The state of a run stays true."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from run_folders import end_workers, epochs_done, go, make_run, most_at_once, opened, starts, until

from halo_vis.training.run_folder import identity
from halo_vis.training.store import Store, StoreSettings

SERVER = [sys.executable, str(Path(__file__).with_name("run_server.py"))]


@contextmanager
def server(root: Path, *arguments: str):
    """A server in a process of its own; killed in the end, and the runs below root with it."""
    process = subprocess.Popen([*SERVER, str(root), *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        end_workers(root)


@contextmanager
def stranger():
    """A process that has nothing to do with any run."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------- processes that die
def test_a_killed_worker_is_seen_at_once_and_its_run_goes_on_after_the_last_whole_epoch(tmp_path):
    run = make_run(tmp_path, "r", epochs=3, gated=True)
    with opened(tmp_path) as store:
        store.enqueue(run)
        go(run, 1)
        until(lambda: run.json("status.json").get("epoch") == 2)
        os.kill(run.process()["pid"], signal.SIGKILL)
        until(lambda: store.state(run) == "interrupted")
        assert run.json("status.json")["state"] == "running"  # the file lies, the store does not
        assert "ended by SIGKILL" in store.snapshot(run)["warnings"][0]
        go(run, 3)
        store.resume(run)
        until(lambda: store.state(run) == "finished")
        assert epochs_done(run) == [1, 2, 3]


def test_helpers_that_a_killed_worker_left_behind_do_not_go_on_beside_the_next_one(tmp_path):
    run = make_run(tmp_path, "r", epochs=2, gated=True, helper=True)
    with opened(tmp_path) as store, stranger() as other:
        store.enqueue(run)
        until(lambda: starts(run))
        helper = run.lines(run.path / "helpers.jsonl")[0]["pid"]
        os.kill(run.process()["pid"], signal.SIGKILL)
        until(lambda: store.state(run) == "interrupted")
        assert psutil.pid_exists(helper)
        store.resume(run)
        until(lambda: len(starts(run)) == 2)
        gone = not psutil.pid_exists(helper) or psutil.Process(helper).status() == psutil.STATUS_ZOMBIE
        assert gone and other.poll() is None


def test_a_killed_server_takes_no_run_with_it_and_the_next_one_finds_it(tmp_path):
    run, waits = make_run(tmp_path, "r", epochs=3, gated=True), make_run(tmp_path, "w", epochs=1)
    with server(tmp_path, "--enqueue", "r", "w") as process:
        until(lambda: starts(run))
        pid = run.process()["pid"]
        process.kill()
        process.wait()
        go(run, 1)
        until(lambda: run.json("status.json").get("epoch") == 2, "it goes on without a server")
        with opened(tmp_path) as store:
            assert store.state(run) == "running" and run.process()["pid"] == pid
            assert store.queue() == ["w"]
            assert starts(waits) == []  # the run that the dead server started still has the one place
            assert store.stop(run) == "stopping"
            go(run, 2)
            until(lambda: store.state(run) == "stopped")
            until(lambda: store.state(waits) == "finished", "what waited before the restart is started after it")
            go(run, 3)
            store.resume(run)
            until(lambda: store.state(run) == "finished")
    assert epochs_done(run) == [1, 2, 3] and len(starts(waits)) == 1


def test_a_server_killed_while_it_starts_a_run_leaves_one_that_can_be_resumed(tmp_path):
    """Between the state "running" and the worker's first sign proc.json names the server, which is dead then."""
    run = make_run(tmp_path, "r")
    with stranger() as dead:
        run.write_json("proc.json", identity(dead.pid))
        run.set_state("running", phase="loading")
    with opened(tmp_path) as store:
        assert store.state(run) == "interrupted"
        store.resume(run)
        until(lambda: store.state(run) == "finished")


def test_two_servers_start_every_run_once_and_no_more_than_allowed(tmp_path):
    runs = [make_run(tmp_path, f"r{n}", epochs=3) for n in range(6)]
    store = Store(tmp_path, StoreSettings(disk_free_bytes=0))
    for run in runs:
        store.enqueue(run)
    with server(tmp_path, "--at-once", "2"), server(tmp_path, "--at-once", "2"):
        until(lambda: all(store.state(run) == "finished" for run in runs), seconds=60)
    assert [len(starts(run)) for run in runs] == [1] * 6
    assert most_at_once(tmp_path) <= 2
    assert [epochs_done(run) for run in runs] == [[1, 2, 3]] * 6


def test_what_one_server_started_another_one_stops(tmp_path):
    run = make_run(tmp_path, "r", gated=True, deaf=True)
    with server(tmp_path, "--enqueue", "r"):
        until(lambda: starts(run))
        other = Store(tmp_path)
        assert other.stop_now(run) == "stopping"
        assert other.kill(run) == "interrupted"


def test_a_zombie_is_dead(tmp_path):
    run = make_run(tmp_path, "r")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run.write_json("proc.json", identity(child.pid))
    run.set_state("running")
    store = Store(tmp_path)
    assert store.state(run) == "running"
    child.stdin.close()
    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert store.state(run) == "interrupted" and "resume" in store.snapshot(run)["actions"]
    child.wait()


# ---------------------------------------------------------------- a process that is not the run's
@pytest.mark.parametrize("change", [{}, {"started": 1.0}, {"boot": "another"}, {"host": "another"}])
def test_a_process_that_is_not_the_runs_own_is_never_signalled(tmp_path, change):
    """A pid used again, and a proc.json that names a living stranger in every detail."""
    run = make_run(tmp_path, "r")
    run.set_state("running")
    store = Store(tmp_path)
    with stranger() as other:
        run.write_json("proc.json", identity(other.pid) | change)
        assert store.state(run) == ("interrupted" if change else "running")
        store.stop_now(run)
        store.kill(run)
        assert other.poll() is None


@pytest.mark.parametrize("pid", [0, -1, 1, True, "1", None, 2**40, "this process"])
def test_a_damaged_process_number_harms_nobody(tmp_path, pid):
    run = make_run(tmp_path, "r")
    run.set_state("running")
    run.write_json("proc.json", identity(os.getpid()) | {"pid": os.getpid() if pid == "this process" else pid})
    store = Store(tmp_path)
    store.stop_now(run)
    store.kill(run)
    assert store.snapshot(run)["state"] in ("interrupted", "stopping")  # and this process is still here


# ---------------------------------------------------------------- clocks
def test_a_clock_that_is_set_changes_neither_states_nor_the_queue(tmp_path, monkeypatch):
    works, first, second = (make_run(tmp_path, name, gated=True) for name in ("w", "b", "a"))
    real = time.time
    with opened(tmp_path) as store:
        store.enqueue(works)
        until(lambda: starts(works))
        store.enqueue(first)
        for days in (10, -4000):
            monkeypatch.setattr(time, "time", lambda days=days: real() + days * 86400)
            assert Store(tmp_path).state(works) == "running"
        store.enqueue(second)  # in the year of the clock before
        assert store.queue() == ["b", "a"]


@pytest.mark.skipif(not shutil.which("faketime"), reason="faketime is not installed")
@pytest.mark.parametrize("shift", ["+40d", "-40d"])
def test_a_reader_in_another_year_finds_the_same_process(tmp_path, shift):
    run = make_run(tmp_path, "r", gated=True)
    with opened(tmp_path, pump=False) as store:
        store.enqueue(run)
        store.pump()
        until(lambda: starts(run))
        code = (
            "import sys, time, run_server; from pathlib import Path; from halo_vis.training.store import Store;"
            "print(time.time(), Store(Path(sys.argv[1])).state('r'))"
        )
        said = subprocess.run(
            ["faketime", "-f", shift, sys.executable, "-c", code, str(tmp_path)],
            capture_output=True, text=True, cwd=Path(__file__).parent, check=True,
        )  # fmt: skip
        then, state = said.stdout.split()
        assert abs(float(then) - time.time()) > 30 * 86400 and state == "running"
