"""What is true of a run now: its files, its process, and what the weights say."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from halo_vis.training.launch import Launcher, LocalLauncher
from halo_vis.training.run_folder import AT_WORK, RunFolder
from halo_vis.training.snapshot import FileCache, Look, missing_weights


@dataclass
class Looker:
    """Looks at runs, whoever started them.

    Args:
        launcher: where runs are carried out.
        local: the launcher of this machine, for what was started here.
    """

    launcher: Launcher
    local: LocalLauncher
    files: FileCache = field(default_factory=FileCache)

    def look(self, run: RunFolder) -> Look:
        """Its state, whether a process has it, and what a person should know about that."""
        launcher, said = self.launcher_of(run), self.said(run)
        warnings: list[str] = []
        if said in ("queued", "stopped", "failed", "finished"):
            alive: bool | None = run.at_work()  # it says itself how it ended: a cluster need not be asked
        elif launcher is None:
            alive = True if run.at_work() else None
            if said in AT_WORK and alive is None:
                where = run.process()["ray"].get("address")
                warnings.append(f"It was started in the cluster at {where}, which the settings do not name now.")
        else:
            alive = launcher.alive(run)
            warnings += launcher.warnings(run) if alive is not True else []
        state = run.state(at_work=alive is not False)
        if state in AT_WORK and launcher is not None and launcher.pending(run):
            state = "queued"
        if state == "interrupted" and _stopped_early(run):
            state, warnings = "stopped", []
        if state == "finished" and (missing := missing_weights(run, self.files)):
            # What is not there is not finished; a resume trains it again and leaves the other members alone.
            state = "interrupted"
            warnings.append(f"It said that it finished, but the weights of {', '.join(missing)} are missing.")
        if state == "interrupted" and not warnings:
            warnings.append("Its process is gone. It can go on after the last whole epoch.")
        return Look(state, alive, tuple(warnings))

    def launcher_of(self, run: RunFolder) -> Launcher | None:
        """Who started it: this machine, the cluster of the settings, or one that is not in the settings (None)."""
        ray = run.process().get("ray")
        if not isinstance(ray, dict):
            return self.local
        return self.launcher if getattr(self.launcher, "address", None) == ray.get("address") else None

    def said(self, run: RunFolder) -> str:
        """The state in status.json, true or not; "" where there is none."""
        return str(run.json("status.json").get("state") or "")

    def has_process(self, run: RunFolder) -> bool:
        """Whether a process has it, even one that has said its last word, or may have it."""
        return run.at_work() or (self.said(run) in AT_WORK and self.look(run).at_work is not False)

    # ------------------------------------------------------------ the queue
    def queued(self, runs: list[RunFolder]) -> list[RunFolder]:
        """Those that wait here, the next one first. Numbered, not timed: a clock may be set back."""
        waiting = [run for run in runs if self.said(run) == "queued" and (run.path / "run.yaml").is_file()]
        return sorted(waiting, key=lambda run: (self.turn(run), run.id))

    def pending(self, runs: list[RunFolder]) -> list[RunFolder]:
        """Those that wait in a cluster."""
        at_work = [run for run in runs if self.said(run) in AT_WORK]
        return [run for run in at_work if (by := self.launcher_of(run)) is not None and by.pending(run)]

    def turn(self, run: RunFolder) -> int:
        """Its number in the queue."""
        turn = run.json("status.json").get("turn")
        return turn if type(turn) is int else 0


def _stopped_early(run: RunFolder) -> bool:
    """Whether a stop was asked and SIGTERM came before the worker could hear it: nothing had begun."""
    return run.stop_file.exists() and run.process().get("exit") == -signal.SIGTERM
