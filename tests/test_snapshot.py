"""What a page is shown of a run: true, whole, fit for a browser's JSON, whatever lies in the folder."""

from __future__ import annotations

import json
import os

import pytest
import yaml
from run_folders import MEMBERS, make_run

from halo_vis.training.run_folder import AT_WORK, STATES, RunFolder, identity
from halo_vis.training.snapshot import FileCache, Look, actions
from halo_vis.training.store import Store, StoreSettings

KEYS = {
    "id", "title", "note", "state", "queue", "made", "plan", "members", "progress", "error", "log", "load", "attention",
    "comparison", "warnings", "actions",
}  # fmt: skip


def shown(run: RunFolder) -> dict:
    """The snapshot, as a browser gets it."""
    value = Store(run.path.parent, StoreSettings(disk_free_bytes=0)).snapshot(run.id)
    return json.loads(json.dumps(value, allow_nan=False))


def epoch(run: RunFolder, number: int, member: str = "halo", **values: object) -> None:
    run.event(
        "epoch", **({"member": member, "epoch": number, "epochs": 5, "losses": {"box": 1.0, "cls": 2.0}} | values)
    )


def test_every_field_is_there_for_a_run_that_has_nothing_yet(tmp_path):
    run = make_run(tmp_path, "r", members=MEMBERS)
    value = shown(run)
    assert set(value) == KEYS
    assert value["state"] == "new" and value["made"] == 1000.0 and value["title"] == "title of r"
    assert value["plan"] == {} and value["error"] is None and value["comparison"] is None
    assert [(m["name"], m["form"], m["status"], m["epochs_done"], m["epochs"]) for m in value["members"]] == [
        ("baseline", "baseline", "waiting", 0, 2),
        ("halo", "residual", "waiting", 0, 2),
    ]
    assert value["members"][0]["curves"] == {
        name: [] for name in ("epoch", "loss", "val_loss", "mAP50", "mAP50-95", "lr", "images_per_s", "seconds")
    }
    assert 0 <= value["load"]["memory"] <= 100


def test_curves_are_of_one_length_and_later_lines_count(tmp_path):
    run = make_run(tmp_path, "r")
    epoch(run, 1, mAP50=0.1, lr=0.01, images_per_s=10.0, seconds=12.5, val_losses={"box": 3.0, "cls": 1.0})
    epoch(run, 2, mAP50=0.2)
    epoch(run, 3, mAP50=0.3, losses={"box": 9.0})
    run.event("session")  # resumed from the end of epoch 1
    epoch(run, 2, mAP50=0.25, losses={"box": 0.5, "dfl": 0.25})
    member = shown(run)["members"][0]
    assert member["epochs_done"] == 2
    assert member["curves"] == {
        "epoch": [1, 2],  # epoch 3 of the session that was thrown away is not shown
        "loss": [3.0, 0.75],
        "box": [1.0, 0.5],
        "cls": [2.0, None],
        "dfl": [None, 0.25],
        "val_loss": [4.0, None],
        "mAP50": [0.1, 0.25],
        "mAP50-95": [None, None],
        "lr": [0.01, None],
        "images_per_s": [10.0, None],
        "seconds": [12.5, None],
    }


def test_numbers_that_json_has_not_become_none(tmp_path):
    run = make_run(tmp_path, "r")
    with (run.path / "events.jsonl").open("a") as f:
        f.write(
            '{"kind": "epoch", "member": "halo", "epoch": 1, "losses": {"box": NaN, "cls": 1}, "mAP50": Infinity}\n'
        )
    (run.path / "status.json").write_text(
        '{"state": "stopped", "left_s": NaN, "losses": {"box": -Infinity}, "epoch": 1}'
    )
    run.path.joinpath("comparison.json").write_text('{"members": [{"mAP50": NaN}]}')
    value = shown(run)
    curves = value["members"][0]["curves"]
    assert (curves["loss"], curves["cls"], curves["mAP50"]) == ([1], [1], [None])
    assert value["progress"]["left_s"] is None and value["progress"]["losses"] == {}
    assert value["comparison"] == {"members": [{"mAP50": None}]}


def test_damaged_and_foreign_lines_are_left_out(tmp_path):
    run = make_run(tmp_path, "r")
    epoch(run, 1)
    with (run.path / "events.jsonl").open("ab") as f:
        f.write(b'{"kind": "epoch", "member": "halo", "epo\xff\xfe\n[1, 2]\n"text"\n\n')
        f.write(
            b'{"kind": "epoch", "member": "halo", "epoch": "2"}\n{"kind": "epoch", "member": "halo", "epoch": true}\n'
        )
        f.write(b"[" * 100_000 + b"\n")
        f.write(
            b'{"kind": "epoch", "member": 7, "epoch": 2}\n'
            b'{"kind": "epoch", "member": "halo", "epoch": 2, "losses": 3}\n'
        )
        f.write(b'{"kind": "epoch", "member": "halo", "epoch": 3')  # half written
    assert shown(run)["members"][0]["curves"]["epoch"] == [1, 2]
    epoch(run, 3)  # behind the half-written line
    assert shown(run)["members"][0]["curves"]["epoch"] == [1, 2, 3]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"text"',
        "[" * 50_000,
        '{"a":' * 900 + "1" + "}" * 900,
        "\0\0",
        "{'state': 'running'}",
    ],
)
def test_a_damaged_file_shows_what_is_left(tmp_path, text):
    for name in ("status.json", "plan.yaml", "about.json", "comparison.json", "proc.json", "run.yaml", "events.jsonl"):
        run = make_run(tmp_path / name, "r")
        epoch(run, 1)
        (run.path / name).write_text(text)
        assert shown(run)["state"] in STATES
        assert [r["id"] for r in Store(run.path.parent).history()] == ["r"]


@pytest.mark.parametrize("value", [{"members": 5, "epoch": "x", "losses": [], "error": 7, "phase": {}, "batch": True}])
def test_a_status_of_the_wrong_types_is_not_shown_as_progress(tmp_path, value):
    run = make_run(tmp_path, "r")
    run.write_json("status.json", {"state": "failed", **value})
    progress = shown(run)["progress"]
    assert (progress["epoch"], progress["batch"], progress["losses"], progress["members"]) == (None, None, {}, [])
    assert shown(run)["error"]["message"]


def test_yaml_that_would_grow_or_run_is_not_read(tmp_path):
    run = make_run(tmp_path, "r")
    plan = run.path / "plan.yaml"
    for text in (
        "a: &a [1, 2]\nb: *a\n",
        "!!python/object/apply:os.system ['touch /tmp/pwned']\n",
        "x: " + "1" * 2_000_000,
    ):
        plan.write_text(text)
        assert shown(run)["plan"] == {}
    plan.write_text("title: bees\nepochs: 3\nlr0: .nan\n")
    assert shown(run)["plan"] == {"title": "bees", "epochs": 3, "lr0": None}


def test_members_train_one_after_the_other(tmp_path):
    run = make_run(tmp_path, "r", members=MEMBERS, epochs=2)
    run.write_json("proc.json", identity(os.getpid()))
    run.write_json("status.json", {"state": "running", "member": "baseline"})
    assert [m["status"] for m in shown(run)["members"]] == ["training", "waiting"]
    for n in (1, 2):
        epoch(run, n, "baseline")
    run.event("member", member="baseline", mAP50=0.4)
    run.write_json("status.json", {"state": "running", "member": "halo"})
    assert [(m["status"], m["epochs_done"]) for m in shown(run)["members"]] == [("done", 2), ("training", 0)]


def test_epochs_are_of_all_stages_wherever_the_recipe_names_them(tmp_path):
    run = make_run(tmp_path, "r")
    for recipe, epochs in (
        ({"stages": [{"epochs": 12}, {"epochs": 5}]}, 17),
        ({"stages": [{}], "common": {"epochs": 7}}, 7),
        ({"stages": [{"epochs": 2}, {}], "common": {"epochs": 7}}, 9),
        ({"stages": [{"epochs": "x"}]}, 0),
        ({"stages": 5}, 0),
    ):
        (run.path / "run.yaml").write_text(yaml.safe_dump({"members": {"halo": "residual"}, **recipe}))
        assert shown(run)["members"][0]["epochs"] == epochs


def test_attention_frames_are_counted_by_epoch(tmp_path):
    run = make_run(tmp_path, "r", members=MEMBERS)
    assert shown(run)["attention"] == {"members": {}, "version": 0}
    for number in (0, 1, 2, 2):
        run.append(run.attention("halo"), {"epoch": number})
    first = shown(run)["attention"]
    assert first["members"] == {"halo": 3}
    run.append(run.attention("halo"), {"epoch": 3})
    assert shown(run)["attention"]["version"] != first["version"]


def test_an_error_is_told_with_what_to_do(tmp_path):
    run = make_run(tmp_path, "r")
    said = {"kind": "memory", "message": "out of memory", "next": "Try again with batch 4.", "batch": 4}
    run.set_state("failed", error=said)
    assert shown(run)["error"] == said
    run.set_state("failed")
    assert shown(run)["error"]["kind"] == "other" and shown(run)["error"]["next"]
    (run.path / "run.yaml").unlink()
    value = shown(run)
    assert "run.yaml, is missing" in value["error"]["message"] and "resume" not in value["actions"]


def test_what_can_be_done_follows_the_state(tmp_path):
    run = make_run(tmp_path, "r")
    (run.path / "plan.yaml").write_text("title: x\n")
    files = FileCache()
    found = {state: actions(run, Look(state, state in AT_WORK), files) for state in STATES}
    assert found == {
        "new": ["resume", "delete"],
        "queued": ["stop"],
        "running": ["stop", "stop_now", "kill"],
        "stopping": ["stop_now", "kill"],
        "stopped": ["resume", "retry", "delete"],
        "interrupted": ["resume", "retry", "delete"],
        "failed": ["resume", "retry", "delete"],
        "finished": ["retry", "delete"],
    }
    run.weights("halo").parent.mkdir()
    run.weights("halo").write_bytes(b"weights")
    assert actions(run, Look("finished", False), files) == ["retry", "delete", "open", "download"]


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path):
    path, files, read = tmp_path / "f", FileCache(most=2), []

    def reader(p):
        read.append(p)
        return p.read_text() if p.exists() else None

    path.write_text("one")
    assert [files.get(path, reader) for _ in range(3)] == ["one"] * 3 and len(read) == 1
    path.write_text("longer")
    assert files.get(path, reader) == "longer" and len(read) == 2
    path.unlink()
    assert files.get(path, reader) is None
    for n in range(5):
        files.get(tmp_path / str(n), reader)
    assert len(files._kept) == 2  # it does not grow for ever


def test_polling_reads_the_events_once(tmp_path, monkeypatch):
    run = make_run(tmp_path, "r")
    epoch(run, 1)
    store, read = Store(tmp_path), []
    lines = RunFolder.lines
    monkeypatch.setattr(RunFolder, "lines", lambda self, path: read.append(path.name) or lines(self, path))
    for _ in range(5):
        store.snapshot("r")
    assert read.count("events.jsonl") == 1
    epoch(run, 2)
    assert store.snapshot("r")["members"][0]["epochs_done"] == 2
