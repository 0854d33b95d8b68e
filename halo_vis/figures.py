"""Figures for papers, with matplotlib: exactly what a view shows, or a sheet of several; overlays are vectors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import ClassVar
from weakref import WeakKeyDictionary

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from PIL.PngImagePlugin import PngInfo

from halo_vis import drawing, lettering, panels
from halo_vis.geometry import Box
from halo_vis.layout import DPI, GAP, MARGIN, SMALL, Page
from halo_vis.panels import Panel
from halo_vis.picture import LONGEST_PHOTO, reduced
from halo_vis.seen import Seen
from halo_vis.view import Show, View, Zoom

TALLEST = 8.6  # inches of photographs on one page; the small views below them get half as much
THINNEST = 0.02  # inches of a picture: thinner ones are drawn broader than they are
TITLE, LABEL = 7.5, 5.5  # points
HEAD = TITLE * 1.6 / 72  # inches above a panel
MARKS = {"gained": "+ ", "lost": "− ", "kept": ""}
# How matplotlib marks pictures that it has not resampled; a photo that is reduced would lose every other line.
PIXELATED = "image-rendering:crisp-edges;image-rendering:pixelated"


@lettering.unhinted()
def figure(
    seen: Seen, view: View, caption: bool = True, width: str | float = "double", photo: np.ndarray | None = None
) -> Figure:
    """What the explorer shows: both panels (of a slider, one photo with both), colour bars, small views, caption.

    Args:
        caption: what is shown, warnings and provenance in words below it.
        width: "single" (3.5 in) or "double" (7.2 in), or inches.
        photo: the same photo at another size; None: at its full resolution.

    Raises:
        ValueError: the view's level or cell does not exist in this inspection, or an unknown width.
    """
    page, shown = Page(width), panels.panels(seen, view)
    box = visible(seen, view)
    columns = [shown] if view.mode == "slider" else [(one,) for one in shown]
    wide, high = _size(page.width, len(columns), box)
    left = (page.width - len(columns) * wide - (len(columns) - 1) * GAP) / 2
    page.grow(page.down + HEAD + high + 0.5)
    for n, group in enumerate(columns):
        x = left + n * (wide + GAP)
        axes = page.axes(x, page.down + HEAD, wide, high)
        cut = view.curtain if len(group) == 2 else None
        paint(axes, seen, group, view, box, _label_size(wide), curtain=cut, photo=photo)
        size = TITLE if wide > 2.5 else SMALL
        lettering.title(
            axes, " | ".join(one.title for one in group), size, 2.5, panels.short(group[-1]), cut=not caption
        )
    page.down += HEAD + high
    _bars_below(page, columns, view, left, wide)
    if view.strip != "off":
        _strip(page, seen, view)
    if caption:
        page.caption(panels.caption(seen, view))
    return page.done()


@lettering.unhinted()
def sheet(seen: Seen, views: Iterable[View] | View, caption: bool = True, width: str | float = "double") -> Figure:
    """A figure sheet: the photo, both models' detections, the right panel of each view, one colour bar, caption.

    Views with different scales get a colour bar for each scale, named by the letters of its panels.

    Args:
        views: one or several; their boxes are drawn without labels, which stand in the detections' own panels.
        caption, width: as for :func:`figure`.

    Raises:
        ValueError: no view, or as for :func:`figure`.
    """
    views = [views] if isinstance(views, View) else list(views)
    if not views:
        raise ValueError("sheet needs at least one view. View.strongest(seen) is a good one.")
    page = Page(width)
    plain = replace(views[0], left="layer10", mode="pair", box=None, dim=0.0, zoom=Zoom(), show=Show())
    empty = [
        replace(one, heat=None, cell=None, area=None, block=None, reach=None, lattice=())
        for one in panels.panels(seen, plain)
    ]
    cells: list[tuple[str, Panel | None, View]] = [("photo", None, plain)]
    cells += [(f"{one.title}, {_boxes(one)}", one, plain) for one in empty]
    for view in views:
        one = panels.panel(seen, view, "halo")
        cells.append((_cell_title(one), one, replace(view, show=replace(view.show, labels=False))))
    columns = min(3 if page.width > 5 else 2, len(cells))
    rows = -(-len(cells) // columns)
    whole = visible(seen, plain)
    wide, high = _size(page.width, columns, whole, rows)
    left = (page.width - columns * wide - (columns - 1) * GAP) / 2
    page.grow(page.down + rows * (HEAD + high) + 0.5)
    for n, (title, one, view) in enumerate(cells):
        x = left + n % columns * (wide + GAP)
        axes = page.axes(x, page.down + HEAD, wide, high)
        paint(axes, seen, [one] if one else [], view, visible(seen, view), _label_size(wide))
        lettering.title(axes, f"({_letter(n)}) {title}", SMALL, 2.5)
        if n % columns == columns - 1 or n == len(cells) - 1:
            page.down += HEAD + high
    shown = [(f"({_letter(n)})", one, view) for n, (_, one, view) in enumerate(cells) if one and one.heat]
    _bar_of_all(page, shown, left)
    if caption:
        told = [f"({_letter(n + 3)}) {panels.what(one)}" for n, (_, one, _) in enumerate(cells[3:])]
        found = [f"({name}) {one.title}: {_boxes(one)}" for name, one in zip("bc", empty, strict=True)]
        parts = "; ".join(["(a) photo", *found, *told]) + "."
        page.caption([panels.heading(seen), parts, *panels.fine_print(seen, *views)])
    return page.done()


def _boxes(one: Panel) -> str:
    return "1 box" if len(one.found) == 1 else f"{len(one.found)} boxes"


def _letter(n: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    return (_letter(n // 26 - 1) if n >= 26 else "") + chr(97 + n % 26)


def _cell_title(one: Panel) -> str:
    if one.heat is None:
        return "photo"
    where = f" ({one.part.y}, {one.part.x})" if one.part.view in ("cell", "to") else ""
    return f"{panels.short(one)}, {panels.VIEWS[one.part.view]}{where}" + (", difference" if one.heat.diverging else "")


def visible(seen: Seen, view: View) -> Box:
    """The part of the photo that the view's zoom shows, kept inside it: xyxy in photo pixels."""
    photo, zoom = seen.trace.letterbox, view.zoom
    out = []
    for size, centre in ((photo.photo_width, zoom.x), (photo.photo_height, zoom.y)):
        part = size / zoom.scale
        start = min(max((size / 2 if centre is None else centre) - part / 2, 0.0), size - part)
        out.append((start, start + part))
    (x1, x2), (y1, y2) = out
    return x1, y1, x2, y2


def _size(page: float, columns: int, box: Box, rows: int = 1) -> tuple[float, float]:
    """Width and height of a panel, inches: as wide as its column, unless the page would become too tall."""
    wide = (page - 2 * MARGIN - (columns - 1) * GAP) / columns
    high = wide * (box[3] - box[1]) / (box[2] - box[0])
    shrink = min(1.0, TALLEST / rows / high)
    return max(wide * shrink, THINNEST), max(high * shrink, THINNEST)


def _label_size(wide: float) -> float:
    """Font size of labels, points: smaller on small panels, never below what can be read."""
    return min(LABEL, max(3.5, LABEL * wide / 2.6))


# ---------------------------------------------------------------- panels
def paint(
    axes: Axes, seen: Seen, group: Sequence[Panel], view: View, box: Box, size: float, *,
    curtain: float | None = None, photo: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Draw panels on a photo, in this order: photo, dimming, masks, heat, lattice, outlines, boxes, query cell.

    Args:
        group: none (the photo alone), one panel, or the two of a slider, whose line lies at `curtain`, 0 to 1.
        box: the part of the photo that is shown, xyxy.
        size: of labels, points.
        photo: the same photo at another size.
    """
    axes.set(xlim=(box[0], box[2]), ylim=(box[3], box[1]))
    axes.set_axis_off()
    _photo(axes, seen.picture.pixels if photo is None else photo, seen.picture.pixels.shape[:2], box)
    if view.dim > 0 and group:
        axes.add_patch(
            Rectangle(box[:2], box[2] - box[0], box[3] - box[1], fc="black", ec="none", alpha=view.dim, zorder=0.5)
        )
    if curtain is None:
        for one in group:
            _panel(axes, one, view, size)
        return
    at = box[0] + curtain * (box[2] - box[0])
    for one, (x1, x2) in zip(group, ((box[0], at), (at, box[2])), strict=True):
        before = set(axes.get_children())
        _panel(axes, one, view, size)
        half = Rectangle((x1, box[1]), x2 - x1, box[3] - box[1], transform=axes.transData)
        for artist in set(axes.get_children()) - before:
            artist.set_clip_path(half)
    for colour, wide in (("black", 1.6), ("white", 0.8)):
        axes.axvline(at, color=colour, linewidth=wide, zorder=10)


def _photo(axes: Axes, photo: np.ndarray, size: tuple[int, int], box: Box) -> None:
    """The pixels that are shown, and no others, of a photo whose coordinates are those of (height, width) `size`."""
    scale_y, scale_x = photo.shape[0] / size[0], photo.shape[1] / size[1]
    x1, y1 = max(0, int(box[0] * scale_x)), max(0, int(box[1] * scale_y))
    x2, y2 = int(min(photo.shape[1], np.ceil(box[2] * scale_x))), int(min(photo.shape[0], np.ceil(box[3] * scale_y)))
    part = photo[y1:y2, x1:x2]
    if part.size == 0:
        return
    place = (x1 / scale_x, x2 / scale_x, y2 / scale_y, y1 / scale_y)
    axes.add_image(_Photo(axes, reduced(part, LONGEST_PHOTO), place))
    axes.set(xlim=(box[0], box[2]), ylim=(box[3], box[1]))


class _Photo(AxesImage):
    """A photo that a PDF holds once, however many panels show it.

    It is not resampled in vector files, where a reader may enlarge it as far as it goes; see `save` for PNG.
    """

    shared: ClassVar[WeakKeyDictionary[Figure, dict]] = WeakKeyDictionary()

    def __init__(self, axes: Axes, pixels: np.ndarray, place: Box) -> None:
        super().__init__(axes, extent=place, interpolation="none", zorder=0, gid="photo")
        self.set_data(pixels)
        # The extent as well: the same part of the same photo has the same pixels.
        self.key = (pixels.shape, place)

    def make_image(self, renderer: RendererBase, magnification: float = 1.0, unsampled: bool = False) -> tuple:
        """As matplotlib's; of equal pictures the very same array, by which its PDF backend knows them again."""
        image, x, y, transform = super().make_image(renderer, magnification, unsampled)
        if unsampled and image is not None:
            image = self.shared.setdefault(self.figure, {}).setdefault(self.key, image)
        return image, x, y, transform


def _panel(axes: Axes, one: Panel, view: View, size: float) -> None:
    line = size * drawing.LINE * 0.75
    if view.show.boxes:
        drawing.masks(axes, one.found, size, fill=True, chosen=one.chosen)
    if one.reach:
        photo = one.part.layer.letterbox
        drawing.dim_outside(axes, one.reach, (0, 0, photo.photo_width, photo.photo_height), 0.28)
    if one.heat:
        h = one.heat
        rows, cols = (np.arange(n + 1) for n in h.values.shape)
        y, x = (h.top + rows * h.cell_height) * h.stride, (h.left + cols * h.cell_width) * h.stride
        top, left = h.letterbox.to_photo(y, x)
        colours = drawing.DIVERGING if h.diverging else view.map
        drawing.heat(axes, top, left, h.values, drawing.norm_of(h.largest, h.log, h.diverging), colours, view.opacity)
    for (x, y), alpha in zip(one.lattice, (0.6, 0.22), strict=False):
        lines = [[(v, axes.get_ylim()[0]), (v, axes.get_ylim()[1])] for v in x]
        lines += [[(axes.get_xlim()[0], v), (axes.get_xlim()[1], v)] for v in y]
        axes.add_collection(
            LineCollection(lines, colors=[(1, 1, 1, alpha)], linewidths=line / 2, zorder=4), autolim=False
        )
    if view.show.window:
        if one.reach:
            drawing.outline(axes, one.reach, line, dashes=(4, 2.5))
        if one.block:
            drawing.outline(axes, one.block, line * 1.15)
    if one.area:
        drawing.outline(axes, one.area, line, dashes=(1.5, 2))
    if view.show.boxes:
        drawing.masks(axes, one.found, size, fill=False, chosen=one.chosen)
        marks = {i: MARKS.get(kind, "") for i, kind in one.kinds.items()}
        by = {kind: {i for i, k in one.kinds.items() if k == kind} for kind in ("lost", "gained")}
        drawing.boxes(axes, one.found, size, marks=marks, **by, chosen=one.chosen, labels=view.show.labels)
    if one.cell:
        drawing.cell(axes, one.cell, size)


def _norm(one: Panel) -> tuple:
    h = one.heat
    return drawing.norm_of(h.largest, h.log, h.diverging), drawing.ticks_of(h.largest, h.log, h.diverging, one.auto)


def _unit(one: Panel) -> str:
    if one.auto:
        return "× uniform (per-map scale, not comparable)"
    if one.heat.diverging:
        return "× uniform (right minus left, 0 = equal)"
    return "× uniform (1 = uniform)" + (", logarithmic" if one.heat.log else "")


def _bar(page: Page, one: Panel, view: View, left: float, wide: float, name: str = "") -> None:
    """A colour bar at the page's current height; its unit stands above it."""
    axes = page.axes(left, page.down + 0.2, wide, 0.07)
    norm, ticks = _norm(one)
    colours = drawing.DIVERGING if one.heat.diverging else view.map
    drawing.colour_bar(axes, colours, norm, ticks, f"{name} {_unit(one)}".strip(), SMALL)


def _bars_below(page: Page, columns: Sequence[Sequence[Panel]], view: View, left: float, wide: float) -> None:
    """One bar under each panel; in a slider, where both share a photo, one for each scale."""
    shown = [[one for one in group if one.heat] for group in columns]
    if not any(shown):
        return
    page.grow(page.down + 0.45)
    for n, group in enumerate(shown):
        distinct = {(one.heat.largest, one.heat.log, one.heat.diverging): one for one in group}.values()
        each = wide / max(1, len(distinct)) - (0.06 if len(distinct) > 1 else 0)
        for m, one in enumerate(distinct):
            _bar(page, one, view, left + n * (wide + GAP) + m * (each + 0.12), each)
    page.down += 0.42


def _bar_of_all(page: Page, shown: Sequence[tuple[str, Panel, View]], left: float) -> None:
    """One bar for all panels of a sheet, or one for each scale and colour map among them."""
    groups: dict[tuple, list[tuple[str, Panel, View]]] = {}
    for name, one, view in shown:
        h = one.heat
        groups.setdefault((h.largest, h.log, h.diverging, one.auto, h.diverging or view.map), []).append(
            (name, one, view)
        )
    per_row = 2 if page.width > 5 else 1
    wide = min(3.2, (page.width - 2 * left - (per_row - 1) * GAP) / per_row)
    for n, group in enumerate(groups.values()):
        if n % per_row == 0:
            page.grow(page.down + 0.45)
        name = ", ".join(name for name, _, _ in group) if len(groups) > 1 else ""
        _bar(page, group[0][1], group[0][2], left + n % per_row * (wide + GAP), wide, name)
        if n % per_row == per_row - 1 or n == len(groups) - 1:
            page.down += 0.42


def _strip(page: Page, seen: Seen, view: View) -> None:
    """The small views in rows of equal pictures."""
    views = panels.strip(seen, view)
    columns = min(len(views), 5)
    wide = min((page.width - 2 * MARGIN - (columns - 1) * GAP / 2) / columns, 1.3)
    quiet = replace(view, show=replace(view.show, boxes=False, labels=False))
    rows = -(-len(views) // columns)
    high = wide * max((box[3] - box[1]) / (box[2] - box[0]) for _, _, box, _ in views)
    shrink = min(1.0, TALLEST / 2 / rows / high)
    wide, high = (max(side * shrink, THINNEST) for side in (wide, high))
    for start in range(0, len(views), columns):
        row = views[start : start + columns]
        page.grow(page.down + 0.2 + high + 0.1)
        for n, (words, one, box, large) in enumerate(row):
            axes = page.axes(MARGIN + n * (wide + GAP / 2), page.down + 0.16, wide, high)
            paint(axes, seen, [one], quiet, box, 3.5)
            lettering.title(axes, words, SMALL, 1.5, bold=large)
        page.down += 0.16 + high


# ---------------------------------------------------------------- files
def save(figure: Figure, path: str | Path, provenance: dict, dpi: int = DPI) -> Path:
    """Write a figure as .pdf, .svg or .png, with where it comes from in its metadata.

    PDF: Keywords (JSON) and Subject; SVG: Dublin Core description (JSON); PNG: the iTXt chunk "halo_vis" (JSON).

    Args:
        provenance: JSON values, of ``halo_vis.panels.about(seen, view)``.
        dpi: of a PNG.

    Raises:
        ValueError: another suffix.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".pdf", ".svg", ".png"):
        raise ValueError(f"a figure is saved as .pdf, .svg or .png, got {path.name!r}. Choose one of these suffixes.")
    picture, pair = (lettering.plain(str(provenance.get(key, ""))) for key in ("picture", "pair"))
    title, text = f"{picture}, {pair}", json.dumps(provenance)  # ASCII: any reader of metadata takes it
    creator = f"HaloVis {provenance.get('halo_vis', '')}".strip()
    if kind == ".png":
        info = PngInfo()
        info.add_itxt("halo_vis", text)
        how = {"pil_kwargs": {"pnginfo": info}, "dpi": dpi}
    elif kind == ".pdf":
        how = {
            "metadata": {"Title": title, "Subject": f"Attention maps of {title}", "Keywords": text, "Creator": creator}
        }
        how["metadata"]["CreationDate"] = None  # the same figure gives the same file
    else:
        how = {"metadata": {"Title": title, "Description": text, "Creator": creator, "Date": None}}
    photos = [image for axes in figure.axes for image in axes.images if image.get_gid() == "photo"]
    for image in photos:
        image.set_interpolation("antialiased" if kind == ".png" else "none")
    settings = {"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "halo_vis"}
    vectors = nullcontext({}) if kind == ".png" else drawing.seamless(figure, kind[1:])
    with lettering.unhinted(), matplotlib.rc_context(settings), vectors as opacity:
        figure.savefig(path, **how)
    if kind == ".svg":
        svg = path.read_text(encoding="utf-8").replace(PIXELATED, "image-rendering:auto")
        for name, value in opacity.items():
            svg = svg.replace(f'<g id="{name}">', f'<g id="{name}" opacity="{value:g}">')
        path.write_text(svg, encoding="utf-8")
    return path
