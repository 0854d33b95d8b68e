"""What a run has come to: metrics on held-out pictures, the members side by side, and the pair that the page offers."""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.utils import YAML
from ultralytics.utils.torch_utils import select_device

from halo_vis.training.recipe import Recipe
from halo_vis.training.run_folder import RunFolder
from halo_vis.transplant import without_halo
from halo_vis.weights import Header, read_header, read_weights, write_weights

WARM_UP = 5  # forwards of each model before the first that counts
ROUNDS, LONGEST_S, LEAST_ROUNDS = 60, 20.0, 5  # of the timing
# Why a pair's baseline is what it is, by the "kind" of its pair.json.
NOTES = {
    "trained": "",
    "start": "Only the halo model was trained; the baseline is the one that it started from.",
    "without-halo": "Only the halo model was trained; the baseline is the same weights with the halo layers taken out.",
    "untrained": "Only the baseline was trained; the halo layers are transplanted and untrained: detections equal the "
    "baseline's, attention is feature similarity.",
}
WITHOUT_HALO = "weights/without-halo.safetensors"


# ------------------------------------------------------------ metrics


def measure(weights: Path, data: Path, recipe: Recipe, device: str = "") -> dict[str, Any]:
    """What a card says of a weights file, measured as it will be loaded, on pictures that it was not trained on.

    Args:
        data: the data YAML; see `split_of` for which pictures are taken.
        recipe: gives image size and device, and says whether those pictures are held out or memorised.
        device: as Ultralytics takes it; "": the recipe's.
    """
    yolo, _ = read_weights(weights)
    parameters = sum(p.numel() for p in yolo.model.parameters())
    found = metrics(yolo, data, split_of(data), recipe.imgsz, device=device or recipe.device)
    return {"held_out": recipe.held_out, **found, "parameters": parameters}


def metrics(yolo: YOLO, data: Path, split: str, imgsz: int, batch: int = 1, device: str = "") -> dict[str, Any]:
    """Detection metrics on a split: split, pictures, mAP50, mAP50-95, and per_class_mAP50 and per_class_mAP50-95.

    A class without an object in these pictures is not listed. Pictures come in their own rectangle; with a batch of 1
    none is padded to another's.
    """
    seen: list[int] = []
    yolo.add_callback("on_val_end", lambda validator: seen.append(int(validator.seen)))
    with tempfile.TemporaryDirectory() as folder:  # Ultralytics makes a folder for results, wanted or not
        result = yolo.val(
            data=str(data), split=split, imgsz=imgsz, batch=batch, device=_one(device), rect=True, workers=0,
            plots=False, verbose=False, project=folder, name="val", exist_ok=True,
        )  # fmt: skip
    box = result.box
    names = [yolo.names[int(c)] for c in box.ap_class_index]
    return {
        "split": split,
        "pictures": seen[-1],
        "mAP50": round(float(box.map50), 4),
        "mAP50-95": round(float(box.map), 4),
        "per_class_mAP50": {name: round(float(v), 4) for name, v in zip(names, box.ap50, strict=True)},
        "per_class_mAP50-95": {name: round(float(v), 4) for name, v in zip(names, box.ap, strict=True)},
    }


def split_of(data: Path) -> str:
    """The split that is measured on: "test" where the data has one with pictures, else "val"."""
    values = YAML.load(data)
    folder = Path(values.get("path") or data.parent)
    folder = folder if folder.is_absolute() else data.parent / folder
    test = values.get("test")
    found = [test] if isinstance(test, str) else test or []
    return "test" if any(part and _holds_something(folder / str(part)) for part in found) else "val"


def _holds_something(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _one(device: str) -> str | None:
    """One device of several: metrics and times are taken on the first."""
    return device.split(",")[0] or None


# ------------------------------------------------------------ latency


def latencies(models: Mapping[str, nn.Module], imgsz: int, device: str = "") -> dict[str, float]:
    """Median milliseconds of a forward for one picture, by the models' names.

    The models are copied and fused, as predict does. Forwards are interleaved (A B A B), so that a machine that slows
    down slows all of them; each round begins with another model.

    Args:
        imgsz: side of the square input, pixels.
        device: as Ultralytics takes it; the first of several.
    """
    where = select_device(_one(device) or "", verbose=False)
    fused = {k: copy.deepcopy(m).float().to(where).eval().fuse(verbose=False) for k, m in models.items()}
    picture = torch.rand(1, 3, imgsz, imgsz, generator=torch.Generator().manual_seed(0)).to(where)
    took: dict[str, list[float]] = {name: [] for name in fused}
    names, end = list(fused), time.monotonic() + LONGEST_S
    with torch.inference_mode():
        for count in range(-WARM_UP, ROUNDS):
            first = count % len(names)
            for name in names[first:] + names[:first]:
                _synchronise(where)
                start = time.perf_counter()
                fused[name](picture)
                _synchronise(where)
                if count >= 0:
                    took[name].append(1000 * (time.perf_counter() - start))
            if count + 1 >= LEAST_ROUNDS and time.monotonic() > end:
                break
    return {name: round(statistics.median(times), 2) for name, times in took.items()}


def _synchronise(device: torch.device) -> None:
    """Wait for what was asked of a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


# ------------------------------------------------------------ side by side


def compare(
    members: Mapping[str, Path],
    data: Path,
    split: str = "",
    imgsz: int = 640,
    device: str = "",
    batch: int = 1,
    measured: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The members side by side, as comparison.json holds them.

    Args:
        members: name -> weights file; a card beside it (same name, .json) tells epochs and what was trained.
        data: the data YAML.
        split: of the data; "": see `split_of`.
        measured: name -> what `measure` gave for it on the same data; taken where split and image size agree.

    Returns:
        {"members": [{"name", "form", "mAP50", "mAP50-95", "per_class": {class: {"mAP50", "mAP50-95"}}, "parameters",
        "latency_ms", "epochs", "trained"}], "split", "pictures", "imgsz" (pixels), "device"}.

    Raises:
        ValueError: there is no member.
    """
    if not members:
        raise ValueError("there is nothing to compare: no member has weights. Let the run finish.")
    split = split or split_of(data)
    rows, models, pictures = [], {}, 0
    for name, path in members.items():
        yolo, header = read_weights(path)
        models[name] = yolo.model
        found = (measured or {}).get(name, {})
        card = _card(path, header)
        if found.get("split") != split or card.get("imgsz", imgsz) != imgsz or "pictures" not in found:
            # On a copy: what is timed has to be the model as it is loaded.
            twin = read_weights(path)[0]
            found = metrics(twin, data, split, imgsz, batch, device)
        fifty, mean = found["per_class_mAP50"], found["per_class_mAP50-95"]
        pictures = found["pictures"]
        rows.append(
            {
                "name": name,
                "form": header.architecture.form,
                "mAP50": found["mAP50"],
                "mAP50-95": found["mAP50-95"],
                "per_class": {c: {"mAP50": fifty[c], "mAP50-95": mean[c]} for c in fifty},
                "parameters": sum(p.numel() for p in yolo.model.parameters()),
                "latency_ms": None,
                "epochs": card.get("epochs"),
                "trained": card.get("trained"),
            }
        )
    for row, latency in zip(rows, latencies(models, imgsz, device).values(), strict=True):
        row["latency_ms"] = latency
    device_name = str(select_device(_one(device) or "", verbose=False))
    return {"members": rows, "split": split, "pictures": pictures, "imgsz": imgsz, "device": device_name}


def write_comparison(run: RunFolder, recipe: Recipe, data: Path, device: str = "") -> dict[str, Any]:
    """Compare the members of a run that are done, and write its comparison.json; returns it."""
    files = {name: run.weights(name) for name in recipe.members if run.weights(name).is_file()}
    cards = {name: run.json(f"weights/{name}.json") for name in files}
    found = compare(files, data, "", recipe.imgsz, device or recipe.device, measured=cards)
    run.write_json("comparison.json", found)
    return found


def joined(comparisons: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Several runs' comparisons as one, with the members' names behind their run's.

    What the runs do not have in common (split, pictures, imgsz, device) becomes a text that lists all of it.
    """
    rows = [{**row, "name": f"{run}: {row['name']}"} for run, one in comparisons.items() for row in one["members"]]
    shared = {}
    for key in ("split", "pictures", "imgsz", "device"):
        values = list(dict.fromkeys(one.get(key) for one in comparisons.values()))
        shared[key] = values[0] if len(values) == 1 else ", ".join(map(str, values))
    return {"members": rows, **shared}


def table(comparison: Mapping[str, Any]) -> str:
    """A comparison as Markdown: a row per member, then a row per class."""
    members = comparison["members"]
    head = ["member", "form", "trained", "epochs", "mAP50", "mAP50-95", "parameters", "latency"]
    rows = [
        [
            m["name"],
            m["form"],
            _or_dash(m["trained"]),
            _or_dash(m["epochs"]),
            f"{m['mAP50']:.3f}",
            f"{m['mAP50-95']:.3f}",
            f"{m['parameters'] / 1e6:.2f} M",
            "–" if m["latency_ms"] is None else f"{m['latency_ms']:.1f} ms",
        ]
        for m in members
    ]
    classes = list(dict.fromkeys(c for m in members for c in m["per_class"]))
    per_class = [
        [c, *(f"{v['mAP50']:.3f} / {v['mAP50-95']:.3f}" if (v := m["per_class"].get(c)) else "–" for m in members)]
        for c in classes
    ]
    where = (
        f"Split {comparison['split']}, {comparison['pictures']} pictures, {comparison['imgsz']} pixels; "
        f"median of a forward for one picture on {comparison['device']}."
    )
    parts = [markdown(head, rows)]
    if per_class:
        parts.append(markdown(["mAP50 / mAP50-95", *(m["name"] for m in members)], per_class))
    return "\n\n".join([*parts, where])


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; a cell cannot break out of it."""
    line = lambda cells: f"| {' | '.join(_cell(c) for c in cells)} |"  # noqa: E731 - used for head and rows
    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|")


def _or_dash(value: object) -> object:
    return "–" if value is None else value


def compare_command(args: argparse.Namespace) -> int:
    """``python -m halo_vis compare RUN_FOLDER [RUN_FOLDER ...]``: print the comparison of finished runs.

    Args:
        args: ``folders``, a list of paths.

    Raises:
        ValueError: a folder has no comparison.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in args.folders:
        run = RunFolder(path)
        comparison = run.json("comparison.json")
        if not comparison.get("members"):
            raise ValueError(
                f"{path} has no comparison ({run.state()}): it is written once all members are trained. "
                f"Run python -m halo_vis train {path}."
            )
        name = title_of(run)
        found[name if name not in found else f"{name} ({run.id})"] = comparison
    print(table(next(iter(found.values())) if len(found) == 1 else joined(found)))
    return 0


# ------------------------------------------------------------ the pair


def make_pair(run: RunFolder, recipe: Recipe) -> dict[str, Any]:
    """Write pair.json, by which the page and ``load_pair("run:ID")`` find what the run has trained; returns it.

    Where the recipe has no baseline of its own, the one that the halo model started from takes its place, if it knows
    the same classes; else the halo model's own weights without its halo layers.

    Raises:
        ValueError: no member has weights.
    """
    there = [name for name in recipe.members if run.weights(name).is_file()]
    halos = [name for name in there if recipe.members[name] != "baseline"]
    stock = next((name for name in there if recipe.members[name] == "baseline"), None)
    if not there:
        raise ValueError(f"run {run.id} has no weights: there is no pair to make of it. Let it finish.")
    main = "halo" if "halo" in halos else halos[0] if halos else None
    cards: dict[str, dict[str, Any]] = {}
    if stock is not None:
        kind, baseline = ("trained" if halos else "untrained"), f"weights/{stock}.safetensors"
    else:
        kind, baseline = _stand_in(run, main)
    cards["baseline"] = _card(run.path / baseline) | {"file": baseline}
    for name in halos:
        cards[name] = _card(run.weights(name)) | {"file": f"weights/{name}.safetensors"}
    if not halos:
        cards["halo"] = {"origin": "transplanted, untrained"}
    pair = {
        "title": title_of(run),
        "imgsz": recipe.imgsz,
        "kind": kind,
        "note": NOTES[kind],
        "baseline": baseline,
        "members": cards,
    }
    if main is not None:
        pair["halo"] = f"weights/{main}.safetensors"
    run.write_json("pair.json", pair)
    return pair


def _stand_in(run: RunFolder, halo: str) -> tuple[str, str]:
    """Kind and file of a baseline for a halo model that was trained without one."""
    names = read_header(run.weights(halo)).names
    for start in (run.start("baseline"), run.start(halo)):  # a halo model may have begun as a transplanted baseline
        if start.is_file():
            header = read_header(start)
            if header.names == names and header.architecture.form == "baseline":
                return "start", f"start/{start.name}"
    yolo, header = read_weights(run.weights(halo))
    facts = header.provenance | {"member": "baseline", "form": "baseline", "origin": NOTES["without-halo"]}
    write_weights(run.path / WITHOUT_HALO, without_halo(yolo), facts)
    return "without-halo", WITHOUT_HALO


def title_of(run: RunFolder) -> str:
    """What people call a run; its folder's name where nobody has named it."""
    title = run.json("about.json").get("title")
    return title.strip() if isinstance(title, str) and title.strip() else run.id


def _card(weights: Path, header: Header | None = None) -> dict[str, Any]:
    """The card beside weights; else what they say of themselves."""
    try:
        card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        card = None
    return card if isinstance(card, dict) else dict((header or read_header(weights)).provenance)
