"""The transplant: every tensor of the donor placed, outputs bit-equal, and what becomes of it in training."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_data import quick, write_tiny_data
from torch import Tensor, nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from halo_vis import transplant
from halo_vis.attention import HaloAttention
from halo_vis.pairs import read_pt
from halo_vis.transplant import CFG, Architecture, architecture_of, build

# Stock index -> index in the grown model, as measured (notes of the repository); halo layers are 17, 21, 25.
MOVED = {i: i + (i > 16) + (i > 19) + (i > 22) for i in range(24)}
CASES = [
    ("n", "detect", 80),
    ("n", "segment", 3),
    ("s", "detect", 1),
    ("s", "segment", 80),
    ("m", "detect", 200),
    ("m", "segment", 2),
    ("l", "detect", 80),
    ("l", "segment", 5),
    ("x", "detect", 7),
    ("x", "segment", 80),
]


@torch.no_grad()
def make_donor(scale: str, task: str, nc: int, seed: int = 0) -> YOLO:
    """A stock model away from its start: statistics, shifts and class scores that differ from cell to cell."""
    torch.manual_seed(seed)
    donor = build(Architecture(scale, task, "baseline", nc), {i: f"thing {i}" for i in range(nc)})
    for module in donor.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.8, 1.2)
            module.bias.normal_(0, 0.1)
    donor.model.eval()
    return donor


@pytest.fixture(scope="module", params=CASES, ids="-".join(["{0[0]}", "{0[1]}", "{0[2]}"]).format)
def pair(request: pytest.FixtureRequest) -> tuple[YOLO, YOLO, dict[str, Tensor]]:
    """The donor, its transplant, and a copy of the donor's state from before."""
    donor = make_donor(*request.param)
    before = {k: v.clone() for k, v in donor.model.state_dict().items()}
    return donor, transplant(donor), before


def tensors(output: object) -> Iterator[Tensor]:
    """All tensors of a nested output, in order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for key in sorted(output):
            yield from tensors(output[key])
    elif isinstance(output, list | tuple):
        for item in output:
            yield from tensors(item)


def assert_same_outputs(first: nn.Module, second: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        one, two = list(tensors(first(x))), list(tensors(second(x)))
    assert len(one) == len(two) >= 4
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert all(torch.isfinite(a).all() for a in one) and one[0].std() > 0, "equal, but of nothing"


def sizes(model: nn.Module) -> list[tuple[int, int]]:
    return [(64, 64), (96, 160)] if model.yaml["scale"] in "ns" else [(32, 64)]


def test_every_tensor_is_placed_and_the_donor_left_alone(pair):
    donor, grown, before = pair
    own, state = donor.model.state_dict(), grown.model.state_dict()
    assert own.keys() == before.keys() and all(torch.equal(own[k], v) for k, v in before.items())
    expected = {}
    for key, value in before.items():
        _, index, rest = key.split(".", 2)
        expected[f"model.{MOVED[int(index)]}.{rest}"] = value
    halo = {k for k in state if int(k.split(".")[1]) in (17, 21, 25)}
    assert state.keys() == expected.keys() | halo and len(halo) == 3 * 6
    assert all(torch.equal(state[k], v) for k, v in expected.items())
    addresses = {v.data_ptr() for v in own.values()}
    assert not any(v.data_ptr() in addresses for v in state.values()), "shares memory with the donor"
    assert [m.i for m in grown.model.model if isinstance(m, HaloAttention)] == [17, 21, 25]
    assert grown.names == donor.names and grown.task == donor.task and type(grown.model) is type(donor.model)
    assert not grown.model.training


@pytest.mark.parametrize("end2end", [False, True], ids=["one-to-many", "one-to-one"])
def test_outputs_are_bit_equal_in_eval_and_fused(pair, end2end):
    donor, grown, _ = pair
    donor.model.model[-1].end2end = end2end
    again = transplant(donor.model)  # takes over which head is in use
    assert isinstance(again, DetectionModel) and again.model[-1].end2end == end2end
    grown.model.model[-1].end2end = end2end
    for height, width in sizes(donor.model):
        x = torch.rand(2, 3, height, width)
        assert_same_outputs(donor.model, again, x)
        assert_same_outputs(donor.model, grown.model, x)
    fused = [copy.deepcopy(y.model).fuse(verbose=False) for y in (donor, grown)]
    assert all(m.is_fused() for m in fused)
    assert_same_outputs(*fused, x)


def test_outputs_and_statistics_are_bit_equal_in_train_mode(pair):
    donor, grown, _ = pair
    one, two = (copy.deepcopy(y.model).train() for y in (donor, grown))
    assert_same_outputs(one, two, torch.rand(2, 3, *sizes(one)[-1]))
    before, after = donor.model.state_dict(), two.state_dict()
    moved = 0
    for key, value in one.state_dict().items():
        _, index, rest = key.split(".", 2)
        assert torch.equal(after[f"model.{MOVED[int(index)]}.{rest}"], value), key
        moved += not torch.equal(value, before[key])
    assert moved > 100, "train mode has not touched the running statistics"


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_bfloat16_donor(task):
    donor = make_donor("n", task, 4).model.bfloat16()
    grown = transplant(donor)
    assert {p.dtype for p in grown.parameters()} == {torch.bfloat16}
    assert_same_outputs(donor, grown, torch.rand(2, 3, 64, 96).bfloat16())


def test_models_of_a_yaml_without_a_scale_in_its_name(tmp_path: Path):
    """Ultralytics takes scale n and leaves the scale's name empty, also in the checkpoint that a training writes."""
    stock = YOLO("yolo26.yaml", verbose=False)
    assert stock.model.yaml["scale"] == "" and architecture_of(stock.model) == Architecture(form="baseline")
    assert_same_outputs(stock.model.eval(), transplant(stock).model, torch.rand(1, 3, 64, 64))
    halo = YOLO(CFG / "yolo26-HaloAttention.yaml", verbose=False)
    halo.save(tmp_path / "halo.pt")
    again = read_pt(tmp_path / "halo.pt")
    assert architecture_of(again.model) == architecture_of(halo.model) == Architecture(form="article")


def test_a_donor_that_was_fine_tuned_from_other_classes():
    """Its class branch keeps the width of the model it came from, which its class count does not tell (scale n)."""
    coco = make_donor("n", "detect", 80)
    tuned = DetectionModel(coco.model.yaml, nc=3, verbose=False)
    tuned.load(coco.model)
    assert tuned.model[-1].cv3[0][-1].in_channels == 80 and architecture_of(tuned).class_width == 80
    assert architecture_of(coco.model).class_width is None
    assert_same_outputs(tuned.eval(), transplant(tuned), torch.rand(2, 3, 64, 64))
    assert architecture_of(transplant(tuned)).class_width == 80


@pytest.mark.parametrize("levels", [("P4",), ("P4", "P5"), ("P3", "P5")], ids="+".join)
def test_halo_at_some_levels_only(levels):
    donor = make_donor("n", "detect", 3)
    grown = transplant(donor, levels=levels, block_size=5, halo_size=2, mask="published")
    assert architecture_of(grown.model) == Architecture(
        "n", "detect", "residual", 3, block_size=5, halo_size=2, mask="published", levels=levels
    )
    assert_same_outputs(donor.model, grown.model, torch.rand(1, 3, 64, 96))


def test_a_frozen_donor_stays_frozen():
    donor = make_donor("n", "detect", 3).model
    for parameter in donor.model[:10].parameters():
        parameter.requires_grad_(False)
    grown = transplant(donor)
    assert not any(p.requires_grad for p in grown.model[:10].parameters())
    assert all(p.requires_grad for p in grown.model[17].parameters())


def fused() -> YOLO:
    donor = make_donor("n", "detect", 3)
    donor.model.fuse(verbose=False)
    return donor


@pytest.mark.parametrize(
    ("donor", "says"),
    [
        (fused, ["it is fused", "Pass the model as Ultralytics loads it"]),
        (lambda: transplant(make_donor("n", "detect", 3)), ["has halo layers already", "Pass a stock YOLO26"]),
        (lambda: YOLO("yolov8n.yaml", verbose=False), ["not a stock YOLO26n", "its layers differ", "Pass the model"]),
        (lambda: YOLO("yolo26n-pose.yaml", verbose=False), ["Expected a YOLO26", "Pose26", "Load a yolo26 model"]),
        (lambda: YOLO("yolo26n-cls.yaml", verbose=False), ["Expected a YOLO26", "Classify", "Load a yolo26 model"]),
        (lambda: YOLO("yolo26n-p2.yaml", verbose=False), ["head on P3, P4, P5", "4 levels", "Load yolo26n"]),
        (lambda: nn.Linear(2, 2), ["Expected a YOLO26", "Linear", "Load a yolo26 model"]),
    ],
    ids=["fused", "halo", "yolov8", "pose", "cls", "p2", "no-yolo"],
)
def test_donors_that_are_refused(donor, says):
    with pytest.raises(ValueError) as raised:
        transplant(donor())
    assert all(part in str(raised.value) for part in says), str(raised.value)


@pytest.mark.parametrize(
    ("task", "donor_names", "names"),
    [
        ("detect", 2, ["thing 0", "thing 1"]),
        ("segment", 3, ["thing 0", "thing 1", "thing 2"]),
        ("detect", 80, ["a", "b"]),
    ],
    ids=["detect-same-classes", "segment-same-classes", "detect-other-classes"],
)
def test_training_starts_from_exactly_these_weights(task, donor_names, names, tmp_path: Path):
    grown = transplant(make_donor("n", task, donor_names))
    planted = {k: v.clone() for k, v in grown.model.state_dict().items()}
    started = {}

    def remember(trainer: object) -> None:
        started.update({k: v.detach().clone() for k, v in trainer.model.state_dict().items()})
        started["names"] = trainer.data["nc"]

    grown.add_callback("on_train_start", remember)
    data = write_tiny_data(tmp_path / "data", names, polygons=task == "segment")
    grown.train(**quick(data, tmp_path / "runs", val=False))
    assert started.pop("names") == len(names) and started.keys() == planted.keys()
    differ = {k for k, v in planted.items() if v.shape != started[k].shape or not torch.equal(v, started[k])}
    if len(names) == donor_names:
        assert not differ
    else:
        assert differ == {
            f"model.26.{branch}.{level}.2.{kind}"
            for branch in ("cv3", "one2one_cv3")
            for level in range(3)
            for kind in ("weight", "bias")
        }
    learned = grown.model.state_dict()
    assert any(not torch.equal(learned[k].float(), started[k]) for k in started), "the run has not trained anything"
