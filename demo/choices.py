"""What the controls of the Inspect tab offer, in a language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from demo.catalogue import COCO, OWN, cards, halo_members
from demo.texts import text


def devices() -> list[str]:
    """Devices that this machine may have, told without importing torch."""
    import sys

    found = ["auto", "cpu"]
    if Path("/dev/nvidia0").exists():
        found.append("cuda:0")
    return [*found, "mps"] if sys.platform == "darwin" else found


def pair_choices(lang: str) -> list[tuple[str, str]]:
    """Title and value of every pair on offer."""
    bundled = [(card["title"], name) for name, card in cards().items()]
    official = [(f"COCO, YOLO26{name[-1]}", name) for name in COCO]
    return [*bundled, *official, (text(lang, "own_pair"), OWN)]


def member_choices(pair: str, lang: str) -> list[tuple[str, str]]:
    """Title and value of a pair's halo models, the default first."""
    return [(text(lang, "member_article" if m == "article" else "member_halo"), m) for m in halo_members(pair)]


def member_update(pair: str, lang: str) -> dict[str, Any]:
    """The radio of halo models: there only where a pair has several."""
    choices = member_choices(pair, lang)
    return gr.update(choices=choices, value=choices[0][1], visible=len(choices) > 1)


def device_choices(lang: str) -> list[tuple[str, str]]:
    """Title and value of the devices."""
    return [(text(lang, "auto") if name == "auto" else name, name) for name in devices()]


def beside_choices(pair: str, member: str, lang: str) -> list[tuple[str, str]]:
    """Title and value of the halo models that can be shown beside the chosen one; "" is none."""
    found = [
        (f"{card['title']}: {title}", f"{name}/{other}")
        for name, card in sorted(cards().items(), key=lambda item: item[0] != pair)  # the pair's own members first
        for title, other in member_choices(name, lang)
        if (name, other) != (pair, member)
    ]
    own = [(text(lang, "own_pair"), OWN)] if pair == OWN else []  # it needs the baseline that is uploaded with them
    return [("–", ""), *found, *own]  # no word: it is there before the language is known


def beside_update(pair: str, member: str, lang: str) -> dict[str, Any]:
    """The list without the model that is chosen; nothing beside it at first."""
    return gr.update(choices=beside_choices(pair, member, lang), value="")
