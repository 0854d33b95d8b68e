"""A plan: what a person chooses before a run, as flat plain values; what may be chosen, and what it becomes.

Nothing heavy is imported here: the page needs the names and ranges before torch is there.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import yaml

MEMBERS = ("both", "baseline", "halo")
TRAINED = ("all", "halo", "halo+head")
OPTIMIZERS = ("auto", "MuSGD", "AdamW", "SGD")
TRACKERS = ("trackio", "wandb", "mlflow")
DEVICE = re.compile(r"|cpu|mps|cuda|cuda:\d{1,2}|\d{1,2}(,\d{1,2}){0,15}")
LONGEST_YAML = 20_000  # characters; a plan has about 1,500
MOST_BRACKETS = 100  # a plan has four


@dataclass(frozen=True)
class Field:
    """What a value of a plan may be.

    Attributes:
        kind: "int", "float", "bool", "choice", "text" or "list" (of some of the choices).
        low, high: bounds of a number, both included; longest text for "text".
        default: the value of a plan that does not say.
        choices: for "choice" and "list".
        unit: what the number counts, "" for a plain one.
    """

    kind: str
    default: Any
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()
    unit: str = ""


FIELDS: dict[str, Field] = {
    "title": Field("text", "", high=120),
    "start": Field("text", "pair:meadow", high=200),
    "member": Field("choice", "both", choices=MEMBERS),
    "form": Field("choice", "residual", choices=("residual", "article")),
    "scale": Field("choice", "n", choices=("n", "s", "m", "l", "x")),
    "block_size": Field("int", 8, 1, 16, unit="cells"),
    "halo_size": Field("int", 3, 0, 8, unit="cells"),
    "dim_head": Field("int", 32, 4, 128, unit="channels"),
    "heads": Field("float", 0.0, 0, 16),
    "levels": Field("list", ("P3", "P4", "P5"), choices=("P3", "P4", "P5")),
    "mask": Field("choice", "valid", choices=("valid", "published")),
    "trained": Field("choice", "all", choices=TRAINED),
    "data": Field("text", "meadow", high=200),
    "meadow_train": Field("int", 200, 1, 5000, unit="scenes"),
    "meadow_val": Field("int", 40, 1, 1000, unit="scenes"),
    "meadow_test": Field("int", 40, 0, 1000, unit="scenes"),
    "meadow_seed": Field("int", 0, 0, 1_000_000),
    "epochs": Field("int", 10, 1, 1000),
    "imgsz": Field("int", 320, 32, 1536, unit="pixels"),
    "batch": Field("int", 8, 1, 256, unit="pictures"),
    "optimizer": Field("choice", "AdamW", choices=OPTIMIZERS),
    "lr0": Field("float", 0.001, 1e-7, 1.0),
    "lrf": Field("float", 0.05, 0.0, 1.0),
    "momentum": Field("float", 0.937, 0.0, 0.999),
    "weight_decay": Field("float", 0.0005, 0.0, 0.1),
    "warmup_epochs": Field("float", 0.5, 0.0, 20.0, unit="epochs"),
    "nbs": Field("int", 8, 1, 1024, unit="pictures"),
    "cos_lr": Field("bool", True),
    "mosaic": Field("float", 0.0, 0.0, 1.0),
    "close_mosaic": Field("int", 0, 0, 1000, unit="epochs"),
    "scale_aug": Field("float", 0.0, 0.0, 0.9),
    "translate": Field("float", 0.0, 0.0, 0.9),
    "fliplr": Field("float", 0.5, 0.0, 1.0),
    "hsv_h": Field("float", 0.0, 0.0, 1.0),
    "hsv_s": Field("float", 0.0, 0.0, 1.0),
    "hsv_v": Field("float", 0.0, 0.0, 1.0),
    "patience": Field("int", 0, 0, 1000, unit="epochs"),
    "seed": Field("int", 0, 0, 2**31 - 1),
    "device": Field("text", "", high=40),
    "threads": Field("int", 0, 0, 256),
    "longest_s": Field("float", 0.0, 0.0, 30 * 86_400.0, unit="seconds"),
    "probe_y": Field("float", -1.0, -1.0, 100_000.0, unit="pixels"),
    "probe_x": Field("float", -1.0, -1.0, 100_000.0, unit="pixels"),
    "trackers": Field("list", (), choices=TRACKERS),
}

# What Ultralytics itself would take: the article's command sets none of these.
ULTRALYTICS = {
    "optimizer": "MuSGD", "lr0": 0.01, "lrf": 0.01, "momentum": 0.937, "weight_decay": 0.0005, "warmup_epochs": 3.0,
    "nbs": 64, "cos_lr": False, "mosaic": 1.0, "close_mosaic": 10, "scale_aug": 0.5, "translate": 0.1, "fliplr": 0.5,
    "hsv_h": 0.015, "hsv_s": 0.7, "hsv_v": 0.4,
}  # fmt: skip

# Each names every value in which it differs from the defaults above.
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "start": "pair:meadow", "data": "meadow", "meadow_train": 16, "meadow_val": 8, "meadow_test": 8, "epochs": 2,
        "imgsz": 160, "warmup_epochs": 0.0, "lr0": 0.0002,
    },
    # 4 pictures are one batch, nbs = 64 gathers 8 of them before a step: 10 epochs are 2 steps, the first at rate 0.
    "article": {
        "start": "", "form": "article", "member": "both", "data": "coco8", "epochs": 10, "imgsz": 640, "batch": 8,
        **ULTRALYTICS,
    },
    "short": {},
    "halo": {"trained": "halo", "member": "both", "epochs": 5, "lr0": 0.002},
}  # fmt: skip


class PlanError(ValueError):
    """A plan that cannot be; the message names the field, the rule, the value and the next step.

    Attributes:
        field: the name of the field, "" where it is not one alone.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Plan:
    """What a person chooses; see FIELDS for kinds, bounds and units.

    ``start``: "" (untrained), "pair:NAME" or "pair:NAME/MEMBER", "run:ID" or "run:ID/MEMBER". ``heads`` 0: as many as
    the channels hold; below 1: that share of them. ``data``: "meadow", "coco8", "coco128", "dataset:ID". ``patience``
    0: no early stop. ``longest_s`` 0: no limit. ``probe_y``, ``probe_x`` -1: a labelled object of the picture.
    """

    title: str = ""
    start: str = "pair:meadow"
    member: str = "both"
    form: str = "residual"
    scale: str = "n"
    block_size: int = 8
    halo_size: int = 3
    dim_head: int = 32
    heads: float = 0.0
    levels: tuple[str, ...] = ("P3", "P4", "P5")
    mask: str = "valid"
    trained: str = "all"
    data: str = "meadow"
    meadow_train: int = 200
    meadow_val: int = 40
    meadow_test: int = 40
    meadow_seed: int = 0
    epochs: int = 10
    imgsz: int = 320
    batch: int = 8
    optimizer: str = "AdamW"
    lr0: float = 0.001
    lrf: float = 0.05
    momentum: float = 0.937
    weight_decay: float = 0.0005
    warmup_epochs: float = 0.5
    nbs: int = 8
    cos_lr: bool = True
    mosaic: float = 0.0
    close_mosaic: int = 0
    scale_aug: float = 0.0
    translate: float = 0.0
    fliplr: float = 0.5
    hsv_h: float = 0.0
    hsv_s: float = 0.0
    hsv_v: float = 0.0
    patience: int = 0
    seed: int = 0
    device: str = ""
    threads: int = 0
    longest_s: float = 0.0
    probe_y: float = -1.0
    probe_x: float = -1.0
    trackers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name, field in FIELDS.items():
            object.__setattr__(self, name, _checked(name, field, getattr(self, name)))
        if not self.levels:
            raise PlanError("levels: choose one or more of P3, P4, P5; none is chosen.", "levels")
        if self.imgsz % 32:
            raise PlanError(
                f"imgsz must be a multiple of 32, the model's largest stride; got {self.imgsz}. "
                f"Take {max(32, round(self.imgsz / 32) * 32)}.",
                "imgsz",
            )
        if self.trained != "all" and self.member == "baseline":
            raise PlanError(
                f"trained is {self.trained!r}, but the baseline has no halo layers. Train all, or another model.",
                "trained",
            )
        if self.trained != "all" and not self.start:
            raise PlanError(
                f"trained is {self.trained!r}, but the model starts untrained: the rest of it would stay random. "
                "Train all, or start from trained weights.",
                "trained",
            )
        if self.heads > 1 and self.heads % 1:
            raise PlanError(
                f"heads must be a whole number, a share below 1 of those that the channels hold, or 0 for all of them; "
                f"got {self.heads}. Take {int(self.heads)}.",
                "heads",
            )
        if not DEVICE.fullmatch(self.device):
            raise PlanError(
                f'device must be "" (the best there is), cpu, mps, cuda:NUMBER, or numbers of GPUs such as 0,1; got '
                f"{self.device!r}. Choose one.",
                "device",
            )
        kind, _, rest = self.start.partition(":")
        if self.start and (kind not in ("pair", "run") or not _plain(*rest.split("/"))):
            raise PlanError(
                f'start must be "" (untrained), pair:NAME or run:ID, each with /MEMBER if wanted; got {self.start!r}. '
                "Choose one from the list.",
                "start",
            )
        kind, _, rest = self.data.partition(":")
        if self.data not in ("meadow", "coco8", "coco128") and (kind != "dataset" or not _plain(rest)):
            raise PlanError(
                f"data must be meadow, coco8, coco128 or dataset:ID; got {self.data!r}. Choose one from the list.",
                "data",
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, preset: str = "") -> Plan:
        """A plan from plain values.

        Args:
            values: by the names of FIELDS; what is missing has its default, or the preset's value.
            preset: a name in PRESETS.

        Raises:
            PlanError: no names and values, an unknown name, a wrong type, a value out of its range.
        """
        if not isinstance(values, Mapping):
            found = type(values).__name__
            raise PlanError(
                f"a plan must be names and values, as {{'epochs': 10}}; this is a {found}. Send such a plan."
            )
        if preset and preset not in PRESETS:
            raise PlanError(f"no preset named {preset!r}; there are {', '.join(PRESETS)}. Choose one of them.")
        unknown = [str(name) for name in values if name not in FIELDS]
        if unknown:
            raise PlanError(f"a plan has no {unknown[0][:60]!r}; it knows {', '.join(FIELDS)}.", unknown[0][:60])
        return cls(**{**(PRESETS[preset] if preset else {}), **values})

    @classmethod
    def from_yaml(cls, text: str) -> Plan:
        """A plan that was saved as YAML.

        Raises:
            PlanError: no YAML of plain values, too long, or values that cannot be.
        """
        if len(text) > LONGEST_YAML:
            raise PlanError(f"a plan has at most {LONGEST_YAML} characters; this has {len(text)}. Is it another file?")
        if sum(text.count(bracket) for bracket in "[{") > MOST_BRACKETS:  # the scanner's time grows with their square
            raise PlanError("a plan has plain values only; this YAML is nested deeply. Is it another file?")
        try:
            if any(isinstance(token, (yaml.AliasToken, yaml.TagToken)) for token in yaml.scan(text)):
                raise PlanError("a plan has plain values only; this YAML uses aliases or tags. Save the plan again.")
            values = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            if isinstance(error, PlanError):
                raise
            raise PlanError(f"this is no readable YAML ({' '.join(str(error).split())[:200]}).") from None
        if not isinstance(values, dict):
            raise PlanError("a plan is a list of names and values, as `epochs: 10`; this YAML is something else.")
        return cls.from_dict(values)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def to_yaml(self) -> str:
        """As YAML, which `from_yaml` and ``python -m halo_vis train --recipe FILE`` read."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True)

    def changed(self, preset: str = "") -> dict[str, Any]:
        """The values in which it differs from a preset."""
        usual = Plan.from_dict({}, preset=preset)
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != getattr(usual, f.name)}

    @property
    def members(self) -> dict[str, str]:
        """Member -> form."""
        return {name: form for name, form in (("baseline", "baseline"), ("halo", self.form)) if self._wants(name)}

    def _wants(self, member: str) -> bool:
        return self.member in ("both", member)

    def arguments(self) -> dict[str, Any]:
        """Its training arguments under Ultralytics' names."""
        same = (
            "epochs", "batch", "optimizer", "lr0", "lrf", "momentum", "weight_decay", "warmup_epochs", "nbs", "cos_lr",
            "mosaic", "close_mosaic", "translate", "fliplr", "hsv_h", "hsv_s", "hsv_v",
        )  # fmt: skip
        # A bias rate of 0.1 in the warm-up is meant for SGD; with AdamW's steps it would tear trained weights apart.
        bias = 0.0 if self.optimizer in ("AdamW", "auto") else 0.1
        # Ultralytics' patience 0 means for ever.
        return {name: getattr(self, name) for name in same} | {
            "scale": self.scale_aug,
            "patience": self.patience,
            "warmup_bias_lr": bias,
        }

    def geometry(self) -> dict[str, Any]:
        """The halo layers' geometry, as Architecture takes it."""
        same = {name: getattr(self, name) for name in ("block_size", "halo_size", "dim_head", "levels", "mask")}
        return same | {"heads": None if not self.heads else int(self.heads) if self.heads >= 1 else self.heads}

    def command(self, plan_file: str = "plan.yaml", run_folder: str = "runs/mine") -> str:
        """The shell command that runs the saved plan."""
        return shlex.join(["python", "-m", "halo_vis", "train", "--recipe", plan_file, "--out", run_folder])

    def yolo_command(self) -> str:
        """The nearest command of Ultralytics' own: same arguments, from a YAML, one member."""
        suffix = {"residual": "-residual", "article": ""}[self.form]
        model = f"yolo26{self.scale}.yaml" if self.member == "baseline" else (
            f"halo_vis/cfg/yolo26{self.scale}-HaloAttention{suffix}.yaml"
        )  # fmt: skip
        data = f"{self.data}.yaml" if self.data.startswith("coco") else "data.yaml"
        values = {"model": model, "data": data, "imgsz": self.imgsz, "seed": self.seed, **self.arguments()}
        return shlex.join(
            ["python", "-m", "halo_vis", "yolo", "detect", "train", *(f"{k}={v}" for k, v in values.items())]
        )


def _plain(*parts: str) -> bool:
    """Names of letters, digits, hyphen, underscore and dot that lead nowhere."""
    return 1 <= len(parts) <= 2 and all(
        part and part.strip(".") and all(c.isalnum() or c in "-_." for c in part) for part in parts
    )


def _checked(name: str, field: Field, value: Any) -> Any:
    """The value in its own type, or PlanError."""
    if field.kind == "bool":
        if not isinstance(value, bool):
            raise PlanError(f"{name} must be true or false, got {value!r}.", name)
        return value
    if field.kind == "text":
        # A lone surrogate is no text that a file could hold.
        bad = isinstance(value, str) and any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in value)
        if not isinstance(value, str) or len(value) > field.high or bad:
            raise PlanError(f"{name} must be a text of at most {field.high:.0f} characters, got {value!r:.80}.", name)
        return value.strip()
    if field.kind == "choice":
        if not isinstance(value, str) or value not in field.choices:
            raise PlanError(f"{name} must be one of {', '.join(field.choices)}, got {value!r:.80}.", name)
        return value
    if field.kind == "list":
        if not isinstance(value, (list, tuple)) or any(v not in field.choices for v in value):
            raise PlanError(f"{name} must be some of {', '.join(field.choices)}, got {value!r:.80}.", name)
        return tuple(choice for choice in field.choices if choice in value)
    whole = isinstance(value, int) and not isinstance(value, bool)  # of any length: isfinite would overflow
    if not whole and not (isinstance(value, float) and math.isfinite(value)):
        raise PlanError(f"{name} must be a number, got {value!r:.80}.", name)
    if field.kind == "int" and value != int(value):
        raise PlanError(f"{name} must be a whole number, got {value!r}.", name)
    if not field.low <= value <= field.high:
        unit = f" {field.unit}" if field.unit else ""
        raise PlanError(f"{name} must lie between {field.low:g} and {field.high:g}{unit}, got {value!r:.40}.", name)
    return int(value) if field.kind == "int" else float(value)
