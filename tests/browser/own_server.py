"""The app as a process of a test's own: with its own environment, killed and started again as the test needs it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent.parent


class OwnServer:
    """`python app.py` on a port that stays the same over a restart."""

    def __init__(self, data: Path, **environment: str) -> None:
        self.data, self.environment, self.said = data, environment, []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    @property
    def runs(self) -> Path:
        """Where its run folders lie."""
        return self.data / "runs"

    def run(self, number: int = 0) -> Path:
        """A run's folder, the oldest first."""
        return sorted(p for p in self.runs.iterdir() if (p / "run.yaml").is_file())[number]

    def start(self) -> None:
        """Start it; returns once it listens."""
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("HALO_VIS_", "SPACE")) and k != "YOLO_CONFIG_DIR"
        }
        mine = {"HALO_VIS_DATA": str(self.data), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "app.py", "--host", "127.0.0.1", "--port", str(self.port)],
            cwd=REPOSITORY, env=kept | mine | self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        for line in self.process.stdout:
            self.said.append(line)
            if re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            raise AssertionError("the app ended before it was up:\n" + "".join(self.said))
        threading.Thread(target=lambda: self.said.extend(self.process.stdout), daemon=True).start()

    def kill(self) -> None:
        """End it by force, as a crash does; runs go on."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def close(self) -> None:
        """End it, and what it has started."""
        for path in self.runs.glob("*/proc.json"):
            try:
                process = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            from halo_vis.training.run_folder import alive

            if alive(process):
                os.killpg(process["pid"], signal.SIGKILL)
        self.process.terminate()
        self.process.wait(30)

    # ------------------------------------------------------------ raw requests
    def config(self) -> dict[str, Any]:
        """The page's own description of itself, which every visitor gets."""
        with urllib.request.urlopen(f"{self.url}/config") as answer:
            return json.load(answer)

    def raw(self, elem_id: str, event: str, data: dict[int, Any]) -> Any:
        """What a script may send past the page: an event's data, by position; the rest is None.

        Returns:
            the last message of the queue.
        """
        config = self.config()
        target = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == elem_id)
        found = next(d for d in config["dependencies"] if [target, event] in [list(t) for t in d["targets"]])
        sent = [data.get(n) for n in range(len(found["inputs"]))]
        body = {"data": sent, "fn_index": found["id"], "session_hash": "raw" + os.urandom(4).hex()}
        asked = urllib.request.Request(
            f"{self.url}/gradio_api/queue/join", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked) as answer:
            json.load(answer)
        last = None
        with urllib.request.urlopen(f"{self.url}/gradio_api/queue/data?session_hash={body['session_hash']}") as stream:
            for line in stream:
                if line.startswith(b"data:"):
                    last = json.loads(line[5:])
                    if last["msg"] == "process_completed":
                        return last
        return last


@contextmanager
def serving(data: Path, **environment: str) -> Iterator[OwnServer]:
    """A server for as long as the context lasts; it must never have said "Traceback"."""
    server = OwnServer(data, **environment)
    try:
        yield server
    finally:
        server.close()
    assert "Traceback" not in "".join(server.said), "".join(server.said)
