"""A run is a folder: what lies in it, who may write it, and what is true of it whatever happened to its process.

RUN/run.yaml                  the recipe, as it was asked for
RUN/plan.yaml                 the page's choices that became that recipe (absent where there were none)
RUN/about.json                title, notes, owner, when it was made: what people say of it
RUN/start/<member>.safetensors    the weights it starts from (absent: untrained)
RUN/lock                      held by the process that trains, for as long as it lives
RUN/proc.json                 which process that is
RUN/status.json               state and progress, replaced as a whole
RUN/events.jsonl              a line per epoch and per change of state; the last may be half written
RUN/log.txt                   what the process printed
RUN/STOP                      its presence asks for a stop at the end of the epoch
RUN/data/                     generated or gathered data
RUN/out/<member>/stage<n>/    Ultralytics' own folders (several GPUs: deleted at launch); done.json once one is done
RUN/work/                     its process's working directory and configuration
RUN/tensorboard/              event files; trackers.json: what other trackers were told
RUN/attention/<member>.jsonl  attention of the probe's query, a line per epoch
RUN/weights/<member>.safetensors and <member>.json
RUN/comparison.json           the members side by side, once all are there
RUN/pair.json                 what the page and load_pair("run:ID") offer of it

While a worker lives it alone writes here; before and after it a launcher may write status and events, under its lock.
A reader never trusts status.json by itself: a run "running" without its process was interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

# queued: waits for its turn. running, stopping: a process has it. finished: all is there. The other three may go on
# from the last whole epoch: stopped as asked, interrupted (its process is gone), failed (it said why).
STATES = ("new", "queued", "running", "stopping", "stopped", "interrupted", "failed", "finished")
RESUMABLE = ("stopped", "interrupted", "failed")
AT_WORK = ("running", "stopping")
MARK = "HALO_VIS_RUN"  # in the environment of a worker that a launcher started: which run it works on
TAIL = 64 * 1024  # bytes of a log that are read


class RunBusy(RuntimeError):
    """Another process has the run folder."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; holds nothing itself."""

    path: Path

    def __post_init__(self) -> None:
        """Absolute from the start: Ultralytics moves relative paths below its own folder."""
        object.__setattr__(self, "path", Path(self.path).resolve())

    @property
    def id(self) -> str:
        """Its name."""
        return self.path.name

    @property
    def log(self) -> Path:
        """What the process prints."""
        return self.path / "log.txt"

    @property
    def stop_file(self) -> Path:
        """Its presence asks for a stop."""
        return self.path / "STOP"

    def weights(self, member: str) -> Path:
        """The trained weights of a member; its card has the same name with .json."""
        return self.path / "weights" / f"{member}.safetensors"

    def start(self, member: str) -> Path:
        """The weights a member starts from."""
        return self.path / "start" / f"{member}.safetensors"

    def attention(self, member: str) -> Path:
        """The probe's attention, a line per epoch."""
        return self.path / "attention" / f"{member}.jsonl"

    # ------------------------------------------------------------ reading
    def json(self, name: str) -> dict[str, Any]:
        """A JSON object of the folder; {} where it is missing, damaged, or no object."""
        try:
            value = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def lines(self, path: Path) -> list[dict[str, Any]]:
        """The whole lines of a JSON-lines file; a damaged line, such as a half-written last one, is left out."""
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        found = []
        for line in text.split("\n"):
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(line)
                if isinstance(value, dict):
                    found.append(value)
        return found

    def events(self) -> list[dict[str, Any]]:
        """What happened, in order."""
        return self.lines(self.path / "events.jsonl")

    def log_tail(self, size: int = TAIL) -> str:
        """The end of the log, from the start of a line; a progress bar's overwritten text is left out."""
        try:
            with self.log.open("rb") as f:
                f.seek(0, os.SEEK_END)
                start = max(0, f.tell() - size)
                f.seek(start)
                text = f.read(size).decode("utf-8", "replace")
        except OSError:
            return ""
        if start:
            text = text.partition("\n")[2]
        return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))

    def state(self, at_work: bool | None = None) -> str:
        """What is true now, whatever status.json says; one of STATES.

        Args:
            at_work: whether its process lives, where the caller knows better than this machine (a cluster does).
        """
        said = self.json("status.json").get("state")
        if not (self.path / "run.yaml").is_file():
            return "failed"  # nothing can be run from it
        if said in ("new", "queued", "stopped", "failed", "finished"):
            return said
        if self.at_work() if at_work is None else at_work:
            return "stopping" if self.stop_file.exists() else "running"
        if said in ("running", "stopping"):
            return "interrupted"
        # Missing or damaged: tell by what the process left.
        last = [event["state"] for event in self.events() if event.get("kind") == "state" and "state" in event]
        if last and last[-1] in ("new", "queued", "stopped", "failed", "finished"):
            return last[-1]
        return "interrupted" if (self.path / "events.jsonl").exists() else "new"

    # ------------------------------------------------------------ writing
    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Replace a JSON file as a whole: a reader sees the old one or the new one."""
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / name
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")
            _replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def append(self, path: Path, value: dict[str, Any]) -> None:
        """Add a line; behind a half-written one it starts a line of its own."""
        path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(value, ensure_ascii=False) + "\n"
        with path.open("ab+") as f:
            size = f.seek(0, os.SEEK_END)
            if size:
                f.seek(size - 1)
                if f.read(1) != b"\n":
                    line = "\n" + line
            f.write(line.encode("utf-8", "replace"))

    def event(self, kind: str, **values: Any) -> None:
        """Record that something happened."""
        self.append(self.path / "events.jsonl", {"kind": kind, "time": round(time.time(), 3), **values})

    def set_state(self, state: str, **values: Any) -> None:
        """Record a change of state: in the events first, so that a lost status can be told from them."""
        self.event("state", state=state, **values)
        self.write_json("status.json", {"state": state, "time": round(time.time(), 3), **values})

    # ------------------------------------------------------------ the process
    def process(self) -> dict[str, Any]:
        """Which process trains or trained: pid, start, boot, host, and for Ray the job."""
        return self.json("proc.json")

    def at_work(self) -> bool:
        """Whether the run's process lives. A zombie is dead; so is another process with a pid used again."""
        return alive(self.process())

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have the run to oneself, as its worker.

        Raises:
            RunBusy: another process has it.
        """
        lock = FileLock(self.path / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunBusy(
                f"{self.path} is being trained by another process ({self.process().get('pid', 'unknown')}). "
                "Wait for it, stop it, or choose another run folder."
            ) from None
        try:
            # What a launcher noted of this process stays; what it noted of an earlier one does not.
            launched = os.environ.get(MARK) == str(self.path)
            noted = {k: v for k, v in self.process().items() if launched and k in ("ray", "device")}
            self.write_json("proc.json", noted | identity(os.getpid()))
            yield
        finally:
            lock.release()


def _replace(partial: Path, path: Path) -> None:
    """Put a file in another's place; Windows refuses for as long as somebody reads the other."""
    for _ in range(20):
        try:
            partial.replace(path)
            return
        except PermissionError:
            if platform.system() != "Windows":
                raise
            time.sleep(0.05)
    partial.replace(path)


def identity(pid: int) -> dict[str, Any]:
    """What tells this process from any other, on any day: a pid alone is used again.

    The start is in the kernel's own ticks since boot where there are such: setting the clock does not move it.
    """
    return {"pid": pid, "started": _started(pid), "boot": _boot(), "host": socket.gethostname()}


def alive(process: dict[str, Any]) -> bool:
    """Whether a process known by `identity` still runs on this machine."""
    pid = process.get("pid")
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        return False
    if process.get("host") != socket.gethostname() or process.get("boot") != _boot():
        return False
    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        pass  # it lives, and is somebody else's
    return process.get("started") == _started(pid)


def _started(pid: int) -> float | None:
    try:
        # The 22nd field; the second, the command's name in brackets, may hold blanks.
        return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        pass
    try:
        return psutil.Process(pid).create_time() if platform.system() != "Linux" else None
    except psutil.Error:
        return None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
