"""The meadow's promises, checked by slow and obvious means that share no code with the generator."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from halo_vis import meadow
from halo_vis.meadow.bees import SHADOW_PAD, bee_extent
from halo_vis.meadow.canvas import SPECIES
from halo_vis.meadow.flowers import head_extent

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def plans() -> list[meadow.Plan]:
    return [meadow.plan(i, meadow.SPLITS[i % 3]) for i in range(300)]


@pytest.fixture(scope="module")
def scenes(plans: list[meadow.Plan]) -> list[meadow.Scene]:
    return [meadow.render(p) for p in plans[:40]]


def slow_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Distance between two boxes by brute force: the closest pair of points on grids that cover them."""
    ys, xs = (np.linspace(a[i], a[i + 2], 60) for i in (1, 0))
    near_y, near_x = np.clip(ys, b[1], b[3]), np.clip(xs, b[0], b[2])  # the closest point of b, per axis
    return float(np.sqrt(((near_y - ys) ** 2)[:, None] + ((near_x - xs) ** 2)[None]).min())


def slow_window(y: float, x: float) -> tuple[int, int, int, int]:
    """Cells `y0, x0, y1, x1` (inclusive) of the P4 window, counted one by one on the 20 x 20 map."""
    bounds = []
    for c in (y, x):
        cell = next(k for k in range(20) if k / 20 <= c < (k + 1) / 20)
        seen = [k for k in range(20) if cell // 8 * 8 - 3 <= k <= cell // 8 * 8 + 10]
        bounds.append((seen[0], seen[-1]))
    return bounds[0][0], bounds[1][0], bounds[0][1], bounds[1][1]


def check_rules(flowers: np.ndarray, bees: np.ndarray, visitor: list[int]) -> None:
    """All boxes in fractions of the side; `visitor` per flower, an index into `bees` or -1."""
    for box, own in zip(flowers, visitor, strict=True):
        distances = [slow_distance(box, b) for b in bees]
        if own >= 0:
            assert 0.015 <= distances[own] <= 0.14
            y0, x0, y1, x1 = slow_window((box[1] + box[3]) / 2, (box[0] + box[2]) / 2)
            bee = bees[own] * 20
            assert x0 <= bee[0] and y0 <= bee[1] and bee[2] <= x1 + 1 and bee[3] <= y1 + 1
        assert all(d >= 0.24 for k, d in enumerate(distances) if k != own)
    every = np.concatenate([flowers, bees])
    assert every.min() >= 0 and every.max() <= 1


def plan_boxes(plan: meadow.Plan) -> tuple[np.ndarray, np.ndarray]:
    return np.array([head_extent(f) for f in plan.flowers]), np.array([bee_extent(b) for b in plan.bees])


def region(box: np.ndarray, pad: float = 0.0) -> tuple[slice, slice]:
    y0, x0 = np.floor(box[[1, 0]] - pad).astype(int)
    y1, x1 = np.ceil(box[[3, 2]] + pad).astype(int)
    return slice(max(y0, 0), y1), slice(max(x0, 0), x1)


# ---------------------------------------------------------------- what a scene is
def test_scene_is_well_formed(scenes: list[meadow.Scene]) -> None:
    for s in scenes:
        assert s.image.shape == (640, 640, 3) and s.image.dtype == np.uint8
        assert s.xyxy.dtype == np.float32 and len(s.xyxy) == len(s.cls) == len(s.visitor)
        assert 2 <= (s.cls != meadow.BEE).sum() <= 6 and 1 <= (s.cls == meadow.BEE).sum() <= 5
        assert ((s.visitor >= 0) == (s.cls == meadow.VISITED)).all()
        assert (s.cls[s.visitor[s.visitor >= 0]] == meadow.BEE).all()
        sides = (s.xyxy[:, 2:] - s.xyxy[:, :2]) / 640
        flowers, bees = sides[s.cls != meadow.BEE], sides[s.cls == meadow.BEE]
        assert flowers.min() >= 0.085 and flowers.max() <= 0.22
        assert bees.min() >= 0.055 and bees.max() <= 0.11
        assert s.image.std() > 20  # a picture, not a plain colour


def test_rules_hold_for_plans(plans: list[meadow.Plan]) -> None:
    for p in plans:
        meadow.check(p)
        check_rules(*plan_boxes(p), list(meadow.visitors(p)))


def test_rules_hold_for_painted_boxes(scenes: list[meadow.Scene]) -> None:
    for s in scenes:
        flower, boxes = s.cls != meadow.BEE, s.xyxy.astype(float) / 640
        own = [v - flower.sum() if v >= 0 else -1 for v in s.visitor[flower]]
        check_rules(boxes[flower], boxes[~flower], own)


def test_about_half_of_the_flowers_are_visited(plans: list[meadow.Plan]) -> None:
    visited = [v >= 0 for p in plans for v in meadow.visitors(p)]
    assert 0.45 < np.mean(visited) < 0.55
    assert any(len(set(range(len(p.bees))) - set(meadow.visitors(p))) > 0 for p in plans)  # decoys exist


# ---------------------------------------------------------------- determinism
def test_same_seed_same_picture_other_seed_other_picture(scenes: list[meadow.Scene]) -> None:
    for i in (0, 1, 2):
        again = meadow.scene(i, meadow.SPLITS[i % 3])
        assert np.array_equal(again.image, scenes[i].image) and np.array_equal(again.xyxy, scenes[i].xyxy)
        assert again.plan == scenes[i].plan
    assert len({s.image.tobytes() for s in scenes}) == len(scenes)


def test_splits_never_share_a_scene() -> None:
    seen = [meadow.plan(i, split) for split in meadow.SPLITS for i in range(20)]
    assert len({p.meadow_seed for p in seen}) == len({p.noise_seed for p in seen}) == 60
    assert len({f.seed for p in seen for f in p.flowers}) == sum(len(p.flowers) for p in seen)


def test_another_process_paints_the_same(scenes: list[meadow.Scene]) -> None:
    code = (
        "import hashlib, sys; from halo_vis import meadow; s = meadow.scene(4, 'val');"
        "sys.stdout.write(hashlib.sha256(s.image.tobytes() + s.xyxy.tobytes()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    here = scenes[4]  # 4 % 3 = 1: val
    assert done.stdout[-64:] == hashlib.sha256(here.image.tobytes() + here.xyxy.tobytes()).hexdigest()


# ---------------------------------------------------------------- nothing inside a flower's box tells its class
def flower_pixels_equal(a: meadow.Scene, b: meadow.Scene) -> None:
    for k in range(len(a.plan.flowers)):
        assert np.array_equal(a.xyxy[k], b.xyxy[k])
        assert np.array_equal(a.image[region(a.xyxy[k])], b.image[region(a.xyxy[k])])


def test_taking_a_bee_away_changes_no_pixel_in_any_flower(scenes: list[meadow.Scene]) -> None:
    turned = 0
    for i, s in enumerate(scenes):
        gone = i % len(s.plan.bees)
        n = len(s.plan.flowers)
        other = meadow.render(meadow.without_bee(s.plan, gone))
        flower_pixels_equal(s, other)
        differs = (s.image != other.image).any(2)
        assert differs.any()
        outside = differs.copy()
        outside[region(s.xyxy[n + gone], SHADOW_PAD * 640 + 2)] = False
        assert not outside.any()
        was_visited = s.visitor[:n] == n + gone
        assert (other.cls[:n][was_visited] == meadow.ALONE).all()
        assert np.array_equal(other.cls[:n][~was_visited], s.cls[:n][~was_visited])
        turned += int(was_visited.sum())
    assert turned >= 10  # the test has seen classes change


def test_moving_a_bee_changes_no_pixel_in_any_flower(scenes: list[meadow.Scene]) -> None:
    rng, moves, turned = np.random.default_rng(0), 0, 0
    for s in scenes[::2]:
        for _ in range(60):
            bee, (y, x) = int(rng.integers(len(s.plan.bees))), rng.uniform(0.06, 0.94, 2).tolist()
            try:
                moved = meadow.moved_bee(s.plan, bee, y, x)
            except ValueError:
                continue
            other, n = meadow.render(moved), len(s.plan.flowers)
            flower_pixels_equal(s, other)
            centre = (other.xyxy[n + bee, 2:] + other.xyxy[n + bee, :2]) / 2
            assert np.abs(centre - np.array([x, y]) * 640).max() < 2
            moves, turned = moves + 1, turned + int((other.cls[:n] != s.cls[:n]).any())
            break
    assert moves >= 14 and turned >= 4


def test_a_forbidden_place_is_refused(plans: list[meadow.Plan]) -> None:
    p = plans[0]
    with pytest.raises(ValueError, match="away"):
        meadow.moved_bee(p, 0, p.flowers[0].y, p.flowers[0].x)
    with pytest.raises(ValueError, match="bee must be 0 to"):
        meadow.without_bee(p, len(p.bees))
    with pytest.raises(ValueError, match="split must be one of"):
        meadow.plan(0, "held-out")


def test_looks_and_places_do_not_tell_the_class(plans: list[meadow.Plan]) -> None:
    """A linear classifier on everything that a flower is stays at chance on other flowers; so does its grey level."""
    rows, visited = [], []
    for p in plans:
        for f, v in zip(p.flowers, meadow.visitors(p), strict=True):
            grey = np.mean(SPECIES[f.species].petal_rgb[f.variant])
            kinds = np.eye(len(SPECIES))[f.species].tolist()
            rows.append(
                [
                    f.diameter,
                    f.squash,
                    f.petals,
                    grey,
                    p.light.warmth,
                    p.light.mood,
                    abs(f.y - 0.5),
                    abs(f.x - 0.5),
                    *kinds,
                ]
            )
            visited.append(v >= 0)
    x, y = np.array(rows), np.where(visited, 1.0, -1.0)
    x = (x - x.mean(0)) / x.std(0)
    d = x[y > 0].mean(0) - x[y < 0].mean(0)
    assert len(y) > 1000 and np.abs(d).max() < 0.22  # 4 standard errors of a difference of means
    half = len(y) // 2
    weights = np.linalg.lstsq(np.c_[x[:half], np.ones(half)], y[:half], rcond=None)[0]
    right = np.sign(np.c_[x[half:], np.ones(len(y) - half)] @ weights) == y[half:]
    assert abs(right.mean() - 0.5) < 0.08


# ---------------------------------------------------------------- boxes
def test_flower_boxes_are_tight_around_the_petals(scenes: list[meadow.Scene]) -> None:
    """Give one flower's petals another colour: the pixels that change are the petals, and they must fill the box."""
    for s in scenes[:8]:
        flowers = list(s.plan.flowers)
        colours = len(SPECIES[flowers[-1].species].petal_rgb)
        flowers[-1] = replace(flowers[-1], variant=(flowers[-1].variant + 1) % colours)
        other = meadow.render(replace(s.plan, flowers=tuple(flowers)))
        rows, cols = np.nonzero((s.image != other.image).any(2))
        found = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
        assert np.abs(found - s.xyxy[len(flowers) - 1]).max() <= 1
        assert np.array_equal(s.xyxy, other.xyxy)


def test_no_flower_reaches_into_anothers_box(plans: list[meadow.Plan]) -> None:
    for p in plans:
        flowers, _ = plan_boxes(p)
        for i, a in enumerate(flowers):
            assert all(slow_distance(a, b) > 0.015 for j, b in enumerate(flowers) if j != i)


def test_bee_boxes_are_tight_around_the_bee(scenes: list[meadow.Scene]) -> None:
    for s in scenes[:8]:
        box = s.xyxy[len(s.plan.flowers)]
        other = meadow.render(meadow.without_bee(s.plan, 0))
        strong = np.abs(s.image.astype(int) - other.image.astype(int)).max(2) > 40  # more than a shadow does
        rows, cols = np.nonzero(strong)
        found = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
        assert np.abs(found - box).max() <= 6  # antennae are thin, wings are pale: the last pixels are faint
        assert (found[:2] >= box[:2] - 3).all() and (found[2:] <= box[2:] + 3).all()


@pytest.mark.parametrize("size", [320, 500])
def test_other_sizes_show_the_same_scene(plans: list[meadow.Plan], size: int) -> None:
    large, small = meadow.render(plans[1]), meadow.render(plans[1], size)
    assert small.image.shape == (size, size, 3) and np.array_equal(small.cls, large.cls)
    assert np.abs(small.xyxy / size - large.xyxy / 640).max() < 2 / size


# ---------------------------------------------------------------- data sets
def test_dataset_round_trip(tmp_path: Path) -> None:
    folder = tmp_path / "a meadow"
    path = meadow.write_dataset(folder, train=2, val=1, test=1, seed=7, size=320)
    text = path.read_text(encoding="utf-8")
    assert path == folder / "data.yaml" and f'path: "{folder.resolve()}"' in text
    assert [f"  {i}: {n}" in text for i, n in enumerate(meadow.NAMES)] == [True] * 3
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        images = sorted((folder / "images" / split).iterdir())
        assert len(images) == count and f"{split}: images/{split}" in text
        for i, image in enumerate(images):
            expected = meadow.scene(7 + i, split, 320)
            assert np.array_equal(cv2.imread(str(image))[..., ::-1], expected.image)  # PNG: not a pixel lost
            rows = np.loadtxt(folder / "labels" / split / f"{image.stem}.txt", ndmin=2)
            assert rows.shape == (len(expected.cls), 5) and rows[:, 1:].min() >= 0 and rows[:, 1:].max() <= 1
            assert np.array_equal(rows[:, 0], expected.cls)
            centre, sides = rows[:, 1:3], rows[:, 3:]
            assert np.abs(np.hstack([centre - sides / 2, centre + sides / 2]) * 320 - expected.xyxy).max() < 0.5


def test_dataset_is_written_once_and_completed_when_cut_short(tmp_path: Path) -> None:
    def write(val: int = 1) -> dict[str, int]:
        meadow.write_dataset(tmp_path, train=1, val=val, size=160)
        return {str(f.relative_to(tmp_path)): f.stat().st_mtime_ns for f in tmp_path.rglob("*.png")}

    first = write()
    assert len(first) == 2 and write() == first
    note = tmp_path / "meadow.json"
    note.write_text(note.read_text(encoding="utf-8").replace('"complete": true', '"complete": false'), encoding="utf-8")
    again = write()
    assert again.keys() == first.keys() and all(again[k] > first[k] for k in first)
    assert len(write(val=2)) == 3
    assert len(write(val=1)) == 2  # nothing of the larger set is left
    with pytest.raises(ValueError, match="train and val must be 1 or more"):
        meadow.write_dataset(tmp_path, train=0, val=1)


def test_dataset_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "images" / "train" / "holiday.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"precious")
    with pytest.raises(ValueError, match="no meadow"):
        meadow.write_dataset(tmp_path, train=1, val=1, size=160)
    assert theirs.read_bytes() == b"precious"
