"""Runs in a Ray cluster, through its Jobs API: the very same worker command, and no Ray in this process.

The cluster must see the folder of the runs (one machine, or a shared disk): progress, stop and resume go through the
files, as on this machine. The token is sent in a header and is written nowhere.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from halo_vis.training.launch import RUN_FOLDER, SUBMITTED, LaunchError, settings_of, signal_worker, starting
from halo_vis.training.run_folder import AT_WORK, RunFolder

COMMAND = ("python", "-m", "halo_vis", "train", RUN_FOLDER)
CONNECT_S, ANSWER_S = 3.0, 15.0
FRESH_S = 1.5  # for how long an answer counts
UNREACHABLE_S = 5.0  # and that there was none
POLL_S = 0.5
GONE = "GONE"  # a job that the head does not know, as after a restart of the head
FINAL = ("STOPPED", "SUCCEEDED", "FAILED")  # asked for once. Not so GONE: another server may be handing the job over
ENDED = (*FINAL, GONE)
LARGEST_ANSWER = 8 * 1024 * 1024


class RayError(LaunchError):
    """The cluster did not do what it was asked; the message says why and what to do."""


@dataclass
class RayLauncher:
    """Workers in a Ray cluster.

    Args:
        address: of the head's dashboard, as http://HOST:8265.
        token: where the cluster asks for one (RAY_AUTH_MODE=token).
        command: the worker's command there; the item RUN_FOLDER stands for the folder's path.
        cpus, gpus: what a run takes of the cluster; Ray lets it wait until they are free.
        root_there: the path of the folder of the runs in the cluster; "": the same as here.
        env: more environment variables for the worker, such as PYTHONPATH where halo_vis is not installed.
        stop_wait_s: how long Ray waits after SIGTERM before it kills; an epoch's validation should fit in.

    Raises:
        RayError: an address that is none.
    """

    address: str
    token: str | None = field(default=None, repr=False)
    command: tuple[str, ...] = COMMAND
    cpus: float = 1
    gpus: float = 0
    root_there: str = ""
    env: dict[str, str] = field(default_factory=dict)
    stop_wait_s: int = 60
    queues: bool = field(default=True, init=False)
    _known: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict, init=False, repr=False)
    _submitting: set[str] = field(default_factory=set, init=False, repr=False)
    _unreachable: tuple[float, str] = field(default=(-1e9, ""), init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no dashboard's address before anything is sent there."""
        self.address = self.address.strip().rstrip("/")
        self.token = (self.token or "").strip() or None
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            shown = f"{parts.scheme}://{parts.hostname}" if parts.username else self.address[:80]
            raise RayError(f"a Ray address is that of its dashboard, as http://HOST:8265; got {shown!r}.")
        if self.token and not (self.token.isascii() and self.token.isprintable()):
            raise RayError("a Ray token is one line of plain letters and digits. Copy it again.")

    # ------------------------------------------------------------ as any launcher
    def launch(self, run: RunFolder, device: str = "") -> None:
        """Hand the run to the cluster; see Launcher. Ray itself gives out the devices."""
        job = f"halo-vis-{run.id}-{secrets.token_hex(4)}"
        before = {name: run.json(name) for name in ("status.json", "proc.json")}
        there = PurePosixPath(self.root_there) / run.id if self.root_there else PurePosixPath(run.path.as_posix())
        command = shlex.join(str(there) if item == RUN_FOLDER else item for item in self.command)
        body = {
            "entrypoint": _entrypoint(command, there, job),
            "submission_id": job,
            "entrypoint_num_cpus": self.cpus,
            **({"entrypoint_num_gpus": self.gpus} if self.gpus else {}),
            "runtime_env": {"env_vars": self._environment(there)},
        }
        self._ask("GET", "/api/version")  # nothing of the run is touched while nobody answers
        self._submitting.add(job)  # before anything names it: the head does not know it yet, and may take seconds
        try:
            try:
                run.write_json("proc.json", {"ray": {"address": self.address, "job": job}})
                starting(run, phase=SUBMITTED)
            except OSError as error:
                reason = error.strerror or error
                raise LaunchError(f"{run.path} cannot be written ({reason}). Free some disk.") from None
            self._ask("POST", "/api/jobs/", body=body)
        except RayError:
            with contextlib.suppress(RayError):
                if self._fetch(job)["status"] != GONE:
                    return  # it arrived, only the answer did not
            with contextlib.suppress(OSError):
                for name, value in before.items():
                    run.write_json(name, value)
            raise
        finally:
            self._submitting.discard(job)

    def alive(self, run: RunFolder) -> bool | None:
        """Whether the job waits or runs; None while the head cannot be asked."""
        if run.at_work():
            return True  # the cluster is this machine, or has a node on it
        status = self._status(run)
        return None if status is None else status not in ENDED

    def pending(self, run: RunFolder) -> bool:
        """Whether the job waits for free CPUs or GPUs."""
        return self._status(run) == "PENDING"

    def warnings(self, run: RunFolder) -> list[str]:
        """What the head says of a job that failed, or why it says nothing."""
        status = self._status(run)
        if status is None:
            return [f"{self._unreachable[1]} What is shown is the last that is known of the run."]
        if status == GONE:
            return ["The cluster does not know this run any more: it was started anew."]
        if status == "FAILED":
            return [f"The cluster says: {str(self._known[_job(run)][1].get('message') or 'it failed')[-600:]}"]
        return []

    def withdraw(self, run: RunFolder) -> bool:
        """Call off a job that waits: Ray drops it when its turn comes, and the run no longer names it by then."""
        job = _job(run)
        if not job or self._fetch(job)["status"] != "PENDING":
            return False
        self._ask("POST", f"/api/jobs/{job}/stop")
        return True

    def terminate(self, run: RunFolder) -> bool:
        """SIGTERM, by Ray; SIGKILL follows where the worker does not end within stop_wait_s."""
        job = _job(run)
        if not job or self._fetch(job)["status"] in ENDED:
            return False
        self._ask("POST", f"/api/jobs/{job}/stop")
        self._known.pop(job, None)
        return True

    def kill(self, run: RunFolder) -> bool:
        """SIGKILL at once where the worker is on this machine; elsewhere Ray's stop, which ends in SIGKILL."""
        if run.at_work():
            killed = signal_worker(run, signal.SIGKILL)
            self._known.pop(_job(run), None)
            return killed
        return self.terminate(run)

    def wait(self, run: RunFolder, seconds: float) -> bool:
        """Wait until the job has ended; one that said its last word counts as ended while the head cannot be asked."""
        until = time.monotonic() + seconds
        while True:
            self._known.pop(_job(run), None)
            alive = self.alive(run)
            if alive is None and run.json("status.json").get("state") not in AT_WORK:
                alive = False
            if alive is False or time.monotonic() >= until:
                return alive is False
            time.sleep(POLL_S)  # Ray has no way to be told

    def log(self, run: RunFolder, size: int) -> str:
        """The end of log.txt; before there is one, what Ray has kept of the job."""
        text = run.log_tail(size)
        job = _job(run)
        if text or not job or self._status(run) in (None, GONE):
            return text
        with contextlib.suppress(RayError):
            return str(self._ask("GET", f"/api/jobs/{job}/logs").get("logs") or "")[-size:]
        return ""

    def version(self) -> str:
        """The cluster's Ray version: whether address and token are right. Raises RayError if they are not."""
        self._ask("GET", "/api/jobs/")
        return str(self._ask("GET", "/api/version").get("ray_version"))

    # ------------------------------------------------------------ parts
    def _environment(self, there: PurePosixPath) -> dict[str, str]:
        fixed = {name: Path(value).as_posix() for name, value in settings_of(Path(there)).items()}
        return fixed | {"RAY_JOB_STOP_WAIT_TIME_S": str(self.stop_wait_s)} | self.env

    def _status(self, run: RunFolder) -> str | None:
        """The job's status, GONE, or None while the head cannot be asked. Asked at most once in FRESH_S."""
        job = _job(run)
        if not job:
            return GONE
        if job in self._submitting:
            return "PENDING"
        with self._lock:  # others wait for the one that asks, and share its answer
            known = self._known.get(job)
            now = time.monotonic()
            if known and (now - known[0] < FRESH_S or known[1]["status"] in FINAL):
                return known[1]["status"]
            if now - self._unreachable[0] < UNREACHABLE_S:
                return None
            try:
                return self._fetch(job)["status"]
            except RayError as error:
                self._unreachable = (time.monotonic(), str(error))
                return None

    def _fetch(self, job: str) -> dict[str, Any]:
        found = self._ask("GET", f"/api/jobs/{job}", missing={"status": GONE})
        found = found if isinstance(found.get("status"), str) else {"status": GONE}
        self._remember(job, found)
        return found

    def _remember(self, job: str, found: dict[str, Any]) -> None:
        self._known[job] = (time.monotonic(), found)

    def _ask(self, method: str, path: str, missing: dict | None = None, body: dict | None = None) -> dict[str, Any]:
        """One request; its JSON object."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with requests.Session() as session:
                session.trust_env = False  # neither a proxy nor a .netrc of this machine gets the token, or replaces it
                answer = session.request(
                    method, self.address + path, headers=headers, json=body, timeout=(CONNECT_S, ANSWER_S),
                    allow_redirects=False, stream=True,
                )  # fmt: skip
                said = answer.raw.read(LARGEST_ANSWER, decode_content=True)
        except (requests.RequestException, HTTPError, OSError) as error:
            reason = "did not answer in time" if isinstance(error, requests.Timeout) else "cannot be reached"
            raise RayError(
                f"The Ray cluster at {self.address} {reason}. Is its head up, and the address that of its dashboard?",
                later=True,
            ) from None
        if answer.status_code == 404 and missing is not None:
            return missing
        if answer.status_code in (401, 403):
            why = "needs a token" if not self.token else "refused the token"
            raise RayError(f"The Ray cluster at {self.address} {why}. Set the right one in the settings.", later=True)
        if answer.status_code != 200:
            raise RayError(
                f"The Ray cluster at {self.address} answered {answer.status_code} to {method} {path}: "
                f"{said.decode('utf-8', 'replace').strip()[-400:]}",
                later=answer.status_code >= 500,
            )
        try:
            found = json.loads(said)
        except ValueError:
            raise RayError(f"{self.address} answers, but is no Ray dashboard. Check the address.", later=True) from None
        return found if isinstance(found, dict) else {"jobs": found}


def _entrypoint(command: str, there: PurePosixPath, job: str) -> str:
    """The job's shell command: the worker, if the run still waits for this very job.

    Ray cannot end a job that waits for a free CPU: it would begin when its turn comes. The worker prints into the run
    folder, as on this machine: Ray's own log is given only as a whole.
    """
    process, log = (shlex.quote(str(there / name)) for name in ("proc.json", "log.txt"))
    why = shlex.quote(f"{there} is not there in the cluster, or the run was called off.")
    return f"if grep -qs {job} {process}; then exec {command} >> {log} 2>&1; else echo {why} >&2; exit 3; fi"


def _job(run: RunFolder) -> str:
    ray = run.process().get("ray")
    job = ray.get("job") if isinstance(ray, dict) else None
    return job if isinstance(job, str) else ""
