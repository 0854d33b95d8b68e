"""What every figure is drawn with: detections, heat, outlines, colour bars, on matplotlib axes.

Axes are in photo pixels, y downwards, and show the photo without distortion. Sizes are in points.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Polygon, Rectangle
from matplotlib.path import Path as Outline

from halo_vis.detections import Detections
from halo_vis.lettering import families, fit, plain, width_of, write

# Okabe and Ito's colours, told apart by colour-blind readers; their black and yellow, which fail on photos, left out.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
COLOUR_MAPS = ("magma", "viridis", "cividis", "inferno")
DIVERGING = "RdBu_r"  # for differences: white in the middle, told apart by colour-blind eyes
LONGEST_NAME = 28  # characters of a class name on a label
OVERLAP = 0.4  # points by which the squares of an SVG reach below those drawn after them
LINE = 0.2  # width of a box's line, as a share of its label's font size


# ---------------------------------------------------------------- colours
def colour_of(cls: int) -> str:
    """The class's colour."""
    return PALETTE[int(cls) % len(PALETTE)]


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on the colour (relative luminance, WCAG 2)."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "#000000" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "#ffffff"


@lru_cache(maxsize=32)
def colormap_hex(name: str) -> str:
    """A colour map as 256 times six hex digits, for the viewer."""
    rgb = (colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8)
    return rgb.tobytes().hex()


def norm_of(largest: float, log: bool = False, diverging: bool = False) -> Normalize:
    """From values to positions on a colour map, clipped.

    Linear from 0 to `largest`; `log` from 1/largest to largest, so that 1 = uniform lies in the middle; `diverging`
    from -largest to largest.
    """
    if diverging:
        return Normalize(-largest, largest, clip=True)
    return LogNorm(1 / largest, largest, clip=True) if log else Normalize(0, largest, clip=True)


def ticks_of(largest: float, log: bool = False, diverging: bool = False, auto: bool = False) -> list[tuple[float, str]]:
    """(value, text) of a colour bar's ticks. The ends of a fixed scale hold what lies beyond them, and say so."""
    beyond = "" if auto else "≥ "
    if diverging:
        below = "" if auto else "≤ "
        inner = [(s * largest / 2, f"{s * largest / 2:.3g}".replace("-", "−")) for s in (-1, 0, 1)]
        return [(-largest, f"{below}−{largest:.3g}"), *inner, (largest, f"{beyond}{largest:.3g}")]
    if log:
        marks = [2.0**n for n in range(-6, 7) if 0.1 < norm_of(largest, log)(2.0**n) < 0.9]  # words must not touch
        inner = [(v, f"{v:g}" if v >= 1 else f"1/{1 / v:g}") for v in marks]
        below = "" if auto else "≤ "
        return [(1 / largest, f"{below}1/{largest:.3g}"), *inner, (largest, f"{beyond}{largest:.3g}")]
    values = [0.0, 1.0] if largest > 1.15 else [0.0]
    values += [v for v in (2.0, 4.0, 8.0, 12.0, 16.0, 24.0) if not auto]
    kept = [v for v in values if v == 0 or 0.05 < v / largest < 0.87]
    return [*((v, f"{v:g}") for v in kept), (largest, f"{beyond}{largest:.3g}")]


def colour_bar(
    axes: Axes, colour_map: str, norm: Normalize, ticks: Sequence[tuple[float, str]], unit: str, size: float
) -> None:
    """Turn axes into a colour bar along their longer side; the map is sampled at the 256 colours that it has."""
    box = axes.get_window_extent()
    wide = box.width > box.height
    ramp = np.linspace(0, 1, 256)
    image = ramp[None] if wide else ramp[:, None]
    axes.imshow(image, cmap=colour_map, aspect="auto", extent=(0, 1, 0, 1), origin="lower", interpolation="nearest")
    places = [float(norm(value)) for value, _ in ticks]
    axis, other = (axes.xaxis, axes.yaxis) if wide else (axes.yaxis, axes.xaxis)
    other.set_ticks([])
    axis.set_ticks(places, [text for _, text in ticks], fontsize=size, family=families())
    axis.set_tick_params(length=size / 3, pad=size / 4, width=size / 12)
    for spine in axes.spines.values():
        spine.set_linewidth(size / 12)
    if wide:
        for label, place in zip(axes.get_xticklabels(), places, strict=True):  # the ends stay within the bar
            label.set_ha("left" if place < 0.01 else "right" if place > 0.99 else "center")
        write(axes, 1, 1.35, unit, size, ha="right", va="bottom", transform=axes.transAxes)
    else:
        axis.tick_right()
        axes.set_ylabel(unit, fontsize=size, family=families())
        axes.yaxis.set_label_position("right")


# ---------------------------------------------------------------- on the photo
def heat(
    axes: Axes, y: np.ndarray, x: np.ndarray, values: np.ndarray, norm: Normalize, colours: str, alpha: float
) -> None:
    """Cells as squares: edges `y` (rows + 1,), `x` (cols + 1,) in photo pixels; NaN is not drawn."""
    limits = axes.get_xlim(), axes.get_ylim()
    axes.pcolormesh(
        x, y, np.ma.masked_invalid(values), cmap=colormaps[colours], norm=norm, alpha=alpha, linewidth=0,
        antialiased=False, rasterized=False, shading="flat", zorder=3,
    )  # fmt: skip
    axes.set(xlim=limits[0], ylim=limits[1])


class _Triangles(Artist):
    """Cells as one shading of a PDF."""

    def __init__(self, triangles: np.ndarray, colours: np.ndarray) -> None:
        super().__init__()
        self.triangles, self.colours = triangles, colours

    def draw(self, renderer: RendererBase) -> None:
        """Two triangles of one colour for each cell."""
        gc = renderer.new_gc()
        gc.set_clip_rectangle(self.axes.bbox)
        gc.set_clip_path(self.get_clip_path())
        gc.set_alpha(float(self.colours[0, 0, 3]))
        renderer.draw_gouraud_triangles(gc, self.triangles, self.colours, self.axes.transData.frozen())
        gc.restore()


@contextmanager
def seamless(figure: Figure, kind: str) -> Iterator[dict[str, float]]:
    """Inside, heat is drawn in a way that shows no seams in vector files; `kind` is "pdf" or "svg".

    Separate translucent squares meet in lines that are too light or too dark, by the reader: a grid that is not there.
    In a PDF the cells become one shading. In an SVG they become opaque, overlapping squares (of a row, those that
    follow each other in one colour are one) in a group, whose opacity has yet to be set.

    Yields:
        The opacity that each group of an SVG must get, by its id.
    """
    opacity: dict[str, float] = {}
    swapped = []
    for axes in figure.axes:
        for mesh in [c for c in axes.collections if isinstance(c, QuadMesh)]:
            colours = mesh.cmap(mesh.norm(mesh.get_array()), alpha=mesh.get_alpha())
            if not colours[..., 3].any():
                continue
            if kind == "pdf":
                twin = _triangles(mesh.get_coordinates(), colours)
                axes.add_artist(twin)
            else:
                twin = _squares(mesh.get_coordinates(), colours, OVERLAP * _per_point(axes))
                axes.add_collection(twin, autolim=False)
                twin.set_gid(f"heat-{len(opacity) + 1}")
                opacity[twin.get_gid()] = mesh.get_alpha()
            twin.set_zorder(mesh.get_zorder())
            if mesh.get_clip_path() is not None:
                twin.set_clip_path(mesh.get_clip_path())
            mesh.set_visible(False)
            swapped.append((mesh, twin))
    try:
        yield opacity
    finally:
        for mesh, twin in swapped:
            twin.remove()
            mesh.set_visible(True)


def _triangles(corners: np.ndarray, colours: np.ndarray) -> _Triangles:
    """(rows + 1, cols + 1, 2) corners and (rows, cols, 4) colours -> triangles; transparent cells are left out."""
    drawn = colours[..., 3] > 0
    a, b, c, d = (part[drawn] for part in (corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]))
    triangles = np.stack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)], 1).reshape(-1, 3, 2)
    return _Triangles(triangles, colours[drawn].repeat(2, 0)[:, None].repeat(3, 1))


def _squares(corners: np.ndarray, colours: np.ndarray, pad: float) -> PolyCollection:
    """The same as opaque polygons, which reach `pad` below those to their right and below, drawn after them."""
    drawn = np.pad(colours[..., 3] > 0, ((0, 1), (0, 1)))
    pad = min(pad, abs(corners[1, 1] - corners[0, 0]).min() / 2)
    polygons, faces = [], []
    for row in range(colours.shape[0]):
        changes = np.flatnonzero((colours[row, 1:] != colours[row, :-1]).any(1)) + 1
        for first, end in zip([0, *changes], [*changes, colours.shape[1]], strict=True):
            if drawn[row, first]:
                (x1, y1), (x2, y2) = corners[row, first], corners[row + 1, end]
                x2, y2 = x2 + pad * drawn[row, end], y2 + pad * drawn[row + 1, first:end].all()
                polygons.append([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
                faces.append((*colours[row, first, :3], 1.0))
    return PolyCollection(polygons, facecolors=faces, edgecolors="none", linewidths=0)


def _per_point(axes: Axes) -> float:
    """Photo pixels per point."""
    return abs(axes.get_xlim()[1] - axes.get_xlim()[0]) / axes.get_window_extent().width * axes.figure.dpi / 72


def dim_outside(axes: Axes, box: Sequence[float], photo: Sequence[float], alpha: float) -> None:
    """Darken all of the photo (xyxy) but a box."""
    x0, y0, x3, y3 = photo
    x1, y1, x2, y2 = max(box[0], x0), max(box[1], y0), min(box[2], x3), min(box[3], y3)
    corners = [(x0, y0), (x3, y0), (x3, y3), (x0, y3)], [(x1, y1), (x1, y2), (x2, y2), (x2, y1)]
    codes = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY] * 2
    ring = Outline([p for c in corners for p in (*c, c[0])], codes)
    axes.add_patch(PathPatch(ring, facecolor="black", edgecolor="none", alpha=alpha, zorder=2))


def outline(
    axes: Axes, box: Sequence[float], width: float, *, dashes: Sequence[float] = (), light: str = "white",
    dark: tuple[float, ...] = (0, 0, 0, 0.65), zorder: float = 5,
) -> None:  # fmt: skip
    """The outline of a box (xyxy) that shows on any picture: a dark casing below a light line of `width` points."""
    x1, y1, x2, y2 = (float(v) for v in box)
    for colour, line, style in ((dark, 2 * width, "-"), (light, width, (0, tuple(dashes)) if dashes else "-")):
        axes.add_patch(
            Rectangle(
                (x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, lw=line, ls=style, joinstyle="miter", zorder=zorder
            )
        )


def cell(axes: Axes, box: Sequence[float], size: float) -> None:
    """The query cell: a small square that shows on any colour, however small the cell."""
    point = _per_point(axes)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    w, h = (max(side, size * 0.4 * point) / 2 for side in (box[2] - box[0], box[3] - box[1]))
    outline(axes, (x - w, y - h, x + w, y + h), size * LINE * 0.9, dark=(0, 0, 0, 1), zorder=9)


def masks(axes: Axes, found: Detections, size: float, fill: bool, chosen: int | None = None) -> None:
    """The masks of segmented detections: filled, below the heat, whose colours must stay the bar's, or outlined."""
    for i in _by_confidence(found, chosen) if found.polygons is not None else ():
        if len(found.polygons[i]) < 3:
            continue
        how = {"facecolor": colour_of(found.cls[i]), "edgecolor": "none", "alpha": 0.42 if i == chosen else 0.3}
        if not fill:
            how = {"fill": False, "edgecolor": colour_of(found.cls[i]), "linewidth": size * LINE / 2}
        axes.add_patch(Polygon(found.polygons[i], closed=True, zorder=1 if fill else 5.5, **how))


def boxes(
    axes: Axes, found: Detections, size: float, *, marks: Mapping[int, str] | None = None, lost: Collection[int] = (),
    gained: Collection[int] = (), chosen: int | None = None, labels: bool = True,
) -> None:  # fmt: skip
    """Draw detections in their class's colour, each with name and confidence.

    Args:
        size: of the labels' font; lines go with it.
        marks: a word before a box's name.
        lost: boxes with dashed lines; gained: with thicker ones; chosen: the one that is selected, on top.
    """
    order = _by_confidence(found, chosen)
    for i in order:
        wide = size * LINE * (1.4 if i in gained else 1) * (1.4 if i == chosen else 1)
        dark = (1, 1, 1, 0.95) if i == chosen else (0, 0, 0, 0.45)
        dashes = (4, 3) if i in lost else ()
        outline(axes, found.xyxy[i], wide, dashes=dashes, light=colour_of(found.cls[i]), dark=dark, zorder=6)
    if labels:
        _labels(axes, found, order, size, marks or {})


def _by_confidence(found: Detections, chosen: int | None) -> list[int]:
    """Box numbers in drawing order: the strongest last, the chosen one on top of all."""
    return sorted(range(len(found)), key=lambda i: (i == chosen, float(found.conf[i])))


def _labels(axes: Axes, found: Detections, order: list[int], size: float, marks: Mapping[int, str]) -> None:
    """A label at each box, the strongest first, where it hides least of the labels placed before."""
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    point = _per_point(axes)
    scale = point * 72 / axes.figure.dpi  # photo pixels per pixel of the figure
    pad, high = 0.3 * size * point, 1.45 * size * point
    placed: list[tuple[float, float, float]] = []
    for i in reversed(order):
        x1, y1, x2, y2 = (float(v) for v in found.xyxy[i])
        if x2 <= left or x1 >= right or y2 <= top or y1 >= bottom:
            continue  # outside of what is shown
        name = plain(found.name(i))
        name = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
        colour = colour_of(found.cls[i])
        words = write(
            axes, 0, 0, f"{marks.get(i, '')}{name} {found.conf[i]:.2f}", size, color=ink_on(colour), ha="left",
            va="center_baseline", zorder=8, clip_on=True,
        )  # fmt: skip
        fit(words, (right - left - 2 * pad) / scale)
        wide = width_of(words) * scale + 2 * pad
        corners = [(x, y) for x in (x1, x2 - wide) for y in (y1 - high, y1)] + [(x1, y2), (x1, y2 - high)]
        kept = [(min(max(x, left), right - wide), min(max(y, top), bottom - high)) for x, y in corners]
        x, y = min(kept, key=lambda c: round(sum(_overlap(c, wide, other, high) for other in placed), 3))
        placed.append((x, y, wide))
        axes.add_patch(Rectangle((x, y), wide, high, facecolor=colour, edgecolor="none", zorder=7))
        words.set_position((x + pad, y + high / 2))


def _overlap(corner: tuple[float, float], wide: float, other: tuple[float, float, float], high: float) -> float:
    """Area that two labels share."""
    x, y, w = other
    return max(0.0, min(corner[0] + wide, x + w) - max(corner[0], x)) * max(0.0, high - abs(corner[1] - y))
