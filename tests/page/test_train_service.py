"""Behind the Fine-tune tab: what a raw request may send, and what it gets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import bad_zips
import pytest

from demo import guards, owners
from demo.guards import Refused
from demo.train_service import Training

JUNK = ("", "..", "../x", ".hidden", "a/b", "a\0b", "x" * 500, None, 7, True, ["a"], {"path": "/etc"})
TINY = {"meadow_train": 2, "meadow_val": 1, "meadow_test": 1, "imgsz": 64, "epochs": 1}


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Training]:
    """A server's runs in a folder of their own; nothing is started, since nothing pumps the queue."""
    monkeypatch.setenv("HALO_VIS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("HALO_VIS_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.setenv("HALO_VIS_HOSTED", "1")
    made = Training(tmp_path / "served")
    from halo_vis.training.store import Store

    made._store = Store(made.runs_folder)
    yield made


def test_no_junk_names_a_run(training: Training) -> None:
    """A run's name is a plain name of a run that is there; everything else gets the same answer."""
    secret = owners.new_secret()
    for junk in JUNK:
        for action in ("stop", "stop_now", "kill", "resume"):
            with pytest.raises(Refused, match="no_run"):
                training.act(action, junk, secret)
        for ask in (training.snapshot, training.delete, lambda run, s: training.files("weights", run, s)):
            with pytest.raises(Refused, match="no_run"):
                ask(junk, secret)


def test_a_run_is_its_owners(training: Training) -> None:
    """Start, list, note, stop, delete: the owner may, a stranger gets what nobody's run gets."""
    mine, other = owners.new_secret(), owners.new_secret()
    run = training.start(TINY | {"title": "mine"}, mine)
    assert json.loads((run.path / "about.json").read_text())["owner"] == owners.owner_of(mine)
    assert [row["title"] for row in training.history(mine)] == ["mine"]
    assert training.history(other) == training.history(None) == []
    for stranger in (other, None, "", run.json("about.json")["owner"] + "x"):
        with pytest.raises(Refused, match="no_run"):
            training.snapshot(run.id, stranger)
        with pytest.raises(Refused, match="no_run"):
            training.act("stop", run.id, stranger)
        with pytest.raises(Refused, match="no_run"):
            training.describe(run.id, stranger, "theirs", "")
        with pytest.raises(Refused, match="no_run"):
            training.delete(run.id, stranger)
        with pytest.raises(Refused, match="no_run"):
            training.start(TINY | {"start": f"run:{run.id}"}, stranger or other)
    training.describe(run.id, mine, "a <b>title</b>", "noted")
    assert training.snapshot(run.id, mine)["title"] == "a <b>title</b>"
    with pytest.raises(Refused, match="words_too_long"):
        training.describe(run.id, mine, "x" * 121, "")
    assert training.snapshot(run.id, mine)["state"] == "queued"
    training.act("stop", run.id, mine)
    assert training.snapshot(run.id, mine)["state"] == "stopped"
    training.delete(run.id, mine)
    assert not run.path.exists()


def test_limits_leave_nothing_behind(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that may not be leaves no folder."""
    secret = owners.new_secret()
    with pytest.raises(Refused, match="no_owner"):
        training.start(TINY, "")
    monkeypatch.setenv("HALO_VIS_MAX_QUEUE", "1")
    training.start(TINY, secret)
    with pytest.raises(Refused, match="queue_full"):
        training.start(TINY, secret)
    monkeypatch.setenv("HALO_VIS_MAX_QUEUE", "5")
    monkeypatch.setenv("HALO_VIS_MAX_DISK_GB", "0.000001")
    with pytest.raises(Refused, match="disk_used"):
        training.start(TINY, secret)
    monkeypatch.setenv("HALO_VIS_TRAINING", "nobody")
    with pytest.raises(Refused, match="nobody_starts"):
        training.start(TINY, secret)
    assert len([p for p in training.runs_folder.iterdir() if p.is_dir()]) == 1


def test_data_sets_are_their_owners(training: Training, tmp_path: Path) -> None:
    """An uploaded set is nobody else's; a path of the server is no upload."""
    mine, other = owners.new_secret(), owners.new_secret()
    upload = guards.served_folder() / "a" / "ants.zip"
    upload.parent.mkdir(parents=True, exist_ok=True)
    bad_zips.pack(upload, bad_zips.good())
    outside = bad_zips.pack(tmp_path / "outside.zip", bad_zips.good())
    for path in (str(outside), "/etc/passwd", {"path": str(outside)}):
        with pytest.raises(Refused, match="foreign_path"):
            training.import_zip(path, mine)
    for nothing in (None, "", 7, {"path": 7}, "a\0b"):
        with pytest.raises(Refused, match="no_zip"):
            training.import_zip(nothing, mine)
    assert outside.is_file()
    found = training.import_zip(str(upload), mine)
    assert not upload.exists()
    assert training.datasets(mine) == [("ants", found.id)]
    assert training.datasets(other) == []
    for name in (f"dataset:{found.id}", "dataset:../" + found.id, "dataset:", "data.yaml", None, 7):
        with pytest.raises(Refused, match="data_gone"):
            training.check_data({"data": name}, other)
    report, previews, histogram = training.check_data({"data": f"dataset:{found.id}"}, mine)
    assert report.splits["train"]["pictures"] == 4
    assert all(path.is_file() and path.is_relative_to(training.served) for _, path in previews())
    assert histogram().is_file()
    training.delete_data(f"dataset:{found.id}", mine)
    assert training.datasets(mine) == []


def test_files_too_large_are_refused(tmp_path: Path) -> None:
    """Before anything reads them."""
    path = guards.served_folder() / "b" / "large.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as f:
        os.truncate(f.fileno(), 11)
    with pytest.raises(Refused, match="too_large"):
        guards.uploaded(str(path), most=10)
    assert guards.uploaded(str(path), most=11) == path.resolve()


def test_a_smaller_batch_is_offered_for_memory_alone() -> None:
    """What the worker suggests, else half of what was asked."""
    from demo.train_runs import smaller_batch

    plan = {"batch": 8}
    assert smaller_batch({"error": {"kind": "memory", "batch": 2}, "plan": plan}) == 2
    assert smaller_batch({"error": {"kind": "memory", "batch": None}, "plan": plan}) == 4
    assert smaller_batch({"error": {"kind": "memory"}, "plan": {"batch": 1}}) == 0
    assert smaller_batch({"error": {"kind": "disk", "batch": 2}, "plan": plan}) == 0
    assert smaller_batch({"error": None, "plan": plan}) == 0


@pytest.mark.parametrize("said", [None, 3, "x", [], {"focus": 7}, {"beside": ["a"]}, {"beside": None, "on": True}])
def test_the_table_says_anything(said: object, training: Training) -> None:
    """A raw choice of runs changes nothing that is no text, and never lays more than three beside."""
    import gradio as gr

    from demo.labels import Labels
    from demo.train_history import History

    with gr.Blocks():
        history = History(training, Labels())
    event = type("Event", (), {"_data": said})()
    assert history.on_choose(event, "a", ["b", 7]) == ("a", ["b"])
    event._data = {"beside": "x", "on": True}
    assert history.on_choose(event, "a", ["b", "c", "d"])[1] == ["c", "d", "x"]
    event._data = {"focus": "c"}
    assert history.on_choose(event, "a", ["b", "c"]) == ("c", ["b"])


def test_a_runs_folder_tells_nothing_of_anothers(tmp_path: Path) -> None:
    """Who is told where the files of their run are served cannot name those of another run, nor the owner's next."""
    training, again = Training(tmp_path / "served"), Training(tmp_path / "served")
    found = {}
    for name, owner in (("a", "x"), ("b", "x"), ("c", "y")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "about.json").write_text(json.dumps({"owner": owner}))
        from halo_vis.training.run_folder import RunFolder

        run = RunFolder(folder)
        found[name] = training.watched(run)
        assert training.watched(run) == found[name] != again.watched(run)
        assert found[name].parent == tmp_path / "served"
    names = [path.name for path in found.values()]
    assert len(set(names)) == 3
    for path in found.values():
        assert len(path.name.removeprefix("watched-")) == 64


def test_where_nobody_trains_nothing_is_changed(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither stopped nor deleted nor renamed, by whoever it is."""
    secret = owners.new_secret()
    run = training.start(TINY | {"title": "mine"}, secret)
    monkeypatch.setenv("HALO_VIS_TRAINING", "nobody")
    for do in (
        *(lambda action=action: training.act(action, run.id, secret) for action in ("stop", "stop_now", "kill")),
        lambda: training.delete(run.id, secret),
        lambda: training.describe(run.id, secret, "x", ""),
        lambda: training.delete_data("dataset:x", secret),
    ):
        with pytest.raises(Refused, match="nobody_starts"):
            do()
    found = training.snapshot(run.id, secret)
    assert (found["state"], found["title"]) == ("queued", "mine")


def test_a_note_is_saved_for_the_run_that_it_was_written_for(training: Training) -> None:
    """A refresh, late or not, leaves what is written, said, packed and half asked; another run's note is not saved."""
    import gradio as gr

    from demo.labels import Labels
    from demo.train_history import History

    with gr.Blocks():
        history = History(training, Labels())
    secret = owners.new_secret()
    one, two = (training.start(TINY | {"title": title}, secret) for title in ("one", "two"))
    hidden, skip = {"visible": False}, gr.skip()
    said, files, sure = (history.about.index(line) for line in (history.said, history.files, history.sure))
    chosen = history.on_chosen(one.id, "", secret)
    assert chosen[:4] == ("one", "", one.id, "") and all(hidden.items() <= at.items() for at in chosen[4:])
    assert len(chosen) == len(history.fields) == len(history.on_chosen(one.id, one.id, secret))
    assert history.of(one.id, secret, "en", "")[1:3] == ["one", ""]
    assert history.of(one.id, secret, "en", one.id)[1:3] == [gr.skip(), gr.skip()]
    again = history.of(one.id, secret, "en", one.id)
    assert (again[said], again[files], again[-1]) == (skip, skip, skip)
    assert hidden.items() <= again[sure].items()  # one that waits cannot be deleted
    training.act("stop", one.id, secret)
    assert history.of(one.id, secret, "en", one.id)[sure] == skip
    assert history.of(two.id, secret, "en", one.id)[1:3] == ["two", ""]
    assert history.of(two.id, secret, "en", one.id)[said] == ""
    assert len(history.of(one.id, secret, "en", "")) == len(history.of("gone", secret, "en", "")) == len(history.about)
    assert "another run" in history.on_keep(two.id, one.id, "one", "noted", secret, "en")
    assert training.snapshot(two.id, secret)["title"] == "two"
    assert "4000" in history.on_keep(one.id, one.id, "one", "x" * 4001, secret, "en")
    assert "Saved" in history.on_keep(one.id, one.id, "one", "noted", secret, "en")
    assert training.snapshot(one.id, secret)["note"] == "noted"


@pytest.mark.parametrize("value", [1e300, float("inf"), float("nan"), -1, True, "7", None, [3], 10**400])
def test_no_point_is_too_far(value: object, training: Training, tmp_path: Path) -> None:
    """A query point that no picture has leaves the picture as it is."""
    import gradio as gr
    from PIL import Image

    from demo.labels import Labels
    from demo.limits import limits
    from demo.train_probe import Probe

    with gr.Blocks():
        probe = Probe(training, Labels(), limits())
    picture = tmp_path / "probe.png"
    Image.new("RGB", (32, 32)).save(picture)
    assert probe.on_point(str(picture), value, 3) == str(picture)
    assert probe.on_point(str(tmp_path / "gone.png"), 3, 3) == gr.skip()
    event = type("Event", (), {"index": [value, 3]})()
    assert "click did not arrive" in probe.on_select(event, str(picture), "en")[3]
    assert probe.on_point(str(picture), 3, 3) != str(picture)


@pytest.mark.parametrize("plan", [None, 7, [], True, "epochs: 1"])
def test_a_plan_is_names_and_values(plan: object, training: Training) -> None:
    """A script that sends something else is told so."""
    import gradio as gr

    from demo.train_api import Api

    with gr.Blocks():
        api = Api(training)
    with pytest.raises(gr.Error, match="a plan must be names and values"):
        api.train(plan, owners.new_secret())


@pytest.mark.parametrize("lang", [None, 7, True, ["en"], {"a": 1}, "xx"])
def test_an_unknown_language_is_english(lang: object) -> None:
    """Whatever a request sends in its place, in an error too."""
    from demo.texts import text
    from demo.train_says import trouble

    assert text(lang, "start") == "Start"
    assert "history" in trouble(Refused("no_run"), lang)
    from demo.run_view import view_value

    assert view_value([], [], lang)["lang"] == "en"


@pytest.mark.parametrize("junk", [None, 7, True, ["a"], {"a": 1}])
def test_no_junk_names_a_pair_or_a_link(junk: object) -> None:
    """A change of language that names no pair, an address that is none."""
    from demo import catalogue, choices, links

    assert catalogue.card(junk) is None
    assert choices.member_choices(junk, "en") and choices.beside_choices(junk, junk, "en")
    assert not links.names_picture(junk)


def test_the_tab_says_what_is_gone_and_speaks_every_line(training: Training, tmp_path: Path) -> None:
    """A probe that was swept away is no reason to take another; a change of language reaches the data and the runs."""
    import gradio as gr

    from demo.texts import TEXTS
    from demo.train_tab import TrainTab

    with gr.Blocks():
        tab = TrainTab(training, gr.Radio(["en", "zh-CN"]), gr.BrowserState(""))
    secret = owners.new_secret()
    form = [field.value for field in tab.form]
    for lang, words in (("en", "no longer here"), ("zh-CN", "已不在这里")):
        assert words in tab.on_start(*form, str(tmp_path / "gone.png"), False, secret, lang)[2]
    assert training.history(secret) == []
    run = training.start(TINY, secret)
    for focus in (run.id, "", ["x"]):
        said = tab.on_words(*form, "short", focus, [], secret, "zh-CN", "", "")
        assert len(said) == len(tab.words_outputs)
        assert said[5]["choices"][0] == (TEXTS["zh-CN"]["data_meadow"], "meadow")
