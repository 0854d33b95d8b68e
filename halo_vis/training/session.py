"""Where in a run a trainer stands: handed through the environment, which the processes of several GPUs inherit."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

SESSION = "HALO_VIS_SESSION"  # environment variable


class Stopped(BaseException):
    """The run was told to stop at once. No Exception, since libraries swallow those."""


@dataclass(frozen=True)
class Session:
    """Where in a run a trainer stands.

    Attributes:
        run: the run folder.
        member, stage: what is trained; `stages` of them in all.
        before, epochs: epochs of the stages before this one, and of all stages together.
        members: all of them; `to_train` of these are trained, `trained` are done with it.
        elapsed_s: training time of earlier sessions and members.
        threads: CPU threads; 0: Ultralytics' choice.
        longest_s: what this member may still train; 0: no limit.
        running_statistics: keep the batch norms in evaluation mode.
    """

    run: str
    member: str
    members: tuple[str, ...]
    trained: int
    to_train: int
    stage: int
    stages: int
    before: int
    epochs: int
    elapsed_s: float
    threads: int = 0
    longest_s: float = 0.0
    running_statistics: bool = False
    probe: bool = False
    trackers: tuple[str, ...] = ()

    def enter(self) -> None:
        """Make it the session of the trainers that this process and its children make."""
        os.environ[SESSION] = json.dumps(asdict(self))

    @classmethod
    def current(cls) -> Session:
        """The session of this process."""
        values = json.loads(os.environ[SESSION])
        return cls(**values | {name: tuple(values[name]) for name in ("members", "trackers")})

    @property
    def cut_short(self) -> Path:
        """Marks that rank 0 was asked to stop at the end of an epoch: the other ranks have no other way to know."""
        return Path(self.run) / "out" / f".cut-short-{self.member}-{self.stage}"

    @property
    def rank_error(self) -> Path:
        """What went wrong in the process of a rank: the one that started it learns no more than its exit status."""
        return Path(self.run) / "out" / ".rank-error"
