"""Run folders for tests, and a worker that stands in for the training."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

from halo_vis.training.launch import RUN_FOLDER, LocalLauncher
from halo_vis.training.run_folder import RunFolder
from halo_vis.training.store import Store, StoreSettings

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")), RUN_FOLDER)
MEMBERS = {"baseline": "baseline", "halo": "residual"}


def make_run(root: Path, name: str, epochs: int = 2, members: dict | None = None, **script: object) -> RunFolder:
    """A new run; `script`: what the stand-in is told."""
    run = RunFolder(root / name)
    run.path.mkdir(parents=True)
    recipe = {
        "name": name,
        "data": "meadow",
        "members": members or {"halo": "residual"},
        "stages": [{"epochs": epochs}],
    }
    (run.path / "run.yaml").write_text(yaml.safe_dump(recipe))
    run.write_json("about.json", {"title": f"title of {name}", "note": "", "made": 1000.0})
    run.write_json("script.json", script)
    run.set_state("new")
    return run


def until(condition: Callable[[], object], what: str = "", seconds: float = 30) -> object:
    """Wait for a condition; its value. Fails with `what` when it does not come."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s in vain: {what}"
        time.sleep(0.01)
    return value


def go(run: RunFolder, epoch: int) -> None:
    """Let a gated stand-in do its epochs up to this one."""
    partial = run.path / "go.partial"
    partial.write_text(str(epoch))
    partial.replace(run.path / "go")


def epochs_done(run: RunFolder, member: str = "halo") -> list[int]:
    """Epochs in the events, in the order of the lines."""
    return [e["epoch"] for e in run.events() if e.get("kind") == "epoch" and e.get("member") == member]


def starts(run: RunFolder) -> list[dict]:
    """How often, by which process and with what the run's worker was started."""
    return run.lines(run.path / "starts.jsonl")


def most_at_once(root: Path) -> int:
    """The greatest number of workers that were at work at once."""
    now = most = 0
    for line in RunFolder(root).lines(root / "at-work.jsonl"):
        now += line["change"]
        most = max(most, now)
    return most


@contextmanager
def opened(root: Path, pump: bool = True, launcher: object = None, **settings: object) -> Iterator[Store]:
    """A store with the stand-in; whatever it has started is ended in the end."""
    settings = {"disk_free_bytes": 0, "poll_s": 0.05, **settings}
    store = Store(root, StoreSettings(**settings), launcher or LocalLauncher(command=STAND_IN))
    if pump:
        store.start_pump()
    try:
        yield store
    finally:
        store.close()
        end_workers(root)


def end_workers(root: Path) -> None:
    """Kill what still works on runs below a folder."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("HALO_VIS_RUN", "").startswith(f"{root.resolve()}{os.sep}"):
                os.kill(process.pid, signal.SIGKILL)
        except (psutil.Error, OSError):
            continue
