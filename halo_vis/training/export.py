"""What leaves a run as a file: ONNX, a .pt of Ultralytics, and the results as a zip."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
import ultralytics

from halo_vis.fetch import data_folder
from halo_vis.training.outcome import table
from halo_vis.training.run_folder import RunFolder
from halo_vis.training.tracker_kinds import epochs_of
from halo_vis.weights import read_weights

LARGEST_DIFFERENCE = 1e-3  # between an ONNX file and its model, see _difference
_ONE_AT_A_TIME = threading.Lock()  # torch's exporter keeps its state in globals
LARGEST_TEXT = 64 * 1024 * 1024  # bytes of a log that go into a zip: its end


class ExportError(RuntimeError):
    """A file could not be made, or is not what the model is; the message says what to do."""


# ------------------------------------------------------------ models


def onnx(weights: str | Path, out: str | Path, imgsz: int, dynamic: bool = False) -> Path:
    """Write weights as ONNX, by Ultralytics' own exporter, and compare what it gives with the model; returns `out`.

    The output is that of the one-to-many head, (1, 4 + classes, cells), for NMS, as Ultralytics predicts by default.
    The file carries names, stride and image size as Ultralytics writes them, so that ``YOLO("x.onnx")`` takes it. The
    comparison needs onnxruntime, and is left out, with a word, where it is not installed.

    Args:
        weights: .safetensors of HaloVis.
        out: the file to write, ends in .onnx.
        imgsz: side of the square input in pixels, a multiple of 32.
        dynamic: any batch, height and width, instead of 1 x 3 x imgsz x imgsz.

    Raises:
        ValueError: a suffix or an image size that cannot be.
        ExportError: the package onnx is not installed, the export failed, or its output is another.
    """
    out = Path(out)
    if out.suffix != ".onnx":
        raise ValueError(f"ONNX is written as .onnx, got {out.name!r}. Rename it.")
    if imgsz < 32 or imgsz % 32:
        raise ValueError(f"imgsz must be a multiple of 32 pixels, got {imgsz}. Take {max(32, round(imgsz / 32) * 32)}.")
    if importlib.util.find_spec("onnx") is None:
        # Ultralytics would try to install it by itself.
        raise ExportError("the export to ONNX needs the package onnx. Run `pip install onnx onnxruntime`, then again.")
    yolo, _ = read_weights(weights)
    with _ONE_AT_A_TIME, tempfile.TemporaryDirectory() as folder:
        # Ultralytics writes beside the file that the model came from; this is the one that it believes in.
        yolo.model.pt_path = str(Path(folder) / "model.pt")
        try:
            made = yolo.export(format="onnx", imgsz=imgsz, dynamic=dynamic, simplify=False, device="cpu", batch=1)
        except Exception as error:  # whatever torch's exporter raises means the same here
            raise ExportError(f"the export to ONNX failed ({type(error).__name__}: {str(error)[:300]}).") from error
        sizes = [(imgsz, imgsz), (imgsz, imgsz + 32)] if dynamic else [(imgsz, imgsz)]
        if importlib.util.find_spec("onnxruntime") is None:
            print(f"{out.name}: not compared with the model, since onnxruntime is not installed.")
        else:
            difference = max(_difference(yolo.model, made, size) for size in sizes)
            print(f"{out.name}: largest difference from the model {difference:.1e}.")
            if not difference <= LARGEST_DIFFERENCE:
                raise ExportError(
                    f"the ONNX file gives another output than the model: they differ by {difference:.1e}, where "
                    f"{LARGEST_DIFFERENCE:.0e} is allowed. Try other versions of torch and onnx."
                )
        _move(Path(made), out)
    return out


@torch.inference_mode()
def _difference(model: torch.nn.Module, path: str, size: tuple[int, int]) -> float:
    """Largest difference on random input, over all channels of all outputs.

    Of scores it is absolute; of a channel that goes beyond 1, such as a box's in pixels, relative to its largest value.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    picture = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    found = session.run(None, {session.get_inputs()[0].name: picture.numpy()})
    wanted = list(_arrays(model.float().eval()(picture)))
    worst = 0.0
    for one, other in zip(found, wanted, strict=False):
        if one.shape != other.shape:
            raise ExportError(f"the ONNX file gives {one.shape}, the model {other.shape}. Try another version of onnx.")
        rest = tuple(axis for axis in range(other.ndim) if axis != 1)
        scale = np.maximum(np.abs(other).max(rest, keepdims=True), 1)
        worst = max(worst, float((np.abs(one - other) / scale).max()))
    return worst


def _arrays(output: Any) -> Iterator[np.ndarray]:
    """The outputs that an export has, in its order: predictions, and prototypes for segmentation."""
    first = output[0]
    for tensor in first if isinstance(first, tuple) else (first,):
        yield tensor.numpy()


def pt(weights: str | Path, out: str | Path) -> Path:
    """Write weights as a .pt of Ultralytics; returns `out`.

    ``YOLO(out)`` opens it where halo_vis is installed, since a checkpoint names the modules of its layers;
    ``python -m halo_vis yolo`` does too. Values are as in the .safetensors, as fp32. A .pt can run code when it is
    opened: for others, write .safetensors.

    Raises:
        ValueError: `out` does not end in .pt.
    """
    out = Path(out)
    if out.suffix != ".pt":
        raise ValueError(f"weights of Ultralytics are written as .pt, got {out.name!r}. Rename it.")
    yolo, header = read_weights(weights)
    # What Ultralytics reads again: the task, and the size that a prediction takes if nothing is said.
    arguments = {"task": header.architecture.task, "imgsz": header.provenance.get("imgsz") or 640, "data": None}
    yolo.model.args = {**yolo.model.args, **arguments}
    yolo.model.task = header.architecture.task
    for parameter in yolo.model.parameters():
        parameter.requires_grad_(False)
    checkpoint = {
        "epoch": -1,
        "best_fitness": None,
        "model": yolo.model.float(),
        "ema": None,
        "updates": None,
        "optimizer": None,
        "train_args": arguments,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "version": ultralytics.__version__,
        "license": "AGPL-3.0 (https://ultralytics.com/license)",
        "docs": "https://docs.ultralytics.com",
    }
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.pt"
        torch.save(checkpoint, made)
        _move(made, out)
    return out


def _move(made: Path, out: Path) -> None:
    """Put a finished file in its place as a whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        shutil.copyfile(made, partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


# ------------------------------------------------------------ results


def results(run: RunFolder, out: str | Path, weights: bool = False) -> Path:
    """Write what a run has found out as a zip; returns `out`.

    In it: run.yaml, plan.yaml, the training arguments of every stage, the epochs as CSV, the comparison as CSV, JSON
    and Markdown, the members' cards, the log. Nothing tells where on this machine anything lies; nothing outside the
    run folder is read, wherever a link in it may lead.

    Args:
        out: the file to write, ends in .zip.
        weights: the members' .safetensors too.

    Raises:
        ValueError: `out` does not end in .zip.
        FileNotFoundError: there is no such run.
    """
    out = Path(out)
    if out.suffix != ".zip":
        raise ValueError(f"results are written as .zip, got {out.name!r}. Rename it.")
    if not (run.path / "run.yaml").is_file():
        raise FileNotFoundError(f"{run.id} is no run folder: it has no run.yaml. Choose another run.")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "results.zip"
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in _texts(run):
                archive.writestr(f"{run.id}/{name}", without_paths(text, run))
            for path in sorted((run.path / "weights").glob("*.safetensors")) if weights else ():
                with _opened(run, path) as source:
                    if source is not None:
                        archive.writestr(f"{run.id}/weights/{path.name}", source.read())
        _move(made, out)
    return out


def _texts(run: RunFolder) -> Iterator[tuple[str, str]]:
    """Name in the zip, and content, of everything that is text."""
    for name in ("run.yaml", "plan.yaml", "log.txt"):
        if (text := _read(run, run.path / name)) is not None:
            yield name, text
    for path in sorted(run.path.glob("out/*/stage*/args.yaml")):
        member, stage = path.parts[-3:-1]
        if (text := _read(run, path)) is not None:
            yield f"args/{member}-{stage}.yaml", text
    for path in sorted((run.path / "weights").glob("*.json")):
        if (text := _read(run, path)) is not None:
            yield f"cards/{path.name}", text
    if _read(run, run.path / "events.jsonl") is not None:
        yield "epochs.csv", epochs_csv(run)
    comparison = run.json("comparison.json") if _read(run, run.path / "comparison.json") is not None else {}
    if comparison.get("members"):
        yield "comparison.json", json.dumps(comparison, indent=2, ensure_ascii=False) + "\n"
        yield "comparison.csv", comparison_csv(comparison)
        yield "comparison.md", table(comparison) + "\n"


def _read(run: RunFolder, path: Path) -> str | None:
    """The end of a text file of the run, None where it is none."""
    with _opened(run, path) as file:
        if file is None:
            return None
        file.seek(max(0, os.fstat(file.fileno()).st_size - LARGEST_TEXT))
        return file.read(LARGEST_TEXT).decode("utf-8", "replace")


class _opened:
    """A plain file of the run for reading, None where it is a link, lies elsewhere, or is no file."""

    def __init__(self, run: RunFolder, path: Path) -> None:
        self.run, self.path = run, path
        self.file: io.BufferedReader | None = None

    def __enter__(self) -> io.BufferedReader | None:
        try:
            # The folders on the way first: a link among them would lead out of the run.
            if self.path.parent.resolve() != self.path.parent or not self.path.is_relative_to(self.run.path):
                return None
            number = os.open(self.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            self.file = os.fdopen(number, "rb")
            return self.file if stat.S_ISREG(os.fstat(number).st_mode) else None
        except OSError:
            return None

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()


def epochs_csv(run: RunFolder) -> str:
    """Every member's epochs as a table; of an epoch that was trained twice, the later counts."""
    members = dict.fromkeys(e["member"] for e in run.events() if e.get("kind") == "epoch" and "member" in e)
    rows = []
    for member in members:
        for number, event in epochs_of(run, member).items():
            row = {"member": member, "stage": event.get("stage"), "epoch": number}
            row |= {name: event.get(name) for name in ("seconds", "images_per_s", "lr")}
            row |= {f"train_{name}": value for name, value in (event.get("losses") or {}).items()}
            row |= {f"val_{name}": value for name, value in (event.get("val_losses") or {}).items()}
            row |= {name: event.get(name) for name in ("precision", "recall", "mAP50", "mAP50-95")}
            rows.append(row)
    return _csv(rows)


def comparison_csv(comparison: Mapping[str, Any]) -> str:
    """A comparison as a table: a row per member, a column per class and metric."""
    rows = []
    for m in comparison["members"]:
        row = {key: value for key, value in m.items() if key != "per_class"}
        for name, values in m.get("per_class", {}).items():
            row |= {f"{metric} {name}": value for metric, value in values.items()}
        rows.append(row | {key: comparison.get(key) for key in ("split", "pictures", "imgsz", "device")})
    return _csv(rows)


def _csv(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV, with the columns of all of them."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_safe(column) for column in columns])
    writer.writerows([_safe(row.get(column)) for column in columns] for row in rows)
    return out.getvalue()


def _safe(value: object) -> object:
    """A class may be called =SUM(A1): no spreadsheet is to compute it."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PATH = re.compile(
    r"https?://\S+"  # stays: matched first, so that its path is not taken for one of this machine
    r"|(?<![\w.~-])(?:/[^\s/'\"<>|:,;()\[\]{}]+){2,}/?"
    r"|\b[A-Za-z]:\\(?:[^\s\\/'\"<>|]+\\)*[^\s\\/'\"<>|]*"
)


def without_paths(text: str, run: RunFolder) -> str:
    """Text in which nothing tells where on this machine anything lies: of a path its last part stays."""
    known = {str(run.path): "RUN", str(run.path.parent): "RUNS", str(data_folder()): "DATA", str(Path.home()): "~"}
    known |= {sys.prefix: "PYTHON", tempfile.gettempdir(): "TMP"}
    known |= {str(Path(path).resolve()): words for path, words in known.items()}
    text = _COLOURS.sub("", text)
    for path in sorted(known, key=len, reverse=True):
        if len(path) > 1:
            text = re.sub(re.escape(path) + r"(?![\w-])", known[path], text)
    return _PATH.sub(_last_part, text)


def _last_part(found: re.Match) -> str:
    path = found.group()
    return path if path.startswith("http") else "…/" + re.split(r"[\\/]", path.rstrip("\\/"))[-1]
