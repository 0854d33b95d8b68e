"""The short bench: layer, models and app, each in a process of its own, and what became of every target."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from halo_vis.bench.report import Figure, table

PARTS = ("layer", "model", "app")


def run(full: bool = False, out: Path | None = None, parts: tuple[str, ...] = PARTS) -> int:
    """Run the parts one after the other; their tables as they come, all targets at the end.

    Args:
        full: larger models and pictures too.
        out: where everything is written as JSON, by part.

    Returns:
        0, also where a target is missed: the table says so. The status of the first part that failed otherwise.
    """
    found = {}
    with tempfile.TemporaryDirectory(prefix="halo-vis-bench-") as folder:
        for part in parts:
            file = Path(folder) / f"{part}.json"
            command = [sys.executable, "-m", "halo_vis", "bench", part, "--json", str(file)]
            print(f"{part}\n{'=' * len(part)}", flush=True)
            if status := subprocess.run([*command, *(["--full"] if full else [])], check=False).returncode:
                return status
            print(flush=True)
            found[part] = json.loads(file.read_text(encoding="utf-8"))
    print(targets(found))
    if out:
        out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


def targets(found: dict[str, dict]) -> str:
    """All figures that have a target, in one table.

    Args:
        found: by part, what `report.as_json` gives.
    """
    figures = []
    for part, report in found.items():
        for one in report["figures"]:
            if one["target"] is not None:
                kept = {name: value for name, value in one.items() if name not in ("met", "group", "name")}
                figures.append(Figure(group=f"Targets: {part}", name=f"{one['group']} | {one['name']}", **kept))
    met = sum(figure.met is True for figure in figures)
    missed = sum(figure.met is False for figure in figures)
    facts = {"targets": f"{met} met, {missed} missed, {len(figures) - met - missed} not known"}
    return table(facts, figures) if figures else "no targets"
