"""An inspection as files: everything promised is there, and holds the values that the inspection has."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import ultralytics
from documents import Document
from PIL import Image
from samples import hostile, picture, random_model

import halo_vis
from halo_vis import Inspection, inspect
from halo_vis.geometry import HaloGrid, Letterbox
from halo_vis.maps import LevelTrace
from halo_vis.pairs import Card, Pair
from halo_vis.picture import Picture
from halo_vis.viewer import _Tensors

LEVELS = ("P3", "P4", "P5")
NAMES = {
    "side_by_side.png", "attention_P3.png", "attention_P4.png", "attention_P5.png", "trace.npz", "detections.json",
    "explorer.html",
}  # fmt: skip


@pytest.fixture(scope="module")
def seen() -> Inspection:
    card = Card("own", "Random $1 models", 160, members={"baseline": {"sha256": "b"}, "halo": {"sha256": "h"}})
    pair = Pair(card, random_model("baseline", task="segment"), random_model("residual", task="segment"))
    found = inspect(pair, picture(90, 120), conf=0.35, device="cpu")
    assert len(found.baseline) > 3 and len(found.halo) > 3 and found.halo.polygons is not None
    return found


@pytest.fixture(scope="module")
def folder(seen: Inspection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "not there yet" / "größer"
    files = seen.save(folder)
    assert not NAMES ^ {p.name for p in folder.iterdir()} and not NAMES ^ {p.name for p in files}
    assert len(files) == len(NAMES)
    return folder


def strict(path: Path) -> dict:
    """JSON as a browser takes it: no NaN, no Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} in {path.name}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_pictures(seen: Inspection, folder: Path) -> None:
    about = strict(folder / "detections.json")["provenance"]
    for name in sorted(NAMES):
        if name.endswith(".png"):
            with Image.open(folder / name) as image:
                assert image.mode == "RGB" and image.width > 2 * 900  # two panels of at least 900 pixels
                told = json.loads(image.text["halo_vis"])
                figure = told.pop("figure", None)
                assert told == about and (figure or {}).get("level", "side_by_side") in name
                assert figure is None or (figure["scale"], figure["head"], figure["of"]) == (4.0, "mean", "weight")
                assert np.asarray(image).std() > 20
    assert about["image"] == {"width": 120, "height": 90}
    assert about["picture"] == "array" and about["picture_sha256"] == seen.picture.digest
    assert about["halo_vis"] == halo_vis.__version__ and about["torch"] == torch.__version__
    assert about["ultralytics"] == ultralytics.__version__
    assert about["weights"] == {"baseline": "b", "halo": "h"} and about["settings"]["imgsz"] == 160


def test_rows_come_again_from_the_npz_alone(seen: Inspection, folder: Path) -> None:
    with np.load(folder / "trace.npz") as file:  # allow_pickle is off: plain arrays only
        arrays = dict(file)
    box = Letterbox(*arrays["letterbox"].tolist())
    assert box == seen.trace.letterbox and json.loads(str(arrays["provenance"]))["pair"] == "own"
    assert json.loads(str(arrays["provenance"]))["image"] == {"width": 120, "height": 90}
    assert all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f")
    for name in LEVELS:
        get = {k.split(".", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{name}.")}
        *sizes, stride = get["geometry"].tolist()
        again = LevelTrace(
            name, stride, HaloGrid(*sizes), box, get["q"], get["k"], get["norm"], get["rel_height"], get["rel_width"],
            float(get["scale"]), str(get["mask"]), True,
        )  # fmt: skip
        level = seen.trace[name]
        for y, x in [(0, 0), (again.grid.height - 1, 1), (2, again.grid.width - 1)]:
            for head, of in ((None, "weight"), (1, "contribution")):
                assert np.array_equal(again.row(y, x, head, of), level.row(y, x, head, of))
        assert np.array_equal(get["received"], level.received()) and np.array_equal(get["blocks"], level.blocks())
    for who in ("baseline", "halo"):
        for layer in ("layer10", "layer22"):
            own = seen.global_attention[who][layer]
            assert np.array_equal(arrays[f"{who}.{layer}.q"], own.q) and arrays[f"{who}.{layer}.scale"] == own.scale


def explorer_of(folder: Path) -> tuple[dict, bytes]:
    """Metadata and tensors that stand in explorer.html."""
    document = Document((folder / "explorer.html").read_text(encoding="utf-8"))
    return json.loads(document.data("meta")), base64.b64decode(document.data("tensors"), validate=True)


def test_the_explorers_tensors_decode_to_the_same_arrays(seen: Inspection, folder: Path) -> None:
    meta, raw = explorer_of(folder)
    places: list[tuple[int, int]] = []

    def decode(entry: dict) -> np.ndarray:
        assert entry["dtype"] == "float16" and entry["offset"] % 8 == 0
        count = int(np.prod(entry["shape"]))
        places.append((entry["offset"], entry["offset"] + 2 * count))
        return np.frombuffer(raw, "<f2", count, entry["offset"]).reshape(entry["shape"])

    assert tuple(meta["levels"]) == LEVELS
    for name, said in meta["levels"].items():
        level, grid = seen.trace[name], seen.trace[name].grid
        tensors = {k: decode(v) for k, v in said["tensors"].items()}
        for key in ("q", "k", "norm", "rel_height", "rel_width"):
            assert np.array_equal(tensors[key], getattr(level, key))
        for of, suffix in (("weight", ""), ("contribution", "_contribution")):
            for i, head in enumerate((None, *range(level.heads))):  # the mean first
                assert np.array_equal(tensors[f"received{suffix}"][i], level.received(head, of).astype(np.float16))
                assert np.array_equal(tensors[f"blocks{suffix}"][i], level.blocks(head, of).astype(np.float16))
        for key in ("height", "width", "block_size", "halo_size"):
            assert said[key] == getattr(grid, key)
        assert (said["stride"], said["heads"], said["mask"]) == (level.stride, level.heads, level.mask)
        assert said["scale"] == level.scale and said["dim_head"] == 32 and said["adds_nothing"] is False
    for who, layers in meta["global"].items():
        assert list(layers) == ["layer10", "layer22"]
        for name, said in layers.items():
            own = seen.global_attention[who][name]
            assert np.array_equal(decode(said["tensors"]["q"]), own.q)
            assert np.array_equal(decode(said["tensors"]["k"]), own.k)
            assert (said["height"], said["width"], said["key_dim"]) == (*own.q.shape[:2], own.q.shape[3])
    places.sort()
    assert all(end <= start < end + 8 for (_, end), (start, _) in pairwise(places))
    assert places[0][0] == 0 and 0 <= len(raw) - places[-1][1] < 8  # without gaps, overlaps, or a rest


def test_odd_sizes_keep_every_offset_a_multiple_of_8() -> None:
    tensors = _Tensors()
    offsets = [tensors.add(np.arange(n, dtype=np.float32))["offset"] for n in (1, 3, 4, 5, 0, 2)]
    raw = b"".join(tensors.parts)
    assert offsets == [0, 8, 16, 24, 40, 40] and len(raw) == tensors.size == 48
    assert np.array_equal(np.frombuffer(raw, "<f2", 5, 24), np.arange(5))


def test_metadata(seen: Inspection, folder: Path) -> None:
    meta, box = explorer_of(folder)[0], seen.trace.letterbox
    assert meta["input"] == {
        "width": box.input_width, "height": box.input_height, "left": box.left, "top": box.top,
        "new_width": box.new_width, "new_height": box.new_height,
    }  # fmt: skip
    assert (meta["picture"]["width"], meta["picture"]["height"]) == (120, 90)
    assert meta["pair"]["task"] == "segment" and meta["pair"]["untrained"] is False
    assert meta["settings"] == {"conf": 0.35, "iou": 0.7, "imgsz": 160, "head": "one-to-many", "device": "cpu"}


def test_detections(seen: Inspection, folder: Path) -> None:
    told = strict(folder / "detections.json")
    assert told["matches"] == explorer_of(folder)[0]["matches"]
    for who, found in (("baseline", seen.baseline), ("halo", seen.halo)):
        assert told[who] == explorer_of(folder)[0]["detections"][who] and len(told[who]) == len(found)
        for i, box in enumerate(told[who]):
            assert box["xyxy"] == pytest.approx(found.xyxy[i].tolist(), abs=1e-3)
            assert box["conf"] == pytest.approx(float(found.conf[i]), abs=1e-5)
            assert (box["cls"], box["name"]) == (int(found.cls[i]), found.name(i))
            assert (box["query"]["level"], box["query"]["y"], box["query"]["x"]) == found.queries[i]
            points = np.array(box["polygon"]).reshape(-1, 2)
            assert len(points) <= 200 and (points >= -1).all() and (points <= (121, 91)).all()
    assert len(told["matches"]) == len(seen.matches)
    for said, m in zip(told["matches"], seen.matches, strict=True):
        assert (said["kind"], said["baseline"], said["halo"]) == (m.kind, m.baseline, m.halo)
        assert said["delta"] == m.delta and said["iou"] == m.iou


def test_saving_again_gives_the_same_files(seen: Inspection, folder: Path, tmp_path: Path) -> None:
    seen.save(tmp_path)
    for name in NAMES - {"trace.npz"}:  # a zip holds the time
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.parametrize("name", ["hostile", "no unicode"])
def test_names_that_are_code_or_no_text(seen: Inspection, tmp_path: Path, name: str) -> None:
    bad = hostile(seen)
    if name != "hostile":  # bytes of a file name that are no UTF-8, as Linux allows and Python passes on
        bad = replace(seen, picture=Picture(seen.picture.pixels, b"gr\xfcn.png".decode("utf-8", "surrogateescape")))
    bad.save(tmp_path)
    told = strict(tmp_path / "detections.json")["provenance"]["picture"]
    assert told == bad.picture.name.encode("utf-8", "replace").decode()
    with Image.open(tmp_path / "side_by_side.png") as image:
        assert json.loads(image.text["halo_vis"])["picture"] == told
    assert explorer_of(tmp_path)[0]["picture"]["name"] == told
