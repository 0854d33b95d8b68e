"""What the controls of the Inspect tab offer, in a language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from demo.catalogue import COCO, OWN, Allowed, card, default_imgsz, halo_members, titles
from demo.texts import text

SIZES = (320, 480, 640, 960, 1280)


def devices() -> list[str]:
    """Devices that this machine may have, told without importing torch."""
    import sys

    found = ["auto", "cpu"]
    if Path("/dev/nvidia0").exists():
        found.append("cuda:0")
    return [*found, "mps"] if sys.platform == "darwin" else found


def pair_choices(lang: str, allowed: Allowed = None) -> list[tuple[str, str]]:
    """Title and value of every pair on offer: bundled, finished runs that the visitor may see, official, own."""
    here = [(title, name) for name, title in titles(lang, allowed).items()]
    official = [(f"COCO, YOLO26{name[-1]}", name) for name in COCO]
    return [*here, *official, (text(lang, "own_pair"), OWN)]


def member_choices(pair: str, lang: str) -> list[tuple[str, str]]:
    """Title and value of a pair's halo models, the default first."""
    return [(member_title(pair, member, lang), member) for member in halo_members(pair)]


def member_title(pair: str, member: str, lang: str) -> str:
    """The form of a pair's halo model, and its levels and heads where these are not all."""
    known = (card(pair) or {}).get("members", {}).get(member, {})
    form = known.get("form") or ("article" if member == "article" else "residual")
    levels = known.get("levels") if isinstance(known.get("levels"), list) else []
    title = text(lang, "member_article" if form == "article" else "member_halo")
    heads = known.get("heads")
    if isinstance(heads, float) and 0 < heads < 1:
        heads = [text(lang, "member_share", n=f"{100 * heads:.0f}")]
    else:
        heads = [text(lang, "member_heads", n=heads)] if isinstance(heads, int) else []
    return ", ".join([title, *map(str, levels), *heads])


def size_choices(pair: str) -> list[int]:
    """Image sizes on offer, pixels: the usual ones, and the one that the pair was trained at."""
    return sorted({*SIZES, default_imgsz(pair)})


def size_update(pair: str) -> dict[str, Any]:
    """The list of image sizes with the pair's own chosen."""
    return gr.update(choices=size_choices(pair), value=default_imgsz(pair))


def member_update(pair: str, lang: str) -> dict[str, Any]:
    """The radio of halo models: there only where a pair has several."""
    choices = member_choices(pair, lang)
    return gr.update(choices=choices, value=choices[0][1], visible=len(choices) > 1)


def device_choices(lang: str) -> list[tuple[str, str]]:
    """Title and value of the devices."""
    return [(text(lang, "auto") if name == "auto" else name, name) for name in devices()]


def beside_choices(pair: str, member: str, lang: str, allowed: Allowed = None) -> list[tuple[str, str]]:
    """Title and value of the halo models that can be shown beside the chosen one; "" is none."""
    found = [
        (f"{title}: {form}", f"{name}/{other}")
        # The pair's own members first.
        for name, title in sorted(titles(lang, allowed).items(), key=lambda item: item[0] != pair)
        for form, other in member_choices(name, lang)
        if (name, other) != (pair, member)
    ]
    own = [(text(lang, "own_pair"), OWN)] if pair == OWN else []  # it needs the baseline that is uploaded with them
    return [("–", ""), *found, *own]  # no word: it is there before the language is known


def beside_update(pair: str, member: str, lang: str, allowed: Allowed = None) -> dict[str, Any]:
    """The list without the model that is chosen; nothing beside it at first."""
    return gr.update(choices=beside_choices(pair, member, lang, allowed), value="")
