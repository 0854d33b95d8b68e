"""What a visitor may hand in, and where results are written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

MAX_UPLOAD_BYTES = 64 * 1024 * 1024
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


def settle(folder: Path) -> None:
    """Point everything that would write elsewhere at `folder`. Before gradio or ultralytics is imported."""
    (folder / "config").mkdir(exist_ok=True)
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


def uploaded(sent: Sent) -> Path:
    """The path of what came from the browser, if it lies where uploads (and our examples) do.

    A raw request can name any file of the server; only what lies there is read.
    """
    path = sent.get("path") if isinstance(sent, dict) else sent
    if not path or not isinstance(path, str):
        raise Refused("no_picture")
    found = Path(path).resolve()
    if not found.is_relative_to(served_folder()):
        raise Refused("foreign_path")
    return found
