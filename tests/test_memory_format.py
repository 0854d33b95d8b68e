"""Memory formats: what each device is asked for, and that the format changes speed and nothing else."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import picture, random_model
from torch import Tensor, nn
from ultralytics import ASSETS, YOLO

from halo_vis import HaloAttention, load_pair, meadow
from halo_vis.detections import iou
from halo_vis.memory_format import channels_last, is_channels_last, suits_cuda
from halo_vis.pairs import bundled_pairs

ON_ITS_OWN = platform.machine() in ("x86_64", "AMD64") and platform.system() in ("Linux", "Windows")
MEMBERS = [(pair, member) for pair, card in bundled_pairs().items() for member in card.members]


@pytest.mark.parametrize(
    ("capability", "system", "wanted"),
    [
        ((9, 0), "Linux", True),
        ((8, 0), "Linux", True),
        ((12, 0), "Linux", True),
        ((7, 5), "Linux", False),
        ((6, 1), "Linux", False),
        ((8, 9), "Windows", False),
    ],
)
def test_gpus_that_multiply_fp32_in_channels_last(capability: tuple[int, int], system: str, wanted: bool) -> None:
    assert suits_cuda(capability, system) is wanted


def test_elsewhere_ultralytics_chooses() -> None:
    beyond = torch.cuda.device_count()  # no GPU has that number
    assert [channels_last(d) for d in ("cpu", "mps", torch.device("cpu"), f"cuda:{beyond}", str(beyond))] == [None] * 5
    for index in range(beyond):
        wanted = suits_cuda(torch.cuda.get_device_capability(index), platform.system()) or None
        assert channels_last(f"cuda:{index}") is channels_last(f"{index},0") is wanted


def test_a_model_tells_its_format() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 3))
    assert not is_channels_last(model)
    assert is_channels_last(model.to(memory_format=torch.channels_last))
    with pytest.raises(ValueError, match="Sequential has no convolution of several channels and cells"):
        is_channels_last(model[:2])


@pytest.mark.skipif(not ON_ITS_OWN, reason="on this processor Ultralytics predicts in the contiguous format")
@pytest.mark.parametrize("form", ["baseline", "residual", "article"])
def test_predict_is_in_channels_last_and_leaves_no_trace(form: str, tmp_path: Path) -> None:
    """Both models run in channels_last, halo layers included; the model itself, and what is saved, stays as it was."""
    yolo = random_model(form)
    yolo.predict(picture(90, 120), imgsz=160, device="cpu", channels_last=channels_last("cpu"), verbose=False)
    ran = yolo.predictor.model.model
    assert ran is not yolo.model and is_channels_last(ran)

    maps: list[Tensor] = []
    halos = [m for m in ran.modules() if isinstance(m, HaloAttention)]
    hooks = [m.register_forward_hook(lambda _, given, out: maps.extend((given[0], out))) for m in halos]
    predictor = yolo.predictor
    yolo.predict(picture(90, 120), imgsz=160, device="cpu", channels_last=channels_last("cpu"), verbose=False)
    for hook in hooks:
        hook.remove()
    assert yolo.predictor is predictor, "the same setting has made a new predictor"
    assert len(halos) == (0 if form == "baseline" else 3) and len(maps) == 2 * len(halos)
    assert all(m.is_contiguous(memory_format=torch.channels_last) and not m.is_contiguous() for m in maps)

    yolo.save(tmp_path / "saved.pt")
    for model in (yolo.model, YOLO(tmp_path / "saved.pt").model):
        assert all(t.is_contiguous() for t in model.state_dict().values())


@pytest.mark.parametrize(("name", "member"), MEMBERS)
def test_bundled_models_find_the_same_boxes_in_both_formats(
    name: str, member: str, request: pytest.FixtureRequest
) -> None:
    pair = load_pair(name, member="halo" if member == "baseline" else member)
    yolo = pair.baseline if member == "baseline" else pair.halo
    if name == "meadow":
        photos = [np.ascontiguousarray(meadow.scene(n, "test").image[..., ::-1]) for n in (5, 7)]
    elif name == "bccd":
        photos = [str(p) for p in sorted((request.getfixturevalue("real_data") / "bccd/images/test").glob("*.jpg"))[:2]]
    else:
        photos = [str(ASSETS / photo) for photo in ("bus.jpg", "zidane.jpg")]
    found = 0
    for photo in photos:
        last, contiguous = (
            yolo.predict(photo, imgsz=pair.card.imgsz, device="cpu", channels_last=flag, verbose=False)[0].boxes.numpy()
            for flag in (None, False)
        )
        assert len(last) == len(contiguous)
        found += len(last)
        overlap = iou(last.xyxy.astype(np.float64), contiguous.xyxy.astype(np.float64))
        nearest = overlap.argmax(1)
        assert sorted(nearest) == list(range(len(last)))
        assert (overlap.max(1) > 1 - 1e-3).all() and (last.cls == contiguous.cls[nearest]).all()
        assert np.abs(last.conf - contiguous.conf[nearest]).max() < 1e-3
    assert found >= 4
