"""The probe: what is kept per epoch is the row that inspect computes for the same cell of the same model."""

from __future__ import annotations

import base64
import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from halo_vis import inspect, load_pair, meadow
from halo_vis.training.probe import Probe, write_probe
from halo_vis.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("probe")
    data = meadow.write_dataset(folder / "data", train=1, val=2)
    run = RunFolder(folder)
    write_probe(run, data, 320, (-1, -1))
    return run


def rows(frame: dict) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(frame["weights"]), "<f2").astype(np.float32)
    return values.reshape(1 + frame["heads"], frame["rows"], frame["cols"])


def test_the_row_is_that_of_inspect(run: RunFolder) -> None:
    probe = Probe.open(run)
    pair = load_pair("meadow")
    frame = probe.look(pair.halo.model.float())
    seen = inspect(pair, probe.pixels, imgsz=320, device="cpu")
    assert set(frame["levels"]) == {"P3", "P4", "P5", "layer10", "layer22"}
    for name in ("P3", "P4", "P5"):
        level, found = seen.trace[name], frame["levels"][name]
        y, x = level.letterbox.cell_at(*probe.query, level.stride)
        assert (found["y"], found["x"]) == (y, x)
        for head in (None, 0, 1):
            expected = level.row(y, x, head)
            assert np.abs(rows(found)[0 if head is None else head + 1] - expected).max() < 5e-3 * expected.max()
        assert rows(found)[0].sum() == pytest.approx(1, abs=5e-3)
        assert found["uniform"] == pytest.approx(1 / level.allowed(y, x).sum())
    # The boxes are predict's, which runs a fused copy of the model.
    mine = np.array([box[:4] for box in frame["boxes"]])
    assert len(mine) == len(seen.halo)
    assert np.abs(np.sort(mine, 0) - np.sort(seen.halo.xyxy, 0)).max() < 1


def test_the_model_is_left_as_it_was(run: RunFolder) -> None:
    model = copy.deepcopy(load_pair("meadow").halo.model).float().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    Probe.open(run).look(model)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == hooks


def test_a_baseline_has_its_own_attention(run: RunFolder) -> None:
    frame = Probe.open(run).look(load_pair("meadow").baseline.model.float())
    assert set(frame["levels"]) == {"layer10", "layer22"}
    found = frame["levels"]["layer10"]
    assert (found["rows"], found["cols"], found["block"]) == (found["h"], found["w"], None)


def test_on_a_meadow_a_visited_flower_is_asked(run: RunFolder) -> None:
    """The query's point lies in the box of a visited flower of the first validation scene that has one."""
    facts = run.json("attention/probe.json")
    scene = meadow.scene(0, "val")
    y, x = facts["query"]["y"], facts["query"]["x"]
    inside = [c for c, (x1, y1, x2, y2) in zip(scene.cls, scene.xyxy, strict=True) if x1 < x < x2 and y1 < y < y2]
    assert (meadow.VISITED if meadow.VISITED in scene.cls else scene.cls[0]) in inside


def test_a_point_and_a_picture_of_ones_own(tmp_path: Path, bus: Path) -> None:
    from PIL import Image

    data = meadow.write_dataset(tmp_path / "data", train=1, val=1)
    run = RunFolder(tmp_path)
    (tmp_path / "attention").mkdir()
    Image.open(bus).save(tmp_path / "attention" / "probe.png")
    write_probe(run, data, 320, (500.0, 400.0))
    facts = run.json("attention/probe.json")
    assert (facts["width"], facts["height"]) == (810, 1080)
    assert facts["query"] == {"y": 500.0, "x": 400.0}
    write_probe(run, data, 320, (1.0, 1.0))  # a later session changes nothing
    assert run.json("attention/probe.json") == facts
