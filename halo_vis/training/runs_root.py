"""The folder that runs lie in: which of its folders are runs, and who may change them now.

Names come from browsers: only a plain name of a folder that is a run is taken for one. Several servers may share the
folder; what changes a run is done under its lock.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from halo_vis.training.run_folder import RunFolder

LOCK_S = 30.0  # how long one waits for another server that changes something
ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
TRASH = ".trash-"


class StoreError(RuntimeError):
    """Something cannot be done with a run now; the message says why and what to do."""


class NoSuchRun(StoreError, LookupError):
    """There is no run of that name here."""


def list_runs(root: Path) -> list[RunFolder]:
    """The runs below a folder, by name."""
    try:
        names = sorted(path.name for path in root.iterdir() if ID.fullmatch(path.name))
    except OSError:
        return []
    return [RunFolder(root / name) for name in names if is_run(root / name)]


def get_run(root: Path, name: object) -> RunFolder:
    """The run of a name.

    Raises:
        NoSuchRun: there is none, or it is no plain name.
    """
    if not isinstance(name, str) or not ID.fullmatch(name) or not is_run(root / name):
        raise NoSuchRun(f"there is no run named {str(name)[:60]!r} here; it may have been deleted. Reload the list.")
    return RunFolder(root / name)


def is_run(path: Path) -> bool:
    """Whether it is a folder, no link, with something in it that makes a run."""
    if path.is_symlink() or not path.is_dir():
        return False
    return any((path / name).is_file() for name in ("run.yaml", "status.json", "about.json"))


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Change runs alone: no other server or thread does meanwhile.

    Raises:
        StoreError: another one takes too long, or the folder cannot be written.
    """
    lock = FileLock(root / ".lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_S)
    except Timeout:
        raise StoreError(f"another server changes {root} for {LOCK_S:.0f} s now. Try again.") from None
    except OSError as error:
        raise StoreError(f"{root} cannot be written: {error.strerror or error}.") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def written(run: RunFolder) -> Iterator[None]:
    """Say in one line why a run's folder cannot be written.

    Raises:
        StoreError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(f"the run {run.id} cannot be changed: {error.strerror or error}. Free some disk.") from None


def disk_short(root: Path, needed: int) -> str:
    """Why no run may start for want of disk; "" if it may. `needed`: bytes that must be free."""
    try:
        free = shutil.disk_usage(root).free
    except OSError:
        return ""
    if free >= needed:
        return ""
    return (
        f"the disk of the runs has {free / 2**30:.1f} GiB left, and a run starts only with {needed / 2**30:.1f} GiB. "
        "Delete old runs or data sets."
    )


def sweep(root: Path) -> None:
    """Finish what a server that was killed had begun to delete."""
    with contextlib.suppress(OSError):
        for trash in root.glob(f"{TRASH}*"):
            shutil.rmtree(trash, ignore_errors=True)
