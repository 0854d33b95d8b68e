"""The explorer's JavaScript and the library compute the same numbers from the same payload.

Rows to 1e-5 absolute on every layer and head; what is shown, times uniform, to 1e-4. Block maps and attention received
travel as float16, so that they may differ by that much more.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from inspections import seen_beside, seen_beside_other_windows

from halo_vis import Inspection, panels
from halo_vis.heats import heat
from halo_vis.rows import ALL_OF, OF
from halo_vis.view import Scales, View
from halo_vis.viewer import payload

SCRIPT = Path(__file__).parent / "js" / "answer.mjs"
# height, width, mask, imgsz: bars on two sides or none; maps that blocks divide, and maps that they do not.
# Without a size: a run beside whose windows are of another size.
PICTURES = {
    "90x120": (90, 120, "valid", 160),
    "150x97": (150, 97, "valid", 192),
    "118x100": (118, 100, "valid", 160),  # cells' centres fall exactly on the photo's edge, where boxes end
    "128x256": (128, 256, "valid", 256),
    "published": (90, 120, "published", 160),
    "other windows": (),
    "published, whole windows": (256, 256, "published", 256),
}
HALF = 2.0**-11  # relative error of what travels as float16
HEAD = {None: -1, "max": -2}


class Dialogue:
    """Questions to the viewer's scripts, asked all at once, and what should come back."""

    def __init__(self, shown: Inspection, folder: Path) -> None:
        self.shown, self.folder = shown, folder
        self.questions: list[dict] = []
        self.checks: list[Callable[[object], None]] = []
        self.values = np.empty(0, np.float32)

    def ask(self, check: Callable[[object], None], kind: str, **question: object) -> None:
        self.questions.append({"kind": kind} | question)
        self.checks.append(check)

    def get(self, place: list[int]) -> np.ndarray:
        return self.values[place[0] : place[0] + place[1]]

    def run(self) -> None:
        meta, files = payload(self.shown)
        (self.folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        (self.folder / "questions.json").write_text(json.dumps({"questions": self.questions, "files": [*files]}))
        for name, raw in files.items():
            (self.folder / f"{name}.bin").write_bytes(raw)
        node = shutil.which("node") or shutil.which("nodejs")
        assert node, "this test needs Node.js"
        done = subprocess.run([node, SCRIPT, self.folder], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        answers = json.loads((self.folder / "answers.json").read_text())
        self.values = np.fromfile(self.folder / "answers.bin", "<f4")
        assert len(answers) == len(self.checks)
        for question, answer, check in zip(self.questions, answers, self.checks, strict=True):
            try:
                check(answer)
            except AssertionError as error:
                raise AssertionError(f"{question}: {error}") from error


@pytest.fixture(params=PICTURES)
def dialogue(request: pytest.FixtureRequest, tmp_path: Path) -> Dialogue:
    size = PICTURES[request.param]
    return Dialogue(seen_beside(*size) if size else seen_beside_other_windows(), tmp_path)


def layers(shown: Inspection) -> Iterator[tuple[str, str, object]]:
    """(name, whose, layer): the halo levels, the control's, another run's, the other mask's, and the global layers."""
    for name, level in shown.trace.items():
        yield name, "halo", level
        yield name, "control", level.randomised()
        yield name, "run1", shown.beside[0].trace[name]
    for who, own in shown.global_attention.items():
        for name, trace in own.items():
            yield name, who, trace


def cells(height: int, width: int, block: int = 8) -> list[tuple[int, int]]:
    """Corners, edges, both sides of a border of blocks, some inside."""
    ys, xs = ({0, 1, n // 2, n - 1, min(block - 1, n - 1), min(block, n - 1)} for n in (height, width))
    return sorted({(y, x) for i, y in enumerate(sorted(ys)) for j, x in enumerate(sorted(xs)) if (i + j) % 2 == 0})


def near(got: np.ndarray, expected: np.ndarray, tolerance: float, half: bool = False) -> None:
    """NaN in the same places; elsewhere no further apart than `tolerance` (and, `half`, than float16 rounds)."""
    assert got.shape == expected.shape, (got.shape, expected.shape)
    assert np.array_equal(np.isnan(got), np.isnan(expected)), "NaN in other places"
    room = tolerance + (HALF * np.nan_to_num(np.abs(expected)) if half else 0)
    off = np.nan_to_num(np.abs(got - expected)) - room
    assert off.max(initial=0) <= 0, f"{off.max() + tolerance:.2e} apart, at {np.unravel_index(off.argmax(), off.shape)}"


def test_rows_and_columns(dialogue: Dialogue) -> None:
    def compare(kind: str, level: str, who: str, trace: object, y: int, x: int, head: object, of: str) -> None:
        def row(answer: list) -> None:
            expected = trace.row(y, x, head, of)
            near(dialogue.get(answer).reshape(expected.shape), expected, 1e-5)

        def column(answer: dict) -> None:
            for key, times, tolerance in (("weights", False, 1e-5), ("times", True, 1e-4)):
                expected = trace.attended_by(y, x, head, of, times_uniform=times)
                near(dialogue.get(answer[key]).reshape(expected.shape), expected, tolerance)

        check = {"row": row, "attendedBy": column}[kind]
        dialogue.ask(check, kind, level=level, who=who, y=y, x=x, head=HEAD.get(head, head), of=of)

    for level, who, trace in layers(dialogue.shown):
        places = cells(trace.grid.height, trace.grid.width)
        every = ALL_OF if hasattr(trace, "norm") else OF[:1]
        for of in every:
            for head in (None, "max", *range(trace.heads)):
                for y, x in places if who == "halo" else places[::4]:
                    compare("row", level, who, trace, y, x, head, of)
                for y, x in places[::5]:
                    compare("attendedBy", level, who, trace, y, x, head, of)
    dialogue.run()


def test_numbers(dialogue: Dialogue) -> None:
    shown = dialogue.shown
    height, width = shown.picture.pixels.shape[:2]
    boxes = [tuple(map(float, shown.halo.xyxy[0])), (0.0, 0.0, float(width), float(height)), (5.0, 5.0, 5.5, 5.5)]
    boxes.append((width * 0.25, height * 0.25, width * 0.75, height * 0.5))
    asked = set()

    def compare(level: str, who: str, trace: object, y: int, x: int, head: object, of: str, box: tuple) -> None:
        def check(said: dict) -> None:
            row = trace.row(y, x, head, of)
            values = [v for *_, v in trace.top(y, x, 5, head, of)]
            near(np.array([t["value"] for t in said["top"] if t["value"] > 0]), np.array(values), 1e-5)
            (oy, ox), _ = trace.place(y, x)
            total = row.sum() if head == "max" else 1
            for t in said["top"]:  # equal values may come in another order, but each lies where it is said to lie
                assert abs(row[t["y"] - oy, t["x"] - ox] / (total or 1) - t["value"]) < 1e-5
            assert abs(said["outside"] - trace.outside(y, x, box, head, of)) < 1e-5
            assert abs(said["entropy"] - trace.entropy(y, x, head, of)) < 1e-5
            distance = trace.distance(y, x, head, of)
            assert (said["distance"] is None) == np.isnan(distance), "NaN on one side"
            assert said["distance"] is None or abs(said["distance"] - distance) < 1e-3  # photo pixels
            found = trace.cells_in(box, trace.grid.height, trace.grid.width)
            assert said["cells"] == (None if found is None else list(found))
            answer = trace.answer(y, x, shown.answers, head, of)
            asked.add(answer and answer[0])
            assert (said["answer"] is None) == (answer is None)
            if answer:
                assert said["answer"]["name"] == answer[0] and abs(said["answer"]["times"] - answer[1]) < 1e-4
            if said["mass"]:
                mass = trace.mass(y, x, head, of)
                assert all(abs(said["mass"][part] - mass[part]) < 1e-5 for part in mass)

        dialogue.ask(check, "numbers", level=level, who=who, y=y, x=x, head=HEAD.get(head, head), of=of, box=list(box))

    for level, who, trace in layers(shown):
        if who == "run1":
            continue
        every = OF if hasattr(trace, "norm") else OF[:1]
        for n, (y, x) in enumerate(cells(trace.grid.height, trace.grid.width)):
            for of in every:
                for head in (None, "max", trace.heads - 1):
                    compare(level, who, trace, y, x, head, of, boxes[n % len(boxes)])
    dialogue.run()
    assert asked == {None, "bee", "tiny"}  # all three happened


def test_what_is_shown(dialogue: Dialogue) -> None:
    """Every view, on every level and head, of both panels, with every source on the left."""
    shown = dialogue.shown

    def compare(view: View, side: str) -> None:
        def check(said: dict | None) -> None:
            expected = heat(shown, view, side)
            assert (said is None) == (expected is None), "nothing is shown on one side"
            if said is None:
                return
            values = dialogue.get(said["values"]).reshape(said["rows"], said["cols"])
            half = view.view in ("blocks", "received")
            if half and expected.diverging:  # two roundings, each of another number
                near(values, expected.values, 1e-4 + 2 * HALF * 200)
            else:
                near(values, expected.values, 1e-4, half)
            assert (said["log"], said["diverging"]) == (expected.log, expected.diverging)
            assert said["max"] == pytest.approx(expected.largest, rel=HALF if half else 1e-5)
            rect, (x1, y1, x2, y2) = said["rect"], expected.rect()
            assert (rect["x"], rect["y"], rect["w"], rect["h"]) == pytest.approx((x1, y1, x2 - x1, y2 - y1), abs=1e-6)

        state = view.state()
        for name in ("map", "zoom", "show", "opacity", "dim", "curtain", "strip"):
            del state[name]
        dialogue.ask(check, "heat", state=state, side=side)

    best = [*np.argsort(-(shown.halo.xyxy[:, 2:] - shown.halo.xyxy[:, :2]).prod(1))][:: max(1, len(shown.halo) - 1)]
    last = min(len(shown.beside[0].detections), len(shown.baseline), len(shown.halo)) - 1  # in all lists
    for level, trace in shown.trace.items():
        places = cells(trace.grid.height, trace.grid.width)
        for n, head in enumerate((None, "max", *range(trace.heads))):
            for m, of in enumerate(ALL_OF):
                for view in ("cell", "to", "box", "blocks", "received"):
                    y, x = places[(7 * n + 3 * m) % len(places)]
                    box = ("halo", int(best[n % len(best)])) if view == "box" else None
                    scales = Scales(*["auto"] * 5) if (n + m) % 2 else Scales()
                    compare(View(level, y, x, view=view, head=head, of=of, box=box, scales=scales, log=m == 1), "halo")
        for left in ("layer10", "control", "mask", "run1", "off"):
            for view in ("cell", "to", "box", "blocks", "received"):
                for head, of in ((None, "weight"), ("max", "contribution"), (1, "position")):
                    y, x = places[len(left) % len(places)]
                    box = ("baseline", last) if view == "box" else None
                    one = View(level, y, x, left=left, view=view, head=head, of=of, box=box)
                    compare(one, "baseline")
                    if left != "off":
                        compare(View(**{**vars(one), "mode": "difference", "log": True}), "halo")
    for level, left in (("layer10", "layer10"), ("layer22", "layer10"), ("layer10", "mask"), ("layer22", "control")):
        for view in ("cell", "to", "box", "blocks"):
            for head in (None, "max", 1):
                one = View(level, 1, 2, left=left, view=view, head=head, box=("halo", 0), mode="difference")
                compare(one, "halo")
                compare(one, "baseline")
    dialogue.run()


def test_warnings(tmp_path: Path) -> None:
    """The same sentences in the same order, each of them at least once."""
    said_once = set()
    for number, mask in enumerate(("valid", "published")):
        plain = seen_beside(256, 256, mask, 256)
        quiet = {name: replace(level, norm=np.zeros_like(level.norm)) for name, level in plain.trace.items()}
        even = {name: replace(level, q=np.zeros_like(level.q)) for name, level in plain.trace.items()}
        for m, levels in enumerate((quiet, even)):
            memorised = replace(plain.card, memorised=True) if m else plain.card
            trace = replace(plain.trace, levels=levels)
            folder = tmp_path / f"{number}{m}"
            folder.mkdir()
            dialogue = Dialogue(replace(plain, card=memorised, untrained=bool(m), trace=trace), folder)

            def compare(view: View, dialogue: Dialogue = dialogue) -> None:
                expected = panels.warnings(dialogue.shown, view)
                said_once.update(expected)

                def check(said: list[str]) -> None:
                    assert said == expected

                state = {key: view.state()[key] for key in ("level", "left", "view", "head", "of", "y", "x")}
                dialogue.ask(check, "warnings", state=state)

            for level, y, x in (("P3", 0, 0), ("P3", 12, 13), ("P5", 3, 3), ("layer10", 1, 2)):
                for left in ("off", "layer10", "control", "mask", "run1"):
                    for head, of in ((None, "weight"), ("max", "contribution"), (0, "position")):
                        compare(View(level, y, x, left=left, head=head, of=of))
            dialogue.run()
    assert len(said_once) == 10


def test_where_the_explorer_starts(dialogue: Dialogue) -> None:
    """The same state with nothing said, and the same detection first."""

    def same_state(said: dict) -> None:
        start = View().state()
        assert said.pop("map") == ""  # the first of those in the payload
        for name in ("point", "zoom"):  # known once there is a picture
            del said[name]
        assert said == {name: start[name] for name in said}
        assert {*start} - {*said} == {"map", "zoom", "y", "x"}

    def same_box(said: dict) -> None:
        assert (said["side"], said["index"]) == View.strongest(dialogue.shown).box

    dialogue.ask(same_state, "start")
    dialogue.ask(same_box, "strongest")
    dialogue.run()
