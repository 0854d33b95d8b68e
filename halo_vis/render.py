"""Pictures of what was captured: value images in photo pixels, overlays, and figures. Arrays in, new arrays out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from halo_vis import drawing, lettering
from halo_vis.detections import Detections
from halo_vis.geometry import Letterbox
from halo_vis.maps import LevelTrace
from halo_vis.rows import head_name
from halo_vis.seen import Seen

LARGEST_TIMES_UNIFORM = 4.0  # end of the scale of saved maps, the same for every level and picture
LONG_SIDE = (900, 1600)  # a panel's longer side in figures, pixels: small photos are enlarged, large ones reduced


def _input_centres(letterbox: Letterbox) -> tuple[np.ndarray, np.ndarray]:
    """Input coordinates of the photo's pixel centres: (photo_height,), (photo_width,)."""
    y = (np.arange(letterbox.photo_height) + 0.5) * letterbox.new_height / letterbox.photo_height + letterbox.top
    x = (np.arange(letterbox.photo_width) + 0.5) * letterbox.new_width / letterbox.photo_width + letterbox.left
    return y, x


def cells_on_photo(values: np.ndarray, stride: int, letterbox: Letterbox) -> np.ndarray:
    """(H, W) values of cells -> (photo_height, photo_width), each photo pixel the value of its cell."""
    y, x = _input_centres(letterbox)
    rows = np.clip(y // stride, 0, values.shape[0] - 1).astype(int)
    cols = np.clip(x // stride, 0, values.shape[1] - 1).astype(int)
    return values[rows[:, None], cols[None]]


def blocks_on_photo(level: LevelTrace, head: int | None = None, of: str = "weight") -> np.ndarray:
    """(photo_height, photo_width), times uniform: every block's window map, drawn in that block's own square."""
    grid = level.grid
    maps = level.blocks(head, of)
    cells = np.array([[grid.inside(by, bx).sum() for bx in range(grid.block_cols)] for by in range(grid.block_rows)])
    maps = maps * cells[..., None, None]
    y, x = (c / (level.stride * grid.block_size) for c in _input_centres(level.letterbox))
    rows, cols = (np.clip(c.astype(int), 0, n - 1) for c, n in ((y, grid.block_rows), (x, grid.block_cols)))
    i, j = (((c - b) * grid.window_size).astype(int).clip(0, grid.window_size - 1) for c, b in ((y, rows), (x, cols)))
    return maps[rows[:, None], cols[None], i[:, None], j[None]]


def overlay(
    photo: np.ndarray, values: np.ndarray, largest: float, colour_map: str = "magma", opacity: float = 0.65
) -> np.ndarray:
    """Blend colours over a photo.

    Args:
        photo: (H, W, 3) uint8; values: (H, W), NaN leaves the photo as it is.
        largest: the value at the end of the colour map; what lies above is drawn as it.
        opacity: the same everywhere, so that the colour bar can be read off the picture.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    colours = colormaps[colour_map](np.clip(np.nan_to_num(values) / largest, 0, 1))[..., :3] * 255
    alpha = np.where(np.isnan(values), 0.0, opacity)[..., None]
    return (photo * (1 - alpha) + colours * alpha).round().astype(np.uint8)


def as_shown(photo: np.ndarray) -> np.ndarray:
    """The photo at the size that a panel gives it, if that is smaller: 50 megapixels would cost 6 GB of floats."""
    height, width = photo.shape[:2]
    scale = LONG_SIDE[1] / max(height, width)
    if scale >= 1:
        return photo
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX))


class Sheet:
    """A figure of panels side by side, each a picture of the same size, with captions, boxes and a colour bar."""

    def __init__(self, photo_shape: tuple[int, ...], panels: int, bar: bool) -> None:
        """Lay the sheet out in pixels; `bar` leaves room for a colour bar on the right."""
        height, width = photo_shape[:2]
        long = max(height, width)
        scale = min(max(long, LONG_SIDE[0]), LONG_SIDE[1]) / long
        self.width, self.height = max(width * scale, 60.0), max(height * scale, 60.0)
        self.photo_shape = (height, width)
        self.unit = max(self.width, self.height) / 900  # one pixel of a panel 900 pixels long
        self.gap, self.head, self.foot = 14 * self.unit, 44 * self.unit, 34 * self.unit
        self.bar = 110 * self.unit if bar else 0
        total = panels * self.width + (panels + 1) * self.gap + self.bar, self.height + self.head + self.foot
        self.figure = Figure(figsize=(total[0] / 100, total[1] / 100), dpi=100, facecolor="white")
        self.total = total

    def _axes(self, left: float, width: float, height: float) -> Axes:
        bottom = self.foot + (self.height - height) / 2
        return self.figure.add_axes(
            (left / self.total[0], bottom / self.total[1], width / self.total[0], height / self.total[1])
        )

    def points(self, pixels: float) -> float:
        """Font size in points of a height in pixels of a 900-pixel panel."""
        return pixels * self.unit * 0.72

    def panel(self, number: int, picture: np.ndarray, title: str) -> Axes:
        """Draw a picture and its title; returns the axes, in photo pixels."""
        axes = self._axes(self.gap + number * (self.width + self.gap), self.width, self.height)
        height, width = self.photo_shape
        axes.imshow(as_shown(picture), extent=(0, width, height, 0), interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        lettering.title(axes, title, self.points(17), self.points(10))
        return axes

    def boxes(self, axes: Axes, found: Detections, marks: dict[int, str] | None = None) -> None:
        """Draw detections: class colour, name and confidence; `marks` puts a word before a box's name."""
        drawing.masks(axes, found, self.points(14), fill=True)
        drawing.boxes(axes, found, self.points(14), marks=marks)

    def colour_bar(self, largest: float, colour_map: str) -> None:
        """The absolute scale: 0 to `largest` times uniform."""
        axes = self._axes(self.total[0] - self.bar + 6 * self.unit, 20 * self.unit, self.height * 0.72)
        ticks = drawing.ticks_of(largest)
        drawing.colour_bar(axes, colour_map, drawing.norm_of(largest), ticks, "× uniform", self.points(14))

    def caption(self, text: str) -> None:
        """One line below the panels."""
        left, bottom = self.gap / self.total[0], self.foot / 3 / self.total[1]
        lettering.write(self.figure, left, bottom, text, self.points(13), color="#444444")

    def pixels(self) -> np.ndarray:
        """The sheet as (H, W, 3) uint8."""
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def describe(seen: Seen) -> str:
    """The words that go under every picture: what was shown, by which pair, how."""
    note = "  |  untrained: feature similarity" if seen.untrained else ""
    note += "  |  memorised pictures" if seen.card.memorised else ""
    s = seen.settings
    return f"{seen.picture.name}  |  {seen.card.title}  |  imgsz {s.imgsz}, conf {s.conf:g}, {s.head}{note}"


def side_by_side(seen: Seen) -> np.ndarray:
    """(H, W, 3) uint8: both models' detections on the photo; gained and lost boxes are named so."""
    sheet = Sheet(seen.picture.pixels.shape, 2, bar=False)
    lost = {m.baseline: "lost: " for m in seen.matches if m.kind == "lost"}
    gained = {m.halo: "gained: " for m in seen.matches if m.kind == "gained"}
    for number, (title, found, marks) in enumerate(
        (("YOLO26", seen.baseline, lost), ("YOLO26 + HaloAttention", seen.halo, gained))
    ):
        axes = sheet.panel(number, seen.picture.pixels, title)
        sheet.boxes(axes, found, marks)
    sheet.caption(describe(seen))
    return sheet.pixels()


def attention_sheet(seen: Seen, name: str, head: int | None = None, of: str = "weight") -> np.ndarray:
    """(H, W, 3) uint8: every block's map in its own square, beside the received map; one absolute scale."""
    photo, largest = as_shown(seen.picture.pixels), LARGEST_TIMES_UNIFORM
    box = replace(seen.trace[name].letterbox, photo_height=photo.shape[0], photo_width=photo.shape[1])
    level = replace(seen.trace[name], letterbox=box)  # the same cells, on the photo as it is shown
    sheet = Sheet(photo.shape, 2, bar=True)
    who = head_name(head, seen.trace[name].heads)
    what = "attention" if of == "weight" else "contributions"
    axes = sheet.panel(
        0, overlay(photo, blocks_on_photo(level, head, of), largest), f"{name}: {what} of every block, {who}"
    )
    grid = level.grid
    for by in range(grid.block_rows):
        for bx in range(grid.block_cols):
            b = grid.block_size
            x1, y1, x2, y2 = box.cell_box(by * b, bx * b, level.stride, b)
            axes.add_patch(
                Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="white", lw=sheet.points(0.8), alpha=0.6)
            )
    axes.set_xlim(0, photo.shape[1])
    axes.set_ylim(photo.shape[0], 0)
    received = cells_on_photo(level.received(head, of), level.stride, box)
    sheet.panel(1, overlay(photo, received, largest), f"{name}: {what} received, {who}")
    sheet.colour_bar(largest, "magma")
    sheet.caption(f"{describe(seen)}  |  block {grid.block_size}, halo {grid.halo_size}, {level.mask} mask")
    return sheet.pixels()
