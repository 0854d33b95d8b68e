"""What leaves a run as a file: ONNX that gives what the model gives, a .pt that Ultralytics opens, a zip of results."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from test_transplant import make_donor
from ultralytics import YOLO

from halo_vis import meadow, transplant
from halo_vis.attention import HaloAttention
from halo_vis.pairs import BUNDLED
from halo_vis.training import export
from halo_vis.training.run_folder import RunFolder
from halo_vis.weights import read_weights, write_weights

REPOSITORY = Path(__file__).parent.parent
HALO = BUNDLED / "meadow" / "halo.safetensors"


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Transplanted, untrained weights for segmentation: a halo layer on one level, a block that divides no map."""
    path = tmp_path_factory.mktemp("weights") / "grown.safetensors"
    write_weights(path, transplant(make_donor("n", "segment", 4), block_size=5, levels=("P4",)))
    return path


# ------------------------------------------------------------ ONNX


def _run(path: Path, picture: torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: picture.numpy()})


@pytest.mark.parametrize(
    ("member", "imgsz", "dynamic"),
    [("halo", 64, False), ("halo", 128, True), ("article", 128, False), ("baseline", 64, True)],
)
def test_onnx_gives_what_the_model_gives(member: str, imgsz: int, dynamic: bool, tmp_path: Path, capsys) -> None:
    """On the picture of its size, and with dynamic axes on others and on several at once."""
    weights = BUNDLED / "meadow" / f"{member}.safetensors"
    path = export.onnx(weights, tmp_path / "made" / "x.onnx", imgsz, dynamic)
    assert path == tmp_path / "made" / "x.onnx" and [p.name for p in path.parent.iterdir()] == ["x.onnx"]
    assert "largest difference from the model" in capsys.readouterr().out
    model = read_weights(weights)[0].model.eval()
    shapes = [(1, imgsz, imgsz)] + ([(2, 96, 160), (1, 32, 64)] if dynamic else [])
    for count, height, width in shapes:
        picture = torch.rand(count, 3, height, width)
        with torch.inference_mode():
            wanted = model(picture)[0].numpy()
        (found,) = _run(path, picture)
        assert found.shape == wanted.shape
        assert np.abs(found[:, 4:] - wanted[:, 4:]).max() < 1e-4  # scores
        assert np.abs(found[:, :4] - wanted[:, :4]).max() < 1e-2  # boxes, pixels
    if not dynamic:
        with pytest.raises(Exception, match=r"(?i)invalid dimensions|INVALID_ARGUMENT"):
            _run(path, torch.rand(1, 3, imgsz + 32, imgsz))


def test_onnx_holds_the_halo_layers_and_names(tmp_path: Path) -> None:
    """Attention is in the graph; names, task and size are in the metadata; Ultralytics predicts with the file."""
    path = export.onnx(HALO, tmp_path / "x.onnx", 320)
    graph = onnx.load(str(path))
    halo, stock = (
        sum(node.op_type == "Softmax" for node in g.graph.node)
        for g in (graph, onnx.load(str(export.onnx(HALO.with_name("baseline.safetensors"), tmp_path / "b.onnx", 320))))
    )
    assert halo == stock + 3
    metadata = {p.key: p.value for p in graph.metadata_props}
    assert metadata["names"] == str(dict(enumerate(meadow.NAMES)))
    assert (metadata["task"], metadata["imgsz"], metadata["stride"]) == ("detect", "[320, 320]", "32")
    assert str(Path.home()) not in str(metadata) and "/tmp" not in str(metadata)
    picture = meadow.scene(3, "test").image[..., ::-1]
    ours, theirs = (
        yolo.predict(picture, imgsz=320, verbose=False, rect=False, device="cpu")[0].boxes
        for yolo in (read_weights(HALO)[0], YOLO(str(path), task="detect"))
    )
    assert len(ours) > 2 and torch.equal(ours.cls, theirs.cls)
    assert torch.allclose(ours.xyxy, theirs.xyxy, atol=0.1)


def test_onnx_of_a_transplanted_segmentation_model(grown: Path, tmp_path: Path) -> None:
    path = export.onnx(grown, tmp_path / "x.onnx", 64)
    picture = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        wanted = read_weights(grown)[0].model.eval()(picture)[0]
    found = _run(path, picture)
    assert len(found) == len(wanted) == 2
    assert all(np.abs(a - b.numpy()).max() < 1e-2 for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("name", "imgsz", "says"), [("x.pt", 64, r"\.onnx"), ("x.onnx", 65, "multiple of 32.*64")])
def test_onnx_that_cannot_be(name: str, imgsz: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        export.onnx(HALO, tmp_path / name, imgsz)
    assert list(tmp_path.iterdir()) == []


WITHOUT = """
import sys, importlib.abc, importlib.util
class No(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[2].split(","):
            raise ImportError(name)
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name in sys.argv[2].split(",") else real(name, *a)
sys.meta_path.insert(0, No())
from halo_vis.training import export
print(export.onnx(sys.argv[1], sys.argv[3], 64))
"""


@pytest.mark.parametrize(
    ("missing", "says", "made"),
    [("onnx", "pip install onnx", False), ("onnxruntime", "not compared with the model", True)],
)
def test_onnx_where_a_package_is_missing(missing: str, says: str, made: bool, tmp_path: Path) -> None:
    """Without onnx: what to install, and nothing is installed. Without onnxruntime: exported, and it says so."""
    out = tmp_path / "x.onnx"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(HALO), missing, str(out)],
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert says in done.stdout + done.stderr, done.stderr[-2000:]
    assert out.is_file() == made == (done.returncode == 0)
    assert "AutoUpdate" not in done.stdout + done.stderr


# ------------------------------------------------------------ .pt


def test_pt_is_the_same_model(tmp_path: Path) -> None:
    path = export.pt(HALO, tmp_path / "x.pt")
    yolo, ours = YOLO(str(path)), read_weights(HALO)[0]
    state, own = yolo.model.state_dict(), ours.model.state_dict()
    assert state.keys() == own.keys() and all(torch.equal(state[k], v) for k, v in own.items())
    assert yolo.names == ours.names and yolo.task == "detect"
    assert sum(isinstance(m, HaloAttention) for m in yolo.model.modules()) == 3
    picture = meadow.scene(3, "test").image[..., ::-1]
    boxes = [y.predict(picture, imgsz=320, verbose=False, device="cpu")[0].boxes.data for y in (yolo, ours)]
    assert len(boxes[0]) > 2 and torch.equal(*boxes)
    with pytest.raises(ValueError, match=r"\.pt"):
        export.pt(HALO, tmp_path / "x.safetensors")


def test_pt_opens_in_a_fresh_process_as_yolo_and_as_a_pair(tmp_path: Path) -> None:
    """By the yolo command through ours, with the restricted loader as the page sets it, and as one's own pair."""
    path = export.pt(HALO, tmp_path / "x.pt")
    base = export.pt(HALO.with_name("baseline.safetensors"), tmp_path / "b.pt")
    picture = tmp_path / "p.png"
    import cv2

    cv2.imwrite(str(picture), meadow.scene(3, "test").image[..., ::-1])
    environment = os.environ | {"ULTRALYTICS_SAFE_LOAD": "1"}
    command = [sys.executable, "-m", "halo_vis"]
    predict = ["yolo", "predict", f"model={path}", f"source={picture}", f"project={tmp_path}", "name=out"]
    for arguments in (predict, ["inspect", str(picture), "--baseline", str(base), "--halo", str(path), "--out", "o"]):
        arguments = [str(tmp_path / "o") if a == "o" else a for a in arguments]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, cwd=REPOSITORY, env=environment, check=False
        )
        assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    assert list((tmp_path / "out").glob("p.*"))
    assert len(json.loads((tmp_path / "o" / "detections.json").read_text())["halo"]) > 2


def test_pt_can_be_trained_on(tmp_path: Path) -> None:
    """What `yolo train model=x.pt` starts from is these weights."""
    from tiny_data import quick, write_tiny_data

    path = export.pt(HALO, tmp_path / "x.pt")
    yolo, started = YOLO(str(path)), {}
    yolo.add_callback(
        "on_train_start", lambda t: started.update({k: v.clone() for k, v in t.model.state_dict().items()})
    )
    yolo.train(**quick(write_tiny_data(tmp_path / "data", list(meadow.NAMES)), tmp_path / "runs", val=False))
    own = read_weights(HALO)[0].model.state_dict()
    assert started.keys() == own.keys() and all(torch.equal(started[k], v) for k, v in own.items())


# ------------------------------------------------------------ results


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run as the worker leaves it, with this machine's paths in its files, and secrets beside it."""
    run = RunFolder(tmp_path / "the runs" / "mine")
    for folder in ("weights", "out/halo/stage0", "data", "attention"):
        (run.path / folder).mkdir(parents=True)
    (run.path / "run.yaml").write_text(f"name: mine\ndata: {tmp_path}/data sets/x/data.yaml\n")
    (run.path / "plan.yaml").write_text("title: mine\n")
    (run.path / "out/halo/stage0/args.yaml").write_text(
        f"project: {run.path}/out/halo\nepochs: 2\nmodel: /srv/a/b.pt\n"
    )
    run.log.write_text(
        f"results saved to \x1b[1m{run.path}/out/halo\x1b[0m\nhttps://docs.ultralytics.com/modes/train/ 6/6 3.4it/s\n"
        f'File "{sys.prefix}/lib/x.py", line 3\ncache {Path.home()}/.cache/y\nlibrary /usr/lib/x86/libz.so\n'
    )
    run.write_json("weights/halo.json", {"member": "halo", "mAP50": 0.5, "data": f"{tmp_path}/data.yaml"})
    (run.path / "weights" / "halo.safetensors").write_bytes(HALO.read_bytes())
    epoch = {"member": "halo", "stage": 0, "epochs": 2, "seconds": 1.5, "images_per_s": 20, "lr": 0.001}
    metrics = {"losses": {"box": 1.5, "cls": 2.0}, "val_losses": {}, "mAP50": None, "mAP50-95": None}
    run.event("session", host="secret-host", device="cpu")
    run.event("epoch", epoch=1, **epoch, **metrics)
    run.event("epoch", epoch=2, **epoch, **metrics)
    run.event("epoch", epoch=2, **epoch, **metrics | {"losses": {"box": 1.25}, "mAP50": 0.25})  # after a resume
    run.write_json("proc.json", {"pid": 1, "host": "secret-host"})
    member = {"name": "halo", "form": "residual", "mAP50": 0.5, "mAP50-95": 0.25, "parameters": 10, "latency_ms": 1.5}
    member |= {"epochs": 2, "trained": "all", "per_class": {"=1+1": {"mAP50": 0.5, "mAP50-95": 0.25}}}
    run.write_json(
        "comparison.json", {"members": [member], "split": "test", "pictures": 4, "imgsz": 64, "device": "cpu"}
    )
    return run


def _contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name.removeprefix("mine/"): archive.read(name) for name in archive.namelist()}


def test_results_are_all_there(run: RunFolder, tmp_path: Path) -> None:
    found = _contents(export.results(run, tmp_path / "out" / "mine.zip"))
    assert set(found) == {
        "run.yaml", "plan.yaml", "log.txt", "args/halo-stage0.yaml", "cards/halo.json", "epochs.csv",
        "comparison.json", "comparison.csv", "comparison.md",
    }  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(found["epochs.csv"].decode())))
    assert [(r["member"], r["epoch"], r["train_box"], r["train_cls"], r["mAP50"]) for r in rows] == [
        ("halo", "1", "1.5", "2.0", ""), ("halo", "2", "1.25", "", "0.25"),
    ]  # fmt: skip
    (row,) = csv.DictReader(io.StringIO(found["comparison.csv"].decode()))
    assert (row["name"], row["latency_ms"], row["mAP50 =1+1"], row["split"]) == ("halo", "1.5", "0.5", "test")
    assert json.loads(found["comparison.json"]) == run.json("comparison.json")
    assert "| halo | residual |" in found["comparison.md"].decode()
    assert "epochs: 2" in found["args/halo-stage0.yaml"].decode()


def test_nothing_tells_where_the_server_keeps_it(run: RunFolder, tmp_path: Path) -> None:
    found = _contents(export.results(run, tmp_path / "mine.zip"))
    everything = b"\n".join(found.values()).decode()
    for secret in (str(tmp_path), "the runs", str(Path.home()) + "/", sys.prefix, "/srv/a", "/usr/lib", "secret-host"):
        assert secret not in everything, secret
    log = found["log.txt"].decode()
    assert "RUN/out/halo" in log and "https://docs.ultralytics.com/modes/train/ 6/6 3.4it/s" in log
    assert "…/libz.so" in log and "…/b.pt" in found["args/halo-stage0.yaml"].decode()


def test_weights_if_asked(run: RunFolder, tmp_path: Path) -> None:
    found = _contents(export.results(run, tmp_path / "mine.zip", weights=True))
    assert found["weights/halo.safetensors"] == HALO.read_bytes()


def test_links_are_not_followed(run: RunFolder, tmp_path: Path) -> None:
    """Of files, of folders, to files of this machine, to a pipe that nobody writes to."""
    secret = tmp_path / "secret"
    (secret / "stage0").mkdir(parents=True)
    for name in ("x.json", "x.safetensors", "stage0/args.yaml", "log.txt"):
        (secret / name).write_text("TOPSECRET")
    (run.path / "weights" / "x.json").symlink_to(secret / "x.json")
    (run.path / "weights" / "x.safetensors").symlink_to(secret / "x.safetensors")
    (run.path / "out" / "evil").symlink_to(secret)
    for name in ("log.txt", "plan.yaml", "comparison.json", "events.jsonl"):
        (run.path / name).unlink()
        (run.path / name).symlink_to(secret / "log.txt")
    os.mkfifo(run.path / "weights" / "y.json")
    found = _contents(export.results(run, tmp_path / "mine.zip", weights=True))
    assert set(found) == {"run.yaml", "args/halo-stage0.yaml", "cards/halo.json", "weights/halo.safetensors"}
    assert b"TOPSECRET" not in b"".join(found.values())


def test_a_spreadsheet_computes_nothing(run: RunFolder, tmp_path: Path) -> None:
    comparison = run.json("comparison.json")
    comparison["members"][0]["name"] = "=HYPERLINK(1)"
    run.write_json("comparison.json", comparison)
    found = _contents(export.results(run, tmp_path / "mine.zip"))
    cells = [c for row in csv.reader(io.StringIO(found["comparison.csv"].decode())) for c in row]
    assert "'=HYPERLINK(1)" in cells and not any(c.startswith(("=", "+", "@")) for c in cells)


def test_an_unfinished_run_and_none(run: RunFolder, tmp_path: Path) -> None:
    (run.path / "comparison.json").unlink()
    found = _contents(export.results(run, tmp_path / "mine.zip"))
    assert "epochs.csv" in found and not any(name.startswith("comparison") for name in found)
    with pytest.raises(FileNotFoundError, match="no run folder"):
        export.results(RunFolder(tmp_path / "none"), tmp_path / "x.zip")
    with pytest.raises(ValueError, match=r"\.zip"):
        export.results(run, tmp_path / "x.tar")
