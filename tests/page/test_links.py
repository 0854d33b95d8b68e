"""Links that rebuild a view, and the pictures that they lead back to."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from demo.guards import Refused
from demo.links import names_picture, read_link
from demo.pictures import Pictures
from demo.service import safe_name
from demo.turns import Turns

DIGEST = "ab" * 32


def test_a_link_says_picture_models_settings_and_view() -> None:
    link = read_link(
        f"#picture=bus.jpg&digest={DIGEST}&pair=meadow&member=article&beside=meadow%2Fhalo&conf=0.5&imgsz=640"
        "&head=NMS-free&iou=0.4&view=level%3DP4%26y%3D3"
    )
    assert (link.picture, link.digest, link.pair, link.member) == ("bus.jpg", DIGEST, "meadow", "article")
    assert (link.conf, link.imgsz, link.head, link.iou) == (0.5, 640, "NMS-free", 0.4)
    assert (link.beside, link.view) == ("meadow/halo", "level=P4&y=3")


def test_defaults_come_from_the_pairs_card() -> None:
    assert names_picture("#picture=meadow-0.png&pair=meadow")
    link = read_link("picture=meadow-0.png&pair=meadow")
    assert (link.member, link.conf, link.imgsz, link.iou) == ("halo", 0.25, 320, 0.7)


@pytest.mark.parametrize("fragment", ["", "#", "level=P4&y=1", "picture="])
def test_no_picture_no_link(fragment: str) -> None:
    assert not names_picture(fragment)


@pytest.mark.parametrize(
    ("fragment", "why"),
    [
        ("picture=a&pair=own", "link_own"),
        ("picture=a&pair=../../etc", "link_pair"),
        ("picture=a&pair=meadow&member=nobody", "link_pair"),
        ("picture=a&conf=lots", "link_broken"),
        ("picture=a&imgsz=1e9x", "link_broken"),
        ("picture=" + "a" * 5000, "link_broken"),
    ],
)
def test_what_a_link_may_not_say(fragment: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read_link(fragment)


@pytest.mark.parametrize(
    "setting", ["conf=nan", "conf=2", "iou=-1", "imgsz=33", "imgsz=0", "imgsz=99999999999999999999", "head=both"]
)
def test_settings_out_of_range_say_the_rule(setting: str) -> None:
    with pytest.raises(ValueError, match=f"{setting.split('=')[0]} must be"):
        read_link(f"picture=a.png&{setting}")


@pytest.mark.parametrize("beside", ["own", "x/y", "meadow/baseline", "meadow/../article", "/"])
def test_only_bundled_halo_models_stand_beside(beside: str) -> None:
    with pytest.raises(Refused, match="link_pair"):
        read_link(f"picture=a.png&beside={beside}")


def test_many_visitors_bring_the_same_picture_at_once(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"x" * 2_000_000)
    for n in range(20):
        kept, digest = Pictures(tmp_path / "kept"), f"{n:064d}"
        start = threading.Barrier(4)

        def bring(_: int, kept: Pictures = kept, digest: str = digest, start: threading.Barrier = start) -> None:
            start.wait()
            kept.keep(source, digest)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(bring, range(4)))
        assert kept.find(digest).read_bytes() == source.read_bytes()
    assert not list(kept.folder.glob("*.tmp"))


def test_only_the_last_of_a_visitors_turns_counts() -> None:
    turns = Turns()
    first, other = turns.take("a"), turns.take("b")
    assert first()
    second = turns.take("a")
    assert (first(), second(), other()) == (False, True, True)


@pytest.mark.parametrize("name", ["", "...", "图" * 90, "𠀀" * 90, "a" * 300, "../../etc/passwd", "CON", "a\nb\u202e"])
def test_any_name_makes_a_file_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"halovis_{safe_name(name)}_figure.pdf"
    path.write_bytes(b"x")
    assert path.parent == tmp_path
    assert len(path.name.encode()) <= 255


def test_pictures_are_found_by_digest_only(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"picture")
    kept = Pictures(tmp_path / "kept")
    assert kept.find(DIGEST) is None
    kept.keep(source, DIGEST)
    assert kept.find(DIGEST).read_bytes() == b"picture"
    for wrong in ("", "../a.jpg", DIGEST.upper(), DIGEST[:-1], "*"):
        assert kept.find(wrong) is None


def test_the_oldest_make_room(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"x" * 100)
    kept = Pictures(tmp_path / "kept", kept_bytes=250)
    names = [f"{n}{n}" * 32 for n in "0123"]
    for days, name in zip((3, 2, 1), names[:3], strict=True):
        kept.keep(source, name)
        used(kept.folder / name, days)
    kept.keep(source, names[3])
    assert [name for name in names if kept.find(name)] == names[2:]


def test_keeping_again_makes_a_picture_young(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"x" * 100)
    kept = Pictures(tmp_path / "kept", kept_bytes=250)
    first, second, third = (n * 64 for n in "012")
    for days, name in ((2, first), (1, second)):
        kept.keep(source, name)
        used(kept.folder / name, days)
    kept.keep(source, first)
    kept.keep(source, third)
    assert kept.find(first)
    assert not kept.find(second)


def test_nothing_is_kept_longer_than_a_month(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"x")
    kept = Pictures(tmp_path / "kept")
    for days, name in ((31, "0" * 64), (29, "1" * 64)):
        kept.keep(source, name)
        used(kept.folder / name, days)
    kept.keep(source, "2" * 64)
    assert [bool(kept.find(n * 64)) for n in "012"] == [False, True, True]


def used(path: Path, days: float) -> None:
    """As if a file had last been used some days ago; it may have had to make room."""
    if path.is_file():
        then = time.time() - days * 24 * 3600
        os.utime(path, (then, then))
