"""Where things are: cells, blocks and windows on a map, and the letterbox between a photo and the model's input.

Three kinds of coordinates: *photo* pixels, *input* pixels (the letterboxed tensor) and *cells* of a map of some stride.
A pixel or cell n covers the half-open interval [n, n + 1). Order is ``y, x`` for cells, ``xyxy`` for boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HaloGrid:
    """How halo attention cuts a map of ``height`` x ``width`` cells into blocks and windows."""

    height: int
    width: int
    block_size: int
    halo_size: int

    @property
    def window_size(self) -> int:
        """Side of the window of keys, in cells."""
        return self.block_size + 2 * self.halo_size

    @property
    def block_rows(self) -> int:
        """Number of block rows; the last may reach beyond the map."""
        return -(-self.height // self.block_size)

    @property
    def block_cols(self) -> int:
        """Number of block columns; the last may reach beyond the map."""
        return -(-self.width // self.block_size)

    def check_cell(self, y: int, x: int) -> None:
        """Raise IndexError unless (y, x) is a cell of the map."""
        if not (0 <= y < self.height and 0 <= x < self.width):
            raise IndexError(
                f"cell (y={y}, x={x}) is outside the map of {self.height} x {self.width} cells; count from 0."
            )

    def check_block(self, by: int, bx: int) -> None:
        """Raise IndexError unless (by, bx) is a block of the map."""
        if not (0 <= by < self.block_rows and 0 <= bx < self.block_cols):
            raise IndexError(
                f"block (by={by}, bx={bx}) is outside the {self.block_rows} x {self.block_cols} blocks; count from 0."
            )

    def check_cells(self, y0: int, x0: int, y1: int, x1: int) -> None:
        """Raise IndexError unless [y0, y1) x [x0, x1) holds at least one cell, and none outside the map."""
        if not (0 <= y0 < y1 <= self.height and 0 <= x0 < x1 <= self.width):
            raise IndexError(
                f"cells [{y0}, {y1}) x [{x0}, {x1}) are none, or not inside the map of {self.height} x {self.width} "
                "cells; count from 0 and leave the last out."
            )

    def block_of(self, y: int, x: int) -> tuple[int, int]:
        """The block (by, bx) that holds the cell."""
        self.check_cell(y, x)
        return y // self.block_size, x // self.block_size

    def queries_of(self, by: int, bx: int) -> tuple[slice, slice]:
        """The block's own cells inside the map, as slices of rows and columns."""
        self.check_block(by, bx)
        b = self.block_size
        return slice(by * b, min(by * b + b, self.height)), slice(bx * b, min(bx * b + b, self.width))

    def window_origin(self, by: int, bx: int) -> tuple[int, int]:
        """First cell (y, x) of the block's window; negative at the border."""
        self.check_block(by, bx)
        return by * self.block_size - self.halo_size, bx * self.block_size - self.halo_size

    def window_of(self, values: np.ndarray, by: int, bx: int) -> np.ndarray:
        """(height, width, ...) -> (window, window, ...): the block's window of a map, zeros outside the map."""
        oy, ox = self.window_origin(by, bx)
        w = self.window_size
        out = np.zeros((w, w, *values.shape[2:]), values.dtype)
        y0, y1, x0, x1 = max(oy, 0), min(oy + w, self.height), max(ox, 0), min(ox + w, self.width)
        out[y0 - oy : y1 - oy, x0 - ox : x1 - ox] = values[y0:y1, x0:x1]
        return out

    def inside(self, by: int, bx: int) -> np.ndarray:
        """(window, window) bool: which cells of the block's window lie inside the map."""
        return self.window_of(np.ones((self.height, self.width), bool), by, bx)

    def own_block(self) -> np.ndarray:
        """(window, window) bool: the block within its window."""
        own = np.zeros((self.window_size, self.window_size), bool)
        own[self.halo_size : self.halo_size + self.block_size, self.halo_size : self.halo_size + self.block_size] = True
        return own


@dataclass(frozen=True)
class Letterbox:
    """Photo of ``photo_height`` x ``photo_width`` pixels, resized to ``new_*`` and placed at (``top``, ``left``)."""

    photo_height: int
    photo_width: int
    input_height: int
    input_width: int
    new_height: int
    new_width: int
    top: int
    left: int

    @classmethod
    def none(cls, height: int, width: int) -> Letterbox:
        """The identity: the input is the photo."""
        return cls(height, width, height, width, height, width, 0, 0)

    @classmethod
    def fit(cls, photo: tuple[int, int], imgsz: tuple[int, int], stride: int, auto: bool) -> Letterbox:
        """What Ultralytics' LetterBox does to a photo.

        Asked of its own ``get_params``: recomputing it from the input's shape is a pixel off for some sizes.

        Args:
            photo: (height, width) in pixels.
            imgsz: (height, width) asked for.
            stride: the model's largest stride.
            auto: pad only to a multiple of the stride (Ultralytics' ``rect``).
        """
        from ultralytics.data.augment import LetterBox

        params = LetterBox(imgsz, auto=auto, stride=stride).get_params({"img": np.empty((*photo, 0), np.uint8)})
        new_width, new_height = params["new_unpad"]
        return cls(
            *photo,
            new_height + params["top"] + params["bottom"],
            new_width + params["left"] + params["right"],
            new_height,
            new_width,
            params["top"],
            params["left"],
        )

    def to_photo(self, y: float, x: float) -> tuple[float, float]:
        """Input pixels -> photo pixels."""
        return (
            (y - self.top) * self.photo_height / self.new_height,
            (x - self.left) * self.photo_width / self.new_width,
        )

    def to_input(self, y: float, x: float) -> tuple[float, float]:
        """Photo pixels -> input pixels."""
        return y * self.new_height / self.photo_height + self.top, x * self.new_width / self.photo_width + self.left

    def cell_box(self, y: int, x: int, stride: int, cells: int = 1) -> tuple[float, float, float, float]:
        """Xyxy in photo pixels of the ``cells`` x ``cells`` square that starts at cell (y, x); not clipped."""
        y0, x0 = self.to_photo(y * stride, x * stride)
        y1, x1 = self.to_photo((y + cells) * stride, (x + cells) * stride)
        return x0, y0, x1, y1

    def cell_at(self, y: float, x: float, stride: int) -> tuple[int, int]:
        """The cell (y, x) of a map of that stride under a point of the photo, kept inside the input."""
        input_y, input_x = self.to_input(y, x)
        rows, cols = -(-self.input_height // stride), -(-self.input_width // stride)
        return min(max(int(input_y // stride), 0), rows - 1), min(max(int(input_x // stride), 0), cols - 1)

    def centres_in(
        self, region: Sequence[float], stride: int, first_y: int, first_x: int, rows: int, cols: int
    ) -> np.ndarray:
        """(rows, cols) bool: which cells, from cell (first_y, first_x) on, have their centre in a region of the photo.

        Args:
            region: xyxy in photo pixels, half-open.
        """
        x1, y1, x2, y2 = region
        y, _ = self.to_photo((first_y + np.arange(rows) + 0.5) * stride, 0)
        _, x = self.to_photo(0, (first_x + np.arange(cols) + 0.5) * stride)
        return ((y >= y1) & (y < y2))[:, None] & ((x >= x1) & (x < x2))[None]


Box = tuple[float, float, float, float]  # xyxy


@dataclass(frozen=True)
class Answer:
    """A place where it is known where to look: a query whose centre lies in `where` should look at `region`.

    Both are xyxy in photo pixels, half-open; a meadow's visited flower should look at its bee.
    """

    name: str
    where: Box
    region: Box
