"""The diagnostic meadow: pictures in which a flower's class is decided by what stands beside it.

A flower is *visited* when a bee is near it, outside its own box, else *alone*. Nothing inside the flower's box
tells which: no pixel there depends on the bees, so a model can only know by looking around, and where it must
look is known. A scene is planned first (`plan`: a pure description, all lengths in fractions of the picture's side)
and painted afterwards (`render`), so that one bee can be moved or taken away and everything else stays as it was.

The rules, for every scene (distances are Euclidean, from box edge to box edge):

- a visited flower has exactly one bee, its visitor, at a distance of `GAP` to `NEAR`;
- every other bee, and for an alone flower every bee, is at least `FAR` away, so there is no doubtful case;
- the visitor's box lies inside the P4 halo window of the flower's centre cell (`p4_window`);
- what a bee paints, its shadow included, touches no flower's box.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from halo_vis.meadow.bees import SHADOW_PAD, bee_extent, paint_bee
from halo_vis.meadow.canvas import SPECIES, Bee, Flower, Light
from halo_vis.meadow.flowers import head_extent, paint_head, paint_stem
from halo_vis.meadow.ground import develop, paint_meadow, paint_near_grass

NAMES = ("bee", "visited", "alone")
BEE, VISITED, ALONE = range(3)
SPLITS = ("train", "val", "test")
GAP, NEAR, FAR = 0.015, 0.14, 0.24  # distances between boxes, in fractions of the side
VERSION = 2  # of the pictures: a data set written by another version is written anew

_TOL = 0.004  # plans keep this much more distance than the rules ask: painted boxes are whole pixels
_CLEAR = GAP + SHADOW_PAD + _TOL  # closest that a plan puts a bee to any flower
_APART = 0.02  # between two flowers: a neighbour's petals inside a box would tell something about its surroundings
_SPOTS = 4  # flowers of a scene that get a place for a visitor; for more there is seldom room
_MARGIN = 0.012  # between any box and the border of the picture

Box = tuple[float, float, float, float]  # x1, y1, x2, y2


@dataclass(frozen=True)
class Plan:
    """Everything about a scene, before it is painted. Flowers and bees are in fractions of the side.

    The classes are not stored: they follow from where flowers and bees are (`visitors`).
    """

    flowers: tuple[Flower, ...]
    bees: tuple[Bee, ...]
    light: Light
    meadow_seed: int
    noise_seed: int
    noise: float  # standard deviation of the camera noise, in grey levels


@dataclass(frozen=True)
class Scene:
    """A painted plan. Objects are the flowers in the plan's order, then the bees.

    `image` (size, size, 3) uint8 RGB; `xyxy` (N, 4) float32 pixels, tight around what was painted;
    `cls` (N,) int64, an index into `NAMES`; `visitor` (N,) int64: for a visited flower the index of the bee
    that makes it so, else -1.
    """

    image: np.ndarray
    xyxy: np.ndarray
    cls: np.ndarray
    visitor: np.ndarray
    plan: Plan

    def __post_init__(self) -> None:
        n = len(self.cls)
        if self.xyxy.shape != (n, 4) or self.visitor.shape != (n,):
            raise ValueError(
                f"expected xyxy ({n}, 4) and visitor ({n},), got {self.xyxy.shape} and {self.visitor.shape}"
            )


# ---------------------------------------------------------------- rules
def gap(a: Box, b: Box) -> float:
    """Euclidean distance between two boxes' edges, 0 where they touch or overlap."""
    dx, dy = max(a[0] - b[2], b[0] - a[2], 0.0), max(a[1] - b[3], b[1] - a[3], 0.0)
    return math.hypot(dx, dy)


def p4_window(y: float, x: float, cells: int = 20, block_size: int = 8, halo_size: int = 3) -> Box:
    """`x1, y1, x2, y2` (fractions of the side) of the halo window that the P4 cell at `y, x` (fractions) can see.

    For a 320 x 320 input at stride 16: 20 x 20 cells; a block of 8 cells sees 3 cells beyond its border.
    """
    starts = [min(int(c * cells), cells - 1) // block_size * block_size for c in (y, x)]
    (y0, y1), (x0, x1) = ((max(s - halo_size, 0), min(s + block_size + halo_size, cells)) for s in starts)
    return x0 / cells, y0 / cells, x1 / cells, y1 / cells


def visitors(plan: Plan) -> tuple[int, ...]:
    """For each flower the index (into `plan.bees`) of its visitor, the nearest bee within `NEAR`, or -1."""
    boxes = [bee_extent(b) for b in plan.bees]
    result = []
    for flower in plan.flowers:
        gaps = [gap(head_extent(flower), b) for b in boxes]
        best = int(np.argmin(gaps)) if gaps else -1
        result.append(best if gaps and gaps[best] <= NEAR else -1)
    return tuple(result)


def check(plan: Plan) -> None:
    """Raise ValueError unless `plan` obeys every rule of the module's docstring."""
    for f, (flower, visitor) in enumerate(zip(plan.flowers, visitors(plan), strict=True)):
        for b, bee in enumerate(plan.bees):
            problem = _conflict(head_extent(flower), bee_extent(bee), b == visitor)
            if problem:
                raise ValueError(f"bee {b} and flower {f}: {problem}. Move the bee, or take it away.")
    for b, bee in enumerate(plan.bees):
        if not _inside(bee_extent(bee)):
            raise ValueError(f"bee {b} at y={bee.y:.3f}, x={bee.x:.3f} must lie inside the picture, with its shadow.")


def _inside(box: Box, outer: Box = (0.0, 0.0, 1.0, 1.0), margin: float = _MARGIN) -> bool:
    x0, y0, x1, y1 = outer
    return x0 + margin <= box[0] and y0 + margin <= box[1] and box[2] <= x1 - margin and box[3] <= y1 - margin


def _conflict(flower: Box, bee: Box, is_visitor: bool) -> str:
    """What is wrong between a flower's and a bee's box, or an empty string."""
    distance = gap(flower, bee)
    if not is_visitor:
        return "" if distance >= FAR + _TOL else f"a bee that is no visitor must be {FAR} away, is {distance:.3f}"
    if not _CLEAR <= distance <= NEAR - _TOL:
        return f"a visitor must be {_CLEAR:.3f} to {NEAR - _TOL:.3f} away, is {distance:.3f}"
    y, x = (flower[1] + flower[3]) / 2, (flower[0] + flower[2]) / 2
    for dy, dx in (
        (-_TOL, -_TOL),
        (-_TOL, _TOL),
        (_TOL, -_TOL),
        (_TOL, _TOL),
    ):  # a painted centre may be in the next cell
        if not _inside(bee, p4_window(y + dy, x + dx), _TOL):
            return "a visitor must lie in the flower's P4 window"
    return ""


# ---------------------------------------------------------------- planning
def plan(seed: int, split: str = "train") -> Plan:
    """The plan of scene `seed` of a split: the same on every platform; no two splits share a random stream.

    Looks and sizes come first. Then each flower gets its place together with a place for a visitor, whether or not one
    will come; coins, tossed last, decide which visitors are there. So up to `_SPOTS` flowers neither a flower's look
    nor its place nor its neighbours can tell its class. In a scene of more flowers the rest, picked at random, have no
    room for a visitor and are alone: their looks still tell nothing, their places a little.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}.")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}.")
    rng = np.random.default_rng([SPLITS.index(split), seed])
    light = Light(angle=float(rng.uniform(-2.7, -0.44)), warmth=float(rng.uniform()), mood=float(rng.uniform(0, 4)),
                  haze=float(rng.uniform()))  # fmt: skip
    n = int(rng.choice(5, p=(0.2, 0.25, 0.25, 0.18, 0.12))) + 2
    looks = [_flower(rng, 0.205 - 0.01 * (n - 2)) for _ in range(n)]
    bees = [_bee(rng) for _ in range(min(n, _SPOTS) + 2)]
    spotted = rng.permutation(n)[:_SPOTS].tolist()  # the flowers that have a place for a visitor
    while (found := _place(rng, looks, spotted, bees)) is None:
        pass
    flowers, guests, decoys = found
    coins = rng.random(len(guests)) < n / (2 * len(guests))  # half of all flowers
    chosen = [bee for bee, coin in zip(guests, coins, strict=True) if coin]
    fewest, most = (0 if chosen else 1), (1 if len(chosen) > 2 else 2)
    chosen += decoys[: int(rng.integers(fewest, most + 1))]
    order = rng.permutation(len(chosen)).tolist()  # a bee's index must not tell a visitor from a decoy
    seeds = [int(s) for s in rng.integers(0, 2**31, 2)]
    return Plan(flowers, tuple(chosen[b] for b in order), light, *seeds, noise=float(rng.uniform(0.8, 1.8)))


def _flower(rng: np.random.Generator, largest: float) -> Flower:
    species = int(rng.integers(len(SPECIES)))
    kind = SPECIES[species]
    return Flower(0.0, 0.0, float(rng.uniform(0.115, largest)), species,
                  int(rng.integers(kind.petals[0], kind.petals[1] + 1)),
                  int(rng.integers(len(kind.petal_rgb))), float(rng.uniform(0.8, 1)), float(rng.uniform(0, np.pi)),
                  float(rng.uniform(0, 2 * np.pi)), int(rng.integers(2**31)))  # fmt: skip


def _bee(rng: np.random.Generator) -> Bee:
    above = bool(rng.integers(2))
    heading = float(rng.uniform(0, 2 * np.pi) if above else rng.uniform(-0.5, 0.5))
    return Bee(
        0.0,
        0.0,
        float(rng.uniform(0.080, 0.108)),
        heading,
        int(rng.integers(2)) * 2 - 1,
        above,
        int(rng.integers(2**31)),
    )


def _shift(box: Box, y: float, x: float) -> Box:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def _place(rng: np.random.Generator, looks: list[Flower], spotted: list[int],
           bees: list[Bee]) -> tuple[tuple[Flower, ...], list[Bee], list[Bee]] | None:  # fmt: skip
    """One attempt at places for all flowers, a visitor for each of the `spotted` and one or two decoys."""
    flowers: dict[int, Flower] = {}
    heads: list[Box] = []
    boxes: list[Box] = []
    guests: list[Bee] = []
    for f in [*spotted, *(f for f in range(len(looks)) if f not in spotted)]:
        still = head_extent(looks[f])  # around 0: looks have no place yet
        for _ in range(40):
            y, x = 0.1 + 0.74 * rng.random(), 0.08 + 0.84 * rng.random()
            box = _shift(still, y, x)
            if not _inside(box) or not _free(box, FAR + _TOL, boxes) or not _free(box, _APART, heads):
                continue
            if f in spotted:
                bee = _visitor(rng, bees[len(guests)], box, heads, boxes)
                if bee is None:
                    continue
                guests.append(bee)
                boxes.append(bee_extent(bee))
            flowers[f] = replace(looks[f], y=y, x=x)
            heads.append(box)
            break
        else:
            return None
    decoys: list[Bee] = []
    for bee in bees[len(guests) :]:
        still = bee_extent(bee)
        for y, x in rng.uniform(0.05, 0.95, (40, 2)).tolist():
            box = _shift(still, y, x)
            if _inside(box) and _free(box, FAR + _TOL, heads) and _free(box, 0.03, boxes):
                decoys.append(replace(bee, y=y, x=x))
                boxes.append(box)
                break
    return (tuple(flowers[f] for f in range(len(looks))), guests, decoys) if decoys else None


def _free(box: Box, distance: float, others: list[Box]) -> bool:
    return all(gap(box, other) >= distance for other in others)


def _visitor(rng: np.random.Generator, bee: Bee, head: Box, heads: list[Box], boxes: list[Box]) -> Bee | None:
    """`bee` at a place near `head` that no rule forbids, or None."""
    extent = bee_extent(bee)
    low = (head[1] - NEAR - extent[3], head[0] - NEAR - extent[2])
    high = (head[3] + NEAR - extent[1], head[2] + NEAR - extent[0])
    for y, x in rng.uniform(low, high, (16, 2)).tolist():
        box = _shift(extent, y, x)
        fits = _inside(box) and not _conflict(head, box, True)
        if fits and _free(box, FAR + _TOL, heads) and _free(box, 0.03, boxes):
            return replace(bee, y=y, x=x)
    return None


def without_bee(plan: Plan, bee: int) -> Plan:
    """The same scene without bee `bee` (an index into `plan.bees`): a flower that it visited is alone then."""
    if not 0 <= bee < len(plan.bees):
        raise ValueError(f"bee must be 0 to {len(plan.bees) - 1}, got {bee}.")
    return replace(plan, bees=plan.bees[:bee] + plan.bees[bee + 1 :])


def moved_bee(plan: Plan, bee: int, y: float, x: float) -> Plan:
    """The same scene with bee `bee` at `y, x` (fractions of the side); ValueError where a rule forbids the place."""
    rest = without_bee(plan, bee)
    result = replace(plan, bees=(*rest.bees[:bee], replace(plan.bees[bee], y=y, x=x), *rest.bees[bee:]))
    check(result)
    return result


# ---------------------------------------------------------------- painting
def render(plan: Plan, size: int = 640) -> Scene:
    """Paint a plan on `size` x `size` pixels. Bees come last; what follows them treats each pixel by itself."""
    img = paint_meadow(size, plan.meadow_seed, plan.light)
    depth = sorted(plan.flowers, key=lambda f: f.y)
    for flower in depth:
        paint_stem(img, flower, plan.light)
    paint_near_grass(img, plan.meadow_seed, plan.light)
    heads = {flower: paint_head(img, flower, plan.light) for flower in depth}
    bees = [paint_bee(img, bee, plan.light) for bee in plan.bees]
    image = develop(img, plan.noise_seed, plan.light, plan.noise)
    found = visitors(plan)
    n = len(plan.flowers)
    return Scene(
        image=image,
        xyxy=np.array([*(heads[f] for f in plan.flowers), *bees], np.float32).reshape(-1, 4),
        cls=np.array([ALONE if v < 0 else VISITED for v in found] + [BEE] * len(bees), np.int64),
        visitor=np.array([-1 if v < 0 else n + v for v in found] + [-1] * len(bees), np.int64),
        plan=plan,
    )


def scene(seed: int, split: str = "train", size: int = 640) -> Scene:
    """Scene `seed` of a split, painted: `render(plan(seed, split), size)`."""
    return render(plan(seed, split), size)


# ---------------------------------------------------------------- data sets
def yolo_lines(found: Scene) -> Iterator[str]:
    """YOLO label lines of a scene: class, then centre x, y, width and height in fractions of the side."""
    size = found.image.shape[0]
    for c, (x1, y1, x2, y2) in zip(found.cls.tolist(), (found.xyxy / size).astype(float).tolist(), strict=True):
        yield f"{c} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}"


def write_dataset(folder: Path, train: int, val: int, test: int = 0, seed: int = 0, size: int = 640) -> Path:
    """Write a YOLO data set (images/, labels/, data.yaml) of scenes `seed`, `seed` + 1, ... of each split.

    Returns the path of data.yaml. Does nothing when the same data set is there already, complete; replaces another
    meadow; raises ValueError where any other data set is, or for counts that make no data set. The pictures are PNG:
    JPEG's blocks would carry a bee's pixels into a flower's box, and its class with them.
    """
    folder = Path(folder).resolve()
    counts = {"train": train, "val": val, "test": test}
    if train < 1 or val < 1 or test < 0:
        raise ValueError(f"train and val must be 1 or more, test 0 or more, got {train=}, {val=}, {test=}.")
    recipe = {"version": VERSION, "counts": counts, "seed": seed, "size": size, "path": str(folder)}
    note, yaml = folder / "meadow.json", folder / "data.yaml"
    if note.is_file():
        if yaml.is_file() and json.loads(note.read_text(encoding="utf-8")) == {**recipe, "complete": True}:
            return yaml
    elif any((folder / name).exists() for name in ("images", "labels", "data.yaml")):
        raise ValueError(f"{folder} holds a data set that is no meadow; it would be overwritten. Name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({**recipe, "complete": False}, indent=1), encoding="utf-8")
    for cache in folder.glob("labels/*.cache"):  # what Ultralytics remembers of an earlier set
        cache.unlink()
    for split, count in counts.items():
        for kind in ("images", "labels"):
            target = folder / kind / split
            if count:
                target.mkdir(parents=True, exist_ok=True)
            for old in target.glob("*.*"):
                old.unlink()
        for i in range(seed, seed + count):
            found = scene(i, split, size)
            bgr = cv2.cvtColor(found.image, cv2.COLOR_RGB2BGR)
            ok, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            if not ok:
                raise OSError(f"could not encode scene {i} of {split}.")
            (folder / "images" / split / f"{i:06d}.png").write_bytes(data.tobytes())
            (folder / "labels" / split / f"{i:06d}.txt").write_text(
                "\n".join(yolo_lines(found)) + "\n", encoding="utf-8"
            )
    names = "\n".join(f"  {i}: {name}" for i, name in enumerate(NAMES))
    lines = [f"path: {json.dumps(str(folder))}", "train: images/train", "val: images/val"]
    lines += ["test: images/test"] if test else []
    yaml.write_text("\n".join(lines) + f"\nnames:\n{names}\n", encoding="utf-8")
    note.write_text(json.dumps({**recipe, "complete": True}, indent=1), encoding="utf-8")
    return yaml
