"""What halo attention costs a whole model: the forward passes of several forms against the stock YOLO26.

Latency hangs on shapes, not on values, so the models have random weights. Each is fused, in fp32, as Ultralytics'
predictor runs it; what the predictor does before and after, letterbox and NMS, is the same for all and left out.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from ultralytics import __version__ as ultralytics_version
from ultralytics.nn.autobackend import AutoBackend

from halo_vis import __version__
from halo_vis.bench.report import Figure, as_json, load, machine, number, table
from halo_vis.bench.room import within_free_memory
from halo_vis.memory_format import channels_last, is_channels_last
from halo_vis.pairs import BUNDLED, bundled_pairs
from halo_vis.transplant import SCALES, Architecture, build
from halo_vis.weights import read_header

BASELINE, HALO, ARTICLE = "baseline", "halo", "article's form"
QUARTER, CHEAPER = "halo, a quarter of the heads", "halo at P4 and P5, a quarter of the heads"
CONTIGUOUS = "baseline, contiguous"  # the stock model as Ultralytics loads and fuses it, before a predictor has it
# Every one but CONTIGUOUS runs in channels_last.
FORMS = {
    CONTIGUOUS: Architecture(form="baseline"),
    BASELINE: Architecture(form="baseline"),
    HALO: Architecture(),
    QUARTER: Architecture(heads=0.25),
    CHEAPER: Architecture(levels=("P4", "P5"), heads=0.25),
    ARTICLE: Architecture(form="article"),
    "article's form, 8 heads of 64": Architecture(form="article", heads=8, dim_head=64),
    "halo, half of the heads": Architecture(heads=0.5),
    "halo, heads of 64": Architecture(dim_head=64),
    "halo, heads of 16": Architecture(dim_head=16),
    "halo at P4 and P5": Architecture(levels=("P4", "P5")),
}
MAIN = (CONTIGUOUS, BASELINE, HALO, QUARTER, CHEAPER, ARTICLE)
DATA = ("meadow", "bccd")  # whose cards the trade-off table looks into
# The targets, for HALO at YOLO26n, 640x640, on the CPU with 2 threads.
SAME_FORMAT, AS_LOADED = 1.25, 1.0
TARGET = ("n", 640, 640)


@dataclass(frozen=True)
class Shape:
    """Models of one scale on pictures of one size, in pixels."""

    scale: str
    height: int
    width: int

    def __str__(self) -> str:
        return f"YOLO26{self.scale}, {self.height}x{self.width}"


@dataclass(frozen=True)
class Plan:
    """What runs, and how often.

    Attributes:
        repeats: of every form, in turns, after two that do not count; large shapes have a fifth of them, at least 3.
        sizes: (height, width) of the pictures of the short bench, in pixels, multiples of 32.
        scale: of the short bench.
        threads: on the CPU.
        device: as torch takes it.
        full: 1280x1280 and scale x too, as memory allows.
    """

    repeats: int = 15
    sizes: tuple[tuple[int, int], ...] = ((640, 640), (480, 640))
    scale: str = "n"
    threads: int = 2
    device: str = "cpu"
    full: bool = False

    def __post_init__(self) -> None:
        """Refuse what gives no figure."""
        for name in ("repeats", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.scale not in SCALES:
            raise ValueError(f"scale must be one of {SCALES}, got {self.scale!r}.")
        if not self.sizes or any(side < 32 or side % 32 for size in self.sizes for side in size):
            raise ValueError(f"sizes must be pairs of multiples of 32, got {self.sizes}.")

    def work(self) -> dict[Shape, tuple[str, ...]]:
        """What is measured: for each shape, the names of its forms."""
        work = {Shape(self.scale, *size): tuple(FORMS) for size in self.sizes}
        large = [Shape("n", 1280, 1280), Shape("x", 640, 640), Shape("x", 1280, 1280)] if self.full else []
        return work | {shape: MAIN for shape in large if shape not in work}


@dataclass(frozen=True)
class Measured:
    """One shape: milliseconds of each repeat by form, all forms equally often; or why it could not run."""

    milliseconds: dict[str, list[float]]
    failed: str = ""

    def median(self, name: str) -> float:
        """Milliseconds."""
        return statistics.median(self.milliseconds[name])


def run(plan: Plan, out: Path | None = None) -> int:
    """Measure, print the tables, write the JSON; returns 0, also where a target is missed: the table says so."""
    facts, found = measure(plan)
    rows = trade_off(plan, found)
    print(table(facts, found))
    print(f"\nThe trade-off, {_first(plan)}; mAP50 / mAP50-95 on held-out data, from the cards of the bundled pairs\n")
    print(markdown(rows))
    if out:
        body = as_json(facts, found) | {"trade-off": rows}
        out.write_text(json.dumps(body, indent=1), encoding="utf-8")
    return 0


def measure(plan: Plan) -> tuple[dict[str, str], list[Figure]]:
    """Every figure, and what it was measured on."""
    facts = machine() | {"halo_vis": __version__, "ultralytics": ultralytics_version, "torch": torch.__version__}
    facts["forward"] = f"fused, fp32, batch 1, random weights, on {plan.device}, {plan.threads} threads"
    facts["predictor"] = f"Ultralytics' own choice here: {predictors_choice(plan.device)}"
    before, subjects = torch.get_num_threads(), Subjects(plan.device)
    torch.set_num_threads(plan.threads)
    try:
        measured = {shape: _measured(plan, shape, names, subjects) for shape, names in plan.work().items()}
    finally:
        torch.set_num_threads(before)
    facts |= {str(shape): f"not run: {m.failed}" for shape, m in measured.items() if m.failed}
    facts["load after"] = load()
    return facts, figures(plan, measured, subjects.parameters[plan.scale])


def figures(plan: Plan, measured: dict[Shape, Measured], sizes: dict[str, int]) -> list[Figure]:
    """Latencies, their ratios, and parameters.

    Args:
        measured: by shape.
        sizes: parameters by the name of the form, at the plan's scale.
    """
    found = []
    for shape, m in measured.items():
        names = plan.work()[shape]
        value = (lambda name: None) if m.failed else m.median
        found += [Figure(f"{shape}: forward, median", name, value(name), "ms") for name in names]
        aimed = (shape.scale, shape.height, shape.width) == TARGET and (plan.device, plan.threads) == ("cpu", 2)
        for against, target in ((BASELINE, SAME_FORMAT), (CONTIGUOUS, AS_LOADED)):
            for name in names:
                if name in (against, CONTIGUOUS):
                    continue
                ratio = None if m.failed else m.median(name) / m.median(against)
                wanted = target if aimed and name == HALO else None
                found.append(Figure(f"{shape}: times the {against}", name, ratio, "", wanted))
    group = f"YOLO26{plan.scale}, 80 classes: parameters, not fused"
    return found + [Figure(group, name, count / 1e6, "million") for name, count in sizes.items()]


def trade_off(plan: Plan, found: list[Figure]) -> list[dict[str, str | float | None]]:
    """For each form: latency at the plan's first size, what it is of the baseline's, parameters, and what is known.

    mAP is None for a form that no bundled pair was trained in.
    """
    shape, names = _first(plan), [name for name in FORMS if name != CONTIGUOUS]
    value = {(f.group, f.name): f.value for f in found}
    rows = []
    for name in names:
        row: dict[str, str | float | None] = {
            "form": name,
            "ms": value[f"{shape}: forward, median", name],
            "of the baseline": 1.0 if name == BASELINE else value[f"{shape}: times the {BASELINE}", name],
            "parameters, million": next(f.value for f in found if f.name == name and f.unit == "million"),
        }
        for data in DATA:
            card = trained(replace(FORMS[name], scale=plan.scale), data) or {}
            row |= {f"{data} {metric}": card.get(metric) for metric in ("mAP50", "mAP50-95")}
        rows.append(row)
    return rows


def markdown(rows: list[dict[str, str | float | None]]) -> str:
    """The trade-off as a Markdown table."""
    heads = ["form", "ms", "of the baseline", "parameters, million", *DATA]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [str(row["form"])]
        cells += ["not run" if row[head] is None else number(row[head]) for head in heads[1:4]]
        for data in DATA:
            known = [row[f"{data} {metric}"] for metric in ("mAP50", "mAP50-95")]
            cells.append("not trained" if None in known else " / ".join(f"{v:.3f}" for v in known))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def trained(form: Architecture, data: str) -> dict | None:
    """The card of the member of a bundled pair that has this architecture and held-out metrics; None: there is none."""
    card = bundled_pairs().get(data)
    for member, known in (card.members if card else {}).items():
        header = read_header(BUNDLED / data / f"{member}.safetensors")
        # However many classes the data has: what is compared is where and how attention is computed.
        if known.get("held_out") and replace(header.architecture, nc=form.nc, class_width=None) == form:
            return known
    return None


class Subjects:
    """Fused models of random weights, as the predictor runs them; those of one scale are kept until another's turn.

    Attributes:
        parameters: scale -> name of the form -> parameters of the model as it is trained: with both heads, not fused.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.parameters: dict[str, dict[str, int]] = {}
        self._scale = ""
        self._kept: dict[str, nn.Module] = {}

    def __call__(self, name: str, scale: str) -> nn.Module:
        """The form of that name, in channels_last unless it is CONTIGUOUS."""
        if scale != self._scale:
            self._scale, self._kept = scale, {}
        if name not in self._kept:
            torch.manual_seed(0)
            model = build(replace(FORMS[name], scale=scale)).model
            counts = self.parameters.setdefault(scale, {})
            if name != CONTIGUOUS:
                counts[name] = sum(p.numel() for p in model.parameters())
            layout = torch.contiguous_format if name == CONTIGUOUS else torch.channels_last
            model = model.eval().fuse(verbose=False).requires_grad_(False)
            self._kept[name] = model.to(self.device, memory_format=layout)
        return self._kept[name]


def predictors_choice(device: str) -> str:
    """The memory format that a plain predict gets from Ultralytics on this machine, and what ours asks for."""
    model = build(Architecture(form="baseline")).model
    own = is_channels_last(AutoBackend(model, torch.device(device), verbose=False).model)
    asked = channels_last(device)
    name = "channels_last" if own else "contiguous"
    return name if asked is None or asked == own else f"{name}; inspect asks for channels_last"


def _measured(plan: Plan, shape: Shape, names: tuple[str, ...], subjects: Subjects) -> Measured:
    """Every form in turns on one picture; of a large shape, why it does not fit if it does not."""
    short = (shape.height, shape.width) in plan.sizes and shape.scale == plan.scale
    repeats = plan.repeats if short else max(3, plan.repeats // 5)
    try:
        with within_free_memory() if plan.device == "cpu" and not short else nullcontext():
            models = {name: subjects(name, shape.scale) for name in names}
            _say(f"{shape}: {len(models)} forms, {repeats} times")
            return Measured(_turns(models, torch.rand(1, 3, shape.height, shape.width, device=plan.device), repeats))
    except (RuntimeError, MemoryError) as error:
        if short:
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        _say(f"{shape} does not run: {reason}")
        return Measured({}, reason)


@torch.inference_mode()
def _turns(models: dict[str, Callable], picture: torch.Tensor, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each model's forward passes, every model once in each turn, forwards and backwards."""
    found: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeats + 2):
        for name in models if turn % 2 == 0 else reversed(models):
            _wait(picture)
            start = time.perf_counter()
            models[name](picture)
            _wait(picture)
            if turn >= 2:  # the first ones choose kernels and grow the allocator's pools
                found[name].append((time.perf_counter() - start) * 1e3)
    return found


def _wait(picture: torch.Tensor) -> None:
    """Until a GPU has done what it was given."""
    if picture.device.type == "cuda":
        torch.cuda.synchronize(picture.device)


def _first(plan: Plan) -> Shape:
    """The shape of the trade-off table."""
    return Shape(plan.scale, *plan.sizes[0])


def _say(what: str) -> None:
    """Progress, beside the table and not in it."""
    print(f"bench model: {what}", file=sys.stderr, flush=True)
