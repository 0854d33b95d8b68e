"""python -m halo_vis figure: one picture, one view, one file, whose suffix says what it is."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

from halo_vis import animation, figures, single, table
from halo_vis.heats import differs
from halo_vis.inspection import Inspection
from halo_vis.layout import Page
from halo_vis.panels import about
from halo_vis.places import cell_at, layer_of
from halo_vis.view import View

SHEETS = (".pdf", ".svg", ".png")  # files that can show several views
SUFFIXES = (*SHEETS, ".gif", ".csv", ".html")


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Arguments that say what is shown; those of the models are inspect's."""
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write: " + ", ".join(SUFFIXES))
    p.add_argument("--level", help="P3, P4, P5, layer10 or layer22; several (P3,P4) make a figure sheet")
    p.add_argument(
        "--cell", action="append", metavar="Y,X", help="query cell of the (first) level; several: the path of a .gif"
    )
    p.add_argument("--head", help="mean, max, or a number from 0 as in Python; several (mean,0,1) make a figure sheet")
    p.add_argument("--of", help="weight, contribution, content or position")
    p.add_argument("--view", help="cell, box, to, blocks or received")
    p.add_argument("--left", help="left panel: layer10, layer22, off, control, mask, or run1 (see --beside)")
    p.add_argument("--mode", help="pair, slider or difference")
    p.add_argument("--strip", help="small views below: off, levels or heads")
    p.add_argument("--scale", help="end of the colour bar, times uniform, or auto")
    p.add_argument("--log", action="store_true", help="logarithmic colour bar")
    p.add_argument("--map", help="colour map: magma, viridis, cividis or inferno")
    p.add_argument("--sheet", action="store_true", help="figure sheet: photo, both models' boxes, the view")
    p.add_argument("--width", default="double", help="single (3.5 in, one column), double (7.2 in), or inches")
    p.add_argument("--no-caption", action="store_true", help="no words below the figure")
    p.add_argument("--ms", type=int, default=120, help="milliseconds of a frame of a .gif (default 120)")


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be written before any model is loaded."""
    kind = args.out.suffix.lower()
    if kind not in SUFFIXES:
        raise ValueError(f"--out must end in one of {', '.join(SUFFIXES)}, got {args.out.name!r}.")
    several = [f"--{name} {text}" for name in ("level", "head") if "," in (text := getattr(args, name) or "")]
    several += ["--sheet"] if args.sheet else []
    if several and kind not in SHEETS:
        raise ValueError(f"{several[0]} makes a figure sheet, and a {kind} file is none: write {', '.join(SHEETS)}.")
    if len(args.cell or ()) > 1 and kind != ".gif":
        raise ValueError(f"several --cell are the path of a .gif, got {args.out.name!r}. Give one cell.")
    if (args.left or "").startswith("run") and not args.beside:
        raise ValueError(f"--left {args.left} is another model: name it with --beside MEMBER or --beside FILE.")
    for cell in args.cell or ():
        _cell(cell)
    Page(_width(args.width))


def write(seen: Inspection, args: argparse.Namespace) -> Path:
    """Write what the arguments ask for; what they leave open is as the explorer starts: the strongest detection.

    Raises:
        ValueError: an argument that is none of its choices, or a level, head or cell that is not there.
    """
    check(args)
    shown = views(seen, args)
    kind, out = args.out.suffix.lower(), args.out
    out.parent.mkdir(parents=True, exist_ok=True)
    if kind == ".csv":
        return table.csv(seen, shown[0], out)
    if kind == ".html":
        return single.Explorer(single.html(seen, shown[0], lang=None), seen.picture.name).save(out)
    if kind == ".gif":
        corners = [_cell(text) for text in args.cell or ()] or [(shown[0].y, shown[0].x)]
        path = animation.path_of(seen, shown[0].level, corners)
        return animation.gif(seen, path, out, args.ms, shown[0])
    if len(shown) > 1 or args.sheet:
        figure = figures.sheet(seen, shown, not args.no_caption, _width(args.width))
    else:
        figure = figures.figure(seen, shown[0], not args.no_caption, _width(args.width))
    return figures.save(figure, out, about(seen, *shown))


def views(seen: Inspection, args: argparse.Namespace) -> list[View]:
    """A view for each level and head that is named."""
    start = View.strongest(seen)
    given = {
        name: getattr(args, name) for name in ("of", "view", "left", "mode", "strip", "map") if getattr(args, name)
    }
    start = replace(start, log=args.log, **given)
    if args.scale:
        end = args.scale if args.scale == "auto" else _number("--scale", args.scale)
        start = replace(start, scales=replace(start.scales, **{start.view: end}))
    levels = args.level.split(",") if args.level else [start.level]
    stride = layer_of(seen, start.level).stride
    point = (start.y + 0.5) * stride, (start.x + 0.5) * stride
    if args.cell:
        stride, (y, x) = layer_of(seen, levels[0]).stride, _cell(args.cell[0])
        point, start = ((y + 0.5) * stride, (x + 0.5) * stride), replace(start, box=None)
    out = []
    for level in levels:
        layer = layer_of(seen, level)
        y, x = _cell(args.cell[0]) if args.cell and level == levels[0] else cell_at(layer, *point)
        for head in args.head.split(",") if args.head else [None]:
            out.append(replace(start, level=level, y=y, x=x, head=_head(head, layer.heads)))
    for view in out:
        if view.mode == "difference" and not differs(seen, view):
            raise ValueError(
                f"--mode difference: nothing can be subtracted from {view.level} while --left is {view.left}. "
                "Use --left control, mask, or run1 with --beside."
            )
    return out


def cells_joined(argv: list[str]) -> list[str]:
    """The arguments with a cell like -1,0 joined to its --cell: argparse would take it for an option."""
    out: list[str] = []
    for word in argv:
        if out and out[-1] == "--cell" and re.fullmatch(r"-[0-9].*", word):
            out[-1] = f"--cell={word}"
        else:
            out.append(word)
    return out


def _cell(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"\s*[0-9]{1,6}\s*,\s*[0-9]{1,6}\s*", text):
        raise ValueError(f"--cell must be Y,X in cells, counted from 0, got {text!r}.")
    y, x = map(int, text.split(","))
    return y, x


def _width(text: str) -> str | float:
    """Inches as a number; any other word as it is, for the page to know or to refuse."""
    try:
        return float(text)
    except ValueError:
        return text


def _head(text: str | None, heads: int) -> int | str | None:
    if text in (None, "mean"):
        return None
    if text == "max":
        return "max"
    if not text.isdecimal() or int(text) >= heads:
        raise ValueError(f"--head must be mean, max, or a number from 0 to {heads - 1}, got {text!r}.")
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, or auto, got {text!r}.") from None
