"""The short bench: what became of the targets of all parts, and a part that fails ends it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from halo_vis.__main__ import parser
from halo_vis.bench import short
from halo_vis.bench.report import Figure, as_json


def test_targets_of_all_parts_in_one_table() -> None:
    layer = [
        Figure("Together", "halonet / ours", 3.2, "", 3.0, least=True),
        Figure("Together", "milliseconds", 15.0, "ms"),
    ]
    app = [
        Figure("Click", "of what it may take", 1.2, "", 1.0),
        Figure("Memory", "growth", None, "MiB", 0.02, note="no /proc here"),
    ]
    text = short.targets({"layer": as_json({}, layer), "app": as_json({}, app)})
    assert "1 met, 1 missed, 1 not known" in text
    assert "milliseconds" not in text
    lines = {line.split(" | ")[1].split("  ")[0]: line for line in text.splitlines() if " | " in line}
    assert lines["halonet / ours"].endswith("at least 3       met")
    assert lines["of what it may take"].endswith("MISSED")
    assert lines["growth"].endswith("no /proc here")
    assert set(asdict(layer[0])) == {"group", "name", "value", "unit", "target", "least", "note"}


def test_a_part_that_fails_ends_it(tmp_path: Path) -> None:
    """With its status, and without a file that looks complete."""
    assert short.run(out=tmp_path / "all.json", parts=("nonsense",)) == 2
    assert not (tmp_path / "all.json").exists()


@pytest.mark.parametrize("what", [None, "layer", "model", "app", "viewer", "training"])
def test_every_part_is_a_command(what: str | None) -> None:
    asked = parser().parse_args(["bench", *([what] if what else []), "--full"])
    assert (asked.what, asked.full, asked.json) == (what, True, None)
