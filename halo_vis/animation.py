"""A path of the cursor as an animated GIF: one frame for each view."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from halo_vis import lettering
from halo_vis.drawing import DIVERGING, PALETTE
from halo_vis.figures import figure
from halo_vis.panels import about
from halo_vis.picture import reduced
from halo_vis.places import layer_of
from halo_vis.seen import Seen
from halo_vis.view import View

LARGEST = 900  # pixels of a frame's longer side
SAMPLES = 12  # frames that the colours are chosen from
COLOURS = 255  # one is left for what does not change
BAR = 40  # of them are a colour map's own


def gif(
    seen: Seen, views: Iterable[View | tuple[int, int]], path: str | Path, ms: int = 120, base: View | None = None
) -> Path:
    """Write a GIF that runs through views, for ever.

    All frames share one palette, so that a colour means the same from the first to the last. The comment of the file
    is JSON: where it comes from (as ``panels.about`` of the first view) and the cells of its frames.

    Args:
        views: views, or cells (y, x) of the level of `base`: the path of a cursor.
        ms: how long each frame stands, at least 20 (players slow down what is faster).
        base: the view whose cell moves; None: the strongest detection's.

    Raises:
        ValueError: no view, a cell that the level does not have, or `ms` out of range.
    """
    base = base or View.strongest(seen)
    views = [one if isinstance(one, View) else replace(base, y=one[0], x=one[1], box=None) for one in views]
    if not views:
        raise ValueError("gif needs at least one view or cell. View.strongest(seen) is a good one.")
    if isinstance(ms, bool) or not isinstance(ms, (int, float)) or not 20 <= ms <= 60_000:
        raise ValueError(f"ms must be from 20 to 60000 milliseconds, got {ms!r}.")
    photo = reduced(seen.picture.pixels, LARGEST)
    frames = _same_size([_frame(seen, view, photo) for view in views])
    palette = _palette(
        frames, {v.map for v in views} | ({DIVERGING} if any(v.mode == "difference" for v in views) else set())
    )
    made = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    told = about(seen, views[0]) | {"cells": [[v.level, v.y, v.x] for v in views], "ms": ms}
    path = Path(path)
    comment = json.dumps(told).encode()
    made[0].save(path, save_all=True, append_images=made[1:], duration=ms, loop=0, optimize=False, comment=comment)
    return path


def path_of(seen: Seen, level: str, corners: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """All cells on the straight lines between some cells (y, x) of a level; of one cell, its row across the photo.

    Raises:
        ValueError: no cell, or one that the level does not have.
    """
    if not corners:
        raise ValueError("a path needs at least one cell (y, x).")
    layer = layer_of(seen, level)
    for y, x in corners:
        if not (0 <= y < layer.grid.height and 0 <= x < layer.grid.width):
            raise ValueError(f"cell (y={y}, x={x}) is outside {level}: {layer.grid.height} x {layer.grid.width} cells.")
    if len(corners) == 1:
        photo, y = layer.letterbox, corners[0][0]
        first = photo.cell_at(0, 0, layer.stride)[1]
        last = photo.cell_at(0, np.nextafter(photo.photo_width, 0), layer.stride)[1]
        return [(y, x) for x in range(first, last + 1)]
    out = [tuple(corners[0])]
    for (y1, x1), (y2, x2) in pairwise(corners):
        steps = max(abs(y2 - y1), abs(x2 - x1))
        out += [(round(y1 + (y2 - y1) * n / steps), round(x1 + (x2 - x1) * n / steps)) for n in range(1, steps + 1)]
    return out


def _frame(seen: Seen, view: View, photo: np.ndarray) -> Image.Image:
    """What the view shows, without the caption, whose lines would jump."""
    drawn = figure(seen, view, caption=False, photo=photo)
    drawn.set_dpi(LARGEST / max(drawn.get_size_inches()))
    canvas = FigureCanvasAgg(drawn)
    with lettering.unhinted():
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _same_size(frames: list[Image.Image]) -> list[Image.Image]:
    """Frames of one size, with white where one was smaller: a view without a colour bar is."""
    size = max(f.width for f in frames), max(f.height for f in frames)
    out = []
    for frame in frames:
        sheet = Image.new("RGB", size, "white")
        sheet.paste(frame)
        out.append(sheet)
    return out


def _palette(frames: list[Image.Image], maps: set[str]) -> Image.Image:
    """Colours of the maps, for the bars and what is drawn in them, then those of all frames together.

    These are chosen from reduced frames: as good, and twenty times as fast.
    """
    steps = np.linspace(0, 1, BAR)
    fixed = [(colormaps[name](steps)[:, :3] * 255).round() for name in sorted(maps)]
    fixed.append(np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in ("#ffffff", "#000000", *PALETTE)]))
    fixed = np.concatenate(fixed).astype(np.uint8)
    chosen = frames[:: max(1, -(-len(frames) // SAMPLES))]
    width, height = (max(1, side // 3) for side in chosen[0].size)
    mosaic = Image.new("RGB", (width, height * len(chosen)))
    for n, frame in enumerate(chosen):
        mosaic.paste(frame.resize((width, height), Image.Resampling.BOX), (0, n * height))
    free = COLOURS - len(fixed)
    found = mosaic.quantize(free, method=Image.Quantize.MEDIANCUT, kmeans=2).getpalette()[: 3 * free]
    out = Image.new("P", (1, 1))
    out.putpalette([*fixed.ravel().tolist(), *found])
    return out
