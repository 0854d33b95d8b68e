"""What leaves the explorer, opened by readers that know nothing of it: Pillow, an XML parser, csv, OpenCV."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from painted import BARE, palette, position
from PIL import Image
from plain import Plain
from playwright.sync_api import expect

from halo_vis import Inspection
from halo_vis.heats import heat
from halo_vis.view import View

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
STATES = {
    "cell": {"view": "cell", "level": "P4", "y": 20, "x": 8, "box": None},
    "a head": {"view": "cell", "level": "P5", "y": 6, "x": 8, "box": None, "of": "contribution", "head": 1},
    "to": {"view": "to", "level": "P3", "y": 24, "x": 25, "box": None, "of": "content", "head": -2},
    "box": {"view": "box", "level": "P4", "box": {"side": "halo", "index": 1}, "left": "control"},
    "blocks": {"view": "blocks", "level": "P5", "box": None, "left": "mask"},
    "received": {"view": "received", "level": "P4", "box": None, "of": "position", "left": "run1"},
    "global": {"view": "to", "level": "layer10", "left": "layer22", "y": 9, "x": 3, "box": None},
    "difference": {"view": "cell", "level": "P4", "y": 20, "x": 8, "box": None, "left": "mask", "mode": "difference"},
    "log": {"view": "cell", "level": "P3", "y": 24, "x": 25, "box": None, "log": True},
    "zoomed": {"view": "cell", "level": "P3", "y": 24, "x": 25, "box": None, "zoom": {"scale": 3, "x": 300, "y": 500}},
}  # fmt: skip


def go(plain: Plain, state: dict) -> None:
    """Bring the viewer there; what is fetched on demand is there before anything is saved."""
    plain.restore(**state)
    expect(plain.part("status-baseline")).to_be_hidden()
    plain.settle()


def check_provenance(about: dict, plain: Plain, seen: Inspection) -> None:
    """Pair, weights, versions, picture, settings, and the very view."""
    assert about["picture"] == seen.picture.name
    assert about["picture_sha256"] == seen.picture.digest
    assert about["pair"] == "photos" and about["member"] == "halo"
    assert about["weights"] == {k: v["sha256"] for k, v in seen.card.members.items()}
    assert re.fullmatch(r"\d+\.\d+.*", about["halo_vis"]) and about["ultralytics"] and about["torch"]
    assert about["settings"]["imgsz"] == seen.settings.imgsz
    assert about["image"] == {"width": 810, "height": 1080}
    assert View.from_state(about["view"]) == View.from_state(plain.state)


# ------------------------------------------------------------------ PNG


@pytest.mark.parametrize("name", STATES)
def test_png(plain: Plain, bus_seen: Inspection, tmp_path: Path, name: str) -> None:
    go(plain, STATES[name])
    download = plain.download("png")
    path = tmp_path / download.suggested_filename
    download.save_as(path)
    assert re.fullmatch(r"bus_photos_(P[345]|layer10)_(mean|max|head2)_\w+\.png", path.name)
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        check_provenance(json.loads(image.text["halo_vis"]), plain, bus_seen)
        zoom = STATES[name].get("zoom", {"scale": 1})["scale"]
        assert image.width > 2 * 810 / zoom and image.height > 1080 / zoom


def test_the_pngs_photo_is_the_photo(plain: Plain, bus_seen: Inspection) -> None:
    """At full resolution, every pixel where nothing is drawn over it; and the colours are those of the values."""
    go(plain, {"view": "received", "level": "P4", "y": 20, "x": 8, "box": None, "show": BARE, "opacity": 0})
    photo = bus_seen.picture.pixels
    saved = np.asarray(Image.open(plain.download("png").path()).convert("RGB"))
    patch = photo[100:300, 100:400]
    match = cv2.matchTemplate(saved[:, saved.shape[1] // 2 :], patch, cv2.TM_SQDIFF)
    _, _, (left, top), _ = cv2.minMaxLoc(match)
    left, top = left + saved.shape[1] // 2 - 100, top - 100
    on_it = saved[top : top + 1080, left : left + 810]
    same = (on_it == photo).all(-1)
    assert same.mean() > 0.998  # all but the outline of the query's cell
    go(plain, {"opacity": 1})
    saved = np.asarray(Image.open(plain.download("png").path()).convert("RGB"))[top : top + 1080, left : left + 810]
    look = heat(bus_seen, View.from_state(plain.state))
    x0, y0, x1, y1 = look.rect()
    rows, cols = look.values.shape
    colours = palette(plain.state["map"])
    for i in range(0, rows, 3):
        for j in range(2, cols - 2, 3):
            y, x = int(y0 + (i + 0.5) * (y1 - y0) / rows), int(x0 + (j + 0.5) * (x1 - x0) / cols)
            if (i, j) == (20, 8):
                continue
            at = min(255, int(look.values[i, j] / look.largest * 256))
            assert np.abs(colours[max(0, at - 1) : at + 2] - saved[y, x]).max(-1).min() == 0


# ------------------------------------------------------------------ SVG


@pytest.mark.parametrize("name", STATES)
def test_svg(plain: Plain, bus_seen: Inspection, tmp_path: Path, name: str) -> None:
    """Well-formed, the photo inside it without loss, the heat as rectangles, the same picture as the PNG."""
    go(plain, STATES[name])
    download = plain.download("svg")
    assert download.suggested_filename.endswith(".svg")
    text = Path(download.path()).read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    check_provenance(json.loads(root.find(f"{SVG}metadata").text), plain, bus_seen)
    (photo,) = root.iter(f"{SVG}image")
    inside = np.asarray(Image.open(io.BytesIO(base64.b64decode(photo.get(LINK).split(",")[1]))).convert("RGB"))
    x, y, w, h = (round(float(photo.get(key))) for key in ("x", "y", "width", "height"))
    assert (inside == bus_seen.picture.pixels[y : y + h, x : x + w]).all()
    for side in ("baseline", "halo"):
        look = heat(bus_seen, View.from_state(plain.state), side)
        group = root.find(f".//{SVG}g[@id='{side}-heat']")
        cells = [r for r in group.iter(f"{SVG}rect") if r.get("fill", "").startswith("#")]
        values = look.values[np.isfinite(look.values)].astype(float)
        wanted = np.unique(np.minimum(255, position(values, look) * 256).astype(int))
        colours = palette("RdBu_r" if look.diverging else plain.state["map"]).tolist()
        used = {tuple(bytes.fromhex(r.get("fill")[1:])) for r in cells}
        got = np.array([n for n, colour in enumerate(colours) if tuple(colour) in used])
        assert len(got) >= len(used)
        assert np.abs(wanted[:, None] - got).min(1).max() <= 1
        # Neighbours of one colour are one rectangle, so there are at most as many as cells in the picture.
        assert len(used) <= len(cells) <= len(values)
    # Rendered by the browser as a picture of its own, it is the PNG.
    png = Image.open(plain.download("png").path()).convert("RGB")
    size = (round(float(root.get("width"))), round(float(root.get("height"))))
    file = tmp_path / "a.svg"
    file.write_text(text, encoding="utf-8")
    tab = plain.context.new_page()
    tab.set_viewport_size({"width": size[0], "height": size[1]})
    tab.goto(file.as_uri())
    drawn = np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("RGB")).astype(int)
    tab.close()
    wanted = np.asarray(png.resize((drawn.shape[1], drawn.shape[0]), Image.Resampling.BOX)).astype(int)
    apart = np.abs(coarse(drawn) - coarse(wanted))
    assert apart.mean() < 2 and apart.max() < 32


def coarse(pixels: np.ndarray, size: int = 12) -> np.ndarray:
    """Means of squares: two ways to smooth a line or a letter differ in single pixels only."""
    rows, cols = pixels.shape[0] // size, pixels.shape[1] // size
    return pixels[: rows * size, : cols * size].reshape(rows, size, cols, size, 3).mean((1, 3))


# ------------------------------------------------------------------ CSV


def read_csv(path: Path) -> tuple[dict, list[dict]]:
    """The notes and the rows of a CSV."""
    lines = path.read_text(encoding="utf-8").splitlines()
    notes = dict(re.fullmatch(r"# ([^:]+): (.*)", line).groups() for line in lines if line.startswith("#"))
    return notes, list(csv.DictReader(line for line in lines if not line.startswith("#")))


@pytest.mark.parametrize("name", STATES)
def test_csv(plain: Plain, bus_seen: Inspection, name: str) -> None:
    """Every value that is drawn, to 1e-5 of Python's, with its cell and its place on the photo."""
    go(plain, STATES[name])
    download = plain.download("csv")
    assert download.suggested_filename.endswith(".csv")
    notes, rows = read_csv(Path(download.path()))
    assert json.loads(notes["picture_sha256"]) == bus_seen.picture.digest
    assert json.loads(notes["view.level"]) == STATES[name]["level"]
    view = View.from_state(plain.state)
    for side in ("baseline", "halo"):
        look = heat(bus_seen, view, side)
        mine = [row for row in rows if row["side"] == side]
        values = look.values[np.isfinite(look.values)]
        got = np.array([float(row["times_uniform"]) for row in mine])
        assert got.shape == values.shape
        # What is shipped ready made, blocks and received attention, has the 11 bits of its 16-bit floats.
        made = view.view in ("blocks", "received") and view.of in ("weight", "contribution")
        np.testing.assert_allclose(got, values, rtol=2**-11 if made else 1e-4, atol=1e-4)
        if view.view in ("cell", "to", "received") and not look.diverging:
            i, j = np.nonzero(np.isfinite(look.values))
            which = "query" if view.view == "to" else "key"
            assert [int(row[f"{which}_y"]) for row in mine] == (i + look.top).astype(int).tolist()
            assert [int(row[f"{which}_x"]) for row in mine] == (j + look.left).astype(int).tolist()
        first = mine[0]
        stride = look.stride * 810 / 360
        if view.view != "blocks":
            assert float(first["x2"]) - float(first["x1"]) == pytest.approx(stride, abs=0.01)


@pytest.mark.parametrize("head", [-1, -2, 1])
@pytest.mark.parametrize("of", ["weight", "contribution"])
def test_the_csv_of_a_row_is_the_row(plain: Plain, bus_seen: Inspection, of: str, head: int) -> None:
    """Weights and contributions, both, equal to what the explorer itself and Python give."""
    go(plain, {"view": "cell", "level": "P4", "y": 20, "x": 8, "box": None, "of": of, "head": head})
    _, rows = read_csv(Path(plain.download("csv").path()))
    mine = [row for row in rows if row["side"] == "halo"]
    for column in ("weight", "contribution"):
        script = "([head, of]) => Array.from(haloExplorer.row('P4', 20, 8, head, of))"
        row = np.array(plain.tab.evaluate(script, [head, column]))
        python = bus_seen.trace["P4"].row(20, 8, {-1: None, -2: "max"}.get(head, head), column).ravel()
        assert np.abs(row - python).max() < 1e-5
        inside = bus_seen.trace["P4"].allowed(20, 8).ravel()
        assert np.abs(np.array([float(r[column]) for r in mine]) - row[inside]).max() < 1e-7


# ------------------------------------------------------------------ WebM


def test_webm(plain: Plain, bus_seen: Inspection, tmp_path: Path) -> None:
    """A film of what is shown while the pointer moves, ended by its button."""
    go(plain, {"level": "P4", "y": 20, "x": 8, "box": None})
    plain.tab.keyboard.press("Escape")
    plain.tab.locator(".hx-menu summary").click()
    plain.tab.locator("[data-export=webm]").click()
    stop = plain.tab.locator("[data-act=stop]")
    expect(stop).to_be_visible()
    for n in range(24):
        plain.hover(120 + 25 * n, 200 + 30 * n)
    expect(stop).to_contain_text(re.compile(r"\([1-9]\d* s\)"))
    with plain.tab.expect_download() as waiting:
        stop.click()
    path = tmp_path / "a.webm"
    waiting.value.save_as(path)
    assert waiting.value.suggested_filename.endswith(".webm")
    expect(stop).to_be_hidden()
    frames = read_film(path)
    assert len(frames) >= 8
    assert frames[0].shape[0] % 2 == 0 and frames[0].shape[1] > frames[0].shape[0] * 0.9
    assert max(np.abs(frames[0].astype(int) - frame).max() for frame in frames) > 60
    check_film(path, plain, bus_seen)


def test_a_film_that_is_stopped_at_once_has_the_picture(plain: Plain, bus_seen: Inspection, tmp_path: Path) -> None:
    """Before the encoder has delivered a frame: it is waited for."""
    plain.tab.locator(".hx-menu summary").click()
    with plain.tab.expect_download() as waiting:
        plain.tab.evaluate("""() => {
          for (const button of ["[data-export=webm]", "[data-act=stop]"]) document.querySelector(button).click();
        }""")
    path = tmp_path / "a.webm"
    waiting.value.save_as(path)
    assert len(read_film(path)) >= 1
    check_film(path, plain, bus_seen)


def test_webm_of_the_trail(plain: Plain, bus_seen: Inspection, tmp_path: Path) -> None:
    """The same without a person: the cells that were visited, one after the other."""
    for x in range(2, 8):
        plain.tab.evaluate(f"haloExplorer.select('P4', 12, {x})")
    plain.restore(level="P3", box={"side": "halo", "index": 1}, pinned=False, zoom={"scale": 2, "x": 300, "y": 300})
    before = plain.state, plain.tab.evaluate("controller.trail()")
    data = plain.tab.evaluate("""async () => {
      const { blob, name } = await controller.export("webm");
      const bytes = new Uint8Array(await blob.arrayBuffer());
      let text = "";
      for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
      return [name, btoa(text)];
    }""")
    assert data[0] == "bus_photos_P3_mean_cell.webm"
    assert (plain.state, plain.tab.evaluate("controller.trail()")) == before  # the person's view is back
    path = tmp_path / "a.webm"
    path.write_bytes(base64.b64decode(data[1]))
    frames = read_film(path)
    different = sum(np.abs(a.astype(int) - b).max() > 40 for a, b in pairwise(frames))
    assert different >= 5
    check_film(path, plain, bus_seen)


@pytest.mark.parametrize("end", ["stop", "destroy"])
def test_a_film_lets_go_of_what_it_showed(plain: Plain, bus_seen: Inspection, end: str) -> None:
    """When it is finished, and when the viewer goes while it runs."""
    plain.tab.evaluate("""() => {
      const { load } = HaloVis.load;
      window.loaded = [];
      HaloVis.load.load = async (...what) => {
        const data = await load(...what);
        window.loaded.push(new WeakRef(data));
        return data;
      };
    }""")
    plain.show(bus_seen)
    plain.tab.locator(".hx-menu summary").click()
    plain.tab.locator("[data-export=webm]").click()
    plain.hover(300, 300)
    plain.hover(400, 130)
    if end == "stop":
        with plain.tab.expect_download():
            plain.tab.locator("[data-act=stop]").click()
        plain.show(bus_seen)
    else:
        plain.tab.evaluate("controller.destroy()")
    chrome = plain.context.new_cdp_session(plain.tab)
    for _ in range(20):  # a film that was cut off ends in its own time
        chrome.send("HeapProfiler.collectGarbage")
        if plain.tab.evaluate("loaded[0].deref() === undefined"):
            break
        plain.settle()
    assert plain.tab.evaluate("loaded[0].deref() === undefined")


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_hashes_in_the_caption(plain: Plain, bus_seen: Inspection, kind: str) -> None:
    """Only where a person asks for them; the menu stays open meanwhile."""
    go(plain, STATES["cell"])
    before = plain.download(kind)
    plain.tab.locator(".hx-menu summary").click()
    plain.tab.get_by_label("hashes in the caption").check()
    expect(plain.tab.locator("[data-export=svg]")).to_be_visible()
    plain.tab.keyboard.press("Escape")
    after = plain.download(kind)
    if kind == "png":
        (before, after) = (Image.open(file.path()).size for file in (before, after))
        assert after[0] == before[0] and after[1] > before[1]
    else:
        (before, after) = (
            Path(file.path()).read_text(encoding="utf-8").split("</metadata>")[1] for file in (before, after)
        )
        digest = bus_seen.picture.digest[:8]
        assert digest in after and digest not in before


def read_film(path: Path) -> list[np.ndarray]:
    film = cv2.VideoCapture(str(path))
    frames = []
    while True:
        there, frame = film.read()
        if not there:
            break
        frames.append(frame)
    film.release()
    return frames


def check_film(path: Path, plain: Plain, seen: Inspection) -> None:
    """The comment is where a Matroska reader looks for it: a tag of that name, its text after it."""
    raw = path.read_bytes()
    at = raw.index(b"COMMENT")
    text = raw[raw.index(b"{", at) :].decode("utf-8", "ignore")
    about, _ = json.JSONDecoder().raw_decode(text)
    assert about["picture_sha256"] == seen.picture.digest
    assert about["film"]["seconds"] > 0


# ------------------------------------------------------------------ by script


@pytest.mark.parametrize("kind", ["png", "svg", "csv"])
def test_the_controller_gives_the_same_file(plain: Plain, kind: str) -> None:
    go(plain, STATES["cell"])
    download = plain.download(kind)
    name, data = plain.tab.evaluate(
        """async (kind) => {
          const { blob, name } = await controller.export(kind);
          const reader = new FileReader();
          const done = new Promise((resolve) => { reader.onload = () => resolve(reader.result); });
          reader.readAsDataURL(blob);
          return [name, (await done).split(",")[1]];
        }""",
        kind,
    )
    assert name == download.suggested_filename
    assert base64.b64decode(data) == Path(download.path()).read_bytes()
    expect(plain.part("told")).to_contain_text(name)
