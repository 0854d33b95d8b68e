"""The check of a data set, its pictures, and the data sets that are built in."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import bad_zips as bad
import numpy as np
import pytest
from PIL import Image
from ultralytics.data.utils import check_det_dataset

from halo_vis import meadow
from halo_vis.datasets import DataError, Dataset, builtin, check, histogram, import_zip, previews


def data_set(folder: Path, files: dict | None = None) -> Dataset:
    return import_zip(bad.pack(folder / "a.zip", files or bad.good(12, 4)), folder / "into", name="Ants & bees")


# ---------------------------------------------------------------- the check
def test_a_report_counts_everything_and_is_plain(tmp_path: Path) -> None:
    files = bad.good(12, 4)
    files["labels/train/train0.txt"] = b"1 0.5 0.5 0.25 0.25\n0 0.5 0.5 0.25 0.25\n"
    files["labels/train/train1.txt"] = b""
    files["images/train/train2.png"] = bad.picture(2, 96, 64)
    data = data_set(tmp_path, files)
    report = check(data)
    assert report.ok and report.title == "Ants & bees" and report.names == ("ant", "bee")
    assert report.splits == {
        "train": {"pictures": 12, "boxes": 12, "backgrounds": 1},
        "val": {"pictures": 4, "boxes": 4, "backgrounds": 0},
    }
    assert report.per_class == {"ant": {"train": 11, "val": 4}, "bee": {"train": 1, "val": 0}}
    assert report.sizes["width"] == (48, 48, 96) and report.sizes["height"] == (32, 32, 64)
    least, middle, largest = report.sizes["box"]
    assert least == pytest.approx((12 * 8) ** 0.5) and largest == pytest.approx((48 * 32) ** 0.5)
    assert middle == pytest.approx((24 * 16) ** 0.5)
    assert report.warnings == (
        "a class with no box in val: it is not measured: bee",
        "a class with fewer than 10 boxes in train: bee (1)",
    )
    plain = json.loads(json.dumps(report.as_dict()))
    assert plain["ok"] is True and plain["splits"] == report.splits and plain["lines"] == report.lines()
    assert report.lines()[:4] == [
        "16 pictures: 12 train, 4 val",
        "16 boxes: 12 train, 4 val; 1 pictures without a box",
        "2 classes: ant, bee",
        "pictures of 48 x 32 to 96 x 64 pixels",
    ]
    assert "note: a class with no box in val: it is not measured: bee" in report.lines()


def test_what_the_import_warned_of_is_in_the_report_by_any_way(tmp_path: Path) -> None:
    data = data_set(tmp_path, {**bad.good(), "x.pt": b"x"})
    for asked in (data, data.yaml, str(data.yaml)):
        assert any("weights" in text for text in check(asked).warnings)


def test_damage_on_the_disk_is_found_and_named(tmp_path: Path) -> None:
    data = data_set(tmp_path)
    picture = data.path / "images/train/train3.png"
    picture.write_bytes(picture.read_bytes()[:-400])
    (data.path / "labels/val/val0.txt").write_text("0 0.5 0.5 0.5 0.5\n5 0.5 0.5 0.5 0.5\n")
    report = check(data)
    assert not report.ok and report.splits["train"]["pictures"] == 11
    assert [str(p) for p in report.broken] == ["images/train/train3.png: cannot be decoded: it is damaged or cut off"]
    assert report.problem_count == 1 and report.problems[0].line == 2
    assert "class 5 is not in 0 to 1" in report.problems[0].message
    lines = report.lines()
    assert any(line.startswith("broken: images/train/train3.png") for line in lines)
    assert any(line.startswith("bad: labels/val/val0.txt, line 2: class 5") for line in lines)
    assert not check(data, deep=False).broken, "without decoding the header is all that is read"


def test_uneven_classes_and_backgrounds_are_said(tmp_path: Path) -> None:
    files = bad.good(12, 4)
    for n in range(7):
        files[f"labels/train/train{n}.txt"] = b""
    files["labels/train/train11.txt"] = "".join(f"1 0.5 0.5 0.{n:03d} 0.5\n" for n in range(100, 400)).encode()
    warnings = check(data_set(tmp_path, files)).warnings
    assert "7 of 12 pictures of train have no box" in warnings
    assert "uneven classes: 300 boxes of bee in train, 4 of ant" in warnings


def test_a_meadow_is_checked_and_shown(tmp_path: Path) -> None:
    yaml = meadow.write_dataset(tmp_path / "meadow", train=3, val=2, test=1, size=160)
    report = check(yaml)
    assert report.ok and report.names == meadow.NAMES
    assert {split: n["pictures"] for split, n in report.splits.items()} == {"train": 3, "val": 2, "test": 1}
    assert sum(n["boxes"] for n in report.splits.values()) == sum(
        len(p.read_text().splitlines()) for p in (tmp_path / "meadow/labels").rglob("*.txt")
    )
    assert len(previews(yaml, 8)) == 6 and previews(yaml, 8)[0][1].shape == (160, 160, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: {0: a}\n", "has no 'train:'"),
        ("path: /nowhere\ntrain: x\nval: x\nnames: {0: a}\n", "the pictures of train are not there"),
        ("train: x\nval: x\n", "names no classes"),
        ("train: x\nval: x\nnames: {1: a}\n", "names no classes"),
        ("names: !!python/object/apply:os.system [x]\n", "has the tag"),
    ],
)
def test_a_yaml_that_is_none_of_ours(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        check(tmp_path / "data.yaml")
    with pytest.raises(DataError, match="there is no data set at"):
        check(tmp_path / "gone.yaml")


# ---------------------------------------------------------------- pictures of it
def test_previews_show_boxes_where_they_are(tmp_path: Path) -> None:
    flat = Image.new("RGB", (200, 100), (128, 128, 128))
    out = io.BytesIO()
    flat.save(out, "PNG")
    files = {**bad.good(1, 2), "images/train/flat.png": out.getvalue()}
    files["labels/train/flat.txt"] = b"0 0.5 0.6 0.4 0.4\n"
    data = data_set(tmp_path, files)
    shown = dict(previews(data))
    assert set(shown) == {"train/flat.png", "train/train0.png", "val/val0.png", "val/val1.png"}
    pixels = shown["train/flat.png"]
    assert pixels.shape == (100, 200, 3) and pixels.dtype == np.uint8
    changed = np.abs(pixels.astype(int) - 128).max(axis=2) > 40
    assert changed[41:79, 57:63].any(axis=1).all() and changed[41:79, 137:143].any(axis=1).all()  # left and right edge
    assert changed[37:43, 61:139].any(axis=0).all() and changed[77:83, 61:139].any(axis=0).all()  # top and bottom
    assert not changed[46:74, 66:134].any() and not changed[:20].any() and not changed[:, 150:].any()
    assert changed[25:39, 60:75].any(), "the name stands above its box"


def test_previews_are_eight_small_the_same_for_a_seed_and_with_boxes_first(tmp_path: Path) -> None:
    files = bad.good(12, 4)
    files["images/train/train0.png"] = bad.picture(0, 1300, 400)
    for n in range(5, 12):
        files[f"labels/train/train{n}.txt"] = b""
    data = data_set(tmp_path, files)
    one, two, three = (previews(data, seed=seed) for seed in (0, 0, 1))
    assert len(one) == 8 and [n for n, _ in one] == [n for n, _ in two] != [n for n, _ in three]
    assert {name for name, _ in one[:5]} == {f"train/train{n}.png" for n in range(5)}
    assert dict(one)["train/train0.png"].shape == (197, 640, 3) and len(previews(data, 3)) == 3


def test_a_histogram_for_few_and_many_classes(tmp_path: Path) -> None:
    names = [f"class $_{n}^ 蜂" for n in range(80)]
    files = {**bad.good(12, 4), "data.yaml": "names: " + json.dumps(names)}
    few, many = (
        histogram(check(data_set(tmp_path / d, f)))
        for d, f in (("a", None), ("b", files))
        if not (tmp_path / d).mkdir()
    )
    for picture in (few, many):
        assert picture.dtype == np.uint8 and picture.shape[1:] == (640, 3)
        assert (picture == 255).all(axis=2).mean() > 0.5 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert few.shape[0] < many.shape[0] < 1000


# ---------------------------------------------------------------- built in
@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has none of the data sets."""
    from ultralytics.utils import SETTINGS

    monkeypatch.setenv("HALO_VIS_TEST_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("HALO_VIS_DATA", str(tmp_path / "cache"))
    monkeypatch.setitem(SETTINGS, "datasets_dir", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_coco8_is_found_and_copied_byte_for_byte(real_data: Path, tmp_path: Path) -> None:
    yaml = builtin("coco8", tmp_path / "into")
    assert yaml == tmp_path / "into" / "coco8" / "data.yaml"
    for file in (real_data / "coco8").rglob("*.[jt][px][gt]"):
        assert (yaml.parent / file.relative_to(real_data / "coco8")).read_bytes() == file.read_bytes()
    report = check(yaml)
    assert {split: n["pictures"] for split, n in report.splits.items()} == {"train": 4, "val": 4}
    assert len(report.names) == 80 and report.names[0] == "person" and not report.problems and not report.broken
    read = check_det_dataset(str(yaml))
    assert "download" not in read and read["nc"] == 80
    before = yaml.stat().st_mtime_ns
    assert builtin("coco8", tmp_path / "into") == yaml and yaml.stat().st_mtime_ns == before
    assert [p.name for p in (tmp_path / "into").iterdir()] == ["coco8"]


def test_without_permission_nobody_is_asked(nowhere: Path) -> None:
    with pytest.raises(
        DataError, match=r"coco128 is not on this machine \(looked in .*none/coco128.*Allow the download"
    ):
        builtin("coco128", nowhere / "into")
    with pytest.raises(DataError, match=r"no data set is built in as '\.\./coco8'; there are coco8, coco128"):
        builtin("../coco8", nowhere / "into", fetch=True, release="http://127.0.0.1:9/")
    with pytest.raises(DataError, match=r"coco8 could not be fetched: .*cannot be reached"):
        builtin("coco8", nowhere / "into", fetch=True, release="http://127.0.0.1:9/")
    assert not list((nowhere / "into").iterdir())


class Server:
    """A release on 127.0.0.1 with one zip."""

    def __init__(self, name: str, content: bytes) -> None:
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                body = content if self.path != "/meta" else json.dumps({"assets": [server.entry]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        root = f"http://127.0.0.1:{self.http.server_port}"
        self.url = f"{root}/meta"
        self.entry = {"name": name, "size": len(content), "digest": None, "browser_download_url": f"{root}/{name}"}
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[str, dict], Server]]:
    servers: list[Server] = []

    def start(name: str, files: dict) -> Server:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as z:
            for file, content in files.items():
                z.writestr(file, content)
        servers.append(Server(name, out.getvalue()))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def coco128() -> dict[str, bytes]:
    """A stand-in of coco128's structure; the pictures are ours."""
    files = {"coco128/LICENSE": b"x", "coco128/labels/train2017.cache": b"x"}
    for n in range(128):
        files[f"coco128/images/train2017/{n:012d}.jpg"] = bad.picture(n % 7, kind="JPEG")
        if n % 64:  # some have no box, and no label file
            files[f"coco128/labels/train2017/{n:012d}.txt"] = b"45 0.5 0.5 0.5 0.5\n"
    return files


def test_coco128_is_fetched_once_and_says_that_it_validates_on_what_it_learns(nowhere: Path, serve: Callable) -> None:
    server = serve("coco128.zip", coco128())
    steps = []
    yaml = builtin("coco128", nowhere / "into", fetch=True, release=server.url, progress=lambda *s: steps.append(s))
    assert server.asked == ["/meta", "/coco128.zip"] and steps[-1][0] == server.entry["size"]
    report = check(yaml)
    assert report.splits["train"] == report.splits["val"] == {"pictures": 128, "boxes": 126, "backgrounds": 2}
    assert "train and val are the same pictures: what is measured was learned" in report.warnings
    read = check_det_dataset(str(yaml))
    assert read["train"] == read["val"] == str(yaml.parent / "images" / "train")
    assert len(previews(yaml)) == len({name for name, _ in previews(yaml)}) == 8
    assert not list(yaml.parent.rglob("*.cache"))
    server.close()
    assert builtin("coco128", nowhere / "other", fetch=True, release=server.url).is_file()  # from what was kept


def test_coco8_with_the_digest_that_the_release_gives(nowhere: Path, serve: Callable, real_data: Path) -> None:
    import hashlib

    files = {str(p.relative_to(real_data)): p.read_bytes() for p in (real_data / "coco8").rglob("*.*")}
    server = serve("coco8.zip", files)
    server.entry["digest"] = "sha256:" + "0" * 64
    with pytest.raises(DataError, match="is not the published 0000"):
        builtin("coco8", nowhere / "into", fetch=True, release=server.url)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, content in files.items():
            z.writestr(name, content)
    digest = hashlib.sha256(out.getvalue()).hexdigest()
    server.entry["digest"] = f"sha256:{digest}"
    assert check(builtin("coco8", nowhere / "into", fetch=True, release=server.url)).splits["val"]["pictures"] == 4


SPOILED: dict[str, Callable[[dict], object]] = {
    r"it has \{'train': 127\} pictures": lambda f: f.pop("coco128/images/train2017/000000000005.jpg"),
    "class 80 is not in 0 to 79": lambda f: f.update(
        {"coco128/labels/train2017/000000000005.txt": b"80 .5 .5 .1 .1\n"}
    ),
    "000000000005.jpg cannot be decoded": lambda f: f.update(
        {"coco128/images/train2017/000000000005.jpg": bad.picture(kind="JPEG")[:-200]}
    ),
    "in no split": lambda f: f.update({"coco128/images/x.jpg": bad.picture(kind="JPEG")}),
    "leads out of its folder": lambda f: f.update({"../../x.jpg": bad.picture(kind="JPEG")}),
}


@pytest.mark.parametrize("message", SPOILED)
def test_a_download_that_is_not_it_is_refused(nowhere: Path, serve: Callable, message: str) -> None:
    files = coco128()
    SPOILED[message](files)
    with pytest.raises(DataError, match=message):
        builtin("coco128", nowhere / "into", fetch=True, release=serve("coco128.zip", files).url)
    assert not list((nowhere / "into").iterdir())
