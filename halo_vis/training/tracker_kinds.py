"""The trackers themselves: TensorBoard, Trackio, Weights & Biases, MLflow. See :mod:`halo_vis.training.trackers`."""

from __future__ import annotations

import numbers
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halo_vis.training.run_folder import RunFolder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

PROJECT = "halo-vis"


def scalars(event: Mapping[str, Any]) -> dict[str, float]:
    """The figures of an epoch's event, by the names that trackers show; what was not measured is left out."""
    found = {f"train/{name}": value for name, value in event.get("losses", {}).items()}
    found |= {f"val/{name}": value for name, value in event.get("val_losses", {}).items()}
    found |= {f"metrics/{name}": event.get(name) for name in ("mAP50", "mAP50-95", "precision", "recall")}
    found |= {"lr": event.get("lr"), "images_per_s": event.get("images_per_s"), "seconds": event.get("seconds")}
    return {name: float(value) for name, value in found.items() if isinstance(value, numbers.Real)}


def epochs_of(run: RunFolder, member: str) -> dict[int, dict[str, Any]]:
    """A member's epochs so far, in order; of one that was trained twice, the later event counts."""
    found = {}
    for event in run.events():
        if event.get("kind") == "epoch" and event.get("member") == member and isinstance(event.get("epoch"), int):
            found[event["epoch"]] = event
    return dict(sorted(found.items()))


class Tracker:
    """What all trackers have in common; a subclass says how its service is reached.

    Attributes:
        package: what has to be importable.
        install: what pip installs for it.
        variables: environment variables that it may need, besides HOME.
    """

    package = ""
    install = ""
    variables: tuple[str, ...] = ()

    def open(self, run: RunFolder, member: str, config: Mapping[str, Any]) -> None:
        """A member's training starts, or goes on.

        Args:
            config: settings that are shown with the run: plain values.
        """
        raise NotImplementedError

    def epoch(self, event: Mapping[str, Any]) -> None:
        """An epoch is done; after a resume the first may have been told before."""
        raise NotImplementedError

    def close(self, state: str) -> None:
        """The member's training has ended: "finished", "stopped" or "failed"."""
        raise NotImplementedError


class TensorBoard(Tracker):
    """Event files in RUN/tensorboard/<member>: ``tensorboard --logdir RUN/tensorboard``."""

    package = install = "tensorboard"

    def open(self, run: RunFolder, member: str, config: Mapping[str, Any]) -> None:
        """Nothing is written before the first epoch."""
        self.run, self.member = run, member
        self.writer: SummaryWriter | None = None

    def epoch(self, event: Mapping[str, Any]) -> None:
        """Add the epoch; the first of a session writes those before it anew.

        The events of the run are the truth: a process that was killed may have left epochs in the files that are
        trained again, and a clock that was set back would put the files in the wrong order.
        """
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            folder = self.run.path / "tensorboard" / self.member
            shutil.rmtree(folder, ignore_errors=True)
            # purge_step: a TensorBoard that is watching forgets what it has read.
            self.writer = SummaryWriter(str(folder), purge_step=0)
            for number, earlier in epochs_of(self.run, self.member).items():
                if number < event["epoch"]:
                    self._write(earlier)
        self._write(event)
        self.writer.flush()

    def _write(self, event: Mapping[str, Any]) -> None:
        for name, value in scalars(event).items():
            self.writer.add_scalar(name, value, event["epoch"], walltime=event.get("time"))

    def close(self, state: str) -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()


class Remote(Tracker):
    """A tracker that keeps what it is told: each epoch is sent once, also by the process that resumes a run.

    RUN/trackers.json remembers, for each tracker and member, the last epoch that was sent and the service's own id.
    """

    def open(self, run: RunFolder, member: str, config: Mapping[str, Any]) -> None:
        """Start, or find again what an earlier session started."""
        self.run, self.member = run, member
        self.title = f"{run.id}-{member}"
        self.start(config, str(self._memory().get("id", "")))

    def epoch(self, event: Mapping[str, Any]) -> None:
        """Send the epoch, unless it was sent before."""
        if event["epoch"] > int(self._memory().get("epoch", 0)):
            self.send(scalars(event), event["epoch"])
            self._remember(epoch=event["epoch"])

    def start(self, config: Mapping[str, Any], known: str) -> None:
        """Reach the service; `known`: the id that `_remember` kept, "" at first."""
        raise NotImplementedError

    def send(self, values: Mapping[str, float], epoch: int) -> None:
        """Send the figures of an epoch."""
        raise NotImplementedError

    def folder(self) -> str:
        """Where it may keep files."""
        path = self.run.path / "trackers" / self.package
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    def _memory(self) -> dict[str, Any]:
        found = self.run.json(f"trackers/{self.package}-{self.member}.json")
        return found if isinstance(found.get("epoch", 0), int) else {}

    def _remember(self, **values: Any) -> None:
        (self.run.path / "trackers").mkdir(exist_ok=True)
        self.run.write_json(f"trackers/{self.package}-{self.member}.json", self._memory() | values)


class Trackio(Remote):
    """Trackio: ``trackio show --project halo-vis``."""

    package = install = "trackio"
    variables = ("TRACKIO_DIR", "TRACKIO_SPACE_ID", "TRACKIO_DATASET_ID", "TRACKIO_BUCKET_ID", "HF_TOKEN", "HF_HOME")

    def start(self, config: Mapping[str, Any], known: str) -> None:
        """A run of the project, by its name."""
        import trackio

        space = os.environ.get("TRACKIO_SPACE_ID")
        self.tracked = trackio.init(
            PROJECT, self.title, group=self.run.id, config=dict(config), resume="allow", space_id=space, embed=False,
            auto_log_gpu=False, auto_log_cpu=False,
        )  # fmt: skip

    def send(self, values: Mapping[str, float], epoch: int) -> None:
        """Send the figures of an epoch."""
        self.tracked.log(dict(values), step=epoch)

    def close(self, state: str) -> None:
        """Send what is left."""
        self.tracked.finish()


class Wandb(Remote):
    """Weights & Biases; WANDB_MODE=offline keeps everything in the run folder."""

    package = install = "wandb"
    variables = ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL", "NETRC")

    def start(self, config: Mapping[str, Any], known: str) -> None:
        """A run of the project, found again by its id."""
        import wandb

        self.tracked = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT, name=self.title, id=self.title, group=self.run.id,
            config=dict(config), resume="allow", dir=self.folder(),
            settings=wandb.Settings(silent=True, console="off", init_timeout=30, disable_code=True, disable_git=True),
        )  # fmt: skip

    def send(self, values: Mapping[str, float], epoch: int) -> None:
        """Send the figures of an epoch."""
        self.tracked.log(dict(values), step=epoch)

    def close(self, state: str) -> None:
        """Send what is left."""
        self.tracked.finish(exit_code=0)


class Mlflow(Remote):
    """MLflow: at MLFLOW_TRACKING_URI, else files in the run folder."""

    package, install = "mlflow", "mlflow-skinny"
    variables = (
        "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_EXPERIMENT_NAME",
    )  # fmt: skip

    def start(self, config: Mapping[str, Any], known: str) -> None:
        """A run of the experiment, found again by the id that it was given."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            # Files need no server and no database package; MLflow wants to be told that one means it.
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
            uri = Path(self.folder()).as_uri()
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        if known:
            self.id = known
            self.client.update_run(known, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        experiment = self.client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self.client.create_experiment(name)
        self.id = self.client.create_run(number, run_name=self.title, tags={"run": self.run.id}).info.run_id
        for key, value in config.items():
            self.client.log_param(self.id, key, value)
        self._remember(id=self.id)

    def send(self, values: Mapping[str, float], epoch: int) -> None:
        """Send the figures of an epoch."""
        for name, value in values.items():
            self.client.log_metric(self.id, name, value, step=epoch)

    def close(self, state: str) -> None:
        """Tell how it ended."""
        self.client.set_terminated(self.id, {"finished": "FINISHED", "failed": "FAILED"}.get(state, "KILLED"))
