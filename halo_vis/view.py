"""What the explorer shows, as plain data: the view state of the browser with Python's conventions.

Figures, animations and saved files are made from a :class:`View` and what :func:`halo_vis.heats.heat` makes of it, so
that they show what the browser showed.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np

from halo_vis.drawing import COLOUR_MAPS
from halo_vis.places import SIDES, cell_at, layer_of, query_point
from halo_vis.rows import ALL_OF, Head, head_number
from halo_vis.seen import Seen

GLOBAL = re.compile(r"layer[0-9]{1,3}(\.[0-9]{1,2})?")
LEVEL = re.compile(rf"P[1-9]|{GLOBAL.pattern}")
LEFT = re.compile(rf"off|control|mask|run[1-9][0-9]?|{GLOBAL.pattern}")
MODES = ("pair", "slider", "difference")
STRIPS = ("off", "levels", "heads")
VIEWS = ("cell", "box", "to", "blocks", "received")
MOST_CELLS = 10_000  # no map of ours has as many rows; larger numbers are mistakes, or attempts
LARGEST_ZOOM = 256


@dataclass(frozen=True)
class Scales:
    """The end of each view's colour bar, times uniform; "auto": the largest value shown."""

    cell: float | str = 8
    box: float | str = 4
    to: float | str = 8
    blocks: float | str = 4
    received: float | str = 2


@dataclass(frozen=True)
class Show:
    """What is drawn over the photo besides the heat."""

    boxes: bool = True
    labels: bool = True
    grid: bool = False
    window: bool = True


@dataclass(frozen=True)
class Zoom:
    """How far the photo is enlarged, and the photo pixel at the panel's centre; None: the photo's own centre."""

    scale: float = 1.0
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True)
class View:
    """What the explorer shows.

    Attributes:
        level: halo layer ("P3", ...) or global layer ("layer10", ...) of the right panel; y, x: the query's cell in it.
        left: what the left panel shows: a global layer of the baseline, "off", "control", "mask", "run1", ...
        mode: "pair", "slider" or "difference"; strip: "off", "levels" or "heads".
        view: "cell" (one row), "box" (mean over a box), "to" (who attends to the cell), "blocks" or "received".
        head: None is the mean of the heads, "max" the largest of their maps, else a head's number.
        of: "weight", "contribution", "content" or "position".
        box: the chosen detection, (side, index): side "halo" is the right panel's list, "baseline" the left one's.
        log: logarithmic scale, 1 in its middle; opacity of the heat; dim: how dark the photo is under it, 0 to 0.8.
        curtain: where the slider stands, 0 (left) to 1.

    Raises:
        ValueError: a field has a value that no explorer could have.
    """

    level: str = "P4"
    y: int = 0
    x: int = 0
    left: str = "layer10"
    mode: str = "pair"
    strip: str = "off"
    view: str = "cell"
    head: Head = None
    of: str = "weight"
    box: tuple[str, int] | None = None
    scales: Scales = field(default_factory=Scales)
    log: bool = False
    opacity: float = 0.6
    dim: float = 0.0
    map: str = COLOUR_MAPS[0]
    show: Show = field(default_factory=Show)
    zoom: Zoom = field(default_factory=Zoom)
    curtain: float = 0.5

    def __post_init__(self) -> None:
        """Trust no field: what comes from a browser or a link ends here too."""
        _text("level", self.level, LEVEL.fullmatch, 'a level ("P4") or a global layer ("layer10")')
        _text("left", self.left, LEFT.fullmatch, '"off", "control", "mask", "run1" or a global layer ("layer10")')
        for name, known in (
            ("mode", MODES), ("strip", STRIPS), ("view", VIEWS), ("of", ALL_OF), ("map", COLOUR_MAPS),
        ):  # fmt: skip
            _text(name, getattr(self, name), known.__contains__, f"one of {', '.join(known)}")
        for name in ("y", "x"):
            _whole(name, getattr(self, name), MOST_CELLS)
        if self.head is not None and self.head != "max":
            _whole("head", self.head, 1000)
        if self.box is not None:
            if not isinstance(self.box, tuple) or len(self.box) != 2:
                raise _error("box", "a side and an index, or nothing", self.box)
            _text("box side", self.box[0], SIDES.__contains__, "baseline or halo")
            _whole("box index", self.box[1], 100_000)
        for name, kind in (("scales", Scales), ("show", Show), ("zoom", Zoom)):
            if not isinstance(getattr(self, name), kind):
                raise _error(name, f"a {kind.__name__}", getattr(self, name))
        for end in fields(Scales):
            value = getattr(self.scales, end.name)
            if value != "auto":
                _number(f"scales.{end.name}", value, 1e-3, 1e6, ' or "auto"')
        for mark in fields(Show):
            _flag(f"show.{mark.name}", getattr(self.show, mark.name))
        _number("zoom.scale", self.zoom.scale, 1, LARGEST_ZOOM)
        for name in ("x", "y"):
            if getattr(self.zoom, name) is not None:
                _number(f"zoom.{name}", getattr(self.zoom, name), -1e6, 1e6)
        _flag("log", self.log)
        for name, most in (("opacity", 1), ("dim", 0.8), ("curtain", 1)):
            _number(name, getattr(self, name), 0, most)

    @property
    def scale(self) -> float | str:
        """The end of the colour bar of the current view, or "auto"."""
        return getattr(self.scales, self.view)

    @classmethod
    def from_state(cls, state: Mapping) -> View:
        """The view of a browser's ``state()``: missing fields are as at the start, unknown ones are left out.

        Raises:
            ValueError: a field has a type or a value that no explorer would send.
        """
        if not isinstance(state, Mapping):
            raise _error("state", "an object with the fields of a view", state)
        given = {f.name: state[f.name] for f in fields(cls) if f.name in state}
        if "head" in given:
            _whole("head", given["head"], 1000, least=-2)
            given["head"] = {-1: None, -2: "max"}.get(given["head"], given["head"])
        if given.get("map") == "":  # the explorer's way to say: the first
            del given["map"]
        if given.get("box") is not None:
            box = given["box"]
            if not isinstance(box, Mapping) or not {"side", "index"} <= box.keys():
                raise _error("box", 'null or {"side": ..., "index": ...}', box)
            given["box"] = (box["side"], box["index"])
        for name, kind in (("scales", Scales), ("show", Show), ("zoom", Zoom)):
            if name in given:
                if not isinstance(given[name], Mapping):
                    raise _error(name, "an object", given[name])
                given[name] = kind(**{f.name: given[name][f.name] for f in fields(kind) if f.name in given[name]})
        return cls(**given)

    def state(self) -> dict:
        """The view as the browser has it (plain JSON values); the inverse of :meth:`from_state`."""
        box = None if self.box is None else {"side": self.box[0], "index": self.box[1]}
        return asdict(self) | {"head": head_number(self.head), "box": box}

    @classmethod
    def strongest(cls, seen: Seen) -> View:
        """What the explorer starts with: the strongest detection (the halo model's first) and its query."""
        layers = [*seen.trace, *seen.global_attention.get("halo", {})]
        level = usual = next((n for n in ("P4", "P3", "P5") if n in layers), next(iter(layers), "P4"))
        left = next(iter(seen.global_attention.get("baseline", {})), "off")
        photo = seen.trace.letterbox
        point, box = photo.to_input(photo.photo_height / 2, photo.photo_width / 2), None
        for side, found in (("baseline", seen.baseline), ("halo", seen.halo)):  # the halo model's, if it has any
            if len(found):
                index = int(np.argmax(found.conf))
                point, box = query_point(seen, found, index), (side, index)
                queried = found.queries[index][0] if found.queries else ""
                level = queried if queried in seen.trace else usual
        return cls(**_at(seen, level, point), left=left, box=box)

    def levels(self, seen: Seen) -> list[View]:
        """The same point on every halo level, finest first."""
        stride = layer_of(seen, self.level).stride
        point = (self.y + 0.5) * stride, (self.x + 0.5) * stride
        # A head's number means nothing on another level, which may not even have it.
        head = self.head if self.head == "max" else None
        return [
            self if level == self.level else replace(self, **_at(seen, level, point), head=head) for level in seen.trace
        ]

    def walk(self, seen: Seen) -> list[View]:
        """From detection to detection of the halo model, the most certain first; this view where there is none."""
        order = np.argsort(-seen.halo.conf, kind="stable")
        return [self._on(seen, int(index)) for index in order] or [self]

    def _on(self, seen: Seen, index: int) -> View:
        """The query of a detection of the halo model, on its own level."""
        level = seen.halo.queries[index][0] if seen.halo.queries else ""
        level = level if level in seen.trace else self.level
        head = self.head if level == self.level or self.head == "max" else None
        where = _at(seen, level, query_point(seen, seen.halo, index))
        return replace(self, **where, head=head, box=("halo", index))


def _at(seen: Seen, level: str, point: tuple[float, float]) -> dict:
    """The fields that put a view on the cell of a level under a point of the input."""
    y, x = cell_at(layer_of(seen, level), *point)
    return {"level": level, "y": y, "x": x}


def _error(name: str, rule: str, value: object) -> ValueError:
    return ValueError(f"view: {name} must be {rule}, got {reprlib.repr(value)}. Correct it, or leave it out.")


def _text(name: str, value: object, known: Callable, rule: str) -> None:
    if not isinstance(value, str) or not known(value):
        raise _error(name, rule, value)


def _whole(name: str, value: object, most: int, least: int = 0) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _error(name, f"a whole number from {least} to {most}", value)


def _number(name: str, value: object, least: float, most: float, more: str = "") -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= most:  # NaN is in no range
        raise _error(name, f"a number from {least:g} to {most:g}{more}", value)


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise _error(name, "true or false", value)
