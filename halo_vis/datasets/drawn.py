"""A data set to look at: pictures with their boxes, and how many boxes each class has."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from halo_vis.datasets.catalogue import Dataset
from halo_vis.datasets.labels import Box
from halo_vis.datasets.limits import DataError, Notes
from halo_vis.datasets.report import Report, read_boxes, read_data, samples
from halo_vis.drawing import PALETTE, colour_of, ink_on, outline
from halo_vis.lettering import families, plain, write
from halo_vis.picture import PictureError, read_picture, reduced

LONGEST_SIDE = 640  # pixels of a preview
DPI = 100
FONT = 9.0  # points
MOST_WORDS = 40  # boxes of a picture with their names written on; more hide the picture
MOST_BARS = 30
BAR_COLOURS = dict(zip(("train", "val", "test"), PALETTE, strict=False))


def previews(data: Dataset | Path | str, count: int = 8, seed: int = 0) -> list[tuple[str, np.ndarray]]:
    """Up to `count` pictures with their boxes: (name, (H, W, 3) uint8 RGB), at most 640 pixels on a side.

    Of the training pictures, by chance (the same for the same seed); those without a box come last. With fewer
    training pictures than asked the other splits follow. A picture that cannot be read is passed over.
    """
    names, folders = read_data(data.yaml if isinstance(data, Dataset) else Path(data))
    shown: list[tuple[str, np.ndarray]] = []
    seen: set[Path] = set()
    for split, folder in folders.items():
        pairs = [(picture, read_boxes(label, len(names), Notes())) for picture, label in samples(folder)]
        random.Random(seed).shuffle(pairs)
        for picture, boxes in sorted(pairs, key=lambda pair: not pair[1]):
            if len(shown) >= count:
                return shown
            if picture.resolve() in seen:
                continue  # coco128 validates on what it trains on
            seen.add(picture.resolve())
            try:
                pixels = reduced(read_picture(picture).pixels, LONGEST_SIDE)
            except PictureError:
                continue
            shown.append((f"{split}/{picture.name}", draw_boxes(pixels, boxes, names)))
    return shown


def draw_boxes(photo: np.ndarray, boxes: list[Box], names: tuple[str, ...]) -> np.ndarray:
    """(H, W, 3) uint8: the photo with each box in its class's colour and the name at its upper left corner."""
    height, width = photo.shape[:2]
    figure = Figure((width / DPI, height / DPI), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    axes.set_axis_off()
    axes.imshow(photo, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")
    for box in sorted(boxes, key=lambda b: -b.w * b.h):
        x1, y1 = (box.cx - box.w / 2) * width, (box.cy - box.h / 2) * height
        colour = colour_of(box.cls)
        outline(axes, (x1, y1, x1 + box.w * width, y1 + box.h * height), 1.4, light=colour)
        if len(boxes) <= MOST_WORDS:
            background = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
            write(
                axes, min(max(x1, 2.0), width - 20.0), max(y1, 14.0), plain(names[box.cls])[:24], FONT * 0.8,
                color=ink_on(colour), ha="left", va="bottom", zorder=8, clip_on=True, bbox=background,
            )  # fmt: skip
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def histogram(report: Report) -> np.ndarray:
    """Boxes per class and split as bars: (H, W, 3) uint8 RGB on white; the 30 largest classes, the rest in one."""
    if not report.per_class:
        raise DataError("there are no classes to draw.")
    totals = sorted(report.per_class.items(), key=lambda entry: -sum(entry[1].values()))
    bars = [(plain(name)[:24], by_split) for name, by_split in totals[:MOST_BARS]]
    if rest := totals[MOST_BARS:]:
        splits = {split: sum(by_split.get(split, 0) for _, by_split in rest) for split in report.splits}
        bars.append((f"{len(rest)} others", splits))
    figure = Figure((6.4, 1.3 + 0.24 * len(bars)), dpi=DPI, layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows, start = np.arange(len(bars)), np.zeros(len(bars))
    for split in report.splits:
        values = np.array([by_split.get(split, 0) for _, by_split in bars], float)
        axes.barh(rows, values, left=start, color=BAR_COLOURS[split], label=split, height=0.75)
        start += values
    largest = max(start.max(), 1.0)
    for row, total in enumerate(start):
        write(axes, total + 0.01 * largest, row, f"{total:,.0f}", FONT, va="center", ha="left")
    axes.set_xlim(0, largest * 1.14)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_yticks(rows, [name for name, _ in bars], fontsize=FONT, fontfamily=families(), parse_math=False)
    axes.tick_params(axis="x", labelsize=FONT)
    axes.set_xlabel("boxes", fontsize=FONT)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", fontsize=FONT, frameon=False, ncols=len(report.splits))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
