"""A page that figures are laid out on, in inches from its top downwards."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from halo_vis import lettering

WIDTHS = {"single": 3.5, "double": 7.2}  # inches: one column of a paper, two columns
NARROWEST, WIDEST = 1, 40  # inches
DPI = 300
GAP, MARGIN = 0.12, 0.04  # inches
SMALL = 6.0  # points


class Page:
    """A figure that is laid out from its top downwards, in inches, and cut to the height that was needed."""

    def __init__(self, width: str | float) -> None:
        """`width`: "single", "double", or inches from 1 to 40; ValueError for anything else."""
        inches = WIDTHS.get(width) if isinstance(width, str) else width
        number = isinstance(inches, (int, float)) and not isinstance(inches, bool)
        if not number or not NARROWEST <= inches <= WIDEST:  # NaN is in no range
            raise ValueError(
                f"width must be one of {', '.join(WIDTHS)}, or inches from {NARROWEST} to {WIDEST}, got {width!r}."
            )
        self.width = float(inches)
        self.figure = Figure(figsize=(self.width, 1), dpi=DPI, facecolor="white")
        self.down = MARGIN
        self._places: list[tuple[Axes, tuple[float, float, float, float]]] = []

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Empty axes at a place that stays where it is when the page grows."""
        place = left, top, width, height
        axes = self.figure.add_axes((0, 0, 1, 1))
        self._places.append((axes, place))
        self._put(axes, place)
        return axes

    def _put(self, axes: Axes, place: tuple[float, float, float, float]) -> None:
        left, top, width, height = place
        tall = self.figure.get_figheight()
        axes.set_position((left / self.width, 1 - (top + height) / tall, width / self.width, height / tall))

    def grow(self, height: float) -> None:
        """Set the height to at least `height` inches; everything keeps its distance from the top."""
        self.figure.set_figheight(max(height, self.figure.get_figheight()))
        for axes, place in self._places:
            self._put(axes, place)

    def caption(self, paragraphs: Sequence[str]) -> None:
        """Paragraphs below everything else, as wide as the page."""
        lines = lettering.wrap(self.figure, paragraphs, SMALL, self.width - 2 * MARGIN)
        high = SMALL * 1.35 / 72
        self.down += 0.05
        self.grow(self.down + len(lines) * high + MARGIN)
        tall = self.figure.get_figheight()
        for line in lines:
            self.down += high
            lettering.write(self.figure, MARGIN / self.width, 1 - (self.down - high * 0.25) / tall, line, SMALL)

    def done(self) -> Figure:
        """The figure, cut to its contents."""
        height = self.down + MARGIN
        before = self.figure.get_figheight()
        for text in self.figure.texts:
            x, y = text.get_position()
            text.set_position((x, 1 - (1 - y) * before / height))
        self.figure.set_figheight(height)
        for axes, place in self._places:
            self._put(axes, place)
        return self.figure
