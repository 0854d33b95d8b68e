"""Overlap and matching, against loops and against every possible choice on small sets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from halo_vis.detections import Detections, iou, match

NAMES = {0: "bee", 1: "flower"}


def some(n: int, rng: np.random.Generator, classes: int = 2) -> Detections:
    """Boxes on a coarse grid, so that they overlap often, and equal overlaps occur."""
    corner = rng.integers(0, 6, (n, 2))
    xyxy = np.hstack([corner, corner + rng.integers(1, 6, (n, 2))]).astype(np.float32) * 10
    conf = np.sort(rng.uniform(0.25, 1, n))[::-1].astype(np.float32)
    return Detections(xyxy, conf, rng.integers(0, classes, n), NAMES)


def slow_iou(a: np.ndarray, b: np.ndarray) -> float:
    """By counting unit squares."""
    cells = [
        {(y, x) for y in range(int(t[1]), int(t[3])) for x in range(int(t[0]), int(t[2]))} for t in (a / 10, b / 10)
    ]
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1]) if cells[0] | cells[1] else 0.0


def test_iou_equals_counting() -> None:
    rng = np.random.default_rng(0)
    a, b = some(9, rng).xyxy, some(7, rng).xyxy
    got = iou(a, b)
    assert got.shape == (9, 7)
    for i, j in itertools.product(range(9), range(7)):
        assert got[i, j] == pytest.approx(slow_iou(a[i], b[j]), abs=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0.0),  # they touch
        ([0, 0, 10, 10], [5, 5, 15, 15], 25 / 175),
        ([5, 5, 5, 9], [5, 5, 5, 9], 0.0),  # empty
        ([9, 9, 2, 2], [0, 0, 10, 10], 0.0),  # turned inside out: no negative area
    ],
)
def test_iou_by_hand(a: list, b: list, expected: float) -> None:
    assert iou(np.array([a], np.float64), np.array([b], np.float64))[0, 0] == pytest.approx(expected)


def greedy(baseline: Detections, halo: Detections, least: float) -> list[float]:
    """Overlaps of the pairs that "best first" takes, by searching all pairs again after each."""
    taken: list[tuple[int, int]] = []
    out = []
    while True:
        best = max(
            (
                (slow_iou(baseline.xyxy[i], halo.xyxy[j]), i, j)
                for i in range(len(baseline))
                for j in range(len(halo))
                if baseline.cls[i] == halo.cls[j] and all(i != p and j != q for p, q in taken)
            ),
            default=(-1.0, 0, 0),
        )
        if best[0] < least:
            return out
        taken.append(best[1:])
        out.append(best[0])


@pytest.mark.parametrize("least", [0.5, 0.2])
def test_matching_against_every_choice(least: float) -> None:
    rng = np.random.default_rng(1)
    kinds_seen = set()
    for _ in range(150):
        a, b = some(int(rng.integers(0, 5)), rng), some(int(rng.integers(0, 5)), rng)
        found = match(a, b, least)
        kept, gained, lost = ([m for m in found if m.kind == k] for k in ("kept", "gained", "lost"))
        assert found == (*kept, *gained, *lost)
        # every box of either side exactly once
        assert sorted(m.baseline for m in (*kept, *lost)) == list(range(len(a)))
        assert sorted(m.halo for m in (*kept, *gained)) == list(range(len(b)))
        for m in kept:
            assert a.cls[m.baseline] == b.cls[m.halo]
            assert m.iou == pytest.approx(slow_iou(a.xyxy[m.baseline], b.xyxy[m.halo]), abs=1e-6) and m.iou >= least
            assert m.delta == pytest.approx(float(b.conf[m.halo]) - float(a.conf[m.baseline]))
        assert all(m.iou is m.delta is m.halo is None for m in lost)
        assert all(m.iou is m.delta is m.baseline is None for m in gained)
        assert [b.conf[m.halo] for m in kept] == sorted((b.conf[m.halo] for m in kept), reverse=True)
        assert [m.halo for m in gained] == sorted(m.halo for m in gained)
        # the best pair of all is among them, and nothing that could still be paired is left over
        pairs = [
            slow_iou(a.xyxy[i], b.xyxy[j])
            for i, j in itertools.product(range(len(a)), range(len(b)))
            if a.cls[i] == b.cls[j]
        ]
        if pairs and max(pairs) >= least:
            assert max(m.iou for m in kept) == pytest.approx(max(pairs), abs=1e-6)
        for m, n in itertools.product(lost, gained):
            assert a.cls[m.baseline] != b.cls[n.halo] or slow_iou(a.xyxy[m.baseline], b.xyxy[n.halo]) < least
        if len(set(pairs)) == len(pairs):  # without ties the choice is one
            assert sorted(m.iou for m in kept) == pytest.approx(sorted(greedy(a, b, least)), abs=1e-6)
        kinds_seen |= {m.kind for m in found}
    assert kinds_seen == {"kept", "gained", "lost"}


def test_same_detections_are_all_kept_and_other_classes_never() -> None:
    a = some(6, np.random.default_rng(2), classes=1)
    assert [(m.kind, m.baseline == m.halo or m.iou == 1.0, m.delta) for m in match(a, a)][:1] == [("kept", True, 0.0)]
    assert {m.kind for m in match(a, a)} == {"kept"}
    other = Detections(a.xyxy, a.conf, a.cls + 1, NAMES)
    assert [m.kind for m in match(a, other)] == ["gained"] * 6 + ["lost"] * 6


def test_names_and_shapes() -> None:
    found = some(3, np.random.default_rng(0))
    assert len(found) == 3 and found.name(0) == NAMES[int(found.cls[0])]
    assert Detections(found.xyxy, found.conf, found.cls + 7, NAMES).name(0) == str(int(found.cls[0]) + 7)
    with pytest.raises(ValueError, match=r"expected shapes \(N, 4\), \(N,\), \(N,\), got \(3, 4\), \(2,\)"):
        Detections(found.xyxy, found.conf[:2], found.cls, NAMES)
