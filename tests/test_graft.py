"""Weights in another architecture: what is kept is the same tensor, what starts anew starts as designed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from ultralytics import YOLO

from halo_vis.pairs import BUNDLED
from halo_vis.training.graft import graft
from halo_vis.transplant import Architecture, architecture_of, transplant
from halo_vis.weights import read_weights

MEADOW = {0: "bee", 1: "visited", 2: "alone"}


@pytest.fixture(scope="module")
def halo() -> YOLO:
    return read_weights(BUNDLED / "meadow" / "halo.safetensors")[0]


@pytest.fixture(scope="module")
def baseline() -> YOLO:
    return read_weights(BUNDLED / "meadow" / "baseline.safetensors")[0]


def outputs(yolo: YOLO, size: int = 64) -> torch.Tensor:
    picture = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return yolo.model.eval()(picture)[0]


def test_into_its_own_architecture_is_a_copy(halo: YOLO) -> None:
    grown, kept = graft(halo, architecture_of(halo.model), MEADOW)
    assert torch.equal(outputs(grown), outputs(halo))
    assert set(kept.halo.values()) == {"kept"}
    assert grown.model is not halo.model


def test_a_baseline_becomes_what_transplant_makes_of_it(baseline: YOLO) -> None:
    """Outputs of the residual form are the donor's, bit for bit."""
    grown, kept = graft(baseline, replace(architecture_of(baseline.model), form="residual"), MEADOW)
    assert torch.equal(outputs(grown), outputs(baseline))
    assert torch.equal(outputs(grown), outputs(transplant(baseline)))
    assert set(kept.halo.values()) == {"anew"}


def test_halo_layers_away(halo: YOLO) -> None:
    """A halo model as a baseline: every stock tensor is there, the three levels are dropped."""
    grown, kept = graft(halo, Architecture("n", form="baseline"), MEADOW)
    assert kept.stock == kept.stock_total
    assert kept.dropped == ("P3", "P4", "P5")
    assert architecture_of(grown.model).form == "baseline"


def test_a_wider_halo_keeps_the_shared_distances(halo: YOLO) -> None:
    wide = replace(architecture_of(halo.model), halo_size=5)
    grown, kept = graft(halo, wide, MEADOW)
    assert set(kept.halo.values()) == {"positions"}
    mine, theirs = grown.model.model[17].rel_pos_emb.rel_height, halo.model.model[17].rel_pos_emb.rel_height
    assert len(mine) == 2 * 18 - 1
    assert len(theirs) == 2 * 14 - 1
    assert torch.equal(mine[4:-4], theirs)
    assert torch.equal(grown.model.model[17].to_q.weight, halo.model.model[17].to_q.weight)
    back, _ = graft(grown, architecture_of(halo.model), MEADOW)  # and narrower again: nothing was lost
    assert torch.equal(outputs(back), outputs(halo))


def test_other_heads_start_the_layer_anew_as_the_identity(halo: YOLO) -> None:
    """A layer that cannot be kept whole is not kept in pieces: its residual branch starts at zero."""
    grown, kept = graft(halo, replace(architecture_of(halo.model), dim_head=16, heads=3), MEADOW)
    assert set(kept.halo.values()) == {"anew"}
    assert not any(grown.model.model[i].to_out.weight.any() for i in (17, 21, 25))


def test_other_classes_start_the_last_layers_anew(halo: YOLO) -> None:
    """As many classes of other names are other classes."""
    grown, kept = graft(halo, architecture_of(halo.model), {0: "RBC", 1: "WBC", 2: "Platelets"})
    assert not kept.classes
    assert kept.stock == kept.stock_total - 12  # weight and bias, three levels, two heads
    assert not torch.equal(grown.model.model[26].cv3[0][-1].weight, halo.model.model[26].cv3[0][-1].weight)
    assert torch.equal(grown.model.model[26].cv3[0][0][0].conv.weight, halo.model.model[26].cv3[0][0][0].conv.weight)
    many, _ = graft(halo, replace(architecture_of(halo.model), nc=80), dict(enumerate(map(str, range(80)))))
    assert many.model.model[-1].nc == 80


def test_from_many_classes_to_few_the_class_branch_stays() -> None:
    """80 classes to 3: only the layers with an output per class start anew, as with Ultralytics' own loading."""
    donor = read_weights(BUNDLED / "photos" / "baseline.safetensors")[0]
    grown, kept = graft(donor, Architecture("n", form="baseline"), MEADOW)
    assert (kept.stock, kept.stock_total) == (696, 708)
    assert grown.model.model[-1].nc == 3
    assert architecture_of(grown.model).class_width == 80
    assert outputs(grown).shape[1] == 4 + 3


def test_another_form_starts_the_halo_anew(halo: YOLO) -> None:
    _, kept = graft(halo, replace(architecture_of(halo.model), form="article"), MEADOW)
    assert set(kept.halo.values()) == {"anew"}


def test_another_scale_is_refused(halo: YOLO) -> None:
    with pytest.raises(ValueError, match="Choose scale n"):
        graft(halo, Architecture("s"), MEADOW)
