"""A real Ray head and runs in it, isolated; what happened is written as JSON for test_ray.py to judge.

Run inside a network namespace of its own (nothing listens outside of it), and a process namespace (nothing is left
behind): `unshare --net --pid --fork --mount-proc --kill-child python ray_scenario.py RAY ROOT RESULT.json [--real]`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path

package = types.ModuleType("halo_vis")  # without torch, see stand_in.py
package.__path__ = [str(Path(__file__).resolve().parents[1] / "halo_vis")]
sys.modules.setdefault("halo_vis", package)

import psutil
from run_folders import STAND_IN, epochs_done, go, make_run, starts, until

from halo_vis.training import ray_jobs
from halo_vis.training.launch import COMMAND, PACKAGES
from halo_vis.training.ray_jobs import RayError, RayLauncher
from halo_vis.training.run_folder import RunFolder
from halo_vis.training.store import Store, StoreError, StoreSettings

TOKEN = "a-token-that-no-file-may-hold-0123456789abcdef"
PORT, DASHBOARD = 6380, 8266
ADDRESS = f"http://127.0.0.1:{DASHBOARD}"
SECONDS = 120  # on a busy machine; every wait ends as soon as what it waits for is there


def loopback_up() -> None:
    """A new network namespace has a loopback that is down; `ip link set lo up`, without ip."""
    with socket.socket() as s:
        flags = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        with contextlib.suppress(OSError):  # it is up, and not ours, outside a namespace
            fcntl.ioctl(s, 0x8914, flags)  # SIOCSIFFLAGS


def listening() -> list[str]:
    """Local addresses that something listens at, other than loopback."""
    found = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A":
                found.append(local)
    return found


class Head:
    """A Ray head with one CPU that asks for a token."""

    def __init__(self, ray: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # a short path: sockets lie below
        token = self.folder / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        env |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        self.log = (self.folder / "head.log").open("w")
        self.process = subprocess.Popen(
            [ray, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={PORT}", "--num-cpus=1",
             "--num-gpus=0", "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={DASHBOARD}",
             "--disable-usage-stats", "--object-store-memory=80000000", f"--temp-dir={self.folder / 'r'}"],
            env=env, stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

        def up() -> str | None:
            assert self.process.poll() is None, (self.folder / "head.log").read_text()[-2000:]
            with contextlib.suppress(RayError):
                return RayLauncher(ADDRESS, TOKEN).version()
            return None

        self.version = until(up, "the head answers", SECONDS)

    def end(self) -> None:
        """End it and all it has started."""
        started = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()
        for process in started:  # it may end before what it has started, which holds ports that the next head needs
            with contextlib.suppress(psutil.Error):
                process.kill()
        left = psutil.wait_procs(started, 20)[1]
        assert not left, left
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def refusals() -> dict:
    """What is said of a wrong address and a wrong token."""
    said = {}
    for name, address, token in (
        ("wrong token", ADDRESS, "wrong"),
        ("no token", ADDRESS, None),
        ("nobody there", "http://127.0.0.1:9", TOKEN),
        ("no dashboard", f"http://127.0.0.1:{PORT}", TOKEN),
    ):
        try:
            said[name] = RayLauncher(address, token).version()
        except RayError as error:
            said[name] = str(error)
    return said


def to_its_end(store: Store) -> dict:
    run = make_run(store.root, "end", epochs=2)
    store.enqueue(run)
    until(lambda: store.state(run) == "finished", "the run ends", SECONDS)
    shown = store.snapshot(run)
    env = starts(run)[0]["env"]
    return {
        "epochs": epochs_done(run),
        "log": shown["log"],
        "load": shown["load"],
        "proc": run.process(),
        "starts": len(starts(run)),
        "env": {n: env.get(n) for n in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL", "ULTRALYTICS_SAFE_LOAD", "HALO_VIS_RUN")},
    }


@contextlib.contextmanager
def looked_at_while_handed_over(store: Store) -> Iterator[list[str]]:
    """Somebody looks at a run just when it names a job that the head does not know yet; the states that they see."""
    seen: list[str] = []

    def starting(run: RunFolder, **values: str) -> None:
        seen.append(store.state(run))
        real(run, **values)
        seen.append(store.state(run))

    real, ray_jobs.starting = ray_jobs.starting, starting
    try:
        yield seen
    finally:
        ray_jobs.starting = real


def stopped_in_the_queue_of_ray(store: Store) -> dict:
    """One CPU: the second run waits in Ray."""
    first, second = (make_run(store.root, name, epochs=2, gated=True) for name in ("p1", "p2"))
    store.enqueue(first)
    until(lambda: starts(first), "the first starts", SECONDS)
    with looked_at_while_handed_over(store) as seen:
        store.enqueue(second)
        until(lambda: len(seen) == 2, "the second is handed over", SECONDS)
    shown = store.snapshot(second)
    found = {"state": shown["state"], "queue": shown["queue"], "actions": shown["actions"], "first": store.state(first)}
    found["seen"] = seen
    found["stopped"] = store.stop(second)
    store.resume(second)
    go(first, 2)
    go(second, 2)
    until(lambda: store.state(second) == "finished", "it comes back, and ends", SECONDS)
    return found | {"starts": len(starts(second)), "first at the end": store.state(first)}


def gracefully(store: Store) -> dict:
    run = make_run(store.root, "graceful", epochs=3, gated=True)
    store.enqueue(run)
    go(run, 1)
    until(lambda: run.json("status.json").get("epoch") == 2, "the second epoch", SECONDS)
    found = {"asked": store.stop(run)}
    go(run, 2)
    until(lambda: store.state(run) == "stopped", "it stops", SECONDS)
    found["epochs"] = epochs_done(run)
    store.resume(run)
    go(run, 3)
    until(lambda: store.state(run) == "finished", "it goes on", SECONDS)
    return found | {"in the end": epochs_done(run)}


def at_once(store: Store) -> dict:
    run = make_run(store.root, "now", epochs=2, gated=True)
    store.enqueue(run)
    go(run, 1)
    until(lambda: run.json("status.json").get("epoch") == 2, "the second epoch", SECONDS)
    store.stop_now(run)
    until(lambda: store.state(run) == "stopped", "Ray's SIGTERM is heard", SECONDS)
    return {"epochs": epochs_done(run), "said": run.json("status.json")["state"]}


def by_force(store: Store) -> dict:
    """Of a worker that hears nothing: killed by us where it is on this machine; by Ray, after its time, elsewhere."""
    run = make_run(store.root, "force", epochs=2, gated=True, deaf=True)
    store.enqueue(run)
    until(lambda: starts(run), "it starts", SECONDS)
    found = {"asked": store.stop_now(run)}
    until(lambda: store.state(run) == "interrupted", "Ray kills it", SECONDS)
    store.resume(run)
    until(lambda: len(starts(run)) == 2, "it starts again", SECONDS)
    found["killed"] = store.kill(run)
    found["warnings"] = store.snapshot(run)["warnings"]
    return found


def the_worker(store: Store, run: RunFolder) -> dict:
    """The real one, in a folder that the test has made."""
    real = Store(store.root, store.settings, RayLauncher(ADDRESS, TOKEN, command=COMMAND, env=environment()))
    real.start_pump()
    try:
        real.enqueue(run)
        until(lambda: real.state(run) not in ("queued", "running"), "it ends", 240)
        shown = real.snapshot(run)
    finally:
        real.close()
    return {key: shown[key] for key in ("state", "members", "error")} | {"log": shown["log"][-2000:]}


def head_lost(store: Store, head: Head, ray: str) -> dict:
    """The head ends while a run is at work, and comes back without knowing it."""
    run = make_run(store.root, "lost", epochs=2, gated=True)
    store.enqueue(run)
    until(lambda: starts(run), "it starts", SECONDS)
    waits = make_run(store.root, "waits")
    head.end()
    with contextlib.suppress(ProcessLookupError):
        os.kill(run.process()["pid"], signal.SIGKILL)
    until(lambda: not run.at_work(), "it is gone", SECONDS)
    store.enqueue(waits)
    until(lambda: "cannot be reached" in str(store.snapshot(run)["warnings"]), "the head is missed", SECONDS)
    until(lambda: store.snapshot(waits)["warnings"], "a start is tried", SECONDS)
    found = {"away": [store.state(run), *store.snapshot(run)["warnings"]]}
    found["waits"] = [store.state(waits), *store.snapshot(waits)["warnings"]]
    head = Head(ray)
    until(lambda: store.state(run) == "interrupted", "the new head does not know it", SECONDS)
    found["back"] = store.snapshot(run)["warnings"]
    go(run, 2)
    store.resume(run)
    until(lambda: store.state(run) == "finished" == store.state(waits), "both end", SECONDS)
    return found | {"epochs": epochs_done(run)}


def environment() -> dict[str, str]:
    """What a worker here needs and a cluster's image would have: the package, and one thread."""
    return {"PYTHONPATH": str(PACKAGES), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def holders(root: Path) -> list[str]:
    """Files of the runs that hold the token."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return [str(path.relative_to(root)) for path in files if TOKEN.encode() in path.read_bytes()]


def main() -> int:
    ray, root, result = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    loopback_up()
    began = time.monotonic()
    head = Head(ray)
    found: dict = {"version": head.version, "head_s": round(time.monotonic() - began, 1), "listening": listening()}
    launcher = RayLauncher(ADDRESS, TOKEN, command=STAND_IN, stop_wait_s=4)
    store = Store(root, StoreSettings(disk_free_bytes=0, poll_s=0.2), launcher)
    store.start_pump()
    only = [name for name in sys.argv[4:] if not name.startswith("-")]  # by hand: some of the steps
    steps = [("refusals", refusals)] + [
        (step.__name__, lambda step=step: step(store))
        for step in (to_its_end, stopped_in_the_queue_of_ray, gracefully, at_once, by_force)
    ]
    if "--real" in sys.argv:
        steps.append(("the_worker", lambda: the_worker(store, store.get("real"))))
    steps.append(("head_lost", lambda: head_lost(store, head, ray)))
    for name, step in steps:
        if only and name not in only:
            continue
        began = time.monotonic()
        try:
            found[name] = step()
        except (Exception, AssertionError) as error:
            found[name] = {"wrong": repr(error), "states": {run.id: store.state(run) for run in store.runs()}}
            for run in store.runs():  # the one CPU is needed by the next step
                with contextlib.suppress(StoreError):
                    store.kill(run)
        print(name, f"{time.monotonic() - began:.1f} s", str(found[name])[:300], flush=True)
    store.close()
    found["holders"] = holders(root)
    result.write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
