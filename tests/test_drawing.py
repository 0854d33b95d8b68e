"""Parts of every figure: the scale of colours, its ticks, labels that stay readable."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from halo_vis import drawing
from halo_vis.detections import Detections
from halo_vis.drawing import COLOUR_MAPS, DIVERGING, norm_of, ticks_of


@pytest.mark.parametrize("largest", [2, 4, 8, 16, 5.5])
def test_a_logarithmic_scale_has_uniform_in_its_middle(largest: float) -> None:
    norm = norm_of(largest, log=True)
    for value in (0.01, 0.3, 1, 1.7, 6, 100):
        expected = np.clip(np.log2(value * largest) / (2 * np.log2(largest)), 0, 1)
        assert float(norm(value)) == pytest.approx(expected, abs=1e-6)
    assert float(norm(0)) == 0 and float(norm(1)) == pytest.approx(0.5)


def test_linear_and_diverging_scales() -> None:
    assert [float(norm_of(8)(v)) for v in (-1, 0, 2, 8, 80)] == [0, 0, 0.25, 1, 1]
    assert [float(norm_of(8, diverging=True)(v)) for v in (-80, -8, 0, 4, 8)] == [0, 0, 0.5, 0.75, 1]


@pytest.mark.parametrize(("log", "diverging"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("largest", [0.37, 1, 1.2, 2, 3.3, 8, 16, 24, 1000])
@pytest.mark.parametrize("auto", [False, True])
def test_ticks(log: bool, diverging: bool, largest: float, auto: bool) -> None:
    largest = max(2, largest) if log else largest
    ticks = ticks_of(largest, log, diverging, auto)
    norm = norm_of(largest, log, diverging)
    places = [float(norm(value)) for value, _ in ticks]
    assert places == sorted(places) and places[0] == 0 and places[-1] == 1
    assert all(b - a > 0.03 for a, b in pairwise(places))  # words do not lie on one another
    assert ticks[-1][1] == f"{largest:.3g}" if auto else ticks[-1][1] == f"≥ {largest:.3g}"
    if 2 <= largest <= 16 and not diverging:
        assert "1" in [text for _, text in ticks]  # uniform


def test_colour_maps_exist() -> None:
    for name in (*COLOUR_MAPS, DIVERGING):
        assert len(bytes.fromhex(drawing.colormap_hex(name))) == 768


@pytest.mark.parametrize("zoomed", [False, True])
def test_labels_stay_inside_and_apart(zoomed: bool) -> None:
    rng = np.random.default_rng(1)
    corner = rng.uniform(-20, 480, (12, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 200, (12, 2))], 1).astype(np.float32)
    boxes[:4] = boxes[0]  # four boxes in one place: their labels must not cover one another
    found = Detections(boxes, np.linspace(0.3, 0.9, 12, dtype=np.float32), np.zeros(12, np.int64), {0: "a name " * 9})
    figure = Figure((6, 6), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    x1, x2 = (300, 500) if zoomed else (0, 500)
    axes.set(xlim=(x1, x2), ylim=(x2, x1))
    drawing.boxes(axes, found, 6)
    labels = [p for p in axes.patches if p.get_zorder() == 7]
    places = [(p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height()) for p in labels]
    shown = [i for i in range(12) if (boxes[i, :2] < x2).all() and (boxes[i, 2:] > x1).all()]
    assert len(places) == len(shown) == len(axes.texts)
    for a, b, c, d in places:
        assert a >= x1 - 1e-6 and b >= x1 - 1e-6 and c <= x2 + 1e-6 and d <= x2 + 1e-6
    for text in axes.texts:
        name, conf = text.get_text().rsplit(" ", 1)
        assert len(name) <= drawing.LONGEST_NAME and float(conf) <= 0.9
    if not zoomed:
        same = [n for n, i in enumerate(sorted(shown, key=lambda i: -found.conf[i])) if i < 4]
        spots = {places[n] for n in same}
        assert len(spots) == len(same) == 4


def test_what_lies_outside_is_darkened_and_nothing_else() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = Figure((2, 1), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 200), ylim=(100, 0))
    axes.set_axis_off()
    drawing.dim_outside(axes, (150, -30, 260, 40), (0, 0, 200, 100), 0.5)  # reaches beyond the photo
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    got = np.asarray(canvas.buffer_rgba())[..., 0]
    assert (got[:39, 151:] == 255).all() and (got[42:] < 130).all() and (got[:, :149] < 130).all()
