"""The viewer in a real browser: how fast a query is, how smooth a hover, how large a payload, how flat the memory."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ultralytics import __version__ as ultralytics_version

from halo_vis import __version__
from halo_vis.bench.browser import chromium, settle
from halo_vis.bench.memory import CACHED, KEPT, Memory
from halo_vis.bench.report import Figure, as_json, load, machine, slope, spread, table
from halo_vis.bench.site import Site, page
from halo_vis.bench.subject import IMGSZ, PICTURES, inspections, random_inspection
from halo_vis.viewer import payload

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MEASURE = Path(__file__).with_name("measure.js")
WINDOW = {"width": 1440, "height": 900}
LEVELS = ("P3", "P4", "P5")
MB = 1e6
QUERIES = "([kind, count]) => HaloBench.queries(kind, count)"
PAYLOAD, READY = f"Payload of {PICTURES[0]} at {IMGSZ}, as binary", "From show() to ready"
QUERY, FIRST_PASS = "One query, compute and paint", "One query, first pass over the photo"
FRAMES, TASKS = "Frames while the pointer moves", "Longest task of the main thread (0: none of 50 ms)"
# The targets.
QUERY_MEDIAN_MS, QUERY_P95_MS, BLOCKED_MS, PAYLOAD_MB = 2.0, 8.0, 50.0, 5.0
# A frame of 60 fps is 16.7 ms; timestamps of frames jitter by a few tenths.
FPS = 59.0


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        pictures: shown in a row for the memory figures; below 10 they say nothing.
        positions: of the pointer, for each view and level.
        frames: of each hover.
        larger: scales whose payload is built and reported besides n ("s", "m", "l", "x").
    """

    pictures: int = 500
    positions: int = 300
    frames: int = 300
    larger: tuple[str, ...] = ("s",)

    def __post_init__(self) -> None:
        """Refuse what gives no figure."""
        for name in ("pictures", "positions", "frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")


def run(plan: Plan, out: Path | None = None) -> int:
    """Measure, print the table, write the JSON; returns 0, also where a target is missed: the table says so."""
    facts, figures = measure(plan)
    print(table(facts, figures))
    if out:
        out.write_text(json.dumps(as_json(facts, figures), indent=1), encoding="utf-8")
    return 0


def measure(plan: Plan) -> tuple[dict[str, str], list[Figure]]:
    """Every figure, and what it was measured on."""
    facts = machine() | {"halo_vis": __version__, "ultralytics": ultralytics_version}
    _say("two pictures through both models")
    seen = inspections()
    packed = [payload(one) for one in seen]
    figures = _payload_figures(packed[0], plan.larger)
    with Site({"index.html": page()}) as site, chromium() as browser:
        shown = [site.add(f"p{n}", *packed[n], one.picture) for n, one in enumerate(seen)]
        tab = browser.new_page(viewport=WINDOW)
        tab.add_init_script(MEASURE.read_text(encoding="utf-8"))
        facts["browser"] = f"Chromium {browser.version}, no GPU: canvases are painted by the processor"
        facts["page"] = f"{WINDOW['width']} x {WINDOW['height']}, bus.jpg, input {IMGSZ}"
        facts["a query"] = (
            "pointer event to painted: event, compute, both panels and numbers drawn, a pixel of each panel read back"
        )
        settle(browser)
        figures += _load_figures(tab, site.url, shown)
        figures += _query_figures(tab, plan)
        figures += _choice_figures(tab)
        figures += _frame_figures(tab, plan)
        figures += _memory_figures(browser, tab, shown, plan)
    facts["load after"] = load()
    groups = list(dict.fromkeys(f.group for f in figures))
    return facts, sorted(figures, key=lambda f: groups.index(f.group))


def _say(what: str) -> None:
    """Progress, beside the table and not in it."""
    print(f"bench viewer: {what}", file=sys.stderr, flush=True)


# ------------------------------------------------------------------ payload


def _payload_figures(bus: tuple[dict, dict[str, bytes]], larger: tuple[str, ...]) -> list[Figure]:
    meta, files = bus
    figures = [Figure(PAYLOAD, "n: first paint (tensors)", len(files["tensors"]) / MB, "MB", PAYLOAD_MB)]
    figures += [
        Figure(PAYLOAD, f"n: {name}, on demand", len(files[name]) / MB, "MB") for name in files if name != "tensors"
    ]
    figures.append(Figure(PAYLOAD, "n: meta.json", len(json.dumps(meta)) / MB, "MB"))
    for form, scale in (("article", "n"), *(("residual", scale) for scale in larger)):
        _say(f"payload of {scale}, {form}")
        _, files = payload(random_inspection(form, scale))
        title = f"{scale}, article's form" if form == "article" else scale
        figures += [Figure(PAYLOAD, f"{title}: {name}", len(body) / MB, "MB") for name, body in files.items()]
    return figures


# ------------------------------------------------------------------ in the page


def _load_figures(tab: Page, url: str, shown: list[dict]) -> list[Figure]:
    """From an empty tab to the first picture, and from picture to picture."""
    _say("loading")
    tab.goto(url)
    first = tab.evaluate("([p]) => HaloBench.show(p)", shown)
    fresh = _longest(tab, "first page of a new process, and its first picture", 0)
    tab.reload()
    tab.evaluate("([p]) => HaloBench.show(p)", shown)
    blocked = _longest(tab, "the page again, and its first picture", 0)
    began = _now(tab)
    later = [tab.evaluate("([p, n]) => HaloBench.show(p, n)", [shown[n % len(shown)], n]) for n in range(1, 11)]
    blocked_later = _longest(tab, "next pictures", began)
    tab.evaluate("([p]) => HaloBench.show(p, 'bus')", shown)
    return [
        Figure(READY, "first picture of a page", first, "ms"),
        *spread(READY, "next pictures", later, None, None)[:1],
        fresh,
        blocked,
        blocked_later,
    ]


def _choose(tab: Page, **state: object) -> None:
    """Bring the viewer to a state, and wait until it has nothing left to do."""
    tab.evaluate("(state) => { controller.restore(state); return HaloBench.idle(); }", state)
    now = tab.evaluate("controller.state()")
    wrong = {key: now.get(key) for key, value in state.items() if now.get(key) != value}
    if wrong:
        raise RuntimeError(f"the viewer did not take {state}: it has {wrong}.")


def _now(tab: Page) -> float:
    return tab.evaluate("performance.now()")


def _longest(tab: Page, name: str, began: float) -> Figure:
    """The longest task since a moment of the page's clock."""
    took = tab.evaluate("(from) => HaloBench.longest(from, performance.now())", began)
    return Figure(TASKS, name, took, "ms", BLOCKED_MS)


def _choice_figures(tab: Page) -> list[Figure]:
    """Every view of every layer once, the control fetched and compared: what takes long is done in slices."""
    _say("every view once")
    began = _now(tab)
    for level in LEVELS:
        for view in ("cell", "box", "to", "blocks", "received"):
            for of in ("weight", "contribution", "content", "position"):
                _choose(tab, level=level, view=view, of=of, box={"side": "halo", "index": 0})
    _choose(tab, level="P4", view="cell", of="weight", left="control", mode="difference")
    tab.wait_for_function("document.querySelector('[data-part=status-baseline]').hidden")
    figure = _longest(tab, "every view, the control", began)
    _choose(tab, left="layer10", mode="pair")
    return [figure]


def _query_figures(tab: Page, plan: Plan) -> list[Figure]:
    figures = []
    for view, kind in (("cell", "pointer"), ("to", "pointer"), ("box", "box")):
        for level in LEVELS:
            _say(f"queries, {view} {level}")
            _choose(tab, view=view, level=level, pinned=False)
            # The second pass is the figure: compiled, and with what the views keep (normalisers, means) in place.
            first, took = (tab.evaluate(QUERIES, [kind, plan.positions]) for _ in "12")
            name = f"{view} {level}"
            if idle := sum(t != t for t in first + took):
                raise RuntimeError(f"the viewer drew nothing for {idle} of {2 * len(took)} queries of {name}.")
            figures += spread(QUERY, name, took, QUERY_MEDIAN_MS, QUERY_P95_MS)[:2]
            figures += spread(FIRST_PASS, name, first, None, None)[1:2]
    chosen = tab.evaluate(QUERIES, ["choice", plan.positions])
    return figures + spread("A box is chosen: drawing, controls, table", "box P5", chosen, None, None)[:2]


def _frame_figures(tab: Page, plan: Plan) -> list[Figure]:
    """The pointer moves in every frame."""
    figures = []
    for strip, level in (("off", "P4"), ("levels", "P4"), ("heads", "P5")):
        _say(f"hover, strip {strip}")
        _choose(tab, view="cell", level=level, strip=strip, pinned=False)
        began = _now(tab)
        gaps = tab.evaluate("(n) => HaloBench.hover(n)", plan.frames)
        figures += _frames(f"cell {level}, strip {strip}", gaps)
        figures.append(_longest(tab, f"hover, strip {strip}", began))
    _choose(tab, view="cell", level="P4", strip="off", pinned=False)
    _say("hover with the browser's own mouse events")
    area = tab.locator('canvas[data-side="halo"]').bounding_box()
    tab.evaluate("HaloBench.record()")
    for n in range(plan.frames):
        across, down = 0.1 + 0.8 * n / plan.frames, 0.3 + n % 40 / 100
        tab.mouse.move(area["x"] + area["width"] * across, area["y"] + area["height"] * down)
    recorded = tab.evaluate("HaloBench.recorded()")
    figures += _frames("cell P4, real mouse", recorded["gaps"])
    moves = recorded["moves"] / len(recorded["gaps"])
    figures.append(Figure(FRAMES, "cell P4, real mouse: moves a frame", moves, ""))
    return figures


def _frames(name: str, gaps: list[float]) -> list[Figure]:
    ordered = sorted(gaps)
    return [
        Figure(FRAMES, f"{name}: median", 1000 / ordered[len(ordered) // 2], "fps", FPS, least=True),
        Figure(FRAMES, f"{name}: mean", 1000 * len(gaps) / sum(gaps), "fps"),
        Figure(FRAMES, f"{name}: longest frame", ordered[-1], "ms"),
    ]


def _memory_figures(browser: Browser, tab: Page, shown: list[dict], plan: Plan) -> list[Figure]:
    """Readings after a tenth, a half and all of the pictures, and the line through them."""
    memory = Memory(browser, tab)
    marks = [max(1, round(plan.pictures * share)) for share in (0.1, 0.5, 1.0)]
    readings, done = [], 0
    began = _now(tab)
    for mark in marks:
        _say(f"{mark} of {plan.pictures} pictures")
        tab.set_default_timeout(0)
        tab.evaluate("([p, from, to]) => HaloBench.showMany(p, from, to)", [shown, done, mark])
        readings.append((mark, memory.read()))
        done = mark
    group = f"Memory over {plan.pictures} pictures in a row"
    figures = [_longest(tab, f"{plan.pictures} pictures", began)]
    for kind, most in KEPT.items():
        unit = "" if kind in ("DOM nodes", "listeners") else "MiB"
        figures += [Figure(group, f"{kind} after {mark}", values[kind], unit) for mark, values in readings]
        points = [(mark, values[kind]) for mark, values in readings]
        known = len({mark for mark, _ in points}) > 1 and all(y is not None for _, y in points)
        figures.append(Figure(group, f"{kind}: growth a picture", slope(points) if known else None, unit, most))
    return [*figures, *(Figure(group, f"{CACHED} after {mark}", values[CACHED], "MiB") for mark, values in readings)]
