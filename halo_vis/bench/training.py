"""What the panel's worker costs: its throughput against Ultralytics' own command with the very same training."""

from __future__ import annotations

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics import __version__ as ultralytics_version
from ultralytics.utils import DEFAULT_CFG_DICT, YAML

from halo_vis import __version__
from halo_vis.bench.report import Figure, as_json, load, machine, table
from halo_vis.training.begin import create
from halo_vis.training.export import pt
from halo_vis.training.plan import Plan as RunPlan
from halo_vis.training.run_folder import RunFolder

REPOSITORY = Path(__file__).parents[2]
LEAST = 0.95  # of Ultralytics' own throughput: the issue's target
WORKER, OWN = "panel's worker", "Ultralytics' command"
# What the worker's arguments say of its own folders.
PLACES = ("model", "data", "project", "name", "save_dir", "resume", "exist_ok", "mode", "task")


@dataclass(frozen=True)
class Plan:
    """What is trained, and how often.

    Attributes:
        repeats: of each command, one after the other in turns, after one that does not count.
        member: "halo" or "baseline", from the pair "meadow".
        train, val: scenes of the meadow.
        imgsz: pixels.
        device: as Ultralytics takes it; "": the first GPU, or the CPU.
    """

    repeats: int = 5
    member: str = "halo"
    epochs: int = 4
    train: int = 96
    val: int = 16
    imgsz: int = 160
    batch: int = 8
    device: str = ""

    def __post_init__(self) -> None:
        """Refuse what gives no figure."""
        for name in ("repeats", "epochs", "train", "val", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.member not in ("halo", "baseline"):
            raise ValueError(f"member must be halo or baseline, got {self.member!r}.")

    def as_run(self) -> RunPlan:
        """The same as the page's form would have it."""
        names = ("member", "epochs", "imgsz", "batch", "device")
        values = {name: getattr(self, name) for name in names}
        sizes = {"meadow_train": self.train, "meadow_val": self.val, "meadow_test": 1}
        return RunPlan(title="bench", start="pair:meadow", data="meadow", nbs=self.batch, **values, **sizes)


def run(plan: Plan, out: Path | None = None) -> int:
    """Measure, print the table, write the JSON; returns 0, also where the target is missed: the table says so."""
    facts, figures = measure(plan)
    print(table(facts, figures))
    if out:
        out.write_text(json.dumps(as_json(facts, figures), indent=1), encoding="utf-8")
    return 0


def measure(plan: Plan) -> tuple[dict[str, str], list[Figure]]:
    """Every figure, and what it was measured on.

    Raises:
        RuntimeError: a command failed; with the end of what it printed.
    """
    facts = machine() | {"halo_vis": __version__, "ultralytics": ultralytics_version}
    with tempfile.TemporaryDirectory(prefix="halo-vis-bench-") as folder:
        bench = _Bench(plan, Path(folder))
        _say("a run that does not count")
        bench.worker()
        seconds: dict[str, list[list[float]]] = {WORKER: [], OWN: []}
        commands: dict[str, Callable[[], list[float]]] = {WORKER: bench.worker, OWN: bench.own}
        for repeat in range(plan.repeats):
            for name in (WORKER, OWN) if repeat % 2 == 0 else (OWN, WORKER):
                seconds[name].append(commands[name]())
                _say(
                    f"{repeat + 1} of {plan.repeats}, {name}: {plan.epochs * plan.train / seconds[name][-1][-1]:.1f}/s"
                )
        facts["training"] = (
            f"{plan.member} from the pair meadow, {plan.train} + {plan.val} scenes at {plan.imgsz}, batch "
            f"{plan.batch}, {plan.epochs} epochs with validation, {bench.threads()}"
        )
    facts["load after"] = load()
    facts["a run"] = "first batch to the end of the last epoch, by Ultralytics' own clock (results.csv)"
    return facts, figures(plan, seconds)


def figures(plan: Plan, seconds: dict[str, list[list[float]]]) -> list[Figure]:
    """Throughputs, and their ratio.

    Args:
        seconds: WORKER and OWN -> for each repeat, seconds from the start of the training to the end of each epoch.
    """
    found, medians = [], {}
    for name, repeats in seconds.items():
        rates = [plan.epochs * plan.train / ends[-1] for ends in repeats]
        medians[name] = statistics.median(rates)
        found.append(Figure("Throughput, validation included", f"{name}: median", medians[name], "pictures/s"))
        found.append(Figure("Throughput, validation included", f"{name}: lowest", min(rates), "pictures/s"))
        found.append(Figure("Throughput, validation included", f"{name}: highest", max(rates), "pictures/s"))
    pairs = [own[-1] / worker[-1] for worker, own in zip(seconds[WORKER], seconds[OWN], strict=True)]
    group = f"{WORKER} / {OWN}"
    found.append(Figure(group, "ratio of the medians", medians[WORKER] / medians[OWN], "", LEAST, least=True))
    found.append(Figure(group, "median of the ratios, turn by turn", statistics.median(pairs), ""))
    if plan.epochs > 1:  # without what happens once: the first look at the probe, first batches
        later = {n: [(e[-1] - e[0]) / (len(e) - 1) for e in repeats] for n, repeats in seconds.items()}
        ratio = statistics.median(later[OWN]) / statistics.median(later[WORKER])
        found.append(Figure(group, "ratio of an epoch after the first", ratio, ""))
    return found


class _Bench:
    """The two commands. Both get the arguments that the worker's first run wrote down."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.count = 0
        self.first: RunFolder | None = None

    def worker(self) -> list[float]:
        """Train a new run folder as the page does; returns the seconds of `figures`."""
        run = create(self.plan.as_run(), self.folder / "runs", self.folder / "datasets")
        _call([sys.executable, "-m", "halo_vis", "train", str(run.path)], run.log)
        epochs = [event for event in run.events() if event.get("kind") == "epoch"]
        looks = run.lines(run.attention(self.plan.member))
        boards = list((run.path / "tensorboard" / self.plan.member).glob("*"))
        if len(epochs) != self.plan.epochs or len(looks) != self.plan.epochs + 1 or not boards:
            raise RuntimeError(
                f"the worker wrote {len(epochs)} epochs, {len(looks)} looks at the probe and {len(boards)} TensorBoard "
                f"files where {self.plan.epochs} epochs were asked for: this measures something else."
            )
        self.first = self.first or run
        return _ends(self._out(run) / "results.csv", self.plan.epochs)

    def own(self) -> list[float]:
        """The same training through ``yolo``, from the same weights on the same pictures; returns the same."""
        self.count += 1
        first, out = self.first, self.folder / "own" / str(self.count)
        weights = self.folder / "start.pt"
        if not weights.is_file():
            pt(first.start(self.plan.member), weights)
        said = [f"{name}={value}" for name, value in self.arguments().items()]
        places = [f"model={weights}", f"data={first.path / 'data' / 'data.yaml'}", f"project={out}", "name=run"]
        command = [sys.executable, "-m", "halo_vis", "yolo", "detect", "train", *places, *said]
        out.mkdir(parents=True)
        _call(command, out / "log.txt")
        return _ends(out / "run" / "results.csv", self.plan.epochs)

    def arguments(self) -> dict[str, Any]:
        """The worker's training arguments, as far as they are not Ultralytics' defaults."""
        used = YAML.load(self._out(self.first) / "args.yaml")
        return {
            name: value
            for name, value in used.items()
            if name not in PLACES and value not in (None, "") and value != DEFAULT_CFG_DICT.get(name)
        }

    def threads(self) -> str:
        """What both commands compute with."""
        device = self.first.json("status.json").get("device") or self.plan.device or "cpu"
        threads = os.environ.get("OMP_NUM_THREADS", "as Ultralytics chooses")
        return f"on {device}, OMP_NUM_THREADS {threads}"

    def _out(self, run: RunFolder) -> Path:
        return run.path / "out" / self.plan.member / "stage0"


def _call(command: list[str], log: Path) -> None:
    """Run a command to its end; what it prints goes to a file, as the page has it."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with log.open("ab") as file:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
        )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command[2:6])} ended with {done.returncode}: {log.read_text(errors='replace')[-1500:]}"
        )


def _ends(path: Path, epochs: int) -> list[float]:
    """Seconds from the start of the training to the end of each epoch."""
    with path.open(encoding="utf-8") as file:
        ends = [float({k.strip(): v for k, v in row.items()}["time"]) for row in csv.DictReader(file)]
    if len(ends) != epochs:
        raise RuntimeError(f"{path.name} has {len(ends)} epochs of {epochs}: this measures something else.")
    return ends


def _say(what: str) -> None:
    """Progress, beside the table and not in it."""
    print(f"bench training: {what}", file=sys.stderr, flush=True)
