"""What a trainer tells its run folder: progress, a line per epoch, the probe's attention; and what it is told there."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from ultralytics.utils import RANK

from halo_vis.training.probe import Probe
from halo_vis.training.run_folder import RunFolder
from halo_vis.training.session import Session

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

EVERY_S = 0.5  # between two writes of the status
VALIDATION = 1.2  # an epoch with its validation, as a multiple of its batches, while none has been seen
MEASURES = ("mAP50", "mAP50-95", "precision", "recall")
log = logging.getLogger("halo_vis")


class Reporter:
    """Callbacks of a trainer. Times are of a clock that nobody can set."""

    EVENTS = (
        "on_train_start",
        "on_train_epoch_start",
        "on_train_batch_end",
        "on_train_epoch_end",
        "on_fit_epoch_end",
        "on_train_end",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self.run = RunFolder(Path(session.run))
        self.began = self.epoch_began = self.wrote = time.monotonic()
        self.batch = self.pictures = 0
        self.lasted: list[float] = []  # seconds of the epochs of this session, validation included
        self.rate = 0.0
        self.asked_batch = 0
        self.epoch = 0  # epochs of this stage that are whole
        self.reported = -1
        self.probe = Probe.open(self.run) if session.probe else None
        self.trackers: Any = None

    # ------------------------------------------------------------ callbacks
    def on_train_start(self, trainer: BaseTrainer) -> None:
        """The model is there, and the data."""
        from halo_vis.training.trackers import Trackers

        self.began = time.monotonic()
        self.asked_batch = trainer.batch_size
        self.epoch = trainer.start_epoch
        self.session.cut_short.unlink(missing_ok=True)
        self.trackers = Trackers.open(self.run, self.session.member, vars(trainer.args), self.session.trackers)
        self._fill_in(trainer)
        if trainer.start_epoch == 0 and self.session.before == 0:
            self._look(trainer, 0, None)
        self._status(trainer, "training", force=True)

    def on_train_epoch_start(self, trainer: BaseTrainer) -> None:
        """An epoch begins, or begins anew with a smaller batch."""
        self.epoch_began, self.batch, self.pictures = time.monotonic(), 0, 0

    def on_train_batch_end(self, trainer: BaseTrainer) -> None:
        """Count; end the epoch where the time is used up: what is learned by then is kept."""
        self.batch += 1
        self.pictures += trainer.batch_size  # the last batch may hold fewer: settled at the end of the epoch
        elapsed = time.monotonic() - self.epoch_began
        self.rate = min(self.pictures, len(trainer.train_loader.dataset)) / max(elapsed, 1e-9)
        self._status(trainer, "training")
        if RANK == -1 and self._out_of_time():  # of several GPUs none may leave an epoch before the others
            trainer.stop = True

    def on_train_epoch_end(self, trainer: BaseTrainer) -> None:
        """The batches are done; validation follows."""
        self._status(trainer, "validating", force=True)

    def on_fit_epoch_end(self, trainer: BaseTrainer) -> None:
        """The epoch is measured and saved: report it, then stop if that was asked."""
        if trainer.epoch == self.reported:
            return
        self.reported = trainer.epoch
        self.epoch, self.batch = trainer.epoch + 1, 0
        seconds = time.monotonic() - self.epoch_began
        self.lasted.append(seconds)
        number = self.session.before + trainer.epoch + 1
        metrics = trainer.metrics or {}
        measured = trainer.args.val or trainer.epoch + 1 >= trainer.epochs
        event = {
            "member": self.session.member,
            "stage": self.session.stage,
            "epoch": number,
            "epochs": self.session.epochs,
            "seconds": round(seconds, 3),
            "images_per_s": round(self.rate, 2),
            "lr": min(trainer.lr.values(), default=None),  # MuSGD gives the head a multiple of it
            "losses": {_short(k): _number(v) for k, v in (trainer.tloss or {}).items()},
            "val_losses": {_short(k): _number(v) for k, v in metrics.items() if measured and k.startswith("val/")},
        }
        for name in MEASURES:
            event[name] = _number(metrics.get(f"metrics/{name}(B)")) if measured else None
        # The frame first: whoever sees the epoch in the events finds its picture.
        self._look(trainer, number, event["mAP50"])
        self.run.event("epoch", **event)
        if trainer.batch_size < self.asked_batch:
            self.run.event(
                "warning",
                message=f"out of memory with batch {self.asked_batch}: it goes on with batch {trainer.batch_size}",
                batch=trainer.batch_size,
            )
            self.asked_batch = trainer.batch_size
        self.trackers.epoch(event)
        self._status(trainer, "training", force=True)
        if self._out_of_time() and trainer.epoch + 1 < trainer.epochs:
            trainer.stop = True
            self.run.event(
                "warning",
                message=f"the time that a run may take was used up: {self.session.member} ended in epoch {number} of "
                f"{self.session.epochs}",
            )
        if self.run.stop_file.exists() and not trainer.stop:
            self.session.cut_short.touch()
            trainer.stop = True  # several GPUs: Ultralytics hands it on to the other ranks

    def on_train_end(self, trainer: BaseTrainer) -> None:
        """All epochs are done, or a stop was asked."""
        self.trackers.close("stopped" if self.session.cut_short.exists() else "finished")

    # ------------------------------------------------------------ what they do
    def _out_of_time(self) -> bool:
        longest = self.session.longest_s
        return bool(longest) and time.monotonic() - self.began > longest

    def _fill_in(self, trainer: BaseTrainer) -> None:
        """Report epochs that were saved but not reported: their process died in between. Ultralytics has their row."""
        of_mine = (self.session.member, self.session.stage)
        known = {e["epoch"] for e in self.run.events() if (e.get("member"), e.get("stage")) == of_mine and "epoch" in e}
        missing = set(range(self.session.before + 1, self.session.before + trainer.start_epoch + 1)) - known
        if not missing:
            return
        columns = trainer.read_results_csv()
        for i, epoch in enumerate(columns.get("epoch", ())):
            if self.session.before + epoch not in missing:
                continue
            row = {name: values[i] for name, values in columns.items()}
            before = columns["time"][i - 1] if i else 0.0
            seconds = row["time"] - before if row["time"] > before else row["time"]  # the clock starts anew on a resume
            measured = trainer.args.val or epoch >= trainer.epochs
            metrics = {name: _number(row.get(f"metrics/{name}(B)")) if measured else None for name in MEASURES}
            self.run.event(
                "epoch",
                member=self.session.member,
                stage=self.session.stage,
                epoch=self.session.before + epoch,
                epochs=self.session.epochs,
                seconds=round(seconds, 3),
                images_per_s=None,
                lr=_number(min((v for k, v in row.items() if k.startswith("lr/")), default=None)),
                losses={_short(k): _number(v) for k, v in row.items() if k.startswith("train/")},
                val_losses={_short(k): _number(v) for k, v in row.items() if measured and k.startswith("val/")},
                **metrics,
            )

    def _look(self, trainer: BaseTrainer, epoch: int, map50: float | None) -> None:
        """Keep the attention of the probe's query. The run does not end because a picture cannot be shown."""
        if self.probe is None:
            return
        try:
            frame = self.probe.look(trainer.ema.ema)
            self.run.append(self.run.attention(self.session.member), {"epoch": epoch, "mAP50": map50, **frame})
        except OSError:
            raise  # a full disk is told, not hidden
        except Exception as error:
            log.exception("the probe failed")
            self.run.event("warning", message=f"the attention of epoch {epoch} could not be kept: {error}")
            self.probe = None

    def _status(self, trainer: BaseTrainer, phase: str, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self.wrote < EVERY_S:
            return
        self.wrote = now
        if not (self.run.path / "run.yaml").is_file():
            raise FileNotFoundError(f"{self.run.path} was deleted while it was trained. Start a new run.")
        batches = len(trainer.train_loader)
        epochs_done = self.session.before + self.epoch + min(self.batch / batches, 1.0)
        to_train, total = self.session.to_train, self.session.epochs
        left = None
        if self.lasted or self.batch:
            an_epoch = (
                sum(self.lasted[-5:]) / len(self.lasted[-5:])
                if self.lasted
                else (now - self.epoch_began) / self.batch * batches * VALIDATION
            )
            left = an_epoch * (total - epochs_done + total * (to_train - self.session.trained - 1))
        status = {
            "state": "running",
            "time": round(time.time(), 3),
            "member": self.session.member,
            "members": list(self.session.members),
            "stage": self.session.stage,
            "stages": self.session.stages,
            "epoch": min(self.session.before + self.epoch + 1, total),
            "epochs": total,
            "batch": self.batch,
            "batches": batches,
            "images_per_s": round(self.rate, 2),
            "memory_gb": round(self._memory(trainer), 2),
            "device": str(trainer.device),
            "phase": phase,
            "done": round((self.session.trained + epochs_done / total) / to_train, 4),
            "elapsed_s": round(self.session.elapsed_s + now - self.began, 1),
            "left_s": None if left is None else round(left, 1),
            "losses": {_short(k): _number(v) for k, v in (trainer.tloss or {}).items()},
        }
        with contextlib.suppress(OSError):  # a checkpoint that cannot be written ends the run; a progress bar does not
            self.run.write_json("status.json", status)

    @staticmethod
    def _memory(trainer: BaseTrainer) -> float:
        """GiB in use: of the GPU, else of this process."""
        if trainer.device.type == "cuda":
            return torch.cuda.memory_reserved(trainer.device) / 2**30
        return psutil.Process().memory_info().rss / 2**30


def _short(name: str) -> str:
    """The bare name of a loss: "box" of "val/box_loss"."""
    return name.rpartition("/")[2].removesuffix("_loss")


def _number(value: Any) -> float | None:
    """A plain number; None where it is none that JSON can hold."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return round(number, 6) if math.isfinite(number) else None
