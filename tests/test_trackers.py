"""Where else a run's figures go: TensorBoard's own reader finds them, and no tracker ends or holds up a run."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from halo_vis.training import trackers
from halo_vis.training.run_folder import RunFolder
from halo_vis.training.tracker_kinds import PROJECT, Remote, Tracker, scalars
from halo_vis.training.trackers import Trackers

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "a-run").mkdir()
    return RunFolder(tmp_path / "a-run")


def event(epoch: int, member: str = "halo", box: float | None = None, **more: Any) -> dict[str, Any]:
    """An epoch's event as the reporter makes it."""
    return {
        "member": member, "stage": 0, "epoch": epoch, "epochs": 9, "seconds": 2.0, "images_per_s": 20.0, "lr": 0.1,
        "losses": {"box": 10.0 - epoch if box is None else box, "cls": 2.0}, "val_losses": {"box": 3.0},
        "mAP50": 0.1 * epoch, "mAP50-95": None, "precision": None, "recall": 0.5,
    } | more  # fmt: skip


def train(run: RunFolder, epochs: range | list[dict], member: str = "halo", close: str | None = "finished") -> Trackers:
    """A session as the reporter leads it: events into the folder, then to the trackers."""
    told = Trackers.open(run, member, {"lr0": 0.1})
    for one in epochs:
        one = event(one, member) if isinstance(one, int) else one
        run.event("epoch", **one)
        told.epoch(one)
    if close:
        told.close(close)
    return told


def read(run: RunFolder, member: str = "halo") -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: tag -> (step, value) in its order."""
    found = EventAccumulator(str(run.path / "tensorboard" / member), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [(s.step, round(s.value, 4)) for s in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def warnings(run: RunFolder) -> list[str]:
    return [e["message"] for e in run.events() if e["kind"] == "warning"]


# ------------------------------------------------------------ TensorBoard


def test_tensorboard_shows_every_figure_of_every_epoch(run: RunFolder) -> None:
    train(run, range(1, 4))
    found = read(run)
    assert found["train/box"] == [(1, 9.0), (2, 8.0), (3, 7.0)]
    assert found["metrics/mAP50"] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert set(found) == {
        "train/box", "train/cls", "val/box", "metrics/mAP50", "metrics/recall", "lr", "images_per_s", "seconds",
    }  # fmt: skip
    assert not warnings(run)


def test_tensorboard_is_there_while_it_trains(run: RunFolder) -> None:
    told = train(run, range(1, 3), close=None)
    assert read(run)["train/box"] == [(1, 9.0), (2, 8.0)]
    told.close("stopped")


def test_tensorboard_after_a_resume(run: RunFolder) -> None:
    """The epoch in progress is repeated; the later one counts, each step is there once and in order."""
    train(run, range(1, 4), close=None)  # killed after epoch 3, whose checkpoint was not written
    train(run, [event(3, box=33.0), event(4)], close="stopped")
    train(run, range(5, 7))
    assert read(run)["train/box"] == [(1, 9.0), (2, 8.0), (3, 33.0), (4, 6.0), (5, 5.0), (6, 4.0)]
    assert len(list((run.path / "tensorboard" / "halo").iterdir())) == 1


def test_tensorboard_that_watches_meanwhile_forgets_what_was_trained_again(run: RunFolder) -> None:
    """A reader that stays open across a resume shows each step once, too."""
    train(run, range(1, 4), close=None)
    watcher = EventAccumulator(str(run.path / "tensorboard" / "halo"), size_guidance={"scalars": 0})
    watcher.Reload()
    train(run, [event(3, box=33.0), event(4)])
    fresh = read(run)["train/box"]
    assert [s for s, _ in fresh] == [1, 2, 3, 4]
    assert [s.step for s in watcher.Scalars("train/box")] == [1, 2, 3]


def test_tensorboard_of_several_members(run: RunFolder) -> None:
    train(run, range(1, 3), "baseline")
    train(run, range(1, 3), "halo")
    train(run, range(3, 4), "halo")
    assert [s for s, _ in read(run, "baseline")["lr"]] == [1, 2]
    assert [s for s, _ in read(run, "halo")["lr"]] == [1, 2, 3]


def test_what_was_not_measured_is_left_out() -> None:
    assert scalars({"losses": {"box": None, "cls": 1}, "epoch": 1, "mAP50": None, "lr": "x"}) == {"train/cls": 1.0}
    assert scalars({}) == {}


# ------------------------------------------------------------ bad luck


class Broken(Tracker):
    """Fails where it is told to."""

    package = "broken"
    fails: tuple[str, ...] = ()

    def open(self, run: RunFolder, member: str, config: Mapping[str, Any]) -> None:
        self.meet("open")

    def epoch(self, event: Mapping[str, Any]) -> None:
        self.meet("epoch")

    def close(self, state: str) -> None:
        self.meet("close")

    def meet(self, call: str) -> None:
        if call in self.fails:
            raise RuntimeError(f"no network at {call}")


@pytest.mark.parametrize("call", ["open", "epoch", "close"])
def test_a_tracker_that_fails_is_left_out_and_told(run: RunFolder, call: str, monkeypatch) -> None:
    monkeypatch.setitem(trackers.CHOICES, "broken", type("B", (Broken,), {"fails": (call,), "package": "json"}))
    told = Trackers.open(run, "halo", {}, ["broken"])
    for n in (1, 2):
        run.event("epoch", **event(n))
        told.epoch(event(n))
    told.close("finished")
    (said,) = warnings(run)
    assert f"no network at {call}" in said and "left out" in said
    assert [s for s, _ in read(run)["lr"]] == [1, 2]


def test_tensorboard_on_a_folder_that_cannot_be_written(run: RunFolder) -> None:
    (run.path / "tensorboard").write_text("a file is in the way")
    told = Trackers.open(run, "halo", {})
    for n in (1, 2):
        told.epoch(event(n))
    told.close("finished")
    (said,) = warnings(run)
    assert "tensorboard" in said


def test_a_tracker_that_hangs_holds_nothing_up(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread waits for ever: the epochs go on, the end waits for as long as it may and says so."""
    stuck = threading.Event()

    class Hangs(Broken):
        package = "json"

        def open(self, run: RunFolder, member: str, config: Mapping[str, Any]) -> None:
            stuck.wait(60)

    monkeypatch.setitem(trackers.CHOICES, "broken", Hangs)
    monkeypatch.setattr(trackers, "PATIENCE_S", 0.2)
    told = Trackers.open(run, "halo", {}, ["broken"])
    told.epoch(event(1))
    told.close("finished")
    stuck.set()
    (said,) = warnings(run)
    assert "still sending" in said


def test_a_hanging_tracker_does_not_keep_the_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from halo_vis.training import trackers\n"
        "from halo_vis.training.run_folder import RunFolder\n"
        "class Hangs(trackers.Tracker):\n"
        "    package = 'json'\n"
        "    def open(self, *a): time.sleep(3600)\n"
        "trackers.CHOICES['h'] = Hangs; trackers.PATIENCE_S = 0.1\n"
        "t = trackers.Trackers.open(RunFolder(Path(sys.argv[1])), 'halo', {}, ['h']); t.close('finished')\n"
        "print('over')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "over" in done.stdout, done.stderr[-1000:]


def test_an_epoch_is_sent_once_across_sessions(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, str]] = []

    class Keeps(Remote):
        package = "json"

        def start(self, config: Mapping[str, Any], known: str) -> None:
            assert config == {"lr0": 0.1} and known == ("" if not sent else "id-1")
            self._remember(id="id-1")

        def send(self, values: Mapping[str, float], epoch: int) -> None:
            sent.append((epoch, self.member))

        def close(self, state: str) -> None:
            sent.append((0, state))

    monkeypatch.setitem(trackers.CHOICES, "keeps", Keeps)
    for session, state in ((range(1, 3), "stopped"), (range(2, 4), "finished")):
        told = Trackers.open(run, "halo", {"lr0": 0.1, "data": "/srv/x/data.yaml", "device": None}, ["keeps"])
        for n in session:
            told.epoch(event(n))
        told.close(state)
    assert sent == [(1, "halo"), (2, "halo"), (0, "stopped"), (3, "halo"), (0, "finished")]
    assert not warnings(run)


# ------------------------------------------------------------ what is chosen


def test_a_tracker_that_is_not_installed(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before the run starts; a run that was started all the same goes on without it."""
    for name in ("trackio", "wandb", "mlflow"):
        monkeypatch.setattr(trackers.CHOICES[name], "package", f"no_such_{name}")
        with pytest.raises(trackers.TrackerMissing, match=f"{name} is not installed. Run `pip install {name}"):
            trackers.check([name])
    trackers.check([])
    with pytest.raises(ValueError, match="trackers must be some of trackio, wandb, mlflow, got 'nobody'"):
        trackers.check(["nobody"])
    told = Trackers.open(run, "halo", {}, ["wandb"])
    told.epoch(event(1))
    told.close("finished")
    assert any("wandb is not installed" in said for said in warnings(run))


def test_none_is_imported_unless_chosen(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from halo_vis.training.trackers import Trackers, check, environment\n"
        "from halo_vis.training.run_folder import RunFolder\n"
        "t = Trackers.open(RunFolder(Path(sys.argv[1])), 'halo', {}); t.close('finished')\n"
        "print([m for m in ('trackio', 'wandb', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr


def test_the_environment_that_a_worker_may_have() -> None:
    assert trackers.environment([]) == ()
    assert "WANDB_API_KEY" in trackers.environment(["wandb"])
    assert "MLFLOW_TRACKING_URI" in trackers.environment(["mlflow"])
    assert not set(trackers.environment(["mlflow"])) & set(trackers.environment(["wandb", "trackio"]))
    assert all(name.isupper() for name in trackers.environment(list(trackers.CHOICES)))


def test_ultralytics_own_integrations_are_off_in_this_process_alone(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from ultralytics.utils import SETTINGS, SETTINGS_FILE\n"
        "from halo_vis.training.trackers import INTEGRATIONS, only_ours\n"
        "assert SETTINGS['mlflow'] is True; before = Path(SETTINGS_FILE).read_text(); only_ours()\n"
        "assert not any(SETTINGS[name] for name in INTEGRATIONS if name in SETTINGS)\n"
        "assert Path(SETTINGS_FILE).read_text() == before; print(SETTINGS_FILE)"
    )
    environment = os.environ | {"YOLO_CONFIG_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, env=environment, check=False
    )
    assert str(tmp_path) in done.stdout, done.stdout + done.stderr


def test_what_leaves_this_machine_is_plain() -> None:
    given = {
        "lr0": 0.1,
        "cos_lr": True,
        "data": "/home/me/x.yaml",
        "model": "C:\\x",
        "optimizer": "SGD",
        "tracker": None,
    }
    assert trackers.plain(given) == {"lr0": 0.1, "cos_lr": True, "optimizer": "SGD"}


# ------------------------------------------------------------ the real ones, where they are installed

real = {
    name: pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"{name} is not installed here: pip install it to run this"
    )
    for name in trackers.CHOICES
}
SESSIONS = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from test_trackers import event
from halo_vis.training.run_folder import RunFolder
from halo_vis.training.trackers import Trackers
run = RunFolder(Path(sys.argv[1]))
told = Trackers.open(run, "halo", {"lr0": 0.1, "batch": 8, "data": "/srv/x"}, [sys.argv[2]])
for n in range(int(sys.argv[3]), int(sys.argv[4])):
    told.epoch(event(n))
told.close(sys.argv[5])
"""


def sessions(run: RunFolder, name: str, environment: dict[str, str]) -> None:
    """Two processes: epochs 1 and 2, then a resume that repeats epoch 2 and adds 3."""
    for first, end, state in ((1, 3, "stopped"), (2, 4, "finished")):
        arguments = [str(run.path), name, str(first), str(end), state]
        done = subprocess.run(
            [sys.executable, "-c", SESSIONS, *arguments],
            capture_output=True, text=True, cwd=REPOSITORY, env=os.environ | environment, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    assert not warnings(run)


@real["mlflow"]
def test_mlflow_for_real(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions(run, "mlflow", {})
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(tracking_uri=(run.path / "trackers" / "mlflow").as_uri())
    experiment = client.get_experiment_by_name(PROJECT)
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "a-run-halo" and found.info.status == "FINISHED"
    assert found.data.params == {"lr0": "0.1", "batch": "8"}
    history = client.get_metric_history(found.info.run_id, "train/box")
    assert [(m.step, m.value) for m in history] == [(1, 9.0), (2, 8.0), (3, 7.0)]


@real["trackio"]
def test_trackio_for_real(run: RunFolder, tmp_path: Path) -> None:
    environment = {"TRACKIO_DIR": str(tmp_path / "trackio")}
    sessions(run, "trackio", environment)
    code = (
        "import trackio; runs = list(trackio.Api().runs('halo-vis')); assert len(runs) == 1, runs\n"
        "from trackio.sqlite_storage import SQLiteStorage as S\n"
        "print([(m['step'], m['train/box']) for m in S.get_logs('halo-vis', 'a-run-halo')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env=os.environ | environment, timeout=120, check=False,
    )  # fmt: skip
    assert "[(1, 9.0), (2, 8.0), (3, 7.0)]" in done.stdout, done.stdout + done.stderr


def wandb_records(path: Path) -> list[bytes]:
    """The records of a run's file, which is a LevelDB log behind a header of 7 bytes; wandb brings no reader for it."""
    data, at, found, parts = path.read_bytes(), 7, [], []
    while at + 7 <= len(data):
        left = 32768 - at % 32768  # of the block
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(b"".join(parts))
            parts = []
    return found


@real["wandb"]
def test_wandb_for_real(run: RunFolder) -> None:
    sessions(run, "wandb", {"WANDB_MODE": "offline"})
    from wandb.proto import wandb_internal_pb2

    steps, runs = [], set()
    files = (run.path / "trackers" / "wandb").rglob("*.wandb")
    for path in sorted((f for f in files if "latest-run" not in f.parts), key=lambda f: f.stat().st_mtime):
        for data in wandb_records(path):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.run.run_id:
                runs.add((record.run.run_id, record.run.project))
            values = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            if "train/box" in values:
                steps.append((int(values["_step"]), float(values["train/box"])))
    assert runs == {("a-run-halo", PROJECT)}
    assert steps == [(1, 9.0), (2, 8.0), (3, 7.0)]
