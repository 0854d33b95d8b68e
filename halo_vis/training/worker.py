"""Train a run folder: each member through all stages, then measure; and go on where an earlier process ended.

See :mod:`halo_vis.training.run_folder` for what lies in the folder.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import ultralytics
from ultralytics import YOLO
from ultralytics.utils import YAML
from ultralytics.utils.torch_utils import strip_optimizer

import halo_vis
from halo_vis.attention import HaloAttention
from halo_vis.training import outcome
from halo_vis.training.data import class_names, prepare
from halo_vis.training.failure import explain
from halo_vis.training.graft import graft
from halo_vis.training.probe import write_probe
from halo_vis.training.recipe import Recipe
from halo_vis.training.run_folder import MARK, RunFolder
from halo_vis.training.session import Session, Stopped
from halo_vis.training.trainer import HaloTrainer
from halo_vis.transplant import LEVELS, Architecture, build
from halo_vis.weights import read_weights, write_weights


def write_run(recipe: Recipe, folder: Path) -> Path:
    """Write the run folder; returns it. Refuses a folder that holds another recipe's run."""
    path = folder / "run.yaml"
    if path.exists() and Recipe(**YAML.load(path)) != recipe:
        raise FileExistsError(f"{folder} holds another run. Choose a new folder for --out.")
    folder.mkdir(parents=True, exist_ok=True)
    YAML.save(path, recipe.as_dict())
    return folder


def read_run(folder: Path) -> Recipe:
    """The recipe of a run folder."""
    path = folder / "run.yaml"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is no run folder: it has no run.yaml. Write one with --recipe NAME --out {folder}."
        )
    return Recipe(**YAML.load(path))


def run(folder: Path, members: list[str] | None = None, device: str = "", threads: int = 0) -> dict[str, Path]:
    """Train the members of a run folder, one after the other; returns the weights files that are there.

    A STOP file ends the run after the epoch in progress, SIGTERM or Ctrl-C at once; called again, it goes on after the
    last whole epoch. The state of the folder says how it ended.

    Args:
        folder: a run folder, see :func:`write_run`.
        members: some of the recipe's members; None: all.
        device: as Ultralytics takes it; "": the recipe's, else the first GPU, or the CPU.
        threads: CPU threads; 0: the recipe's, else Ultralytics' choice, one fewer than there are cores.

    Raises:
        ValueError: a member that the recipe has not.
        RunBusy: another process trains this folder.
        Exception: what ended the training; the folder's state is then "failed" and says why. What is neither a
            ValueError nor an OSError comes as a RuntimeError.
    """
    recipe = read_run(folder)
    unknown = set(members or ()) - set(recipe.members)
    if unknown:
        raise ValueError(f"run {folder.name} has no member {sorted(unknown)}; it has {sorted(recipe.members)}.")
    place = RunFolder(folder)
    with place.held():
        if os.environ.get(MARK) != str(place.path):
            # Of an earlier stop. A launcher removes it itself, before a person can ask for the next one.
            place.stop_file.unlink(missing_ok=True)
        job = _Job(recipe, place, tuple(members or recipe.members), device or recipe.device, threads or recipe.threads)
        _running(place, "loading")
        place.event("session", versions=_versions(), device=job.device, host=platform.node())
        with _told_to_stop() as children:
            try:
                _end(place, "finished" if _train(job) else "stopped")
            except Stopped as stopped:
                _kill(children)
                _end(place, "stopped")
                _close_trackers(stopped, "stopped")
            except BaseException as error:
                traceback.print_exc()
                _end(place, "failed", error=explain(error, recipe))
                _close_trackers(error, "failed")
                if isinstance(error, Exception) and not isinstance(error, (ValueError, OSError, RuntimeError)):
                    raise RuntimeError(f"{type(error).__name__}: {error}") from error
                raise
    return _weights(place, recipe)


@dataclass(frozen=True)
class _Job:
    """What a process works on."""

    recipe: Recipe
    place: RunFolder
    members: tuple[str, ...]
    device: str
    threads: int

    def untouched(self, member: str) -> bool:
        """It has nothing that is trained: it is measured as it starts."""
        return self.recipe.trained == "halo" and self.recipe.members[member] == "baseline"

    @property
    def trained(self) -> tuple[str, ...]:
        """The members that are trained."""
        return tuple(name for name in self.members if not self.untouched(name))


def _train(job: _Job) -> bool:
    """Everything that is not done yet; returns False where the run was asked to stop."""
    recipe, place = job.recipe, job.place
    _running(place, "data")
    data = prepare(recipe, place.path / "data")
    if recipe.probe is not None:
        write_probe(place, data, recipe.imgsz, recipe.probe)
    for name in job.members:
        if place.stop_file.exists() or not _train_member(job, name, data):
            return False
    if set(_weights(place, recipe)) != set(recipe.members) or place.stop_file.exists():
        return False
    _status(place, phase="measuring", done=1.0, left_s=None)
    if not place.json("comparison.json"):
        outcome.write_comparison(place, recipe, data, job.device)
    outcome.make_pair(place, recipe)
    return True


def _train_member(job: _Job, name: str, data: Path) -> bool:
    """Train one member through all stages, write its weights, measure what was written, write its card.

    Returns:
        False where the run was asked to stop.
    """
    recipe, place = job.recipe, job.place
    weights = place.weights(name)
    if weights.is_file() and weights.with_suffix(".json").is_file():
        return True
    before, total, epochs, seconds = 0, recipe.epochs(), 0, 0.0
    yolo: YOLO | None = None
    for stage, own in enumerate(() if job.untouched(name) else recipe.stages):
        arguments = {**recipe.common, **own}
        out = place.path / "out" / name / f"stage{stage}"
        done, last, best = (out / part for part in ("done.json", "weights/last.pt", "weights/best.pt"))
        if not done.is_file():
            if place.stop_file.exists():
                return False
            session = Session(
                str(place.path), name, job.members, job.trained.index(name), len(job.trained), stage,
                len(recipe.stages), before, total, _elapsed(place), job.threads, _time_left(job, name),
                arguments.get("running_statistics", False), recipe.probe is not None, recipe.trackers,
            )  # fmt: skip
            if not _train_stage(job, session, yolo or initial(recipe, name, place, data), data, out, arguments):
                return False
            lasted = _lasted(place, name, stage)
            done.write_text(json.dumps({"seconds": round(sum(lasted.values()), 1), "epochs": len(lasted)}))
            place.event("stage", member=name, stage=stage)
        marked = json.loads(done.read_text())
        seconds, epochs = seconds + marked["seconds"], epochs + marked.get("epochs", arguments["epochs"])
        before += arguments["epochs"]
        # Without validation there is nothing to pick by.
        yolo = YOLO(best if recipe.validate and best.is_file() else last)
    _write_member(job, name, data, yolo or initial(recipe, name, place, data), epochs, seconds)
    return True


def _train_stage(job: _Job, session: Session, yolo: YOLO, data: Path, out: Path, asked: dict[str, Any]) -> bool:
    """Train a stage, from its last checkpoint if there is one; returns False where the run was asked to stop."""
    recipe, last = job.recipe, out / "weights" / "last.pt"
    arguments = {
        "data": str(data),
        "imgsz": recipe.imgsz,
        "seed": recipe.seed,
        "project": str(out.parent),
        "name": out.name,
        "exist_ok": True,
        "workers": 0,
        "amp": _precision(recipe, job.device),
        "val": recipe.validate,
        "plots": False,
        "cache": True,
        "verbose": False,
        "device": job.device,
        **asked,
    }
    arguments.pop("running_statistics", None)
    if frozen := _frozen(recipe, yolo.model):
        arguments["freeze"] = frozen
    reached = _epochs_of(last)
    if reached >= arguments["epochs"]:  # its process ended between the last checkpoint and the mark
        return True
    session.enter()
    if reached:
        overrides = {**arguments, "model": str(last), "resume": str(last), "save_dir": str(out)}
        trainer = HaloTrainer(overrides=overrides)
    else:
        torch.manual_seed(recipe.seed)
        trainer = HaloTrainer(overrides={**arguments, "model": yolo.overrides["model"], "task": "detect"})
        trainer.model = yolo.model.float()
    session.rank_error.unlink(missing_ok=True)
    try:
        trainer.train()
    except BaseException as error:
        error.trainer = trainer
        if isinstance(error, subprocess.CalledProcessError) and session.rank_error.is_file():
            raise RuntimeError(session.rank_error.read_text(encoding="utf-8")) from error
        raise
    return not session.cut_short.exists()


def _lasted(place: RunFolder, member: str, stage: int | None = None) -> dict[int, float]:
    """Epoch -> seconds, of a stage or of all; of an epoch that was done twice the later one counts."""
    lines = (e for e in place.events() if e.get("kind") == "epoch" and e.get("member") == member)
    return {e["epoch"]: e["seconds"] for e in lines if stage is None or e.get("stage") == stage}


def _elapsed(place: RunFolder) -> float:
    """Seconds of training so far, all sessions."""
    said = place.json("status.json").get("elapsed_s")
    return float(said) if isinstance(said, (int, float)) else 0.0


def _time_left(job: _Job, member: str) -> float:
    """Seconds that a member may still train: each has the same share of what the run may take. 0: no limit."""
    if not job.recipe.longest_s:
        return 0.0
    used = sum(_lasted(job.place, member).values())
    return max(1e-3, job.recipe.longest_s / len(job.trained) - used)


def initial(recipe: Recipe, name: str, place: RunFolder, data: Path) -> YOLO:
    """The model that a member's training begins with: seeded, or grown from the weights in start/."""
    torch.manual_seed(recipe.seed)
    classes = class_names(data)
    architecture = Architecture(
        recipe.scale, form=recipe.members[name], nc=len(classes), mask=recipe.mask, **recipe.geometry_of(name)
    )
    start = place.start(name)
    if start.is_file():
        yolo, kept = graft(read_weights(start)[0], architecture, classes)
        print(f"{name}: {kept.sentence()}", flush=True)
        if recipe.trained == "halo" and not kept.classes:
            raise ValueError(
                "only the halo layers are to be trained, but the data has other classes than the start: its head would "
                "stay random. Train the halo layers and the head, or all."
            )
    else:
        yolo = build(architecture, classes)
        yolo.ckpt = {"model": yolo.model}
    return yolo


def _precision(recipe: Recipe, device: str) -> str | bool:
    """bf16 on a GPU that has it; fp16 would ask for a download. The bundled pairs were trained without."""
    gpu = recipe.validate and device not in ("cpu", "mps") and torch.cuda.is_available()
    return "bf16" if gpu and torch.cuda.is_bf16_supported() else False


def _frozen(recipe: Recipe, model: torch.nn.Module) -> list[int]:
    """Indices of the layers that stay as they are."""
    if recipe.trained == "all":
        return []
    head = len(model.model) - 1
    return [
        i
        for i, layer in enumerate(model.model)
        if not isinstance(layer, HaloAttention) and not (i == head and recipe.trained == "halo+head")
    ]


def _epochs_of(last: Path) -> int:
    """Whole epochs that a checkpoint holds; 0 where there is none that can be resumed."""
    if not last.is_file():
        return 0
    try:
        from ultralytics.nn.tasks import torch_safe_load

        return int(torch_safe_load(str(last))[0].get("epoch", -1)) + 1
    except Exception as error:  # torch.load has an exception for every kind of damage
        print(f"{last} cannot be read ({type(error).__name__}); this stage starts again.", flush=True)
        return 0


def _write_member(job: _Job, name: str, data: Path, yolo: YOLO, epochs: int, seconds: float) -> None:
    """Weights, then their card: a member is done when both are there."""
    recipe, place = job.recipe, job.place
    _status(place, phase="measuring", member=name, members=list(recipe.members), left_s=None)
    weights = place.weights(name)
    weights.parent.mkdir(exist_ok=True)
    yolo.model.float()
    geometry = recipe.geometry_of(name) if recipe.members[name] != "baseline" else {}
    levels, heads = tuple(geometry.get("levels", LEVELS)), geometry.get("heads")
    facts = {
        "recipe": recipe.name,
        "member": name,
        "form": recipe.members[name],
        **({"levels": list(levels)} if levels != LEVELS else {}),
        **({"heads": heads} if heads is not None else {}),
        "trained": recipe.trained if epochs else "nothing",
        "data": recipe.about or recipe.data,
        "imgsz": recipe.imgsz,
        "epochs": epochs,
        "seed": recipe.seed,
        "versions": _versions(),
    }
    write_weights(weights, yolo, facts)
    measured = outcome.measure(weights, data, recipe, job.device)
    card = facts | {"seconds": round(seconds), "machine": platform.machine(), **measured}
    partial = weights.with_suffix(".json.partial")
    partial.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(weights.with_suffix(".json"))
    for last in (place.path / "out" / name).glob("*/weights/last.pt"):
        strip_optimizer(last)  # nothing is left to resume
    if not card["per_class_mAP50"]:
        place.event("warning", message=f"no object is labelled in the split {card['split']}: its mAP says nothing")
    place.event("member", member=name, **{"mAP50": card["mAP50"], "mAP50-95": card["mAP50-95"]})


def _weights(place: RunFolder, recipe: Recipe) -> dict[str, Path]:
    """The members that are done."""
    files = {name: place.weights(name) for name in recipe.members}
    return {name: path for name, path in files.items() if path.is_file() and path.with_suffix(".json").is_file()}


def _status(place: RunFolder, **values: Any) -> None:
    place.write_json("status.json", place.json("status.json") | values | {"time": round(time.time(), 3)})


def _running(place: RunFolder, phase: str) -> None:
    """Say that it runs; how far it has come stays in view."""
    place.event("state", state="running", phase=phase)
    known = place.json("status.json")
    kept = {k: v for k, v in known.items() if k not in ("error", "left_s", "batch", "images_per_s")}
    place.write_json("status.json", kept | {"state": "running", "phase": phase, "time": round(time.time(), 3)})


def _end(place: RunFolder, state: str, **values: Any) -> None:
    """The last word on a run, with the progress that it had made."""
    if not (place.path / "run.yaml").is_file():
        return  # the folder was deleted: nothing is left to say it in
    known = place.json("status.json")
    kept = {k: known[k] for k in known if k not in ("state", "time", "phase", "left_s", "error")}
    try:
        place.event("state", state=state, **values)
        place.write_json("status.json", {"state": state, "time": round(time.time(), 3), **kept, **values})
    except OSError as error:  # a full disk: whoever reads finds no process, and calls the run interrupted
        print(f"the state {state!r} could not be written: {error}", flush=True)


def _close_trackers(error: BaseException, state: str) -> None:
    """After the state is written: a tracker may take its time."""
    trainer = getattr(error, "trainer", None)
    if trainer is not None:
        trainer.close_trackers(state)


def _versions() -> dict[str, str]:
    return {
        "halo_vis": halo_vis.__version__,
        "torch": torch.__version__,
        "ultralytics": ultralytics.__version__,
    }


@contextmanager
def _told_to_stop() -> Iterator[list[psutil.Process]]:
    """SIGTERM and Ctrl-C raise Stopped, once; a second one must not cut the tidying short.

    Yields:
        the processes below this one when it was told: with several GPUs they are in sessions of their own, and lose
        their parent before anybody could ask for them.
    """
    children: list[psutil.Process] = []

    def stop(number: int, frame: object) -> None:
        for which in (signal.SIGTERM, signal.SIGINT):
            signal.signal(which, signal.SIG_IGN)
        children.extend(psutil.Process().children(recursive=True))
        raise Stopped

    try:
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not in the main thread: whoever runs us there has its own way to end
        yield children
        return
    try:
        yield children
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _kill(children: list[psutil.Process]) -> None:
    """End processes that a signal to this one does not reach; psutil knows each from a later one of the same number."""
    for child in children:
        with suppress(psutil.Error):
            child.kill()
