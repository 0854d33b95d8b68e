"""Start a run's worker on this machine, find it again, end it. No process that is not the run's own is ever signalled.

A worker is a process of its own session with a small environment: it outlives the server, and a signal to its group
reaches what it started.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil
from filelock import FileLock, Timeout

from halo_vis.training.run_folder import MARK, RunFolder, alive, identity

SUBMITTED = "submitted"  # phase of a run that a cluster has, until its worker says more
RUN_FOLDER = "RUN_FOLDER"  # in a command: where the folder's path comes
COMMAND = (sys.executable, "-m", "halo_vis", "train", RUN_FOLDER)
PACKAGES = Path(__file__).resolve().parents[2]  # where `halo_vis` is found: the worker does not start there
EXIT_S = 1.5  # a killed process of many threads is dead a moment before it lets go of its files
# What a worker is told of the server's environment: nothing that could hold a secret.
ALLOWED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_*", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "PYTORCH_*ALLOC_CONF", "OMP_*",
    "MKL_NUM_THREADS", "HALO_VIS_*",
)  # fmt: skip
SECRETS = ("*TOKEN*", "*SECRET*", "*PASSWORD*", "*CREDENTIAL*", "*KEY*")


class LaunchError(RuntimeError):
    """A run could not be started; the message says why and what to do.

    Attributes:
        later: it may be tried again: the run keeps its place in the queue.
    """

    def __init__(self, message: str, later: bool = False) -> None:
        super().__init__(message)
        self.later = later


class Launcher(Protocol):
    """Where runs are carried out."""

    queues: bool  # it has a queue of its own, so that any number may be handed to it

    def launch(self, run: RunFolder, device: str = "") -> None:
        """Start the worker; returns with status "running" and proc.json written. Raises LaunchError."""

    def alive(self, run: RunFolder) -> bool | None:
        """Whether the run's worker lives, or waits for its turn; None: nobody can tell now."""

    def pending(self, run: RunFolder) -> bool:
        """Whether it was handed over and waits for its turn there."""

    def warnings(self, run: RunFolder) -> list[str]:
        """What a person should know about the worker."""

    def withdraw(self, run: RunFolder) -> bool:
        """Take a pending run back; whether it was pending. Raises LaunchError."""

    def terminate(self, run: RunFolder) -> bool:
        """Ask the worker to end at its next batch; whether there was one to ask. Raises LaunchError."""

    def kill(self, run: RunFolder) -> bool:
        """End the worker now, nothing saved; whether there was one. Raises LaunchError."""

    def wait(self, run: RunFolder, seconds: float) -> bool:
        """Wait until the run's worker is gone; whether it is."""

    def log(self, run: RunFolder, size: int) -> str:
        """The end of what the worker printed."""


def environment(
    run: RunFolder, passed: tuple[str, ...] = (), source: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of a worker: what it needs to run, a configuration of its own, and no tokens.

    Args:
        run: its folder; Ultralytics' and matplotlib's configuration lie below the folder of the runs.
        passed: more names to hand on, such as the key of a tracker that was chosen.
        source: the server's environment; None: this process's.
    """
    source = os.environ if source is None else source
    kept = {
        name: value
        for name, value in source.items()
        if name in passed
        or (
            any(fnmatch.fnmatchcase(name, allowed) for allowed in ALLOWED)
            and not any(fnmatch.fnmatchcase(name.upper(), secret) for secret in SECRETS)
        )
    }
    return kept | settings_of(run.path) | {"PYTHONPATH": str(PACKAGES)}


def settings_of(folder: Path) -> dict[str, str]:
    """What a worker is told wherever it runs: nothing installs itself, nothing is fetched, no pickle is trusted."""
    return {
        MARK: str(folder),
        "YOLO_CONFIG_DIR": str(folder / "work" / "ultralytics"),
        "MPLCONFIGDIR": str(folder.parent / ".matplotlib"),  # shared: its list of fonts takes seconds to make
        "YOLO_AUTOINSTALL": "false",
        "YOLO_OFFLINE": "1",
        "ULTRALYTICS_SAFE_LOAD": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "PYTHONUNBUFFERED": "1",
    }


@dataclass
class LocalLauncher:
    """Workers on this machine.

    Args:
        command: the worker's command; the item RUN_FOLDER stands for the folder's path.
        passed: names of the server's environment that a worker gets beside ALLOWED.
        nice: how far a worker gives way to other processes, the page's server first (0: not at all).
    """

    command: tuple[str, ...] = COMMAND
    passed: tuple[str, ...] = ()
    nice: int = 5
    on_exit: Callable[[], None] | None = None
    queues: bool = field(default=False, init=False)
    _waiting: dict[Path, threading.Thread] = field(default_factory=dict, init=False, repr=False)

    def launch(self, run: RunFolder, device: str = "") -> None:
        """Start the worker; see Launcher."""
        with _unused(run):
            pass
        for left in leftovers(run):  # a killed worker's helpers would go on beside the new one
            with contextlib.suppress(psutil.Error):
                left.kill()
        work = run.path / "work"
        try:
            (work / "ultralytics").mkdir(parents=True, exist_ok=True)
            # Until the child has a number, this server answers for the run: no reader sees it without a process. Should
            # the server be killed just here, the worker writes its own number before it begins.
            run.write_json("proc.json", identity(os.getpid()))
            starting(run)
        except OSError as error:
            raise LaunchError(f"{run.path} cannot be written ({error.strerror or error}). Free some disk.") from None
        child: subprocess.Popen | None = None
        try:
            with run.log.open("ab") as log:
                child = subprocess.Popen(
                    self._command(run, device),
                    cwd=work,
                    env=environment(run, self.passed),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._gentle(child.pid)
            run.write_json("proc.json", identity(child.pid) | ({"device": device} if device else {}))
        except BaseException as error:
            if child is not None:
                child.kill()
                child.wait()
            (run.path / "proc.json").unlink(missing_ok=True)  # it names this server, which lives on
            if not isinstance(error, OSError):
                raise
            raise LaunchError(f"the worker could not be started: {error}. The command was {self.command[0]}.") from None
        # Reaped as soon as it ends: a zombie would be left otherwise, and its exit status would be lost.
        thread = threading.Thread(target=self._reap, args=(run, child), name=f"run {run.id}", daemon=True)
        self._waiting[run.path] = thread
        thread.start()

    def alive(self, run: RunFolder) -> bool:
        """Whether the worker lives on this machine."""
        return run.at_work()

    def pending(self, run: RunFolder) -> bool:
        """Never: what was started runs."""
        return False

    def withdraw(self, run: RunFolder) -> bool:
        """Never: nothing is pending."""
        return False

    def warnings(self, run: RunFolder) -> list[str]:
        """How the worker ended, where it could not say so itself."""
        code = run.process().get("exit")
        if not isinstance(code, int) or code >= 0:
            return []
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        memory = (
            " If nobody did, the system did because memory ran out: a smaller batch helps." if name == "SIGKILL" else ""
        )
        return [f"The training process was ended by {name}.{memory}"]

    def terminate(self, run: RunFolder) -> bool:
        """SIGTERM to the worker's group."""
        return signal_worker(run, signal.SIGTERM)

    def kill(self, run: RunFolder) -> bool:
        """SIGKILL to the worker's group, and to what it left behind."""
        done = signal_worker(run, getattr(signal, "SIGKILL", signal.SIGTERM))
        for left in leftovers(run):
            with contextlib.suppress(psutil.Error):
                left.kill()
                done = True
        return done

    def wait(self, run: RunFolder, seconds: float) -> bool:
        """Wait until the worker is gone, and what was to be written about it is."""
        thread = self._waiting.get(run.path)
        if thread is not None:
            thread.join(seconds)
            return not thread.is_alive() and not run.at_work()
        process = run.process()
        if not alive(process):
            return True
        try:
            psutil.Process(process["pid"]).wait(seconds)
        except psutil.NoSuchProcess:
            return True
        except psutil.TimeoutExpired:
            pass
        return not alive(process)

    def log(self, run: RunFolder, size: int) -> str:
        """The end of log.txt."""
        return run.log_tail(size)

    def _command(self, run: RunFolder, device: str) -> list[str]:
        command = [str(run.path) if item == RUN_FOLDER else item for item in self.command]
        return command + (["--device", device] if device else [])

    def _gentle(self, pid: int) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, pid, self.nice)
        with contextlib.suppress(OSError):  # where memory runs out, Linux ends the training and not the page
            Path(f"/proc/{pid}/oom_score_adj").write_text("500")

    def _reap(self, run: RunFolder, child: subprocess.Popen) -> None:
        code = child.wait()
        process = run.process()
        if process.get("pid") == child.pid:
            with contextlib.suppress(OSError):
                run.write_json("proc.json", process | {"exit": code})
        if self._waiting.get(run.path) is threading.current_thread():
            self._waiting.pop(run.path, None)
        if self.on_exit is not None:
            self.on_exit()


def starting(run: RunFolder, **values: object) -> None:
    """Say that a worker is being started; how far the run has come stays in view."""
    kept = progress_kept(run)
    run.event("state", state="running")
    run.write_json("status.json", kept | {"state": "running", "phase": "loading"} | values)


def progress_kept(run: RunFolder) -> dict[str, object]:
    """What the next status takes over from the last one: how far the run has come."""
    names = ("time", "member", "members", "stage", "stages", "epoch", "epochs", "done", "elapsed_s")
    return {name: value for name, value in run.json("status.json").items() if name in names}


def leftovers(run: RunFolder) -> list[psutil.Process]:
    """Living processes that were started for this run by a launcher, whoever their parent is now."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(run.path) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def trim_log(run: RunFolder, limit: int) -> bool:
    """Keep the second half of a log that has outgrown its limit (bytes); whether it had.

    In place: the worker appends to this very file. A line that it prints at this moment may be lost.
    """
    try:
        if run.log.stat().st_size <= limit:
            return False
        with run.log.open("r+b") as f:
            f.seek(-(limit // 2), os.SEEK_END)
            f.readline()
            tail = f.read()
            f.seek(0)
            f.write(b"[the beginning of this log was left out]\n" + tail)
            f.truncate()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _unused(run: RunFolder):  # noqa: ANN202 - a context manager
    """Nobody trains in the folder, proc.json or not: a worker holds the lock for its life."""
    try:
        with FileLock(run.path / "lock", timeout=EXIT_S):
            yield
    except Timeout:
        raise LaunchError(f"another process trains in {run.path}. Wait for it, or end it.", later=True) from None
    except OSError as error:
        raise LaunchError(f"{run.path} cannot be written ({error.strerror or error}).") from None


def signal_worker(run: RunFolder, number: int) -> bool:
    """Signal the run's worker and its group; nothing else, whatever proc.json says."""
    process = run.process()
    if not alive(process):
        return False
    pid = process["pid"]
    try:
        if not _works_on(psutil.Process(pid), run.path):
            return False
        if hasattr(os, "killpg") and os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:  # started by hand, in somebody's group
            os.kill(pid, number)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    except (psutil.AccessDenied, PermissionError):
        raise LaunchError(f"process {pid} belongs to another user; end it as that user.") from None
    return True


def _works_on(process: psutil.Process, folder: Path) -> bool:
    """Whether a process was started for this run: by its environment, or by the folder in its command."""
    if process.pid == os.getpid():
        return False
    with contextlib.suppress(psutil.AccessDenied):
        if process.environ().get(MARK) == str(folder):
            return True
    with contextlib.suppress(psutil.AccessDenied):
        here = Path(process.cwd())
        return any((here / argument).resolve() == folder for argument in process.cmdline()[1:])
    return False
