"""Official weights: the whole way from a release's metadata to a pair, against a real server on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from samples import picture

from halo_vis import inspect, load_pair
from halo_vis.fetch import FetchError, official_weights
from halo_vis.pairs import PairError
from halo_vis.transplant import Architecture, build
from halo_vis.weights import WeightsError

NAME = "yolo26n.pt"


class Release:
    """A release on 127.0.0.1: metadata at /meta, files at /files/NAME; knows what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.content = os.urandom(300_000)
        self.entry: dict = {"name": NAME, "size": len(self.content), "digest": f"sha256:{sha(self.content)}"}
        self.metadata: bytes | None = None  # instead of what `entry` makes
        self.send: bytes | None = None  # instead of the content
        self.status, self.length, self.trickle = 200, None, ""
        self.stop = threading.Event()
        release = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                release.asked.append(self.path)
                body = release.body(self.path)
                self.send_response(release.status if self.path != "/meta" else 200)
                slow = bool(release.trickle) and self.path.startswith(release.trickle)
                length = release.length if self.path != "/meta" and release.length is not None else len(body)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                try:
                    if not slow:
                        self.wfile.write(body)
                        return
                    for i in range(len(body)):  # a byte now and then: every single wait is short
                        self.wfile.write(body[i : i + 1])
                        if release.stop.wait(0.02):
                            return
                except OSError:
                    pass  # the client gave up, as it should

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/meta"
        self.entry["browser_download_url"] = self.url.replace("meta", f"files/{NAME}")
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def body(self, path: str) -> bytes:
        if path != "/meta":
            return self.content if self.send is None else self.send
        others = {"name": "yolo26s.pt", "size": 1, "digest": None, "browser_download_url": "http://127.0.0.1:9/"}
        return json.dumps({"assets": [others, self.entry]}).encode() if self.metadata is None else self.metadata

    def close(self) -> None:
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def release() -> Iterator[Release]:
    release = Release()
    yield release
    release.close()


def get(release: Release, folder: Path, **more: object) -> tuple[Path, str]:
    return official_weights(NAME, **{"fetch": True, "folder": folder, "release": release.url, "limit_s": 20.0} | more)


# ---------------------------------------------------------------- it works
def test_fetched_once_checked_and_used_offline(release: Release, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    path, origin = get(release, tmp_path, progress=lambda *step: steps.append(step))
    assert path == tmp_path / NAME and path.read_bytes() == release.content
    assert "sha256 as published" in origin and release.entry["browser_download_url"] in origin
    assert steps[-1] == (300_000, 300_000) and [s[0] for s in steps] == sorted({s[0] for s in steps})
    assert release.asked == ["/meta", f"/files/{NAME}"]
    release.close()
    for fetch in (True, False):  # offline from here on
        assert get(release, tmp_path, fetch=fetch) == (path, origin)
    assert len(release.asked) == 2
    path.write_bytes(release.content[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"has sha256 .*, expected .*Delete it and fetch it again"):
        get(release, tmp_path)


@pytest.mark.parametrize("digest", [None, ""])
def test_without_a_published_digest_it_is_pinned_and_said(release: Release, tmp_path: Path, digest: str | None) -> None:
    release.entry["digest"] = digest
    path, origin = get(release, tmp_path)
    assert "no digest published: pinned at first use" in origin and get(release, tmp_path, fetch=False) == (
        path,
        origin,
    )
    path.write_bytes(b"tampered")
    with pytest.raises(WeightsError, match=f"expected {sha(release.content)}"):
        get(release, tmp_path)
    assert path.read_bytes() == b"tampered"  # nothing is put right behind anybody's back


def test_a_file_put_there_by_hand_is_used_and_said_to_be_unchecked(release: Release, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"mine")
    assert get(release, tmp_path) == (tmp_path / NAME, "found on this machine, not checked against a release")
    (tmp_path / f"{NAME}.json").write_text("{")
    with pytest.raises(FetchError, match=r"yolo26n.pt.json is damaged"):
        get(release, tmp_path)
    (tmp_path / f"{NAME}.json").write_text(json.dumps({"kind": "odd", "sha256": sha(b"mine")}))
    with pytest.raises(FetchError, match=r"yolo26n.pt.json is damaged"):
        get(release, tmp_path)
    assert not release.asked


def test_without_permission_nobody_is_asked(release: Release, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"not on this machine \(looked for .*yolo26n.pt\)\. Ask for the download"):
        get(release, tmp_path / "weights", fetch=False)
    with pytest.raises(FetchError, match=r"no official weights named '../../evil.pt'; there are yolo26n.pt"):
        official_weights("../../evil.pt", fetch=True, folder=tmp_path, release=release.url)
    assert not release.asked and not list(tmp_path.iterdir())


# ---------------------------------------------------------------- it fails cleanly
def entry(**changes: object) -> dict:
    return {"entry": changes}


FAILURES = {
    "wrong digest": (entry(digest="sha256:" + "0" * 64), r"is not the published 0000"),
    "other algorithm": (entry(digest="md5:abc"), r"metadata at .* cannot be understood"),
    "short digest": (entry(digest="sha256:abc"), r"metadata at .* cannot be understood"),
    "longer than said": (entry(size=299_999), r"sends more than the 299999 bytes"),
    "shorter than said": (entry(size=300_001), r"ended after 300000 of 300001 bytes"),
    "cut off": ({"send": b"x" * 1000, "length": 300_000}, r"ended after 1000 of 300000|broke off"),
    "size 0": (entry(size=0), r"gives 0 bytes for yolo26n.pt"),
    "size of a disk": (entry(size=1 << 50), r"gives 1125899906842624 bytes"),
    "no size": (entry(size=None), r"metadata at .* cannot be understood"),
    "a file of this machine": (entry(browser_download_url="file:///etc/hostname"), r"file is not http"),
    "no address": (entry(browser_download_url="nowhere"), r"nowhere cannot be reached"),
    "not in the release": (entry(name="yolo26x-seg.pt"), r"has no file yolo26n.pt"),
    "404": ({"status": 404}, r"answered 404. Try later, or put the file in place by hand"),
    "500": ({"status": 500}, r"answered 500"),
    "garbage": ({"metadata": b"<html>captive portal</html>"}, r"metadata at .* cannot be understood"),
    "no assets": ({"metadata": b"{}"}, r"cannot be understood"),
    "a list": ({"metadata": b"[1]"}, r"cannot be understood"),
    "too deep": ({"metadata": b"[" * 200_000}, r"cannot be understood"),
    "slow metadata": ({"trickle": "/meta", "limit": 0.4}, r"time is up|timed out"),
    "slow file": ({"trickle": "/files", "limit": 0.4}, r"time is up after \d+ of 300000 bytes"),
    "no time at all": ({"limit": 0.0}, r"time is up before"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_failures_are_told_and_leave_nothing(release: Release, tmp_path: Path, case: str) -> None:
    changes, words = FAILURES[case]
    release.entry |= changes.get("entry", {})
    for name in ("metadata", "send", "status", "length", "trickle"):
        if name in changes:
            setattr(release, name, changes[name])
    with pytest.raises(FetchError, match=words) as caught:
        get(release, tmp_path, limit_s=changes.get("limit", 20.0))
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_nobody_there(release: Release, tmp_path: Path) -> None:
    release.close()  # the port is closed now
    with pytest.raises(FetchError, match=r"cannot be reached .*Without a network, put the file in place by hand"):
        get(release, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_download_that_is_stopped_leaves_nothing(release: Release, tmp_path: Path) -> None:
    def stop(*step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(release, tmp_path, progress=stop)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- from release to pair
def test_the_coco_pair_end_to_end(release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the official architecture, in Ultralytics' own checkpoint format."""
    build(Architecture("n", form="baseline"), {i: f"thing {i}" for i in range(80)}).save(tmp_path / "official.pt")
    release.content = (tmp_path / "official.pt").read_bytes()
    release.entry |= {"size": len(release.content), "digest": f"sha256:{sha(release.content)}"}
    monkeypatch.setenv("HALO_VIS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HALO_VIS_RELEASE", release.url)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FetchError, match="Ask for the download"):
        load_pair("coco")
    assert not release.asked
    pair = load_pair("coco-n", fetch=True)
    assert (tmp_path / "data" / "weights" / NAME).read_bytes() == release.content
    assert pair.name == load_pair("coco").name == "coco-n" and len(release.asked) == 2
    assert pair.card.members["baseline"]["sha256"] == sha(release.content)
    assert "published" in pair.card.members["baseline"]["origin"] and pair.untrained
    seen = inspect(pair, picture(120, 160), conf=0.0, imgsz=160, device="cpu")
    assert len(seen.baseline) > 10 and seen.baseline.names[79] == "thing 79"
    for field in ("xyxy", "conf", "cls"):
        assert np.array_equal(getattr(seen.baseline, field), getattr(seen.halo, field))
    assert seen.baseline.queries == seen.halo.queries and {m.kind for m in seen.matches} == {"kept"}
    with pytest.raises(PairError, match=r"no pair named 'coco-q': the official scales are coco-n"):
        load_pair("coco-q", fetch=True)
