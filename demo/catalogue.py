"""What the page offers before anything heavy is imported: pair cards and examples, from plain files."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from demo.guards import runs_folder
from demo.texts import text

ASSETS = Path(__file__).parent.parent / "assets"
COCO = tuple(f"coco-{scale}" for scale in "nsmlx")
OWN = "own"
RUN = "run:"  # what the names of finished runs' pairs start with
_RUN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")  # as halo_vis.pairs has it, which would import torch
_NEEDED = {"title": str, "imgsz": int, "members": dict, "baseline": str}  # of a run's pair.json
Allowed = Callable[[str], bool] | None  # whether a visitor may see a run, by its id; None: every run


@dataclass(frozen=True)
class Example:
    """A picture to start with: the pair that suits it, a small preview, and how to get the full picture."""

    name: str
    pair: str
    preview: Path
    scene: int | None = None  # seed of a meadow scene; None: a photograph that Ultralytics installs

    def path(self, folder: Path) -> Path:
        """The full picture, put or generated into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.scene is None:
            source = installed_photo(self.name)
            target = folder / source.name
            if not target.is_file():
                target.write_bytes(source.read_bytes())
            return target
        target = folder / f"{self.name}.png"
        if not target.is_file():
            from PIL import Image

            from halo_vis import meadow

            Image.fromarray(meadow.scene(self.scene, "test").image).save(target)
        return target


def installed_photo(name: str) -> Path:
    """A photograph inside the installed Ultralytics, found without importing it."""
    return Path(importlib.util.find_spec("ultralytics").origin).parent / "assets" / f"{name}.jpg"


def examples() -> list[Example]:
    """The examples whose previews are there."""
    folder = ASSETS / "examples"
    found = [Example(name, "photos", folder / f"{name}.jpg") for name in ("bus", "zidane")]
    found += [Example(p.stem, "meadow", p, int(p.stem.split("-")[1])) for p in sorted(folder.glob("meadow-*.jpg"))]
    return [e for e in found if e.preview.is_file()]


def cards() -> dict[str, dict]:
    """Cards of the bundled pairs: pair.json, with the members' own cards under "members"."""
    found = {}
    for path in sorted((ASSETS / "pairs").glob("*/pair.json"), reverse=True):  # photos first
        card = json.loads(path.read_text(encoding="utf-8"))
        card["members"] = {
            p.stem: json.loads(p.read_text(encoding="utf-8")) for p in sorted(path.parent.glob("*.json")) if p != path
        }
        found[path.parent.name] = card
    return found


def run_cards(allowed: Allowed = None) -> dict[str, dict]:
    """Cards of the finished runs' pairs by name ("run:ID"), the newest first.

    Args:
        allowed: whether a visitor may see a run, by its id.
    """
    found = []
    for path in runs_folder().glob("*/pair.json"):
        if not _RUN_ID.fullmatch(path.parent.name) or (allowed and not allowed(path.parent.name)):
            continue
        card = _read_pair(path)
        if card is not None:
            found.append((card["written"], RUN + path.parent.name, card))
    return {name: card for _, name, card in sorted(found, key=lambda item: item[:2], reverse=True)}


def card(pair: str, allowed: Allowed = None) -> dict | None:
    """The card of a bundled pair, or of a finished run that the visitor may see; else None."""
    if not isinstance(pair, str):  # a raw request may send anything
        return None
    if not pair.startswith(RUN):
        return cards().get(pair)
    run_id = pair.removeprefix(RUN)
    if not _RUN_ID.fullmatch(run_id) or (allowed and not allowed(run_id)):
        return None
    return _read_pair(runs_folder() / run_id / "pair.json")


def version(pair: str) -> tuple:
    """Changes when what a pair's name stands for does: a run that was deleted, or trained again."""
    if not pair.startswith(RUN) or (found := card(pair)) is None:
        return ()
    folder = runs_folder() / pair.removeprefix(RUN)
    files = [m["file"] for m in found["members"].values() if isinstance(m.get("file"), str)]
    return (found["written"], *(_stamp(folder / file) for file in sorted(files)))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return stat.st_mtime_ns, stat.st_size


def _read_pair(path: Path) -> dict | None:
    """A run's pair.json with the time it was written; None where it is missing or damaged."""
    stamp = None if path.parent.is_symlink() else _stamp(path)
    return None if stamp is None else _parsed_pair(path, stamp)


@lru_cache(maxsize=4096)  # a page's lists ask for the same cards many times
def _parsed_pair(path: Path, stamp: tuple[int, int]) -> dict | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not all(isinstance(value.get(k), kind) for k, kind in _NEEDED.items()):
        return None
    if not 0 < value["imgsz"] < 100_000 or not all(isinstance(m, dict) for m in value["members"].values()):
        return None
    return value | {"written": stamp[0]}


def titles(lang: str, allowed: Allowed = None) -> dict[str, str]:
    """Names and titles of the bundled pairs, then of the finished runs; no two runs have the same title."""
    found = {name: one["title"] for name, one in cards().items()}
    runs = {name: text(lang, "run_pair", title=one["title"]) for name, one in run_cards(allowed).items()}
    often = list(runs.values())
    return found | {n: t if often.count(t) == 1 else f"{t} ({n.removeprefix(RUN)})" for n, t in runs.items()}


def halo_members(pair: str) -> list[str]:
    """The halo models of a pair; the first is the default."""
    found = card(pair)
    members = [m for m in found["members"] if m != "baseline"] if found else []
    return sorted(members, key=lambda m: m != "halo") or ["halo"]


def all_members(allowed: Allowed = None) -> list[str]:
    """Every halo model of the bundled pairs and the finished runs, as pair/member."""
    return [f"{pair}/{member}" for pair in (*cards(), *run_cards(allowed)) for member in halo_members(pair)]


def default_imgsz(pair: str) -> int:
    """The image size on the pair's card."""
    found = card(pair)
    return found["imgsz"] if found else 640


def card_text(pair: str, lang: str, allowed: Allowed = None) -> str:
    """The pair's card as Markdown: what it was trained on, how, and how well it does."""
    if pair == OWN:
        return text(lang, "own_card")
    found = card(pair, allowed)
    if found is None:
        return text(lang, "run_gone" if pair.startswith(RUN) else "coco_card")
    title = found["title"]
    lines = [f"**{text(lang, 'run_pair', title=_plain(title)) if pair.startswith(RUN) else title}**"]
    if found.get("memorised"):
        lines.append(text(lang, "memorised"))
    if found.get("kind") in ("start", "without-halo", "untrained"):
        lines.append(text(lang, "run_" + found["kind"].replace("-", "_")))
    lines += [line for name, m in found["members"].items() if (line := _member_text(name, m, lang))]
    return "\n\n".join(lines)


def _member_text(name: str, m: dict[str, Any], lang: str) -> str:
    """What is known of a member; "" where nothing was measured, as of a model that somebody else has trained."""
    try:
        return text(
            lang,
            "trained_on",
            member=_plain(name),
            data=_plain(m["data"]),
            recipe=_plain(m["recipe"]),
            epochs=m["epochs"],
            imgsz=m["imgsz"],
            minutes=round(m["seconds"] / 60),
            map50=f"{m['mAP50']:.3f}",
            map=f"{m['mAP50-95']:.3f}",
            where=text(lang, "held_out" if m["held_out"] else "on_training"),
            parameters=f"{m['parameters'] / 1e6:.2f}",
        )
    except (KeyError, TypeError, ValueError):
        return ""


def _plain(words: object) -> str:
    """Anybody's words within Markdown: as they are, no picture and no link."""
    return re.sub(r"([\\`*_{}\[\]()#+!<>|~-])", r"\\\1", " ".join(str(words).split()))
