"""What the page offers before anything heavy is imported: pair cards and examples, from plain files."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from demo.texts import text

ASSETS = Path(__file__).parent.parent / "assets"
COCO = tuple(f"coco-{scale}" for scale in "nsmlx")
OWN = "own"


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


def halo_members(pair: str) -> list[str]:
    """The halo models of a pair; the first is the default."""
    members = [m for m in cards().get(pair, {}).get("members", {}) if m != "baseline"]
    return sorted(members, key=lambda m: m != "halo") or ["halo"]


def all_members() -> list[str]:
    """Every bundled halo model, as pair/member."""
    return [f"{pair}/{member}" for pair in cards() for member in halo_members(pair)]


def default_imgsz(pair: str) -> int:
    """The image size on the pair's card."""
    return cards().get(pair, {}).get("imgsz", 640)


def card_text(pair: str, lang: str) -> str:
    """The pair's card as Markdown: what it was trained on, how, and how well it does."""
    if pair == OWN:
        return text(lang, "own_card")
    card = cards().get(pair)
    if card is None:
        return text(lang, "coco_card")
    lines = [f"**{card['title']}**"]
    if card.get("memorised"):
        lines.append(text(lang, "memorised"))
    for name, m in card["members"].items():
        lines.append(
            text(
                lang,
                "trained_on",
                member=name,
                data=m["data"],
                recipe=m["recipe"],
                epochs=m["epochs"],
                imgsz=m["imgsz"],
                minutes=round(m["seconds"] / 60),
                map50=f"{m['mAP50']:.3f}",
                map=f"{m['mAP50-95']:.3f}",
                where=text(lang, "held_out" if m["held_out"] else "on_training"),
                parameters=f"{m['parameters'] / 1e6:.2f}",
            )
        )
    return "\n\n".join(lines)
