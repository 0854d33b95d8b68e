"""Zips from strangers, for real: each ends in a clear message or in a data set that runs nothing and leads nowhere."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import bad_zips as bad
import numpy as np
import pytest
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import YAML

from halo_vis.datasets import DataError, Dataset, Limits, import_zip, list_datasets


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, with what is in it."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


class Place:
    """Where an attack happens: a zip, a folder that data sets go into, files outside, a file that must not appear."""

    def __init__(self, folder: Path) -> None:
        self.zip, self.into, self.outside = folder / "upload.zip", folder / "into", folder / "outside"
        self.canary, self.folder = self.outside / "canary", folder
        self.outside.mkdir()
        (self.outside / "mine.jpg").write_bytes(bad.picture(kind="JPEG") + b"??")  # a "corrupt" JPEG
        (self.outside / "mine.txt").write_text(bad.LABEL)

    def untouched(self, before: dict) -> None:
        after = {k: v for k, v in tree(self.folder).items() if not k.startswith("into")}
        assert after == {k: v for k, v in before.items() if not k.startswith("into")}
        assert not self.canary.exists()

    def refused(self, message: str, limits: Limits | None = None) -> DataError:
        before = tree(self.folder)
        with pytest.raises(DataError, match=message) as caught:
            import_zip(self.zip, self.into, limits)
        self.untouched(before)
        assert not tree(self.into), "something of a refused zip is left"
        assert "Traceback" not in str(caught.value) and len(str(caught.value)) < 6000
        return caught.value

    def taken(self) -> Dataset:
        """Import, and let Ultralytics read what was made of it: nothing outside may change."""
        before = tree(self.folder)
        data = import_zip(self.zip, self.into)
        self.untouched(before)
        ours = tree(data.path)
        kinds = {name.rpartition(".")[2] for name, content in ours.items() if content is not None}
        assert kinds <= {"jpg", "png", "txt", "yaml", "json"}
        read(data.yaml)
        self.untouched(before)
        return data


def read(yaml: Path) -> dict:
    """Let Ultralytics read a data set as a training does, label caches included."""
    data = check_det_dataset(str(yaml))
    for split in ("train", "val"):
        YOLODataset(img_path=data[split], data=data, task="detect", imgsz=64, augment=False)
    return data


def unpacked(place: Place) -> Path:
    """The zip as somebody without this package would unpack it: the control of an attack."""
    folder = place.folder / "control"
    with zipfile.ZipFile(place.zip) as z:
        z.extractall(folder)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# ---------------------------------------------------------------- what runs code
@pytest.mark.parametrize("how", ["python", "bash", "url"])
def test_download_is_never_run(place: Place, how: str) -> None:
    run = {
        "python": f"open({str(place.canary)!r}, 'w')",
        "bash": f"bash -c 'touch {place.canary}'",
        "url": f"http://127.0.0.1:9/{place.canary}.zip",
    }[how]
    yaml = f"path: .\ntrain: images/train\nval: images/missing\nnames: [ant, bee]\ndownload: {run!r}\n"
    bad.pack(place.zip, {**bad.good(), "data.yaml": yaml})
    if how == "python":  # the attack is one
        check_det_dataset(str(unpacked(place) / "data.yaml"))
        assert place.canary.exists()
        place.canary.unlink()
    data = place.taken()
    assert any("'download:' is ignored" in text and "data.yaml" in text for text in data.warnings)
    assert set(YAML.load(data.yaml)) == {"path", "train", "val", "names"}


def test_label_caches_are_not_unpickled(place: Place) -> None:
    bomb = bad.cache_bomb(place.canary)
    bad.pack(place.zip, {**bad.good(), "labels/train.cache": bomb, "labels/val.cache": bomb})
    yaml = unpacked(place) / "data.yaml"
    yaml.write_text(f"path: {yaml.parent}\ntrain: images/train\nval: images/val\nnames: [ant, bee]\n")
    read(yaml)
    assert place.canary.exists(), "the attack is none"
    place.canary.unlink()
    data = place.taken()
    assert any("a label cache, which would run code when loaded: left out" in text for text in data.warnings)


def test_lists_of_files_lead_nowhere_and_pictures_there_are_not_rewritten(place: Place) -> None:
    lists = {"train.txt": f"{place.outside}/mine.jpg\n", "val.txt": "../outside/mine.jpg\n"}
    yaml = "path: .\ntrain: train.txt\nval: val.txt\ntest: /etc\nnames: [ant, bee]\n"
    bad.pack(place.zip, {**bad.good(), **lists, "data.yaml": yaml})
    control, mine = unpacked(place) / "data.yaml", (place.outside / "mine.jpg").read_bytes()
    control.write_text(yaml.replace("path: .", f"path: {control.parent}").replace("val: val.txt", "val: train.txt"))
    read(control)
    assert (place.outside / "mine.jpg").read_bytes() != mine, "the attack is none"
    (place.outside / "mine.jpg").write_bytes(mine)
    data = place.taken()
    assert data.splits == {"train": 4, "val": 2}
    for key in ("train", "val", "test"):
        assert any(text.startswith(f"'{key}:' is ignored") for text in data.warnings)


def test_weights_programs_and_model_yamls_are_not_unpacked(place: Place) -> None:
    bomb = bad.pickle_bomb(place.canary)
    more = {
        "best.pt": bomb,
        "x.pkl": bomb,
        "setup.py": f"open({str(place.canary)!r}, 'w')",
        "run.sh": "touch canary",
        "model.yaml": "nc: 2\nactivation: __import__('os').system('touch canary')\nbackbone: []\nhead: []\n",
        "nested.zip": bad.pack(place.folder / "n.zip", bad.good()).read_bytes(),
    }
    bad.pack(place.zip, {**bad.good(), **more})
    data = place.taken()
    said = "\n".join(data.warnings)
    for text in ("when loaded: left out, not unpacked (best.pt)", "(x.pkl)", "(model.yaml)", "(nested.zip)"):
        assert text in said
    assert "a program: left out, not unpacked (2 times, first in run.sh)" in said
    assert data.names == ("ant", "bee")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
YAMLS = {
    "object": ("names: !!python/object/apply:os.system ['touch {canary}']\n", "data.yaml, line 1: has the tag"),
    "new": ("names: [a, b]\nx: !!python/object/new:os.mkdir ['{canary}']\n", "data.yaml, line 2: has the tag"),
    "module": ("!!python/module:antigravity {{}}\n", "line 1: has the tag"),
    "laughs": (LAUGHS + "names: *i\n", "line 2: has an alias"),
    "merge": ("x: &x {{a: 1}}\nnames: [a]\ny: {{<<: *x}}\n", "line 3: has an alias"),
    "deep": ("names: " + "[" * 50_000 + "\n", "nested more than 16 deep"),
    "parts": ("names: [" + "a," * 60_000 + "]\n", "more than 20000 parts"),
    "large": ("names: [a, b]\n#" + "x" * 200_000, "unpacks to more than 128 KiB"),
    "broken": ("names: [a, b\nnc: 2\n", r"data.yaml, line 2: is no YAML"),
    "list": ("- a\n- b\n", "holds no 'names:'"),
    "gap": ("names: {{0: a, 7: b}}\n", "without a gap"),
    "words": ("names: {{x: a}}\n", "must number classes"),
    "nested": ("names: [[a], {{b: c}}]\n", "a list of words"),
    "binary": ("names: [a\0b]\n", "is no YAML"),
    "many": ("names: [" + "a, " * 2000 + "]\n", "2000 classes; at most 1000"),
    "nc": ("nc: 99999999\n", "classes or more; at most 1000"),
}


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_that_does_more_than_naming_is_refused(place: Place, name: str) -> None:
    text, message = YAMLS[name]
    text = text.format(canary=place.canary) if name != "laughs" else text
    bad.pack(place.zip, {**bad.good(), "data.yaml": text})
    error = place.refused(message)
    assert all(problem.file == "data.yaml" for problem in error.problems)


# ---------------------------------------------------------------- names
NAMES = {
    "../x.png": "leads out of its folder",
    "images/../../x.png": "leads out of its folder",
    "images/train/../../../x.png": "leads out of its folder",
    "..\\..\\x.png": "leads out of its folder",
    "images/.. /x.png": "leads out of its folder",
    "/etc/x.png": "absolute path",
    "//host/x.png": "absolute path",
    "\\\\host\\x.png": "absolute path",
    "C:\\x.png": "absolute path",
    "c:x.png": "absolute path",
    "images/train/a\0.png": "control characters",
    "images/train/a\n.png": "control characters",
    "images/train/a\x1b[2J.png": "control characters",
    "images/train/" + "n" * 300 + ".png": "longer than file systems take",
    "images/" + "d/" * 600 + "x.png": "longer than file systems take",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_outside_or_are_none_are_refused(place: Place, name: str) -> None:
    bad.raw_name(place.zip, name)
    error = place.refused(NAMES[name])
    assert not re.search("[\x00-\x09\x0b-\x1f]", str(error))


def test_two_files_of_one_name_are_refused(place: Place) -> None:
    with zipfile.ZipFile(place.zip, "w") as z:
        for _ in range(2):
            for name, content in bad.good().items():
                z.writestr(name, content)
    place.refused("two files of this name")


@pytest.mark.parametrize("kind", [bad.LINK, bad.PIPE, bad.DEVICE])
@pytest.mark.parametrize("name", ["images/train/x.png", "labels", "__MACOSX/x"])
def test_links_and_devices_are_refused(place: Place, kind: int, name: str) -> None:
    bad.pack_infos(place.zip, [(bad.special(name, kind), str(place.outside).encode())])
    place.refused("is a symbolic link" if kind == bad.LINK else "is no regular file")


def test_an_encrypted_zip_is_refused(place: Place) -> None:
    bad.encrypted(place.zip)
    error = place.refused("images/train/train1.png is encrypted. Zip again without a password")
    assert "\n" not in str(error) and [p.file for p in error.problems] == ["images/train/train1.png"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_expands_without_a_bound_is_refused(place: Place, method: int) -> None:
    with zipfile.ZipFile(place.zip, "w", method) as z:
        for name, content in bad.good().items():
            z.writestr(name, content)
    place.refused("only deflate is read")


# ---------------------------------------------------------------- bombs
def test_one_file_that_expands_too_far(place: Place) -> None:
    bad.pack(place.zip, {**bad.good(), "images/train/x.png": bytes(60_000_000)})
    assert place.zip.stat().st_size < 100_000
    place.refused(r"x.png expands more than 200-fold to 57.2 MiB, as a zip bomb does")


def test_many_files_that_expand_too_far_together(place: Place) -> None:
    bad.pack(place.zip, {**bad.good(), **{f"images/train/x{n}.png": bytes(1_000_000) for n in range(40)}})
    place.refused("the zip expands .*-fold, as a zip bomb does")


@pytest.mark.parametrize("bomb", [bad.overlapping, bad.quoting])
def test_files_that_lie_over_each_other(place: Place, bomb: Callable) -> None:
    bomb(place.zip)
    place.refused("lies over another file of the zip, as in a zip bomb")


def test_zips_in_zips_stay_packed(place: Place) -> None:
    inner = bad.pack(place.folder / "i.zip", {"a.png": bytes(5_000_000)}).read_bytes()
    (place.folder / "i.zip").unlink()
    bad.pack(place.zip, {f"lib{n}.zip": inner for n in range(16)})
    place.refused(r"holds no pictures .*It holds lib0.zip, and archives in a zip are not unpacked")


def test_more_members_than_allowed(place: Place) -> None:
    bad.many(place.zip, 3000)
    place.refused("3000 members; at most 1000", Limits(files=1000))
    place.refused("directory has .* KiB; at most 100 members", Limits(files=100))


def test_a_directory_that_gives_sizes_beyond_reason(place: Place) -> None:
    bad.declared(place.zip, 2**62, zip64=True)
    place.refused(r"lie.png unpacks to .* GiB; at most 64.0 MiB")


def test_a_directory_that_gives_too_small_a_size(place: Place) -> None:
    bad.declared(place.zip, 10)
    with zipfile.ZipFile(place.zip, "a") as z:
        for name, content in bad.good().items():
            z.writestr(name, content)
    place.refused("lie.png is damaged in the zip .*Zip and upload again")


PICTURES = {"huge.png": bad.huge_png, "huge.jpg": bad.huge_jpeg, "huge.bmp": bad.huge_bmp, "huge.webp": bad.huge_webp}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_gigapixels_are_not_decoded(place: Place, name: str) -> None:
    bad.pack(place.zip, {**bad.good(), f"images/train/{name}": PICTURES[name]()})
    error = place.refused(rf"images/train/{name} has \d+ x \d+ pixels; at most 64 megapixels")
    assert error.problems[0].file == f"images/train/{name}"


def test_a_jpeg_of_endless_scans_is_not_decoded(place: Place) -> None:
    bad.pack(place.zip, {**bad.good(), "images/train/slow.jpg": bad.scans()})
    data = place.taken()
    assert [(p.file, p.message) for p in data.left_out] == [
        ("images/train/slow.jpg", "has more than 100 scans, which takes a decoder minutes")
    ]


# ---------------------------------------------------------------- no zip at all
def tar(mode: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as t:
        info = tarfile.TarInfo("images/a.png")
        info.size = len(bad.picture())
        t.addfile(info, io.BytesIO(bad.picture()))
    return out.getvalue()


FILES = {
    "7z": (
        b"7z\xbc\xaf\x27\x1c\0\4" + bytes(100),
        "is a 7z archive, whatever its name says. Pack the data set as a zip",
    ),
    "rar": (b"Rar!\x1a\x07\x01\0" + bytes(100), "is a RAR archive"),
    "tar": (tar("w"), "is a tar archive"),
    "tar.gz": (tar("w:gz"), "is a gzip or tar.gz file"),
    "tar.xz": (tar("w:xz"), "is an xz or tar.xz file"),
    "picture": (bad.picture(kind="JPEG"), "is a picture"),
    "html": (b"<html>not found</html>", "is no zip"),
    "empty": (b"", "is no zip"),
    "empty zip": (b"PK\x05\x06" + bytes(18), "holds no pictures"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_zip_say_what_they_are(place: Place, name: str) -> None:
    content, message = FILES[name]
    place.zip.write_bytes(content)
    place.refused(re.escape(message))


def test_a_missing_file(place: Place) -> None:
    place.refused("there is no file upload.zip")


@pytest.mark.parametrize("kept", [30, 0.5, -10])
def test_a_zip_that_is_cut_off(place: Place, kept: float) -> None:
    content = bad.pack(place.zip, bad.good()).read_bytes()
    place.zip.write_bytes(content[: int(len(content) * kept) if kept == 0.5 else int(kept)])
    place.refused("the zip is cut off or damaged .* Zip and upload it again")


def test_a_zip_with_a_damaged_file(place: Place) -> None:
    content = bytearray(bad.pack(place.zip, bad.good()).read_bytes())
    at = content.index(b"images/train/train2.png") + 60
    content[at : at + 20] = bytes(20)
    place.zip.write_bytes(content)
    place.refused("train2.png is damaged in the zip .* Zip and upload again")


def test_random_damage_never_ends_in_anything_but_a_message(place: Place) -> None:
    whole = np.frombuffer(bad.pack(place.zip, bad.good(2, 1)).read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    ends = 0
    for n in range(150):
        content = whole.copy()
        where = rng.integers(0, len(content), 4) if n % 2 else len(content) - rng.integers(1, 700, 4)
        content[where] = rng.integers(0, 256, 4)
        place.zip.write_bytes(content.tobytes())
        before = tree(place.folder)
        try:
            import_zip(place.zip, place.into)
        except DataError:
            ends += 1
        place.untouched(before)
    assert ends > 50
    assert not [p for p in place.into.iterdir() if p.name.startswith(".")]
    assert all(data.splits["train"] for data in list_datasets(place.into))
