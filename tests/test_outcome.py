"""What a run has come to: metrics, the members side by side, the model without its halo, and pairs of finished runs."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_transplant import assert_same_outputs, make_donor
from tiny_data import write_tiny_data
from torch import nn
from ultralytics import YOLO
from ultralytics.utils import YAML

from halo_vis import inspect, load_pair, meadow, transplant
from halo_vis.pairs import BUNDLED, PairError
from halo_vis.training import outcome
from halo_vis.training.recipe import RECIPES, Recipe
from halo_vis.training.run_folder import RunFolder
from halo_vis.transplant import HaloAttention, architecture_of, without_halo
from halo_vis.weights import WeightsError, read_header, read_weights, write_weights

SMOKE = RECIPES["smoke"]


# ------------------------------------------------------------ without its halo


@pytest.mark.parametrize(
    ("scale", "task", "nc", "geometry"),
    [
        ("n", "detect", 3, {}),
        ("n", "segment", 80, {"levels": ("P4",)}),
        ("s", "detect", 1, {"levels": ("P3", "P5"), "block_size": 5}),
        ("m", "segment", 2, {"form": "article"}),
        ("x", "detect", 7, {"heads": 2, "dim_head": 8}),
    ],
)
def test_without_halo_undoes_the_transplant(scale: str, task: str, nc: int, geometry: dict) -> None:
    donor = make_donor(scale, task, nc)
    grown = transplant(donor, **geometry)
    before = {k: v.clone() for k, v in grown.model.state_dict().items()}
    plain = without_halo(grown)
    assert isinstance(plain, YOLO) and plain.names == donor.names and plain.task == task
    assert architecture_of(plain.model) == architecture_of(donor.model)
    own = plain.model.state_dict()
    assert own.keys() == donor.model.state_dict().keys()
    assert all(torch.equal(own[k], v) for k, v in donor.model.state_dict().items())
    assert_same_outputs(donor.model, plain.model, torch.rand(1, 3, 64, 96))
    after = grown.model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items()), "the model was changed"
    addresses = {v.data_ptr() for v in after.values()}
    assert not any(v.data_ptr() in addresses for v in own.values()), "shares memory with the model"


def test_without_halo_of_a_trained_model_keeps_all_else() -> None:
    trained, _ = read_weights(BUNDLED / "meadow" / "halo.safetensors")
    plain = without_halo(trained.model)
    assert not any(isinstance(m, HaloAttention) for m in plain.modules())
    kept = [v for k, v in trained.model.state_dict().items() if int(k.split(".")[1]) not in (17, 21, 25)]
    found = list(plain.state_dict().values())
    assert len(kept) == len(found) == 708
    assert all(torch.equal(a, b) for a, b in zip(kept, found, strict=True))
    assert tuple(plain.names.values()) == meadow.NAMES


def test_without_halo_keeps_class_width_dtype_mode_and_what_is_frozen() -> None:
    donor = make_donor("n", "detect", 80)
    tuned = type(donor.model)(donor.model.yaml, nc=3, verbose=False)
    tuned.load(donor.model)
    for parameter in tuned.model[:10].parameters():
        parameter.requires_grad_(False)
    grown = transplant(tuned.bfloat16().train())
    grown.model[-1].end2end = True
    plain = without_halo(grown)
    assert architecture_of(plain).class_width == 80 and plain.training and plain.model[-1].end2end is True
    assert {p.dtype for p in plain.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in plain.model[:10].parameters())
    assert all(p.requires_grad for p in plain.model[22].parameters())


def _fused() -> YOLO:
    grown = transplant(make_donor("n", "detect", 3))
    grown.model.fuse(verbose=False)
    return grown


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda: make_donor("n", "detect", 3), ["has no halo layers", "Pass a halo model"]),
        (_fused, ["it is fused", "Pass the model as it was loaded"]),
        (lambda: nn.Linear(2, 2), ["Expected a YOLO26", "Linear"]),
    ],
    ids=["baseline", "fused", "no-yolo"],
)
def test_without_halo_refuses(model, says: list[str]) -> None:
    with pytest.raises(ValueError) as raised:
        without_halo(model())
    assert all(part in str(raised.value) for part in says), str(raised.value)


# ------------------------------------------------------------ metrics


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated scenes: 2 to train, 3 to validate, 5 to test."""
    return meadow.write_dataset(tmp_path_factory.mktemp("scenes"), train=2, val=3, test=5)


@pytest.fixture(scope="module")
def compared(scenes: Path) -> dict:
    files = {m: BUNDLED / "meadow" / f"{m}.safetensors" for m in ("baseline", "halo", "article")}
    return outcome.compare(files, scenes, imgsz=320, device="cpu")


def test_which_split_is_measured(scenes: Path, tmp_path: Path) -> None:
    """test where there are pictures for it, else val."""
    assert outcome.split_of(scenes) == "test"
    assert outcome.split_of(write_tiny_data(tmp_path / "tiny", ["a"])) == "val"
    data = YAML.load(scenes)
    (tmp_path / "none").mkdir()
    for test in ("", None, [], str(tmp_path / "none"), str(tmp_path / "missing")):
        path = tmp_path / "data.yaml"
        YAML.save(path, data | {"test": test})
        assert outcome.split_of(path) == "val", test


def test_metrics_are_ultralytics_own(scenes: Path, compared: dict) -> None:
    """The same figures as a plain validation of the same pictures; all members, per class, with what they cost."""
    assert (compared["split"], compared["pictures"], compared["imgsz"]) == ("test", 5, 320)
    assert [m["name"] for m in compared["members"]] == ["baseline", "halo", "article"]
    assert [m["form"] for m in compared["members"]] == ["baseline", "residual", "article"]
    halo = compared["members"][1]
    yolo, _ = read_weights(BUNDLED / "meadow" / "halo.safetensors")
    assert halo["parameters"] == sum(p.numel() for p in yolo.model.parameters())
    result = yolo.val(
        data=str(scenes), split="test", imgsz=320, batch=1, rect=True, workers=0, plots=False, device="cpu"
    )
    assert halo["mAP50"] == pytest.approx(result.box.map50, abs=1e-4)
    assert halo["mAP50-95"] == pytest.approx(result.box.map, abs=1e-4)
    names = [yolo.names[int(c)] for c in result.box.ap_class_index]
    assert set(halo["per_class"]) == set(names) <= set(meadow.NAMES)
    for name, fifty, mean in zip(names, result.box.ap50, result.box.ap, strict=True):
        assert halo["per_class"][name] == pytest.approx({"mAP50": fifty, "mAP50-95": mean}, abs=1e-4)
    assert all(m["latency_ms"] > 0 and m["epochs"] == 30 for m in compared["members"])


def test_a_card_says_what_compare_says(scenes: Path, compared: dict) -> None:
    """measure() is what cards hold; what it gave is not measured again."""
    weights = BUNDLED / "meadow" / "baseline.safetensors"
    recipe = replace(RECIPES["meadow"], device="cpu")
    card = outcome.measure(weights, scenes, recipe)
    row = compared["members"][0]
    assert card["held_out"] and card["split"] == "test" and card["pictures"] == 5
    assert (card["mAP50"], card["mAP50-95"], card["parameters"]) == (row["mAP50"], row["mAP50-95"], row["parameters"])
    told = card | {"mAP50": 0.5}
    again = outcome.compare({"a": weights}, scenes, imgsz=320, device="cpu", measured={"a": told})
    assert again["members"][0]["mAP50"] == 0.5
    other = outcome.compare({"a": weights}, scenes, "val", 320, "cpu", measured={"a": told})
    assert other["split"] == "val" and other["pictures"] == 3 and other["members"][0]["mAP50"] != 0.5


def test_nothing_to_compare(scenes: Path) -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        outcome.compare({}, scenes)


def test_nothing_is_left_behind_where_it_runs(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    yolo, _ = read_weights(BUNDLED / "meadow" / "halo.safetensors")
    outcome.metrics(yolo, scenes, "val", 64, device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_latencies_are_of_copies() -> None:
    """The models are neither fused nor moved; a deeper model takes longer."""
    models = {"n": make_donor("n", "detect", 3).model, "x": make_donor("x", "detect", 3).model}
    found = outcome.latencies(models, 64, "cpu")
    assert list(found) == ["n", "x"] and 0 < found["n"] < found["x"]
    assert not any(m.is_fused() for m in models.values())


# ------------------------------------------------------------ the table


def test_the_table_lists_members_and_classes(compared: dict) -> None:
    lines = outcome.table(compared).splitlines()
    halo = compared["members"][1]
    row = next(line for line in lines if line.startswith("| halo |"))
    assert f"{halo['mAP50']:.3f}" in row and "2.85 M" in row and f"{halo['latency_ms']:.1f} ms" in row
    assert sum(line.startswith(("| bee |", "| visited |", "| alone |")) for line in lines) == 3
    assert "5 pictures" in lines[-1] and "test" in lines[-1] and "320" in lines[-1]


def test_a_class_or_title_cannot_break_out_of_the_table(compared: dict) -> None:
    odd = "a | b\n| c\\"
    member = compared["members"][0] | {"name": odd, "per_class": {odd: {"mAP50": 0.1, "mAP50-95": 0.2}}}
    lines = outcome.table(compared | {"members": [member, compared["members"][1]]}).splitlines()
    bare = [line.replace("\\\\", "").replace("\\|", "").count("|") for line in lines if line.startswith("|")]
    assert bare[:4] == [9] * 4 and set(bare[4:]) == {4}, lines


def test_the_command_prints_one_run_or_several(compared: dict, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = [RunFolder(tmp_path / name) for name in ("one", "two")]
    for number, run in enumerate(runs):
        run.write_json("comparison.json", compared | {"pictures": 5 + number})
        run.write_json("about.json", {"title": "the same"})
    assert outcome.compare_command(argparse.Namespace(folders=[runs[0].path])) == 0
    assert capsys.readouterr().out.strip() == outcome.table(compared)
    assert outcome.compare_command(argparse.Namespace(folders=[r.path for r in runs])) == 0
    said = capsys.readouterr().out
    assert "| the same: halo |" in said and "| the same (two): halo |" in said
    assert "5, 6 pictures" in said
    with pytest.raises(ValueError, match=r"no comparison.*python -m halo_vis train"):
        outcome.compare_command(argparse.Namespace(folders=[tmp_path / "none"]))


# ------------------------------------------------------------ pairs of runs


def finished(path: Path, members: dict[str, str], starts: dict[str, str] | None = None, title: str = "mine") -> tuple:
    """A run folder with the bundled meadow's weights as what was trained, and its recipe."""
    run = RunFolder(path)
    recipe = Recipe(name="r", data="meadow", imgsz=64, members=members, stages=({"epochs": 1},))
    form = {"baseline": "baseline", "residual": "halo", "article": "article"}
    for folder, files in (("weights", members), ("start", starts or {})):
        (path / folder).mkdir(parents=True, exist_ok=True)
        for name, kind in files.items():
            source = BUNDLED / "meadow" / form[kind]
            shutil.copyfile(source.with_suffix(".safetensors"), path / folder / f"{name}.safetensors")
            if folder == "weights":
                shutil.copyfile(source.with_suffix(".json"), path / folder / f"{name}.json")
    (path / "run.yaml").write_text("name: r\n")
    run.write_json("about.json", {"title": title})
    return run, recipe


def states(pair: object) -> tuple[dict, dict]:
    return pair.baseline.model.state_dict(), pair.halo.model.state_dict()


def test_both_trained(tmp_path: Path) -> None:
    run, recipe = finished(tmp_path / "both", {"baseline": "baseline", "halo": "residual"})
    said = outcome.make_pair(run, recipe)
    assert json.loads((run.path / "pair.json").read_text()) == said
    assert (said["baseline"], said["halo"], said["note"]) == (
        "weights/baseline.safetensors", "weights/halo.safetensors", "",
    )  # fmt: skip
    pair = load_pair("run:both", runs=tmp_path)
    assert (pair.name, pair.card.title, pair.card.imgsz, pair.member) == ("run:both", "mine", 64, "halo")
    bundled = load_pair("meadow")
    for ours, theirs in zip(states(pair), states(bundled), strict=True):
        assert all(torch.equal(ours[k], v) for k, v in theirs.items())
    for member in ("baseline", "halo"):
        card = json.loads((BUNDLED / "meadow" / f"{member}.json").read_text())
        known = pair.card.members[member]
        assert {k: known[k] for k in card} == card and len(known["sha256"]) == 64
    seen = inspect(pair, meadow.scene(0, "test").image, device="cpu")
    assert seen.settings.imgsz == 64


def test_only_halo_from_a_start_that_has_its_baseline(tmp_path: Path) -> None:
    run, recipe = finished(tmp_path / "h", {"halo": "residual"}, {"halo": "residual", "baseline": "baseline"})
    said = outcome.make_pair(run, recipe)
    assert said["baseline"] == "start/baseline.safetensors" and "started from" in said["note"]
    assert load_pair("run:h", runs=tmp_path).card.note == said["note"]


def test_only_halo_grown_from_a_stock_model(tmp_path: Path) -> None:
    """The halo member's own start is a baseline that was transplanted: that one stands beside it."""
    run, recipe = finished(tmp_path / "g", {"halo": "residual"}, {"halo": "baseline"})
    assert outcome.make_pair(run, recipe)["baseline"] == "start/halo.safetensors"
    assert not load_pair("run:g", runs=tmp_path).untrained


def test_only_halo_without_a_baseline_of_these_classes(tmp_path: Path) -> None:
    run, recipe = finished(tmp_path / "w", {"halo": "residual"}, {"halo": "residual"})
    other = make_donor("n", "detect", 5)
    write_weights(run.start("baseline"), other)  # other classes
    said = outcome.make_pair(run, recipe)
    assert said["baseline"] == "weights/without-halo.safetensors"
    assert "the same weights with the halo layers taken out" in said["note"]
    pair = load_pair("run:w", runs=tmp_path)
    expected = without_halo(pair.halo).model.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in pair.baseline.model.state_dict().items())
    assert read_header(run.path / said["baseline"]).provenance["form"] == "baseline"


def test_only_baseline(tmp_path: Path) -> None:
    run, recipe = finished(tmp_path / "b", {"baseline": "baseline"})
    said = outcome.make_pair(run, recipe)
    assert "halo" not in said and "untrained" in said["note"]
    pair = load_pair("run:b", runs=tmp_path)
    assert pair.untrained and pair.card.note == said["note"]


def test_a_third_member(tmp_path: Path) -> None:
    members = {"baseline": "baseline", "halo": "residual", "article": "article"}
    run, recipe = finished(tmp_path / "t", members)
    outcome.make_pair(run, recipe)
    pair = load_pair("run:t", runs=tmp_path, member="article")
    assert pair.member == "article" and architecture_of(pair.halo.model).form == "article"
    with pytest.raises(PairError, match="no halo member 'nobody'"):
        load_pair("run:t", runs=tmp_path, member="nobody")


def test_no_weights_no_pair(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "n")
    with pytest.raises(ValueError, match="has no weights"):
        outcome.make_pair(run, SMOKE)
    assert not (run.path / "pair.json").exists()


def test_a_run_without_a_title_is_called_by_its_name(tmp_path: Path) -> None:
    run, recipe = finished(tmp_path / "x", {"baseline": "baseline"}, title="  ")
    assert outcome.make_pair(run, recipe)["title"] == "x"


def test_where_runs_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, recipe = finished(tmp_path / "here", {"baseline": "baseline"})
    outcome.make_pair(run, recipe)
    monkeypatch.setenv("HALO_VIS_RUNS", str(tmp_path))
    assert load_pair("run:here").card.title == "mine"
    monkeypatch.setenv("HALO_VIS_RUNS", str(tmp_path / "elsewhere"))
    with pytest.raises(PairError, match="no finished run 'here'"):
        load_pair("run:here")


@pytest.mark.parametrize("name", ["", ".", "..", "../here", "here/..", "/etc", "none", "a" * 300, "x\0y", "here/x"])
def test_names_that_are_no_run(name: str, tmp_path: Path) -> None:
    run, recipe = finished(tmp_path / "runs" / "here", {"baseline": "baseline"})
    outcome.make_pair(run, recipe)
    shutil.copytree(run.path, tmp_path / "here")  # outside of the runs, but as good as any
    with pytest.raises(PairError, match="no finished run"):
        load_pair(f"run:{name}", runs=tmp_path / "runs")


def test_a_link_to_a_run_elsewhere_is_not_followed(tmp_path: Path) -> None:
    run, recipe = finished(tmp_path / "outside", {"baseline": "baseline"})
    outcome.make_pair(run, recipe)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(run.path)
    with pytest.raises(PairError, match="no finished run"):
        load_pair("run:link", runs=tmp_path / "runs")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"baseline": "/etc/passwd"}, "no .safetensors file of this run"),
        ({"baseline": "../other/weights/baseline.safetensors"}, "no .safetensors file of this run"),
        ({"baseline": "weights/x.pt"}, "no .safetensors file of this run"),
        ({"baseline": 3}, "no .safetensors file of this run"),
        ({"baseline": "weights/gone.safetensors"}, "no weights at"),
        ({"members": []}, "damaged"),
        ({"members": {"baseline": 1}}, "damaged"),
        ({"imgsz": "large"}, "damaged"),
        (None, "damaged"),
    ],
)
def test_a_pair_json_that_says_something_else(change: dict | None, says: str, tmp_path: Path) -> None:
    run, recipe = finished(tmp_path / "x", {"baseline": "baseline", "halo": "residual"})
    said = outcome.make_pair(run, recipe)
    (run.path / "pair.json").write_text("{" if change is None else json.dumps(said | change))
    with pytest.raises((PairError, FileNotFoundError, WeightsError), match=says):
        load_pair("run:x", runs=tmp_path)
