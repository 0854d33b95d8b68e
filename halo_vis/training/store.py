"""All runs of a folder: their queue, their states, and what can be done with them. Several servers may share a folder.

Everything is in the files; a store holds nothing that is lost with it. What changes a run is done under a lock of the
folder, so that no run is started twice, and no more than are allowed are at work at once.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from halo_vis.training import history
from halo_vis.training.launch import Launcher, LaunchError, LocalLauncher, progress_kept, trim_log
from halo_vis.training.load import Load
from halo_vis.training.look import Looker
from halo_vis.training.run_folder import AT_WORK, RESUMABLE, RunFolder
from halo_vis.training.runs_root import (
    TRASH,
    NoSuchRun,
    StoreError,
    disk_short,
    get_run,
    list_runs,
    locked,
    sweep,
    written,
)
from halo_vis.training.snapshot import Look, read_yaml, snapshot

__all__ = ["NoSuchRun", "Store", "StoreError", "StoreSettings"]
KILL_S = 3.0  # how long one waits for a killed process to be gone
AGAIN_S = 10.0  # before a start that failed is tried again
log = logging.getLogger("halo_vis")


@dataclass(frozen=True)
class StoreSettings:
    """What a folder of runs allows.

    Attributes:
        at_once: runs at work at once; 0: one, or one per device, or as many as a cluster takes.
        devices: such as ("0", "1"): each run that names no device gets one to itself.
        queue_length: runs that may wait (0: any number).
        disk_free_bytes: no run is started with less room than this.
        log_bytes: a log that outgrows this loses its first half.
        exit_s: how long a resume waits for the process before to end.
        poll_s: how often the queue is looked at for what other servers did.
        title_chars, note_chars: longest title and note.
    """

    at_once: int = 0
    devices: tuple[str, ...] = ()
    queue_length: int = 20
    disk_free_bytes: int = 2 * 1024**3
    log_bytes: int = 20 * 1024**2
    exit_s: float = 20.0
    poll_s: float = 2.0
    title_chars: int = 120
    note_chars: int = 4000


class Store:
    """The runs below a folder.

    Args:
        root: the folder; made when the first run is.
        settings: its limits.
        launcher: where runs are carried out; None: on this machine.
    """

    def __init__(self, root: Path, settings: StoreSettings | None = None, launcher: Launcher | None = None) -> None:
        self.root = Path(root).resolve()
        self.settings = settings or StoreSettings()
        self.launcher: Launcher = launcher or LocalLauncher()
        local = self.launcher if isinstance(self.launcher, LocalLauncher) else LocalLauncher()
        self._looker, self._load = Looker(self.launcher, local), Load()
        self._files = self._looker.files
        self._wake, self._closed = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._not_yet: dict[str, tuple[float, str]] = {}  # a failed start: when it is tried again, and what was wrong
        local.on_exit = self._wake.set

    # ------------------------------------------------------------ reading
    def runs(self) -> list[RunFolder]:
        """The runs, by name."""
        return list_runs(self.root)

    def get(self, run: str) -> RunFolder:
        """The run of a name.

        Raises:
            NoSuchRun: there is none, or it is no plain name.
        """
        return get_run(self.root, run)

    def look(self, run: RunFolder) -> Look:
        """What is true of a run now."""
        look = self._looker.look(run)
        if look.state != "queued":
            return look
        why = self._not_yet.get(run.id, (0.0, ""))[1] or self._disk_short()
        return replace(look, warnings=(*look.warnings, f"It waits: {why}")) if why else look

    def state(self, run: str | RunFolder) -> str:
        """The state of a run, one of run_folder.STATES."""
        return self.look(self._run(run)).state

    def queue(self) -> list[str]:
        """Names of the runs that wait, the next one first: those that a cluster has already, then those here."""
        runs = self.runs()
        return [run.id for run in self._looker.pending(runs) + self._looker.queued(runs)]

    def snapshot(self, run: str | RunFolder, log_bytes: int = 8192) -> dict[str, Any]:
        """What a page shows of a run, as plain values for JSON. What it holds is shared: do not write into it.

        Raises:
            NoSuchRun: there is none.
        """
        folder = self._run(run)
        look = self.look(folder)
        waiting = self.queue() if look.state == "queued" else []
        launcher = self._looker.launcher_of(folder)
        shown = snapshot(
            folder,
            look,
            self._files,
            queue=waiting.index(folder.id) + 1 if folder.id in waiting else None,
            log=(launcher or self._looker.local).log(folder, log_bytes),
            load=self._load.read() if launcher is self._looker.local else None,
        )
        self.get(folder.id)  # deleted meanwhile: half of it was shown otherwise
        return shown

    def history(self, search: str = "") -> list[dict[str, Any]]:
        """A row per run, newest first; see history.row. `search`: words in title, note, name, data or state."""
        rows = (history.row(run, self.look(run), self._files) for run in self.runs())
        return history.newest_first([found for found in rows if history.matches(found, search)])

    # ------------------------------------------------------------ the queue
    def enqueue(self, run: str | RunFolder) -> None:
        """Let a new run wait for its turn; one that ended goes on from its last whole epoch.

        Raises:
            StoreError: the queue or the disk is full, or the run is at work, waits or is finished already.
        """
        folder = self._run(run)
        self._check_may_start(folder)
        if not self._wait(folder, self.settings.exit_s):
            raise StoreError(f"the process of {folder.id} is still at work. Wait for it, or end it by force.")
        with locked(self.root):
            self._check_may_start(folder)  # it may have changed while the process before was waited for
            waiting = self._looker.queued(self.runs())
            if 0 < self.settings.queue_length <= len(waiting):
                raise StoreError(f"the queue is full: {len(waiting)} runs wait. Try again when one has begun.")
            if short := self._disk_short():
                raise StoreError(short)
            last = max((self._looker.turn(other) for other in waiting), default=0)
            with written(folder):
                folder.stop_file.unlink(missing_ok=True)
                kept = progress_kept(folder)
                folder.event("state", state="queued")
                # Numbered, not timed: a clock may be set back.
                folder.write_json("status.json", kept | {"state": "queued", "turn": last + 1})
            self._not_yet.pop(folder.id, None)
        self._wake.set()

    def resume(self, run: str | RunFolder) -> None:
        """Go on with a run that was stopped, interrupted or failed; see enqueue."""
        self.enqueue(run)

    def pump(self) -> list[str]:
        """Start what may start; names of what was started. Safe from several servers and threads."""
        if not self._looker.queued(self.runs()):
            return []
        started = []
        with locked(self.root):
            busy = {run.id: run for run in self.runs() if self._looker.has_process(run)}
            for run in self._looker.queued(self.runs()):
                if run.id in busy or self._not_yet.get(run.id, (0.0,))[0] > time.monotonic():
                    continue
                if len(busy) >= self._at_once():
                    break
                device = self._device(run, list(busy.values()))
                if device is None or self._disk_short():
                    break
                if self._start(run, device):
                    busy[run.id] = run
                    started.append(run.id)
        return started

    def start_pump(self) -> None:
        """Look after the queue and the logs in the background, until close()."""
        if self._thread is None:
            self._closed.clear()
            self._thread = threading.Thread(target=self._keep_pumping, name="runs", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the background work. Runs go on: they are processes of their own."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # ------------------------------------------------------------ a run
    def stop(self, run: str | RunFolder) -> str:
        """Ask a run to end after the epoch in progress, nothing lost; one that waits leaves the queue.

        Returns:
            The state after that. A run that has ended already is left as it is.
        """
        return self._end(run, "stop")

    def stop_now(self, run: str | RunFolder) -> str:
        """Ask a run to end at its next batch: the epoch in progress is repeated by a resume. Returns the state."""
        return self._end(run, "terminate")

    def kill(self, run: str | RunFolder) -> str:
        """End a run by force; it can go on after its last whole epoch. Returns the state."""
        return self._end(run, "kill")

    def set_note(self, run: str | RunFolder, title: str | None = None, note: str | None = None) -> None:
        """Change what people say of a run; None leaves it as it is."""
        folder, bounds = self._run(run), self.settings
        with locked(self.root), written(folder):
            about = folder.json("about.json")
            if title is not None:
                about["title"] = " ".join(_printable(title).split())[: bounds.title_chars]
            if note is not None:
                about["note"] = _printable(note).strip()[: bounds.note_chars]
            folder.write_json("about.json", about)

    def delete(self, run: str | RunFolder) -> None:
        """Remove a run's folder whole.

        Raises:
            StoreError: it is at work or waits.
        """
        folder = self._run(run)
        with locked(self.root):
            look = self.look(folder)
            if look.state in (*AT_WORK, "queued") or not self._wait(folder, self.settings.exit_s):
                raise StoreError(f"{folder.id} is {look.state}. Stop it first, then delete it.")
            trash = self.root / f"{TRASH}{folder.id}-{secrets.token_hex(4)}"
            with written(folder):
                folder.path.rename(trash)  # gone from the list at once and whole, whatever happens next
        shutil.rmtree(trash, ignore_errors=True)  # never follows a link out

    # ------------------------------------------------------------ parts
    def _keep_pumping(self) -> None:
        sweep(self.root)
        while not self._closed.is_set():
            self._wake.clear()
            try:
                self.pump()
                for run in self.runs():
                    if trim_log(run, self.settings.log_bytes):
                        log.info("the log of run %s was cut to half of its limit", run.id)
            except Exception:  # whatever is wrong with one folder, the queue goes on
                log.exception("the queue of %s could not be looked after", self.root)
            self._wake.wait(self.settings.poll_s)

    def _end(self, run: str | RunFolder, how: str) -> str:
        folder, killed = self._run(run), False
        with locked(self.root):
            if self._looker.said(folder) == "queued" and not folder.at_work():
                return self._leave_queue(folder)
            launcher = self._looker.launcher_of(folder)
            if launcher is None:
                raise StoreError(" ".join([f"{folder.id} cannot be reached.", *self.look(folder).warnings]))
            if self.look(folder).state not in (*AT_WORK, "queued") and not folder.at_work():
                return self.look(folder).state
            try:
                if launcher.withdraw(folder):
                    return self._leave_queue(folder)
                if how != "kill":
                    with written(folder):
                        folder.stop_file.touch()
                if how == "kill":
                    killed = launcher.kill(folder)
                elif how == "terminate":
                    launcher.terminate(folder)
            except LaunchError as error:
                raise StoreError(str(error)) from None
        if killed:
            launcher.wait(folder, KILL_S)
        self._wake.set()
        return self.look(folder).state

    def _leave_queue(self, run: RunFolder) -> str:
        with written(run):
            kept = progress_kept(run)
            run.write_json("proc.json", {})
            run.event("state", state="stopped")
            run.write_json("status.json", kept | {"state": "stopped"})
        self._not_yet.pop(run.id, None)
        return "stopped"

    def _start(self, run: RunFolder, device: str) -> bool:
        turn = self._looker.turn(run)
        try:
            self.launcher.launch(run, device)
        except LaunchError as error:
            log.warning("run %s could not be started: %s", run.id, error)
            with contextlib.suppress(OSError):
                kept = progress_kept(run)
                if error.later:
                    run.write_json("status.json", kept | {"state": "queued", "turn": turn})
                else:
                    said = {"kind": "other", "message": str(error), "next": "Resume it when that is put right."}
                    run.event("state", state="failed")
                    run.write_json("status.json", kept | {"state": "failed", "error": said})
            self._not_yet[run.id] = (time.monotonic() + AGAIN_S, str(error))
            return False
        self._not_yet.pop(run.id, None)
        return True

    def _check_may_start(self, run: RunFolder) -> None:
        state = self.look(run).state
        if not (run.path / "run.yaml").is_file():
            raise StoreError(f"{run.id} has no recipe, run.yaml, any more. Start a new run.")
        if state not in ("new", *RESUMABLE):
            raise StoreError(f"{run.id} is {state}: only a run that is new, stopped, interrupted or failed starts.")

    def _wait(self, run: RunFolder, seconds: float) -> bool:
        return (self._looker.launcher_of(run) or self._looker.local).wait(run, seconds)

    def _run(self, run: str | RunFolder) -> RunFolder:
        if isinstance(run, RunFolder):
            if run.path.parent != self.root:
                raise NoSuchRun(f"{run.path} is not in {self.root}. Make the run there.")
            run = run.id
        return self.get(run)

    def _at_once(self) -> int:
        if self.settings.at_once:
            return self.settings.at_once
        return 10**9 if self.launcher.queues else max(1, len(self.settings.devices))

    def _device(self, run: RunFolder, busy: list[RunFolder]) -> str | None:
        """The device to start a run on, "" for the run's own choice; None: all are taken."""
        taken = {str(other.process().get("device") or self._own_device(other)) for other in busy}
        used = {name for names in taken for name in names.split(",")}
        free = [device for device in self.settings.devices if device not in used]
        wanted = [name for name in self._own_device(run).split(",") if name]
        if wanted or not self.settings.devices:
            return "" if all(name in free or name not in self.settings.devices for name in wanted) else None
        return next(iter(free), None)

    def _own_device(self, run: RunFolder) -> str:
        return str(self._files.get(run.path / "plan.yaml", read_yaml).get("device") or "")

    def _disk_short(self) -> str:
        return disk_short(self.root, self.settings.disk_free_bytes)


def _printable(text: str) -> str:
    return "".join(c for c in str(text) if c.isprintable() or c in "\n\t")
