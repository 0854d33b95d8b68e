"""What a page is shown of a run, as plain values for JSON. Whatever lies in the folder, nothing here raises.

Every file is read again only when it has changed: many visitors may ask every second.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from halo_vis.training.run_folder import AT_WORK, RESUMABLE, RunFolder

T = TypeVar("T")
LONGEST_YAML = 100_000  # bytes; a plan has about 1,500
MOST_BRACKETS = 500  # the time to read YAML grows with the square of how deep they lie: 50,000 take minutes
LONGEST_TEXT = 4_000  # characters of a message that is shown
MOST_WARNINGS = 10
NUMBERS = (
    "time", "stage", "stages", "epoch", "epochs", "batch", "batches", "images_per_s", "memory_gb", "done", "elapsed_s",
    "left_s",
)  # fmt: skip
TEXTS = ("member", "phase", "device")
MEASURES = ("mAP50", "mAP50-95", "lr", "images_per_s", "seconds")  # of an epoch


@dataclass
class FileCache:
    """What was read from a file, until the file changes: another size, time or inode. Safe from several threads."""

    most: int = 4096
    _kept: OrderedDict[tuple[Path, Callable], tuple[Any, Any]] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def get(self, path: Path, read: Callable[[Path], T]) -> T:
        """`read(path)`, from memory where the file is as it was. The value is shared: do not write into it."""
        stamp = _stamp(path)  # before reading: a change in between is read again next time
        with self._lock:
            kept = self._kept.get((path, read))
            if kept is not None and kept[0] == stamp:
                self._kept.move_to_end((path, read))
                return kept[1]
        value = read(path)
        with self._lock:
            self._kept[path, read] = (stamp, value)
            self._kept.move_to_end((path, read))
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        return value


@dataclass(frozen=True)
class Look:
    """What is true of a run now.

    Attributes:
        state: one of run_folder.STATES.
        at_work: whether a process works on it, or waits for its turn in a cluster; None: nobody can tell now.
        warnings: what a person should know about that.
    """

    state: str
    at_work: bool | None
    warnings: tuple[str, ...] = ()


def snapshot(
    run: RunFolder, look: Look, files: FileCache, *, queue: int | None = None, log: str = "", load: dict | None = None
) -> dict[str, Any]:
    """Everything a page shows of a run.

    Args:
        run: its folder.
        look: what is true of it.
        files: what was read before.
        queue: its place in the queue, 1 is the next.
        log: the end of its log.
        load: {"cpu", "memory", "gpu"} in percent of the machine that trains; None where that is another one.
    """
    about = run_json(run, "about.json", files)
    status = read_json(run.path / "status.json")  # small, and replaced twice a second
    members = members_of(run, files)
    events = files.get(run.path / "events.jsonl", _events)
    progress = _progress(status)
    attention = [files.get(run.attention(name), _frames) for name in members]
    comparison = run_json(run, "comparison.json", files)
    made = _number(about.get("made"))
    return {
        "id": run.id,
        "title": _text(about.get("title")),
        "note": _text(about.get("note")),
        "state": look.state,
        "queue": queue,
        "made": made if made is not None else _made(run),
        "plan": files.get(run.path / "plan.yaml", read_yaml),
        "members": [_member(run, name, form, look.state, progress, events, files) for name, form in members.items()],
        "progress": progress,
        "error": _error(run, look.state, status),
        "log": log,
        "load": load or {"cpu": None, "memory": None, "gpu": None},
        "attention": {
            "members": {name: frames for name, (frames, _) in zip(members, attention, strict=True) if frames},
            "version": sum(size for _, size in attention),
        },
        "comparison": comparison or None,
        "warnings": [*look.warnings, *_warnings(events)],
        "actions": actions(run, look, files),
    }


def actions(run: RunFolder, look: Look, files: FileCache) -> list[str]:
    """What can be done with a run now; "resume" starts a new run too."""
    state, found = look.state, []
    whole = (run.path / "run.yaml").is_file()
    weights = any(_there(run.weights(name)) for name in members_of(run, files))
    if state in ("queued", "running"):
        found.append("stop")
    if state in AT_WORK:
        found += ["stop_now", "kill"]
    if whole and state in ("new", *RESUMABLE):
        found.append("resume")
    if (run.path / "plan.yaml").is_file() and state in (*RESUMABLE, "finished"):
        found.append("retry")
    if state not in (*AT_WORK, "queued"):
        found.append("delete")
    if (run.path / "pair.json").is_file() or (state == "finished" and weights):
        found.append("open")
    if weights or (state in (*RESUMABLE, "finished") and (run.path / "out").is_dir()):
        found.append("download")
    return found


def members_of(run: RunFolder, files: FileCache) -> dict[str, str]:
    """Member -> form of its architecture, as the recipe says."""
    members = files.get(run.path / "run.yaml", read_yaml).get("members")
    if not isinstance(members, dict):
        return {}
    return {name: _text(form) for name, form in members.items() if isinstance(name, str) and plain_name(name)}


def epochs_of(run: RunFolder, files: FileCache) -> int | None:
    """Epochs of a member, over all stages, as the recipe says."""
    recipe = files.get(run.path / "run.yaml", read_yaml)
    stages, common = recipe.get("stages"), recipe.get("common")
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        return None
    shared = common.get("epochs") if isinstance(common, dict) else None
    epochs = [stage.get("epochs", shared) for stage in stages]
    return sum(epochs) if epochs and all(type(n) is int for n in epochs) else None


def missing_weights(run: RunFolder, files: FileCache) -> list[str]:
    """Members that a finished run should have weights of, and has not."""
    return [name for name in members_of(run, files) if not _there(run.weights(name))]


def epochs(events: list[dict], member: str) -> list[dict]:
    """The epochs of a member in order. The later line of an epoch counts, and ends what was recorded beyond it."""
    found: list[dict] = []
    for event in events:
        number = event.get("epoch")
        if event.get("kind") != "epoch" or event.get("member") != member or type(number) is not int:
            continue
        while found and found[-1]["epoch"] >= number:
            found.pop()
        found.append(event)
    return found


def best(run: RunFolder, member: str, files: FileCache) -> float | None:
    """mAP50 on a member's card; before there is one, the best of its epochs."""
    card = files.get(run.path / "weights" / f"{member}.json", read_json)
    measured = _number(card.get("mAP50"))
    if measured is not None:
        return measured
    seen = [_number(e.get("mAP50")) for e in epochs(files.get(run.path / "events.jsonl", _events), member)]
    return max((value for value in seen if value is not None), default=None)


def run_json(run: RunFolder, name: str, files: FileCache) -> dict[str, Any]:
    """A JSON object of the folder, fit for a browser; {} where it is missing or damaged."""
    return files.get(run.path / name, read_json)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, numbers that JSON has not as None; {} where it is missing or damaged."""
    try:
        return plain(RunFolder(path.parent).json(path.name))
    except RecursionError:
        return {}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping of plain values; {} where it is missing, damaged or too long."""
    try:
        if path.stat().st_size > LONGEST_YAML:
            return {}
        text = path.read_text(encoding="utf-8")
        if text.count("[") + text.count("{") > MOST_BRACKETS:
            return {}
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            return {}  # ours have none; a few could stand for gigabytes
        value = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    try:
        return plain(value) if isinstance(value, dict) else {}
    except RecursionError:
        return {}


def plain(value: Any) -> Any:
    """The same in what a browser's JSON knows: no NaN, no infinity, text as keys."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)


def plain_name(name: str) -> bool:
    """Whether a text is a file's name and nothing more."""
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\:\0") and len(name) <= 100


# ---------------------------------------------------------------- parts
def _member(
    run: RunFolder, name: str, form: str, state: str, progress: dict, events: list[dict], files: FileCache
) -> dict[str, Any]:
    seen = epochs(events, name)
    asked = epochs_of(run, files) or next((e["epochs"] for e in reversed(seen) if type(e.get("epochs")) is int), 0)
    ended = any(event.get("kind") == "member" and event.get("member") == name for event in events)
    if ended or _there(run.weights(name)):
        status = "done"
    else:
        at_it = state in AT_WORK and progress.get("member") == name
        status = "training" if seen or at_it else "waiting"
    return {
        "name": name,
        "form": form,
        "status": status,
        "epochs_done": seen[-1]["epoch"] if seen else 0,
        "epochs": asked,
        "curves": _curves(seen),
    }


def _curves(seen: list[dict]) -> dict[str, list]:
    """Lists of one length, a value per epoch, None where there is none."""
    losses = [_numbers(event.get("losses")) for event in seen]
    reserved = {"epoch", "loss", "val_loss", *MEASURES}
    names = [name for name in dict.fromkeys(name for of_epoch in losses for name in of_epoch) if name not in reserved]
    return {
        "epoch": [event["epoch"] for event in seen],
        "loss": [_sum(of_epoch) for of_epoch in losses],
        **{name: [of_epoch.get(name) for of_epoch in losses] for name in names},
        "val_loss": [_sum(_numbers(event.get("val_losses"))) for event in seen],
        **{name: [_number(event.get(name)) for event in seen] for name in MEASURES},
    }


def _progress(status: dict) -> dict[str, Any]:
    found: dict[str, Any] = {name: _number(status.get(name)) for name in NUMBERS}
    found |= {name: _text(status.get(name)) for name in TEXTS}
    members = status.get("members")
    found["members"] = [_text(name) for name in members] if isinstance(members, list) else []
    found["losses"] = _numbers(status.get("losses"))
    return found


def _error(run: RunFolder, state: str, status: dict) -> dict[str, Any] | None:
    if state != "failed":
        return None
    if not (run.path / "run.yaml").is_file():
        lost = "its recipe, run.yaml, is missing"
        return {"kind": "other", "message": f"The run cannot go on: {lost}.", "next": "Start a new run.", "batch": None}
    error = status.get("error")
    error = error if isinstance(error, dict) else {"message": "The training ended and did not say why."}
    return {
        "kind": _text(error.get("kind")) or "other",
        "message": _text(error.get("message")),
        "next": _text(error.get("next")) or "Read the end of the log; resume, or start again with changes.",
        "batch": _number(error.get("batch")),
    }


def _warnings(events: list[dict]) -> list[str]:
    said = [_text(event.get("message")) for event in events if event.get("kind") == "warning"]
    return list(dict.fromkeys(text for text in said if text))[-MOST_WARNINGS:]


def _events(path: Path) -> list[dict]:
    found = []
    for event in RunFolder(path.parent).lines(path):
        with contextlib.suppress(RecursionError):
            found.append(plain(event))
    return found


def _frames(path: Path) -> tuple[int, int]:
    """Epochs with attention, and the file's size in bytes, which grows with every frame."""
    try:
        size = path.stat().st_size
    except OSError:
        return 0, 0
    numbers = {frame.get("epoch") for frame in RunFolder(path.parent).lines(path) if type(frame.get("epoch")) is int}
    return len(numbers), size


def _there(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _made(run: RunFolder) -> float | None:
    try:
        return (run.path / "run.yaml").stat().st_mtime
    except OSError:
        return None


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def _numbers(value: Any) -> dict[str, float]:
    found = {str(key): _number(item) for key, item in value.items()} if isinstance(value, dict) else {}
    return {key: item for key, item in found.items() if item is not None}


def _sum(values: dict[str, float]) -> float | None:
    return round(sum(values.values()), 6) if values else None


def _text(value: Any) -> str:
    return value[:LONGEST_TEXT] if isinstance(value, str) else ""


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
