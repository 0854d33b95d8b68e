"""Run a training folder: ``run.yaml`` says what to train; weights and their cards come out beside it.

RUN/run.yaml                 the recipe, as it was asked for
RUN/data/                    generated or gathered data
RUN/out/<member>/<stage>/    Ultralytics' own folders
RUN/weights/<member>.safetensors and <member>.json
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import torch
import ultralytics
from torch import nn
from ultralytics import YOLO
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import YAML

import halo_vis
from halo_vis.training.data import prepare
from halo_vis.training.recipe import Recipe
from halo_vis.transplant import Architecture, build
from halo_vis.weights import read_weights, write_weights


def write_run(recipe: Recipe, folder: Path) -> Path:
    """Write the run folder; returns it. Refuses a folder that holds another recipe's run."""
    path = folder / "run.yaml"
    if path.exists() and YAML.load(path) != recipe.as_dict():
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
    """Train the members of a run folder, one after the other; returns their weights files.

    Args:
        folder: a run folder, see :func:`write_run`.
        members: some of the recipe's members; None: all.
        device: as Ultralytics takes it; "" is the first GPU, or the CPU.
        threads: CPU threads; 0: Ultralytics' choice, one fewer than there are cores.
    """
    folder = folder.resolve()  # Ultralytics puts a relative project below its own runs folder
    recipe = read_run(folder)
    unknown = set(members or ()) - set(recipe.members)
    if unknown:
        raise ValueError(f"run {folder.name} has no member {sorted(unknown)}; it has {sorted(recipe.members)}.")
    data = prepare(recipe, folder / "data")
    return {name: train_member(recipe, name, folder, data, device, threads) for name in members or recipe.members}


def train_member(recipe: Recipe, name: str, folder: Path, data: Path, device: str, threads: int) -> Path:
    """Train one member through all stages, write its weights, measure what was written, write its card."""
    torch.manual_seed(recipe.seed)
    classes = YAML.load(data)["names"]
    classes = dict(enumerate(classes)) if isinstance(classes, list) else classes
    yolo = build(Architecture(recipe.scale, form=recipe.members[name], nc=len(classes), mask=recipe.mask), classes)
    yolo.ckpt = {"model": yolo.model}  # or YOLO.train() would build another model than the one seeded here
    epochs, seconds = 0, 0.0
    for number, stage in enumerate(recipe.stages):
        epochs += stage["epochs"]
        out = folder / "out" / name / f"stage{number}"
        done, last = (
            out / "done.json",
            out / "weights" / "last.pt",
        )  # the last weights: there is no validation to pick by
        if done.is_file():  # a run that was interrupted goes on with the stage that it had begun
            yolo, seconds = YOLO(last), seconds + json.loads(done.read_text())["seconds"]
            continue
        start = time.time()
        arguments = {
            "data": str(data),
            "imgsz": recipe.imgsz,
            "seed": recipe.seed,
            "project": str(folder / "out" / name),
            "name": f"stage{number}",
            "exist_ok": True,
            "workers": 0,
            "amp": False,
            "val": False,
            "plots": False,
            "cache": True,
            "verbose": False,
            "device": device,
            **recipe.common,
            **stage,
        }
        if arguments.pop("running_statistics", False):
            yolo.add_callback("on_train_batch_start", freeze_statistics)
        if threads:
            # Ultralytics resets torch's threads when it picks a device, so they are set once training starts.
            yolo.add_callback("on_train_start", lambda trainer: torch.set_num_threads(threads))
        yolo.train(**arguments)
        done.write_text(json.dumps({"seconds": round(time.time() - start, 1)}))
        seconds += time.time() - start
        yolo = YOLO(last)
    weights = folder / "weights" / f"{name}.safetensors"
    weights.parent.mkdir(exist_ok=True)
    yolo.model.float()
    facts = {
        "recipe": recipe.name,
        "member": name,
        "data": recipe.about or recipe.data,
        "imgsz": recipe.imgsz,
        "epochs": epochs,
        "seed": recipe.seed,
        "versions": {
            "halo_vis": halo_vis.__version__,
            "torch": torch.__version__,
            "ultralytics": ultralytics.__version__,
        },
    }
    write_weights(weights, yolo, facts)
    card = facts | {"seconds": round(seconds), "machine": platform.machine(), **measure(weights, data, recipe)}
    weights.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return weights


def freeze_statistics(trainer: BaseTrainer) -> None:
    """Batch norms in evaluation mode; before every batch, since Ultralytics sets the whole model to training."""
    for module in trainer.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def measure(weights: Path, data: Path, recipe: Recipe) -> dict:
    """Metrics of a weights file as it will be loaded, on the test split (or the training pictures, if memorised)."""
    yolo, _ = read_weights(weights)
    result = yolo.val(
        data=str(data), split="test", imgsz=recipe.imgsz, batch=1, workers=0, plots=False, verbose=False, rect=True
    )
    return {
        "held_out": recipe.held_out,
        "mAP50": round(float(result.box.map50), 4),
        "mAP50-95": round(float(result.box.map), 4),
        "per_class_mAP50": {
            yolo.names[int(c)]: round(float(v), 4)
            for c, v in zip(result.box.ap_class_index, result.box.ap50, strict=True)
        },
        "parameters": sum(p.numel() for p in yolo.model.parameters()),
    }
