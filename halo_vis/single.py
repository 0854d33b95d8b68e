"""The explorer as one HTML file that needs nothing else: to mail, to put beside a paper, to show in a notebook.

The viewer's scripts, its style and markup, the photo and all tensors stand in the file. Its Content-Security-Policy
allows no script but the one that is in it, and no connection at all, so that a reader need not take that on trust. It
does allow eval ('unsafe-eval'), for programs that drive the page.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from halo_vis.picture import LONGEST_PHOTO, reduced
from halo_vis.seen import Seen, provenance
from halo_vis.viewer import FOLDER, payload

if TYPE_CHECKING:
    from halo_vis.view import View

LOSSLESS_PIXELS = 512 * 512  # photos up to this size stay as they are, as PNG
QUALITY = 92  # of WebP
HEIGHT = 900  # of an explorer in a notebook, CSS pixels: both photos and the numbers below them
NO_SCRIPT = "This page needs JavaScript. 本页需要 JavaScript。"


def html(seen: Seen, view: View | None = None, control: bool = True, lang: str | None = "en") -> str:
    """One self-contained HTML document: the explorer with everything it needs.

    Args:
        view: what it shows first; None: the strongest detection. A ``#level=P4&y=3&x=7`` behind the address wins.
        control: bring along the control with random queries and keys.
        lang: "en" or "zh-CN"; None: as the reader's browser asks for.
    """
    meta, files = payload(seen, control)
    others = [name for name in files if name != "tensors"]
    page = {"lang": lang, "view": None if view is None else view.state(), "others": others}
    names = json.loads((FOLDER / "order.json").read_text(encoding="utf-8"))
    script = "\n".join(_source(name) for name in (*names, "single.js"))
    style = _source("explorer.css") + _source("single.css")
    data = [_inert("page", _json(page)), _inert("meta", _json(meta)), _inert("picture", _photo(seen.picture.pixels))]
    data += [_inert(name, base64.b64encode(raw).decode()) for name, raw in files.items()]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # 'unsafe-eval': programs that drive a page (and test it) evaluate expressions in it; this script never does, and no
    # other script can get in.
    scripts = f"script-src 'sha256-{allowed}' 'unsafe-eval'"
    policy = f"default-src 'none'; {scripts}; style-src 'unsafe-inline'; img-src data: blob:"
    document = "\n".join(
        [
            "<!doctype html>",
            f'<html lang="{escape(lang or "en")}">',
            '<meta charset="utf-8">',
            f"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}; base-uri 'none'; form-action 'none'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(_title(seen))}</title>",
            f"<style>\n{style}</style>",
            _head(seen),
            f"<noscript>{NO_SCRIPT}</noscript>",
            _source("explorer.html"),
            *data,
            f"<script>{script}</script>",
            "</html>\n",
        ]
    )
    return document.encode("utf-8", "replace").decode()  # a file name may hold bytes that are no text


@dataclass(frozen=True, eq=False)
class Explorer:
    """The explorer of one inspection: shows itself in a notebook, each in a frame of its own, and can be saved."""

    document: str = field(repr=False)
    title: str
    height: int = HEIGHT

    def save(self, path: str | Path) -> Path:
        """Write it as one HTML file."""
        path = Path(path)
        path.write_text(self.document, encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        """For notebooks. Without allow-same-origin the frame cannot reach the notebook, nor the notebook's server."""
        return (
            f'<iframe srcdoc="{escape(self.document)}" title="{escape(self.title)}" '
            f'sandbox="allow-scripts allow-downloads" style="width: 100%; height: {int(self.height)}px; border: 0">'
            "</iframe>"
        )


def explorer(seen: Seen, view: View | None = None, height: int = HEIGHT, control: bool = False) -> Explorer:
    """The explorer for a notebook, in the language of the reader's browser."""
    return Explorer(html(seen, view, control, lang=None), _title(seen), height)


def _title(seen: Seen) -> str:
    return f"{seen.picture.name} · {seen.card.title} · HaloVis".encode("utf-8", "replace").decode()


def _head(seen: Seen) -> str:
    """What was shown, by which models, and, folded, all that is known of where it comes from. No words: no language."""
    about = provenance(seen)
    s = seen.settings
    line = f"{seen.card.title} ({seen.member}) · imgsz {s.imgsz} · conf {s.conf:g} · {s.head}"
    rest = escape(json.dumps(about, indent=1, ensure_ascii=False))
    return (
        f'<header class="single-head"><h1>{escape(seen.picture.name)}</h1><p>{escape(line)}</p>'
        f"<details><summary>HaloVis {escape(about['halo_vis'])}</summary><pre>{rest}</pre></details></header>"
    )


def _source(name: str) -> str:
    """A file of the viewer, checked: inside an element it must not end that element."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    for end in ("</script", "<!--", "</style"):
        if end in text.lower():
            raise ValueError(f"{name} holds {end!r}, which would end its element in an HTML file. Write it in parts.")
    return text


def _inert(name: str, text: str) -> str:
    """Data in an element that no browser runs or shows."""
    return f'<script type="text/plain" data-file="{escape(name)}">{text}</script>'


def _json(value: object) -> str:
    """JSON without any character that could end a script element or a line of JavaScript."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _photo(pixels: np.ndarray) -> str:
    """(H, W, 3) uint8 -> data URI: PNG while that is small, else WebP."""
    image = Image.fromarray(reduced(pixels, LONGEST_PHOTO))  # boxes and maps keep the photo's own pixels
    small = image.width * image.height <= LOSSLESS_PIXELS
    buffer = io.BytesIO()
    if small:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "WEBP", quality=QUALITY, method=4)
    return f"data:image/{'png' if small else 'webp'};base64,{base64.b64encode(buffer.getvalue()).decode()}"
