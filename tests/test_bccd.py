"""Ten real pictures that no model of ours has seen, through the command line: no error, all files, finite maps."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from halo_vis.__main__ import main
from halo_vis.pairs import bundled_pairs

FILES = {
    "side_by_side.png", "attention_P3.png", "attention_P4.png", "attention_P5.png", "trace.npz", "detections.json",
    "explorer.html",
}  # fmt: skip


@pytest.mark.parametrize("pair", ["photos", "meadow"])
def test_ten_random_pictures(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture, pair: str) -> None:
    pictures = random.Random(pair).sample(sorted((real_data / "bccd" / "images").rglob("*.jpg")), 10)
    assert main(["inspect", *map(str, pictures), "--pair", pair, "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.err == "" and f"{bundled_pairs()[pair].note}\n" in f"{told.out}\n"
    assert len([line for line in told.out.splitlines() if line.startswith("[")]) == 10
    folders = [tmp_path / p.stem for p in pictures]
    for folder, source in zip(folders, pictures, strict=True):
        assert {p.name for p in folder.iterdir()} == FILES
        with np.load(folder / "trace.npz") as trace:
            for name in trace.files:
                values = trace[name]
                assert values.dtype.kind != "f" or np.isfinite(values).all(), (folder.name, name)
                if name.endswith(".blocks"):
                    assert np.abs(values.sum((-2, -1)) - 1).max() < 1e-4
                if name.endswith(".received"):
                    assert values.min() >= 0 and values.max() > 0
        with Image.open(source) as image:
            width, height = image.size
        told_of = json.loads((folder / "detections.json").read_text(encoding="utf-8"))
        assert told_of["provenance"]["pair"] == pair and told_of["provenance"]["picture"] == source.name
        for box in told_of["baseline"] + told_of["halo"]:
            x1, y1, x2, y2 = box["xyxy"]
            assert 0 <= x1 <= x2 <= width and 0 <= y1 <= y2 <= height
