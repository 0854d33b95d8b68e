"""A path of the cursor as a GIF, read again by Pillow: frames, sizes, times, provenance, colours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from inspections import seen, seen_beside
from matplotlib import colormaps
from PIL import Image
from samples import HOSTILE, hostile

from halo_vis import Inspection, animation, panels
from halo_vis.view import Show, View


@pytest.fixture(scope="module")
def shown() -> Inspection:
    return seen_beside()


@pytest.fixture(scope="module")
def base(shown: Inspection) -> View:
    return replace(View.strongest(shown), level="P3", y=9, x=3, box=None, left="off")


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        out = []
        for n in range(image.n_frames):
            image.seek(n)
            out.append(np.asarray(image.convert("RGB")).astype(int))
        return out


def test_a_path_of_cells(shown: Inspection, base: View, tmp_path: Path) -> None:
    cells = [(9, 3), (9, 4), (9, 12)]
    path = animation.gif(shown, cells, tmp_path / "a.gif", ms=250, base=base)
    with Image.open(path) as image:
        assert image.format == "GIF" and image.n_frames == 3
        assert max(image.size) == animation.LARGEST and image.info["loop"] == 0 and image.info["duration"] == 250
        about = json.loads(image.info["comment"])
    first = replace(base, y=9, x=3)
    assert {k: v for k, v in about.items() if k not in ("cells", "ms")} == json.loads(
        json.dumps(panels.about(shown, first))
    )
    assert about["cells"] == [["P3", 9, 3], ["P3", 9, 4], ["P3", 9, 12]] and about["ms"] == 250
    a, b, c = frames(path)
    assert a.shape == b.shape == c.shape
    assert np.abs(a - b).max() > 60 and np.abs(b - c).max() > 60


def test_colours_stay_true(shown: Inspection, base: View, tmp_path: Path) -> None:
    """A frame of the file against the same frame before it lost colours; the bar has the colour map's own."""
    views = [replace(base, x=x, show=Show(boxes=False)) for x in (3, 12)]
    path = animation.gif(shown, views, tmp_path / "a.gif")
    for got, view in zip(frames(path), views, strict=True):
        whole = np.asarray(animation._frame(shown, view, shown.picture.pixels)).astype(int)
        assert np.abs(got - whole).mean() < 8  # the photo is full of noise
        bar = got[whole.shape[0] - 40 :].reshape(-1, 3)
        steps = colormaps["magma"](np.linspace(0, 1, 9))[:, :3] * 255
        for colour in steps:
            assert np.abs(bar - colour).max(1).min() <= 6


def test_a_narrow_photo_with_small_views(tmp_path: Path) -> None:
    """Its page may not become so tall that nothing can be written at the size of a frame."""
    narrow = seen(2000, 10)
    views = [replace(View.strongest(narrow), strip="levels")]
    (frame,) = frames(animation.gif(narrow, views, tmp_path / "a.gif"))
    assert frame.shape[0] == animation.LARGEST and frame.shape[1] > animation.LARGEST / 3


def test_views_of_different_sizes_share_a_frame(shown: Inspection, base: View, tmp_path: Path) -> None:
    views = [base, replace(base, strip="levels"), replace(base, mode="slider", left="layer10")]
    sizes = {f.shape for f in frames(animation.gif(shown, views, tmp_path / "a.gif"))}
    assert len(sizes) == 1


def test_hostile_words_stay_in_the_comment(shown: Inspection, base: View, tmp_path: Path) -> None:
    with Image.open(animation.gif(hostile(shown), [base], tmp_path / "a.gif")) as image:
        assert image.info["comment"].isascii() and json.loads(image.info["comment"])["picture"] == HOSTILE


def test_paths(shown: Inspection) -> None:
    assert animation.path_of(shown, "P4", [(1, 1), (1, 3), (3, 5)]) == [(1, 1), (1, 2), (1, 3), (2, 4), (3, 5)]
    assert animation.path_of(shown, "P4", [(4, 2), (4, 2)]) == [(4, 2)]
    row = animation.path_of(shown, "P4", [(4, 2)])  # one cell: its row, where the photo is
    assert row == [(4, x) for x in range(10)]
    narrow = seen(90, 40)
    box = narrow.trace.letterbox
    across = animation.path_of(narrow, "P3", [(4, 5)])
    first, last = (narrow.trace["P3"].letterbox.to_photo(0, (x + 0.5) * 8)[1] for x in (across[0][1], across[-1][1]))
    assert -8 < first < 8 and box.photo_width - 8 < last < box.photo_width + 8


@pytest.mark.parametrize(
    ("cells", "ms", "words"),
    [
        ([], 100, "at least one view or cell"),
        ([(1, 1)], 5, "ms must be from 20 to 60000 milliseconds, got 5"),
        ([(1, 1)], "fast", "ms must be from 20 to 60000 milliseconds, got 'fast'"),
        ([(1, 1)], None, "ms must be from 20 to 60000 milliseconds, got None"),
        ([(1, 1)], float("nan"), "ms must be from 20 to 60000 milliseconds, got nan"),
        ([(99, 1)], 100, r"cell \(y=99, x=1\) is outside P3"),
    ],
    ids=str,
)
def test_what_cannot_be_animated(
    shown: Inspection, base: View, tmp_path: Path, cells: list, ms: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        animation.gif(shown, cells, tmp_path / "a.gif", ms, base)
    with pytest.raises(ValueError, match="needs at least one cell"):
        animation.path_of(shown, "P3", [])
    with pytest.raises(ValueError, match=r"cell \(y=0, x=50\) is outside P3: 16 x 20 cells"):
        animation.path_of(shown, "P3", [(0, 50)])
    assert not (tmp_path / "a.gif").exists()
