"""What the README shows and names is there."""

from __future__ import annotations

import re
from pathlib import Path

from halo_vis.__main__ import parser

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_every_picture_and_file_is_there() -> None:
    named = re.findall(r"!?\[[^\]]*\]\(([^)#]+)\)", README)
    local = [path for path in named if "://" not in path]
    assert len(local) >= 4
    assert [path for path in local if not (REPOSITORY / path).is_file()] == []


def test_every_command_can_be_parsed() -> None:
    lines = [line.split("#")[0].split()[3:] for line in README.splitlines() if line.startswith("python -m halo_vis ")]
    commands = [line for line in lines if line[0] != "yolo"]
    assert {"inspect", "figure", "meadow", "train", "bench"} <= {line[0] for line in commands}
    for line in commands:
        assert parser().parse_args(line).command == line[0]
