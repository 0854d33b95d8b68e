"""The runs of a folder as a table: what they were, how they ended, what they reached."""

from __future__ import annotations

from typing import Any

from halo_vis.training.run_folder import RunFolder
from halo_vis.training.snapshot import FileCache, Look, best, epochs_of, members_of, read_yaml, run_json

SEARCHED = ("title", "note", "id", "data", "state")


def row(run: RunFolder, look: Look, files: FileCache) -> dict[str, Any]:
    """One line of the history.

    Returns:
        {"id", "title", "note", "state", "made" (unix, None unknown), "members": {name: form}, "data", "epochs" (asked,
        of a member, None unknown), "mAP50": {member: its card's, else the best epoch's, None without}, "duration"
        (seconds of training over all sessions, None unknown)}
    """
    about = run_json(run, "about.json", files)
    members = members_of(run, files)
    made, duration = about.get("made"), run_json(run, "status.json", files).get("elapsed_s")
    if not isinstance(made, (int, float)):
        try:
            made = (run.path / "run.yaml").stat().st_mtime
        except OSError:
            made = None
    return {
        "id": run.id,
        "title": str(about.get("title") or ""),
        "note": str(about.get("note") or ""),
        "state": look.state,
        "made": made,
        "members": members,
        "data": _data(run, files),
        "epochs": epochs_of(run, files),
        "mAP50": {name: best(run, name, files) for name in members},
        "duration": duration if isinstance(duration, (int, float)) else None,
    }


def matches(found: dict[str, Any], search: str) -> bool:
    """Whether every word of a search is somewhere in a row, in capitals or not."""
    text = " ".join(str(found[name]) for name in SEARCHED).casefold()
    return all(word in text for word in search.casefold().split())


def newest_first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By the time they were made; those that do not know it last."""
    return sorted(rows, key=lambda r: (r["made"] is not None, r["made"] or 0, r["id"]), reverse=True)


def _data(run: RunFolder, files: FileCache) -> str:
    """What it is trained on, as it was chosen; a path's last two parts where it was given as one."""
    chosen = files.get(run.path / "plan.yaml", read_yaml).get("data")
    if isinstance(chosen, str) and chosen:
        return chosen
    given = str(files.get(run.path / "run.yaml", read_yaml).get("data") or "")
    return "/".join(given.replace("\\", "/").split("/")[-2:])
