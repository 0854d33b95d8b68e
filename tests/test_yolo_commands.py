"""In processes of their own: the article's script, `python -m halo_vis yolo`, checkpoints that open by themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ultralytics
from tiny_data import write_tiny_data
from ultralytics.utils import YAML

from halo_vis.transplant import CFG

ROOT = Path(__file__).parent.parent
SCRIPT = """
import warnings
warnings.filterwarnings('ignore')
import halo_vis
from ultralytics import YOLO

if __name__ == '__main__':
    model = YOLO(r'{yaml}')
    model.train(data=r'{data}',
                imgsz={imgsz},
                epochs={epochs},
                batch=8,
                close_mosaic=10,
                workers=0,
                optimizer='MuSGD',
                amp=True,
                project='runs/train',
                name='exp',
                )
"""


def run(command: list[object], cwd: Path) -> str:
    """Run in `cwd` with settings of its own; returns what was printed."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "YOLO_CONFIG_DIR": str(cwd / "settings"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("ULTRALYTICS_SAFE_LOAD", None)  # the page sets it, and its tests may have run in this process
    del environment["PYTEST_CURRENT_TEST"]  # or Ultralytics takes itself for under test and writes beside itself
    (cwd / "settings").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def test_the_articles_script_and_its_checkpoint_in_a_fresh_process(real_data: Path, tmp_path: Path):
    """Shortened: 64 pixels and 2 epochs instead of 640 and 10. Ultralytics writes beside labels, so they are copied."""
    shutil.copytree(real_data / "coco8", tmp_path / "coco8", copy_function=shutil.copyfile)
    for path in [tmp_path / "coco8", *(tmp_path / "coco8").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    stock = YAML.load(Path(ultralytics.__file__).parent / "cfg" / "datasets" / "coco8.yaml")
    data = tmp_path / "coco8.yaml"
    YAML.save(data, {**stock, "path": str(tmp_path / "coco8"), "download": None})
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(yaml=CFG / "yolo26-HaloAttention.yaml", data=data, imgsz=64, epochs=2))
    printed = run([script], tmp_path)
    assert printed.count("halo_vis.attention.HaloAttention") == 3 and "2 epochs completed" in printed
    (best,) = tmp_path.glob("runs/**/exp/weights/best.pt")
    code = (
        "import sys; from ultralytics import YOLO; assert 'halo_vis' not in sys.modules; y = YOLO(sys.argv[1]); "
        "assert sum(type(m).__name__ == 'HaloAttention' for m in y.model.modules()) == 3; "
        "r = y.predict(sys.argv[2], imgsz=64, conf=1e-4, verbose=False)[0]; print('boxes', len(r.boxes)); "
        "y.train(data=sys.argv[3], epochs=1, imgsz=32, workers=0, plots=False, val=False, project=sys.argv[4])"
    )
    picture = next((tmp_path / "coco8" / "images").rglob("*.jpg"))
    printed = run(["-c", code, best, picture, data, tmp_path / "again"], tmp_path)
    assert "boxes " in printed and "boxes 0" not in printed
    assert list((tmp_path / "again").rglob("best.pt"))


@pytest.mark.parametrize(
    ("task", "yaml"),
    [("detect", "yolo26-HaloAttention-residual.yaml"), ("segment", "yolo26n-HaloAttention-seg.yaml")],
    ids=["detect", "segment"],
)
def test_the_yolo_command_line_knows_the_layer(task, yaml, tmp_path: Path):
    """Train and predict; in a folder whose name has a space, as many homes have."""
    home = tmp_path / "my files"
    home.mkdir()
    data = write_tiny_data(home / "data", ["bright", "brighter"], polygons=task == "segment")
    common = ["imgsz=32", "workers=0", "plots=False", f"project={home / 'out'}", "device=cpu"]
    printed = run(
        ["-m", "halo_vis", "yolo", task, "train", f"model={CFG / yaml}", f"data={data}", "epochs=1", "name=t", *common],
        home,
    )
    assert printed.count("halo_vis.attention.HaloAttention") == 3
    best = home / "out" / "t" / "weights" / "best.pt"
    assert best.is_file()
    predict = [f"model={best}", f"source={home / 'data' / 'images'}", "conf=0.0001", "save=True", "name=p"]
    run(["-m", "halo_vis", "yolo", "predict", *predict, *common], home)
    assert len(list((home / "out" / "p").glob("*.jpg"))) == 4
