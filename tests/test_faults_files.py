"""Bad luck with files: damaged, half written, on a full disk, deleted while somebody looks. States stay true."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from run_folders import end_workers, epochs_done, go, make_run, opened, starts, until

from halo_vis.training.store import NoSuchRun, Store, StoreError, StoreSettings


@contextmanager
def small_disk(folder: Path, megabytes: int):
    """A file system of its own at a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk can be mounted by root only: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        end_workers(folder)
        subprocess.run(["umount", "-l", str(folder)], check=True)


# ---------------------------------------------------------------- files
DAMAGED = [
    "",
    "{",
    '{"state": "runn',
    "null",
    "[1]",
    "[" * 100_000,
    '{"state": 7}',
    '{"state": "no such state"}',
    "\0" * 99,
]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_status_hides_neither_a_living_worker_nor_a_dead_one(tmp_path, text):
    run = make_run(tmp_path, "r", epochs=2, gated=True)
    with opened(tmp_path) as store:
        store.enqueue(run)
        until(lambda: starts(run))
        (run.path / "status.json").write_text(text)
        assert store.snapshot(run)["state"] == "running"
        os.kill(run.process()["pid"], signal.SIGKILL)
        until(lambda: store.state(run) == "interrupted")
        (run.path / "status.json").write_text(text)
        go(run, 2)
        store.resume(run)
        until(lambda: store.state(run) == "finished")
        until(lambda: not run.at_work())
        (run.path / "status.json").write_text(text)
        assert store.state(run) == "finished"  # nothing finished is lost: the events say so too


def test_a_half_written_line_is_neither_shown_nor_in_the_way(tmp_path):
    run = make_run(tmp_path, "r", epochs=2, gated=True)
    with opened(tmp_path) as store:
        store.enqueue(run)
        go(run, 1)
        until(lambda: epochs_done(run) == [1])
        with (run.path / "events.jsonl").open("a") as f:
            f.write('{"kind": "epoch", "member": "halo", "epo')
        assert store.snapshot(run)["members"][0]["curves"]["epoch"] == [1]
        go(run, 2)
        until(lambda: store.state(run) == "finished")
        assert store.snapshot(run)["members"][0]["curves"]["epoch"] == [1, 2]


@pytest.mark.parametrize("state", ["running", "stopping"])
def test_a_status_that_says_running_without_a_process_is_not_believed(tmp_path, state):
    run = make_run(tmp_path, "r")
    run.set_state(state)
    assert Store(tmp_path).state(run) == "interrupted"
    assert Store(tmp_path).history()[0]["state"] == "interrupted"


def test_a_status_that_says_finished_without_weights_is_not_believed(tmp_path):
    run = make_run(tmp_path, "r")
    run.set_state("finished")
    with opened(tmp_path) as store:
        shown = store.snapshot(run)
        assert shown["state"] == "interrupted" and "weights of halo are missing" in shown["warnings"][0]
        store.resume(run)
        until(lambda: store.state(run) == "finished")
        run.weights("halo").write_bytes(b"")  # an empty file is none
        assert store.state(run) == "interrupted"


@pytest.mark.parametrize("name", ["run.yaml", "proc.json", "events.jsonl", "about.json", "status.json", "weights"])
def test_something_of_the_wrong_kind_in_a_files_place_does_not_stop_the_others(tmp_path, name):
    run, other = make_run(tmp_path, "r"), make_run(tmp_path, "s")
    (run.path / name).unlink(missing_ok=True)
    if name == "weights":
        (run.path / name).write_text("a file where a folder should be")
    else:
        (run.path / name).mkdir()
    with opened(tmp_path) as store:
        store.snapshot(run)
        store.enqueue(other)
        until(lambda: store.state(other) == "finished")
        assert sorted(row["id"] for row in store.history()) == ["r", "s"]


# ---------------------------------------------------------------- disks
def test_a_full_disk_leaves_every_state_true_and_ends_when_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk", 2) as root:
        works = make_run(root, "w", epochs=2, gated=True)
        with opened(root) as store:
            store.enqueue(works)
            until(lambda: starts(works))
            fresh = make_run(root, "f")
            with (root / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
                while True:
                    filler.write(b"\0" * 4096)
            with pytest.raises(StoreError, match="No space left"):
                store.enqueue(fresh)
            with pytest.raises(StoreError, match="No space left"):
                store.set_note(fresh, note="a note")
            assert store.snapshot(fresh)["state"] == "new" and fresh.json("about.json")["title"] == "title of f"
            go_file = works.path / "go"
            (root / "filler").write_bytes(b"")  # a moment of room, for the test's own file
            go_file.write_text("2")
            with (root / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
                while True:
                    filler.write(b"\0" * 4096)
            until(lambda: not works.at_work(), "the worker ends, done or not")
            assert store.state(works) in ("interrupted", "finished")
            assert [row["id"] for row in store.history()]
            (root / "filler").unlink()
            if store.state(works) != "finished":
                store.resume(works)
            until(lambda: store.state(works) == "finished")
            store.enqueue(fresh)
            until(lambda: store.state(fresh) == "finished")


def test_a_run_cannot_be_started_on_a_full_disk_and_waits(tmp_path):
    with small_disk(tmp_path / "disk", 2) as root:
        run = make_run(root, "r")
        with opened(root, pump=False) as store:
            store.enqueue(run)
            with (root / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
                while True:
                    filler.write(b"\0" * 4096)
            store.pump()
            assert store.state(run) in ("queued", "failed") and not run.at_work() and starts(run) == []
            (root / "filler").unlink()
        with opened(root) as store:
            if store.state(run) == "failed":
                store.resume(run)
            until(lambda: store.state(run) == "finished")


def test_a_folder_that_cannot_be_written_is_still_shown(tmp_path):
    with small_disk(tmp_path / "disk", 4) as root:
        run = make_run(root, "r")
        with opened(root) as store:
            store.enqueue(run)
            until(lambda: store.state(run) == "finished" and run.process().get("exit") == 0)
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
        store = Store(root, StoreSettings(disk_free_bytes=0))
        store.start_pump()
        try:
            assert store.snapshot(run)["state"] == "finished"
            assert store.history()[0]["mAP50"] == {"halo": 0.5}
            for change in (lambda: store.set_note(run, note="x"), lambda: store.delete(run), lambda: store.stop(run)):
                with pytest.raises(StoreError, match="Read-only file system"):
                    change()
        finally:
            store.close()


# ---------------------------------------------------------------- while somebody looks
def test_a_run_deleted_while_pages_poll_it_is_whole_or_gone(tmp_path):
    run = make_run(tmp_path, "r")
    for n in range(200):
        run.event("epoch", member="halo", epoch=n + 1, epochs=200, losses={"box": 1.0})
    store, seen, wrong = Store(tmp_path), [], []

    def poll() -> None:
        try:
            while True:
                seen.append((lambda s: (s["state"], s["members"][0]["epochs_done"]))(store.snapshot("r")))
        except NoSuchRun:
            seen.append("gone")
        except Exception as error:
            wrong.append(error)

    pages = [threading.Thread(target=poll) for _ in range(4)]
    for page in pages:
        page.start()
    until(lambda: len(seen) > 20)
    store.delete("r")
    for page in pages:
        page.join(30)
    assert wrong == [] and seen.count("gone") == 4
    assert {s for s in seen if s != "gone"} == {("new", 200)}
    assert not run.path.exists()


def test_a_run_whose_folder_is_removed_by_hand_while_it_trains_leaves_the_rest_at_work(tmp_path):
    run, other = make_run(tmp_path, "r", gated=True), make_run(tmp_path, "s")
    with opened(tmp_path) as store:
        store.enqueue(run)
        until(lambda: starts(run))
        store.enqueue(other)
        worker = psutil.Process(run.process()["pid"])
        shutil.rmtree(run.path)
        with pytest.raises(NoSuchRun):
            store.snapshot("r")
        worker.kill()
        until(lambda: store.state(other) == "finished")
        assert [r.id for r in store.runs()] == ["s"] and not run.path.exists()


def test_everything_a_page_gets_is_json(tmp_path):
    run = make_run(tmp_path, "r")
    with opened(tmp_path) as store:
        store.enqueue(run)
        until(lambda: store.state(run) == "finished")
        assert json.loads(json.dumps(store.snapshot(run), allow_nan=False))["state"] == "finished"
        json.dumps(store.history(), allow_nan=False)
