"""Words in figures: any language, exactly as they stand, measured, shortened, wrapped. Sizes are in points."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import ScaledTranslation

# Fonts with Chinese characters by how well they go with DejaVu Sans: Linux, macOS, Windows.
CHINESE = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "Noto Sans CJK JP", "PingFang SC",
    "Hiragino Sans GB", "Heiti SC", "STHeiti", "Microsoft YaHei", "SimHei", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS",
)  # fmt: skip

log = logging.getLogger(__name__)


def unhinted() -> AbstractContextManager:
    """Inside, letters keep their shape at every resolution: what was measured at one fits at another."""
    return matplotlib.rc_context({"text.hinting": "no_hinting"})


@cache
def families() -> tuple[str, ...]:
    """DejaVu Sans, which matplotlib brings, then the first font with Chinese characters that this machine has."""
    there = set(font_manager.get_font_names())
    return ("DejaVu Sans", *[name for name in CHINESE if name in there][:1])


@cache
def _say_no_chinese() -> None:
    log.warning("No font with Chinese characters here: figures show boxes instead. Install Noto Sans CJK.")


def plain(text: str) -> str:
    """One line of printable text: control characters would break lines, and XML forbids them."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def write(target: Axes | Figure, x: float, y: float, text: str, size: float, **how: object) -> Text:
    """Put text on axes or a figure exactly as it stands: a dollar sign starts no mathematics."""
    return target.text(x, y, **_words(text, size), **how)


def title(
    axes: Axes, text: str, size: float, pad: float, aside: str = "", *, cut: bool = True, bold: bool = False
) -> None:
    """The line above axes, shortened to their width.

    Args:
        aside: more words at its right end; where both do not fit the title is shortened, or without `cut` they go.
    """
    words = _words(text, size)
    label = words.pop("s")
    shown = axes.set_title(label, loc="left", pad=pad, fontweight="bold" if bold else "normal", **words)
    room, beside = axes.get_window_extent().width, None
    if aside:
        beside = write(
            axes, 1, 1, aside, size * 0.8, transform=axes.transAxes, ha="right", va="bottom", color="#555555"
        )
        beside.set_transform(axes.transAxes + ScaledTranslation(0, pad / 72, axes.figure.dpi_scale_trans))
        taken = width_of(beside) + size * axes.figure.dpi / 72
        if cut or width_of(shown) + taken <= room:
            room -= taken
        else:
            beside.remove()
    fit(shown, room)


def _words(text: str, size: float) -> dict[str, object]:
    text = plain(text)
    if len(families()) == 1 and any("\u2e80" <= c <= "\uffef" for c in text):
        _say_no_chinese()
    return {"s": text, "fontsize": size, "family": families(), "parse_math": False}


def _renderer(figure: Figure) -> RendererAgg:
    canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    return canvas.get_renderer()


def width_of(text: Text) -> float:
    """Width in pixels of the figure's own resolution."""
    return text.get_window_extent(_renderer(text.figure)).width


def fit(text: Text, width: float) -> None:
    """Shorten a text to a width in pixels; at least two characters stay."""
    whole = text.get_text()
    low, high = min(2, len(whole)), len(whole)
    if width_of(text) <= width:
        return
    while low < high:  # the most characters that fit, with the sign that some are missing
        middle = (low + high + 1) // 2
        text.set_text(whole[:middle].rstrip() + "…")
        low, high = (middle, high) if width_of(text) <= width else (low, middle - 1)
    text.set_text(whole[:low].rstrip() + "…")


def wrap(figure: Figure, paragraphs: Sequence[str], size: float, width: float) -> list[str]:
    """Break paragraphs into lines of at most `width` inches; Chinese, and words longer than a line, break anywhere."""
    probe = write(figure, 0, 0, "", size)
    room = width * figure.dpi

    def wide(line: str) -> bool:
        probe.set_text(line)
        return width_of(probe) > room

    lines = []
    for paragraph in paragraphs:
        line = ""
        for piece in _pieces(plain(paragraph)):
            if not wide(line + piece):
                line += piece
                continue
            if line.strip():
                lines.append(line.strip())
            line = piece.lstrip()
            while len(line) > 1 and wide(line):
                end = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or not wide(line[:n]))
                lines.append(line[:end])
                line = line[end:]
        if line.strip():
            lines.append(line.strip())
    probe.remove()
    return lines


def _pieces(text: str) -> list[str]:
    """Where a line may break: before and after spaces, around each Chinese character."""
    pieces = [""]
    for c in text:
        alone = c == " " or "\u2e80" <= c <= "\uffef"
        if alone or pieces[-1] == " " or (pieces[-1] and "\u2e80" <= pieces[-1][-1] <= "\uffef"):
            pieces.append(c)
        else:
            pieces[-1] += c
    return pieces
