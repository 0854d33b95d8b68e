"""python -m halo_vis inspect, as a person runs it: files, exit status, and errors in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image
from samples import picture, random_model

from halo_vis.__main__ import main
from halo_vis.weights import write_weights

FILES = 9


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments that name a pair of one's own."""
    folder = tmp_path_factory.mktemp("weights")
    for name, form in (("baseline", "baseline"), ("halo", "residual")):
        write_weights(folder / f"{name}.safetensors", random_model(form), {"imgsz": 96})
    return ["--baseline", str(folder / "baseline.safetensors"), "--halo", str(folder / "halo.safetensors")]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n, name in enumerate(("a.png", "b.jpg", "b.png")):
        Image.fromarray(picture(64, 96, n)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def halo_vis(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "halo_vis", *map(str, arguments)],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=300, check=False, env=dict(os.environ),
    )  # fmt: skip


def test_one_picture_in_a_process_of_its_own(weights: list[str], pictures: Path, tmp_path: Path) -> None:
    done = halo_vis("inspect", pictures / "a.png", *weights, "--out", tmp_path / "out", "--conf", 0.3)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.splitlines()[-1].startswith("[1/1] a.png: kept ") and "(9 files)" in done.stdout
    assert len(list((tmp_path / "out").iterdir())) == FILES
    settings = json.loads((tmp_path / "out" / "detections.json").read_text())["provenance"]["settings"]
    assert settings["conf"] == 0.3 and settings["imgsz"] == 96  # the size that the weights were trained at


def test_an_error_in_a_process_of_its_own(weights: list[str], tmp_path: Path) -> None:
    done = halo_vis("inspect", tmp_path / "none.png", *weights, "--out", tmp_path / "out")
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert done.stderr.strip().splitlines()[-1].startswith("[1/1] none.png: no picture at")
    assert "Traceback" not in done.stderr + done.stdout


def test_several_pictures_and_folders(
    weights: list[str], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Folders by picture; pictures of one stem keep their suffix; a bad one is told and does not stop the others."""
    (pictures / "broken.png").write_bytes(b"no picture")
    extra = tmp_path / "elsewhere" / "a.png"
    extra.parent.mkdir()
    Image.fromarray(picture(96, 64, 9)).save(extra)
    out = tmp_path / "out"
    assert main(["inspect", str(pictures), str(extra), *weights, "--out", str(out), "--device", "cpu"]) == 1
    told = capsys.readouterr()
    assert sorted(p.name for p in out.iterdir()) == ["a.png-1", "a.png-5", "b.jpg", "b.png"]
    assert all(len(list(p.iterdir())) == FILES for p in out.iterdir())
    assert [line.split(":")[0] for line in told.out.splitlines()] == [
        "[1/5] a.png", "[2/5] b.jpg", "[3/5] b.png", "[5/5] a.png",
    ]  # fmt: skip
    assert told.err.splitlines() == [
        "[4/5] broken.png: broken.png cannot be read as a picture. Use a JPEG, PNG or WebP file that opens elsewhere."
    ]
    for name, source in (("a.png-1", pictures / "a.png"), ("a.png-5", extra)):
        with Image.open(out / name / "picture.png") as got, Image.open(source) as expected:
            assert np.array_equal(np.asarray(got), np.asarray(expected))


def test_settings_reach_the_models(weights: list[str], pictures: Path, tmp_path: Path) -> None:
    more = ["--imgsz", "64", "--iou", "0.5", "--nms-free", "--device", "cpu", "--conf", "0.4"]
    assert main(["inspect", str(pictures / "a.png"), *weights, "--out", str(tmp_path / "out"), *more]) == 0
    settings = json.loads((tmp_path / "out" / "detections.json").read_text())["provenance"]["settings"]
    assert settings == {"conf": 0.4, "iou": 0.5, "imgsz": 64, "head": "NMS-free", "device": "cpu"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--conf", "2"], "conf must be a number from 0 to 1, got 2.0"),
        (["--conf", "nan"], "conf must be a number"),
        (["--imgsz", "100"], "imgsz must be a multiple of 32 from 32 to 1920, got 100"),
        (["--imgsz", "0"], "imgsz must be a multiple of 32"),
        (["--device", "nonsense"], "device 'nonsense' is not on this machine. Use cpu"),
        (["--device", "cuda:99"], "device 'cuda:99' is not on this machine"),
    ],
    ids=str,
)
def test_wrong_settings(
    weights: list[str], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list, words: str
) -> None:
    assert main(["inspect", str(pictures / "a.png"), *weights, "--out", str(tmp_path / "out"), *arguments]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("halo_vis: ") and words in told[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pair", "mountains"], "no pair named 'mountains'"),
        (["--pair", "coco-n"], "yolo26n.pt is not on this machine"),
        (["--baseline", "none.pt"], "no weights at none.pt"),
        (["--baseline", "README.md"], "weights are .safetensors of HaloVis or .pt"),
    ],
    ids=str,
)
def test_wrong_pairs(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list, words: str
) -> None:
    assert main(["inspect", str(pictures / "a.png"), "--out", str(tmp_path / "out"), *arguments]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("halo_vis: ") and words in told[0]


def test_an_empty_folder_and_a_file_in_the_way(
    weights: list[str], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["inspect", str(tmp_path / "empty"), *weights, "--out", str(tmp_path / "out")]) == 2
    assert "no pictures in" in capsys.readouterr().err
    assert main(["inspect", str(pictures / "a.png"), *weights, "--out", str(pictures / "notes.txt")]) == 2
    assert "notes.txt" in capsys.readouterr().err and (pictures / "notes.txt").read_text() == "no picture"
