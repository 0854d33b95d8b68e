"""python -m halo_vis inspect, as a person runs it: files, exit status, and errors in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from documents import Document
from PIL import Image
from samples import picture, random_model

from halo_vis.__main__ import main
from halo_vis.picture import read_picture
from halo_vis.weights import file_hash, write_weights

FILES = 7


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
    assert done.stdout.splitlines()[-1].startswith("[1/1] a.png: kept ") and "(7 files)" in done.stdout
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
        told = json.loads((out / name / "detections.json").read_text())["provenance"]
        assert told["picture_sha256"] == read_picture(source).digest


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
        (["--device", "cuda:99"], "device 'cuda:99' is not on this machine. Use cpu"),
        (["--beside", "article"], "--beside article names a member, but --baseline has none: give a file."),
    ],
    ids=str,
)
def test_wrong_settings(
    weights: list[str], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list, words: str
) -> None:
    assert main(["inspect", str(pictures / "a.png"), *weights, "--out", str(tmp_path / "out"), *arguments]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("halo_vis: ") and words in told[0]
    assert "cpu, or cpu" not in told[0] and not (tmp_path / "out").exists()


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


# ---------------------------------------------------------------- figure
def figure(pictures: Path, weights: list[str], out: Path, *more: str) -> int:
    return main(["figure", str(pictures / "a.png"), *weights, "--device", "cpu", "--out", str(out), *more])


@pytest.mark.parametrize("kind", ["pdf", "svg", "png", "gif", "csv", "html"])
def test_a_figure_of_each_kind(
    weights: list[str], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture, kind: str
) -> None:
    """Without further words: the strongest detection, as the explorer starts."""
    out = tmp_path / "new" / "folder" / f"figure.{kind}"
    assert figure(pictures, weights, out) == 0
    assert capsys.readouterr().out.strip() == str(out)
    start = {"pdf": b"%PDF-", "svg": b"<?xml", "png": b"\x89PNG", "gif": b"GIF8", "csv": b"# hal", "html": b"<!doc"}
    assert out.read_bytes()[:5].startswith(start[kind]) and [p.name for p in out.parent.iterdir()] == [out.name]


def told(path: Path) -> dict:
    with Image.open(path) as image:
        return json.loads(image.text["halo_vis"])


def test_what_a_figure_shows(weights: list[str], pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    words = "--level P4 --cell 2,3 --head 1 --of contribution --view to --left mask --scale 16 --log --map viridis"
    more = "--mode slider --strip levels --width single --no-caption"
    assert figure(pictures, weights, out, *words.split(), *more.split()) == 0
    view = told(out)["view"]
    expected = {
        "level": "P4", "y": 2, "x": 3, "head": 1, "of": "contribution", "view": "to", "left": "mask", "scale": 16,
        "log": True, "map": "viridis", "mode": "slider", "strip": "levels", "box": None,
    }  # fmt: skip
    assert {key: view[key] for key in expected} == expected
    with Image.open(out) as image:
        assert image.width == 1050


def test_several_heads_and_levels_make_a_sheet(weights: list[str], pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    assert figure(pictures, weights, out, "--level", "P3,P4", "--head", "mean,max,0", "--cell", "4,6") == 0
    views = [v["view"] for v in told(out)["views"]]
    assert [(v["level"], v["y"], v["x"], v["head"]) for v in views] == [
        ("P3", 4, 6, -1), ("P3", 4, 6, -2), ("P3", 4, 6, 0), ("P4", 2, 3, -1), ("P4", 2, 3, -2), ("P4", 2, 3, 0),
    ]  # fmt: skip
    assert figure(pictures, weights, out, "--sheet") == 0
    assert "view" in told(out)


def test_a_path_of_cells(weights: list[str], pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.gif"
    cells = ["--level", "P4", "--cell", "1,1", "--cell", "1,3", "--cell", "2,3"]
    assert figure(pictures, weights, out, *cells, "--ms", "300") == 0
    with Image.open(out) as image:
        assert image.n_frames == 4 and image.info["duration"] == 300
        assert json.loads(image.info["comment"])["cells"] == [["P4", 1, 1], ["P4", 1, 2], ["P4", 1, 3], ["P4", 2, 3]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--level", "P7"], "no level 'P7' here. Choose one of"),
        (["--level", "<script>"], "view: there is no level '<script>'"),
        (["--cell", "1"], "--cell must be Y,X in cells, counted from 0, got '1'"),
        (["--level", "P4", "--cell", "0,99"], "cell (y=0, x=99) is outside P4"),
        (["--head", "99"], "--head must be mean, max, or a number from 0 to"),
        (["--head", "first"], "--head must be mean, max, or a number from 0 to"),
        (["--of", "nothing"], "of must be one of weight, contribution, content, position"),
        (["--view", "all"], "view must be one of cell, box, to, blocks, received"),
        (["--scale", "large"], "--scale must be a number, or auto, got 'large'"),
        (["--scale", "-1"], "scales.cell must be a number from 0.001"),
        (["--width", "wide"], "width must be one of single, double"),
        (["--width", "0"], "width must be one of single, double, or inches from 1 to 40, got 0"),
        (["--cell", "-1,0"], "--cell must be Y,X in cells, counted from 0, got '-1,0'"),
        (["--left", "run1"], "--left run1 is another model: name it with --beside"),
        (["--mode", "difference"], "--mode difference: nothing can be subtracted from"),
        (["--cell", "1,1", "--cell", "1,2"], "several --cell are the path of a .gif, got 'a.png'"),
    ],
    ids=str,
)
def test_wrong_figures(
    weights: list[str], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list, words: str
) -> None:
    assert figure(pictures, weights, tmp_path / "a.png", *arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("halo_vis: ") and words in lines[0]
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("kind", ["csv", "gif", "html"])
@pytest.mark.parametrize("more", [["--level", "P3,P4"], ["--head", "mean,0"], ["--sheet"]], ids=str)
def test_several_views_for_a_file_of_one(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture, kind: str, more: list[str]
) -> None:
    assert figure(pictures, ["--baseline", "none.pt"], tmp_path / f"a.{kind}", *more) == 2
    assert f"{' '.join(more)} makes a figure sheet, and a .{kind} file is none: write .pdf" in capsys.readouterr().err


def test_a_difference_to_the_control_and_a_width_in_inches(weights: list[str], pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    assert figure(pictures, weights, out, "--left", "control", "--mode", "difference", "--width", "2.5") == 0
    with Image.open(out) as image:
        assert image.width == 750 and told(out)["panels"][1]["difference"]


def test_another_suffix_is_refused_before_any_model_is_loaded(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert figure(pictures, ["--baseline", "none.pt"], tmp_path / "a.jpg") == 2
    assert "--out must end in one of .pdf, .svg, .png, .gif, .csv, .html, got 'a.jpg'" in capsys.readouterr().err


# ---------------------------------------------------------------- another model beside
def test_weights_beside(weights: list[str], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other = tmp_path / "other.safetensors"
    write_weights(other, random_model("article"), {"imgsz": 320})
    out = tmp_path / "a.png"
    assert figure(pictures, weights, out, "--beside", str(other), "--left", "run1", "--mode", "difference") == 0
    (beside,) = told(out)["beside"]
    assert beside["weights"] == file_hash(other) and told(out)["panels"][0]["source"] == "run1"
    folder = tmp_path / "out"
    arguments = ["inspect", str(pictures / "a.png"), *weights, "--device", "cpu", "--beside", str(other)]
    assert main([*arguments, "--out", str(folder)]) == 0
    document = Document((folder / "explorer.html").read_text(encoding="utf-8"))
    assert [o["id"] for o in json.loads(document.data("meta"))["others"]] == ["control", "run1"]
    assert json.loads((folder / "detections.json").read_text())["provenance"]["beside"] == [beside]
    capsys.readouterr()


def test_a_member_beside(bus: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "a.csv"
    arguments = ["figure", str(bus), "--pair", "meadow", "--device", "cpu", "--level", "P5", "--cell", "2,2"]
    assert main([*arguments, "--beside", "article", "--left", "run1", "--out", str(out)]) == 0
    assert '# beside.0.member: "article"' in out.read_text(encoding="utf-8").splitlines()
    assert main([*arguments, "--beside", "nobody", "--out", str(out)]) == 2
    assert "no halo member 'nobody': choose one of ['article', 'halo', 'p4p5', 'quarter']" in capsys.readouterr().err
