"""Where else a run's figures go: TensorBoard files always; Trackio, Weights & Biases, MLflow where they are chosen.

None of them ends a run: one that fails is left out from then on, and the events say so. Those that may talk to a server
work in a thread of their own, so that none holds up the training.
"""

from __future__ import annotations

import importlib.util
import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from halo_vis.training.run_folder import RunFolder
from halo_vis.training.tracker_kinds import Mlflow, TensorBoard, Tracker, Trackio, Wandb

PATIENCE_S = 20.0  # how long the end of a member's training waits for a tracker that still sends
LONGEST_VALUE = 200  # characters of a setting that is handed on
INTEGRATIONS = (
    "clearml",
    "comet",
    "dvc",
    "hub",
    "mlflow",
    "neptune",
    "raytune",
    "tensorboard",
    "wandb",
)  # Ultralytics'
log = logging.getLogger("halo_vis")


class TrackerMissing(ValueError):
    """A tracker was chosen whose package is not installed; the message says what to install."""


CHOICES: dict[str, type[Tracker]] = {"trackio": Trackio, "wandb": Wandb, "mlflow": Mlflow}


def check(names: Sequence[str]) -> None:
    """Whether the chosen trackers can be used here; imports none of them.

    Raises:
        TrackerMissing: a package is not installed.
        ValueError: a name that is no tracker's.
    """
    for name in names:
        if name not in CHOICES:
            raise ValueError(f"trackers must be some of {', '.join(CHOICES)}, got {name!r:.60}. Leave it out.")
        if importlib.util.find_spec(CHOICES[name].package) is None:
            raise TrackerMissing(
                f"the tracker {name} is not installed. Run `pip install {CHOICES[name].install}`, or do without it."
            )


def environment(names: Sequence[str]) -> tuple[str, ...]:
    """The environment variables that a worker with these trackers may need, besides HOME."""
    return tuple(variable for name in names if name in CHOICES for variable in CHOICES[name].variables)


def only_ours() -> None:
    """Switch Ultralytics' own integrations off in this process, before a trainer is made; its settings file stays.

    It reports to MLflow, Comet, ClearML, DVC and Ray Tune wherever their packages are installed, unasked.
    """
    from ultralytics.utils import SETTINGS

    # As a plain dict: assigning to SETTINGS itself would write the person's settings file.
    dict.update(SETTINGS, dict.fromkeys(INTEGRATIONS, False))


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that may leave this machine: numbers, switches and short words, no paths."""
    return {
        str(key): value
        for key, value in config.items()
        if isinstance(value, (bool, int, float))
        or (isinstance(value, str) and 0 < len(value) <= LONGEST_VALUE and not {"/", "\\"} & set(value))
    }


class Trackers:
    """All trackers of a member; what fails is told in the run's events, and left out."""

    def __init__(self, run: RunFolder) -> None:
        """Of a run; see `open`."""
        self.run = run
        self.here: list[Tracker] = []
        self.away: list[_Thread] = []

    @classmethod
    def open(cls, run: RunFolder, member: str, config: Mapping[str, Any], names: Sequence[str] = ()) -> Trackers:
        """TensorBoard and the chosen ones, for a member whose training starts or goes on.

        Args:
            config: settings that are shown with it; `plain` picks those that may leave this machine.
            names: of CHOICES.
        """
        found = cls(run)
        board = TensorBoard()
        if found._guarded(board, board.open, run, member, {}):
            found.here.append(board)
        for name in dict.fromkeys(names):
            try:
                check([name])
            except ValueError as error:
                run.event("warning", message=str(error))
                continue
            found.away.append(_Thread(CHOICES[name](), run, member, plain(config)))
        return found

    def epoch(self, event: Mapping[str, Any]) -> None:
        """An epoch is done; `event` as events.jsonl holds it."""
        for tracker in list(self.here):
            if not self._guarded(tracker, tracker.epoch, event):
                self.here.remove(tracker)
        for thread in self.away:
            thread.put("epoch", dict(event))
        self._tell()

    def close(self, state: str) -> None:
        """The member's training has ended: "finished", "stopped" or "failed".

        Waits at most PATIENCE_S for each tracker that still sends.
        """
        for tracker in self.here:
            self._guarded(tracker, tracker.close, state)
        for thread in self.away:
            thread.put("close", state)
        for thread in self.away:
            thread.join(PATIENCE_S)
        self._tell()
        self.here, self.away = [], []

    def _guarded(self, tracker: Tracker, call: Any, *arguments: Any) -> bool:
        try:
            call(*arguments)
        except Exception as error:  # whatever a foreign package raises, the run goes on
            log.exception("the tracker %s failed", tracker.package)
            self._warn(tracker, error)
            return False
        return True

    def _tell(self) -> None:
        """What the threads have met; told by the one thread that writes events."""
        for thread in list(self.away):
            if (error := thread.failure()) is not None:
                self._warn(thread.tracker, error)
                self.away.remove(thread)

    def _warn(self, tracker: Tracker, error: Exception) -> None:
        words = " ".join(str(error).split())[:300]
        message = f"the tracker {tracker.package} is left out from here on ({type(error).__name__}: {words})"
        self.run.event("warning", message=message)


class _Thread:
    """A tracker at work in a thread of its own, which dies with the process."""

    def __init__(self, tracker: Tracker, run: RunFolder, member: str, config: dict[str, Any]) -> None:
        self.tracker = tracker
        self._jobs: queue.SimpleQueue[tuple[str, tuple]] = queue.SimpleQueue()
        self._failed: queue.SimpleQueue[Exception] = queue.SimpleQueue()
        self.put("open", run, member, config)
        self._thread = threading.Thread(target=self._work, name=f"tracker-{tracker.package}", daemon=True)
        self._thread.start()

    def put(self, call: str, *arguments: Any) -> None:
        """Have a method called, after those before it."""
        self._jobs.put((call, arguments))

    def join(self, seconds: float) -> None:
        """Wait for the end."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._failed.put(TimeoutError(f"it was still sending after {seconds:.0f} s"))

    def failure(self) -> Exception | None:
        """What ended it, once."""
        try:
            return self._failed.get_nowait()
        except queue.Empty:
            return None

    def _work(self) -> None:
        call = ""
        try:
            while call != "close":
                call, arguments = self._jobs.get()
                getattr(self.tracker, call)(*arguments)
        except Exception as error:
            log.exception("the tracker %s failed", self.tracker.package)
            self._failed.put(error)
