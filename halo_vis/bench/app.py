"""The app: what an inspection costs over two bare predicts, what a visitor waits for, what stays in memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from ultralytics import ASSETS, YOLO
from ultralytics import __version__ as ultralytics_version

from halo_vis import Inspection, __version__, capture, inspect, load_pair
from halo_vis.bench.app_browser import click_figures, first_figures, payload_size, start_figures
from halo_vis.bench.app_server import REPOSITORY, Job, Visitor, app
from halo_vis.bench.report import Figure, as_json, load, machine, slope, table
from halo_vis.bench.subject import IMGSZ, PICTURES, random_pair
from halo_vis.pairs import Pair
from halo_vis.transplant import LEVELS
from halo_vis.viewer import payload

INSPECT = "inspect() against the two bare predicts, same models, same file"
MEMORY = "Memory of a process that inspects"
VISITORS = "Visitors at once, by HTTP as the page asks"
# The targets, and what "flat" and "linear" are taken for.
INSPECT_SHARE, THROUGHPUT_SHARE = 1.10, 0.9
GROWTH_MIB = 0.02  # an inspection: 10 MiB over 500
FITS = 0.98  # of the variance: R squared of the least-squares line


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: of inspect and the bare predicts; curve_rounds: of every point of a curve.
        clicks, starts: in the browser; 0: no browser.
        inspections: in a row, for the memory.
        visitors: at once; visits: how often all of them come.
        sizes: pixels of the picture's longer side in the models; batches: pictures at once.
        levels: how many halo layers.
    """

    rounds: int = 30
    clicks: int = 20
    starts: int = 5
    inspections: int = 500
    visitors: int = 20
    visits: int = 3
    curve_rounds: int = 9
    sizes: tuple[int, ...] = (320, 480, 640, 960)
    batches: tuple[int, ...] = (1, 2, 4, 8)
    levels: tuple[int, ...] = (0, 1, 2, 3)

    def __post_init__(self) -> None:
        """Refuse what gives no figure."""
        for name in ("rounds", "inspections", "visitors", "visits", "curve_rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("clicks", "starts"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}.")
        for name in ("sizes", "batches", "levels"):
            if len(set(getattr(self, name))) < 2:
                raise ValueError(f"{name} must be two or more points of a curve, got {getattr(self, name)}.")

    @classmethod
    def short(cls) -> Plan:
        """Every figure in a few minutes on two cores."""
        return cls(rounds=9, clicks=7, starts=3, visits=1, curve_rounds=3)


def run(plan: Plan, out: Path | None = None) -> int:
    """Measure, print the table, write the JSON; returns 0, also where a target is missed: the table says so."""
    facts, figures = measure(plan)
    print(table(facts, figures))
    if out:
        out.write_text(json.dumps(as_json(facts, figures), indent=1), encoding="utf-8")
    return 0


def measure(plan: Plan) -> tuple[dict[str, str], list[Figure]]:
    """Every figure, and what it was measured on.

    Raises:
        BrowserMissing: clicks or starts are asked for where there is no browser.
        RuntimeError: a page that did not come up, or gave no result.
    """
    facts = machine() | {"halo_vis": __version__, "ultralytics": ultralytics_version, "torch": torch.__version__}
    pictures = [ASSETS / name for name in PICTURES]
    photos, random = load_pair("photos"), random_pair("residual", "n")
    figures = inspect_figures(plan.rounds, photos, random)
    facts["threads"] = f"{torch.get_num_threads()} of torch in a predict, as Ultralytics sets them; device cpu"
    facts["side by side"] = "inspect() runs both models at once where twice the threads are no more than the cores"
    facts["bare predict"] = f"YOLO.predict({PICTURES[0]}) of each model without hooks, each decoding the file"
    seen = inspect(photos, pictures[0], device="cpu")
    facts["a click"] = payload_size(seen, pictures[0])
    if plan.clicks:
        bare = lambda picture: _bare(photos, picture, photos.card.imgsz)  # noqa: E731 - the one thing it needs
        figures += click_figures(plan.clicks, pictures, seen, bare, _say)
    if plan.starts:
        figures += start_figures(plan.starts, _say)
        figures += first_figures(max(3, plan.clicks), pictures, _say)
    figures += memory_figures(plan.inspections)
    figures += visitor_figures(plan.visitors, plan.visits, pictures)
    figures += curve_figures(plan, random)
    facts["load after"] = load()
    return facts, figures


def _say(what: str) -> None:
    """Progress, beside the table and not in it."""
    print(f"bench app: {what}", file=sys.stderr, flush=True)


def interleaved(actions: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each action says of itself in every round, after one that does not count; every other one backwards."""
    names = list(actions)
    took: dict[str, list[float]] = {name: [] for name in names}
    for action in actions.values():
        action()
    for n in range(rounds):
        for name in names if n % 2 == 0 else reversed(names):
            took[name].append(actions[name]())
    return took


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _processor(work: Callable[[], object], took: list[float]) -> float:
    """As `_ms`; notes the milliseconds that all of the process's threads computed."""
    began = time.process_time()
    wall = _ms(work)
    took.append((time.process_time() - began) * 1000)
    return wall


# ------------------------------------------------------------------ inspect


def _predict(yolo: YOLO, picture: Path, imgsz: int) -> None:
    """One model's predict as anybody calls it, with the settings that inspect has."""
    yolo.predict(picture, conf=0.25, iou=0.7, imgsz=imgsz, device="cpu", verbose=False, save=False)


def _bare(pair: Pair, picture: Path, imgsz: int) -> float:
    """Milliseconds of both, one after the other."""
    return sum(_ms(lambda yolo=yolo: _predict(yolo, picture, imgsz)) for yolo in (pair.baseline, pair.halo))


def inspect_figures(rounds: int, *pairs: Pair) -> list[Figure]:
    """inspect() of a file against the two bare predicts of the same file, and what a payload costs."""
    return [figure for pair in pairs for figure in _inspect_figures(rounds, pair)]


def _inspect_figures(rounds: int, pair: Pair) -> list[Figure]:
    picture, imgsz = ASSETS / PICTURES[0], pair.card.imgsz
    at = f"{pair.name} at {imgsz}"
    _say(f"inspect, {at}")
    made: list[Inspection] = [inspect(pair, picture, device="cpu")]
    works: dict[str, Callable[[], object]] = {
        "inspect": lambda: made.append(inspect(pair, picture, device="cpu")),
        "baseline": lambda: _predict(pair.baseline, picture, imgsz),
        "halo": lambda: _predict(pair.halo, picture, imgsz),
        "payload": lambda: payload(made.pop(0)),  # of an inspection that none was made of before: nothing is kept
    }
    busy: dict[str, list[float]] = {name: [] for name in works}

    def clocked(name: str) -> Callable[[], float]:
        return lambda: _processor(works[name], busy[name])

    took = {name: statistics.median(ms) for name, ms in interleaved({n: clocked(n) for n in works}, rounds).items()}
    # The first of each does not count: models are copied and fused there.
    computed = {name: statistics.median(values[1:]) for name, values in busy.items()}
    share, computing = (ms["inspect"] / (ms["baseline"] + ms["halo"]) for ms in (took, computed))
    return [
        Figure(INSPECT, f"{at}: baseline, bare", took["baseline"], "ms"),
        Figure(INSPECT, f"{at}: halo, bare", took["halo"], "ms"),
        Figure(INSPECT, f"{at}: inspect", took["inspect"], "ms"),
        Figure(INSPECT, f"{at}: inspect / bare predicts", share, "", INSPECT_SHARE),
        Figure(INSPECT, f"{at}: inspect / bare predicts, processor time", computing, "", INSPECT_SHARE),
        Figure(INSPECT, f"{at}: payload of the explorer, made from it", took["payload"], "ms"),
    ]


# ------------------------------------------------------------------ curves


@dataclass
class _Curve:
    """Points (x, y) by name of what is on the y axis."""

    group: str
    unit_x: str
    points: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def figures(self, labels: list[str], units: dict[str, str]) -> list[Figure]:
        """A figure a point, then how well the least-squares line fits."""
        out = []
        for name, points in self.points.items():
            out += [
                Figure(self.group, f"{name}, {label}", y, units[name])
                for label, (_, y) in zip(labels, points, strict=True)
            ]
            fit, worst = line(points)
            out.append(Figure(self.group, f"{name}: R² of the line over {self.unit_x}", fit, "", FITS, least=True))
            out.append(Figure(self.group, f"{name}: worst deviation from it", 100 * worst, "%"))
        return out


def line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """R² of the least-squares line, and the largest deviation of a point from it as a share of the line's value there.

    >>> line([(0, 1), (1, 3), (2, 5)])
    (1.0, 0.0)
    """
    rise = slope(points)
    mean_x, mean_y = (statistics.fmean(values) for values in zip(*points, strict=True))
    fitted = [mean_y + rise * (x - mean_x) for x, _ in points]
    left = sum((y - f) ** 2 for (_, y), f in zip(points, fitted, strict=True))
    whole = sum((y - mean_y) ** 2 for _, y in points)
    worst = max(abs(y - f) / abs(f) if f else float(y != f) for (_, y), f in zip(points, fitted, strict=True))
    return (1 - left / whole if whole else 1.0), worst


def curve_figures(plan: Plan, random: Pair) -> list[Figure]:
    """What an inspection costs against picture size, halo layers and pictures at once; random weights of scale n."""
    return [
        *_size_figures(plan, random),
        *_level_figures(plan, random),
        *_batch_figures(plan, random),
    ]


def _size_figures(plan: Plan, pair: Pair) -> list[Figure]:
    _say(f"curve: picture sizes {plan.sizes}")
    picture, made = ASSETS / PICTURES[0], {}

    def at(imgsz: int) -> Callable[[], float]:
        def work() -> None:
            made[imgsz] = inspect(pair, picture, imgsz=imgsz, device="cpu")

        return lambda: _ms(work)

    took = interleaved({str(imgsz): at(imgsz) for imgsz in plan.sizes}, plan.curve_rounds)
    curve = _Curve("Cost against picture size", "halo cells")
    cells = [sum(level.grid.height * level.grid.width for level in made[imgsz].trace.values()) for imgsz in plan.sizes]
    curve.points["inspect"] = [(x, statistics.median(took[str(s)])) for x, s in zip(cells, plan.sizes, strict=True)]
    sizes = [len(payload(made[imgsz])[1]["tensors"]) / 1e6 for imgsz in plan.sizes]
    curve.points["payload"] = list(zip(cells, sizes, strict=True))
    labels = [f"{imgsz} ({x} cells)" for imgsz, x in zip(plan.sizes, cells, strict=True)]
    return curve.figures(labels, {"inspect": "ms", "payload": "MB"})


def _level_figures(plan: Plan, pair: Pair) -> list[Figure]:
    _say(f"curve: {plan.levels} halo layers")
    picture, made, actions = ASSETS / PICTURES[0], {}, {}
    for count in plan.levels:
        used = LEVELS[len(LEVELS) - count :]  # the coarsest first, as one would save
        halo = random_pair("residual", "n", used).halo if used else random_pair("baseline", "n").halo
        one = Pair(pair.card, pair.baseline, halo)

        def work(one: Pair = one, count: int = count) -> None:
            made[count] = inspect(one, picture, device="cpu")

        actions[str(count)] = lambda work=work: _ms(work)
    took = interleaved(actions, plan.curve_rounds)
    # A layer's attention costs the same for every cell and head.
    work = {
        count: sum(level.grid.height * level.grid.width * level.heads for level in made[count].trace.values())
        for count in plan.levels
    }
    curve = _Curve("Cost against the number of halo layers (P5, then P4, then P3)", "cells x heads")
    curve.points["inspect"] = [(work[count], statistics.median(took[str(count)])) for count in plan.levels]
    curve.points["payload"] = [(work[count], len(payload(made[count])[1]["tensors"]) / 1e6) for count in plan.levels]
    labels = [f"{count} layers ({work[count]} cells x heads)" for count in plan.levels]
    return curve.figures(labels, {"inspect": "ms", "payload": "MB"})


def _batch_figures(plan: Plan, pair: Pair) -> list[Figure]:
    """Several pictures in one predict of the halo model, captured."""
    _say(f"curve: batches {plan.batches}")
    from halo_vis.picture import read_picture

    photo = read_picture(ASSETS / PICTURES[0]).pixels[..., ::-1]

    def at(batch: int) -> Callable[[], float]:
        def work() -> None:
            with capture(pair.halo) as captured:
                pair.halo.predict([photo] * batch, imgsz=IMGSZ, device="cpu", verbose=False, save=False)
            if len(captured.traces) != batch:
                raise RuntimeError(f"{len(captured.traces)} traces of {batch} pictures: this measures something else.")

        return lambda: _ms(work)

    took = interleaved({str(batch): at(batch) for batch in plan.batches}, plan.curve_rounds)
    curve = _Curve("Cost against pictures in a batch (halo model, captured)", "pictures")
    curve.points["predict"] = [(batch, statistics.median(took[str(batch)])) for batch in plan.batches]
    return curve.figures([f"{batch} pictures" for batch in plan.batches], {"predict": "ms"})


# ------------------------------------------------------------------ memory


def memory_figures(inspections: int) -> list[Figure]:
    """Readings of a process of its own, and the line through those after the models were warm."""
    _say(f"memory over {inspections} inspections")
    command = [sys.executable, "-m", "halo_vis.bench.app_memory", str(inspections)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the inspections ended with {done.returncode}: {done.stderr[-1500:]}")
    read = json.loads(done.stdout.splitlines()[-1])
    after = read["after"]
    known = len(after) > 1 and all(value is not None for _, value in after)
    names = {"libraries": "libraries", "loaded": "two models loaded", "ready": "after two inspections"}
    return [
        *(Figure(MEMORY, title, read[name], "MiB") for name, title in names.items()),
        *(Figure(MEMORY, f"after {count} inspections more", value, "MiB") for count, value in after),
        Figure(MEMORY, "growth an inspection", slope(after) if known else None, "MiB", GROWTH_MIB),
        Figure(MEMORY, "one visitor's trace", read["trace"] / 1e6, "MB"),
        Figure(MEMORY, "one visitor's result, photo included", read["result"] / 1e6, "MB"),
    ]


# ------------------------------------------------------------------ visitors


def visitor_figures(visitors: int, visits: int, pictures: list[Path]) -> list[Figure]:
    """All visitors one after the other and all at once, in turns; every result against its sequential one."""
    jobs = [
        Job(pictures[n % len(pictures)], conf=(0.25, 0.05, 0.9)[n % 3], imgsz=(480, 320)[n // 2 % 2])
        for n in range(visitors)
    ]
    rates: dict[str, list[float]] = {"in a row": [], "at once": []}
    differ = 0
    with app() as server:
        people = [Visitor(server.url) for _ in jobs]
        people[0].run(jobs[0])  # loads and warms the models
        before = server.resident()
        alone: list[str] = []
        for n in range(visits):
            for way in ("in a row", "at once") if n % 2 == 0 else ("at once", "in a row"):
                _say(f"{visitors} visitors {way}, {n + 1} of {visits}")
                began = time.perf_counter()
                if way == "in a row":
                    found = [person.run(job) for person, job in zip(people, jobs, strict=True)]
                else:
                    with ThreadPoolExecutor(visitors) as pool:
                        found = list(pool.map(lambda pair: pair[0].run(pair[1]), zip(people, jobs, strict=True)))
                rates[way].append(visitors / (time.perf_counter() - began))
                alone = alone or found
                differ += sum(a != b for a, b in zip(found, alone, strict=True))
        after = server.resident()
    row, once = (statistics.median(rates[way]) for way in ("in a row", "at once"))
    grown = None if before is None or after is None else (after - before) / visitors
    return [
        Figure(VISITORS, f"{visitors} visitors in a row", row, "inspections/s"),
        Figure(VISITORS, f"{visitors} visitors at once", once, "inspections/s"),
        Figure(VISITORS, "at once / in a row", once / row, "", THROUGHPUT_SHARE, least=True),
        Figure(VISITORS, "results that differ from their sequential one", float(differ), "", 1),
        Figure(VISITORS, "memory of the app that stays, a visitor", grown, "MiB"),
    ]
