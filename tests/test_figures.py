"""Figures for papers, opened with independent readers: sizes, metadata, words, vectors, and the values drawn."""

from __future__ import annotations

import io
import json
import logging
import zlib
from dataclasses import replace
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np
import pytest
from inspections import seen, seen_beside
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image
from pypdf import PageObject, PdfReader
from samples import HOSTILE, hostile

from halo_vis import Inspection, figures, lettering, panels
from halo_vis.heats import heat
from halo_vis.maps import LevelTrace
from halo_vis.picture import Picture
from halo_vis.rows import ALL_OF
from halo_vis.view import Scales, Show, View, Zoom

SVG = "{http://www.w3.org/2000/svg}"
TOLD = HOSTILE.replace(" \u2028 ", " ")  # line ends are no part of a line


@pytest.fixture(scope="module")
def shown() -> Inspection:
    return seen_beside()


@pytest.fixture(scope="module")
def view(shown: Inspection) -> View:
    return replace(View.strongest(shown), level="P3", y=9, x=11, box=None, left="off")


def pdf(seen: Inspection, view: View, folder: Path, **options: object) -> PdfReader:
    return PdfReader(figures.save(figures.figure(seen, view, **options), folder / "a.pdf", panels.about(seen, view)))


def images(page: PageObject) -> list[np.ndarray]:
    """The pictures of a page as they appear, (height, width, 3) uint8; those of palettes are left out."""
    upright, matrix = {}, None
    for operands, operator in page.get_contents().operations:
        if operator == b"cm":
            matrix = [float(v) for v in operands]
        elif operator == b"Do":
            upright[operands[0]] = matrix[3] > 0  # a picture's first line is at the top of its square
    out = []
    for name, found in page["/Resources"]["/XObject"].items():
        o = found.get_object()
        if o["/Subtype"] == "/Image" and o["/ColorSpace"] == "/DeviceRGB":
            pixels = np.frombuffer(o.get_data(), np.uint8).reshape(o["/Height"], o["/Width"], 3)
            out.append(pixels if upright[name] else pixels[::-1])
    return out


# ---------------------------------------------------------------- PDF
def test_pdf(shown: Inspection, view: View, tmp_path: Path) -> None:
    reader = pdf(shown, view, tmp_path)
    assert len(reader.pages) == 1
    page = reader.pages[0]
    assert float(page.mediabox.width) == pytest.approx(7.2 * 72, abs=0.5)
    assert 3 * 72 < float(page.mediabox.height) < 10 * 72
    about = json.loads(reader.metadata["/Keywords"])
    assert about == json.loads(json.dumps(panels.about(shown, view)))
    assert about["weights"]["halo"] == "h" and about["picture_sha256"] == shown.picture.digest
    assert View.from_state(about["view"]) == view
    assert (about["panels"][1]["layer"], about["panels"][1]["largest"]) == ("P3", 8)
    assert reader.metadata["/Subject"] == "Attention maps of array, own"
    words = " ".join(page.extract_text().split())
    assert "YOLO26 + HaloAttention: P3, mean of heads, row of cell (9, 11), weights, scale 0 to 8 × uniform" in words
    assert "Random <models>" in words and "imgsz 160, conf 0.35, one-to-many, cpu" in words
    assert f"picture: {shown.picture.digest[:8]}" in words
    for i in range(len(shown.halo)):
        assert f"{shown.halo.name(i)} {shown.halo.conf[i]:.2f}" in words


def test_the_photo_is_in_the_pdf_once_and_pixel_by_pixel(shown: Inspection, view: View, tmp_path: Path) -> None:
    page = pdf(shown, replace(view, left="layer22"), tmp_path).pages[0]
    photos = [i for i in images(page) if i.shape == (90, 120, 3)]
    assert len(photos) == 1 and np.array_equal(photos[0], shown.picture.pixels)


def test_heat_in_the_pdf_is_a_mesh_of_the_values(shown: Inspection, view: View, tmp_path: Path) -> None:
    """The shading's triangles, decoded by hand: places in photo pixels, colours of the values."""
    page = pdf(shown, view, tmp_path, caption=False).pages[0]
    (shading,) = [s.get_object() for s in page["/Resources"]["/Shading"].values()]
    assert shading["/ShadingType"] == 4 and shading["/BitsPerCoordinate"] == 32 and shading["/BitsPerComponent"] == 8
    raw = np.frombuffer(shading.get_data(), np.dtype([("flag", "u1"), ("place", ">u4", 2), ("colour", "u1", 3)]))
    h = heat(shown, view)
    cells = np.argwhere(np.isfinite(h.values))
    assert len(raw) == 6 * len(cells)  # two triangles for each cell
    expected = colormaps["magma"](np.clip(h.values / h.largest, 0, 1))[..., :3] * 255
    x1, x2, y1, y2 = map(float, shading["/Decode"][:4])
    places = np.array([x1, y1]) + raw["place"] / (2**32 - 1) * [x2 - x1, y2 - y1]
    corners = {}
    for n, (row, col) in enumerate(cells):
        mine = slice(6 * n, 6 * n + 6)
        assert np.abs(raw["colour"][mine].astype(int) - expected[row, col]).max() <= 1
        corners[row, col] = places[mine].min(0), places[mine].max(0)
    # Cells are squares of one size that share their edges: points per cell from the first to the last.
    (low, high), (row, col) = corners[tuple(cells[0])], cells[0]
    side = high - low
    for (r, c), (a, b) in corners.items():
        assert a == pytest.approx(low + side * [c - col, -(r - row)], abs=0.01)  # PDF counts upwards
        assert b - a == pytest.approx(side, abs=0.01)


def test_outlines_and_boxes_are_paths(shown: Inspection, view: View, tmp_path: Path) -> None:
    bare = replace(view, show=Show(False, False, False, False))
    strokes = []
    for one in (bare, view):
        operations = pdf(shown, one, tmp_path, caption=False).pages[0].get_contents().operations
        strokes.append(sum(operator in (b"S", b"s", b"B", b"b") for _, operator in operations))
    # Of each box, the window and the block: a dark casing and a light line.
    assert strokes[1] - strokes[0] >= 2 * (len(shown.halo) + len(shown.baseline) + 2)


def test_a_pdf_holds_nothing_outside_of_the_zoom(shown: Inspection, view: View, tmp_path: Path) -> None:
    page = pdf(shown, replace(view, zoom=Zoom(3, 20, 80)), tmp_path).pages[0]
    found = images(page)
    assert (90, 120, 3) not in [i.shape for i in found]
    (part,) = [i for i in found if i.shape == (30, 40, 3)]
    assert np.array_equal(part, shown.picture.pixels[60:90, :40])


# ---------------------------------------------------------------- SVG
def test_svg(shown: Inspection, view: View, tmp_path: Path) -> None:
    path = figures.save(figures.figure(shown, view), tmp_path / "a.svg", panels.about(shown, view))
    root = ElementTree.parse(path).getroot()
    assert root.tag == f"{SVG}svg" and root.get("width") == "518.4pt"
    told = root.findtext(".//{http://purl.org/dc/elements/1.1/}description")
    assert json.loads(told) == json.loads(json.dumps(panels.about(shown, view)))
    (group,) = [g for g in root.iter(f"{SVG}g") if (g.get("id") or "").startswith("heat-")]
    assert float(group.get("opacity")) == view.opacity
    colours = {p.get("style").split("fill: ")[1][:7] for p in group.iter(f"{SVG}path") if p.get("style")}
    h = heat(shown, view)
    values = h.values[np.isfinite(h.values)]
    expected = (colormaps["magma"](np.clip(values / h.largest, 0, 1))[:, :3] * 255).round().astype(int)
    assert colours == {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in expected}
    photo = next(i for i in root.iter(f"{SVG}image") if "photo" in (i.get("id") or ""))
    assert "pixelated" not in path.read_text() and photo.get("width") == "120"


# ---------------------------------------------------------------- PNG
@pytest.mark.parametrize(("width", "dpi"), [("single", 300), ("double", 300), ("single", 150)])
def test_png(shown: Inspection, view: View, tmp_path: Path, width: str, dpi: int) -> None:
    drawn = figures.figure(shown, view, width=width)
    path = figures.save(drawn, tmp_path / "a.png", panels.about(shown, view), dpi=dpi)
    with Image.open(path) as image:
        assert image.width == pytest.approx({"single": 3.5, "double": 7.2}[width] * dpi, abs=1)
        assert image.info["dpi"] == pytest.approx((dpi, dpi), abs=0.1)
        assert json.loads(image.text["halo_vis"])["view"]["y"] == 9
        assert isinstance(image.text["halo_vis"], str) and image.text["halo_vis"].isascii()
        assert (np.asarray(image.convert("RGB"))[[0, -1]] == 255).all()


def test_pixels_have_the_colours_of_the_values(shown: Inspection, view: View) -> None:
    """Opaque heat without lines: the middle of each cell has its colour, to the cell, in both panels."""
    bare = replace(view, left="control", opacity=1.0, show=Show(False, False, False, False), log=True)
    drawn = figures.figure(shown, bare, caption=False)
    path = io.BytesIO()
    drawn.savefig(path, format="png", dpi=300)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    for axes, side in zip(drawn.axes, ("baseline", "halo"), strict=False):
        h = heat(shown, bare, side)
        place = axes.get_position()
        for row, col in np.argwhere(np.isfinite(h.values)):
            if (row + h.top, col + h.left) == (bare.y, bare.x):
                continue  # the query's own square
            y, x = h.letterbox.to_photo((h.top + row + 0.5) * h.stride, (h.left + col + 0.5) * h.stride)
            if not (1 < y < 89 and 1 < x < 119):
                continue
            px = (place.x0 + x / 120 * place.width) * pixels.shape[1]
            py = (1 - place.y1 + y / 90 * place.height) * pixels.shape[0]
            position = np.clip(np.log2(max(h.values[row, col], 1e-9) * 8) / (2 * np.log2(8)), 0, 1)
            colour = np.array(colormaps["magma"](position)[:3]) * 255
            assert np.abs(pixels[int(py), int(px)] - colour).max() <= 2


# ---------------------------------------------------------------- every kind of view
KINDS = {
    "cell": {},
    "box": {"view": "box", "box": ("halo", 0)},
    "to": {"view": "to", "level": "P4", "y": 3, "x": 4},
    "blocks": {"view": "blocks", "show": Show(grid=True)},
    "received": {"view": "received", "scales": Scales(received="auto")},
    "global": {"level": "layer22", "y": 1, "x": 2, "head": 1},
    "slider": {"mode": "slider", "left": "run1", "curtain": 0.3},
    "difference": {"mode": "difference", "left": "run1"},
    "mask": {"left": "mask", "of": "position", "head": "max"},
    "heads": {"strip": "heads", "left": "layer10"},
    "levels": {"strip": "levels", "log": True, "dim": 0.5, "map": "viridis"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", ["single", "double"])
def test_every_view_can_be_drawn(shown: Inspection, view: View, tmp_path: Path, kind: str, width: str) -> None:
    one = replace(view, **KINDS[kind])
    page = pdf(shown, one, tmp_path, width=width).pages[0]
    words = " ".join(page.extract_text().split())
    told = " ".join(panels.caption(shown, one)[2].split())
    assert told in words
    photos = 1 if kind == "slider" else 2
    strip = {"heads": 2 + shown.trace["P3"].heads, "levels": 3}.get(kind, 0)
    bars = sum(h is not None for h in (heat(shown, one, "baseline"), heat(shown, one))) - (kind == "slider")
    drawn = figures.figure(shown, one, width=width)
    assert len(drawn.axes) == photos + strip + bars
    for axes in drawn.axes:
        assert axes.get_position().x0 >= 0 and axes.get_position().x1 <= 1 + 1e-9
        assert axes.get_position().y0 >= 0 and axes.get_position().y1 <= 1 + 1e-9


@pytest.mark.parametrize("size", [(40, 600), (600, 40), (64, 64)], ids=str)
def test_photos_of_any_shape(size: tuple[int, int], tmp_path: Path) -> None:
    narrow = seen(*size)
    one = View.strongest(narrow)
    page = pdf(narrow, one, tmp_path).pages[0]
    assert float(page.mediabox.width) == pytest.approx(518.4, abs=0.5) and float(page.mediabox.height) < 11 * 72
    left, right = figures.figure(narrow, one, caption=False).axes[:2]
    for axes in (left, right):
        box = axes.get_window_extent()
        assert box.width / box.height == pytest.approx(size[1] / size[0], rel=0.05)


@pytest.mark.parametrize("strip", ["levels", "heads"])
@pytest.mark.parametrize("size", [(2000, 10), (10, 2000)], ids=str)
def test_small_views_of_any_shape(size: tuple[int, int], strip: str) -> None:
    """They may not make the page longer than the panels may."""
    narrow = seen(*size)
    drawn = figures.figure(narrow, replace(View.strongest(narrow), strip=strip))
    assert drawn.get_figheight() < 1.5 * figures.TALLEST + 3
    for axes in drawn.axes:
        place = axes.get_position()
        assert place.x0 >= 0 and place.x1 <= 1 + 1e-9 and place.y0 >= 0 and place.y1 <= 1 + 1e-9
        assert place.width * drawn.get_figwidth() > 0.019 and place.height * drawn.get_figheight() > 0.019


def test_the_query_cell_is_drawn_on_both_panels(shown: Inspection, view: View) -> None:
    """Also where the left one shows the photo alone, as the browser does; not in a sheet's panels of detections."""
    bare = replace(view, show=Show(False, False, False, False))
    place = shown.trace.letterbox.cell_box(view.y, view.x, 8)

    def marked(axes: Axes) -> bool:
        return any(
            isinstance(one, Rectangle)
            and (one.get_x() + one.get_width() / 2, one.get_y() + one.get_height() / 2)
            == pytest.approx(((place[0] + place[2]) / 2, (place[1] + place[3]) / 2), abs=0.5)
            and one.get_width() < 20
            for one in axes.patches
        )

    assert [marked(axes) for axes in figures.figure(shown, bare).axes[:2]] == [True, True]
    assert [marked(axes) for axes in figures.sheet(shown, bare).axes[:4]] == [False, False, False, True]


@pytest.mark.parametrize("width", [0, -3, 0.5, 41, 1e9, float("nan"), float("inf"), None, True, "7", [3]], ids=str)
def test_widths_that_are_none(shown: Inspection, view: View, width: object) -> None:
    with pytest.raises(ValueError, match=r"width must be one of single, double, or inches from 1 to 40, got"):
        figures.figure(shown, view, width=width)


class Counted(LevelTrace):
    """A level that counts how often its most expensive map is made."""

    made: ClassVar[list[tuple]] = []

    def attended_by(self, *args: object, **more: object) -> np.ndarray:
        self.made.append(args)
        return super().attended_by(*args, **more)


def test_the_map_of_a_panel_is_made_once(shown: Inspection, view: View) -> None:
    level = Counted(**vars(shown.trace["P3"]))
    counted = replace(shown, trace=replace(shown.trace, levels={"P3": level}))
    panels.panel(counted, replace(view, view="to"), "halo")
    assert len(Counted.made) == 1


def test_a_caption_of_a_sheet_has_no_stray_lines(shown: Inspection, view: View) -> None:
    """Without warnings: what was seen, what the panels show, and the hashes; of one box, "1 box"."""
    alone = replace(shown.halo, xyxy=shown.halo.xyxy[:1], conf=shown.halo.conf[:1], cls=shown.halo.cls[:1],
                    queries=shown.halo.queries[:1])  # fmt: skip
    one = replace(shown, halo=alone, matches=())
    some = (replace(view, left="layer10", head=head, of=of, y=y) for head in (0, 1) for of in ALL_OF for y in range(12))
    quiet = next(v for v in some if panels.warnings(one, v) == [])
    words = " ".join(text.get_text() for text in figures.sheet(one, quiet).texts)
    told = [panels.heading(one), *panels.fine_print(one, quiet)]
    assert len(told) == 2 and all(words.count(part.split(";")[0][:30]) == 1 for part in told)
    assert "1 box;" in words and "1 boxes" not in words


def test_a_sheet(shown: Inspection, view: View, tmp_path: Path) -> None:
    views = [replace(view, head=head) for head in (0, 1, "max")]
    for name, some, bars in (("one", views, 1), ("two", [*views, replace(view, view="received")], 2)):
        drawn = figures.sheet(shown, some)
        reader = PdfReader(figures.save(drawn, tmp_path / f"{name}.pdf", panels.about(shown, *some)))
        assert len(reader.pages) == 1 and len(drawn.axes) == 3 + len(some) + bars
        words = " ".join(reader.pages[0].extract_text().split())
        assert "(a) photo" in words and f"(b) YOLO26: {len(shown.baseline)} boxes" in words
        assert "(d) P3, head 1, row of cell (9, 11), weights, scale 0 to 8 × uniform" in words
        about = json.loads(reader.metadata["/Keywords"])
        assert [View.from_state(v["view"]) for v in about["views"]] == some
    assert "(d), (e), (f)" in words and "(g)" in words  # each scale's bar says whose it is
    assert drawn.get_figwidth() == 7.2 and figures.sheet(shown, view, width="single").get_figwidth() == 3.5


def test_what_cannot_be_drawn_is_said(shown: Inspection, view: View, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one view"):
        figures.sheet(shown, [])
    with pytest.raises(ValueError, match="width must be one of single, double, or inches from 1 to 40, got 'wide'"):
        figures.figure(shown, view, width="wide")
    with pytest.raises(ValueError, match="no level 'P9'"):
        figures.figure(shown, replace(view, level="P9"))
    with pytest.raises(ValueError, match=r"saved as \.pdf, \.svg or \.png, got 'a\.jpg'"):
        figures.save(figures.figure(shown, view), tmp_path / "a.jpg", {})


def test_the_same_figure_gives_the_same_file(shown: Inspection, view: View, tmp_path: Path) -> None:
    for kind in ("pdf", "svg", "png"):
        once, again = (
            figures.save(figures.figure(shown, view), tmp_path / f"{n}.{kind}", panels.about(shown, view)).read_bytes()
            for n in "ab"
        )
        assert once == again, kind


# ---------------------------------------------------------------- words
def test_hostile_words_stay_words(shown: Inspection, view: View, tmp_path: Path) -> None:
    bad = hostile(shown)
    reader = pdf(bad, view, tmp_path)
    words = "".join(reader.pages[0].extract_text().split())
    assert "".join(TOLD.split()) in words  # lines break anywhere, and nothing is mathematics
    assert json.loads(reader.metadata["/Keywords"])["picture"] == HOSTILE
    path = figures.save(figures.figure(bad, view), tmp_path / "a.svg", panels.about(bad, view))
    root = ElementTree.parse(path).getroot()
    assert {e.tag.split("}")[-1] for e in root.iter()} & {"script", "img", "a", "foreignObject"} == set()
    assert json.loads(root.findtext(".//{http://purl.org/dc/elements/1.1/}description"))["picture"] == HOSTILE


def test_control_characters_do_not_break_the_xml(shown: Inspection, view: View, tmp_path: Path) -> None:
    bad = replace(shown, picture=Picture(shown.picture.pixels, "a\x01b\x1b\ud800\nc.png"))
    path = figures.save(figures.figure(bad, view), tmp_path / "a.svg", panels.about(bad, view))
    told = ElementTree.parse(path).getroot().findtext(".//{http://purl.org/dc/elements/1.1/}description")
    assert json.loads(told)["picture"] == "a\x01b\x1b\ud800\nc.png"
    assert lettering.plain("a\x01b\nc") == "a b c"


def test_chinese_is_drawn_with_a_font_that_has_it(shown: Inspection, view: View, tmp_path: Path) -> None:
    assert len(lettering.families()) > 1, "no font with Chinese characters here: python tests/run.py installs one"
    named = replace(shown, picture=Picture(shown.picture.pixels, "图片.png"))
    reader = pdf(named, view, tmp_path)
    assert "图片.png" in reader.pages[0].extract_text()
    fonts = {str(f.get_object()["/BaseFont"]) for f in reader.pages[0]["/Resources"]["/Font"].values()}
    assert len(fonts) > 1


def test_without_such_a_font_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    lettering._say_no_chinese.cache_clear()
    with caplog.at_level(logging.WARNING):
        lettering._say_no_chinese()
        lettering._say_no_chinese()
    lettering._say_no_chinese.cache_clear()
    assert [r.getMessage() for r in caplog.records] == [
        "No font with Chinese characters here: figures show boxes instead. Install Noto Sans CJK."
    ]


def test_lines_break_where_they_must() -> None:
    page = figures.figure(seen(), View.strongest(seen()), caption=False)
    text = (
        "one two three four five " + "x" * 90 + " 图片图片图片图片图片图片图片图片图片图片图片图片图片图片图片图片图片"
    )
    lines = lettering.wrap(page, [text, "", "end"], 7, 1.0)
    assert "".join("".join(lines).split()) == "".join(text.split()) + "end"
    probe = lettering.write(page, 0, 0, "", 7)
    for line in lines:
        probe.set_text(line)
        assert lettering.width_of(probe) <= page.dpi
    assert lines[-1] == "end" and len(lines) < 16


def test_titles_are_cut_to_their_axes(shown: Inspection, view: View) -> None:
    long = replace(shown, beside=(replace(shown.beside[0], title="a very long title of a run " * 5),))
    drawn = figures.figure(long, replace(view, left="run1"), width="single", caption=False)
    for axes in drawn.axes[:2]:
        left = next(t for t in (axes._left_title,) if t.get_text())
        assert lettering.width_of(left) <= axes.get_window_extent().width
    assert drawn.axes[0]._left_title.get_text().endswith("…")


def test_pdf_streams_are_compressed(shown: Inspection, view: View, tmp_path: Path) -> None:
    pdf(shown, view, tmp_path)
    raw = (tmp_path / "a.pdf").read_bytes()
    assert len(raw) < 400_000 and zlib.decompressobj().decompress(raw[raw.index(b"stream\n", 200) + 7 :])[:1]
