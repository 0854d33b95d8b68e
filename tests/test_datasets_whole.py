"""Imports that are whole or not there: limits, faults, one beside another, the list, and real data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bad_zips as bad
import cv2
import numpy as np
import pytest
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

from halo_vis.datasets import DataError, Limits, check, delete_dataset, import_zip, list_datasets, open_dataset


# ---------------------------------------------------------------- limits
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(zip_bytes=500), "the zip has .*; at most 500 bytes are taken"),
        (Limits(pictures=5), "6 pictures; at most 5"),
        (Limits(classes=1), "names 2 classes; at most 1"),
        (Limits(boxes=5), "more than 5 boxes"),
        (Limits(pixels=1000), "48 x 32 pixels; at most 0.001 megapixels"),
        (Limits(file_bytes=1000), "unpacks to .*; at most 1000 bytes"),
        (Limits(total_bytes=5000), "unpacks to .*; at most 4.9 KiB"),
        (Limits(free_bytes=10**18), "must stay free. Delete data sets or runs"),
        (Limits(seconds=-1.0), "longer than -1 s, the limit"),
    ],
)
def test_each_limit_says_its_value_and_leaves_nothing(tmp_path: Path, limits: Limits, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_zip(bad.pack(tmp_path / "a.zip", bad.good()), tmp_path / "into", limits)
    assert not list((tmp_path / "into").iterdir())


# ---------------------------------------------------------------- whole or not there
def test_the_same_file_again_is_no_work_and_another_owner_has_his_own(tmp_path: Path) -> None:
    path, seen = bad.pack(tmp_path / "a.zip", bad.good()), []
    first = import_zip(path, tmp_path / "into", progress=lambda done, all_: seen.append((done, all_)))
    assert seen == [(n, 6) for n in range(7)]
    again = import_zip(path, tmp_path / "into", name="other", progress=lambda *_: pytest.fail("worked again"))
    assert again == first and len(list_datasets(tmp_path / "into")) == 1
    other = import_zip(path, tmp_path / "into", owner="ann")
    assert other.id != first.id and other.owner == "ann" and len(list_datasets(tmp_path / "into")) == 2


def test_imports_side_by_side(tmp_path: Path) -> None:
    same = bad.pack(tmp_path / "same.zip", bad.good(12, 4))
    other = bad.pack(tmp_path / "other.zip", bad.good(6, 2))
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda path: import_zip(path, tmp_path / "into"), [same, other] * 3))
    assert len({data.id for data in found}) == 2 == len(list_datasets(tmp_path / "into"))
    assert sorted(p.name for p in (tmp_path / "into").iterdir()) == sorted({data.id for data in found})
    assert all(check(data).ok for data in found)


def start(code: str, *args: object) -> subprocess.Popen:
    head = "import sys\nfrom pathlib import Path\nfrom halo_vis.datasets import import_zip\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip


def test_an_import_that_is_killed_leaves_no_data_set(tmp_path: Path) -> None:
    path = bad.pack(tmp_path / "a.zip", bad.good())
    process = start(
        "import_zip(Path(sys.argv[1]), Path(sys.argv[2]),"
        " progress=lambda done, _: (print('third', flush=True), sys.stdin.read()) if done == 3 else None)",
        path, tmp_path / "into",
    )  # fmt: skip
    line = process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdin.close()
    process.stdout.close()
    assert line == "third\n"
    left = list((tmp_path / "into").iterdir())
    assert [p.name.startswith(".importing-") for p in left] == [True] and not list_datasets(tmp_path / "into")
    data = import_zip(path, tmp_path / "into")
    assert check(data).ok and list_datasets(tmp_path / "into") == [data]
    os.utime(left[0], (0, 0))  # a day later
    import_zip(bad.pack(tmp_path / "b.zip", bad.good(5)), tmp_path / "into")
    assert not left[0].exists()


def test_a_disk_that_takes_no_more_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    assert resource
    process = start(
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    import_zip(Path(sys.argv[1]), Path(sys.argv[2]))\nexcept ValueError as error:\n    print(error)",
        bad.pack(tmp_path / "a.zip", bad.good()), tmp_path / "into",
    )  # fmt: skip
    said = process.communicate(timeout=120)[0]
    assert "could not be written to" in said and "Make room" in said
    assert not list((tmp_path / "into").iterdir())


def test_a_progress_that_raises_ends_the_import(tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_zip(bad.pack(tmp_path / "a.zip", bad.good()), tmp_path / "into", progress=stop)
    assert not list((tmp_path / "into").iterdir())


# ---------------------------------------------------------------- the list
def test_data_sets_are_listed_opened_moved_and_deleted(tmp_path: Path) -> None:
    root = tmp_path / "into"
    assert list_datasets(root) == []
    one = import_zip(bad.pack(tmp_path / "one.zip", bad.good()), root)
    two = import_zip(bad.pack(tmp_path / "two.zip", bad.good(5)), root)
    (root / "notes").mkdir()
    (root / "broken-1").mkdir()
    (root / "broken-1" / "info.json").write_text("{")
    assert list_datasets(root) == [two, one] and open_dataset(root, one.id) == one
    root.rename(tmp_path / "moved")
    moved = open_dataset(tmp_path / "moved", one.id)
    assert Path(check_det_dataset(str(moved.yaml))["train"]) == tmp_path / "moved" / one.id / "images" / "train"
    delete_dataset(tmp_path / "moved", two.id)
    delete_dataset(tmp_path / "moved", "broken-1")
    assert list_datasets(tmp_path / "moved") == [moved] and (tmp_path / "moved" / "notes").is_dir()
    with pytest.raises(DataError, match="there is no data set"):
        open_dataset(tmp_path / "moved", two.id)


@pytest.mark.parametrize("id", ["../outside", "..", "", ".", "a/b", "A", "/etc", "x\0y", "-x", "notes", "x" * 500])
def test_an_id_leads_nowhere_else(tmp_path: Path, id: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "info.json").write_text("{}")
    (tmp_path / "into" / "notes").mkdir(parents=True)
    for call in (open_dataset, delete_dataset):
        with pytest.raises(DataError, match="no data set"):
            call(tmp_path / "into", id)
    assert (outside / "info.json").is_file() and (tmp_path / "into" / "notes").is_dir()


# ---------------------------------------------------------------- real data
def test_bccd_comes_through_with_every_box(real_data: Path, tmp_path: Path) -> None:
    source, path = real_data / "bccd", tmp_path / "BCCD.zip"
    with zipfile.ZipFile(path, "w") as z:
        for file in sorted(source.rglob("*")):
            if file.suffix in (".jpg", ".txt"):
                z.write(file, f"bccd/{file.relative_to(source)}")
        z.writestr("bccd/data.yaml", "train: images/train\nval: images/val\nnames: [RBC, WBC, Platelets]\n")
    data = import_zip(path, tmp_path / "into")
    assert dict(data.splits) == {"train": 205, "val": 87, "test": 72} and data.boxes == 4886
    assert not data.warnings and not data.left_out
    report = check(data)
    assert report.ok and sum(split["boxes"] for split in report.splits.values()) == 4886
    for label in source.rglob("*.txt"):  # every box is where it was
        ours = np.loadtxt(data.path / label.relative_to(source), ndmin=2)
        assert np.allclose(ours, np.loadtxt(label, ndmin=2), atol=1e-6)
    picture = Path("images/train/BloodImage_00001.jpg")
    a, b = (cv2.imread(str(folder / picture)).astype(int) for folder in (source, data.path))
    assert np.abs(a - b).mean() < 1
    read = check_det_dataset(str(data.yaml))
    assert read["names"] == {0: "RBC", 1: "WBC", 2: "Platelets"}
    sets = {s: YOLODataset(img_path=read[s], data=read, task="detect", imgsz=64, augment=False) for s in data.splits}
    assert {s: len(found) for s, found in sets.items()} == dict(data.splits)
    assert sum(len(label["cls"]) for found in sets.values() for label in found.labels) == 4886
