"""What visitors may ask of this machine: settings from the environment, stricter where strangers come by.

HALO_VIS_TRAINING   anyone: whoever is here may start, stop and delete every run; owner: each their own; nobody
HALO_VIS_MAX_EPOCHS, _IMGSZ (pixels), _PICTURES, _SECONDS (of a run), _DISK_GB (all runs and data), _QUEUE (runs)
HALO_VIS_RAY_ADDRESS, _RAY_TOKEN    a Ray cluster that trains instead of this machine
HALO_VIS_TRACKERS   comma-separated: trackio, wandb, mlflow
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path

from demo.guards import hosted

RIGHTS = ("anyone", "owner", "nobody")
TRACKERS = ("trackio", "wandb", "mlflow")


class LimitError(ValueError):
    """A setting or a wish beyond a limit; `key` and `values` are of texts.py, the message is its English."""

    def __init__(self, key: str, **values: object) -> None:
        from demo.texts import text

        super().__init__(text("en", key, **values))
        self.key, self.values = key, values


@dataclass(frozen=True)
class Limits:
    """What a run may be, and who may have one.

    Attributes:
        training: one of RIGHTS.
        epochs, imgsz (pixels), pictures (of all splits): of one run.
        seconds: of training, of one run; 0: no limit.
        disk_gb: of all runs and data sets together.
        queue: runs that wait or train.
        ray_address, ray_token: "" without a cluster.
        trackers: those that a run may report to.
    """

    training: str = "anyone"
    epochs: int = 1000
    imgsz: int = 1536
    pictures: int = 200_000
    seconds: int = 0
    disk_gb: float = 100.0
    queue: int = 50
    ray_address: str = ""
    ray_token: str = ""
    trackers: tuple[str, ...] = ()


HERE = Limits()
HOSTED = Limits(training="owner", epochs=30, imgsz=640, pictures=2000, seconds=1800, disk_gb=10.0, queue=8)


def limits() -> Limits:
    """The limits in force, read anew each time.

    Raises:
        ValueError: a setting that is none.
    """
    usual = HOSTED if hosted() else HERE
    found = {field.name: getattr(usual, field.name) for field in fields(Limits)}
    for name in ("epochs", "imgsz", "pictures", "seconds", "disk_gb", "queue"):
        variable = f"HALO_VIS_MAX_{name.upper()}"
        if (said := os.environ.get(variable, "").strip()) != "":
            try:
                number = float(said)
            except ValueError:
                number = -1.0
            if not 0 <= number < 1e12 or (name != "disk_gb" and number != int(number)):
                raise ValueError(f"{variable} must be a number of 0 or more, got {said!r}. Correct it, or unset it.")
            found[name] = number if name == "disk_gb" else int(number)
    said = os.environ.get("HALO_VIS_TRAINING", "").strip().lower()
    if said and said not in RIGHTS:
        raise ValueError(
            f"HALO_VIS_TRAINING must be one of {', '.join(RIGHTS)}, got {said!r}. Correct it, or unset it."
        )
    found["training"] = said or usual.training
    found["ray_address"] = os.environ.get("HALO_VIS_RAY_ADDRESS", "").strip()
    found["ray_token"] = os.environ.get("HALO_VIS_RAY_TOKEN", "").strip()
    wanted = [name.strip() for name in os.environ.get("HALO_VIS_TRACKERS", "").split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in TRACKERS]:
        raise ValueError(f"HALO_VIS_TRACKERS knows {', '.join(TRACKERS)}, got {unknown[0]!r}. Correct it, or unset it.")
    found["trackers"] = tuple(name for name in TRACKERS if name in wanted)
    return Limits(**found)


def zero_gpu() -> bool:
    """True on a Space whose GPU is lent per call: a training process would get none."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))


def duplicate_link() -> str:
    """Where a visitor makes this Space their own; "" where this is no Space."""
    space = os.environ.get("SPACE_ID", "")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", space):
        return ""
    return f"https://huggingface.co/spaces/{space}?duplicate=true"


def folder_bytes(folder: Path) -> int:
    """What lies in a folder, in bytes; files that vanish meanwhile count as nothing."""
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(directory) / name).lstat().st_size
            except OSError:
                continue
    return total
