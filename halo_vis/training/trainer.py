"""Ultralytics' trainer for a run folder: it reports there, stops when asked, never leaves half a checkpoint.

With several GPUs Ultralytics starts a process for each and makes the trainer anew there, from its class and arguments
alone. So what a trainer must know of its run comes through the environment (`Session`), and the process of rank 0
reports for all.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import DEFAULT_CFG, RANK

from halo_vis.training.reporter import Reporter
from halo_vis.training.session import Session
from halo_vis.training.trackers import only_ours


class HaloTrainer(DetectionTrainer):
    """See the module."""

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict | None = None, _callbacks: dict | None = None) -> None:
        """As Ultralytics makes it; the reporter joins in the process that does the work of rank 0."""
        only_ours()  # or Ultralytics would start every tracker whose package it finds
        super().__init__(cfg, overrides, _callbacks)
        self.session = Session.current()
        if self.ddp:
            return
        if self.session.running_statistics:
            self.add_callback("on_train_batch_start", freeze_statistics)
        if self.session.threads:
            # Ultralytics resets torch's threads when it picks a device, so they are set once training starts.
            self.add_callback("on_train_start", set_threads)
        if RANK in (-1, 0):
            self.reporter = Reporter(self.session)
            for event in Reporter.EVENTS:
                self.add_callback(event, getattr(self.reporter, event))

    def _do_train(self) -> None:
        """As Ultralytics trains; of several GPUs the first one that fails says why."""
        try:
            super()._do_train()
        except Exception as error:
            if RANK >= 0:
                self.session.rank_error.write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
            raise

    def save_model(self) -> bool:
        """Write the checkpoints whole: a process that dies meanwhile leaves the ones of the epoch before."""
        last, best = self.last, self.best
        self.last, self.best = (path.with_suffix(".partial") for path in (last, best))
        try:
            saved = super().save_model()
            # The best one first: last.pt holds the best fitness, and must not know of one that is not there.
            for partial, path in ((self.best, best), (self.last, last)):
                if partial.exists():
                    partial.replace(path)
        finally:
            for partial in (self.last, self.best):
                partial.unlink(missing_ok=True)
            self.last, self.best = last, best
        return saved

    def close_trackers(self, state: str) -> None:
        """Tell those who follow the run that it has ended otherwise than by its last epoch."""
        trackers = getattr(getattr(self, "reporter", None), "trackers", None)
        if trackers is not None:
            trackers.close(state)

    def final_eval(self) -> None:
        """Nothing: the weights are measured as they are written, and a stripped checkpoint could not be resumed."""


def freeze_statistics(trainer: DetectionTrainer) -> None:
    """Batch norms in evaluation mode; before every batch, since Ultralytics sets the whole model to training."""
    for module in trainer.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def set_threads(trainer: HaloTrainer) -> None:
    """The CPU threads that were asked for."""
    import torch

    torch.set_num_threads(trainer.session.threads)
