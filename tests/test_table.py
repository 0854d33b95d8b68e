"""The numbers of a view as CSV, read again by the csv module: every line against maps, by loops."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from inspections import seen_beside
from samples import HOSTILE, hostile

from halo_vis import Inspection, table
from halo_vis.heats import heat
from halo_vis.rows import head_name
from halo_vis.view import Scales, View


@pytest.fixture(scope="module")
def shown() -> Inspection:
    return seen_beside()


@pytest.fixture(scope="module")
def view(shown: Inspection) -> View:
    return replace(View.strongest(shown), level="P3", y=9, x=11, left="off")


def read(path: Path) -> tuple[dict[str, object], list[dict[str, str]]]:
    """Notes by their keys, and lines by their columns."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(file)
    assert all(line.endswith("\r\n") for line in lines)
    notes = [line[2:-2].split(": ", 1) for line in lines if line.startswith("# ")]
    rows = list(csv.DictReader(lines[len(notes) :]))
    assert tuple(rows[0]) == table.COLUMNS
    return {key: json.loads(value) for key, value in notes}, rows


@pytest.mark.parametrize("head", [None, 1, "max"])
@pytest.mark.parametrize("cell", [(9, 11), (0, 0), (15, 19)], ids=str)
def test_a_row(shown: Inspection, view: View, tmp_path: Path, head: int | str | None, cell: tuple[int, int]) -> None:
    y, x = cell
    _, rows = read(table.csv(shown, replace(view, y=y, x=x, head=head), tmp_path / "a.csv"))
    level = shown.trace["P3"]
    grid = level.grid
    oy, ox = grid.window_origin(*grid.block_of(y, x))
    inside = grid.inside(*grid.block_of(y, x))
    assert len(rows) == inside.sum()
    weight, brought = (level.row(y, x, head, of) for of in ("weight", "contribution"))
    own = grid.own_block()
    for row, (i, j) in zip(rows, np.argwhere(inside), strict=True):
        assert (int(row["key_y"]), int(row["key_x"])) == (oy + i, ox + j)
        assert (int(row["query_y"]), int(row["query_x"])) == cell
        assert float(row["weight"]) == pytest.approx(weight[i, j], rel=1e-6, abs=1e-12)
        assert float(row["contribution"]) == pytest.approx(brought[i, j], rel=1e-6, abs=1e-12)
        assert float(row["times_uniform"]) == pytest.approx(weight[i, j] * inside.sum(), rel=1e-6, abs=1e-12)
        place = [float(row[k]) for k in ("x1", "y1", "x2", "y2")]
        assert place == pytest.approx(level.letterbox.cell_box(oy + i, ox + j, 8), abs=1e-3)
        assert row["part"] == ("block" if own[i, j] else "halo")
        assert (row["side"], row["source"], row["layer"], row["view"]) == ("halo", "halo", "P3", "cell")
        assert row["head"] == {None: "mean", "max": "max"}.get(head, str(head)) and row["of"] == "weight"


def test_who_attends_to_a_cell(shown: Inspection, view: View, tmp_path: Path) -> None:
    _, rows = read(table.csv(shown, replace(view, view="to", of="contribution"), tmp_path / "a.csv"))
    given = shown.trace["P3"].attended_by(9, 11, None, "contribution")
    assert len(rows) == np.isfinite(given).sum()
    for row in rows:
        query = int(row["query_y"]), int(row["query_x"])
        assert (row["key_y"], row["key_x"]) == ("9", "11")
        assert float(row["contribution"]) == pytest.approx(given[query], rel=1e-5, abs=1e-12)
        assert (int(row["block_y"]), int(row["block_x"])) == (query[0] // 8, query[1] // 8)


@pytest.mark.parametrize(("mask", "padding"), [("valid", False), ("published", True)])
def test_all_blocks(shown: Inspection, view: View, tmp_path: Path, mask: str, padding: bool) -> None:
    """With the published mask border blocks attend to padding, which has lines of its own."""
    both = replace(view, view="blocks", left="mask")
    _, rows = read(table.csv(shown, both, tmp_path / "a.csv"))
    side = "halo" if mask == "valid" else "baseline"
    rows = [r for r in rows if r["side"] == side]
    level = shown.trace["P3"] if mask == "valid" else replace(shown.trace["P3"], mask="published")
    assert any(r["part"] == "padding" for r in rows) == padding
    sums = {}
    for row in rows:
        block = int(row["block_y"]), int(row["block_x"])
        oy, ox = level.grid.window_origin(*block)
        i, j = int(row["key_y"]) - oy, int(row["key_x"]) - ox
        assert float(row["weight"]) == pytest.approx(level.block(*block)[i, j], rel=1e-5, abs=1e-9)
        sums[block] = sums.get(block, 0) + float(row["weight"])
    assert all(total == pytest.approx(1, abs=1e-4) for total in sums.values())
    assert len(sums) == level.grid.block_rows * level.grid.block_cols


def test_both_panels_and_a_difference(shown: Inspection, view: View, tmp_path: Path) -> None:
    one = replace(view, left="run1", mode="difference", level="P4", y=3, x=4)
    _, rows = read(table.csv(shown, one, tmp_path / "a.csv"))
    left, right = ([r for r in rows if r["source"] == name] for name in ("run1", "difference"))
    assert {r["side"] for r in left} == {"baseline"} and {r["side"] for r in right} == {"halo"}
    h = heat(shown, one)
    assert len(right) == np.isfinite(h.values).sum() and all(r["weight"] == r["contribution"] == "" for r in right)
    for row in right:
        assert float(row["times_uniform"]) == pytest.approx(h.values[int(row["key_y"]), int(row["key_x"])], rel=1e-6)


def test_global_layers_have_neither_blocks_nor_contributions(shown: Inspection, view: View, tmp_path: Path) -> None:
    _, rows = read(table.csv(shown, replace(view, left="layer10"), tmp_path / "a.csv"))
    left = [r for r in rows if r["side"] == "baseline"]
    assert len(left) == 4 * 5
    assert all(r["block_y"] == r["part"] == r["contribution"] == "" for r in left)
    assert sum(float(r["weight"]) for r in left) == pytest.approx(1, abs=1e-5)


def test_notes(shown: Inspection, view: View, tmp_path: Path) -> None:
    one = replace(view, box=("halo", 0), scales=Scales(cell="auto"))
    notes, _ = read(table.csv(shown, one, tmp_path / "a.csv"))
    assert notes["picture_sha256"] == shown.picture.digest and notes["weights.halo"] == "h"
    assert (notes["view.level"], notes["view.y"], notes["view.scale"]) == ("P3", 9, "auto")
    level = shown.trace["P3"]
    assert notes["numbers.entropy"] == pytest.approx(level.entropy(9, 11))
    assert notes["numbers.mass.halo"] == pytest.approx(level.mass(9, 11)["halo"])
    assert notes["numbers.distance"] == pytest.approx(level.distance(9, 11))
    assert notes["numbers.outside.weight"] == pytest.approx(level.outside(9, 11, shown.halo.xyxy[0]))
    for n, (y, x, value) in enumerate(level.top(9, 11)):
        assert (notes[f"numbers.top.{n}.y"], notes[f"numbers.top.{n}.x"]) == (y, x)
        assert notes[f"numbers.top.{n}.value"] == pytest.approx(value)


def test_a_row_that_lies_on_padding_alone(shown: Inspection, view: View, tmp_path: Path) -> None:
    """No cell of the map is looked at: no distance, no largest cells; and of an empty row nothing at all."""
    level = replace(shown.trace["P3"], mask="published")
    nothing = replace(shown.trace["P3"], norm=np.zeros_like(level.norm))
    for one, of, empty in ((level, "weight", False), (nothing, "contribution", True)):
        changed = replace(shown, trace=replace(shown.trace, levels={"P3": one}))
        bare = replace(view, y=0, x=0, box=None, of=of)
        found = table.numbers(changed, bare)
        assert (found["distance"], found["top"], found["empty"]) == (None, [], empty)
        assert found["answer"] is None or not empty
        notes, _ = read(table.csv(changed, bare, tmp_path / "a.csv"))
        assert notes["numbers.distance"] is None and "numbers.top.0.y" not in notes
    received = table.numbers(shown, replace(view, view="received"))["received"]
    assert received == pytest.approx(shown.trace["P3"].received()[9, 11])
    assert table.numbers(shown, view)["received"] is None


def test_the_answer_is_told_where_it_is_known(shown: Inspection, view: View) -> None:
    level = shown.trace["P3"]
    asked = shown.answers[0]
    y, x = level.letterbox.cell_at(20, 20, level.stride)
    told = table.numbers(shown, replace(view, y=y, x=x))["answer"]
    assert told == {"name": "bee", "times": pytest.approx(level.times_uniform_on(y, x, asked.region))}
    assert table.numbers(shown, replace(view, level="layer10", y=1, x=1))["mass"] is None


def test_hostile_words(shown: Inspection, view: View, tmp_path: Path) -> None:
    """Nothing in a name becomes a line, a cell or a formula."""
    for name in (HOSTILE, '=cmd|"/c calc"!A1', "a,b;c\r\nd"):
        bad = hostile(shown)
        bad = replace(bad, picture=replace(bad.picture, name=name), beside=(replace(shown.beside[0], title=name),))
        notes, _ = read(table.csv(bad, replace(view, left="run1"), tmp_path / "a.csv"))
        assert notes["picture"] == name
    raw = (tmp_path / "a.csv").read_text(encoding="utf-8")
    assert "a\\u002cb\\u003bc" in raw and not any(line.startswith(("=", "+", "@")) for line in raw.splitlines())
    assert table._field("=1+1") == "'=1+1" and table._field(-1.5) == "-1.5" and table._field(float("nan")) == ""


def test_notes_of_any_value() -> None:
    assert table.notes({"a": {"b c": [1, None, "x"]}}) == [
        "# a.b\\u0020c.0: 1",
        "# a.b\\u0020c.1: null",
        '# a.b\\u0020c.2: "x"',
    ]


def test_names_of_heads() -> None:
    """Of a layer with one head, mean and maximum are that head."""
    assert head_name(None, 2) == "mean of heads" and head_name(0, 2) == "head 1"
    assert {head_name(head, 1) for head in (None, "max", 0)} == {"its only head"}
