"""A page served by a process of its own, and what a visitor without a browser does there."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PEERS = REPOSITORY / "demo" / "peer_page.py"  # there, because the library never imports Gradio
APP = ("app.py", "--host", "127.0.0.1", "--port")
PATIENCE_S = 180
POLL_S = 0.01


@dataclass
class Server:
    """A page that is up.

    Attributes:
        url: without a slash at its end.
        began: time.monotonic() just before the process was started.
    """

    process: subprocess.Popen
    url: str
    began: float
    log: Path

    def resident(self) -> float | None:
        """MiB of memory that the process has to itself; None where the system does not tell."""
        return resident(self.process.pid)

    def health(self) -> dict[str, Any]:
        """What /healthz says."""
        return get_json(f"{self.url}/healthz")


@contextmanager
def serving(*command: str) -> Iterator[Server]:
    """Start a page in the repository and wait for its first answer; the port is added to the command.

    Args:
        command: a Python file, then its arguments, of which "PORT" is replaced by a free port.

    Raises:
        RuntimeError: it ended, or gave no answer; with the end of what it printed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HALO_VIS_", "SPACE", "GRADIO_"))}
    kept.pop("YOLO_CONFIG_DIR", None)
    with tempfile.TemporaryDirectory(prefix="halo-vis-bench-") as folder:
        own = {"HALO_VIS_DATA": folder, "GRADIO_TEMP_DIR": f"{folder}/served", "GRADIO_ANALYTICS_ENABLED": "False"}
        log = Path(folder) / "log.txt"
        arguments = [sys.executable, *(str(port) if word == "PORT" else word for word in command)]
        with log.open("wb") as file:
            began = time.monotonic()
            process = subprocess.Popen(
                arguments,
                cwd=REPOSITORY,
                env=kept | own,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        server = Server(process, f"http://127.0.0.1:{port}", began, log)
        try:
            _first_answer(server)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)


def app() -> Any:
    """`python app.py`, as a context."""
    return serving(*APP, "PORT")


def peer(kind: str, *folder: Path) -> Any:
    """A page of demo/peer_page.py, as a context."""
    return serving(str(PEERS), kind, "PORT", *map(str, folder))


def _first_answer(server: Server) -> None:
    """Return with the first 200 of the page."""
    while time.monotonic() < server.began + PATIENCE_S:
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.url}/", timeout=PATIENCE_S) as answer:
                answer.read()
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(POLL_S)
    raise RuntimeError(f"{server.process.args[1]} gave no page: {server.log.read_text(errors='replace')[-1500:]}")


def get_json(url: str) -> Any:
    """A JSON answer."""
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def resident(pid: int | str = "self") -> float | None:
    """MiB of a process in memory, without the files that it only maps; None where /proc is not there."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    own = [line for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    own = own or [line for line in lines if line.startswith("VmRSS:")]  # not every kernel tells them apart
    return sum(int(line.split()[1]) for line in own) / 1024 if own else None


# ------------------------------------------------------------------ a visitor


@dataclass(frozen=True)
class Job:
    """What a visitor asks for."""

    picture: Path
    conf: float = 0.25
    imgsz: int = 480
    head: str = "one-to-many"


class Visitor:
    """Presses Run by HTTP, as the page's script does: upload, queue, then the files that the explorer fetches."""

    def __init__(self, url: str) -> None:
        self.url, self.session = url, secrets.token_hex(6)
        config = get_json(f"{url}/config")
        target = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "run")
        self._run = next(d for d in config["dependencies"] if [target, "click"] in [list(t) for t in d["targets"]])

    def run(self, job: Job) -> str:
        """One inspection; returns a digest of everything in it that does not tell the time.

        Raises:
            RuntimeError: the page gave a message instead.
        """
        path = self._upload(job.picture)
        picture = {"path": path, "orig_name": job.picture.name, "meta": {"_type": "gradio.FileData"}}
        asked = [picture, "photos", "halo", "", job.conf, job.imgsz, job.head, 0.7, "cpu", False]
        asked += [None] * (len(self._run["inputs"]) - len(asked) - 2) + ["en", ""]
        self._post("queue/join", {"data": asked, "fn_index": self._run["id"], "session_hash": self.session})
        value, line = self._answer()
        if not isinstance(value, dict) or "tensors" not in value:
            raise RuntimeError(f"the page gave no result for {job.picture.name}: {line}")
        meta = json.loads(value["meta"])
        digest = hashlib.sha256()
        kept = {key: meta[key] for key in ("detections", "matches", "settings", "input", "levels", "picture")}
        digest.update(json.dumps(kept, sort_keys=True).encode())
        with urllib.request.urlopen(value["tensors"]["url"], timeout=PATIENCE_S) as answer:
            digest.update(answer.read())
        return digest.hexdigest()

    def _upload(self, picture: Path) -> str:
        edge = secrets.token_hex(16)
        head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{picture.name}"\r\n\r\n'
        body = head.encode() + picture.read_bytes() + f"\r\n--{edge}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
        asked = urllib.request.Request(f"{self.url}/gradio_api/upload", body, kind)
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            return json.load(answer)[0]

    def _post(self, path: str, body: dict[str, Any]) -> None:
        kind = {"Content-Type": "application/json"}
        asked = urllib.request.Request(f"{self.url}/gradio_api/{path}", json.dumps(body).encode(), kind)
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            json.load(answer)

    def _answer(self) -> tuple[Any, Any]:
        """The explorer's value and the status line."""
        stream = f"{self.url}/gradio_api/queue/data?session_hash={self.session}"
        with urllib.request.urlopen(stream, timeout=PATIENCE_S) as lines:
            for line in lines:
                if not line.startswith(b"data:"):
                    continue
                said = json.loads(line[5:])
                if said["msg"] == "process_completed":
                    data = said["output"].get("data") or [None, said["output"].get("error")]
                    return data[0], data[1]
        raise RuntimeError("the page's queue ended without an answer.")
