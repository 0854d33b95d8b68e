"""From a plan to a run folder: where its start comes from, what is kept of it, how long it will take."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image
from ultralytics import YOLO

from halo_vis import meadow
from halo_vis.datasets.builtin import coco_names
from halo_vis.fetch import official_weights
from halo_vis.pairs import BUNDLED, bundled_pairs, read_pt, runs_folder
from halo_vis.picture import read_picture
from halo_vis.training import trackers
from halo_vis.training.data import class_names
from halo_vis.training.graft import Kept, graft
from halo_vis.training.plan import Plan, PlanError
from halo_vis.training.recipe import recipe_of
from halo_vis.training.run_folder import RunFolder
from halo_vis.transplant import SCALES, Architecture
from halo_vis.weights import Header, WeightsError, read_weights, write_weights

MEASURE_TIMEOUT_S = 90.0
MEADOW_S = 0.11  # to draw a scene, on a server's core
LATENCY_FORWARDS = 65  # of each member, for the comparison


def create(
    plan: Plan, runs: Path, datasets: Path, owner: str = "", probe: Path | None = None, into: Path | None = None
) -> RunFolder:
    """Make the run folder of a plan, in the state "new".

    Args:
        runs: where run folders lie; the new one gets a name of its own there.
        datasets: where uploaded data sets lie.
        owner: kept in about.json, for whoever checks it.
        probe: a picture whose attention is followed; None: one of the data's.
        into: the new folder, instead of one with a name of its own in `runs`.

    Raises:
        FileExistsError: `into` is there already.
        PlanError: a start or data set that is not here, or does not fit; nothing is left behind then.
        PictureError: the probe is no picture.
    """
    from halo_vis.training.worker import write_run  # here: it brings the whole trainer

    try:
        trackers.check(plan.trackers)
    except ValueError as error:
        raise PlanError(str(error), "trackers") from None
    data = data_yaml(plan, datasets)
    sources = {member: start_of(plan, member, runs) for member in plan.members}
    pixels = None if probe is None else read_picture(probe).pixels
    path = into or runs / _name(plan)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} is there already. Choose a new folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
    try:
        folder = RunFolder(partial)
        for member, source in sources.items():
            if source is not None:
                _take(source, folder.start(member))
        _beside(plan, runs, folder)
        kept(plan, runs, names=_names(data, plan))  # refuses what does not fit
        if pixels is not None:
            (partial / "attention").mkdir()
            Image.fromarray(pixels).save(partial / "attention" / "probe.png")
        write_run(recipe_of(plan, data), partial)
        (partial / "plan.yaml").write_text(plan.to_yaml(), encoding="utf-8")
        folder.write_json(
            "about.json", {"title": plan.title, "note": "", "owner": owner, "made": round(time.time(), 3)}
        )
        folder.set_state("new")
        partial.chmod(0o755)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return RunFolder(path)


def datasets_folder() -> Path:
    """Where uploaded data sets lie: HALO_VIS_DATASETS, else beside the runs."""
    given = os.environ.get("HALO_VIS_DATASETS")
    return Path(given) if given else runs_folder().parent / "datasets"


def _name(plan: Plan) -> str:
    """A name that is new, sorts by time and can be read."""
    words = re.sub(r"[^a-z0-9]+", "-", (plan.title or plan.data.partition(":")[2] or plan.data).lower()).strip("-")[:40]
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{words or 'run'}-{secrets.token_hex(3)}"


def data_yaml(plan: Plan, datasets: Path) -> Path | None:
    """The data YAML of an uploaded set; None for data that the worker makes or gathers."""
    kind, _, name = plan.data.partition(":")
    if kind != "dataset":
        return None
    path = datasets / name / "data.yaml"
    if not path.is_file():
        raise PlanError(f"there is no data set {name!r} here. Upload it, or choose another.", "data")
    return path.resolve()


def _names(data: Path | None, plan: Plan) -> dict[int, str]:
    """Classes of the data, as far as they can be told before it is made."""
    if data is not None:
        return class_names(data)
    if plan.data == "meadow":
        return dict(enumerate(meadow.NAMES))
    return dict(enumerate(coco_names()))


def start_of(plan: Plan, member: str, runs: Path, *, fetch: bool = False) -> Path | None:
    """The weights file that a member starts from; None: untrained.

    A halo member takes the start's halo model of its own form, else the start's baseline, which is transplanted. A
    start that names a member ("pair:meadow/article") gives that one to the halo member.

    Raises:
        PlanError: no such start here.
    """
    kind, _, rest = plan.start.partition(":")
    name, _, chosen = rest.partition("/")
    if not plan.start:
        return None
    if kind == "pair" and name.split("-")[0] == "coco":
        scale = name.removeprefix("coco").removeprefix("-") or "n"
        if scale not in SCALES:
            raise PlanError(
                f"no official weights {name!r}: there are {', '.join(f'coco-{s}' for s in SCALES)}.", "start"
            )
        return official_weights(f"yolo26{scale}.pt", fetch=fetch)[0]
    if kind == "pair":
        cards = bundled_pairs()
        if name not in cards:
            raise PlanError(f"no pair {name!r} here: there are {', '.join(cards)}. Choose another start.", "start")
        folder, there = BUNDLED / name, set(cards[name].members)
    else:
        folder = runs / name / "weights"
        there = {p.stem for p in folder.glob("*.safetensors") if p.with_suffix(".json").is_file()}
        if not there:
            raise PlanError(f"no finished run {name!r} here. Choose another start.", "start")
    if chosen and chosen not in there:
        raise PlanError(f"{name!r} has no member {chosen!r}; it has {', '.join(sorted(there))}.", "start")
    usual = {"residual": "halo", "article": "article"}[plan.form]
    wanted = [chosen, usual, "halo", "baseline"] if member == "halo" else ["baseline", chosen]
    found = [m for m in wanted if m in there]
    if not found:
        raise PlanError(
            f"{name!r} has no baseline to start the baseline from; it has {', '.join(sorted(there))}. Train the halo "
            "model alone, or choose another start.",
            "start",
        )
    return folder / f"{found[0]}.safetensors"


def _take(source: Path, target: Path) -> None:
    """Copy weights into the run: it no longer depends on where they came from."""
    target.parent.mkdir(exist_ok=True)
    if source.suffix == ".safetensors":
        shutil.copyfile(source, target)
    else:
        write_weights(target, read_pt(source), {"origin": source.name})


def _beside(plan: Plan, runs: Path, folder: RunFolder) -> None:
    """A halo model that is trained alone is shown beside the baseline of its start, where there is one."""
    if plan.member == "halo" and plan.start:
        with contextlib.suppress(PlanError):
            _take(start_of(plan, "baseline", runs), folder.start("baseline"))


def _read(source: Path) -> YOLO:
    return read_weights(source)[0] if source.suffix == ".safetensors" else read_pt(source)


def kept(plan: Plan, runs: Path, datasets: Path | None = None, names: dict[int, str] | None = None) -> dict[str, Kept]:
    """What each member keeps of its start; empty for an untrained one.

    Raises:
        PlanError: a start that is not here or does not fit, or a model larger than weights files may be.
    """
    if names is None:
        names = _names(data_yaml(plan, datasets) if datasets else None, plan)
    found = {}
    for member, form in plan.members.items():
        architecture = Architecture(plan.scale, form=form, nc=len(names), **plan.geometry())
        try:
            Header(architecture, names)  # what its weights will have to keep to, told before and not after training
        except WeightsError as error:
            raise PlanError(f"{error}. Choose fewer or narrower heads, or smaller blocks.", "heads") from None
        if not plan.start:
            continue
        try:
            _, found[member] = graft(_read(start_of(plan, member, runs)), architecture, names)
        except ValueError as error:
            if isinstance(error, PlanError):
                raise
            raise PlanError(str(error), "start") from error
        if plan.trained == "halo" and not found[member].classes:
            raise PlanError(
                "only the halo layers are to be trained, but the data has other classes than the start: the head would "
                "stay random. Train the halo layers and the head, or all.",
                "trained",
            )
    return found


# ---------------------------------------------------------------- how long
@dataclass(frozen=True)
class Estimate:
    """How long a run will take, from steps that were measured on this machine.

    Attributes:
        seconds: of the whole run, all members, validation included.
        epoch_s: member -> seconds of an epoch.
        step_s: member -> seconds of a batch, its share of the optimizer's step included.
        pictures: in the training, the validation and the test split.
        threads: CPU threads that were used; 0 on a GPU.
    """

    seconds: float
    epoch_s: dict[str, float]
    step_s: dict[str, float]
    pictures: tuple[int, ...]
    device: str
    threads: int


def estimate(plan: Plan, pictures: tuple[int, ...], cache: Path, names: int = 3) -> Estimate:
    """Measure some steps of each member in a process of its own, then reckon.

    Args:
        pictures: how many there are in the training, the validation and the test split; without the last the
            validation split is measured on in the end.
        cache: a folder that keeps what was measured: the same architecture, batch, size, optimizer and device are
            not measured again.
        names: number of classes.

    Raises:
        RuntimeError: no step could be measured (no memory, or no end within `MEASURE_TIMEOUT_S`); says so.
    """
    train, val, test = (*pictures, 0)[:3]
    facts = _measured(plan, cache, names)
    batches = -(-train // plan.batch)
    drawn = MEADOW_S * sum(pictures) if plan.data == "meadow" else 0.0
    epoch_s = {}
    for member, times in facts["members"].items():
        steps = max(1.0, batches * plan.batch / max(plan.nbs, plan.batch))
        epoch_s[member] = (
            batches * times["batch_s"] + steps * times["step_s"] + val * times["picture_s"] + times["save_s"]
        )
    untouched = {m for m, form in plan.members.items() if form == "baseline" and plan.trained == "halo"}
    seconds = drawn
    for member, of_epoch in epoch_s.items():
        times = facts["members"][member]
        measuring = (test or val) * times["picture_s"] + LATENCY_FORWARDS * times["forward_s"]
        seconds += facts["load_s"] + measuring + (0 if member in untouched else plan.epochs * of_epoch)
    step_s = {m: times["batch_s"] + times["step_s"] for m, times in facts["members"].items()}
    return Estimate(round(seconds, 1), epoch_s, step_s, pictures, facts["device"], facts["threads"])


def _measured(plan: Plan, cache: Path, names: int) -> dict:
    parts = ("member", "form", "scale", "block_size", "halo_size", "dim_head", "heads", "levels", "trained", "imgsz")
    parts += ("batch", "optimizer", "device", "threads")
    known = {name: getattr(plan, name) for name in parts} | {"nc": names, "version": 2}
    file = cache / f"step-{hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]}.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pass
    command = [sys.executable, "-m", "halo_vis.training.measure"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    given = json.dumps({"plan": plan.as_dict(), "names": names})
    try:
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            timeout=MEASURE_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"no step was done within {MEASURE_TIMEOUT_S:.0f} s: this run will take very long here. Take a smaller "
            "image size, batch or scale."
        ) from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:300]
        raise RuntimeError(f"a step could not be measured: {reason}")
    facts = json.loads(done.stdout.strip().splitlines()[-1])
    cache.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(facts), encoding="utf-8")
    partial.replace(file)
    return facts


def as_dict(kept_or_estimate: Kept | Estimate) -> dict:
    """Plain values, for a page."""
    return asdict(kept_or_estimate)
