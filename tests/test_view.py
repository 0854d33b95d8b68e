"""The view state: what it may be, where it starts, and the values that it colours."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from inspections import one, seen, seen_beside

from halo_vis import Inspection
from halo_vis.detections import match
from halo_vis.heats import Heat, heat
from halo_vis.maps import LevelTrace
from halo_vis.view import Scales, Show, View, Zoom


@pytest.fixture(scope="module")
def shown() -> Inspection:
    return seen_beside()


# ---------------------------------------------------------------- the state
STATE = {
    "level": "P3", "y": 3, "x": 7, "left": "run1", "mode": "difference", "strip": "heads", "view": "box", "head": -2,
    "of": "position", "box": {"side": "baseline", "index": 4},
    "scales": {"cell": "auto", "box": 2.5, "to": 8, "blocks": 4, "received": 2}, "log": True, "opacity": 1, "dim": 0.8,
    "map": "cividis", "show": {"boxes": False, "labels": True, "grid": True, "window": False},
    "zoom": {"scale": 2.5, "x": 10.25, "y": 3}, "curtain": 0,
}  # fmt: skip
MORE = {"scale": 2.5, "pinned": True, "lang": "zh-CN", "photo": [1, 2], "__proto__": {"a": 1}}


def test_a_browsers_state_becomes_a_view_and_back() -> None:
    view = View.from_state(json.loads(json.dumps(STATE | MORE)))
    assert (view.level, view.y, view.x, view.left, view.head, view.box) == ("P3", 3, 7, "run1", "max", ("baseline", 4))
    assert view.scales == Scales("auto", 2.5, 8, 4, 2) and view.scale == 2.5
    assert view.show == Show(False, True, True, False) and view.zoom == Zoom(2.5, 10.25, 3)
    assert view.state() == STATE and View.from_state(view.state()) == view and hash(view) == hash(replace(view))
    assert View.from_state(STATE | {"head": -1}).head is None and View.from_state(STATE | {"head": 0}).head == 0
    assert View.from_state(STATE | {"head": -1}).state()["head"] == -1 and View(head=3).state()["head"] == 3


def test_what_is_missing_is_as_at_the_start() -> None:
    assert (
        View.from_state({}) == View() == View.from_state({"map": "", "box": None, "scales": {}, "show": {}, "zoom": {}})
    )
    assert View.from_state({"show": {"grid": True, "more": 1}}).show == Show(grid=True)


HOSTILE = [
    (None, "state must be an object"), ([], "state must be an object"), ("level=P3", "state must be an object"),
    ({"level": "P3<script>"}, "level must be"), ({"level": "../P3"}, "level must be"), ({"level": ["P3"]}, "level"),
    ({"left": "run1\u0661"}, "left must be"), ({"level": "layer\u0661"}, "level must be"),
    ({"level": "P3\n"}, "level must be"), ({"level": ""}, "level must be"), ({"level": "layer9999"}, "level must be"),
    ({"left": "run0"}, "left must be"), ({"left": "run100"}, "left must be"), ({"left": "P3"}, "left must be"),
    ({"y": -1}, "y must be a whole number from 0"), ({"y": 1.5}, "y must be"), ({"x": True}, "x must be"),
    ({"x": "3"}, "x must be"), ({"x": 10**30}, "x must be"), ({"y": None}, "y must be"),
    ({"head": -3}, "head must be"), ({"head": "max"}, "head must be"), ({"head": None}, "head must be"),
    ({"mode": "split"}, "mode must be one of pair, slider, difference"), ({"view": {}}, "view must be one of"),
    ({"strip": 1}, "strip must be one of"), ({"of": "values"}, "of must be one of weight"),
    ({"map": "../../etc"}, "map must be one of magma"), ({"map": 7}, "map must be one of"),
    ({"box": [1, 2]}, "box must be"), ({"box": {"side": "halo"}}, "box must be"), ({"box": 0}, "box must be"),
    ({"box": {"side": "left", "index": 1}}, "box side must be"), ({"box": {"side": "halo", "index": -1}}, "box index"),
    ({"box": {"side": [], "index": {}}}, "box side must be"), ({"box": {"side": "halo", "index": False}}, "box index"),
    ({"scales": 8}, "scales must be an object"), ({"scales": {"cell": 0}}, r"scales.cell must be a number"),
    ({"scales": {"to": "8"}}, "scales.to"), ({"scales": {"to": float("nan")}}, "scales.to"),
    ({"scales": {"box": float("inf")}}, "scales.box"), ({"scales": {"box": [1]}}, "scales.box"),
    ({"log": 1}, "log must be true or false"), ({"show": {"grid": "yes"}}, "show.grid must be true or false"),
    ({"show": []}, "show must be an object"), ({"zoom": {"scale": 0.5}}, "zoom.scale"), ({"zoom": 2}, "zoom must be"),
    ({"zoom": {"scale": 2, "x": float("nan")}}, "zoom.x"), ({"zoom": {"scale": 2, "y": "1"}}, "zoom.y"),
    ({"opacity": 1.01}, "opacity must be a number from 0 to 1"), ({"opacity": None}, "opacity"),
    ({"dim": 0.81}, "dim must be"), ({"dim": 10**400}, "dim must be"), ({"curtain": -0.1}, "curtain"),
    ({"curtain": True}, "curtain must be"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "words"), HOSTILE, ids=lambda v: repr(v)[:40])
def test_a_hostile_state_is_refused_with_the_rule_and_the_value(state: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        View.from_state(state)
    assert "got " in str(caught.value) and "leave it out" in str(caught.value) and len(str(caught.value)) < 300


def test_long_values_are_not_repeated_in_full() -> None:
    with pytest.raises(ValueError, match="level must be") as caught:
        View.from_state({"level": "x" * 10**6})
    assert len(str(caught.value)) < 300


def test_the_constructor_is_as_strict() -> None:
    for wrong in ({"head": -1}, {"head": "all"}, {"scales": {"cell": 8}}, {"box": ["halo", 1]}, {"show": None}):
        with pytest.raises(ValueError, match="view: "):
            View(**wrong)


def test_the_start_is_the_strongest_detection(shown: Inspection) -> None:
    view = View.strongest(shown)
    assert view.box == ("halo", int(shown.halo.conf.argmax())) and (view.level, view.y, view.x) == shown.halo.queries[0]
    none = replace(
        shown.halo, xyxy=np.zeros((0, 4), np.float32), conf=np.zeros(0, np.float32), cls=np.zeros(0, int), queries=()
    )
    view = View.strongest(replace(shown, halo=none))
    assert view.box == ("baseline", 0) and (view.level, view.y, view.x) == shown.baseline.queries[0]
    view = View.strongest(replace(shown, halo=none, baseline=none))
    assert view.box is None and view.level == "P4"
    assert (view.y, view.x) == shown.trace.letterbox.cell_at(45, 60, 16)
    view = View.strongest(replace(shown, halo=replace(shown.halo, queries=())))  # found, but nobody knows where
    x1, y1, x2, y2 = shown.halo.xyxy[0]
    assert view.level == "P4" and (view.y, view.x) == shown.trace.letterbox.cell_at((y1 + y2) / 2, (x1 + x2) / 2, 16)


# ---------------------------------------------------------------- values
def drawn(shown: Inspection, side: str = "halo", **view: object) -> Heat:
    found = heat(shown, View(**view), side)
    assert found is not None and found.values.dtype == np.float32 and found.letterbox == shown.trace.letterbox
    return found


def test_each_view_colours_its_own_map(shown: Inspection) -> None:
    level = shown.trace["P3"]
    how = {"level": "P3", "y": 9, "x": 2, "head": 1, "of": "contribution"}
    cell = drawn(shown, **how)
    (top, left), inside = level.place(9, 2)
    assert (cell.top, cell.left, cell.cell_height, cell.stride) == (top, left, 1, 8) and left < 0
    assert np.array_equal(np.isnan(cell.values), ~inside)
    assert np.array_equal(cell.values[inside], level.times_uniform(9, 2, 1, "contribution")[inside])
    expected = {
        "to": level.attended_by(9, 2, 1, "contribution", times_uniform=True),
        "received": level.received(1, "contribution"),
    }
    for view, values in expected.items():
        got = drawn(shown, **how, view=view)
        assert np.array_equal(got.values, values, equal_nan=True) and (got.top, got.left, got.cell_width) == (0, 0, 1)
    blocks = drawn(shown, **how, view="blocks")
    assert blocks.cell_height == blocks.cell_width == 8 / 14 and blocks.values.shape == (2 * 14, 3 * 14)
    for by, bx in ((0, 0), (1, 2), (0, 1)):
        part = blocks.values[by * 14 : by * 14 + 14, bx * 14 : bx * 14 + 14]
        inside = level.grid.inside(by, bx)
        assert np.array_equal(np.isnan(part), ~inside)
        assert np.abs(part - level.block(by, bx, 1, "contribution") * inside.sum())[inside].max() < 1e-5
    box = level.letterbox
    corners = box.cell_box(0, 0, 8), box.cell_box(15, 23, 8)  # two block rows, three block columns
    assert blocks.rect() == pytest.approx(corners[0][:2] + corners[1][2:])


def test_the_box_view_is_the_mean_over_the_cells_of_the_box(shown: Inspection) -> None:
    level = shown.trace["P3"]
    index = int(np.argmax((shown.halo.xyxy[:, 2:] - shown.halo.xyxy[:, :2]).prod(1)))
    cells = level.cells_in(shown.halo.xyxy[index], 16, 20)
    got = drawn(shown, level="P3", view="box", box=("halo", index), head="max")
    assert np.array_equal(got.values, level.mean_row(*cells, "max", times_uniform=True), equal_nan=True)
    left = drawn(shown, "baseline", level="P3", view="box", box=("halo", index), left="layer10")
    own = shown.global_attention["baseline"]["layer10"]
    cells = own.cells_in(shown.halo.xyxy[index], 4, 5)
    assert np.array_equal(left.values, own.mean_row(*cells, times_uniform=True))
    # A box too small for any cell's centre: its query's cell, also on another level.
    tiny = shown.halo.xyxy.copy()
    tiny[index] = 50.1, 40.1, 50.2, 40.2
    small = replace(shown, halo=replace(shown.halo, xyxy=tiny))
    name, y, x = shown.halo.queries[index]
    at_p5 = y * 2 ** int(name[1]) // 32, x * 2 ** int(name[1]) // 32
    got = drawn(small, level="P5", view="box", box=("halo", index))
    expected = shown.trace["P5"].mean_row(*at_p5, at_p5[0] + 1, at_p5[1] + 1, times_uniform=True)
    assert np.array_equal(got.values, expected, equal_nan=True)
    # Without a box there is nothing to take the mean of: the cell.
    for box in (None, ("halo", 9999)):
        assert np.array_equal(
            drawn(shown, level="P3", view="box", box=box).values, drawn(shown, level="P3").values, equal_nan=True
        )


def test_the_left_panel(shown: Inspection) -> None:
    how = {"level": "P3", "y": 9, "x": 13, "head": 1}
    assert heat(shown, View(**how, left="off"), "baseline") is None
    assert heat(shown, View(left="layer99"), "baseline") is None
    level = shown.trace["P3"]
    layers = {
        "control": level.randomised(),
        "mask": replace(level, mask="published"),
        "run1": shown.beside[0].trace["P3"],
    }
    for left, layer in layers.items():
        got = drawn(shown, "baseline", **how, left=left, view="received")
        assert np.array_equal(got.values, layer.received(1)) and not np.array_equal(got.values, level.received(1))
    # The baseline's own layers: the cell under the same point, all heads together (theirs are other heads), weights.
    own = shown.global_attention["baseline"]["layer10"]
    got = drawn(shown, "baseline", **how, of="contribution", view="blocks")
    assert np.array_equal(got.values, own.times_uniform(2, 3)) and got.stride == 32
    got = drawn(shown, "baseline", level="layer10", y=2, x=3, head=1)
    assert np.array_equal(got.values, own.times_uniform(2, 3, 1))
    assert heat(shown, View(level="layer10", left="control"), "baseline") is None
    without = replace(
        shown, trace=replace(shown.trace, levels={n: replace(t, features=None) for n, t in shown.trace.items()})
    )
    assert heat(without, View(**how, left="control"), "baseline") is None


def test_a_box_of_the_left_panel_is_one_of_what_it_shows(shown: Inspection) -> None:
    level = shown.trace["P3"]
    for left, found in (("layer10", shown.baseline), ("run1", shown.beside[0].detections), ("mask", shown.halo)):
        cells = level.cells_in(found.xyxy[1], 16, 20)
        got = drawn(shown, level="P3", view="box", box=("baseline", 1), left=left)
        assert np.array_equal(got.values, level.mean_row(*cells, times_uniform=True), equal_nan=True)


def test_the_scale(shown: Inspection) -> None:
    for view, end in (("cell", 8), ("to", 8), ("blocks", 4), ("received", 2)):
        got = drawn(shown, level="P4", view=view)
        assert (got.largest, got.log, got.diverging) == (end, False, False)
        auto = drawn(shown, level="P4", view=view, scales=Scales(*["auto"] * 5))
        assert auto.largest == np.nanmax(auto.values)
    assert drawn(shown, scales=Scales(cell=1.5), log=True).largest == 2  # a logarithm needs room
    assert drawn(shown, scales=Scales(cell=16), log=True).log
    nothing = replace(shown.trace["P4"], norm=np.zeros_like(shown.trace["P4"].norm))
    empty = replace(shown, trace=replace(shown.trace, levels={"P4": nothing}))
    assert drawn(empty, of="contribution", scales=Scales("auto")).largest == 1


def test_the_difference_is_right_minus_left_on_the_map(shown: Inspection) -> None:
    for left in ("control", "mask", "run1"):
        how = {"level": "P3", "y": 9, "x": 13, "left": left, "mode": "difference", "head": 1}
        right, other = drawn(shown, **how | {"mode": "pair"}), drawn(shown, "baseline", **how)
        got = drawn(shown, **how, log=True)
        assert got.diverging and not got.log and got.largest == 8 and got.values.shape == (16, 20)
        oy, ox = right.top, right.left
        for y in range(16):
            for x in range(20):
                there = 0 <= y - oy < 14 and 0 <= x - ox < 14
                assert np.isnan(got.values[y, x]) == (not there)
                if there:
                    expected = right.values[y - oy, x - ox] - other.values[y - oy, x - ox]
                    assert got.values[y, x] == pytest.approx(expected, abs=1e-6)
        for view in ("received", "to", "blocks"):
            right, other = (drawn(shown, side, **how | {"mode": "pair"}, view=view) for side in ("halo", "baseline"))
            got = drawn(shown, **how, view=view, scales=Scales(*["auto"] * 5))
            there = np.isfinite(right.values)
            assert np.abs(got.values - (right.values - other.values))[there].max() < 1e-6
            assert got.largest == np.nanmax(np.abs(got.values)) and (got.cell_width, got.top) == (right.cell_width, 0)


def test_a_difference_where_only_one_of_two_windows_reaches(shown: Inspection) -> None:
    run = shown.beside[0]
    smaller = replace(run.trace["P3"], grid=replace(run.trace["P3"].grid, block_size=4, halo_size=1))
    # Tables of a window of 6; the values do not matter here.
    smaller = replace(smaller, rel_height=smaller.rel_height[:11], rel_width=smaller.rel_width[:11])
    other = replace(shown, beside=(replace(run, trace=replace(run.trace, levels={"P3": smaller})),))
    how = {"level": "P3", "y": 9, "x": 13, "left": "run1", "mode": "difference"}
    right, left, got = drawn(other, **how | {"mode": "pair"}), drawn(other, "baseline", **how), drawn(other, **how)
    assert np.isfinite(got.values).sum() == np.isfinite(right.values).sum() > np.isfinite(left.values).sum()
    corner = right.top, right.left  # seen from the large window alone
    assert got.values[corner] == right.values[0, 0] and got.values[corner] != 0
    assert not drawn(other, **how, view="blocks").diverging  # blocks of another size: no difference to show


def test_no_difference_between_things_of_another_kind(shown: Inspection) -> None:
    for left in ("layer10", "off"):
        assert not drawn(shown, level="P3", left=left, mode="difference").diverging
    assert drawn(shown, level="layer10", left="layer10", mode="difference").diverging
    assert not drawn(shown, level="layer10", left="layer22", mode="difference").diverging


def test_views_that_a_global_layer_does_not_have(shown: Inspection) -> None:
    own = shown.global_attention["halo"]["layer22"]
    for view in ("cell", "blocks", "received"):
        got = drawn(shown, level="layer22", y=1, x=4, view=view, of="position", head=99)
        assert np.array_equal(got.values, own.times_uniform(1, 4))
    assert np.array_equal(
        drawn(shown, level="layer22", y=1, x=4, view="to").values, own.attended_by(1, 4, times_uniform=True)
    )


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (View(level="P2"), r"no level 'P2' here. Choose one of layer10, layer22, P3, P4, P5"),
        (View(level="P5", y=4), r"cell \(y=4, x=0\) is outside P5, a map of 4 x 5 cells"),
        (View(level="P5", x=5), "outside P5"),
        (View(left="run2"), "there is no 'run2' here, but run1. Bring runs with"),
    ],
)
def test_what_is_not_there(shown: Inspection, view: View, words: str) -> None:
    for side in ("halo", "baseline"):
        with pytest.raises(ValueError, match=words):
            heat(shown, view, side)
    with pytest.raises(ValueError, match="side must be one of"):
        heat(shown, View(), "left")


def test_the_control_is_made_once(shown: Inspection) -> None:
    level = shown.trace["P3"]
    assert level.randomised() is level.randomised(0) and level.randomised(1) is level.randomised(1)
    assert not np.array_equal(level.randomised(1).q, level.randomised().q)
    other = replace(level, spread=(0.5, 0.5))
    assert not np.array_equal(other.randomised().q, level.randomised().q)


# ---------------------------------------------------------------- inspections beside each other
def test_another_run_beside(shown: Inspection) -> None:
    (run,) = shown.beside
    other = one("article", "article", 90, 120, "published", 160)
    assert (run.title, run.pair, run.member, run.weights) == ("Random <models>, article", "own", "article", "a")
    assert np.array_equal(run.trace["P4"].q, other.trace["P4"].q) and run.trace["P4"].mask == "published"
    assert run.matches == match(other.halo, shown.halo) and np.array_equal(run.detections.xyxy, other.halo.xyxy)
    twice = shown.with_beside(other)
    assert len(twice.beside) == 2 and twice.beside[0] is run and isinstance(twice, Inspection)
    assert len(shown.beside) == 1 and twice.answers == shown.answers


def test_only_the_same_picture_at_the_same_place_stands_beside(shown: Inspection) -> None:
    with pytest.raises(ValueError, match=r"same picture: this is 'array' \(sha256 \w{12}\).* Inspect the same picture"):
        shown.with_beside(one("article", "article", 90, 120, "valid", 160, seed=1))
    with pytest.raises(ValueError, match=r"same letterbox: .* Inspect again with imgsz=160"):
        shown.with_beside(one("article", "article", 90, 120, "valid", 192))


def test_an_inspection_survives_a_pickle(shown: Inspection) -> None:
    """On ZeroGPU it comes back from a fork."""
    again = pickle.loads(pickle.dumps(shown))
    assert again.answers == shown.answers and again.beside[0].title == shown.beside[0].title
    level: LevelTrace = again.beside[0].trace["P3"]
    assert (
        np.array_equal(level.features, shown.beside[0].trace["P3"].features)
        and level.spread == shown.beside[0].trace["P3"].spread
    )
    view = View(left="control")
    assert np.array_equal(heat(again, view, "baseline").values, drawn(shown, "baseline", left="control").values, True)


def test_features_are_what_the_layer_projected() -> None:
    shown = seen()
    for name, level in shown.trace.items():
        assert level.features.shape[:2] == level.q.shape[:2] and level.features.dtype == np.float16
        flat = level.features.reshape(-1, level.features.shape[2]).astype(float)
        q = level.q.reshape(len(flat), -1).astype(float)
        assert np.linalg.matrix_rank(flat) > 3
        weights = np.linalg.lstsq(flat, q)[0]
        assert np.abs(flat @ weights - q).max() < 0.02 * np.abs(q).max(), name
        assert all(0 < s < 1 for s in level.spread) and level.randomised().q.std() == pytest.approx(
            level.q.std(), rel=0.5
        )


def test_the_same_point_on_every_level_and_a_walk_through_the_detections(shown: Inspection) -> None:
    """levels: one point of the photo; walk: the queries of the halo model's detections, the most certain first."""
    seen = shown
    view = replace(View.strongest(seen), view="cell")
    levels = view.levels(seen)
    assert [v.level for v in levels] == list(seen.trace)
    stride = seen.trace[view.level].stride
    for v in levels:
        theirs = seen.trace[v.level].stride
        point = (view.y + 0.5) * stride, (view.x + 0.5) * stride
        assert (v.y, v.x) == (int(point[0] // theirs), int(point[1] // theirs))
        heat(seen, v)  # every one of them can be drawn
    steps = view.walk(seen)
    conf = [seen.halo.conf[v.box[1]] for v in steps]
    assert conf == sorted(conf, reverse=True)
    assert [(v.level, v.y, v.x) for v in steps] == [seen.halo.queries[v.box[1]] for v in steps]
