"""Behind the page: concurrent visitors, the fork of ZeroGPU, what a raw request may read, the endpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module", autouse=True)
def _own_environment() -> Iterator[None]:
    """The page settles its environment when it is imported; what runs after these tests must not inherit it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The page, served in this process; its address."""
    from demo.page import launch

    page, url = launch(block=False)
    yield url
    page.close()


def test_concurrent_visitors_get_their_own_results(bus: Path, zidane: Path, tmp_path: Path) -> None:
    """Threads with different settings and pictures on one pair: each result equals its sequential one."""
    from demo.service import Service

    service = Service(tmp_path)
    request = {"name": "photos", "member": "halo"}
    asked = [(bus, 0.25, 480), (zidane, 0.05, 480), (bus, 0.9, 320), (zidane, 0.5, 640)] * 3

    def one(job: tuple[Path, float, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        path, conf, imgsz = job
        seen = service.inspect(request, path, path.name, {"conf": conf, "imgsz": imgsz, "device": "cpu"})
        return seen.baseline.xyxy, seen.halo.conf, seen.trace["P4"].row(3, 3)

    alone = {job: one(job) for job in set(asked)}
    with ThreadPoolExecutor(4) as pool:
        for job, found in zip(asked, pool.map(one, asked), strict=True):
            for a, b in zip(found, alone[job], strict=True):
                np.testing.assert_array_equal(a, b)


def test_two_visitors_load_a_pair_once(tmp_path: Path) -> None:
    """Both get the same models in memory."""
    from demo.service import Service

    service = Service(tmp_path)
    start = threading.Barrier(2)

    def load(_: int) -> object:
        start.wait()
        return service.pair("photos", "halo")

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(load, range(2))
    assert first is second


def test_warming_runs_both_models(bus: Path, tmp_path: Path) -> None:
    """The first Run finds the predictors there: nothing is built for it, and nothing when a setting changes."""
    from demo.service import Service

    service = Service(tmp_path)
    assert not service.warmed()
    service.warm()
    service.warm()  # of a second visitor
    assert service._warm_over.wait(300) and service.ready()
    pair = service.pair("photos", "halo")
    warm = [pair.baseline.predictor, pair.halo.predictor]
    assert None not in warm
    for change in ({}, {"conf": 0.5}, {"imgsz": 320}):
        service.inspect({"name": "photos", "member": "halo"}, bus, bus.name, {"device": None} | change)
        assert [pair.baseline.predictor, pair.halo.predictor] == warm


def test_warming_that_fails_is_over_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page stays up; the health route does not wait for ever."""
    from demo import service as module

    monkeypatch.setattr(module.Service, "pair", lambda *_: 1 / 0)
    service = module.Service(tmp_path)
    service.warm()
    assert service._warm_over.wait(60) and not service.ready()


def test_what_is_published(bus: Path, tmp_path: Path) -> None:
    """The photo goes out as the file that came in; all else is the payload."""
    from demo.service import Service
    from halo_vis.viewer import payload

    service = Service(tmp_path)
    seen = _first(service, bus)
    value = service.publish(seen, "level=P4")
    assert Path(value["image"]["path"]).name == "picture.jpg"
    assert Path(value["image"]["path"]).read_bytes() == bus.read_bytes()
    meta, binaries = payload(seen)
    assert json.loads(value["meta"]) == json.loads(json.dumps(meta))
    assert Path(value["tensors"]["path"]).read_bytes() == binaries["tensors"]
    assert {n: Path(f["path"]).read_bytes() for n, f in value["others"].items()} == {"control": binaries["control"]}
    assert value["view"] == "level=P4" and seen.picture.name == bus.name


FORK = """
import multiprocessing, pickle, sys
import numpy as np
from halo_vis import inspect, load_pair
pair = load_pair("photos")
context = multiprocessing.get_context("fork")
receive, send = context.Pipe(False)
def child():
    send.send_bytes(pickle.dumps(inspect(pair, sys.argv[1], device="cpu")))
process = context.Process(target=child, daemon=True)
process.start()
assert receive.poll(120), "the fork sent nothing"
seen = pickle.loads(receive.recv_bytes())
process.join(30)
here = inspect(pair, sys.argv[1], device="cpu")
np.testing.assert_array_equal(seen.halo.xyxy, here.halo.xyxy)
np.testing.assert_array_equal(seen.trace["P3"].row(4, 4), here.trace["P3"].row(4, 4))
assert any(path.name == "explorer.html" for path in seen.save(sys.argv[2]))
print("fork agrees")
"""


def test_a_forked_daemon_process_hands_its_result_back(bus: Path, tmp_path: Path) -> None:
    """As on ZeroGPU: the pair is loaded in the parent, the call runs in a fork, its result is pickled back."""
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(bus), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert "fork agrees" in done.stdout, done.stderr


def test_inspect_endpoint(served: str, bus: Path) -> None:
    """/inspect through gradio_client: picture in; detections, matches, an overlay and files out."""
    from gradio_client import Client, handle_file

    client = Client(served, verbose=False)
    found, overlay, files = client.predict(
        handle_file(str(bus)), "photos", "halo", 0.25, 480, "one-to-many", api_name="/inspect"
    )
    names = {d["name"] for d in found["halo"]}
    assert {"bus", "person"} <= names
    assert {m["kind"] for m in found["matches"]} <= {"kept", "gained", "lost"}
    assert Path(overlay).stat().st_size > 10_000
    assert {"trace.npz", "detections.json"} <= {Path(f).name for f in files}


def test_two_clients_at_once(served: str, bus: Path) -> None:
    """Different settings at the same time, through the real queue."""
    from gradio_client import Client, handle_file

    def ask(conf: float) -> list[float]:
        client = Client(served, verbose=False)
        answer = client.predict(handle_file(str(bus)), "photos", "halo", conf, 480, "one-to-many", api_name="/inspect")
        return [d["conf"] for d in answer[0]["halo"]]

    with ThreadPoolExecutor(2) as pool:
        many, few = pool.map(ask, (0.01, 0.9))
    assert all(c >= 0.9 for c in few)
    assert min(many) < 0.9
    assert len(many) > len(few)


def test_health(served: str) -> None:
    """GET /healthz."""
    with urllib.request.urlopen(f"{served.rstrip('/')}/healthz") as answer:
        body = json.load(answer)
    assert body["status"] == "ok"
    assert isinstance(body["models"], bool) and isinstance(body["warm"], bool)


def test_a_path_of_the_server_is_not_read(served: str) -> None:
    """A client that names a file of the server instead of uploading one is refused."""
    from gradio_client import Client

    client = Client(served, verbose=False)
    secret = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match=r"(?i)not uploaded|not allowed|Cannot|invalid"):
        client.predict(secret, "photos", "halo", 0.25, 320, "one-to-many", api_name="/inspect")


def test_uploads_only_from_the_upload_folder(tmp_path: Path) -> None:
    """The guard itself, without Gradio's own checks before it."""
    from gradio.utils import get_upload_folder

    from demo import guards

    inside = Path(get_upload_folder()) / "abc" / "picture.png"
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.write_bytes(b"x")
    assert guards.uploaded(str(inside)) == inside.resolve()
    outside = tmp_path / "picture.png"
    outside.write_bytes(b"x")
    sneaky = f"{inside.parent}/../../../../../../../../../../{outside}"
    for path in (str(outside), sneaky, "/etc/passwd"):
        with pytest.raises(guards.Refused, match="foreign_path"):
            guards.uploaded(path)
    with pytest.raises(guards.Refused, match="no_picture"):
        guards.uploaded(None)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ('{"state": null}', "no longer here"),  # the result was let go, or the server started anew
        ("[1, 2]", "did not arrive"),
        ("{" * 100_000, "did not arrive"),
        ('{"first": true, "state": [1]}', "view: state must be"),
        ('{"first": true, "state": {"level": "P3<script>"}}', "level must be"),
        ('{"first": true, "state": {"level": "P9"}}', "no level"),
        ('{"first": true, "state": {}, "trail": [{"y": {}, "x": 0, "level": "P4"}, {}]}', "must be"),
    ],
)
def test_files_are_refused_with_a_reason(bus: Path, tmp_path: Path, sent: str, words: str) -> None:
    """Whatever a browser sends as its view, a person reads what is wrong with it."""
    import gradio as gr

    from demo.service import Service
    from demo.takeaway import TakeAway

    service = Service(tmp_path)
    with gr.Blocks():
        row = TakeAway(service, lambda component, **_: component)
    said = []
    with pytest.raises(gr.Error):
        for _, line in row._handler("gif", lambda: _first(service, bus))(None, "en", sent):
            said.append(line)
    assert words in said[-1]
    assert "Traceback" not in said[-1]


def _first(service: object, bus: Path) -> object:
    return service.inspect({"name": "photos", "member": "halo"}, bus, bus.name, {"imgsz": 320, "device": "cpu"})


def test_every_text_exists_in_both_languages() -> None:
    """Same keys, same placeholders."""
    import string

    from demo.texts import TEXTS

    english, chinese = TEXTS["en"], TEXTS["zh-CN"]
    assert english.keys() == chinese.keys()
    for key, words in english.items():
        fields = [{f for _, f, _, _ in string.Formatter().parse(t) if f} for t in (words, chinese[key])]
        assert fields[0] == fields[1], key


def test_the_page_is_up_before_torch() -> None:
    """Building the page imports neither torch nor ultralytics."""
    heavy = "('torch', 'ultralytics', 'halo_vis')"
    code = f"import sys, demo.page as p; p.build(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr
