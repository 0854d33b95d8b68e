"""Checkpoints of one's own (.pt): opened by the restricted loader, those of the article's fork too, and no other."""

from __future__ import annotations

import os
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch
from samples import NAMES, picture, random_model
from torch import nn
from ultralytics import YOLO

from halo_vis import HaloAttention, inspect, load_pair
from halo_vis.attention import RelPosEmb
from halo_vis.pairs import PairError, read_pt
from halo_vis.transplant import architecture_of, transplant
from halo_vis.weights import WeightsError, write_weights


def half(yolo: YOLO) -> dict[str, torch.Tensor]:
    return {k: v.half().float() if v.is_floating_point() else v for k, v in yolo.model.state_dict().items()}


def equal(yolo: YOLO, state: dict[str, torch.Tensor]) -> bool:
    own = yolo.model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[k], v) for k, v in state.items())


@pytest.mark.parametrize("form", ["baseline", "residual", "article"])
@pytest.mark.parametrize("folder", ["plain", "o'brien's  files "])
def test_ultralytics_own_checkpoints_open(tmp_path: Path, form: str, folder: str) -> None:
    """Also below a folder whose name Ultralytics would change, and then look for the file on its server."""
    yolo, path = random_model(form), tmp_path / folder / "yolo26n.pt"
    yolo.ckpt = {"model": yolo.model, "train_args": {"imgsz": 224}}
    path.parent.mkdir()
    yolo.save(path)
    read = read_pt(path)
    assert equal(read, half(yolo)) and read.names == NAMES and not read.model.training
    assert architecture_of(read.model) == architecture_of(yolo.model) and read.model.args["imgsz"] == 224
    assert all(p.dtype == torch.float32 for p in read.model.parameters()) and read.ckpt["model"] is read.model


def test_the_ema_of_a_run_comes_first(tmp_path: Path) -> None:
    better, other = random_model("residual"), random_model("residual")
    with torch.no_grad():
        other.model.model[0].conv.weight.zero_()
    torch.save({"model": other.model, "ema": better.model.half(), "epoch": 3, "optimizer": None}, tmp_path / "last.pt")
    assert equal(read_pt(tmp_path / "last.pt"), half(better))


def test_checkpoints_of_the_articles_fork_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its layer lives in another module, and knows neither mask nor residual: its mask was the published one."""
    fork = types.ModuleType("some.fork.nn.halo")
    for name in ("some", "some.fork", "some.fork.nn"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, fork.__name__, fork)
    for name in ("HaloAttention", "RelPosEmb"):
        made = type(name, (nn.Module,), {"__module__": fork.__name__, "forward": lambda self, x: x})
        setattr(fork, name, made)
    yolo = random_model("article", mask="published", block_size=4, halo_size=1, dim_head=16, heads=2)
    expected, photo = half(yolo), torch.from_numpy(picture(64, 96)).permute(2, 0, 1)[None] / 255
    for module in yolo.model.modules():
        if isinstance(module, HaloAttention):
            module.__dict__ |= {"scale": module.dim_head**-0.5}
            for name in ("mask", "residual", "dim_head"):
                del module.__dict__[name]
            module.__class__ = fork.HaloAttention
        elif isinstance(module, RelPosEmb):
            module.__class__ = fork.RelPosEmb
    torch.save({"model": yolo.model.half(), "train_args": {}}, tmp_path / "fork.pt")
    for name in ("some", "some.fork", "some.fork.nn", fork.__name__):
        monkeypatch.delitem(sys.modules, name)
    read = read_pt(tmp_path / "fork.pt")
    assert equal(read, expected) and "some.fork" not in sys.modules
    layers = [m for m in read.model.modules() if isinstance(m, HaloAttention)]
    assert [(m.mask, m.residual, m.heads, m.dim_head, m.block_size) for m in layers] == [
        ("published", False, 2, 16, 4)
    ] * 3
    ours = random_model("article", mask="published", block_size=4, halo_size=1, dim_head=16, heads=2)
    ours.model.load_state_dict(expected)
    with torch.no_grad():
        assert torch.equal(read.model(photo)[0], ours.model(photo)[0])


class Evil:
    def __init__(self, call: object, *args: object) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple:
        return self.call, self.args


def hide_in_a_layer(evil: Evil) -> dict:
    model = random_model("residual").model
    model.model[17].note = evil
    return {"model": model}


@pytest.mark.parametrize("call", [os.system, exec, eval, __import__], ids=lambda c: c.__name__)
@pytest.mark.parametrize("where", ["alone", "beside", "layer", "plain pickle"])
def test_nothing_of_a_malicious_file_is_executed(tmp_path: Path, call: object, where: str) -> None:
    marker = tmp_path / "executed"
    code = f"touch '{marker}'" if call is os.system else f"open({str(marker)!r}, 'w').close()"
    if call is __import__:  # importing is executing, too
        (tmp_path / "evil_module.py").write_text(code)
        code = "evil_module"
        sys.path.insert(0, str(tmp_path))
    evil, path = Evil(call, code), tmp_path / "evil.pt"
    try:
        if where == "plain pickle":
            path.write_bytes(pickle.dumps({"model": evil}))
        else:
            whole = {"alone": evil, "beside": {"model": None, "train_args": evil}, "layer": None}[where]
            torch.save(hide_in_a_layer(evil) if where == "layer" else whole, path)
        with pytest.raises(WeightsError, match=r"evil.pt cannot be read as weights") as caught:
            read_pt(path)
    finally:
        if call is __import__:
            sys.path.remove(str(tmp_path))
    assert not marker.exists() and "evil_module" not in sys.modules and "\n" not in str(caught.value)


def test_the_marker_would_show(tmp_path: Path) -> None:
    """The attack of the test above works where nobody stops it."""
    torch.save(Evil(os.system, f"touch '{tmp_path / 'executed'}'"), tmp_path / "evil.pt")
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read as weights"),
        (b"no weights at all", "cannot be read as weights"),
        ({"model": None}, "holds no YOLO26"),
        ([1, 2], "cannot be read as weights"),
        ({"model": nn.Linear(2, 2)}, "holds no YOLO26"),
        ({"model": {"yaml": 1}}, "holds no YOLO26"),
    ],
    ids=str,
)
def test_other_files_are_refused_in_words(tmp_path: Path, content: object, words: str) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(WeightsError, match=f"file.pt {words}") as caught:
        read_pt(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_missing_tensors_and_files(tmp_path: Path) -> None:
    model = random_model("residual").model
    model.model[17].to_q.weight = None
    torch.save({"model": model}, tmp_path / "hole.pt")
    with pytest.raises(WeightsError, match=r"hole.pt does not fit a YOLO26n \(.*to_q.weight") as caught:
        read_pt(tmp_path / "hole.pt")
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"no weights at .*none.pt. Check the path"):
        read_pt(tmp_path / "none.pt")


# ---------------------------------------------------------------- pairs of one's own
def test_own_pairs(tmp_path: Path) -> None:
    baseline, halo = tmp_path / "base.pt", tmp_path / "halo.safetensors"
    random_model("baseline").save(baseline)
    write_weights(tmp_path / "base.safetensors", random_model("baseline"), {"imgsz": 160})
    write_weights(halo, random_model("residual"))
    pair = load_pair(baseline=baseline, halo=halo)
    assert pair.name == "own" and pair.card.title == "base and halo" and not pair.untrained
    assert set(pair.card.members) == {"baseline", "halo"} and len(pair.card.members["halo"]["sha256"]) == 64
    alone = load_pair(baseline=tmp_path / "base.safetensors")
    assert alone.untrained and alone.card.imgsz == 160
    seen = inspect(alone, picture(90, 120), device="cpu")
    assert seen.settings.imgsz == 160 and seen.trace.letterbox.input_width == 160


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda f: load_pair(), PairError, "needs the name of a pair, or baseline=PATH"),
        (lambda f: load_pair("photos", baseline=f / "base.pt"), PairError, "a name or files, not both"),
        (lambda f: load_pair("mountains"), PairError, "no pair named 'mountains'. Choose one of"),
        (lambda f: load_pair("../photos"), PairError, "no pair named '../photos'"),
        (lambda f: load_pair(baseline=f / "base.pt", halo=f / "base.pt"), PairError, "has no HaloAttention layer"),
        (lambda f: load_pair(baseline=f / "base.pt", halo=f / "seg.pt"), PairError, "a pair needs one task"),
        (lambda f: load_pair(baseline=f / "base.pt", halo=f / "other.pt"), PairError, "know different classes"),
        (lambda f: load_pair(baseline=f / "other.pt"), ValueError, "has halo layers already"),
        (lambda f: load_pair(baseline=f / "weights.onnx"), PairError, "weights are .safetensors of HaloVis or .pt"),
        (lambda f: load_pair(baseline=f / "none.pt"), FileNotFoundError, "no weights at"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together(own: Path, make: object, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make(own)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    base = random_model("baseline")
    base.save(folder / "base.pt")
    random_model("residual", task="segment").save(folder / "seg.pt")
    base.model.names = {0: "cat", 1: "dog", 2: "horse"}
    transplant(base).save(folder / "other.pt")
    return folder
