"""Train a run folder: each member through all stages, then measure; and go on where an earlier process ended.

See :mod:`halo_vis.training.run_folder` for what lies in the folder.
"""

from __future__ import annotations

import errno
import json
import platform
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import ultralytics
from ultralytics import YOLO
from ultralytics.utils import YAML
from ultralytics.utils.torch_utils import strip_optimizer

import halo_vis
from halo_vis.attention import HaloAttention
from halo_vis.training import outcome
from halo_vis.training.data import prepare
from halo_vis.training.graft import graft
from halo_vis.training.probe import write_probe
from halo_vis.training.recipe import Recipe
from halo_vis.training.reporter import OutOfTime
from halo_vis.training.run_folder import RunFolder
from halo_vis.training.trainer import HaloTrainer, Session, Stopped
from halo_vis.transplant import Architecture, build
from halo_vis.weights import read_weights, write_weights

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


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
        Whatever ended the training; the folder's state is then "failed" and says why.
    """
    recipe = read_run(folder)
    unknown = set(members or ()) - set(recipe.members)
    if unknown:
        raise ValueError(f"run {folder.name} has no member {sorted(unknown)}; it has {sorted(recipe.members)}.")
    place = RunFolder(folder)
    with place.held():
        if place.json("status.json").get("state") not in ("running", "stopping"):
            place.stop_file.unlink(missing_ok=True)  # of an earlier stop; whoever launches us says "running" first
        previous = place.json("status.json").get("elapsed_s")
        elapsed = float(previous) if isinstance(previous, (int, float)) else 0.0
        place.set_state("running", phase="loading", elapsed_s=elapsed)
        place.event("session", versions=_versions(), device=device or recipe.device, host=platform.node())
        try:
            with _told_to_stop():
                return _train(recipe, place, list(members or recipe.members), device, threads, elapsed)
        except Stopped:
            _kill_children()
            _end(place, "stopped")
            return _weights(place, recipe)
        except BaseException as error:
            traceback.print_exc()
            _end(place, "failed", error=explain(error, recipe))
            raise


def _train(
    recipe: Recipe, place: RunFolder, members: list[str], device: str, threads: int, elapsed: float
) -> dict[str, Path]:
    place.set_state("running", phase="data", elapsed_s=elapsed)
    data = prepare(recipe, place.path / "data")
    if recipe.probe is not None:
        write_probe(place, data, recipe.imgsz, recipe.probe)
    for number, name in enumerate(members):
        elapsed = train_member(recipe, name, place, data, device, threads, members, number, elapsed)
        if elapsed is None:
            _end(place, "stopped")
            return _weights(place, recipe)
    found = _weights(place, recipe)
    if set(found) == set(recipe.members):
        if recipe.probe is not None:  # a run of the page: what it shows in the end
            _status(place, phase="measuring")
            if not place.json("comparison.json"):
                outcome.write_comparison(place, recipe, data, device or recipe.device)
            outcome.make_pair(place, recipe)
        _end(place, "finished")
    else:
        _end(place, "stopped")
    return found


def train_member(
    recipe: Recipe,
    name: str,
    place: RunFolder,
    data: Path,
    device: str,
    threads: int,
    members: list[str],
    number: int,
    elapsed: float,
) -> float | None:
    """Train one member through all stages, write its weights, measure what was written, write its card.

    Returns:
        The seconds of training so far, or None where the run was asked to stop.
    """
    weights = place.weights(name)
    if weights.is_file() and weights.with_suffix(".json").is_file():
        return elapsed
    before, total, seconds = 0, recipe.epochs(), 0.0
    yolo: YOLO | None = None
    untouched = recipe.trained == "halo" and recipe.members[name] == "baseline"
    for stage, arguments in enumerate(() if untouched else recipe.stages):
        epochs = {**recipe.common, **arguments}["epochs"]
        out = place.path / "out" / name / f"stage{stage}"
        done, last = out / "done.json", out / "weights" / "last.pt"
        if not done.is_file():
            session = Session(
                str(place.path), name, tuple(members), number, stage, len(recipe.stages), before, total, elapsed,
                threads or recipe.threads, recipe.longest_s,
                {**recipe.common, **arguments}.get("running_statistics", False), recipe.probe is not None,
                recipe.trackers,
            )  # fmt: skip
            start = time.monotonic()
            if yolo is None:
                yolo = initial(recipe, name, place, data)
            whole = _train_stage(recipe, session, yolo, data, out, device or recipe.device, arguments)
            elapsed += time.monotonic() - start
            if not whole:
                return None
            done.write_text(json.dumps({"seconds": _seconds(place, name, stage)}))
            place.event("stage", member=name, stage=stage)
        seconds += json.loads(done.read_text())["seconds"]
        before += epochs
        best = out / "weights" / "best.pt"
        # Without validation there is nothing to pick by.
        yolo = YOLO(best if recipe.validate and best.is_file() else last)
    if yolo is None:
        yolo = initial(recipe, name, place, data)
    _write_member(recipe, name, place, data, yolo, 0 if untouched else before, seconds, device)
    return elapsed


def _seconds(place: RunFolder, member: str, stage: int) -> float:
    """Seconds of a stage's epochs, over all sessions; of an epoch that was done twice the later one counts."""
    lines = [e for e in place.events() if (e.get("kind"), e.get("member"), e.get("stage")) == ("epoch", member, stage)]
    return round(sum({e["epoch"]: e["seconds"] for e in lines}.values()), 1)


def _train_stage(
    recipe: Recipe, session: Session, yolo: YOLO, data: Path, out: Path, device: str, stage: dict[str, Any]
) -> bool:
    """Train a stage, from its last checkpoint if there is one; returns whether all of its epochs are done."""
    last = out / "weights" / "last.pt"
    reached = _epochs_of(last)
    arguments = {
        "data": str(data),
        "imgsz": recipe.imgsz,
        "seed": recipe.seed,
        "project": str(out.parent),
        "name": out.name,
        "exist_ok": True,
        "workers": 0,
        "amp": _precision(recipe, device),
        "val": recipe.validate,
        "plots": False,
        "cache": True,
        "verbose": False,
        "device": device,
        **recipe.common,
        **stage,
    }
    arguments.pop("running_statistics", None)
    if frozen := _frozen(recipe, yolo.model):
        arguments["freeze"] = frozen
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
    try:
        trainer.train()
    except BaseException as error:
        trainer.close_trackers("stopped" if isinstance(error, Stopped) else "failed")
        raise
    return not trainer.cut_short.exists()


def initial(recipe: Recipe, name: str, place: RunFolder, data: Path) -> YOLO:
    """The model that a member's training begins with: seeded, or grown from the weights in start/."""
    torch.manual_seed(recipe.seed)
    classes = YAML.load(data)["names"]
    classes = dict(enumerate(classes)) if isinstance(classes, list) else {int(k): str(v) for k, v in classes.items()}
    architecture = Architecture(
        recipe.scale, form=recipe.members[name], nc=len(classes), mask=recipe.mask, **recipe.geometry
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


def _write_member(
    recipe: Recipe, name: str, place: RunFolder, data: Path, yolo: YOLO, epochs: int, seconds: float, device: str
) -> None:
    """Weights, then their card: a member is done when both are there."""
    _status(place, phase="measuring", member=name, members=list(recipe.members))
    weights = place.weights(name)
    weights.parent.mkdir(exist_ok=True)
    yolo.model.float()
    facts = {
        "recipe": recipe.name,
        "member": name,
        "form": recipe.members[name],
        "trained": "nothing" if not epochs else recipe.trained,
        "data": recipe.about or recipe.data,
        "imgsz": recipe.imgsz,
        "epochs": epochs,
        "seed": recipe.seed,
        "versions": _versions(),
    }
    write_weights(weights, yolo, facts)
    card = facts | {
        "seconds": round(seconds),
        "machine": platform.machine(),
        **outcome.measure(weights, data, recipe, device or recipe.device),
    }
    partial = weights.with_suffix(".json.partial")
    partial.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(weights.with_suffix(".json"))
    for last in (place.path / "out" / name).glob("*/weights/last.pt"):
        strip_optimizer(last)  # nothing is left to resume
    place.event("member", member=name, **{"mAP50": card["mAP50"], "mAP50-95": card["mAP50-95"]})


def _weights(place: RunFolder, recipe: Recipe) -> dict[str, Path]:
    """The members that are done."""
    files = {name: place.weights(name) for name in recipe.members}
    return {name: path for name, path in files.items() if path.is_file() and path.with_suffix(".json").is_file()}


def _status(place: RunFolder, **values: Any) -> None:
    place.write_json("status.json", place.json("status.json") | values | {"time": round(time.time(), 3)})


def _end(place: RunFolder, state: str, **values: Any) -> None:
    """The last word on a run, with the progress that it had made."""
    known = place.json("status.json")
    kept = {k: known[k] for k in known if k not in ("state", "time", "phase", "left_s", "error")}
    try:
        place.set_state(state, **values)
        place.write_json("status.json", {"state": state, "time": round(time.time(), 3), **kept, **values})
    except OSError as error:  # a full disk: whoever reads finds no process, and calls the run interrupted
        print(f"the state {state!r} could not be written: {error}", flush=True)


def explain(error: BaseException, recipe: Recipe) -> dict[str, Any]:
    """What ended a run, for people: kind, message, what to do next."""
    message = " ".join(str(error).split())[:600] or type(error).__name__
    batch = {**recipe.common, **recipe.stages[-1]}.get("batch", 16)
    if isinstance(error, MemoryError) or any(words in message.lower() for words in OUT_OF_MEMORY):
        smaller = max(1, int(batch) // 2)
        step = (
            f"Try again with batch {smaller}, or a smaller image size." if batch > 1 else "Take a smaller image size."
        )
        found = {
            "kind": "memory",
            "message": f"There was not enough memory for batch {batch} at {recipe.imgsz} pixels.",
        }
        return found | {"next": step} | ({"batch": smaller} if batch > 1 else {})
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return {
            "kind": "disk",
            "message": "The disk is full.",
            "next": "Make room, then resume: nothing whole is lost.",
        }
    if isinstance(error, OutOfTime):
        return {"kind": "time", "message": f"It ended because {message}.", "next": "Allow more time, then resume."}
    if isinstance(error, (FileNotFoundError, ValueError)) or "Dataset" in message:
        return {"kind": "data", "message": message, "next": "Change that, then start again."}
    return {"kind": "other", "message": f"{type(error).__name__}: {message}", "next": "The log has the details."}


def _versions() -> dict[str, str]:
    return {
        "halo_vis": halo_vis.__version__,
        "torch": torch.__version__,
        "ultralytics": ultralytics.__version__,
    }


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """SIGTERM and Ctrl-C raise Stopped, once; a second one must not cut the tidying short."""

    def stop(number: int, frame: object) -> None:
        for which in (signal.SIGTERM, signal.SIGINT):
            signal.signal(which, signal.SIG_IGN)
        raise Stopped

    try:
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not in the main thread: whoever runs us there has its own way to end
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _kill_children() -> None:
    """End the processes of several GPUs, which a signal to this one does not reach."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
