"""What the explorer gets: every tensor of every file, the others, the answers, and nothing that is not JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from inspections import seen, seen_beside

from halo_vis import Inspection
from halo_vis.drawing import colormap_hex
from halo_vis.maps import LevelTrace
from halo_vis.seen import provenance
from halo_vis.viewer import VERSION, _Tensors, payload


@pytest.fixture(scope="module")
def shown() -> Inspection:
    return seen_beside()


def tensors_of(layers: dict) -> list[dict]:
    return [entry for layer in layers.values() for entry in layer["tensors"].values()]


def decode(files: dict[str, bytes], entry: dict) -> np.ndarray:
    raw = files[entry.get("file", "tensors")]
    return np.frombuffer(raw, "<f2", int(np.prod(entry["shape"])), entry["offset"]).reshape(entry["shape"])


def test_the_metadata_is_plain_json(shown: Inspection) -> None:
    meta, files = payload(shown)
    text = json.dumps(meta, allow_nan=False)
    assert json.loads(text) == meta and meta["version"] == VERSION == 2
    assert list(files) == ["tensors", "control", "run1"] and all(isinstance(f, bytes) for f in files.values())
    assert meta["provenance"] == provenance(shown)
    assert meta["provenance"]["picture_sha256"] == shown.picture.digest == meta["picture"]["digest"]
    assert meta["provenance"]["beside"] == [{"pair": "own", "member": "article", "weights": "a"}]
    assert meta["diverging"] == colormap_hex("RdBu_r") and len(meta["diverging"]) == 6 * 256
    assert meta["diverging"][:6] == "053061" and meta["diverging"][-6:] == "67001f"  # from blue to red
    assert meta["answers"] == [
        {"name": a.name, "where": list(a.where), "region": list(a.region)} for a in shown.answers
    ] and len(meta["answers"]) == 2  # fmt: skip


def test_every_file_is_filled_without_gaps_or_overlaps(shown: Inspection) -> None:
    meta, files = payload(shown)
    layers = [meta["levels"], *meta["global"].values(), *(other["levels"] for other in meta["others"])]
    entries = {json.dumps(e, sort_keys=True): e for some in layers for e in tensors_of(some)}.values()
    for name, raw in files.items():
        mine = [e for e in entries if e.get("file", "tensors") == name]
        places = sorted((e["offset"], e["offset"] + 2 * int(np.prod(e["shape"]))) for e in mine)
        assert places[0][0] == 0 and 0 <= len(raw) - places[-1][1] < 8 and len(raw) % 8 == 0
        assert all(end <= start < end + 8 for (_, end), (start, _) in pairwise(places))
        assert all(start % 8 == 0 for start, _ in places)


def test_the_control_shares_all_but_queries_and_keys(shown: Inspection) -> None:
    meta, files = payload(shown)
    control = meta["others"][0]
    assert (control["id"], control["kind"], control["file"], control["seed"]) == ("control", "control", "control", 0)
    assert (
        control["detections"] is None and control["matches"] is None and list(control["levels"]) == ["P3", "P4", "P5"]
    )
    for name, layer in control["levels"].items():
        own, random = meta["levels"][name], shown.trace[name].randomised(control["seed"])
        assert sorted(layer["tensors"]) == ["k", "norm", "q", "rel_height", "rel_width"]
        assert np.array_equal(decode(files, layer["tensors"]["q"]), random.q)
        assert np.array_equal(decode(files, layer["tensors"]["k"]), random.k)
        assert layer["tensors"]["q"]["file"] == layer["tensors"]["k"]["file"] == "control"
        for same in ("norm", "rel_height", "rel_width"):
            assert layer["tensors"][same] == own["tensors"][same] and "file" not in layer["tensors"][same]
        assert {k: v for k, v in layer.items() if k != "tensors"} == {k: v for k, v in own.items() if k != "tensors"}


def test_without_the_control(shown: Inspection) -> None:
    meta, files = payload(shown, control=False)
    assert [o["id"] for o in meta["others"]] == ["run1"] and list(files) == ["tensors", "run1"]
    assert files["tensors"] == payload(shown)[1]["tensors"]
    levels = {name: replace(level, features=None) for name, level in shown.trace.items()}
    older = replace(shown, trace=replace(shown.trace, levels=levels), beside=())
    meta, files = payload(older)  # nothing to project
    assert meta["others"] == [] and list(files) == ["tensors"]


def test_a_run_brings_its_own_trace_and_detections(shown: Inspection) -> None:
    meta, files = payload(shown)
    said, run = meta["others"][1], shown.beside[0]
    assert (said["id"], said["kind"], said["file"], said["title"]) == ("run1", "run", "run1", run.title)
    assert (said["member"], said["weights"]) == ("article", "a")
    for name, layer in said["levels"].items():
        level: LevelTrace = run.trace[name]
        assert layer["mask"] == "published" and layer["scale"] == level.scale
        assert sorted(layer["tensors"]) == ["k", "norm", "q", "rel_height", "rel_width"]
        for key, entry in layer["tensors"].items():
            assert entry["file"] == "run1" and np.array_equal(decode(files, entry), getattr(level, key))
    assert len(said["detections"]) == len(run.detections) > 0
    for box, xyxy in zip(said["detections"], run.detections.xyxy, strict=True):
        assert box["xyxy"] == pytest.approx(xyxy.tolist(), abs=1e-3)
    assert [(m["baseline"], m["halo"], m["kind"]) for m in said["matches"]] == [
        (m.baseline, m.halo, m.kind) for m in run.matches
    ]


def test_a_second_run_gets_a_file_of_its_own(shown: Inspection) -> None:
    twice = replace(shown, beside=shown.beside * 2)
    meta, files = payload(twice)
    assert [o["id"] for o in meta["others"]] == ["control", "run1", "run2"] and files["run1"] == files["run2"]
    assert all(e["file"] == "run2" for e in tensors_of(meta["others"][2]["levels"]))


def test_shipped_maps_are_those_of_the_trace() -> None:
    shown = seen(90, 120, "published")
    meta, files = payload(shown)
    for name, layer in meta["levels"].items():
        for of, suffix in (("weight", ""), ("contribution", "_contribution")):
            for i, head in enumerate((None, *range(layer["heads"]))):
                for what in ("blocks", "received"):
                    made = getattr(shown.trace[name], what)(head, of).astype(np.float16)
                    assert np.array_equal(decode(files, layer["tensors"][what + suffix])[i], made)


def test_the_same_inspection_gives_the_same_payload(shown: Inspection) -> None:
    assert payload(shown) == payload(shown)


def test_entries_name_their_file_unless_it_is_the_main_one() -> None:
    assert "file" not in _Tensors().add(np.zeros(3))
    assert _Tensors("run7").add(np.zeros((2, 1))) == {
        "dtype": "float16", "shape": [2, 1], "offset": 0, "file": "run7",
    }  # fmt: skip
