"""What a visitor may hand in, and where results are written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

MAX_UPLOAD_BYTES = 64 * 1024 * 1024  # of a picture or weights; of anything on a public host
MAX_ZIP_BYTES = 2 * 1024**3  # of a data set, on one's own machine
Sent = dict[str, Any] | str | None  # a file as the browser sends it: {"path": ..., "orig_name": ...}


class Refused(ValueError):
    """A request that the page does not take; the message is a key of texts.py."""


def hosted() -> bool:
    """True on a public host: a Hugging Face Space, or where HALO_VIS_HOSTED=1 says so."""
    return bool(os.environ.get("SPACE_ID")) or os.environ.get("HALO_VIS_HOSTED") == "1"


def work_folder() -> Path:
    """Where the page writes: HALO_VIS_DATA, else a folder of its own in the temporary folder."""
    folder = Path(os.environ.get("HALO_VIS_DATA") or Path(tempfile.gettempdir()) / "halo_vis")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def kept_folder() -> Path:
    """Where runs and data sets lie: below HALO_VIS_DATA where that is set, or on a public host where the page writes.

    On one's own machine they outlive the temporary folder: they lie where programs keep a person's data.
    """
    if os.environ.get("HALO_VIS_DATA") or hosted():
        return work_folder()
    home = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_DATA_HOME")
    folder = Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "share"
    try:
        (folder / "halo_vis").mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that nobody may write to, as in some containers
        return work_folder()
    return (folder / "halo_vis").resolve()


def runs_folder() -> Path:
    """Where run folders lie; see `settle`."""
    return Path(os.environ.get("HALO_VIS_RUNS") or kept_folder() / "runs").resolve()


def datasets_folder() -> Path:
    """Where uploaded data sets lie; see `settle`."""
    return Path(os.environ.get("HALO_VIS_DATASETS") or kept_folder() / "datasets").resolve()


def max_upload_bytes() -> int:
    """The largest file that is taken at all."""
    return MAX_UPLOAD_BYTES if hosted() else MAX_ZIP_BYTES


def settle(folder: Path) -> None:
    """Point everything that would write elsewhere at `folder`. Before gradio or ultralytics is imported."""
    (folder / "config").mkdir(exist_ok=True)
    # Before HALO_VIS_DATA is set: whether a person set it decides where their runs lie.
    os.environ["HALO_VIS_RUNS"], os.environ["HALO_VIS_DATASETS"] = str(runs_folder()), str(datasets_folder())
    os.environ["HALO_VIS_DATA"] = str(folder)
    os.environ.setdefault("GRADIO_TEMP_DIR", str(folder / "served"))
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("YOLO_CONFIG_DIR", str(folder / "config"))
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_OFFLINE", "1")
    os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "1")
    os.environ.setdefault("MPLCONFIGDIR", str(folder / "config"))


def sent_name(sent: Sent) -> str:
    """A file's name as its owner knows it."""
    named = sent.get("orig_name") or sent.get("path") if isinstance(sent, dict) else sent
    return Path(str(named).replace("\\", "/")).name or "picture"


def served_folder() -> Path:
    """The folder that Gradio keeps uploads in and serves from."""
    from gradio.utils import get_upload_folder

    return Path(get_upload_folder()).resolve()


def uploaded(sent: Sent, most: int = MAX_UPLOAD_BYTES, missing: str = "no_picture") -> Path:
    """The path of what came from the browser, if it lies where uploads (and our examples) do.

    A raw request can name any file of the server; only what lies there is read.

    Args:
        most: bytes.
        missing: the text for no file at all.
    """
    path = sent.get("path") if isinstance(sent, dict) else sent
    if not path or not isinstance(path, str) or "\0" in path:
        raise Refused(missing)
    found = Path(path).resolve()
    if not found.is_relative_to(served_folder()):
        raise Refused("foreign_path")
    if found.is_file() and found.stat().st_size > most:
        raise Refused("too_large")
    return found
