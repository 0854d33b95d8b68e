"""HaloAttention in YOLO26: the YAMLs, and YOLO(yaml) through train, val, predict, resume, reload and ONNX."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from samples import picture
from tiny_data import quick, write_tiny_data
from ultralytics import YOLO
from ultralytics.nn.tasks import parse_model, yaml_model_load
from ultralytics.utils import YAML

from halo_vis.attention import HaloAttention
from halo_vis.trace import capture
from halo_vis.transplant import CFG, SCALES, Architecture, architecture_of, build
from halo_vis.weights import read_weights, write_weights

FILES = {
    ("article", "detect"): "yolo26-HaloAttention.yaml",
    ("residual", "detect"): "yolo26-HaloAttention-residual.yaml",
    ("article", "segment"): "yolo26-HaloAttention-seg.yaml",
    ("residual", "segment"): "yolo26-HaloAttention-residual-seg.yaml",
}
CHEAPER = "yolo26-HaloAttention-P4P5-residual.yaml"
# What Ultralytics feeds to P3, P4, P5 at each scale, as measured (notes of the repository).
CHANNELS = {
    "n": [64, 128, 256],
    "s": [128, 256, 512],
    "m": [256, 512, 512],
    "l": [256, 512, 512],
    "x": [384, 768, 768],
}


def test_these_are_all_the_yamls():
    assert sorted(p.name for p in CFG.glob("*.yaml")) == sorted([*FILES.values(), CHEAPER])


def readable(description: dict) -> list:
    """The layers, with None as YAML spells it in either file, and the arguments of HaloAttention as what they mean."""
    out = []
    for source, repeats, module, args in description["backbone"] + description["head"]:
        args = [None if a == "None" else a for a in args]
        if module == "HaloAttention":
            assert args[0] == "c2", "the layer's width must follow the scale"
            args = repr(HaloAttention(64, *args[1:]))
        out.append([source, repeats, module, args])
    return out


@pytest.mark.parametrize(("form", "task"), FILES)
def test_yamls_are_what_the_architecture_generates(form, task):
    """So neither can drift from the stock model that Ultralytics installs, nor from the other."""
    ours, generated = YAML.load(CFG / FILES[form, task]), Architecture("n", task, form).yaml()
    assert readable(ours) == readable(generated)
    assert all(ours[k] == generated[k] for k in ("nc", "end2end", "reg_max", "scales"))
    assert (len(ours["backbone"]), len(ours["head"])) == (11, 16)


@pytest.mark.parametrize(
    ("architecture", "heads"),
    [
        (Architecture(), [2, 4, 8]),
        (Architecture("x"), [12, 24, 24]),
        (Architecture(heads=0.25), [1, 1, 2]),
        (Architecture("x", heads=0.25), [3, 6, 6]),
        (Architecture(levels=("P4", "P5"), heads=0.25), [1, 2]),
        (Architecture(form="article", heads=0.5), [1, 2, 4]),
        (Architecture(heads=2), [2, 2, 2]),
    ],
    ids=lambda value: str(value) if isinstance(value, list) else f"{value.scale} {value.form} {value.heads}",
)
def test_numbers_and_shares_of_heads(architecture, heads):
    """Built and read off again: all that the channels hold, a share of them, a number for every level."""
    model = build(architecture).model
    assert [layer.heads for layer in model.modules() if isinstance(layer, HaloAttention)] == heads
    assert architecture_of(model) == architecture


def test_the_cheaper_yaml_is_what_the_architecture_generates():
    ours, generated = YAML.load(CFG / CHEAPER), Architecture(levels=("P4", "P5"), heads=0.25).yaml()
    assert readable(ours) == readable(generated)
    assert all(ours[k] == generated[k] for k in ("nc", "end2end", "reg_max", "scales"))
    assert (len(ours["backbone"]), len(ours["head"])) == (11, 15)


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_of_the_cheaper_yaml_parses(scale):
    description = yaml_model_load(CFG / CHEAPER.replace("yolo26", f"yolo26{scale}", 1))
    assert description["scale"] == scale
    with torch.device("meta"):
        model, _ = parse_model(description, ch=3, verbose=False)
    halos = {i: m for i, m in enumerate(model) if isinstance(m, HaloAttention)}
    assert list(halos) == [20, 24] and model[25].f == [16, 20, 24]
    assert [m.dim for m in halos.values()] == CHANNELS[scale][1:]
    assert [m[0].conv.in_channels for m in model[25].cv2] == CHANNELS[scale]
    assert all((m.mask, m.residual) == ("valid", True) for m in halos.values())


def test_the_cheaper_yaml_trains_predicts_and_is_written(tmp_path: Path):
    """From the YAML to weights and back: the two levels are known again, and only they are shown."""
    data = write_tiny_data(tmp_path / "data", ["bright", "brighter"])
    yolo = YOLO(CFG / CHEAPER, verbose=False)
    yolo.train(**quick(data, tmp_path / "runs", val=False))
    write_weights(tmp_path / "p45.safetensors", YOLO(yolo.trainer.last).model.float())
    again, header = read_weights(tmp_path / "p45.safetensors")
    assert header.architecture == Architecture(
        nc=2, levels=("P4", "P5"), heads=0.25, class_width=header.architecture.class_width
    )
    with capture(again) as captured:
        again.predict(picture(48, 96), imgsz=64, verbose=False)
    assert list(captured.traces[0]) == ["P4", "P5"]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("form", "task"), FILES)
def test_every_scale_parses_with_its_channels(form, task, scale):
    description = yaml_model_load(CFG / FILES[form, task].replace("yolo26", f"yolo26{scale}", 1))
    assert description["scale"] == scale
    with torch.device("meta"):
        model, _ = parse_model(description, ch=3, verbose=False)
    halos = {i: m for i, m in enumerate(model) if isinstance(m, HaloAttention)}
    assert list(halos) == [17, 21, 25] and model[26].f == [17, 21, 25]
    assert [m.dim for m in halos.values()] == CHANNELS[scale]
    assert [m.heads for m in halos.values()] == [c // 32 for c in CHANNELS[scale]]
    assert [m[0].conv.in_channels for m in model[26].cv2] == CHANNELS[scale]
    assert {(m.mask, m.residual) for m in halos.values()} == {("valid", form == "residual")}


@pytest.mark.parametrize("scale", ["s", "m"])
def test_a_scale_in_the_name_builds_and_runs(scale):
    yolo = YOLO(CFG / f"yolo26{scale}-HaloAttention.yaml", verbose=False)
    assert yolo.model.yaml["scale"] == scale
    with torch.no_grad():
        out = yolo.model.eval()(torch.rand(1, 3, 32, 64))[0]
    assert out.shape == (1, 4 + 80, 8 * 4 + 4 * 2 + 2) and torch.isfinite(out).all()


def test_a_wrong_width_in_a_yaml_says_what_to_write(tmp_path: Path):
    path = tmp_path / "yolo26n-wrong.yaml"
    path.write_text((CFG / FILES["article", "detect"]).read_text().replace("[c2, 8", "[c3, 8"))
    with pytest.raises(
        TypeError, match=r"dim must be a whole number, got 'c3' \(str\).*write c2 as the first argument"
    ):
        YOLO(path, verbose=False)


# --- from the YAML to a trained model and everything that follows ---


@pytest.fixture(scope="module", params=FILES, ids="-".join)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str, str]:
    """(best.pt, data YAML, form, task) of a run of two epochs from our YAML."""
    form, task = request.param
    folder = tmp_path_factory.mktemp(f"{form}-{task}")
    data = write_tiny_data(folder / "data", ["bright", "brighter"], polygons=task == "segment")
    yolo = YOLO(CFG / FILES[form, task], verbose=False)
    first = {}

    def remember(trainer: object) -> None:
        first.update({k: v.detach().clone() for k, v in trainer.model.named_parameters()})

    yolo.add_callback("on_train_start", remember)
    yolo.train(**quick(data, folder / "runs", epochs=2, nbs=4, warmup_epochs=0, optimizer="MuSGD", save_period=1))
    best = Path(yolo.trainer.best)
    last = {k: v.detach() for k, v in yolo.trainer.model.named_parameters()}
    still = [k for k in first if k.split(".")[1] in ("17", "21", "25") and torch.equal(first[k], last[k])]
    # Behind a to_out that starts at zero the rest learns from the second step on.
    assert not still and len(first) > 350, f"halo parameters that training has not moved: {still}"
    return best, data, form, task


def test_val_and_predict(trained, tmp_path: Path):
    best, data, form, task = trained
    yolo = YOLO(best)
    assert yolo.task == task
    metrics = yolo.val(data=str(data), imgsz=64, batch=2, workers=0, plots=False, verbose=False, project=str(tmp_path))
    assert 0 <= metrics.box.map50 <= 1 and metrics.nt_per_class.sum() > 0
    for nms in (None, False):
        (result,) = yolo.predict(picture(48, 96), imgsz=64, conf=1e-4, nms=nms, verbose=False, project=str(tmp_path))
        assert len(result.boxes) and result.orig_shape == (48, 96)
        assert np.isfinite(result.boxes.data.numpy()).all()
        if task == "segment":
            assert result.masks.data.shape[0] == len(result.boxes) and result.masks.orig_shape == (48, 96)
            assert result.masks.data.shape[1:] == (32, 64) and 0 < result.masks.data.float().mean() < 1
            assert all(len(polygon) == 0 or polygon[:, 0].max() <= 96 for polygon in result.masks.xy)
        else:
            assert result.masks is None
    halos = [m for m in yolo.predictor.model.model.modules() if isinstance(m, HaloAttention)]
    assert len(halos) == 3 and all(m.residual == (form == "residual") for m in halos)


def test_resume_goes_on_where_it_stopped(trained, tmp_path: Path):
    best, _, _, _ = trained
    run = tmp_path / "run"
    shutil.copytree(best.parent.parent, run)
    checkpoint = run / "weights" / "epoch0.pt"  # the first epoch's, as after a kill: with its optimiser
    epochs = []
    yolo = YOLO(checkpoint)
    planted = yolo.ckpt["ema"].state_dict() if yolo.ckpt.get("ema") else yolo.model.state_dict()
    starts = {}

    def remember(trainer: object) -> None:
        epochs.append(trainer.epoch)
        if not starts:
            starts.update({k: v.detach().clone() for k, v in trainer.model.state_dict().items()})

    yolo.add_callback("on_train_epoch_start", remember)
    yolo.train(resume=True, save_dir=str(run), device="cpu", workers=0)
    assert epochs == [1], "resume began anew"
    halo = [k for k in planted if k.startswith(("model.17.", "model.21.", "model.25."))]
    assert len(halo) == 18 and all(torch.equal(starts[k].half(), planted[k].half()) for k in halo)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_onnx_agrees_with_torch(trained, dynamic, tmp_path: Path):
    best, _, _, task = trained
    copied = shutil.copy(best, tmp_path / "m.pt")
    path = YOLO(copied).export(format="onnx", imgsz=[64, 96], dynamic=dynamic, simplify=False, device="cpu")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    model = YOLO(copied).model.float().eval().fuse(verbose=False)
    shapes = [(1, 64, 96)] + ([(1, 96, 64), (2, 64, 64), (1, 160, 224)] if dynamic else [])
    for batch, height, width in shapes:
        x = torch.rand(batch, 3, height, width)
        with torch.no_grad():
            expected = model(x)[0]
        expected = expected if isinstance(expected, tuple) else (expected,)
        out = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        assert len(out) == (2 if task == "segment" else 1)
        for ours, theirs in zip(out, expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-3, atol=2e-3)
