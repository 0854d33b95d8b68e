"""Uploaded data sets: layouts, splits, names of classes and files, pictures."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from pathlib import Path

import bad_zips as bad
import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils.patches import imread

from halo_vis import meadow
from halo_vis.datasets import DataError, check, import_zip

BOX = "1 0.25 0.5 0.25 0.5\n"


def stems(folder: Path) -> dict[str, list[str]]:
    """Pictures by split, and that each has its label."""
    found = {split.name: sorted(p.stem for p in split.iterdir()) for split in sorted((folder / "images").iterdir())}
    for split, names in found.items():
        assert sorted(p.stem for p in (folder / "labels" / split).glob("*.txt")) == names
    return found


# ---------------------------------------------------------------- layouts
YOLO = {
    "splits inside": ("{top}images/{split}/{name}.png", "{top}labels/{split}/{name}.txt"),
    "splits outside": ("{top}{split}/images/{name}.png", "{top}{split}/labels/{name}.txt"),
    "beside": ("{top}{split}/{name}.png", "{top}{split}/{name}.txt"),
    "folders in splits": ("{top}images/{split}/cam/1/{name}.png", "{top}labels/{split}/cam/1/{name}.txt"),
    "large letters": ("{top}Images/{split}/{name}.PNG", "{top}labels/{split}/{name}.txt"),
}


@pytest.mark.parametrize("words", [("train", "val", "test"), ("train", "valid", "test"), ("train2017", "val2017", "x")])
@pytest.mark.parametrize("top", ["", "my set/", "a/b/"])
@pytest.mark.parametrize("layout", YOLO)
def test_yolo_layouts(tmp_path: Path, layout: str, top: str, words: tuple) -> None:
    picture, label = YOLO[layout]
    files = {f"{top}data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['ant', 'no']\n"}
    for word, count in zip(words, (3, 2, 1), strict=True):
        for n in range(count if word != "x" else 0):
            where = {"top": top, "split": word, "name": f"{word[0]}{n}"}
            files[picture.format(**where)] = bad.picture(len(files))
            files[label.format(**where)] = BOX
    data = import_zip(bad.pack(tmp_path / "My  Bees é.zip", files), tmp_path / "into")
    assert data.id.startswith("my-bees-e-") and data.title == "My Bees é" and data.names == ("ant", "no")
    assert dict(data.splits) == {"train": 3, "val": 2, **({"test": 1} if words[2] == "test" else {})}
    assert stems(data.path)["val"] == ["v0", "v1"] and data.boxes == sum(data.splits.values()) and not data.warnings
    assert (data.path / "labels" / "train" / "t0.txt").read_text() == BOX
    read = check_det_dataset(str(data.yaml))
    assert read["names"] == {0: "ant", 1: "no"} and Path(read["val"]) == data.path / "images" / "val"


def test_without_splits_one_in_five_is_taken_for_val_the_same_each_time(tmp_path: Path) -> None:
    files = {"set/classes.txt": "ant\nbee\n"}
    for n in range(20):
        files |= {f"set/images/{n:02d}.png": bad.picture(n), f"set/labels/{n:02d}.txt": BOX}
    found = [import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / into) for into in ("one", "two")]
    assert dict(found[0].splits) == {"train": 16, "val": 4} and found[0].names == ("ant", "bee")
    assert stems(found[0].path) == stems(found[1].path)
    assert found[0].warnings == ("no splits are given: one picture in 5 is taken for val, chosen by name with seed 0",)


def test_without_val_it_is_taken_from_train_and_test_is_left_alone(tmp_path: Path) -> None:
    files = {name.replace("/val/", "/test/"): content for name, content in bad.good(10, 3).items()}
    data = import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    assert dict(data.splits) == {"train": 8, "val": 2, "test": 3}
    assert data.warnings == (
        "no val split is given: one training picture in 5 is taken for it, with seed 0",
    )  # fmt: skip


def test_files_that_are_left_out_are_said(tmp_path: Path) -> None:
    more = {
        "images/stray.png": bad.picture(50),
        "labels/train/gone.txt": BOX,
        "README.md": "x",
        "__MACOSX/images/train/._train0.png": b"\0\5\x16\7",
        "images/train/.DS_Store": b"x",
        "images/train/": b"",
    }
    data = import_zip(bad.pack(tmp_path / "a.zip", {**bad.good(), **more}), tmp_path / "into")
    assert dict(data.splits) == {"train": 4, "val": 2}
    assert set(data.warnings) == {
        "a picture outside of train, val and test: left out (images/stray.png)",
        "a text file that is no picture's label: left out (labels/train/gone.txt)",
        "a file that is neither picture nor label: left out, not unpacked (README.md)",
    }


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("labels", "no labels: no picture has a text file of its name"),
        ("images/", "holds no pictures"),
        ("images/train", "no training pictures"),
    ],
)
def test_what_nothing_can_be_trained_from_is_refused(tmp_path: Path, gone: str, message: str) -> None:
    files = {name: content for name, content in bad.good().items() if not name.startswith(gone)}
    with pytest.raises(DataError, match=message):
        import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")


def test_only_backgrounds_are_refused_and_one_picture_has_no_val(tmp_path: Path) -> None:
    files = {name: b"" if name.endswith(".txt") else content for name, content in bad.good().items()}
    with pytest.raises(DataError, match="no picture has a box"):
        import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    with pytest.raises(DataError, match="one training picture and none for val"):
        import_zip(bad.pack(tmp_path / "b.zip", bad.good(1, 0)), tmp_path / "into")


# ---------------------------------------------------------------- names
def test_class_names_without_any_are_numbered(tmp_path: Path) -> None:
    files = bad.good()
    del files["data.yaml"]
    files["labels/train/train0.txt"] = b"3 0.5 0.5 0.1 0.1\n"
    data = import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    assert data.names == ("class0", "class1", "class2", "class3")
    assert any("no class names are given" in text for text in data.warnings)


def test_class_names_are_one_line_each_and_told_apart(tmp_path: Path) -> None:
    yaml = 'names: {1: "two\\nlines", 0: yes, 2: ant, 3: ant, 4: "", 5: 蜂, 6: 1.0}\nnc: 9\n'
    data = import_zip(bad.pack(tmp_path / "a.zip", {**bad.good(), "data.yaml": yaml}), tmp_path / "into")
    assert data.names == ("yes", "two lines", "ant", "ant (2)", "class4", "蜂", "1.0")
    assert any("'nc' is 9, but 7 names are given" in text for text in data.warnings)
    assert check(data).names == data.names


def test_a_thousand_long_names_are_read_again(tmp_path: Path) -> None:
    files = {**bad.good(), "classes.txt": "\n".join(f"{n:04d}" + "蜂" * 26 for n in range(1000))}
    del files["data.yaml"]
    data = import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    assert check(data).names == data.names and len(data.names) == 1000


def test_the_data_yaml_counts_before_others(tmp_path: Path) -> None:
    more = {"args.yaml": "lr0: 0.1\n", "b/other.yaml": "names: [x]\n", "classes.txt": "y\n", "broken.yaml": "a: [\n"}
    data = import_zip(bad.pack(tmp_path / "a.zip", {**bad.good(), **more}), tmp_path / "into")
    assert data.names == ("ant", "bee")
    said = "\n".join(data.warnings)
    assert "other class names than in data.yaml: left out (2 times" in said and "is no YAML" in said


# ---------------------------------------------------------------- pictures
def test_png_keeps_every_pixel_and_the_meadow_its_answers(tmp_path: Path) -> None:
    folder = tmp_path / "meadow"
    meadow.write_dataset(folder, train=2, val=1, size=160)
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    data = import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    assert data.names == meadow.NAMES and dict(data.splits) == {"train": 2, "val": 1}
    for picture in folder.rglob("*.png"):
        ours = data.path / picture.relative_to(folder)
        assert np.array_equal(cv2.imread(str(picture)), cv2.imread(str(ours)))
        label = Path(str(picture).replace("images", "labels")).with_suffix(".txt")
        theirs = Path(str(ours).replace("images", "labels")).with_suffix(".txt")
        assert np.array_equal(np.loadtxt(label, ndmin=2), np.loadtxt(theirs, ndmin=2))


def test_nothing_but_pixels_goes_on(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET place"
    note = PngInfo()
    note.add_text("Comment", "SECRET place")
    files = bad.good()
    files["images/train/train0.jpg"] = bad.picture(kind="JPEG", exif=exif, comment=b"SECRET") + b"SECRET tail"
    files["images/train/train1.png"] = bad.picture(1, pnginfo=note, exif=exif)
    files["images/train/train2.webp"] = bad.picture(2, kind="WEBP", exif=exif)
    assert all(b"SECRET" in files[name] for name in list(files)[-2:]) and b"SECRET" in files["images/train/train1.png"]
    for gone in ("train0", "train2"):
        del files[f"images/train/{gone}.png"]
    data = import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    for file in data.path.rglob("*.*"):
        assert file.is_dir() or b"SECRET" not in file.read_bytes()
    assert stems(data.path)["train"] == ["train0", "train1", "train2", "train3"]
    assert (data.path / "images/train/train2.png").is_file(), "WebP becomes PNG"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_yolo_labels_stay_on_a_photo_that_its_exif_tag_turns(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    files = {**bad.good(), "labels/train/turned.txt": BOX}
    files["images/train/turned.jpg"] = bad.picture(3, 90, 60, "JPEG", exif=exif, quality=95)
    (tmp_path / "turned.jpg").write_bytes(files["images/train/turned.jpg"])
    data = import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    seen, ours = imread(str(tmp_path / "turned.jpg")), imread(str(data.path / "images/train/turned.jpg"))
    assert seen.shape == ours.shape == ((90, 60, 3) if orientation > 4 else (60, 90, 3))
    assert np.abs(seen.astype(int) - ours).mean() < 3, "not what Ultralytics saw when the labels were made"
    with Image.open(data.path / "images/train/turned.jpg") as image:
        assert not image.getexif()
    assert (data.path / "labels/train/turned.txt").read_text() == BOX


MODES = {"L": 1, "P": 1, "1": 1, "I;16": 1, "RGBA": 1, "LA": 1}


@pytest.mark.parametrize("mode", MODES)
def test_pictures_of_any_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.open(io.BytesIO(bad.picture(4)))
    image = (
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        if mode == "I;16"
        else image.convert(mode)
    )
    out = io.BytesIO()
    image.save(out, "PNG")
    data = import_zip(
        bad.pack(tmp_path / "a.zip", {**bad.good(), "images/train/train0.png": out.getvalue()}), tmp_path / "into"
    )
    with Image.open(data.path / "images/train/train0.png") as ours:
        assert ours.mode == "RGB" and ours.size == (48, 32) and np.asarray(ours).std() > 10


@pytest.mark.parametrize(
    "tag", [b"Exif\0\0" + b"\xff" * 40, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\1" * 30, b"Exif\0\0"]
)
def test_a_damaged_exif_tag_costs_no_picture(tmp_path: Path, tag: bytes) -> None:
    files = {**bad.good(), "images/train/odd.jpg": bad.picture(5, kind="JPEG", exif=tag), "labels/train/odd.txt": BOX}
    data = import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    ours = next((data.path / "images/train").glob("odd.*"))
    assert not data.left_out and imread(str(ours)).shape == (32, 48, 3)


BROKEN = {
    "cut.jpg": bad.picture(9, kind="JPEG")[:-300],
    "cut.png": bad.picture(9)[:-300],
    "text.png": b"this is no picture",
    "empty.png": b"",
    "gif.png": bad.picture(9, kind="GIF"),
    "small.png": bad.picture(9, 9, 40),
    "head.bmp": b"BM" + bytes(30),
    "head.webp": b"RIFF\0\0\0\0WEBP",
    "tiff.jpg": bad.picture(9, kind="TIFF"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_is_left_out_and_named(tmp_path: Path, name: str) -> None:
    files = {**bad.good(), f"images/train/{name}": BROKEN[name], f"labels/train/{name[:-4]}.txt": BOX}
    data = import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    assert dict(data.splits) == {"train": 4, "val": 2}
    assert [p.file for p in data.left_out] == [f"images/train/{name}"] and data.left_out_count == 1
    assert any("left out" in text and name in text for text in data.warnings)
    assert check(data).ok


def test_too_many_broken_pictures_are_refused_and_listed(tmp_path: Path) -> None:
    files = bad.good(100, 2) | {f"images/train/train{n}.png": b"x" for n in range(40)}
    with pytest.raises(
        DataError, match=r"more than 10% of the 102 pictures cannot be used[\s\S]*and \d+ more"
    ) as caught:
        import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    assert (
        str(caught.value).count("is no JPEG, PNG") == 20 and caught.value.problems[0].file == "images/train/train0.png"
    )


def test_the_same_picture_in_train_and_val_is_said(tmp_path: Path) -> None:
    files = bad.good()
    files["images/val/val1.png"] = files["images/train/train1.png"]
    data = import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    assert data.warnings == (
        "the same picture in train and val: it is measured on what was learned (images/val/val1.png)",
    )


# ---------------------------------------------------------------- names of files
def test_odd_names_are_told_apart_and_made_safe(tmp_path: Path) -> None:
    odd = [
        "a",
        "A",
        "a b",
        "a$b",
        "蜜蜂",
        unicodedata.normalize("NFD", "é"),
        "x.rf.1",
        "…",
        "n" * 200,
        "CON",
        "-rf",
        ".b",
    ]
    files = {"data.yaml": "names: [ant, bee]\n", **bad.good(1, 2)}
    for n, name in enumerate(odd):
        files[f"images/train/{name}.png"] = bad.picture(n + 10)
        # A Mac packs names decomposed, and another tool the labels' composed.
        files[f"labels/train/{unicodedata.normalize('NFC', name)}.txt"] = f"0 0.5 0.5 0.{n + 1:02d} 0.5\n"
    data = import_zip(bad.pack(tmp_path / "a.zip", files), tmp_path / "into")
    names = stems(data.path)["train"]
    assert len(names) == len(odd) + 1 == data.splits["train"] and data.boxes == len(odd) + 3
    assert len({name.casefold() for name in names}) == len(names) and all(len(name) <= 82 for name in names)
    for n in range(len(odd)):  # each picture has kept its own label
        want = np.asarray(Image.open(io.BytesIO(bad.picture(n + 10))))
        mine = next(
            p for p in (data.path / "images/train").iterdir() if np.array_equal(np.asarray(Image.open(p)), want)
        )
        text = (data.path / "labels/train" / f"{mine.stem}.txt").read_text()
        assert text == f"0 0.5 0.5 {(n + 1) / 100:g} 0.5\n"
    loaded = check_det_dataset(str(data.yaml))
    assert len(YOLODataset(img_path=loaded["train"], data=loaded, task="detect", imgsz=64, augment=False)) == len(names)


def test_names_in_utf8_that_do_not_say_so(tmp_path: Path) -> None:
    files = {**bad.good(), "images/train/蜂.png": bad.picture(60), "labels/train/蜂.txt": BOX}
    path = bad.pack(tmp_path / "a.zip", files)
    content = path.read_bytes()
    for name in ("images/train/蜂.png", "labels/train/蜂.txt"):
        content = bad.flag(content, name.encode(), 0x800, on=False)
    path.write_bytes(content)
    data = import_zip(path, tmp_path / "into")
    assert (data.path / "images/train/蜂.png").is_file() and (data.path / "labels/train/蜂.txt").read_text() == BOX


def test_backslashes_of_old_windows_tools_are_folders(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as z:
        for name, content in bad.good().items():
            z.writestr(zipfile.ZipInfo(name.replace("/", "\\")), content)
    data = import_zip(path, tmp_path / "into")
    assert dict(data.splits) == {"train": 4, "val": 2} and "backslashes" in data.warnings[0]
