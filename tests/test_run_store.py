"""The store: the queue, starting, stopping, resuming, notes, deleting. With real processes."""

from __future__ import annotations

import sys
import threading

import pytest
from run_folders import MEMBERS, epochs_done, go, make_run, most_at_once, opened, starts, until

from halo_vis.training.launch import LocalLauncher
from halo_vis.training.store import NoSuchRun, Store, StoreError


def test_runs_wait_their_turn_and_finish_one_after_the_other(tmp_path):
    first, second, third = (make_run(tmp_path, name, gated=True) for name in ("b", "c", "a"))
    with opened(tmp_path) as store:
        store.enqueue(first)
        until(lambda: store.state(first) == "running", "the first starts")
        store.enqueue(second)
        store.enqueue(third)
        assert store.queue() == ["c", "a"]  # as they came, not by name
        assert [store.snapshot(run)["queue"] for run in ("b", "c", "a")] == [None, 1, 2]
        go(first, 2)
        until(lambda: store.state(second) == "running", "the second follows without being asked")
        assert (store.state(first), store.state(third)) == ("finished", "queued")
        go(second, 2)
        go(third, 2)
        until(lambda: store.state(third) == "finished", "the third ends")
        assert most_at_once(tmp_path) == 1
        assert [len(starts(run)) for run in (first, second, third)] == [1, 1, 1]


def test_several_may_run_at_once(tmp_path):
    runs = [make_run(tmp_path, f"r{n}", gated=True) for n in range(3)]
    with opened(tmp_path, at_once=2) as store:
        for run in runs:
            store.enqueue(run)
        until(lambda: starts(runs[0]) and starts(runs[1]))
        assert store.queue() == ["r2"]
        for run in runs:
            go(run, 2)
        until(lambda: all(store.state(run) == "finished" for run in runs))
    assert most_at_once(tmp_path) == 2


def test_each_run_gets_a_device_of_its_own(tmp_path):
    runs = [make_run(tmp_path, f"r{n}", gated=True) for n in range(4)]
    (runs[1].path / "plan.yaml").write_text("device: cpu\n")
    (runs[2].path / "plan.yaml").write_text("device: '0'\n")
    with opened(tmp_path, at_once=3, devices=("0", "1")) as store:
        for run in runs:
            store.enqueue(run)
        until(lambda: starts(runs[0]) and starts(runs[1]))
        assert starts(runs[0])[0]["arguments"] == ["--device", "0"]
        assert starts(runs[1])[0]["arguments"] == []  # it names its own
        assert store.pump() == []
        assert store.queue() == ["r2", "r3"]  # device 0 is taken, and nobody overtakes
        go(runs[0], 2)
        until(lambda: starts(runs[2]) and starts(runs[3]))
        assert starts(runs[2])[0]["arguments"] == []
        assert starts(runs[3])[0]["arguments"] == ["--device", "1"]


def test_a_stop_ends_after_the_epoch_and_a_resume_does_the_rest(tmp_path):
    run = make_run(tmp_path, "r", epochs=4, gated=True)
    with opened(tmp_path) as store:
        store.enqueue(run)
        go(run, 1)
        until(lambda: run.json("status.json").get("epoch") == 2, "the second epoch is in progress")
        assert store.stop(run) == "stopping"
        assert store.snapshot(run)["actions"] == ["stop_now", "kill"]
        go(run, 2)
        until(lambda: store.state(run) == "stopped")
        assert epochs_done(run) == [1, 2]  # the epoch in progress was not thrown away
        go(run, 4)
        store.resume(run)
        assert store.snapshot(run)["progress"]["elapsed_s"] == 2.0  # what was done stays in view while it waits
        until(lambda: store.state(run) == "finished")
        assert epochs_done(run) == [1, 2, 3, 4]
        assert not run.stop_file.exists()


def test_stopped_at_once_it_repeats_the_epoch_in_progress(tmp_path):
    run = make_run(tmp_path, "r", epochs=3, gated=True)
    with opened(tmp_path) as store:
        store.enqueue(run)
        go(run, 1)
        until(lambda: run.json("status.json").get("epoch") == 2)
        store.stop_now(run)
        until(lambda: store.state(run) == "stopped")
        assert epochs_done(run) == [1]
        go(run, 3)
        store.resume(run)
        until(lambda: store.state(run) == "finished")
        assert epochs_done(run) == [1, 2, 3]


def test_a_worker_that_hears_nothing_is_ended_by_force_and_goes_on_later(tmp_path):
    run = make_run(tmp_path, "r", epochs=2, gated=True, deaf=True)
    with opened(tmp_path) as store:
        store.enqueue(run)
        until(lambda: starts(run))
        assert store.stop_now(run) == "stopping"
        assert store.kill(run) == "interrupted"
        assert "SIGKILL" in " ".join(store.snapshot(run)["warnings"])
        go(run, 2)
        store.resume(run)
        until(lambda: store.state(run) == "finished")
        assert store.snapshot(run)["warnings"] == []


def test_a_stop_that_comes_before_the_worker_can_hear_is_a_stop(tmp_path):
    run = make_run(tmp_path, "r")
    slow = LocalLauncher(command=(sys.executable, "-c", "import time; time.sleep(60)", "RUN_FOLDER"))
    with opened(tmp_path, launcher=slow, pump=False) as store:
        store.enqueue(run)
        store.pump()
        store.stop_now(run)
        until(lambda: store.state(run) == "stopped")
        assert "resume" in store.snapshot(run)["actions"]


def test_a_run_that_waits_leaves_the_queue_and_may_come_back(tmp_path):
    first, second = make_run(tmp_path, "a", gated=True), make_run(tmp_path, "b", gated=True)
    with opened(tmp_path) as store:
        store.enqueue(first)
        until(lambda: starts(first))
        store.enqueue(second)
        assert store.stop(second) == "stopped"
        assert store.queue() == [] and not second.stop_file.exists()
        store.resume(second)
        assert store.queue() == ["b"]
        assert starts(second) == []


def test_a_resume_waits_until_the_process_before_is_gone(tmp_path):
    run = make_run(tmp_path, "r", epochs=2, gated=True, stays=True)
    with opened(tmp_path) as store:
        store.enqueue(run)
        until(lambda: starts(run))
        store.stop(run)
        go(run, 1)
        until(lambda: store.state(run) == "stopped")
        assert run.at_work()  # it has said its last word, and is still there
        resuming = threading.Thread(target=store.resume, args=(run,))
        resuming.start()
        assert store.queue() == [] and len(starts(run)) == 1
        (run.path / "leave").touch()
        resuming.join(30)
        go(run, 2)
        until(lambda: store.state(run) == "finished")
        assert epochs_done(run) == [1, 2]


def test_a_resume_gives_up_on_a_process_that_does_not_end(tmp_path):
    run = make_run(tmp_path, "r", epochs=2, gated=True, stays=True)
    with opened(tmp_path, exit_s=0.1) as store:
        store.enqueue(run)
        until(lambda: starts(run))
        store.stop(run)
        go(run, 1)
        until(lambda: store.state(run) == "stopped")
        with pytest.raises(StoreError, match="still at work"):
            store.resume(run)
        store.kill(run)
        assert store.state(run) == "stopped" and not run.at_work()


def test_what_cannot_start_says_why(tmp_path):
    done = make_run(tmp_path, "done")
    with opened(tmp_path, queue_length=1) as store:
        store.enqueue(done)
        until(lambda: store.state(done) == "finished")
        with pytest.raises(StoreError, match="done is finished"):
            store.resume(done)
    with opened(tmp_path, pump=False, queue_length=1) as store:
        store.enqueue(make_run(tmp_path, "a"))
        with pytest.raises(StoreError, match="queue is full: 1 runs wait"):
            store.enqueue(make_run(tmp_path, "b"))
        with pytest.raises(StoreError, match="a is queued"):
            store.enqueue("a")
        assert store.state("b") == "new"
    with opened(tmp_path, pump=False, disk_free_bytes=2**60) as store:
        with pytest.raises(StoreError, match="GiB left, and a run starts only with"):
            store.enqueue("b")
        assert store.pump() == []
        assert "GiB left" in store.snapshot("a")["warnings"][0]
        assert store.snapshot("a")["queue"] == 1  # it keeps its place


def test_a_command_that_is_not_there_fails_and_the_queue_goes_on(tmp_path):
    run = make_run(tmp_path, "r")
    with opened(tmp_path, pump=False, launcher=LocalLauncher(command=("/nowhere/python", "RUN_FOLDER"))) as store:
        store.enqueue(run)
        assert store.pump() == []
        shown = store.snapshot(run)
        assert shown["state"] == "failed" and "/nowhere/python" in shown["error"]["message"]
    with opened(tmp_path) as store:
        store.resume(run)
        until(lambda: store.state(run) == "finished")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../outside", "a/b", "/etc", "a\\b", ".hidden", "no-such", "r\n", "r\0", "x" * 300, None, 7, ["r"]],
)
def test_only_the_plain_name_of_a_run_is_taken_for_one(tmp_path, name):
    root = tmp_path / "root"
    make_run(root, "r")
    make_run(tmp_path, "outside")
    make_run(root, ".hidden")
    (root / "empty").mkdir()
    store = Store(root)
    for call in (store.get, store.snapshot, store.stop, store.kill, store.resume, store.delete):
        with pytest.raises(NoSuchRun):
            call(name)
    assert [run.id for run in store.runs()] == ["r"]
    assert (tmp_path / "outside" / "run.yaml").is_file()


def test_a_link_is_no_run(tmp_path):
    outside = make_run(tmp_path / "outside", "victim")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(outside.path)
    store = Store(root)
    with pytest.raises(NoSuchRun):
        store.delete("link")
    assert store.runs() == [] and (outside.path / "run.yaml").is_file()
    with pytest.raises(NoSuchRun, match="is not in"):
        store.enqueue(outside)


def test_deleting_removes_the_folder_and_nothing_beyond_it(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    root = tmp_path / "root"
    run, waits, works = make_run(root, "r"), make_run(root, "w"), make_run(root, "x", gated=True)
    (run.path / "link").symlink_to(outside)
    with opened(root) as store:
        store.enqueue(works)
        until(lambda: starts(works))
        store.enqueue(waits)
        for busy, state in ((works, "running"), (waits, "queued")):
            with pytest.raises(StoreError, match=f"is {state}. Stop it first"):
                store.delete(busy)
        store.delete(run)
        assert [r.id for r in store.runs()] == ["w", "x"]
        assert sorted(p.name for p in root.iterdir() if p.name.startswith(".trash")) == []
    assert (outside / "kept.txt").read_text() == "kept"


def test_what_a_killed_server_had_begun_to_delete_is_never_listed_and_goes(tmp_path):
    run = make_run(tmp_path, "r")
    run.path.rename(tmp_path / ".trash-r-0011")
    store = Store(tmp_path)
    assert store.runs() == [] and store.history() == []
    with opened(tmp_path):
        until(lambda: not (tmp_path / ".trash-r-0011").exists())


def test_notes_are_kept_short_and_clean(tmp_path):
    run = make_run(tmp_path, "r")
    store = Store(tmp_path)
    store.set_note("r", title="  bees\nand\x00 flowers ", note="two\nlines\x1b[31m")
    about = run.json("about.json")
    assert about == {"title": "bees and flowers", "note": "two\nlines[31m", "made": 1000.0}
    store.set_note("r", title="t" * 1000, note="n" * 10_000)
    about = run.json("about.json")
    assert (len(about["title"]), len(about["note"])) == (120, 4000)
    store.set_note("r", note="only this")
    assert run.json("about.json")["title"] == "t" * 120


def test_the_history_is_newest_first_and_searched_by_words(tmp_path):
    for n, name in enumerate(["old", "new", "newest"]):
        run = make_run(tmp_path, name, members=MEMBERS)
        run.write_json("about.json", {"title": f"Bee {name}", "note": "Wiese" if n else "", "made": 100.0 + n})
    (tmp_path / "new" / "plan.yaml").write_text("data: coco8\n")
    with opened(tmp_path) as store:
        store.enqueue("new")
        until(lambda: store.state("new") == "finished")
        rows = store.history()
        assert [row["id"] for row in rows] == ["newest", "new", "old"]
        assert rows[1] == {
            "id": "new",
            "title": "Bee new",
            "note": "Wiese",
            "state": "finished",
            "made": 101.0,
            "members": MEMBERS,
            "data": "coco8",
            "epochs": 2,
            "mAP50": {"baseline": 0.5, "halo": 0.5},
            "duration": 2.0,
        }
        assert rows[0]["mAP50"] == {"baseline": None, "halo": None}
        assert [row["id"] for row in store.history("WIESE bee")] == ["newest", "new"]
        assert [row["id"] for row in store.history("finished coco8")] == ["new"]
        assert store.history("wasp") == []
